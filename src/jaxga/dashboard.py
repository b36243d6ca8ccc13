"""One page about a run: curves, step sizes, family tree, diversity and speed, in a file that needs nothing else."""

import html
import io
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from jaxga import checkpoint
from jaxga.base import require_at_least
from jaxga.report.reading import Found, read

if TYPE_CHECKING:
    from matplotlib.axes import Axes

KNOWN = {"generation", "evaluations", "seconds", "evaluations_per_second", "nan", "lethal"}  # not drawn as metrics
FITNESS = ("best_fitness", "fitness", "mean_fitness", "survivors_mean_fitness", "std_fitness")
PACE = "evaluations_per_second", "seconds"
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
    found = read(Path(run))
    path = Path(path) if path else found.path / "dashboard.html"
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_text(page(found))
    temporary.replace(path)
    return path


def follow(run: str | Path, path: str | Path | None = None, seconds: float = REFRESH) -> Path:
    """`write` every so many seconds, until the run has ended."""
    require_at_least(1, seconds=seconds)
    while True:
        over = all(one.over for one in read(Path(run)).runs)
        written = write(run, path)
        if over:
            return written
        time.sleep(seconds)


def page(found: Found) -> str:
    """The page as text."""
    over = all(one.over for one in found.runs)
    refresh = "" if over else f'<meta http-equiv="refresh" content="{REFRESH}">'
    parts = [f"<h1>{html.escape(found.name)}</h1>", f"<p>{html.escape(str(found.path))}, {_state(found, over)}</p>"]
    parts += [section(one, found) for one in found.runs]
    parts += ["<h2>Arguments</h2>", _table(found.runs[0].config.get("arguments", {}))]
    machine = ("jaxga", "jax", "python", "device", "devices", "platform", "commit")
    parts += ["<h2>Machine</h2>", _table({name: found.runs[0].config.get(name) for name in machine})]
    title = html.escape(f"{found.name}: {found.path.name}")
    head = f'<meta charset="utf-8">{refresh}<title>{title}</title><style>{STYLE}</style>'
    return f'<!doctype html><html lang="en"><head>{head}</head><body>{"".join(parts)}</body></html>\n'


def section(run: Found, found: Found) -> str:
    """What is drawn of one run."""
    history, parts = run.history, []
    if run is not found:
        parts.append(f"<h2>{html.escape(run.path.name)}</h2>")
    plain = {name: value for name, value in run.summary.items() if not isinstance(value, list | dict)}
    parts.append(_table(plain))
    if not history or not len(history["generation"]):
        return "".join([*parts, "<p>No generation has been logged yet.</p>"])
    metrics = [name for name in history if name not in KNOWN.union(FITNESS) and "step_size" not in name]
    sizes = [name for name in history if "step_size" in name]
    if not history.keys().isdisjoint(FITNESS):
        parts += ["<h2>Fitness</h2>", _figure([_fitness])(history)]
    if metrics:
        parts += ["<h2>Other metrics</h2>", _figure([_one(name) for name in metrics])(history)]
    if sizes:
        parts += ["<h2>Step sizes</h2><p>Means over the parents.</p>", _figure([_sizes(sizes)])(history)]
    if not history.keys().isdisjoint(PACE):
        parts += ["<h2>Speed</h2>", _figure([_one(name) for name in PACE if name in history])(history)]
    family = family_of(run)
    if family is not None:
        parts.append(_about_family(family))
    return "".join(parts)


