"""The actor by evolution, side by side with the gradient: the same network, the same rooms, goals set by chance.

To jaxga it is a plain task: a network sees its cell and a goal, and its fitness is the share of goals that it reaches.
"""

import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # where this package and what experiments share are found

import experiment
import jax
import jax.numpy as jnp
import numpy as np

import jaxga
from goal_agent import environments
from goal_agent.environments import Problem
from jaxga import nn, report, tasks, variation
from jaxga.base import Key, common
from jaxga.tasks import Environment

Errand = tuple  # of the environment's state, the goal and where the agent is


@experiment.own_first
@dataclass
class Args(experiment.Files):
    env: str = "four-rooms"
    """An environment whose goals are states: four-rooms or deep-sea."""
    size: int | None = None
    """As for train.py."""
    hidden: tuple[int, ...] = (64,)
    generations: int = 600
    children: int = 256
    """Of a generation; their mean, weighted by rank, is the next parent."""
    episodes: int = 64
    """Of a child in a generation, the same for all."""
    sigma: float = 0.1
    """Of a mutation, in standard deviations of a layer's first weights; it falls to a fiftieth."""
    seeds: int = 3
    """Runs."""
    out: Path | None = None
    """Default runs/goal_evolve/<id>."""


def with_goals(problem: Problem) -> Environment:
    """The environment with a goal that is drawn for every episode and seen: 1 is paid for reaching it, once."""
    environment, targets = problem.environment, jnp.asarray(problem.targets)

    def seen(observation: jax.Array, goal: jax.Array) -> jax.Array:
        return jnp.concatenate([problem.state(observation), goal])

    def reset(key: Key) -> tuple[Errand, jax.Array]:
        key_start, key_goal = jax.random.split(key)
        state, observation = environment.reset(key_start)
        goal = targets[jax.random.randint(key_goal, (), 0, len(targets), jnp.int32)]
        return (state, goal), seen(observation, goal)

    def step(key: Key, errand: Errand, action: jax.Array) -> tuple[Errand, jax.Array, jax.Array, jax.Array]:
        state, goal = errand
        state, observation, _, over = environment.step(key, state, action)
        there = (problem.state(observation) == goal).all()
        return (state, goal), seen(observation, goal), there.astype(jnp.float32), over | there

    return Environment(reset, step, (2 * problem.size,), environment.actions, environment.max_steps)


def make(args: Args) -> tuple[jaxga.Task, jaxga.Algorithm]:
    """The task and the algorithm."""
    problem = environments.make(args.env, args.size)
    jaxga.require(problem.given is None, f"env is {args.env!r}, whose goals are given: take four-rooms or deep-sea.")
    environment = with_goals(problem)
    network = nn.MLP((*args.hidden, environment.outputs))
    task = tasks.control(
        environment, network, episodes=args.episodes, key=common, act=tasks.drawn, validation_episodes=512
    )
    mutation = variation.gaussian(experiment.falling(variation.relative(args.sigma), args.generations))
    mean = experiment.mean_of_all(args.children)
    return task, jaxga.ga(task.init, mutation, parents=1, children=args.children, recombination=mean)


def main(args: Args) -> None:
    """Run all seeds, and say what they reached and what it took."""
    if args.quick:
        args.size, args.generations, args.children, args.episodes, args.seeds = 5, 4, 16, 4, 1
    jaxga.base.require_whole(1, seeds=args.seeds, generations=args.generations)
    task, algorithm = make(args)
    out = report.make_directory(args.out or report.find_run("goal_evolve", asdict(args)))
    every = max(1, args.generations // 20)
    reached, seconds, curves = [], [], []
    for seed in range(args.seeds):
        begun = time.process_time()
        result = jaxga.run(algorithm, task, seed, generations=args.generations, validate_every=every)
        history = result.history["best_validation"]
        seen = ~np.isnan(history)
        curves.append(history[seen])
        reached.append(float(history[seen][-1]))
        seconds.append(time.process_time() - begun)
        steps = (
            args.generations
            * args.children
            * args.episodes
            * environments.make(args.env, args.size).environment.max_steps
        )
        summary = {"name": "goal_evolve", "reached": reached, "cpu_seconds": seconds, "steps_at_most": steps}
        report.write_json(out / "summary.json", summary | {"generations": args.generations})
    generations = np.flatnonzero(seen) + 1
    axes = {"xlabel": "generation", "ylabel": "goals reached"}
    report.plot_curves([(axes, [report.Curve("evolved", generations, np.stack(curves))])], out / "goal_evolve.png")
    row = {"env": args.env, "goals reached": experiment.told(np.array(reached)), "steps at most": steps}
    report.print_table([row | {"seconds of a core, a run": round(float(np.mean(seconds)), 1)}], "The actor, evolved")
    print(f"Files: {out}   Picture: {out / 'goal_evolve.png'}")


if __name__ == "__main__":
    report.run_command(main, Args)
