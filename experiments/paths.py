"""Which path do the weights take? Evolution beside gradient descent, for small and large networks.

Perceptrons memorize 64 points. A path begins at the first network, has the parent of every generation (or the weights
after every step of gradient descent), and ends where the cross-entropy first is 0.5 or lower.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import experiment
import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from updates import form

import jaxga
from jaxga import compilation, nn, report, tasks, variation

CHILDREN = 64
END = 0.5  # cross-entropy at which a path ends
RATE = 0.1  # of gradient descent
TITLE = "Paths of one seed, each in its own plane. Unit: the norm of the first weights"
LIMITS = {"best child": 1000, "mean of the better half": 1000, "gradient descent": 4000}  # steps


@experiment.own_first
@dataclass
class Args(experiment.Files):
    widths: tuple[int, ...] = (8, 32, 128)
    """Hidden units."""
    seeds: int = 10
    """Paths of every arm."""
    out: Path | None = None
    """Where the figures and pictures go; default runs/paths/<id>."""
    quick: bool = False
    """One small network, and two seeds."""


class Course(NamedTuple):
    """A path of weights."""

    points: np.ndarray  # [S + 1, n], the weights before each step, and at the end
    reached: bool  # did the cross-entropy become low enough?


Walk = Callable[[jax.Array, int], tuple[jax.Array, jax.Array]]  # (key, steps) -> weights [S, n], cross-entropy [S]


def evolution(task: jaxga.Task, averaged: int) -> Walk:
    """One parent: the best of 64 children, or the mean of so many of them. Step sizes adapt themselves."""
    mutation = variation.gaussian(variation.multiplicative(variation.relative(0.05), up=1.2))
    mean = variation.average(averaged, variation.by_rank, scale=averaged**0.5 / 2) if averaged > 1 else None
    algorithm = jaxga.ga(task.init, mutation, parents=1, children=CHILDREN, recombination=mean)
    evaluate = jaxga.vmapped(algorithm, task)

    def step(state: jaxga.State, _: None) -> tuple[jaxga.State, tuple[jax.Array, jax.Array]]:
        parent = jaxga.tree.take(state.parents.params, 0)
        loss = -task.score(state.key, parent).fitness
        return algorithm.update(state, evaluate(state.source))[0], (ravel_pytree(parent)[0], loss)

    def walk(key: jax.Array, steps: int) -> tuple[jax.Array, jax.Array]:
        return jax.lax.scan(step, algorithm.init(key), length=steps)[1]

    return walk


def descent(task: jaxga.Task) -> Walk:
    """Gradient descent on all points at once."""
    value = lambda params: -task.score(jax.random.key(0), params).fitness  # noqa: E731

    def step(params: Any, _: None) -> tuple[Any, tuple[jax.Array, jax.Array]]:
        loss, slope = jax.value_and_grad(value)(params)
        return jax.tree.map(lambda weight, down: weight - RATE * down, params, slope), (ravel_pytree(params)[0], loss)

    def walk(key: jax.Array, steps: int) -> tuple[jax.Array, jax.Array]:
        return jax.lax.scan(step, task.init(key), length=steps)[1]

    return walk


def walked(walk: Walk, key: jax.Array, limit: int) -> Course:
    """The path until its end: as many steps as are needed, found by doubling."""
    steps = min(125, limit)
    while True:
        points, losses = map(np.asarray, compilation.jit(lambda key, steps=steps: walk(key, steps))(key))
        there = np.flatnonzero(losses <= END)
        if len(there) or steps >= limit:
            return Course(points[: int(there[0]) + 1] if len(there) else points, bool(len(there)))
        steps = min(2 * steps, limit)


def described(points: np.ndarray) -> dict[str, float]:
    """Numbers of a path ``[S + 1, n]``.

    How far its end is from its start, in units of the norm of the first weights; this distance as a share of the length
    of the path; the mean cosine between a step and the next one; the share of the variance of its points that lies on
    their first principal component; the share that the second adds.
    """
    steps = np.diff(points, axis=0)
    lengths = np.linalg.norm(steps, axis=1)
    known = lengths > 0
    units = steps[known] / lengths[known][:, None]
    way, shares = float(np.linalg.norm(points[-1] - points[0])), variances(points)
    return {
        "distance": way / float(np.linalg.norm(points[0])), "of the length, %": 100 * way / float(lengths.sum()),
        "cosine of steps": float(np.mean(np.sum(units[1:] * units[:-1], axis=1))),
        "first component, %": float(100 * shares[0]), "second, %": float(100 * shares[1]),
    }  # fmt: skip


def thinned(points: np.ndarray) -> np.ndarray:
    """At most 500 points of a path, at equal distances in steps, with both ends."""
    return points[np.linspace(0, len(points) - 1, min(len(points), 500)).astype(int)]


def variances(points: np.ndarray) -> np.ndarray:
    """The shares of the variance on each principal component, largest first."""
    some = thinned(points)
    centred = some - some.mean(axis=0)
    found = np.linalg.eigvalsh(centred @ centred.T)[::-1]
    return found / found.sum()


def plane(points: np.ndarray) -> np.ndarray:
    """The path in the plane of its first two principal components, ``[S + 1, 2]``; the first weights have norm 1."""
    some = thinned(points)
    centred = (some - some.mean(axis=0)) / np.linalg.norm(points[0])
    left, sizes, _ = np.linalg.svd(centred, full_matrices=False)
    return left[:, :2] * sizes[:2]


def wandering(like: np.ndarray, seed: int) -> np.ndarray:
    """A random walk with as many steps of the same lengths as a path, in as many dimensions."""
    lengths = np.linalg.norm(np.diff(like, axis=0), axis=1)
    steps = np.random.default_rng(seed).normal(size=(len(lengths), like.shape[1]))
    steps *= (lengths / np.linalg.norm(steps, axis=1))[:, None]
    return like[0] + np.concatenate([np.zeros((1, like.shape[1])), np.cumsum(steps, axis=0)])


def main(args: Args) -> None:
    if args.quick:
        args.widths, args.seeds = (8,), 2
    jaxga.base.require_whole(1, seeds=args.seeds, **{f"widths[{n}]": width for n, width in enumerate(args.widths)})
    out = report.make_directory(args.out or report.find_run("paths", asdict(args)))
    rows, forms, panels = [], [], []
    for width in args.widths:
        task = tasks.memorization(nn.MLP((width, 10)), points=64, shape=(64,))
        walks = {
            "best child": evolution(task, 1), "mean of the better half": evolution(task, CHILDREN // 2),
            "gradient descent": descent(task),
        }  # fmt: skip
        courses: dict[str, list[Course]] = {}
        for name, walk in walks.items():
            keys = jax.random.split(jax.random.key(0), args.seeds)
            courses[name] = [walked(walk, key, LIMITS[name]) for key in keys]
        found = {name: [one.points for one in some] for name, some in courses.items()}
        found["a random walk"] = [wandering(one, seed) for seed, one in enumerate(found["best child"])]
        layer = jax.eval_shape(task.init, jax.random.key(0))
        for name, paths in found.items():
            told = [described(points) for points in paths]
            reached = sum(one.reached for one in courses[name]) if name in courses else ""
            rows.append({
                "hidden units": width, "": name, "reached": reached,
                "steps": experiment.told([len(points) - 1 for points in paths], 0),
                **{key: experiment.told([one[key] for one in told], 2) for key in told[0]},
            })  # fmt: skip
            moved = [form(kernel_of(layer, points[-1] - points[0])) for points in paths]
            forms.append({
                "hidden units": width, "": name, **{
                    key: experiment.told([one[key] for one in moved], 2, "g")
                    for key in ("kurtosis", "Laplace - normal", "rank 1, %", "one unit, %")
                },
            })  # fmt: skip
        report.write_json(out / "summary.json", {"name": "paths", "paths": rows, "forms": forms})
        curves = [report.Curve(name, *plane(paths[0]).T) for name, paths in found.items()]
        heights = np.concatenate([np.asarray(curve.values) for curve in curves])
        low, high = heights.min(), heights.max()
        axes: dict[str, Any] = {"xlabel": "first principal component", "ylabel": "second"}
        axes["title"] = f"{width} hidden units"
        axes["ylim"] = low - 0.6 * (high - low), high + 0.1 * (high - low)  # room for the legend
        panels.append((axes, curves))
        report.plot_curves(panels, out / "paths.png", TITLE)
    report.print_table(rows, f"Paths to a cross-entropy of {END}, {args.seeds} seeds")
    report.print_table(forms, "All steps together: the kernel of the first layer")
    print(f"Files: {out}   Picture: {out / 'paths.png'}")


def kernel_of(like: Any, change: np.ndarray) -> np.ndarray:
    """The part of a vector of all weights that is the kernel of the first layer."""
    tree = ravel_pytree(jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), like))[1](jnp.asarray(change))
    layers = tree["params"]
    return np.asarray(layers[sorted(layers)[0]]["kernel"])


if __name__ == "__main__":
    report.run_command(main, Args)
