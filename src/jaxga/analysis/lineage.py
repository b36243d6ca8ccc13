"""True effects of mutations: along a lineage, over a run, and a diagnosis of why a run stopped improving."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxga.base import Algorithm, Context, Individual, Key, Params, Recipe, Source, Task, Variation, as_key, require
from jaxga.compilation import jit
from jaxga.lowrank import dense
from jaxga.pedigree import Pedigree, ancestors, drawn_afresh, replay, slot_of
from jaxga.report.plots import Curve, Histogram, plot_curves
from jaxga.tree import iota, take

CHUNK = 32  # networks scored at once


class Effects(NamedTuple):
    """True fitness along a lineage."""

    fitness: np.ndarray  # [G + 1], true fitness of the ancestors, oldest first

    @property
    def changes(self) -> np.ndarray:
        """``[G]``, the change of fitness in every generation, by a mutation or a mean of mutations."""
        return np.diff(self.fitness)

    def counts(self, tolerance: float = 0.0) -> dict[str, int]:
        """Numbers of beneficial, neutral and harmful mutations; changes up to ``tolerance`` count as neutral."""
        changes = self.changes
        beneficial, harmful = int(np.sum(changes > tolerance)), int(np.sum(changes < -tolerance))
        return {"beneficial": beneficial, "neutral": len(changes) - beneficial - harmful, "harmful": harmful}

    def plot(self, path: str | Path | None = None) -> Any:
        """Plot the true fitness, and the cumulative gains and losses."""
        x = np.arange(len(self.fitness))
        gains = np.append(0, np.cumsum(np.maximum(self.changes, 0)))
        losses = np.append(0, np.cumsum(np.maximum(-self.changes, 0)))
        curves = [Curve("gained by mutations that helped", x, gains), Curve("lost by those that harmed", x, losses)]
        return plot_curves(
            [
                ({"xlabel": "generation", "ylabel": "fitness on all data"}, [Curve("", x, self.fitness)]),
                ({"xlabel": "generation", "ylabel": "sum of changes"}, curves),
            ],
            path,
        )


def lineage_effects(algorithm: Algorithm, pedigree: Pedigree, full: Task, slot: int = 0, key: Key | int = 0) -> Effects:
    """Were the mutations that survived truly beneficial? All ancestors of a final parent are scored on all data.

    The run is replayed for this.

    Args:
      algorithm: the algorithm of the run.
      pedigree: the pedigree of the run.
      full: the task on all data, without noise.
      slot: slot of the final parent, by default 0.
      key: key or seed with which ``full`` scores all ancestors, by default 0.

    Raises:
      InputError: if the pedigree is empty.
    """
    require(pedigree.recipes is not None, "the pedigree is empty: run at least one generation.")
    lineage = ancestors(algorithm, pedigree, slot)[::-1]
    first = int(drawn_afresh(algorithm, pedigree))  # founders have no parent to compare with
    slots = [link.slot for link in lineage]  # of parents after generation 0, 1, ...
    start = replay(algorithm, pedigree, pedigree.first + first)
    before = slots[first - 1] if first else slot_of(algorithm, pedigree, 0, lineage[0].index)

    def score(params: Params, slot: Any) -> jax.Array:
        return full.score(as_key(key), take(params, slot)).fitness

    def step(source: Source, row: tuple[Recipe, jax.Array]) -> tuple[Source, jax.Array]:
        source = algorithm.advance(source, row[0])
        return source, score(source.parents.params, row[1])

    def follow(source: Source, rows: Any) -> jax.Array:
        return jnp.append(score(source.parents.params, before), jax.lax.scan(step, source, rows)[1])

    recipes = jax.tree.map(jnp.asarray, take(pedigree.recipes, slice(first, None)))
    return Effects(np.asarray(jit(follow)(start, (recipes, jnp.asarray(slots[first:], jnp.int32)))))


def true_changes(algorithm: Algorithm, full: Task, key: Key) -> Callable[[Source], jax.Array]:
    """A function of a source: the fitness ``[N]`` of every child by ``full`` with ``key``, minus that of its parent."""
    everyone = iota(algorithm.children)

    def change(source: Source, index: jax.Array) -> jax.Array:
        place = algorithm.place(source, index)
        child = algorithm.offspring(source, place.pair, place.member)
        before = full.score(key, take(source.parents, place.slot).params).fitness
        return full.score(key, dense(child.params)).fitness - before

    chunk = min(CHUNK, len(everyone))
    return jit(lambda source: jax.lax.map(partial(change, source), everyone, batch_size=chunk))


class Robustness(NamedTuple):
    """Effects of mutations on the best parents of a run. Here P is a number of generations."""

    generations: np.ndarray  # [P], the generations
    fitness: np.ndarray  # [P], fitness of the best parent
    changes: np.ndarray  # [P, M], fitness of its mutants minus its own

    @property
    def drop(self) -> np.ndarray:
        """``[P]``, the mean loss of fitness by a mutation."""
        return -self.changes.mean(axis=1)

    def plot(self, path: str | Path | None = None) -> Any:
        """Plot the loss of fitness by a mutation against generations and against fitness."""
        middle = -np.quantile(self.changes, [0.25, 0.5, 0.75], axis=1)
        return plot_curves(
            [
                (
                    {"xlabel": "generation", "ylabel": "loss of fitness by a mutation", "yscale": "log"},
                    [Curve("median and quartiles", self.generations, middle)],
                ),
                (
                    {"xlabel": "fitness", "ylabel": "mean loss of fitness by a mutation", "yscale": "log"},
                    [Curve("", self.fitness, self.drop, "o-")],
                ),
            ],
            path,
        )


def robustness(
    algorithm: Algorithm,
    pedigree: Pedigree,
    task: Task,
    mutation: Variation,
    key: Key | int = 0,
    *,
    generations: Sequence[int] | None = None,
    samples: int = 64,
) -> Robustness:
    """Do parents become more robust to mutations over a run? Mutates the best parent of several generations.

    Args:
      algorithm: the algorithm of the run.
      pedigree: the pedigree of the run.
      task: the task that scores parents and mutants, all with one key.
      mutation: the mutation, the same for all generations. It need not be that of the run.
      key: key or seed, by default 0.
      generations: the generations to analyse, by default nine, evenly spread over the run.
      samples: M, the number of mutants per parent, by default 64.

    Raises:
      InputError: for generation 0 if founders are drawn afresh.
    """
    points = np.linspace(1, pedigree.generations, 9).astype(int) if generations is None else np.asarray(generations)
    require(
        points.min() > 0 or not drawn_afresh(algorithm, pedigree),
        "generation 0 has no parents where founders are drawn afresh: begin with 1.",
    )
    key_data, key_children = jax.random.split(as_key(key))

    def measure(params: Params, keys: Key) -> tuple[jax.Array, jax.Array]:
        parent = Individual(params, mutation.init(params))

        def child(key: Key) -> jax.Array:
            mutant = mutation.apply(key, parent, Context(jnp.int32(0), parent))
            return task.score(key_data, dense(mutant.params)).fitness

        fitness = task.score(key_data, params).fitness
        return fitness, jax.lax.map(child, keys, batch_size=min(CHUNK, samples)) - fitness

    measured = jit(measure)
    keys = jax.random.split(key_children, samples)
    sources = [replay(algorithm, pedigree, int(generation)) for generation in points]
    found = [measured(take(source.parents, 0).params, keys) for source in sources]
    return Robustness(points, *(np.stack([np.asarray(row[part]) for row in found]) for part in (0, 1)))


class Diagnosis(NamedTuple):
    """Why a run stopped improving: a verdict and the measurements behind it."""

    verdict: str  # a key of ``VERDICTS``
    better_children: float  # number of children of the last parents that are truly better than their parent
    improved: float  # fraction of the last generations in which the lineage improved
    gained: float  # sum of the improvements of the lineage, divided by the number of last generations
    lost: float  # sum of the losses of the lineage, divided by the number of last generations
    children: np.ndarray  # [N], true fitness of the children of the last parents minus that of their parent

    def __str__(self) -> str:
        return (
            f"{VERDICTS[self.verdict]} (a generation has {self.better_children:.1f} children that are truly better; "
            f"{self.improved:.0%} of the last generations improved, by {self.gained:.2g} a generation, the others lost "
            f"{self.lost:.2g})"
        )

    def plot(self, path: str | Path | None = None) -> Any:
        """Plot a histogram of the changes of true fitness by children of the last parents."""
        axes = {"xlabel": "change of fitness on all data by a child", "ylabel": "density", "title": self.verdict}
        return plot_curves([(axes, [Histogram("children of the last parents", self.children)])], path)


VERDICTS = {
    "none found": "Mutations that improve are no longer found: steps too long, or a landscape too sharp",
    "not passed on": "Better children are found and not passed on: selection does not see them",
    "harm as fast": "Harmful mutations are passed on about as fast as good ones: fitness is too noisy",
    "gains too small": "Fitness still rises, but the gains are too small",
    "learning": "It has not stopped: fitness still rises",
}


def diagnose(
    algorithm: Algorithm,
    pedigree: Pedigree,
    full: Task,
    key: Key | int = 0,
    *,
    window: int = 50,
    slow: float = 1e-3,
) -> Diagnosis:
    """Why did a run stop improving? Distinguishes the four failure modes of the notes.

    All children of the last parents are scored on all data, and so are the ancestors of the best parent. The verdict is
    the first that applies:

    - *none found*: less than one child is truly better than its parent;
    - *not passed on*: the lineage improved in less than a fifth of the last generations;
    - *harm as fast*: the lineage lost four fifths or more of its gains;
    - *gains too small*: the net gain over the window is less than ``slow`` times the absolute fitness;
    - *learning*: fitness still rises.

    Args:
      algorithm: the algorithm of the run.
      pedigree: the pedigree of the run.
      full: the task on all data, without noise.
      key: key or seed with which ``full`` scores all of them, by default 0.
      window: number of last generations of the lineage that count, by default 50.
      slow: smallest net gain, as a fraction of the absolute fitness, by default 0.001.

    Raises:
      InputError: if the pedigree is empty.
    """
    data = as_key(key)
    changes = np.asarray(true_changes(algorithm, full, data)(replay(algorithm, pedigree)))
    effects = lineage_effects(algorithm, pedigree, full, key=data)
    last = effects.changes[-window:]
    gained, lost = float(np.maximum(last, 0).mean()), float(np.maximum(-last, 0).mean())
    better, improved = float(np.sum(changes > 0)), float(np.mean(last > 0))
    verdict = _verdict(better, improved, gained, lost, len(last), slow * abs(float(effects.fitness[-1])))
    return Diagnosis(verdict, better, improved, gained, lost, changes)


def _verdict(better: float, improved: float, gained: float, lost: float, generations: int, too_small: float) -> str:
    if better < 1:
        return "none found"
    if improved < 0.2:
        return "not passed on"
    if lost >= 0.8 * gained:
        return "harm as fast"
    return "gains too small" if (gained - lost) * generations < too_small else "learning"
