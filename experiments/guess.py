"""Guess and check: do networks that fit a few images by luck read others as well as those that learned to?

Two digits, small images, a small network. A million networks are drawn at random; those that have all of n training
images right are tested on other images. Beside them stand networks of the same shape and from the same prior that
gradient descent trained on the same images: until they fit them, and for 1,000 steps more. Chiang et al. (2023) found
random and trained ones about equally good; others since then found random ones worse. So this is contested, and one
small network settles nothing.
"""

import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

import experiment
import jax
import jax.numpy as jnp
import numpy as np
import optax

import jaxga
from jaxga import analysis, data, nn, report


@experiment.own_first
@dataclass
class Args(experiment.Pictures):
    classes: tuple[int, int] = (0, 1)
    """The two digits."""
    side: int = 7
    """Of the images, whose pixels are means over squares; it divides that of the data."""
    hidden: tuple[int, ...] = (8,)
    """Widths of hidden layers."""
    points: tuple[int, ...] = (2, 4, 8, 16, 32)
    """Numbers of training images, half of each digit."""
    draws: int = 1_000_000
    """Random networks for each set of training images; weights are uniform between -1 and 1."""
    sets: int = 10
    """Sets of training images."""
    seeds: int = 200
    """Networks for each number of images and each set that gradient descent trains."""
    rate: float = 0.1
    """Of gradient descent, all images at a time."""
    beyond: int = 1000
    """Steps that it takes after the first one that fits all images."""
    out: Path | None = None
    """Where the figures and pictures go; default runs/guess/<id>."""
    quick: bool = False
    """Small digits of 4 x 4 pixels, 20,000 networks, for seconds."""


