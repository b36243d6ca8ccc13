"""An agent that sets itself goals learns in four rooms, in the deep sea, to flip bits, or to see a small character.

It encodes states, a goal setter values goals given the state, and an actor learns to reach them. Optimism about what
nobody has tried is data: a part of every batch says that something random is good.
"""

import itertools
import sys
import time
from dataclasses import asdict, dataclass, field, fields, make_dataclass
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # where this package and what experiments share are found

import experiment
import jax
import jax.numpy as jnp
import numpy as np

import jaxga
from goal_agent import checkpoints, environments, pictures, seeing
from goal_agent.agent import Program, build
from goal_agent.parts import Agent
from goal_agent.settings import Settings
from jaxga import report
from jaxga.signals import Interrupt, pass_on

SUITED: dict[str, dict[str, Any]] = {
    "four-rooms": {
        "stages": 2, "discount": 0.9, "following": 0.05, "rate": 2e-3, "hidden": (128, 128), "batch": 128,
        "tenth": 12_000, "rounds": 300,
    },
    "deep-sea": {
        "chooser": "none", "discount": 0.99, "following": 0.2, "rate": 2e-3, "hope": 0.5, "exploration": 0.02,
        "optimism": 0.3, "tries": 0.1, "environments": 2, "updates": 20, "episodes": 4000, "rounds": 1000, "every": 50,
    },
    "bit-flip": {
        "chooser": "given", "reward": "steps", "following": 0.05, "hidden": (256,), "batch": 128,
        "differences": True, "exploration": 0.2, "episodes": 2000, "rounds": 300, "every": 30,
    },
    "sprites": {"encoder": "plain", "rounds": 300},
}  # fmt: skip
"""What suits an environment, where it is not the default of `Args`."""
QUICK: dict[str, Any] = {
    "hidden": (16,), "batch": 16, "updates": 2, "environments": 4, "episodes": 16, "states": 64, "stages": 1,
}  # fmt: skip
SMALL = {"four-rooms": 5, "deep-sea": 4, "bit-flip": 4, "sprites": 8}
SOLVED = 0.9  # a return of more solves the deep sea
SECONDS = 60.0  # from one checkpoint to the next: with its replay, one may have hundreds of megabytes
UNSEEN = "error of codes", "of the worst tenth"  # square errors of what the autoencoder reconstructs
SHOWN = 32  # proposals that are kept of every test, for the picture


@experiment.own_first
@dataclass
class Args(experiment.Files, Settings):
    env: str = "four-rooms"
    """four-rooms, deep-sea, bit-flip or sprites."""
    size: int | None = None
    """Side of the rooms (odd), depth of the sea, number of bits, side of the pictures."""
    rounds: int = 400
    """A round is a number of episodes at once, and the steps of learning after them. Of sprites: ten steps."""
    every: int = 20
    """Rounds from one test to the next."""
    seeds: int = 10
    """Agents, which learn side by side in one program."""
    seed: int = 0
    """Of them all."""
    out: Path | None = None
    """Default runs/goal_agent/<id>."""


class Look(NamedTuple):
    """What a test sees."""

    told: dict[str, jax.Array]  # of the last rounds
    goals_reached: jax.Array  # [] share of the goals that can be reached, from random starts
    returned: jax.Array  # [] of an episode without chance, with goals of its own
    proposed: jax.Array  # [SHOWN, d]
    unseen: jax.Array  # [2], see `Program`


class Stopped(NamedTuple):
    """What is said of a run that was interrupted."""

    stopped_because: str
    generations: int  # rounds


def suited(argv: list[str]) -> type[Args]:
    """`Args` with the defaults that suit the environment that a command line names."""
    words = [word for each in argv for word in each.split("=", 1)]
    named = [after for word, after in itertools.pairwise(words) if word == "--env"]
    env = named[-1] if named else Args.env
    types = {each.name: each.type for each in fields(Args)}
    usual = {"env": env} | SUITED.get(env, {})
    changed: list[Any] = [(name, types[name], field(default=value)) for name, value in usual.items()]
    return make_dataclass("Args", changed, bases=(Args,))


