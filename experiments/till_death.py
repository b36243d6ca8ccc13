"""Memorize random points where evaluation ends at the first mistake: the task that the notes never solved.

A memory of prototypes looks at P vectors of noise, one after another, and is out at the first whose label it does not
know. Nothing tells it what it would have known of the rest.
"""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, cast

import experiment
import matplotlib
import numpy as np
from matplotlib.figure import Figure

import jaxga
from jaxga import analysis, memory, report, tasks, variation
from jaxga.tree import take

LOSSES = {"till_death": tasks.till_death, "errors": tasks.errors}


@experiment.own_first
@dataclass
class Args(experiment.Series, experiment.Scoring):
    points: int = 64
    """Vectors to memorize."""
    dimension: int = 128
    """Numbers of a vector."""
    heads: int | None = None
    """Prototypes of the memory; by default two a point."""
    start: Literal["zeros", "random"] = "zeros"
    """What prototypes and labels are at first."""
    similarity: Literal["dot", "cosine"] = "dot"
    """Of a point and a prototype."""
    temperature: float | None = None
    """Of a softmax by which all heads vote; by default the most similar one alone answers."""
    loss: Literal["till_death", "errors"] = "till_death"
    """What is fitness: the points before the first error; or minus all errors."""
    mutation: Literal["mixed", "typed", "replace", "walk", "turn", "plastic"] = "mixed"
    """How one head changes. mixed: half are replaced, of 0.3 the prototype turns, of 0.2 the label alone is drawn anew;
    typed: .4 add, .3 delete, .3 turn; replace: all anew, whatever was there; walk: noise is added, and lengths grow;
    turn: noise is added, on the unit sphere; plastic: as replace, and heads have an inherited readiness to change."""
    genes: int = 1
    """Heads that change in a child."""
    sigma: float = 1.0
    """Step size of walk and turn, where a prototype of length 1 is the unit."""
    rates: Literal["fixed", "head", "parameter"] = "fixed"
    """Who has a step size that evolves: nobody, every head, or every single number."""
    tau: float = 0.1
    """By how much these walk, in logarithms."""
    intrinsic: bool = False
    """Between equals, take those whose heads are closest to the points."""
    free: float = 0.0
    """With intrinsic, what a free head is worth."""
    parents: int = 16
    """Parents of a generation."""
    children: int = 1024
    """Children of a generation, a multiple of the parents."""
    elites: int = 0
    """Best parents that compete with the children."""
    generations: int = 20_000
    """At most so many."""
    target: int | None = None
    """Stop at so many points; by default all of them."""
    seconds: float | None = None
    """Stop a run after so many seconds."""
    seed: int = 0
    """Of the run. The points are the same for all seeds."""
    seeds: int = 1
    """Independent runs, with seeds from --seed on, each in a directory of its own."""
    out: Path | None = None
    """Where the files go; default runs/till_death/<id>."""


def network(args: Args) -> memory.PrototypeMemory:
    """The memory that evolves."""
    heads = 2 * args.points if args.heads is None else args.heads
    jaxga.require(heads >= 1, f"heads is {heads}, and must be 1 or more.")
    jaxga.require(1 <= args.genes <= heads, f"genes is {args.genes}, and must lie between 1 and the {heads} heads.")
    hot = args.temperature is None or args.temperature > 0
    jaxga.require(
        hot, f"temperature is {args.temperature}, and must be more than 0: leave it out, and one head answers."
    )
    return memory.PrototypeMemory(
        10, heads=heads, similarity=args.similarity, temperature=args.temperature, start=args.start
    )


def make(args: Args) -> tuple[jaxga.Task, jaxga.Algorithm]:
    """The task and the algorithm that the arguments describe."""
    jaxga.require(args.points >= 1, f"points is {args.points}, and must be 1 or more.")
    net = network(args)
    task = tasks.memorization(
        net, points=args.points, shape=(args.dimension,), loss=LOSSES[args.loss],
        tiebreak=memory.intrinsic(net, args.free) if args.intrinsic else None,
    )  # fmt: skip
    algorithm = jaxga.ga(task.init, mutation(args), parents=args.parents, children=args.children, elites=args.elites)
    return task, algorithm


