"""How few genes will do? Accuracy against the number of genes, of one network that is made of them in several ways.

* glyphs: ten small shapes anywhere in an image. digits: MNIST, or scikit-learn's digits. Evolution moves the genes; all
  arms have equally many children, scored on equally many images.
* gradient: a perceptron 784-200-200-10 within a random subspace, by Adam. Li et al. (2018) got 90 % of the accuracy of
  the whole network with 750 dimensions.
"""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, get_args

import experiment
import jax
import jax.numpy as jnp
import numpy as np
import optax

import jaxga
from jaxga import baselines, data, encoding, nn, report, tasks, variation
from jaxga.encoding import Encoding
from jaxga.tree import root_mean_square, size

Problem = Literal["glyphs", "digits", "gradient"]
Init = Callable[[jax.Array], Any]
KINDS = "plain", "subspace", "cosines", "hypernetwork", "tied"
KERNEL, BIAS, OUTPUT = "params/Dense_0/kernel", "params/Dense_0/bias", "params/Dense_1/kernel"


@experiment.own_first
@dataclass
class Args(experiment.Pictures):
    problems: tuple[Problem, ...] = get_args(Problem)
    """Which ones."""
    arms: tuple[str, ...] = ()
    """Those of `arms_of` whose names begin so; by default all."""
    dimensions: tuple[int, ...] = (50, 200, 800, 3200)
    """Of random subspaces that evolution searches."""
    side: int | None = None
    """Of MNIST's images, whose pixels are means over squares; by default 14, and 8 of the small digits."""
    features: int | None = None
    """Of a patch at each of its places; the network has a hidden unit for each. By default 8 for glyphs, else 4."""
    children: int = 64
    """Of a generation; their mean, weighted by rank, is the next parent."""
    generations: int = 200
    """Of a run; step sizes fall to a fiftieth by then, like a cosine."""
    batch: int = 250
    """Training images that a generation is scored on."""
    sigma: float | None = None
    """Step size; by default what was best for the arm."""
    descended: tuple[int, ...] = (100, 250, 500, 750)
    """Dimensions of the subspaces that Adam searches."""
    steps: int = 1000
    """Of Adam, on 128 images each."""
    rate: float = 0.2
    """Of Adam within a subspace; on the weights themselves 0.001."""
    seeds: int = 5
    """Runs of every arm. Random subspaces differ from seed to seed."""
    out: Path | None = None
    """Where the figures and the picture go; default runs/encodings/<id>."""
    quick: bool = False
    """Glyphs alone, two arms, for seconds."""


