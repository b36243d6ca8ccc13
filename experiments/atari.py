"""Evolve networks that play an Atari game, by the genetic algorithm of Such et al. 2017 (arXiv 1712.06567).

Children play one episode each; the elite and the nine best others are validated in 30 more, and the best mean of those
is the next elite, always a parent. The defaults are the paper's, but for mutations of low rank, which let the children
of a parent share its matrix products; `--mutation gaussian` draws every weight, `--parents 0` is random search.
Wherever a run departs from the paper is listed in its config.json.
"""

import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import experiment
import jax
import numpy as np
from published import FOOTNOTE, published
from rich.progress import TextColumn

import jaxga
from jaxga import arena, pedigree, report, tasks, variation
from jaxga.base import require_at_least


@experiment.own_first
@dataclass
class Args(experiment.Scoring):
    game: str = "Frostbite"
    """One of Atari's."""
    frames: float = 1e9
    """Budget in frames of the game, four a step of the agent; children and validations count, tests do not."""
    generations: int = 1_000_000
    """At most so many."""
    parents: int = 20
    """T, of a generation; 0 is random search."""
    children: int = 1000
    """N, a multiple of the parents."""
    sigma: float = 0.002
    """Step size, absolute, of every weight and bias."""
    mutation: Literal["gaussian", "low_rank"] = "low_rank"
    """Noise on every weight, or of rank 1. Both have the same variance."""
    gamma: float | None = None
    """Step sizes adapt themselves, per layer: each is multiplied by gamma, 1 or 1 / gamma."""
    average: int = 1
    """Children that are averaged into a parent."""
    episodes: int = 1
    """Of each child."""
    validation: int = 10
    """Candidates for the elite that are validated, the old one among them; 0 keeps the best score of training."""
    validation_episodes: int = 30
    """Of each candidate."""
    test_episodes: int = 200
    """Of the elite that is reported, after the run."""
    network: Literal["large", "small"] = "large"
    """4,052,658 parameters with 18 actions (32, 64, 64 channels and 512 units), or 1,008,450."""
    max_steps: int = 5000
    """Of the agent, in an episode of training or validation."""
    test_steps: int = 100_000
    """Of the agent, in an episode of the test."""
    frame_skip: int = 4
    """Frames of the game in a step of the agent."""
    noops: int = 30
    """1 to so many frames pass before the agent acts."""
    sticky: float = 0.0
    """Probability that the emulator repeats the action before; 0.25 is the modern protocol."""
    full_actions: bool = False
    """All 18 actions, not only those that the game knows."""
    clip_rewards: bool = False
    """To -1, 0 and 1."""
    end_on_life_loss: bool = False
    """A life is an episode."""
    fire_start: bool = False
    """Press fire at the start, which some games wait for."""
    common_starts: bool = False
    """Everyone of a generation has the same starts."""
    envs: int | None = None
    """Episodes that are played at once; by default 128, or 8 a thread. The result does not depend on it."""
    threads: int | None = None
    """That emulate; by default one a core. Nor on this."""
    seed: int = 0
    """Networks, children and starts follow from it."""
    out: Path | None = None
    """Where the files go; default runs/atari/<id>."""
    quick: bool = False
    """A tiny one that takes seconds."""


PAPER = Args(mutation="gaussian")
ALWAYS = (
    "every parent has N / T children (the paper draws the parent of each child)",
    "the candidates of a generation are validated from the same 30 starts (the paper draws them for each)",
    "weights begin with a truncated normal distribution (the paper's is not truncated)",
)
PROTOCOL = (
    "max_steps",
    "frame_skip",
    "noops",
    "sticky",
    "full_actions",
    "clip_rewards",
    "end_on_life_loss",
    "fire_start",
)
WORKER_ENVS = 32  # of a worker of Ray, which has one core
LEAST_STEPS = 50  # of an episode, for the least that a generation may cost


