"""Plots: learning curves with their spread, histograms, places and grids of cells."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


class Curve(NamedTuple):
    """One curve of a plot. Several runs are drawn as their median, with a band from the lowest to the highest value."""

    label: str  # for the legend
    x: Sequence[float] | np.ndarray  # [G]
    values: np.ndarray  # [G], or [R, G] for R runs
    style: str = "-"  # a matplotlib line style or marker, such as "--" or "o"
    color: int | None = None  # number of one of ten colours; None: the colours are used in turn


class Histogram(NamedTuple):
    """One histogram of a plot: the density of ``values [n]``."""

    label: str  # for the legend
    values: np.ndarray  # [n]


MANY = 5  # with this many curves the legend is placed outside, so that it does not hide them


def draw_curves(axes: "Axes", curves: Sequence[Curve | Histogram], legend: bool = True) -> None:
    """Draw curves and histograms into axes.

    For several runs, a curve is their median with a band for their range. Histograms are drawn as densities.

    Args:
      axes: matplotlib axes.
      curves: what is drawn.
      legend: draw a legend if there are labels, by default True.
    """
    import matplotlib

    for number, curve in enumerate(curves):
        color = matplotlib.color_sequences["tab10"][number % 10]
        if isinstance(curve, Histogram):
            axes.hist(curve.values, bins=50, density=True, color=color, alpha=0.45, label=curve.label)
            continue
        values = np.atleast_2d(curve.values)
        color = color if curve.color is None else matplotlib.color_sequences["tab10"][curve.color % 10]
        axes.plot(curve.x, np.median(values, axis=0), curve.style, color=color, label=curve.label, linewidth=1.8)
        if len(values) > 1:
            axes.fill_between(curve.x, values.min(axis=0), values.max(axis=0), color=color, alpha=0.15, linewidth=0)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25)
    if legend and any(curve.label for curve in curves):
        axes.legend(frameon=False, fontsize=9)


def plot_curves(
    panels: Sequence[tuple[dict[str, Any], Sequence[Curve | Histogram]]],
    path: str | Path | None = None,
    title: str = "",
) -> "Figure":
    """Plot curves in panels side by side. If all panels show the same five or more curves, they share one legend.

    Args:
      panels: for each panel a dict of axes properties (``xlabel``, ``ylabel``, ``yscale``, ...), and its curves.
      path: where to save the figure; by default it is only returned.
      title: of the figure.
    """
    from matplotlib.figure import Figure

    labels = [[curve.label for curve in curves] for _, curves in panels]
    beside = len(labels[0]) >= MANY and all(names == labels[0] for names in labels)
    figure = Figure(figsize=(5.2 * len(panels) + 2 * beside, 3.8), layout="constrained")
    for axes, (properties, curves) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        draw_curves(axes, curves, legend=not beside)
        axes.set(**properties)
    if beside:
        figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="outside right center", frameon=False)
    if title:
        figure.suptitle(title, fontsize=11)
    if path:
        figure.savefig(path, dpi=130)
    return figure


def plot_places(
    panels: Sequence[tuple[str, np.ndarray]],
    path: str | Path | None = None,
    *,
    walls: Sequence[tuple[float, float, float, float]] = (),
    start: tuple[float, float] | None = None,
    goal: tuple[float, float] | None = None,
    title: str = "",
) -> "Figure":
    """Plot points in the plane, such as the ends of episodes or an archive, in panels side by side.

    The first points of a panel are light, the last ones dark.

    Args:
      panels: for each panel a title, and its points ``[n, 2]``.
      path: where to save the figure; by default it is only returned.
      walls: of a maze, each as ``(x, y, to_x, to_y)``.
      start: the point where episodes start, to be marked.
      goal: the point of the goal, to be marked.
      title: of the figure.
    """
    from matplotlib.figure import Figure

    columns = min(len(panels), 3)
    rows = -(-len(panels) // columns)
    everything = np.concatenate([np.asarray(walls, float).reshape(-1, 2), *(np.asarray(some) for _, some in panels)])
    width, height = np.ptp(everything, axis=0)
    high = 4.0 * np.clip(height / max(width, 1e-9), 0.3, 2.0) + 0.4
    figure = Figure(figsize=(4.2 * columns, rows * high + 0.6), layout="constrained")
    every = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes in every[len(panels) :]:
        axes.set_axis_off()
    for axes, (name, places) in zip(every, panels, strict=False):
        places = np.asarray(places, float)
        axes.scatter(*places.T, c=np.arange(len(places)), cmap="viridis_r", s=5, alpha=0.6, linewidths=0, zorder=2)
        for x, y, to_x, to_y in walls:
            axes.plot((x, to_x), (y, to_y), color="black", linewidth=2, zorder=3)
        for place, mark, label in ((start, "o", "start"), (goal, "*", "goal")):
            if place is not None:
                axes.plot(*place, mark, color="tab:red", markersize=11, label=label, zorder=4)
        axes.set_title(name, fontsize=10)
        axes.set_aspect("equal")
        axes.invert_yaxis()
        if walls:
            axes.set_axis_off()
    if start is not None or goal is not None:
        handles, labels = figure.axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=2, frameon=False)
    if title:
        figure.suptitle(title, fontsize=11)
    if path:
        figure.savefig(path, dpi=130)
    return figure


def plot_cells(
    values: np.ndarray,
    path: str | Path | None = None,
    *,
    low: Sequence[float] = (0.0, 0.0),
    high: Sequence[float] = (1.0, 1.0),
    label: str = "fitness",
    names: tuple[str, str] = ("first descriptor", "second descriptor"),
    growth: Sequence[Curve] = (),
    title: str = "",
) -> "Figure":
    """Plot a grid of cells as a heat map, with curves in panels beside it.

    Args:
      values: ``[rows, columns]``, NaN in empty cells. The rows are along the first descriptor.
      path: where to save the figure; by default it is only returned.
      low: lower bounds of both descriptors.
      high: upper bounds of both descriptors.
      label: of the values.
      names: of the two descriptors.
      growth: curves over generations, each in a panel of its own, such as coverage and QD score.
      title: of the figure.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.6 + 3.8 * len(growth), 4.4), layout="constrained")
    widths = [1.35, *[1] * len(growth)]
    map_axes, *others = figure.subplots(1, len(widths), squeeze=False, width_ratios=widths)[0]
    extent = (low[0], high[0], low[1], high[1])
    image = map_axes.imshow(np.asarray(values, float).T, origin="lower", extent=extent, aspect="auto", cmap="viridis")
    map_axes.set(xlabel=names[0], ylabel=names[1], facecolor="0.92")
    figure.colorbar(image, ax=map_axes, label=label)
    for axes, curve in zip(others, growth, strict=True):
        draw_curves(axes, [Curve("", *curve[1:])])
        axes.set(xlabel="generation", ylabel=curve.label)
    if title:
        figure.suptitle(title, fontsize=11)
    if path:
        figure.savefig(path, dpi=130)
    return figure
