"""Tasks and a game whose parameters are genes, as small as they go: for tests on every topology."""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
from lifetimes import evolving
from populations import Made

import jaxga
from jaxga import encoding, nn, tasks, variation
from jaxga.encoding import Encoding

KERNEL, BIAS, OUTPUT = "params/Dense_0/kernel", "params/Dense_0/bias", "params/Dense_1/kernel"


def plain() -> jaxga.Task:
    """Points of 4 x 4, and a network of 8 hidden units: two at each of four places that a patch of 3 x 3 has."""
    return tasks.memorization(nn.MLP((8, 10)), points=8, shape=(4, 4, 1))


def subspace(init) -> Encoding:
    return encoding.subspace(init, 20)


def cosines(init) -> Encoding:
    return encoding.cosines(init, {KERNEL: (2, 3, 8), OUTPUT: 5}, {KERNEL: (4, 4, 8)})


def hypernetwork(init) -> Encoding:
    return encoding.hypernetwork(encoding.CPPN((6, 6)), init, {KERNEL: (4, 4, 8)})


def patches(init) -> Encoding:
    places = {BIAS: encoding.everywhere(4, (2,)), OUTPUT: encoding.everywhere(4, (2, 10))}
    return encoding.tied(init, {KERNEL: encoding.patches((4, 4, 1), (3, 3), 2), **places})


ENCODINGS = {"subspace": subspace, "cosines": cosines, "hypernetwork": hypernetwork, "patches": patches}


def encoded(made: Callable[..., Encoding]) -> Made:
    """Low-rank children; of a subspace, whose genes are one vector that begins with zero, such as they are."""
    task = plain()
    return evolving(encoding.encoded(task, made(task.init)), low_rank=True)


MADE: dict[str, Callable[[], Made]] = {f"encoded by {name}": partial(encoded, made) for name, made in ENCODINGS.items()}


def pole() -> jaxga.Game:
    """CartPole by a network of 16 hidden units: its first kernel is twice its genes, the bias their sum."""
    game = tasks.envpool_game("CartPole-v1", nn.MLP((16, 2)), max_steps=60)

    def init(key: jax.Array) -> dict[str, jax.Array]:
        return {"first": jax.random.normal(key, (4, 16)) / 4, "second": jnp.zeros((16, 2)), "bias": jnp.zeros(2)}

    def decode(genes: dict[str, jax.Array]) -> dict[str, dict[str, dict[str, jax.Array]]]:
        first = {"kernel": 2 * genes["first"], "bias": genes["first"].sum(axis=0)}
        return {"params": {"Dense_0": first, "Dense_1": {"kernel": genes["second"], "bias": genes["bias"]}}}

    return encoding.encoded(game, decode, init)


def players() -> jaxga.Rollouts:
    """Broods that are decoded and asked together, and an elite that is validated."""
    game = pole()
    algorithm = jaxga.ga(
        game.init, variation.low_rank(variation.absolute(0.5)), parents=2, children=12, elites=1, reevaluate=True,
        champion=jaxga.best_validated,
    )  # fmt: skip
    return jaxga.rollouts(algorithm, game, envs=4, threads=1)
