"""Do genetic algorithms reach diminishing returns because mutations overwrite what was learned?

Networks memorize 64 points of noise. The pedigrees of the runs are replayed, and the children of every few generations
are made again to see what they forget and learn.

*kept*: The hypothesis says that the more a parent knows, the fewer children learn a point without forgetting another
one, and that progress falls for this reason. The chance to learn and forget nothing is the chance to learn, times the
chance to forget nothing for a child that learns. The last table gives the factor by which each of both changes from few
known points to many. If the second one falls and the first one does not, mutations overwrite, and the hypothesis holds.
If the first one falls and the second one does not, children find nothing new, and it is wrong. With a constant step
nothing can be due to steps that shrink. Arms are compared at an equal number of known points. "cancelled" says the same
of cross-entropy, which is what selection sees: of what the best child gains on all points that rise, the part that it
loses on points that its parent knew. Where many points are known, few are left to learn, and the chance to learn falls
for this reason too; "gain" is in % of the cross-entropy, which does not.

*errors* repeats what the notes saw: with the number of wrong points as fitness, one parent with 16 children stops at 42
wrong of 64, and 8 parents with 32 children come to 30 in 500 generations. The other arms ask whether any setting solves
it with as many evaluations.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import experiment
import jax
import jax.numpy as jnp
import numpy as np
from flax import linen

import jaxga
from jaxga import analysis, nn, pedigree, report, tasks, variation
from jaxga.lowrank import dense
from jaxga.tree import iota, take

POINTS, CLASSES, PARENTS = 64, 10, 16
CHILDREN = 32  # of a generation of errors: the other arms have as many evaluations
DRAWN = 100  # points of a curve of errors
PARTS = "forgot", "harmed", "learned", "spared"  # of `analysis.Interference`
FACTORS = {
    "learn": "learned",
    "forget nothing if so": "if learned",
    "both": "spared",
    "better": "better",
    "gain": "gain",
}
SHOWN = "", "generation", "forgot", "harmed", "learned", "spared", "better", "gain", "cancelled"
Each = Callable[[Any], tuple[jax.Array, jax.Array]]  # params -> log-likelihood of the points, and which are right


@experiment.own_first
@dataclass
class Args(experiment.Files):
    question: Literal["kept", "errors"] = "kept"
    """kept: what children forget and learn. errors: the number of wrong points as fitness."""
    network: Literal["mlp", "conv"] = "mlp"
    """Of kept: 256-32-10, or a small convolutional network for images of 16 x 16 x 3. errors always has the network of
    the notes, for images of 64 x 64 x 3."""
    arms: tuple[str, ...] = ()
    """By default all of the question."""
    seeds: int = 10
    """Runs of every arm."""
    generations: int | None = None
    """By default 200 for kept; 500 for errors, of an arm with 32 children."""
    children: int = 256
    """Of a generation of kept."""
    constant: float = 0.1
    """The constant step size, relative to the scale of a layer at initialisation. Step sizes that adapt begin here."""
    levels: tuple[int, ...] = (24, 48, 60)
    """Known points at which the arms of kept are compared."""
    looks: int = 20
    """Generations of a run of kept that are measured."""
    out: Path | None = None
    """Where the figures and pictures go; default runs/overwriting/<id>."""
    resume: bool = False
    """Go on with the runs of errors in --out."""
    quick: bool = False
    """The first two arms, for a few generations."""


def network_of(args: Args) -> tuple[linen.Module, tuple[int, ...]]:
    """The network that memorizes, and the shape of its points."""
    if args.question == "errors":
        return nn.ConvNet(CLASSES, kernel_init=nn.notes_normal), (64, 64, 3)
    small = nn.ConvNet(CLASSES, (8, 16), (4, 3), (2, 2), hidden=32)
    return (small, (16, 16, 3)) if args.network == "conv" else (nn.MLP((32, CLASSES)), (16, 16, 1))


def populations(args: Args, task: jaxga.Task) -> dict[str, jaxga.Algorithm]:
    """The arms of kept: the next parents are the best children, their mean, or children of two parents."""
    start, half = variation.relative(args.constant), args.children // 2
    mean = variation.average(half, variation.by_rank, half**0.5 / 2)
    arms = {}
    for name, parents in (("1 parent", 1), (f"{PARENTS} parents", PARENTS), ("mean", 1), ("crossed", PARENTS)):
        for kind, size in (("", variation.multiplicative(start, up=1.2)), (", constant step", start)):
            step = variation.low_rank(size)
            change = variation.chain(variation.uniform_crossover(), step) if name == "crossed" else step
            arms[name + kind] = jaxga.ga(
                task.init, change, parents=parents, children=args.children,
                recombination=mean if name == "mean" else None,
            )  # fmt: skip
    return arms


def effects(algorithm: jaxga.Algorithm, each: Each) -> Callable[[jaxga.Source], dict[str, jax.Array]]:
    """A probe: what mutations do to the log-likelihood of the points, for all children of a generation.

    ``better`` is the part of the children with a higher mean than their parent. Of the best one, ``gain`` is the change
    of the mean, ``won`` the part of it that comes from points that rise, and ``lost`` from known points that fall.
    """

    def of_pair(source: jaxga.Source, pair: jax.Array) -> tuple[jax.Array, ...]:
        before, known = each(take(source.parents.params, source.pairs[pair, 0]))
        child = lambda member: dense(algorithm.offspring(source, pair, member).params)  # noqa: E731
        change = jax.vmap(lambda member: each(child(member))[0])(iota(algorithm.brood)) - before
        rises, falls = jnp.maximum(change, 0), jnp.where(known, jnp.maximum(-change, 0), 0)
        return change.mean(axis=1), rises.mean(axis=1), falls.mean(axis=1), -before.mean()

    def probe(source: jaxga.Source) -> dict[str, jax.Array]:
        gain, won, lost, loss = jax.lax.map(partial(of_pair, source), iota(algorithm.pairs))
        best = jnp.argmax(gain)
        found = {name: values.ravel()[best] for name, values in (("gain", gain), ("won", won), ("lost", lost))}
        return {"better": jnp.mean(gain > 0), "loss": loss.mean(), **found}

    return probe


def followed(every: int, algorithm: jaxga.Algorithm, record: pedigree.Pedigree, each: Each) -> dict[str, np.ndarray]:
    """What one run shows at some generations ``[S]``: parts in %, the gain in % of the parents' cross-entropy."""
    seen = analysis.interference(algorithm, record, lambda one: each(one)[1], every=every, samples=algorithm.brood)
    told = analysis.trace(algorithm, record, effects(algorithm, each), every=every).values
    return {
        "generation": seen.generations.astype(float), "known": seen.known.mean(axis=1),
        **{name: 100 * getattr(seen, name).mean(axis=1) for name in PARTS},
        "better": 100 * told["better"], "gain": 100 * told["gain"] / told["loss"],
        "cancelled": 100 * told["lost"] / np.maximum(told["won"], 1e-9), "cross-entropy": told["loss"],
    }  # fmt: skip


