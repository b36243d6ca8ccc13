"""Selections made of selections: what they change of a recipe."""

from typing import Any

import jax
import jax.numpy as jnp

from jaxga.base import Evaluation, Key, Recipe, Scored, Selection, require_whole


def warming_up(selection: Selection, generations: int) -> Selection:
    """For so many generations survivors pass on their strategy, such as step sizes, with their parent's weights."""
    require_whole(0, generations=generations)

    def apply(key: Key, scored: Scored, remembered: Any) -> tuple[Recipe, Any, dict[str, jax.Array]]:
        recipe, remembered, metrics = selection.apply(key, scored, remembered)
        one = jnp.ones(recipe.indices.shape, jnp.float32)
        step = jnp.where(scored.generation < generations, 0, one if recipe.step is None else recipe.step)
        return recipe._replace(share=one if recipe.share is None else recipe.share, step=step), remembered, metrics

    return selection._replace(apply=apply)


def sparing(selection: Selection) -> Selection:
    """No lethal child (of fitness minus infinity) is held: its parent stays in its place."""

    def apply(key: Key, scored: Scored, remembered: Any) -> tuple[Recipe, Any, dict[str, jax.Array]]:
        recipe, remembered, metrics = selection.apply(key, scored, remembered)
        born = (recipe.indices >= 0) & (recipe.indices < scored.held[0])
        child = jnp.where(born, recipe.indices, 0)
        lethal = born & jnp.isneginf(scored.evaluation.fitness[child])
        indices = jnp.where(lethal, scored.held[scored.slot[child]], recipe.indices)
        return recipe._replace(indices=indices), remembered, metrics

    return selection._replace(apply=apply, in_place=False)  # a parent may come to another slot


def watching(selection: Selection, generations: int) -> Selection:
    """Measure ``improvement``, by which `jaxga.stop.plateau` stops: how much better fitness was lately than before.

    It is the mean of the best fitness of each of the last ``generations``, less that of as many before them. It is NaN
    until there are so many. Means are taken, because the best of one generation may be luck.
    """
    require_whole(1, generations=generations)

    def init(parents: int, like: Evaluation) -> Any:
        return selection.init(parents, like), jnp.full((2, generations), jnp.nan, jnp.float32)

    def apply(key: Key, scored: Scored, remembered: Any) -> tuple[Recipe, Any, dict[str, jax.Array]]:
        inner, seen = remembered
        recipe, inner, metrics = selection.apply(key, scored, inner)
        best = scored.evaluation.fitness[scored.order[0]]
        seen = jnp.append(seen.reshape(-1)[1:], best).reshape(seen.shape)
        before, lately = seen.mean(axis=1)
        return recipe, (inner, seen), metrics | {"improvement": lately - before}

    return selection._replace(init=init, apply=apply)
