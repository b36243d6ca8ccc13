"""Descriptors of behaviour, and what selections compute from them: distances and nearest neighbours."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jaxga.base import Evaluation, Key, Scored, name_of, require
from jaxga.tree import iota

Describe = str | Callable[[Any], jax.Array]  # the name of a metric, or (metrics [C, ...]) -> descriptors [C, ...]
NUMBERS = 1_000_000  # differences between descriptors that are computed at once


def described(describe: Describe, scores: Evaluation, who: str) -> jax.Array:
    """The descriptors ``[C, D]`` of the individuals that have these scores.

    Args:
      describe: the name of a metric, or a function of the dict of metrics ``[C, ...]``.
      scores: with the metrics.
      who: the function that asks, for the error message.

    Raises:
      InputError: if there is no such metric, or it does not have C entries.

    >>> scores = Evaluation(jnp.zeros(2), metrics={"end": jnp.ones((2, 3)), "speed": jnp.zeros(2)})
    >>> described("end", scores, "novelty").shape, described(lambda metrics: metrics["speed"], scores, "").shape
    ((2, 3), (2, 1))
    """
    metrics, count = dict(scores.metrics or {}), len(scores.fitness)
    if isinstance(describe, str):
        require(
            describe in metrics,
            f"{who} needs the metric {describe!r}, and the task measures {sorted(metrics)}: return it in "
            "Evaluation(metrics={...}); outside of jaxga.run also begin with algorithm.init(key, like=evaluation).",
        )
        found = metrics[describe]
    else:
        found = jnp.asarray(describe(metrics))
    called = repr(describe) if isinstance(describe, str) else name_of(describe)
    require(
        found.ndim >= 1 and len(found) == count,
        f"{who}: the descriptor {called} has shape {found.shape}, and one for each of {count} candidates was due.",
    )
    return found.reshape(count, -1).astype(jnp.float32)


def numbers_of(describe: Describe, like: Evaluation, who: str) -> int:
    """D, the number of entries of a descriptor."""
    return jax.eval_shape(lambda scores: described(describe, scores, who), like).shape[1]


def distances(from_these: jax.Array, to_those: jax.Array) -> jax.Array:
    """Euclidean distances ``[C, M]`` between points ``[C, D]`` and ``[M, D]``; infinite if a point has a NaN."""

    def of_one(here: jax.Array) -> jax.Array:
        square = jnp.sum((to_those - here) ** 2, axis=1)
        return jnp.where(jnp.isnan(square), jnp.inf, jnp.sqrt(square))

    at_once = max(NUMBERS // max(to_those.size, 1), 1)
    return jax.lax.map(of_one, from_these, batch_size=min(at_once, len(from_these)))


def between(candidates: jax.Array) -> jax.Array:
    """Distances ``[C, C]`` between all candidates; a candidate's distance to itself counts as infinite."""
    return jnp.where(jnp.eye(len(candidates), dtype=bool), jnp.inf, distances(candidates, candidates))


def valid(scores: Evaluation, descriptors: jax.Array) -> jax.Array:
    """Which individuals have both a fitness and a descriptor, bool ``[C]``."""
    return ~jnp.isnan(scores.fitness) & ~jnp.isnan(descriptors).any(axis=1)


def places(scored: Scored) -> jax.Array:
    """The place of each candidate in the ranking, ``[C]``: 0 is the best."""
    return jnp.zeros_like(scored.order).at[scored.order].set(iota(len(scored.order)), unique_indices=True)


def scores_of(scored: Scored, indices: jax.Array) -> Evaluation:
    """The scores ``[T]`` of the individuals with these indices: those of candidates, or the earlier ones of parents."""
    same = scored.index == indices[:, None]
    place, slot = jnp.argmax(same, axis=1), jnp.maximum(indices - scored.held[0], 0)

    def pick(candidates: jax.Array, parents: jax.Array) -> jax.Array:
        known = same.any(axis=1).reshape(-1, *(1,) * (candidates.ndim - 1))
        return jnp.where(known, candidates[place], parents[slot].astype(candidates.dtype))

    metrics, before = dict(scored.evaluation.metrics or {}), dict(scored.parents.metrics or {})
    return Evaluation(
        pick(scored.evaluation.fitness, scored.parents.fitness),
        pick(scored.evaluation.tiebreak, scored.parents.tiebreak),
        {name: pick(leaf, before[name]) for name, leaf in metrics.items() if leaf.ndim and name in before},
    )


def lowest(lots: jax.Array, num: int) -> jax.Array:
    """Which of these ``[..., n]`` are among the ``num`` lowest of their row. Of random numbers, this draws ``num``."""
    return jnp.argsort(jnp.argsort(lots, axis=-1), axis=-1) < num


def draw(key: Key, weights: jax.Array, num: int) -> jax.Array:
    """Positions ``[num]``, drawn in proportion to ``weights [n]`` with replacement; uniformly if all weights are 0.

    >>> draw(jax.random.key(0), jnp.array([0.0, 1.0, 0.0]), 3).tolist()
    [1, 1, 1]
    """
    weights = jnp.where(weights.sum() > 0, weights, jnp.ones_like(weights))
    upto = jnp.cumsum(weights)
    at = jax.random.uniform(key, (num,), jnp.float32) * upto[-1]
    found = jnp.searchsorted(upto, at, side="right").astype(jnp.int32)
    last = jnp.max(jnp.where(weights > 0, iota(len(weights)), 0))  # rounding may lead past the last one
    return jnp.minimum(found, last)
