"""The notes' questions about memories of prototypes, each with seeds and intervals.

* notes: errors only, the notes' first module and settings; and the recipe that is fastest here.
* variants: errors only, every kind of gene and of memory that the notes thought of, with one and the same effort.
* frequencies: where do the shares of typed genes go, if they evolve?
* till_death: 64 points and 512, evaluation ends at the first mistake.
* recipes: what matters for till-death: parents, children, heads, kinds of genes, step sizes?
* start: is a memory that begins with zeros faster than one that begins at random?
* chance: how often does a replacement put a wrong point right, where heads are random? The notes argue: 1 in 640.
* sigma: which step size is best for fitness, and which for closeness?
* normalisation: a memory knows all points but one, and is given that one. Why did 63 fall to 37?
* robustness: do parents of a large population stand mutation better, at equal fitness, than a single parent's line?
* interference: how often do children lose what their parents knew?
* skills: half of the points are learned, then the other half alone. What is left of the first?
"""

import itertools
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, cast, get_args

import jax
import jax.numpy as jnp
import numpy as np

import jaxga
from jaxga import analysis, memory, nn, report, tasks, variation
from jaxga.base import Context, require_at_least
from jaxga.interpret import by_parts
from jaxga.report.files import describe_machine
from jaxga.tree import take

Part = Literal["notes", "variants", "frequencies", "till_death", "recipes", "start", "chance", "sigma", "normalisation",
               "robustness", "interference", "skills"]  # fmt: skip
QUICK: tuple[Part, ...] = ("chance", "normalisation", "interference")
DIMENSION, CLASSES = 128, 10
CHILDREN = 1024  # of a generation till death


@dataclass
class Args:
    parts: tuple[Part, ...] = get_args(Part)
    """Which questions."""
    seeds: int = 10
    """Runs of everything, on the same points."""
    points: int = 64
    """To memorize, beside the larger number of till_death."""
    many: int = 512
    """The larger number of till_death."""
    seconds: float = 300.0
    """At most, for a run with so many."""
    out: Path | None = None
    """Where the figures and pictures go; default runs/memory_study/<id>."""
    quick: bool = False
    """A small one that takes seconds: chance, normalisation and interference, unless --parts names others."""


def task_of(args: Args, heads: int, loss: tasks.Loss, start: memory.Start = "zeros", points: int = 0) -> Any:
    """A memory and its points of noise."""
    network = memory.PrototypeMemory(CLASSES, heads=heads, start=start)
    return network, tasks.memorization(network, points=points or args.points, shape=(DIMENSION,), loss=loss)


def noise(args: Args) -> Any:
    """The points, and their labels."""
    return tasks.noise(args.points, (DIMENSION,), CLASSES)


def solve(task: jaxga.Task, algorithm: jaxga.Algorithm, args: Args, target: float, **limits: Any) -> np.ndarray:
    """Rows of all seeds: was the target reached, after how many generations and seconds (compiled before), best."""
    goal, rows = jaxga.stop.target(target), []
    jaxga.run(algorithm, task, generations=2, stop=goal)
    for seed in range(args.seeds):
        result = jaxga.run(algorithm, task, seed, stop=goal, **limits)
        best = float(result.state.best_fitness)
        rows.append((best >= target, int(result.state.generation), result.seconds, best))
    return np.array(rows)


def summed_up(name: str, rows: np.ndarray) -> dict[str, Any]:
    """One row of a table."""
    solved = rows[rows[:, 0] == 1]
    found = {"": name, "solved": f"{len(solved)} of {len(rows)}"}
    for column, label in ((1, "generations"), (2, "seconds")):
        found[label] = str(report.median_interval(solved[:, column])) if len(solved) else ""
    return found | {"best fitness": str(report.median_interval(rows[:, 3]))}


