"""Honest timing: what is compared runs in turns within one process, and the machine's limits are measured beside it."""

import time
from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np


class Timing(NamedTuple):
    """Seconds of one call."""

    first: float  # with compilation
    median: float
    low: float  # the fastest
    calls: int


TURN = 1.0  # seconds


def in_turns(steps: Mapping[str, Callable[[], object]], seconds: float) -> dict[str, Timing]:
    """Call every step once to compile it, then let them take turns for ``seconds`` each, three turns at least.

    A turn is one call, or as many as fit into a second. Of several the first one does not count: it finds
    the caches and the threads as another has left them. A step returns arrays, which are waited for.
    """
    first, taken = {name: _seconds(step) for name, step in steps.items()}, {name: [] for name in steps}
    begun, turns = time.perf_counter(), 0
    while turns < 3 or time.perf_counter() - begun < seconds * len(steps):
        for name, step in steps.items():
            end, turn = time.perf_counter() + TURN, [_seconds(step)]
            while time.perf_counter() < end:
                turn.append(_seconds(step))
            taken[name] += turn[1:] or turn
        turns += 1
    return {name: Timing(first[name], float(np.median(s)), min(s), len(s)) for name, s in taken.items()}


def _seconds(step: Callable[[], object]) -> float:
    begun = time.perf_counter()
    jax.block_until_ready(step())
    return time.perf_counter() - begun


class Ceiling(NamedTuple):
    """What the machine can do at most."""

    flops: float  # operations a second of a large matrix product, float32
    bytes: float  # read and written a second by a large copy


def ceiling(size: int = 2048) -> Ceiling:
    """A product of two matrices of 2,048 x 2,048 and a copy of 256 MB, on the default device with all its threads."""
    square = jax.random.normal(jax.random.key(0), (size, size))
    long = jnp.zeros(64_000_000)
    product, copy = jax.jit(jnp.matmul), jax.jit(lambda array: array + 1)
    taken = in_turns({"product": lambda: product(square, square), "copy": lambda: copy(long)}, seconds=5)
    return Ceiling(2 * size**3 / taken["product"].median, 2 * long.nbytes / taken["copy"].median)
