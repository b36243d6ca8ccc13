"""One page about a run: curves, step sizes, family tree, diversity and speed, in a file that needs nothing else."""

import html
import io
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from jaxga import checkpoint
from jaxga.base import require_at_least
from jaxga.report.family import draw_family, with_descendants
from jaxga.report.files import write_text
from jaxga.report.reading import Found, as_text, read

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FITNESS = "best_fitness", "fitness", "mean_fitness"
PACE = "evaluations_per_second", "seconds"
UNDRAWN = "generation", "evaluations", "std_fitness", "survivors_mean_fitness", "nan", "lethal"
SHOWN = 60  # generations of a family tree
REFRESH = 10  # seconds

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2em auto; max-width: 1100px; padding: 0 1em; color: #222; }
h1 { font-size: 1.5em; margin-bottom: 0; } h2 { font-size: 1.1em; margin: 2em 0 0.3em; }
p { max-width: 46em; margin: 0.3em 0; color: #555; }
table { border-collapse: collapse; }
td { padding: 0.1em 1.2em 0.1em 0; vertical-align: top; }
td:first-child { color: #777; }
svg { max-width: 100%; height: auto; }
"""


class Family(NamedTuple):
    """From which slot of the generation before each individual comes: its parent's, or its own where it was kept."""

    parent: np.ndarray  # [G, T]
    first: int  # the number of the first of these generations


def write(run: str | Path, path: str | Path | None = None) -> Path:
    """Write a page about the run in a directory, or about a series of seeds. Returns its path.

    The page is one HTML file with pictures in it, and no scripts. Where the run goes on, a browser loads it again every
    ten seconds: `follow` keeps it up to date.

    Args:
      run: directory of a run (``out`` of an experiment, or ``directory`` of `jaxga.run`).
      path: of the page; by default ``dashboard.html`` in that directory.

    Raises:
      InputError: where there is no run, or its files are damaged.
    """
    return _write(read(Path(run)), path)


def _write(found: Found, path: str | Path | None) -> Path:
    path = Path(path) if path else found.path / "dashboard.html"
    write_text(path, page(found))
    return path


def follow(run: str | Path, path: str | Path | None = None, seconds: float = REFRESH) -> Path:
    """`write` the page again and again until the run has ended. Returns its path.

    Args:
      run: directory of a run, or of a series of seeds.
      path: of the page; by default ``dashboard.html`` in that directory.
      seconds: pause between two pages, 1 or more, by default 10.

    Raises:
      InputError: if ``seconds`` is below 1, there is no run, or its files are damaged.
    """
    require_at_least(1, seconds=seconds)
    while True:
        found = read(Path(run))
        written = _write(found, path)
        if _over(found):
            return written
        time.sleep(seconds)


def page(found: Found) -> str:
    """The page as text."""
    refresh = "" if _over(found) else f'<meta http-equiv="refresh" content="{REFRESH}">'
    parts = [f"<h1>{html.escape(found.name)}</h1>", f"<p>{html.escape(str(found.path))}, {_state(found)}</p>"]
    parts += [section(one, found) for one in found.runs]
    parts += ["<h2>Arguments</h2>", _table(found.runs[0].config.get("arguments", {}))]
    parts += ["<h2>Machine</h2>", _table(found.runs[0].machine)]
    title = html.escape(f"{found.name}: {found.path.name}")
    head = f'<meta charset="utf-8">{refresh}<title>{title}</title><style>{STYLE}</style>'
    return f'<!doctype html><html lang="en"><head>{head}</head><body>{"".join(parts)}</body></html>\n'


def section(run: Found, found: Found) -> str:
    """The part of the page about one run, as HTML.

    Args:
      run: the run.
      found: the run or series that the page is about. A run of a series gets a heading.
    """
    history, parts = run.history, []
    if run is not found:
        parts.append(f"<h2>{html.escape(run.path.name)}</h2>")
    parts.append(_table(run.facts))
    if not history or not len(history["generation"]):
        return "".join([*parts, "<p>No generation has been logged yet.</p>"])
    others = [name for name in history if name not in {*FITNESS, *PACE, *UNDRAWN} and "step_size" not in name]
    sizes = [name for name in history if "step_size" in name]
    if not history.keys().isdisjoint(FITNESS):
        parts += ["<h2>Fitness</h2>", _figure([_fitness], history)]
    if others:
        parts += ["<h2>Other metrics</h2>", _figure([_one(name) for name in others], history)]
    if sizes:
        parts += ["<h2>Step sizes</h2><p>Means over the parents.</p>", _figure([_sizes(sizes)], history)]
    if not history.keys().isdisjoint(PACE):
        parts += ["<h2>Speed</h2>", _figure([_one(name) for name in PACE if name in history], history)]
    family = family_of(run)
    if family is not None:
        parts.append(_about_family(family))
    return "".join(parts)


def family_of(run: Found) -> Family | None:
    """The family of a run, from its newest checkpoint; None if there is no checkpoint.

    If recipes name the pairs that breed, they name those of the next generation. The family then begins with the second
    generation.

    Raises:
      InputError: if the checkpoint cannot be read.
    """
    folder, children = run.path / "checkpoints", run.config.get("run", {}).get("children")
    if not children or not folder.is_dir() or checkpoint.latest(folder) is None:
        return None
    saved = checkpoint.restore(folder)
    indices = saved.recipes.indices[:, :, 0]
    first = 0 if saved.start is None else int(saved.start[0])
    if not len(indices):
        return None
    kept = indices >= children
    if saved.recipes.pairs is None:
        parent = indices // max(children // indices.shape[1], 1)
        return Family(np.where(kept, indices - children, parent), first)
    brood = children // saved.recipes.pairs.shape[1]
    breeding = np.asarray(saved.recipes.pairs)[:-1, :, 0]
    parent = np.take_along_axis(breeding, np.minimum(indices[1:], children - 1) // brood, axis=1)
    return Family(np.where(kept[1:], indices[1:] - children, parent), first + 1)


def coalescence(family: Family) -> np.ndarray:
    """``[G + 1]``: how many of each generation's parents have descendants among the last ones. The last entry is T.

    >>> family = Family(np.array([[0, 1], [1, 1]]), first=0)
    >>> coalescence(family).tolist()
    [1, 1, 2]
    """
    return with_descendants(family.parent).sum(axis=1)


def _about_family(family: Family) -> str:
    if family.parent.shape[1] == 1:
        return "<h2>Family</h2><p>There is one parent in every generation, so that the family is a line.</p>"
    common = np.flatnonzero(coalescence(family) == 1)
    said = f"a common ancestor in generation {family.first + common[-1]}" if len(common) else "no common ancestor here"
    text = (
        f"The last generation has {said}. On the left, the last generations: a line leads from each individual to its "
        "parent, blue where it has descendants today. On the right, how many individuals of each generation have some."
    )
    return f"<h2>Family tree and diversity</h2><p>{text}</p>" + _figure([_tree, _diversity], family)


def _tree(axes: "Axes", family: Family) -> None:
    draw_family(axes, family.parent, first=family.first, last=SHOWN)


def _diversity(axes: "Axes", family: Family) -> None:
    counts = coalescence(family)
    axes.plot(family.first + np.arange(len(counts)), counts, drawstyle="steps-post")
    axes.set(xlabel="generation", ylabel="with descendants today", ylim=(0, None))


def _fitness(axes: "Axes", history: dict[str, np.ndarray]) -> None:
    x = history["generation"]
    for name in FITNESS:
        if name in history:
            axes.plot(x, history[name], label=name.replace("_", " "), linewidth=2 if name == "best_fitness" else 1)
    if {"mean_fitness", "std_fitness"} <= history.keys():
        low, high = (history["mean_fitness"] + sign * history["std_fitness"] for sign in (-1, 1))
        axes.fill_between(x, low, high, alpha=0.15, color="tab:green", label="mean ± one deviation")
    axes.set(xlabel="generation", ylabel="fitness")
    axes.legend(frameon=False)


def _one(name: str) -> Any:
    def draw(axes: "Axes", history: dict[str, np.ndarray]) -> None:
        known = np.isfinite(history[name])
        axes.plot(history["generation"][known], history[name][known])
        axes.set(xlabel="generation", title=name.replace("_", " "))

    return draw


def _sizes(names: list[str]) -> Any:
    def draw(axes: "Axes", history: dict[str, np.ndarray]) -> None:
        for name in names:
            axes.plot(history["generation"], history[name], label=name.removeprefix("step_size/"))
        axes.set(xlabel="generation", ylabel="step size", yscale="log")
        if len(names) <= 12:
            axes.legend(frameon=False, fontsize=8)

    return draw


def _figure(panels: Sequence[Callable[["Axes", Any], None]], data: Any, across: int = 3) -> str:
    """Panels, each of which draws the data, as SVG; at most ``across`` in a row."""
    from matplotlib.figure import Figure

    columns = min(len(panels), across)
    rows = -(-len(panels) // columns)
    figure = Figure(figsize=(10.5 if columns > 1 else 7, 3.2 * rows), layout="constrained")
    every = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes, draw in zip(every, panels, strict=False):
        draw(axes, data)
        axes.spines[["top", "right"]].set_visible(False)
    for axes in every[len(panels) :]:
        axes.set_axis_off()
    written = io.StringIO()
    figure.savefig(written, format="svg")
    return "<svg" + written.getvalue().partition("<svg")[2]


def _table(facts: dict[str, Any]) -> str:
    rows = [
        f"<tr><td>{html.escape(name)}</td><td>{html.escape(value)}</td></tr>" for name, value in as_text(facts).items()
    ]
    return f"<table>{''.join(rows)}</table>"


def _over(found: Found) -> bool:
    """Have all runs ended?"""
    return all(run.over for run in found.runs)


def _state(found: Found) -> str:
    if _over(found):
        return "ended"
    counts = [len(next(iter(run.history.values()), ())) for run in found.runs]
    return f"not ended: {max(counts)} generations so far; this page is loaded again every {REFRESH} seconds"