@dataclass(frozen=True)
class Pose:
    """Images, and how a patch sees them."""

    images: data.Images
    patch: int
    stride: int
    features: int
    anywhere: bool  # is the last layer the same at every place, too?

    @property
    def shape(self) -> tuple[int, int, int]:
        height, width, channels = self.images.train_images.shape[1:]
        return height, width, channels

    @property
    def places(self) -> int:
        return ((self.shape[0] - self.patch) // self.stride + 1) ** 2

    @property
    def hidden(self) -> int:
        return self.places * self.features


def pose(args: Args, problem: Problem) -> Pose:
    """What is to be learned."""
    if problem == "glyphs":
        return Pose(tasks.glyphs(size=10), 5, 1, args.features or 8, True)
    images = experiment.pictures(args)
    whole = images.train_images.shape[1]
    side = args.side or (14 if whole == 28 else whole)
    jaxga.require(whole % side == 0, f"side is {side}, and must divide {whole}, the side of the images.")

    def small(pixels: np.ndarray) -> np.ndarray:
        blocks = pixels.reshape(len(pixels), side, whole // side, side, whole // side, 1)
        return blocks.mean(axis=(2, 4))

    images = images._replace(
        train_images=small(images.train_images),
        validation_images=small(images.validation_images),
        test_images=None if images.test_images is None else small(images.test_images),
    )
    return Pose(images, 5, 3, args.features or 4, False)


def arms_of(args: Args, posed: Pose, init: Init, seed: int) -> dict[str, tuple[Callable[[], Encoding], float]]:
    """By name what makes an encoding, and the step size that was best for it."""
    height, width, channels = posed.shape
    seen = {KERNEL: (height, width, channels * posed.hidden)}

    def patches() -> Encoding:
        ties = {
            KERNEL: encoding.patches(posed.shape, (posed.patch, posed.patch), posed.features, posed.stride),
            BIAS: encoding.everywhere(posed.places, (posed.features,)),
        }
        if posed.anywhere:
            ties[OUTPUT] = encoding.everywhere(posed.places, (posed.features, 10))
        return encoding.tied(init, ties)

    cosines = partial(encoding.cosines, init, shapes=seen)
    return {
        "plain weights": (lambda: Encoding(init, lambda params: params), 0.05),
        **{f"subspace of {d}": (partial(encoding.subspace, init, d, seed), 0.15) for d in args.dimensions},
        **{f"cosines, {count} a leaf": (partial(cosines, count), 0.05) for count in (20, 100)},
        "cosines, 5 x 5 a unit": (partial(cosines, {KERNEL: (5, 5, channels * posed.hidden)}), 0.05),
        "hypernetwork": (partial(encoding.hypernetwork, encoding.CPPN((8, 8)), init, seen), 0.05),
        "tied patches": (patches, 0.15),
    }


def step_size(args: Args, made: Encoding, sigma: float, weights: Any) -> variation.StepSize:
    """In units of a leaf's scale. Genes that begin with zero move the weights as far as steps of the weights would."""
    sigma = args.sigma or sigma
    genes = made.init(jax.random.key(0))
    if any(bool(jnp.any(leaf)) for leaf in jax.tree.leaves(genes)):
        return variation.relative(sigma)
    whole = jnp.concatenate([leaf.reshape(-1) for leaf in jax.tree.leaves(weights)])
    return variation.absolute(sigma * float(root_mean_square(whole)) * (size(weights) / size(genes)) ** 0.5)


def evolve(args: Args, plain: jaxga.Task, made: Encoding, sigma: float, seed: int) -> tuple[float, int]:
    """Accuracy on images that nobody was scored on, and the number of genes."""
    task = encoding.encoded(plain, made)
    sizes = experiment.falling(step_size(args, made, sigma, plain.init(jax.random.key(0))), args.generations)
    mean = experiment.mean_of_all(args.children)
    change = variation.low_rank(sizes)
    algorithm = jaxga.ga(task.init, change, parents=1, children=args.children, recombination=mean)
    result = jaxga.run(algorithm, task, seed, generations=args.generations)
    score = task.test or task.validate
    assert score is not None
    return float(jaxga.compilation.jit(score)(result.best.params).fitness), size(result.best.params)


def by_evolution(args: Args, problem: Problem) -> dict[str, tuple[list[float], int, float]]:
    """For every arm accuracies of all seeds, its number of genes, and seconds of a run."""
    posed = pose(args, problem)
    plain = tasks.classification(nn.MLP((posed.hidden, 10)), posed.images, batch=args.batch)
    names = arms_of(args, posed, plain.init, 0)
    chosen = [name for name in names if not args.arms or any(name.startswith(arm) for arm in args.arms)]
    jaxga.require(len(chosen) > 0, f"arms is {args.arms}, and there are {list(names)}.")
    found = {}
    for name in chosen:
        begun, scores, genes = time.monotonic(), [], 0
        for seed in range(args.seeds):
            make, sigma = arms_of(args, posed, plain.init, seed)[name]
            accuracy, genes = evolve(args, plain, make(), sigma, seed)
            scores.append(accuracy)
        found[name] = scores, genes, (time.monotonic() - begun) / args.seeds
        print(f"{problem}, {name}, {genes} genes: {experiment.told(100 * np.array(scores), 1)} %", flush=True)
    return found


def by_gradient(args: Args) -> dict[str, tuple[list[float], int, float]]:
    """The same for Adam, within subspaces and on the weights themselves."""
    plain = tasks.classification(nn.MLP((200, 200, 10)), experiment.pictures(args), batch=128)
    found = {}
    for dimensions in (*args.descended, None):
        begun, scores, genes = time.monotonic(), [], 0
        for seed in range(args.seeds):
            task, rate = plain, 0.001
            if dimensions is not None:
                task, rate = encoding.encoded(plain, encoding.subspace(plain.init, dimensions, seed)), args.rate
            optimiser = optax.adam(optax.cosine_decay_schedule(rate, args.steps))
            params, _ = baselines.gradient_descent(task, optimiser, args.steps, seed)
            assert task.test is not None
            scores.append(float(jaxga.compilation.jit(task.test)(params).fitness))
            genes = size(params)
        name = "plain weights" if dimensions is None else f"subspace of {dimensions}"
        found[name] = scores, genes, (time.monotonic() - begun) / args.seeds
        print(f"gradient, {name}, {genes} genes: {experiment.told(100 * np.array(scores), 1)} %", flush=True)
    return found


def curves_of(found: dict[str, tuple[list[float], int, float]]) -> list[report.Curve]:
    """A curve for each kind of encoding, whose names begin alike."""
    kinds: dict[str, list[tuple[int, list[float]]]] = {}
    for name, (scores, genes, _) in found.items():
        kinds.setdefault(name.replace(",", "").split()[0], []).append((genes, scores))
    curves = []
    for kind, some in kinds.items():
        genes, scores = zip(*sorted(some), strict=True)
        curves.append(report.Curve(kind, genes, 100 * np.array(scores).T, "o-", KINDS.index(kind)))
    return curves


def main(args: Args) -> None:
    if args.quick:
        args.problems, args.arms = ("glyphs",), ("subspace of 200", "tied")
        args.children, args.generations, args.seeds, args.features = 32, 20, 1, 2
    jaxga.require(len(args.problems) > 0, f"problems is empty: name at least one of {', '.join(get_args(Problem))}.")
    jaxga.base.require_whole(1, seeds=args.seeds, generations=args.generations, steps=args.steps)
    out = report.make_directory(args.out or report.find_run("encodings", asdict(args)))
    summary: dict[str, Any] = {"name": "encodings"}
    panels = []
    for problem in args.problems:
        solve = partial(by_gradient, args) if problem == "gradient" else partial(by_evolution, args, problem)
        found = solve()
        rows: list[dict[str, Any]] = []
        for name, (scores, genes, seconds) in found.items():
            accuracy = 100 * np.array(scores)
            row = {"": name, "genes": genes, "accuracy, %": experiment.told(accuracy, 1)}
            rows.append(row | {"seconds a run": round(seconds, 1)})
        summary[problem] = {"rows": rows, "all": {name: scores for name, (scores, *_) in found.items()}}
        report.write_json(out / "summary.json", summary)
        report.print_table(rows, f"{problem}: accuracy on images that were not learned, of {args.seeds} runs")
        axes = {"xlabel": "genes", "ylabel": "accuracy, %", "xscale": "log", "title": problem}
        panels.append((axes, curves_of(found)))
    report.plot_curves(panels, out / "encodings.png")
    print(f"Files: {out}   Picture: {out / 'encodings.png'}")


if __name__ == "__main__":
    report.run_command(main, Args)
