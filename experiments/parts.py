"""Networks made of parts: what does depth cost, how are members put together, what should stay as it is?

Noise to memorize, 64 points, and a population that holds 8 of 128 children. Each arm of a question has the same number
of evaluations, and normal low-rank steps whose sizes are inherited and adapt themselves.
"""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import experiment
import jax
import jax.numpy as jnp
import numpy as np
from flax import linen

import jaxga
from jaxga import growth, nn, pedigree, report, selection, stop, tasks, variation
from jaxga.run import evaluator_of
from jaxga.variation import per

Question = Literal["depth", "ensembles", "frozen", "growth", "sizes", "magnitude"]
POINTS, CLASSES, INPUTS = 64, 10, 64
PARENTS = 8
ENOUGH = 60  # points of 64, to count generations until
DEEP, WIDTH = 8, 64
MEMBERS = 8


@experiment.own_first
@dataclass
class Args(experiment.Files):
    question: Question = "ensembles"
    """depth: all layers, or one at a time. ensembles: what is made of the outputs of 8 members. frozen: which layers
    may change. growth: small networks first. sizes: hidden units. magnitude: weights that are drawn to 1, not to 0."""
    seeds: int = 10
    """Runs of every arm."""
    generations: int = 1000
    children: int = 128
    """Of a generation."""
    out: Path | None = None
    """Where the figures and pictures go; default runs/parts/<id>."""
    quick: bool = False
    """The first two arms for a few generations."""


class Arm(NamedTuple):
    """One way to answer a question."""

    task: jaxga.Task
    algorithm: jaxga.Algorithm


def memorizing(network: linen.Module) -> jaxga.Task:
    """64 points of noise, all of them in every evaluation."""
    return tasks.memorization(network, points=POINTS, shape=(INPUTS,), classes=CLASSES)


def stepping(start: float = 0.1) -> jaxga.Variation:
    """Low-rank steps with sizes of their own."""
    return variation.low_rank(variation.multiplicative(variation.relative(start), up=1.2))


def make(args: Args, network: linen.Module, mutation: jaxga.Variation | None = None, **options: Any) -> Arm:
    """The task of a network, and the population that solves it."""
    task = memorizing(network)
    mutation = mutation or stepping()
    return Arm(task, jaxga.ga(task.init, mutation, parents=PARENTS, children=args.children, elites=1, **options))


def depth(args: Args) -> dict[str, Arm]:
    """One layer at a time, drawn for each child or for all children of a parent. The first layer never changes."""
    layers = 2 if args.quick else DEEP
    network = linen.Sequential([linen.Dense(WIDTH), nn.Stack(nn.Residual(WIDTH), layers), linen.Dense(CLASSES)])
    last = variation.masked(stepping(), lambda path: "layers_2" in path)
    inner = lambda path: "layers" in path  # noqa: E731
    changes = {
        "all layers": variation.masked(stepping(), inner),
        "one layer of a child": variation.one_of(stepping(), "layers"),
        "one layer of a brood": variation.one_of(stepping(), "layers", of_brood=True),
        "no inner layer": variation.with_probability(0.0, last),
    }
    return {name: make(args, network, variation.chain(change, last)) for name, change in changes.items()}


def ensembles(args: Args) -> dict[str, Arm]:
    """8 members of 8 hidden units; one network with as many units is beside them."""
    one, states = (8, CLASSES), 16
    of = lambda features, combine, **options: nn.Ensemble(nn.MLP(features), MEMBERS, combine, **options)  # noqa: E731
    networks = {
        "mean of actions": of(one, nn.mean),
        "sum of actions": of(one, nn.total),
        "largest logit": of(one, nn.largest_logit),
        "importance, winner takes all": of((8, CLASSES + 1), nn.importance),
        "attention, always": of((8, CLASSES + 1), nn.attention),
        "mean of states, final layer": of((8, states), nn.mean, head=linen.Dense(CLASSES)),
        "states and actions": of((8, states + CLASSES), nn.mean, head=linen.Dense(CLASSES), states=states),
    }
    head = variation.masked(stepping(), lambda path: "head" in path)
    arms = {"one network": make(args, nn.MLP((8 * MEMBERS, CLASSES)))}
    for name, network in networks.items():
        change = variation.one_of(stepping())
        if network.head is not None:
            change = variation.mixture([(MEMBERS, change), (1, head)])
        arms[name] = make(args, network, change)
    arms["mean of actions, all members change"] = make(args, networks["mean of actions"])
    return arms


