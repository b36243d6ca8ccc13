"""Two streams of experience, kept by flashbax: episodes for the agent, states that differ for the autoencoder.

The agent learns from the last episodes, with hindsight: some goals are replaced by states that the same episode came to
later. And with optimism: a part of every batch says that something random is good.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import flashbax
import jax
import jax.numpy as jnp

from jaxga.base import Key


class Episode(NamedTuple):
    """One episode of at most T steps, with K goals one after another."""

    states: jax.Array  # [T + 1, d]
    actions: jax.Array  # [T] int32
    rewards: jax.Array  # [T] those of the environment
    goals: jax.Array  # [K, d]
    arrived: jax.Array  # [K] bool, was the goal reached while it was in force?
    length: jax.Array  # [] int32, steps that were taken
    over: jax.Array  # [] bool, did the environment end it?


class Transition(NamedTuple):
    """A step with the goal that it is judged by, ``[B, ...]``."""

    states: jax.Array
    actions: jax.Array
    rewards: jax.Array
    after: jax.Array
    over: jax.Array
    goals: jax.Array


class Stage(NamedTuple):
    """What came of a goal, ``[B, ...]``: what the goal setter learns from."""

    states: jax.Array
    goals: jax.Array
    gains: jax.Array  # discounted rewards while the goal was in force
    after: jax.Array
    over: jax.Array
    arrived: jax.Array


class Streams(NamedTuple):
    """Both streams; what they hold is a pytree."""

    recent: Any  # of flashbax: episodes, the oldest are forgotten first
    diverse: Any  # of flashbax: states


def streams(episodes: int, states: int, batch: int) -> Streams:
    """Room for so many episodes and states, from which ``batch`` are sampled."""
    return Streams(
        flashbax.make_item_buffer(episodes, 1, batch, add_batches=True),
        flashbax.make_item_buffer(states, 1, batch, add_batches=True),
    )


def as_float(tree: Any) -> Any:
    """States that are kept as bools, as the networks read them."""
    return jax.tree.map(lambda leaf: leaf.astype(jnp.float32) if leaf.dtype == jnp.bool_ else leaf, tree)


def transitions(key: Key, episodes: Episode, hindsight: float) -> Transition:
    """A step of each of ``episodes [B, ...]``; a part ``hindsight`` of the goals are states that came later."""
    key_step, key_later, key_which = jax.random.split(key, 3)
    batch, steps = episodes.actions.shape
    hold = -(-steps // episodes.goals.shape[1])
    row = jnp.arange(batch, dtype=jnp.int32)
    step = below(key_step, episodes.length)
    later = step + 1 + below(key_later, episodes.length - step)
    swapped = jax.random.uniform(key_which, (batch,), jnp.float32) < hindsight
    goals = jnp.where(swapped[:, None], episodes.states[row, later], episodes.goals[row, step // hold])
    over = episodes.over & (step + 1 == episodes.length)
    return Transition(
        as_float(episodes.states[row, step]),
        episodes.actions[row, step],
        episodes.rewards[row, step],
        as_float(episodes.states[row, step + 1]),
        over,
        as_float(goals),
    )


def stages(key: Key, episodes: Episode, discount: float) -> Stage:
    """One goal of each of ``episodes [B, ...]``, and what came of it."""
    batch, steps = episodes.actions.shape
    hold = -(-steps // episodes.goals.shape[1])
    row, time = jnp.arange(batch, dtype=jnp.int32), jnp.arange(steps, dtype=jnp.int32)
    stage = below(key, -(-episodes.length // hold))
    first = stage * hold
    last = jnp.minimum(first + hold, episodes.length)
    since = time[None] - first[:, None]
    within = (since >= 0) & (time[None] < last[:, None])
    gains = jnp.sum(
        jnp.where(within, episodes.rewards * jnp.float32(discount) ** jnp.maximum(since, 0).astype(jnp.float32), 0.0),
        axis=1,
    )
    return Stage(
        as_float(episodes.states[row, first]),
        as_float(episodes.goals[row, stage]),
        gains,
        as_float(episodes.states[row, last]),
        episodes.over & (last == episodes.length),
        episodes.arrived[row, stage],
    )


def share_of_dreams(batch: int, fraction: float) -> jax.Array:
    """Which of a batch are replaced by what optimism says, ``[B]`` bool: the first ones, as many as the share says.

    >>> int(share_of_dreams(64, 0.25).sum())
    16
    """
    return jnp.arange(batch, dtype=jnp.int32) < round(batch * fraction)


def weight_of_dreams(fraction: float, tries: float, pairs: int, steps: jax.Array) -> jax.Array:
    """The weight in a loss with which a part ``fraction`` of the batch counts as ``tries`` of every pair.

    The rest of the batch is drawn from ``steps`` that were made. A pair of state and action that was tried c times and
    is worth v then has the value ``(tries * hope + c * v) / (tries + c)``. The weight is at most 1.

    Args:
      fraction: part of the batch that says: something random is good.
      tries: of every pair.
      pairs: of states and actions.
      steps: ``[]``, that the replay holds.

    >>> float(weight_of_dreams(0.5, 0.1, 200, jnp.float32(1000)))
    0.019999999552965164
    """
    return jnp.minimum(tries * pairs / steps * (1 - fraction) / fraction, 1.0)


def dreamt(which: jax.Array, dreams: Any, real: Any) -> Any:
    """``dreams`` where ``which [B]``, and ``real`` elsewhere."""
    return jax.tree.map(
        lambda dream, fact: jnp.where(which.reshape(-1, *[1] * (fact.ndim - 1)), dream, fact), dreams, real
    )


def most_different(states: jax.Array, kept: jax.Array, count: int) -> jax.Array:
    """The ``count`` of ``states [n, d]`` that are farthest from their nearest neighbour among ``kept [m, d]``."""
    away = jnp.sum((states[:, None] - kept[None]) ** 2, axis=-1).min(axis=1)
    return jnp.argsort(-away)[:count]


def add_different(
    stream: Any, held: Any, key: Key, states: jax.Array, count: int, code: Callable[[jax.Array], jax.Array]
) -> Any:
    """Add those of ``states`` to a stream that differ most from what it holds, by the codes of the autoencoder."""
    kept = stream.sample(held, key).experience
    best = most_different(code(as_float(states)), code(as_float(kept)), count)
    return stream.add(held, states[best])


def below(key: Key, ends: jax.Array) -> jax.Array:
    """Whole numbers from 0 to below each of ``ends [B]``."""
    drawn = jax.random.uniform(key, ends.shape, jnp.float32) * ends.astype(jnp.float32)
    return jnp.minimum(drawn.astype(jnp.int32), jnp.maximum(ends - 1, 0))
