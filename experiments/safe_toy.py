"""Two weights, one of which matters a thousand times more: the toy of safe mutations (Lehman et al. 2018).

It is sm_simple.py of the authors. The weights w have the outputs 100 w0 x0 and 0.1 w1 x1. A hill climb takes 2,000
steps, and fitness is minus the sum of squared errors. "medium" has one input for each weight. In "washout" gradients
of two inputs cancel in their sum, so that only their magnitude finds a sensitivity: the sum is plain mutation there.
Plain steps that are short enough for w0 hardly move w1, so they stay near -1 at any magnitude. Divided by the
sensitivity, one magnitude suits both weights, and the error vanishes; but with a small one w0 hardly moves at all.

"earlier" is what a program found that shares nothing with jaxga (medians of 20 runs).
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import experiment
import jax
import jax.numpy as jnp
import numpy as np
import safe

import jaxga
from jaxga import report

INPUTS = {"medium": ((1.0, 0.0), (0.0, 1.0)), "washout": ((1.0, 1.0), (-1.0, -1.0))}  # they are the targets, too
SCALE = 100.0, 0.1
LIMIT = 10.0  # the most that a weight moves, as in the authors' program
MAGNITUDES = 0.001, 0.01, 0.1, 1.0
EARLIER = {"plain": (-1.00, -0.95, -0.80, -0.59), "by sum": (-2401, -1768, -5e-5, -7e-4)}  # medium, at MAGNITUDES


@experiment.own_first
@dataclass
class Args(experiment.Files):
    seeds: int = 20
    """Runs of every arm."""
    steps: int = 2000
    """Of a hill climb."""
    magnitudes: tuple[float, ...] = MAGNITUDES
    """Of the mutations."""
    out: Path | None = None
    """Where the figures and pictures go; default runs/safe_toy/<id>."""
    quick: bool = False
    """Few steps of few runs."""


def pose(inputs: tuple[tuple[float, ...], ...]) -> tuple[jaxga.Task, Callable[[Any], jax.Array]]:
    """The task, and the outputs ``[2 inputs, 2]`` of two weights."""
    x, scale = jnp.asarray(inputs, jnp.float32), jnp.asarray(SCALE, jnp.float32)

    def outputs(weights: Any) -> jax.Array:
        return weights * scale * x

    def init(key: jax.Array) -> jax.Array:
        return jax.random.uniform(key, (2,), jnp.float32, -1, 1)

    return jaxga.Task(init, lambda _, weights: jaxga.Evaluation(-jnp.sum((outputs(weights) - x) ** 2))), outputs


def main(args: Args) -> None:
    if args.quick:
        args.seeds, args.steps = 5, 200
    jaxga.base.require_whole(1, seeds=args.seeds, steps=args.steps)
    jaxga.require(len(args.magnitudes) > 0, "magnitudes is empty: name at least one.")
    out = report.make_directory(args.out or report.find_run("safe_toy", asdict(args)))
    rows: list[dict[str, Any]] = []
    panels = []
    for domain, inputs in INPUTS.items():
        task, outputs = pose(inputs)
        curves = []
        for name, operator in safe.operators(outputs, LIMIT).items():

            def climb(magnitude: Any, task: jaxga.Task = task, operator: Any = operator) -> jaxga.Algorithm:
                return jaxga.ga(
                    task.init, operator(magnitude), parents=1, children=1, elites=1, score_founders=True
                )  # fmt: skip

            runs = jaxga.run_many(
                climb, task, generations=args.steps, seeds=args.seeds, sweep={"magnitude": args.magnitudes}
            )
            ends = runs.metrics["best_fitness"][:, -1].reshape(len(args.magnitudes), args.seeds)
            curves.append(report.Curve(name, args.magnitudes, np.maximum(-ends.T, 1e-12)))
            for number, values in enumerate(ends):
                known = domain == "medium" and name in EARLIER and args.magnitudes == MAGNITUDES
                rows.append({
                    "": f"{domain}, {name}", "magnitude": args.magnitudes[number],
                    "fitness": experiment.told(values, 2, "g"), "median": float(np.median(values)),
                    "earlier": f"{EARLIER[name][number]:g}" if known else "",
                })  # fmt: skip
        panels.append(({"xlabel": "magnitude", "ylabel": "squared error", "xscale": "log", "yscale": "log",
                        "title": domain}, curves))  # fmt: skip
        report.plot_curves(panels, out / "safe_toy.png", f"{args.steps:,} steps: median of {args.seeds} runs and range")
        report.write_json(out / "summary.json", {"name": "safe_toy", **asdict(args), "out": None, "rows": rows})
    report.print_table(rows, f"Hill climbs of {args.steps:,} steps")
    print(f"Files: {out}   Picture: {out / 'safe_toy.png'}")


if __name__ == "__main__":
    report.run_command(main, Args)