def mutation(args: Args) -> jaxga.Variation:
    """How one head changes, or several."""
    step = variation.absolute(args.sigma)
    if args.rates != "fixed":
        per = variation.per.unit if args.rates == "head" else variation.per.parameter
        step = variation.log_normal(step, args.tau, per)
    gene = partial(memory.gene, heads=args.genes)
    kinds = {
        "mixed": lambda: memory.mixed(step_size=step, heads=args.genes),
        "typed": lambda: memory.typed(step_size=step, heads=args.genes),
        "replace": lambda: gene(memory.replace),
        "walk": lambda: gene(memory.walk, step),
        "turn": lambda: gene(memory.turn, step),
        "plastic": lambda: gene(memory.replace, choose=memory.plastic(args.tau)),
    }
    return kinds[args.mutation]()


def main(args: Args) -> None:
    if args.quick and not args.resume:
        args.points, args.dimension, args.children, args.parents, args.generations = 8, 16, 64, 4, 300
    jaxga.require(
        args.target is None or 1 <= args.target <= args.points,
        f"target is {args.target}, and there are {args.points} points: name a number of points.",
    )
    task, algorithm = make(args)
    goal = args.points if args.target is None else args.target
    where = experiment.scoring(args, partial(make, args))
    out, results = experiment.run_seeds(
        args, "till_death", task, algorithm, generations=args.generations,
        stop=jaxga.stop.target(goal - args.points * (args.loss == "errors")), **where,
    )  # fmt: skip

    best = [reached(args, result) for result in results]
    rows = [
        {
            "": f"seed {args.seed + number}", "points": f"{known} of {args.points}",
            "generations": int(result.state.generation), "seconds": round(result.seconds, 2),
            "nets/s": result.summary()["evaluations_per_second"],
        }
        for number, (known, result) in enumerate(zip(best, results, strict=True))
    ]  # fmt: skip
    solved = [result for known, result in zip(best, results, strict=True) if known >= goal]
    headline: dict[str, Any] = {
        "points": args.points, "goal": goal, "reached": best, "solved": len(solved), "seeds": args.seeds,
        **jaxga.backend.dollars(args.dollars_per_hour, results, where.get("evaluator")),
    }  # fmt: skip
    for name, values in {
        "generations": [int(result.state.generation) for result in solved],
        "seconds": [result.seconds for result in solved],
    }.items():
        if values:
            middle = report.median_interval(np.array(values))
            headline[f"{name}_median"] = float(middle.median)
            headline[f"{name}_interval"] = [float(middle.low), float(middle.high)]
    plot(args, results, algorithm, out / "till_death.png")
    report.print_table(
        rows, f"{args.points} points, {args.loss.replace('_', ' ')}: {len(solved)} of {args.seeds} reached {goal}"
    )
    experiment.conclude(args, "till_death", out, results, headline)


def reached(args: Args, result: jaxga.Result) -> int:
    """The points of the best individual ever."""
    return int(result.state.best_fitness) + args.points * (args.loss == "errors")


def plot(args: Args, results: list[jaxga.Result], algorithm: jaxga.Algorithm, path: Path) -> None:
    """Points against generations of every run; and of the first one which head answers for which point."""
    figure = Figure(figsize=(11, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    offset = args.points * (args.loss == "errors")
    curves = [report.Curve("", run.history["generation"], run.history["best_fitness"] + offset) for run in results]
    report.draw_curves(left, curves)
    left.set(xlabel="generation", ylabel="points memorized", ylim=(0, args.points * 1.03), title=f"{len(results)} runs")

    net, (points, labels) = network(args), tasks.noise(args.points, (args.dimension,), 10)
    every = max(results[0].pedigree.generations // 400, 1)

    def owners(source: jaxga.Source) -> Any:
        look = cast(memory.Look, net.apply(take(source.parents.params, 0), points, method="look"))
        return look.winner, tasks.right(look.logits, labels)

    seen = analysis.trace(algorithm, results[0].pedigree, owners, every=every)
    winner, known = seen.values
    colors = matplotlib.colormaps["tab20"](winner.T % 20)
    colors[~known.T] = (1, 1, 1, 1)
    right.imshow(
        colors, aspect="auto", origin="lower", interpolation="nearest", extent=(0, seen.generations[-1], 0, args.points)
    )
    right.set(xlabel="generation", ylabel="point", title="which head answers, where the answer is right (first run)")
    figure.savefig(path, dpi=130)


if __name__ == "__main__":
    report.run_command(main, Args)
