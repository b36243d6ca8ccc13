"""One step of learning: of the actor, of the goal setter and of the autoencoder."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from goal_agent import goals, replay, value
from goal_agent.parts import Agent, Parts
from goal_agent.value import Learned
from jaxga.base import Key

LATER = 32  # goals out of which the best one that may follow is taken


def update(parts: Parts, agent: Agent, key: Key) -> Agent:
    """All parts take a step."""
    key_actor, key_setter, key_sample, key_encoder = jax.random.split(key, 4)
    learned = agent._replace(actor=learn_actor(parts, agent, key_actor))
    if parts.settings.chooser == "setter":
        learned = learned._replace(setter=learn_setter(parts, agent, key_setter))
    if parts.settings.encoder != "none":
        states = replay.as_float(_states(parts, agent, key_sample))
        learned = learned._replace(encoder=parts.encoder.step(key_encoder, agent.encoder, states))
    return learned


def _states(parts: Parts, agent: Agent, key: Key) -> jax.Array:
    """States ``[B, d]`` for the autoencoder: of the diverse stream, or one of each of some recent episodes."""
    if parts.settings.stream == "diverse":
        return parts.streams.diverse.sample(agent.diverse, key).experience
    key_sample, key_step = jax.random.split(key)
    episodes = parts.streams.recent.sample(agent.recent, key_sample).experience
    row = jnp.arange(parts.settings.batch, dtype=jnp.int32)
    return episodes.states[row, replay.below(key_step, episodes.length + 1)]


def learn_actor(parts: Parts, agent: Agent, key: Key) -> Learned:
    """Double Q-learning on the recent stream, with hindsight; without goals, with optimism about random actions."""
    s, actor = parts.settings, parts.actor
    key_sample, key_goals, key_dream, key_act = jax.random.split(key, 4)
    episodes = parts.streams.recent.sample(agent.recent, key_sample).experience
    some = replay.transitions(key_goals, episodes, 0.0 if parts.goalless else s.hindsight)
    code = partial(parts.encoder.code, agent.encoder.params)
    here, after, aims = code(some.states), code(some.after), code(some.goals)
    rewards, over, actions, bounds = some.rewards, some.over, some.actions, None
    weights = jnp.ones(s.batch, jnp.float32)
    if parts.goalless:
        aims = jnp.zeros_like(aims)
    else:
        there = parts.arrived(after, aims)
        over |= there
        rewards, bounds = _paid(parts, here, after, aims, there)
    now, slow = (actor.apply(params, after, aims) for params in (agent.actor.params, agent.actor.slow))
    targets = value.double_target(rewards, over, s.discount, now, slow, bounds)
    if parts.goalless:
        which = replay.share_of_dreams(s.batch, s.optimism)
        states = code(parts.random_goals(key_dream, s.batch))
        dreams = states, jax.random.randint(key_act, (s.batch,), 0, parts.actions, jnp.int32)
        here, actions = replay.dreamt(which, dreams, (here, actions))
        targets = jnp.where(which, s.hope, targets)
        if s.tries and s.optimism:
            pairs = parts.problem.states * parts.actions
            weight = replay.weight_of_dreams(s.optimism, s.tries, pairs, parts.steps_held(agent))
            weights = jnp.where(which, weight, 1.0)

    def loss(params: Any) -> jax.Array:
        return jnp.mean(weights * (value.chosen(actor.apply(params, here, aims), actions) - targets) ** 2)

    return actor.step(agent.actor, jax.grad(loss)(agent.actor.params))


def learn_setter(parts: Parts, agent: Agent, key: Key) -> Learned:
    """What goals of the recent stream were worth, with optimism about random ones."""
    s = parts.settings
    key_sample, key_stage, key_dream, key_pool = jax.random.split(key, 4)
    episodes = parts.streams.recent.sample(agent.recent, key_sample).experience
    found = replay.stages(key_stage, episodes, s.discount)
    code = partial(parts.encoder.code, agent.encoder.params)
    found = found._replace(states=code(found.states), goals=code(found.goals), after=code(found.after))
    extra = jnp.zeros(s.batch, jnp.float32)
    if s.intrinsic:
        expected = parts.actor.apply(agent.actor.params, found.states, found.goals).max(axis=-1)
        extra = s.intrinsic * goals.difficulty(expected)
    pool = code(parts.pool(agent, key_pool))
    pool = pool[:: -(-len(pool) // LATER)]
    targets = goals.stage_target(parts.setter, agent.setter.slow, found, pool, s.discount**parts.hold, extra)
    dreams = code(parts.random_goals(key_dream, s.batch))
    return goals.learn(parts.setter, agent.setter, found, targets, dreams, parts.optimism)


def _paid(
    parts: Parts, here: jax.Array, after: jax.Array, aims: jax.Array, there: jax.Array
) -> tuple[jax.Array, tuple[float, float] | None]:
    """What the actor is paid for a step, ``[B]``, and between what values lie."""
    if parts.settings.reward == "reach":
        return there.astype(jnp.float32), (0.0, 1.0)
    if parts.settings.reward == "steps":
        return there.astype(jnp.float32) - 1, (-1 / (1 - parts.settings.discount), 0.0)
    return jnp.linalg.norm(here - aims, axis=-1) - jnp.linalg.norm(after - aims, axis=-1), None