def notes(args: Args, out: Path) -> list[dict[str, Any]]:
    """Errors only."""
    del out
    recipes = {
        "notes: walk, 16 of 64, 128 heads": (memory.gene(memory.walk), 16, 64),
        "mixed, 16 of 64": (memory.mixed(), 16, 64),
        "mixed, 16 of 1,024": (memory.mixed(), 16, 1024),
    }
    rows = []
    for name, (change, parents, children) in recipes.items():
        _, task = task_of(args, 2 * args.points, tasks.errors)
        algorithm = jaxga.ga(task.init, change, parents=parents, children=children)
        rows.append(summed_up(name, solve(task, algorithm, args, 0.0, generations=20_000)))
    return rows


def variants(args: Args, out: Path) -> list[dict[str, Any]]:
    """Errors only, 16 parents, 64 children, at most 2,000 generations."""
    del out
    step, walk, heads = variation.absolute, partial(memory.gene, memory.walk), 2 * args.points
    recipes: dict[str, tuple[jaxga.Variation, dict[str, Any], dict[str, Any]]] = {
        "walk": (walk(), {}, {}),
        "walk, 4 heads at once": (walk(heads=4), {}, {}),
        "walk, all heads at once": (walk(heads=None), {}, {}),
        "walk, a rate for every head": (walk(variation.log_normal(step(1.0), 0.1, variation.per.unit)), {}, {}),
        "walk, a rate for every number": (walk(variation.log_normal(step(1.0), 0.1, variation.per.parameter)), {}, {}),
        "walk, ten heads": (walk(), {"heads": 10}, {}),
        "replace": (memory.gene(memory.replace), {}, {}),
        "replace, plastic": (memory.gene(memory.replace, choose=memory.plastic()), {}, {}),
        "turn, one head a point, closeness decides": (memory.gene(memory.turn), {"heads": args.points}, {"free": 0.0}),
        "typed, closeness decides, 100 a free head": (memory.typed(), {}, {"free": 100.0}),
        "typed": (memory.typed(), {}, {}),
        "typed, shares evolve": (memory.typed(evolve=0.1), {}, {}),
        "mixed": (memory.mixed(), {}, {}),
        "mixed, by cosine": (memory.mixed(), {"similarity": "cosine"}, {}),
        "mixed, all heads vote": (memory.mixed(), {"temperature": 1.0}, {}),
    }
    rows = []
    for name, (change, options, decides) in list(recipes.items())[:: 7 if args.quick else 1]:
        network = memory.PrototypeMemory(CLASSES, **{"heads": heads, **options})
        task = tasks.memorization(
            network, points=args.points, shape=(DIMENSION,), loss=tasks.errors,
            tiebreak=memory.intrinsic(network, **decides) if decides else None,
        )  # fmt: skip
        algorithm = jaxga.ga(task.init, change, parents=16, children=64)
        rows.append(summed_up(name, solve(task, algorithm, args, 0.0, generations=2000)))
    return rows


def frequencies(args: Args, out: Path) -> list[dict[str, Any]]:
    """Medians of the parents' shares at the end, over the runs, where every type began with a third."""
    del out
    _, task = task_of(args, 2 * args.points, tasks.errors)
    rows = []
    for children in (64, 1024):
        change = memory.typed(1 / 3, 1 / 3, 1 / 3, evolve=0.1)
        algorithm = jaxga.ga(task.init, change, parents=16, children=children)
        ends: dict[str, list[float]] = {}
        for seed in range(args.seeds):
            state = jaxga.run(algorithm, task, seed, generations=2000, stop=jaxga.stop.target(0)).state
            for name, share in cast(Any, state.parents).strategy["frequency"].items():
                ends.setdefault(name, []).append(float(np.median(share)))
        shares = {name: str(report.median_interval(np.array(values))) for name, values in ends.items()}
        rows.append({"children": children, **shares})
    return rows


def until_death(
    args: Args, change: jaxga.Variation, points: int, heads: int, parents: int = 1, children: int = CHILDREN
) -> np.ndarray:
    """Rows of all seeds, see `solve`, where the first mistake ends it."""
    _, task = task_of(args, heads, tasks.till_death, points=points)
    algorithm = jaxga.ga(task.init, change, parents=parents, children=children)
    return solve(task, algorithm, args, points, generations=1_000_000, seconds=args.seconds)


