"""What is to be solved: one file a family of tasks."""

from jaxga.tasks.atari import atari, atari_games, paper_network
from jaxga.tasks.classification import classification
from jaxga.tasks.games import envpool_game
from jaxga.tasks.losses import Loss, cross_entropy, errors, sampled, till_death, till_death_shuffled
from jaxga.tasks.memorization import memorization, noise

__all__ = [
    "Loss",
    "atari",
    "atari_games",
    "classification",
    "cross_entropy",
    "envpool_game",
    "errors",
    "memorization",
    "noise",
    "paper_network",
    "sampled",
    "till_death",
    "till_death_shuffled",
]
