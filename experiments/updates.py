"""What do good steps look like? The best step size at a fitness, and what SGD does.

Two questions about the steps of small perceptrons: of evolution on noise to memorize, and of SGD on digits.
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
import scipy

import jaxga
from jaxga import analysis, compilation, lowrank, nn, pedigree, report, tasks, variation

Question = Literal["levels", "updates"]
LEVELS = 2.0, 1.5, 1.0, 0.5  # cross-entropies
SIZES = np.geomspace(1e-3, 1, 19).tolist()  # step sizes to compare, in units of the weights
LAMBDA = 89  # of the notes' exponential distribution: its mean, without the sign, is 1 / 89
MIDDLE = 1.0  # the level where kinds of noise are compared
SAMPLES = 256  # mutations of each step size
BATCH = 64  # digits that are scored, or that SGD sees, at once
CHILDREN = 64
FORM = "The form of SGD's updates, means over its steps."
RATE, MUTATIONS = 0.1, 256  # of SGD, and that are compared with its updates


@experiment.own_first
@dataclass
class Args(experiment.Pictures):
    question: Question = "updates"
    """levels: which step size is best where runs of other step sizes are equally fit. updates: what steps SGD
    takes, and how near mutations come to them."""
    dataset: Literal["mnist", "digits"] | None = "digits"
    """28 x 28 pixels, which takes ten times as long; or scikit-learn's small digits, 8 x 8 (the default)."""
    seeds: int = 10
    """Runs of every arm."""
    generations: int | None = None
    """By default 1,000; or so many steps of SGD, by default 300."""
    out: Path | None = None
    """Where the figures and pictures go; default runs/updates/<id>."""
    quick: bool = False
    """A little of it, with two seeds."""


def noise() -> jaxga.Task:
    """64 points to memorize, all of them in every evaluation."""
    return tasks.memorization(nn.MLP((32, 10)), points=64, shape=(64,))


def digits(args: Args, batch: int | None = BATCH) -> jaxga.Task:
    """Digits to read, the same for everybody in a generation."""
    return tasks.classification(nn.MLP((32, 10)), experiment.pictures(args), batch=batch)


class Book:
    """Tables, which are written down whenever they have a new row, and panels of a picture."""

    def __init__(self, args: Args):
        self.out = report.make_directory(args.out or report.find_run("updates", asdict(args)))
        self.begin = {"name": "updates", **asdict(args), "out": None, "data": None}
        self.tables: dict[str, list[dict[str, Any]]] = {}
        self.panels: list[tuple[dict[str, Any], list[Any]]] = []

    def add(self, table: str, row: dict[str, Any]) -> None:
        self.tables.setdefault(table, []).append(row)
        report.write_json(self.out / "summary.json", self.begin | {"tables": self.tables})


def gaussian(size: Any) -> jaxga.Variation:
    return variation.gaussian(variation.absolute(size))


def laplace(size: Any) -> jaxga.Variation:
    return variation.laplace(variation.absolute(size))


def exponential(size: Any) -> jaxga.Variation:
    """The notes' mutation: ``size`` times an exponential number of mean 1 / 89, with a sign of its own."""
    return variation.additive(
        lambda key, shape, dtype: jax.random.laplace(key, shape, dtype) / LAMBDA, variation.absolute(size)
    )