def till_death(args: Args, out: Path) -> list[dict[str, Any]]:
    """The first mistake ends it."""
    del out
    rows = []
    for points, heads, parents, name, change in (
        (args.points, 2 * args.points, 16, "typed", memory.typed()),
        (args.points, 2 * args.points, 16, "mixed", memory.mixed()),
        (args.points, 2 * args.points, 1, "mixed", memory.mixed()),
        (args.many, args.many, 1, "mixed", memory.mixed()),
    ):
        found = until_death(args, change, points, heads, parents)
        rows.append(summed_up(f"{points} points, {heads} heads, {name}, parents: {parents}", found))
    return rows


def recipes(args: Args, out: Path) -> list[dict[str, Any]]:
    """Twice as many points, as many heads, one parent, 1,024 children, mixed genes; then one of these is changed."""
    del out
    points, step = 2 * args.points, variation.absolute
    choices: dict[str, tuple[jaxga.Variation, dict[str, int]]] = {
        "as it is": (memory.mixed(), {}),
        "4 parents": (memory.mixed(), {"parents": 4}),
        "16 parents": (memory.mixed(), {"parents": 16}),
        "256 children": (memory.mixed(), {"children": 256}),
        "4,096 children": (memory.mixed(), {"children": 4096}),
        "0.75 heads a point": (memory.mixed(), {"heads": points * 3 // 4}),
        "2 heads a point": (memory.mixed(), {"heads": points * 2}),
        "4 heads a point": (memory.mixed(), {"heads": points * 4}),
        "all replace": (memory.mixed(1, 0, 0), {}),
        "0.2 replace, 0.6 turn, 0.2 label": (memory.mixed(0.2, 0.6, 0.2), {}),
        "0.25 replace, 0.25 turn, 0.5 label": (memory.mixed(0.25, 0.25, 0.5), {}),
        "turns of 0.3": (memory.mixed(step_size=step(0.3)), {}),
        "turns of 3": (memory.mixed(step_size=step(3.0)), {}),
    }
    rows = []
    for name, (change, sizes) in list(choices.items())[:: 6 if args.quick else 1]:
        found = until_death(args, change, points, **{"heads": points, **sizes})
        millions = found[found[:, 0] == 1, 1] * sizes.get("children", CHILDREN) / 1e6
        scored = {"million children": str(report.median_interval(millions)) if len(millions) else ""}
        rows.append(summed_up(name, found) | scored)
    return rows


def start(args: Args, out: Path) -> list[dict[str, Any]]:
    """Replacement from zeros and from random heads, to three quarters of all points."""
    del out
    rows = []
    for kind in ("zeros", "random"):
        _, task = task_of(args, args.points, tasks.errors, kind)
        algorithm = jaxga.ga(task.init, memory.gene(memory.replace), parents=16, children=64)
        rows.append(
            summed_up(f"begins with {kind}", solve(task, algorithm, args, -args.points / 4, generations=20_000))
        )
    return rows


def chance(args: Args, out: Path) -> list[dict[str, Any]]:
    """Of replacements in a memory as it was drawn, one head a point: how often is a point that was wrong right then?"""
    del out
    network, task = task_of(args, args.points, tasks.errors, "random")
    points, labels = noise(args)
    change = memory.gene(memory.replace)

    def knows(params: Any) -> jax.Array:
        return tasks.right(cast(jax.Array, network.apply(params, points)), labels)

    @jax.jit
    def measure(key: jax.Array) -> tuple[jax.Array, jax.Array]:
        params = task.init(key)
        own = jaxga.Individual(params, change.init(params))
        mutant = lambda key: by_parts(knows)(change.apply(key, own, Context(jnp.int32(0), own)).params)  # noqa: E731
        before, after = knows(params), jax.lax.map(mutant, jax.random.split(key, 8192), batch_size=64)
        better = jnp.sum(after, axis=1) > jnp.sum(before)
        return jnp.sum(after & ~before) / (len(after) * jnp.sum(~before)), jnp.mean(better)

    found = np.array([measure(jax.random.key(seed)) for seed in range(args.seeds)])
    names = ("a certain wrong point is right then", "more points are right than before")
    middle = [report.median_interval(column) for column in found.T]
    return [
        {"of replacements": name, "median": str(rate), "1 in": 1 / float(rate.median), "the notes": notes}
        for name, rate, notes in zip(names, middle, ("1 in 640", ""), strict=True)
    ]


def sigma(args: Args, out: Path) -> list[dict[str, Any]]:
    """Chances of turning one prototype by so much, in memories that know half of the points: of both kinds of score."""
    sizes = np.geomspace(0.03, 10, 11)
    curves = {"fitness": [], "closeness": []}
    network, task = task_of(args, args.points, tasks.errors, "random")
    algorithm = jaxga.ga(task.init, memory.gene(memory.turn), parents=1, children=64, elites=1)
    goal, close, points = jaxga.stop.target(-args.points / 2), memory.intrinsic(network), noise(args)[0]
    near = jaxga.Task(task.init, lambda _, params: jaxga.Evaluation(close(params, points)))

    def turn(size: Any) -> jaxga.Variation:
        return memory.gene(memory.of_prototype(memory.turn), variation.absolute(size))

    for seed in range(args.seeds):
        params = jaxga.run(algorithm, task, seed, generations=5000, stop=goal).best.params
        for name, scored in (("fitness", task), ("closeness", near)):
            answer = analysis.improvements(scored, params, turn, sizes.tolist(), seed, samples=2048)
            curves[name].append([answer.expected_best(64), answer.chance])
    rows, panels = [], []
    for name, values in curves.items():
        gain, often = np.array(values).transpose(1, 0, 2)
        best = report.median_interval(sizes[gain.argmax(axis=1)])
        rows.append(
            {"": f"best of 64, {name}", "best size": str(best), "mean chance at 0.1": float(np.mean(often[:, 2]))}
        )
        axes = {"xlabel": "step size of a turn", "xscale": "log", "ylabel": f"gain in {name}, best of 64"}
        panels.append((axes, [report.Curve("", sizes, gain)]))
    report.plot_curves(panels, out / "sigma.png", "Which step size is best?")
    return rows


def normalisation(args: Args, out: Path) -> list[dict[str, Any]]:
    """A head of no use is set to the one point that is wrong, as it is and at length 1."""
    del out
    found = []
    network, task = task_of(args, 2 * args.points, tasks.errors)
    algorithm = jaxga.ga(task.init, memory.gene(memory.replace), parents=1, children=64, elites=1)
    points, labels = noise(args)
    for seed in range(args.seeds):
        result = jaxga.run(algorithm, task, seed, generations=20_000, stop=jaxga.stop.target(-1))
        params = best_parent(result.state)
        look: Any = network.apply(params, points, method="look")
        wrong = int(np.flatnonzero(~np.asarray(tasks.right(look.logits, labels)))[0])
        unused = int(np.flatnonzero(~np.isin(np.arange(network.heads), look.winner))[0])
        knows = [args.points - 1]
        for length in (float(jnp.linalg.norm(points[wrong])), 1.0):
            target = points[wrong] / jnp.linalg.norm(points[wrong]) * length
            given = {
                "memory": params["params"]["memory"].at[:, unused].set(target),
                "label": params["params"]["label"].at[:, unused].set(jax.nn.one_hot(labels[wrong], CLASSES)),
            }
            knows.append(args.points + int(task.evaluate(jax.random.key(0), {"params": given}).fitness))
        found.append([*knows, len(np.unique(look.winner)), float(jnp.linalg.norm(points[wrong]))])
    middle = [str(report.median_interval(column)) for column in np.array(found).T]
    names = ("before", "given the point as it is", "given it at length 1", "heads in use", "length of the point")
    return [dict(zip(names, middle, strict=True))]


def best_parent(state: jaxga.State | jaxga.Source) -> Any:
    """Its parameters."""
    return take(state.parents.params, 0)


def cost_of_mutation(task: jaxga.Task, change: jaxga.Variation, source: jaxga.Source) -> tuple[jax.Array, jax.Array]:
    """Fitness of the best parent, and what it loses by one mutation, on average over 256."""
    own = jaxga.Individual(best_parent(source), change.init(best_parent(source)))

    def mutant(key: jax.Array) -> jax.Array:
        child = change.apply(key, own, Context(source.generation, own))
        return by_parts(lambda params: task.evaluate(source.key, params))(child.params).fitness

    fitness = task.evaluate(source.key, own.params).fitness
    keys = jax.random.split(jax.random.fold_in(source.key, source.generation), 256)
    return fitness, fitness - jnp.mean(jax.vmap(mutant)(keys))


def robustness(args: Args, out: Path) -> list[dict[str, Any]]:
    """Loss of fitness by one and the same mutation, of the best parent when it first reaches a fitness.

    Walking heads grow longer with age, and a longer head is turned less: so replacement is asked, too.
    """
    levels = [-args.points * part // 8 for part in (6, 4, 2, 1)]
    _, task = task_of(args, 2 * args.points, tasks.errors)
    rows, panels = [], []
    for name, change in (("walk", memory.gene(memory.walk)), ("replace", memory.gene(memory.replace))):
        drops = {parents: drops_at(args, task, change, parents, levels) for parents in (1, 16)}
        for number, level in enumerate(levels):
            one, many = (values[:, number] for values in drops.values())
            row = {"mutation": name, "wrong": -level}
            for label, values in {"1 parent": one, "16 parents": many, "difference": one - many}.items():
                row[label] = str(report.median_interval(values[~np.isnan(values)]))
            rows.append(row)
        curves = [
            report.Curve(f"{parents} parent{'s' * (parents > 1)}", -np.array(levels), values[~np.isnan(values).any(1)])
            for parents, values in drops.items()
        ]
        axes = {"xlabel": "points wrong", "ylabel": "points that a mutation costs", "title": name, "ylim": (0, None)}
        panels.append((axes, curves))
    report.plot_curves(panels, out / "robustness.png")
    return rows


def drops_at(args: Args, task: jaxga.Task, change: jaxga.Variation, parents: int, levels: list[int]) -> np.ndarray:
    """What a mutation costs ``[seeds, levels]``."""
    found = np.full((args.seeds, len(levels)), np.nan)
    algorithm = jaxga.ga(task.init, change, parents=parents, children=64, elites=1)
    probe, goal = partial(cost_of_mutation, task, change), jaxga.stop.target(levels[-1])
    for seed in range(args.seeds):
        pedigree = jaxga.run(algorithm, task, seed, generations=20_000, stop=goal).pedigree
        fitness, drop = analysis.trace(algorithm, pedigree, probe).values
        for number, level in enumerate(levels):
            if (fitness >= level).any():
                found[seed, number] = drop[(fitness >= level).argmax()]
    return found


def interference(args: Args, out: Path) -> list[dict[str, Any]]:
    """Of the first seed's run to the end, with the notes' settings."""
    network, task = task_of(args, 2 * args.points, tasks.errors)
    algorithm = jaxga.ga(task.init, memory.gene(memory.walk), parents=16, children=64)
    result = jaxga.run(algorithm, task, 0, generations=20_000, stop=jaxga.stop.target(0))
    points, labels = noise(args)
    knows = lambda params: tasks.right(network.apply(params, points), labels)  # noqa: E731
    found = analysis.interference(algorithm, result.pedigree, knows, every=2 if args.quick else 10)
    found.plot(out / "interference.png")
    last = len(found.generations) - 1
    return [
        {"generation": int(found.generations[at]), "known": float(found.known[at].mean()),
         "children that forget": float(found.harmed[at].mean()), "that learn": float(found.learned[at].mean()),
         "part forgotten": float(found.forgot[at].mean())}
        for at in (0, last // 4, last // 2, last)
    ]  # fmt: skip


def skills(args: Args, out: Path) -> list[dict[str, Any]]:
    """A is learned but for an eighth, or for 1,000 generations; then B alone by lines of those who know A."""
    half = args.points // 2
    points, labels = tasks.noise(half, (DIMENSION,), CLASSES)
    heads, layers = memory.PrototypeMemory(CLASSES, heads=2 * args.points), nn.MLP((2 * args.points, CLASSES))
    kinds: dict[str, tuple[Any, jaxga.Variation]] = {
        "memory, walk": (heads, memory.gene(memory.walk)),
        "memory, replace": (heads, memory.gene(memory.replace)),
        "perceptron": (layers, variation.low_rank(variation.relative(0.05))),
    }
    rows, panels = [], []
    for (name, (network, change)), parents in itertools.product(
        list(kinds.items())[:: 2 if args.quick else 1], (1, 16)
    ):
        first, second = (
            tasks.memorization(network, points=half, shape=(DIMENSION,), loss=tasks.errors, seed=data)
            for data in (0, 1)
        )
        learn = partial(jaxga.ga, variation=change, parents=parents, children=64)
        goal = jaxga.stop.target(-half // 8)
        runs = [jaxga.run(learn(first.init), first, seed, generations=1000, stop=goal) for seed in range(args.seeds)]
        known = jax.tree.map(lambda *leaves: jnp.stack(leaves), *(run.best.params for run in runs))

        def both(key: jax.Array, params: Any, network: Any = network, second: Any = second) -> jaxga.Evaluation:
            of_a = jnp.sum(tasks.right(network.apply(params, points), labels))
            return jaxga.Evaluation(second.evaluate(key, params).fitness, metrics={"of_a": of_a})

        then = learn(lambda key, known=known: take(known, jax.random.randint(key, (), 0, args.seeds)))
        found = jaxga.run_many(
            lambda then=then: then, jaxga.Task(second.init, both), generations=1000, seeds=args.seeds
        )
        of_a, of_b = found.metrics["of_a"], half + found.metrics["fitness"]
        title, at = f"{name}, {parents} parent{'s' * (parents > 1)}", of_b >= half * 3 // 4
        when = np.where(at.any(axis=1), at.argmax(axis=1), -1)
        reached = when[when >= 0]
        columns = {
            "A at first": of_a[:, 0], "after generations": reached + 1,
            "A then": of_a[when >= 0, reached], "A at last": of_a[:, -1],
        }  # fmt: skip
        middle = {key: str(report.median_interval(values)) if len(values) else "" for key, values in columns.items()}
        rows.append({"": title, "3/4 of B": f"{len(reached)} of {len(when)}", **middle})
        curves = [report.Curve(label, np.arange(1, 1001), part) for label, part in (("of A", of_a), ("of B", of_b))]
        panels.append(({"xlabel": "generation of B", "ylabel": "points known", "title": title}, curves))
    report.plot_curves(panels[1::2], out / "skills.png")
    return rows


QUESTIONS: dict[Part, Callable[[Args, Path], list[dict[str, Any]]]] = {
    "notes": notes, "variants": variants, "frequencies": frequencies, "till_death": till_death, "recipes": recipes,
    "start": start, "chance": chance, "sigma": sigma, "normalisation": normalisation, "robustness": robustness,
    "interference": interference, "skills": skills,
}  # fmt: skip


def main(args: Args) -> None:
    if args.quick:
        args.seeds, args.points, args.many, args.seconds = 2, 12, 16, 20.0
        args.parts = QUICK if args.parts == get_args(Part) else args.parts
    jaxga.require(len(args.parts) > 0, f"parts is empty: name at least one of {', '.join(get_args(Part))}.")
    require_at_least(1, seeds=args.seeds, points=args.points, many=args.many)
    require_at_least(0, seconds=args.seconds)
    out = report.make_directory(args.out or report.find_run("memory_study", {}))
    found: dict[str, Any] = {"name": "memory_study", "machine": describe_machine()}
    for part in args.parts:
        begun = time.monotonic()
        found[part] = QUESTIONS[part](args, out)
        title = f"{part.replace('_', ' ')} ({time.monotonic() - begun:.0f} s)"
        report.print_table(found[part], title)
        report.write_json(out / "summary.json", found)
    print(f"Files: {out}")


if __name__ == "__main__":
    report.run_command(main, Args)
