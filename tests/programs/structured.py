"""Populations with a structure, written as a user would write them: islands, and a grid of cells."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

import jaxga
from jaxga import variation
from jaxga.selection import Scored, Selection, ranked, ranking
from jaxga.tree import iota


def islands(inner: Selection, count: int, every: int) -> Selection:
    """A selection on each of so many islands; every so often the best of each goes to the next one, round a ring.

    ``inner`` has no elites.
    """

    def apply(key: jax.Array, scored: Scored, remembered: Any) -> Any:
        born, slots = len(scored.index) // count, len(scored.parents.fitness) // count
        each = scored._replace(
            evaluation=scored.evaluation._replace(metrics={}), parents=scored.parents._replace(metrics={}),
            index=scored.index % born, slot=scored.slot % slots, generation=jnp.full(count, scored.generation),
        )  # fmt: skip
        own = jax.tree.map(lambda leaf: leaf.reshape(count, -1), each)
        own = own._replace(order=jax.vmap(ranking)(jax.random.split(key, count), own.evaluation))
        recipe, remembered, _ = jax.vmap(inner.apply)(jax.random.split(key, count), own, remembered)
        indices = born * iota(count)[:, None, None] + recipe.indices
        due = (scored.generation + 1) % every == 0
        migrated = jnp.where(due, jnp.roll(indices[:, :1], 1, axis=0), indices[:, -1:])
        indices = jnp.concatenate([indices[:, :-1], migrated], axis=1)
        return jaxga.Recipe(indices.reshape(count * slots, -1)), remembered, {}

    def init(parents: int, like: jaxga.Evaluation) -> Any:
        return jax.vmap(lambda _: inner.init(parents // count, like))(iota(count))

    return Selection(init, apply)


def cells(describe: Callable[[Any], jax.Array], count: int, pairs: int) -> Selection:
    """Every slot is a cell that keeps the best of those who belong there; filled cells breed, each as likely."""

    def apply(key: jax.Array, scored: Scored, remembered: Any) -> Any:
        candidates, children = len(scored.index), len(scored.index) - count
        cell = jnp.where(scored.index < children, describe(scored.evaluation.metrics), scored.slot)
        place = jnp.where(jnp.isnan(scored.evaluation.fitness), candidates, jnp.argsort(scored.order).astype(jnp.int32))
        first = jax.ops.segment_min(place, cell, count)
        filled = first < candidates
        best = scored.index[scored.order[jnp.where(filled, first, 0)]]
        indices = jnp.where(filled, best, children + iota(count))
        breeds = jax.random.categorical(key, jnp.where(filled, 0.0, -jnp.inf), shape=(pairs,)).astype(jnp.int32)
        recipe = jaxga.Recipe(indices[:, None], pairs=jnp.stack([breeds, jnp.full(pairs, -1, jnp.int32)], axis=1))
        return recipe, remembered, {"filled": filled.sum().astype(jnp.int32)}

    return Selection(lambda *_: (), apply, elites=tuple(range(count)))


def described(key: jax.Array, w: jax.Array) -> jaxga.Evaluation:
    """A bowl, with the place of the network in it."""
    return jaxga.Evaluation(-jnp.sum(w**2) + 0.1 * jax.random.normal(key), metrics={"place": w[:2]})


def task() -> jaxga.Task:
    return jaxga.Task(lambda key: jax.random.normal(key, (5,)), described, jaxga.independent)


def on_islands() -> tuple[jaxga.Task, jaxga.Algorithm]:
    """Three islands of two slots."""
    mutation = variation.gaussian(variation.log_normal(variation.absolute(0.2)))
    change = variation.chain(variation.uniform_crossover(), mutation)
    selection = islands(ranked(jaxga.selection.tournament(2)), 3, every=3)
    return task(), jaxga.ga(task().init, change, parents=6, children=24, selection=selection)


def on_a_grid() -> tuple[jaxga.Task, jaxga.Algorithm]:
    """Nine cells, of which four breed."""
    change = variation.chain(variation.uniform_crossover(), variation.gaussian(variation.absolute(0.5)))

    def describe(metrics: Any) -> jax.Array:
        at = jnp.clip(jnp.floor(metrics["place"] + 1.5), 0, 2).astype(jnp.int32)
        return 3 * at[:, 0] + at[:, 1]

    return task(), jaxga.ga(
        task().init, change, parents=9, children=16, pairs=4, selection=cells(describe, 9, 4),
        founders=jaxga.random_founders,
    )  # fmt: skip
