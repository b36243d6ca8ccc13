"""Does evolution find where learning should start? Sine curves, hidden goals and an ant, beside MAML by its gradient.

A life is a sine curve of which some points are shown, a goal on the plane that is not seen, or an ant that is to run
forwards or backwards and is not told which (it needs `pip install 'jaxga[ant]'`). A network takes a few steps of
gradient descent in it and is scored afterwards. Evolution looks for the weights that a life begins with, and for the
learning rate of every leaf. MAML looks for the weights by the gradient through the steps, and pre-training for those
that are good without any step.
"""

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
import optax
from flax import linen

import jaxga
from jaxga import lifetime, nn, report, tasks, variation

Problem = Literal["sine", "point", "ant"]


class Calm(linen.Module):
    """A perceptron with small outputs: an ant pays for the squares of its torques, and a random one falls."""

    @linen.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        return 0.1 * nn.MLP((32, 8))(jnp.tanh(x))


class Sizes(NamedTuple):
    """Numbers that depend on the problem where they are not given, see `Args`."""

    shots: int
    steps: int
    generations: int
    lives: int
    children: int
    step_size: float


SIZES = {
    "sine": Sizes(10, 1, 750, 20, 256, 0.05),
    "point": Sizes(40, 2, 400, 16, 32, 0.025),
    "ant": Sizes(10, 1, 300, 2, 16, 0.05),
}
ARMS = "evolved", "evolved rates", "MAML", "pre-trained", "random"
UNSEEN = {"sine": 600, "point": 40, "ant": 40}  # lives that all arms are tested on
RATE = 0.01  # of learning a sine curve
SHORT = 50  # steps of an episode of point while its start is evolved, a test has 100; and of an episode of the ant
SHOWN = 0, 1, 2, 3, 5  # steps of the test that the table has


@experiment.own_first
@dataclass
class Args(experiment.Files):
    problem: Problem = "sine"
    """sine: regression of a curve from a few points. point: go to a goal that is not seen.
    ant: run forwards or backwards, by the physics of MJX."""
    arms: tuple[str, ...] = ARMS
    """evolved (the start), "evolved rates" (and a learning rate for every leaf), MAML, pre-trained, random."""
    shots: int | None = None
    """Points of a sine curve that are shown, by default 10; episodes of a gradient, 40 for point and 10 for ant."""
    steps: int | None = None
    """Steps that evolution and MAML count on; by default 1 for sine, as MAML's paper trains, 2 for point, 1 for ant."""
    generations: int | None = None
    """Of evolution, by default 750, 400 and 300; step sizes fall to a fiftieth by then, like a cosine."""
    updates: int = 30_000
    """Of MAML and of pre-training, by Adam."""
    seeds: int = 10
    """Runs of every arm."""
    first: int = 0
    """The first seed."""
    lives: int | None = None
    """Lives of a generation, the same for all of its children, by default 20, 16 and 2; of a step of MAML 25."""
    children: int | None = None
    """Of a generation, by default 256, 32 and 16; their mean, weighted by rank, is the next parent."""
    step_size: float | None = None
    """Of the first mutations, relative to the scale of a layer at initialisation; by default 0.05, 0.025 and 0.05."""
    out: Path | None = None
    """Where the figures and pictures go; default runs/lifetime/<id>."""
    quick: bool = False
    """Sine alone, evolved and random, for seconds."""


def sizes_of(args: Args) -> Sizes:
    """Those that were given, and for the others what is usual for the problem."""
    given = {name: getattr(args, name) for name in Sizes._fields}
    return SIZES[args.problem]._replace(**{name: size for name, size in given.items() if size is not None})


def pose(args: Args, steps: int | None = None) -> tuple[lifetime.Lives, optax.GradientTransformation, bool]:
    """Lives, how they learn, and whether each step sees something new; ``steps`` of an episode, by default 100."""
    shots = sizes_of(args).shots
    if args.problem == "sine":
        return lifetime.sinusoids(nn.MLP((40, 40, 1)), shots=shots), optax.sgd(RATE), False
    optimiser = optax.sgd(optax.piecewise_constant_schedule(0.05, {1: 0.5}))
    if args.problem == "point":
        goals = lifetime.point_goals(nn.MLP((16, 2)), episodes=shots, steps=steps, discount=0.9)
        return goals, optimiser, True

    def run(key: Any) -> jaxga.Task:
        forwards = jnp.where(jax.random.bernoulli(key), jnp.float32(1), jnp.float32(-1))
        environment = tasks.ant(direction=jnp.stack([forwards, jnp.float32(0)]))
        return lifetime.policy_gradient(environment, Calm(), episodes=shots, steps=SHORT, discount=0.9)

    return run, optimiser, True


