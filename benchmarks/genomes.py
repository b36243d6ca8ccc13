"""What one individual takes on a disk after a thousand generations: ``python -m benchmarks.genomes``."""

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax.numpy as jnp

import jaxga
from jaxga import genome, pedigree, report, variation


@dataclass
class Args:
    generations: int = 1000
    parents: int = 20
    children: int = 1000


def main(args: Args) -> None:
    task = jaxga.Task(lambda _: jnp.zeros(3), lambda _, w: jaxga.Evaluation(-jnp.sum(jnp.abs(w - 1))))
    steps = variation.gaussian(variation.absolute(0.1))
    crossed = variation.chain(variation.uniform_crossover(), steps)
    mean = variation.average(args.children // args.parents)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "one"
        arms: list[tuple[str, jaxga.Variation, dict[str, Any]]] = [
            ("a parent and a mutation", steps, {}),
            ("crossover with a mate", crossed, {}),
            (f"parents are means of {mean.size} children", steps, {"recombination": mean}),
        ]
        for name, change, options in arms:
            algorithm = jaxga.ga(task.init, change, parents=args.parents, children=args.children, **options)
            record = jaxga.run(algorithm, task, generations=args.generations).pedigree
            row = {"a child is made of": name, "genome, bytes": "-"}
            if change is steps and not options:
                alone = genome.save(genome.genome_of(algorithm, record, args.generations - 1, 7), path)
                row["genome, bytes"] = f"{alone.stat().st_size:,}"
            part = pedigree.of_individual(record, args.generations - 1, 7)
            row["its part of the pedigree, bytes"] = f"{pedigree.save(part, path.with_suffix('.npz')).stat().st_size:,}"
            rows.append(row)
    report.print_table(rows, f"{args.generations} generations of {args.parents} parents and {args.children} children")


if __name__ == "__main__":
    report.run_command(main, Args)
