"""A worker of a pool: a Ray actor that builds the parents of a run, and scores slices of their children."""

import os
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from jaxga.base import Evaluation, Recipe, Source
from jaxga.compilation import jit
from jaxga.evaluate.cluster import ray
from jaxga.evaluate.contract import Evaluator
from jaxga.evaluate.wire import About, Job, Scores, about

Make = Callable[[], Evaluator]  # () -> Vmapped or Rollouts


class Behind(Exception):
    """A worker does not have the parents of the generation that it was asked about."""


class Worker:
    """A Ray actor that builds the parents, and scores slices of their children."""

    def __init__(self, make: Make, cpus: int):
        os.environ["NPROC"] = str(cpus)  # the number of threads, for XLA and `jaxga.devices.cores`
        self.evaluator = make()
        self.source: Source | None = None
        self.algorithm = self.evaluator.algorithm
        self.advance = jax.jit(self.algorithm.advance)
        self.programs: dict[Any, Callable[..., Evaluation]] = {}

    def introduce(self) -> tuple[About, str]:
        """The versions and programs of this worker, and the id of its node."""
        return about(self.evaluator), ray().get_runtime_context().get_node_id()

    def pulse(self) -> None:
        """A sign of life."""

    def score(self, generation: int, parcel: Any, recipes: Sequence[Recipe], job: Job) -> Scores:
        """Make the parents of ``generation``, from a parcel or by recipes, and do a job with them."""
        if parcel is not None:
            self.source = parcel.source(self.algorithm)
        for recipe in recipes:
            assert self.source is not None
            self.source = self.advance(self.source, recipe)
        if self.source is None or int(self.source.generation) != generation:
            raise Behind
        return Scores.of(self.do(*job))

    def do(self, kind: str, *arguments: Any) -> Evaluation:
        """Call a method of the evaluator: on the host directly, else compiled, with its first argument traced."""
        method = getattr(self.evaluator, kind)
        if self.evaluator.on_host:
            return method(self.source, *arguments)
        name = kind, arguments[1:]
        if name not in self.programs:
            self.programs[name] = jit(lambda source, *first: method(source, *first, *name[1]))
        return self.programs[name](self.source, *map(np.asarray, arguments[:1]))
