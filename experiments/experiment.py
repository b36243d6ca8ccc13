"""What the experiments share: options of the command line, and the way from them to the files of a run."""

import inspect
import json
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
import optax

import jaxga
from jaxga import data, pedigree, report, variation

Arguments = TypeVar("Arguments")


@dataclass
class Files:
    """Of a script that writes into a directory, and can go on with what is there."""

    out: Path | None = None  # what this is by default, each script says
    resume: bool = False
    """Go on with the run in --out; its arguments need not be repeated."""
    quick: bool = False
    """A small one that takes seconds."""


@dataclass
class Scoring(Files):
    """Of a script whose children can be scored in many places."""

    backend: jaxga.backend.Backend = "devices"
    """Who scores: one device; all of this process; those of all processes, one started a host; workers of Ray."""
    workers: int | None = None
    """Of Ray, at RAY_ADDRESS or on this machine; by default as many as there is room for, now and later."""
    dollars_per_hour: float | None = None
    """What a node costs."""


@dataclass
class Series(Files):
    """Of a script that runs one algorithm with several seeds."""

    seconds: float | None = None
    """Stop after so many seconds."""
    seed: int = 0
    """Of the first run."""
    seeds: int = 1
    """Independent runs, each in a directory of its own."""


@dataclass
class Pictures(Files):
    """Of a script that looks at handwritten digits."""

    data: Path | None = None
    """A folder with the four IDX files of MNIST. By default $JAXGA_MNIST, else ~/.cache/jaxga/mnist."""
    dataset: Literal["mnist", "digits"] | None = None
    """28 x 28 pixels, downloaded if need be; or scikit-learn's small digits, 8 x 8. By default MNIST where its files
    are at hand, else digits."""


def pictures(args: Pictures) -> data.Images:
    """The images that the arguments name; settles ``args.dataset``."""
    if args.dataset is None:
        args.dataset = "mnist" if args.data or data.mnist_at_hand() else "digits"
    return data.mnist(args.data) if args.dataset == "mnist" else data.digits()


def own_first(arguments: type[Arguments]) -> type[Arguments]:
    """Put the fields of a dataclass before those that it inherits: --help lists them in this order."""
    rank = {name: place for place, base in enumerate(arguments.__mro__) for name in inspect.get_annotations(base)}
    fields = vars(arguments)["__dataclass_fields__"]
    for name in sorted(fields, key=lambda name: rank[name]):
        fields[name] = fields.pop(name)
    return arguments


def scoring(
    args: Scoring, make: Callable[[], tuple[jaxga.Task, jaxga.Algorithm]], chunk: int | None = None
) -> dict[str, Any]:
    """The options of `jaxga.run` that say who scores. A worker of Ray calls ``make``."""

    def evaluator() -> jaxga.Vmapped:
        task, algorithm = make()
        return jaxga.vmapped(algorithm, task, chunk)

    return jaxga.backend.options(args.backend, evaluator, args.workers)


def run_seeds(
    args: Series, name: str, task: jaxga.Task, algorithm: jaxga.Algorithm, **options: Any
) -> tuple[Path, list[jaxga.Result]]:
    """Run all seeds, with ``options`` of `jaxga.run`. Returns the directory and a result for each seed.

    Where a run failed, and in all processes but the first, it ends the process: there is nothing to report.
    """
    jax.eval_shape(algorithm.init, jax.random.key(0))  # what cannot work is refused before anything is written
    out = args.out or report.find_run(name, asdict(args))
    results = jaxga.run_seeds(
        algorithm, task, name, asdict(args), out, resume=args.resume, seconds=args.seconds or float("inf"), **options
    )
    if (code := report.exit_code(results[-1])) is not None:
        sys.exit(code)
    return out, results


def conclude(args: Series, name: str, out: Path, results: list[jaxga.Result], headline: dict[str, Any]) -> None:
    """Write summary.json, which has the first seed and ``headline``, and say where files and picture are."""
    report.write_json(out / "summary.json", {"name": name, "seed": args.seed, **results[0].summary(), **headline})
    print(f"Files: {out}   Picture: {out / name}.png")


