"""What a run knew and forgot: its parents, replayed and looked at, and what their children lose."""

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
    """What a probe saw."""

    generations: np.ndarray  # [S], how many had passed
    values: Any  # a tree of [S, ...]


def trace(algorithm: Algorithm, pedigree: Pedigree, probe: Callable[[Source], Any], *, every: int = 1) -> Trace:
    """What ``probe: (source) -> tree`` sees after each ``every`` generations of a run.

    The run is replayed in one program, T children a generation, and nothing comes to the host before its end: any
    question may be asked of a run that is over, as often as one likes.

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
    """What children do to what their parents know, for every parent at some generations."""

    generations: np.ndarray  # [S]
    known: np.ndarray  # [S, T], things that a parent knows
    forgot: np.ndarray  # [S, T], the part of these that its children lose, on average
    harmed: np.ndarray  # [S, T], the part of its children that lose anything at all
    learned: np.ndarray  # [S, T], the part of its children that know something that it does not

    def plot(self, path: str | Path | None = None) -> Any:
        """How often children forget and learn; and how much is forgotten by those who know much."""
        over_time = [
            Curve("forget something", self.generations, self.harmed.mean(axis=1)),
            Curve("learn something", self.generations, self.learned.mean(axis=1)),
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
    """How often do children lose what their parents knew?

    The run is replayed. After each ``every`` generations the first ``samples`` children of every parent, the very ones
    that the next generation would have, are asked what they know.

    Args:
      algorithm: as it was for the run.
      pedigree: of the run.
      knows: ``(params) -> bool [P]``: which of P things, points or levels or tests, a network knows. It need not be
        what was selected for: ask for skill A while skill B is learned.
      every: generations from one look to the next.
      samples: children of a parent, at most its brood.
    """
    require_whole(1, samples=samples)
    members = iota(min(samples, algorithm.brood))

    def of_pair(source: Source, pair: jax.Array) -> tuple[jax.Array, ...]:
        before = knows(take(source.parents.params, source.pairs[pair, 0]))
        after = jax.vmap(lambda member: knows(dense(algorithm.offspring(source, pair, member).params)))(members)
        lost, won = before & ~after, after & ~before
        known = jnp.sum(before).astype(jnp.float32)
        forgot = jnp.mean(jnp.sum(lost, axis=1).astype(jnp.float32)) / jnp.maximum(known, 1)
        return known, forgot, jnp.mean(lost.any(axis=1)), jnp.mean(won.any(axis=1))

    def probe(source: Source) -> tuple[jax.Array, ...]:
        return jax.lax.map(lambda pair: of_pair(source, pair), iota(algorithm.pairs))

    seen = trace(algorithm, pedigree, probe, every=every)
    return Interference(seen.generations, *seen.values)
