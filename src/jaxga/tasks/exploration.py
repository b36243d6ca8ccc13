"""Environments with sparse rewards: the deep sea, where a treasure lies behind small costs, and bit flipping."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxga.base import Key, require_whole
from jaxga.tasks.control import Action, Environment

COST = 0.01  # total cost of going right in all steps of an episode


class Diver(NamedTuple):
    """The state of one episode in the deep sea."""

    row: jax.Array  # [] int32, the row, equal to the number of steps taken
    column: jax.Array  # [] int32, the column


def deep_sea(size: int = 10, mapping: int = 42) -> Environment:
    """Sink for N steps, one row per step, and go left or right: N steps to the right reach a treasure worth 1.

    A step to the right costs 0.01 / N, so the best return is 0.99. For each cell it is drawn once which of the actions
    0 and 1 goes right. Random actions find the treasure in one of 2 ** N episodes. The task is that of Osband et al.
    (2020, bsuite), where an agent counts as successful if it needs far fewer episodes.

    Args:
      size: N, 1 or more, by default 10.
      mapping: seed that decides which action goes right in each cell, by default 42. All episodes share the mapping.

    Observations ``[(N + 1) ** 2]``: the cell, one-hot, row by row. There are N + 1 rows and columns, because the last
    step also leads to a cell: to the lower right corner if the treasure was found. Here bsuite shows zeros.

    Raises:
      InputError: if ``size`` is below 1, or ``mapping`` is negative.

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
    """The state of one episode of `bit_flip`."""

    bits: jax.Array  # [n] float32, the current bits, 0 or 1
    target: jax.Array  # [n] float32, the bits to reach, 0 or 1


def bit_flip(bits: int = 13, max_steps: int | None = None) -> Environment:
    """Make n bits equal to n target bits (Andrychowicz et al. 2017). Each action flips one bit.

    A step costs 1, except the step that reaches the target, which ends the episode. Bits and target are drawn for each
    episode. If n is large, random actions almost never reach the target, and every reward that they see is -1.

    Args:
      bits: n, the number of bits, by default 13.
      max_steps: most steps of an episode, by default n.

    Observations ``[2 n]``: the bits, then the target.

    Raises:
      InputError: if ``bits`` or ``max_steps`` is below 1.

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
