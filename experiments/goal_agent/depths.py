"""Steps to solution against the depth of the sea, from runs of train.py that are over; and the score of bsuite.

bsuite (Osband et al. 2020) counts a depth N as solved when more than a fifth of all episodes so far found the treasure,
random actions included, within 10,000 episodes and 2^N + 100. Its score is the share of the depths 10, 12, ..., 50.
"""

import sys
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # where this package and what experiments share are found

import experiment
import numpy as np

import jaxga
from jaxga import report
from jaxga.report.files import read_json

EPISODES, FORGIVEN, FOUND = 10_000, 100, 0.2  # bsuite's rule


def episodes_of(run: Path, size: int, steps: int) -> np.ndarray:
    """Episodes until more than a fifth of all so far found the treasure, ``[R]``; infinity where that never was."""
    kept = np.load(run / "tests.npz")
    jaxga.require("practised" in kept, f"{run} is of an older train.py, which did not keep returns: run it again.")
    returns = kept["practised"].T  # [R, tests], means of the episodes from one test to the next
    tests = np.arange(1, returns.shape[1] + 1)
    share = np.cumsum(returns, axis=1) / tests  # the way costs at most 0.01
    return experiment.first_of(share > FOUND, steps / size * tests / len(tests))


@dataclass
class Args:
    runs: tuple[Path, ...] = ()
    """Directories of train.py --env deep-sea."""
    out: Path = Path("deep_sea.png")
    """The picture."""


def main(args: Args) -> None:
    """Read, print, draw."""
    jaxga.require(bool(args.runs), "runs is empty: name at least one directory of train.py --env deep-sea.")
    rows = []
    for path in args.runs:
        for name in ("config.json", "summary.json"):
            jaxga.require((path / name).exists(), f"{path} has no {name}: name a run of train.py that is over.")
        arguments, summary = read_json(path / "config.json")["arguments"], read_json(path / "summary.json")
        jaxga.require(summary.get("env") == "deep-sea", f"{path} holds no run with --env deep-sea.")
        steps = np.array([np.inf if each is None else each for each in summary["steps_to_solution"]], float)
        rows.append(
            {
                "N": arguments["size"], "optimism": arguments["optimism"], "steps": steps, "asked": summary["steps"],
                "episodes": episodes_of(path, arguments["size"], summary["steps"]),
            }
        )  # fmt: skip
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.6, 4.0), layout="constrained")
    axes = figure.subplots()
    depths = np.arange(2, max(row["N"] for row in rows) + 1)
    axes.plot(depths, depths * 2.0**depths, "--", color="0.5", label="by chance: N 2^N")
    for row in rows:
        found = row["steps"][np.isfinite(row["steps"])]
        color = "tab:blue" if row["optimism"] else "tab:red"
        axes.plot(np.full(len(found), row["N"]), found, "o", color=color, alpha=0.5)
        if len(found) < len(row["steps"]):
            axes.plot(row["N"], row["asked"], "^", color=color, markersize=9)
    axes.plot([], [], "s", color="tab:blue", label="with optimism")
    axes.plot([], [], "s", color="tab:red", label="without")
    axes.plot([], [], "o", color="0.4", label="a seed, solved after so many steps")
    axes.plot([], [], "^", color="0.4", label="seeds that were not, in so many steps")
    most = max(row["asked"] for row in rows)
    axes.set(xlabel="N", ylabel="steps until solved", yscale="log", ylim=(100, 30 * most))
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside lower center", ncols=2, frameon=False, fontsize=9)  # beside no point
    figure.savefig(args.out, dpi=130)
    told = []
    for row in rows:
        solved = f"{np.isfinite(row['steps']).sum()} of {len(row['steps'])}"
        counts = row["episodes"] < min(EPISODES, 2 ** row["N"] + FORGIVEN)
        told.append(
            {
                "N": row["N"], "optimism": row["optimism"], "solved": solved, "steps": float(np.median(row["steps"])),
                "episodes until bsuite's rule": float(np.median(row["episodes"])),
                "by bsuite's rule": f"{counts.sum()} of {len(counts)}",
            }
        )  # fmt: skip
    report.print_table(told, "Deep sea")
    print(f"Picture: {args.out}")


if __name__ == "__main__":
    report.run_command(main, Args)
