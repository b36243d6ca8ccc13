"""Environments whose reward is seldom seen: the deep sea, whose treasure lies behind costs, and bits to be flipped."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxga.base import Key, require_whole
from jaxga.tasks.control import Action, Environment

COST = 0.01  # of going right all the way down


class Diver(NamedTuple):
    """The state of one episode in the deep sea."""

    row: jax.Array  # [] int32, which is also how many steps were taken
    column: jax.Array  # [] int32


def deep_sea(size: int = 10, mapping: int = 42) -> Environment:
    """Sink for N steps, one row a step, and go left or right: 1 is paid for going right N times, 0.99 with its cost.

    A step to the right costs 0.01 / N. Which of the actions 0 and 1 goes right is drawn for every cell once. At
    random, the treasure is found in one of 2 ** N episodes. It is the task of Osband et al. (2020, bsuite), where an
    agent solves it that gets there in far fewer.

    Args:
      size: N, of 1 or more.
      mapping: the seed of what the actions do. The sea is the same one in every episode.

    Observations ``[(N + 1) ** 2]``: the cell as one of so many, row by row. There are N + 1 rows and columns, since the
    last step leads somewhere too, to the lower right corner where the treasure was found; bsuite shows zeros there.

    >>> environment = deep_sea(3)
    >>> state, observation = environment.reset(jax.random.key(0))
    >>> state, after, reward, done = environment.step(jax.random.key(0), state, jnp.int32(0))
    >>> observation.shape, int(observation.argmax()), int(after.argmax()) in (4, 5), bool(done)
    ((16,), 0, True, False)
    """
    require_whole(1, size=size)
    require_whole(0, mapping=mapping)
    right = np.random.default_rng(mapping).integers(0, 2, (size, size)).astype(np.int32)

    def observed(state: Diver) -> jax.Array:
        return jax.nn.one_hot(state.row * (size + 1) + state.column, (size + 1) ** 2, dtype=jnp.float32)

    def reset(key: Key) -> tuple[Diver, jax.Array]:
        del key
        state = Diver(jnp.int32(0), jnp.int32(0))
        return state, observed(state)

    def step(key: Key, state: Diver, action: Action) -> tuple[Diver, jax.Array, jax.Array, jax.Array]:
        del key
        row, column = jnp.minimum(state.row, size - 1), jnp.minimum(state.column, size - 1)
        goes_right = action == jnp.asarray(right)[row, column]
        after = Diver(row + 1, jnp.where(goes_right, column + 1, jnp.maximum(column - 1, 0)))
        found = after.column == size
        reward = found.astype(jnp.float32) - jnp.where(goes_right, COST / size, 0.0).astype(jnp.float32)
        return after, observed(after), reward, after.row == size

    return Environment(reset, step, ((size + 1) ** 2,), 2, size)


class Bits(NamedTuple):
    """The state of one episode of flips."""

    bits: jax.Array  # [n] float32, 0 or 1
    target: jax.Array  # [n]


def bit_flip(bits: int = 13, max_steps: int | None = None) -> Environment:
    """Make n bits equal to others, by actions that flip one each; every step that does not get there costs 1.

    The bits and the target are drawn for every episode, which ends where they are equal. Whoever only learns from that
    has seen nothing but -1 when n is large. Andrychowicz et al. (2017).

    Args:
      bits: n, their number.
      max_steps: of an episode; n by default.

    Observations ``[2 n]``: the bits, and the target.

    >>> environment = bit_flip(4)
    >>> state, observation = environment.reset(jax.random.key(0))
    >>> state, after, reward, done = environment.step(jax.random.key(0), state, jnp.int32(2))
    >>> (after - observation).tolist()[:2], abs(float(after[2] - observation[2]))
    ([0.0, 0.0], 1.0)
    """
    require_whole(1, bits=bits, max_steps=bits if max_steps is None else max_steps)

    def observed(state: Bits) -> jax.Array:
        return jnp.concatenate([state.bits, state.target])

    def reset(key: Key) -> tuple[Bits, jax.Array]:
        drawn = jax.random.bernoulli(key, 0.5, (2, bits)).astype(jnp.float32)
        state = Bits(drawn[0], drawn[1])
        return state, observed(state)

    def step(key: Key, state: Bits, action: Action) -> tuple[Bits, jax.Array, jax.Array, jax.Array]:
        del key
        chosen = jnp.arange(bits, dtype=jnp.int32) == action
        state = state._replace(bits=jnp.where(chosen, 1 - state.bits, state.bits))
        equal = (state.bits == state.target).all()
        return state, observed(state), jnp.where(equal, 0.0, -1.0).astype(jnp.float32), equal

    return Environment(reset, step, (2 * bits,), bits, max_steps or bits)
