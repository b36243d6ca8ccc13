"""The interface of evaluators, which score the children of a generation."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxga.base import Algorithm, Evaluation, InputError, Recipe, Source, Task, name_of, require

STEPS, PLAYED = "agent_steps", "played_steps"  # counters: an evaluator reports them per generation, a history sums them


class Part(NamedTuple):
    """Something to be hashed: a function, the shapes of its arguments, and further values."""

    function: Callable[..., Any]  # its traced program is hashed, with the data in it
    arguments: tuple[Any, ...]  # arrays, or their shapes
    words: Sequence[Any] = ()  # values whose text is hashed, too


class Evaluator:
    """Base class of evaluators, which build the children of a generation from their `Source` and score them.

    A subclass must define `children`. The score of a child must depend only on the source and on the child's index, so
    that it is the same bits wherever and whenever it is computed. Evaluators are hashable: equal evaluators share one
    compiled program.
    """

    algorithm: Algorithm  # whose children are scored
    task: Task | None = None  # the task, if there is one
    chunk: int | None = None  # number of children scored at once, if it affects the last bit of scores
    on_host: bool = False  # True: called with concrete arrays for each generation, and never traced
    mesh: Any = None  # the devices that share the children, if there are several

    def children(self, source: Source, number: Any = 0, slices: int = 1) -> Evaluation:
        """The scores ``[N / slices]`` of one slice of the children.

        Args:
          source: of the generation.
          number: of the slice, which begins at child ``number * N / slices``; may be traced.
          slices: the number of equal slices, one that the method `slices` returns.

        Raises:
          InputError: if the subclass does not define this method.
        """
        del source, number, slices
        raise InputError(f"{type(self).__name__} cannot score slices of a generation: let it define children.")

    def individuals(self, source: Source, indices: Any, episodes: int | None = None) -> Evaluation:
        """The scores ``[c]`` of single individuals.

        Args:
          source: of the generation.
          indices: ``[c]``, children, or parents from index N on.
          episodes: by default None: individuals are scored in the same way as children. With a number, each is scored
            on that many new draws, which are the same for all individuals. Fitness is then the mean, and the metric
            ``std_return`` the standard deviation.

        Raises:
          InputError: if the subclass does not define this method.
        """
        del source, indices, episodes
        raise InputError(f"{type(self).__name__} cannot score single individuals again: let it define individuals.")

    def slices(self, about: int) -> int:
        """The smallest number of equal slices that is at least ``about``, or the largest that there is."""
        del about
        return 1

    def hear(self, generation: int, recipe: Recipe) -> None:
        """Receive the recipe of a generation, with which workers on other machines make the next parents.

        Args:
          generation: the number of the generation.
          recipe: leads from this generation to the next.
        """

    def like(self, source: Source) -> Evaluation:
        """Shapes of the scores for this source, or for its shapes. Evaluators on the host must define this method."""
        return jax.eval_shape(self, source)

    def node_seconds(self) -> float | None:
        """Seconds for which nodes of a cluster had workers, summed over nodes; None if there is no cluster."""
        return None

    def parts(self, source: Source) -> list[Part]:
        """All that determines a score. Run directories and workers compare hashes of it."""
        return [Part(lambda source: self.children(source, jnp.int32(0), self.slices(1 << 30)), (source,))]

    def __call__(self, source: Source) -> Evaluation:
        """The scores ``[N]`` of all children, followed by those ``[E]`` of elites that are scored again."""
        scores, slots = self.children(source), self.algorithm.rescored(source)
        if not slots:
            return scores
        indices = self.algorithm.children + np.array(slots, np.int32)
        return join([scores, self.individuals(source, indices)])


@dataclass(frozen=True)
class Function(Evaluator):
    """An evaluator made of a function of a source that JAX can trace."""

    algorithm: Algorithm
    function: Callable[[Source], Evaluation]

    def __call__(self, source: Source) -> Evaluation:
        """The scores that the function returns."""
        return self.function(source)

    def node_seconds(self) -> float | None:
        """Seconds for which nodes of a cluster had workers; always None, as there is no cluster."""
        return None

    def parts(self, source: Source) -> list[Part]:
        """The function."""
        return [Part(self.function, (source,))]


def as_evaluator(algorithm: Algorithm, evaluator: Any) -> Evaluator:
    """An `Evaluator` as it is, or the evaluator that a function ``(Source) -> Evaluation [N]`` defines.

    Args:
      algorithm: whose children a function scores.
      evaluator: the evaluator or the function.

    Raises:
      InputError: for anything else.
    """
    if isinstance(evaluator, Evaluator):
        return evaluator
    due = "a jaxga.Task, or an evaluator, as jaxga.rollouts(algorithm, game) is"
    require(callable(evaluator), f"task is {name_of(evaluator)}, and must be {due}.")
    return Function(algorithm, evaluator)


def join(parts: Sequence[Evaluation]) -> Evaluation:
    """Concatenate scores ``[a]``, ``[b]``, ...; metrics without an axis are counts, and are summed."""
    return jax.tree.map(lambda *leaves: sum(leaves) if jnp.ndim(leaves[0]) == 0 else jnp.concatenate(leaves), *parts)
