"""What is chance in a run: is it the founder or the luck of the run, and does a second parent protect from luck?

The population and the problems are those of `experiments/sizes.py`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import experiment
import jax
import numpy as np
import sizes
from arms import Arm, Compared, Panel, Score, answer, begin

import jaxga
from jaxga import pedigree, report
from jaxga.tree import replicate

Question = Literal["randomness", "influence"]
FOUNDERS = 2**20  # seed of all founders
MEASURED = 16  # times that a run is measured
HORIZON = 10  # generations until descendants are counted


@experiment.own_first
@dataclass
class Args(Compared):
    question: Question = "randomness"
    """randomness: as many founders as seeds, each with as many root keys. influence: one parent of a child, or two, and
    what luck makes of their number of descendants."""


def crossed(args: Args, task: jaxga.Task, score: Score, parents: int) -> tuple[np.ndarray, np.ndarray]:
    """Every founder with every root key: what was measured ``[founder, key, P]``, in logs for entropy; generations."""

    def made(founder: Any) -> jaxga.Algorithm:
        def founders(key: jax.Array, init: Callable[..., Any], slots: int) -> Any:
            del key  # the root key decides everything else: children, batches, ties
            return replicate(init(jax.random.fold_in(jax.random.key(FOUNDERS), founder)), slots)

        return sizes.make(task, parents, 128, founders=founders)

    every = max((args.evaluations or 2**14) // 128 // MEASURED, 1)
    generations = every * np.arange(1, MEASURED + 1)
    runs = jaxga.run_many(
        made, task, generations=int(generations[-1]), seeds=args.seeds, sweep={"founder": list(range(args.seeds))},
        batch=1, validate_every=every,
    )  # fmt: skip
    found = runs.metrics[score.metric].reshape(args.seeds, args.seeds, -1)[:, :, every - 1 :: every].astype(float)
    return np.log(np.maximum(found, 1e-9)) if score.log else score.unit * found, generations


def matched(
    first: np.ndarray, second: np.ndarray, score: Score, sizes_asked: tuple[float, ...]
) -> list[dict[str, Any]]:
    """How exact is a comparison of two populations if runs share founder and root key, the founder alone, or nothing?

    Args:
      first: what one population ended with, ``[founder, key]``.
      second: the same of the other one.
      score: its name.
      sizes_asked: differences of which the table says how many runs show them with a chance of 80 %.
    """
    rows, count = [], len(first)
    for name, shift in (("same founder and root key", (0, 0)), ("same founder", (0, 1)), ("nothing shared", (1, 1))):
        other = np.roll(second, shift, (0, 1))
        deviation = float(np.std(other - first, ddof=1))
        some = report.difference(np.diag(first), np.diag(other), paired=name != "nothing shared")
        rows.append({
            "": name, f"difference in {score.label}{' (log)' if score.log else ''}": f"{(other - first).mean():+.3f}",
            f"interval, {count} of each": f"[{some.low:+.3f}, {some.high:+.3f}]", "deviation": round(deviation, 3),
            **{f"runs to see {size:g}": report.trials_needed(deviation, size) for size in sizes_asked},
        })  # fmt: skip
    return rows


def randomness(args: Args, out: Path, summary: dict[str, Any]) -> None:
    """Shares of the variance by founder, by root key and by neither; and what sharing them is worth in a comparison."""
    panels = []
    for problem in args.problems:
        task, score = sizes.of_problem(args, problem)
        ends, rows = [], []
        for parents in (4, 16):
            values, generations = crossed(args, task, score, parents)
            ends.append(values[:, :, -1])
            causes = [report.causes_of_variance(values[:, :, place]) for place in range(values.shape[2])]
            last, flat = causes[-1], ends[-1].ravel()
            told = {name: f"{100 * one[0]:.0f} [{100 * one[1]:.0f}, {100 * one[2]:.0f}]"
                    for name, one in last._asdict().items()}  # fmt: skip
            median = np.exp(flat) if score.log else flat
            rows.append({
                "": f"{parents} parents", score.label: score.told(median),
                "deviation": round(float(flat.std(ddof=1)), 3),
                "interquartile range": round(report.interquartile_range(median), 3), "founder, %": told["first"],
                "root key, %": told["second"], "neither alone, %": told["neither"],
            })  # fmt: skip
            labels = {"first": "founder", "second": "root key", "neither": "neither alone"}
            curves = [
                report.Curve(label, generations, 100 * np.array([getattr(one, name)[0] for one in causes]))
                for name, label in labels.items()
            ]
            axes = {
                "xlabel": "generation",
                "ylabel": "share of the variance, %",
                "title": f"{problem}, {parents} parents",
            }
            panels.append((axes, curves))
            summary[problem] = {"causes": rows}
            report.write_json(out / "summary.json", summary)
            report.plot_curves(
                panels, out / "randomness.png", f"{args.seeds} founders, each with {args.seeds} root keys"
            )
        compared = matched(ends[0], ends[1], score, (0.1, 0.25, 0.5) if score.log else (0.5, 1.0, 2.0))
        summary[problem]["16 against 4 parents"] = compared
        report.write_json(out / "summary.json", summary)
        report.print_table(rows, f"randomness, {problem}: {args.seeds} founders x {args.seeds} root keys")
        report.print_table(compared, f"{problem}: 16 parents against 4")


def influence(args: Args, out: Path, summary: dict[str, Any]) -> None:
    """Asexual and sexual populations of equal size, on a noisy fitness, and what their pedigrees say."""
    task = sizes.digits(args)
    arms = {
        (line, parents): sizes.arm(args, task, parents, 256, 2 * sizes.BUDGET, sexual=line == "two parents")
        for line in ("one parent", "two parents") for parents in ((8,) if args.quick else (8, 32, 128))
    }  # fmt: skip
    panel = Panel("digits", sizes.READ, "parents", arms, extra=lambda one, runs, _: descent(one, runs))
    answer([panel], "influence", args.seeds, out, summary, pedigrees=True)


def descent(one: Arm, runs: jaxga.Runs) -> dict[str, Any]:
    """What a pedigree says of the individuals of a generation.

    children: how many of the next parents have it as a parent, on average, with the variance of that number; and that
    of its influence, the sum of its shares in them. After 10 generations: the variance of the number of its
    descendants; how many of a generation have any (lasting); and how many equally influential ones would leave parents
    as much alike (effective: 1 / the sum of squared shares).
    """
    algorithm, rows = one.make(), []
    for record in runs.pedigrees:
        first = pedigree.parents_of(algorithm, record)[:, :, 0]
        sexual = one.make.keywords["sexual"]  # type: ignore[attr-defined]
        second = pedigree.mates_of(algorithm, record)[:, :, 0] if sexual else first
        shares = (np.eye(algorithm.parents)[first] + np.eye(algorithm.parents)[second]) / 2  # [G, child, parent]
        later = [
            np.linalg.multi_dot(shares[start : start + HORIZON][::-1])
            for start in range(0, len(shares) - HORIZON + 1, HORIZON)
        ]
        weight = np.stack(later).mean(axis=1)  # [n, T], sums to 1
        rows.append([
            (shares > 0).sum(axis=1).mean(), (shares > 0).sum(axis=1).var(axis=1).mean(),
            shares.sum(axis=1).var(axis=1).mean(), (np.stack(later) > 0).sum(axis=1).var(axis=1).mean(),
            100 * (weight > 0).mean(), (1 / (weight**2).sum(axis=1)).mean(),
        ])  # fmt: skip
    held, variance, influences, *others = np.array(rows).T
    told = {"children": held, "variance": variance, "of influence": influences}
    lasting = dict(zip(("of descendants", "lasting, %", "effective"), others, strict=True))
    return {name: round(float(np.median(column)), 2) for name, column in told.items()} | {
        name: experiment.told(column, 1) for name, column in lasting.items()
    }


ASKED: dict[Question, Callable[[Args, Path, dict[str, Any]], None]] = {"randomness": randomness, "influence": influence}


def main(args: Args) -> None:
    least = {"randomness": 128 * MEASURED, "influence": 256 * HORIZON}  # enough generations to be measured
    out, summary = begin(args, "chance", least[args.question])
    ASKED[args.question](args, out, summary)
    print(f"Files: {out}   Picture: {out / args.question}.png")


if __name__ == "__main__":
    report.run_command(main, Args)
