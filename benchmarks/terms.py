"""Where does a generation go? ``python -m benchmarks.terms --work b``: its operations, by the time they take.

From JAX's profiler: each operation's own time, summed over calls and averaged over devices, with its name in the code.
"""

import collections
import re
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import jax

from benchmarks.speed import SIGMA, WORKS, program
from jaxga import report, variation
from jaxga.compilation import prepare
from jaxga.devices import everywhere
from jaxga.report.files import describe_machine

MUTATIONS = {"low_rank": variation.low_rank, "gaussian": variation.gaussian}


def own_times(folder: str) -> dict[str, tuple[float, int]]:
    """Nanoseconds and calls by name, of a profile; what happens within an operation is not counted to it."""
    (file,) = Path(folder).rglob("*.xplane.pb")
    spent: collections.Counter[str] = collections.Counter()
    calls: collections.Counter[str] = collections.Counter()
    for plane in jax.profiler.ProfileData.from_file(str(file)).planes:
        for line in plane.lines:
            around: list[tuple[float, str]] = []
            for event in sorted(line.events, key=lambda event: (event.start_ns, -event.end_ns)):
                while around and around[-1][0] <= event.start_ns:
                    around.pop()
                took = event.end_ns - event.start_ns
                if around:
                    spent[around[-1][1]] -= took
                spent[event.name] += took
                calls[event.name] += 1
                around.append((event.end_ns, event.name))
    return {name: (spent[name], calls[name]) for name in spent}


def names_in_code(text: str) -> dict[str, str]:
    """What the operations of a compiled program stand for."""
    found = re.findall(r"%([\w.-]+) = .*op_name=\"([^\"]*)\"", text)
    return {name: "/".join(path.replace("closed_call/", "").split("/")[-3:]) for name, path in found}


@dataclass
class Args:
    work: Literal["a", "b", "c", "d"] = "b"
    """Of `benchmarks.speed`."""
    mutation: Literal["low_rank", "gaussian"] = "low_rank"
    generations: int = 10
    top: int = 14
    """Operations to show."""
    out: Path | None = None
    """A JSON file for the figures."""


def main(args: Args) -> None:
    algorithm, evaluator = program(WORKS[args.work], MUTATIONS[args.mutation](variation.relative(SIGMA)))
    state = everywhere(jax.jit(algorithm.init)(jax.random.key(0)), evaluator.mesh)
    step = prepare(lambda state: algorithm.update(state, evaluator(state))[0], (state,), evaluator.mesh)
    inputs = everywhere((step.data, jax.tree.leaves(state)), evaluator.mesh)
    code = names_in_code(step.compiled.as_text())
    jax.block_until_ready(step.compiled(*inputs))
    with tempfile.TemporaryDirectory() as folder:
        with jax.profiler.trace(folder):
            for _ in range(args.generations):
                jax.block_until_ready(step.compiled(*inputs))
        times = own_times(folder)
    share = args.generations * evaluator.mesh.size
    rows = [
        {"operation": name, "of": code[name], "ms": round(spent / share / 1e6, 2), "calls": round(calls / share)}
        for name, (spent, calls) in sorted(times.items(), key=lambda item: -item[1][0])
        if name in code
    ]
    machine = describe_machine()
    total = sum(row["ms"] for row in rows)
    report.print_table(rows[: args.top], f"{WORKS[args.work].title}, {args.mutation}: {total:.1f} ms a device")
    if args.out:
        report.write_json(args.out, {"machine": machine, "rows": rows})


if __name__ == "__main__":
    report.run_command(main, Args)
