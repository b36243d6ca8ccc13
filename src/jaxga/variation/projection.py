"""Projections, which limit where weights can go: fixed norms, spheres, tori, weight decay. Each maps one leaf.

``projected`` applies a projection to every child, ``average(..., projection=...)`` to every mean of children.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jaxga.base import Context, Individual, Key, Params, Variation, require, require_at_least
from jaxga.lowrank import dense
from jaxga.tree import check_like, key_tree, name_of
from jaxga.variation.checks import checked, require_function
from jaxga.variation.mutation import moved_by
from jaxga.variation.step_size import StepSize, require_step_size

Projection = Callable[[jax.Array, jax.Array, jax.Array], jax.Array]  # (leaf, that of its parent, generation) -> leaf


def projected(variation: Variation, projection: Projection) -> Variation:
    """Apply a projection to every leaf of a child, after the variation.

    Args:
      variation: makes the child.
      projection: ``(leaf, the parent's leaf, generation) -> leaf``: `keep_norm`, or what `sphere`, `torus`, `decay`
        and `towards_magnitude` return, or any such function.

    Raises:
      InputError: if ``projection`` is not a function.

    >>> from jaxga.variation import absolute, gaussian
    >>> mutation = projected(gaussian(absolute(0.1)), sphere())
    >>> parent = Individual(jnp.array([1.0, 0.0]), mutation.init(jnp.zeros(2)))
    >>> child = mutation.apply(jax.random.key(0), parent, Context(jnp.int32(0), parent))
    >>> round(float(jnp.linalg.norm(child.params)), 5)
    1.0
    """
    variation = checked(variation, "projected")
    require_function(
        "projection", projection, "(leaf, that of its parent, generation): keep_norm, sphere(), decay(0.01)"
    )

    def apply(key: Key, parent: Individual, context: Context) -> Individual:
        child = variation.apply(key, parent, context)
        return child._replace(params=project(projection, child.params, parent.params, context.generation))

    return Variation(variation.init, apply, in_parts=True)


def project(projection: Projection, params: Params, before: Params, generation: jax.Array) -> Params:
    """Apply a projection to every leaf. Low-rank leaves become dense.

    Args:
      projection: ``(leaf, leaf before, generation) -> leaf``.
      params: of the child.
      before: params of its parent.
      generation: int32 ``[]``.
    """
    free, before = dense(params), dense(before)
    found = jax.tree.map(lambda leaf, old: projection(leaf, old, generation), free, before)
    return check_like(found, free, f"projection {name_of(projection)}")


def keep_norm(child: jax.Array, parent: jax.Array, generation: Any = None) -> jax.Array:
    """A projection: the child's leaf is rescaled to the Euclidean norm of its parent's leaf.

    If one of these norms is 0, as for an initial bias, the leaf stays as it is.

    Args:
      child: the child's leaf.
      parent: the parent's leaf, of the same shape.
      generation: not used. It is there for projections that change with time, such as `decay`.

    >>> keep_norm(jnp.array([3.0, 4.0]), jnp.array([10.0, 0.0])).tolist()
    [6.0, 8.0]
    """
    del generation
    long, own = _norm(parent), _norm(child)
    return jnp.where((long > 0) & (own > 0), child * (long / jnp.where(own > 0, own, 1)), child)


def sphere(radius: Any = 1.0, axis: int | None = None) -> Projection:
    """A projection to Euclidean norm ``radius``: of the whole leaf, or of every vector along ``axis``.

    A leaf that has no such axis, for instance a scalar, stays as it is.

    Args:
      radius: the norm, in units of the weights, by default 1.
      axis: the axis of the vectors. By default None: the leaf is one vector.

    Raises:
      InputError: if ``radius`` is below 0.
    """
    require_at_least(0, radius=radius)

    def onto(child: jax.Array, parent: jax.Array, generation: Any = None) -> jax.Array:
        del parent, generation
        if axis is not None and not -child.ndim <= axis < child.ndim:
            return child
        norm = _norm(child, axis)
        return child * (jnp.asarray(radius, child.dtype) / jnp.where(norm > 0, norm, 1))

    return onto


def torus(width: Any = 1.0) -> Projection:
    """A projection to the interval from ``-width`` to ``width``: a weight that leaves at one end enters at the other.

    Raises:
      InputError: if ``width`` is below 0.
    """
    require_at_least(0, width=width)
    return lambda child, parent, generation=None: jnp.mod(child + width, 2 * width) - width


def decay(rate: float | Callable[[Any], Any]) -> Projection:
    """A projection: weight decay, which multiplies each weight by ``1 - rate``.

    The rate should fall together with the step sizes, as it falls with the learning rate in AdamW (Loshchilov and
    Hutter 2019). Otherwise steps become too small to compensate for the decay.

    Args:
      rate: the share that is lost in each generation: a number, or an optax schedule ``(generation) -> rate``.

    Raises:
      InputError: if ``rate`` is below 0.

    >>> shrink = decay(lambda generation: 0.1 / (1 + generation))
    >>> shrink(jnp.ones(2), jnp.ones(2), jnp.int32(1)).tolist()
    [0.949999988079071, 0.949999988079071]
    """
    if not callable(rate):
        require_at_least(0, rate=rate)

    def shrink(child: jax.Array, parent: jax.Array, generation: Any = 0) -> jax.Array:
        del parent
        now = rate(jnp.asarray(generation, jnp.float32)) if callable(rate) else rate
        return child * (1 - jnp.asarray(now, child.dtype))

    return shrink


def towards_magnitude(rate: Any, magnitude: Any = 1.0) -> Projection:
    """A projection: each weight moves towards ``+magnitude`` or ``-magnitude``, by its own sign; `decay` moves it to 0.

    Weights that have no effect then stay large enough to become useful later. A weight of 0 has no sign, and stays 0.
    With a magnitude of 1, the network should divide each layer's output by the square root of its number of inputs.

    Args:
      rate: the share of the distance that a weight moves in each generation.
      magnitude: in units of the weights, by default 1.

    Raises:
      InputError: if ``rate`` or ``magnitude`` is below 0.

    >>> towards_magnitude(0.5)(jnp.array([3.0, -0.5, 0.0]), jnp.zeros(3)).tolist()
    [2.0, -0.75, 0.0]
    """
    require_at_least(0, rate=rate, magnitude=magnitude)

    def pull(child: jax.Array, parent: jax.Array, generation: Any = None) -> jax.Array:
        del parent, generation
        aim = jnp.sign(child) * jnp.asarray(magnitude, child.dtype)
        return child + jnp.asarray(rate, child.dtype) * (aim - child)

    return pull


def rotation(angle: StepSize) -> Variation:
    """Rotate two random weights of every leaf by a random angle: a Givens rotation, which keeps the leaf's norm.

    A leaf with fewer than two weights does not change.

    Args:
      angle: the standard deviation of the angle in radians, one number for each leaf.

    Raises:
      InputError: if ``angle`` is not a `StepSize`; later, if it has one number for each weight.
    """
    require_step_size(angle, "rotation")

    def move(key: Key, params: Params, sizes: Any) -> Params:
        params = dense(params)
        return jax.tree.map(_turn, key_tree(key, params), params, sizes)

    return moved_by(angle, move)


def _turn(key: Key, leaf: jax.Array, size: jax.Array) -> jax.Array:
    if leaf.size < 2:
        return leaf
    require(
        size.ndim == 0,
        "rotation takes one angle a leaf, not one a weight: use per=per.leaf.",
    )
    key_first, key_second, key_angle = jax.random.split(key, 3)
    first = jax.random.randint(key_first, (), 0, leaf.size, jnp.int32)
    second = (first + jax.random.randint(key_second, (), 1, leaf.size, jnp.int32)) % leaf.size
    angle = size * jax.random.normal(key_angle, (), leaf.dtype)
    flat = leaf.reshape(-1)
    one, other = flat[first], flat[second]
    flat = flat.at[first].set(one * jnp.cos(angle) - other * jnp.sin(angle))
    return flat.at[second].set(one * jnp.sin(angle) + other * jnp.cos(angle)).reshape(leaf.shape)


def _norm(leaf: jax.Array, axis: int | None = None) -> jax.Array:
    return jnp.sqrt(jnp.sum(leaf * leaf, axis=axis, keepdims=True))