def deviations(args: Args) -> list[str]:
    """Where a run departs from the paper, in words."""
    pairs = [(field.name, getattr(args, field.name), getattr(PAPER, field.name)) for field in fields(Args)]
    chosen = [pair for pair in pairs if pair[0] not in report.BUDGET | {"game", "seed", "quick"}]
    return [f"{name} is {here}, not {there}" for name, here, there in chosen if here != there] + list(ALWAYS)


def make(args: Args) -> tuple[jaxga.Game, jaxga.Algorithm]:
    """The game, which stands for a task here, and the algorithm that the arguments describe."""
    options = {name: getattr(args, name) for name in PROTOCOL}
    key = jaxga.common if args.common_starts else jaxga.independent
    game = tasks.atari(args.game, small=args.network == "small", key=key, **options)
    validates = args.validation > 0
    elite = {"elites": 1, "reevaluate": validates, "champion": jaxga.best_validated if validates else None}
    jaxga.require(args.gamma is None or args.gamma >= 1, f"gamma is {args.gamma}, and must be 1 or more.")
    jaxga.require(args.parents >= 0, f"parents is {args.parents}, and must be 0 (random search) or more.")
    if args.parents == 0:
        search = variation.fresh(game.init)
        return game, jaxga.ga(
            game.init, search, parents=1, children=args.children, founders=jaxga.random_founders, **elite
        )
    size = variation.absolute(args.sigma)
    if args.gamma is not None:
        size = variation.multiplicative(size, up=args.gamma)
    mutation = variation.low_rank(size) if args.mutation == "low_rank" else variation.gaussian(size)
    averaged = variation.average(args.average) if args.average > 1 else None
    return game, jaxga.ga(
        game.init, mutation, parents=args.parents, children=args.children, recombination=averaged,
        founders=jaxga.random_founders, **elite,
    )  # fmt: skip


def player(
    args: Args, game: jaxga.Game, algorithm: jaxga.Algorithm, watch: arena.Watch = arena.ignore
) -> jaxga.Rollouts:
    """What plays on this machine."""
    return jaxga.rollouts(algorithm, game, episodes=args.episodes, envs=args.envs, threads=args.threads, watch=watch)


def worker(args: Args) -> jaxga.Rollouts:
    """What a worker of Ray plays with."""
    return player(replace(args, envs=args.envs or WORKER_ENVS), *make(args))


class GameProgress(report.Progress):
    """Elite, frames, speed, time left and cost; within a generation the episodes that are over."""

    def __init__(self, args: Args):
        super().__init__(args.game)
        self.args = args
        self.said = "playing"
        self.generation = 0
        self.watched = time.monotonic()

    def start(self, generation: int, generations: int) -> None:
        """The run begins, or goes on."""
        super().start(generation, generations)
        self.generation = generation

    def columns(self) -> list[Any]:
        """One text: how many generations there will be is not known."""
        return [TextColumn("[bold]{task.description}"), TextColumn("{task.fields[status]}")]

    def status(self, records: Sequence[dict[str, Any]]) -> str:
        """How good, how far, how fast, how long, how dear."""
        last, args = records[-1], self.args
        self.generation = last["generation"] + 1
        frames, seconds = last[jaxga.STEPS] * args.frame_skip, last["seconds"]
        part = max(frames / args.frames, self.generation / args.generations)
        elite = ""
        if args.validation:
            elite = f"elite {last['elite_mean']:,.0f} ± {reach(args, last):,.0f}  "
        cost = f"  ${seconds / 3600 * args.dollars_per_hour:.2f}" if args.dollars_per_hour else ""
        self.said = (
            f"{elite}best {last['best_fitness']:,.0f}  {millions(frames)} of {millions(args.frames)} frames  "
            f"{frames / seconds:,.0f}/s  {duration(seconds * (1 / part - 1))} left{cost}"
        )
        return self.said

    def show(self, generation: int, status: str) -> None:
        """A bar without a bar: its total is not known."""
        if self.bar:
            self.bar.update(self.task, status=f"generation {generation}  {status}")
            return
        self.unsaid = f"{self.label} generation {generation}  {status}"
        self._say_line()

    def watch(self, over: int, steps: int) -> None:
        """Episodes are over."""
        del steps
        if self.bar and time.monotonic() - self.watched > 0.3:
            self.watched = time.monotonic()
            self.bar.update(self.task, status=f"generation {self.generation}  {self.said}  ({over:,} episodes)")


