"""What helps a genetic algorithm on MNIST, and what does not: each question answered over several seeds.

Every study compares settings of `experiments/mnist.py` that differ in one thing, all else and all seeds being equal, by
accuracy and loss on the validation images. So settings can be chosen by them; nothing here looks at the test images.
"""

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import experiment
import mnist
import numpy as np

import jaxga
from jaxga import data, report


class Study(NamedTuple):
    """A question, what all settings share, and what each of them changes."""

    question: str
    shared: dict[str, Any]
    settings: dict[str, dict[str, Any]]


AVERAGED = {"children": 256, "generations": 600, "anneal": 600}
SELECTED = {"children": 256, "generations": 500, "average": 1, "gamma": 1.05, "anneal": 0, "sigma": 0.02}
LARGER = {"sigma": 0.3, "stretch": 1.0}  # children look further, their mean goes less far
STUDIES = {
    "pairing": Study(
        "Which 500 images is a child scored on? (the mean of all 256 children)",
        AVERAGED,
        {name: {"pairing": name} for name in ("fresh", "common", "paired")},
    ),
    "pairing_best": Study(
        "Which 500 images is a child scored on? (the best of 256 children)",
        SELECTED | {"generations": 300},
        {name: {"pairing": name} for name in ("fresh", "common", "paired")},
    ),
    "noise": Study(
        "Which noise, all of the same variance and so of equal expected length?",
        {"children": 128, "generations": 200, "anneal": 200},
        {
            "gaussian": {"mutation": "gaussian"},
            "laplace": {"mutation": "laplace"},
            "uniform": {"mutation": "uniform"},
            "rank 1": {"rank": 1},
            "rank 4": {"rank": 4},
        },
    ),
    "plateau": Study(
        "Can accuracy alone be climbed?",
        AVERAGED,
        {
            "cross-entropy": {},
            "accuracy": {"loss": "errors"},
            "accuracy, larger steps": {"loss": "errors", **LARGER},
            "accuracy, best child": {"loss": "errors", **SELECTED},
            "sampled accuracy": {"loss": "sampled"},
            "sampled accuracy, larger steps": {"loss": "sampled", **LARGER},
            "sampled accuracy, best child": {"loss": "sampled", **SELECTED},
        },
    ),
    "averaging": Study(
        "How many of 256 children make the next parent, with which weights?",
        AVERAGED | {"sigma": 0.02, "anneal": 0},
        {
            "the best": {"average": 1},
            "64, plain mean": {"average": 64, "weights": "equal", "stretch": 1 / 8},
            "64, times sqrt(64)": {"average": 64, "weights": "equal", "stretch": 1.0},
            "64, by fitness": {"average": 64, "weights": "fitness", "stretch": 1.0},
            "256, by centred rank": {"stretch": 1.0},
        },
    ),
    "step_size": Study(
        "How should step sizes evolve? (the best of 256 children)",
        SELECTED,
        {
            "0.02, constant": {"gamma": None},
            "0.005, constant": {"gamma": None, "sigma": 0.005},
            "gamma 1.05": {},
            "gamma 1.1": {"gamma": 1.1},
            "gamma 1.3": {"gamma": 1.3},
            "up 1.3, down 1.1": {"gamma": 1.3, "gamma_down": 1.1},
            "cosine": {"gamma": None, "anneal": 500},
        },
    ),
    "normalise": Study(
        "Do normalised pixels matter?", AVERAGED, {"normalised": {}, "from 0 to 1": {"normalise": False}}
    ),
}


@dataclass
class Args:
    studies: tuple[str, ...] = tuple(STUDIES)
    """Which questions, of those named in this script."""
    data: Path | None = None
    """A folder with the four IDX files of MNIST. By default $JAXGA_MNIST, else ~/.cache/jaxga/mnist."""
    seeds: int = 5
    """Runs of every setting."""
    seed: int = 0
    """Of the first run; the others follow from it."""
    out: Path | None = None
    """Where the files go; default runs/mnist_sweep/<id>."""
    resume: bool = False
    """Take what --out has finished, and run the rest."""
    quick: bool = False
    """A small one on the digits that takes seconds."""


