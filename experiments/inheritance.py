"""Does sex help, how many should breed, what does a bottleneck cost, and who overwrote whom?

Questions of heredity, on noise to memorize and on digits that are seen in small batches. Every mutation is of rank one,
and its step size is inherited and adapts itself. All arms of a question have the same number of evaluations.
"""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import experiment
import jax
import jax.numpy as jnp
import numpy as np

import jaxga
from jaxga import analysis, data, nn, pedigree, report, tasks, variation
from jaxga.selection import Selection, islands, ranked
from jaxga.tree import iota

Question = Literal["sex", "breeders", "bottlenecks", "overwritten", "chance"]
Problem = Literal["noise", "digits"]
CUTS = {"by weight": variation.by_weight, "by neuron": variation.by_neuron, "by layer": variation.by_layer}
PARENTS = 16
BATCH = 64  # digits that a generation is scored on
REPEATS = 500  # populations that chance alone acts on
MANY = 64  # parents of the bottlenecks, and of islands
TRUNCATION = ranked()
BEGIN, LENGTH = 0.3, 0.1  # of a bottleneck, as parts of a run


@experiment.own_first
@dataclass
class Args(experiment.Pictures):
    question: Question = "sex"
    """sex: crossover and averaging against none. breeders: how many parents. bottlenecks: few parents for a while.
    overwritten: what became of children that were truly better. chance: how fast few parents lose what is neutral."""
    problems: tuple[Problem, ...] = ()
    """noise, digits; by default both for sex and breeders, noise for bottlenecks, digits for overwritten."""
    seeds: int = 10
    """Runs of every arm."""
    generations: int = 200
    children: int = 256
    """Of a generation."""
    out: Path | None = None
    """Where the figures and pictures go; default runs/inheritance/<id>."""
    quick: bool = False
    """The first two arms on the first problem, for a few generations."""


def images(args: Args) -> data.Images:
    """Those that the arguments name, and the small digits of a quick run."""
    return data.digits() if args.quick else experiment.pictures(args)


def noise() -> jaxga.Task:
    """64 points to memorize, all of them in every evaluation."""
    return tasks.memorization(nn.MLP((32, 10)), points=64, shape=(16, 16, 1))


def digits(args: Args, batch: int | None = BATCH) -> jaxga.Task:
    """Digits to read, the same 64 for everybody in a generation."""
    return tasks.classification(nn.MLP((16, 10)), images(args), batch=batch)


def make(
    task: jaxga.Task,
    parents: int,
    children: int,
    *,
    cut: Callable[..., Any] | None = None,
    averaged: int | None = None,
    selection: Selection = TRUNCATION,
    founders: Any = jaxga.common_founder,
) -> jaxga.Algorithm:
    """A generation of ``children``; crossover comes before the mutation."""
    mutation = variation.low_rank(variation.multiplicative(variation.relative(0.1), up=1.2))
    change = variation.chain(variation.uniform_crossover(cut), mutation) if cut else mutation
    mean = variation.average(averaged, variation.by_rank, scale=averaged**0.5 / 2) if averaged else None
    chosen = ranked(recombination=mean) if mean else selection
    return jaxga.ga(task.init, change, parents=parents, children=children, founders=founders, selection=chosen)


def narrowed(selection: Selection, start: int, end: int, to: int) -> Selection:
    """In generations ``start`` to ``end - 1`` only the best ``to`` are held, each in several slots."""

    def apply(key: jax.Array, scored: Any, remembered: Any) -> tuple[Any, Any, dict[str, jax.Array]]:
        recipe, remembered, metrics = selection.apply(key, scored, remembered)
        slots = iota(len(recipe.indices))
        inside = (scored.generation >= start) & (scored.generation < end)
        chosen = jnp.where(inside, slots % to, slots)
        return recipe._replace(indices=recipe.indices[chosen]), remembered, metrics

    return selection._replace(apply=apply)


Arms = dict[str, jaxga.Algorithm]