def family_of(run: Found) -> Family | None:
    """From the newest checkpoint; None where there is none.

    Where recipes name who breeds, they say it of the next generation, so the family begins with the second one.
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
    generations, slots = family.parent.shape
    alive, counts = np.arange(slots), [slots]
    for row in reversed(range(generations)):
        alive = np.unique(family.parent[row, alive])
        counts.append(len(alive))
    return np.array(counts[::-1])


def _about_family(family: Family) -> str:
    if family.parent.shape[1] == 1:
        return "<h2>Family</h2><p>There is one parent in every generation, so that the family is a line.</p>"
    counts = coalescence(family)
    common = np.flatnonzero(counts == 1)
    said = f"a common ancestor in generation {family.first + common[-1]}" if len(common) else "no common ancestor here"
    text = (
        f"The last generation has {said}. On the left, the last generations: a line leads from each individual to its "
        "parent, blue where it has descendants today. On the right, how many individuals of each generation have some."
    )
    return f"<h2>Family tree and diversity</h2><p>{text}</p>" + _figure([_tree(family), _lines(counts, family.first)])(
        None
    )


def _tree(family: Family) -> Any:
    def draw(axes: "Axes", _: Any) -> None:
        generations, slots = family.parent.shape
        first = max(0, generations - SHOWN)
        alive = np.arange(slots)
        for row in reversed(range(first, generations)):
            for slot in range(slots):
                dark = slot in alive
                style = {"color": "tab:blue", "linewidth": 1.2} if dark else {"color": "0.8", "linewidth": 0.5}
                axes.plot(
                    [family.first + row, family.first + row + 1],
                    [family.parent[row, slot], slot],
                    zorder=2 if dark else 1,
                    **style,
                )
            alive = np.unique(family.parent[row, alive])
        axes.set(xlabel="generation", ylabel="slot of the parent")

    return draw


def _lines(counts: np.ndarray, first: int) -> Any:
    def draw(axes: "Axes", _: Any) -> None:
        axes.plot(first + np.arange(len(counts)), counts, drawstyle="steps-post")
        axes.set(xlabel="generation", ylabel="with descendants today", ylim=(0, None))

    return draw


def _fitness(axes: "Axes", history: dict[str, np.ndarray]) -> None:
    x = history["generation"]
    for name in ("best_fitness", "fitness", "mean_fitness"):
        if name in history:
            axes.plot(x, history[name], label=name.replace("_", " "), linewidth=2 if name == "best_fitness" else 1)
    if {"mean_fitness", "std_fitness"} <= history.keys():
        low, high = (history["mean_fitness"] + sign * history["std_fitness"] for sign in (-1, 1))
        axes.fill_between(x, low, high, alpha=0.15, color="tab:green", label="mean ± one deviation")
    axes.set(xlabel="generation", ylabel="fitness")
    axes.legend(frameon=False)


def _one(name: str) -> Any:
    def draw(axes: "Axes", history: dict[str, np.ndarray]) -> None:
        if name in history:
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


def _figure(panels: list[Any], across: int = 3) -> Any:
    """A function of a history that draws panels, at most ``across`` in a row, and returns them as SVG."""
    from matplotlib.figure import Figure

    def drawn(history: Any) -> str:
        columns = min(len(panels), across)
        rows = -(-len(panels) // columns)
        figure = Figure(figsize=(10.5 if columns > 1 else 7, 3.2 * rows), layout="constrained")
        every = figure.subplots(rows, columns, squeeze=False).ravel()
        for axes, draw in zip(every, panels, strict=False):
            draw(axes, history)
            axes.spines[["top", "right"]].set_visible(False)
        for axes in every[len(panels) :]:
            axes.set_axis_off()
        written = io.StringIO()
        figure.savefig(written, format="svg")
        return written.getvalue().partition("<svg")[1] + written.getvalue().partition("<svg")[2]

    return drawn


def _table(facts: dict[str, Any]) -> str:
    known = {name: value for name, value in facts.items() if value not in (None, "")}
    rows = [
        f"<tr><td>{html.escape(name.replace('_', ' '))}</td><td>{html.escape(_shown(value))}</td></tr>"
        for name, value in known.items()
    ]
    return f"<table>{''.join(rows)}</table>"


def _shown(value: Any) -> str:
    return f"{value:,.6g}" if isinstance(value, float) else str(value)


def _state(found: Found, over: bool) -> str:
    if over:
        return "ended"
    counts = [len(next(iter(run.history.values()), ())) for run in found.runs]
    return f"not ended: {max(counts)} generations so far; this page is loaded again every {REFRESH} seconds"
