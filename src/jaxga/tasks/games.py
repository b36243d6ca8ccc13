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
    """The library, or one sentence on how to get it."""
    try:
        import envpool
    except ImportError as error:
        raise InputError(f"envpool is missing ({error}), which has the games: pip install 'jaxga[games]'.") from error
    return envpool


def make_pool(task_id: str, **options: Any) -> Any:
    """So many environments of a game, as envpool's options say."""
    pool = envpool().make(task_id, env_type="gymnasium", **options)
    _spaces(pool)
    return pool


def _spaces(pool: Any) -> tuple[Any, Any]:
    """What is seen and what is done; they remember what they are, and gymnasium's complaint is made once."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it takes bounds in doubles as singles
        return pool.observation_space, pool.action_space


def check_name(name: str, known: Sequence[str]) -> None:
    """Raise `InputError` with the nearest names where ``name`` is not known."""
    lower = {other.lower(): other for other in known}
    near = [lower[other] for other in difflib.get_close_matches(name.lower(), lower, n=3, cutoff=0.5)]
    hint = f"did you mean {' or '.join(near)}?" if near else f"there are {len(known)}, {known[0]} for instance."
    require(name in known, f"game {name!r} is not known: {hint}")


def as_is(observations: jax.Array) -> jax.Array:
    """Observations as floats."""
    return observations.astype(jnp.float32)


def policy(network: linen.Module, space: Any, prepare: Prepare) -> Callable[[Params, jax.Array], jax.Array]:
    """``(params, observations [B, ...]) -> actions``: the largest output, or tanh of outputs within their bounds."""

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
    """A game whose episodes have an environment each, seeded with their start."""
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
    """Any game of envpool with one array to see and one to answer: "CartPole-v1", "Ant-v4", "CoinrunEasy-v0".

    Every episode has an environment of its own, seeded with the start that its key draws: what happens in it depends on
    nothing that was played before.

    Args:
      task_id: one of ``envpool.list_all_envs()``.
      network: a flax module from ``[B, ...]`` to an output for each action (the largest is taken), or for each
        component of a continuous one (tanh, between its bounds).
      max_steps: after which an episode is over.
      prepare: what becomes of observations before the network sees them.
      key: `jaxga.independent` gives every individual starts of its own, `jaxga.common` everyone the same ones.
      config: other options of the environment, as envpool names them.

    Raises:
      InputError: for an unknown name, with the nearest ones; where envpool is missing.

    >>> from jaxga.nn import MLP
    >>> game = envpool_game("CartPole-v1", MLP((2,)))
    >>> game.act(game.init(jax.random.key(0)), jnp.zeros((3, 4))).shape
    (3,)
    """
    check_name(task_id, envpool().list_all_envs())
    return make_game(task_id, network, max_steps, prepare, key, max_episode_steps=max_steps + 1, **config)
