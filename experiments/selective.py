"""Do parents become robust to mutations for what they know, and only there? And is it selection that makes them so?

The notes suppose that parents become robust for the points that they have memorized, because their children then keep
them, and not in general. Networks memorize 64 points of noise. At some generations the parents of a run get children:
by the mutation of the run, whose step size has adapted itself, and by a standard one, whose step size is a fixed part
of the weights as they are. The change of the outputs on points that the parent knows is divided by the change on new
noise. A ratio below 1 is robustness that is selective; step sizes cancel in it.

The control is gradient descent from the same network to the same cross-entropy. It has the same ratio if every network
that fits some points is robust there. "quotient" is the ratio of evolved networks divided by that of the control, run
by run. If it is below 1, selection has made the networks robust. If this takes selection among many parents over many
generations, it is lower with 16 parents than with one. Points of the task that a parent does not know yet show whether
all points of the task are special, or only those that it knows.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import experiment
import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen

import jaxga
from jaxga import baselines, nn, pedigree, report, tasks, variation
from jaxga.lowrank import dense
from jaxga.tree import iota, stack, take

POINTS, CLASSES = 64, 10
FRESH = 128  # points of noise that no run has seen
STANDARD = 0.05  # step size of the standard mutation, in units of the scale of each layer
RATE, LONGEST = 0.05, 2000  # of gradient descent: its step, and the most pairs of steps
KNOWN, UNKNOWN, NEW = range(3)  # groups of points
LOGITS, LIKELIHOOD = range(2)  # what is measured


@experiment.own_first
@dataclass
class Args(experiment.Files):
    network: Literal["mlp", "conv"] = "mlp"
    """256-32-10, or a small convolutional network for images of 16 x 16 x 3."""
    parents: tuple[int, ...] = (1, 16)
    """One arm for each number."""
    seeds: int = 10
    """Runs of every arm."""
    generations: int = 200
    """Of a run."""
    children: int = 256
    """Of a generation."""
    looks: int = 10
    """Generations that are measured, beside the first."""
    samples: int = 64
    """Children of a parent by each mutation."""
    out: Path | None = None
    """Where the figures and pictures go; default runs/selective/<id>."""
    quick: bool = False
    """A few generations."""


def network_of(args: Args) -> tuple[linen.Module, tuple[int, ...]]:
    """The network that memorizes, and the shape of its points."""
    if args.network == "conv":
        return nn.ConvNet(CLASSES, (8, 16), (4, 3), (2, 2), hidden=32), (16, 16, 3)
    return nn.MLP((32, CLASSES)), (16, 16, 1)


def changes(network: linen.Module, shape: tuple[int, ...]) -> Callable[[Any, Any], jax.Array]:
    """A function ``(params, children [M, ...]) -> [2, 3]``: root mean square changes, for each group of points.

    The first row is that of the logits without their mean. The second is that of the log-probability of the right
    class; of new noise, which has none, it is the class that the parent answers. A group without points has NaN.
    """
    inputs, labels = tasks.noise(POINTS, shape, CLASSES)
    everything = jnp.concatenate([inputs, tasks.noise(FRESH, shape, CLASSES, seed=1)[0]])

    def of(params: Any, children: Any) -> jax.Array:
        logits = jnp.asarray(network.apply(params, everything))
        known = jnp.pad(tasks.right(logits[:POINTS], labels), (0, FRESH))
        ours = jnp.arange(len(everything)) < POINTS
        groups = jnp.stack([known, ours & ~known, ~ours]).astype(logits.dtype)
        target = jnp.concatenate([labels, jnp.argmax(logits[POINTS:], axis=1).astype(labels.dtype)])

        def seen(params: Any) -> tuple[jax.Array, jax.Array]:
            logits = jnp.asarray(network.apply(params, everything))
            logs = jnp.take_along_axis(jax.nn.log_softmax(logits), target[:, None], axis=1)
            return logits - logits.mean(axis=1, keepdims=True), logs

        before = seen(params)

        def square(child: Any) -> jax.Array:
            return jnp.stack([
                groups @ jnp.mean((new - old) ** 2, axis=1) for new, old in zip(seen(child), before, strict=True)
            ])  # fmt: skip

        squares = jax.vmap(square)(children).mean(axis=0)
        return jnp.sqrt(squares / groups.sum(axis=1))

    return of


def mutants(params: Any, count: int) -> Any:
    """Children ``[count, ...]`` by the standard mutation."""
    mutation = variation.gaussian(variation.relative(STANDARD))
    parent = jaxga.Individual(params, mutation.init(params))
    context = jaxga.base.Context(jnp.int32(0), parent)
    return jax.vmap(lambda key: mutation.apply(key, parent, context).params)(jax.random.split(jax.random.key(1), count))


def looked(algorithm: jaxga.Algorithm, of: Callable[[Any, Any], jax.Array], count: int) -> Callable[..., jax.Array]:
    """A probe: the changes by the run's own and by the standard mutation, for every parent, ``[2, T, 2, 3]``."""

    def one(source: jaxga.Source, slot: jax.Array) -> jax.Array:
        params = take(source.parents.params, slot)
        members = iota(min(count, algorithm.brood))
        own = jax.vmap(lambda member: dense(algorithm.offspring(source, slot, member).params))(members)
        return jnp.stack([of(params, own), of(params, mutants(params, count))])

    return jax.jit(
        lambda source: jnp.moveaxis(jax.lax.map(lambda slot: one(source, slot), iota(algorithm.parents)), 0, 1)
    )


