"""Evolved rewards: features and reward of a Q-learner are inherited, and its behaviour is learned in every life."""

from collections.abc import Callable
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import optax
from flax import linen

from jaxga.base import Evaluation, Key, Params, Task, independent, require, require_whole
from jaxga.lifetime.learning import unseen_lives, updated
from jaxga.lifetime.policy_gradient import trajectories
from jaxga.nn import MLP
from jaxga.tasks.control import Box, Environment
from jaxga.tree import iota, where


class Rewarded(NamedTuple):
    """The evolved parameters."""

    encoder: Params  # parameters of the encoder of observations, () if there is none
    reward: Params  # parameters of the reward network, () if there is none


def rewarded(
    environment: Environment,
    *,
    reward: linen.Module | None,
    encoder: linen.Module | None = None,
    learner: linen.Module | None = None,
    optimiser: optax.GradientTransformation | None = None,
    steps: int = 200,
    actors: int = 8,
    exploration: float = 0.3,
    discount: float = 0.9,
    episodes: int = 16,
    count: int = 1,
    key: Callable[[Key, jax.Array], Key] = independent,
    validation_lives: int = 20,
) -> Task:
    """A task whose fitness is the true return of a Q-learner that was trained on an evolved reward (Singh et al. 2010).

    In each life a Q-learner starts with random weights. It acts in ``actors`` copies of the environment for ``steps``
    steps. Each step is followed by one step of the optimiser towards ``reward + discount * max Q`` of the next state.
    The inherited network computes this reward; the learner never sees the reward of the environment. After learning it
    plays ``episodes`` episodes without exploration. Fitness is the mean of their true returns. The learned weights are
    not inherited.

    Args:
      environment: an environment with discrete actions.
      reward: a flax module from ``[E, 2 * features + actions]`` to ``[E, 1]``. Its inputs are the features before the
        step, the one-hot action, and the features after the step. None uses the reward of the environment instead, as
        a baseline.
      encoder: a flax module from observations ``[E, ...]`` to features ``[E, d]``, the inputs of learner and reward.
        By default None: the features are the observations, flattened.
      learner: a flax module from features ``[E, d]`` to values ``[E, actions]``, by default ``MLP((32, actions))``.
      optimiser: an optax optimiser, by default Adam with learning rate 0.003.
      steps: steps of each actor in a life, by default 200. An episode that ends is followed by another one.
      actors: environments in which the learner acts at the same time, by default 8.
      exploration: fraction of actions that are drawn uniformly while learning, by default 0.3.
      discount: discount factor of the learner, by default 0.9.
      episodes: episodes to score on, by default 16.
      count: lives of a child in a generation, by default 1. Fitness is the mean over them.
      key: `independent` (default) gives each child its own lives, `common` all children of a generation the same.
      validation_lives: number of lives of `Task.validate`, by default 20. They are the same in every validation, and
        are never used for fitness in the run.

    Parameters are a `Rewarded`.

    Raises:
      InputError: if actions are continuous, or a number is out of range.

    >>> from jaxga import nn
    >>> from jaxga.tasks import four_rooms
    >>> task = rewarded(four_rooms(5), reward=nn.MLP((8, 1)), steps=10, episodes=2)
    >>> score = task.score(jax.random.key(1), task.init(jax.random.key(0)))
    >>> bool(0 <= score.fitness) and bool(score.fitness <= 1)
    True
    """
    require(
        not isinstance(environment.actions, Box),
        "environment has continuous actions, and Q-learning needs some to choose from.",
    )
    require_whole(1, steps=steps, actors=actors, episodes=episodes, count=count, validation_lives=validation_lives)
    require(0 <= exploration <= 1, f"exploration is {exploration}, and must lie between 0 and 1.")
    require(0 <= discount <= 1, f"discount is {discount}, and must lie between 0 and 1.")
    choices = cast(int, environment.actions)
    network = MLP((32, choices)) if learner is None else learner
    descent = optax.adam(0.003) if optimiser is None else optimiser
    seen = jnp.zeros((1, *environment.observation), jnp.float32)

    def encode(genes: Rewarded, observations: jax.Array) -> jax.Array:
        if encoder is None:
            return observations.reshape(len(observations), -1)
        return cast(jax.Array, encoder.apply(genes.encoder, observations))

    def init(key: Key) -> Rewarded:
        key_encoder, key_reward = jax.random.split(key)
        own = () if encoder is None else encoder.init(key_encoder, seen)
        size = encode(Rewarded(own, ()), seen).shape[1]
        judged = jnp.zeros((1, 2 * size + choices), jnp.float32)
        return Rewarded(own, () if reward is None else reward.init(key_reward, judged))

    def judge(genes: Rewarded, before: jax.Array, action: jax.Array, after: jax.Array, true: jax.Array) -> jax.Array:
        if reward is None:
            return true
        chosen = jax.nn.one_hot(action, choices, dtype=jnp.float32)
        return cast(jax.Array, reward.apply(genes.reward, jnp.concatenate([before, chosen, after], axis=1)))[:, 0]

    def values(weights: Params, features: jax.Array) -> jax.Array:
        return cast(jax.Array, network.apply(weights, features))

    def best(weights: Params, features: jax.Array) -> jax.Array:
        return jnp.argmax(values(weights, features), axis=1).astype(jnp.int32)

    def learned(genes: Rewarded, key: Key) -> Params:
        key_weights, key_reset, key_steps = jax.random.split(key, 3)
        state, observation = jax.vmap(environment.reset)(jax.random.split(key_reset, actors))
        weights = network.init(key_weights, encode(genes, observation))

        def step(carry: Any, number: jax.Array) -> tuple[Any, None]:
            state, observation, weights, memory, lasted = carry
            key_act, key_explore, key_step, key_again = jax.random.split(jax.random.fold_in(key_steps, number), 4)
            before = encode(genes, observation)
            other = jax.random.randint(key_act, (actors,), 0, choices, jnp.int32)
            action = jnp.where(
                jax.random.uniform(key_explore, (actors,), jnp.float32) < exploration, other, best(weights, before)
            )
            state, later, true, done = jax.vmap(environment.step)(jax.random.split(key_step, actors), state, action)
            after = encode(genes, later)
            paid = judge(genes, before, action, after, true)
            worth = jnp.where(done, 0, discount * jnp.max(values(weights, after), axis=1))

            def error(weights: Params) -> jax.Array:
                found = jnp.take_along_axis(values(weights, before), action[:, None], axis=1)[:, 0]
                return jnp.mean((found - paid - worth) ** 2)

            updates, memory = updated(descent, jax.grad(error)(weights), memory, weights)
            again = jax.vmap(environment.reset)(jax.random.split(key_again, actors))
            lasted += 1
            over = done | (lasted >= environment.max_steps)
            state, observation = jax.vmap(where)(over, again, (state, later))
            return (state, observation, optax.apply_updates(weights, updates), memory, jnp.where(over, 0, lasted)), None

        lasted = jnp.zeros(actors, jnp.int32)
        first = state, observation, weights, descent.init(weights), lasted
        return jax.lax.scan(step, first, iota(steps))[0][2]

    def tested(genes: Rewarded, weights: Params, key: Key) -> jax.Array:
        def act(keys: Key, observations: jax.Array) -> jax.Array:
            del keys
            return best(weights, encode(genes, observations))

        keys = jax.random.split(key, episodes)
        return jnp.mean(trajectories(environment, act, keys, environment.max_steps).returns)

    def score(genes: Rewarded, key: Key, lives: int) -> Evaluation:
        def live(number: jax.Array) -> jax.Array:
            key_learn, key_test = jax.random.split(jax.random.fold_in(key, number))
            return tested(genes, learned(genes, key_learn), key_test)

        return Evaluation(jnp.mean(jax.vmap(live)(iota(lives))))

    def validate(genes: Rewarded) -> Evaluation:
        return score(genes, unseen_lives(), validation_lives)

    return Task(init, lambda key, genes: score(genes, key, count), key, validate=validate)
