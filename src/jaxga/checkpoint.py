"""Checkpoints with orbax: complete or not there, and readable without knowing what was saved.

Of many processes the first one alone writes and reads them. What is saved is on no mesh, so it goes on on any other.
"""

import contextlib
import io
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import orbax.checkpoint as ocp

from jaxga.base import THREEFRY, Individual, InputError, State, Survivors, require
from jaxga.distributed import from_first
from jaxga.tree import in_one, in_parts

KEEP = 2
NUMBERS = "key_as_numbers"  # in the record of a state whose key is no typed one


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Orbax narrates, and what matters it raises."""
    logger = logging.getLogger("absl")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)


class Checkpoint(NamedTuple):
    """All that a run needs to go on as if it had never stopped."""

    state: State
    survivors: Survivors  # [G, ...], for the pedigree
    history: dict[str, np.ndarray]  # [G] each
    config: dict[str, Any]
    seconds: float  # of wall-clock so far


def _manager(directory: Path) -> ocp.CheckpointManager:
    alone = ocp.options.MultiprocessingOptions(primary_host=0, active_processes={0}, barrier_sync_key_prefix="jaxga")
    options = ocp.CheckpointManagerOptions(
        max_to_keep=KEEP, enable_async_checkpointing=False, multiprocessing_options=alone, create=False
    )
    directory.mkdir(parents=True, exist_ok=True)
    return ocp.CheckpointManager(directory.absolute(), options=options)


def save(directory: Path, checkpoint: Checkpoint) -> None:
    """Write one, named by its generation. It appears under its final name only when it is complete."""
    step, state = int(checkpoint.state.generation), checkpoint.state
    record: dict[str, Any] = {"survivors": checkpoint.survivors._asdict(), "history": checkpoint.history}
    record["seconds"] = checkpoint.seconds
    if jax.process_count() > 1:  # of arrays that one process has, orbax takes those of numpy alone
        state = jax.tree.map(np.asarray, _with_key(jax.random.key_data, state))
        record[NUMBERS] = 1
    with _quiet(), _manager(directory) as manager:
        if step in manager.all_steps():
            return
        items = {"state": ocp.args.StandardSave(state), "record": ocp.args.StandardSave(record)}
        manager.save(step, args=ocp.args.Composite(**items, config=ocp.args.JsonSave(checkpoint.config)))


def latest(directory: Path) -> int | None:
    """The generation of the newest complete checkpoint, or None."""
    if not directory.is_dir():
        return None
    with _quiet(), _manager(directory) as manager:
        return manager.latest_step()


def restore(directory: str | Path, like: State | None = None) -> Checkpoint:
    """Read the newest complete checkpoint of a run; nothing else needs to be known, hyperparameters are in it.

    ``like``, a State of `jax.ShapeDtypeStruct`, gives params of other node types than dicts their types back. (The
    params of flax, and all strategies, are dicts and tuples.)

    Raises:
      InputError: where there is none, or where it is damaged. Nothing is deleted.
    """
    directory = Path(directory)
    step = latest(directory)
    require(step is not None, f"{directory} holds no complete checkpoint: start the run without --resume.")
    try:
        with _quiet(), _manager(directory) as manager:
            items = {"record": ocp.args.StandardRestore(), "config": ocp.args.JsonRestore()}
            found = manager.restore(step, args=ocp.args.Composite(**items))
            record = found["record"]
            if like is not None and NUMBERS in record:
                like = like._replace(key=jax.eval_shape(jax.random.key_data, like.key))
            state = manager.restore(step, args=ocp.args.Composite(state=ocp.args.StandardRestore(like)))["state"]
        return Checkpoint(
            state=_as_state(state),
            survivors=Survivors(**jax.tree.map(np.asarray, record["survivors"])),
            history={name: np.asarray(values) for name, values in record["history"].items()},
            config=found["config"],
            seconds=float(record["seconds"]),
        )
    except Exception as error:  # whatever a damaged file does to a reader
        raise InputError(
            f"checkpoint {directory / str(step)} cannot be read ({type(error).__name__}): if it is damaged, move that "
            "folder away to go on from the one before; if it was saved with another algorithm, take that one."
        ) from error


def found_by_first(directory: Path, like: State) -> Checkpoint | None:
    """The newest of a run, or None, as the first process finds it, in all of them, who need not see the files."""
    if jax.process_count() == 1:
        return restore(directory, like) if latest(directory) is not None else None
    data = from_first(lambda: _pack(restore(directory, like)) if latest(directory) is not None else b"")
    return _unpack(data, like) if data else None


def _pack(saved: Checkpoint) -> bytes:
    state = [np.asarray(leaf) for leaf in jax.tree.leaves(_with_key(jax.random.key_data, saved.state))]
    parts = {"state": dict(enumerate(state)), "survivors": saved.survivors._asdict(), "history": saved.history}
    arrays = in_one(parts)
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, config=json.dumps(saved.config), seconds=saved.seconds, **arrays)
    return buffer.getvalue()


def _unpack(data: bytes, like: State) -> Checkpoint:
    with np.load(io.BytesIO(data), allow_pickle=False) as file:
        parts = in_parts(file)
        state = jax.tree.unflatten(jax.tree.structure(like), list(parts["state"].values()))
        return Checkpoint(
            state=_with_key(_typed, jax.tree.map(jax.numpy.asarray, state)),
            survivors=Survivors(**jax.tree.map(np.asarray, parts["survivors"])),
            history=parts["history"],
            config=json.loads(str(file["config"])),
            seconds=float(file["seconds"]),
        )


def _typed(numbers: jax.Array) -> jax.Array:
    return jax.random.wrap_key_data(numbers, impl=THREEFRY)


def _with_key(change: Any, state: State) -> State:
    return state._replace(key=change(state.key))


def _as_state(found: Any) -> State:
    """Without a target orbax gives back dicts for named tuples and lists for tuples."""
    if not isinstance(found, State):
        parents = Individual(found["parents"]["params"], _tuples(found["parents"]["strategy"]))
        found = State(**{**found, "parents": parents})
    return _with_key(_typed, found) if found.key.ndim else found


def _tuples(node: Any) -> Any:
    if isinstance(node, list):
        return tuple(_tuples(child) for child in node)
    if isinstance(node, dict):
        return {name: _tuples(child) for name, child in node.items()}
    return node
