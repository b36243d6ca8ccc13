"""Who overwrote whom: what became of the children that were truly better than their parent."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxga.analysis.lineage import true_changes
from jaxga.base import Algorithm, Key, Task, as_key, require, require_whole
from jaxga.pedigree import Pedigree, begin, drawn_afresh, forward, parents_of
from jaxga.report.plots import Curve, plot_curves


class Fates(NamedTuple):
    """All children of some generations: what each is truly worth, and whether it was held."""

    generations: np.ndarray  # [P]
    changes: np.ndarray  # [P, N], true fitness minus that of the parent
    held: np.ndarray  # [P, N] bool: is it a parent of the next generation, or a part of one?
    lasting: np.ndarray  # [P, N] bool: was it held, and has it a descendant so many generations later?

    @property
    def better(self) -> np.ndarray:
        """``[P, N]`` bool: truly better than its parent."""
        return self.changes > 0

    def counts(self) -> dict[str, np.ndarray]:
        """``[P]`` each. ``better``: children that are truly better than their parent, all of the next three together.

        ``passed_over``: they were not held. ``died_out``: they were held, and nobody comes from them later on.
        ``lasting``: somebody does. ``worse_held``: children that are truly worse than their parent and were held.
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

    A selection that sees a noisy fitness passes over children that are truly better, for others that were lucky.
    Those that it holds may still die out, when the line of another one takes all slots. This counts both.

    Args:
      algorithm: as it was for the run.
      pedigree: of the run.
      full: the task on all data, without noise. Every child of the chosen generations is scored by it, and its parent.
      key: or seed, of the one draw of ``full``.
      generations: which ones; by default nine, evenly spread over those after which the horizon fits into the run.
      horizon: generations from a child to the descendants that count; fewer where the run is over before. Of a child
        of several parents the first one counts, of averaged children all do.

    Raises:
      InputError: for generations that the run does not have, and for one whose children come from no parent.
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
    """The slots after this row whose individuals have descendants among all parents ``horizon`` rows later."""
    slots = np.arange(lines.shape[1])
    for later in reversed(range(row + 1, min(row + horizon + 1, len(lines)))):
        slots = np.unique(lines[later][slots])
    return slots
