"""Fates of children: which children were truly better than their parent, and whether they were selected and lasted."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxga.analysis.lineage import true_changes
from jaxga.base import Algorithm, Key, Task, as_key, require, require_whole
from jaxga.pedigree import Pedigree, begin, drawn_afresh, forward, parents_of
from jaxga.report.plots import Curve, plot_curves


class Fates(NamedTuple):
    """All children of some generations, with their true fitness and their fate. Here P is a number of generations."""

    generations: np.ndarray  # [P], the generations
    changes: np.ndarray  # [P, N], true fitness of each child minus that of its parent
    held: np.ndarray  # [P, N] bool: did the child become a parent, or a part of an averaged parent?
    lasting: np.ndarray  # [P, N] bool: was it held, and does it have descendants after ``horizon`` generations?

    @property
    def better(self) -> np.ndarray:
        """``[P, N]`` bool: is the child truly better than its parent?"""
        return self.changes > 0

    def counts(self) -> dict[str, np.ndarray]:
        """Numbers of children in each generation, ``[P]`` each.

        ``better``: truly better than their parent. They are the sum of ``passed_over``: not held; ``died_out``: held,
        but without descendants after the horizon; ``lasting``: held, with descendants. In addition ``worse_held``:
        truly worse than their parent, and held.
        """
        better = self.better
        found = {
            "better": better,
            "passed_over": better & ~self.held,
            "died_out": better & self.held & ~self.lasting,
            "lasting": better & self.lasting,
            "worse_held": (self.changes < 0) & self.held,
        }
        return {name: mask.sum(axis=1) for name, mask in found.items()}

    def plot(self, path: str | Path | None = None) -> Any:
        """Counts against generations."""
        labels = {
            "passed_over": "truly better, not held",
            "died_out": "truly better, held, died out",
            "lasting": "truly better, held, left descendants",
            "worse_held": "truly worse, held",
        }
        counts = self.counts()
        curves = [Curve(label, self.generations, counts[name]) for name, label in labels.items()]
        return plot_curves([({"xlabel": "generation", "ylabel": "children"}, curves)], path)


def fates(
    algorithm: Algorithm,
    pedigree: Pedigree,
    full: Task,
    key: Key | int = 0,
    *,
    generations: Any = None,
    horizon: int = 20,
) -> Fates:
    """Which children were truly better than their parent, and what became of them?

    If fitness is noisy, selection passes over some children that are truly better, in favour of lucky ones. Children
    that it holds may still die out, when descendants of other parents take all slots. This function counts both cases.

    Args:
      algorithm: the algorithm of the run.
      pedigree: the pedigree of the run.
      full: the task on all data, without noise. It scores all children of the chosen generations, and their parents.
      key: key or seed with which ``full`` scores all of them, by default 0.
      generations: the generations to analyse. By default nine, spread evenly over those for which the horizon ends
        before the run.
      horizon: number of generations after which descendants of a child are counted, by default 20; fewer if the run
        ends before. For a child of several parents, the first parent counts. For averaged children, all count.

    Raises:
      InputError: for a generation that is not part of the run, or whose children have no parent.
    """
    require_whole(1, horizon=horizon)
    first = pedigree.first + int(drawn_afresh(algorithm, pedigree))
    last = max(pedigree.last - horizon, first + 1)
    points = np.linspace(first, last - 1, 9).astype(int) if generations is None else np.asarray(generations)
    points = np.unique(points)
    require(
        points.size > 0 and first <= points.min() and points.max() < pedigree.last,
        f"generations is {points.tolist()}, and those with parents are {first} to {pedigree.last - 1}.",
    )
    changes_of = true_changes(algorithm, full, as_key(key))
    lines, rows = parents_of(algorithm, pedigree), points - pedigree.first
    source, found = begin(algorithm, pedigree), []
    for generation in points:
        source = forward(algorithm, pedigree, source, int(generation))
        found.append(np.asarray(changes_of(source)))
    indices = np.asarray(pedigree.recipes.indices)  # type: ignore[union-attr]
    everyone = np.arange(algorithm.children)
    held = np.stack([np.isin(everyone, indices[row]) for row in rows])
    lasting = np.stack([np.isin(everyone, indices[row][_ancestral(lines, row, horizon)]) for row in rows])
    return Fates(points, np.stack(found), held, lasting)


def _ancestral(lines: np.ndarray, row: int, horizon: int) -> np.ndarray:
    """The slots after this row whose individuals have descendants among the parents ``horizon`` rows later."""
    slots = np.arange(lines.shape[1])
    for later in reversed(range(row + 1, min(row + horizon + 1, len(lines)))):
        slots = np.unique(lines[later][slots])
    return slots