def examples(args: Args, images: data.Images) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Small images of two digits and their labels 0 and 1, to learn from and to be tested on."""
    found: list[np.ndarray] = []
    for pixels, labels in (
        (images.train_images, images.train_labels),
        (images.validation_images, images.validation_labels),
    ):
        kept = np.isin(labels, args.classes)
        size = pixels.shape[1]
        jaxga.require(size % args.side == 0, f"side is {args.side}, and must divide {size}, the side of the images.")
        blocks = pixels[kept].reshape(-1, args.side, size // args.side, args.side, size // args.side)
        found += [blocks.mean(axis=(2, 4)).reshape(len(blocks), -1), (labels[kept] == args.classes[1]).astype(np.int32)]
    mean, deviation = found[0].mean(), found[0].std()
    return (found[0] - mean) / deviation, found[1], (found[2] - mean) / deviation, found[3]


def training_set(args: Args, inputs: np.ndarray, labels: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """As many images as the largest n, the two digits by turns."""
    rng, half = np.random.default_rng(seed), -(-max(args.points) // 2)
    places = np.stack([rng.permutation(np.flatnonzero(labels == digit))[:half] for digit in (0, 1)], axis=1).ravel()
    return inputs[places], labels[places]


def drawn(network: nn.MLP, inputs: int) -> Any:
    """``(key) -> params``, all weights uniform between -1 and 1."""
    shapes = jax.eval_shape(network.init, jax.random.key(0), jax.ShapeDtypeStruct((1, inputs), jnp.float32))
    leaves, treedef = jax.tree.flatten(shapes)
    ends = np.cumsum([leaf.size for leaf in leaves])

    def init(key: jax.Array) -> Any:
        weights = jax.random.uniform(key, (int(ends[-1]),), jnp.float32, -1, 1)
        parts = zip(jnp.split(weights, ends[:-1]), leaves, strict=True)
        return treedef.unflatten([part.reshape(leaf.shape) for part, leaf in parts])

    return init


def main(args: Args) -> None:
    if args.quick:
        args.dataset, args.side, args.draws, args.sets, args.seeds, args.points = "digits", 4, 20_000, 2, 10, (2, 4, 8)
    jaxga.base.require_whole(1, sets=args.sets, seeds=args.seeds, side=args.side)
    jaxga.require(args.classes[0] != args.classes[1], f"classes is {args.classes}: name two digits.")
    inputs, labels, others, answers = examples(args, experiment.pictures(args))
    out = report.make_directory(args.out or report.find_run("guess", asdict(args)))
    network = nn.MLP((*args.hidden, 2))
    init, optimiser = drawn(network, inputs.shape[1]), optax.sgd(args.rate)

    def forward(params: Any, seen: jax.Array) -> jax.Array:
        return cast(jax.Array, network.apply(params, seen))

    guesses, descents, seconds = [], {0: [], args.beyond: []}, []
    for number in range(args.sets):
        sets = training_set(args, inputs, labels, number), (others, answers)
        options: dict[str, Any] = {"points": args.points, "key": number}
        begun = time.monotonic()
        guesses.append(analysis.guess(init, forward, *sets, draws=args.draws, **options))
        seconds.append(time.monotonic() - begun)
        for beyond, found in descents.items():
            found.append(
                analysis.descend_until_fit(
                    init, forward, *sets, optimiser, seeds=args.seeds, steps=1000, beyond=beyond, **options
                )
            )
    chance = np.stack([found.chance()[:, 0] for found in guesses])  # [sets, points]
    arms = {"random": 100 * np.array([[values[-1] for values in found.accuracy()] for found in guesses])}
    for beyond, found in descents.items():
        means = [[mean_of(each[fits]) for each, fits in zip(one.accuracy, one.fitted, strict=True)] for one in found]
        arms["further" if beyond else "first fit"] = 100 * np.array(means)
    rows = [row(args, place, chance, arms) for place in range(len(args.points))]
    for place, line in enumerate(rows):
        line["fitted"] = f"{100 * np.mean([one.fitted[place].mean() for one in descents[0]]):.0f} %"
    title = f"{args.dataset}, {args.classes[0]} or {args.classes[1]}: test accuracy in %, of {args.draws:,} random"
    report.print_table(rows, f"{title} networks a set of images ({np.median(seconds):.1f} s), and by gradient")
    every = {"chance": chance.tolist(), **{name: values.tolist() for name, values in arms.items()}}
    report.write_json(out / "summary.json", {"name": "guess", "rows": rows, "all": every, "seconds": seconds})
    draw(args, chance, arms, guesses[0], out / "guess.png")
    print(f"Files: {out}   Picture: {out / 'guess.png'}")


def mean_of(values: np.ndarray) -> float:
    """NaN of nothing."""
    return float(values.mean()) if len(values) else float("nan")


def row(args: Args, place: int, chance: np.ndarray, arms: dict[str, np.ndarray]) -> dict[str, Any]:
    """What is found for one number of images, over those sets that a random network fits."""
    n, there = args.points[place], np.isfinite([values[:, place] for values in arms.values()]).all(axis=0)
    told: dict[str, Any] = {"images": n, "sets": f"{there.sum()}", "coin": f"{n * np.log10(0.5):.1f}"}
    bound = experiment.told(np.log10(np.maximum(chance[:, place], 1 / args.draws)), 1)
    told["log10 P(fit)"] = bound if (chance[:, place] > 0).all() else f"<= {bound}"
    for name, values in arms.items():
        told[name] = experiment.told(values[there, place], 1) if there.any() else ""
    for name, values in list(arms.items())[1:]:
        told[f"less {name}"] = experiment.told((arms["random"] - values)[there, place], 1) if there.any() else ""
    return told


def draw(args: Args, chance: Any, arms: dict[str, np.ndarray], one: analysis.Guesses, path: Path) -> None:
    """The chance to fit; test accuracy of all arms; and that of one set's random networks by training accuracy."""
    n, seen = np.array(args.points), (chance > 0).all(axis=0)
    chances = [report.Curve("random networks", n[seen], np.log10(chance[:, seen])),
               report.Curve("coin flips", n, n * np.log10(0.5), ":")]  # fmt: skip
    compared = [report.Curve(name, n[seen], values[:, seen]) for name, values in arms.items()]
    curves = [
        report.Curve(f"{count} images", np.arange(count + 1) / count, 100 * values, "o-")
        for count, values in zip(args.points, one.accuracy(), strict=True)
    ]
    images = {"xlabel": "training images"}
    report.plot_curves(
        [
            ({**images, "ylabel": "log10 of the chance to fit"}, chances),
            ({**images, "ylabel": "test accuracy of those that fit, %"}, compared),
            ({"xlabel": "training accuracy", "ylabel": "test accuracy, %", "title": "one set"}, curves),
        ],
        path,
        f"{args.classes[0]} or {args.classes[1]}, {args.sets} sets of training images",
    )


if __name__ == "__main__":
    report.run_command(main, Args)
