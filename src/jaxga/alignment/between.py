"""What lies between two networks."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxga.alignment.chain import require_alike
from jaxga.base import Params, require_whole
from jaxga.variation.checks import require_function


class Line(NamedTuple):
    """Losses on the straight line from one network to another."""

    at: jax.Array  # [points] from 0 to 1, the share of the second network
    losses: jax.Array  # [points]
    barrier: jax.Array  # []: the largest of them, less the mean of both ends


def interpolate(loss: Callable[[Params], Any], a: Params, b: Params, points: int = 25) -> Line:
    """The losses of ``points`` networks from ``a`` to ``b``, evenly spaced, and the barrier between them.

    ``loss: (params) -> []``. The barrier is the largest loss less the mean of the two ends, as Ainsworth et al. (2022)
    plot it: 0 where the loss is nowhere above its ends, and these are equal.

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
