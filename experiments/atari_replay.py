"""Watch what a run of `experiments/atari.py` evolved: any individual, built from the pedigree, and its ancestors.

Nothing but the run's key and the table of its survivors is needed: networks are built again, bit for bit.
"""

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import atari
import jax
import numpy as np

import jaxga
from jaxga import pedigree, report, tasks


@dataclass
class Args:
    run: Path
    """The directory of the run."""
    generation: int | None = None
    """Whose child it is; by default the elite after the last one."""
    index: int | None = None
    """Of the child in its generation; from the number of children on, a parent."""
    episodes: int = 30
    """To be tested in."""
    start: int = 0
    """Of the episode that is filmed: frames that pass before it, less one."""
    out: Path | None = None
    """The film; default <run>/replay.gif."""


def main(args: Args) -> int:
    file = args.run / "pedigree.npz"
    jaxga.require(file.exists(), f"{args.run} holds no pedigree.npz: name the directory of a run that has ended.")
    record = pedigree.load(file)
    known = {field.name for field in fields(atari.Args)}
    settings = atari.Args(**{name: value for name, value in record.config["arguments"].items() if name in known})
    game, algorithm = atari.make(settings)
    plays = atari.player(settings, game, algorithm)
    born = record.generations if args.generation is None else args.generation
    index = algorithm.children if args.index is None else args.index
    params = pedigree.individual(algorithm, record, born, index).params
    scores = plays.test(params, jax.random.key(settings.seed), args.episodes)
    mean, low, high = report.mean_interval(np.asarray(scores.fitness))
    total, actions = plays.record(params, args.start)
    out = report.write_gif(tasks.film(game, args.start, actions), args.out or args.run / "replay.gif")
    report.print_table(lineage(algorithm, record, born, index), f"{settings.game}: individual {index} of {born}")
    print(
        f"{args.episodes} episodes: {mean:,.1f} [{low:,.1f}, {high:,.1f}]; the one on film: {total:,.0f}. Film: {out}"
    )
    return 0


def lineage(algorithm: jaxga.Algorithm, record: pedigree.Pedigree, generation: int, index: int) -> list[dict[str, Any]]:
    """Ancestors, oldest first; a score of training is that of one episode, and unknown of a kept elite."""
    before = pedigree.of_individual(record, generation, index)
    slot = index // algorithm.brood if index < algorithm.children else index - algorithm.children
    rows = [] if not generation else pedigree.ancestors(algorithm, before, slot)[::-1]
    named = [
        {"generation": row.generation, "child": row.index if row.index < algorithm.children else "kept",
         "training score": row.fitness}
        for row in rows
    ]  # fmt: skip
    own = {"generation": generation, "child": index if index < algorithm.children else "kept", "training score": ""}
    return [*named, own]


if __name__ == "__main__":
    report.run_command(main, Args)
