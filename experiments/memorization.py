"""Evolve a convolutional network that memorizes images of Gaussian noise, and compare it with SGD and Adam.

The networks see P images of noise with random labels. Nothing can be generalised, so only the search is measured.
"""

import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import experiment
import jax
import numpy as np
import optax
from matplotlib.figure import Figure

import jaxga
from jaxga import baselines, compilation, nn, report, tasks, variation

LOSSES = {"cross_entropy": tasks.cross_entropy, "errors": tasks.errors, "till_death": tasks.till_death,
          "till_death_shuffled": tasks.till_death_shuffled, "sampled": tasks.sampled}  # fmt: skip
STEPS = 150  # of SGD and Adam


@experiment.own_first
@dataclass
class Args(experiment.Series, experiment.Scoring):
    points: int = 64
    """Images to memorize."""
    shape: tuple[int, ...] = (64, 64, 3)
    """Of one image: height, width, channels. One number takes vectors, and a multilayer perceptron."""
    classes: int = 10
    """Labels are drawn uniformly from so many."""
    loss: Literal["cross_entropy", "errors", "till_death", "till_death_shuffled", "sampled"] = "cross_entropy"
    """What is fitness: minus the cross-entropy; minus the points that are wrong; the points that are right before the
    first error, in their order or in a new one every generation; the points whose class, drawn from the softmax, is
    right."""
    parents: int = 1
    """Parents of a generation."""
    children: int = 128
    """Children of a generation, a multiple of the parents."""
    average: int | None = None
    """Children that are averaged into one parent, by rank; 1 selects without averaging. By default a quarter of a
    parent's children."""
    elites: int = 0
    """Best parents that compete with the children. They are scored again each generation if children are averaged."""
    mutation: Literal["gaussian", "low_rank"] = "low_rank"
    """Noise on every weight, or of low rank: a sixteenth of the random numbers, and matrix products shared."""
    rank: int = 1
    """Of the low-rank mutation."""
    sigma: float = 0.02
    """Step size, relative to the scale of a layer at initialisation."""
    generations: int = 200
    """At most so many."""
    target: float | None = None
    """Stop at this fitness. By default: cross-entropy 0.01, or every point right."""
    seed: int = 0
    """Of the run. The task has the same data for all seeds."""
    seeds: int = 1
    """Independent runs, with seeds from --seed on, each in a directory of its own."""
    out: Path | None = None
    """Where the files go; default runs/memorization/<id>."""
    quick: bool = False
    """A small one that takes seconds: a perceptron memorizes 16 vectors."""


def network(args: Args) -> Any:
    """The network for points of this shape."""
    if len(args.shape) == 1:
        return nn.MLP((128, args.classes))
    return nn.ConvNet(args.classes, kernel_init=nn.notes_normal)


