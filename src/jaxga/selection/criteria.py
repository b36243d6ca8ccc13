"""Criteria: values by which candidates are ranked, instead of fitness. ``by(criterion)`` makes a selection of one."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxga.base import Evaluation, Key, Recipe, Scored, Selection, name_of, require, require_at_least, require_whole
from jaxga.selection.choices import ranking
from jaxga.selection.described import Describe, between, described, distances, lowest, numbers_of, valid
from jaxga.selection.ranked import ranked


class Criterion(NamedTuple):
    """How good each candidate is, in place of its fitness.

    ``init: (T, like) -> remembered`` makes the criterion's memory. ``apply: (key, Scored, remembered) -> (values [C],
    remembered, metrics)`` computes a value for each candidate: higher is better, and NaN means that the candidate must
    not be chosen. ``apply`` may also return an `Evaluation` in place of values, whose tiebreak orders equal values.
    """

    init: Callable[[int, Evaluation], Any]  # (T, like) -> remembered; like has the shapes of a generation's scores
    apply: Callable[[Key, Scored, Any], tuple[Any, Any, dict[str, jax.Array]]]  # -> (values [C], remembered, metrics)


def by(criterion: Criterion, selection: Selection | None = None) -> Selection:
    """A selection that uses the values of a criterion in place of fitness.

    What is logged as fitness, and the best individual so far, are still those of the task's fitness.

    Args:
      criterion: such as ``novelty("end")``.
      selection: that uses the values, by default `ranked`.

    Raises:
      InputError: for arguments of other types, or a selection that compares children with earlier scores of parents.

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
    """The scores of the candidates, with the values of a criterion as fitness.

    Raises:
      InputError: if there is not one value for each candidate.
    """
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
    """A criterion without memory, from a function ``(Scored) -> values [C]``."""
    return Criterion(lambda *_: (), lambda _, scored, remembered: (values(scored), remembered, {}))


def fitness() -> Criterion:
    """A criterion: the fitness itself, for `weighted` and `pareto`."""
    return without_memory(lambda scored: scored.evaluation._replace(metrics={}))


def metric(name: str) -> Criterion:
    """A criterion: the metric of this name, one number for each individual, for `weighted` and `pareto`."""
    return without_memory(lambda scored: described(name, scored.evaluation, "metric")[:, 0])


def weighted(*parts: tuple[Criterion, float]) -> Criterion:
    """A criterion: the weighted sum of several criteria (Cuccu and Gomez 2011).

    Each criterion is first scaled so that its values for the present candidates lie between 0 and 1. Example:
    ``weighted((novelty("end"), 0.5), (fitness(), 0.5))``.

    Raises:
      InputError: if there are no (criterion, weight) pairs.
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
    """One criterion made of several by ``combine: (key, Scored, scores by each criterion) -> values``."""

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
    """A criterion: fitness sharing, which divides fitness among similar candidates (Goldberg and Richardson 1987).

    A candidate's fitness above the worst finite fitness is divided by ``sum_j max(0, 1 - (distance_j / radius) **
    power)``, over all candidates j including itself.

    Args:
      describe: the metric whose distances count, or a function of the metrics.
      radius: distance from which on candidates do not share, above 0.
      power: shape of the decrease with distance, above 0, by default 1.

    Raises:
      InputError: if ``radius`` or ``power`` is not above 0.
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
    """A criterion: within each radius only the best candidates keep their fitness (Petrowski 1996).

    Args:
      describe: the metric whose distances count, or a function of the metrics.
      radius: of the neighbourhood, above 0.
      capacity: number of candidates in a neighbourhood that keep their fitness, by default 1. Others are not chosen.

    Raises:
      InputError: if ``radius`` is not above 0, or ``capacity`` is below 1.
    """
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
    """A criterion: candidates compete for each data point and share its value (Abrantes et al. 2025, M2N2).

    The value of candidate i is ``sum_j points_ij / z_j ** alpha``, where ``z_j`` is the sum of ``points_ij`` over all
    candidates.

    Args:
      points: a metric ``[D]``, the score of a network at each of D data points, 0 or more, such as 1 if it is right.
      alpha: strength of the competition, 0 or more, by default 1. With 0 there is none.

    Raises:
      InputError: if ``alpha`` is below 0.
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
    """A criterion: the number of nearest candidates that have a lower fitness (Lehman and Stanley 2011b).

    Args:
      describe: the metric whose distances count, or a function of the metrics.
      neighbours: number of nearest candidates that are compared, by default 15.

    Raises:
      InputError: if ``neighbours`` is below 1.
    """
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
    """Past descriptors that `novelty` remembers. If the archive is full, a new entry replaces the oldest one.

    ``apply: (key, descriptors [C, D], distance of each to the nearest entry [C], remembered) -> (mask [C] of the
    candidates that enter, remembered)``. Only children enter.
    """

    size: int  # the most entries
    init: Callable[[], Any]  # () -> remembered, such as a threshold
    apply: Callable[[Key, jax.Array, jax.Array, Any], tuple[jax.Array, Any]]  # which candidates enter, see above


def random_archive(size: int = 1000, added: int = 5) -> Archive:
    """An archive that random children enter (Lehman and Miikkulainen 2015).

    Args:
      size: the most entries, by default 1000.
      added: number of candidates that are drawn in each generation, by default 5. Those that are children enter.

    Raises:
      InputError: if ``size`` or ``added`` is below 0.
    """
    require_whole(0, size=size, added=added)

    def enter(key: Key, children: jax.Array, nearest: jax.Array, remembered: Any) -> tuple[jax.Array, Any]:
        del nearest
        return lowest(jax.random.uniform(key, (len(children),), jnp.float32), added), remembered

    return Archive(size, lambda: (), enter)


def threshold_archive(size: int = 1000, threshold: float = 6.0, most: int = 4, patience: int = 10) -> Archive:
    """An archive that children enter whose distance to every entry is above a threshold (Lehman and Stanley 2011).

    Args:
      size: the most entries, by default 1000.
      threshold: the initial threshold, in units of the descriptor, by default 6.
      most: if more than this number enter in a generation, the threshold grows by a fifth; by default 4.
      patience: after this many generations in which no child entered, the threshold shrinks by a twentieth; by
        default 10.

    Raises:
      InputError: if ``size``, ``most`` or ``patience`` is below 1, or ``threshold`` is not above 0.
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
    """A criterion: the mean distance to the nearest neighbours, among candidates and archive (Lehman and Stanley 2011).

    A candidate without a descriptor (NaN) is not chosen, and does not enter the archive.

    Args:
      describe: the metric that describes behaviour, such as a robot's final position; or a function of the metrics.
      neighbours: number of nearest neighbours whose distances are averaged, by default 15.
      archive: `random_archive` (the default) or `threshold_archive`.

    Raises:
      InputError: if ``neighbours`` is below 1, or ``archive`` is not an `Archive`.
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
        place = jnp.cumsum(enters, dtype=jnp.int32) - 1  # among the candidates that enter
        ring = jnp.where(enters, (count + place) % max(kept.size, 1), kept.size)
        entries = entries.at[ring].set(here, mode="drop")
        count = count + enters.sum(dtype=jnp.int32)
        metrics = {"archive": jnp.minimum(count, kept.size), "novelty": jnp.mean(value, where=standing)}
        return jnp.where(standing, value, jnp.nan), (entries, count, own), metrics

    return Criterion(init, apply)


def _require_positive(**numbers: float) -> None:
    for name, number in numbers.items():
        require(number > 0, f"{name} is {number}, and must be above 0.")
