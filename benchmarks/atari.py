"""How much of the emulator's speed does evolution reach? ``python -m benchmarks.atari``.

In turns: the emulator alone with random actions, one network shared by everyone, and children of two parents as
`jaxga.rollouts` lets them play: of low rank and with every weight their own, with the large and the small network of
Such et al. 2017. Steps of the agent a second; a step is four frames of the game.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import jax
import numpy as np

import jaxga
from jaxga import report, tasks, variation
from jaxga.evaluate import Rollouts
from jaxga.report.files import describe_machine

FRAMES = 250e6 * 4  # the paper's budget


@dataclass
class Args:
    game: str = "Frostbite"
    """One of Atari's."""
    children: int = 200
    """Of low rank; a fifth of them with weights of their own."""
    steps: int = 250
    """Of an episode."""
    rounds: int = 3
    """Turns."""
    envs: int | None = None
    """Episodes that are played at once."""
    threads: int | None = None
    """That emulate."""
    out: Path | None = None
    """Where to write the figures."""


def main(args: Args) -> None:
    plays: dict[str, tuple[Rollouts, jaxga.State]] = {}
    for size in ("large", "small"):
        game = tasks.atari(args.game, small=size == "small", max_steps=args.steps)
        for name, mutation, children in (
            ("low-rank children", variation.low_rank, args.children),
            ("children with weights of their own", variation.gaussian, args.children // 5),
        ):
            algorithm = jaxga.ga(game.init, mutation(variation.absolute(0.002)), parents=2, children=children)
            rollouts = jaxga.rollouts(algorithm, game, envs=args.envs, threads=args.threads)
            plays[f"{size} network, {name}"] = rollouts, jax.jit(algorithm.init)(jax.random.key(0))
    turns: dict[str, Callable[[], float]] = {"emulator, random actions": rollouts.arena.random_play}
    shared, state = plays["large network, low-rank children"]
    turns["large network, one for all"] = lambda: together(shared, state)
    turns |= {name: lambda play=play: generation(*play) for name, play in plays.items()}
    speeds = {name: [] for name in turns}
    for turn in turns.values():
        turn()  # compiles, and makes environments
    for _ in range(args.rounds):
        for name, turn in turns.items():
            speeds[name].append(turn())
    ceiling = float(np.median(speeds["emulator, random actions"]))
    rows = [
        {"": name, "steps/s": float(np.median(found)), "least": min(found), "most": max(found),
         "of the emulator": float(np.median(found)) / ceiling,
         "hours for 1B frames": FRAMES / 4 / float(np.median(found)) / 3600}
        for name, found in speeds.items()
    ]  # fmt: skip
    report.print_table(rows, f"{args.game}: {rollouts.arena.envs} environments, {rollouts.arena.threads} threads")
    if args.out:
        report.write_json(args.out, {"machine": describe_machine(), "rows": rows})


def generation(rollouts: Rollouts, state: jaxga.State) -> float:
    """Steps a second of a generation."""
    begun = time.monotonic()
    scores = rollouts.children(state.source)
    return int(scores.metrics[jaxga.PLAYED]) / (time.monotonic() - begun)


def together(rollouts: Rollouts, state: jaxga.State) -> float:
    """Steps a second of one network's episodes from all starts, as many as are played at once."""
    params = jax.tree.map(lambda leaf: leaf[0], state.parents.params)
    starts = np.arange(rollouts.arena.envs)
    begun = time.monotonic()
    scores = rollouts.test_from(params, starts)
    return int(scores.metrics[jaxga.PLAYED]) / (time.monotonic() - begun)


if __name__ == "__main__":
    report.run_command(main, Args)
