"""Games that several processes play: each process plays some of the children, and receives the scores of all."""

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
        """Shapes of the scores, which do not depend on the number of processes."""
        return self.evaluator.like(source)

    def children(self, source: Source, number: Any = 0, slices: int = 1) -> Evaluation:
        """The scores ``[N]`` of all children. Process p of P plays every P-th group, from p on. Slices are ignored."""
        del number, slices
        indices = np.arange(self.algorithm.children)
        group = indices // self.evaluator.programs.rows
        return self._share(group, lambda mine: self.evaluator.score_children(source, indices[mine]))

    def individuals(self, source: Source, indices: Any, episodes: int | None = None) -> Evaluation:
        """The scores of these individuals. Process p of P plays every P-th, from number p on.

        Without ``episodes``, as for elites, every process plays all of them, because they are few.
        """
        if episodes is None:
            return self.evaluator.individuals(source, indices)
        indices, play = np.asarray(indices), self.evaluator.individuals
        return self._share(np.arange(len(indices)), lambda mine: play(source, indices[mine], episodes))

    def parts(self, source: Source) -> list[Part]:
        """The parts of the evaluator that is shared."""
        return self.evaluator.parts(source)

    @staticmethod
    def _share(numbers: np.ndarray, score: Callable[[np.ndarray], Evaluation]) -> Evaluation:
        """Scores ``[n]`` of individuals with these numbers ``[n]``. Process p of P scores the numbers p modulo P."""
        owner, own = numbers % jax.process_count(), jax.process_index()
        mine = owner == own
        idle = not mine.any()  # an idle process plays the first one to know the shapes; its scores are ignored
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

    Each process plays its children without waiting for the others. In the end all processes have all scores. A single
    process plays all children itself. The result does not depend on the number of processes, bit for bit.
    """
    return evaluator if jax.process_count() == 1 else OverHosts(evaluator)
