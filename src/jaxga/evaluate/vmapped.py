"""Score all children on one device: a chunk of a brood at a time, never a whole population."""

from dataclasses import dataclass
from functools import partial
from typing import Any

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
from jaxga.lowrank import LowRank, is_low_rank
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

    @property
    def grid(self) -> tuple[int, int]:
        """Groups of parents, and chunks of the brood of each."""
        return self.algorithm.parents // self.slots, self.algorithm.brood // self.members

    def __call__(self, state: State) -> Evaluation:
        """Evaluation ``[N]``; ``[N + elites]`` where elites are re-evaluated."""
        return self.with_elites(state, self.score_chunks(state, *map(jnp.arange, self.grid)))

    def score_chunks(self, state: State, groups: jax.Array, chunks: jax.Array) -> Evaluation:
        """Score these chunks ``[K]`` of the broods of these groups of parents ``[S]``: Evaluation ``[S, K, chunk]``.

        Two loops, one within the other, so that what depends on the parent alone is computed once a parent.
        """
        brood = jax.vmap(self.score_child, in_axes=(None, None, 0))

        def score_chunk(group: jax.Array, chunk: jax.Array) -> Evaluation:
            members = chunk * self.members + jnp.arange(self.members)
            if self.slots == 1:
                return brood(state, group, members)
            slots = group * self.slots + jnp.arange(self.slots)
            return _merge(jax.vmap(brood, in_axes=(None, 0, None))(state, slots, members), 2)

        return jax.lax.map(lambda group: jax.lax.map(partial(score_chunk, group), chunks), groups)

    def with_elites(self, state: State, scores: Evaluation) -> Evaluation:
        """All scores in one axis, those of elites that are scored again behind those of the children."""
        algorithm, scores = self.algorithm, _merge(scores, 3)

        def elite(slot: jax.Array) -> Evaluation:
            parent = take(state.parents, slot)
            return self.score(state, algorithm.children + slot, parent, parent)

        if not (algorithm.reevaluate and algorithm.elites and state.parents is not None):
            return scores
        kept = jax.lax.map(elite, jnp.arange(algorithm.elites))
        return jax.tree.map(lambda *leaves: jnp.concatenate(leaves), scores, kept)

    def score_child(self, state: State, slot: jax.Array, member: jax.Array) -> Evaluation:
        """Build one child and score it."""
        child = materialised(self.algorithm.offspring(state, slot, member), state.generation >= 0)
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


def materialised(individual: Individual, true: jax.Array) -> Individual:
    """The same individual, its numbers written down before anything is computed with them.

    On CPUs XLA would otherwise draw the noise of a factor anew for every example that meets it: 65 million times a
    generation instead of one. It ignores ``optimization_barrier`` there, but cannot look through a condition that it
    does not know, so ``true`` must be true without XLA knowing it. The base of a low-rank leaf is left out: a product
    with it can be shared.
    """
    leaves, treedef = jax.tree.flatten(individual, is_low_rank)
    own = [(leaf.left, leaf.right) if is_low_rank(leaf) else leaf for leaf in leaves]
    own = jax.lax.platform_dependent(own, cpu=partial(_behind_condition, true), default=jax.lax.optimization_barrier)
    return treedef.unflatten(
        LowRank(leaf.base, *numbers) if is_low_rank(leaf) else numbers
        for leaf, numbers in zip(leaves, own, strict=True)
    )


def _behind_condition(true: jax.Array, numbers: Any) -> Any:
    return jax.lax.cond(true, lambda same: same, partial(jax.tree.map, jnp.zeros_like), numbers)


def _merge(tree: Evaluation, axes: int) -> Evaluation:
    """The leading ``axes`` axes as one."""
    return jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[axes:]), tree)


def _largest_divisor(number: int, limit: int) -> int:
    return next(divisor for divisor in range(limit, 0, -1) if number % divisor == 0)
