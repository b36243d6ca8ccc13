"""The notes' sweep in one command: how many parents, how many children, which step size?

Ten settings of the genetic algorithm on one task (64 images of noise, the convolutional network, cross-entropy), each
over several seeds. The notes ran the eight with 2 to 32 parents once each, 24 to 50 minutes a setting.
"""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import jax

import jaxga
from jaxga import nn, report, tasks, variation
from jaxga.base import require_at_least

SIZES = {
    "p2 c128": (2, 128),
    "p1 c64": (1, 64),
    "p2 c64": (2, 64),
    "p8 c64": (8, 64),
    "p32 c64": (32, 64),
}
NOTES = {  # mean fitness of a generation, read off the notes' plots (within 5 %); p1 at generation 179
    ("p2 c128", 0.02): -0.53,
    ("p1 c64", 0.02): -0.44,
    ("p2 c64", 0.02): -1.17,
    ("p8 c64", 0.02): -1.91,
    ("p32 c64", 0.02): -5.44,
    ("p2 c128", 0.01): -3.76,
    ("p2 c64", 0.01): -4.71,
    ("p8 c64", 0.01): -5.80,
    ("p32 c64", 0.01): -9.05,
}


@dataclass
class Args:
    generations: int = 170
    """Generations of every run."""
    seeds: int = 5
    """Runs of every setting."""
    sigmas: tuple[float, ...] = (0.02, 0.01)
    """Step sizes, relative to the scale of a layer at initialisation."""
    sizes: tuple[str, ...] = tuple(SIZES)
    """Parents and children, of those named in this script."""
    points: int = 64
    """Images to memorize."""
    shape: tuple[int, ...] = (64, 64, 3)
    """Of one image."""
    seed: int = 0
    """Of the first run; the others follow from it."""
    out: Path | None = None
    """Where the files go; default runs/memorization_sweep/<id>."""
    resume: bool = False
    """Take what --out has finished, and run the rest."""
    quick: bool = False
    """A small one that takes seconds."""


def main(args: Args) -> None:
    if args.quick and not args.resume:
        args.generations, args.seeds, args.points, args.shape, args.sizes = 5, 2, 16, (40, 40, 1), ("p2 c64",)
    unknown = sorted(set(args.sizes) - set(SIZES))
    jaxga.require(not unknown, f"sizes {unknown} are none of {list(SIZES)}: take some of these.")
    jaxga.require(len(args.sizes) > 0, f"sizes is empty: name at least one of {list(SIZES)}.")
    jaxga.require(len(args.sigmas) > 0, "sigmas is empty: give at least one.")
    jaxga.require(min(args.sigmas) >= 0, f"sigmas is {args.sigmas}, and none may be less than 0.")
    require_at_least(1, seeds=args.seeds, generations=args.generations)
    network = nn.ConvNet(10, use_bias=False, kernel_init=nn.notes_normal)
    task = tasks.memorization(network, points=args.points, shape=args.shape)

    def sized(size: str, sigma: float) -> jaxga.Algorithm:
        parents, children = SIZES[size]
        mutation = variation.gaussian(variation.relative(sigma))
        return jaxga.ga(task.init, mutation, parents=parents, children=children, elites=1)

    jax.eval_shape(sized(args.sizes[0], 0.01).init, jax.random.key(0))
    out = args.out or report.find_run("memorization_sweep", asdict(args))
    directory = report.RunDirectory(out, "memorization_sweep", asdict(args), args.resume)
    runs: dict[str, jaxga.Runs] = {}
    for size in args.sizes:
        file = out / f"{size.replace(' ', '-')}.npz"
        if file.exists():
            runs[size] = jaxga.load_runs(file)
        else:
            runs[size] = jaxga.run_many(
                sized, task, args.seed, generations=args.generations, seeds=args.seeds,
                sweep={"sigma": args.sigmas}, grid={"size": [size]}, batch=1,
            )  # fmt: skip
            runs[size].save(file)
        print(f"{size}: {len(args.sigmas) * args.seeds} runs in {runs[size].seconds / 60:.1f} minutes", flush=True)
        rows = [row for part in runs.values() for row in tell(part)]
        finished = len(rows) * args.seeds
        minutes = sum(part.seconds for part in runs.values()) / 60
        evaluations = sum(int(part.metrics["evaluations"].sum()) for part in runs.values())
        summary = {
            "name": "memorization_sweep", "seed": args.seed, "generations": args.generations, "runs": finished,
            "evaluations": evaluations, "best_fitness": max(row["best"] for row in rows),
            "wall_seconds": 60 * minutes, "evaluations_per_second": evaluations / 60 / minutes,
            "stopped_because": f"{len(runs)} of {len(args.sizes)} sizes done", "rows": rows,
            **{name: directory.config[name] for name in ("backend", "device", "jax", "commit")},
        }  # fmt: skip
        report.write_json(out / "summary.json", summary)
    plot(args, runs, out / "memorization_sweep.png")
    report.print_table(rows, f"Generation {args.generations}; median over {args.seeds} seeds and its 95 % interval")
    print(f"{finished} runs in {minutes:.1f} minutes. The notes' machine took 24 to 50 minutes for one. Files: {out}")


def tell(part: jaxga.Runs) -> list[dict[str, Any]]:
    """A row for every step size."""
    rows = []
    for mean, best in zip(part.summary("mean_fitness"), part.summary("best_fitness"), strict=True):
        setting = mean["size"], round(mean["sigma"], 6)
        row = {"setting": setting[0], "sigma": setting[1], "mean fitness": mean["mean_fitness"]}
        row |= {"interval": f"[{mean['low']:.2f}, {mean['high']:.2f}]", "best": best["best_fitness"]}
        rows.append(
            row | {"notes": str(NOTES.get(setting, "")), "minutes": part.seconds / 60 / len(part.settings["seed"])}
        )
    return rows


def plot(args: Args, runs: dict[str, jaxga.Runs], path: Path) -> None:
    """A panel for every step size."""
    panels = []
    for sigma in args.sigmas:
        curves = [
            report.Curve(size, range(1, args.generations + 1), part.metrics["mean_fitness"][mask])
            for size, part in runs.items()
            for setting, mask in part.groups() if round(setting["sigma"], 6) == sigma
        ]  # fmt: skip
        axes = {"title": f"sigma {sigma:g}", "xlabel": "generation", "ylabel": "mean fitness (- cross-entropy)"}
        panels.append((axes, curves))
    title = f"Parents (p), children (c) and step size: median of {args.seeds} seeds within their range"
    report.plot_curves(panels, path, title)


if __name__ == "__main__":
    report.run_command(main, Args)
