"""Where weights may go: norms that are kept, spheres, tori, decay. Each is a function of one leaf.

``projected`` applies one to every child, ``average(..., projection=...)`` to every parent that is a mean of children.
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
    """Every leaf of a child is put back where it may be: `keep_norm`, `sphere`, `torus`, `decay`, or any function.

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
    """The projection of every leaf, low-rank ones made dense."""
    free, before = dense(params), dense(before)
    found = jax.tree.map(lambda leaf, old: projection(leaf, old, generation), free, before)
    return check_like(found, free, f"projection {name_of(projection)}")


def keep_norm(child: jax.Array, parent: jax.Array, generation: Any = None) -> jax.Array:
    """As long as it was. A leaf of zeros, such as a bias at first, is left free."""
    del generation
    long, own = _norm(parent), _norm(child)
    return jnp.where((long > 0) & (own > 0), child * (long / jnp.where(own > 0, own, 1)), child)


def sphere(radius: Any = 1.0, axis: int | None = None) -> Projection:
    """Of Euclidean length ``radius``: the whole leaf, or every vector along ``axis``.

    A leaf without that axis, as a single number, stays as it is.
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
    """Between ``-width`` and ``width``; who leaves on one side comes back on the other."""
    require_at_least(0, width=width)
    return lambda child, parent, generation=None: jnp.mod(child + width, 2 * width) - width


def decay(rate: float | Callable[[Any], Any]) -> Projection:
    """Shorter by ``rate``, a number or an optax schedule of generations: weight decay.

    The rate should fall with the step sizes, as that of AdamW falls with its learning rate (Loshchilov and Hutter
    2019): small steps cannot make good for a decay that goes on.

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
    """Each weight goes a part ``rate`` of the way to ``magnitude`` with its own sign, where `decay` goes to 0.

    Weights that nothing needs stay large enough to be of use later. A weight of 0 has no sign, and stays. What a
    magnitude of 1 means is for the network to say: it should divide a layer by the square root of its inputs.

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
    """Two weights of every leaf, drawn at random, turn by an angle of N(0, size) radians: a Givens rotation.

    Norms stay as they are; what has fewer than two weights does not move. An angle is one number a leaf.
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
