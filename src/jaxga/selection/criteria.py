"""Criteria: what candidates are ranked by instead of their fitness. ``by(criterion)`` makes a selection of one."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxga.base import Evaluation, Key, Recipe, Scored, Selection, name_of, require, require_at_least, require_whole
from jaxga.selection.choices import ranking
from jaxga.selection.described import Describe, between, described, distances, lowest, numbers_of, valid
from jaxga.selection.ranked import ranked


class Criterion(NamedTuple):
    """What counts: ``init`` makes what it remembers, ``apply`` says how good each candidate is.

    ``init: (T, like) -> remembered``; ``apply: (key, Scored, remembered) -> (values [C], remembered, metrics)``. Values
    are higher for better candidates, and NaN for those that must not be chosen. An `Evaluation` of them has a tiebreak.
    """

    init: Callable[[int, Evaluation], Any]
    apply: Callable[[Key, Scored, Any], tuple[Any, Any, dict[str, jax.Array]]]


def by(criterion: Criterion, selection: Selection | None = None) -> Selection:
    """A selection that sees the values of a criterion in the place of the fitness; by default `ranked`.

    What is logged as fitness, and the best so far, stay those of the task.

    >>> import jaxga
    >>> from jaxga.variation import absolute, gaussian
    >>> def evaluate(key, w):
    ...     return jaxga.Evaluation(-jnp.sum(w**2), metrics={"end": w})
    >>> task = jaxga.Task(lambda key: jnp.zeros(2), evaluate)
    >>> algorithm = jaxga.ga(task.init, gaussian(absolute(0.1)), parents=4, children=16,
    ...                      selection=by(novelty("end", neighbours=3)))
    >>> ends = jaxga.run(algorithm, task, generations=30).state.parents.params
    >>> bool(jnp.abs(ends).max() > 0.5)  # away from where it began, though that is the best place
    True
    """
    inner = ranked() if selection is None else selection
    require(isinstance(criterion, Criterion), f"criterion is {criterion!r}: pass a Criterion, such as novelty('end').")
    require(isinstance(inner, Selection), f"selection is {name_of(inner)}: make a selection of it by ranked(...).")

    require(
        not inner.incumbents,
        "the selection compares children with the fitness that the others keep, and a criterion has other values: take "
        "one whose elites are ranked with the children, such as ranked(elites=...) or plus(...).",
    )

    def init(parents: int, like: Evaluation) -> Any:
        return criterion.init(parents, like), inner.init(parents, like)

    def apply(key: Key, scored: Scored, remembered: Any) -> tuple[Recipe, Any, dict[str, jax.Array]]:
        key_values, key_order, key_select = jax.random.split(key, 3)
        values, mine, measured = criterion.apply(key_values, scored, remembered[0])
        evaluation = as_scores(values, scored, criterion)
        seen = scored._replace(evaluation=evaluation, order=ranking(key_order, evaluation))
        recipe, others, more = inner.apply(key_select, seen, remembered[1])
        return recipe, (mine, others), {**measured, **more}

    return inner._replace(init=init, apply=apply, ordered=False)


def as_scores(values: Any, scored: Scored, criterion: Criterion) -> Evaluation:
    """The scores of the candidates, with these values as fitness."""
    found = values if isinstance(values, Evaluation) else Evaluation(values)
    count, shape = len(scored.index), jnp.shape(found.fitness)
    require(
        shape == (count,),
        f"criterion {name_of(criterion.apply)} returned values of shape {shape}, and {(count,)} was due.",
    )
    tiebreak = jnp.broadcast_to(jnp.asarray(found.tiebreak, jnp.float32), shape)
    fitness = jnp.where(jnp.isnan(scored.evaluation.fitness), jnp.nan, jnp.asarray(found.fitness, jnp.float32))
    return scored.evaluation._replace(fitness=fitness, tiebreak=tiebreak)


def without_memory(values: Callable[[Scored], Any]) -> Criterion:
    """A criterion of a function ``(Scored) -> values [C]``."""
    return Criterion(lambda *_: (), lambda _, scored, remembered: (values(scored), remembered, {}))


def fitness() -> Criterion:
    """The fitness itself, for `weighted` and `pareto`."""
    return without_memory(lambda scored: scored.evaluation._replace(metrics={}))


def metric(name: str) -> Criterion:
    """A metric of one number, for `weighted` and `pareto`."""
    return without_memory(lambda scored: described(name, scored.evaluation, "metric")[:, 0])


def weighted(*parts: tuple[Criterion, float]) -> Criterion:
    """A weighted sum of criteria, each scaled to lie between 0 and 1 among the candidates (Cuccu and Gomez 2011).

    ``weighted((novelty("end"), 0.5), (fitness(), 0.5))``
    """
    require(len(parts) > 0, "weighted needs at least one pair (criterion, weight).")

    def combine(key: Key, scored: Scored, values: list[Evaluation]) -> Any:
        del key, scored
        total = jnp.float32(0)
        for value, (_, weight) in zip(values, parts, strict=True):
            total = total + weight * _between_0_and_1(value.fitness)
        return total

    return combined([criterion for criterion, _ in parts], combine)


def _between_0_and_1(values: jax.Array) -> jax.Array:
    finite = jnp.isfinite(values)
    low = jnp.min(values, where=finite, initial=jnp.inf)
    high = jnp.max(values, where=finite, initial=-jnp.inf)
    return jnp.clip((values - low) / jnp.where(high > low, high - low, 1), 0, 1)


def combined(criteria: list[Criterion], combine: Callable[[Key, Scored, list[Evaluation]], Any]) -> Criterion:
    """One criterion of several: ``combine: (key, Scored, scores of each) -> values``."""

    def init(parents: int, like: Evaluation) -> Any:
        return [criterion.init(parents, like) for criterion in criteria]

    def apply(key: Key, scored: Scored, remembered: Any) -> tuple[Any, Any, dict[str, jax.Array]]:
        values, kept, metrics = [], [], {}
        for number, (criterion, mine) in enumerate(zip(criteria, remembered, strict=True)):
            value, mine, measured = criterion.apply(jax.random.fold_in(key, number), scored, mine)
            values.append(as_scores(value, scored, criterion))
            kept.append(mine)
            metrics |= measured
        return combine(jax.random.fold_in(key, len(criteria)), scored, values), kept, metrics

    return Criterion(init, apply)


def sharing(describe: Describe, radius: float, power: float = 1.0) -> Criterion:
    """Fitness divided among those who are alike (Goldberg and Richardson 1987).

    What a candidate has above the worst of all is divided by ``sum_j max(0, 1 - (distance_j / radius) ** power)`` over
    all candidates, itself included.
    """
    _require_positive(radius=radius, power=power)

    def values(scored: Scored) -> jax.Array:
        descriptors = described(describe, scored.evaluation, "sharing")
        near = jnp.maximum(0, 1 - (between(descriptors) / radius) ** power)
        score = scored.evaluation.fitness
        finite = jnp.isfinite(score)
        above = score - jnp.min(score, where=finite, initial=jnp.inf)
        return jnp.where(valid(scored.evaluation, descriptors), above / (1 + near.sum(axis=1)), jnp.nan)

    return without_memory(values)


def clearing(describe: Describe, radius: float, capacity: int = 1) -> Criterion:
    """The best ``capacity`` within a radius keep their fitness, and nobody else there is chosen (Petrowski 1996)."""
    _require_positive(radius=radius)
    require_whole(1, capacity=capacity)

    def values(scored: Scored) -> Evaluation:
        descriptors = described(describe, scored.evaluation, "clearing")
        near = between(descriptors) < radius
        stands = valid(scored.evaluation, descriptors)

        def visit(place: jax.Array, carry: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
            winners, taken = carry
            who = scored.order[place]
            wins = stands[who] & (taken[who] < capacity)
            return winners.at[who].set(wins), taken + (wins & near[who]).astype(jnp.int32)

        count = len(scored.index)
        start = jnp.zeros(count, bool), jnp.zeros(count, jnp.int32)
        winners, _ = jax.lax.fori_loop(0, count, visit, start)
        return Evaluation(jnp.where(winners, scored.evaluation.fitness, jnp.nan), scored.evaluation.tiebreak)

    return without_memory(values)


def competition(points: Describe, alpha: float = 1.0) -> Criterion:
    """Candidates share what each point of the data is worth (Abrantes et al. 2025, M2N2).

    ``points`` is a metric ``[D]`` of what a network makes of each of D points, 0 or more: 1 where it is right, say. The
    value of candidate i is ``sum_j points_ij / z_j ** alpha``, where ``z_j`` is the sum over all candidates. With
    ``alpha=0`` nobody competes.
    """
    require_at_least(0, alpha=alpha)

    def values(scored: Scored) -> jax.Array:
        found = described(points, scored.evaluation, "competition")
        standing = valid(scored.evaluation, found)
        found = jnp.where(standing[:, None], found, 0)
        shared = found.sum(axis=0)
        value = (found / jnp.where(shared > 0, shared, 1) ** alpha).sum(axis=1)
        return jnp.where(standing, value, jnp.nan)

    return without_memory(values)


def local_competition(describe: Describe, neighbours: int = 15) -> Criterion:
    """How many of the nearest candidates have a lower fitness (Lehman and Stanley 2011b)."""
    require_whole(1, neighbours=neighbours)

    def values(scored: Scored) -> jax.Array:
        descriptors = described(describe, scored.evaluation, "local_competition")
        standing = valid(scored.evaluation, descriptors)
        apart = jnp.where(standing[None, :], between(descriptors), jnp.inf)
        away, nearest = jax.lax.top_k(-apart, min(neighbours, len(scored.index)))
        score = scored.evaluation.fitness
        beaten = (score[:, None] > score[nearest]) & (away > -jnp.inf)
        return jnp.where(standing, beaten.sum(axis=1, dtype=jnp.float32), jnp.nan)

    return without_memory(values)


class Archive(NamedTuple):
    """What novelty remembers beside the population, a ring of fixed size: the oldest entry makes room.

    ``apply: (key, descriptors [N, D] of the children, distance of each to the nearest entry, remembered) -> (who enters
    [N], remembered)``.
    """

    size: int
    init: Callable[[], Any]
    apply: Callable[[Key, jax.Array, jax.Array, Any], tuple[jax.Array, Any]]


def random_archive(size: int = 1000, added: int = 5) -> Archive:
    """So many children of every generation enter, drawn with equal chance (Lehman and Miikkulainen 2015)."""
    require_whole(0, size=size, added=added)

    def enter(key: Key, children: jax.Array, nearest: jax.Array, remembered: Any) -> tuple[jax.Array, Any]:
        del nearest
        return lowest(jax.random.uniform(key, (len(children),), jnp.float32), added), remembered

    return Archive(size, lambda: (), enter)


def threshold_archive(size: int = 1000, threshold: float = 6.0, most: int = 4, patience: int = 10) -> Archive:
    """Children that are farther than a threshold from every entry enter (Lehman and Stanley 2011).

    The threshold grows by a fifth where more than ``most`` entered in a generation, and shrinks by a twentieth after
    ``patience`` generations in which nobody did.
    """
    require_whole(1, size=size, most=most, patience=patience)
    _require_positive(threshold=threshold)

    def enter(key: Key, children: jax.Array, nearest: jax.Array, remembered: Any) -> tuple[jax.Array, Any]:
        del key
        limit, waited = remembered

        def visit(number: jax.Array, carry: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
            enters, nearest = carry
            new = nearest[number] > limit
            apart = distances(children, children[number][None])[:, 0]
            return enters.at[number].set(new), jnp.where(new, jnp.minimum(nearest, apart), nearest)

        start = jnp.zeros(len(children), bool), nearest
        enters, _ = jax.lax.fori_loop(0, len(children), visit, start)
        count = enters.sum(dtype=jnp.int32)
        waited = jnp.where(count > 0, 0, waited + 1).astype(jnp.int32)
        shrinks = waited >= patience
        factor = jnp.where(count > most, 1.2, jnp.where(shrinks, 0.95, 1.0))
        limit = (limit * factor).astype(jnp.float32)
        return enters, (limit, jnp.where(shrinks, 0, waited))

    return Archive(size, lambda: (jnp.float32(threshold), jnp.int32(0)), enter)


def novelty(describe: Describe, neighbours: int = 15, archive: Archive | None = None) -> Criterion:
    """The mean distance to the nearest of all candidates and of an archive (Lehman and Stanley 2011).

    Args:
      describe: the metric that describes behaviour, such as where a robot came to; or a function of the metrics.
      neighbours: how many of the nearest count.
      archive: `random_archive` (the default) or `threshold_archive`.

    A candidate without a descriptor (NaN) is not chosen, and does not enter the archive.
    """
    require_whole(1, neighbours=neighbours)
    kept = random_archive() if archive is None else archive
    require(isinstance(kept, Archive), f"archive is {archive!r}: pass random_archive(...) or threshold_archive(...).")

    def init(parents: int, like: Evaluation) -> Any:
        del parents
        numbers = numbers_of(describe, like, "novelty")
        return jnp.full((kept.size, numbers), jnp.nan, jnp.float32), jnp.int32(0), kept.init()

    def apply(key: Key, scored: Scored, remembered: Any) -> tuple[jax.Array, Any, dict[str, jax.Array]]:
        entries, count, own = remembered
        descriptors = described(describe, scored.evaluation, "novelty")
        standing = valid(scored.evaluation, descriptors)
        here = jnp.where(standing[:, None], descriptors, jnp.nan)
        past = distances(here, entries)
        apart = jnp.concatenate([between(here), past], axis=1)
        away, _ = jax.lax.top_k(-apart, min(neighbours, apart.shape[1]))
        found = away > -jnp.inf
        value = jnp.sum(-away, axis=1, where=found) / jnp.maximum(found.sum(axis=1, dtype=jnp.float32), 1)
        nearest = jnp.min(past, axis=1, initial=jnp.inf)
        enters, own = kept.apply(key, here, nearest, own)
        enters = enters & scored.born & standing
        place = jnp.cumsum(enters, dtype=jnp.int32) - 1  # among those who enter
        ring = jnp.where(enters, (count + place) % max(kept.size, 1), kept.size)
        entries = entries.at[ring].set(here, mode="drop")
        count = count + enters.sum(dtype=jnp.int32)
        metrics = {"archive": jnp.minimum(count, kept.size), "novelty": jnp.mean(value, where=standing)}
        return jnp.where(standing, value, jnp.nan), (entries, count, own), metrics

    return Criterion(init, apply)


def _require_positive(**numbers: float) -> None:
    for name, number in numbers.items():
        require(number > 0, f"{name} is {number}, and must be above 0.")
