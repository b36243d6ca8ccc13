"""Pictures: learning curves with their spread."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


class Curve(NamedTuple):
    """One line of a plot: ``values [G]`` or ``[R, G]`` of R runs, drawn as their median within their range."""

    label: str
    x: Sequence[float] | np.ndarray
    values: np.ndarray
    style: str = "-"  # of matplotlib: "--", "o", ...
    color: int | None = None  # of ten; by default one after another


class Histogram(NamedTuple):
    """One histogram of a plot: the density of ``values [n]``."""

    label: str
    values: np.ndarray


MANY = 5  # curves whose legend would hide them


def draw_curves(axes: "Axes", curves: Sequence[Curve | Histogram], legend: bool = True) -> None:
    """Median lines, the band is the range of all runs; histograms as densities."""
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
    """Panels side by side, each a dict of axes properties (``xlabel``, ``ylabel``, ``yscale``, ...) and its curves.

    Where all panels show the same many curves, one legend stands beside them.
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
