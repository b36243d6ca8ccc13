"""What experiments share that compare many arms with equal seeds: runs, tables of paired differences, and a picture."""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

import experiment
import numpy as np

import jaxga
from jaxga import report

MEASURED = 32  # times that a run is measured
Extra = Callable[["Arm", jaxga.Runs, np.ndarray], dict[str, Any]]  # (arm, its runs, measured [R, P]) -> columns


Problem = Literal["noise", "digits"]


@dataclass
class Compared(experiment.Pictures):
    """Of a script that compares arms."""

    problems: tuple[Problem, ...] = ("noise", "digits")
    """For the questions that have both."""
    seeds: int = 10
    """Runs of every arm."""
    evaluations: int | None = None
    """Of a run; by default what takes some minutes."""
    out: Path | None = None
    """Where the figures and pictures go; default runs/<script>/<id>."""
    quick: bool = False
    """A few evaluations, and few arms."""


def begin(args: Compared, name: str, least: int = 1) -> tuple[Path, dict[str, Any]]:
    """Check the arguments (a run has at least so many evaluations), make the directory, and begin the summary."""
    jaxga.base.require_whole(2, seeds=args.seeds)
    jaxga.require(args.problems != (), "problems is empty: name noise, digits or both.")
    if args.evaluations is not None:
        jaxga.base.require_whole(least, evaluations=args.evaluations)
    if args.quick:
        args.seeds, args.evaluations, args.problems = 2, 4096, args.problems[:1]
    out = report.make_directory(args.out or report.find_run(name, asdict(args)))
    return out, {"name": name, **asdict(args), "out": None, "data": None}


class Score(NamedTuple):
    """What an arm is judged by: a metric that was measured without noise."""

    metric: str
    label: str
    unit: float = 1.0
    log: bool = False  # it falls, and arms are compared by their ratio

    def against(self, first: np.ndarray, second: np.ndarray) -> str:
        """The second arm against the first, seed by seed: the mean with its 95 % interval."""
        count = min(len(first), len(second))
        first, second = first[:count], second[:count]
        if not self.log:
            found = report.difference(first, second)
            return f"{found.mean:+.2f} [{found.low:+.2f}, {found.high:+.2f}]"
        mean, low, high = np.exp(report.difference(np.log(first), np.log(second))[:3])
        return f"x {mean:.2f} [{low:.2f}, {high:.2f}]"

    def told(self, values: np.ndarray) -> str:
        """The median with its 95 % interval."""
        return experiment.told(values, 3, "g") if self.log else experiment.told(values)


class Arm(NamedTuple):
    """One population on one task."""

    task: jaxga.Task
    make: Callable[..., jaxga.Algorithm]
    generations: int
    every: int | None = None  # generations from one measurement to the next; by default a 32nd of the run
    seeds: int | None = None  # at most so many


@dataclass
class Panel:
    """The arms of a table and of a panel of the picture: lines, and places on the x axis."""

    name: str
    score: Score
    x: str
    arms: dict[tuple[str, int], Arm]
    varied: str = ""  # a number that each arm is run with all values of, in one program
    values: dict[str, float] = field(default_factory=dict)  # label of a line -> value of that number
    target: float | None = None  # the evaluations until this score are counted
    timed: bool = False  # seconds without compilation: the second half of the seeds is timed
    courses: str = ""  # label of the x axis of one more panel: the first line's runs, against generations times x
    extra: Extra = lambda *_: {}


