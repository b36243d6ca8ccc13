"""Questions of the notes about memories that runs answer: which of these learns more, at the same effort?

* soft: till death, do memories in which all heads vote get further than those in which the nearest head answers?
* cat: one cat among 63 dogs. Does evolution place a head for the cat, and how many heads does that take?
* heads: 64, 256 and 1,024 heads, for 64 points and for 256.
* turns: how large should a turn of one head be, measured by whole runs?
* rates: step sizes of each head, or of each number, that walk by 0.1 to 0.00001 in logarithms.
* luck: answers drawn from the softmax. What does luck cost small populations and large ones?
"""

import itertools
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

import experiment
import jax
import jax.numpy as jnp
import numpy as np

import jaxga
from jaxga import analysis, memory, pedigree, report, tasks, variation
from jaxga.tree import iota, take
from jaxga.variation import per

Question = Literal["soft", "cat", "heads", "turns", "rates", "luck"]
Row = dict[str, Any]
DIMENSION, CLASSES = 128, 10
WAYS = ("likeliest answers", "expected score", "drawn answers")  # to score logits


@experiment.own_first
@dataclass
class Args(experiment.Files):
    question: Question = "soft"
    """soft: all heads vote. cat: a cat among dogs. heads: many of them. turns: their size. rates: step sizes that
    evolve. luck: answers that are drawn."""
    seeds: int = 10
    """Runs of every arm, on the same points."""
    points: int = 64
    """To memorize; for heads, four times as many too."""
    generations: int = 0
    """Of a run; for luck, of one with 64 children. 0: as many as the question needs, from 600 to 3,000."""
    out: Path | None = None
    """Where the figures and the picture go; default runs/memory_questions/<id>."""
    quick: bool = False
    """The first two arms for a few generations."""


class Arm(NamedTuple):
    """One way to answer a question."""

    task: jaxga.Task
    algorithm: jaxga.Algorithm
    points: int  # that can be right
    generations: int
    ends: Callable[[Any], Row] | None = None  # (all runs) -> more columns of its row
    metric: str = "points"  # that says how many are right
    against: Any = None  # arms that have this in common are compared with the first of them


Arms = dict[tuple[str, str], Arm]  # by the panel of the picture, and the curve


def noise(args: Args, points: int | None = None) -> tuple[jax.Array, jax.Array]:
    """The points of a task, and their labels."""
    return tasks.noise(points or args.points, (DIMENSION,), CLASSES)


def soft(args: Args) -> Arms:
    """Points of unit variance have similarities of about 1 with a head, so a temperature of 1 lets all heads vote."""
    arms, (points, labels) = {}, noise(args)
    for temperature in (None, 0.03, 0.1, 0.3, 1.0):
        network = memory.PrototypeMemory(CLASSES, heads=2 * args.points, temperature=temperature)
        task = tasks.labelled(network, points, labels, loss=tasks.till_death)
        algorithm = jaxga.ga(task.init, memory.mixed(), parents=16, children=256)

        def ends(runs: jaxga.Runs, algorithm: Any = algorithm, network: Any = network) -> Row:
            close, last = memory.intrinsic(network), experiment.survivors(algorithm, runs)
            return {"closeness": experiment.told([close(one, points) / args.points for one in last])}

        name = "nearest head" if temperature is None else f"all vote, temperature {temperature:g}"
        arms["till death", name] = Arm(task, algorithm, args.points, args.generations, ends, "fitness")
    return arms


def cat(args: Args) -> Arms:
    """Dogs are known at first, as heads of zeros say class 0. The cat is the last point."""
    arms, (points, labels) = {}, tasks.cat_in_dogs(args.points - 1)
    for heads, close in (*((number, False) for number in (2, 4, 8, 16, 64, 256)), (16, True), (64, True)):
        network = memory.PrototypeMemory(2, heads=heads)
        tiebreak = memory.intrinsic(network) if close else None
        task = tasks.labelled(network, points, labels, loss=tasks.errors, tiebreak=tiebreak)
        algorithm = jaxga.ga(task.init, memory.mixed(), parents=16, children=256)

        def ends(runs: jaxga.Runs, algorithm: Any = algorithm, network: Any = network) -> Row:
            last = experiment.survivors(algorithm, runs)
            right = np.array([network.apply(one, points, method="classify") == labels for one in last])
            lost = experiment.told((~right[:, :-1]).sum(axis=1), 0)
            return {"cats": f"{right[:, -1].sum()} of {len(right)}", "dogs lost": lost}

        name = f"{heads} heads{', closeness decides' if close else ''}"
        arms["a cat among dogs", name] = Arm(task, algorithm, args.points, args.generations, ends)
    return arms