def main(args: Args) -> None:
    if args.quick and not args.resume:
        args.studies, args.seeds = ("normalise",), 3
    unknown = sorted(set(args.studies) - set(STUDIES))
    jaxga.require(not unknown, f"studies {unknown} are none of {list(STUDIES)}: take some of these.")
    base = mnist.Args(data=args.data, dataset="digits" if args.quick else "mnist", validate_every=10)
    if args.quick:
        base = replace(base, hidden=(16,), batch=100)
    images = experiment.pictures(base)
    out = args.out or report.find_run("mnist_sweep", asdict(args))
    directory = report.RunDirectory(out, "mnist_sweep", asdict(args), args.resume)
    summary: dict[str, Any] = {"name": "mnist_sweep", "seed": args.seed, "seeds": args.seeds, "studies": {}}
    for name in args.studies:
        runs = study(name, base, images, args, out)
        rows = tell(runs)
        report.print_table(rows, f"{STUDIES[name].question} Median over {args.seeds} seeds, {mnist.spread(args.seeds)}")
        summary["studies"][name] = {"question": STUDIES[name].question, "rows": rows, "seconds": runs.seconds}
        plot(name, runs, out / f"{name}.png")
        finished = list(summary["studies"].values())
        seconds = sum(part["seconds"] for part in finished)
        evaluations = sum(row["evaluations"] * args.seeds for part in finished for row in part["rows"])
        summary |= {
            "generations": max(row["generations"] for part in finished for row in part["rows"]),
            "evaluations": evaluations, "wall_seconds": seconds, "evaluations_per_second": evaluations / seconds,
            "best_fitness": max(row["validation accuracy"] for part in finished for row in part["rows"]),
            "stopped_because": f"{len(finished)} of {len(args.studies)} studies done",
            **{key: directory.config[key] for key in ("backend", "device", "jax", "commit")},
        }  # fmt: skip
        report.write_json(out / "summary.json", summary)
    print(f"Files: {out}")


def study(name: str, base: mnist.Args, images: data.Images, args: Args, out: Path) -> jaxga.Runs:
    """All settings and seeds of a study; what ``out`` has of it already is not run again."""
    part = STUDIES[name]
    shared = part.shared | ({"children": 32, "generations": 40} if args.quick else {})

    def changed(setting: str) -> tuple[jaxga.Algorithm, jaxga.Task]:
        changes = shared | part.settings[setting] | ({key: shared[key] for key in ("children", "generations")})
        task, algorithm = mnist.make(replace(base, **changes), images)
        return algorithm, task

    runs = []
    for number, setting in enumerate(part.settings, start=1):
        file = out / name / f"{number}.npz"
        if not file.exists():
            file.parent.mkdir(exist_ok=True)
            jaxga.run_many(
                changed, None, args.seed, generations=shared["generations"], seeds=args.seeds,
                grid={"setting": [setting]}, validate_every=base.validate_every, batch=1,
            ).save(file)  # fmt: skip
        runs.append(jaxga.load_runs(file))
        print(f"{name}: {setting}, {number} of {len(part.settings)}, {runs[-1].seconds:.0f} s", flush=True)
    return jaxga.join_runs(runs)


def tell(runs: jaxga.Runs) -> list[dict[str, Any]]:
    """A row for every setting: accuracy and loss on the validation images after the last generation."""
    rows = []
    for accuracy, loss, count in zip(*(runs.summary(name) for name in METRICS), strict=True):
        row = {"setting": accuracy["setting"], "validation accuracy": accuracy["validation_accuracy"]}
        row |= {
            "interval": f"[{accuracy['low']:.4f}, {accuracy['high']:.4f}]",
            "validation loss": loss["validation_loss"],
        }
        row |= {"generations": next(iter(runs.metrics.values())).shape[1]}
        rows.append(row | {"evaluations": int(count["evaluations"]) * row["generations"]})
    return rows


METRICS = "validation_accuracy", "validation_loss", "evaluations"


def plot(name: str, runs: jaxga.Runs, path: Path) -> None:
    """Accuracy and loss on the validation images against generations."""
    panels = []
    for metric, scale in (("validation_accuracy", "linear"), ("validation_loss", "log")):
        seen = np.flatnonzero(~np.isnan(runs.metrics[metric]).all(axis=0))
        curves = [
            report.Curve(setting["setting"], seen + 1, runs.metrics[metric][mask][:, seen])
            for setting, mask in runs.groups()
        ]
        panels.append(({"xlabel": "generation", "ylabel": metric.replace("_", " "), "yscale": scale}, curves))
    seeds = len(np.unique(runs.settings["seed"]))
    report.plot_curves(panels, path, f"{STUDIES[name].question} Median of {seeds} seeds within their range")


if __name__ == "__main__":
    report.run_command(main, Args)