def runs_of(panel: Panel, one: Arm, seeds: int, pedigrees: bool) -> tuple[jaxga.Runs, int, float]:
    """The runs of an arm, the generations from one measurement to the next, and the seconds of a run."""
    every = one.every or max(one.generations // MEASURED, 1)
    seeds = min(seeds, one.seeds or seeds)
    parts = 2 if panel.timed and seeds >= 4 else 1
    found = [
        jaxga.run_many(
            one.make, one.task, part, generations=one.generations - one.generations % every, seeds=seeds // parts,
            sweep={panel.varied: list(panel.values.values())} if panel.varied else None, validate_every=every,
            batch=1, pedigrees=pedigrees,
        ) for part in range(parts)
    ]  # fmt: skip
    count = len(found[-1].settings["seed"])
    return (jaxga.many.join_runs(found) if parts > 1 else found[0]), every, found[-1].seconds / count


def until(score: Score, values: np.ndarray, evaluations: np.ndarray, target: float) -> np.ndarray:
    """Evaluations until ``values [R, P]`` reach the target, ``[R]``; infinity where they never do."""
    reached = values <= target if score.log else values >= target
    return experiment.first_of(reached, evaluations)


def rows_of(
    panel: Panel, name: str, x: int, one: Arm, seeds: int, pedigrees: bool
) -> dict[str, tuple[dict[str, Any], np.ndarray, np.ndarray]]:
    """Run an arm. For each of its lines a row of the table, what was measured ``[R, P]``, and in which generations."""
    runs, every, seconds = runs_of(panel, one, seeds, pedigrees)
    children = int(one.make(**({panel.varied: next(iter(panel.values.values()))} if panel.varied else {})).children)
    measured = panel.score.unit * runs.metrics[panel.score.metric][:, every - 1 :: every].astype(float)
    measured = np.maximum(measured, 1e-9) if panel.score.log else measured
    generations = every * np.arange(1, measured.shape[1] + 1)
    labels = [f"{name}, {label}" for label in panel.values] or [name]
    found = {}
    for label, values in zip(labels, np.split(measured, len(labels)), strict=True):
        row = {"": label, panel.x: x, "generations": int(generations[-1])}
        row[panel.score.label] = panel.score.told(values[:, -1])
        if panel.target is not None:
            spent = until(panel.score, values, generations * children, panel.target)
            there = f"{np.isfinite(spent).sum()} of {len(spent)}"
            row[f"evaluations until {panel.target:g}"] = (
                experiment.told(spent, 0) if np.isfinite(spent).all() else f"{there} got there"
            )
        row |= {"s a run": round(seconds, 2), **panel.extra(one, runs, values)}
        found[label] = (row, values, generations)
    return found


def answer(
    panels: list[Panel], question: str, seeds: int, out: Path, summary: dict[str, Any], pedigrees: bool = False
) -> dict[str, dict[tuple[str, int], np.ndarray]]:
    """Run all arms, print a table for each panel, draw a picture, and keep summary.json up to date.

    Returns what each arm ended with, for each panel: line and x -> ``[R]``.
    """
    drawn, ends = [], {}
    for panel in panels:
        begun, rows, last, courses = time.monotonic(), [], {}, {}
        for (name, x), one in panel.arms.items():
            for label, (row, values, generations) in rows_of(panel, name, x, one, seeds, pedigrees).items():
                last[label, x], courses[label, x] = values[:, -1], (generations, values)
                rows.append(row)
                summary[panel.name] = rows
                report.write_json(out / "summary.json", summary)
        compare(panel, rows, last)
        ends[panel.name] = last
        report.write_json(out / "summary.json", summary)
        report.print_table(rows, f"{question}, {panel.name}: {seeds} seeds, {time.monotonic() - begun:.0f} s in all")
        drawn += pictures(panel, last, courses)
        report.plot_curves(drawn, out / f"{question}.png", f"{question}: median of {seeds} seeds within their range")
    return ends


def compare(panel: Panel, rows: list[dict[str, Any]], last: dict[tuple[str, int], np.ndarray]) -> None:
    """Add a column: each line against the first one with the same number that is varied, at the same x."""
    count = max(len(panel.values), 1)
    lines = list(dict.fromkeys(label for label, _ in last))
    for row in rows:
        first = lines[lines.index(row[""]) % count]
        known = (first, row[panel.x]) in last and first != row[""]
        pair = [last[line, row[panel.x]] for line in (first, row[""])] if known else []
        row["against the first line"] = panel.score.against(*pair) if known and len(pair[1]) > 1 else ""


def pictures(
    panel: Panel, last: dict[tuple[str, int], np.ndarray], courses: dict[tuple[str, int], Any]
) -> list[tuple[dict[str, Any], list[report.Curve]]]:
    """The panel of final scores against x, and if asked for that of the runs of the first line."""
    lines: dict[str, dict[int, np.ndarray]] = {}
    for (label, x), values in last.items():
        lines.setdefault(label, {})[x] = values
    curves = []
    for label, found in lines.items():
        least = min(map(len, found.values()))
        curves.append(report.Curve(label, list(found), np.stack([one[:least] for one in found.values()], axis=1), "o-"))
    axes = {"xlabel": panel.x, "xscale": "log", "ylabel": panel.score.label, "title": panel.name}
    axes |= {"yscale": "log"} if panel.score.log else {}
    drawn = [(axes, curves)]
    if panel.courses:
        first = next(iter(lines))
        runs = [
            report.Curve(f"{x:g}", x * generations, values)
            for (label, x), (generations, values) in courses.items() if label == first
        ]  # fmt: skip
        drawn.append((axes | {"xlabel": panel.courses, "title": f"{first}, {panel.x}:"}, runs))
    return drawn