def evolve(sizes: Sizes, task: jaxga.Task, seed: int) -> tuple[Any, int]:
    """The start that evolution finds, and how many lives that took."""
    mutation = variation.gaussian(experiment.falling(variation.relative(sizes.step_size), sizes.generations))
    mean = experiment.mean_of_all(sizes.children)
    algorithm = jaxga.ga(task.init, mutation, parents=1, children=sizes.children, recombination=mean)
    result = jaxga.run(algorithm, task, seed, generations=sizes.generations, validate_every=sizes.generations)
    return result.best.params, sizes.lives * sizes.children * sizes.generations


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
    born, optimiser, fresh = pose(args, SHORT)
    sizes = sizes_of(args)
    if arm.startswith("evolved"):
        rates = "leaf" if arm == "evolved rates" else None
        task = lifetime.learn(
            born, optimiser, sizes.steps, rates=rates, fresh=fresh, count=sizes.lives, validation_lives=2
        )
        return evolve(sizes, task, seed)
    if arm == "random":
        return born(jax.random.key(0)).init(jax.random.key(seed)), 0
    return descend(args, born, seed, partial(through_steps, born, RATE, sizes.steps if arm == "MAML" else 0))


def one_run(args: Args, arm: str, unseen: int, seed: int) -> dict[str, Any]:
    """What unseen lives come to after each step, in the mean, and how many lives and seconds that took."""
    begun = time.monotonic()
    params, seen = found(args, arm, seed)
    seconds = time.monotonic() - begun
    born, optimiser, fresh = pose(args)
    curve = lifetime.learning_curve(born, optimiser, SHOWN[-1], params, 1_000 + seed, fresh=fresh, count=unseen)
    sign = -1 if args.problem == "sine" else 1
    mean = sign * np.nanmean(np.asarray(curve, float), axis=0)
    return {"after": mean.tolist(), "lives": seen, "seconds": round(seconds, 1)}


def main(args: Args) -> None:
    if args.quick:
        args.problem, args.arms, args.seeds, args.generations, args.children = "sine", ("evolved", "random"), 1, 10, 64
    sizes = sizes_of(args)
    counts = sizes._asdict()
    jaxga.base.require_at_least(0, step_size=counts.pop("step_size"))
    jaxga.base.require_whole(1, seeds=args.seeds, **counts)
    unknown = sorted(set(args.arms) - set(ARMS))
    jaxga.require(not unknown, f"arms has {unknown}, and there are {list(ARMS)}.")
    gradients = sorted({"MAML", "pre-trained"} & set(args.arms)) if args.problem != "sine" else []
    if gradients:
        args.arms = tuple(arm for arm in args.arms if arm not in gradients)
        print(f"Left out for {args.problem}, whose episodes have no gradient: {', '.join(gradients)}.")
    out = args.out or report.find_run("lifetime", asdict(args))
    report.RunDirectory(out, "lifetime", asdict(args), args.resume)
    unseen = 20 if args.quick else UNSEEN[args.problem]
    what = "mean square error" if args.problem == "sine" else "return"
    rows, curves = [], []
    for arm in args.arms:
        run = partial(one_run, args, arm, unseen)
        seeds = range(args.first, args.first + args.seeds)
        runs = [experiment.once(out / "runs.json", arm, seed, partial(run, seed)) for seed in seeds]
        after = np.array([one["after"] for one in runs])
        digits = 2 if args.problem == "sine" else 1
        told = {f"{step}": experiment.told(after[:, step], digits) for step in SHOWN}
        seconds = round(float(np.median([one["seconds"] for one in runs])), 1)
        rows.append({"": arm, **told, "lives": runs[0]["lives"], "s a run": seconds})
        summary = {"name": "lifetime", "problem": args.problem, **sizes._asdict(), "arms": rows}
        report.write_json(out / "summary.json", summary)
        curves.append(report.Curve(arm, np.arange(SHOWN[-1] + 1), after))
        axes = {"xlabel": "steps in a life", "ylabel": what, "yscale": "log" if args.problem == "sine" else "symlog"}
        shots = f"{sizes.shots} {'shots' if args.problem == 'sine' else 'episodes a step'}"
        report.plot_curves([(axes, curves)], out / f"{args.problem}.png", f"{args.problem}, {shots}")
    report.print_table(rows, f"{what} after so many steps in {unseen} unseen lives; {args.seeds} seeds")
    print(f"Files: {out}   Picture: {out / args.problem}.png")


if __name__ == "__main__":
    report.run_command(main, Args)