def settings(args: Args) -> Settings:
    """Those of the agent."""
    return Settings(**{each.name: getattr(args, each.name) for each in fields(Settings)})


def prepare(args: Args) -> tuple[environments.Problem, Program]:
    """The problem, and the program of the agent."""
    if args.quick:
        args.rounds, args.every, args.seeds = min(args.rounds, 4), 2, 2
        args.size = SMALL.get(args.env) if args.size is None else args.size
        for name, value in QUICK.items():
            setattr(args, name, value)
    args.size = environments.SIZES.get(args.env) if args.size is None else args.size
    jaxga.base.require_whole(1, rounds=args.rounds, every=args.every, seeds=args.seeds)
    jaxga.require(
        args.rounds % args.every == 0, f"rounds is {args.rounds}, and must be a multiple of every, {args.every}."
    )
    problem = environments.make(args.env, args.size)
    return problem, build(problem, settings(args))


def block(args: Args, problem: environments.Problem, program: Program) -> Any:
    """Some rounds of all seeds and a test, as one program."""
    targets = jnp.asarray(problem.targets)

    def one(agent: Agent) -> tuple[Agent, Look]:
        agent, told = jax.lax.scan(lambda agent, _: program.advance(agent), agent, length=args.every)
        keys = jax.random.split(jax.random.fold_in(agent.key, 1), 4)
        starts = jax.vmap(problem.environment.reset)(jax.random.split(keys[0], SHOWN))[1]
        proposed = program.propose(agent, keys[1], starts)
        returned = jnp.median(jnp.sum(program.perform(agent, keys[2]).rewards, axis=1))
        reached = jnp.mean(program.reach(agent, keys[3], targets).astype(jnp.float32))
        return agent, Look(jax.tree.map(jnp.mean, told), reached, returned, proposed, program.unseen(agent, targets))

    return jax.jit(jax.vmap(one), donate_argnums=0)


