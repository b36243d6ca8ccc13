"""What if a population were chosen by direction instead of fitness? Mutations that a gradient judges.

A child of the oracle's population is chosen by the cosine between its step and the steepest way down from its parent,
not by its fitness. Beside it are the same mutations chosen by fitness, and steps along the true gradient itself, each
child with a step size of its own. All have the same number of evaluations, on noise to memorize.
"""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import experiment
import jax
import jax.numpy as jnp
import numpy as np

import jaxga
from jaxga import nn, report, tasks, variation

POINTS = 64
RANGE = 1e-3, 30.0  # of step sizes along the gradient


@experiment.own_first
@dataclass
class Args(experiment.Files):
    seeds: int = 10
    """Runs of every arm."""
    generations: int = 300
    children: int = 128
    """Of a generation, from one parent."""
    out: Path | None = None
    """Where the figures and pictures go; default runs/oracle/<id>."""
    quick: bool = False
    """The first three arms, with two seeds and for a few generations."""


def down_the_gradient(task: jaxga.Task) -> jaxga.Variation:
    """Steps along the true gradient, of sizes that are drawn evenly on a logarithmic scale."""
    assert task.loss is not None
    loss = task.loss

    def step(key: jax.Array, params: Any) -> Any:
        slope = jax.grad(lambda params: loss(key, params))(params)
        low, high = jnp.log(jnp.array(RANGE, jnp.float32))
        size = jnp.exp(jax.random.uniform(key, (), jnp.float32, low, high))
        return jax.tree.map(lambda weight, down: weight - size * down, params, slope)

    return variation.stateless(step)


def make(args: Args, task: jaxga.Task) -> dict[str, tuple[jaxga.Task, jaxga.Algorithm]]:
    """Each arm has one parent, and the next is its best child, or the parent where that is better."""
    size = variation.scheduled(variation.relative(0.1), lambda generation: 0.99**generation)
    adapting = variation.gaussian(variation.multiplicative(variation.relative(0.1), up=1.3))
    falling = variation.gaussian(size)
    oracle = jaxga.against(task, tasks.along_gradient(task))

    def of(change: jaxga.Variation, **options: Any) -> jaxga.Algorithm:
        return jaxga.ga(task.init, change, parents=1, children=args.children, **options)

    mean = variation.average(args.children // 4, variation.by_rank, scale=(args.children // 4) ** 0.5 / 2)
    return {
        "chosen by fitness": (task, of(falling)),
        "chosen by fitness, sizes adapt": (task, of(adapting)),
        "chosen by cosine": (oracle, of(falling)),
        "mean of the best quarter by fitness": (task, of(falling, recombination=mean)),
        "mean of the best quarter by cosine": (oracle, of(falling, recombination=mean)),
        "the gradient, at many sizes": (task, of(down_the_gradient(task), elites=1)),
    }


def main(args: Args) -> None:
    if args.quick:
        args.generations, args.seeds, args.children = 8, 2, 16
    jaxga.base.require_whole(4, children=args.children)
    jaxga.base.require_whole(2, seeds=args.seeds, generations=args.generations)
    out = report.make_directory(args.out or report.find_run("oracle", asdict(args)))
    task = tasks.memorization(nn.MLP((32, 10)), points=POINTS, shape=(64,))
    x = np.arange(1, args.generations + 1)
    rows, curves, angles = [], [], []
    arms = make(args, task)
    for name in list(arms)[: 3 if args.quick else len(arms)]:
        scored, algorithm = arms[name]
        judged = scored._replace(validate=lambda params: task.score(jax.random.key(0), params))
        runs = jaxga.run_many(
            lambda algorithm=algorithm: algorithm, judged, generations=args.generations, seeds=args.seeds, batch=1
        )
        entropy = runs.metrics["validation_cross_entropy"]
        row = {
            "": name,
            "cross-entropy of the parent": experiment.told(entropy[:, -1], 3),
            f"points of {POINTS}": experiment.told(runs.metrics["validation_points"][:, -1], 1),
            "best cosine": "",
        }
        if scored is not task:
            cosines = runs.metrics["fitness"]
            row["best cosine"] = experiment.told(cosines.mean(axis=1), 3)
            angles.append(report.Curve(name, x, cosines))
        rows.append(row)
        curves.append(report.Curve(name, x, entropy))
    axes = {"xlabel": "generation", "ylabel": "cross-entropy of the parent", "yscale": "log"}
    panels = [(axes, curves), ({"xlabel": "generation", "ylabel": "cosine of the best child's step"}, angles)]
    report.plot_curves(panels, out / "oracle.png", f"{args.seeds} seeds, median within their range")
    report.print_table(rows, f"{args.children} children, {args.generations} generations")
    report.write_json(out / "summary.json", {"name": "oracle", "arms": rows})
    print(f"Files: {out}   Picture: {out / 'oracle.png'}")


if __name__ == "__main__":
    report.run_command(main, Args)
