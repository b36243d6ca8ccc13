"""How much of a space of behaviours is found, and how good is what is found there? MAP-Elites on two problems.

* sphere: the benchmark of the field (Fontaine et al. 2020; the table of pyribs): 100 numbers, of which two sums
  describe a solution, a grid of 100 x 100 cells, 10,000 generations of 540 children.
* maze: networks in the medium maze, described by where their robot comes to.
"""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, get_args

import experiment
import jax
import jax.numpy as jnp
import numpy as np
from maze import Network

import jaxga
from jaxga import observe, report, tasks, variation
from jaxga.selection import Cells, curiosity, grid, map_elites, uniform

Problem = Literal["sphere", "maze"]
Arm = Literal["gaussian", "iso + line", "self-adaptive", "self-adaptive, curious"]
QUICK: tuple[Arm, ...] = ("gaussian",)
DIMENSION, BOUND, SHIFT = 100, 5.12, 2.048
PUBLISHED = {  # mean and standard deviation of 20 runs: QD score, coverage in %; the table of pyribs 0.10.0
    "gaussian": ((416_112, 2_681), (50.72, 0.40)),
    "iso + line": ((491_014, 1_119), (60.44, 0.17)),
}
SHOWN = 2_000  # generations of the run that is drawn as a map


@experiment.own_first
@dataclass
class Args(experiment.Files):
    problem: Problem = "sphere"
    arms: tuple[Arm, ...] = get_args(Arm)
    """Of the sphere: gaussian and "iso + line" as published; steps that evolve; and cells that breed by curiosity."""
    seeds: int = 20
    """Runs of every arm."""
    generations: int | None = None
    """By default 10,000 of the sphere, 400 of the maze."""
    children: int | None = None
    """Of a generation; by default 540 of the sphere, 256 of the maze."""
    out: Path | None = None
    """Where the figures and pictures go; default runs/illuminate/<id>."""
    quick: bool = False
    """Gaussian steps on a small sphere, which take seconds."""


def sphere(dimension: int = DIMENSION) -> jaxga.Task:
    """Fitness from 0 to 100, best where all numbers are 2.048; the metric ``at`` has the sums of both halves.

    A number x beyond 5.12 counts there as 5.12 / x, so that no sum is reached by a few large numbers.
    """
    worst = dimension * (BOUND + SHIFT) ** 2

    def evaluate(key: jax.Array, x: jax.Array) -> jaxga.Evaluation:
        del key
        within = jnp.where(jnp.abs(x) > BOUND, BOUND / jnp.where(x == 0, 1, x), x)
        at = within.reshape(2, -1).sum(axis=1)
        return jaxga.Evaluation(100 * (1 - jnp.sum((x - SHIFT) ** 2) / worst), metrics={"at": at})

    return jaxga.Task(lambda _: jnp.zeros(dimension), evaluate, chunk=1024)


def robots() -> jaxga.Task:
    """Fitness is to be slow: 0 less the distance travelled. ``at`` is where a robot comes to."""
    seen = {"at": observe.last(lambda state, _: state.place)}
    task = tasks.control(
        tasks.maze(tasks.MEDIUM_MAZE), Network(16), key=jaxga.common, act=lambda _, outputs: outputs, observe=seen
    )
    return task._replace(validate=None)


def make(problem: Problem, arm: Arm, children: int, cells: Cells) -> tuple[jaxga.Task, jaxga.Algorithm]:
    """Task and algorithm of an arm."""
    task = sphere() if problem == "sphere" else robots()
    size = variation.absolute(0.5)
    mutations: dict[Arm, Callable[[], jaxga.Variation]] = {
        "gaussian": lambda: variation.gaussian(size),
        "iso + line": lambda: variation.chain(variation.line(0.2), variation.gaussian(size)),
        "self-adaptive": lambda: variation.chain(variation.line(0.2), variation.gaussian(variation.log_normal(size))),
        "self-adaptive, curious": lambda: variation.chain(
            variation.line(0.2), variation.gaussian(variation.log_normal(size))
        ),
    }
    breeders = curiosity if arm.endswith("curious") else uniform
    algorithm = jaxga.ga(
        task.init, mutations[arm](), parents=cells.number, children=children, pairs=children,
        selection=map_elites("at", cells, children, breeders=breeders),
    )  # fmt: skip
    return task, algorithm


