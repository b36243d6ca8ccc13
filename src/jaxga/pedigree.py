"""The pedigree: a whole run in a few bytes a generation, and its exact replay.

A run is determined by its root key and, for every generation, by the children that made the next parents (`Recipe`).
No weights, noise or seeds are stored. Replay repeats `Algorithm.advance`, which needs no fitness. It builds T children
for each generation instead of N, scores none of them, and gives the same parents as the run, bit for bit. In contrast
to the compact encoding of Such et al. 2017, whose decoding takes longer with every generation, a run itself decodes
nothing.
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

from jaxga.algorithm import Mates, everybody, shape_of_source, uniform_mate
from jaxga.base import Algorithm, Individual, InputError, Purpose, Recipe, Source, require
from jaxga.compilation import jit
from jaxga.heredity import candidate
from jaxga.tree import in_one, in_order, in_parts, numbered, take

Config = dict[str, Any]
Start = tuple[np.ndarray, ...]  # the generation, and the leaves of a source, with its key as numbers

VERSION = 3  # of the file format; older versions can be read


class Pedigree(NamedTuple):
    """Root key, configuration and recipes of a run: all that is needed to replay it."""

    key: jax.Array  # the root key
    recipes: Recipe | None  # NumPy arrays [G, T, k] and so on; None for a run without generations
    fitness: np.ndarray | None  # [G, T] fitness of the parents after each generation
    config: Config  # what config.json holds
    children: int  # N, the number of children in a generation
    start: Start | None = None  # the source of another run from which this run continued; None if there is none

    @property
    def first(self) -> int:
        """The number of the first generation: 0, or that of the state from which the run continued."""
        return 0 if self.start is None else int(self.start[0])

    @property
    def last(self) -> int:
        """The number of the generation after the last one."""
        return self.first + self.generations

    @property
    def generations(self) -> int:
        """G, the number of generations."""
        return len(self.recipes.indices) if self.recipes else 0


class Ancestor(NamedTuple):
    """One link of a lineage: child ``index`` of ``generation``, which became the next parent in ``slot``."""

    generation: int  # the generation in which it was scored or kept
    index: int  # its index there: a child, or a parent that was kept from N on
    slot: int  # its slot as a parent of the next generation
    fitness: float  # its fitness as a parent


def as_start(source: Source) -> Start:
    """The source from which a run continues, as arrays."""
    plain = source._replace(key=jax.random.key_data(source.key))
    return np.asarray(source.generation), *map(np.asarray, jax.tree.leaves(plain))


def first_source(algorithm: Algorithm, key: jax.Array) -> Source:
    """The source of generation 0 of a run with this root key.

    Args:
      algorithm: made as it was for the run.
      key: the root key of the run.
    """
    return _compiled(_begin, algorithm)(key)


def begin(algorithm: Algorithm, pedigree: Pedigree) -> Source:
    """The first source of a run: that of generation 0, or the one from which the run continued.

    Args:
      algorithm: made as it was for the run.
      pedigree: of the run.

    Raises:
      InputError: if the run continued from parents of other shapes than those of ``algorithm``.
    """
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
    """Were the children of the first generation initialised without parents?

    Args:
      algorithm: made as it was for the run.
      pedigree: of the run.
    """
    return pedigree.start is None and jax.eval_shape(algorithm.begin, pedigree.key).founding


def save(pedigree: Pedigree, path: str | os.PathLike[str]) -> Path:
    """Write a pedigree to one ``.npz`` file, without pickle.

    Slots that did not change are stored as zeros, which compress well. For this, indices are stored relative to those
    that keep every parent, and fitness as the difference of its bits, as 32-bit integers, to the generation before.

    Args:
      pedigree: of a run, or of one individual (`of_individual`).
      path: of the file, which is replaced if it exists.

    Returns:
      The path.

    Raises:
      InputError: if the run has no generations.
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
      InputError: if the file is missing or damaged, was written by a later version, or has an index that is too large.
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
    """The indices ``[T, 1]`` that keep every parent."""
    return (children + np.arange(parents, dtype=np.int32))[:, None]