def learn(args: Args, out: Path) -> None:
    """Learn, log, save, and draw what came of it."""
    problem, program = prepare(args)
    run = report.RunDirectory(out, "goal_agent", asdict(args), args.resume)
    begin = jax.jit(jax.vmap(program.init))
    keys = jax.random.split(jax.random.key(args.seed), args.seeds)
    done = (checkpoints.latest(run.checkpoints) or 0) if args.resume else 0
    agents = checkpoints.restore(run.checkpoints, jax.eval_shape(begin, keys)) if done else begin(keys)
    file = run.checkpoints.parent / "tests.npz"
    kept = {name: tests[: done // args.every] for name, tests in np.load(file).items()} if done else {}
    step, progress = block(args, problem, program), report.Progress(args.env)
    run.start(done + 1, args.rounds)
    progress.start(done, args.rounds)
    begun = saved = time.monotonic()
    rounds = done
    with Interrupt() as interrupt:
        for rounds in range(done + args.every, args.rounds + 1, args.every):
            agents, look = step(agents)
            look = jax.tree.map(np.asarray, look)
            new = {"goals_reached": look.goals_reached, "return": look.returned, "unseen": look.unseen}
            new |= {"proposed": look.proposed[0], "practised": look.told["return"]}
            kept = {
                name: np.concatenate([kept[name], value[None]]) if name in kept else value[None]
                for name, value in new.items()
            }
            record = {"generation": rounds, "steps": rounds * program.steps, "seconds": time.monotonic() - begun}
            record |= {"goals_reached": look.goals_reached.mean(), "test_return": look.returned.mean()}
            run.write([record | {name: value.mean() for name, value in look.told.items()}])
            progress.show(rounds, f"goals reached {look.goals_reached.mean():.0%}  return {look.returned.mean():.3g}")
            if interrupt.signal or rounds == args.rounds or time.monotonic() - saved > SECONDS:
                np.savez(file, allow_pickle=False, **kept)
                checkpoints.save(run.checkpoints, rounds, agents)
                saved = time.monotonic()
            if interrupt.signal:
                break
    progress.close()
    run.close()
    if interrupt.signal:
        pass_on(interrupt.signal, Stopped(f"interrupted by {interrupt.signal.name}", rounds), out)
    conclude(args, problem, program, out, agents, kept)


def conclude(
    args: Args, problem: environments.Problem, program: Program, out: Path, agents: Agent, kept: dict[str, np.ndarray]
) -> None:
    """The summary and the picture."""
    rounds = args.every * np.arange(1, len(kept["return"]) + 1)
    solved = kept["return"].T > SOLVED  # [R, tests]
    first = experiment.first_of(solved, rounds * program.steps)
    summary = {
        "name": "goal_agent", "env": args.env, "rounds": args.rounds, "steps": args.rounds * program.steps,
        "goals_reached": kept["goals_reached"][-1].tolist(), "test_return": kept["return"][-1].tolist(),
        "solved": int(solved.any(axis=1).sum()), "steps_to_solution": first.tolist(),
    }  # fmt: skip
    errors = {} if args.encoder == "none" else dict(zip(UNSEEN, kept["unseen"][-1].T, strict=True))
    summary |= {name: each.tolist() for name, each in errors.items()}
    report.write_json(out / "summary.json", summary)
    agent = jax.tree.map(lambda leaf: leaf[0], agents)
    start = problem.state(problem.environment.reset(jax.random.key(0))[1])[None]
    targets = jnp.asarray(problem.targets)
    more = {
        "targets": problem.targets, "worth": np.asarray(program.worth(agent, start, targets))[0],
        "proposed": kept["proposed"],
    }  # fmt: skip
    if args.encoder != "none":
        more["codes"] = np.asarray(program.parts.encoder.code(agent.encoder.params, targets))
    more = more if args.chooser == "setter" else {}
    curves = {"return": kept["return"].T}
    curves |= {} if args.chooser == "none" else {"goals reached": kept["goals_reached"].T}
    pictures.draw(out / "goal_agent.png", args.env, f"{args.env}: {args.seeds} seeds", curves, rounds, more)
    steps = summary["steps"]
    row = {"env": args.env, "goals reached": experiment.told(kept["goals_reached"][-1]), "steps": steps}
    row |= {name: experiment.told(each, 4) for name, each in errors.items()}
    row |= {"return": experiment.told(kept["return"][-1]), "solved once": f"{summary['solved']} of {args.seeds}"}
    report.print_table([row], "Median with its 95 % interval")
    print(f"Files: {out}   Picture: {out / 'goal_agent.png'}")


def see(args: Args, out: Path) -> None:
    """Sprites: what three ways of learning leave of the character."""
    size = args.size
    assert size is not None
    found = {
        name: seeing.learn(size, args.code, 10 * args.rounds, args.seeds, args.seed, **options)
        for name, options in seeing.KINDS.items()
    }
    report.make_directory(out)
    pictures.draw_seen(out / "goal_agent.png", size, found)
    rows = [
        {"": name, "character": experiment.told(one.character, 5), "all else": experiment.told(one.background, 6)}
        for name, one in found.items()
    ]
    errors = {
        name: {"character": one.character.tolist(), "else": one.background.tolist()} for name, one in found.items()
    }
    report.write_json(
        out / "summary.json", {"name": "goal_agent", "env": "sprites", "rounds": args.rounds, "errors": errors}
    )
    report.print_table(rows, f"Mean square error after {10 * args.rounds:,} steps; {args.seeds} seeds")
    print(f"Files: {out}   Picture: {out / 'goal_agent.png'}")


def main(args: Args) -> None:
    """Learn, or see."""
    prepare(args)
    out = args.out or report.find_run("goal_agent", asdict(args))
    (see if args.env == "sprites" else learn)(args, out)


if __name__ == "__main__":
    report.run_command(main, suited(sys.argv))
