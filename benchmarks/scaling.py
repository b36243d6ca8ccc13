"""What does a child cost in a population of a thousand, and in one of a million, and what do more devices save?

``python -m benchmarks.scaling``: work (a) of `benchmarks.speed`, each size in a process of its own, the median time of
a generation and the peak memory. Then (b) on one device, on two, on four, as far as there are any, in turns. On a CPU a
device is a core (`jaxga.use_cores`), though a large product on one of them takes the threads of all.
"""

import json
import resource
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jax

from benchmarks.speed import SIGMA, WORKS, generation
from benchmarks.timing import in_turns
from jaxga import report, variation
from jaxga.report.files import describe_machine

SIZES = tuple(2**power for power in range(10, 21, 2))
TOGETHER = 2**14  # children of the generations in one call, as `jaxga.run` puts short ones together


def measure(children: int, seconds: float) -> dict[str, float]:
    """Of one size, in this process."""
    dispatch = max(TOGETHER // children, 1)
    work = replace(WORKS["a"], children=children, dispatch=dispatch)
    timing = in_turns({"generation": generation(work, variation.low_rank(variation.relative(SIGMA)))}, seconds)
    mebibytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"children": children, "ms": 1e3 * timing["generation"].median / dispatch, "MiB": mebibytes}


def devices(seconds: float) -> list[dict[str, Any]]:
    """A generation of (b) on the first so many devices, in turns."""
    all_of_them, mutation = jax.local_devices(), variation.low_rank(variation.relative(SIGMA))
    counts = [2**power for power in range(len(all_of_them).bit_length())]
    steps = {str(count): generation(WORKS["b"], mutation, all_of_them[:count]) for count in counts}
    timings = in_turns(steps, seconds)
    return [
        {"devices": int(count), "ms a generation": 1e3 * timing.median / WORKS["b"].dispatch,
         "times as fast": timings["1"].median / timing.median}
        for count, timing in timings.items()
    ]  # fmt: skip


@dataclass
class Args:
    seconds: float = 5.0
    """For each size; three generations at least."""
    only: int | None = None
    """Measure this one size here, and print it."""
    out: Path | None = None
    """A JSON file for the figures."""


def main(args: Args) -> None:
    if args.only:
        print(json.dumps(measure(args.only, args.seconds)))
        return
    found = []
    for children in SIZES:
        command = [sys.executable, "-m", "benchmarks.scaling", "--only", str(children), "--seconds", str(args.seconds)]
        found.append(json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout))
    rows = [
        {
            "children": f"{row['children']:,}", "ms a generation": round(row["ms"], 1),
            "microseconds a child": round(1e3 * row["ms"] / row["children"], 2), "peak MiB": round(row["MiB"]),
        }
        for row in found
    ]  # fmt: skip
    machine = describe_machine()
    report.print_table(rows, f"{WORKS['a'].title[:-16]}; {machine['device']}, JAX {machine['jax']}")
    across = devices(args.seconds)
    report.print_table(across, f"{WORKS['b'].title}; {machine['device']}")
    if args.out:
        report.write_json(args.out, {"machine": machine, "sizes": found, "devices": across})


if __name__ == "__main__":
    report.run_command(main, Args)