def reach(args: Args, measured: Mapping[str, Any]) -> Any:
    """How far the 95 % interval of the elite's validation reaches to either side of its mean."""
    return 1.96 * measured["elite_std"] / np.sqrt(args.validation_episodes)


def millions(frames: float) -> str:
    return f"{frames / 1e6:,.4g}M"


def duration(seconds: float) -> str:
    """In the two units that matter."""
    minutes = round(max(seconds, 0) / 60)
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min"


def chosen(args: Args, result: jaxga.Result) -> int:
    """After which generation the elite is reported: as in the paper, where the mean of all candidates was best."""
    if not args.validation:
        return int(result.state.generation)
    return int(np.nanargmax(result.history["candidates_mean"])) + 1


def elite_after(algorithm: jaxga.Algorithm, result: jaxga.Result, generation: int) -> Any:
    """The first parent after so many generations, built from the pedigree."""
    if generation == int(result.state.generation):
        return result.best.params
    return pedigree.individual(algorithm, result.pedigree, generation, algorithm.children).params


def examine(args: Args, plays: jaxga.Rollouts, params: Any) -> dict[str, Any]:
    """The test of a network: mean return, its interval, and the episode in the middle."""
    scores = plays.test(params, jax.random.key(args.seed + 2**20), args.test_episodes, args.test_steps)
    mean, low, high = report.mean_interval(np.asarray(scores.fitness))
    return {"test_mean": mean, "test_interval": [low, high], "test_median": float(np.median(scores.fitness))}


def speeds(args: Args, plays: jaxga.Rollouts, history: dict[str, np.ndarray]) -> dict[str, float]:
    """Steps a second of the median generation, compilation left out, and of the emulators alone."""
    steps, seconds = (np.diff(history[name], prepend=0) for name in (jaxga.PLAYED, "seconds"))
    rate = float(np.median((steps / seconds)[1:] if len(steps) > 1 else steps / seconds))
    ceiling = plays.arena.random_play(0.5 if args.quick else 10.0)
    return {
        "frames_per_second": round(rate * args.frame_skip, 1),
        "random_frames_per_second": round(ceiling * args.frame_skip, 1),
        "emulator_fraction": round(rate / ceiling, 3),
    }


def shrunk(args: Args) -> Args:
    """A tiny run that shows everything."""
    few = {
        "children": 16,
        "parents": min(args.parents, 4),
        "validation": min(args.validation, 4),
        "validation_episodes": 2,
        "test_episodes": 4,
        "envs": 8,
    }
    generations = min(args.generations, 2)
    return replace(args, network="small", max_steps=30, test_steps=30, generations=generations, **few)


def main(args: Args) -> int:
    if args.quick and not args.resume:
        args = shrunk(args)
    game, algorithm = make(args)
    least = args.children * args.episodes * args.frame_skip * min(args.max_steps, LEAST_STEPS)
    jaxga.require(
        args.frames >= least,
        f"frames is {args.frames:,.0f}, and one generation of {args.children:,} children takes {least:,} at the very "
        "least: raise --frames, or lower --children.",
    )
    require_at_least(
        1,
        generations=args.generations,
        average=args.average,
        test_episodes=args.test_episodes,
        test_steps=args.test_steps,
    )
    require_at_least(0, validation=args.validation)
    progress = GameProgress(args)
    plays = player(args, game, algorithm, progress.watch)
    players = jaxga.backend.of_games(args.backend, partial(worker, args), plays, args.workers)
    scores = jaxga.validated(players, args.validation, args.validation_episodes) if args.validation else players
    out = args.out or report.find_run("atari", asdict(args))
    directory = report.RunDirectory(out, "atari", asdict(args), args.resume, {"deviations": deviations(args)})
    result = jaxga.run(
        algorithm, scores, args.seed, generations=args.generations, steps=args.frames / args.frame_skip,
        directory=directory, progress=progress, checkpoint_seconds=0,
    )  # fmt: skip
    if (code := report.exit_code(result)) is not None:
        return code
    cost = jaxga.backend.dollars(args.dollars_per_hour, [result], players)
    return finish(args, algorithm, plays, result, out, cost)


