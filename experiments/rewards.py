"""Does an evolved reward teach faster than the true one? A walker in four rooms, paid at the goal alone.

In every life a Q-learner begins with random weights and learns for a while, by one of three rewards: the true one, an
evolved one, and an evolved one that sees the rooms through an evolved encoder. Then it walks to the goal as well as it
can, and what counts is the true reward. All learners have the same number of steps.
"""

from dataclasses import asdict, dataclass
from pathlib import Path

import experiment
import jax
import numpy as np

import jaxga
from jaxga import lifetime, nn, report, tasks, variation


@experiment.own_first
@dataclass
class Args(experiment.Files):
    size: int = 9
    """Rows and columns of the grid, an odd number."""
    steps: int = 150
    """That a learner takes, in each of 8 copies of the rooms."""
    seeds: int = 10
    """Runs of every arm."""
    generations: int = 100
    children: int = 64
    """Of a generation; the mean of all, weighted by rank, is the next parent."""
    lives: int = 4
    """Of a child in a generation."""
    out: Path | None = None
    """Where the figures and pictures go; default runs/rewards/<id>."""
    quick: bool = False
    """An evolved reward in small rooms, for a few generations."""


def main(args: Args) -> None:
    if args.quick:
        args.size, args.steps, args.seeds, args.generations, args.children = 5, 20, 2, 3, 16
    jaxga.base.require_whole(1, seeds=args.seeds, generations=args.generations, lives=args.lives)
    out = report.make_directory(args.out or report.find_run("rewards", asdict(args)))
    rooms = tasks.four_rooms(args.size, max_steps=6 * args.size)
    judge = nn.MLP((16, 1))
    unseen = 2 if args.quick else 100

    def task(count: int, reward: nn.MLP | None = judge, encoder: nn.MLP | None = None) -> jaxga.Task:
        return lifetime.rewarded(
            rooms, reward=reward, encoder=encoder, steps=args.steps, count=count, key=jaxga.common,
            validation_lives=unseen,
        )  # fmt: skip

    mutation = variation.gaussian(experiment.falling(variation.relative(0.2), args.generations))
    mean = experiment.mean_of_all(args.children)
    true = task(unseen, None)
    reached = {"true reward": experiment.tested(true, [true.init(jax.random.key(0))] * args.seeds)}
    encoders = {"evolved reward": None, "and evolved encoder": nn.MLP((16,))}
    if args.quick:
        del encoders["and evolved encoder"]
    every, curves = max(args.generations // 20, 1), []
    for name, encoder in encoders.items():
        one = task(args.lives, encoder=encoder)
        algorithm = jaxga.ga(one.init, mutation, parents=1, children=args.children, recombination=mean)
        runs = jaxga.run_many(
            lambda algorithm=algorithm: algorithm, one, generations=args.generations, seeds=args.seeds, batch=1,
            validate_every=every, pedigrees=True,
        )  # fmt: skip
        networks = experiment.survivors(algorithm, runs)
        reached[name] = experiment.tested(task(unseen, encoder=encoder), networks)
        seen = 100 * runs.metrics["best_validation"][:, every - 1 :: every]
        curves.append(report.Curve(name, every * np.arange(1, seen.shape[1] + 1), seen))
        axes = {"xlabel": "generation", "ylabel": "goal reached after learning, best so far, %"}
        report.plot_curves([(axes, curves)], out / "rewards.png", f"Four rooms of {args.size} x {args.size}")
        rows = [{"": arm, "goal reached, %": experiment.told(100 * part, 1)} for arm, part in reached.items()]
        report.write_json(out / "summary.json", {"name": "rewards", "arms": rows})
    report.print_table(rows, f"After {args.steps} steps of learning, {unseen} unseen lives")
    print(f"Files: {out}   Picture: {out / 'rewards.png'}")


if __name__ == "__main__":
    report.run_command(main, Args)
