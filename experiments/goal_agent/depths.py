"""Steps to solution against the depth of the sea, from runs of train.py that are over."""

import sys
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # where this package and what experiments share are found

import numpy as np

import jaxga
from jaxga import report
from jaxga.report.files import read_json


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
            {"N": arguments["size"], "optimism": arguments["optimism"], "steps": steps, "asked": summary["steps"]}
        )
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
        told.append(
            {"N": row["N"], "optimism": row["optimism"], "solved": solved, "steps": float(np.median(row["steps"]))}
        )
    report.print_table(told, "Deep sea")
    print(f"Picture: {args.out}")


if __name__ == "__main__":
    report.run_command(main, Args)