def finish(
    args: Args,
    algorithm: jaxga.Algorithm,
    plays: jaxga.Rollouts,
    result: jaxga.Result,
    out: Path,
    cost: dict[str, float],
) -> int:
    """Test the elite, film it, draw the curve, and write down what was reached."""
    generation = chosen(args, result)
    params = elite_after(algorithm, result, generation)
    print(f"Testing the elite of generation {generation} in {args.test_episodes} episodes ...", file=sys.stderr)
    test, history = examine(args, plays, params), result.history
    frames = int(history[jaxga.STEPS][-1]) * args.frame_skip
    headline = {
        "game": args.game, "agent_steps": int(history[jaxga.STEPS][-1]), "game_frames": frames,
        "elite_generation": generation,
        "elite_training": float(history["best_fitness"][generation - 1]),
        "elite_validation_mean": float(history["elite_mean"][generation - 1]) if args.validation else None,
        **test, **speeds(args, plays, history), "published": published(args.game), **cost,
    }  # fmt: skip
    report.write_json(out / "summary.json", {"name": "atari", "seed": args.seed, **result.summary(), **headline})
    video = filmed(args, plays, params, out / "elite.gif")
    picture = plot(args, history, headline, out / "atari.png")
    low, high = test["test_interval"]
    report.print_table(
        [{"elite of generation": generation, "best of training": headline["elite_training"],
          "validation": headline["elite_validation_mean"], "test": test["test_mean"],
          "95 % interval": f"{low:,.0f} to {high:,.0f}", "frames": frames,
          "frames/s": headline["frames_per_second"], "of the emulator": f"{headline['emulator_fraction']:.0%}"}],
        f"{args.game}, {result.stopped_because}",
    )  # fmt: skip
    print(f"Files: {out}   Picture: {picture}   Video: {video}")
    return 0


def filmed(args: Args, plays: jaxga.Rollouts, params: Any, path: Path) -> Path:
    """The video of an episode of the test."""
    _, actions = plays.record(params, 0, args.test_steps)
    return report.write_gif(tasks.film(plays.game, 0, actions), path)


def plot(args: Args, history: dict[str, np.ndarray], headline: dict[str, Any], path: Path) -> Path:
    """Scores against frames of the game, with what others reached."""
    frames = history[jaxga.STEPS] * args.frame_skip / 1e6
    curves = [report.Curve("best child, one episode", frames, history["fitness"], ":")]
    if args.validation:
        mean, half = history["elite_mean"], reach(args, history)
        band = np.stack([mean - half, mean, mean + half])
        curves.append(report.Curve(f"elite, {args.validation_episodes} episodes", frames, band))
    curves.append(
        report.Curve("test", frames[[headline["elite_generation"] - 1]], np.array([headline["test_mean"]]), "o")
    )
    lines = published(args.game)
    ends = [frames[0] * 0.9, frames[-1] * 1.1]
    curves += [report.Curve(f"{name} {score:,}", ends, np.full(2, score), "--") for name, score in lines.items()]
    title = f"{args.game}, {args.children:,} children, {args.mutation.replace('_', ' ')}"
    axes = {"xlabel": f"million frames\n{FOOTNOTE if lines else ''}", "ylabel": "score"}
    report.plot_curves([(axes, curves)], path, title)
    return path


def show(args: Args, game: jaxga.Game, params: Any, directory: Path) -> Path:
    """Film for `jaxga replay` an episode of the network."""
    del game
    return filmed(args, player(args, *make(args)), params, directory / "replay.gif")


if __name__ == "__main__":
    report.run_command(main, Args)
