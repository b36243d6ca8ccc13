"""Several criteria at once: fronts of candidates that do not dominate each other (Deb et al. 2002, NSGA-II)."""

import jax
import jax.numpy as jnp

from jaxga.base import Evaluation, Key, Scored, require
from jaxga.selection.criteria import Criterion, combined


def pareto(*criteria: Criterion) -> Criterion:
    """A criterion: the Pareto front of a candidate, and within a front its crowding distance.

    The best front has the value 0, the next one -1, and so on. Within a front, candidates that are far from others are
    better. ``by(pareto(novelty("end"), fitness()), ranked(elites=parents))`` is NSGA-II with these two objectives.

    Raises:
      InputError: if there are fewer than two criteria.
    """
    require(len(criteria) >= 2, f"pareto has {len(criteria)} criteria, and needs two or more.")

    def combine(key: Key, scored: Scored, values: list[Evaluation]) -> Evaluation:
        del key, scored
        objectives = jnp.stack([value.fitness for value in values], axis=1)
        front = fronts(objectives)
        value = jnp.where(jnp.isnan(objectives).any(axis=1), jnp.nan, -front.astype(jnp.float32))
        return Evaluation(value, crowding_distance(objectives, front))

    return combined(list(criteria), combine)


def fronts(objectives: jax.Array) -> jax.Array:
    """The number of each candidate's front, ``[C]``, for ``objectives [C, M]`` that are maximised. NaN gets number C.

    >>> fronts(jnp.array([[1.0, 1.0], [2.0, 0.0], [0.0, 0.0], [jnp.nan, 9.0]])).tolist()
    [0, 0, 1, 4]
    """
    count = len(objectives)
    known = ~jnp.isnan(objectives).any(axis=1)
    one, other = objectives[:, None], objectives[None, :]
    dominates = (one >= other).all(axis=2) & (one > other).any(axis=2)

    def peel(carry: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        front, number = carry
        left = front == count
        dominated = (dominates & left[:, None]).any(axis=0)
        return jnp.where(left & known & ~dominated, number, front), number + 1

    start = jnp.full(count, count, jnp.int32), jnp.int32(0)
    return jax.lax.while_loop(lambda carry: ((carry[0] == count) & known).any(), peel, start)[0]


def crowding_distance(objectives: jax.Array, front: jax.Array) -> jax.Array:
    """The crowding distance ``[C]``: how far apart a candidate's two neighbours in its front are.

    It is summed over objectives, and infinite at the ends of a front.

    >>> crowding_distance(jnp.array([[0.0, 2.0], [0.5, 1.0], [2.0, 0.0]]), jnp.zeros(3, jnp.int32)).tolist()
    [inf, 2.0, inf]
    """
    count = len(front)

    def along(values: jax.Array) -> jax.Array:
        order = jnp.lexsort((values, front))
        value, number = values[order], front[order]
        same = number[1:] == number[:-1]
        high = jax.ops.segment_max(value, number, count + 1)[number]
        low = jax.ops.segment_min(value, number, count + 1)[number]
        gap = jnp.concatenate([value[1:] - value[:-1], jnp.zeros(1, value.dtype)])
        inside = jnp.concatenate([jnp.zeros(1, bool), same]) & jnp.concatenate([same, jnp.zeros(1, bool)])
        apart = jnp.where(inside, (gap + jnp.roll(gap, 1)) / jnp.where(high > low, high - low, 1), jnp.inf)
        return jnp.zeros_like(apart).at[order].set(apart)

    total = sum((along(objectives[:, number]) for number in range(objectives.shape[1])), jnp.float32(0))
    return jnp.where(jnp.isnan(total), -jnp.inf, total)