def levels(args: Args, book: Book) -> None:
    """Is the best step size at a fitness the same for runs that came there with other step sizes?"""
    task, generations = noise(), args.generations or 1000
    owns = (0.02, 0.06) if args.quick else (0.01, 0.02, 0.04, 0.08)
    best = {(own, level): np.full(args.seeds, np.nan) for own in owns for level in LEVELS}
    kinds = {"normal": gaussian, "Laplace": laplace, f"lambda {LAMBDA}": exponential}
    shapes: dict[str, list[Any]] = {name: [] for name in kinds}  # what mutations do at the middle level
    for own in owns:
        algorithm = jaxga.ga(task.init, gaussian(own), parents=1, children=CHILDREN)
        runs = jaxga.run_many(
            lambda algorithm=algorithm: algorithm, task, generations=generations, seeds=args.seeds, batch=1,
            pedigrees=True,
        )  # fmt: skip
        for seed, (record, entropy) in enumerate(zip(runs.pedigrees, runs.metrics["cross_entropy"], strict=True)):
            source = pedigree.begin(algorithm, record)
            for level in LEVELS:
                reached = np.flatnonzero(entropy <= level)
                if not len(reached):
                    break
                source = pedigree.forward(algorithm, record, source, int(reached[0]) + 1)
                parent = jaxga.tree.take(source.parents.params, 0)
                seen = analysis.improvements(task, parent, gaussian, SIZES, key=1, samples=SAMPLES)
                best[own, level][seed] = seen.best_size(CHILDREN)
                for name, kind in kinds.items() if level == MIDDLE else ():
                    unit = LAMBDA / 2**0.5 if kind is exponential else 1.0  # its standard deviation is 2**0.5 / 89
                    shapes[name].append(
                        analysis.improvements(
                            task, parent, kind, [unit * size for size in SIZES], key=1, samples=SAMPLES
                        )
                    )
    for level, own in ((level, own) for level in LEVELS for own in owns):
        book.add(
            "Which step size is best where a cross-entropy was first reached?",
            {
                "cross-entropy": level, "step size of the run": own, "best step size": median_of(best[own, level]),
                "by that of the first's runs": median_of(best[own, level] / best[owns[0], level]),
            },
        )  # fmt: skip
    tops = {name: np.array([one.expected_best(CHILDREN).max() for one in found]) for name, found in shapes.items()}
    for name, found in shapes.items():
        sizes = np.array([one.best_size(CHILDREN) for one in found])
        book.add(
            f"Which noise, where the cross-entropy is {MIDDLE}? (the best of {CHILDREN})",
            {
                "": name, "best sigma": median_of(sizes),
                "best deviation of a weight": median_of(sizes * (2**0.5 / LAMBDA if name.startswith("l") else 1)),
                "gain": median_of(tops[name], 3), "by normal steps'": median_of(tops[name] / tops["normal"], 3),
            },
        )  # fmt: skip
    axes = {"xlabel": "standard deviation of a weight's change", "xscale": "log", "ylabel": "gain of the best"}
    gains = {name: np.array([one.expected_best(CHILDREN) for one in found]) for name, found in shapes.items()}
    limits = {"ylim": (-0.2, 1.3 * max(values.max() for values in gains.values())), "title": f"at {MIDDLE}"}
    book.panels.append((axes | limits, [report.Curve(name, SIZES, values) for name, values in gains.items()]))
    lines = [report.Curve(f"runs of {own}", LEVELS, np.nanmedian([best[own, at] for at in LEVELS], 1)) for own in owns]
    book.panels.append(({"xlabel": "cross-entropy", "ylabel": "best step size", "yscale": "log"}, lines))


def median_of(values: np.ndarray, digits: int = 2) -> str:
    """The median of those that are known, and of how many."""
    known = values[~np.isnan(values)]
    return f"{experiment.told(known, digits, 'g')} of {len(known)}" if len(known) else "-"


def descend(task: jaxga.Task, full: jaxga.Task, steps: int) -> Callable[[jax.Array], Any]:
    """SGD from a key: the weights before each step, and the gradients of its batch and of all images, ``[S, ...]``."""
    assert task.loss is not None
    assert full.loss is not None
    of_batch, of_all = jax.grad(task.loss, argnums=1), jax.grad(full.loss, argnums=1)

    def step(params: Any, key: jax.Array) -> tuple[Any, Any]:
        batch, whole = of_batch(key, params), of_all(key, params)
        return jax.tree.map(lambda weight, down: weight - RATE * down, params, batch), (params, batch, whole)

    def run(key: jax.Array) -> Any:
        key_init, key_steps = jax.random.split(key)
        return jax.lax.scan(step, task.init(key_init), jax.random.split(key_steps, steps))[1]

    return compilation.jit(run)


