"""Does evolution find where learning should start? Sine curves and hidden goals, beside MAML by its gradient.

A life is a sine curve of which some points are shown, or a goal on the plane that is not seen. A network takes a few
steps of gradient descent in it and is scored afterwards. Evolution looks for the weights that a life begins with, and
for the learning rate of every leaf. MAML looks for the weights by the gradient through the steps, and pre-training for
those that are good without any step.
"""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import experiment
import jax
import jax.numpy as jnp
import numpy as np
import optax

import jaxga
from jaxga import lifetime, nn, report, variation

Problem = Literal["sine", "point"]
ARMS = "evolved", "evolved rates", "MAML", "pre-trained", "random"
UNSEEN = 600  # lives that all arms are tested on
SHOWN = 0, 1, 2, 3, 5  # steps of the test that the table has


@experiment.own_first
@dataclass
class Args(experiment.Files):
    problem: Problem = "sine"
    """sine: regression of a curve from a few points. point: go to a goal that is not seen."""
    arms: tuple[str, ...] = ARMS
    """evolved (the start), "evolved rates" (and a learning rate for every leaf), MAML, pre-trained, random."""
    shots: int = 10
    """Points of a sine curve that are shown; episodes of a gradient where the problem is point."""
    steps: int | None = None
    """Steps that evolution and MAML count on; by default 1 for sine, as MAML's paper trains, and 2 for point."""
    generations: int = 750
    """Of evolution; step sizes fall to a fiftieth by then, like a cosine."""
    updates: int = 30_000
    """Of MAML and of pre-training, by Adam."""
    seeds: int = 10
    """Runs of every arm."""
    lives: int = 20
    """Lives of a generation, the same for all of its children; of a step of MAML 25."""
    children: int = 256
    """Of a generation; their mean, weighted by rank, is the next parent."""
    out: Path | None = None
    """Where the figures and pictures go; default runs/lifetime/<id>."""
    quick: bool = False
    """Sine alone, evolved and random, for seconds."""


def pose(args: Args) -> tuple[lifetime.Lives, float, bool]:
    """Lives, the learning rate of their paper, and whether each step sees something new."""
    if args.problem == "sine":
        return lifetime.sinusoids(nn.MLP((40, 40, 1)), shots=args.shots), 0.01, False
    return lifetime.point_goals(nn.MLP((32, 32, 2)), episodes=args.shots, deviation=0.1), 0.5, True


def evolve(args: Args, task: jaxga.Task, seed: int) -> tuple[Any, int]:
    """The start that evolution finds, and how many lives that took."""
    mutation = variation.gaussian(experiment.falling(variation.relative(0.05), args.generations))
    mean = experiment.mean_of_all(args.children)
    algorithm = jaxga.ga(task.init, mutation, parents=1, children=args.children, recombination=mean)
    result = jaxga.run(algorithm, task, seed, generations=args.generations, validate_every=args.generations)
    return result.best.params, args.lives * args.children * args.generations


def descend(args: Args, born: lifetime.Lives, seed: int, loss: Callable[[Any, Any], Any]) -> tuple[Any, int]:
    """Adam with 0.001 on the mean of a loss over 25 lives; and how many lives that took."""
    optimiser = optax.adam(1e-3)
    params = born(jax.random.key(0)).init(jax.random.key(seed))

    def step(carry: Any, key: Any) -> tuple[Any, None]:
        params, memory = carry
        mean = lambda params: jnp.mean(jax.vmap(lambda one: loss(one, params))(jax.random.split(key, 25)))  # noqa: E731
        updates, memory = optimiser.update(jax.grad(mean)(params), memory, params)
        return (optax.apply_updates(params, updates), memory), None

    carry = params, optimiser.init(params)
    keys = jax.random.split(jax.random.key(seed + 10_000), args.updates)
    return jax.jit(lambda carry: jax.lax.scan(step, carry, keys)[0])(carry)[0], 25 * args.updates


