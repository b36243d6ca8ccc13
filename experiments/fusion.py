"""Are mates that know something else better mates? M2N2 (Abrantes et al. 2025) on the digits of scikit-learn.

The network, the data and the numbers are those of the authors' program: 64-256-10, 19,210 weights, pixels from 0 to 16,
the first 1,437 images to learn from and the last 360 to test by, an archive of 20, one child at a time.

The averaged arms are not theirs: the mean of 200 children by their cross-entropy, with pixels from 0 to 2 and weights
of the usual size.
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
import optax
from flax.linen import initializers

import jaxga
from jaxga import nn, report, variation
from jaxga.selection import Filled, attraction, breeding, by, competition, grid, map_elites, plus, proportional

Start = Literal["scratch", "trained"]
SIGMA, ARCHIVE, TRAINING = 0.01, 20, 1437
CHILDREN = 200  # of a generation that is averaged
STEP = 0.05  # of these at first, in units of the weights that a layer begins with
SCALE = 8  # their pixels are divided by this, and a layer begins with weights of the usual size
POINTS = 100  # of a curve
ARMS = {  # alpha, attraction, split point, crossover; others are made apart
    "M2N2": (1.0, True, True, True),
    "no attraction": (1.0, False, True, True),
    "no competition": (0.0, True, True, True),
    "no split point": (1.0, True, False, True),
    "no crossover": (1.0, False, False, False),
    "GA": (0.0, False, True, True),
    "GA, no crossover": (0.0, False, False, False),
}
OTHERS = "MAP-Elites", "averaged", "averaged, low rank"
PUBLISHED = {"M2N2": 87, "GA": 68, "no crossover": 77, "GA, no crossover": 71, "MAP-Elites": 60}  # read off a figure
PUBLISHED_TRAINED = {"M2N2": 68.3, "no attraction": 66.2, "no split point": 57.8, "GA": 52, "MAP-Elites": 62.4}


@experiment.own_first
@dataclass
class Args(experiment.Files):
    start: Start = "scratch"
    """From random networks; or from two that were trained, each on half of the digits, without mutation."""
    arms: tuple[str, ...] = ()
    """By default all: M2N2, "no attraction", "no competition", "no split point", GA, MAP-Elites; from scratch also "no
    crossover", "GA, no crossover", averaged and "averaged, low rank"."""
    seeds: int = 10
    """Runs of every arm."""
    evaluations: int | None = None
    """Of a run; by default 50,000 from scratch, 10,000 from trained networks."""
    out: Path | None = None
    """Where the figures and pictures go; default runs/fusion/<id>."""
    quick: bool = False
    """M2N2 alone, for 300 evaluations."""


def load() -> tuple[np.ndarray, np.ndarray]:
    """The 1,797 images, as they are."""
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise jaxga.base.InputError("the digits need scikit-learn: pip install 'jaxga[data]'.") from error
    images, labels = (np.asarray(part) for part in load_digits(return_X_y=True))
    return images.astype(np.float32), labels.astype(np.int32)


def task_of(images: np.ndarray, labels: np.ndarray, start: Any = None) -> jaxga.Task:
    """Fitness is the part of the training images that is right; ``_right`` says which. Validation is the test part."""
    network = nn.MLP((256, 10), kernel_init=start or initializers.normal(SIGMA))
    x, y = jnp.asarray(images[:TRAINING]), jnp.asarray(labels[:TRAINING])
    unseen, answers = jnp.asarray(images[TRAINING:]), jnp.asarray(labels[TRAINING:])

    def init(key: jax.Array) -> Any:
        return network.init(key, x[:1])

    def logits(params: Any, images: jax.Array) -> jax.Array:
        return jnp.asarray(network.apply(params, images))

    def evaluate(key: jax.Array, params: Any) -> jaxga.Evaluation:
        del key
        found = logits(params, x)
        right = (jnp.argmax(found, axis=1) == y).astype(jnp.float32)
        loss = jnp.mean(optax.softmax_cross_entropy_with_integer_labels(found, y))
        even = (y % 2 == 0).astype(jnp.float32)
        halves = jnp.stack([jnp.sum(right * part) / jnp.sum(part) for part in (1 - even, even)])
        return jaxga.Evaluation(jnp.mean(right), metrics={"_right": right, "halves": halves, "loss": loss})

    def loss(key: jax.Array, params: Any) -> jax.Array:
        del key
        return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(logits(params, x), y))

    def validate(params: Any) -> jaxga.Evaluation:
        right = jnp.mean((jnp.argmax(logits(params, unseen), axis=1) == answers).astype(jnp.float32))
        return jaxga.Evaluation(right, metrics={"right": right})

    return jaxga.Task(init, evaluate, loss=loss, validate=validate)


