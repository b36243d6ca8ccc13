"""Weights grow by random steps. Five ways to stop them, side by side (the notes' five, in their order).

One parent takes normal steps of a size that is constant, in units of the first weights. The best of 64 children is the
next parent: on digits in small batches that all children of a generation share, and on noise to memorize. Every way is
tried with three step sizes, and all have the same number of evaluations.
"""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import experiment
import jax
import numpy as np
import optax

import jaxga
from jaxga import nn, report, tasks, variation

SIZES = 0.03, 0.1, 0.3  # of steps, in units of an array's weights at initialisation
CHILDREN = 64
BATCH = 64  # digits that a generation is scored on


@experiment.own_first
@dataclass
class Args(experiment.Pictures):
    dataset: Literal["mnist", "digits"] | None = "digits"
    """28 x 28 pixels, which takes ten times as long; or scikit-learn's small digits, 8 x 8 (the default)."""
    seeds: int = 10
    """Runs of every arm."""
    generations: int = 600
    out: Path | None = None
    """Where the figures and pictures go; default runs/norms/<id>."""
    quick: bool = False
    """Two ways on the digits alone, with two seeds and for a few generations."""


def fixes(size: Any) -> dict[str, jaxga.Variation]:
    """What is done about growing weights; all first steps are equally long."""
    steps = variation.gaussian(variation.relative(size))
    of_unit = variation.sphere(1.0, axis=0)

    def kernels(child: jax.Array, parent: jax.Array, generation: jax.Array) -> jax.Array:
        return of_unit(child, parent, generation) if child.ndim > 1 else child

    return {
        "nothing": steps,
        "1. a layer keeps its norm": variation.projected(steps, variation.keep_norm),
        "2. L2 in the fitness": steps,
        "2. weight decay": variation.projected(steps, variation.decay(0.003)),
        "3. steps times the norm": variation.proportional(variation.gaussian(variation.absolute(size))),
        "4. steps that may grow": variation.gaussian(variation.multiplicative(variation.relative(size), up=1.1)),
        "5. a unit's weights stay on a sphere": variation.projected(steps, kernels),
    }


def watched(task: jaxga.Task) -> jaxga.Task:
    """The task, which also measures the norm of a parent's weights."""
    check = task.validate or (lambda params: task.score(jax.random.key(0), params))

    def validate(params: Any) -> jaxga.Evaluation:
        score = check(params)
        return score._replace(metrics={**dict(score.metrics or {}), "norm": optax.global_norm(params)})

    return task._replace(validate=validate)


def main(args: Args) -> None:
    if args.quick:
        args.generations, args.seeds = 20, 2
    jaxga.base.require_whole(2, seeds=args.seeds, generations=args.generations)
    out = report.make_directory(args.out or report.find_run("norms", asdict(args)))
    summary: dict[str, Any] = {"name": "norms", **asdict(args), "out": None, "data": None}
    every = max(args.generations // 50, 1)
    seen = slice(every - 1, None, every)
    x, panels = np.arange(1, args.generations + 1)[seen], []
    problems = {
        "digits": tasks.classification(nn.MLP((16, 10)), experiment.pictures(args), batch=BATCH),
        "noise": tasks.memorization(nn.MLP((32, 10)), points=64, shape=(64,)),
    }
    for problem in list(problems)[: 1 if args.quick else None]:
        task, lines, lengths = watched(problems[problem]), [], []
        metric = "validation_loss" if problem == "digits" else "validation_cross_entropy"
        rows = summary[problem] = []
        first: dict[float, np.ndarray] = {}
        for name in list(fixes(0.1))[: 2 if args.quick else None]:
            scored = tasks.penalised(task, lambda params: 5e-4 * optax.global_norm(params) ** 2)
            runs = jaxga.run_many(
                lambda size, name=name, task=task: jaxga.ga(
                    task.init, fixes(size)[name], parents=1, children=CHILDREN
                ),
                scored if "L2" in name else task, generations=args.generations, seeds=args.seeds,
                sweep={"size": SIZES}, batch=1, validate_every=every,
            )  # fmt: skip
            tables = {size: {key: values[mask][:, seen] for key, values in runs.metrics.items()}
                      for size, (_, mask) in zip(SIZES, runs.groups(), strict=True)}  # fmt: skip
            good = min(SIZES, key=lambda size: np.median(tables[size][metric][:, -1]))
            for size, table in tables.items():
                last, norm = table[metric][:, -1], table["validation_norm"]
                first.setdefault(size, last)
                row: dict[str, Any] = {"": name, "step size": f"{size}{' *' if size == good else ''}"}
                if problem == "digits":
                    row["validation, %"] = experiment.told(100 * table["validation_accuracy"][:, -1], 1)
                row |= {
                    "cross-entropy": experiment.told(last, 3),
                    "its least": experiment.told(table[metric].min(axis=1), 3),
                    "by nothing's": experiment.told(last / first[size]),
                    "norm, last by first": experiment.told(norm[:, -1] / norm[:, 0]),
                }
                rows.append(row)
            report.write_json(out / "summary.json", summary)
            lines.append(report.Curve(f"{name}, {good}", x, tables[good][metric]))
            lengths.append(report.Curve(f"{name}, {good}", x, tables[good]["validation_norm"]))
        report.print_table(rows, f"{problem}, {args.generations} generations, {args.seeds} seeds; * is the best size")
        axes = {"xlabel": "generation", "title": problem, "yscale": "log"}
        panels += [(axes | {"ylabel": "cross-entropy"}, lines), (axes | {"ylabel": "norm of the weights"}, lengths)]
    title = f"{args.seeds} seeds, median and range; each way with its best step size"
    report.plot_curves(panels, out / "norms.png", title)
    print(f"Files: {out}   Picture: {out / 'norms.png'}")


if __name__ == "__main__":
    report.run_command(main, Args)
