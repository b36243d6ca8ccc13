"""What the agent can be tried on: an environment, what of its observation is a state, and which goals there are."""

import difflib
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from goal_agent import sprites
from jaxga import tasks
from jaxga.base import Key, require, require_whole
from jaxga.tasks import Environment
from jaxga.tasks.hidden import rooms


class Problem(NamedTuple):
    """An environment whose states are goals, too."""

    environment: Environment
    size: int  # numbers of a state
    state: Callable[[jax.Array], jax.Array]  # what of an observation is the state
    given: Callable[[jax.Array], jax.Array] | None  # the goal in an observation, where the environment sets it
    random: Callable[[Key], jax.Array]  # a goal that may be anything of the right form: many cannot be reached
    targets: np.ndarray  # [G, size], goals that can be reached: what the agent is tested on
    binary: bool  # are states zeros and ones, so that a replay can keep them as such?
    states: int  # number of different random goals


def whole(observation: jax.Array) -> jax.Array:
    """The observation is the state."""
    return observation


def four_rooms(size: int) -> Problem:
    """Any free cell is a goal; a random one may lie in a wall."""
    environment = tasks.four_rooms(size, max_steps=4 * size)
    rows = np.eye(size, dtype=np.float32)
    targets = np.stack([np.concatenate([rows[row], rows[column]]) for row, column in np.argwhere(rooms(size))])

    def random(key: Key) -> jax.Array:
        cell = jax.random.randint(key, (2,), 0, size, jnp.int32)
        return jax.nn.one_hot(cell, size, dtype=jnp.float32).reshape(-1)

    return Problem(environment, 2 * size, whole, None, random, targets, True, size * size)


def deep_sea(size: int) -> Problem:
    """Any cell on or below the diagonal can be reached; a random one lies anywhere."""
    environment = tasks.deep_sea(size)
    cells = (size + 1) ** 2
    can_be = np.array([row * (size + 1) + column for row in range(1, size + 1) for column in range(row + 1)])

    def random(key: Key) -> jax.Array:
        return jax.nn.one_hot(jax.random.randint(key, (), 0, cells, jnp.int32), cells, dtype=jnp.float32)

    return Problem(environment, cells, whole, None, random, np.eye(cells, dtype=np.float32)[can_be], True, cells)


def bit_flip(size: int) -> Problem:
    """The goal is given with every observation: the second half of it."""
    environment = tasks.bit_flip(size)

    def random(key: Key) -> jax.Array:
        return jax.random.bernoulli(key, 0.5, (size,)).astype(jnp.float32)

    targets = np.random.default_rng(0).integers(0, 2, (64, size)).astype(np.float32)
    state, goal = (lambda seen: seen[:size]), (lambda seen: seen[size:])
    return Problem(environment, size, state, goal, random, targets, True, 2**size)


def sprite(size: int) -> Problem:
    """Pictures of a small character before a large background: a goal is the picture of where it is to be."""
    environment = sprites.sprites(size)
    targets = sprites.pictures(size)

    def random(key: Key) -> jax.Array:
        return jnp.asarray(targets)[jax.random.randint(key, (), 0, len(targets), jnp.int32)]

    return Problem(environment, size * size, whole, None, random, targets, False, len(targets))


MADE = {"four-rooms": four_rooms, "deep-sea": deep_sea, "bit-flip": bit_flip, "sprites": sprite}
SIZES = {"four-rooms": 9, "deep-sea": 10, "bit-flip": 13, "sprites": 20}


def make(name: str, size: int | None = None) -> Problem:
    """The problem of this name, of its usual size or of another one.

    Raises:
      InputError: where there is none of this name, or none of this size.
    """
    near = difflib.get_close_matches(name, MADE, 1)
    hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(MADE)}."
    require(name in MADE, f"env is {name!r}, which is not known: {hint}")
    chosen = SIZES[name] if size is None else size
    require_whole(1, size=chosen)
    return MADE[name](chosen)
