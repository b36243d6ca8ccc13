"""What is to be solved: one file a family of tasks."""

from jaxga.tasks.memorization import (
    cross_entropy,
    errors,
    memorization,
    noise,
    sampled,
    till_death,
    till_death_shuffled,
)

__all__ = ["cross_entropy", "errors", "memorization", "noise", "sampled", "till_death", "till_death_shuffled"]