def two_random(key: jax.Array, init: Callable[[jax.Array], Any], parents: int) -> Any:
    """Two networks, and the rest of the archive empty: zeros."""
    return _first_two([init(one) for one in jax.random.split(key)], parents)


def _first_two(networks: list[Any], parents: int) -> Any:
    return jax.tree.map(lambda a, b: jnp.zeros((parents, *a.shape), a.dtype).at[0].set(a).at[1].set(b), *networks)


def two_trained(images: np.ndarray, labels: np.ndarray) -> Callable[..., Any]:
    """Two networks, one trained on the digits 0 to 4 and one on 5 to 9: ten steps of Adam on all of their images.

    They begin with the small weights of the runs from scratch.
    """
    optimiser, network = optax.adam(0.003), nn.MLP((256, 10), kernel_init=initializers.normal(SIGMA))
    x, y = jnp.asarray(images[:TRAINING]), jnp.asarray(labels[:TRAINING])

    def trained(key: jax.Array, half: int) -> Any:
        mine = (y // 5 == half).astype(jnp.float32)

        def loss(params: Any) -> jax.Array:
            each = optax.softmax_cross_entropy_with_integer_labels(jnp.asarray(network.apply(params, x)), y)
            return jnp.sum(each * mine) / jnp.sum(mine)

        params = network.init(key, x[:1])
        state = optimiser.init(params)
        for _ in range(10):
            updates, state = optimiser.update(jax.grad(loss)(params), state)
            params = optax.apply_updates(params, updates)
        return params

    def founders(key: jax.Array, init: Callable[[jax.Array], Any], parents: int) -> Any:
        del init
        return _first_two([trained(one, half) for half, one in enumerate(jax.random.split(key))], parents)

    return founders


def make(task: jaxga.Task, founders: Callable[..., Any], mutates: bool, arm: str, generations: int) -> jaxga.Algorithm:
    """The algorithm of an arm."""
    if arm.startswith("averaged"):
        return averaged(task, arm, generations)
    if arm == "MAP-Elites":
        selection = map_elites("halves", grid((10, 10), 0, 1), 1, breeders=by_fitness)
        change, parents = [variation.slerp()], 100
    else:
        alpha, attracted, split, crossed = ARMS[arm]
        mates = attraction("_right") if attracted else None
        bred = breeding(plus(ARCHIVE), 1, proportional, mates)
        selection, parents = by(competition("_right", alpha), bred), ARCHIVE
        change = [variation.slerp(split=split)] if crossed else []
    if mutates:
        change.append(variation.gaussian(variation.absolute(SIGMA)))
    return jaxga.ga(
        task.init, variation.chain(*change), parents=parents, children=1, pairs=1, selection=selection,
        founders=founders, score_founders=True,
    )  # fmt: skip


def by_fitness(cells: Filled) -> jax.Array:
    """Filled cells breed in proportion to their fitness, as in the authors' program."""
    return jnp.where(cells.filled, cells.fitness, 0)


def averaged(task: jaxga.Task, arm: str, generations: int) -> jaxga.Algorithm:
    """One parent, the mean of all its children by centred rank, and steps that fall like a cosine."""
    noise = variation.low_rank if "low rank" in arm else variation.gaussian
    mutation = noise(experiment.falling(variation.relative(STEP), generations))
    mean = experiment.mean_of_all(CHILDREN)
    return jaxga.ga(task.init, mutation, parents=1, children=CHILDREN, recombination=mean)


def by_loss(task: jaxga.Task) -> jaxga.Task:
    """The same task with the cross-entropy as fitness: a step that makes nothing right yet may lead there."""

    def evaluate(key: jax.Array, params: Any) -> jaxga.Evaluation:
        score = task.score(key, params)
        return score._replace(fitness=-score.metrics["loss"], metrics={"accuracy": score.fitness})

    return task._replace(evaluate=evaluate)


def one_run(algorithm: jaxga.Algorithm, task: jaxga.Task, generations: int, every: int, seed: int) -> dict[str, Any]:
    """What part of the test images one run has right, in %, every so many generations."""
    runs = jaxga.run_many(
        lambda: algorithm, task, seed, generations=generations, seeds=1, validate_every=every, batch=1
    )
    tested = 100 * runs.metrics["validation_right"][0, every - 1 :: every].astype(float)
    return {"right": tested.round(3).tolist(), "seconds": round(runs.seconds, 1)}


def main(args: Args) -> None:
    scratch = args.start == "scratch"
    changing = [name for name, (*_, crossed) in ARMS.items() if crossed or scratch]  # trained ones do not mutate
    known = (*changing, *(OTHERS if scratch else OTHERS[:1]))
    arms = args.arms or known
    unknown = sorted(set(arms) - set(known))
    jaxga.require(not unknown, f"arms has {unknown}, and from {args.start} networks there are {', '.join(known)}.")
    if args.quick:
        arms, args.seeds, args.evaluations = ("M2N2",), 2, 300
    budget = args.evaluations or (50_000 if scratch else 10_000)
    jaxga.base.require_whole(1, seeds=args.seeds, evaluations=budget)
    out = args.out or report.find_run("fusion", asdict(args))
    report.RunDirectory(out, "fusion", asdict(args), args.resume)
    images, labels = load()
    task = task_of(images, labels)
    scaled = by_loss(task_of(images / SCALE, labels, initializers.lecun_normal()))
    founders = two_random if scratch else two_trained(images, labels)
    rows, curves, found = [], [], {}
    for arm in arms:
        children = CHILDREN if arm.startswith("averaged") else 1
        generations = max(budget // children, 1)
        every = max(generations // POINTS, 1)
        posed = scaled if children > 1 else task
        run = partial(one_run, make(posed, founders, scratch, arm, generations), posed, generations, every)
        runs = [experiment.once(out / "runs.json", arm, seed, partial(run, seed)) for seed in range(args.seeds)]
        tested = np.array([one["right"] for one in runs])
        found[arm] = tested[:, -1].tolist()
        published = (PUBLISHED if scratch else PUBLISHED_TRAINED).get(arm)
        middle = report.median_interval(tested[:, -1])
        rows.append({
            "": arm, "right, %": round(float(middle.median), 1), "95 %": f"{middle.low:.1f} to {middle.high:.1f}",
            "published, about": published, "seconds a run": round(np.median([one["seconds"] for one in runs]), 1),
        })  # fmt: skip
        curves.append(report.Curve(arm, every * children * np.arange(1, tested.shape[1] + 1), tested))
        axes = {"xlabel": "evaluations", "ylabel": "right of 360 test images, %"}
        report.plot_curves([(axes, curves)], out / "fusion.png", f"M2N2 on digits, from {args.start}")
        report.write_json(out / "summary.json", {"name": "fusion", "start": args.start, "arms": rows, "all": found})
    report.print_table(rows, f"Digits of scikit-learn, ordered split, from {args.start}, {budget:,} evaluations")
    print(f"Files: {out}   Picture: {out / 'fusion.png'}")


if __name__ == "__main__":
    report.run_command(main, Args)
