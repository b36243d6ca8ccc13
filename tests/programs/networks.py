"""Networks made of parts, and tasks that know the parent, as small as they go: for tests on every topology."""

from collections.abc import Callable

import jax
from flax import linen
from populations import Made

import jaxga
from jaxga import nn, tasks, variation
from jaxga.variation import per

STEPS = variation.low_rank(variation.multiplicative(variation.relative(0.2)))
TO_HEAD = variation.masked(STEPS, lambda path: "head" in path)


def evolving(task: jaxga.Task, mutation: jaxga.Variation) -> Made:
    return task, jaxga.ga(task.init, mutation, parents=2, children=12, elites=1, reevaluate=True)


def memorizing(network: linen.Module) -> jaxga.Task:
    return tasks.memorization(network, points=8, shape=(5,))


def ensemble() -> Made:
    network = nn.Ensemble(nn.MLP((4, 6)), 3, nn.mean, head=linen.Dense(10))
    return evolving(memorizing(network), variation.mixture([(3, variation.one_of(STEPS)), (1, TO_HEAD)]))


def voting() -> Made:
    """The mean of the best children, of which each changed one member."""
    task = memorizing(nn.Ensemble(nn.MLP((4, 11)), 3, nn.importance))
    mean = variation.average(3, variation.by_rank)
    return task, jaxga.ga(task.init, variation.one_of(STEPS), parents=2, children=12, recombination=mean)


def stack() -> Made:
    network = linen.Sequential([linen.Dense(6), nn.Stack(nn.Residual(4), 3), linen.Dense(10)])
    last = variation.masked(STEPS, lambda path: "layers_2" in path)
    layer = variation.one_of(STEPS, "layers", of_brood=True)
    return evolving(memorizing(network), variation.chain(layer, last))


def freezing() -> Made:
    return evolving(memorizing(nn.MLP((6, 10))), variation.freezing(STEPS, 0.2, per.layer))


def oracle() -> Made:
    task = memorizing(nn.MLP((6, 10)))
    return evolving(jaxga.against(task, tasks.along_gradient(task)), STEPS)


def novel() -> Made:
    """Children are chosen that do something else than their parents do."""
    network, inputs = nn.MLP((6, 10)), jax.random.normal(jax.random.key(1), (4, 5))
    task = memorizing(network)
    change = tasks.change_of(lambda params: network.apply(params, inputs))
    return evolving(jaxga.against(task, change), STEPS)


MADE: dict[str, Callable[[], Made]] = {
    "an ensemble": ensemble,
    "members that vote": voting,
    "a stack": stack,
    "freezing": freezing,
    "the oracle": oracle,
    "other than the parent": novel,
}
