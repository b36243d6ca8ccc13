"""Warnings about suspicious measurements during a run. Each warning is given once, and the run continues."""

import warnings
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxga.algorithm import shape_of_source
from jaxga.base import Algorithm, Evaluation, Info, Purpose, Source, State, Task, Trial, as_key, name_of
from jaxga.compilation import jit
from jaxga.evaluate.contract import Evaluator
from jaxga.evaluate.vmapped import depends
from jaxga.heredity import candidate
from jaxga.lowrank import dense
from jaxga.tree import iota, named_leaves, take

EXACT = 2**24  # float32 holds all whole numbers up to here; above, neighbouring numbers become equal
KEPT = "state keeps what its parents inherit"  # how a warning begins
SAMPLED = 16  # children that show what is inherited unchanged
PATIENCE, FAR = 10, 2.0  # warn if a kept elite leads for 10 generations in a row by more than 2 standard deviations


class Doubts:
    """Checks the generations of a run for suspicious measurements, and warns.

    Args:
      algorithm: of the run.
      evaluator: scores the children of the run.
      hunting: is the configuration option ``jax_debug_nans`` set? Then a child whose fitness is NaN is scored again,
        so that JAX can name the operation that made the NaN.
    """

    def __init__(self, algorithm: Algorithm, evaluator: Evaluator, hunting: bool):
        self.algorithm, self.evaluator, self.hunting = algorithm, evaluator, hunting
        self.task = evaluator.task
        self.led = 0  # number of generations in a row in which a kept elite was far ahead of the children's mean
        self.said: set[str] = set()

    def look(self, before: State, records: Sequence[Mapping[str, Any]], infos: Info) -> None:
        """Check these generations. ``before`` is the state before the first of them.

        Raises:
          FloatingPointError: if ``hunting`` is set and a child's fitness is NaN.
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
        """Is the fitness that the task returns an integer?"""
        if self.task is None:
            return False
        params = jax.eval_shape(self.task.init, as_key(0))
        draw = Trial(as_key(0), parent=params) if self.task.with_trial else as_key(0)
        score = jax.eval_shape(self.task.evaluate, draw, params)
        return jnp.issubdtype(jnp.result_type(score.fitness if isinstance(score, Evaluation) else score), jnp.integer)

    def _noisy(self) -> bool:
        """May the same network score differently in another generation? For a game, yes is assumed."""
        return self.task is None or is_noisy(self.algorithm, self.task)

    def _say(self, kind: str, text: str) -> None:
        """Give a warning of this kind, once in a run."""
        if kind not in self.said:
            self.said.add(kind)
            warnings.warn(text, RuntimeWarning, stacklevel=6)


def warn_of_inherited(algorithm: Algorithm, source: Source, fresh: Source) -> None:
    """Warn of step sizes that an algorithm would set otherwise, if the parents of another run brought theirs.

    Only what children inherit unchanged is compared. What evolves differs in any case.

    Args:
      algorithm: of the new run.
      source: the parents of the other run.
      fresh: the founders that the new algorithm makes from the same key.
    """
    children = min(algorithm.children, SAMPLED)

    def compare(source: Source, fresh: Source) -> tuple[Any, Any]:
        def inherits(index: jax.Array) -> Any:
            parent = take(source.parents, algorithm.place(source, index).slot)
            child = candidate(algorithm, source, index)
            return jax.tree.map(lambda one, other: (one == other).all(), child.strategy, parent.strategy)

        def known(old: jax.Array, new: jax.Array) -> jax.Array:
            same = jax.lax.map(lambda one: (old == one).reshape(len(old), -1).all(axis=1), new)
            return same.any(axis=0).all()

        unchanged = jax.tree.map(jnp.all, jax.vmap(inherits)(iota(children)))
        return unchanged, jax.tree.map(known, source.parents.strategy, fresh.parents.strategy)

    unchanged, known = (named_leaves(tree) for tree in jit(compare)(source, fresh))
    others = [name for name in unchanged if bool(unchanged[name]) and not bool(known[name])]
    if others:
        old, new = (float(jnp.mean(named_leaves(one.parents.strategy)[others[0]])) for one in (source, fresh))
        warnings.warn(
            f"{KEPT}: {others[0] or 'the step size'} is {old:.4g}, and would begin at "
            f"{new:.4g} with this algorithm. To use the new step sizes, begin a new run with "
            "founders=jaxga.trained_founders(result.best.params).",
            RuntimeWarning,
            stacklevel=4,
        )


def is_noisy(algorithm: Algorithm, task: Task) -> bool:
    """Does the fitness of a network depend on the key with which it is scored?

    The task is traced for this, and nothing is computed.

    >>> import jaxga
    >>> from jaxga.variation import absolute, gaussian
    >>> task = jaxga.Task(lambda key: jnp.ones(3), lambda key, w: jnp.sum(w) + jax.random.normal(key))
    >>> is_noisy(jaxga.ga(task.init, gaussian(absolute(0.1)), parents=2, children=8), task)
    True
    """
    found: list[bool] = []

    def look(source: Source) -> None:
        params = candidate(algorithm, source, 0).params
        score = lambda number: task.score(jax.random.fold_in(source.key, number), params).fitness  # noqa: E731
        found.append(depends(score, iota(2)))

    jax.eval_shape(look, shape_of_source(algorithm))
    return found[0]


def find_nan(algorithm: Algorithm, evaluator: Evaluator, task: Task | None, source: Source) -> None:
    """Score the first child whose fitness is NaN again, with JAX's search for NaN. Without a task, do nothing.

    Args:
      algorithm: of the run.
      evaluator: scores the children of the run.
      task: the evaluator's task; None for a game.
      source: of a generation in which the fitness of at least one child is NaN.

    Raises:
      FloatingPointError: from JAX. It names the operation that made the NaN; the child is added to the message.
    """
    if task is None:
        return
    fitness = np.asarray(jit(evaluator)(source).fitness)
    index = int(np.flatnonzero(np.isnan(fitness))[0])
    params = jit(partial(candidate, algorithm))(source, np.int32(index)).params
    place = algorithm.place(source, index)
    key = task.key(algorithm.key(source, Purpose.EVALUATION, place.group), place.number)
    parent = None if source.founding else dense(take(source.parents.params, place.slot))
    trial = Trial(key, source.generation, jnp.int32(index), parent)
    with jax.debug_nans(True):
        try:
            jax.jit(task.score)(trial, params)
        except FloatingPointError as error:
            child = f"child {index} of generation {int(source.generation)}, scored by {name_of(task.evaluate)}"
            raise FloatingPointError(f"{child}: {error}") from error
