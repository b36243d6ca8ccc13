"""Does novelty find the way where the goal misleads? The mazes of Lehman and Stanley (2011), with six selections.

Every arm has the same network, the same mutation and the same number of evaluations; a run stops at the goal.
"""

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import experiment
import jax
import jax.numpy as jnp
import numpy as np
from flax import linen

import jaxga
from jaxga import analysis, observe, report, tasks, variation
from jaxga.selection import (
    Selection,
    by,
    grid,
    islands,
    local_competition,
    map_elites,
    novelty,
    pareto,
    random_archive,
    ranked,
)

Arm = Literal["novelty", "fitness", "local competition", "cells", "islands", "random"]
MAZES = {"hard": tasks.HARD_MAZE, "medium": tasks.MEDIUM_MAZE}
PARENTS, CHILDREN = 50, 250
CHUNK = 125  # so that two devices share a generation
CELLS = 20  # along each axis
SHOWN = 60  # generations whose ends a picture shows


@experiment.own_first
@dataclass
class Args(experiment.Files):
    maze: Literal["hard", "medium"] = "hard"
    arms: tuple[Arm, ...] = get_args(Arm)
    """novelty; fitness (the distance from the goal); local competition (with novelty, by fronts); cells (MAP-Elites);
    islands (five, by fitness); random (search)."""
    seeds: int = 20
    """Runs of every arm."""
    seed: int = 0
    """Of the first run."""
    evaluations: int = 250_000
    """Of a run, at most."""
    hidden: int = 16
    """Units of the network."""
    sigma: float = 0.3
    """Step size."""
    neighbours: int = 15
    """That novelty looks at."""
    archive: int = 1000
    """Places that novelty remembers."""
    added: int = 5
    """Of each generation to the archive."""
    out: Path | None = None
    """Where the figures and pictures go; default runs/maze/<id>."""
    quick: bool = False
    """Two runs of novelty on the medium maze, which take seconds."""


class Network(linen.Module):
    """One hidden layer of tanh, and outputs between 0 and 1."""

    hidden: int

    @linen.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        return jax.nn.sigmoid(linen.Dense(2)(jnp.tanh(linen.Dense(self.hidden)(x))))


def task_of(args: Args) -> jaxga.Task:
    """The maze, with where a robot came to and whether it reached the goal."""
    seen = {
        "end": observe.last(lambda state, _: state.place),
        "solved": observe.last(lambda state, _: state.solved),
    }
    task = tasks.control(
        tasks.maze(MAZES[args.maze]),
        Network(args.hidden),
        key=jaxga.common,
        act=lambda _, outputs: outputs,
        observe=seen,
    )
    return task._replace(validate=None)  # nothing is drawn: it would say the same


def make(args: Args, arm: Arm, task: jaxga.Task) -> jaxga.Algorithm:
    """The algorithm of an arm."""
    new = novelty("end", args.neighbours, random_archive(args.archive, args.added))
    walls = np.asarray(MAZES[args.maze].walls).reshape(-1, 2)
    squares = grid((CELLS, CELLS), walls.min(0), walls.max(0))
    selections: dict[Arm, Callable[[], Selection]] = {
        "novelty": lambda: by(new),
        "fitness": ranked,
        "local competition": lambda: by(pareto(new, local_competition("end", args.neighbours)), ranked(elites=PARENTS)),
        "cells": lambda: map_elites("end", squares, CHILDREN),
        "islands": lambda: islands(ranked(), 5, every=10),
        "random": ranked,
    }
    mutation = variation.gaussian(variation.absolute(args.sigma))
    if arm == "random":
        mutation = variation.fresh(task.init)
    parents, pairs = (squares.number, CHILDREN) if arm == "cells" else (PARENTS, None)
    return jaxga.ga(task.init, mutation, parents=parents, pairs=pairs, children=CHILDREN, selection=selections[arm]())


