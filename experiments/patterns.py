"""What memories of prototypes cannot learn, and networks of layers can: patterns.

* glyphs: ten small shapes anywhere in an image; a pixel learned in one place says nothing in another.
* count_ones: the number of ones in an image of random bits, modulo 10; no bit matters by itself.
* mixture: scikit-learn's digits, which can be understood, and 64 images of noise, which can only be memorized.
"""

import itertools
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, cast, get_args

import experiment
import jax
import numpy as np
from flax import linen

import jaxga
from jaxga import data, memory, nn, report, tasks, variation
from jaxga.base import require_at_least
from jaxga.report.files import describe_machine
from jaxga.tree import take

Question = Literal["glyphs", "count_ones", "mixture"]
QUICK: tuple[Question, ...] = ("glyphs",)
EVERY = 10  # generations from one validation to the next
POINTS = 64  # of noise in the mixture
SIZE = 12  # of an image with a glyph


@dataclass
class Args:
    questions: tuple[Question, ...] = get_args(Question)
    """Which ones."""
    heads: int = 256
    """Prototypes of the memory."""
    children: int = 256
    """Children of a generation."""
    generations: int = 500
    """Of a run, for either network: they are scored equally often."""
    seeds: int = 5
    """Runs of everything, on the same images."""
    out: Path | None = None
    """Where the figures and the picture go; default runs/patterns/<id>."""
    quick: bool = False
    """A small one that takes seconds: glyphs alone, unless --questions names others."""


def images_of(question: Question) -> data.Images:
    """What is to be learned."""
    makers = {"glyphs": partial(tasks.glyphs, size=SIZE), "count_ones": tasks.count_ones, "mixture": data.digits}
    return makers[question]()


def layers_of(question: Question) -> linen.Module:
    """A network of layers that suits the images."""
    if question == "glyphs":  # the best match anywhere
        return nn.ConvNet(10, channels=(16,), kernel_sizes=(5,), strides=(1,), hidden=64, pool=SIZE - 4)
    return nn.MLP((128, 10))


def task_of(question: Question, network: linen.Module, loss: tasks.Loss) -> jaxga.Task:
    """To be scored by; of the mixture the sum of both parts, each a mean over its points."""
    images = images_of(question)
    task = tasks.classification(network, images, loss=loss, batch=250)
    if question != "mixture":
        return task
    noise = tasks.memorization(network, points=POINTS, shape=images.train_images.shape[1:], loss=loss)
    weight = 1.0 if loss is tasks.cross_entropy else 1 / POINTS  # what counts, counts points there
    return tasks.mix({"digits": (1.0, task), "noise": (weight, noise)})


def with_memory(args: Args, question: Question) -> tuple[linen.Module, jaxga.Task, jaxga.Algorithm]:
    """One head of a memory changes; the best children survive."""
    network = memory.PrototypeMemory(10, heads=args.heads)
    task = task_of(question, network, tasks.errors)
    return network, task, jaxga.ga(task.init, memory.mixed(), parents=16, children=args.children)


def with_layers(args: Args, question: Question) -> tuple[linen.Module, jaxga.Task, jaxga.Algorithm]:
    """All weights change a little; all children are averaged by rank, as for MNIST."""
    network = layers_of(question)
    task = task_of(question, network, tasks.cross_entropy)
    change = variation.low_rank(experiment.falling(variation.relative(0.05), args.generations))
    mean = experiment.mean_of_all(args.children)
    return network, task, jaxga.ga(task.init, change, parents=1, children=args.children, recombination=mean)


NETWORKS = {"memory": with_memory, "layers": with_layers}


def noise_known(network: linen.Module, result: jaxga.Result, shape: tuple[int, ...]) -> int:
    """Points of noise that the best parent at the end has right."""
    points, labels = tasks.noise(POINTS, shape, 10)
    logits = cast(jax.Array, network.apply(take(result.state.parents.params, 0), points))
    return int(tasks.right(logits, labels).sum())


def main(args: Args) -> None:
    if args.quick:
        args.heads, args.children, args.generations, args.seeds = 16, 32, 50, 2
        args.questions = QUICK if args.questions == get_args(Question) else args.questions
    jaxga.require(len(args.questions) > 0, f"questions is empty: name at least one of {', '.join(get_args(Question))}.")
    require_at_least(1, seeds=args.seeds, heads=args.heads)
    require_at_least(EVERY, generations=args.generations)
    for question, make in itertools.product(args.questions, NETWORKS.values()):
        make(args, question)  # what cannot work is refused before anything is written
    out = report.make_directory(args.out or report.find_run("patterns", {}))
    panels: list[Any] = []
    found: dict[str, Any] = {"name": "patterns", "machine": describe_machine()}
    for question in args.questions:
        rows, curves = [], []
        for name, make in NETWORKS.items():
            network, task, algorithm = make(args, question)
            options: dict[str, Any] = {"generations": args.generations, "validate_every": EVERY}
            jaxga.run(algorithm, task, **{**options, "generations": 1})  # compiled before the clock runs
            runs = [jaxga.run(algorithm, task, seed, **options) for seed in range(args.seeds)]
            accuracy = np.array([run.history["validation_accuracy"] for run in runs])
            seen = ~np.isnan(accuracy[0])
            curves.append(report.Curve(name, runs[0].history["generation"][seen], accuracy[:, seen]))
            row = {"": name, "accuracy": str(report.median_interval(accuracy[:, seen][:, -1]))}
            if question == "mixture":
                shape = images_of(question).train_images.shape[1:]
                known = np.array([noise_known(network, run, shape) for run in runs])
                row[f"noise, of {POINTS}"] = str(report.median_interval(known))
            rows.append(row | {"seconds": str(report.median_interval(np.array([run.seconds for run in runs])))})
        title = question.replace("_", " ")
        report.print_table(rows, f"{title}: accuracy on images that were not learned, of {args.seeds} runs")
        axes = {"xlabel": "generation", "ylabel": "validation accuracy", "ylim": (0, 1), "title": title}
        panels.append((axes, curves))
        found[question] = rows
        report.write_json(out / "summary.json", found)
    report.plot_curves(panels, out / "patterns.png")
    print(f"Files: {out}")


if __name__ == "__main__":
    report.run_command(main, Args)
