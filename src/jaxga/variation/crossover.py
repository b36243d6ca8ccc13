"""Crossover of a parent with a mate, and recombination: averaging of many children into one parent."""

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
"""Decides which weights of a leaf a child takes from the mate.

Args:
  key: the key of the whole individual, the same for all leaves.
  path: path of the leaf, a tuple of names.
  shape: shape of the leaf.
  probability: the probability that a gene is the mate's.

Returns:
  A bool mask that broadcasts to ``shape``, True where weights are the mate's.
"""


def by_weight(key: Key, path: Path, shape: tuple[int, ...], probability: Any) -> jax.Array:
    """A `Cut`: each weight is taken from the parent or from the mate."""
    return _bernoulli(path_key(key, path), probability, shape)


def by_leaf(key: Key, path: Path, shape: tuple[int, ...], probability: Any) -> jax.Array:
    """A `Cut`: each array is taken as a whole from the parent or from the mate."""
    del shape
    return _bernoulli(path_key(key, path), probability, ())


def by_layer(key: Key, path: Path, shape: tuple[int, ...], probability: Any) -> jax.Array:
    """A `Cut`: each layer, kernel and bias together, is taken from the parent or from the mate."""
    del shape
    return _bernoulli(path_key(key, path[:-1]), probability, ())


def by_neuron(key: Key, path: Path, shape: tuple[int, ...], probability: Any) -> jax.Array:
    """A `Cut`: each neuron or filter is taken from the parent or from the mate.

    A neuron consists of all weights into one output, and its bias.
    """
    return _bernoulli(path_key(key, path[:-1]), probability, shape[-1:])


def _bernoulli(key: Key, probability: Any, shape: tuple[int, ...]) -> jax.Array:
    return jax.random.bernoulli(key, jnp.asarray(probability, jnp.float32), shape)


def uniform_crossover(by: Cut = by_weight, probability: Any = 0.5) -> Variation:
    """Uniform crossover: each gene is the mate's with ``probability``, and the parent's otherwise.

    The child inherits the parent's strategy. A mutation usually follows:
    ``chain(uniform_crossover(by_neuron), gaussian(...))``.

    Args:
      by: what a gene is, a `Cut`: `by_weight` (the default), `by_leaf`, `by_layer`, `by_neuron`, or a function ``(key,
        path, shape, probability) -> mask`` whose bool mask is True where the leaf's weights are the mate's.
      probability: between 0 and 1, by default 0.5.

    Raises:
      InputError: if ``by`` is not a function, or ``probability`` is not between 0 and 1; later, if ``by`` returns
        anything but a bool mask that broadcasts to the shape of the leaf.

    >>> one, other = Individual({"w": jnp.zeros(100)}), Individual({"w": jnp.ones(100)})
    >>> child = uniform_crossover(by_leaf).apply(jax.random.key(0), one, Context(0, other))
    >>> len(set(child.params["w"].tolist()))  # the leaf is taken as a whole
    1
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
    """A step along the line from the parent to its mate (Vassiliades and Mouret 2018).

    The child is ``parent + scale * N(0, 1) * (mate - parent)``, with one random number for all weights. Steps are long
    if parents are far apart. Together with a mutation it is the "iso + line" variation:
    ``chain(line(0.2), gaussian(absolute(0.5)))``. Useful step sizes of that mutation are 0.01 to 0.5.

    Raises:
      InputError: if ``scale`` is below 0.

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
    """Spherical interpolation between a parent and its mate (M2N2, Abrantes et al. 2025).

    All weights are treated as one vector, in the order of ``jax.tree.leaves``. The share w of the mate is drawn
    uniformly between 0 and 1. The child lies on the arc from the parent to the mate. The angle is that between the
    whole vectors; if it is 0 or 180 degrees (its sine is at most 1e-6), the interpolation is linear instead.

    Args:
      split: draw a position in the vector uniformly, and use the share w before it and 1 - w from there on (the
        default). Without it, the share is w everywhere.

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

        of_mate, rest = part(weight), part(1 - weight)

        def between(start: int, mine: jax.Array, theirs: jax.Array) -> jax.Array:
            before = start + jnp.arange(mine.size, dtype=jnp.int32).reshape(mine.shape) < place
            of_mine, of_theirs = jnp.where(before, rest, of_mate), jnp.where(before, of_mate, rest)
            return of_mine.astype(mine.dtype) * mine + of_theirs.astype(mine.dtype) * theirs

        starts = [sum(sizes[:number]) for number in range(len(sizes))]
        leaves = map(between, starts, jax.tree.leaves(own), jax.tree.leaves(mate))
        return parent._replace(params=jax.tree.unflatten(jax.tree.structure(own), list(leaves)))

    return Variation(lambda params: (), apply, in_parts=True)


def _product(one: Any, other: Any) -> jax.Array:
    """The inner product of two trees, in 32 bits."""
    products = jax.tree.map(lambda a, b: jnp.sum(a.astype(jnp.float32) * b.astype(jnp.float32)), one, other)
    return jnp.sum(jnp.stack(jax.tree.leaves(products)))


class Recombination(NamedTuple):
    """How several children are averaged into one parent, made by `average`."""

    size: int  # k, the number of children that make one parent
    weights: Callable[[jax.Array], jax.Array]  # (fitness [k], best first) -> weights [k]
    scale: Any  # the mean step is multiplied by it
    projection: Projection | None = None  # (leaf, the parents' mean leaf, generation) -> leaf, for the new parent


def equal(fitness: jax.Array) -> jax.Array:
    """Equal weights for all children."""
    return jnp.full(fitness.shape, 1 / fitness.size, fitness.dtype)


def by_fitness(fitness: jax.Array) -> jax.Array:
    """Weights in proportion to the fitness above the worst child's; equal weights if all fitness values are equal."""
    finite = jnp.where(jnp.isfinite(fitness), fitness, jnp.max(fitness, where=jnp.isfinite(fitness), initial=0))
    above = finite - finite.min()  # an infinite fitness counts as the best finite one
    total = above.sum()
    return jnp.where(total > 0, above / jnp.where(total > 0, total, 1), equal(fitness))