def sex(args: Args, task: jaxga.Task) -> Arms:
    """One parent against two, of 16 and of 32; 16 means of few children each; and one mean of the better half."""
    children, twice = args.children, 2 * PARENTS
    return {
        "none": make(task, PARENTS, children),
        **{name: make(task, PARENTS, children, cut=cut) for name, cut in CUTS.items()},
        f"none, {twice} parents": make(task, twice, children),
        f"by weight, {twice} parents": make(task, twice, children, cut=variation.by_weight),
        f"{PARENTS} means": make(task, PARENTS, children, averaged=children // PARENTS),
        "one mean": make(task, 1, children, averaged=children // 2),
    }


def breeders(args: Args, task: jaxga.Task) -> Arms:
    """From one parent to half of the children, with one and with two parents a child."""
    numbers = [number for number in (1, 4, 16, 64, 128) if 2 * number <= args.children]
    one = {f"{number}": make(task, number, args.children) for number in numbers}
    two = {f"{number}, sexual": make(task, number, args.children, cut=variation.by_weight) for number in numbers[1:]}
    return one | two


def bottlenecks(args: Args, task: jaxga.Task) -> Arms:
    """64 parents who begin as different networks; for a tenth of the run, only a few of them breed."""
    begin, end = narrow_part(args)
    return {
        f"{to}{', sexual' if cut else ''}": make(
            task, MANY, args.children, cut=cut, selection=narrowed(ranked(), begin, end, to),
            founders=jaxga.random_founders,
        )
        for cut in (None, variation.by_weight) for to in (MANY, 8, 2)
    }  # fmt: skip


def narrow_part(args: Args) -> tuple[int, int]:
    """The first generation of a bottleneck, and the first after it."""
    return int(BEGIN * args.generations), int((BEGIN + LENGTH) * args.generations)


def overwritten(args: Args, task: jaxga.Task) -> Arms:
    """One parent, many, and islands: individuals compete on their own island, and every 20 generations its best one
    also competes on the next island."""
    children = args.children
    arms = {f"{number} parents": make(task, number, children) for number in (1, PARENTS, MANY, 128)}
    arms[f"{MANY} parents, sexual"] = make(task, MANY, children, cut=variation.by_weight)
    for count in (PARENTS, MANY):
        apart = islands(ranked(), count, every=20)
        arms[f"{count} islands of {MANY // count}"] = make(task, MANY, children, selection=apart)
    return arms


ASKED: dict[Question, tuple[Callable[[Args, jaxga.Task], Arms], tuple[Problem, ...]]] = {
    # the arms of a question, and its problems
    "sex": (sex, ("noise", "digits")),
    "breeders": (breeders, ("noise", "digits")),
    "bottlenecks": (bottlenecks, ("noise",)),
    "overwritten": (overwritten, ("digits",)),
}


def distance(algorithm: jaxga.Algorithm, record: pedigree.Pedigree, generation: int) -> float:
    """The mean distance between two parents, in units of the length of their weights."""
    params = pedigree.replay(algorithm, record, generation).parents.params
    weights = np.concatenate([np.asarray(leaf).reshape(len(leaf), -1) for leaf in jax.tree.leaves(params)], axis=1)
    if len(weights) < 2:
        return 0.0
    apart = weights - weights.mean(axis=0)
    square = 2 * (apart**2).sum() / (len(weights) - 1)  # the mean over pairs
    return float((square / (weights**2).sum(axis=1).mean()) ** 0.5)


def measure(args: Args, name: str, algorithm: jaxga.Algorithm, runs: jaxga.Runs) -> dict[str, Any]:
    """The row of an arm: how well it did in the end, and what the question asks of its pedigrees."""
    accuracy = runs.metrics.get("validation_accuracy")
    row: dict[str, Any] = {"": name}
    if accuracy is not None:
        row["validation, %"] = experiment.told(100 * accuracy[:, -1])
    else:
        row["points of 64"] = experiment.told(runs.metrics["points"][:, -1], 1)
        row["cross-entropy"] = experiment.told(runs.metrics["cross_entropy"][:, -1], 2, "g")
    last = args.generations
    if args.question == "overwritten":
        full = digits(args, None)
        points = np.linspace(0, last - 1, 11).astype(int)[1:-1]
        told = [analysis.fates(algorithm, one, full, generations=points).counts() for one in runs.pedigrees]
        mean = {key: np.stack([one[key] for one in told]).mean(axis=1) for key in told[0]}
        row |= {key.replace("_", " "): round(float(np.median(values)), 1) for key, values in mean.items()}
        held = mean["died_out"] + mean["lasting"]
        row["better of held, %"] = experiment.told(100 * held / algorithm.parents, 0)
    else:
        ends = {"distance": last}
        if args.question == "bottlenecks":
            begin, end = narrow_part(args)
            ends = {"distance before": begin, "in it": end, "after": min(end + end - begin, last), "at the end": last}
        row |= {
            key: experiment.told([distance(algorithm, one, at) for one in runs.pedigrees]) for key, at in ends.items()
        }
    return row


def chance(args: Args, out: Path) -> None:
    """What chance alone does to T parents, beside Wright and Fisher: nobody mutates, everybody is equally fit."""
    rows, curves = [], []
    for parents in (2, 8, 32, 50):
        found = analysis.drift(parents, 16 * parents, generations=8 * parents, repeats=20 if args.quick else REPEATS)
        fixed, lost, _ = found.fixed()
        rows.append({
            "parents": parents, "fixed, %": round(100 * fixed, 1), "lost, %": round(100 * lost, 1),
            "expected, %": 50.0, "diversity after T": round(float(found.diversity[parents]), 3),
            "Wright-Fisher": round(float(found.wright_fisher[parents]), 3),
            "balanced broods": round(float(found.expected[parents]), 3),
        })  # fmt: skip
        time_in_parents = np.arange(8 * parents + 1) / parents
        curves.append(report.Curve(f"{parents} parents", time_in_parents, found.diversity))
        report.write_json(out / "summary.json", {"name": "inheritance", "chance": rows})
    theory = report.Curve("balanced broods, 50 parents", time_in_parents, found.expected, "--")
    axes = {"xlabel": "generations, in units of the number of parents", "ylabel": "diversity left", "yscale": "log"}
    report.plot_curves([(axes, [*curves, theory])], out / "chance.png", "Chance alone, without mutation and selection")
    report.print_table(rows, "Chance alone: an allele that half of the parents carry")
    print(f"Files: {out}   Picture: {out / 'chance.png'}")


def main(args: Args) -> None:
    if args.quick:
        args.generations, args.seeds, args.children = 10, 2, 128
    jaxga.base.require_whole(2, generations=args.generations, seeds=args.seeds)
    out = report.make_directory(args.out or report.find_run("inheritance", asdict(args)))
    if args.question == "chance":
        return chance(args, out)
    arms_of, problems = ASKED[args.question]
    problems = args.problems or problems
    summary: dict[str, Any] = {"name": "inheritance", **asdict(args), "out": None, "data": None}
    for problem in problems[:1] if args.quick else problems:
        task, panels, rows = noise() if problem == "noise" else digits(args), [], []
        metric = "validation_accuracy" if problem == "digits" else "cross_entropy"
        arms = list(arms_of(args, task).items())
        for name, algorithm in arms[:2] if args.quick else arms:
            begun = time.monotonic()
            every = max(args.generations // 50, 1)
            runs = jaxga.run_many(
                lambda algorithm=algorithm: algorithm, task, generations=args.generations, seeds=args.seeds,
                validate_every=every, batch=1, pedigrees=True,
            )  # fmt: skip
            row = measure(args, name, algorithm, runs)
            rows.append(row | {"s a run": round((time.monotonic() - begun) / args.seeds, 1)})
            seen = slice(every - 1, None, every)
            x = np.arange(1, args.generations + 1)[seen]
            panels.append(report.Curve(name, x, runs.metrics[metric][:, seen]))
            axes = {"xlabel": "generation", "ylabel": metric.replace("_", " ")}
            if problem == "noise":
                axes["yscale"] = "log"
            title = f"{args.question}: {problem}, median of {args.seeds} seeds within their range"
            report.plot_curves([(axes, panels)], out / f"{args.question}-{problem}.png", title)
            summary[problem] = rows
            report.write_json(out / "summary.json", summary)
        report.print_table(
            rows, f"{args.question}, {problem}: {args.children} children, {args.generations} generations"
        )
    print(f"Files: {out}   Pictures: {out}/{args.question}-*.png")


if __name__ == "__main__":
    report.run_command(main, Args)