def main(args: Args) -> None:
    side, children, generations = (100, 540, 10_000) if args.problem == "sphere" else (20, 256, 400)
    children, generations = args.children or children, args.generations or generations
    if args.quick:
        args.arms, args.seeds, generations, side = QUICK, 2, 100, 20
    jaxga.base.require_whole(1, seeds=args.seeds, generations=generations, children=children)
    walls = np.asarray(tasks.MEDIUM_MAZE.walls).reshape(-1, 2)
    half = DIMENSION / 2 * BOUND
    low, high = ((-half, -half), (half, half)) if args.problem == "sphere" else (walls.min(0), walls.max(0))
    cells = grid((side, side), low, high)
    out = report.make_directory(args.out or report.find_run("illuminate", asdict(args)))
    rows, curves, summary = [], [], {}
    for arm in args.arms:
        task, algorithm = make(args.problem, arm, children, cells)
        begun = time.monotonic()
        runs = jaxga.run_many(
            lambda algorithm=algorithm: algorithm, task, generations=generations, seeds=args.seeds, batch=1
        )
        seconds = (time.monotonic() - begun) / args.seeds
        score, coverage = runs.metrics["qd_score"][:, -1], runs.metrics["coverage"][:, -1]
        rows.append({
            "": arm, "QD score": f"{score.mean():,.0f} +- {score.std(ddof=args.seeds > 1):,.0f}",
            "coverage, %": f"{100 * coverage.mean():.2f} +- {100 * coverage.std(ddof=args.seeds > 1):.2f}",
            "published": _published(args, arm), "evaluations/s": f"{children * generations / seconds:,.0f}",
        })  # fmt: skip
        summary[arm] = {"qd_score": score.tolist(), "coverage": coverage.tolist(), "seconds": seconds}
        every = np.arange(0, generations, max(generations // 200, 1))
        curves.append([report.Curve(arm, every + 1, runs.metrics[name][:, every]) for name in ("coverage", "qd_score")])
        shown = jaxga.run(algorithm, task, generations=min(generations, SHOWN))
        picture(arm, shown, cells, out)
        report.write_json(out / "summary.json", {"name": "illuminate", "arms": rows, "all": summary})
    axes = [{"xlabel": "generation", "ylabel": name} for name in ("coverage", "QD score")]
    panels = [(axis, [pair[number] for pair in curves]) for number, axis in enumerate(axes)]
    report.plot_curves(panels, out / "illuminate.png", f"MAP-Elites on the {args.problem}")
    report.print_table(rows, f"{args.problem}: {cells.number:,} cells, {generations:,} generations of {children}")
    print(f"Files: {out}   Picture: {out / 'illuminate.png'}")


def _published(args: Args, arm: Arm) -> str:
    if args.problem != "sphere" or arm not in PUBLISHED:
        return ""
    (score, spread), (coverage, width) = PUBLISHED[arm]
    return f"{score:,} +- {spread:,}; {coverage} +- {width} %"


def picture(arm: str, run: jaxga.Result, cells: Cells, out: Path) -> None:
    """The cells of one run as a map, with coverage and QD score beside it."""
    growth = [
        report.Curve(label, run.history["generation"] + 1, run.history[name])
        for label, name in (("coverage", "coverage"), ("QD score", "qd_score"))
    ]
    name = arm.replace(" ", "-").replace(",", "").replace("-+-", "-")
    report.plot_cells(
        np.asarray(run.state.fitness).reshape(cells.shape), out / f"{name}.png", low=cells.low, high=cells.high,
        growth=growth, title=arm,
    )  # fmt: skip


if __name__ == "__main__":
    report.run_command(main, Args)
