"""The loss on the straight line between two networks."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxga.alignment.chain import require_alike
from jaxga.base import Params, require_whole
from jaxga.variation.checks import require_function


class Line(NamedTuple):
    """Losses on the straight line from one network to another."""

    at: jax.Array  # [points] from 0 to 1: the share of the second network
    losses: jax.Array  # [points]
    barrier: jax.Array  # [] the largest loss minus the mean of the losses at both ends


def interpolate(loss: Callable[[Params], Any], a: Params, b: Params, points: int = 25) -> Line:
    """The losses of networks on the straight line from ``a`` to ``b``, and the barrier between them.

    The barrier is the largest loss minus the mean of the losses at both ends (Ainsworth et al. 2022). It is 0 if both
    ends have the same loss and no network between them has a larger one.

    Args:
      loss: ``(params) -> []``.
      a: params of the first network.
      b: params of the second network, with the same shapes.
      points: number of networks, evenly spaced, 2 or more, by default 25. Both ends are among them.

    Returns:
      A `Line`.

    Raises:
      InputError: if ``loss`` is not a function, ``points`` is below 2, or the leaves of the networks differ in name or
        shape.

    >>> line = interpolate(lambda x: 1 - x**2, jnp.array(-1.0), jnp.array(1.0), points=5)
    >>> line.losses.tolist(), float(line.barrier)
    ([0.0, 0.75, 1.0, 0.75, 0.0], 1.0)
    """
    require_function("loss", loss, "params, which returns a number")
    require_whole(2, points=points)
    require_alike("a", a, "b", b)

    def lost(share: jax.Array) -> jax.Array:
        def between(one: Any, other: Any) -> jax.Array:
            one, other = jnp.asarray(one), jnp.asarray(other)
            return (1 - share).astype(one.dtype) * one + share.astype(one.dtype) * other

        return jnp.asarray(loss(jax.tree.map(between, a, b)), jnp.float32)

    at = jnp.linspace(0, 1, points, dtype=jnp.float32)
    losses = jax.lax.map(lost, at)
    return Line(at, losses, jnp.max(losses) - (losses[0] + losses[-1]) / 2)
