"""Games that are played by many processes: each plays some of the children, and hears the scores of all."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from jaxga.base import Algorithm, Evaluation, State, as_fitness
from jaxga.distributed import gathered
from jaxga.evaluate.rollouts import Rollouts
from jaxga.evaluate.vmapped import with_elites


@dataclass(frozen=True)
class OverHosts:
    """See `over_hosts`."""

    evaluator: Rollouts
    on_host = True

    @property
    def algorithm(self) -> Algorithm:
        """Whose children are scored."""
        return self.evaluator.algorithm

    def like(self, state: State) -> Evaluation:
        """Shapes of what a call returns for this state, or for its shapes."""
        return self.evaluator.like(state)

    def __call__(self, state: State) -> Evaluation:
        """Evaluation ``[N]``; ``[N + elites]`` where elites are re-evaluated."""
        return with_elites(self.evaluator, state, self.children(state))

    def children(self, state: State) -> Evaluation:
        """All children ``[N]``; a process plays every so manieth group of them."""
        indices = np.arange(self.algorithm.children)
        group = indices // self.evaluator.programs.rows
        return self._share(group, lambda mine: self.evaluator.score_children(state, indices[mine]))

    def measure(self, state: State, indices: Any, episodes: int) -> Evaluation:
        """Individuals ``[c]`` of this generation, parents from index N on, each from the same fresh starts."""
        indices = np.asarray(indices)
        return self._share(np.arange(len(indices)), lambda mine: self.evaluator.measure(state, indices[mine], episodes))

    @staticmethod
    def _share(numbers: np.ndarray, score: Callable[[np.ndarray], Evaluation]) -> Evaluation:
        """Scores ``[n]`` of those who have these numbers ``[n]``, of which a process takes every so manieth."""
        owner, own = numbers % jax.process_count(), jax.process_index()
        mine = owner == own
        idle = not mine.any()  # then it plays the first one, so as to have something to say, which nobody hears
        scores = as_fitness(score(numbers == numbers[0] if idle else mine))

        def spread(leaf: Any) -> np.ndarray:
            leaf = np.asarray(leaf)
            if leaf.ndim == 0:
                return np.where(idle, 0, leaf).astype(leaf.dtype)
            whole = np.zeros((len(numbers), *leaf.shape[1:]), leaf.dtype)
            if not idle:
                whole[mine] = leaf
            return whole

        everyone = gathered(jax.tree.map(spread, scores))
        merge = lambda leaf: leaf.sum(0) if leaf.ndim == 1 else leaf[owner, np.arange(len(numbers))]  # noqa: E731
        return jax.tree.map(merge, everyone)


def over_hosts(evaluator: Rollouts) -> Rollouts | OverHosts:
    """Share the children of a generation among the processes that `jaxga.distributed.initialize` joined.

    Each plays its children without waiting for the others, and all have all scores in the end. Where a process is
    alone, it plays all of them itself. The result is the same, bit for bit.
    """
    return evaluator if jax.process_count() == 1 else OverHosts(evaluator)