def _start_of_version_1(start: Start, parents: int) -> Start:
    """Version 1 held a whole state: key, generation, parents, and then five arrays of scores; no pairs."""
    return *start[:-5], np.asarray(everybody(parents, parents))


def _begin(algorithm: Algorithm, key: Any) -> Source:
    return algorithm.begin(key)


def _advance(algorithm: Algorithm, source: Source, recipe: Recipe) -> Source:
    return algorithm.advance(source, recipe)


def _advance_all(algorithm: Algorithm, source: Source, recipes: Recipe, start: jax.Array, end: jax.Array) -> Source:
    """Advance by the recipes ``start`` to ``end - 1``, with one program for any number of them."""
    return jax.lax.fori_loop(start, end, lambda row, source: algorithm.advance(source, take(recipes, row)), source)


def _compiled(function: Callable[..., Any], algorithm: Algorithm) -> Callable[..., Any]:
    return algorithm.remembered(function, lambda: jit(partial(function, algorithm)))


def replay(algorithm: Algorithm, pedigree: Pedigree, generation: int | None = None) -> Source:
    """The source at the start of a generation, the same as in the run, bit for bit.

    A source holds the parents of the generation, and builds its children.

    Args:
      algorithm: made as it was for the run; `Pedigree.config` holds the run's arguments if it had a `RunDirectory`.
      pedigree: of the run.
      generation: its number; by default the generation after the last, whose parents are the final ones.

    Raises:
      InputError: if the pedigree does not hold that generation, or ``algorithm`` has other sizes.
    """
    generation = pedigree.last if generation is None else generation
    require(
        pedigree.first <= generation <= pedigree.last,
        f"generation is {generation}, and the pedigree knows {pedigree.first} to {pedigree.last}.",
    )
    return forward(algorithm, pedigree, begin(algorithm, pedigree), generation)


def forward(algorithm: Algorithm, pedigree: Pedigree, source: Source, generation: int) -> Source:
    """The source at the start of ``generation``, from the source of an earlier generation.

    Unlike `replay` it need not start at the beginning, so that many generations can be visited in turn.

    Args:
      algorithm: made as it was for the run.
      pedigree: of the run.
      source: of an earlier generation.
      generation: not before that of ``source``.

    Raises:
      InputError: if the pedigree does not lead to that generation, or ``algorithm`` has other sizes.
    """
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
    """The part of a pedigree that is needed to build one individual, to `save` that individual alone.

    Args:
      pedigree: of the run.
      generation: of the individual.
      index: its index in that generation.

    Raises:
      InputError: if the pedigree does not reach that generation.
    """
    config = pedigree.config | {"individual": [generation, index]}
    count = slice(0, generation - pedigree.first)
    require(
        pedigree.first <= generation <= pedigree.last,
        f"generation is {generation}, and this pedigree reaches from {pedigree.first} to {pedigree.last}.",
    )
    fitness = None if pedigree.fitness is None else pedigree.fitness[count]
    return pedigree._replace(recipes=take(pedigree.recipes, count), fitness=fitness, config=config)


def individual(
    algorithm: Algorithm, pedigree: Pedigree, generation: int | None = None, index: int | None = None
) -> Individual:
    """Any individual of a run, with dense parameters, whether it survived or not.

    Args:
      algorithm: made as it was for the run.
      pedigree: of the run, or of one individual (`of_individual`).
      generation: its generation; not needed for the pedigree of one individual.
      index: its index in that generation; ``N + t`` is the parent in slot t. Not needed for the pedigree of one
        individual.

    Raises:
      InputError: if the pedigree does not hold that individual, or ``algorithm`` has other sizes.
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
    """Refuse an index that does not exist in a generation. In generation 0 no parents can be kept.

    Args:
      algorithm: made as it was for the run.
      generation: the number of the generation.
      index: the index in that generation.

    Raises:
      InputError: if there is no such index.
    """
    last = algorithm.children + (algorithm.parents if generation else 0) - 1
    require(0 <= index <= last, f"index is {index}, and generation {generation} has 0 to {last}.")


def ancestors(algorithm: Algorithm, pedigree: Pedigree, slot: int = 0) -> list[Ancestor]:
    """The lineage of the final parent in ``slot``, youngest first.

    If children are averaged, the lineage follows the first of them, which has the best fitness. An individual that was
    kept for several generations appears once for each of them.

    Args:
      algorithm: made as it was for the run.
      pedigree: of the run.
      slot: the slot of the final parent, by default 0.

    Raises:
      InputError: if there is no such slot.
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
    """``[G, T, k]``: for each of the next parents, the slot of its parent.

    For a parent that was kept it is its own slot. For a child of two parents it is the slot of the first parent, not
    of the mate.

    Args:
      algorithm: made as it was for the run.
      pedigree: of the run.
    """
    if not pedigree.generations:
        return np.zeros((0, algorithm.parents, 1), np.int32)
    recipes: Any = pedigree.recipes
    pairs = np.stack([pairs_of(algorithm, pedigree, row) for row in range(pedigree.generations)])
    find = jax.vmap(lambda pairs, indices: algorithm.place(_Breeding(pairs), indices).slot)
    return np.asarray(find(jnp.asarray(pairs), jnp.asarray(recipes.indices)))


