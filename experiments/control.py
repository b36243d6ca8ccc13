"""Evolve a network that acts: classic control, MinAtar games and a bandit, whole generations in one program.

CartPole and the bandit need nothing else, the ants `pip install 'jaxga[ant]'`, all others `pip install
'jaxga[control]'`. Any environment of gymnax goes by its own name, as `--task Catch-bsuite`.
"""

import difflib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import experiment
import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

import jaxga
from jaxga import compilation, nn, report, tasks, variation

TASKS: dict[str, Callable[[], tasks.Environment]] = {
    "cartpole": tasks.cartpole,
    "bandit": tasks.bandit,
    "ant": tasks.ant,
    "ant-goal": tasks.ant_goal,
    "ant-goal-seen": partial(tasks.ant_goal, seen=True),
    "acrobot": partial(tasks.from_gymnax, "Acrobot-v1"),
    "mountaincar": partial(tasks.from_gymnax, "MountainCar-v0"),
    "mountaincar-continuous": partial(tasks.from_gymnax, "MountainCarContinuous-v0"),
    "pendulum": partial(tasks.from_gymnax, "Pendulum-v1"),
    "asterix": partial(tasks.from_gymnax, "Asterix-MinAtar"),
    "breakout": partial(tasks.from_gymnax, "Breakout-MinAtar"),
    "freeway": partial(tasks.from_gymnax, "Freeway-MinAtar"),
    "space-invaders": partial(tasks.from_gymnax, "SpaceInvaders-MinAtar"),
}
SOLVED = {"cartpole": 475.0, "acrobot": -100.0, "mountaincar": -110.0, "mountaincar-continuous": 90.0}  # by Gym's rules
MOST_LINES = 12  # numbers that an episode is drawn with as lines; more make an image
MUTATIONS = {"gaussian": variation.gaussian, "low_rank": variation.low_rank}


@experiment.own_first
@dataclass
class Args(experiment.Series, experiment.Scoring):
    task: str = "cartpole"
    """cartpole, bandit, acrobot, mountaincar, mountaincar-continuous, pendulum, asterix, breakout, freeway,
    space-invaders, or the name of any other environment of gymnax; ant, ant-goal, ant-goal-seen."""
    hidden: tuple[int, ...] = (16,)
    """Widths of the hidden layers."""
    normalise: bool = False
    """Observations in standard deviations from their mean, both measured once, under random actions."""
    episodes: int = 4
    """That a child plays; its fitness is their mean return."""
    pairing: Literal["fresh", "common"] = "common"
    """Episodes of its own for every child, or the same for all children of a generation."""
    max_steps: int | None = None
    """An episode ends after so many, if not before; by default the environment's own limit. Validation's too."""
    parents: int = 1
    """Parents of a generation."""
    children: int = 256
    """Children of a generation, a multiple of the parents."""
    elites: int = 0
    """Best parents that compete with the children, scored again every generation."""
    average: int = 1
    """Children that are averaged into a parent, by rank; 1 selects without averaging."""
    mutation: Literal["gaussian", "low_rank"] = "low_rank"
    """Noise on every weight, or of rank 1."""
    sigma: float = 0.5
    """Step size, relative to the scale of a layer at initialisation."""
    generations: int = 100
    """At most so many."""
    target: float | None = None
    """Stop at this validation return; by default where Gym calls the task solved, if it does so."""
    validate_every: int = 1
    """Generations from one validation to the next."""
    validation_episodes: int = 100
    """Of the best child, which nobody is selected by."""
    block: int = 16
    """Steps between two looks whether all episodes are over."""
    chunk: int | None = None
    """Children scored at once; by default 256 on a CPU."""
    out: Path | None = None
    """Where the files go; default runs/control/<id>."""
    quick: bool = False
    """CartPole, which takes seconds."""


def environment(name: str) -> tasks.Environment:
    """That of a short name, or of gymnax by its own."""
    if name in TASKS:
        return TASKS[name]()
    near = difflib.get_close_matches(name, TASKS, 3, 0.4) or list(TASKS)
    jaxga.require("-" in name, f"there is no task {name!r}: did you mean {', '.join(near)}?")
    return tasks.from_gymnax(name)


def make_task(args: Args, **options: Any) -> jaxga.Task:
    """The task that the arguments describe; `tasks.control` takes the options, too."""
    world = environment(args.task)
    settings = {
        "episodes": args.episodes, "max_steps": args.max_steps, "block": args.block,
        "normalise": tasks.statistics(world) if args.normalise else None,
        "key": jaxga.common if args.pairing == "common" else jaxga.independent,
        "validation_episodes": args.validation_episodes,
    }  # fmt: skip
    return tasks.control(world, nn.MLP((*args.hidden, world.outputs)), **(settings | options))


