"""Evolve networks that walk in MuJoCo: cheetah, ant, humanoid. envpool computes their steps in threads on the host.

Needs `pip install 'jaxga[games]'`. Every run has the same agent steps. All children of a generation have the same
start, and the elites are scored again.
"""

import time
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import experiment
import numpy as np

import jaxga
from jaxga import nn, report, tasks, variation

OUTPUTS = {
    "HalfCheetah-v4": 6, "Hopper-v4": 3, "Walker2d-v4": 6, "Swimmer-v4": 2, "Ant-v4": 8, "Humanoid-v4": 17,
    "HumanoidStandup-v4": 17,
}  # fmt: skip
PARENTS, CHILDREN = 8, 64
POINTS = 50  # of a curve


@experiment.own_first
@dataclass
class Args(experiment.Files):
    walkers: tuple[str, ...] = ("HalfCheetah-v4", "Humanoid-v4")
    """Of HalfCheetah-v4, Hopper-v4, Walker2d-v4, Swimmer-v4, Ant-v4, Humanoid-v4, HumanoidStandup-v4."""
    seeds: int = 3
    """Runs of every walker."""
    steps: int = 1_000_000
    """Agent steps of a run."""
    max_steps: int = 200
    """Of an episode."""
    hidden: int = 32
    """Units of the hidden layer."""
    sigma: float = 0.2
    """Step size at first, relative to the scale of a layer at initialisation; it evolves."""
    out: Path | None = None
    """Where the figures and pictures go; default runs/walkers/<id>."""
    quick: bool = False
    """Two runs of the cheetah, for a few steps."""


def one_run(args: Args, walker: str, seed: int) -> dict[str, Any]:
    """The return of the best child of each generation, against agent steps."""
    begun = time.monotonic()
    game = partial(tasks.envpool_game, walker, nn.MLP((args.hidden, OUTPUTS[walker])), max_steps=args.max_steps)
    mutation = variation.low_rank(variation.multiplicative(variation.relative(args.sigma), up=1.2))
    algorithm = jaxga.ga(
        game().init, mutation, parents=PARENTS, children=CHILDREN, elites=1, reevaluate=True,
        founders=jaxga.random_founders,
    )  # fmt: skip
    evaluator = jaxga.rollouts(algorithm, game(key=jaxga.common))
    result = jaxga.run(algorithm, evaluator, key=seed, steps=args.steps, generations=100_000)
    taken, seen = result.history["agent_steps"], result.history["fitness"]
    at = np.searchsorted(taken, np.linspace(0, taken[-1], POINTS + 1)[1:])
    return {
        "curve": seen[at].tolist(), "steps": int(taken[-1]), "generations": result.generations,
        "seconds": round(time.monotonic() - begun, 1),
    }  # fmt: skip


def main(args: Args) -> None:
    if args.quick:
        args.walkers, args.seeds, args.steps, args.max_steps = args.walkers[:1], 2, 3_000, 20
    jaxga.base.require_whole(1, seeds=args.seeds, steps=args.steps, max_steps=args.max_steps, hidden=args.hidden)
    unknown = sorted(set(args.walkers) - set(OUTPUTS))
    jaxga.require(bool(args.walkers) and not unknown, f"walkers are {args.walkers}: name some of {list(OUTPUTS)}.")
    out = args.out or report.find_run("walkers", asdict(args))
    report.RunDirectory(out, "walkers", asdict(args), args.resume)
    rows, panels = [], []
    for walker in args.walkers:
        runs = [
            experiment.once(out / "runs.json", walker, seed, partial(one_run, args, walker, seed))
            for seed in range(args.seeds)
        ]
        curves = np.array([run["curve"] for run in runs])
        seconds = np.array([run["seconds"] for run in runs])
        rows.append({
            "": walker, "return at first": experiment.told(curves[:, 0], 0),
            "at the end": experiment.told(curves[:, -1], 0),
            "generations": int(np.median([run["generations"] for run in runs])),
            "seconds a run": round(float(np.median(seconds)), 1),
            "steps a second": f"{np.median([run['steps'] for run in runs] / seconds):,.0f}",
        })  # fmt: skip
        axes = {"xlabel": "agent steps", "ylabel": "return of the best child"}
        curve = report.Curve("", args.steps / POINTS * np.arange(1, POINTS + 1), curves)
        panels.append(({**axes, "title": walker}, [curve]))
        report.plot_curves(panels, out / "walkers.png", f"Median of {args.seeds} seeds within their range")
        report.write_json(out / "summary.json", {"name": "walkers", "arms": rows})
    report.print_table(rows, f"{args.steps:,} agent steps, episodes of {args.max_steps}")
    print(f"Files: {out}   Picture: {out / 'walkers.png'}")


if __name__ == "__main__":
    report.run_command(main, Args)
