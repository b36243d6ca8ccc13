"""Is a table of noise faster than drawing it? ``python -m benchmarks.noise``: nanoseconds a number on one core.

Such et al. (2017) and Salimans et al. (2017) read mutations from a table of 250 million numbers, each child from an
offset of its own. jaxga hashes the child's key instead, and needs no table. Here a table of 64 million.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from benchmarks.timing import in_turns
from jaxga import compilation, report
from jaxga.noise import normal
from jaxga.report.files import describe_machine

TABLE = 64_000_000
SHAPES = {
    "low-rank children of (b)": (128, 1_188),
    "Gaussian children of (b)": (8, 101_770),
}  # children, numbers of each


def ways(children: int, numbers: int) -> dict[str, Callable[[], Any]]:
    """Each moves a parent by the noise of so many children, so that reading it is counted too."""
    keys, parent = jax.random.split(jax.random.key(0), children), jnp.ones(numbers)
    offsets = jax.random.randint(jax.random.key(1), (children,), 0, TABLE - numbers)
    table = jax.random.normal(jax.random.key(2), (TABLE,))

    def drawn(draw: Callable[..., jax.Array], keys: jax.Array) -> jax.Array:
        return jax.vmap(lambda key: parent + 0.1 * draw(key, (numbers,)))(keys)

    def read(each: Callable[..., Any], offsets: jax.Array) -> jax.Array:
        return each(lambda offset: parent + 0.1 * jax.lax.dynamic_slice_in_dim(table, offset, numbers))(offsets)

    one_by_one = lambda function: partial(jax.lax.map, function)  # noqa: E731
    return {
        "jaxga.noise": partial(compilation.jit(partial(drawn, normal)), keys),
        "jax.random.normal": partial(compilation.jit(partial(drawn, jax.random.normal)), keys),
        "table, vmap": partial(compilation.jit(partial(read, jax.vmap)), offsets),
        "table, one by one": partial(compilation.jit(partial(read, one_by_one)), offsets),
    }


@dataclass
class Args:
    seconds: float = 5.0
    """For each way."""
    out: Path | None = None
    """A JSON file for the figures."""


def main(args: Args) -> None:
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    rows = []
    for name, (children, numbers) in SHAPES.items():
        timings = in_turns(ways(children, numbers), args.seconds)
        rows += [
            {"noise of": name, "way": way, "ns a number": round(1e9 * timing.median / children / numbers, 2)}
            for way, timing in timings.items()
        ]
    machine = describe_machine()
    report.print_table(rows, f"{machine['device']}, JAX {machine['jax']}, one core, a table of {TABLE:,} numbers")
    if args.out:
        report.write_json(args.out, {"machine": machine, "rows": rows})


if __name__ == "__main__":
    report.run_command(main, Args)
