"""Environments for `jaxga.tasks.control`: CartPole, a bandit that differs in each episode, and those of gymnax."""

import difflib
from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxga.base import InputError, Key, require, require_whole
from jaxga.tasks.control import Action, Box, Environment

GRAVITY, POLE_MASS, TOTAL_MASS, HALF_LENGTH = 9.8, 0.1, 1.1, 0.5
FORCE, SECONDS = 10.0, 0.02  # force of a push; duration of a step
MOST_POSITION, MOST_ANGLE = 2.4, 12 * jnp.pi / 180  # an episode ends beyond these absolute values


def cartpole(max_steps: int = 500) -> Environment:
    """Balance a pole on a cart by pushing the cart left (0) or right (1). Each step has reward 1.

    State and observation ``[4]``: position, speed, angle and angular speed. With 500 steps it is CartPole-v1, which
    counts as solved at a mean return of 475 over 100 episodes. The dynamics are those of Barto, Sutton and Anderson
    (1983), integrated by Euler's method.

    Args:
      max_steps: most steps of an episode, by default 500.

    Raises:
      InputError: if ``max_steps`` is below 1.

    >>> state, observation = cartpole().reset(jax.random.key(0))
    >>> state, observation, reward, done = cartpole().step(jax.random.key(1), state, jnp.int32(1))
    >>> observation.shape, float(reward), bool(done), bool(observation[1] > 0)
    ((4,), 1.0, False, True)
    """
    require_whole(1, max_steps=max_steps)

    def reset(key: Key) -> tuple[jax.Array, jax.Array]:
        state = jax.random.uniform(key, (4,), jnp.float32, -0.05, 0.05)
        return state, state

    def step(key: Key, state: jax.Array, action: Action) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
        del key
        _, speed, angle, spin = state
        sin, cos = jnp.sin(angle), jnp.cos(angle)
        pushed = (jnp.where(action == 1, FORCE, -FORCE) + POLE_MASS * HALF_LENGTH * spin**2 * sin) / TOTAL_MASS
        turned = GRAVITY * sin - cos * pushed
        turned = turned / (HALF_LENGTH * (4 / 3 - POLE_MASS * cos**2 / TOTAL_MASS))
        moved = pushed - POLE_MASS * HALF_LENGTH * turned * cos / TOTAL_MASS
        state = state + SECONDS * jnp.stack([speed, moved, spin, turned])
        over = (jnp.abs(state[0]) > MOST_POSITION) | (jnp.abs(state[2]) > MOST_ANGLE)
        return state, state, jnp.float32(1), over

    return Environment(reset, step, (4,), 2, max_steps)


class BanditState(NamedTuple):
    """The state of one episode of `bandit`."""

    chances: jax.Array  # [K] the probability that a lever pays
    left: jax.Array  # [] int32, the number of pulls that are left


def bandit(levers: int = 2, pulls: int = 20) -> Environment:
    """The meta-bandit: K levers that pay 1 with unknown probabilities, drawn uniformly for each episode.

    Observations ``[K + 2]``: the previous action, one-hot (zeros before the first); the previous reward; the fraction
    of pulls that are left. A policy has to find the best lever within the episode. With two levers, random actions
    have a mean return of ``pulls / 2``, and a policy that knew the probabilities would have ``pulls * 2 / 3``.

    Args:
      levers: K, by default 2.
      pulls: steps of an episode, by default 20.

    Raises:
      InputError: if ``levers`` or ``pulls`` is below 1.

    >>> state, observation = bandit(levers=3).reset(jax.random.key(0))
    >>> observation.tolist()
    [0.0, 0.0, 0.0, 0.0, 1.0]
    >>> _, observation, _, _ = bandit(levers=3, pulls=4).step(jax.random.key(1), state, jnp.int32(0))
    >>> observation[:3].tolist()
    [1.0, 0.0, 0.0]
    """
    require_whole(1, levers=levers, pulls=pulls)
    numbers = np.arange(levers, dtype=np.int32)

    def seen(action: Action, reward: jax.Array, left: jax.Array) -> jax.Array:
        rest = jnp.stack([reward, left.astype(jnp.float32) / pulls])
        return jnp.concatenate([(numbers == action).astype(jnp.float32), rest])

    def reset(key: Key) -> tuple[BanditState, jax.Array]:
        state = BanditState(jax.random.uniform(key, (levers,), jnp.float32), jnp.int32(pulls))
        return state, seen(jnp.int32(-1), jnp.float32(0), state.left)

    def step(key: Key, state: BanditState, action: Action) -> tuple[BanditState, jax.Array, jax.Array, jax.Array]:
        chance = jnp.sum(jnp.where(numbers == action, state.chances, 0))
        reward = (jax.random.uniform(key, (), jnp.float32) < chance).astype(jnp.float32)
        state = state._replace(left=state.left - 1)
        return state, seen(action, reward, state.left), reward, state.left <= 0

    return Environment(reset, step, (levers + 2,), levers, pulls)


