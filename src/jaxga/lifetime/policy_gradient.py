"""Policy gradients within a life: episodes of a fixed number of steps, and the loss of REINFORCE."""

from collections.abc import Callable
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
from flax import linen

from jaxga.base import Evaluation, Key, Params, Task, common, require, require_at_least, require_whole
from jaxga.tasks.control import Action, Box, Environment


class Trajectory(NamedTuple):
    """E episodes of S steps each. Entries after the end of an episode are to be masked by ``playing``."""

    observations: jax.Array  # [E, S, ...], the observation before each step
    actions: jax.Array  # [E, S, ...], the action of each step
    rewards: jax.Array  # [E, S], the reward of each step, 0 after the end of the episode
    playing: jax.Array  # [E, S] bool: was the episode not over before this step?

    @property
    def returns(self) -> jax.Array:
        """The sum of rewards of each episode, ``[E]``."""
        return jnp.sum(self.rewards, axis=1)

    def to_go(self, discount: float) -> jax.Array:
        """The discounted sum of rewards from each step on, ``[E, S]``."""

        def add(later: jax.Array, reward: jax.Array) -> tuple[jax.Array, jax.Array]:
            total = reward + discount * later
            return total, total

        nothing = jnp.zeros(len(self.rewards), jnp.float32)
        return jax.lax.scan(add, nothing, self.rewards.T, reverse=True)[1].T


class Distribution(NamedTuple):
    """A distribution of actions, given the outputs of a network ``[..., n]``."""

    init: Callable[[Key], Params]  # (key) -> own, the parameters of the distribution itself
    draw: Callable[[Params, Key, jax.Array], Action]  # (own, key, outputs [n]) -> action, for one observation
    log_likelihood: Callable[[Params, jax.Array, jax.Array], jax.Array]  # (own, outputs [..., n], actions) -> [...]


def gaussian_or_softmax(environment: Environment, deviation: float = 0.1) -> Distribution:
    """A softmax over discrete actions, or a normal distribution around the outputs for continuous actions.

    Args:
      environment: decides the kind of actions.
      deviation: initial standard deviation of continuous actions, by default 0.1. The standard deviations, one for
        each component, are parameters. Actions are not clipped, so the environment has to clip them.

    Raises:
      InputError: if ``deviation`` is negative, or is 0 for continuous actions.
    """
    require_at_least(0, deviation=deviation)
    if not isinstance(environment.actions, Box):

        def likelihood(own: Params, outputs: jax.Array, actions: jax.Array) -> jax.Array:
            del own
            logs = jax.nn.log_softmax(outputs)
            return jnp.take_along_axis(logs, actions[..., None], axis=-1)[..., 0]

        return Distribution(
            lambda _: (),
            lambda _, key, outputs: jax.random.categorical(key, outputs).astype(jnp.int32),
            likelihood,
        )
    require(deviation > 0, "deviation is 0: continuous actions would all be the same, and teach nothing.")

    def init(key: Key) -> Params:
        del key
        return jnp.full(environment.outputs, jnp.log(deviation), jnp.float32)

    def draw(own: Params, key: Key, outputs: jax.Array) -> Action:
        return outputs + jnp.exp(own) * jax.random.normal(key, outputs.shape, jnp.float32)

    def density(own: Params, outputs: jax.Array, actions: jax.Array) -> jax.Array:
        away = (actions - outputs) * jnp.exp(-own)  # not a division, which XLA rewrites to this only in some programs
        return -jnp.sum(0.5 * away**2 + own, axis=-1)

    return Distribution(init, draw, density)


