"""Before a run: how much memory does it need, what would fit, and how many children at once are fastest?"""

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
    """What a run needs, in bytes on each device, and what would fit; ``print(plan)`` says it in words."""

    parents: int  # the parents, the next ones beside them, and what is recorded until it is fetched
    data: int  # that the task closes over
    working: int  # while children are scored and the next parents are made
    chunk: int  # children scored at once
    children: int  # N
    each_of_chunk: float  # of ``working``, for every child of a chunk
    each: float  # of ``working``, for every child of the population
    free: int
    devices: int

    @property
    def total(self) -> int:
        """Parents, data and working memory."""
        return self.parents + self.data + self.working

    @property
    def fits(self) -> bool:
        """Is that free?"""
        return self.total <= self.free

    @property
    def largest_chunk(self) -> int:
        """So many children could be scored at once, all of them at most; 0 where not even one could."""
        return min(max(int(self.chunk + (self.free - self.total) / self.each_of_chunk), 0), self.children)

    @property
    def largest_population(self) -> int:
        """So many children a generation could have, with this chunk; 0 where none could."""
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
    """How much memory would ``run(algorithm, task, chunk=chunk, devices=devices)`` need, and what would fit?

    The figures are those of the compiled program, and of others with another chunk and with twice the children, so it
    takes as long as compiling it a few times. Nothing is run.

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
    """Bytes in which children are scored and ranked."""

    def order(source: Source) -> tuple[Evaluation, jax.Array]:
        evaluation = evaluator(source)
        return evaluation, ranking(source.key, evaluation)

    return prepare(order, (shape_of_source(evaluator.algorithm),)).memory.working


def _words(size: float) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB"


CANDIDATES = tuple(2**power for power in range(14))
MEASURED = 256  # children, at least a chunk
WORSE = 1.2  # times as long as the best: not worth going on


def best_chunk(
    algorithm: Algorithm, task: Task, *, candidates: Sequence[int] = CANDIDATES, seconds: float = 0.5
) -> int:
    """The chunk whose children are scored fastest, by a short measurement on one device.

    From the smallest candidate up, each scores some hundred children for ``seconds``. The search ends where two in a
    row take a fifth longer than the best, or where one does not fit into memory. What was found is remembered, by
    program and machine, in ``$XDG_CACHE_HOME/jaxga/chunks.json`` (``~/.cache`` by default).

    The last bit of a result depends on the chunk. So this is not the default of `run`, and whoever uses it keeps the
    number with the settings of the run, for wherever it goes on, as ``experiments/mnist.py --chunk measured`` does.

    Args:
      algorithm: for its offspring.
      task: for its evaluate.
      candidates: chunks to try. One that does not divide the broods evenly is rounded down.
      seconds: to measure each; three calls at least.

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
    """Median, over calls."""
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
    """Of the program, the candidates and the machine."""
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
