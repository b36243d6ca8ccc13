"""Choices: which candidates survive. A choice is a function ``(key, evaluation [C], num) -> positions int32 [num]``.

Fitness is maximised. Equal fitness is ordered by the tiebreak, and remaining ties at random. NaN is worse than any
number, and is chosen only if no other candidates are left. `jaxga.selection.ranked` makes a selection of a choice.
"""

from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
from jax.core import Tracer

from jaxga.base import Choice, Evaluation, Key, require, require_at_least, require_whole
from jaxga.tree import iota


def ranking(key: Key, evaluation: Evaluation) -> jax.Array:
    """Positions from best to worst, int32 ``[C]``: by fitness, then by tiebreak, then at random.

    `Candidates` already have a ranking, which is returned.

    Args:
      key: orders candidates with equal fitness and tiebreak.
      evaluation: the scores ``[C]``, or `Candidates`.

    >>> ranking(jax.random.key(0), Evaluation(jnp.array([1.0, jnp.nan, 3.0]))).tolist()
    [2, 0, 1]
    """
    return evaluation.ranking(key)


class Candidates:
    """An evaluation ``[C]`` together with its ranking, as `ranked` passes it to a choice.

    It has the fields of an `Evaluation`: ``fitness``, ``tiebreak``, ``metrics``. ``_replace`` returns an `Evaluation`.
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
    """A choice: the ``num`` best candidates, as in (mu, lambda) selection and in Such et al. 2017.

    Args:
      key: the key of the choice.
      evaluation: the scores ``[C]`` of the candidates.
      num: the number of survivors.

    Returns:
      The positions of the survivors, int32 ``[num]``.

    >>> truncation(jax.random.key(0), Evaluation(jnp.array([1.0, 3.0, 2.0])), 2).tolist()
    [1, 2]
    """
    return ranking(key, evaluation)[:num]


def _places(key: Key, evaluation: Evaluation) -> tuple[jax.Array, jax.Array]:
    """The ranking, and the number of candidates whose fitness is not NaN (at least 1); these come first in it."""
    numbers = jnp.sum(~jnp.isnan(jnp.asarray(evaluation.fitness)), dtype=jnp.int32)
    return ranking(key, evaluation), jnp.maximum(numbers, 1)


def tournament(size: int = 2) -> Choice:
    """Tournament selection: each survivor is the best of several random candidates (Goldberg and Deb 1991).

    Args:
      size: number of candidates in each tournament, drawn uniformly with replacement; by default 2.

    Raises:
      InputError: if ``size`` is below 1.
    """
    require_whole(1, size=size)

    def select(key: Key, evaluation: Evaluation, num: int) -> jax.Array:
        key_rank, key_draw = jax.random.split(key)
        order, valid = _places(key_rank, evaluation)
        return order[jax.random.randint(key_draw, (num, size), 0, valid, jnp.int32).min(axis=1)]

    return select


def linear_rank(pressure: Any = 1.5) -> Choice:
    """Linear ranking: survivors are drawn with a probability that falls linearly with their rank (Baker 1985).

    The best of n candidates has probability ``pressure / n``, the worst ``(2 - pressure) / n``.

    Args:
      pressure: between 1 (all are equally likely) and 2, by default 1.5.

    Raises:
      InputError: if ``pressure`` is below 1 or above 2.
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
    """A choice: draw in proportion to the fitness above the worst finite fitness (Holland 1975).

    If all are equal, the draw is uniform. Arguments and result are those of `truncation`.
    """
    fitness = jnp.asarray(evaluation.fitness, jnp.float32)
    valid = ~jnp.isnan(fitness)
    fitness = jnp.where(valid, fitness, -jnp.inf)
    finite = jnp.isfinite(fitness)
    best = jnp.max(fitness, where=finite, initial=-jnp.inf)
    fitness = jnp.where((fitness == jnp.inf) & finite.any(), best, fitness)  # infinity counts as the best finite one
    finite = jnp.isfinite(fitness)
    worst = jnp.where(finite.any(), jnp.min(fitness, where=finite, initial=jnp.inf), 0)
    above = jnp.where(finite, jnp.where(finite, fitness, 0) - worst, 0)
    fallback = jnp.where(finite.any(), finite, valid)  # all equal, or nothing finite at all
    weights = jnp.where(above.sum() > 0, above, jnp.where(fallback.any(), fallback, True).astype(jnp.float32))
    return jax.random.categorical(key, jnp.log(weights), shape=(num,)).astype(jnp.int32)


def proportional(key: Key, evaluation: Evaluation, num: int) -> jax.Array:
    """A choice: draw in proportion to the fitness itself, for fitness of 0 or more (Holland 1975).

    Negative fitness counts as 0. Arguments and result are those of `truncation`.

    >>> proportional(jax.random.key(0), Evaluation(jnp.array([0.0, 2.0, -1.0, jnp.nan])), 3).tolist()
    [1, 1, 1]
    """
    fitness = jnp.asarray(evaluation.fitness, jnp.float32)
    known = ~jnp.isnan(fitness)
    worth = jnp.maximum(jnp.where(known, fitness, 0), 0)
    chances = jnp.where(worth.sum() > 0, worth, jnp.where(known.any(), known, True).astype(jnp.float32))
    return jax.random.categorical(key, jnp.log(chances), shape=(num,)).astype(jnp.int32)
