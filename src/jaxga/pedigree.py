"""The pedigree: a whole run in a few bytes a generation, and its exact replay.

A run is its root key plus, for every generation, which children made the next parents (`Survivors`). No weight, no
noise and no list of seeds is stored. Replay repeats `Algorithm.advance`, which never looks at a fitness, so it costs
T children a generation instead of N and gives the live parents bit for bit. Compare the compact encoding of Such et
al. 2017, whose decoding takes longer with every generation; here nothing is decoded while running.
"""

import json
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxga.algorithm import candidate, shape_of_state
from jaxga.base import Algorithm, Individual, InputError, State, Survivors, require
from jaxga.compilation import jit
from jaxga.tree import in_one, in_order, in_parts, numbered, take

Config = dict[str, Any]
Start = tuple[np.ndarray, ...]  # the generation, and the leaves of a state, its key as numbers


class Pedigree(NamedTuple):
    """Root key, configuration and the survivors table ``[G, ...]`` of a run."""

    key: jax.Array
    survivors: Survivors | None  # numpy, [G, T, k] and so on; None of a run that has not begun
    config: Config
    children: int  # N
    start: Start | None = None  # of a run that went on from the state of another one

    @property
    def first(self) -> int:
        """The number of the first generation: 0, or the one that the run went on from."""
        return 0 if self.start is None else int(self.start[0])

    @property
    def last(self) -> int:
        """The number of the generation after the last one."""
        return self.first + self.generations

    @property
    def generations(self) -> int:
        """G."""
        return len(self.survivors.indices) if self.survivors else 0


class Ancestor(NamedTuple):
    """One link of a lineage: child ``index`` of ``generation``, who became parent ``slot`` of the next one."""

    generation: int
    index: int
    slot: int
    fitness: float


def as_start(state: State) -> Start:
    """The state that a run goes on from, as arrays."""
    plain = state._replace(key=jax.random.key_data(state.key))
    return np.asarray(state.generation), *map(np.asarray, jax.tree.leaves(plain))


def begin(algorithm: Algorithm, pedigree: Pedigree) -> State:
    """The state that the run of a pedigree began with: founders, or the state that it went on from."""
    if pedigree.start is None:
        return jit(algorithm.init)(pedigree.key)
    kind = shape_of_state(algorithm)
    due, leaves = jax.tree.leaves(kind._replace(key=jax.random.key_data(pedigree.key))), pedigree.start[1:]
    require(
        [leaf.shape for leaf in due] == [leaf.shape for leaf in leaves],
        "the pedigree went on from parents of other shapes than this algorithm's: make it as it was made for the run.",
    )
    state = jax.tree.unflatten(jax.tree.structure(kind), [jnp.asarray(leaf) for leaf in leaves])
    return state._replace(key=pedigree.key)


def drawn_afresh(algorithm: Algorithm, pedigree: Pedigree) -> bool:
    """Has the first generation no parents, because its founders were drawn afresh?"""
    return pedigree.start is None and jax.eval_shape(algorithm.init, pedigree.key).parents is None


def save(pedigree: Pedigree, path: str | os.PathLike[str]) -> Path:
    """Write a pedigree to one ``.npz`` file: indices in the smallest integer that holds them, no pickle."""
    path = Path(path)
    assert pedigree.survivors is not None, "a run that has not begun has no pedigree"
    table = pedigree.survivors._asdict()
    largest = max(int(table["indices"].max(initial=0)), 1)
    table["indices"] = table["indices"].astype(np.min_scalar_type(largest))
    table["best_index"] = table["best_index"].astype(np.min_scalar_type(largest))
    if (table["share"] == 1).all() and (table["step"] == 1).all():  # one child makes one parent: nothing to weigh
        del table["share"], table["step"]
    temporary = path.with_name(path.name + ".tmp")
    with open(temporary, "wb") as file:
        np.savez_compressed(
            file,
            key=np.asarray(jax.random.key_data(pedigree.key)),
            key_type=str(jax.random.key_impl(pedigree.key)),
            config=json.dumps(pedigree.config),
            children=pedigree.children,
            allow_pickle=False,
            **table,
            **in_one({"start": numbered(pedigree.start or ())}),
        )
    temporary.replace(path)
    return path


