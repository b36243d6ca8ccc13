"""Sexual crossover of a parent with a mate, and averaging of many children into one parent."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxga.base import Context, Individual, Key, Variation, require, require_at_least, require_whole
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


def line(scale: Any) -> Variation:
    """A step along the line to the mate, ``scale * N(0, 1)`` of the way (Vassiliades and Mouret 2018).

    With a mutation of 0.01 to 0.5 it is "iso + line": ``chain(line(0.2), gaussian(absolute(0.5)))``. Steps are long
    where parents are far apart, and point to where others are good.

    >>> one, other = Individual(jnp.zeros(2)), Individual(jnp.array([1.0, 2.0]))
    >>> child = line(0.5).apply(jax.random.key(0), one, Context(0, other))
    >>> bool(child.params[1] == 2 * child.params[0])
    True
    """
    require_at_least(0, scale=scale)

    def apply(key: Key, parent: Individual, context: Context) -> Individual:
        part = jnp.asarray(scale, jnp.float32) * jax.random.normal(key, (), jnp.float32)
        return parent._replace(params=jax.tree.map(
            lambda mine, theirs: mine + part.astype(mine.dtype) * (theirs - mine),
            dense(parent.params), dense(context.mate.params),
        ))  # fmt: skip

    return Variation(lambda params: (), apply, in_parts=True)


def slerp(*, split: bool = True) -> Variation:
    """A point on the arc between a parent and its mate, one for each side of a split (M2N2, Abrantes et al. 2025).

    All weights are one vector, in the order of ``jax.tree.leaves``. The weight of the mate is drawn uniformly, w; with
    ``split`` it is w before a place that is drawn uniformly, and 1 - w from there on. The angle is that of the whole
    vectors. Where it is 0 or 180 degrees (its sine is at most 1e-6), weights lie on the straight line instead.

    >>> one, other = Individual(jnp.array([1.0, 0.0])), Individual(jnp.array([0.0, 1.0]))
    >>> child = slerp(split=False).apply(jax.random.key(0), one, Context(0, other))
    >>> round(float(jnp.linalg.norm(child.params)), 5)
    1.0
    """

    def apply(key: Key, parent: Individual, context: Context) -> Individual:
        own, mate = dense(parent.params), dense(context.mate.params)
        key_weight, key_split = jax.random.split(key)
        weight = jax.random.uniform(key_weight, (), jnp.float32)
        sizes = [leaf.size for leaf in jax.tree.leaves(own)]
        place = jax.random.randint(key_split, (), 0, max(sum(sizes), 1), jnp.int32) if split else sum(sizes)
        inner = _product(own, mate) / jnp.sqrt(_product(own, own) * _product(mate, mate))
        angle = jnp.arccos(jnp.clip(inner, -1, 1))
        sine = jnp.sin(angle)
        straight = ~(sine > 1e-6)  # of a vector of zeros, too

        def part(share: jax.Array) -> jax.Array:
            return jnp.where(straight, share, jnp.sin(share * angle) / jnp.where(straight, 1, sine))

        def between(start: int, mine: jax.Array, theirs: jax.Array) -> jax.Array:
            number = start + jnp.arange(mine.size, dtype=jnp.int32).reshape(mine.shape)
            share = jnp.where(number < place, weight, 1 - weight)
            return part(1 - share).astype(mine.dtype) * mine + part(share).astype(mine.dtype) * theirs

        starts = [sum(sizes[:number]) for number in range(len(sizes))]
        leaves = map(between, starts, jax.tree.leaves(own), jax.tree.leaves(mate))
        return parent._replace(params=jax.tree.unflatten(jax.tree.structure(own), list(leaves)))

    return Variation(lambda params: (), apply, in_parts=True)


def _product(one: Any, other: Any) -> jax.Array:
    """The inner product of two trees, in 32 bits."""
    products = jax.tree.map(lambda a, b: jnp.sum(a.astype(jnp.float32) * b.astype(jnp.float32)), one, other)
    return jnp.sum(jnp.stack(jax.tree.leaves(products)))


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
