"""Selections that wrap another selection and change its recipe, or measure something more."""

from typing import Any

import jax
import jax.numpy as jnp

from jaxga.base import Evaluation, Key, Recipe, Scored, Selection, require_whole


def warming_up(selection: Selection, generations: int) -> Selection:
    """The same selection, except that in the first generations only strategies evolve, such as step sizes.

    In these generations, survivors pass on their strategy together with their parent's weights.

    Args:
      selection: the selection.
      generations: the number of first generations.

    Raises:
      InputError: if ``generations`` is below 0.
    """
    require_whole(0, generations=generations)

    def apply(key: Key, scored: Scored, remembered: Any) -> tuple[Recipe, Any, dict[str, jax.Array]]:
        recipe, remembered, metrics = selection.apply(key, scored, remembered)
        one = jnp.ones(recipe.indices.shape, jnp.float32)
        step = jnp.where(scored.generation < generations, 0, one if recipe.step is None else recipe.step)
        return recipe._replace(share=one if recipe.share is None else recipe.share, step=step), remembered, metrics

    return selection._replace(apply=apply)


def sparing(selection: Selection) -> Selection:
    """The same selection, except that a lethal child (of fitness minus infinity) is replaced by its parent."""

    def apply(key: Key, scored: Scored, remembered: Any) -> tuple[Recipe, Any, dict[str, jax.Array]]:
        recipe, remembered, metrics = selection.apply(key, scored, remembered)
        born = (recipe.indices >= 0) & (recipe.indices < scored.held[0])
        child = jnp.where(born, recipe.indices, 0)
        lethal = born & jnp.isneginf(scored.evaluation.fitness[child])
        indices = jnp.where(lethal, scored.held[scored.slot[child]], recipe.indices)
        return recipe._replace(indices=indices), remembered, metrics

    return selection._replace(apply=apply, in_place=False)  # a parent may come to another slot


def watching(selection: Selection, generations: int) -> Selection:
    """The same selection, which also measures ``improvement``: the recent progress, for `jaxga.stop.plateau`.

    ``improvement`` is the mean, over the last ``generations`` generations, of the best fitness in each, minus the same
    mean over as many generations before. It is NaN until there are enough generations. Means are used because the best
    fitness of a single generation may be due to luck.

    Args:
      selection: the selection.
      generations: the number of generations in each of the two means.

    Raises:
      InputError: if ``generations`` is below 1.
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