def heads(args: Args) -> Arms:
    """As many heads as points, a quarter of it, and more."""
    arms, few = {}, args.points
    for points, number in itertools.product((few, 4 * few), (few, 4 * few, 16 * few)):
        network = memory.PrototypeMemory(CLASSES, heads=number)
        task = tasks.labelled(network, *noise(args, points), loss=tasks.errors)
        algorithm = jaxga.ga(task.init, memory.mixed(), parents=4, children=256)
        arms[f"{points} points", f"{number} heads"] = Arm(task, algorithm, points, args.generations, against=points)
    return arms


def turns(args: Args) -> Arms:
    """The notes' second module: one head a point, closeness decides between equals, and the label is drawn anew."""
    network = memory.PrototypeMemory(CLASSES, heads=args.points)
    task = tasks.labelled(network, *noise(args), loss=tasks.errors, tiebreak=memory.intrinsic(network))
    arms = {}
    for size in (1.0, 0.02, 0.05, 0.1, 0.2, 0.5, 2.0, 3.0, 5.0, 10.0):
        change = memory.gene(memory.turn, variation.absolute(size))
        algorithm = jaxga.ga(task.init, change, parents=16, children=64)
        arms["a turn of one head", f"by {size:g}"] = Arm(task, algorithm, args.points, args.generations)
    return arms


def rates(args: Args) -> Arms:
    """The notes' first module, with rates: how far they spread, and whether those of heads in use become smaller."""
    network, (points, labels) = memory.PrototypeMemory(CLASSES, heads=2 * args.points), noise(args)
    task = tasks.labelled(network, points, labels, loss=tasks.errors)
    plain = variation.absolute(1.0)
    sizes = {("rates", "fixed"): plain}
    for name, group in (("of heads", per.unit), ("of numbers", per.parameter)):
        sizes |= {(name, f"{tau:g}"): variation.log_normal(plain, tau, group) for tau in (0.1, 0.01, 1e-3, 1e-4, 1e-5)}

    def arm(size: variation.StepSize) -> Arm:
        algorithm = jaxga.ga(task.init, memory.gene(memory.walk, size), parents=16, children=64)

        def ends(runs: jaxga.Runs) -> Row:
            spread, lower = [], []
            for one in runs.pedigrees:
                found = memory.statistics(network, take(pedigree.replay(algorithm, one).parents, 0), points)
                if "rate" not in found:
                    return {"spread of ln": "0", "in use - idle": "0"}
                log, used = np.log(found["rate"]), np.asarray(found["usage"]) > 0
                spread.append(log.std())
                lower.append(log[used].mean() - log[~used].mean() if 0 < used.sum() < used.size else 0.0)
            return {"spread of ln": experiment.told(spread, 2, "g"), "in use - idle": experiment.told(lower, 2, "g")}

        return Arm(task, algorithm, args.points, args.generations, ends)

    return {name: arm(size) for name, size in sizes.items()}


