"""How learning guides evolution: the needle in a haystack of Hinton and Nowlan (1987).

A network has 20 connections that are right or wrong, and only the one with all of them right is worth anything. Genes
are 0 (wrong), 1 (right) or ? (to be learned): in its life, an individual guesses all of its ? anew in each of 1,000
trials. The sooner it hits, the more children it has; what it guessed, they do not inherit. Without ? there is nothing
to climb.
"""

import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import experiment
import jax
import jax.numpy as jnp
import numpy as np

import jaxga
from jaxga import analysis, report
from jaxga.selection import breeding, choose_mate, proportional, ranked

GENES, TRIALS = 20, 1000
WRONG, RIGHT, OPEN = 0.0, 1.0, 2.0  # the alleles
ALLELES = {"right": RIGHT, "wrong": WRONG, "to be learned": OPEN}


@experiment.own_first
@dataclass
class Args(experiment.Files):
    population: int = 1000
    generations: int = 50
    seeds: int = 10
    """Runs with learning, and as many without."""
    out: Path | None = None
    """Where the figures and pictures go; default runs/baldwin/<id>."""
    quick: bool = False
    """100 individuals for 5 generations."""


def make(population: int, learning: bool) -> tuple[jaxga.Task, jaxga.Algorithm]:
    """A quarter of the first genes is right, a quarter wrong, half open; without learning, half are right."""

    def init(key: jax.Array) -> jax.Array:
        chances = jnp.array([0.25, 0.25, 0.5] if learning else [0.5, 0.5, 0.0], jnp.float32)
        return jax.random.choice(key, jnp.array([WRONG, RIGHT, OPEN], jnp.float32), (GENES,), p=chances)

    def evaluate(key: jax.Array, genes: jax.Array) -> jaxga.Evaluation:
        guesses = jnp.sum(genes == OPEN, dtype=jnp.float32)
        # The number of trials until the first hit, each of which has a chance of 2 to the minus guesses.
        until = jnp.floor(jnp.log(jax.random.uniform(key, (), jnp.float32, 1e-30)) / jnp.log1p(-(0.5**guesses)))
        hits = (genes != WRONG).all() & (until < TRIALS)
        left = jnp.where(hits, TRIALS - until, 0)
        return jaxga.Evaluation(1 + 19 * left / TRIALS)

    def cross(key: jax.Array, parent: jaxga.Individual, context: Any) -> jaxga.Individual:
        """The first genes of one parent and the others of its mate."""
        place = jax.random.randint(key, (), 0, GENES, jnp.int32)
        first = jnp.arange(GENES, dtype=jnp.int32) < place
        return parent._replace(params=jnp.where(first, parent.params, context.mate.params))

    algorithm = jaxga.ga(
        init, jaxga.Variation(lambda _: (), cross), parents=population, children=population, pairs=population,
        founders=jaxga.random_founders,
        selection=breeding(ranked(), population, proportional, choose_mate(proportional)),
    )  # fmt: skip
    return jaxga.Task(init, evaluate, jaxga.independent), algorithm


def main(args: Args) -> None:
    if args.quick:
        args.population, args.generations, args.seeds = 100, 5, 2
    jaxga.base.require_whole(2, population=args.population, generations=args.generations)
    jaxga.base.require_whole(1, seeds=args.seeds)
    out = report.make_directory(args.out or report.find_run("baldwin", asdict(args)))
    begun, rows, panels = time.monotonic(), [], []
    for learning in (True, False):
        task, algorithm = make(args.population, learning)
        runs = jaxga.run_many(
            lambda algorithm=algorithm: algorithm, task, generations=args.generations, seeds=args.seeds, pedigrees=True
        )
        seen = [analysis.trace(algorithm, record, shares_of).values for record in runs.pedigrees]
        shares = {name: np.stack([one[name] for one in seen]) for name in ALLELES}
        x = np.arange(1, args.generations + 1)
        axes = {"xlabel": "generation", "ylabel": "part of all genes", "ylim": (0, 1),
                "title": "with learning" if learning else "without learning"}  # fmt: skip
        panels.append((axes, [report.Curve(name, x, values) for name, values in shares.items()]))
        row: dict[str, Any] = {"": axes["title"]}
        for name, values in shares.items():
            row[f"{name}, %"] = experiment.told(100 * values[:, -1], 0)
        best = runs.metrics["best_fitness"][:, -1]
        rows.append(row | {"runs that found it": f"{(best > 1).sum()} of {args.seeds}"})
    report.plot_curves(panels, out / "baldwin.png", f"Genes of {args.population} individuals, {args.seeds} seeds")
    report.print_table(rows, f"Genes after {args.generations} generations; {time.monotonic() - begun:.0f} s")
    report.write_json(out / "summary.json", {"name": "baldwin", "arms": rows})
    print(f"Files: {out}   Picture: {out / 'baldwin.png'}")


def shares_of(source: jaxga.Source) -> dict[str, jax.Array]:
    """Which part of all genes is of each allele."""
    genes = source.parents.params
    return {name: jnp.mean((genes == allele).astype(jnp.float32)) for name, allele in ALLELES.items()}


if __name__ == "__main__":
    report.run_command(main, Args)
