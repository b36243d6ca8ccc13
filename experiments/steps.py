"""How do step sizes settle, how fast should they change, and what do they gain?

A child inherits its parent's step size, changes it, and then moves by it (self-adaptation). Three problems ask whether
selection finds the best step size: a sphere of 1,000 numbers, where the best size is known; noise to memorize; and
digits in small batches that all children of a generation share. There is one parent, normal steps, and no elites.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

import experiment
import jax
import jax.numpy as jnp
import numpy as np

import jaxga
from jaxga import analysis, compilation, nn, report, tasks, variation
from jaxga.variation import per

Question = Literal["balance", "slower", "start", "isolation"]
Problem = Literal["sphere", "noise", "digits"]
N = 1000  # numbers of the sphere
BATCH, JUDGED = 64, 1000  # digits that a generation is scored on, and digits that judge how good a step really is
SIZES = np.geomspace(1e-4, 1, 25).tolist()  # step sizes to compare, in units of the weights
PAIRS = (
    *((factor, factor) for factor in (1.01, 1.05, 1.1, 1.2, 1.3, 2.0)),
    *((1.05, 1.1), (1.1, 1.05), (1.1, 1.3), (1.3, 1.1), (1.3, 2.0), (2.0, 1.3)),
)  # up and down


@experiment.own_first
@dataclass
class Args(experiment.Pictures):
    question: Question = "balance"
    """balance: where sizes settle with factors up and down. slower: sizes that seldom change. start: far below or above
    the best size. isolation: more children, or sizes that adapt."""
    problems: tuple[Problem, ...] = ()
    """sphere, noise, digits; by default those that the question needs."""
    dataset: Literal["mnist", "digits"] | None = "digits"
    """28 x 28 pixels, which takes ten times as long; or scikit-learn's small digits, 8 x 8 (the default)."""
    seeds: int = 10
    """Runs of every arm."""
    generations: int | None = None
    """By default 1,000, and 300 off the sphere for balance and start. In isolation it is that of 64 children, and runs
    with other numbers of them have as many evaluations."""
    out: Path | None = None
    """Where the figures and pictures go; default runs/steps/<id>."""
    quick: bool = False
    """A few arms on the first problem, with two seeds and for a few generations."""


