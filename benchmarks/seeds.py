"""What do many seeds cost? ``python -m benchmarks.seeds``: 32 runs on the digits against one, in one program each.

Enough trials to see past chance, fast, is what comparisons need. Seconds include compilation, as a user waits for it.
"""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
from jax import block_until_ready

import jaxga
from jaxga import data, nn, report, tasks, variation
from jaxga.report.files import describe_machine


def algorithm_and_task() -> tuple[jaxga.Algorithm, jaxga.Task]:
    """The best of 64 children, MLP 64-16-10, batches of 100 images, 100 generations."""
    task = tasks.classification(nn.MLP((16, 10)), data.digits(), batch=100)
    size = variation.multiplicative(variation.relative(0.05), up=1.1)
    return jaxga.ga(task.init, variation.low_rank(size), parents=1, children=64), task


def seconds(seeds: int, batch: int | None, repeats: int = 3) -> list[float]:
    """Seconds of ``repeats`` sweeps over so many seeds; each is compiled anew, the persistent cache aside."""
    algorithm, task = algorithm_and_task()
    taken = []
    for _ in range(repeats):
        jax.clear_caches()
        begun = time.perf_counter()
        block_until_ready(
            jaxga.run_many(
                lambda: algorithm, task, generations=100, seeds=seeds, validate_every=20, batch=batch
            ).metrics
        )
        taken.append(time.perf_counter() - begun)
    return taken


@dataclass
class Args:
    out: Path | None = None
    """A JSON file for the figures."""


def main(args: Args) -> None:
    jax.config.update("jax_enable_compilation_cache", False)
    rows: list[dict[str, Any]] = []
    for seeds, batch in ((1, None), (32, None), (32, 1)):
        taken = sorted(seconds(seeds, batch))[1]
        name = "all at once" if batch is None else "one after the other"
        rows.append(
            {"seeds": seeds, "how": name, "seconds": taken, "ratio": taken / rows[0]["seconds"] if rows else 1.0}
        )
    machine = describe_machine()
    report.print_table(rows, f"{machine['device']}, JAX {machine['jax']}; medians of 3, with compilation")
    if args.out:
        report.write_json(args.out, {"machine": machine, "rows": rows})


if __name__ == "__main__":
    report.run_command(main, Args)
