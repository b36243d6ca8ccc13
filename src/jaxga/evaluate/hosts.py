"""Games that are played by many processes: each plays some of the children, and hears the scores of all."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from jaxga.base import Algorithm, Evaluation, Source, as_fitness
from jaxga.distributed import gathered
from jaxga.evaluate.contract import Evaluator, Part
from jaxga.evaluate.rollouts import Rollouts


@dataclass(frozen=True)
class OverHosts(Evaluator):
    """See `over_hosts`."""

    evaluator: Rollouts
    on_host = True

    @property
    def algorithm(self) -> Algorithm:
        """Whose children are scored."""
        return self.evaluator.algorithm

    def like(self, source: Source) -> Evaluation:
        """As when a process is alone."""
        return self.evaluator.like(source)

    def children(self, source: Source, number: Any = 0, slices: int = 1) -> Evaluation:
        """All children ``[N]``, of whose groups a process plays every so manieth; there are no slices."""
        del number, slices
        indices = np.arange(self.algorithm.children)
        group = indices // self.evaluator.programs.rows
        return self._share(group, lambda mine: self.evaluator.score_children(source, indices[mine]))

    def individuals(self, source: Source, indices: Any, episodes: int | None = None) -> Evaluation:
        """A process plays every so manieth; elites, which are few, all of them."""
        if episodes is None:
            return self.evaluator.individuals(source, indices)
        indices, play = np.asarray(indices), self.evaluator.individuals
        return self._share(np.arange(len(indices)), lambda mine: play(source, indices[mine], episodes))

    def parts(self, source: Source) -> list[Part]:
        """Those of what is shared."""
        return self.evaluator.parts(source)

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