@cache
def best_on_sphere(children: int, kept: int = 1) -> tuple[float, float]:
    """The step size that is best for the mean of the ``kept`` best of so many children, and its gain.

    The size is in units of R / n, the distance to the goal by the number of weights; in theory (Beyer 2001) it is near
    ``kept * c(kept, children)``. The gain is that of -log R in a generation. Both are found by drawing: a step of size
    s has a part s z on the way to the goal, and s^2 chi2 across it.
    """
    random, draws = np.random.default_rng(0), max(100_000 // children, 500)
    z, across = random.normal(size=(draws, children)), random.chisquare(N - 1, size=(draws, children))
    sizes, gains = kept * analysis.expected_top(children, kept) * np.geomspace(0.2, 2, 40), []
    for size in sizes / N:
        distances = (1 - size * z) ** 2 + size**2 * across
        chosen = np.argpartition(distances, kept - 1, axis=1)[:, :kept]
        forward = np.take_along_axis(z, chosen, 1).mean(axis=1)
        aside = np.take_along_axis(across, chosen, 1).sum(axis=1) / kept**2
        gains.append(-np.log((1 - size * forward) ** 2 + size**2 * aside).mean() / 2)
    return float(sizes[np.argmax(gains)]), float(max(gains))


def make_task(args: Args, problem: Problem, batch: int = BATCH) -> jaxga.Task:
    if problem == "sphere":
        measure = lambda w: jaxga.Evaluation(-jnp.sum(w**2), metrics={"distance": jnp.sqrt(jnp.sum(w**2))})  # noqa: E731
        return jaxga.Task(lambda _: jnp.ones(N), lambda _, w: jaxga.Evaluation(-jnp.sum(w**2)), validate=measure)
    if problem == "noise":
        return tasks.memorization(nn.MLP((32, 10)), points=64, shape=(64,))
    return tasks.classification(nn.MLP((16, 10)), experiment.pictures(args), batch=batch)


def of_size(size: Any) -> jaxga.Variation:
    return variation.gaussian(variation.absolute(size))


class Arm(NamedTuple):
    """The numbers of an arm, all of which may be traced."""

    start: Any  # the first step size, in units of the weights
    up: Any = 1.0  # with 1 it stays what it is
    down: Any = None  # by default ``up``
    last: Any = None  # the first step size of the last layer, by default ``start``


class Family(NamedTuple):
    """Arms that differ in numbers only, so that one program runs them all."""

    arms: dict[str, Arm]
    every: int = 1  # generations between two changes of the step sizes
    share: float = 1.0  # of the children, which change their step sizes
    group: per.Group = per.individual  # which weights share a step size
    children: int = 64
    kept: int = 1  # best children whose mean is the next parent
    warmup: int = 0  # first generations, in which step sizes alone evolve
    after: float = 1.0  # step sizes are multiplied by it after the warm-up


def seldom(factor: Any, share: float) -> Callable[[jax.Array, tuple[int, ...]], jax.Array]:
    """This share of the children change the logarithms of their sizes, as `variation.multiplicative` changes all."""

    def log_factor(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
        key_who, key_way = jax.random.split(key)
        way = jax.random.randint(key_way, shape, -1, 2, jnp.int32).astype(jnp.float32)
        return jnp.where(jax.random.bernoulli(key_who, jnp.float32(share), shape), way * jnp.log(factor), 0)

    return log_factor


def make(task: jaxga.Task, family: Family, number: Any) -> jaxga.Algorithm:
    """The population of an arm, whose number may be traced: one parent, which is the best child or a mean."""
    rows = [(arm.start, arm.up, arm.down or arm.up, arm.last or arm.start) for arm in family.arms.values()]
    start, up, down, last = jnp.asarray(rows, jnp.float32)[number]
    in_last = lambda path: "Dense_1" in path  # noqa: E731
    begin = variation.fixed(
        lambda params: jax.tree.map(lambda path: last if in_last(path) else start, jaxga.tree.paths(params))
    )
    size = variation.multiplicative(begin, up, down, family.group, family.every)
    if family.share < 1:
        size = variation.adaptive(begin, seldom(up, family.share), family.group)
    if family.after != 1:
        size = variation.scheduled(size, lambda generation: jnp.where(generation < family.warmup, 1.0, family.after))
    mean = variation.average(family.kept) if family.kept > 1 else None
    return jaxga.ga(
        task.init, variation.gaussian(size), parents=1, children=family.children, recombination=mean,
        warmup=family.warmup,
    )  # fmt: skip


def best_first(args: Args, problem: Problem, children: int = 64, kept: int = 1) -> float:
    """The step size that gains most in the first generation."""
    if problem == "sphere":
        return best_on_sphere(children, kept)[0] / N**0.5
    return analysis.first_step_size(make_task(args, problem), of_size, SIZES, children=children).best


def balance(args: Args, problem: Problem) -> list[Family]:
    """Factors up and down, of which all arms begin with the best step size."""
    families = [Family({}), Family({}, kept=16)] if problem == "sphere" else [Family({})]
    for family in families:
        first = best_first(args, problem, family.children, family.kept)
        family.arms.update({f"{up:g} / {down:g}": Arm(first, up, down) for up, down in PAIRS})
    return families


def slower(args: Args, problem: Problem, up: float = 1.3, children: int = 16) -> list[Family]:
    """Few children, and sizes that change seldom, in few children, or little."""
    first = best_first(args, problem, children)
    factors = {"always": up, "** 1/4": up**0.25, "** 1/16": up**0.0625, "constant": 1.0}
    families = [Family({name: Arm(first, factor) for name, factor in factors.items()}, children=children)]
    for rate in (4, 16):
        families.append(Family({f"every {rate}th generation": Arm(first, up)}, every=rate, children=children))
        families.append(Family({f"1 of {rate} children": Arm(first, up)}, share=1 / rate, children=children))
    return families


def start(args: Args, problem: Problem) -> list[Family]:
    """Sizes that begin below and above the best one; a warm-up, and a tenth after it; and a size for each layer."""
    first = best_first(args, problem)
    times = {"1": 1, "1/30": 1 / 30, "1/10": 1 / 10, "1/3": 1 / 3, "3": 3, "10": 10, "30": 30}
    kinds = {"constant": 1.0, "1.1": 1.1, "1.3": 1.3}
    families = [Family({f"{kind}, from {x}": Arm(first * times[x], up) for kind, up in kinds.items() for x in times})]
    if problem == "sphere":
        return families
    families[0].arms["1.1, from 0.5"] = Arm(0.5, 1.1)
    families.append(Family({"1.1, from 0.5, 50 warm-up": Arm(0.5, 1.1)}, warmup=50))
    families.append(Family({"1.1, from 0.5, 50 warm-up, a tenth": Arm(0.5, 1.1)}, warmup=50, after=0.1))
    grid = [(one, other) for one in ("1/10", "1", "10") for other in ("1/10", "1", "10")]
    of_layers = {
        f"{kind}, layers {one} and {other}": Arm(first * times[one], kinds[kind], last=first * times[other])
        for kind in ("constant", "1.1") for one, other in grid
    }  # fmt: skip
    return [*families, Family(of_layers, group=per.layer)]


def isolation(args: Args, problem: Problem) -> list[Family]:
    """Constant and adapting sizes in small and in large generations."""
    families = []
    for children in (64, 16, 256, 1024):
        first = best_first(args, problem, children)
        arms = {f"{children}: constant, {part} of the first best": Arm(first * part) for part in (1, 0.3, 0.1)}
        arms |= {f"{children}: {up}": Arm(first, up) for up in (1.1, 1.3)}
        families.append(Family(arms, children=children))
    return families


FAMILIES: dict[Question, tuple[Callable[[Args, Any], list[Family]], tuple[Problem, ...]]] = {
    "balance": (balance, ("sphere", "digits")),
    "slower": (slower, ("sphere", "noise")),
    "start": (start, ("sphere", "noise")),
    "isolation": (isolation, ("sphere", "noise", "digits")),
}


def last_parents(task: jaxga.Task, family: Family, runs: jaxga.Runs) -> Any:
    """The parent that each run ends with, ``[R]``. The runs of a family are replayed by one program."""

    def last(run: tuple[Any, ...]) -> Any:
        number, key, recipes = run
        algorithm = make(task, family, number)
        advance = lambda source, recipe: (algorithm.advance(source, recipe), None)  # noqa: E731
        return jaxga.tree.take(jax.lax.scan(advance, algorithm.begin(key), recipes)[0].parents, 0)

    keys = jnp.stack([record.key for record in runs.pedigrees])
    recipes = jaxga.tree.stack([record.recipes for record in runs.pedigrees])
    return compilation.jit(lambda *run: jax.lax.map(last, run))(jnp.asarray(runs.settings["number"]), keys, recipes)


def against_best(
    task: jaxga.Task, params: list[Any], own: np.ndarray, children: int, judge: jaxga.Task | None
) -> dict[str, str]:
    """The step sizes of networks by those with the largest gain: as scored, and by a judge.

    The judge is another task. The child that is best by the first task gains so much by the second.
    """
    best, truly = [], []
    for network in params:
        ask = partial(analysis.improvements, params=network, mutation=of_size, sizes=SIZES, key=1, samples=128)
        seen = ask(task)
        best.append(seen.best_size(children))
        if judge:
            changes = np.take_along_axis(ask(judge).changes, np.argsort(seen.changes, axis=1), 1)
            chances = np.diff((np.arange(changes.shape[1] + 1) / changes.shape[1]) ** children)
            truly.append(float(seen.sizes[np.argmax(changes @ chances)]))
    row = {"step / best": experiment.told(own / np.array(best))}
    return row | ({"step / truly best": experiment.told(own / np.array(truly))} if truly else {})


def measure(problem: Problem, family: Family, metrics: dict[str, np.ndarray]) -> tuple[Any, np.ndarray, np.ndarray]:
    """The row of an arm, its score in each seed, and its step sizes in each generation.

    On the sphere, sizes are divided by the best for the parent. They are "near" it within a factor of two, and the gain
    is the mean over the second half of the run.
    """
    if problem == "sphere":
        (best, gain), distance = best_on_sphere(family.children, family.kept), metrics["validation_distance"]
        relative = metrics["step_size"][:, 1:] * N / distance[:, :-1] / best
        half, near = relative.shape[1] // 2, np.abs(np.log2(relative)) <= 1
        gains = -100 * np.log(distance[:, -1] / distance[:, half]) / (distance.shape[1] - 1 - half) / gain
        ever, until = near.any(axis=1), experiment.told(near.argmax(axis=1) + 1, 0)
        return {
            "step / best": experiment.told(np.median(relative[:, half:], axis=1)),
            "near it after": until if ever.all() else f"{ever.sum()} of {ever.size} ever",
            "gain, % of best": experiment.told(gains, 0),
            "distance": experiment.told(distance[:, -1], 3, "g"),
        }, distance[:, -1], relative  # fmt: skip
    sizes = next(values for name, values in metrics.items() if name.startswith("step_size"))[:, 1:]
    sizes = np.where(np.arange(1, sizes.shape[1] + 1) < family.warmup, sizes, sizes * family.after)
    name = "cross-entropy" if problem == "noise" else "validation, %"
    score = metrics["cross_entropy"][:, -1] if problem == "noise" else 100 * metrics["validation_accuracy"][:, -1]
    return {name: experiment.told(score), "step size": experiment.told(sizes[:, -1], 2, "g")}, score, sizes


def main(args: Args) -> None:
    if args.quick:
        args.generations, args.seeds = 40, 2
    jaxga.base.require_whole(2, seeds=args.seeds, generations=args.generations or 2)
    out = report.make_directory(args.out or report.find_run("steps", asdict(args)))
    families_of, names = FAMILIES[args.question]
    summary: dict[str, Any] = {"name": "steps", **asdict(args), "out": None, "data": None}
    panels = []
    for problem in (args.problems or names)[: 1 if args.quick else None]:
        task, lines, first = make_task(args, problem), [], None
        rows = summary[problem] = []
        judge = make_task(args, problem, JUDGED) if problem == "digits" else None
        replayed = problem != "sphere" and args.question != "isolation"
        usual = args.generations or (1000 if problem == "sphere" or args.question in ("slower", "isolation") else 300)
        for family in families_of(args, problem)[: 2 if args.quick else None]:
            if args.quick:
                family = family._replace(arms=dict(list(family.arms.items())[:3]))
            generations = usual * 64 // family.children if args.question == "isolation" else usual
            runs = jaxga.run_many(
                lambda number, task=task, family=family: make(task, family, number), task, generations=generations,
                seeds=args.seeds, sweep={"number": list(range(len(family.arms)))}, batch=1, pedigrees=replayed,
                validate_every=1 if problem == "sphere" else generations,
            )  # fmt: skip
            ends = last_parents(task, family, runs) if replayed and family.group is per.individual else None
            for name, (_, mask) in zip(family.arms, runs.groups(), strict=True):
                metrics = {key: values[mask] for key, values in runs.metrics.items()}
                row, score, curve = measure(problem, family, metrics)
                if ends is not None:
                    networks = [jaxga.tree.take(ends.params, run) for run in np.flatnonzero(mask)]
                    row |= against_best(task, networks, curve[:, -1], family.children, judge)
                elif replayed:
                    row |= {"step / best": "-"}  # layers have sizes of their own
                first = score if first is None else first
                by_first = experiment.told(score - first) if judge else experiment.told(score / first, 3, "g")
                row |= {"by the first": by_first}
                name = f"{name}, mean of {family.kept}" if family.kept > 1 else name
                rows.append({"": name} | row)
                lines.append(report.Curve(name, family.children * np.arange(2, generations + 1), curve))
                report.write_json(out / "summary.json", summary)
        how = "difference to" if judge else "ratio to"
        report.print_table(
            rows, f"{args.question}, {problem}, {args.seeds} seeds; the last column is the {how} the first"
        )
        ylabel = "step / best" if problem == "sphere" else "step size"
        axes = {"xlabel": "evaluations", "ylabel": ylabel, "yscale": "log", "title": problem}
        panels.append((axes, lines))
    picture = out / f"{args.question}.png"
    report.plot_curves(panels, picture, f"{args.question}: {args.seeds} seeds, median and range")
    print(f"Files: {out}   Picture: {picture}")


if __name__ == "__main__":
    report.run_command(main, Args)