def frozen(args: Args) -> dict[str, Arm]:
    """Which of three layers may change, and what evolution makes of that."""
    network, last = nn.MLP((32, 32, CLASSES)), "Dense_2"
    changes = {
        "all layers": stepping(),
        "the final layer alone": variation.masked(stepping(), lambda path: last in path),
        "all but the final layer": variation.masked(stepping(), lambda path: last not in path),
        "one layer at a time": variation.one_at_a_time(stepping(), per.layer),
        "evolved, by layer": variation.freezing(stepping(), 0.05, per.layer),
        "evolved, by unit": variation.freezing(stepping(), 0.05, per.unit),
    }
    return {name: make(args, network, change) for name, change in changes.items()}


def sizes(args: Args) -> dict[str, Arm]:
    """One hidden layer, from narrow to wide."""
    return {f"{hidden} units": make(args, nn.MLP((hidden, CLASSES))) for hidden in (8, 16, 32, 64, 128, 256, 512)}


class Scaled(linen.Module):
    """A perceptron whose layers are divided by the square root of their inputs, so that weights begin near 1."""

    hidden: int = 64

    @linen.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        for number, units in enumerate((self.hidden, CLASSES)):
            x = jax.nn.relu(x) if number else x
            width = float(np.sqrt(x.shape[-1]))
            x = linen.Dense(units, kernel_init=linen.initializers.normal(1.0))(x / width)
        return x


def magnitude(args: Args) -> dict[str, Arm]:
    """Nothing, and a pull to 0 or to 1: on every child, or in its fitness."""
    pulls = {"": None, "to 0, projection": variation.decay(0.01), "to 1, projection": variation.towards_magnitude(0.01)}
    arms = {
        name or "none": make(args, Scaled(), variation.projected(stepping(), pull) if pull else stepping())
        for name, pull in pulls.items()
    }
    for size in (0.0, 1.0):
        plain = make(args, Scaled())
        cost = tasks.from_magnitude(size, 0.03)
        arms[f"to {size:g}, penalty"] = plain._replace(task=tasks.penalised(plain.task, cost))
    return arms


