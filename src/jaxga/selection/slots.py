"""Selections in which a child competes for one slot: crowding, steady state, MAP-Elites."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxga.base import Evaluation, Key, Recipe, Scored, Selection, require, require_at_least, require_whole
from jaxga.selection.described import Describe, described, distances, draw, lowest, places, valid


class Contest(NamedTuple):
    """Which individuals get the slots."""

    indices: jax.Array  # [T] the indices of the next parents, for a `Recipe`
    won: jax.Array  # [C] bool: which candidates become parents
    scores: Evaluation  # [T] scores of the next parents


def contest(scored: Scored, slot: jax.Array, *, always: bool = False) -> Contest:
    """Give each slot to the best candidate that competes for it, if it is better than the parent in the slot.

    Args:
      scored: the candidates. Those without a fitness, and lethal ones (-inf), do not compete.
      slot: ``[C]``, the slot for which each candidate competes; below 0 for none.
      always: replace the parent even if the candidate is worse, by default False.
    """
    count, slots = len(scored.index), len(scored.held)
    stands = (scored.evaluation.fitness > -jnp.inf) & (slot >= 0)
    first = jax.ops.segment_min(places(scored), jnp.where(stands, slot, slots), slots + 1)[:slots]
    best = scored.order[jnp.minimum(first, count - 1)]
    new = Evaluation(scored.evaluation.fitness[best], scored.evaluation.tiebreak[best])
    old = scored.parents
    better = (new.fitness > old.fitness) | ((new.fitness == old.fitness) & (new.tiebreak > old.tiebreak))
    taken = (first < count) & (better | jnp.isnan(old.fitness) | always)
    won = jnp.zeros(count, bool).at[jnp.where(taken, best, count)].set(True, mode="drop")
    scores = Evaluation(*(jnp.where(taken, a, b) for a, b in zip(new[:2], old[:2], strict=True)))
    return Contest(jnp.where(taken, scored.index[best], scored.held), won, scores)


def _recipe(found: Contest, pairs: jax.Array | None = None) -> Recipe:
    return Recipe(found.indices[:, None], pairs=pairs)


def crowding() -> Selection:
    """Deterministic crowding: a child that is better than its parent takes its slot (De Jong 1975, Mahfoud 1992).

    >>> import jaxga
    >>> from jaxga.variation import absolute, gaussian
    >>> task = jaxga.Task(lambda key: jax.random.uniform(key, (), minval=-2.0, maxval=2.0),
    ...                   lambda key, w: -((w**2 - 1) ** 2))  # two peaks, at -1 and 1
    >>> algorithm = jaxga.ga(task.init, gaussian(absolute(0.05)), parents=20, children=40, selection=crowding(),
    ...                      founders=lambda key, init, parents: jax.vmap(init)(jax.random.split(key, parents)))
    >>> held = jaxga.run(algorithm, task, generations=50).state.parents.params
    >>> bool(jnp.any(held < -0.9)), bool(jnp.any(held > 0.9))  # both are kept
    (True, True)
    """

    def apply(key: Key, scored: Scored, remembered: Any) -> tuple[Recipe, Any, dict[str, jax.Array]]:
        del key
        return _recipe(contest(scored, scored.slot)), remembered, {}

    return Selection(lambda *_: (), apply, incumbents=True, in_place=True)


def restricted_tournament(describe: Describe, window: int = 20) -> Selection:
    """A child competes with the most similar of several parents that are drawn for it (Harik 1995).

    Args:
      describe: the metric whose distances count, or a function of the metrics.
      window: number of parents that are drawn for each child, by default 20.

    Raises:
      InputError: if ``window`` is below 1.
    """
    require_whole(1, window=window)

    def apply(key: Key, scored: Scored, remembered: Any) -> tuple[Recipe, Any, dict[str, jax.Array]]:
        children = described(describe, scored.evaluation, "restricted_tournament")
        parents = described(describe, scored.parents, "restricted_tournament")
        lot = jax.random.uniform(key, (len(children), len(parents)), jnp.float32)
        drawn = lowest(lot, window)
        # A parent that was never scored has no descriptor. Its slot counts as nearest, so it is filled first.
        apart = jnp.where(jnp.isnan(scored.parents.fitness)[None, :], -1, distances(children, parents))
        nearest = jnp.argmin(jnp.where(drawn, apart, jnp.inf), axis=1).astype(jnp.int32)
        return _recipe(contest(scored, nearest)), remembered, {}

    return Selection(lambda *_: (), apply, incumbents=True, in_place=True)


def replace_worst() -> Selection:
    """Steady state: each child competes for the slot of one of the worst parents (Whitley 1989, GENITOR).

    The best child competes with the worst parent, the next best child with the next worst parent, and so on. Use few
    children for each generation, and `breeding` to choose their parents.
    """

    def apply(key: Key, scored: Scored, remembered: Any) -> tuple[Recipe, Any, dict[str, jax.Array]]:
        del key
        worst = jnp.argsort(jnp.where(jnp.isnan(scored.parents.fitness), -jnp.inf, scored.parents.fitness))
        return _recipe(contest(scored, _in_turn(scored, worst.astype(jnp.int32)))), remembered, {}

    return Selection(lambda *_: (), apply, incumbents=True, in_place=True)


def plus(parents: int) -> Selection:
    """Plus selection in place: the best of parents and children survive, and surviving parents stay in their slots.

    It selects the same individuals as ``ranked(elites=parents)``, but does not sort them. With few children it moves
    less data.

    Args:
      parents: T, the same as in ``ga(parents=...)``.

    Raises:
      InputError: if ``parents`` is below 1.
    """
    require_whole(1, parents=parents)

    def apply(key: Key, scored: Scored, remembered: Any) -> tuple[Recipe, Any, dict[str, jax.Array]]:
        del key
        survives = places(scored) < parents
        stays = survives[-parents:]  # elites are the last candidates, in the order of their slots
        comes = (survives & scored.born)[scored.order]  # by rank
        turn = jnp.where(comes, jnp.cumsum(comes, dtype=jnp.int32) - 1, len(comes))
        children = jnp.zeros(len(comes), jnp.int32).at[turn].set(scored.index[scored.order], mode="drop")
        free = jnp.cumsum(~stays, dtype=jnp.int32) - 1
        indices = jnp.where(stays, scored.held, children[jnp.maximum(free, 0)])
        return Recipe(indices[:, None]), remembered, {}

    return Selection(lambda *_: (), apply, tuple(range(parents)), in_place=True)


def replace_oldest() -> Selection:
    """Steady state: children replace the oldest parents, whether they are better or not (Real et al. 2019).

    The age of a parent is the number of generations since it got its slot. The mean is logged as ``age``.
    """

    def apply(key: Key, scored: Scored, since: jax.Array) -> tuple[Recipe, Any, dict[str, jax.Array]]:
        del key
        oldest = jnp.argsort(since, stable=True).astype(jnp.int32)
        found = contest(scored, _in_turn(scored, oldest), always=True)
        since = jnp.where(found.indices == scored.held, since, scored.generation)
        return _recipe(found), since, {"age": jnp.mean((scored.generation - since).astype(jnp.float32))}

    return Selection(lambda parents, _: jnp.full(parents, -1, jnp.int32), apply, in_place=True)


def _in_turn(scored: Scored, slots: jax.Array) -> jax.Array:
    """The slot ``[C]`` for which each candidate competes: ``slots`` in the order of rank, then -1 for no slot."""
    place = places(scored)
    return jnp.where(place < len(slots), slots[jnp.minimum(place, len(slots) - 1)], -1)


class Cells(NamedTuple):
    """A division of descriptor space into cells, made by `grid` or `cvt`."""

    number: int  # the number of cells
    of: Callable[[jax.Array], tuple[jax.Array, jax.Array]]  # (descriptors [C, D]) -> (cell [C], is it inside? [C])
    numbers: int  # D, the number of dimensions of descriptor space
    shape: tuple[int, ...] = ()  # cells along each dimension of a grid; () of other divisions
    low: tuple[float, ...] = ()  # [D] the lower bounds
    high: tuple[float, ...] = ()  # [D] the upper bounds


def grid(shape: tuple[int, ...], low: Any, high: Any) -> Cells:
    """A grid of equal boxes: ``grid((100, 100), -256, 256)`` has 10,000 cells.

    Args:
      shape: number of cells along each dimension of the descriptor.
      low: the lower bound, one number for all dimensions or one for each.
      high: the upper bound, one number for all dimensions or one for each.

    Raises:
      InputError: if a size is below 1, or a lower bound is not below its upper bound.

    >>> cell, inside = grid((2, 3), 0.0, 1.0).of(jnp.array([[0.1, 0.9], [1.0, 0.0], [2.0, 0.5]]))
    >>> cell.tolist(), inside.tolist()
    ([2, 3, 4], [True, True, False])
    """
    sizes = tuple(shape)
    require_whole(1, **{f"shape[{axis}]": size for axis, size in enumerate(sizes)})
    least, most = (np.broadcast_to(np.asarray(bound, np.float32), (len(sizes),)) for bound in (low, high))
    require(bool((least < most).all()), f"low is {low} and high is {high}: every low must be below its high.")
    strides = np.cumprod((1, *sizes[:0:-1]))[::-1].astype(np.int32)

    def of(descriptors: jax.Array) -> tuple[jax.Array, jax.Array]:
        part = (descriptors - least) / (most - least)
        at = jnp.clip(jnp.floor(part * np.array(sizes, np.float32)), 0, np.array(sizes, np.float32) - 1).astype(
            jnp.int32
        )
        return jnp.sum(at * strides, axis=1, dtype=jnp.int32), ((part >= 0) & (part <= 1)).all(axis=1)

    return Cells(int(np.prod(sizes)), of, len(sizes), sizes, tuple(least.tolist()), tuple(most.tolist()))


def cvt(cells: int, low: Any, high: Any, *, seed: int = 0, samples: int | None = None) -> Cells:
    """Cells of about equal size in any number of dimensions, each around a centroid (Vassiliades et al. 2018).

    The centroids come from k-means on points that are drawn uniformly between the bounds.

    Args:
      cells: number of cells.
      low: the lower bounds, one number for each dimension.
      high: the upper bounds, one number for each dimension.
      seed: of the points, by default 0.
      samples: number of points, by default 25 for each cell.

    Raises:
      InputError: if ``cells`` is below 1, or the bounds do not fit each other.
    """
    from scipy.cluster.vq import kmeans2

    require_whole(1, cells=cells)
    least, most = (np.atleast_1d(np.asarray(bound, np.float32)) for bound in (low, high))
    require(least.shape == most.shape and bool((least < most).all()), f"low is {low} and high is {high}: they must "
            "have one number for each dimension, every low below its high.")  # fmt: skip
    rng = np.random.default_rng(seed)
    points = rng.uniform(0, 1, (samples or 25 * cells, len(least)))
    chosen = points[rng.choice(len(points), cells, replace=False)]
    centroids = jnp.asarray(kmeans2(points, chosen, minit="matrix", iter=20)[0], jnp.float32)

    def of(descriptors: jax.Array) -> tuple[jax.Array, jax.Array]:
        part = (descriptors - least) / (most - least)
        nearest = jnp.argmin(distances(jnp.clip(part, 0, 1), centroids), axis=1).astype(jnp.int32)
        return nearest, ((part >= 0) & (part <= 1)).all(axis=1)

    return Cells(cells, of, len(least), (), tuple(least.tolist()), tuple(most.tolist()))


class Filled(NamedTuple):
    """What is known about the cells when the breeding cells are drawn."""

    filled: jax.Array  # [T] bool: does the cell hold an individual?
    fitness: jax.Array  # [T] its fitness; NaN in an empty cell
    curiosity: jax.Array  # [T] how often its children got a cell recently, see `curiosity`
    improvement: jax.Array  # [T] how much its children recently added to the archive's fitness, see `improvement`


def uniform(cells: Filled) -> jax.Array:
    """For ``map_elites(breeders=...)``: all filled cells are equally likely to breed (Mouret and Clune 2015)."""
    return cells.filled.astype(jnp.float32)


def curiosity(cells: Filled) -> jax.Array:
    """For ``map_elites(breeders=...)``: cells breed in proportion to a curiosity score (Cully and Demiris 2018).

    A cell's score rises by 1 for each of its children that gets a cell, and falls by 1/2 for each that does not. It is
    never below 0.
    """
    return jnp.where(cells.filled, cells.curiosity + 0.01, 0)


def improvement(cells: Filled) -> jax.Array:
    """For ``map_elites(breeders=...)``: cells breed in proportion to the improvement that their children made.

    The improvement is a running mean of what a cell's children added to the archive's fitness.
    """
    mean = jnp.mean(cells.improvement, where=cells.filled)
    return jnp.where(cells.filled, cells.improvement + 0.1 * mean + 1e-9, 0)


def map_elites(
    describe: Describe,
    cells: Cells,
    pairs: int,
    *,
    breeders: Callable[[Filled], jax.Array] = uniform,
    outside: bool = True,
    offset: float = 0.0,
) -> Selection:
    """MAP-Elites: each slot is a cell of descriptor space, and holds the best individual found in that cell.

    Logged: ``coverage`` (the share of cells that are filled), ``qd_score`` (the sum over filled cells of fitness minus
    ``offset``), ``entered`` (the number of children that got a cell), and ``outside`` (the number of individuals whose
    descriptor is outside the bounds).

    Args:
      describe: the metric that determines the cell of an individual, or a function of the metrics.
      cells: a `grid` or `cvt`, with as many cells as ``ga`` has parents.
      pairs: P, the number of pairs that breed in each generation. Both partners are drawn by ``breeders``.
      breeders: ``(Filled) -> weights [T]``: `uniform` (the default), `curiosity` or `improvement`.
      outside: if True (the default), an individual outside the bounds belongs to the nearest cell, otherwise to none.
      offset: the lowest possible fitness, for the QD score; by default 0.

    Raises:
      InputError: if ``pairs`` is below 1; later, if the sizes of cells, parents and descriptors do not fit.

    >>> import jaxga
    >>> from jaxga.variation import absolute, gaussian
    >>> def evaluate(key, w):
    ...     return jaxga.Evaluation(-jnp.sum(w**2), metrics={"at": w[:2]})
    >>> task = jaxga.Task(lambda key: jnp.zeros(3), evaluate)
    >>> squares = grid((10, 10), -1, 1)
    >>> algorithm = jaxga.ga(task.init, gaussian(absolute(0.3)), parents=100, children=64, pairs=64,
    ...                      selection=map_elites("at", squares, pairs=64))
    >>> result = jaxga.run(algorithm, task, generations=40)
    >>> bool(result.history["coverage"][-1] > 0.9)
    True
    """
    require_whole(1, pairs=pairs)
    require_at_least(-np.inf, offset=offset)

    def init(parents: int, like: Evaluation) -> Any:
        require(parents == cells.number, f"parents is {parents}, and there are {cells.number} cells: take as many.")
        found = jax.eval_shape(lambda scores: described(describe, scores, "map_elites"), like).shape[1]
        require(found == cells.numbers, f"the descriptor has {found} numbers, and the cells have {cells.numbers}.")
        return jnp.zeros(parents, jnp.float32), jnp.zeros(parents, jnp.float32)

    def apply(key: Key, scored: Scored, remembered: Any) -> tuple[Recipe, Any, dict[str, jax.Array]]:
        descriptors = described(describe, scored.evaluation, "map_elites")
        cell, inside = cells.of(descriptors)
        stands = valid(scored.evaluation, descriptors) & (inside | outside)
        cell = jnp.where(stands, cell, -1)
        found = contest(scored, cell)
        curious, better = _what_children_did(scored, cell, found, offset, *remembered)
        filled = ~jnp.isnan(found.scores.fitness)
        weights = breeders(Filled(filled, found.scores.fitness, curious, better))
        breeds = draw(key, weights, 2 * pairs).reshape(pairs, 2)
        metrics = {
            "coverage": jnp.mean(filled.astype(jnp.float32)),
            "qd_score": jnp.sum(found.scores.fitness - offset, where=filled),
            "entered": found.won.sum(dtype=jnp.int32),
            "outside": (~inside & valid(scored.evaluation, descriptors)).sum(dtype=jnp.int32),
        }
        return _recipe(found, breeds), (curious, better), metrics

    return Selection(init, apply, incumbents=True, in_place=True)


def _what_children_did(
    scored: Scored, cell: jax.Array, found: Contest, offset: float, curious: jax.Array, better: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """The curiosity and improvement ``[T]`` of the next parents; 0 for an individual that is new in its cell."""
    slots, target = len(scored.held), jnp.maximum(cell, 0)
    before = jnp.where(jnp.isnan(scored.parents.fitness), offset, scored.parents.fitness)[target]
    gain = jnp.where(found.won, scored.evaluation.fitness - before, 0)
    luck = jnp.where(found.won, jnp.float32(1), -0.5) * scored.born.astype(jnp.float32)
    curious = jnp.maximum(curious + jax.ops.segment_sum(luck, scored.slot, slots), 0)
    children = jax.ops.segment_sum(scored.born.astype(jnp.float32), scored.slot, slots)
    mean = jax.ops.segment_sum(jnp.where(scored.born, gain, 0), scored.slot, slots) / jnp.maximum(children, 1)
    better = jnp.where(children > 0, 0.8 * better + 0.2 * mean, better)
    stays = found.indices == scored.held
    return jnp.where(stays, curious, 0), jnp.where(stays, better, 0)
