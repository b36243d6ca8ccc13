"""Checkpoints of runs, with orbax.

A checkpoint is either complete or not there, and it can be read without knowledge of the run that wrote it. If there
are several processes, only the first one reads and writes checkpoints. They are not tied to a mesh of devices, so a run
can continue on another one.
"""

import contextlib
import io
import json
import logging
import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxga.algorithm import everybody
from jaxga.base import THREEFRY, Best, Evaluation, Individual, InputError, Recipe, Source, State, require
from jaxga.distributed import from_first
from jaxga.pedigree import Start
from jaxga.tree import in_one, in_order, in_parts, named_leaves, numbered

if TYPE_CHECKING:
    from orbax.checkpoint import CheckpointManager

KEEP = 2  # number of checkpoints that are kept
_METRICS = "scores/metrics/"


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence orbax's log messages. Errors are still raised."""
    logger = logging.getLogger("absl")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)


class Checkpoint(NamedTuple):
    """All that a run needs to continue as if it had not stopped."""

    state: State
    recipes: Recipe  # [G, ...], for the pedigree
    fitness: np.ndarray  # [G, T], for the pedigree
    history: dict[str, np.ndarray]  # the metrics, [G] each
    config: dict[str, Any]  # what config.json holds
    seconds: float  # wall-clock time so far
    start: Start | None = None  # the source of another run from which this run continued


def _manager(directory: Path) -> "CheckpointManager":
    import orbax.checkpoint as ocp

    alone = ocp.options.MultiprocessingOptions(primary_host=0, active_processes={0}, barrier_sync_key_prefix="jaxga")
    options = ocp.CheckpointManagerOptions(
        max_to_keep=KEEP, enable_async_checkpointing=False, multiprocessing_options=alone, create=False
    )
    directory.mkdir(parents=True, exist_ok=True)
    return ocp.CheckpointManager(directory.absolute(), options=options)


@contextlib.contextmanager
def opened(directory: Path) -> "Iterator[CheckpointManager]":
    """A context with orbax's ``CheckpointManager`` for a directory, without its log messages.

    The manager can also be used for checkpoints of other things than runs. The directory is made if it does not exist.
    The last two checkpoints are kept. Writing is synchronous.
    """
    with _quiet(), _manager(directory) as manager:
        yield manager


def save_params(path: str | os.PathLike[str], params: Any) -> None:
    """Write a tree of arrays to a new folder ``path``. Orbax's ``StandardCheckpointer().restore(path)`` reads it."""
    import orbax.checkpoint as ocp

    with _quiet(), ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(Path(path).absolute(), params)