def descended(task: jaxga.Task, start: Any, losses: np.ndarray) -> Any:
    """The networks ``[S, ...]`` on the way of gradient descent from ``start`` that are nearest to ``losses [S]``."""
    optimiser, way, found = optax.sgd(RATE), [start], []
    while len(way) <= LONGEST:
        params, before = baselines.gradient_descent(task, optimiser, 2, start=way[-1])
        found.append(float(before[0]))
        if found[-1] <= losses.min():
            break
        way.append(params)
    reached = np.array(found)
    return stack([way[int(np.abs(reached - loss).argmin())] for loss in losses])


def ratio(changed: np.ndarray, group: int = KNOWN, what: int = LOGITS) -> np.ndarray:
    """Of changes ``[..., 2, 3]``: that of a group of points, divided by that of new noise."""
    return changed[..., what, group] / changed[..., what, NEW]


def main(args: Args) -> None:
    if args.quick:
        args.generations, args.seeds, args.children, args.looks, args.samples, args.parents = 12, 2, 64, 2, 8, (1, 4)
    jaxga.base.require_whole(2, generations=args.generations)
    jaxga.base.require_whole(1, seeds=args.seeds, looks=args.looks, samples=args.samples)
    jaxga.require(len(args.parents) > 0, "parents is empty: name at least one number.")
    network, shape = network_of(args)
    task = tasks.memorization(network, points=POINTS, shape=shape, classes=CLASSES)
    out = report.make_directory(args.out or report.find_run("selective", asdict(args)))
    of, at = changes(network, shape), np.unique(np.linspace(0, args.generations, args.looks + 1).astype(int))
    loss = jax.jit(jax.vmap(lambda params: task.evaluate(jax.random.key(0), params).metrics))
    control = jax.jit(lambda networks: jax.lax.map(lambda params: of(params, mutants(params, args.samples)), networks))
    rows: list[dict[str, Any]] = []
    chances: list[dict[str, Any]] = []
    panels: list[list[report.Curve]] = [[], [], []]
    for number, parents in enumerate(args.parents):
        mutation = variation.low_rank(variation.multiplicative(variation.relative(0.1), up=1.2))
        algorithm = jaxga.ga(task.init, mutation, parents=parents, children=args.children)
        runs = jaxga.run_many(
            lambda made=algorithm: made, task, generations=args.generations, seeds=args.seeds, batch=1, pedigrees=True
        )
        probe, evolved, others, scores = looked(algorithm, of, args.samples), [], [], []
        for record in runs.pedigrees:
            source, found, told = pedigree.begin(algorithm, record), [], []
            start = take(source.parents.params, 0)
            for generation in at:
                source = pedigree.forward(algorithm, record, source, int(generation))
                found.append(np.asarray(probe(source)))
                told.append({key: np.mean(values) for key, values in loss(source.parents.params).items()})
            evolved.append(np.nanmean(np.stack(found), axis=2))  # [S, 2, 2, 3], the mean over parents
            scores.append(told)
            networks = descended(task, start, np.array([one["cross_entropy"] for one in told]))
            others.append(np.asarray(control(networks)))
        own, standard = np.moveaxis(np.stack(evolved), 2, 0)  # [R, S, 2, 3] each
        descent = np.stack(others)
        for look, generation in enumerate(at):
            now = lambda values, look=look: experiment.told(values[:, look])  # noqa: E731
            rows.append({
                "parents": parents, "generation": int(generation),
                "points": experiment.told([run[look]["points"] for run in scores], 1),
                "own": now(ratio(own)), "standard": now(ratio(standard)), "descended": now(ratio(descent)),
                "quotient": now(ratio(standard) / ratio(descent)), "not yet known": now(ratio(standard, UNKNOWN)),
            })  # fmt: skip
            chances.append({
                "parents": parents, "generation": int(generation),
                "own": now(ratio(own, KNOWN, LIKELIHOOD)), "standard": now(ratio(standard, KNOWN, LIKELIHOOD)),
                "descended": now(ratio(descent, KNOWN, LIKELIHOOD)),
                "quotient": now(ratio(standard, KNOWN, LIKELIHOOD) / ratio(descent, KNOWN, LIKELIHOOD)),
                "logits of new noise": now(standard[..., LOGITS, NEW]), "by own": now(own[..., LOGITS, NEW]),
            })  # fmt: skip
        name = f"{parents} parent{'s' * (parents > 1)}"
        for panel, values in zip(panels, (ratio(own), ratio(standard), ratio(standard) / ratio(descent)), strict=True):
            panel.append(report.Curve(name, at, values, color=number))
        panels[1].append(report.Curve(f"descended as far as {name}", at, ratio(descent), "--", number))
        labels = "known / new, own mutation", "known / new, standard mutation", "evolved / descended"
        axes = [{"xlabel": "generation", "ylabel": label} for label in labels]
        title = f"Change of the logits by a mutation: median of {args.seeds} seeds within their range"
        report.plot_curves(list(zip(axes, panels, strict=True)), out / "selective.png", title)
        report.write_json(
            out / "summary.json",
            {"name": "selective", **asdict(args), "out": None, "logits": rows, "likelihood": chances},
        )
    for table, what in ((rows, "logits"), (chances, "log-probability of the right class")):
        shown = [row for row in table if row["generation"] in at[[0, 1, len(at) // 2, -1]]]
        report.print_table(shown, f"Change of the {what} by a mutation: on known points, divided by that on new noise")
    print(f"Files: {out}   Picture: {out / 'selective.png'}")


if __name__ == "__main__":
    report.run_command(main, Args)
