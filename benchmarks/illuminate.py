"""How many evaluations a second does MAP-Elites make? jaxga against QDax and pyribs, in turns, in one process.

``python -m benchmarks.illuminate`` takes two minutes on two cores. The work is the benchmark of
`experiments/illuminate.py`: a sphere of 100 numbers, 100 x 100 cells, 540 children a generation, iso + line. A run
begins with an empty archive. QDax and pyribs take part where they are installed: ``pip install qdax ribs``.
"""

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import jaxga
from benchmarks.timing import in_turns
from jaxga import report, variation
from jaxga.selection import grid, map_elites

DIMENSION, BOUND, SHIFT, SIDE, CHILDREN = 100, 5.12, 2.048, 100, 540
HALF = DIMENSION / 2 * BOUND
ISO, LINE = 0.5, 0.2
WORST = DIMENSION * (BOUND + SHIFT) ** 2
Run = Callable[[], tuple[Any, Any]]  # a whole run: QD score and coverage in %


@dataclass
class Args:
    generations: int = 1000
    """Of a run."""
    seconds: float = 15
    """Of each contestant, with at least three runs."""


def sphere(xp: Any, x: Any) -> tuple[Any, Any]:
    """Fitness ``[...]`` and descriptor ``[..., 2]`` of ``x [..., 100]``, with numpy or jax.numpy."""
    within = xp.where(xp.abs(x) > BOUND, BOUND / xp.where(x == 0, 1, x), x)
    at = within.reshape(*x.shape[:-1], 2, -1).sum(axis=-1)
    return 100 * (1 - xp.sum((x - SHIFT) ** 2, axis=-1) / WORST), at


def by_jaxga(args: Args) -> Run:
    """A run as a user writes it: with its history, its pedigree and the best individual."""

    def evaluate(key: jax.Array, x: jax.Array) -> jaxga.Evaluation:
        del key
        fitness, at = sphere(jnp, x)
        return jaxga.Evaluation(fitness, metrics={"at": at})

    task = jaxga.Task(lambda _: jnp.zeros(DIMENSION), evaluate, chunk=1024)
    change = variation.chain(variation.line(LINE), variation.gaussian(variation.absolute(ISO)))
    selection = map_elites("at", grid((SIDE, SIDE), -HALF, HALF), CHILDREN)
    algorithm = jaxga.ga(task.init, change, parents=SIDE**2, children=CHILDREN, pairs=CHILDREN, selection=selection)

    def whole() -> tuple[Any, Any]:
        history = jaxga.run(algorithm, task, generations=args.generations).history
        return history["qd_score"][-1], 100 * history["coverage"][-1]

    return whole


def by_qdax(args: Args) -> Run:
    """Its own MAPElites and MixingEmitter; all generations are one scan."""
    from qdax.core.containers.mapelites_repertoire import (  # pyright: ignore[reportMissingImports]
        compute_euclidean_centroids,
    )
    from qdax.core.emitters.mutation_operators import isoline_variation  # pyright: ignore[reportMissingImports]
    from qdax.core.emitters.standard_emitters import MixingEmitter  # pyright: ignore[reportMissingImports]
    from qdax.core.map_elites import MAPElites  # pyright: ignore[reportMissingImports]
    from qdax.utils.metrics import default_qd_metrics  # pyright: ignore[reportMissingImports]

    def scores(x: jax.Array, key: jax.Array) -> Any:
        del key
        return *sphere(jnp, x), {}

    vary = partial(isoline_variation, iso_sigma=ISO, line_sigma=LINE)
    emitter = MixingEmitter(lambda x, _: x, vary, variation_percentage=1.0, batch_size=CHILDREN)
    algorithm = MAPElites(scores, emitter, partial(default_qd_metrics, qd_offset=0.0))
    cells = compute_euclidean_centroids((SIDE, SIDE), -HALF, HALF)

    @jax.jit
    def run(key: jax.Array) -> Any:
        key_init, key = jax.random.split(key)
        repertoire, emitter_state, _ = algorithm.init(jnp.zeros((1, DIMENSION)), cells, key_init)
        return jax.lax.scan(algorithm.scan_update, (repertoire, emitter_state, key), length=args.generations)[1]

    def whole() -> tuple[Any, Any]:
        found = run(jax.random.key(0))
        return np.asarray(found["qd_score"])[-1], np.asarray(found["coverage"])[-1]

    return whole


def by_pyribs(args: Args) -> Run:
    """Its own GridArchive and one IsoLineEmitter."""
    from ribs.archives import GridArchive  # pyright: ignore[reportMissingImports]
    from ribs.emitters import IsoLineEmitter  # pyright: ignore[reportMissingImports]
    from ribs.schedulers import Scheduler  # pyright: ignore[reportMissingImports]

    def whole() -> tuple[Any, Any]:
        archive = GridArchive(solution_dim=DIMENSION, dims=(SIDE, SIDE), ranges=[(-HALF, HALF)] * 2, seed=0)
        emitter = IsoLineEmitter(
            archive, iso_sigma=ISO, line_sigma=LINE, x0=np.zeros(DIMENSION), batch_size=CHILDREN, seed=0
        )
        scheduler = Scheduler(archive, [emitter])
        for _ in range(args.generations):
            scheduler.tell(*sphere(np, scheduler.ask()))
        return archive.stats.qd_score, 100 * archive.stats.coverage

    return whole


def main(args: Args) -> None:
    contestants = {"jaxga": by_jaxga(args)}
    for name, module, make in (("QDax", "qdax", by_qdax), ("pyribs", "ribs", by_pyribs)):
        if importlib.util.find_spec(module):
            contestants[name] = make(args)
    found: dict[str, tuple[Any, Any]] = {}

    def call(name: str) -> Any:
        found[name] = contestants[name]()
        return np.asarray(found[name])

    taken = in_turns({name: partial(call, name) for name in contestants}, args.seconds)
    rows = [
        {
            "": name, "evaluations/s": f"{CHILDREN * args.generations / time.median:,.0f}",
            "s a run, median": round(time.median, 2), "fastest": round(time.low, 2), "first": round(time.first, 1),
            "runs": time.calls, "QD score": f"{found[name][0]:,.0f}", "coverage, %": f"{found[name][1]:.1f}",
        }
        for name, time in taken.items()
    ]  # fmt: skip
    report.print_table(rows, f"MAP-Elites, sphere of {DIMENSION}, {args.generations:,} generations of {CHILDREN}")


if __name__ == "__main__":
    report.run_command(main, Args)
