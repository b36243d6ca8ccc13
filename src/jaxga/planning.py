"""Before a run: how much memory does it need, what would fit, and which chunk of children is fastest?"""

import hashlib
import json
import os
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxga.algorithm import shape_of_source
from jaxga.base import Algorithm, Evaluation, InputError, Source, Task, as_key, require
from jaxga.compilation import jit, prepare, wording
from jaxga.devices import Devices, chosen, free_memory
from jaxga.evaluate import Vmapped, vmapped
from jaxga.report.files import write_json
from jaxga.run import Program, block, evaluator_of
from jaxga.selection import ranking
from jaxga.tree import iota


class Plan(NamedTuple):
    """The memory that a run needs on each device, and what would fit; ``print(plan)`` shows it in words."""

    parents: int  # bytes for the parents, the next parents, and the records of one dispatch
    data: int  # bytes of the arrays that the task closes over
    working: int  # bytes that are needed while children are scored and the next parents are made
    chunk: int  # number of children scored at once
    children: int  # N, the number of children in a generation
    each_of_chunk: float  # bytes of ``working`` for each further child in a chunk
    each: float  # bytes of ``working`` for each further child in a generation
    free: int  # bytes that are free on each device
    devices: int  # number of devices

    @property
    def total(self) -> int:
        """Bytes on each device: parents, data and working memory."""
        return self.parents + self.data + self.working

    @property
    def fits(self) -> bool:
        """Is the total free?"""
        return self.total <= self.free

    @property
    def largest_chunk(self) -> int:
        """The largest number of children that could be scored at once, at most N; 0 if not even one could."""
        return min(max(int(self.chunk + (self.free - self.total) / self.each_of_chunk), 0), self.children)

    @property
    def largest_population(self) -> int:
        """The largest number of children in a generation that would fit with this chunk; 0 if none would."""
        return max(int(self.children + (self.free - self.total) / self.each), 0)

    def __str__(self) -> str:
        lines = [
            f"{_words(self.parents):>8}  parents, now and next",
            f"{_words(self.data):>8}  data",
            f"{_words(self.working):>8}  to score {self.chunk:,} of {self.children:,} children at once, and to select",
            f"{_words(self.total):>8}  of {_words(self.free)} that are free, on each of {self.devices} devices",
            "It fits." if self.fits else "It does not fit.",
        ]
        if self.largest_chunk:
            lines[-1] += f" So would {self.largest_chunk:,} children at once, or {self.largest_population:,} in all."
        else:
            lines[-1] += " Nor would a single child: take fewer parents, a smaller network, or less data."
        return "\n".join(lines)


