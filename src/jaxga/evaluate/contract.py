"""What every evaluator is: the contract between whoever scores children and whoever runs generations."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxga.base import Algorithm, Evaluation, InputError, Recipe, Source, Task, name_of, require

STEPS, PLAYED = "agent_steps", "played_steps"  # metrics of a generation whose sum so far is in a history


class Part(NamedTuple):
    """Something to be hashed: a function, with the shapes of its arguments, and words beside it."""

    function: Callable[..., Any]
    arguments: tuple[Any, ...]
    words: Sequence[Any] = ()


class Evaluator:
    """Scores the children of a generation, which it builds from their `Source`. One of your own defines `children`.

    The score of a child depends on the source and on the child's index alone: whoever scores it, and whenever, gets the
    same bits. An evaluator is a value: equal ones share one compiled program.
    """

    algorithm: Algorithm
    task: Task | None = None  # that is scored, where there is one
    chunk: int | None = None  # children scored at once, where that changes the last bit
    on_host: bool = False  # is it called with arrays, a generation at a time, and never traced?
    mesh: Any = None  # the devices that it shares the children among, where there are several

    def children(self, source: Source, number: Any = 0, slices: int = 1) -> Evaluation:
        """The scores ``[N / slices]`` of a slice of the children: from ``number * N / slices`` on.

        ``slices`` is one of those that `slices` returns. ``number`` may be traced.
        """
        del source, number, slices
        raise InputError(f"{type(self).__name__} cannot score slices of a generation: let it define children.")

    def individuals(self, source: Source, indices: Any, episodes: int | None = None) -> Evaluation:
        """The scores ``[c]`` of these individuals, parents from index N on.

        They are scored as children are. With ``episodes`` each is scored on as many fresh draws, the same for all:
        fitness is the mean, and the metric ``std_return`` says how they differ.
        """
        del source, indices, episodes
        raise InputError(f"{type(self).__name__} cannot score single individuals again: let it define individuals.")

    def slices(self, about: int) -> int:
        """The smallest number of equal slices that is at least ``about``, or the largest that there is."""
        del about
        return 1

    def hear(self, generation: int, recipe: Recipe) -> None:
        """Take note of what fitness decided about a generation: whoever is elsewhere makes the next parents by it."""

    def like(self, source: Source) -> Evaluation:
        """Shapes of what a call returns for this source, or for its shapes. Evaluators on the host say them."""
        return jax.eval_shape(self, source)

    def node_seconds(self) -> float | None:
        """For how long nodes of a cluster have scored, all together; None where there is no cluster."""
        return None

    def parts(self, source: Source) -> list[Part]:
        """What decides about a score, whoever shares the work: directories and workers compare hashes of it."""
        return [Part(lambda source: self.children(source, jnp.int32(0), self.slices(1 << 30)), (source,))]

    def __call__(self, source: Source) -> Evaluation:
        """The scores ``[N]`` of all children, and behind them those ``[E]`` of elites that are scored again."""
        scores, slots = self.children(source), self.algorithm.rescored(source)
        if not slots:
            return scores
        indices = self.algorithm.children + np.array(slots, np.int32)
        return join([scores, self.individuals(source, indices)])


@dataclass(frozen=True)
class Function(Evaluator):
    """A function of a source that JAX can trace, as an evaluator."""

    algorithm: Algorithm
    function: Callable[[Source], Evaluation]

    def __call__(self, source: Source) -> Evaluation:
        """What it says."""
        return self.function(source)

    def node_seconds(self) -> float | None:
        """For how long nodes of a cluster have scored, all together; None where there is no cluster."""
        return None

    def parts(self, source: Source) -> list[Part]:
        """The function."""
        return [Part(self.function, (source,))]


def as_evaluator(algorithm: Algorithm, evaluator: Any) -> Evaluator:
    """An evaluator as it is; one of a function ``(Source) -> Evaluation [N]``."""
    if isinstance(evaluator, Evaluator):
        return evaluator
    due = "a jaxga.Task, or an evaluator, as jaxga.rollouts(algorithm, game) is"
    require(callable(evaluator), f"task is {name_of(evaluator)}, and must be {due}.")
    return Function(algorithm, evaluator)


def join(parts: Sequence[Evaluation]) -> Evaluation:
    """Scores ``[a]``, ``[b]``, ... as one; metrics without an axis are counts, and add up."""
    return jax.tree.map(lambda *leaves: sum(leaves) if jnp.ndim(leaves[0]) == 0 else jnp.concatenate(leaves), *parts)