def form(kernel: np.ndarray) -> dict[str, float]:
    """The form of one update of a layer's kernel ``[inputs, units]``: its tails, and where its squared length goes.

    They are the excess kurtosis; by how many nats a weight's log likelihood is larger with a Laplace distribution than
    with a normal one; whether the test of Shapiro and Wilk rejects a normal one (p < 0.05); and the share of the
    squared length that is in the best matrix of rank 1, in the weights into one unit, and in the largest 1 % of the
    weights.
    """
    fit = analysis.fit_distributions({"kernel": kernel})["kernel"]
    squares = np.sort(np.ravel(kernel.astype(float) ** 2))[::-1]
    whole = squares.sum()
    return {
        "kurtosis": float(scipy.stats.kurtosis(np.ravel(kernel))),
        "Laplace - normal": fit.log_likelihood[1] - fit.log_likelihood[0],
        "not normal, %": 100.0 * (fit.shapiro < 0.05),
        "rank 1, %": 100 * float(np.linalg.norm(kernel.astype(float), 2) ** 2 / whole),
        "one unit, %": 100 * float((kernel.astype(float) ** 2).sum(axis=0).max() / whole),
        "1 % of them, %": 100 * float(squares[: max(len(squares) // 100, 1)].sum() / whole),
    }


def kinds_of(target: Any) -> dict[str, jaxga.Variation]:
    """Mutations by name; the last two know how long a layer's update is, or how long each weight's is."""
    one, total = variation.absolute(1.0), jaxga.tree.size(target)
    of_leaf = variation.fixed(lambda _: jax.tree.map(jaxga.tree.root_mean_square, target))
    of_weight = variation.fixed(lambda _: jax.tree.map(jnp.abs, target))
    return {
        "normal": variation.gaussian(one),
        "Laplace": variation.laplace(one),
        "low rank 1": variation.low_rank(one),
        "row": variation.row(one),
        "sparse, 1 % of weights": variation.sparse(one, max(total // 100, 1)),
        "normal, lengths of arrays known": variation.gaussian(of_leaf),
        "low rank 1, lengths of arrays known": variation.low_rank(of_leaf),
        "normal, lengths of weights known": variation.gaussian(of_weight),
    }


def best_cosines(name: str, mutations: int) -> Callable[[jax.Array, Any], jax.Array]:
    """``(key, targets [S, ...]) -> [S]``: the largest cosine of so many mutations with each target."""

    def of_target(key: jax.Array, target: Any) -> jax.Array:
        change, zeros = kinds_of(target)[name], jax.tree.map(jnp.zeros_like, target)
        parent = jaxga.Individual(zeros, change.init(zeros))

        def cosine(key: jax.Array) -> jax.Array:
            moved = lowrank.dense(change.apply(key, parent, jaxga.base.Context(jnp.int32(0), parent)).params)
            inner = sum(jax.tree.leaves(jax.tree.map(lambda one, other: jnp.sum(one * other), moved, target)))
            return inner / (optax.global_norm(moved) * optax.global_norm(target))

        return jax.lax.map(cosine, jax.random.split(key, mutations), batch_size=min(32, mutations)).max()

    def of_all(key: jax.Array, targets: Any) -> jax.Array:
        count = len(jax.tree.leaves(targets)[0])
        return jax.lax.map(lambda pair: of_target(*pair), (jax.random.split(key, count), targets))

    return compilation.jit(of_all)


def updates(args: Args, book: Book) -> None:
    """The form of SGD's updates, step by step, and the best that mutations can do to be like them."""
    steps = args.generations or 300
    task, full = digits(args), digits(args, None)
    at = np.unique(np.geomspace(1, steps, 3 if args.quick else 12).astype(int)) - 1
    keys = jax.random.split(jax.random.key(0), args.seeds)
    run = descend(task, full, steps)
    seen = [jax.tree.map(np.asarray, run(key)) for key in keys]  # by seed: weights, batch, whole
    layers = sorted(seen[0][0]["params"])
    random = np.random.default_rng(0)
    for layer in layers:
        kernels = [[part["params"][layer]["kernel"] for part in one] for one in seen]
        lines = {}
        sources: dict[str, Callable[[list[np.ndarray], int], np.ndarray]] = {
            "a batch": lambda parts, step: parts[1][step],
            "all images": lambda parts, step: parts[2][step],
            "normal noise": lambda parts, _: random.normal(size=parts[0][0].shape),
        }
        for name, source in sources.items():
            forms = [[form(source(parts, step)) for step in at] for parts in kernels]
            told = {key: np.array([[one[key] for one in row] for row in forms]) for key in forms[0][0]}
            means = {key: experiment.told(values.mean(axis=1), 2, "g") for key, values in told.items()}
            book.add(FORM, {"": f"{layer}, {name}"} | means)
            lines[name] = told["rank 1, %"], told["Laplace - normal"]
        moved = [form(parts[0][-1] - parts[0][0]) for parts in kernels]
        told = {key: experiment.told([one[key] for one in moved], 2, "g") for key in moved[0]}
        book.add(FORM, {"": f"{layer}, all steps together"} | told)
        for number, ylabel in enumerate(("best rank 1, % of squared length", "log likelihood, Laplace - normal")):
            curves = [report.Curve(name, at + 1, values[number]) for name, values in lines.items()]
            book.panels.append(({"xlabel": "step", "xscale": "log", "ylabel": ylabel, "title": layer}, curves))
    total, mutations = jaxga.tree.size(jax.tree.map(lambda leaf: leaf[0], seen[0][0])), 32 if args.quick else MUTATIONS
    theory = analysis.expected_top(mutations) / total**0.5
    for name in list(kinds_of(jax.tree.map(lambda leaf: leaf[0], seen[0][1])))[: 3 if args.quick else None]:
        ask = best_cosines(name, mutations)
        found = np.array([
            [np.asarray(ask(key, jax.tree.map(lambda leaf: -leaf[at], part))).mean() for part in one[1:]]
            for key, one in zip(keys, seen, strict=True)
        ])  # fmt: skip
        book.add(f"The largest cosine of {mutations} mutations with an update of {total:,} weights", {
            "": name, "of a batch": experiment.told(found[:, 0], 4), "of all images": experiment.told(found[:, 1], 4),
            "theory for normal": round(theory, 4), "batch / theory": experiment.told(found[:, 0] / theory),
        })  # fmt: skip
    kernel = seen[0][0]["params"][layers[0]]["kernel"]
    unit = np.abs(kernel[-1] - kernel[0]).sum(axis=0).argmax()
    most = np.argsort(-np.abs(kernel[-1] - kernel[0])[:, unit])[:16]
    curves = [report.Curve("", np.arange(1, steps + 1), kernel[:, weight, unit]) for weight in most]
    book.panels.append(({"xlabel": "step", "ylabel": "weights into one unit", "title": "that moves most"}, curves))


ASKED: dict[Question, Callable[[Args, Book], None]] = {"levels": levels, "updates": updates}


def main(args: Args) -> None:
    if args.quick:
        args.generations, args.seeds = 200 if args.question == "levels" else 20, 2
    jaxga.base.require_whole(2, seeds=args.seeds, generations=args.generations or 2)
    book = Book(args)
    ASKED[args.question](args, book)
    for name, rows in book.tables.items():
        report.print_table(rows, f"{name} {args.seeds} seeds")
    picture = book.out / f"{args.question}.png"
    report.plot_curves(book.panels, picture, f"{args.question}: {args.seeds} seeds, median and range")
    print(f"Files: {book.out}   Picture: {picture}")


if __name__ == "__main__":
    report.run_command(main, Args)
