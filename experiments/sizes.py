"""How large should a generation be, how many should breed, how many images should they see, how large is a network?

Noise is memorized with a fitness that is exact; MNIST is read in small batches, so that fitness is noisy. What an arm
ends with is always measured exactly: on all points, or on 10,000 validation images that nothing selects by. All arms
of a question have the same number of evaluations, and the same seeds, so that arms are compared seed by seed.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import experiment
import jax
import numpy as np
from arms import Arm, Compared, Panel, Problem, Score, answer, begin

import jaxga
from jaxga import analysis, data, nn, report, tasks, variation
from jaxga.selection import ranked

Question = Literal["elites", "children", "regimes", "batches", "width"]
BUDGET = 2**15  # evaluations of a run, unless a question says otherwise
BATCH = 64  # digits in a small batch


@experiment.own_first
@dataclass
class Args(Compared):
    question: Question = "elites"
    """elites: 0, 1 or 4 of 4 parents, in small and large generations. children: of a generation. regimes: parents,
    where fitness is smooth, has plateaus, or is noisy. batches: images that a child is scored on. width: hidden
    units."""


ENTROPY = Score("validation_cross_entropy", "cross-entropy", log=True)
RIGHT = Score("validation_points", "points of 64")
READ = Score("validation_accuracy", "validation, %", 100.0)


def noise(loss: Any = tasks.cross_entropy, hidden: int = 32) -> jaxga.Task:
    """64 points to memorize, all of them in every evaluation."""
    make = partial(tasks.memorization, nn.MLP((hidden, 10)), points=64, shape=(16, 16, 1))
    exact = make()
    return make(loss=loss)._replace(validate=lambda params: exact.evaluate(jax.random.key(0), params))


def digits(args: Compared, batch: int | None = BATCH, hidden: int = 16, key: Any = jaxga.common) -> jaxga.Task:
    """Digits to read: the same batch for everybody in a generation, or one for each child."""
    images = data.digits() if args.quick else experiment.pictures(args)
    return tasks.classification(nn.MLP((hidden, 10)), images, batch=batch, key=key)


def make(
    task: jaxga.Task, parents: int, children: int, *, elites: int = 0, reevaluate: bool = False, averaged: int = 1,
    sexual: bool = False, founders: Any = jaxga.common_founder, up: Any = 1.2,
) -> jaxga.Algorithm:  # fmt: skip
    """Rank-one mutations whose step sizes adapt themselves by ``up``; with 1 they stay what they are."""
    mutation = variation.low_rank(variation.multiplicative(variation.relative(0.05), up=up))
    change = variation.chain(variation.uniform_crossover(), mutation) if sexual else mutation
    mean = variation.average(averaged, variation.by_rank, scale=averaged**0.5 / 2) if averaged > 1 else None
    selection = ranked(elites=elites, reevaluate=reevaluate, recombination=mean)
    return jaxga.ga(task.init, change, parents=parents, children=children, founders=founders, selection=selection)


def arm(args: Compared, task: jaxga.Task, parents: int, children: int, budget: int = BUDGET, **options: Any) -> Arm:
    """As many generations as the evaluations are enough for; elites that are scored again cost some."""
    cost = children + (options.get("elites", 0) if options.get("reevaluate") else 0)
    generations = max((args.evaluations or budget) // cost, 1)
    return Arm(task, partial(make, task, parents, children, **options), generations)


def of_problem(args: Compared, problem: Problem, **options: Any) -> tuple[jaxga.Task, Score]:
    """The task, and what its runs are judged by."""
    return (noise(**options), ENTROPY) if problem == "noise" else (digits(args, **options), READ)


def elites(args: Args) -> list[Panel]:
    """None, one or all of four parents compete with the children, with the score they had or a new one."""
    panels = []
    for problem in args.problems:
        task, score = of_problem(args, problem)
        lines = {"0 elites": {}} | {f"{number} kept": {"elites": number} for number in ((1,) if args.quick else (1, 4))}
        if problem == "digits" and not args.quick:  # an exact score is the same when it is taken again
            lines |= {f"{number} scored again": {"elites": number, "reevaluate": True} for number in (1, 4)}
        budget = BUDGET if problem == "noise" else BUDGET // 2
        arms = {
            (name, count): arm(args, task, 4, count, budget, **options)
            for count in ((8, 64) if args.quick else (8, 16, 64, 256, 1024)) for name, options in lines.items()
        }  # fmt: skip
        panels.append(Panel(problem, score, "children", arms, "up", {"adaptive": 1.2, "constant": 1.0}))
        panels[-1].target = 0.1 if score.log else None
    return panels


def children(args: Args) -> list[Panel]:
    """One parent, and the best child, the best of child and parent, or the mean of the better half."""
    task, counts = noise(), (4, 16) if args.quick else (4, 16, 64, 256, 1024, 4096)
    lines: dict[str, Callable[[int], dict[str, int]]] = {
        "best child": lambda _: {}, "best child or parent": lambda _: {"elites": 1},
        "mean of the better half": lambda count: {"averaged": count // 2},
    }  # fmt: skip
    arms = {
        (name, count): arm(args, task, 1, count, 2 * BUDGET, **options(count))
        for name, options in lines.items() for count in counts
    }  # fmt: skip
    return [Panel("noise", ENTROPY, "children", arms, target=0.1, timed=True, courses="evaluations")]


def regimes(args: Args) -> list[Panel]:
    """From one parent to 64 of 256 children: of one parent each, of two, or means of the better half."""
    panels = []
    for name, task, score in (
        ("smooth: cross-entropy", noise(), ENTROPY), ("plateaus: number of errors", noise(tasks.errors), RIGHT),
        ("noise: batches of 64 digits", digits(args), READ),
    ):  # fmt: skip
        lines: dict[str, Callable[[int], dict[str, Any]]] = {
            "no mate": lambda _: {}, "crossover": lambda _: {"sexual": True},
            "means": lambda parents: {"averaged": 128 // parents},
        }  # fmt: skip
        arms = {
            (line, parents): arm(args, task, parents, 256, 3 * BUDGET // 4, **options(parents))
            for line, options in lines.items() for parents in ((4,) if args.quick else (1, 2, 4, 16, 64))
            if not (line == "crossover" and parents == 1)
        }  # fmt: skip
        panels.append(Panel(name, score, "parents", arms))
    return panels


def batches(args: Args) -> list[Panel]:
    """256 children on common batches, or on batches of their own: the best child, or the mean of the better half.

    Every arm has 20 generations or more, and 100,000 images a child or more. Two arms are dear: batches of all images
    have 5 seeds, and batches of one's own of 10,000 images 2. Batches of one's own of 500 images end at 20,000 images.
    """
    plan = {50: (2000, None), 500: (200, None), 1000: (100, None), 10_000: (20, None), None: (20, 5)}
    whole = len((data.digits() if args.quick else experiment.pictures(args)).train_labels)
    arms: dict[tuple[str, int], Arm] = {}
    batch_of: dict[int, int] = {}
    for own, sizes in ((False, plan), (True, {500: (40, None), 10_000: (20, 2)})):
        for batch, (generations, seeds) in list(sizes.items())[: 2 if args.quick else None]:
            if batch is not None and batch > whole:
                continue
            task = digits(args, batch, key=jaxga.independent if own else jaxga.common)
            for line, averaged in (("best", 1), ("mean", 128)):
                name = f"{line}, {'own' if own else 'common'} batches"
                run = partial(make, task, 1, 256, averaged=averaged)
                measured = 20 if generations > 100 else 2 if batch in (None, 10_000) else 10
                one = arms[name, batch or whole] = Arm(task, run, 20 if args.quick else generations, measured, seeds)
                batch_of[id(one)] = batch or whole
    panel = Panel("MNIST", READ, "images", arms, courses="images that a child was scored on, all generations together")
    panel.extra = lambda one, _, values: at_equal(values, one.every or 1, batch_of[id(one)])
    return [panel]


def at_equal(values: np.ndarray, every: int, batch: int) -> dict[str, Any]:
    """Accuracy after 20 generations, and after 100,000 images a child, from ``[R, P]``."""
    places = {"after 20 generations": 20 // every - 1, "after 100,000 images": int(100_000 / batch) // every - 1}
    known = {name: place for name, place in places.items() if 0 <= place < values.shape[1]}
    return {name: experiment.told(values[:, known[name]]) if name in known else "-" for name in places}


def width(args: Args) -> list[Panel]:
    """One hidden layer, from narrow to wide, with a constant number of evaluations."""
    panels = []
    for problem, target in (("noise", 0.5), ("digits", 80.0)):
        if problem not in args.problems:
            continue
        arms = {}
        for line, averaged in (("best child", 1), ("mean of the better half", 64)):
            for hidden in (8, 32) if args.quick else (8, 32, 128, 512):
                task, _ = of_problem(args, problem, hidden=hidden)
                arms[line, hidden] = arm(args, task, 1, 128, averaged=averaged)
        panels.append(Panel(problem, ENTROPY if problem == "noise" else READ, "hidden units", arms, target=target))
    return panels


def predicted(args: Args, counts: list[int], path: Path) -> list[dict[str, Any]]:
    """What order statistics say about the number of children: the gain an evaluation by the best of one generation.

    Single mutations of random networks, and of networks half way through a run, in parts of the largest gain of all
    numbers of children. Where the parent competes, a change for the worse counts as none.
    """
    task, samples, sizes = noise(), 64 if args.quick else 8192, np.logspace(-3.5, -0.5, 2 if args.quick else 7).tolist()
    one = arm(args, task, 1, 256)
    runs = jaxga.run_many(one.make, task, generations=max(one.generations // 2, 1), seeds=2, pedigrees=True)
    first = [task.init(jax.random.key(seed)) for seed in range(2)]
    gains: dict[str, np.ndarray] = {}
    for when, networks in {"at the beginning": first, "half way": experiment.survivors(one.make(), runs)}.items():
        change = lambda size: variation.low_rank(variation.relative(size))  # noqa: E731
        found = [analysis.improvements(task, params, change, sizes, samples=samples) for params in networks]
        kept = [changes._replace(changes=np.maximum(changes.changes, 0)) for changes in found]
        for name, some in (("best child", found), ("best child or parent", kept)):
            told = np.array([changes.per_evaluation(counts) for changes in some])
            gains[f"{name}, {when}"] = (told / np.maximum(told.max(axis=1, keepdims=True), 1e-30)).mean(axis=0)
    axes = {"xlabel": "children", "xscale": "log", "ylabel": "gain an evaluation, part of the largest"}
    curves = [report.Curve(name, counts, told) for name, told in gains.items()]
    report.plot_curves([(axes, curves)], path, "Predicted by order statistics")
    return [
        {"children": count} | {name: round(float(told[place]), 3) for name, told in gains.items()}
        for place, count in enumerate(counts)
    ]


QUESTIONS: dict[Question, Callable[[Args], list[Panel]]] = {
    "elites": elites, "children": children, "regimes": regimes, "batches": batches, "width": width,
}  # fmt: skip


def main(args: Args) -> None:
    out, summary = begin(args, "sizes")
    panels = QUESTIONS[args.question](args)
    ends = answer(panels, args.question, args.seeds, out, summary)
    if args.question == "children":
        counts = sorted({int(count) for _, count in ends["noise"]})
        summary["predicted"] = predicted(args, counts, out / "children-predicted.png")
        report.print_table(summary["predicted"], "Predicted gain an evaluation, in parts of the largest")
        report.write_json(out / "summary.json", summary)
    print(f"Files: {out}   Picture: {out / args.question}.png")


if __name__ == "__main__":
    report.run_command(main, Args)
