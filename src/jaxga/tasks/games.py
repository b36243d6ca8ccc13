"""Games in environments of envpool: classic control, MuJoCo, procgen, and Atari (see `jaxga.tasks.atari`)."""

import difflib
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen

from jaxga.base import Game, InputError, Key, Params, independent, require, require_whole

SEEDS = 2**31 - 1
Prepare = Callable[[jax.Array], jax.Array]  # observations [B, ...] -> what the network sees


def envpool() -> Any:
    """The module envpool.

    Raises:
      InputError: if envpool is not installed, with the command that installs it.
    """
    try:
        import envpool
    except ImportError as error:
        raise InputError(f"envpool is missing ({error}), which has the games: pip install 'jaxga[games]'.") from error
    return envpool


def make_pool(task_id: str, **options: Any) -> Any:
    """A pool of environments of one game; ``options`` are those of ``envpool.make``, such as ``num_envs``."""
    pool = envpool().make(task_id, env_type="gymnasium", **options)
    _spaces(pool)
    return pool


def _spaces(pool: Any) -> tuple[Any, Any]:
    """The observation space and the action space. envpool caches both, so gymnasium would warn in the first call."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # gymnasium warns that it casts float64 bounds to float32
        return pool.observation_space, pool.action_space


def check_name(name: str, known: Sequence[str]) -> None:
    """Raise `InputError` with the most similar known names if ``name`` is not known."""
    lower = {other.lower(): other for other in known}
    near = [lower[other] for other in difflib.get_close_matches(name.lower(), lower, n=3, cutoff=0.5)]
    hint = f"did you mean {' or '.join(near)}?" if near else f"there are {len(known)}, {known[0]} for instance."
    require(name in known, f"game {name!r} is not known: {hint}")


def as_is(observations: jax.Array) -> jax.Array:
    """Observations as floats."""
    return observations.astype(jnp.float32)


def policy(network: linen.Module, space: Any, prepare: Prepare) -> Callable[[Params, jax.Array], jax.Array]:
    """``(params, observations [B, ...]) -> actions``: argmax of the outputs, or their tanh scaled to the bounds."""

    def act(params: Params, observations: jax.Array) -> jax.Array:
        outputs: Any = network.apply(params, prepare(observations))
        if hasattr(space, "n"):
            return jnp.argmax(outputs, axis=-1).astype(jnp.int32)
        low, high = (jnp.asarray(bound, jnp.float32) for bound in (space.low, space.high))
        return low + (jnp.tanh(outputs).reshape(-1, *low.shape) + 1) / 2 * (high - low)

    return act


def make_game(
    task_id: str,
    network: linen.Module,
    max_steps: int,
    prepare: Prepare,
    key: Callable[[Key, jax.Array], Key],
    frames: int = 1,
    unseen: int = 0,
    **config: Any,
) -> Game:
    """A game in which each episode has its own environment, seeded with the start of the episode.

    Args:
      task_id: name of the game in envpool.
      network: a flax module from prepared observations ``[B, ...]`` to outputs ``[B, n]``, one per action or component.
      max_steps: most steps of an episode.
      prepare: maps observations ``[B, ...]`` to the network's inputs.
      key: `jaxga.independent` or `jaxga.common`.
      frames: frames of the game per step, by default 1.
      unseen: stored as `Game.unseen`, by default 0.
      config: further options of ``envpool.make``.

    Raises:
      InputError: if ``max_steps`` is below 1, if observations or actions are not single arrays, or if the network has
        another number of outputs than the game needs.
    """
    require_whole(1, max_steps=max_steps)
    library = envpool()
    seen, actions = _spaces(library.make_spec(task_id, **config))
    simple = hasattr(seen, "shape") and seen.shape is not None and (hasattr(actions, "n") or hasattr(actions, "low"))
    require(simple, f"game {task_id!r} has observations or actions of several parts, which no plain network handles.")
    blank = prepare(jnp.asarray(np.zeros((1, *(seen.shape or ())), seen.dtype)))
    outputs = jax.eval_shape(network.init_with_output, jax.random.key(0), blank)[0].shape[-1]
    needed = int(actions.n) if hasattr(actions, "n") else int(actions.low.size)
    require(outputs == needed, f"the network has {outputs} outputs, and {task_id} takes {needed}: give it as many.")
    return Game(
        init=lambda key: network.init(key, blank),
        act=policy(network, actions, prepare),
        make=partial(make_pool, task_id, **config),
        actions=actions,
        draw=lambda key: jax.random.randint(key, (), 0, SEEDS, jnp.int32),
        starts=None,
        max_steps=max_steps,
        frames=frames,
        unseen=unseen,
        key=key,
        observation=jax.ShapeDtypeStruct(seen.shape or (), seen.dtype),
    )


def envpool_game(
    task_id: str,
    network: linen.Module,
    *,
    max_steps: int = 1000,
    prepare: Prepare = as_is,
    key: Callable[[Key, jax.Array], Key] = independent,
    **config: Any,
) -> Game:
    """Any envpool game whose observation is one array and whose action is one array: "CartPole-v1", "Ant-v4".

    Each episode has its own environment, seeded by the key of the episode. So an episode does not depend on episodes
    that were played before.

    Args:
      task_id: one of ``envpool.list_all_envs()``.
      network: a flax module from ``[B, ...]`` to ``[B, n]``: one output per discrete action, of which the largest is
        chosen; or one per component of a continuous action, whose tanh is scaled to the bounds.
      max_steps: most steps of an episode, by default 1000.
      prepare: maps observations ``[B, ...]`` to the network's inputs. By default it casts them to float32.
      key: `jaxga.independent` (default) gives each individual its own starts, `jaxga.common` gives all the same starts.
      config: further options of the environment, as in ``envpool.make``.

    Raises:
      InputError: for an unknown name, with the most similar known names; if envpool is not installed; if the network
        has another number of outputs than the game needs.

    >>> from jaxga.nn import MLP
    >>> game = envpool_game("CartPole-v1", MLP((2,)))
    >>> game.act(game.init(jax.random.key(0)), jnp.zeros((3, 4))).shape
    (3,)
    """
    check_name(task_id, envpool().list_all_envs())
    return make_game(task_id, network, max_steps, prepare, key, max_episode_steps=max_steps + 1, **config)
