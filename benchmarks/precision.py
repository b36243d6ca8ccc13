"""What does scoring children in bfloat16 save, and what does it cost? ``python -m benchmarks.precision``.

The same children of (b), MLP 784-128-10 on 500 images of MNIST, in float32 and in bfloat16: the time of scoring them,
in turns, how far fitness is off, and how well its order is kept; and how far whole runs get. Differences between
children shrink with their step size, and what bfloat16 rounds away (the last 16 of 24 bits) does not.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from scipy import stats

import jaxga
from benchmarks.curves import LAST, Setting, recipe
from benchmarks.timing import in_turns
from jaxga import compilation, data, nn, report, tasks, variation
from jaxga.report.files import describe_machine
from jaxga.tree import replicate, take

TYPES = {"float32": jnp.float32, "bfloat16": jnp.bfloat16}
SIGMA = 0.05
RECIPE = Setting(children=512, sigma=SIGMA, pull=2.7)  # the defaults of experiments/mnist.py
MUTATIONS: dict[str, tuple[Callable[..., jaxga.Variation], int]] = {
    "low-rank": (variation.low_rank, 1024),
    "Gaussian": (variation.gaussian, 128),
}  # and children


def order(classify: dict[str, jaxga.Task], mutation: str, sigma: float, parent: Any, seconds: float) -> dict[str, Any]:
    """Children of this parent, scored in both types."""
    make, children = MUTATIONS[mutation]
    steps: dict[str, Callable[[], jaxga.Evaluation]] = {}
    for name, task in classify.items():
        algorithm = jaxga.ga(task.init, make(variation.relative(sigma)), parents=1, children=children)
        state = jax.jit(algorithm.init)(jax.random.key(0))
        state = state._replace(
            source=state.source._replace(parents=state.parents._replace(params=replicate(parent, 1)))
        )
        evaluator = jaxga.sharded(jaxga.vmapped(algorithm, task))
        score = compilation.jit(evaluator, evaluator.mesh)
        steps[name] = lambda score=score, state=state: score(state)
    timings = in_turns(steps, seconds)
    exact, rounded = (np.asarray(step().fitness) for step in steps.values())
    return {
        "children": mutation, "step size": sigma,
        **{f"ms, {name}": 1e3 * timings[name].median for name in TYPES},
        "error / spread": float(np.std(rounded - exact) / np.std(exact)),
        "order (Spearman)": float(np.corrcoef(stats.rankdata(exact), stats.rankdata(rounded))[0, 1]),
    }  # fmt: skip


@dataclass
class Args:
    seconds: float = 5.0
    """For each type and kind of children."""
    generations: int = 400
    """Of whole runs."""
    seeds: int = 10
    out: Path | None = None
    """A JSON file for the figures."""


def main(args: Args) -> None:
    images, network = data.mnist(), nn.MLP((128, 10))
    classify = {name: tasks.classification(network, images, batch=500, dtype=kind) for name, kind in TYPES.items()}
    algorithm = recipe(classify["float32"], RECIPE, args.generations, variation.low_rank)
    trained = jaxga.run(algorithm, classify["float32"], key=0, generations=args.generations).best.params
    fresh = take(jax.jit(algorithm.init)(jax.random.key(0)).parents, 0).params
    cases = ("fresh", fresh, SIGMA), ("trained", trained, SIGMA), ("trained", trained, SIGMA * LAST)
    rows = [
        {"parent": name, **order(classify, mutation, sigma, parent, args.seconds)}
        for mutation in MUTATIONS
        for name, parent, sigma in cases
    ]
    machine = describe_machine()
    report.print_table(rows, f"{machine['device']}, JAX {machine['jax']}")
    learned = []
    for name, task in classify.items():
        algorithm = recipe(task, RECIPE, args.generations, variation.low_rank)
        runs = jaxga.run_many(
            lambda algorithm=algorithm: algorithm, task, generations=args.generations, seeds=args.seeds,
            validate_every=args.generations,
        )  # fmt: skip
        accuracy, loss = (runs.metrics[f"validation_{metric}"][:, -1] for metric in ("accuracy", "loss"))
        learned.append(
            {"type": name, "accuracy": str(report.median_interval(accuracy)), "loss": str(report.median_interval(loss))}
        )
    report.print_table(learned, f"Validation after {args.generations} generations of 512 low-rank children")
    if args.out:
        report.write_json(args.out, {"machine": machine, "order": rows, "learned": learned})


if __name__ == "__main__":
    report.run_command(main, Args)
