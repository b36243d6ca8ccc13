"""Tasks to solve, one module per family of tasks."""

from jaxga.tasks.ant import ant, ant_goal
from jaxga.tasks.atari import atari, atari_games, film, paper_network
from jaxga.tasks.classification import classification
from jaxga.tasks.comparisons import along_gradient, change_of, from_magnitude, penalised
from jaxga.tasks.control import (
    Box,
    Environment,
    Policy,
    Statistics,
    control,
    drawn,
    feedforward,
    greedy,
    squashed,
    statistics,
)
from jaxga.tasks.environments import bandit, cartpole, from_gymnax
from jaxga.tasks.exploration import bit_flip, deep_sea
from jaxga.tasks.games import envpool_game
from jaxga.tasks.hidden import four_rooms, point, t_maze
from jaxga.tasks.losses import Loss, cross_entropy, errors, right, sampled, till_death, till_death_shuffled
from jaxga.tasks.maze import HARD_MAZE, MEDIUM_MAZE, Maze, maze
from jaxga.tasks.memorization import labelled, memorization, noise
from jaxga.tasks.patterns import cat_in_dogs, count_ones, glyphs, mix, ring

__all__ = [
    "HARD_MAZE",
    "MEDIUM_MAZE",
    "Box",
    "Environment",
    "Loss",
    "Maze",
    "Policy",
    "Statistics",
    "along_gradient",
    "ant",
    "ant_goal",
    "atari",
    "atari_games",
    "bandit",
    "bit_flip",
    "cartpole",
    "cat_in_dogs",
    "change_of",
    "classification",
    "control",
    "count_ones",
    "cross_entropy",
    "deep_sea",
    "drawn",
    "envpool_game",
    "errors",
    "feedforward",
    "film",
    "four_rooms",
    "from_gymnax",
    "from_magnitude",
    "glyphs",
    "greedy",
    "labelled",
    "maze",
    "memorization",
    "mix",
    "noise",
    "paper_network",
    "penalised",
    "point",
    "right",
    "ring",
    "sampled",
    "squashed",
    "statistics",
    "t_maze",
    "till_death",
    "till_death_shuffled",
]
