"""Gradient descent on the problems of evolution: how far does it get in which time, and how does evolution compare?

noise: Adam memorizes 512 points of noise in batches of 32, with the convolutional network of the notes and with a
perceptron. digits: SGD and Adam read handwritten digits in batches of 64. Beside them evolves the same perceptron, by
the mean of all children of a generation, and by the best child. Convolutional networks do not evolve here, since a
generation of them takes minutes on a CPU. Test images are looked at along the way, but nothing is chosen by them.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

import experiment
import jax
import mnist
import numpy as np
import optax

import jaxga
from jaxga import analysis, baselines, compilation, data, nn, report, tasks

Question = Literal["noise", "digits"]
POINTS, ENOUGH = 512, 1e-5  # to memorize; a mean loss at which they are
ADAM = optax.adam(1e-3)
OPTIMISERS = {"SGD 0.1": optax.sgd(0.1), "Adam 1e-3": ADAM}
EVOLVED = {  # of experiments/mnist.py
    "mean of 512 children": {},
    "best of 256 children": {"children": 256, "average": 1, "gamma": 1.05, "sigma": 0.02, "anneal": 0},
}


@experiment.own_first
@dataclass
class Args(experiment.Pictures):
    question: Question = "digits"
    """noise: points to memorize. digits: images to read."""
    network: Literal["mlp", "conv", "both"] = "mlp"
    """For digits a perceptron with 128 hidden units, or convolutions with 32 and 64 channels and 2 x 2 pooling; for
    noise one with 128 units, or the convolutional network of `experiments/memorization.py`."""
    epochs: int | None = None
    """By default 4 for digits, and at most 120 for noise."""
    batch: int | None = None
    """By default 64 digits, or 32 points."""
    generations: int = 400
    """Of evolution, which sees batches of 500."""
    seeds: int = 3
    """Runs of everything."""
    out: Path | None = None
    """Where the figures and pictures go; default runs/gradient/<id>."""
    quick: bool = False
    """A small perceptron on few points and on small digits."""


class Course(NamedTuple):
    """What was measured along a run, ``[P]`` each."""

    steps: np.ndarray  # of gradient descent, or generations
    evaluations: np.ndarray  # of a network on a batch; a gradient counts as three
    seconds: np.ndarray  # without the measurements, with compilation
    accuracy: np.ndarray  # on unseen images; of noise on all points
    loss: np.ndarray


def networks(args: Args) -> tuple[str, ...]:
    """Those that are asked for."""
    return ("mlp", "conv") if args.network == "both" else (args.network,)


def noise_task(args: Args, network: str) -> jaxga.Task:
    """Points in batches to learn. Validation is on all of them, and so it measures what is memorized."""
    points, shape = (64, (32,)) if args.quick else (POINTS, (64, 64, 3))
    inputs, labels = map(np.asarray, tasks.noise(points, shape, 10))
    model = nn.ConvNet(10, kernel_init=nn.notes_normal) if network == "conv" else nn.MLP((128, 10))
    return tasks.classification(model, data.Images(inputs, labels, inputs, labels), batch=args.batch or 32)


def digits_args(args: Args, network: str, **changes: Any) -> mnist.Args:
    """The arguments of `experiments/mnist.py` for the same network and images."""
    shape = {"hidden": (32, 64), "stride": 1, "pool": 2} if network == "conv" else {"hidden": (128,)}
    if args.quick:
        shape, changes = {"hidden": (8,)}, changes | {"children": 16}
    common = {"network": network, "data": args.data, "dataset": "digits" if args.quick else args.dataset}
    return replace(mnist.Args(), **common, batch=100 if args.quick else 500, **shape, **changes)


def descend(
    task: jaxga.Task, score: Any, optimiser: optax.GradientTransformation, seed: int, every: int, parts: int,
    enough: float = 0.0,
) -> Course:  # fmt: skip
    """Gradient descent, measured after every few steps, until the loss is small enough."""
    measure, rows, seconds = compilation.jit(score), [], 0.0
    descent = baselines.descent(task, optimiser, seed, every=every)
    for part in range(1, parts + 1):
        begun = time.monotonic()
        params, _ = jax.block_until_ready(next(descent))
        seconds += time.monotonic() - begun
        told = measure(params).metrics
        rows.append((part * every, 3 * part * every, seconds, float(told["accuracy"]), float(told["loss"])))
        if rows[-1][-1] <= enough:
            break
    return Course(*np.array(rows).T)


def evolve(task: jaxga.Task, algorithm: jaxga.Algorithm, seed: int, generations: int) -> Course:
    """Evolution, replayed afterwards to test its parent about twenty times, so that its seconds are its own."""
    result = jaxga.run(algorithm, task._replace(validate=None), seed, generations=generations)
    assert task.test is not None
    test = task.test

    def probe(source: jaxga.Source) -> dict[str, jax.Array]:
        return test(jax.tree.map(lambda leaf: leaf[0], source.parents.params)).metrics

    seen = analysis.trace(algorithm, result.pedigree, probe, every=max(generations // 20, 1))
    at, history = seen.generations - 1, result.history
    return Course(seen.generations, history["evaluations"][at], history["seconds"][at], *map(seen.values.get, METRICS))


METRICS = "accuracy", "loss"


def first(courses: Sequence[Course], reached: Callable[[Course], np.ndarray], what: str, unit: float = 1.0) -> str:
    """The steps, evaluations or seconds until something is reached: the median over runs, where all reach it."""
    found = [getattr(one, what)[reached(one).argmax()] / unit for one in courses if reached(one).any()]
    total = len(courses)
    return experiment.told(found, 1) if len(found) == total else f"{len(found)} of {total} runs"


def noise(args: Args, out: Path) -> dict[str, Any]:
    """Epochs until the mean loss of all points is 1e-5: N / batch steps each, with batches drawn with replacement."""
    rows, curves = [], []
    for network in networks(args):
        task = noise_task(args, network)
        assert task.validate is not None
        steps = (64 if args.quick else POINTS) // (args.batch or 32)
        runs = [
            descend(task, task.validate, ADAM, seed, steps, args.epochs or 120, ENOUGH) for seed in range(args.seeds)
        ]
        rows.append({
            "": f"Adam, {network}",
            f"epochs until {ENOUGH:g}": first(runs, lambda one: one.loss <= ENOUGH, "steps", steps),
            "epochs until all are right": first(runs, lambda one: one.accuracy >= 1, "steps", steps),
            "loss at the end": experiment.told([one.loss[-1] for one in runs], 2, "g"),
            "seconds": experiment.told([one.seconds[-1] for one in runs], 1),
        })  # fmt: skip
        curves += [
            report.Curve("" if seed else f"Adam, {network}", one.steps / steps, one.loss, color=len(rows) - 1)
            for seed, one in enumerate(runs)
        ]
        report.write_json(out / "summary.json", {"name": "gradient", "question": "noise", "arms": rows})
    axes = {"xlabel": "epoch", "ylabel": "cross-entropy on all points", "yscale": "log"}
    report.plot_curves([(axes, curves)], out / "noise.png", "Adam memorizes noise, every seed a line")
    report.print_table(rows, f"{64 if args.quick else POINTS} points of noise, {args.seeds} seeds")
    return {"arms": rows}


def digits(args: Args, out: Path) -> dict[str, Any]:
    """Gradient descent beside evolution on one perceptron, and gradient descent on convolutions."""
    found: dict[str, list[Course]] = {}
    for network in networks(args):
        settings = digits_args(args, network)
        images = experiment.pictures(settings)
        task, _ = mnist.make(replace(settings, batch=args.batch or 64), images)
        assert task.test is not None
        epoch = len(images.train_labels) // (args.batch or 64)
        parts = 1 if network == "conv" or args.quick else 8  # measurements an epoch
        for name, optimiser in OPTIMISERS.items():
            found[f"{name}, {network}"] = [
                descend(task, task.test, optimiser, seed, max(epoch // parts, 1), parts * (args.epochs or 4))
                for seed in range(args.seeds)
            ]
            tell(args, found, out)
    if "mlp" in networks(args):
        for name, changes in list(EVOLVED.items())[: 1 if args.quick else None]:
            settings = digits_args(args, "mlp", **({"anneal": args.generations} | changes))
            task, algorithm = mnist.make(settings, experiment.pictures(settings))
            found[name] = [evolve(task, algorithm, seed, args.generations) for seed in range(args.seeds)]
            tell(args, found, out)
    rows = tell(args, found, out)
    report.print_table(rows, f"Reading digits: {args.seeds} seeds, test images")
    return {"arms": rows}


def tell(args: Args, found: dict[str, list[Course]], out: Path) -> list[dict[str, Any]]:
    """The table and the picture of what is finished."""
    rows, labels = [], {"steps": "steps or generations", "evaluations": "networks evaluated on a batch (a gradient: 3)",
                        "seconds": "seconds"}  # fmt: skip
    for name, runs in found.items():
        row = {"": name, "test, %": experiment.told([100 * one.accuracy[-1] for one in runs])}
        row |= {"steps": int(runs[0].steps[-1]), "seconds": experiment.told([one.seconds[-1] for one in runs], 1)}
        for goal, what in ((0.9, "seconds"), (0.95, "steps"), (0.95, "seconds"), (0.99, "steps")):
            row[f"{what} to {100 * goal:.0f} %"] = first(runs, lambda one, goal=goal: one.accuracy >= goal, what)
        rows.append(row)
    panels = [
        ({"xlabel": label, "xscale": "log", "ylabel": "test accuracy"}, [
            report.Curve(name, np.median([getattr(one, what) for one in runs], axis=0),
                         np.array([one.accuracy for one in runs]))
            for name, runs in found.items()
        ]) for what, label in labels.items()
    ]  # fmt: skip
    report.plot_curves(panels, out / "digits.png", f"Gradients and generations, median of {args.seeds} seeds")
    report.write_json(out / "summary.json", {"name": "gradient", "question": "digits", "arms": rows})
    return rows


def main(args: Args) -> None:
    if args.quick:
        args.seeds, args.epochs, args.generations = 2, 2, 20
        if args.question == "noise":
            args.epochs, args.batch = 60, 8
    sizes = {"epochs": args.epochs, "batch": args.batch}
    given = {name: value for name, value in sizes.items() if value is not None}
    jaxga.base.require_whole(1, seeds=args.seeds, generations=args.generations, **given)
    out = report.make_directory(args.out or report.find_run("gradient", asdict(args)))
    found = {"noise": noise, "digits": digits}[args.question](args, out)
    report.write_json(out / "summary.json", {"name": "gradient", **asdict(args), "out": None, "data": None, **found})
    print(f"Files: {out}   Picture: {out / args.question}.png")


if __name__ == "__main__":
    report.run_command(main, Args)
