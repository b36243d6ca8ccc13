"""What a part costs, and how a population convolves: ``python -m benchmarks.parts``.

First table: scoring a generation whose children differ from their parent in one of M members, or in one of L layers, as
a part of what it takes where all of it is theirs. Second table: ways to convolve the same images with a kernel of each
child, in milliseconds.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen

import jaxga
from benchmarks.timing import in_turns
from jaxga import compilation, nn, report, tasks, variation
from jaxga.report.files import describe_machine
from jaxga.run import evaluator_of

EXAMPLES, INPUTS = 128, 256
CHILDREN = 256
GENERATIONS = 8  # each draws other parts
IMAGES, SIDE, FROM, TO, KERNEL = 16, 16, 16, 32, 3


@dataclass
class Args:
    parts: int = 8
    """M, and L."""
    seconds: float = 10.0
    """For each way."""
    out: Path | None = None
    """A JSON file for the figures."""


def scoring(network: linen.Module, mutation: jaxga.Variation) -> Callable[[], Any]:
    """Score the children of several generations, whose parent is the same."""
    task = tasks.memorization(network, points=EXAMPLES, shape=(INPUTS,))
    algorithm = jaxga.ga(task.init, mutation, parents=1, children=CHILDREN)
    evaluator = evaluator_of(algorithm, task)
    score = compilation.jit(lambda source: evaluator(source).fitness)
    sources = [algorithm.init(jax.random.key(0)).source._replace(generation=jnp.int32(g)) for g in range(GENERATIONS)]
    return lambda: [score(source) for source in sources]


def parts(number: int) -> dict[str, Callable[[], Any]]:
    """Members of an ensemble, and layers of a stack."""
    low_rank, dense = variation.low_rank(variation.relative(0.1)), variation.gaussian(variation.relative(0.1))
    ensemble = nn.Ensemble(nn.MLP((128, 128, 10)), number)
    stack = linen.Sequential([linen.Dense(128), nn.Stack(nn.Residual(128), number), linen.Dense(10)])
    one, layer = variation.one_of, partial(variation.one_of, parts="layers", of_brood=True)
    return {
        "all members, Gaussian": scoring(ensemble, dense),
        "one member, Gaussian": scoring(ensemble, one(dense)),
        "all members, low rank": scoring(ensemble, low_rank),
        "one member, low rank": scoring(ensemble, one(low_rank)),
        "all layers, Gaussian": scoring(stack, dense),
        "one layer of a brood, Gaussian": scoring(stack, layer(dense)),
        "all layers, low rank": scoring(stack, low_rank),
        "one layer of each child, drawn and thrown away": scoring(
            stack, variation.one_at_a_time(low_rank, variation.per.layer)
        ),
        "one layer of a brood, low rank": scoring(stack, layer(low_rank)),
    }


def convolutions(children: int) -> dict[str, Callable[[], Any]]:
    """Four ways to convolve ``[IMAGES, SIDE, SIDE, FROM]`` with ``[children, KERNEL, KERNEL, FROM, TO]``."""
    images = jax.random.normal(jax.random.key(0), (IMAGES, SIDE, SIDE, FROM))
    kernels = jax.random.normal(jax.random.key(1), (children, KERNEL, KERNEL, FROM, TO))
    numbers = ("NHWC", "HWIO", "NHWC")

    def convolved(kernel: jax.Array, images: jax.Array, **options: Any) -> jax.Array:
        return jax.lax.conv_general_dilated(images, kernel, (1, 1), "SAME", dimension_numbers=numbers, **options)

    def grouped(kernels: jax.Array, images: jax.Array) -> jax.Array:
        """Every child's channels are a group; the images are repeated for each."""
        beside = jnp.tile(images, (1, 1, 1, children))
        kernel = kernels.transpose(1, 2, 3, 0, 4).reshape(KERNEL, KERNEL, FROM, children * TO)
        return convolved(kernel, beside, feature_group_count=children).sum()

    def patches(kernels: jax.Array, images: jax.Array) -> jax.Array:
        """Patches are cut out once; the kernels of all children are columns of one matrix."""
        cut = jax.lax.conv_general_dilated_patches(images, (KERNEL, KERNEL), (1, 1), "SAME", dimension_numbers=numbers)
        matrix = kernels.transpose(3, 1, 2, 0, 4).reshape(FROM * KERNEL * KERNEL, children * TO)
        return (cut.reshape(-1, FROM * KERNEL * KERNEL) @ matrix).sum()

    ways = {
        "vmap": lambda kernels, images: jax.vmap(partial(convolved, images=images))(kernels).sum(),
        "grouped": grouped,
        "patches": patches,
        "one by one": lambda kernels, images: jax.lax.map(
            lambda kernel: convolved(kernel, images).sum(), kernels
        ).sum(),
    }
    return {name: partial(compilation.jit(way), kernels, images) for name, way in ways.items()}


def main(args: Args) -> None:
    jaxga.use_cores()
    found = in_turns(parts(args.parts), args.seconds)
    rows, whole = [], 0.0
    for name, timing in found.items():
        whole = timing.median if name.startswith("all") else whole
        rows.append({
            "": name, "ms a generation": round(1000 * timing.median / GENERATIONS, 1),
            f"of all {args.parts}": round(timing.median / whole, 3),
        })  # fmt: skip
    report.print_table(rows, f"{CHILDREN} children of one parent, {EXAMPLES} examples")
    table = []
    for children in (64, 256, 1024):
        taken = in_turns(convolutions(children), args.seconds / 4)
        table.append({"children": children, **{name: round(1000 * t.median, 1) for name, t in taken.items()}})
    report.print_table(table, f"{KERNEL} x {KERNEL} convolution of {IMAGES} images, {FROM} to {TO} channels, ms")
    if args.out:
        figures = {"machine": describe_machine(), "parts": rows, "convolutions": table}
        report.write_json(args.out, figures)


if __name__ == "__main__":
    report.run_command(main, Args)
