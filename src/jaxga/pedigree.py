"""The pedigree: a whole run in a few bytes a generation, and its exact replay.

A run is its root key plus, for every generation, which children made the next parents (`Recipe`). No weight, no
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

from jaxga.algorithm import everybody, shape_of_source
from jaxga.base import Algorithm, Individual, InputError, Recipe, Source, require
from jaxga.compilation import jit
from jaxga.heredity import candidate
from jaxga.tree import in_one, in_order, in_parts, numbered, take

Config = dict[str, Any]
Start = tuple[np.ndarray, ...]  # the generation, and the leaves of a source, its key as numbers

VERSION = 3  # of the file; older ones are read, too


class Pedigree(NamedTuple):
    """Root key, configuration and the recipes ``[G, ...]`` of a run."""

    key: jax.Array
    recipes: Recipe | None  # numpy, [G, T, k] and so on; None of a run that has not begun
    fitness: np.ndarray | None  # [G, T] of the parents that each generation left
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
        return len(self.recipes.indices) if self.recipes else 0


class Ancestor(NamedTuple):
    """One link of a lineage: child ``index`` of ``generation``, who became parent ``slot`` of the next one."""

    generation: int
    index: int
    slot: int
    fitness: float


def as_start(source: Source) -> Start:
    """The source that a run goes on from, as arrays."""
    plain = source._replace(key=jax.random.key_data(source.key))
    return np.asarray(source.generation), *map(np.asarray, jax.tree.leaves(plain))


def first_source(algorithm: Algorithm, key: jax.Array) -> Source:
    """The source of generation 0 of a run with this root key, by a program that is compiled once."""
    return _compiled(_begin, algorithm)(key)


def begin(algorithm: Algorithm, pedigree: Pedigree) -> Source:
    """The source that the run of a pedigree began with: of founders, or that which it went on from."""
    if pedigree.start is None:
        return first_source(algorithm, pedigree.key)
    kind = shape_of_source(algorithm)
    due, leaves = jax.tree.leaves(kind._replace(key=jax.random.key_data(pedigree.key))), pedigree.start[1:]
    require(
        [leaf.shape for leaf in due] == [leaf.shape for leaf in leaves],
        "the pedigree went on from parents of other shapes than this algorithm's: make it as it was made for the run.",
    )
    source = jax.tree.unflatten(jax.tree.structure(kind), [jnp.asarray(leaf) for leaf in leaves])
    return source._replace(key=pedigree.key)


def drawn_afresh(algorithm: Algorithm, pedigree: Pedigree) -> bool:
    """Were the children of the first generation drawn afresh, so that they have no parents?"""
    return pedigree.start is None and jax.eval_shape(algorithm.begin, pedigree.key).founding


def save(pedigree: Pedigree, path: str | os.PathLike[str]) -> Path:
    """Write a pedigree to one ``.npz`` file, without pickle.

    Slots that did not change are zeros in it, and take next to nothing: indices are less those that keep everybody, and
    of a fitness there is the difference, as a 32-bit integer, from that of the generation before.
    """
    path = Path(path)
    if pedigree.recipes is None or pedigree.fitness is None:
        raise InputError("the pedigree is empty: a run that has not begun has none.")
    table = {name: part for name, part in pedigree.recipes._asdict().items() if part is not None}
    parents = table["indices"].shape[1]
    known, indices = pedigree.children + parents, table["indices"]
    moved = np.where(indices < known, (indices - _staying(pedigree.children, parents)) % known, indices)
    table["indices"] = moved.astype(np.min_scalar_type(max(int(moved.max(initial=0)), 1)))
    if "pairs" in table:
        table["pairs"] = table["pairs"].astype(np.min_scalar_type(-max(int(table["pairs"].max(initial=0)), 1)))
    temporary = path.with_name(path.name + ".tmp")
    with open(temporary, "wb") as file:
        np.savez_compressed(
            file,
            version=VERSION,
            key=np.asarray(jax.random.key_data(pedigree.key)),
            key_type=str(jax.random.key_impl(pedigree.key)),
            config=json.dumps(pedigree.config),
            children=pedigree.children,
            fitness=np.diff(pedigree.fitness.view(np.uint32), axis=0, prepend=np.uint32(0)),
            allow_pickle=False,
            **table,
            **in_one({"start": numbered(pedigree.start or ())}),
        )
    temporary.replace(path)
    return path


def load(path: str | os.PathLike[str]) -> Pedigree:
    """Read what `save` wrote.

    Raises:
      InputError: where the file is missing or damaged, was written by a later version, or has an index that no child
        and no parent has.
    """
    try:
        with open(path, "rb") as opened, np.load(opened, allow_pickle=False) as file:
            data = {name: file[name] for name in file.files}
        version = int(data.get("version", 1))
        indices = data["indices"].astype(np.int32)
        pairs = data["pairs"].astype(np.int32) if "pairs" in data else None
        key = jax.random.wrap_key_data(jnp.asarray(data["key"]), impl=str(data["key_type"]))
        config, children, fitness = json.loads(str(data["config"])), int(data["children"]), data["fitness"]
        if version >= 3:
            known = children + indices.shape[1]
            indices = np.where(indices < known, (indices + _staying(children, indices.shape[1])) % known, indices)
            fitness = np.cumsum(fitness, axis=0, dtype=np.uint32).view(np.float32)
        recipes = Recipe(indices, data.get("share"), data.get("step"), pairs)
        start = in_order(in_parts(data).get("start", {}))
        if version == 1 and start:
            start = _start_of_version_1(start, recipes.indices.shape[1])
    except Exception as error:  # a zip file can be damaged in many ways
        raise InputError(f"pedigree {path} cannot be read ({error}): take it from its run again.") from error
    require(version <= VERSION, f"pedigree {path} was written by a later version of jaxga: install that one.")
    candidates, indices = children + recipes.indices.shape[1], recipes.indices
    require(
        bool(((indices >= 0) & (indices < candidates)).all()),
        f"pedigree {path} has the index {indices.max()}, and {children} children and {indices.shape[1]} parents have 0 "
        f"to {candidates - 1}: take it from its run again.",
    )
    return Pedigree(key, recipes, fitness, config, children, start or None)


def _staying(children: int, parents: int) -> np.ndarray:
    """The indices ``[T, 1]`` with which everybody stays."""
    return (children + np.arange(parents, dtype=np.int32))[:, None]


def _start_of_version_1(start: Start, parents: int) -> Start:
    """It held a whole state: key, generation, parents, and then five scores; who breeds was not said."""
    return *start[:-5], np.asarray(everybody(parents, parents))


def _begin(algorithm: Algorithm, key: Any) -> Source:
    return algorithm.begin(key)


def _advance(algorithm: Algorithm, source: Source, recipe: Recipe) -> Source:
    return algorithm.advance(source, recipe)


def _advance_all(algorithm: Algorithm, source: Source, recipes: Recipe, start: jax.Array, end: jax.Array) -> Source:
    """By the recipes ``start`` to ``end - 1``; one program, however many these are."""
    return jax.lax.fori_loop(start, end, lambda row, source: algorithm.advance(source, take(recipes, row)), source)


def _compiled(function: Callable[..., Any], algorithm: Algorithm) -> Callable[..., Any]:
    return algorithm.remembered(function, lambda: jit(partial(function, algorithm)))


def replay(algorithm: Algorithm, pedigree: Pedigree, generation: int | None = None) -> Source:
    """The source at the start of ``generation`` (default: after the last), bit for bit that of the live run.

    It holds the parents and makes the children. ``algorithm`` must be made as it was for the run; `Pedigree.config`
    says how.
    """
    generation = pedigree.last if generation is None else generation
    require(
        pedigree.first <= generation <= pedigree.last,
        f"generation is {generation}, and the pedigree knows {pedigree.first} to {pedigree.last}.",
    )
    return forward(algorithm, pedigree, begin(algorithm, pedigree), generation)


def forward(algorithm: Algorithm, pedigree: Pedigree, source: Source, generation: int) -> Source:
    """The source at the start of ``generation``, from that of an earlier one: `replay` for those who ask for many."""
    start, end = int(source.generation) - pedigree.first, generation - pedigree.first
    require(
        start <= end <= pedigree.generations,
        f"generation is {generation}, and from this source on the pedigree leads to {pedigree.first + start} to "
        f"{pedigree.last}.",
    )
    if start == end:
        return source
    assert pedigree.recipes is not None
    sizes = pedigree.recipes.indices.shape[1], pedigree.children
    require(
        sizes == (algorithm.parents, algorithm.children),
        f"the pedigree has {sizes[0]} parents and {sizes[1]} children, the algorithm {algorithm.parents} and "
        f"{algorithm.children}: build it from pedigree.config.",
    )
    recipes = jax.tree.map(jnp.asarray, pedigree.recipes)
    if source.founding:
        source, start = _compiled(_advance, algorithm)(source, take(recipes, 0)), 1
    return _compiled(_advance_all, algorithm)(source, recipes, np.int32(start), np.int32(end))


def of_individual(pedigree: Pedigree, generation: int, index: int) -> Pedigree:
    """The part of a pedigree that child ``index`` of ``generation`` needs, to `save` that individual alone."""
    config = pedigree.config | {"individual": [generation, index]}
    count = slice(0, generation - pedigree.first)
    assert pedigree.fitness is not None
    return pedigree._replace(recipes=take(pedigree.recipes, count), fitness=pedigree.fitness[count], config=config)


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
    require_index(algorithm, born, number)
    state = replay(algorithm, pedigree, born)
    return _compiled(candidate, algorithm)(state, np.int32(number))


def require_index(algorithm: Algorithm, generation: int, index: int) -> None:
    """Refuse an index that nobody of this generation has; in generation 0 no parents are kept."""
    last = algorithm.children + (algorithm.parents if generation else 0) - 1
    require(0 <= index <= last, f"index is {index}, and generation {generation} has 0 to {last}.")


def ancestors(algorithm: Algorithm, pedigree: Pedigree, slot: int = 0) -> list[Ancestor]:
    """The lineage of final parent ``slot``, youngest first. Of averaged children the first, with the best fitness.

    An individual that was kept from one generation to the next appears once for each.
    """
    require(0 <= slot < algorithm.parents, f"slot is {slot}, and parents have 0 to {algorithm.parents - 1}.")
    lineage: list[Ancestor] = []
    recipes: Any = pedigree.recipes
    fitness: Any = pedigree.fitness
    before = parents_of(algorithm, pedigree)
    for row in reversed(range(pedigree.generations)):
        index = int(recipes.indices[row, slot, 0])
        lineage.append(Ancestor(pedigree.first + row, index, slot, float(fitness[row, slot])))
        slot = int(before[row, slot, 0])
    return lineage


def parents_of(algorithm: Algorithm, pedigree: Pedigree) -> np.ndarray:
    """``[G, T, k]``: from which slot of the generation before each of the next parents comes.

    Of a parent that was kept it is its own slot. Of a child of two parents it is that of the first.
    """
    if not pedigree.generations:
        return np.zeros((0, algorithm.parents, 1), np.int32)
    recipes: Any = pedigree.recipes
    pairs = np.stack([pairs_of(algorithm, pedigree, row) for row in range(pedigree.generations)])
    find = jax.vmap(lambda pairs, indices: algorithm.place(_Breeding(pairs), indices).slot)
    return np.asarray(find(jnp.asarray(pairs), jnp.asarray(recipes.indices)))


def slot_of(algorithm: Algorithm, pedigree: Pedigree, row: int, index: int) -> int:
    """The parent of a child that was born in this row of a pedigree; of a parent that was kept it is itself."""
    return int(algorithm.place(_Breeding(pairs_of(algorithm, pedigree, row)), index).slot)


def pairs_of(algorithm: Algorithm, pedigree: Pedigree, row: int) -> np.ndarray:
    """Who bred in this row of a pedigree, ``[P, 2]``: the row before says it, or the source that the run began with."""
    recipes: Any = pedigree.recipes
    if row and recipes.pairs is not None:
        return recipes.pairs[row - 1]
    if row == 0 and pedigree.start is not None:
        return pedigree.start[-1]
    return np.asarray(everybody(algorithm.parents, algorithm.pairs, algorithm.selection.groups))


class _Breeding(NamedTuple):
    pairs: Any
