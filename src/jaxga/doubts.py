"""What looks wrong in what a run measures: it is said once, as a warning, and the run goes on."""

import warnings
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxga.algorithm import shape_of_source
from jaxga.base import Algorithm, Evaluation, Info, Purpose, Source, State, Task, as_key, name_of
from jaxga.compilation import jit
from jaxga.evaluate.contract import Evaluator
from jaxga.evaluate.vmapped import depends
from jaxga.heredity import candidate
from jaxga.tree import iota

EXACT = 2**24  # whole numbers up to here are float32 numbers; above, neighbours are the same one
PATIENCE, FAR = 10, 2.0  # an elite is doubted that leads so many generations by so many standard deviations


class Doubts:
    """Looks at generations as they come.

    Args:
      algorithm: of the run.
      evaluator: that scores its children.
      hunting: JAX looks for NaN (``jax_debug_nans``): a child without a fitness is scored again under its eyes.
    """

    def __init__(self, algorithm: Algorithm, evaluator: Evaluator, hunting: bool):
        self.algorithm, self.evaluator, self.hunting = algorithm, evaluator, hunting
        self.task = evaluator.task
        self.led = 0  # generations in a row that a kept elite was far ahead of all children
        self.said: set[str] = set()

    def look(self, before: State, records: Sequence[Mapping[str, Any]], infos: Info) -> None:
        """Doubt these generations, which began with the state ``before``.

        Raises:
          FloatingPointError: where JAX looks for NaN, and a child scored one.
        """
        if self.hunting and bool((np.asarray(infos.metrics["nan"]) > 0).any()):
            find_nan(self.algorithm, self.evaluator, self.task, before.source)
        kept = np.asarray(infos.best_index) >= self.algorithm.children
        for record, elite in zip(records, kept, strict=False):
            self._fitness(record)
            if elite and not self.algorithm.selection.reevaluate:
                self._luck(record)
            else:
                self.led = 0

    def _fitness(self, record: Mapping[str, Any]) -> None:
        if record["fitness"] == -np.inf:
            self._say(
                "fitness",
                f"every fitness of generation {record['generation']} is minus infinity or NaN: nothing tells children "
                "apart there, and survivors are drawn at random.",
            )
        if EXACT <= abs(record["fitness"]) < np.inf and "whole" not in self.said and self._counts():
            self._say(
                "whole",
                f"fitness is a whole number of {abs(record['fitness']):,.0f}, and float32 holds those only up to "
                f"{EXACT:,}: neighbours tie. Subtract a constant, or divide.",
            )

    def _luck(self, record: Mapping[str, Any]) -> None:
        ahead = record["fitness"] - record["mean_fitness"] > FAR * record["std_fitness"]
        self.led = self.led + 1 if ahead else 0
        if self.led == PATIENCE and self._noisy():
            self._say(
                "luck",
                f"the elite's score {record['fitness']:.4g} was measured once and kept, and is far above what its "
                f"children get ({record['mean_fitness']:.4g} on average): the task is noisy, so it may be luck. Pass "
                "reevaluate=True to jaxga.ga, or use jaxga.validated.",
            )

    def _counts(self) -> bool:
        """Is fitness a whole number as the task returns it?"""
        if self.task is None:
            return False
        params = jax.eval_shape(self.task.init, as_key(0))
        score = jax.eval_shape(self.task.evaluate, as_key(0), params)
        return jnp.issubdtype(jnp.result_type(score.fitness if isinstance(score, Evaluation) else score), jnp.integer)

    def _noisy(self) -> bool:
        """May the same network score otherwise in another generation? A game may."""
        return self.task is None or is_noisy(self.algorithm, self.task)

    def _say(self, kind: str, text: str) -> None:
        """A warning of this kind, once a run."""
        if kind not in self.said:
            self.said.add(kind)
            warnings.warn(text, RuntimeWarning, stacklevel=6)


def is_noisy(algorithm: Algorithm, task: Task) -> bool:
    """Does the fitness of a network depend on the key that it is scored with?"""
    found: list[bool] = []

    def look(source: Source) -> None:
        params = candidate(algorithm, source, 0).params
        score = lambda number: task.score(jax.random.fold_in(source.key, number), params).fitness  # noqa: E731
        found.append(depends(score, iota(2)))

    jax.eval_shape(look, shape_of_source(algorithm))
    return found[0]


def find_nan(algorithm: Algorithm, evaluator: Evaluator, task: Task | None, source: Source) -> None:
    """Score the first child of this generation that has no fitness again, under the eyes of JAX.

    Raises:
      FloatingPointError: of JAX, which names the operation that made a NaN.
    """
    if task is None:
        return
    fitness = np.asarray(jit(evaluator)(source).fitness)
    index = int(np.flatnonzero(np.isnan(fitness))[0])
    params = jit(partial(candidate, algorithm))(source, np.int32(index)).params
    place = algorithm.place(source, index)
    key = task.key(algorithm.key(source, Purpose.EVALUATION, place.group), place.number)
    with jax.debug_nans(True):
        try:
            jax.jit(task.evaluate)(key, params)
        except FloatingPointError as error:
            child = f"child {index} of generation {int(source.generation)}, scored by {name_of(task.evaluate)}"
            raise FloatingPointError(f"{child}: {error}") from error
