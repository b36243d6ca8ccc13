"""How long do parents remain strangers? The part of their hidden units that alignment would move.

Parents begin as different networks, whose units have nothing to do with one another. Crossover takes whole neurons, and
nobody aligns them. Two parents whose units are in one order are a pair of which alignment moves none.
"""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import alignment as problems_of
import experiment
import jax
import jax.numpy as jnp
import numpy as np

import jaxga
from jaxga import alignment, compilation, report
from jaxga.tree import take

SHOWN = 0, 5, 10, 20, 40  # generations


@experiment.own_first
@dataclass
class Args(experiment.Pictures):
    children: int = 128
    """Of a generation, of 16 parents."""
    seeds: int = 10
    """Runs."""
    out: Path | None = None
    """Where figures and picture go; default runs/strangers/<id>."""
    quick: bool = False
    """Noise alone, two runs."""


@jax.jit
def moved(params: Any) -> jax.Array:
    """Of parents ``[T]``: the part of the units of the others that is moved to align them with the first."""
    first, others = take(params, 0), take(params, slice(1, None))
    found = jax.vmap(alignment.align, in_axes=(None, 0))(first, others)
    before, after = (tree["params"]["Dense_0"]["kernel"] for tree in (others, found))
    return jnp.mean((before != after).any(axis=1).astype(jnp.float32))


def follow(algorithm: jaxga.Algorithm, task: jaxga.Task, seeds: int) -> np.ndarray:
    """What is `moved` in the generations that are shown, ``[seeds, generations]``."""
    score = jaxga.vmapped(algorithm, task)
    step = compilation.jit(lambda state: algorithm.update(state, score(state.source))[0])
    begin, parts = jax.jit(algorithm.init), np.zeros((seeds, len(SHOWN)))
    for seed in range(seeds):
        state = begin(jax.random.key(seed))
        for generation in range(SHOWN[-1] + 1):
            if generation in SHOWN:
                parts[seed, SHOWN.index(generation)] = float(moved(state.parents.params))
            state = step(state)
    return parts


def main(args: Args) -> None:
    if args.quick:
        args.seeds, args.children = 2, 32
    jaxga.base.require_whole(1, seeds=args.seeds, children=args.children)
    out = report.make_directory(args.out or report.find_run("strangers", asdict(args)))
    rows, curves = [], []
    asked = problems_of.problems(problems_of.Args(data=args.data, dataset=args.dataset, quick=args.quick))
    for problem, task in list(asked.items())[: 1 if args.quick else None]:
        for held in list(problems_of.HELD)[: 1 if args.quick else None]:
            algorithm = problems_of.make(task, held, "by neuron", args.children)
            parts = follow(algorithm, task, args.seeds)
            told = {f"{at}": experiment.told(100 * parts[:, number], 0) for number, at in enumerate(SHOWN)}
            rows.append({"": f"{problem}: {held}", **told})
            curves.append(report.Curve(f"{problem}: {held}", SHOWN, 100 * parts))
            report.write_json(out / "summary.json", {"name": "strangers", "seeds": args.seeds, "rows": rows})
    axes = {"xlabel": "generation", "ylabel": "units that alignment moves, %", "ylim": (0, 102)}
    report.plot_curves([(axes, curves)], out / "strangers.png", f"Median of {args.seeds} seeds within their range")
    report.print_table(rows, "Units that alignment would move after so many generations, %")
    print(f"Files: {out}   Picture: {out / 'strangers.png'}")


if __name__ == "__main__":
    report.run_command(main, Args)
