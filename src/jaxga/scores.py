"""Scores of the candidates (children and elites) and of the next parents."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from jaxga.base import Evaluation, Recipe, Scored, State, as_fitness, require
from jaxga.selection.choices import ranking
from jaxga.tree import iota, take


def unknown_scores(like: Evaluation, parents: int) -> Evaluation:
    """Scores ``[T]`` of parents that nobody has scored, with the metrics of ``like``, scores of a generation."""
    with jax.debug_nans(False):  # this NaN is meant
        metrics = {name: _nothing(leaf, parents) for name, leaf in dict(like.metrics or {}).items() if leaf.ndim}
        return Evaluation(jnp.full(parents, jnp.nan, jnp.float32), jnp.zeros(parents, jnp.float32), metrics)


def of_parents(state: State, evaluation: Evaluation, children: int, rescored: Sequence[int]) -> Evaluation:
    """The scores ``[T]`` of those who are held, the new ones of those who were scored again behind the children.

    It has the metrics of this evaluation: one that was not measured before is NaN.
    """
    parents, slots = len(state.scores.fitness), jnp.array(rescored, jnp.int32)
    before = dict(state.scores.metrics or {})

    def put(old: Any, new: Any) -> jax.Array:
        return old.at[slots].set(new[children:].astype(old.dtype)) if rescored else old

    with jax.debug_nans(False):
        metrics = {
            name: put(before.get(name, _nothing(leaf, parents)), leaf)
            for name, leaf in dict(evaluation.metrics or {}).items()
            if leaf.ndim
        }
    fitness, tiebreak = (
        put(getattr(state.scores, part), getattr(evaluation, part)) for part in ("fitness", "tiebreak")
    )
    return Evaluation(fitness, tiebreak, metrics)


def candidates(key: jax.Array, state: State, born: Evaluation, parents: Evaluation, elites: Sequence[int]) -> Scored:
    """The candidates, children ``[N]`` and elites, in a ranking.

    Args:
      key: key that orders candidates with equal scores.
      state: state of the run.
      born: scores of the children, ``[N]``.
      parents: scores of the parents, ``[T]``.
      elites: slots of the parents that compete with the children.
    """
    children, slots = len(born.fitness), jnp.array(elites, jnp.int32)
    everyone = join(born, take(parents, slots)) if elites else born
    return Scored(
        evaluation=everyone,
        index=jnp.concatenate([iota(children), children + slots]),
        slot=jnp.concatenate([jnp.repeat(state.pairs[:, 0], children // len(state.pairs)), slots]),
        order=ranking(key, everyone),
        parents=parents,
        generation=state.generation,
        born=iota(children + len(slots)) < children,
        held=children + iota(len(parents.fitness)),
    )


def of_founders(state: State, evaluation: Evaluation) -> State:
    """The state with these scores ``[T]`` of its parents."""
    found, before = as_fitness(evaluation), dict(state.scores.metrics or {})
    metrics = {name: dict(found.metrics)[name].astype(leaf.dtype) for name, leaf in before.items()}
    return state._replace(scores=Evaluation(found.fitness, found.tiebreak, metrics))


def of_recipe(state: State, recipe: Recipe, everyone: Evaluation) -> Evaluation:
    """The scores ``[T]`` of the parents that a recipe makes, of those ``[N + T]`` of children and parents.

    NaN of those whom nobody scored: means of several children, and weights that were kept with another strategy. A
    state keeps the metrics that it began with (`Algorithm.init`), so that its structure stays the same.
    """
    single = recipe.indices.shape[1] == 1
    if recipe.step is None or (state.founding and single):
        known = jnp.ones(len(recipe.indices), bool)
    else:
        known = (recipe.step[:, 0] == 1) & single
    given, kept = dict(everyone.metrics or {}), dict(state.scores.metrics or {})
    missing = sorted(set(kept) - set(given))
    require(not missing, f"the evaluation has no metrics {missing}, which the state keeps: init was told of them.")
    metrics = {name: given[name].astype(leaf.dtype) for name, leaf in kept.items()}
    found = take(everyone._replace(metrics=metrics), recipe.indices[:, 0])

    def of(leaf: jax.Array) -> jax.Array:
        return jnp.where(known.reshape(-1, *(1,) * (leaf.ndim - 1)), leaf, jnp.nan)

    return Evaluation(of(found.fitness), jnp.where(known, found.tiebreak, 0), jax.tree.map(of, found.metrics))


def join(children: Evaluation, parents: Evaluation) -> Evaluation:
    """Scores of children ``[N]`` and parents ``[T]`` as one ``[N + T]``; metrics as floats, so that NaN may be one.

    What is one number for all children stays as it is.
    """
    metrics = {
        name: _both(leaf, parents.metrics[name]) if leaf.ndim else leaf
        for name, leaf in dict(children.metrics or {}).items()
    }
    return Evaluation(
        jnp.concatenate([children.fitness, parents.fitness]),
        jnp.concatenate([children.tiebreak, parents.tiebreak]),
        metrics,
    )


def of_children(evaluation: Evaluation, children: int) -> Evaluation:
    """The first ``[N]`` scores."""
    return jax.tree.map(lambda leaf: leaf[:children] if leaf.ndim else leaf, evaluation)


def _both(children: jax.Array, parents: jax.Array) -> jax.Array:
    return jnp.concatenate([children.astype(parents.dtype), parents])


def _nothing(leaf: Any, parents: int) -> jax.Array:
    dtype = leaf.dtype if jnp.issubdtype(leaf.dtype, jnp.floating) else jnp.float32
    return jnp.full((parents, *leaf.shape[1:]), jnp.nan, dtype)
