"""Build the next parents from a recipe.

A next parent is a child that is built again, a parent that is kept, or a weighted mean of several children.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from jaxga.base import Algorithm, Individual, Place, Recipe, Source
from jaxga.compilation import any_of_all
from jaxga.lowrank import add_weighted, dense, map_low_rank, step_leaf
from jaxga.tree import expand, iota, take, where
from jaxga.variation.projection import Projection, project

CHUNK = 64  # children that are built at once, or whose steps are held at once while they are averaged

ChildOf = Callable[[Source, Individual, Any, Any], Individual]  # (source, the pair's parent, pair, member) -> child


def next_parents(
    algorithm: Algorithm, child_of: ChildOf, projection: Projection | None, source: Source, recipe: Recipe
) -> Individual:
    """The next parents ``[T]``, as a recipe says.

    Args:
      algorithm: from `jaxga.ga`.
      child_of: builds a child of a given parent. Its params may have leaves in parts.
      projection: applied to next parents that are made with a ``step`` other than 0; None for no projection.
      source: of this generation.
      recipe: what the selection decided. Without ``step``, or for founders without parents, the next parents are the
        individuals ``indices[:, 0]``. With one index a slot, a parent moves by ``step`` times the step to its child.
        With several indices a slot, the next parent is a weighted mean.
    """
    if recipe.step is None or source.founding:  # founders are unrelated: their mean would be a useless network
        return _survivors(algorithm, source, recipe.indices[:, 0])
    if recipe.indices.shape[1] == 1:
        one = partial(_step, algorithm, projection, source)
        return jax.vmap(one)(recipe.indices[:, 0], recipe.step[:, 0])
    mean = partial(_average, algorithm, child_of, projection, source)
    return jax.lax.map(lambda row: mean(*row), (recipe.indices, recipe.share, recipe.step))


def _survivors(algorithm: Algorithm, source: Source, indices: jax.Array) -> Individual:
    """The individuals with these indices ``[T]``. If there are fewer children than slots, each child is built once."""
    build = jax.vmap(partial(candidate, algorithm, source))
    if len(indices) <= algorithm.children:
        return build(indices)
    found = algorithm.place(source, indices)
    if algorithm.selection.in_place:
        return _replaced(build, source.parents, jnp.where(found.kept, algorithm.children, indices), algorithm.children)
    born = build(iota(algorithm.children))
    child = take(born, jnp.where(found.kept, 0, indices))
    return jax.vmap(where)(found.kept, take(source.parents, jnp.maximum(found.slot, 0)), child)


def _replaced(
    build: Callable[[jax.Array], Individual], parents: Individual, indices: jax.Array, children: int
) -> Individual:
    """The parents, some of which children replace. Only these children are built, in chunks.

    Args:
      build: builds the children with indices ``[n]``.
      parents: ``[T]``.
      indices: ``[T]``, the child that comes into each slot; ``children`` where the parent stays.
      children: the number of all children.
    """
    slots, size = len(indices), min(CHUNK, children)
    slot_of = jnp.full(children, slots, jnp.int32).at[indices].set(iota(slots), mode="drop")  # of a child; T: none
    order = jnp.argsort(slot_of).astype(jnp.int32)  # those who come into a slot first
    chunks = jnp.pad(order, (0, -children % size), constant_values=children).reshape(-1, size)
    count = jnp.sum(slot_of < slots, dtype=jnp.int32)

    def turn(carry: tuple[jax.Array, Individual]) -> tuple[jax.Array, Individual]:
        number, held = carry
        some = chunks[number]
        into = slot_of.at[some].get(mode="fill", fill_value=slots)
        return number + 1, jax.tree.map(lambda old, new: old.at[into].set(new, mode="drop"), held, build(some))

    return jax.lax.while_loop(lambda carry: any_of_all(carry[0] * size < count), turn, (jnp.int32(0), parents))[1]


def candidate(algorithm: Algorithm, source: Source, index: Any) -> Individual:
    """The individual with this index, with dense params: a child, which is built, or a kept parent as it is."""
    found = algorithm.place(source, index)
    child = algorithm.offspring(source, found.pair, found.member)
    child = child._replace(params=dense(child.params))
    return where(found.kept, take(source.parents, jnp.maximum(found.slot, 0)), child)


def _step(
    algorithm: Algorithm, projection: Projection | None, source: Source, index: Any, step: jax.Array
) -> Individual:
    """The parent plus ``step`` times the difference between the child and the parent, with the child's strategy."""
    child = candidate(algorithm, source, index)
    parent = take(source.parents, jnp.maximum(algorithm.place(source, index).slot, 0))

    def leaf(old: jax.Array, new: jax.Array) -> jax.Array:
        part = old + step.astype(old.dtype) * (new - old)
        return jnp.where(step == 0, old, jnp.where(step == 1, new, part))

    params = jax.tree.map(leaf, parent.params, child.params)
    if projection is not None:
        moved = project(projection, params, parent.params, source.generation)
        params = where(step != 0, moved, params)
    return child._replace(params=params)