def through_steps(born: lifetime.Lives, rate: float, steps: int, key: Any, params: Any) -> jax.Array:
    """MAML: the error of a life after its steps, of which a gradient can be taken."""
    key_life, key_shots, key_test = jax.random.split(key, 3)
    life = born(key_life)
    assert life.loss is not None
    for _ in range(steps):
        slope = jax.grad(life.loss, argnums=1)(key_shots, params)
        params = jax.tree.map(lambda weight, change: weight - rate * change, params, slope)
    return -life.score(key_test, params).fitness


def found(args: Args, arm: str, seed: int) -> tuple[Any, int]:
    """What a life begins with, by one arm, and what it took."""
    born, rate, fresh = pose(args)
    steps = args.steps or {"sine": 1, "point": 2}[args.problem]
    if arm.startswith("evolved"):
        rates = "leaf" if arm == "evolved rates" else None
        task = lifetime.learn(
            born, optax.sgd(rate), steps, rates=rates, fresh=fresh, count=args.lives, validation_lives=2
        )
        return evolve(args, task, seed)
    if arm == "random":
        return born(jax.random.key(0)).init(jax.random.key(seed)), 0
    return descend(args, born, seed, partial(through_steps, born, rate, steps if arm == "MAML" else 0))


def main(args: Args) -> None:
    if args.quick:
        args.problem, args.arms, args.seeds, args.generations, args.children = "sine", ("evolved", "random"), 1, 10, 64
    jaxga.base.require_whole(1, seeds=args.seeds, lives=args.lives, shots=args.shots)
    unknown = sorted(set(args.arms) - set(ARMS))
    jaxga.require(not unknown, f"arms has {unknown}, and there are {list(ARMS)}.")
    gradients = sorted({"MAML", "pre-trained"} & set(args.arms)) if args.problem == "point" else []
    if gradients:
        args.arms = tuple(arm for arm in args.arms if arm not in gradients)
        print(f"Left out for point, whose episodes have no gradient: {', '.join(gradients)}.")
    out = report.make_directory(args.out or report.find_run("lifetime", asdict(args)))
    born, rate, fresh = pose(args)
    unseen = 20 if args.quick else UNSEEN
    sign = -1 if args.problem == "sine" else 1
    what = "mean square error" if args.problem == "sine" else "return"
    rows, curves, every = [], [], {}
    for arm in args.arms:
        tested, begun = [], time.monotonic()
        for seed in range(args.seeds):
            params, seen = found(args, arm, seed)
            curve = lifetime.learning_curve(
                born, optax.sgd(rate), SHOWN[-1], params, 1_000 + seed, fresh=fresh, count=unseen
            )
            tested.append(sign * np.nanmean(np.asarray(curve), axis=0))
            every[arm] = np.stack(tested)
            summary = {
                "name": "lifetime",
                "problem": args.problem,
                "shots": args.shots,
                "generations": args.generations,
            }
            summary |= {"arms": rows, "all": {name: one.tolist() for name, one in every.items()}}
            report.write_json(out / "summary.json", summary)
        told = {f"{step} steps": experiment.told(every[arm][:, step]) for step in SHOWN}
        seconds = (time.monotonic() - begun) / args.seeds
        rows.append({"": arm, **told, "lives seen": seen, "seconds a run": round(seconds, 1)})
        report.write_json(out / "summary.json", summary | {"arms": rows})
        curves.append(report.Curve(arm, np.arange(SHOWN[-1] + 1), every[arm]))
        axes = {"xlabel": "steps in a life", "ylabel": what, "yscale": "log" if args.problem == "sine" else "linear"}
        report.plot_curves([(axes, curves)], out / f"{args.problem}.png", f"{args.problem}, {args.shots} shots")
    title = f"{what} after steps in {unseen} unseen lives; {args.seeds} seeds"
    report.print_table(rows, title)
    print(f"Files: {out}   Picture: {out / args.problem}.png")


if __name__ == "__main__":
    report.run_command(main, Args)