def at_level(run: dict[str, np.ndarray], level: int) -> dict[str, float]:
    """The same where the parents first know ``level`` points on average, between two looks; NaN where they never do."""
    most = np.maximum.accumulate(run["known"])
    found = {name: float(np.interp(level, most, values, right=np.nan)) for name, values in run.items()}
    return found | {"if learned": 100 * found["spared"] / (found["learned"] or np.nan)}


def kept(args: Args, arms: dict[str, jaxga.Algorithm], each: Each, task: jaxga.Task, out: Path) -> None:
    """What children forget and learn: at an equal number of known points, and over generations."""
    generations = args.generations or 1
    panels: dict[str, list[report.Curve]] = {name: [] for name in ("known", "spared", "cancelled")}
    tables: dict[str, list[dict[str, Any]]] = {"ends": [], "levels": [], "factors": []}
    for name, algorithm in arms.items():
        found = jaxga.run_many(
            lambda made=algorithm: made, task, generations=generations, seeds=args.seeds, batch=1, pedigrees=True
        )
        every = max(generations // args.looks, 1)
        runs = [followed(every, algorithm, record, each) for record in found.pedigrees]
        ends = {key: [run[key][-1] for run in runs] for key in ("known", "spared", "better", "gain", "cross-entropy")}
        tables["ends"].append({"": name} | {key: experiment.told(values, 3, "g") for key, values in ends.items()})
        at = {level: [at_level(run, level) for run in runs] for level in args.levels}
        for level, rows in at.items():
            medians = {key: experiment.told([row[key] for row in rows], 2 * (key == "gain")) for key in rows[0]}
            tables["levels"].append({"": name} | medians | {"known": level})
        few, many = at[args.levels[0]], at[args.levels[-1]]
        factors = {
            what: [late[key] / (early[key] or np.nan) for early, late in zip(few, many, strict=True)]
            for what, key in FACTORS.items()
        }
        tables["factors"].append({"": name} | {what: experiment.told(values) for what, values in factors.items()})
        for key, curves in panels.items():
            curves.append(report.Curve(name, runs[0]["generation"], np.stack([run[key] for run in runs])))
        axes = [({"xlabel": "generation", "ylabel": key + ", %" * (key != "known")}, panels[key]) for key in panels]
        report.plot_curves(axes, out / "kept.png", f"{args.network}: median of {args.seeds} seeds within their range")
        report.write_json(out / "summary.json", {"name": "overwriting", **asdict(args), "out": None, **tables})
    report.print_table(tables["ends"], f"After {generations} generations of {args.children} children, %")
    for level in args.levels:
        rows = [{key: row[key] for key in SHOWN} for row in tables["levels"] if row["known"] == level]
        report.print_table(rows, f"Children of parents who know {level} points of {POINTS}, %")
    report.print_table(tables["factors"], f"Factor from {args.levels[0]} known points to {args.levels[-1]}")


def wrong_arms(task: jaxga.Task) -> dict[str, jaxga.Algorithm]:
    """The arms of errors. Elites keep their score, which is exact here."""

    def of(parents: int, children: int, size: float = 0.02, low_rank: bool = False) -> jaxga.Algorithm:
        mutation = (variation.low_rank if low_rank else variation.gaussian)(variation.relative(size))
        return jaxga.ga(task.init, mutation, parents=parents, children=children, elites=1)

    many = 4 * CHILDREN
    mean, step = (
        variation.average(CHILDREN, variation.by_rank, CHILDREN**0.5),
        variation.gaussian(variation.relative(0.02)),
    )
    return {
        "1 parent, 16 children": of(1, 16),
        "8 parents, 32 children": of(8, 32),
        "1 parent, 128 children": of(1, many),
        "8 parents, 32 children, step 0.05": of(8, 32, 0.05),
        "8 parents, 32 children, low rank": of(8, 32, low_rank=True),
        "mean of 32 of 128 children": jaxga.ga(task.init, step, parents=1, children=many, recombination=mean),
    }


def one_run(algorithm: jaxga.Algorithm, task: jaxga.Task, evaluations: int, seed: int) -> dict[str, Any]:
    """The fewest wrong points so far, after each hundredth of a run."""
    generations = evaluations // algorithm.children
    runs = jaxga.run_many(lambda: algorithm, task, seed, generations=generations, seeds=1, batch=1)
    at = np.linspace(0, generations, DRAWN + 1).astype(int)[1:] - 1
    return {"wrong": (-runs.metrics["best_fitness"][0, at]).tolist(), "seconds": round(runs.seconds, 1)}


def errors(args: Args, arms: dict[str, jaxga.Algorithm], task: jaxga.Task, out: Path) -> None:
    """Wrong points at the end, and over evaluations."""
    evaluations, rows, curves = CHILDREN * (args.generations or 1), [], []
    for name, algorithm in arms.items():
        run = partial(one_run, algorithm, task, evaluations)
        runs = [experiment.once(out / "runs.json", name, seed, partial(run, seed)) for seed in range(args.seeds)]
        wrong = np.array([one["wrong"] for one in runs])
        rows.append({
            "": name, "wrong of 64": experiment.told(wrong[:, -1]),
            "fell in the last quarter": experiment.told(wrong[:, 3 * DRAWN // 4 - 1] - wrong[:, -1]),
            "generations": evaluations // algorithm.children, "s a run": np.median([one["seconds"] for one in runs]),
        })  # fmt: skip
        curves.append(report.Curve(name, evaluations / DRAWN * np.arange(1, DRAWN + 1), wrong))
        axes = {"xlabel": "evaluations", "ylabel": "fewest wrong points so far, of 64"}
        report.plot_curves([(axes, curves)], out / "errors.png", f"median of {args.seeds} seeds within their range")
        report.write_json(out / "summary.json", {"name": "overwriting", **asdict(args), "out": None, "arms": rows})
    report.print_table(rows, f"Fitness is the number of errors: {evaluations:,} evaluations in every arm")


def main(args: Args) -> None:
    default = {"kept": 200, "errors": 500}[args.question]
    args.generations = default if args.generations is None else args.generations
    if args.quick:
        args.seeds, args.children, args.levels = 2, 64, (9, 12)
        args.generations, args.looks = (20, 4) if args.question == "kept" else (4, 4)
    jaxga.base.require_whole(4, generations=args.generations)
    jaxga.base.require_whole(1, seeds=args.seeds, looks=args.looks, levels=len(args.levels))
    network, shape = network_of(args)
    loss = tasks.errors if args.question == "errors" else tasks.cross_entropy
    task = tasks.memorization(network, points=POINTS, shape=shape, classes=CLASSES, loss=loss)
    arms = wrong_arms(task) if args.question == "errors" else populations(args, task)
    arms = experiment.chosen(arms, args.arms, args.quick)
    out = args.out or report.find_run("overwriting", asdict(args))
    report.RunDirectory(out, "overwriting", asdict(args), args.resume)
    if args.question == "errors":
        errors(args, arms, task, out)
    else:
        inputs, labels = tasks.noise(POINTS, shape, CLASSES)

        def each(params: Any) -> tuple[jax.Array, jax.Array]:
            logits = jnp.asarray(network.apply(params, inputs))
            return tasks.cross_entropy.each(jax.random.key(0), logits, labels), tasks.right(logits, labels)

        kept(args, arms, each, task, out)
    print(f"Files: {out}   Picture: {out / args.question}.png")


if __name__ == "__main__":
    report.run_command(main, Args)
