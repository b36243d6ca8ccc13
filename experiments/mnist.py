"""Evolve a network that reads handwritten digits: how far does a genetic algorithm get?

The defaults are the fastest recipe found: low-rank children of one parent, scored on one batch a generation, all of
them averaged by rank, with a step size that falls like a cosine. `--average 1 --gamma 1.05 --anneal 0 --batch all` is
the algorithm of the notes: the best child alone becomes the parent, and its step sizes adapt themselves.
`--children 1024 --generations 11000 --anneal 11000 --stretch 2.5 --decay 1e-3 --target 1` goes as far as is known.

Runs stop, and settings were tuned, by the validation images. The parent that a run ends with is scored once on the test
images, which nothing else looks at.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import experiment
import jax.numpy as jnp
import numpy as np
import optax
from matplotlib.figure import Figure

import jaxga
from jaxga import baselines, compilation, data, nn, report, tasks, variation

LOSSES = {"cross_entropy": tasks.cross_entropy, "errors": tasks.errors, "sampled": tasks.sampled}
NOISES = {"gaussian": variation.gaussian, "laplace": variation.laplace, "uniform": variation.uniform}
WEIGHTS = {"equal": variation.equal, "rank": variation.by_rank, "centred_rank": variation.by_centred_rank,
           "fitness": variation.by_fitness}  # fmt: skip

Judge = Callable[[Any], dict[str, float]]  # of a network


@experiment.own_first
@dataclass
class Args(experiment.Series, experiment.Scoring, experiment.Pictures):
    network: Literal["mlp", "conv"] = "mlp"
    """A multilayer perceptron, or a small convolutional network."""
    hidden: tuple[int, ...] = (128,)
    """Widths of hidden layers; of the convolutional network channels, each 3 x 3."""
    stride: int = 2
    """Of convolutions."""
    pool: int = 1
    """Side of the windows of which the largest is taken after the last convolution."""
    normalise: bool = True
    """Subtract the mean of the pixels, divide by their standard deviation."""
    loss: Literal["cross_entropy", "errors", "sampled"] = "cross_entropy"
    """Fitness: minus nats; minus the part that is wrong; the part that a draw from the softmax gets right."""
    batch: int | Literal["all"] = 500
    """Training images that a child is scored on."""
    pairing: Literal["fresh", "common", "paired"] = "common"
    """A batch for every child; one for all children of a generation; or one for each child, and the fitness is the
    improvement over its parent on that very batch."""
    parents: int = 1
    """Parents of a generation."""
    children: int = 512
    """Children of a generation, a multiple of the parents."""
    elites: int = 0
    """Best parents that compete with the children, scored again every generation."""
    mutation: Literal["gaussian", "laplace", "uniform", "low_rank"] = "low_rank"
    """Noise on every weight, or of low rank. All have the same variance."""
    rank: int = 1
    """Of the low-rank mutation."""
    sigma: float = 0.05
    """Step size, relative to the scale of a layer at initialisation."""
    anneal: int = 400
    """Generations over which step sizes fall, like a cosine, to a fiftieth. 0 leaves them as they are."""
    gamma: float | None = None
    """Step sizes adapt themselves, per layer: each is multiplied by gamma, 1 or 1 / gamma."""
    gamma_down: float | None = None
    """The way down, if it is another factor than the way up."""
    warmup: int = 0
    """Generations in which only step sizes evolve."""
    average: int | None = None
    """Children that are averaged into a parent; 1 selects without averaging. By default all of them."""
    weights: Literal["equal", "rank", "centred_rank", "fitness"] = "centred_rank"
    """How averaged children count."""
    stretch: float = 2.7
    """Length of the averaged step in steps of one child, as far as those are independent. 1 is the sqrt(k) of the
    notes."""
    keep_norm: bool = False
    """Every layer of a parent stays as long as it was."""
    decay: float = 0.0
    """Or it becomes shorter by this part each generation; the part falls with the step sizes."""
    generations: int = 400
    """At most so many."""
    target: float = 0.927
    """Stop at this accuracy on the validation images."""
    validate_every: int = 10
    """Generations from one validation to the next."""
    chunk: int | Literal["measured"] | None = None
    """Children scored at once; by default by a rule, or as many as are found fastest before the run begins."""
    sgd: int = 0
    """Epochs of gradient descent (SGD, 0.1, batches of 64) on the same network, to compare with."""
    seed: int = 0
    """Of the first run; networks, children and batches follow from it."""
    out: Path | None = None
    """Where the files go; default runs/mnist/<id>."""
    quick: bool = False
    """A small one on the digits that takes seconds."""


def make(args: Args, images: data.Images | None = None) -> tuple[jaxga.Task, jaxga.Algorithm]:
    """The task and the algorithm that the arguments describe."""
    images = images or experiment.pictures(args)
    key = jaxga.common if args.pairing == "common" else jaxga.independent
    batch = None if args.batch == "all" else args.batch
    task = tasks.classification(
        network(args), images, loss=LOSSES[args.loss], batch=batch, key=key, normalise=args.normalise
    )
    for name, factor in (("gamma", args.gamma), ("gamma_down", args.gamma_down)):
        jaxga.require(factor is None or factor >= 1, f"{name} is {factor}, and must be 1 or more.")
    jaxga.require(args.anneal >= 0, f"anneal is {args.anneal}, and must be 0 or more.")
    size = variation.relative(args.sigma)
    if args.gamma is not None:
        size = variation.multiplicative(size, up=args.gamma, down=args.gamma_down)
    if args.anneal:
        size = variation.scheduled(size, falling(args))
    low_rank = args.mutation == "low_rank"
    mutation = variation.low_rank(size, args.rank) if low_rank else NOISES[args.mutation](size)
    averaged, projected = recombination(args), projection(args)
    if projected and not averaged:
        mutation = variation.projected(mutation, projected)
    algorithm = jaxga.ga(
        task.init, mutation, parents=args.parents, children=args.children, elites=args.elites,
        reevaluate=args.elites > 0, recombination=averaged, warmup=args.warmup,
    )  # fmt: skip
    return jaxga.paired(task) if args.pairing == "paired" else task, algorithm


def projection(args: Args) -> variation.Projection | None:
    """What becomes of a new parent."""
    if args.keep_norm:
        return variation.keep_norm
    jaxga.require(0 <= args.decay < 1, f"decay is {args.decay}, and must lie between 0 and 1.")
    return variation.decay(falling(args, args.decay)) if args.decay else None


def falling(args: Args, start: float = 1.0) -> optax.Schedule:
    """From ``start`` to a fiftieth of it, like a cosine; constant without ``--anneal``."""
    if not args.anneal:
        return optax.constant_schedule(start)
    return optax.cosine_decay_schedule(start, args.anneal, 0.02)


def network(args: Args) -> Any:
    """The network that the arguments describe."""
    if args.network == "mlp":
        return nn.MLP((*args.hidden, 10))
    jaxga.require(args.stride >= 1, f"stride is {args.stride}, and must be 1 or more.")
    jaxga.require(args.pool >= 1, f"pool is {args.pool}, and must be 1 or more.")
    layers = len(args.hidden)
    return nn.ConvNet(
        10, args.hidden, (3,) * layers, (args.stride,) * layers, hidden=64, padding="SAME", pool=args.pool
    )


def recombination(args: Args) -> variation.Recombination | None:
    """Averaging, scaled so that the mean of independent steps is ``stretch`` times as long as one of them."""
    count = args.average if args.average is not None else args.children // max(args.parents, 1)
    if count == 1:
        return None
    jaxga.require(count > 1, f"average is {count}, and must be 1 or more.")
    weights = WEIGHTS[args.weights](jnp.arange(count, 0, -1.0))
    shrunk = float(jnp.sqrt(jnp.sum(weights**2)))  # the mean of k equal steps is sqrt(k) times shorter
    return variation.average(count, WEIGHTS[args.weights], scale=args.stretch / shrunk, projection=projection(args))


def descend(args: Args, images: data.Images) -> list[dict[str, Any]]:
    """SGD on the same network: a row an epoch. The network of the last one is tested."""
    task = tasks.classification(network(args), images, batch=64, normalise=args.normalise)
    steps, (validate, test) = len(images.train_labels) // 64, judges(task)
    optimiser, params, rows, begun = optax.sgd(0.1), None, [], time.monotonic()
    for epoch in range(1, args.sgd + 1):
        params, _ = baselines.gradient_descent(task, optimiser, steps, args.seed + epoch, start=params)
        rows.append(
            {"": f"SGD, epoch {epoch}", **validate(params), "steps": epoch * steps, "evaluations": epoch * steps,
             "seconds": round(time.monotonic() - begun, 1)}
        )  # fmt: skip
    return [*rows[:-1], *(row | test(params) for row in rows[-1:])]


def judges(task: jaxga.Task) -> tuple[Judge, Judge]:
    """What tells accuracy and loss of a network on the validation images, and what tells them on the test images."""
    assert task.validate is not None
    assert task.test is not None
    return judge("validation", task.validate), judge("test", task.test)


def judge(name: str, score: Callable[[Any], jaxga.Evaluation]) -> Judge:
    """``params -> {"<name> accuracy": ..., "<name> loss": ...}``, compiled once."""
    compiled = compilation.jit(score)

    def told(params: Any) -> dict[str, float]:
        metrics = compiled(params).metrics
        return {f"{name} {metric}": float(metrics[metric]) for metric in ("accuracy", "loss")}

    return told


def main(args: Args) -> None:
    if args.quick and not args.resume:
        args.dataset, args.hidden, args.children, args.batch, args.generations = "digits", (16,), 64, 100, 60
        args.target, args.sgd, args.anneal = 0.9, 1, 60
    images = experiment.pictures(args)
    task, algorithm = make(args, images)
    if args.chunk == "measured":
        args.chunk = jaxga.best_chunk(algorithm, task)
        print(f"{args.chunk} children at once are fastest here.")
    where = experiment.scoring(args, lambda: make(args, experiment.pictures(args)), args.chunk)
    out, results = experiment.run_seeds(
        args, "mnist", task, algorithm, generations=args.generations, validate_every=args.validate_every,
        stop=jaxga.stop.target(args.target, "validation_accuracy"), chunk=args.chunk, **where,
    )  # fmt: skip
    asked = judges(task)
    rows = [row(f"GA, seed {args.seed + number}", result, asked) for number, result in enumerate(results)]
    rivals = descend(args, images)
    plot(args, results, rivals, out / "mnist.png")
    headline = {
        "dataset": args.dataset, "seeds": args.seeds, **medians(rows), "all": rows + rivals,
        **jaxga.backend.dollars(args.dollars_per_hour, results, where.get("evaluator")),
    }  # fmt: skip
    title = f"{args.dataset}, {len(images.train_labels):,} images to learn from: {results[-1].stopped_because}"
    report.print_table([{name: line.get(name, "") for name in rows[0]} for line in rows + rivals], title)
    for name in MEASURES if len(rows) > 1 else ():
        print(
            f"{name}, median and {spread(len(rows))}: {report.median_interval(np.array([line[name] for line in rows]))}"
        )
    experiment.conclude(args, "mnist", out, results, headline)


def row(name: str, result: jaxga.Result, asked: tuple[Judge, Judge]) -> dict[str, Any]:
    """What the best parent of the last generation can do: of one parent, the mean of children that it is."""
    validate, test = asked
    return {
        "": name, **test(result.best.params), **validate(result.best.params), "steps": int(result.state.generation),
        "evaluations": int(result.history["evaluations"][-1]), "seconds": round(result.seconds, 1),
    }  # fmt: skip


def medians(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Over the seeds, each with the ends of its interval."""
    found = {}
    for name in MEASURES:
        interval = report.median_interval(np.array([line[name] for line in rows]))
        key = name.replace(" ", "_")
        found |= {key: float(interval.median), f"{key}_interval": [float(interval.low), float(interval.high)]}
    return found


