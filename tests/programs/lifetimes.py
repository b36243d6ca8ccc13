"""Tasks of every kind that jaxga.lifetime makes, as small as they go: for tests on every topology."""

from collections.abc import Callable
from functools import partial

import optax
from populations import Made

import jaxga
from jaxga import data, lifetime, nn, tasks, variation


def evolving(task: jaxga.Task, low_rank: bool = False) -> Made:
    """Two parents, and twelve children of low rank or not, with step sizes of their own."""
    noise = variation.low_rank if low_rank else variation.gaussian
    mutation = noise(variation.multiplicative(variation.relative(0.2)))
    return task, jaxga.ga(task.init, mutation, parents=2, children=12, elites=1, reevaluate=True)


def learning(low_rank: bool = True) -> Made:
    lives = lifetime.sinusoids(nn.MLP((8, 1)), shots=5, tested=8)
    return evolving(lifetime.learn(lives, optax.adam(0.01), 3, count=2, validation_lives=2), low_rank)


def with_rates() -> Made:
    lives = lifetime.permuted_labels(nn.MLP((10,)), data.digits(), shots=8, tested=16)
    return evolving(lifetime.learn(lives, optax.sgd(0.1), 2, rates="weight", fresh=True, validation_lives=2))


def going() -> Made:
    lives = lifetime.point_goals(nn.MLP((4, 2)), episodes=3, steps=8)
    return evolving(lifetime.learn(lives, optax.sgd(0.5), 2, fresh=True, validation_lives=2), low_rank=True)


def plastic() -> Made:
    maze = tasks.t_maze(trips=3)
    return evolving(tasks.control(maze, lifetime.plastic((6, 5, 3)).policy(maze), episodes=2, validation_episodes=2))


def taught() -> Made:
    network = lifetime.plastic((64, 10), lifetime.change_by_network(4))
    lives = lifetime.relabelled(data.digits())
    return evolving(lifetime.taught(network, lives, batches=2, batch=3, tested=8, validation_lives=2))


def rewarded() -> Made:
    rooms = tasks.four_rooms(5, max_steps=8)
    own = partial(lifetime.rewarded, steps=6, actors=2, episodes=2, validation_lives=2)
    return evolving(own(rooms, reward=nn.MLP((3, 1)), encoder=nn.MLP((4,))))


MADE: dict[str, Callable[[], Made]] = {
    "learning": learning,
    "learning, dense": partial(learning, low_rank=False),
    "learning with rates": with_rates,
    "policy gradient": going,
    "plastic": plastic,
    "taught": taught,
    "rewarded": rewarded,
}