def save(directory: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint, with its generation as its name, unless there is one for this generation.

    It gets its final name only when it is complete.
    """
    import orbax.checkpoint as ocp

    step = int(checkpoint.state.generation)
    state = jax.tree.map(np.asarray, _with_key(jax.random.key_data, checkpoint.state))._asdict()
    state["source"] = {name: getattr(state["source"], name) for name in ("key", "generation", "parents", "pairs")}
    record: dict[str, Any] = {"recipes": _given(checkpoint.recipes), "history": checkpoint.history}
    record |= {"fitness": checkpoint.fitness, "seconds": checkpoint.seconds}
    if checkpoint.start:
        record["start"] = numbered(checkpoint.start)
    with opened(directory) as manager:
        if step in manager.all_steps():
            return
        items = {"state": ocp.args.StandardSave(state), "record": ocp.args.StandardSave(record)}
        manager.save(step, args=ocp.args.Composite(**items, config=ocp.args.JsonSave(checkpoint.config)))


def latest(directory: Path) -> int | None:
    """The generation of the newest complete checkpoint, or None if there is none."""
    if not directory.is_dir():
        return None
    with opened(directory) as manager:
        return manager.latest_step()


def restore(directory: str | os.PathLike[str], like: State | None = None) -> Checkpoint:
    """Read the newest complete checkpoint of a run. It includes the run's configuration, such as hyperparameters.

    Args:
      directory: that `save` wrote to.
      like: a State of `jax.ShapeDtypeStruct`. The checkpoint must fit it, and gets its types of containers. It is
        needed if params have other containers than dicts. Params of flax are dicts; strategies need no ``like``.

    Raises:
      InputError: if there is no complete checkpoint, if it is damaged, or if it differs from ``like`` in names, shapes
        or dtypes. Nothing is deleted.
    """
    import orbax.checkpoint as ocp

    directory = Path(directory)
    step = latest(directory)
    require(step is not None, f"{directory} holds no complete checkpoint: start the run without --resume.")
    items = {"record": ocp.args.StandardRestore(), "config": ocp.args.JsonRestore()}
    try:
        with opened(directory) as manager:
            found = manager.restore(step, args=ocp.args.Composite(**items, state=ocp.args.StandardRestore()))
    except Exception as error:  # damaged files raise many kinds of errors
        raise InputError(
            f"checkpoint {directory / str(step)} cannot be read ({type(error).__name__}): move that folder away to go "
            "on from the one before."
        ) from error
    state, record = _as_version_2(found["state"], found["record"])
    state = _as_state(state)
    return Checkpoint(
        state=state if like is None else _grafted(state, like, directory / str(step)),
        recipes=Recipe(**jax.tree.map(np.asarray, record["recipes"])),
        fitness=np.asarray(record["fitness"]),
        history={name: np.asarray(values) for name, values in record["history"].items()},
        config=found["config"],
        seconds=float(record["seconds"]),
        start=in_order(jax.tree.map(np.asarray, record.get("start", {}))) or None,
    )


def _grafted(state: State, like: State, place: Path) -> State:
    """The arrays of a state in the containers of ``like``, matched by name."""
    due = named_leaves(like)
    # An earlier version did not save the metrics of the parents.
    unknown = {name: jnp.full(leaf.shape, jnp.nan, leaf.dtype) for name, leaf in due.items() if _METRICS in name}
    found = unknown | named_leaves(state)
    other = [
        f"{name} {_kind(found.get(name))} there, {_kind(due.get(name))} here"
        for name in sorted({*found, *due})
        if _kind(found.get(name)) != _kind(due.get(name))
    ]
    require(
        not other,
        f"checkpoint {place} was saved with another algorithm ({'; '.join(other[:3])}): take that one to go on.",
    )
    return jax.tree.unflatten(jax.tree.structure(like), [found[name] for name in due])


def _kind(leaf: Any) -> str:
    return "missing" if leaf is None else f"{leaf.dtype}{list(leaf.shape)}"


def found_by_first(directory: Path, like: State) -> Checkpoint | None:
    """The newest checkpoint of a run, or None if there is none.

    Only the first process reads the files. The other processes get the checkpoint, or its error, from the first.

    Args:
      directory: with the checkpoints.
      like: a State of `jax.ShapeDtypeStruct`, see `restore`.

    Raises:
      InputError: as `restore`, in all processes.
    """
    if jax.process_count() == 1:
        return restore(directory, like) if latest(directory) is not None else None
    data = from_first(lambda: _pack(restore(directory, like)) if latest(directory) is not None else b"")
    return _unpack(data, like) if data else None


def _pack(saved: Checkpoint) -> bytes:
    state = [np.asarray(leaf) for leaf in jax.tree.leaves(_with_key(jax.random.key_data, saved.state))]
    parts = {"state": numbered(state), "recipes": _given(saved.recipes), "history": saved.history,
             "start": numbered(saved.start or ())}  # fmt: skip
    arrays = in_one(parts)
    buffer = io.BytesIO()
    np.savez(
        buffer,
        allow_pickle=False,
        config=json.dumps(saved.config),
        seconds=saved.seconds,
        fitness=saved.fitness,
        **arrays,
    )
    return buffer.getvalue()


def _unpack(data: bytes, like: State) -> Checkpoint:
    with np.load(io.BytesIO(data), allow_pickle=False) as file:
        parts = in_parts(file)
        state = jax.tree.unflatten(jax.tree.structure(like), in_order(parts["state"]))
        return Checkpoint(
            state=_with_key(_typed, jax.tree.map(jax.numpy.asarray, state)),
            recipes=Recipe(**parts["recipes"]),
            fitness=file["fitness"],
            history=parts["history"],
            config=json.loads(str(file["config"])),
            seconds=float(file["seconds"]),
            start=in_order(parts.get("start", {})) or None,
        )


def _typed(numbers: jax.Array) -> jax.Array:
    return jax.random.wrap_key_data(numbers, impl=THREEFRY)


def _with_key(change: Any, state: State) -> State:
    return state.with_source(key=change(state.key))


def _given(recipes: Recipe) -> dict[str, Any]:
    return {name: part for name, part in recipes._asdict().items() if part is not None}


def _as_version_2(state: Any, record: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """A state and a record in the present format, if version 0.1 saved them; else as they are."""
    if "source" in state:
        return state, record
    table = record["survivors"]
    plain = all((np.asarray(table[name]) == 1).all() for name in ("share", "step"))
    names = ("indices",) if plain else ("indices", "share", "step")
    parents = len(state["fitness"])
    source = {name: state[name] for name in ("key", "generation", "parents")}
    later = {
        "source": source | {"pairs": everybody(parents, parents)},
        "scores": {name: state[name] for name in ("fitness", "tiebreak")},
        "best": {name: state[f"best_{name}"] for name in Best._fields},
    }
    return later, record | {"recipes": {name: table[name] for name in names}, "fitness": table["fitness"]}


def _as_state(found: Any) -> State:
    """A State from what orbax returns: dicts for named tuples, lists for tuples, numpy arrays, and no empty nodes."""
    source, scores = found["source"], found["scores"]
    typed = jnp.issubdtype(source["key"].dtype, jax.dtypes.prng_key)  # as it was saved before version 0.1
    arrays = partial(jax.tree.map, jnp.asarray)
    parents = Individual(source["parents"]["params"], _tuples(source["parents"]["strategy"]))
    return State(
        Source(
            source["key"] if typed else _typed(jnp.asarray(source["key"])),
            jnp.asarray(source["generation"]),
            arrays(parents),
            jnp.asarray(source["pairs"]),
        ),
        Evaluation(
            jnp.asarray(scores["fitness"]), jnp.asarray(scores["tiebreak"]), arrays(scores.get("metrics") or {})
        ),
        arrays(_tuples(found.get("remembered") or ())),
        Best(**arrays(found["best"])),
    )


def _tuples(node: Any) -> Any:
    if isinstance(node, list):
        return tuple(_tuples(child) for child in node)
    if isinstance(node, dict):
        return {name: _tuples(child) for name, child in node.items()}
    return node
