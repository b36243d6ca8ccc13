"""Which parents breed, and with which mates."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jaxga.base import Choice, Evaluation, Key, Recipe, Scored, Selection, Source, require_whole
from jaxga.selection.choices import tournament, truncation
from jaxga.selection.described import Describe, between, described, draw, lowest, scores_of
from jaxga.tree import iota, take

Mates = Callable[[Key, Evaluation, jax.Array], jax.Array]  # (key, scores of the held [T], slots [P]) -> slots [P]


def breeding(selection: Selection, pairs: int, choice: Choice | None = None, mates: Mates | None = None) -> Selection:
    """The same selection, followed by a choice of the parents that breed.

    Args:
      selection: chooses the next parents.
      pairs: P, the number of pairs that breed, the same as in ``ga(pairs=...)``.
      choice: chooses the parents that breed by their scores: `tournament` (the default, of two), `truncation` or
        `roulette`. A parent can be chosen several times.
      mates: chooses their mates: `choose_mate`, `alike`, `unlike` or `attraction`. By default ``ga(mates=...)`` does.

    Raises:
      InputError: if ``pairs`` is below 1.

    >>> import jaxga
    >>> from jaxga import selection, variation
    >>> task = jaxga.Task(lambda key: jnp.ones(3), lambda key, w: -jnp.sum(w**2))
    >>> few = breeding(selection.replace_worst(), pairs=2, choice=selection.tournament(3))
    >>> algorithm = jaxga.ga(task.init, variation.gaussian(variation.absolute(0.1)), parents=20, children=4, pairs=2,
    ...                      selection=few)
    >>> bool(jaxga.run(algorithm, task, generations=200).state.best_fitness > -0.1)
    True
    """
    require_whole(1, pairs=pairs)
    chosen = tournament(2) if choice is None else choice

    def apply(key: Key, scored: Scored, remembered: Any) -> tuple[Recipe, Any, dict[str, jax.Array]]:
        key_select, key_breed, key_mate = jax.random.split(key, 3)
        recipe, remembered, metrics = selection.apply(key_select, scored, remembered)
        held = scores_of(scored, recipe.indices[:, 0])
        first = _many(chosen, key_breed, held, pairs)
        second = jnp.full(pairs, -1, jnp.int32) if mates is None else mates(key_mate, held, first)
        return recipe._replace(pairs=jnp.stack([first, second], axis=1)), remembered, metrics

    return selection._replace(apply=apply)


def _many(choice: Choice, key: Key, held: Evaluation, num: int) -> jax.Array:
    """Slots ``[num]`` by a choice among the parents. If there are fewer parents, truncation repeats them in turn."""
    count = min(num, len(held.fitness)) if choice is truncation else num
    return jnp.resize(choice(key, held, count), (num,)).astype(jnp.int32)


def choose_mate(choice: Choice) -> Mates:
    """Mates that a choice selects by their fitness, for example ``choose_mate(tournament(3))``.

    If a parent is chosen as its own mate, the parent in the next slot is its mate.
    """

    def mates(key: Key, held: Evaluation, slots: jax.Array) -> jax.Array:
        found = _many(choice, key, held, len(slots))
        return jnp.where(found == slots, (found + 1) % len(held.fitness), found)

    return mates


def alike(describe: Describe, among: int = 7) -> Mates:
    """Assortative mating: the mate is the most similar of several parents that are drawn.

    Args:
      describe: the metric whose distances count, or a function of the metrics.
      among: number of other parents that are drawn, by default 7.

    Raises:
      InputError: if ``among`` is below 1.
    """
    return _by_distance(describe, among, -1)


def unlike(describe: Describe, among: int = 7) -> Mates:
    """Disassortative mating: the mate is the least similar of several parents that are drawn.

    Args:
      describe: the metric whose distances count, or a function of the metrics.
      among: number of other parents that are drawn, by default 7.

    Raises:
      InputError: if ``among`` is below 1.
    """
    return _by_distance(describe, among, 1)


def _by_distance(describe: Describe, among: int, sign: int) -> Mates:
    require_whole(1, among=among)

    def mates(key: Key, held: Evaluation, slots: jax.Array) -> jax.Array:
        descriptors = described(describe, held, "mates")
        apart = sign * between(descriptors)[slots]
        return _best_of_some(key, jnp.where(jnp.isfinite(apart), apart, -jnp.inf), slots, among)

    return mates


def _best_of_some(key: Key, values: jax.Array, slots: jax.Array, among: int) -> jax.Array:
    """For each pair, the slot with the best of its values ``[P, T]``, among some other parents that are drawn."""
    lot = jax.random.uniform(key, values.shape, jnp.float32)
    lot = jnp.where(iota(values.shape[1]) == slots[:, None], jnp.inf, lot)  # no parent mates with itself
    drawn = lowest(lot, min(among, max(values.shape[1] - 1, 1)))
    rank = jnp.where(drawn, jnp.where(jnp.isnan(values), -jnp.inf, values), -jnp.inf)
    known = (rank > -jnp.inf).any(axis=1)
    return jnp.where(known, jnp.argmax(rank, axis=1), jnp.argmin(lot, axis=1)).astype(jnp.int32)


def attraction(points: Describe) -> Mates:
    """Mates that are good at data points where the first parent is not (Abrantes et al. 2025, M2N2).

    Mate b of a parent a is drawn in proportion to ``sum_j max(0, points_bj - points_aj) / z_j``, where ``z_j`` is the
    sum of ``points_j`` over all parents. If no parent is better at any point, all others are equally likely.

    Args:
      points: a metric ``[D]``, the score of a network at each of D data points, as in `competition`.
    """

    def mates(key: Key, held: Evaluation, slots: jax.Array) -> jax.Array:
        found = described(points, held, "attraction")
        found = jnp.where(jnp.isnan(found).any(axis=1, keepdims=True), 0, found)
        shared = found.sum(axis=0)
        worth = jnp.where(shared > 0, 1 / jnp.where(shared > 0, shared, 1), 0)

        def of_one(key: Key, slot: jax.Array) -> jax.Array:
            pull = (jnp.maximum(found - found[slot], 0) * worth).sum(axis=1)
            others = (iota(len(found)) != slot).astype(jnp.float32)
            return draw(key, jnp.where(pull.sum() > 0, pull, others), 1)[0]

        return jax.vmap(of_one)(jax.random.split(key, len(slots)), slots)

    return mates


def alike_weights(among: int = 7) -> Callable[[Key, Source, jax.Array], jax.Array]:
    """For ``ga(mates=...)``: of ``among`` other parents, drawn for each child, the one with the nearest weights.

    Args:
      among: number of other parents that are drawn, by default 7.

    Raises:
      InputError: if ``among`` is below 1.
    """
    return _by_weights(among, -1)


def unlike_weights(among: int = 7) -> Callable[[Key, Source, jax.Array], jax.Array]:
    """For ``ga(mates=...)``: of ``among`` other parents, drawn for each child, the one with the farthest weights.

    Args:
      among: number of other parents that are drawn, by default 7.

    Raises:
      InputError: if ``among`` is below 1.
    """
    return _by_weights(among, 1)


def _by_weights(among: int, sign: int) -> Callable[[Key, Source, jax.Array], jax.Array]:
    require_whole(1, among=among)

    def mate(key: Key, source: Source, slot: jax.Array) -> jax.Array:
        parents = source.parents.params
        squares = jax.tree.map(
            lambda leaf, mine: ((leaf - mine) ** 2).reshape(len(leaf), -1).sum(axis=1), parents, take(parents, slot)
        )
        apart = sum(jax.tree.leaves(squares), jnp.float32(0))
        return _best_of_some(key, sign * jnp.asarray(apart, jnp.float32)[None], slot[None], among)[0]

    return mate