def spread(seeds: int) -> str:
    """What stands beside the median of so many runs."""
    return "95 % interval" if seeds >= 5 else "range"


MEASURES = "test accuracy", "test loss", "validation accuracy", "validation loss"


def plot(args: Args, results: list[jaxga.Result], rivals: list[dict[str, Any]], path: Path) -> None:
    """Validation accuracy against generations, and against seconds."""
    by_step, by_second = experiment.curves(results, "validation_accuracy")
    if rivals:
        accuracy = np.array([rival["validation accuracy"] for rival in rivals])
        by_second.append(report.Curve("SGD, an epoch a point", [rival["seconds"] for rival in rivals], accuracy))
    axes = {"ylabel": "validation accuracy"}
    panels = [({"xlabel": "generation", **axes}, by_step), ({"xlabel": "seconds", **axes}, by_second)]
    report.plot_curves(
        panels, path, f"Reading digits ({args.dataset}, {args.loss}, batch {args.batch}, {args.pairing})"
    )


def show(args: Args, task: jaxga.Task, params: Any, directory: Path) -> Path:
    """Draw for `jaxga replay` the first validation images that the network reads wrongly."""
    del task
    images = experiment.pictures(args)
    mean, scale = (images.train_images.mean(), images.train_images.std()) if args.normalise else (0.0, 1.0)
    read = compilation.jit(network(args).apply)(params, (images.validation_images - mean) / scale).argmax(1)
    wrong = np.flatnonzero(np.asarray(read) != images.validation_labels)
    figure = Figure(figsize=(8, 6.3), layout="constrained")
    for place, panel in enumerate(figure.subplots(5, 8).flat):
        panel.set_axis_off()
        if place < len(wrong):
            number = wrong[place]
            panel.imshow(images.validation_images[number].squeeze(), cmap="gray_r")
            panel.set_title(f"{images.validation_labels[number]} as {read[number]}", fontsize=8)
    total = len(images.validation_labels)
    figure.suptitle(f"{len(wrong):,} of {total:,} validation images are read wrongly; the first of them")
    figure.savefig(directory / "misread.png", dpi=130)
    return directory / "misread.png"


if __name__ == "__main__":
    report.run_command(main, Args)
