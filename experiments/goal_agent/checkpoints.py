"""Checkpoints by orbax: everything that a run goes on from, replay included, so that it goes on bit for bit."""

from pathlib import Path
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp

from goal_agent.parts import Agent
from jaxga.base import require
from jaxga.checkpoint import opened


def save(directory: Path, rounds: int, agents: Agent) -> None:
    """Write agents, named by the rounds they have learned for. The last two checkpoints are kept."""
    leaves = jax.tree.leaves(agents._replace(key=jax.random.key_data(agents.key)))
    with opened(directory) as manager:
        if rounds not in manager.all_steps():
            state = {str(number): np.asarray(leaf) for number, leaf in enumerate(leaves)}
            manager.save(rounds, args=ocp.args.StandardSave(cast(Any, state)))


def latest(directory: Path) -> int | None:
    """The rounds of the newest checkpoint, or None."""
    if not directory.is_dir():
        return None
    with opened(directory) as manager:
        return manager.latest_step()


def restore(directory: Path, like: Agent) -> Agent:
    """The newest agents, in the form of ``like`` (arrays, or `jax.ShapeDtypeStruct`).

    Raises:
      InputError: where there is no checkpoint, or one of agents of other sizes.
    """
    rounds = latest(directory)
    require(rounds is not None, f"{directory} holds no complete checkpoint: start without --resume.")
    with opened(directory) as manager:
        found = cast(dict[str, Any], manager.restore(cast(int, rounds), args=ocp.args.StandardRestore()))
    plain = like._replace(key=jax.eval_shape(jax.random.key_data, like.key))
    due = jax.tree_util.tree_flatten_with_path(plain)[0]
    there = [found.get(str(number)) for number in range(len(due))]
    require(
        len(found) == len(due),
        f"{directory} holds an agent of {len(found)} arrays, and this one has {len(due)}: it has other parts.",
    )
    for (path, leaf), array in zip(due, there, strict=True):
        shape = np.shape(cast(Any, array))
        require(
            shape == leaf.shape,
            f"{directory} holds an agent of other sizes ({jax.tree_util.keystr(path, simple=True, separator='/')} has "
            f"shape {shape} there, {leaf.shape} here): take the arguments that it was made with, or another --out.",
        )
    leaves = [jnp.asarray(array, leaf.dtype) for (_, leaf), array in zip(due, there, strict=True)]
    agents = cast(Agent, jax.tree.unflatten(jax.tree.structure(plain), leaves))
    return agents._replace(key=jax.random.wrap_key_data(agents.key))