def make(args: Args) -> tuple[jaxga.Task, jaxga.Algorithm]:
    """The task and the algorithm that the arguments describe."""
    jaxga.require(args.average is None or args.average >= 1, f"average is {args.average}, and must be 1 or more.")
    loss = LOSSES[args.loss]
    task = tasks.memorization(network(args), points=args.points, shape=args.shape, classes=args.classes, loss=loss)
    step = variation.relative(args.sigma)
    mutation = variation.gaussian(step) if args.mutation == "gaussian" else variation.low_rank(step, args.rank)
    # The mean of k steps is sqrt(k) times shorter than one of them: the scale makes that good.
    count = args.average if args.average is not None else max(args.children // max(args.parents, 1) // 4, 1)
    recombination = variation.average(count, variation.by_rank, scale=abs(count) ** 0.5) if count != 1 else None
    noisy = args.loss in ("sampled", "till_death_shuffled") or recombination is not None
    return task, jaxga.ga(
        task.init, mutation, parents=args.parents, children=args.children, elites=args.elites,
        reevaluate=noisy and args.elites > 0, recombination=recombination,
    )  # fmt: skip


def descend(name: str, optimiser: optax.GradientTransformation, task: jaxga.Task, seed: int) -> dict[str, Any]:
    """A baseline on the same task and network: its losses, seconds, and the points it memorized."""
    begun = time.monotonic()
    params, losses = jax.block_until_ready(baselines.gradient_descent(task, optimiser, STEPS, seed))
    seconds = time.monotonic() - begun
    points = int(task.evaluate(jax.random.key(0), params).metrics["points"])
    return {"name": name, "losses": np.asarray(losses), "seconds": seconds, "points": points}


def main(args: Args) -> None:
    if args.quick and not args.resume:
        args.points, args.shape, args.children, args.generations, args.sigma = 16, (64,), 64, 100, 0.1
    task, algorithm = make(args)
    solved = {"cross_entropy": -0.01, "errors": 0.0}.get(args.loss, float(args.points))
    target = solved if args.target is None else args.target
    where = experiment.scoring(args, partial(make, args))
    out, results = experiment.run_seeds(
        args, "memorization", task, algorithm, generations=args.generations, stop=jaxga.stop.target(target), **where
    )

    # The gradient fades with the loss, so that a step size that grows by 5 % a step keeps SGD moving.
    sgd = optax.sgd(optax.exponential_decay(0.01, 1, 1.05), momentum=0.9)
    rivals = [
        descend("SGD", optax.chain(optax.clip_by_global_norm(1.0), sgd), task, args.seed),
        descend("Adam", optax.adam(3e-3), task, args.seed),
    ]
    rows = [
        {
            "": f"GA, seed {args.seed + number}", "fitness": float(result.state.best_fitness),
            "points": f"{result.history['points'].max():.0f} of {args.points}",
            "loss": float(result.history["cross_entropy"][-1]), "steps": int(result.state.generation),
            "nets/s": result.summary()["evaluations_per_second"], "seconds": round(result.seconds, 1),
        }
        for number, result in enumerate(results)
    ]  # fmt: skip
    rows += [
        {
            "": rival["name"], "fitness": "", "points": f"{rival['points']} of {args.points}",
            "loss": float(rival["losses"][-1]), "steps": STEPS, "nets/s": "",
            "seconds": round(rival["seconds"], 1),
        }
        for rival in rivals
    ]  # fmt: skip
    plot(results, rivals, out / "memorization.png")
    headline = {
        "points_memorized": int(results[0].history["points"].max()), "points": args.points,
        "cross_entropy": rows[0]["loss"], "seeds": args.seeds,
        "sgd_steps_to_1e-5": int(np.argmax(rivals[0]["losses"] < 1e-5)) if rivals[0]["losses"].min() < 1e-5 else None,
        **jaxga.backend.dollars(args.dollars_per_hour, results, where.get("evaluator")),
    }  # fmt: skip
    report.print_table(rows, f"Memorizing {args.points} points of noise: {results[-1].stopped_because}")
    experiment.conclude(args, "memorization", out, results, headline)


def plot(results: list[jaxga.Result], rivals: list[dict[str, Any]], path: Path) -> None:
    """Cross-entropy against generations or steps, and against seconds."""
    by_step, by_second = experiment.curves(results, "cross_entropy")
    for rival in rivals:
        steps = np.arange(1, STEPS + 1)
        by_step.append(report.Curve(rival["name"], steps, rival["losses"]))
        by_second.append(report.Curve(rival["name"], steps * rival["seconds"] / STEPS, rival["losses"]))
    axes = {"ylabel": "cross-entropy of the best (nats)", "yscale": "log"}
    panels = [({"xlabel": "generation or step", **axes}, by_step), ({"xlabel": "seconds", **axes}, by_second)]
    report.plot_curves(panels, path, "Memorizing noise: evolution and gradient descent on one network")


def show(args: Args, task: jaxga.Task, params: Any, directory: Path) -> Path:
    """Draw for `jaxga replay` what the network says of every point."""
    del task
    inputs, labels = tasks.noise(args.points, args.shape, args.classes)
    chances = np.asarray(jax.nn.softmax(compilation.jit(network(args).apply)(params, inputs)))
    order, knows = np.argsort(labels, kind="stable"), chances.argmax(1) == np.asarray(labels)
    figure = Figure(figsize=(9, 3.2), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(chances[order].T, aspect="auto", interpolation="nearest", vmin=0, vmax=1, cmap="viridis")
    axes.plot(np.arange(args.points), np.asarray(labels)[order], "r.", markersize=4)
    axes.set(xlabel="point, in the order of the labels", ylabel="class")
    axes.set_title(f"probabilities, and the labels in red: {knows.sum()} of {args.points} points are right")
    figure.colorbar(image)
    figure.savefig(directory / "points.png", dpi=130)
    return directory / "points.png"


if __name__ == "__main__":
    report.run_command(main, Args)
