"""Interference: a run is replayed to measure what its parents know and what their children forget."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxga.base import Algorithm, Params, Source, require, require_whole
from jaxga.compilation import jit
from jaxga.lowrank import dense
from jaxga.pedigree import Pedigree, drawn_afresh, replay
from jaxga.report.plots import Curve, plot_curves
from jaxga.tree import iota, take


class Trace(NamedTuple):
    """The results of a probe."""

    generations: np.ndarray  # [S], the number of generations before each call of the probe
    values: Any  # the tree that the probe returns, with a leading axis: [S, ...]


def trace(algorithm: Algorithm, pedigree: Pedigree, probe: Callable[[Source], Any], *, every: int = 1) -> Trace:
    """Replay a run and call a probe after every few generations.

    The replay is one program on the device. It builds only the T parents of each generation, and results come to the
    host at the end. So a run can be analysed in new ways after it is over.

    Args:
      algorithm: the algorithm of the run.
      pedigree: the pedigree of the run.
      probe: ``(source) -> tree`` of arrays, a function that JAX can trace.
      every: generations between two calls of the probe, by default 1.

    Raises:
      InputError: if ``every`` is below 1 or larger than the number of generations.

    >>> import jaxga
    >>> from jaxga.variation import absolute, gaussian
    >>> task = jaxga.Task(lambda key: jnp.ones(3), lambda key, w: jaxga.Evaluation(-jnp.sum(w**2)))
    >>> algorithm = jaxga.ga(task.init, gaussian(absolute(0.1)), parents=2, children=8)
    >>> result = jaxga.run(algorithm, task, generations=10)
    >>> seen = trace(algorithm, result.pedigree, lambda source: source.parents.params.mean(), every=5)
    >>> seen.generations.tolist(), seen.values.shape
    ([5, 10], (2,))
    """
    require_whole(1, every=every)
    samples = pedigree.generations // every
    require(samples > 0, f"every is {every}, and the run has {pedigree.generations} generations: take a smaller one.")
    first = int(drawn_afresh(algorithm, pedigree))

    def advance(source: Source, row: Any) -> tuple[Source, None]:
        return algorithm.advance(source, row), None

    def step(source: Source, rows: Any) -> tuple[Source, Any]:
        source, _ = jax.lax.scan(advance, source, rows)
        return source, probe(source)

    def follow(source: Source, head: Any, rest: Any) -> Any:
        source, seen = step(source, head)
        _, more = jax.lax.scan(step, source, rest)
        return jax.tree.map(lambda one, others: jnp.concatenate([one[None], others]), seen, more)

    recipes = jax.tree.map(jnp.asarray, take(pedigree.recipes, slice(0, samples * every)))
    head = take(recipes, slice(first, every))
    rest = jax.tree.map(lambda leaf: leaf[every:].reshape(samples - 1, every, *leaf.shape[1:]), recipes)
    values = jit(follow)(replay(algorithm, pedigree, pedigree.first + first), head, rest)
    return Trace(pedigree.first + every * np.arange(1, samples + 1), jax.tree.map(np.asarray, values))


class Interference(NamedTuple):
    """What children forget and learn, for every parent at some generations."""

    generations: np.ndarray  # [S], the number of generations before each measurement
    known: np.ndarray  # [S, T], number of items that a parent knows
    forgot: np.ndarray  # [S, T], fraction of these items that a child forgets, mean over children
    harmed: np.ndarray  # [S, T], fraction of the children that forget at least one item
    learned: np.ndarray  # [S, T], fraction of the children that know at least one item that the parent does not
    spared: np.ndarray  # [S, T], fraction of the children that learn at least one item and forget none

    def plot(self, path: str | Path | None = None) -> Any:
        """Plot how often children forget and learn, and the fraction forgotten against the number of known items."""
        over_time = [
            Curve("forget something", self.generations, self.harmed.mean(axis=1)),
            Curve("learn something", self.generations, self.learned.mean(axis=1)),
            Curve("learn and forget nothing", self.generations, self.spared.mean(axis=1)),
        ]
        known = [Curve("", self.known.mean(axis=1), self.forgot.mean(axis=1), "o")]
        return plot_curves(
            [
                ({"xlabel": "generation", "ylabel": "part of the children who", "ylim": (-0.03, 1.03)}, over_time),
                ({"xlabel": "known by a parent", "ylabel": "part of it that a child forgets"}, known),
            ],
            path,
        )


def interference(
    algorithm: Algorithm,
    pedigree: Pedigree,
    knows: Callable[[Params], jax.Array],
    *,
    every: int = 10,
    samples: int = 32,
) -> Interference:
    """How often do children forget what their parents knew?

    The run is replayed. After every few generations, ``knows`` is applied to every parent and to its first children,
    the same children that the next generation of the run had.

    Args:
      algorithm: the algorithm of the run.
      pedigree: the pedigree of the run.
      knows: ``(params) -> bool [P]``, which of P items (such as points, levels or tests) a network knows. Items need
        not be those of the fitness. For example, measure skill A while skill B is selected for.
      every: generations between two measurements, by default 10.
      samples: number of children per parent, at most its brood, by default 32.

    Raises:
      InputError: if ``samples`` or ``every`` is below 1, or ``every`` is larger than the number of generations.
    """
    require_whole(1, samples=samples)
    members = iota(min(samples, algorithm.brood))

    def of_pair(source: Source, pair: jax.Array) -> tuple[jax.Array, ...]:
        before = knows(take(source.parents.params, source.pairs[pair, 0]))
        after = jax.vmap(lambda member: knows(dense(algorithm.offspring(source, pair, member).params)))(members)
        lost, won = before & ~after, after & ~before
        known = jnp.sum(before).astype(jnp.float32)
        forgot = jnp.mean(jnp.sum(lost, axis=1).astype(jnp.float32)) / jnp.maximum(known, 1)
        harmed, learned = lost.any(axis=1), won.any(axis=1)
        return known, forgot, jnp.mean(harmed), jnp.mean(learned), jnp.mean(learned & ~harmed)

    def probe(source: Source) -> tuple[jax.Array, ...]:
        return jax.lax.map(lambda pair: of_pair(source, pair), iota(algorithm.pairs))

    seen = trace(algorithm, pedigree, probe, every=every)
    return Interference(seen.generations, *seen.values)
