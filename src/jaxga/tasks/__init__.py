"""What is to be solved: one file a family of tasks."""

from jaxga.tasks.classification import classification
from jaxga.tasks.losses import Loss, cross_entropy, errors, sampled, till_death, till_death_shuffled
from jaxga.tasks.memorization import memorization, noise

__all__ = [
    "Loss",
    "classification",
    "cross_entropy",
    "errors",
    "memorization",
    "noise",
    "sampled",
    "till_death",
    "till_death_shuffled",
]