def load(path: str | os.PathLike[str]) -> Pedigree:
    """Read what `save` wrote.

    Raises:
      InputError: where the file is missing or damaged, or has an index that no child and no parent has.
    """
    try:
        with open(path, "rb") as opened, np.load(opened, allow_pickle=False) as file:
            data = {name: file[name] for name in file.files}
        indices = data["indices"].astype(np.int32)
        plain: dict[str, Any] = (
            {} if "share" in data else dict.fromkeys(("share", "step"), np.ones(indices.shape, np.float32))
        )
        table: dict[str, Any] = {name: (plain | data)[name] for name in Survivors._fields}
        table |= {"indices": indices, "best_index": data["best_index"].astype(np.int32)}
        key = jax.random.wrap_key_data(jnp.asarray(data["key"]), impl=str(data["key_type"]))
        config, children = json.loads(str(data["config"])), int(data["children"])
        start = in_parts(data).get("start", {})
    except Exception as error:  # a zip file can be damaged in many ways
        raise InputError(f"pedigree {path} cannot be read ({error}): take it from its run again.") from error
    candidates = children + indices.shape[1]
    require(
        bool(((indices >= 0) & (indices < candidates)).all()),
        f"pedigree {path} has the index {indices.max()}, and {children} children and {indices.shape[1]} parents have 0 "
        f"to {candidates - 1}: take it from its run again.",
    )
    return Pedigree(key, Survivors(**table), config, children, in_order(start) or None)


def _advance_all(algorithm: Algorithm, state: State, survivors: Survivors) -> State:
    return jax.lax.scan(lambda state, row: (algorithm.advance(state, row), None), state, survivors)[0]


def _compiled(function: Callable[..., Any], algorithm: Algorithm) -> Callable[..., Any]:
    return algorithm.remembered(function, lambda: jit(partial(function, algorithm)))


def replay(algorithm: Algorithm, pedigree: Pedigree, generation: int | None = None) -> State:
    """The state at the start of ``generation`` (default: after the last), bit for bit that of the live run.

    ``algorithm`` must be made as it was for the run; `Pedigree.config` says how.
    """
    generation = pedigree.last if generation is None else generation
    require(
        pedigree.first <= generation <= pedigree.last,
        f"generation is {generation}, and the pedigree knows {pedigree.first} to {pedigree.last}.",
    )
    state, count = begin(algorithm, pedigree), generation - pedigree.first
    if not count:
        return state
    assert pedigree.survivors is not None
    sizes = pedigree.survivors.indices.shape[1], pedigree.children
    require(
        sizes == (algorithm.parents, algorithm.children),
        f"the pedigree has {sizes[0]} parents and {sizes[1]} children, the algorithm {algorithm.parents} and "
        f"{algorithm.children}: build it from pedigree.config.",
    )
    survivors = jax.tree.map(jnp.asarray, take(pedigree.survivors, slice(0, count)))
    if state.parents is None:
        state = jit(algorithm.advance)(state, take(survivors, 0))
        survivors = take(survivors, slice(1, None))
    return _compiled(_advance_all, algorithm)(state, survivors)


def of_individual(pedigree: Pedigree, generation: int, index: int) -> Pedigree:
    """The part of a pedigree that child ``index`` of ``generation`` needs, to `save` that individual alone."""
    config = pedigree.config | {"individual": [generation, index]}
    return pedigree._replace(survivors=take(pedigree.survivors, slice(0, generation - pedigree.first)), config=config)


def individual(
    algorithm: Algorithm, pedigree: Pedigree, generation: int | None = None, index: int | None = None
) -> Individual:
    """Child ``index`` of ``generation``, with dense parameters, whether it survived or not; ``N + t`` is parent t.

    Of a pedigree made by `of_individual` it is that individual, without being told.
    """
    if generation is None or index is None:
        whole = "individual" not in pedigree.config
        require(not whole, "this is the pedigree of a whole run: pass generation and index.")
        born, number = pedigree.config["individual"]
    else:
        born, number = generation, index
    last = algorithm.children + (algorithm.parents if born else 0) - 1
    require(0 <= number <= last, f"index is {number}, and generation {born} has 0 to {last}.")
    state = replay(algorithm, pedigree, born)
    return _compiled(candidate, algorithm)(state, np.int32(number))


def ancestors(algorithm: Algorithm, pedigree: Pedigree, slot: int = 0) -> list[Ancestor]:
    """The lineage of final parent ``slot``, youngest first. Of averaged children the first, with the best fitness.

    An individual that was kept from one generation to the next appears once for each.
    """
    require(0 <= slot < algorithm.parents, f"slot is {slot}, and parents have 0 to {algorithm.parents - 1}.")
    lineage: list[Ancestor] = []
    table: Any = pedigree.survivors
    for row in reversed(range(pedigree.generations)):
        index = int(table.indices[row, slot, 0])
        lineage.append(Ancestor(pedigree.first + row, index, slot, float(table.fitness[row, slot])))
        slot = slot_of(algorithm, index)
    return lineage


def slot_of(algorithm: Algorithm, index: int) -> int:
    """The parent of a child; of a parent that was kept (from index N on) it is itself."""
    return index // algorithm.brood if index < algorithm.children else index - algorithm.children
