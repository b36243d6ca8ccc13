"""The whole agent as one program: act for an episode, remember it, learn from it, again and again."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp

from goal_agent import acting, learning, replay
from goal_agent.environments import Problem
from goal_agent.parts import Agent, Parts, assemble
from goal_agent.replay import Episode
from goal_agent.settings import Settings
from jaxga.base import Key

TESTED = 8  # episodes of a test


class Program(NamedTuple):
    """What can be done with an agent of one seed."""

    init: Callable[[Key], Agent]
    advance: Callable[[Agent], tuple[Agent, dict[str, jax.Array]]]  # a round: act, remember, learn
    perform: Callable[[Agent, Key], Episode]  # episodes with goals of its own and without chance
    reach: Callable[[Agent, Key, jax.Array], jax.Array]  # goals [G, d] from random starts: which were reached, [G]
    worth: Callable[[Agent, jax.Array, jax.Array], jax.Array]  # the goal setter's values [S, G] of goals at states
    propose: Callable[[Agent, Key, jax.Array], jax.Array]  # goals [S, d] at states [S, d]
    unseen: Callable[[Agent, jax.Array], jax.Array]  # [2] error of reconstructed states: of all, of the worst tenth
    parts: Parts
    steps: int  # of the environment in a round


def build(problem: Problem, settings: Settings) -> Program:
    """The program of an agent for a problem."""
    parts = assemble(problem, settings)
    s, steps = settings, problem.environment.max_steps

    def init(key: Key) -> Agent:
        keys = jax.random.split(key, 6)
        nothing, stored = jnp.zeros(problem.size, parts.stored), parts.stored
        empty = Episode(
            jnp.zeros((steps + 1, problem.size), stored), jnp.zeros(steps, jnp.int32), jnp.zeros(steps, jnp.float32),
            jnp.zeros((parts.stages, problem.size), stored), jnp.zeros(parts.stages, bool), jnp.int32(0),
            jnp.bool_(False),
        )  # fmt: skip
        diverse = parts.streams.diverse.init(nothing)
        diverse = parts.streams.diverse.add(diverse, parts.random_goals(keys[4], s.batch).astype(stored))
        return Agent(
            keys[0], parts.actor.init(keys[1]), parts.setter.init(keys[2]), parts.encoder.init(keys[3]),
            parts.streams.recent.init(empty), diverse, jnp.int32(0),
        )  # fmt: skip

    def advance(agent: Agent) -> tuple[Agent, dict[str, jax.Array]]:
        key, key_play, key_learn, key_keep, key_time = jax.random.split(agent.key, 5)
        episodes = acting.play(parts, agent, key_play, s.environments, s.exploration)
        row = jnp.arange(2 * s.environments, dtype=jnp.int32) % s.environments
        states = episodes.states[row, replay.below(key_time, episodes.length[row] + 1)]
        code = partial(parts.encoder.code, agent.encoder.params)
        diverse = replay.add_different(
            parts.streams.diverse, agent.diverse, key_keep, states, max(1, s.environments // 2), code
        )
        agent = agent._replace(key=key, recent=parts.streams.recent.add(agent.recent, episodes), diverse=diverse)
        agent, _ = jax.lax.scan(
            lambda agent, key: (learning.update(parts, agent, key), None), agent, jax.random.split(key_learn, s.updates)
        )
        told = {
            "return": jnp.mean(jnp.sum(episodes.rewards, axis=1)),
            "arrived": jnp.mean(episodes.arrived.astype(jnp.float32)),
        }
        return agent._replace(rounds=agent.rounds + 1), told

    def steady(agent: Agent) -> Agent:
        """With the weights of the actor that follow slowly: what is tested."""
        return agent._replace(actor=agent.actor._replace(params=agent.actor.slow))

    def perform(agent: Agent, key: Key) -> Episode:
        return acting.play(parts, steady(agent), key, TESTED, 0.0)

    def reach(agent: Agent, key: Key, aims: jax.Array) -> jax.Array:
        set_here = None if problem.given else aims
        return acting.play(parts, steady(agent), key, len(problem.targets), 0.0, set_here).arrived.any(axis=1)

    def worth(agent: Agent, states: jax.Array, aims: jax.Array) -> jax.Array:
        here, there = (parts.encoder.code(agent.encoder.params, some) for some in (states, aims))
        return parts.setter.apply(agent.setter.params, here[:, None], there[None])[..., 0]

    def propose(agent: Agent, key: Key, states: jax.Array) -> jax.Array:
        return acting.choose(parts, agent, key, states, states)

    def unseen(agent: Agent, states: jax.Array) -> jax.Array:
        errors = jnp.sort(jnp.sum((parts.encoder.paint(agent.encoder.params, states) - states) ** 2, axis=-1))
        return jnp.stack([errors.mean(), errors[-max(len(states) // 10, 1) :].mean()])

    return Program(init, advance, perform, reach, worth, propose, unseen, parts, steps * s.environments)