def grown(args: Args, seed: int, freeze: bool) -> growth.Grown:
    """8 hidden units, then 16, 32, 64: each time fitness no longer improves. Old weights may be frozen then."""

    def stage(hidden: int) -> growth.Stage:
        task = memorizing(nn.MLP((hidden, CLASSES)))

        def algorithm(free: Any) -> jaxga.Algorithm:
            mutation = variation.frozen(stepping(), free) if freeze and free else stepping()
            watched = selection.watching(selection.ranked(elites=1), 20)
            return jaxga.ga(task.init, mutation, parents=PARENTS, children=args.children, selection=watched)

        return growth.Stage(f"{hidden}", task, algorithm, args.generations // 4, stop.plateau(0.02))

    return growth.grow([stage(hidden) for hidden in (8, 16, 32, 64)], seed)


ARMS: dict[str, Callable[[Args], dict[str, Arm]]] = {
    "depth": depth,
    "ensembles": ensembles,
    "frozen": frozen,
    "sizes": sizes,
    "magnitude": magnitude,
    "growth": lambda args: {"64 units": make(args, nn.MLP((64, CLASSES))), "8 units": make(args, nn.MLP((8, CLASSES)))},
}


def milliseconds(arm: Arm, repeats: int) -> float:
    """What scoring a generation takes, the median over several: each has another draw of what changes."""
    evaluator = evaluator_of(arm.algorithm, arm.task)
    source = arm.algorithm.init(jax.random.key(0)).source
    score = jax.jit(lambda source: evaluator(source).fitness)
    taken = []
    for generation in range(repeats + 1):
        begun = time.perf_counter()
        score(source._replace(generation=jnp.int32(generation))).block_until_ready()
        taken.append(1000 * (time.perf_counter() - begun))
    return float(np.median(taken[1:]))


def until(points: np.ndarray) -> np.ndarray:
    """Generations until enough points are right, ``[R]``; infinity where they never are."""
    return experiment.first_of(points >= ENOUGH, np.arange(1, points.shape[1] + 1))


def row_of(name: str, points: np.ndarray, entropy: np.ndarray) -> dict[str, Any]:
    """The row of an arm, from ``[R, G]`` of its runs."""
    found = until(points)
    return {
        "": name,
        f"points of {POINTS}": experiment.told(points[:, -1], 1),
        "cross-entropy": experiment.told(entropy[:, -1], 3),
        f"generations until {ENOUGH}": experiment.told(found, 0) if np.isfinite(found).all() else "-",
        "runs that got there": f"{np.isfinite(found).sum()} of {len(found)}",
    }


def harmless(arm: Arm, record: pedigree.Pedigree, points: np.ndarray, samples: int = 256) -> dict[str, np.ndarray]:
    """Of mutations of one layer alone, the part that does no harm: for each layer, at several generations."""
    layers = sorted(arm.task.init(jax.random.key(0))["params"])
    shares: dict[str, list[float]] = {layer: [] for layer in layers}
    source = pedigree.begin(arm.algorithm, record)

    @jax.jit
    def share(source: jaxga.Source) -> jax.Array:
        parent = jax.tree.map(lambda leaf: leaf[0], source.parents)
        before = arm.task.score(jax.random.key(0), parent.params).fitness

        def of(layer: str) -> jax.Array:
            change = variation.masked(stepping(), lambda path: layer in path)
            context = jaxga.base.Context(source.generation, parent)

            def score(key: jax.Array) -> jax.Array:
                child = change.apply(key, parent, context).params
                return arm.task.score(key, jaxga.lowrank.dense(child)).fitness

            return jnp.mean(jax.lax.map(score, jax.random.split(jax.random.key(1), samples)) >= before)

        return jnp.stack([of(layer) for layer in layers])

    for generation in points:
        source = pedigree.forward(arm.algorithm, record, source, int(generation))
        for layer, value in zip(layers, np.asarray(share(source)), strict=True):
            shares[layer].append(100 * float(value))
    return {layer: np.array(values) for layer, values in shares.items()}


def main(args: Args) -> None:
    if args.quick:
        args.generations, args.seeds, args.children = 12, 2, 16
    jaxga.base.require_whole(12, generations=args.generations)
    jaxga.base.require_whole(2, seeds=args.seeds)
    out = report.make_directory(args.out or report.find_run("parts", asdict(args)))
    rows, curves, panels = [], [], []
    arms = list(ARMS[args.question](args).items())
    for name, arm in arms[:2] if args.quick else arms:
        runs = jaxga.run_many(
            lambda arm=arm: arm.algorithm, arm.task, generations=args.generations, seeds=args.seeds, batch=1,
            pedigrees=args.question == "frozen",
        )  # fmt: skip
        row = row_of(name, runs.metrics["points"], runs.metrics["cross_entropy"])
        weights = jaxga.tree.size(jax.eval_shape(arm.task.init, jax.random.key(0)))
        row |= {"weights": f"{weights:,}", "ms a generation": round(milliseconds(arm, 2 if args.quick else 32), 1)}
        row |= {key: experiment.told(values[:, -1]) for key, values in runs.metrics.items() if key.startswith("free")}
        rows.append(row)
        x = np.arange(1, args.generations + 1)
        curves.append(report.Curve(name, x, runs.metrics["cross_entropy"]))
        if args.question == "frozen" and name == "all layers":
            at = np.linspace(0, args.generations - 1, 3 if args.quick else 11).astype(int)
            found = [harmless(arm, record, at) for record in runs.pedigrees]
            lines = [report.Curve(layer, at, np.stack([one[layer] for one in found])) for layer in found[0]]
            axes = {"xlabel": "generation", "ylabel": "harmless mutations of one layer, %"}
            panels.append((axes | {"title": "all layers change"}, lines))
    growing = {"grown from 8 to 64": False, "grown, old weights frozen": True} if args.question == "growth" else {}
    for name, freeze in growing.items():
        found = [grown(args, seed, freeze).history for seed in range(args.seeds)]
        least = min(len(one["seconds"]) for one in found)
        seen = {key: np.stack([one[key][:least] for one in found]) for key in ("points", "cross_entropy")}
        row = row_of(name, seen["points"], seen["cross_entropy"])
        lengths = experiment.told([len(one["seconds"]) for one in found], 0)
        rows.append(row | {"weights": rows[0]["weights"], "ms a generation": f"stops after {lengths} generations"})
        curves.append(report.Curve(name, np.arange(1, least + 1), seen["cross_entropy"]))
    axes = {"xlabel": "generation", "ylabel": "cross-entropy", "yscale": "log", "title": args.question}
    report.plot_curves([(axes, curves), *panels], out / f"{args.question}.png", f"{args.seeds} seeds, median and range")
    report.print_table(rows, f"{args.question}: {args.children} children, {args.generations} generations")
    report.write_json(out / "summary.json", {"name": "parts", "question": args.question, "arms": rows})
    print(f"Files: {out}   Picture: {out / args.question}.png")


if __name__ == "__main__":
    report.run_command(main, Args)