def luck(args: Args) -> Arms:
    """Populations that score equally many children. Labels walk, so their lengths say how sure a head is."""
    network, (points, labels) = memory.PrototypeMemory(CLASSES, heads=2 * args.points), noise(args)
    chosen = jax.nn.one_hot(labels, CLASSES, dtype=jnp.float32)
    arms: Arms = {}
    for of, until in {"errors": jnp.sum, "till death": lambda right: jnp.sum(jnp.cumprod(right))}.items():

        def score(key: jax.Array, params: Any, until: Any = until) -> dict[str, jax.Array]:
            logits = jnp.asarray(network.apply(params, points))
            draw = logits + jax.random.gumbel(key, logits.shape, jnp.float32)  # its largest is a draw of the softmax
            likely, drawn = (until(tasks.right(answer, labels).astype(jnp.float32)) for answer in (logits, draw))
            expected = until(jnp.sum(jax.nn.softmax(logits) * chosen, axis=1))
            return dict(zip(WAYS, (likely, expected, drawn), strict=True))

        for how, children in itertools.product(WAYS, (8, 64, 512)):

            def evaluate(key: jax.Array, params: Any, how: str = how, score: Any = score) -> jaxga.Evaluation:
                found = score(key, params)
                return jaxga.Evaluation(found[how], metrics={"points": found[WAYS[0]]})

            task = jaxga.Task(lambda key: network.init(key, points[:1]), evaluate, jaxga.base.independent)
            algorithm = jaxga.ga(task.init, memory.gene(memory.walk), parents=children // 4, children=children)
            generations = max(args.generations * 64 // children, 2)
            ends = partial(real, algorithm=algorithm, score=score, how=how)
            name = f"{of}, {how}", f"{children} children"
            arms[name] = Arm(task, algorithm, args.points, generations, ends, against=(of, children))
    return arms


def real(runs: jaxga.Runs, algorithm: jaxga.Algorithm, score: Any, how: str) -> Row:
    """Those that a score chooses lead the mean of all children. How much of that lead do expected scores confirm?"""

    def lead(source: jaxga.Source) -> jax.Array:
        def child(index: jax.Array) -> dict[str, jax.Array]:
            place = algorithm.place(source, index)
            params = jaxga.lowrank.dense(algorithm.offspring(source, place.pair, place.member).params)
            return score(jax.random.fold_in(jax.random.fold_in(source.key, source.generation), index), params)

        found = jax.lax.map(child, iota(algorithm.children), batch_size=16)
        best = jnp.argsort(-found[how])[: algorithm.parents]
        return jnp.stack([jnp.mean(part[best]) - jnp.mean(part) for part in (found[WAYS[1]], found[WAYS[2]])])

    if how != WAYS[2]:
        return {"real part of the lead, %": "100"}
    every = max(runs.pedigrees[0].generations // 8, 1)
    leads = np.array([analysis.trace(algorithm, one, lead, every=every).values.sum(axis=0) for one in runs.pedigrees])
    return {"real part of the lead, %": experiment.told(100 * leads[:, 0] / leads[:, 1], 0)}


ASKED: dict[Question, tuple[Callable[[Args], Arms], int]] = {  # and generations
    "soft": (soft, 1500), "cat": (cat, 3000), "heads": (heads, 3000), "turns": (turns, 2000), "rates": (rates, 700),
    "luck": (luck, 600),
}  # fmt: skip


def main(args: Args) -> None:
    make, generations = ASKED[args.question]
    args.generations = args.generations or generations
    if args.quick:
        args.generations, args.seeds, args.points = 20, 2, 12
    jaxga.base.require_whole(2, seeds=args.seeds, points=args.points, generations=args.generations)
    out = report.make_directory(args.out or report.find_run("memory_questions", asdict(args)))
    rows, panels, reference = [], {}, {}
    for name, arm in list(make(args).items())[: 2 if args.quick else None]:
        begun = time.monotonic()
        sizes: Row = {"generations": arm.generations, "seeds": args.seeds}
        runs = jaxga.run_many(lambda arm=arm: arm.algorithm, arm.task, batch=1, pedigrees=True, **sizes)
        points = runs.metrics[arm.metric]
        when = 1 + np.array([(line >= arm.points).argmax() for line in points if line.max() >= arm.points])
        last = points[:, -max(arm.generations // 10, 1) :].mean(axis=1)  # of the best children of its last tenth
        more, children = last - reference.setdefault(arm.against, last), arm.algorithm.children / 1000
        rows.append({
            "": ", ".join(name), "points": experiment.told(last, 1), "of": arm.points,
            "more than first": experiment.told(more, 1), "solved": f"{len(when)} of {len(points)}",
            "1,000 children": experiment.told(children * when, 1) if len(when) else "-",
            **(arm.ends(runs) if arm.ends else {}), "s a run": round((time.monotonic() - begun) / args.seeds, 1),
        })  # fmt: skip
        curves = panels.setdefault(name[0], [])
        curves.append(report.Curve(name[1], children * np.arange(1, arm.generations + 1), points))
        report.write_json(out / "summary.json", {"name": "memory_questions", "question": args.question, "arms": rows})
    axes = {"xlabel": "thousand children", "ylabel": "points known", "xscale": "log"}
    drawn = [(axes | {"title": title}, curves) for title, curves in panels.items()]
    report.plot_curves(drawn, out / f"{args.question}.png", f"median of {args.seeds} seeds within their range")
    report.print_table(rows, f"{args.question}: {args.seeds} seeds")
    print(f"Files: {out}   Picture: {out / args.question}.png")


if __name__ == "__main__":
    report.run_command(main, Args)
