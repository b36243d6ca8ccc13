"""Choices: who survives. Every choice is ``(key, evaluation [C], num) -> positions int32 [num]``.

Fitness is maximised; equal fitness is ordered by the tiebreak, and what is still equal by a fair draw. NaN counts as
minus infinity and is chosen only where nothing else is left. `jaxga.selection.ranked` makes a selection of a choice.
"""

from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
from jax.core import Tracer

from jaxga.base import Choice, Evaluation, Key, require, require_at_least, require_whole
from jaxga.tree import iota


def ranking(key: Key, evaluation: Evaluation) -> jax.Array:
    """Positions from best to worst, int32 ``[C]``: by fitness, then tiebreak, then a fair draw.

    `Candidates` are ranked already.

    >>> ranking(jax.random.key(0), Evaluation(jnp.array([1.0, jnp.nan, 3.0]))).tolist()
    [2, 0, 1]
    """
    return evaluation.ranking(key)


class Candidates:
    """An evaluation ``[C]`` of which the ranking is known: what `ranked` gives to a choice.

    ``fitness``, ``tiebreak`` and ``metrics`` are those of an `Evaluation`, and ``_replace`` makes one of it.
    """

    def __init__(self, evaluation: Evaluation, order: jax.Array):
        self.fitness, self.tiebreak, self.metrics = evaluation
        self.order = order

    def ranking(self, key: Key) -> jax.Array:
        """Positions from best to worst, int32 ``[C]``."""
        del key
        return self.order

    def _replace(self, **changes: Any) -> Evaluation:
        return Evaluation(self.fitness, self.tiebreak, self.metrics)._replace(**changes)

    def __iter__(self) -> Iterator[Any]:
        return iter((self.fitness, self.tiebreak, self.metrics))


def truncation(key: Key, evaluation: Evaluation, num: int) -> jax.Array:
    """The ``num`` best: (mu, lambda) selection, and that of Such et al. 2017."""
    return ranking(key, evaluation)[:num]


def _places(key: Key, evaluation: Evaluation) -> tuple[jax.Array, jax.Array]:
    """The ranking, and how many of its first places are held by numbers (at least 1)."""
    numbers = jnp.sum(~jnp.isnan(jnp.asarray(evaluation.fitness)), dtype=jnp.int32)
    return ranking(key, evaluation), jnp.maximum(numbers, 1)


def tournament(size: int = 2) -> Choice:
    """Each survivor is the best of ``size`` drawn uniformly, with replacement (Goldberg and Deb 1991)."""
    require_whole(1, size=size)

    def select(key: Key, evaluation: Evaluation, num: int) -> jax.Array:
        key_rank, key_draw = jax.random.split(key)
        order, valid = _places(key_rank, evaluation)
        return order[jax.random.randint(key_draw, (num, size), 0, valid, jnp.int32).min(axis=1)]

    return select


def linear_rank(pressure: Any = 1.5) -> Choice:
    """Drawn with probability linear in rank: ``pressure / n`` for the best of n, ``(2 - pressure) / n`` for the worst.

    ``pressure`` lies between 1 (uniform) and 2 (Baker 1985).
    """
    require_at_least(1, pressure=pressure)
    require(isinstance(pressure, Tracer) or pressure <= 2, f"pressure is {pressure}, and must be 2 or less.")

    def select(key: Key, evaluation: Evaluation, num: int) -> jax.Array:
        key_rank, key_draw = jax.random.split(key)
        order, valid = _places(key_rank, evaluation)
        place = iota(order.size)
        part = place.astype(jnp.float32) / jnp.maximum(valid - 1, 1).astype(jnp.float32)  # 0 for the best, 1 the worst
        weights = pressure - (2 * pressure - 2) * part
        logits = jnp.log(jnp.where(place < valid, jnp.maximum(weights, 0), 0))
        return order[jax.random.categorical(key_draw, logits, shape=(num,))]

    return select


def roulette(key: Key, evaluation: Evaluation, num: int) -> jax.Array:
    """Drawn in proportion to the fitness above the worst finite one; uniformly where all are equal (Holland 1975)."""
    fitness = jnp.asarray(evaluation.fitness, jnp.float32)
    valid = ~jnp.isnan(fitness)
    fitness = jnp.where(valid, fitness, -jnp.inf)
    finite = jnp.isfinite(fitness)
    best = jnp.max(fitness, where=finite, initial=-jnp.inf)
    fitness = jnp.where((fitness == jnp.inf) & finite.any(), best, fitness)  # infinitely good: as good as the best
    finite = jnp.isfinite(fitness)
    worst = jnp.where(finite.any(), jnp.min(fitness, where=finite, initial=jnp.inf), 0)
    above = jnp.where(finite, jnp.where(finite, fitness, 0) - worst, 0)
    fallback = jnp.where(finite.any(), finite, valid)  # all equal, or nothing finite at all
    weights = jnp.where(above.sum() > 0, above, jnp.where(fallback.any(), fallback, True).astype(jnp.float32))
    return jax.random.categorical(key, jnp.log(weights), shape=(num,)).astype(jnp.int32)


def proportional(key: Key, evaluation: Evaluation, num: int) -> jax.Array:
    """Drawn in proportion to the fitness itself, which is 0 or more; below 0 counts as 0 (Holland 1975).

    >>> proportional(jax.random.key(0), Evaluation(jnp.array([0.0, 2.0, -1.0, jnp.nan])), 3).tolist()
    [1, 1, 1]
    """
    fitness = jnp.asarray(evaluation.fitness, jnp.float32)
    known = ~jnp.isnan(fitness)
    worth = jnp.maximum(jnp.where(known, fitness, 0), 0)
    chances = jnp.where(worth.sum() > 0, worth, jnp.where(known.any(), known, True).astype(jnp.float32))
    return jax.random.categorical(key, jnp.log(chances), shape=(num,)).astype(jnp.int32)
