"""Do weights that change within a life beat weights that stay? Where something is hidden, and where nothing is.

All networks of a problem have about as many genes. Those of a plastic network are numbers of its Hebbian rule: its
weights are drawn anew in every life, or inherited too. The others are plain weights, which stay as they are.
"""

import time
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import experiment
import jax
import jax.numpy as jnp
import numpy as np

import jaxga
from jaxga import data, lifetime, nn, report, tasks, variation

Problem = Literal["maze", "double maze", "goal", "body", "seen", "labels"]
HIDDEN = 8  # units of a plastic network that acts
ENVIRONMENTS = {
    "maze": tasks.t_maze(1),
    "double maze": tasks.t_maze(2),
    "goal": tasks.point(tells=True),
    "body": tasks.point(turned=True, tells=True),
    "seen": tasks.point((0.3, -0.2)),
}
BIASED = "goal", "body", "seen"  # problems whose observations may be all zeros, so that networks need a bias to move


@experiment.own_first
@dataclass
class Args(experiment.Files):
    problem: Problem = "maze"
    """maze: a T-maze whose best end moves. double maze: one of two turns. goal: a point whose goal is not seen, only
    the reward. body: a point whose steps are turned by an angle that it does not know. seen: the same goal in every
    life, so that nothing is hidden.
    labels: digits whose labels change places."""
    arms: tuple[str, ...] = ()
    """By default all of the problem: "rule of each connection", "and evolved start", "and one that modulates", "rule of
    each neuron", "a network as rule", "fixed weights"; of labels "rule of the layer" and the last three."""
    seeds: int = 10
    """Runs of every arm."""
    generations: int = 150
    parents: int = 32
    children: int = 512
    """Of a generation."""
    episodes: int = 4
    """Of a child in a generation, the same for all."""
    out: Path | None = None
    """Where the figures and pictures go; default runs/plasticity/<id>."""
    quick: bool = False
    """Labels for a few generations, and the smallest rule: the maze takes a third longer to compile."""


Arms = dict[str, tuple[jaxga.Task, jaxga.Task]]  # what evolution sees, and the same with more lives for a test


def acting(environment: tasks.Environment, episodes: int, bias: bool) -> Arms:
    """Networks that act in an environment; fitness is the mean return. Plastic ones may have a bias, others do."""

    def both(policy: Any) -> tuple[jaxga.Task, jaxga.Task]:
        def task(episodes: int) -> jaxga.Task:
            return tasks.control(environment, policy, episodes=episodes, key=jaxga.common, validation_episodes=100)

        return task(episodes), task(1000)

    make = partial(lifetime.plastic, (environment.observation[0], HIDDEN, environment.outputs), bias=bias)
    return {
        "rule of each connection": both(make().policy(environment)),
        "and evolved start": both(make(start="evolved").policy(environment)),
        "rule of each neuron": both(make(lifetime.hebbian("neuron")).policy(environment)),
        "and one that modulates": both(make(modulated=True).policy(environment)),
        "a network as rule": both(make(lifetime.change_by_network()).policy(environment)),
        "fixed weights": both(nn.MLP((5 * HIDDEN, environment.outputs))),
    }


def taught() -> Arms:
    """Networks that are shown digits with labels, and then asked; fitness is minus the cross-entropy."""
    lives = lifetime.relabelled(data.digits())

    def both(network: lifetime.Plastic) -> tuple[jaxga.Task, jaxga.Task]:
        def task(count: int) -> jaxga.Task:
            return lifetime.taught(network, lives, batches=20, batch=16, count=count, validation_lives=50)

        return task(2), task(200)

    def init(key: Any, shape: Any) -> tuple[()]:
        del key, shape
        return ()

    def stay(genes: Any, weights: jax.Array, before: jax.Array, after: jax.Array) -> jax.Array:
        del genes, before, after
        return jnp.zeros_like(weights)

    return {
        "rule of the layer": both(lifetime.plastic((64, 10), lifetime.hebbian("layer"))),
        "rule of each neuron": both(lifetime.plastic((64, 10), lifetime.hebbian("neuron"))),
        "a network as rule": both(lifetime.plastic((64, 10), lifetime.change_by_network())),
        "fixed weights": both(lifetime.plastic((64, 10), lifetime.Rule(init, stay), start="evolved")),
    }


def make(args: Args, task: jaxga.Task) -> jaxga.Algorithm:
    """The best of a generation are the next parents; a child takes each array of genes from one of two, and mutates."""
    mutation = variation.gaussian(variation.log_normal(variation.relative(0.5), per=variation.per.individual))
    change = variation.chain(variation.uniform_crossover(variation.by_leaf), variation.with_probability(0.9, mutation))
    return jaxga.ga(task.init, change, parents=args.parents, children=args.children, founders=jaxga.random_founders)


def genes_of(task: jaxga.Task) -> int:
    """How many numbers are inherited."""
    return sum(leaf.size for leaf in jax.tree.leaves(jax.eval_shape(task.init, jax.random.key(0))))


def main(args: Args) -> None:
    if args.quick:
        args.problem, args.seeds, args.generations = "labels", 2, 3
        args.parents, args.children = 4, 16
    jaxga.base.require_whole(1, seeds=args.seeds, generations=args.generations)
    out = report.make_directory(args.out or report.find_run("plasticity", asdict(args)))
    arms = (
        taught() if args.problem == "labels"
        else acting(ENVIRONMENTS[args.problem], args.episodes, args.problem in BIASED)
    )  # fmt: skip
    chosen = ("rule of the layer",) if args.quick else args.arms or tuple(arms)
    unknown = sorted(set(chosen) - set(arms))
    jaxga.require(not unknown, f"arms has {unknown}, and for {args.problem} there are {list(arms)}.")
    arms = {name: arms[name] for name in chosen}
    accuracy = args.problem == "labels"
    every = max(args.generations // 25, 1)
    rows, curves = [], []
    for name, (task, test) in arms.items():
        begun = time.monotonic()
        algorithm = make(args, task)
        runs = jaxga.run_many(
            lambda algorithm=algorithm: algorithm, task, generations=args.generations, seeds=args.seeds, batch=1,
            validate_every=every, pedigrees=True,
        )  # fmt: skip
        seconds = (time.monotonic() - begun) / args.seeds
        last = experiment.tested(test, experiment.survivors(algorithm, runs))
        row = {"": name, "genes": genes_of(task)}
        row["minus cross-entropy" if accuracy else "return"] = experiment.told(last)
        seen = runs.metrics["validation_accuracy" if accuracy else "best_validation"][:, every - 1 :: every]
        if accuracy:
            row["right, %"] = experiment.told(100 * seen[:, -1], 1)
        rows.append(row | {"seconds a run": round(seconds, 1)})
        curves.append(report.Curve(name, every * np.arange(1, seen.shape[1] + 1), seen))
        axes = {"xlabel": "generation", "ylabel": "accuracy" if accuracy else "return, best so far"}
        title = f"{args.problem}: unseen lives, median of {args.seeds} seeds within their range"
        report.plot_curves([(axes, curves)], out / f"{args.problem.replace(' ', '-')}.png", title)
        report.write_json(out / "summary.json", {"name": "plasticity", "problem": args.problem, "arms": rows})
    report.print_table(rows, f"{args.problem}, {args.children} children, {args.generations} generations")
    print(f"Files: {out}   Pictures: {out}/*.png")


if __name__ == "__main__":
    report.run_command(main, Args)