def policy_gradient(
    environment: Environment,
    network: linen.Module,
    *,
    episodes: int = 20,
    steps: int | None = None,
    discount: float = 0.99,
    deviation: float = 0.1,
    key: Callable[[Key, jax.Array], Key] = common,
) -> Task:
    """A task whose loss is that of REINFORCE (Williams 1992), and whose fitness is the mean return.

    The loss is minus the mean of ``log likelihood of an action * its advantage``. For the advantage, the mean over all
    episodes at the same step (the baseline) is subtracted from the discounted sum of rewards from this step on. The
    differences are divided by their standard deviation over all steps and episodes.

    `learn` takes steps down the gradient of the loss: ``learn(lives, optax.sgd(0.5), 2, fresh=True)`` with ``lives =
    lambda key: policy_gradient(environment_of(key), network)``.

    Args:
      environment: the environment. Its episodes end by themselves or after ``steps``.
      network: a flax module from ``[E, *observation]`` to ``[E, outputs]``: logits of discrete actions, or the mean of
        continuous ones.
      episodes: E, the number of episodes for a gradient and for a score, by default 20.
      steps: most steps of an episode, by default the limit of the environment. All are computed, even after the end.
      discount: discount factor of the rewards in the loss, by default 0.99. Fitness is not discounted.
      deviation: initial standard deviation of continuous actions, by default 0.1. It is a parameter that is learned.
      key: `common` (default) or `independent`.

    Parameters are ``{"network": ..., "distribution": ...}``.

    Raises:
      InputError: if a number is out of range.

    >>> from jaxga import nn
    >>> from jaxga.tasks import cartpole
    >>> task = policy_gradient(cartpole(), nn.MLP((8, 2)), episodes=4, steps=20)
    >>> params = task.init(jax.random.key(0))
    >>> gradient = jax.grad(task.loss, argnums=1)(jax.random.key(1), params)
    >>> bool(task.score(jax.random.key(1), params).fitness > 1)
    True
    """
    limit = environment.max_steps if steps is None else steps
    require_whole(1, episodes=episodes, steps=limit)
    require(0 <= discount <= 1, f"discount is {discount}, and must lie between 0 and 1.")
    distribution = gaussian_or_softmax(environment, deviation)
    inputs = jnp.zeros((1, *environment.observation), jnp.float32)

    def init(key: Key) -> Params:
        key_network, key_own = jax.random.split(key)
        return {"network": network.init(key_network, inputs), "distribution": distribution.init(key_own)}

    def outputs(params: Params, observations: jax.Array) -> jax.Array:
        return cast(jax.Array, network.apply(params["network"], observations))

    def play(key: Key, params: Params) -> Trajectory:
        def act(keys: Key, observations: jax.Array) -> Action:
            return jax.vmap(distribution.draw, in_axes=(None, 0, 0))(
                params["distribution"], keys, outputs(params, observations)
            )

        return trajectories(environment, act, jax.random.split(key, episodes), limit)

    def loss(key: Key, params: Params) -> jax.Array:
        seen = jax.lax.stop_gradient(play(key, params))
        to_go = seen.to_go(discount)
        counted = jnp.sum(seen.playing, dtype=jnp.float32)
        baseline = jnp.sum(to_go, axis=0) / jnp.maximum(jnp.sum(seen.playing, axis=0, dtype=jnp.float32), 1)
        away = jnp.where(seen.playing, to_go - baseline, 0)
        advantage = away / (jnp.sqrt(jnp.sum(away**2) / counted) + 1e-8)
        shown = jax.vmap(jax.vmap(lambda playing, observation: jnp.where(playing, observation, 0)))
        flat = shown(seen.playing, seen.observations).reshape(episodes * limit, *environment.observation)
        found = outputs(params, flat).reshape(episodes, limit, -1)
        likelihood = distribution.log_likelihood(params["distribution"], found, shown(seen.playing, seen.actions))
        return -jnp.sum(likelihood * advantage) / counted

    def evaluate(key: Key, params: Params) -> Evaluation:
        return Evaluation(jnp.mean(play(key, params).returns))

    return Task(init, evaluate, key, loss)


def trajectories(
    environment: Environment, act: Callable[[Key, jax.Array], Action], keys: Key, steps: int
) -> Trajectory:
    """Play one episode for each key, always S steps, and keep all steps. (`jaxga.tasks.control` keeps only sums.)

    Args:
      environment: the environment.
      act: ``(keys [E], observations [E, ...]) -> actions [E, ...]``.
      keys: ``[E]``, one key for each episode.
      steps: S, the number of steps.
    """

    def drawn_for(number: Any) -> jax.Array:
        return jax.vmap(jax.random.fold_in, in_axes=(0, None))(keys, number)

    def step(carry: Any, number: jax.Array) -> tuple[Any, Trajectory]:
        state, observation, playing = carry
        action = act(drawn_for(2 * number + 1), observation)
        state, after, reward, done = jax.vmap(environment.step)(drawn_for(2 * number + 2), state, action)
        seen = Trajectory(observation, action, jnp.where(playing, reward, 0), playing)
        return (state, after, playing & ~done), seen

    state, observation = jax.vmap(environment.reset)(drawn_for(0))
    first = state, observation, jnp.ones(len(keys), bool)
    _, seen = jax.lax.scan(step, first, jnp.arange(steps, dtype=jnp.int32))
    return Trajectory(*(jnp.moveaxis(part, 0, 1) for part in seen))