def mates_of(algorithm: Algorithm, pedigree: Pedigree, mates: Mates = uniform_mate) -> np.ndarray:
    """``[G, T, k]``: for each of the next parents, the slot of its other parent, which `parents_of` leaves out.

    For a parent that was kept it is its own slot. Whether a child took anything from its mate, the variation decides.
    The run is replayed, since mates may be chosen by their weights.

    Args:
      algorithm: made as it was for the run.
      pedigree: of the run.
      mates: as it was given to `jaxga.ga`, by default ``uniform_mate``. Mates that the selection names need none.

    Raises:
      InputError: if there are islands, or the children of the first generation have no parents.
    """
    require(algorithm.selection.groups == 1, "mates_of knows no islands: ask it about a population without them.")
    require(not drawn_afresh(algorithm, pedigree), "the children of the first generation have no parents, so no mates.")
    if not pedigree.generations:
        return np.zeros((0, algorithm.parents, 1), np.int32)

    def of_index(source: Source, index: jax.Array) -> jax.Array:
        found = algorithm.place(source, index)
        key = jax.random.fold_in(algorithm.key(source, Purpose.OFFSPRING, found.group), found.number)
        named = source.pairs[found.pair, 1]
        drawn = mates(jax.random.split(key)[0], source, found.slot)
        return jnp.where(found.kept, found.slot, jnp.where(named < 0, drawn, named))

    def step(source: Source, recipe: Recipe) -> tuple[Source, jax.Array]:
        found = jax.vmap(jax.vmap(partial(of_index, source)))(recipe.indices)
        return algorithm.advance(source, recipe), found

    recipes = jax.tree.map(jnp.asarray, pedigree.recipes)
    _, slots = jit(partial(jax.lax.scan, step))(begin(algorithm, pedigree), recipes)
    return np.asarray(slots)


def slot_of(algorithm: Algorithm, pedigree: Pedigree, row: int, index: int) -> int:
    """The slot of a child's parent; for a parent that was kept, its own slot.

    Args:
      algorithm: made as it was for the run.
      pedigree: of the run.
      row: row of the pedigree, the generation less `Pedigree.first`.
      index: the index in that generation.
    """
    return int(algorithm.place(_Breeding(pairs_of(algorithm, pedigree, row)), index).slot)


def pairs_of(algorithm: Algorithm, pedigree: Pedigree, row: int) -> np.ndarray:
    """The pairs ``[P, 2]`` that bred in a generation.

    They are named by the recipe before, or for a first generation by the source from which the run continued. If
    nothing names them, the slots breed in order.

    Args:
      algorithm: made as it was for the run.
      pedigree: of the run.
      row: row of the pedigree, the generation less `Pedigree.first`.
    """
    recipes: Any = pedigree.recipes
    if row and recipes.pairs is not None:
        return recipes.pairs[row - 1]
    if row == 0 and pedigree.start is not None:
        return pedigree.start[-1]
    return np.asarray(everybody(algorithm.parents, algorithm.pairs, algorithm.selection.groups))


class _Breeding(NamedTuple):
    pairs: Any
