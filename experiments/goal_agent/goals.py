"""The goal setter: what it proposes, when a goal has failed, and what it learns from both."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from goal_agent.replay import Stage, dreamt, share_of_dreams
from goal_agent.value import Learned, Learner, Params
from jaxga.base import Key


class Optimism(NamedTuple):
    """A part of every batch says that something random is worth ``reward``."""

    fraction: float
    reward: float


def propose_goals(
    key: Key, learner: Learner, params: Params, states: jax.Array, pool: jax.Array, n: int, least: float = -jnp.inf
) -> jax.Array:
    """For each of ``states [E, d]`` the index ``[E]`` of the goal in ``pool [P, d]`` that is worth most to it.

    Each state samples ``n`` goals of the pool and takes the one of the highest predicted value. Goals below ``least``
    have failed: one is taken only where a state has sampled no other.
    """
    key_sample, key_tie = jax.random.split(key)
    values = learner.apply(params, states[:, None], pool[None])[..., 0]  # [E, P]
    values = values + 1e-6 * jax.random.normal(key_tie, values.shape, jnp.float32)
    values = jnp.where(values < least, values - 1e6, values)
    drawn = jax.random.uniform(key_sample, values.shape, jnp.float32)
    sampled = drawn <= jnp.sort(drawn, axis=1)[:, min(n, len(pool)) - 1 : min(n, len(pool))]
    return jnp.argmax(jnp.where(sampled, values, -jnp.inf), axis=1).astype(jnp.int32)


def has_failed(value: jax.Array, since: jax.Array, threshold: float, patience: int) -> jax.Array:
    """Is a goal given up? Where the actor expects less than ``threshold`` of it, ``patience`` steps after it was set.

    >>> has_failed(jnp.array([0.01, 0.01, 0.5]), jnp.array([2, 5, 5]), 0.05, 5).tolist()
    [False, True, False]
    """
    return (value < threshold) & (since >= patience)


def difficulty(value: jax.Array) -> jax.Array:
    """An intrinsic reward: 1 for a goal that is reached every second time, 0 for one that is certain or impossible.

    >>> difficulty(jnp.array([0.0, 0.5, 1.0])).tolist()
    [0.0, 1.0, 0.0]
    """
    chance = jnp.clip(value, 0.0, 1.0)
    return 4 * chance * (1 - chance)


def stage_target(
    learner: Learner, slow: Params, stage: Stage, pool: jax.Array, discount: float, intrinsic: jax.Array
) -> jax.Array:
    """What a goal was worth, ``[B]``: its rewards, and the best goal ``discount`` later, out of ``pool [P, d]``."""
    after = learner.apply(slow, stage.after[:, None], pool[None])[..., 0].max(axis=1)
    return stage.gains + intrinsic + discount * jnp.where(stage.over, 0.0, after)


def learn(
    learner: Learner, learned: Learned, stage: Stage, targets: jax.Array, dreams: jax.Array, optimism: Optimism
) -> Learned:
    """One step towards ``targets [B]``; in a part of the batch, towards: random goals ``dreams [B, d]`` are good."""
    which = share_of_dreams(len(targets), optimism.fraction)
    goals = dreamt(which, dreams, stage.goals)
    aims = jax.lax.stop_gradient(jnp.where(which, optimism.reward, targets))

    def loss(params: Params) -> jax.Array:
        return jnp.mean((learner.apply(params, stage.states, goals)[..., 0] - aims) ** 2)

    return learner.step(learned, jax.grad(loss)(learned.params))
