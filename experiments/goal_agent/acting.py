"""How the agent acts: a goal is set, pursued until it is reached, given up or out of time, and then comes the next."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from goal_agent import goals
from goal_agent.parts import Agent, Parts
from goal_agent.replay import Episode
from jaxga.base import Key


def choose(parts: Parts, agent: Agent, key: Key, states: jax.Array, observations: jax.Array) -> jax.Array:
    """A goal ``[E, d]`` for each of ``states [E, d]``."""
    s = parts.settings
    key_pool, key_choice = jax.random.split(key)
    if parts.goalless:
        return jnp.zeros_like(states)
    if s.chooser == "given":
        assert parts.problem.given is not None
        return jax.vmap(parts.problem.given)(observations)
    if s.chooser == "random":
        return parts.random_goals(key_choice, len(states))
    pool = parts.pool(agent, key_pool)
    codes, aims = (parts.encoder.code(agent.encoder.params, some) for some in (states, pool))
    best = goals.propose_goals(
        key_choice, parts.setter, agent.setter.params, codes, aims, s.proposals, s.threshold * s.hope
    )
    return pool[best]


def play(parts: Parts, agent: Agent, key: Key, number: int, chance: float, aims: jax.Array | None = None) -> Episode:
    """Episodes ``[number]``, in which a part ``chance`` of the actions is random.

    Where a goal was reached or given up, all actions are random until the next one is set, unless ``chance`` is 0.
    With ``aims [E, d]`` these are the goals.
    """
    s, problem, environment = parts.settings, parts.problem, parts.problem.environment
    key_reset, key_play = jax.random.split(key)
    begun = jax.vmap(environment.reset)(jax.random.split(key_reset, number))
    state_of = jax.vmap(problem.state)
    code = partial(parts.encoder.code, agent.encoder.params)
    nobody = jnp.zeros(number, bool)

    def stage(carry: Any, key: Key) -> tuple[Any, Any]:
        at, over = carry
        key_goal, key_steps = jax.random.split(key)
        here = state_of(at[1])
        wanted = choose(parts, agent, key_goal, here, at[1]) if aims is None else aims
        codes = code(wanted)
        read = jnp.zeros_like(codes) if parts.goalless else codes

        def step(carry: Any, drawn: Any) -> tuple[Any, Any]:
            at, over, done, free = carry
            key, since = drawn
            key_free, key_act, key_step = jax.random.split(key, 3)
            here = state_of(at[1])
            values = parts.actor.apply(agent.actor.params, code(here), read)
            if not parts.goalless:
                free |= goals.has_failed(values.max(axis=-1), since, s.threshold, s.patience)
            at_random = (free & (chance > 0)) | (jax.random.uniform(key_free, (number,), jnp.float32) < chance)
            other = jax.random.randint(key_act, (number,), 0, parts.actions, jnp.int32)
            action = jnp.where(at_random, other, jnp.argmax(values, axis=-1).astype(jnp.int32))
            *moved, reward, ended = jax.vmap(environment.step)(jax.random.split(key_step, number), at[0], action)
            at = jax.tree.map(partial(_frozen, over), at, tuple(moved))
            after = state_of(at[1])
            if not parts.goalless:
                done |= parts.arrived(code(after), codes) & ~over
            kept = here, after, action, jnp.where(over, 0.0, reward), ~over
            return (at, over | ended, done, free | done), kept

        keys = jax.random.split(key_steps, parts.hold), jnp.arange(parts.hold, dtype=jnp.int32)
        (at, over, done, _), kept = jax.lax.scan(step, (at, over, nobody, nobody), keys)
        return (at, over), (kept, wanted, done)

    (_, over), (kept, wanted, done) = jax.lax.scan(stage, (begun, nobody), jax.random.split(key_play, parts.stages))
    before, after, actions, rewards, lived = jax.tree.map(_episodes, kept)
    return Episode(
        jnp.concatenate([before[:, :1], after], axis=1).astype(parts.stored),
        actions,
        rewards,
        wanted.swapaxes(0, 1).astype(parts.stored),
        done.swapaxes(0, 1),
        jnp.sum(lived, axis=1, dtype=jnp.int32),
        over,
    )


def _frozen(over: jax.Array, old: jax.Array, new: jax.Array) -> jax.Array:
    """What an episode that is over keeps."""
    return jnp.where(over.reshape(-1, *[1] * (new.ndim - 1)), old, new)


def _episodes(leaf: jax.Array) -> jax.Array:
    """``[stages, hold, E, ...] -> [E, T, ...]``."""
    return leaf.reshape(-1, *leaf.shape[2:]).swapaxes(0, 1)