def from_gymnax(name: str, **settings: Any) -> Environment:
    """An environment of gymnax: ``from_gymnax("Breakout-MinAtar")``.

    It calls gymnax's ``step_env``, which has no automatic reset, because `control` would discard the reset.
    ``step_env`` returns the same five values in gymnax 0.0.9, the version that JAX 0.12 gets, and in gymnax 1.0, where
    ``step`` returns six.

    Args:
      name: name of the environment in gymnax.
      settings: parameters of the environment to replace, such as ``max_steps_in_episode=100``.

    Raises:
      InputError: where gymnax is not installed, or knows no such name or setting, or cannot step the environment with
        this JAX, or where an observation is not an array.
    """
    try:
        import gymnax
    except ImportError as error:
        message = f"{name} comes from gymnax, which is missing ({error}): pip install 'jaxga[control]'."
        raise InputError(message) from error
    names = list(gymnax.registered_envs)
    near = ", ".join(difflib.get_close_matches(name, names, 3, 0.4) or names)
    require(name in names, f"gymnax has no environment {name!r}: did you mean {near}?")
    # gymnax is written for JAX's standard type promotion, so this is set here whatever the caller has set.
    standard = partial(jax.numpy_dtype_promotion, "standard")
    with standard():
        made, params = gymnax.make(name)
        known = sorted(params.__dataclass_fields__)
        wrong = sorted(set(settings) - set(known))
        require(not wrong, f"{name} has no settings {wrong}: it has {', '.join(known)}.")
        params = params.replace(**settings)
        space, seen = made.action_space(params), made.observation_space(params)

    def raw_step(key: Key, state: Any, action: Action) -> tuple[Any, jax.Array, jax.Array, jax.Array]:
        observation, state, reward, over, _ = made.step_env(key, state, action, params)
        return state, _float(observation), _float(reward).reshape(()), jnp.asarray(over, bool).reshape(())

    def types_of_a_step() -> Any:
        example = jax.eval_shape(partial(made.reset_env, params=params), jax.random.key(0))[1]
        action = jnp.int32(0) if hasattr(space, "n") else jnp.zeros(space.shape)
        return jax.eval_shape(raw_step, jax.random.key(0), example, action)[0]

    # Python numbers in the state of a reset have no fixed dtype. They get the dtypes of the state after a step.
    with standard():
        types = _of_gymnax(name, types_of_a_step)

    def settled(state: Any) -> Any:
        return jax.tree.map(lambda leaf, like: jnp.asarray(leaf, like.dtype), state, types)

    def reset(key: Key) -> tuple[Any, jax.Array]:
        with standard():
            observation, state = made.reset_env(key, params)
            return settled(state), _float(observation)

    def step(key: Key, state: Any, action: Action) -> tuple[Any, jax.Array, jax.Array, jax.Array]:
        with standard():
            state, observation, reward, over = raw_step(key, state, action)
            return settled(state), observation, reward, over

    require(hasattr(seen, "shape"), f"{name} has observations of several parts, which no network here reads.")
    actions = int(space.n) if hasattr(space, "n") else _box(space)
    return Environment(reset, step, tuple(seen.shape), actions, int(params.max_steps_in_episode))


def _of_gymnax(name: str, traced: Callable[[], Any]) -> Any:
    """The result of ``traced()``; an `InputError` if the installed gymnax and JAX do not work together."""
    try:
        return traced()
    except Exception as error:
        versions = f"gymnax {version('gymnax')} and JAX {jax.__version__}"
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        message = f"{name} cannot be stepped by {versions} ({reason}): pip install 'gymnax>=1.0.1' 'jax<0.12'."
        raise InputError(message) from error


def _float(values: Any) -> jax.Array:
    return jnp.asarray(values, jnp.float32)


def _box(space: Any) -> Box:
    low, high = (jnp.broadcast_to(bound, space.shape).ravel().tolist() for bound in (space.low, space.high))
    return Box(tuple(low), tuple(high))