def once(path: Path, arm: str, seed: int, do: Callable[[], Any]) -> Any:
    """What a run of an arm found, from this file where it has it. Otherwise the run is done, and written there."""
    kept = json.loads(path.read_text()) if path.exists() else {}
    runs = kept.setdefault(arm, {})
    if str(seed) not in runs:
        runs[str(seed)] = do()
        report.write_json(path, kept)
    return runs[str(seed)]


def first_of(reached: np.ndarray, x: Any) -> np.ndarray:
    """The first of ``x [P]`` at which each run is there, ``[R]``, by ``reached [R, P]``; infinity where none is."""
    return np.where(reached.any(axis=1), np.asarray(x)[reached.argmax(axis=1)], np.inf)


def told(values: Any, digits: int = 2, form: str = "f") -> str:
    """The median with its 95 % interval, for a table; ``form`` "g" counts the digits that are not leading zeros.

    Values that are not finite are left out, and the number of the others is told; "-" if there are none.
    """
    values = np.asarray(values, float)
    finite = values[np.isfinite(values)]
    if not len(finite):
        return "-"
    found = report.median_interval(finite)
    some = f", {len(finite)} of {len(values)}" if len(finite) < len(values) else ""
    return f"{found.median:.{digits}{form}} [{found.low:.{digits}{form}}, {found.high:.{digits}{form}}]{some}"


def chosen(arms: dict[str, Any], names: tuple[str, ...], quick: bool) -> dict[str, Any]:
    """The arms of these names; by default all, and the first two of a quick run."""
    unknown = sorted(set(names) - set(arms))
    jaxga.require(not unknown, f"arms has {unknown}, and there are {sorted(arms)}.")
    return {name: arms[name] for name in names or (list(arms)[:2] if quick else list(arms))}


def mean_of_all(children: int, stretch: float = 2.7) -> variation.Recombination:
    """The mean of all children by centred rank; its step is ``stretch`` times as long as one of theirs."""
    weights = variation.by_centred_rank(jnp.arange(children, 0, -1.0))
    shrunk = float(jnp.sqrt(jnp.sum(weights**2)))  # the mean of independent steps is so much shorter than one of them
    return variation.average(children, variation.by_centred_rank, scale=stretch / shrunk)


def falling(size: variation.StepSize, generations: int) -> variation.StepSize:
    """Step sizes fall to a fiftieth over so many generations, like a cosine."""
    return variation.scheduled(size, optax.cosine_decay_schedule(1.0, generations, 0.02))


def survivors(algorithm: jaxga.Algorithm, runs: jaxga.Runs) -> list[Any]:
    """The first parent that each run ends with; ``run_many(..., pedigrees=True)`` keeps what it takes."""
    ends = [pedigree.replay(algorithm, record).parents.params for record in runs.pedigrees]
    return [jax.tree.map(lambda leaf: leaf[0], params) for params in ends]


def tested(task: jaxga.Task, networks: list[Any]) -> np.ndarray:
    """What a task with many lives says of each network, on draws that no run has seen."""
    score = jax.jit(lambda key, params: task.score(key, params))
    keys = jax.random.split(jax.random.key(2**31 - 1), len(networks))
    return np.array([float(score(key, params).fitness) for key, params in zip(keys, networks, strict=True)])


def curves(results: list[jaxga.Result], metric: str) -> tuple[list[report.Curve], list[report.Curve]]:
    """A metric of every seed, where it was measured: against generations, and against seconds."""
    by_generation, by_second = [], []
    for number, result in enumerate(results):
        history = result.history
        seen = ~np.isnan(history[metric])
        label = "" if number else f"GA, {result.summary()['evaluations_per_second']:,.0f} networks/s"
        by_generation.append(report.Curve(label, history["generation"][seen] + 1, history[metric][seen]))
        by_second.append(report.Curve(label, history["seconds"][seen], history[metric][seen]))
    return by_generation, by_second
