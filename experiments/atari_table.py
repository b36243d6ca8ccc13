"""Several Atari games, several seeds each, and the table of the paper: what would it cost, and what does it reach?

Every run is one of `experiments/atari.py` with its own directory; with `--resume` what is finished is kept, and what
is not goes on. `--estimate` only says how long it would take.
"""

import json
import sys
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal

import atari
import numpy as np
from published import FOOTNOTE, METHODS, SCORES, published

import jaxga
from jaxga import arena, report, tasks
from jaxga.devices import cores
from jaxga.tasks.games import check_name

SHARE = 0.35  # of the emulator's speed, that a whole run reaches on two cores


@dataclass
class Args:
    games: tuple[str, ...] = tuple(SCORES)
    """By default the 13 of the paper."""
    seeds: int = 5
    """Runs of every game."""
    seed: int = 0
    """Of the first run; the others follow from it."""
    frames: float = 1e9
    """Budget of each run, in frames of the game."""
    generations: int = atari.Args.generations
    """Of each run, at most."""
    parents: int = atari.Args.parents
    """T; 0 is random search."""
    children: int = atari.Args.children
    """N."""
    sigma: float = atari.Args.sigma
    """Step size, absolute."""
    mutation: Literal["gaussian", "low_rank"] = atari.Args.mutation
    """Noise on every weight, or of rank 1."""
    validation: int = atari.Args.validation
    """Candidates for the elite; 0 keeps the best score of training."""
    sticky: float = atari.Args.sticky
    """Probability that the emulator repeats the action before."""
    network: Literal["large", "small"] = atari.Args.network
    """As in `atari.py`."""
    envs: int | None = None
    """Episodes that are played at once."""
    threads: int | None = None
    """That emulate."""
    backend: jaxga.backend.Backend = "devices"
    """Who plays, as in `atari.py`."""
    workers: int | None = None
    """Of Ray."""
    dollars_per_hour: float | None = None
    """What a node costs."""
    estimate: bool = False
    """Say what it would cost, and stop."""
    out: Path | None = None
    """Where the files go; default runs/atari_table/<id>."""
    resume: bool = False
    """Keep what --out has finished, and go on with the rest."""
    quick: bool = False
    """One game, two tiny runs of random networks: they take seconds."""


def estimate(args: Args) -> dict[str, Any]:
    """Hours and dollars for all runs, from the speed of the emulator on this machine."""
    game, _ = atari.make(atari.Args(game=args.games[0], children=args.children, parents=args.parents))
    threads = args.threads or cores()
    place = arena.Arena(game.make, game.actions, args.envs or 8 * threads, threads)
    speed = place.random_play(0.5 if args.quick else 3.0) * game.frames
    runs = len(args.games) * args.seeds
    hours = runs * args.frames / (SHARE * speed) / 3600
    cost = {"dollars": round(hours * args.dollars_per_hour, 2)} if args.dollars_per_hour else {}
    return {"runs": runs, "frames": runs * args.frames, "frames/s": SHARE * speed, "hours": hours, **cost}


def main(args: Args) -> int:
    if args.quick and not args.resume:
        args.games, args.seeds, args.generations, args.validation = ("Frostbite",), 2, 1, 0
    jaxga.require(len(args.games) > 0, "games is empty: name at least one.")
    jaxga.require(args.seeds >= 1, f"seeds is {args.seeds}, and must be 1 or more.")
    jaxga.require(args.frames > 0, f"frames is {args.frames:g}, and must be more than 0.")
    threads, envs = (1 if number is None else number for number in (args.threads, args.envs))
    jaxga.require(
        min(threads, envs) >= 1, f"threads is {args.threads} and envs is {args.envs}: take 1 or more of both."
    )
    for name in args.games:
        check_name(name, tasks.atari_games())
    report.print_table([estimate(args)], f"At {SHARE:.0%} of the emulator's speed here (a run may end earlier)")
    if args.estimate:
        return 0
    out = args.out or report.find_run("atari_table", asdict(args))
    report.RunDirectory(out, "atari_table", asdict(args), args.resume)
    for name in args.games:
        for seed in range(args.seed, args.seed + args.seeds):
            path = out / name / f"seed-{seed}"
            if not finished(path):
                print(f"{name}, seed {seed}", file=sys.stderr)
                try:
                    code = atari.main(run_of(args, name, seed, path))
                except jaxga.Interrupted as stopped:
                    raise jaxga.Interrupted(stopped.result, out) from stopped
                if code:
                    return code
    return table(args, out)


def run_of(args: Args, game: str, seed: int, path: Path) -> atari.Args:
    """The arguments of one run."""
    own, other = ({field.name for field in fields(kind)} for kind in (Args, atari.Args))
    shared = {name: getattr(args, name) for name in (own & other) - {"seed", "out", "resume", "quick"}}
    found = atari.Args(game=game, seed=seed, out=path, quick=args.quick, **shared)
    if args.quick:
        found = atari.shrunk(found)
    return replace(found, resume=(path / "config.json").exists())


def finished(path: Path) -> bool:
    """Was this run tested?"""
    file = path / "summary.json"
    return file.exists() and "test_mean" in json.loads(file.read_text())


def table(args: Args, out: Path) -> int:
    """Ours beside what was published: medians over seeds of the elite's test mean."""
    rows = []
    for name in args.games:
        found = [json.loads((path / "summary.json").read_text()) for path in sorted((out / name).glob("seed-*"))]
        scores = report.median_interval(np.array([summary["test_mean"] for summary in found]))
        rows.append(
            {"game": name, **{method: published(name).get(method, "") for method in METHODS},
             "here": round(float(scores.median), 1), "interval": f"{scores.low:,.0f} to {scores.high:,.0f}",
             "n": scores.samples, "frames": int(np.median([summary["game_frames"] for summary in found])),
             "hours": round(float(np.median([summary["wall_seconds"] for summary in found])) / 3600, 2)}
        )  # fmt: skip
    report.write_json(out / "summary.json", {"name": "atari_table", "seed": args.seed, "all": rows})
    report.print_table(rows, f"Test means, medians over seeds. {FOOTNOTE}")
    print(f"Files: {out}")
    return 0


if __name__ == "__main__":
    report.run_command(main, Args)