def by_rank(fitness: jax.Array) -> jax.Array:
    """Weights ``log(k + 1/2) - log(rank)``, normalised to sum 1, as in CMA-ES (Hansen 2016)."""
    ranks = jnp.arange(1, fitness.size + 1, dtype=fitness.dtype)
    weights = jnp.log(jnp.asarray(fitness.size + 0.5, fitness.dtype)) - jnp.log(ranks)
    return weights / weights.sum()


def by_centred_rank(fitness: jax.Array) -> jax.Array:
    """Weights that fall linearly from 1 / 2k for the best child to -1 / 2k for the worst (Salimans et al. 2017).

    The negative weights move the parent away from the worse half of the children.
    """
    return jnp.linspace(0.5, -0.5, fitness.size, dtype=fitness.dtype) / fitness.size


def average(
    children: int,
    weights: Callable[[jax.Array], jax.Array] = equal,
    scale: Any = 1.0,
    projection: Projection | None = None,
) -> Recombination:
    """Each next parent is a weighted mean of several children: (mu/mu_w, lambda) recombination (Beyer 2001).

    For ``ga(recombination=...)``. The mean of k independent steps is shorter than one step by a factor of sqrt(k).
    ``scale=k ** 0.5`` compensates for this. `low_rank` children are averaged without building their matrices.

    Args:
      children: k, the number of children that make one parent.
      weights: ``(fitness [k], best first) -> weights [k]``: `equal` (the default), `by_fitness`, `by_rank` or
        `by_centred_rank`.
      scale: factor for the mean step, by default 1.
      projection: applied to each new parent, such as `keep_norm` or ``decay(1e-3)``. By default weights that have no
        effect on fitness drift at random, and can grow large.

    Raises:
      InputError: if ``children`` is below 1.
    """
    require_whole(1, children=children)
    return Recombination(children, weights, scale, projection)