def make(args: Args) -> tuple[jaxga.Task, jaxga.Algorithm]:
    """The task and the algorithm that the arguments describe."""
    jaxga.require(args.average >= 1, f"average is {args.average}, and must be 1 or more.")
    jaxga.require(min(args.hidden, default=1) >= 1, f"hidden is {args.hidden}, and every width must be 1 or more.")
    task = make_task(args)
    mutation = MUTATIONS[args.mutation](variation.relative(args.sigma))
    # The mean of k steps is sqrt(k) times shorter than one of them: the scale makes that good.
    averaged = variation.average(args.average, variation.by_rank, scale=abs(args.average) ** 0.5)
    return task, jaxga.ga(
        task.init, mutation, parents=args.parents, children=args.children, elites=args.elites,
        reevaluate=args.elites > 0, recombination=averaged if args.average != 1 else None,
    )  # fmt: skip


def main(args: Args) -> None:
    if args.quick and not args.resume:
        args.task, args.children, args.generations, args.max_steps, args.target = "cartpole", 64, 10, 200, 150.0
    task, algorithm = make(args)
    target = SOLVED.get(args.task, float("inf")) if args.target is None else args.target
    where = experiment.scoring(args, partial(make, args), args.chunk)
    out, results = experiment.run_seeds(
        args, "control", task, algorithm, generations=args.generations, validate_every=args.validate_every,
        stop=jaxga.stop.target(target, "best_validation"), chunk=args.chunk, **where,
    )  # fmt: skip
    rows = [row(f"GA, seed {args.seed + number}", result, target) for number, result in enumerate(results)]
    plot(args, results, target, out / "control.png")
    headline = {
        "task": args.task, "seeds": args.seeds, "target": target if np.isfinite(target) else None,
        "solved": sum(bool(line["solved"]) for line in rows), "validation_return": rows[0]["best return"],
        "median_return": float(np.median([line["best return"] for line in rows])), "all": rows,
        **jaxga.backend.dollars(args.dollars_per_hour, results, where.get("evaluator")),
    }  # fmt: skip
    report.print_table(
        rows, f"{args.task}: mean return over {args.validation_episodes} episodes, {results[-1].stopped_because}"
    )
    experiment.conclude(args, "control", out, results, headline)


def row(name: str, result: jaxga.Result, target: float) -> dict[str, Any]:
    """What a run reached: the best mean validation return of any generation, and that of the last one validated."""
    returns = result.history["best_validation"]
    best = float(returns[-1]) if len(returns) else float("nan")
    return {
        "": name, "best return": best, "solved": best >= target,
        "fitness": float(result.history["fitness"][-1]), "steps": float(result.history["episode_steps"][-1]),
        "generations": int(result.state.generation), "evaluations": int(result.history["evaluations"][-1]),
        "seconds": round(result.seconds, 1),
    }  # fmt: skip


def plot(args: Args, results: list[jaxga.Result], target: float, path: Path) -> None:
    """The best mean validation return so far against generations, and against seconds."""
    by_generation, by_second = experiment.curves(results, "best_validation")
    axes = {"ylabel": f"mean return of {args.validation_episodes} episodes, best so far"}
    panels = [({"xlabel": "generation", **axes}, by_generation), ({"xlabel": "seconds", **axes}, by_second)]
    goal = f", solved at {target:g}" if np.isfinite(target) else ""
    report.plot_curves(panels, path, f"{args.task}{goal}")


def show(args: Args, task: jaxga.Task, params: Any, directory: Path) -> Path:
    """Draw one episode for `jaxga replay`: what the network observes, and what it does."""
    del task  # its episodes are not recorded
    world = environment(args.task)
    most = args.max_steps or world.max_steps

    def recorder(width: int, part: Callable[[jaxga.Step], Any]) -> jaxga.Observer:
        """A row for every step, ``[most, width]``."""

        def add(seen: tuple[Any, Any], step: jaxga.Step) -> tuple[Any, Any]:
            rows, number = seen
            return rows.at[number].set(jnp.ravel(part(step)).astype(rows.dtype)), number + 1

        return jaxga.Observer(lambda *_: (jnp.zeros((most, width)), 0), add, lambda seen: seen[0])

    recorders = {
        "observations": recorder(int(np.prod(world.observation)), lambda step: step.observation),
        "actions": recorder(world.outputs if isinstance(world.actions, tasks.Box) else 1, lambda step: step.action),
    }
    play = compilation.jit(make_task(args, episodes=1, observe=recorders).evaluate)
    score = play(jax.random.key(args.seed), params)
    length = int(score.metrics["steps"])
    figure = Figure(figsize=(9, 3.4), layout="constrained")
    for panel, name in zip(figure.subplots(1, len(recorders)), recorders, strict=True):
        values = np.asarray(score.metrics[name])[:length]
        if values.shape[1] > MOST_LINES:
            panel.imshow(values.T, aspect="auto", interpolation="nearest", cmap="viridis")
        else:
            panel.plot(values, "-" if values.shape[1] > 1 or isinstance(world.actions, tasks.Box) else ".", linewidth=1)
        panel.set(xlabel="step", title=name)
    figure.suptitle(f"{args.task}: an episode of {length} steps, return {float(score.fitness):.4g}")
    figure.savefig(directory / "episode.png", dpi=130)
    return directory / "episode.png"


if __name__ == "__main__":
    report.run_command(main, Args)