def solve(args: Args, arm: Arm, task: jaxga.Task, seeds: list[int], keep: Callable[[int, dict[str, Any]], None]) -> Any:
    """Run these seeds; returns the algorithm and the result of the first one."""
    algorithm, first = make(args, arm, task), None
    stop, generations = jaxga.stop.target(0.5, "solved"), args.evaluations // CHILDREN
    if seeds:
        jaxga.run(algorithm, task, generations=2, chunk=CHUNK)  # compiled before the clock starts
    for seed in seeds:
        result = jaxga.run(algorithm, task, seed, generations=generations, stop=stop, chunk=CHUNK)
        first = first or result
        solved = bool(result.history["solved"].max() > 0.5)
        keep(seed, {
            "solved": solved, "evaluations": int(result.history["evaluations"][-1]),
            "nearest": round(300 - float(result.history["fitness"].max()), 2), "seconds": round(result.seconds, 2),
        })  # fmt: skip
    return algorithm, first


def row(arm: str, found: list[dict[str, Any]], budget: int) -> dict[str, Any]:
    """How many runs solved it, and after how many evaluations: who did not counts as the budget."""
    spent = np.array([one["evaluations"] if one["solved"] else budget for one in found], float)
    middle = report.median_interval(spent)
    solved = sum(one["solved"] for one in found)
    return {
        "": arm, "solved": f"{solved} of {len(found)}",
        "evaluations": f"{middle.median:,.0f}" if solved > len(found) / 2 else f"over {budget:,}",
        "95 %": f"{middle.low:,.0f} to {middle.high:,.0f}",
        "away, median": round(float(np.median([one["nearest"] for one in found])), 1),
        "seconds, median": round(float(np.median([one["seconds"] for one in found])), 1),
    }  # fmt: skip


def ends(algorithm: jaxga.Algorithm, task: jaxga.Task, result: jaxga.Result) -> np.ndarray:
    """Where children came to, in generations spread over a run."""
    evaluator = jaxga.vmapped(algorithm, task, CHUNK)
    every = max(result.generations // SHOWN, 1)
    traced = analysis.trace(algorithm, result.pedigree, lambda source: evaluator(source).metrics["end"], every=every)
    return np.asarray(traced.values).reshape(-1, 2)


def main(args: Args) -> None:
    if args.quick:
        args.maze, args.arms, args.seeds, args.evaluations = "medium", ("novelty",), 2, 2_500
    jaxga.require(args.evaluations >= CHILDREN, f"evaluations is {args.evaluations}, and a generation has {CHILDREN}.")
    jaxga.base.require_whole(1, seeds=args.seeds, hidden=args.hidden)
    out = args.out or report.find_run("maze", asdict(args))
    report.RunDirectory(out, "maze", asdict(args), args.resume)
    path, walls = out / "runs.json", MAZES[args.maze]
    kept: dict[str, dict[str, Any]] = json.loads(path.read_text()) if path.exists() else {}
    task, panels, begun = task_of(args), [], time.monotonic()
    for arm in args.arms:
        found = kept.setdefault(arm, {})

        def keep(seed: int, line: dict[str, Any], found: dict[str, Any] = found) -> None:
            found[str(seed)] = line
            report.write_json(path, kept)

        todo = [seed for seed in range(args.seed, args.seed + args.seeds) if str(seed) not in found]
        algorithm, result = solve(args, arm, task, todo, keep)
        if result is not None:
            panels.append((arm, ends(algorithm, task, result)))
            report.plot_places(panels, out / "maze.png", walls=walls.walls, start=walls.start, goal=walls.goal)
    rows = [row(arm, list(kept[arm].values()), args.evaluations) for arm in args.arms]
    report.print_table(rows, f"The {args.maze} maze, at most {args.evaluations:,} evaluations a run")
    seconds = round(time.monotonic() - begun, 1)
    report.write_json(out / "summary.json", {"name": "maze", "maze": args.maze, "wall_seconds": seconds, "arms": rows})
    print(f"Files: {out}   Picture: {out / 'maze.png'}")


if __name__ == "__main__":
    report.run_command(main, Args)
