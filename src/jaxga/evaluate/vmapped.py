"""Score all children on one device: a chunk of a brood at a time, never a whole population."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from jaxga.base import (
    Algorithm,
    Evaluation,
    Individual,
    Purpose,
    State,
    Task,
    as_fitness,
    generation_key,
    require,
    require_at_least,
)
from jaxga.tree import check_params, size, take

CHUNK_WEIGHTS = 2_000_000  # as many children at once as have this many weights together, within CHUNK_LIMITS
CHUNK_LIMITS = 4, 32


@dataclass(frozen=True)
class Vmapped:
    """See `vmapped`. A value, so that equal evaluators share one compiled program."""

    algorithm: Algorithm
    task: Task
    slots: int  # parents whose children are scored at once
    members: int  # children of one parent scored at once

    def __call__(self, state: State) -> Evaluation:
        """Evaluation ``[N]``; ``[N + elites]`` where elites are re-evaluated."""
        algorithm, chunks_of_brood = self.algorithm, self.algorithm.brood // self.members

        def chunk(number: jax.Array) -> Evaluation:
            slot, member = jnp.divmod(number, chunks_of_brood)
            members = member * self.members + jnp.arange(self.members)
            brood = jax.vmap(self.score_child, in_axes=(None, None, 0))
            if self.slots == 1:
                return brood(state, slot, members)
            slots = slot * self.slots + jnp.arange(self.slots)
            return _merge(jax.vmap(brood, in_axes=(None, 0, None))(state, slots, members))

        def elite(slot: jax.Array) -> Evaluation:
            parent = take(state.parents, slot)
            return self.score(state, algorithm.children + slot, parent, parent)

        scores = _merge(jax.lax.map(chunk, jnp.arange(algorithm.parents // self.slots * chunks_of_brood)))
        if not (algorithm.reevaluate and algorithm.elites and state.parents is not None):
            return scores
        kept = jax.lax.map(elite, jnp.arange(algorithm.elites))
        return jax.tree.map(lambda *leaves: jnp.concatenate(leaves), scores, kept)

    def score_child(self, state: State, slot: jax.Array, member: jax.Array) -> Evaluation:
        """Build one child and score it."""
        child = self.algorithm.offspring(state, slot, member)
        parent = None if state.parents is None else take(state.parents, slot)
        return self.score(state, slot * self.algorithm.brood + member, child, parent)

    def score(self, state: State, index: jax.Array, individual: Individual, parent: Individual | None) -> Evaluation:
        """Score one individual on the draw that its index is due; of a paired task, against its parent."""
        key = self.task.key(generation_key(state, Purpose.EVALUATION), index)
        score = as_fitness(self.task.evaluate(key, individual.params))
        if not self.task.paired or parent is None:
            return score
        before = as_fitness(self.task.evaluate(key, parent.params))
        return score._replace(fitness=score.fitness - before.fitness)


def vmapped(algorithm: Algorithm, task: Task, chunk: int | None = None) -> Vmapped:
    """Score all children by vmap and scan, ``chunk`` children at a time.

    Memory is that of the parents and one chunk, whatever the number of children. The children of a chunk have one
    parent (or are whole broods, if a brood is smaller than the chunk), so that they share its matrix products.
    The result depends on the chunk in the last bit (sums are ordered differently): keep it equal where runs must be.

    Args:
      algorithm: for its offspring.
      task: for its evaluate.
      chunk: children at once; rounded down to what divides the broods evenly. By default as many as have two million
        weights together, at least 4 and at most 32.

    >>> import jaxga
    >>> from jaxga.variation import absolute, gaussian
    >>> task = jaxga.Task(lambda key: jnp.ones(3), lambda key, w: jaxga.Evaluation(-jnp.sum(w**2)))
    >>> algorithm = jaxga.ga(task.init, gaussian(absolute(0.1)), parents=2, children=8)
    >>> vmapped(algorithm, task)(algorithm.init(jax.random.key(0))).fitness.shape
    (8,)
    """
    stale = task.paired and algorithm.elites and not algorithm.reevaluate
    require(not stale, "an elite cannot keep its improvement over its own parent as a score: pass reevaluate=True.")
    if chunk is None:
        weights = jax.eval_shape(task.init, jax.random.key(0))
        check_params(weights)
        chunk = int(np.clip(CHUNK_WEIGHTS // size(weights), *CHUNK_LIMITS))
    require_at_least(1, chunk=chunk)
    if chunk <= algorithm.brood:
        return Vmapped(algorithm, task, 1, _largest_divisor(algorithm.brood, chunk))
    return Vmapped(algorithm, task, _largest_divisor(algorithm.parents, chunk // algorithm.brood), algorithm.brood)


def _merge(tree: Evaluation) -> Evaluation:
    """The two leading axes as one."""
    return jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), tree)


def _largest_divisor(number: int, limit: int) -> int:
    return next(divisor for divisor in range(limit, 0, -1) if number % divisor == 0)
