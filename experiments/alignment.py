"""Networks that are the same but for the order of their hidden units: what lies between two, and of what use is sex?

* barriers: two networks that read digits, and the loss on the straight line between them, before and after the hidden
  units of one are put into the order of the other (Ainsworth et al. 2022; the figures of Fort 2022 beside ours).
* crossover: of whole neurons, with and without alignment, against none, at equal evaluations. All parents begin as
  strangers. The best of all children are held, or each parent competes with its own children alone.
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

import jaxga
from jaxga import alignment, baselines, data, nn, report, selection, tasks, variation
from jaxga.base import Context, Individual
from jaxga.tree import named_leaves

Question = Literal["barriers", "crossover"]
# Test loss halfway between two networks, before and after alignment: the notebook of Fort, one pair each.
PUBLISHED = {"SGD 0.1": "0.742 to 0.088", "SGD 0.001": "1.69 to 1.19", "Adam 0.005": "2.16 to 0.096",
             "Adam 0.04": "2.95 to 2.22"}  # fmt: skip
EVOLVED = "evolved", "evolved, one start"
BY_NEURON = variation.uniform_crossover(variation.by_neuron)
POINTS, PARENTS = 25, 16  # of a line, both ends included; where sex is the question
SHOWN = 256  # digits that networks learn from where sex is the question


@experiment.own_first
@dataclass
class Args(experiment.Pictures):
    question: Question = "barriers"
    """barriers: the loss between two networks. crossover: does it help, with and without alignment?"""
    arms: tuple[str, ...] = (*PUBLISHED, *EVOLVED)
    """Of barriers: an optimiser and its rate; evolved; "evolved, one start", where both begin as one network."""
    hidden: tuple[int, ...] = (512, 512, 512)
    """Widths of hidden layers of barriers."""
    epochs: int = 50
    """Of SGD and Adam, in batches that are drawn with replacement."""
    batch: int = 500
    """Images of a step, and of a generation."""
    pairs: int = 1
    """Pairs of networks of an arm; figures are their medians."""
    generations: int = 300
    """Of evolution, in barriers and in crossover."""
    children: int = 128
    """Of a generation; in barriers their mean is the next parent."""
    seeds: int = 10
    """Runs of every arm of crossover."""
    out: Path | None = None
    """Where the files go; default runs/alignment/<id>."""
    quick: bool = False
    """Small networks, the small digits, two arms."""


def images(args: Args) -> data.Images:
    """Those that the arguments name; all but the test images are learned from."""
    found = data.digits() if args.quick else experiment.pictures(args)
    pixels = np.concatenate([found.train_images, found.validation_images])
    labels = np.concatenate([found.train_labels, found.validation_labels])
    return found._replace(train_images=pixels, train_labels=labels)


def optimiser(arm: str, steps: int) -> optax.GradientTransformation:
    """SGD with momentum, whose rate rises for ten steps and falls like a cosine; Adam at one rate."""
    name, rate = arm.split()
    if name == "Adam":
        return optax.adam(float(rate))
    return optax.sgd(optax.warmup_cosine_decay_schedule(1e-6, float(rate), min(10, steps - 1), steps), momentum=0.9)


def evolve(args: Args, task: jaxga.Task, start: int, seed: int) -> Any:
    """The mean of all children is the next parent; step sizes fall."""
    mutation = variation.low_rank(experiment.falling(variation.relative(0.05), args.generations))
    algorithm = jaxga.ga(
        task.init, mutation, parents=1, children=args.children, recombination=experiment.mean_of_all(args.children),
        founders=jaxga.trained_founders(jax.jit(task.init)(jax.random.key(start))),
    )  # fmt: skip
    return jaxga.run(algorithm, task, seed, generations=args.generations, validate_every=args.generations).best.params


def network(args: Args, task: jaxga.Task, steps: int, folder: Path, arm: str, seed: int, start: int) -> Any:
    """One of the two networks of a pair; made if it is not there yet."""
    if arm in EVOLVED:
        return kept(folder / f"evolved-{start}-{seed}.npz", task, lambda: evolve(args, task, start, seed))
    file = folder / f"{arm.replace(' ', '-')}-{seed}.npz"
    return kept(file, task, lambda: baselines.gradient_descent(task, optimiser(arm, steps), steps, seed)[0])


def kept(file: Path, task: jaxga.Task, make: Callable[[], Any]) -> Any:
    """The params in this file; or those that are made, which are kept there for the next time."""
    if not file.exists():
        half = report.make_directory(file.parent) / f"half-{file.name}"
        np.savez(half, **named_leaves(make()))
        half.replace(file)
    like = jax.eval_shape(task.init, jax.random.key(0))
    with np.load(file) as saved:
        return jax.tree.unflatten(jax.tree.structure(like), [jnp.asarray(saved[name]) for name in named_leaves(like)])


def compare(task: jaxga.Task, one: Any, other: Any) -> dict[str, Any]:
    """What lies between two networks, and what their child by neurons is good for; before and after alignment."""
    assert task.test is not None
    score = jaxga.compilation.jit(task.test)

    @jax.jit
    def cross(key: jax.Array, one: Any, other: Any) -> Any:
        return BY_NEURON.apply(key, Individual(one), Context(jnp.int32(0), Individual(other))).params

    ends = [score(params).metrics for params in (one, other)]
    found: dict[str, Any] = {name: np.mean([float(end[name]) for end in ends]) for name in ("accuracy", "loss")}
    ordered = alignment.canonical(one), alignment.canonical(other)
    mates = {"before": (one, other), "after": (one, alignment.align(one, other)), "sorted": ordered}
    for name, both in mates.items():
        line = alignment.interpolate(lambda params: score(params).metrics["loss"], *both, POINTS)
        halfway = jax.tree.map(lambda a, b: (a + b) / 2, *both)
        children = [score(cross(jax.random.key(number), *both)).metrics["accuracy"] for number in range(10)]
        found[name] = {
            "losses": np.asarray(line.losses).tolist(), "barrier": float(line.barrier),
            "halfway": float(score(halfway).metrics["loss"]), "child": 100 * float(np.median(children)),
        }  # fmt: skip
    return found


def row(arm: str, found: list[dict[str, Any]]) -> dict[str, Any]:
    """Medians of all pairs."""

    def change(name: str, digits: int) -> str:
        before, after = (np.median([one[when][name] for one in found]) for when in ("before", "after"))
        return f"{before:.{digits}f} to {after:.{digits}f}"

    accuracy, loss = (np.median([one[name] for one in found]) for name in ("accuracy", "loss"))
    return {
        "": arm, "right, %": f"{100 * accuracy:.1f}", "loss": f"{loss:.3f}", "barrier": change("barrier", 3),
        "of sorted": f"{np.median([one['sorted']['barrier'] for one in found]):.3f}",
        "loss halfway": change("halfway", 3), "published, halfway": PUBLISHED.get(arm, ""),
        "child right, %": change("child", 1),
    }  # fmt: skip


def barriers(args: Args, out: Path, summary: dict[str, Any]) -> None:
    """A row and two curves an arm."""
    seen = images(args)
    task = tasks.classification(nn.MLP((*args.hidden, 10)), seen, batch=args.batch, normalise=False)
    steps = max(args.epochs * len(seen.train_labels) // args.batch, 2)
    rows, every, curves = [], {}, {"before": [], "after": []}
    for arm in args.arms:
        found = []
        for first in range(0, 2 * args.pairs, 2):
            starts = {first: first, first + 1: first if arm == EVOLVED[1] else first + 1}
            both = [network(args, task, steps, out / "networks", arm, *one) for one in starts.items()]
            found.append(compare(task, *both))
        every[arm] = found
        rows.append(row(arm, found))
        report.write_json(out / "summary.json", summary | {"rows": rows, "all": every})
        for when, lines in curves.items():
            losses = np.array([one[when]["losses"] for one in found])
            lines.append(report.Curve(arm, np.linspace(0, 1, POINTS), losses))
        top = 1.05 * max(line.values.max() for lines in curves.values() for line in lines)
        axes = {"xlabel": "share of the second network", "ylabel": "test loss", "ylim": (0, top)}
        panels = [(axes | {"title": f"{when} alignment"}, lines) for when, lines in curves.items()]
        report.plot_curves(panels, out / "barriers.png", "On the straight line between two networks")
    report.print_table(rows, "Two networks that read digits, before and after alignment")
    print(f"Files: {out}   Picture: {out / 'barriers.png'}")


ALIGNED = alignment.aligned(BY_NEURON, sweeps=1)  # all that one hidden layer needs
CHANGES: dict[str, list[jaxga.Variation]] = {"none": [], "by neuron": [BY_NEURON], "by neuron, aligned": [ALIGNED]}
HELD = {"the best of all": selection.ranked, "the best of each family": selection.crowding}


def problems(args: Args) -> dict[str, jaxga.Task]:
    """Noise to memorize, and a few digits to learn: all of them in every evaluation, so that scores stay comparable."""
    seen = images(args)
    few = seen._replace(
        train_images=seen.train_images[:SHOWN], train_labels=seen.train_labels[:SHOWN],
        validation_images=seen.test_images, validation_labels=seen.test_labels,
    )  # fmt: skip
    return {
        "noise": tasks.memorization(nn.MLP((32, 10)), points=64, shape=(16, 16, 1)),
        "digits": tasks.classification(nn.MLP((16, 10)), few),
    }


def make(task: jaxga.Task, held: str, name: str, children: int) -> jaxga.Algorithm:
    """Parents that begin as strangers, held and crossed in one of these ways."""
    mutation = variation.gaussian(variation.multiplicative(variation.relative(0.1), up=1.2))
    return jaxga.ga(
        task.init, variation.chain(*CHANGES[name], mutation), parents=PARENTS, children=children,
        founders=jaxga.random_founders, selection=HELD[held](),
    )  # fmt: skip


def crossed(args: Args, task: jaxga.Task, algorithm: jaxga.Algorithm, file: Path) -> jaxga.Runs:
    """The runs in this file; or those that are made, which are kept there for the next time."""
    if not file.exists():
        end, seeds = args.generations, args.seeds
        jaxga.run_many(lambda: algorithm, task, generations=end, seeds=seeds, validate_every=end, batch=1).save(file)
    return jaxga.load_runs(file)


def crossover(args: Args, out: Path, summary: dict[str, Any]) -> None:
    """A table for every problem, with a row for each way to hold parents and to cross them."""
    panels, few = [], slice(1 if args.quick else None)
    for problem, task in list(problems(args).items())[few]:
        rows = summary[problem] = []
        for held in list(HELD)[few]:
            curves = []
            for name in list(CHANGES)[-1 if args.quick else 0 :]:
                algorithm = make(task, held, name, args.children)
                runs = crossed(args, task, algorithm, out / f"{problem}, {held}, {name}.npz")
                losses = -runs.metrics["best_fitness"]
                rows.append({"held": held, "crossover": name, "loss of the best": experiment.told(losses[:, -1], 3)})
                if problem == "digits":
                    rows[-1]["test, %"] = experiment.told(100 * runs.metrics["validation_accuracy"][:, -1], 1)
                curves.append(report.Curve(name, np.arange(1, args.generations + 1), losses))
                report.write_json(out / "summary.json", summary)
            axes = {"xlabel": "generation", "ylabel": "loss of the best", "title": f"{problem}: {held}"}
            panels.append((axes | {"yscale": "log"}, curves))
            report.plot_curves(panels, out / "crossover.png", f"Median of {args.seeds} seeds within their range")
        report.print_table(rows, f"{problem}: {args.seeds} seeds, {args.children} children a generation")
    print(f"Files: {out}   Picture: {out / 'crossover.png'}")


def main(args: Args) -> None:
    if args.quick and not args.resume:
        args.arms, args.hidden, args.epochs, args.batch = ("SGD 0.1", "evolved"), (16,), 2, 100
        args.generations, args.children, args.seeds = 20, 32, 2
    jaxga.base.require_whole(1, epochs=args.epochs, batch=args.batch, pairs=args.pairs, seeds=args.seeds)
    jaxga.base.require_whole(2, generations=args.generations, children=args.children)
    jaxga.base.require_whole(1, hidden=min(args.hidden, default=0))
    taken = len(args.arms) > 0 and {*PUBLISHED, *EVOLVED}.issuperset(args.arms)
    jaxga.require(taken, f"arms is {args.arms}, and there are {[*PUBLISHED, *EVOLVED]}: take some of these.")
    out = args.out or report.find_run("alignment", asdict(args))
    report.RunDirectory(out, "alignment", asdict(args), args.resume)
    said = {name: value for name, value in asdict(args).items() if name not in ("out", "data", "resume")}
    (barriers if args.question == "barriers" else crossover)(args, out, {"name": "alignment", **said})


if __name__ == "__main__":
    report.run_command(main, Args)