def plan(algorithm: Algorithm, task: Task, *, chunk: int | None = None, devices: Devices | None = None) -> Plan:
    """The memory that ``run(algorithm, task, chunk=chunk, devices=devices)`` would need, and what would fit.

    The figures are those of the compiled program. Two more programs are compiled for comparison: one with another
    chunk, and one with twice the children. This takes as long as a few compilations. Nothing is run.

    Args:
      algorithm: from `jaxga.ga`.
      task: scored by `jaxga.vmapped`.
      chunk: number of children scored at once, by default as in `jaxga.vmapped`.
      devices: the devices that share the children, or their number; by default all.

    Raises:
      InputError: for sizes that do not fit.

    >>> import jaxga
    >>> from jaxga.variation import absolute, gaussian
    >>> task = jaxga.Task(lambda key: jnp.ones(1000), lambda key, w: jaxga.Evaluation(-jnp.sum(w**2)))
    >>> algorithm = jaxga.ga(task.init, gaussian(absolute(0.1)), parents=2, children=16)
    >>> found = plan(algorithm, task, chunk=4)
    >>> found.fits, found.chunk, found.parents > 2 * 2 * 4000, found.largest_population > 1_000_000
    (True, 4, True, True)
    """
    one, evaluator = vmapped(algorithm, task, chunk), evaluator_of(algorithm, task, chunk, devices)
    program = Program(algorithm, evaluator, validate=task.validate)
    shapes = program.shape_of_state(), jax.eval_shape(jnp.int32, 1)
    whole = prepare(partial(block, program), shapes, evaluator.mesh).memory
    other = vmapped(algorithm, task, one.chunk // 2 if one.chunk > 1 else 2)
    twice = replace(one, algorithm=algorithm._replace(children=2 * algorithm.children))
    here, there, more = (_working(replace(some, ahead=1)) for some in (one, other, twice))
    count = len(chosen(devices))
    return Plan(
        parents=whole.arguments + whole.results,
        data=whole.data,
        working=whole.working,
        chunk=one.chunk,
        children=algorithm.children,
        each_of_chunk=max((here - there) / ((one.chunk - other.chunk) or 1), 1),
        each=max((more - here) / algorithm.children, 1),
        free=free_memory(count),
        devices=count,
    )


def _working(evaluator: Vmapped) -> int:
    """Bytes of working memory in which children are scored and ranked."""

    def order(source: Source) -> tuple[Evaluation, jax.Array]:
        evaluation = evaluator(source)
        return evaluation, ranking(source.key, evaluation)

    return prepare(order, (shape_of_source(evaluator.algorithm),)).memory.working


def _words(size: float) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB"


CANDIDATES = tuple(2**power for power in range(14))
MEASURED = 256  # children that one measurement scores; if a chunk is larger, one chunk
WORSE = 1.2  # if two chunks in a row take this many times as long as the best, the search ends


def best_chunk(
    algorithm: Algorithm, task: Task, *, candidates: Sequence[int] = CANDIDATES, seconds: float = 0.5
) -> int:
    """The chunk with which children are scored fastest, by a short measurement on one device.

    The candidates are measured from the smallest up. The search ends when two in a row take a fifth longer than the
    best one, or when one does not fit into memory. The result is stored, by program and machine, in
    ``$XDG_CACHE_HOME/jaxga/chunks.json`` (``~/.cache`` by default), and is not measured again.

    The last bit of a result depends on the chunk, so `run` does not call this function by itself. Store the chunk with
    the settings of a run, to use the same one when the run is resumed or repeated on another machine;
    ``experiments/mnist.py --chunk measured`` does so.

    Args:
      algorithm: from `jaxga.ga`.
      task: scored by `jaxga.vmapped`.
      candidates: chunks to try, by default powers of two. One that does not divide the broods evenly is rounded down.
      seconds: duration of each measurement, by default 0.5; at least three calls are made.

    Raises:
      InputError: if there are no candidates, or the smallest does not fit into memory.

    >>> import jaxga
    >>> from jaxga.variation import absolute, gaussian
    >>> task = jaxga.Task(lambda key: jnp.ones(3), lambda key, w: jaxga.Evaluation(-jnp.sum(w**2)))
    >>> algorithm = jaxga.ga(task.init, gaussian(absolute(0.1)), parents=2, children=32)
    >>> best_chunk(algorithm, task, candidates=(4, 16), seconds=0.01) in (4, 16)
    True
    """
    require(len(candidates) > 0, "candidates is empty: name at least one chunk.")
    evaluators = {some.chunk: some for some in (vmapped(algorithm, task, chunk) for chunk in sorted(candidates))}
    source = jax.jit(algorithm.begin)(as_key(0))._replace(founding=False)
    name, file = _fingerprint(evaluators, source), _cache_file()
    known = json.loads(file.read_text()) if file.exists() else {}
    if name not in known:
        known[name] = _fastest(evaluators, source, seconds)
        file.parent.mkdir(parents=True, exist_ok=True)
        write_json(file, known)
    return known[name]


def _fastest(evaluators: dict[int, Vmapped], source: Source, seconds: float) -> int:
    taken: dict[int, float] = {}
    for chunk, evaluator in evaluators.items():
        try:
            taken[chunk] = _seconds_a_child(evaluator, source, seconds)
        except InputError:  # too large for the memory
            break
        if all(last > WORSE * min(taken.values()) for last in [*taken.values()][-2:]):
            break
    require(bool(taken), "not even the smallest chunk fits into memory: take smaller ones, or fewer parents.")
    return min(taken, key=lambda chunk: taken[chunk])


def _seconds_a_child(evaluator: Vmapped, source: Source, seconds: float) -> float:
    """The median time over calls, for one child."""
    groups, chunks = evaluator.grid
    some = min(groups if chunks == 1 else chunks, -(-MEASURED // evaluator.chunk))
    numbers = (iota(some), iota(1)) if chunks == 1 else (iota(1), iota(some))
    score = jit(lambda source: evaluator.score_chunks(source, *numbers).fitness)
    jax.block_until_ready(score(source))
    taken, end = [], time.perf_counter() + seconds
    while len(taken) < 3 or time.perf_counter() < end:
        begun = time.perf_counter()
        jax.block_until_ready(score(source))
        taken.append(time.perf_counter() - begun)
    return float(np.median(taken)) / (some * evaluator.chunk)


def _fingerprint(evaluators: dict[int, Vmapped], source: Source) -> str:
    """A hash of the program, the candidates and the machine."""
    program = jax.make_jaxpr(next(iter(evaluators.values())))(source)
    device = jax.local_devices()[0]
    words = (
        wording(program),
        sorted(evaluators),
        jax.__version__,
        device.device_kind,
        os.cpu_count(),
    )
    return hashlib.sha256(repr(words).encode()).hexdigest()


def _cache_file() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "jaxga" / "chunks.json"