def _average(
    algorithm: Algorithm,
    child_of: ChildOf,
    projection: Projection | None,
    source: Source,
    indices: jax.Array,
    share: jax.Array,
    step: jax.Array,
) -> Individual:
    """The mean of the parents of k children, weighted by ``share``, plus the sum of their steps, weighted by ``step``.

    The strategy is the mean of the children's strategies, weighted by ``share``. Parts of it that are not floats, such
    as a count, are those of the best child, which is the first index.

    The children are built in chunks. Low-rank children are never built: the sum of their steps is one matrix product,
    ``A diag(w) B``.
    """
    found = algorithm.place(source, indices)
    held = len(jax.tree.leaves(source.parents.params)[0])
    # If there is only one parent, it is not batched, so that its matrices are not copied for every child.
    alone = held == 1 == len(source.pairs)
    size = min(CHUNK, len(indices))
    chunks = jax.tree.map(
        lambda values: jnp.pad(values, (0, -len(indices) % size)).reshape(-1, size),
        (found, share, jnp.where(found.kept, 0, step)),
    )

    def steps_of(pair: Any, place: Place) -> Individual:
        parent = take(source.parents, 0 if alone else place.slot)
        child = child_of(source, parent, pair, place.member)
        steps = map_low_rank(step_leaf, child.params, parent.params)
        return Individual(steps, where(place.kept, parent.strategy, child.strategy))

    def add(total: Individual, chunk: tuple[Any, jax.Array]) -> tuple[Individual, None]:
        (places, shares, weights), first = chunk
        steps = jax.vmap(steps_of, in_axes=(None if alone else 0, 0))(0 if alone else places.pair, places)
        params = jax.tree.map(
            lambda old, new: add_weighted(old, weights, new), total.params, _heard(weights, steps.params)
        )
        strategy = jax.tree.map(partial(_add_share, shares, first), total.strategy, steps.strategy)
        return Individual(params, strategy), None

    parents = source.parents.params
    weights = jnp.zeros(held, share.dtype).at[found.slot].add(share)
    zeros = jax.tree.map(lambda leaf: jnp.zeros_like(leaf[0]), parents)
    base = (
        take(parents, 0)
        if held == 1
        else jax.tree.map(lambda zero, leaf: add_weighted(zero, weights, leaf), zeros, parents)
    )
    strategy = jax.tree.map(
        lambda leaf: jnp.zeros_like(leaf) if _is_float(leaf) else leaf, take(source.parents.strategy, found.slot[0])
    )
    first = iota(len(chunks[1])) == 0  # the chunk that begins with the best child
    total, _ = jax.lax.scan(add, Individual(base, strategy), (chunks, first))
    if projection is None:
        return total
    projected = project(projection, total.params, base, source.generation)
    return total._replace(params=where((step != 0).any(), projected, total.params))  # no step, no projection


def _heard(weights: jax.Array, tree: Any) -> Any:
    """Replace entries whose weight is 0 by zeros, because they may be NaN, and 0 * NaN is NaN."""
    return jax.tree.map(lambda leaf: jnp.where(expand(weights != 0, leaf), leaf, jnp.zeros_like(leaf)), tree)


def _is_float(leaf: jax.Array) -> bool:
    return jnp.issubdtype(leaf.dtype, jnp.floating)


def _add_share(shares: jax.Array, first: jax.Array, total: jax.Array, leaves: jax.Array) -> jax.Array:
    """Add weighted floats to ``total``. Other leaves are those of the best child, which is in the ``first`` chunk."""
    if _is_float(total):
        return add_weighted(total, shares, _heard(shares, leaves))
    return where(first, leaves[0], total)
