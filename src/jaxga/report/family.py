"""Family trees: who descends from whom, and who mated."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from jaxga.base import require, require_whole

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def with_descendants(parents: np.ndarray, mates: np.ndarray | None = None) -> np.ndarray:
    """``[G + 1, T]`` bool: has an individual descendants among the last ones? The last ones count as their own.

    Args:
      parents: for each of the next generation's parents the slot of its first parent, ``[G, T]``.
      mates: the slots of their other parents, ``[G, T]``, if these count too.

    >>> with_descendants(np.array([[0, 1], [1, 1]])).sum(axis=1).tolist()
    [1, 1, 2]
    """
    generations, slots = parents.shape
    found = np.zeros((generations + 1, slots), bool)
    found[-1] = True
    for row in reversed(range(generations)):
        for other in (parents, mates):
            if other is not None:
                found[row, other[row, found[row + 1]]] = True
    return found


def draw_family(
    axes: "Axes", parents: np.ndarray, mates: np.ndarray | None = None, *, first: int = 0, last: int = 60
) -> None:
    """Draw a family tree into axes, as `plot_family` describes it."""
    from matplotlib.ticker import MaxNLocator

    dark = with_descendants(parents, mates)
    generations, slots = parents.shape
    for row in range(max(0, generations - last), generations):
        for slot in range(slots):
            alive = dark[row + 1, slot]
            for other, style in ((mates, ":"), (parents, "-")):
                if other is not None and (other is parents or other[row, slot] != parents[row, slot]):
                    axes.plot(
                        (first + row, first + row + 1), (other[row, slot], slot), style,
                        color="tab:blue" if alive and other is parents else "tab:orange" if alive else "0.8",
                        linewidth=1.2 if alive else 0.5, zorder=2 if alive else 1,
                    )  # fmt: skip
    axes.set(xlabel="generation", ylabel="slot of the parent")
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))


def plot_family(
    parents: np.ndarray,
    mates: np.ndarray | None = None,
    path: str | Path | None = None,
    *,
    first: int = 0,
    last: int = 60,
    title: str = "",
) -> "Figure":
    """Plot the family tree of a run: a line leads from each individual to its parent, and a dotted one to its mate.

    Individuals with descendants in the last generation have blue lines, and orange ones to their mates. All others are
    grey. Without crossover, the blue lines meet in the last common ancestor.

    Args:
      parents: the slot of each individual's first parent, ``[G, T]``: ``pedigree.parents_of(...)[:, :, 0]``.
      mates: the slot of its other parent, ``[G, T]``: ``pedigree.mates_of(...)[:, :, 0]``; by default none are drawn.
      path: where to save the figure; by default it is only returned.
      first: the number of the first generation.
      last: how many generations are drawn, by default the last 60.
      title: of the figure.

    Raises:
      InputError: if ``parents`` is not ``[G, T]`` or empty, ``mates`` has another shape, or ``last`` is below 1.
    """
    from matplotlib.figure import Figure

    require_whole(1, last=last)
    require(parents.ndim == 2 and len(parents) > 0, f"parents has shape {parents.shape}, and slots [G, T] were due.")
    if mates is not None:
        fits = mates.shape == parents.shape
        require(fits, f"mates has shape {mates.shape}, and must have that of parents, {parents.shape}.")
    figure = Figure(figsize=(9, 4.5), layout="constrained")
    axes = figure.subplots()
    draw_family(axes, parents, mates, first=first, last=last)
    axes.spines[["top", "right"]].set_visible(False)
    if title:
        figure.suptitle(title, fontsize=11)
    if path:
        figure.savefig(path, dpi=130)
    return figure
