"""Sexual crossover of a parent with a mate, and averaging of many children into one parent."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxga.base import Context, Individual, Key, Variation, require, require_whole
from jaxga.lowrank import dense
from jaxga.tree import Path, name_of, path_key, paths
from jaxga.variation.checks import require_function, require_probability, spreads_over
from jaxga.variation.projection import Projection

Cut = Callable[[Key, Path, tuple[int, ...], Any], jax.Array]  # (key, path, shape, probability) -> bool mask


def by_weight(key: Key, path: Path, shape: tuple[int, ...], probability: Any) -> jax.Array:
    """Every weight comes from either parent."""
    return _bernoulli(path_key(key, path), probability, shape)


def by_leaf(key: Key, path: Path, shape: tuple[int, ...], probability: Any) -> jax.Array:
    """Whole arrays come from either parent."""
    del shape
    return _bernoulli(path_key(key, path), probability, ())


def by_layer(key: Key, path: Path, shape: tuple[int, ...], probability: Any) -> jax.Array:
    """Whole layers, kernel and bias together, come from either parent."""
    del shape
    return _bernoulli(path_key(key, path[:-1]), probability, ())


def by_neuron(key: Key, path: Path, shape: tuple[int, ...], probability: Any) -> jax.Array:
    """Whole neurons or filters: all weights into one output, with its bias, come from either parent."""
    return _bernoulli(path_key(key, path[:-1]), probability, shape[-1:])


def _bernoulli(key: Key, probability: Any, shape: tuple[int, ...]) -> jax.Array:
    return jax.random.bernoulli(key, jnp.asarray(probability, jnp.float32), shape)


def uniform_crossover(by: Cut = by_weight, probability: Any = 0.5) -> Variation:
    """Uniform crossover: each gene is the mate's with ``probability``. A gene is what ``by`` says.

    ``by`` is `by_weight`, `by_leaf`, `by_layer`, `by_neuron`, or any ``(key, path, shape, probability) -> mask``.
    Step sizes stay the parent's. Follow it by a mutation: ``chain(uniform_crossover(by_neuron), gaussian(...))``.
    """
    require_function("by", by, "(key, path, shape, probability): by_weight, by_leaf, by_layer or by_neuron")
    require_probability(probability)

    def cross(key: Key, path: Path, mine: jax.Array, theirs: jax.Array) -> jax.Array:
        mask = jnp.asarray(by(key, path, mine.shape, probability))
        require(
            mask.dtype == jnp.bool_ and spreads_over(mask.shape, mine.shape),
            f"crossover {name_of(by)} returned {mask.dtype}{list(mask.shape)} for leaf '{'/'.join(path)}', and a bool "
            f"mask that goes with its shape {mine.shape} was due.",
        )
        return jnp.where(mask, theirs, mine)

    def apply(key: Key, parent: Individual, context: Context) -> Individual:
        own, mate = dense(parent.params), dense(context.mate.params)
        params = jax.tree.map(lambda path, mine, theirs: cross(key, path, mine, theirs), paths(own), own, mate)
        return parent._replace(params=params)

    return Variation(lambda params: (), apply, in_parts=True)


class Recombination(NamedTuple):
    """How ``size`` children make one parent: ``weights: (fitness [k], best first) -> [k]``, and a scale of the step.

    ``projection: (leaf, that of the parents' mean, generation) -> leaf`` puts the new parent back where it may be.
    """

    size: int
    weights: Callable[[jax.Array], jax.Array]
    scale: Any
    projection: Projection | None = None


def equal(fitness: jax.Array) -> jax.Array:
    """Every child counts the same."""
    return jnp.full(fitness.shape, 1 / fitness.size, fitness.dtype)


def by_fitness(fitness: jax.Array) -> jax.Array:
    """In proportion to the fitness above the worst of them; equal where all are the same."""
    finite = jnp.where(jnp.isfinite(fitness), fitness, jnp.max(fitness, where=jnp.isfinite(fitness), initial=0))
    above = finite - finite.min()  # infinitely good counts as the best finite one
    total = above.sum()
    return jnp.where(total > 0, above / jnp.where(total > 0, total, 1), equal(fitness))


def by_rank(fitness: jax.Array) -> jax.Array:
    """``log(k + 1/2) - log(rank)``, normalised: the weights of CMA-ES (Hansen 2016)."""
    ranks = jnp.arange(1, fitness.size + 1, dtype=fitness.dtype)
    weights = jnp.log(jnp.asarray(fitness.size + 0.5, fitness.dtype)) - jnp.log(ranks)
    return weights / weights.sum()


def by_centred_rank(fitness: jax.Array) -> jax.Array:
    """From +1/2 for the best to -1/2 for the worst, over k: away from the worse half (Salimans et al. 2017)."""
    return jnp.linspace(0.5, -0.5, fitness.size, dtype=fitness.dtype) / fitness.size


def average(
    children: int,
    weights: Callable[[jax.Array], jax.Array] = equal,
    scale: Any = 1.0,
    projection: Projection | None = None,
) -> Recombination:
    """The next parent is a weighted mean of ``children`` children: (mu/mu_w, lambda) recombination (Beyer 2001).

    The mean of their steps is multiplied by ``scale``: averaging k independent steps shortens them by sqrt(k), which
    ``scale=k ** 0.5`` makes good. For `low_rank` children no child is ever built. ``projection`` is that of the new
    parent, such as `keep_norm` or ``decay(1e-3)``: a random walk in weights that do not matter makes networks wild.
    """
    require_whole(1, children=children)
    return Recombination(children, weights, scale, projection)
