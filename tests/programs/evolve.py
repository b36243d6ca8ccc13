"""Fifty generations on whatever this process has been joined to; prints a digest of every survivor and of the parents.

Started by the tests, as one process or as several.
"""

import hashlib
import json
import signal
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import genotypes
import jax
import jax.numpy as jnp
import lifetimes
import networks
import numpy as np
import populations
import structured
import tyro

import jaxga
from jaxga import distributed, nn, report, tasks, variation


@dataclass
class Args:
    hosts: bool = False
    cores: int = 1
    generations: int = 50
    seconds: float = float("inf")
    out: Path | None = None
    resume: bool = False
    workers: int | None = None  # of Ray
    game: bool = False  # on the host, by one of PLAYERS
    made: str = "averages"  # of MAKERS, or of PLAYERS


def make() -> tuple[jaxga.Task, jaxga.Algorithm]:
    """A task whose every bit counts, and an algorithm that averages and adapts."""
    task = tasks.memorization(nn.MLP((16, 10)), points=16, shape=(12,), loss=tasks.cross_entropy)
    mutation = variation.low_rank(variation.multiplicative(variation.relative(0.2)))
    average = variation.average(3, variation.by_rank)
    algorithm = jaxga.ga(task.init, mutation, parents=2, children=32, elites=1, reevaluate=True, recombination=average)
    return task, algorithm


def parental() -> tuple[jaxga.Task, jaxga.Algorithm]:
    """Distinct founders, of whom a part never changes; the tiebreak and metrics, some of them vectors, come from it.

    Nothing of a score but the fitness differs inside a brood, and fitness is a number of few values.
    """

    def init(key):
        return {"body": jax.random.normal(key, (3,)), "head": jnp.zeros(2)}

    def founders(key, init, parents):
        return jax.vmap(init)(jax.random.split(key, parents))

    def evaluate(key, params):
        metrics = {"body": params["body"], "constant": jnp.array([1.0, 2.0, 3.0]), "draw": jax.random.uniform(key)}
        return jaxga.Evaluation(jnp.round(jnp.sum(params["head"])), jnp.sum(params["body"]), metrics)

    mutation = variation.masked(variation.gaussian(variation.absolute(0.3)), lambda path: path[0] == "head")
    algorithm = jaxga.ga(init, mutation, parents=4, children=16, founders=founders, elites=1)
    return jaxga.Task(init, evaluate), algorithm


def players() -> jaxga.Rollouts:
    """CartPole, with an elite that is validated."""
    game = tasks.envpool_game("CartPole-v1", nn.MLP((2,)), max_steps=60)
    algorithm = jaxga.ga(
        game.init, variation.gaussian(variation.absolute(1.0)), parents=2, children=10, elites=1, reevaluate=True,
        champion=jaxga.best_validated,
    )  # fmt: skip
    return jaxga.rollouts(algorithm, game, envs=4, threads=1)


def evaluator(make: Callable[[], tuple[jaxga.Task, jaxga.Algorithm]]) -> jaxga.evaluate.Vmapped:
    """What a worker makes."""
    task, algorithm = make()
    return jaxga.vmapped(algorithm, task, 2)


MAKERS = {
    "averages": make,
    "parental": parental,
    "islands": structured.on_islands,
    "grid": structured.on_a_grid,
    **populations.MADE,
    **lifetimes.MADE,
    **genotypes.MADE,
    **networks.MADE,
}
PLAYERS = {"averages": players, "encoded": genotypes.players}

# From one topology to the next; the last bit of a mean over all children depends on how XLA orders its sum.
UNLIKE = {"seconds", "evaluations_per_second", "workers", "mean_fitness", "std_fitness"}


def digest(result: jaxga.Result) -> str:
    """Of the pedigree, of the parents and of what was measured, to the last bit."""
    history = {name: values for name, values in result.history.items() if name not in UNLIKE}
    history = {name: values for name, values in history.items() if "validation" not in name}  # a pool has none
    leaves = jax.tree.leaves((result.pedigree.recipes, result.state.parents, history))
    return hashlib.sha256(b"".join(np.asarray(leaf).tobytes() for leaf in leaves)).hexdigest()


def main(args: Args) -> int:
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    jaxga.use_cores(args.cores)
    if args.hosts:
        distributed.initialize()
    plays = PLAYERS[args.made]() if args.game else None
    made = MAKERS["averages" if plays else args.made]
    task, algorithm = made()
    directory = report.RunDirectory(args.out, "evolve", {}, args.resume) if args.out else None
    scored: Any = jaxga.pool(partial(evaluator, made), workers=args.workers) if args.workers else task
    if plays:
        algorithm, scored = plays.algorithm, jaxga.validated(jaxga.over_hosts(plays), 3, 2)
    chunk = 2 if scored is task else None
    try:
        result = jaxga.run(
            algorithm, scored, 0, generations=args.generations, seconds=args.seconds, chunk=chunk, directory=directory
        )
    except jaxga.Interrupted as stopped:
        result = stopped.result
    print(json.dumps({
        "digest": digest(result), "generation": int(result.state.generation), "devices": jax.device_count(),
        "first": distributed.is_first(), "stopped_because": result.stopped_because,
        **({"tally": asdict(scored.tally)} if args.workers else {}),
    }), flush=True)  # fmt: skip
    return 130 if result.interrupted else 0


if __name__ == "__main__":
    try:
        sys.exit(main(tyro.cli(Args)))
    except jaxga.InputError as error:
        sys.exit(f"error: {error}")
