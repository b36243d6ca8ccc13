"""The parts of the agent, put together for one problem, and what a run goes on from."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from goal_agent import encoder, goals, replay, value
from goal_agent.environments import Problem
from goal_agent.settings import Settings, check
from jaxga.base import Key


class Agent(NamedTuple):
    """Everything that a run goes on from."""

    key: Key
    actor: value.Learned
    setter: value.Learned
    encoder: value.Learned
    recent: Any  # episodes, in flashbax's form
    diverse: Any  # states, in flashbax's form
    rounds: jax.Array  # [] int32


class Parts(NamedTuple):
    """What does not change while the agent learns."""

    problem: Problem
    settings: Settings
    actor: value.Learner
    setter: value.Learner
    encoder: encoder.Encoder
    streams: replay.Streams
    optimism: goals.Optimism
    stored: Any  # dtype of states in the replay
    actions: int
    hold: int  # steps that a goal is in force
    stages: int  # goals of an episode
    goalless: bool  # does the actor learn from the environment's reward?

    def random_goals(self, key: Key, number: int) -> jax.Array:
        """Goals ``[number, d]`` of the right form, whether or not they can be reached."""
        return jax.vmap(self.problem.random)(jax.random.split(key, number))

    def pool(self, agent: Agent, key: Key) -> jax.Array:
        """Goals to choose from: states that were seen, and random ones."""
        key_seen, key_random = jax.random.split(key)
        known = replay.as_float(self.streams.diverse.sample(agent.diverse, key_seen).experience)
        return jnp.concatenate([known, self.random_goals(key_random, self.settings.proposals)])

    def steps_held(self, agent: Agent) -> jax.Array:
        """The number of steps ``[]`` in the replay, where no episode ends early; this round's are there."""
        s = self.settings
        episodes = jnp.minimum((agent.rounds + 1) * s.environments, s.episodes)
        return (episodes * self.problem.environment.max_steps).astype(jnp.float32)

    def arrived(self, codes: jax.Array, aims: jax.Array) -> jax.Array:
        """Which codes ``[..., c]`` are near enough to those of their goals."""
        return jnp.max(jnp.abs(codes - aims), axis=-1) < self.settings.near


def assemble(problem: Problem, settings: Settings) -> Parts:
    """The parts that these settings ask for."""
    check(problem, settings)
    s, steps = settings, problem.environment.max_steps
    assert isinstance(problem.environment.actions, int)
    seen = encoder.encoder(s.encoder, problem.size, s.code, s.rate)
    pair = value.Pair(s.hidden, problem.environment.actions, s.differences)
    return Parts(
        problem,
        settings,
        value.learner(pair, seen.size, optax.exponential_decay(s.rate, s.tenth, 0.1), s.following),
        value.learner(value.Pair(s.hidden, 1), seen.size, s.rate, s.following),
        seen,
        replay.streams(s.episodes, s.states, s.batch),
        goals.Optimism(s.optimism, s.hope),
        jnp.bool_ if problem.binary else jnp.float32,
        problem.environment.actions,
        steps // s.stages,
        s.stages,
        s.chooser == "none",
    )
