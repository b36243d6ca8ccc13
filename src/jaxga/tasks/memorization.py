"""Memorize random points with random labels: nothing to generalise, so nothing but the search is measured.

P points, C classes. A loss here is a fitness, ``(key, logits [P, C], labels [P]) -> []``, higher is better; those that
count, count points of P.
"""

from collections.abc import Callable, Sequence
from typing import cast

import jax
import jax.numpy as jnp
import optax
from flax import linen

from jaxga.base import Evaluation, Key, Params, Task, common, independent, require, require_at_least
from jaxga.tree import path_key

Loss = Callable[[Key, jax.Array, jax.Array], jax.Array]


def cross_entropy(key: Key, logits: jax.Array, labels: jax.Array) -> jax.Array:
    """Minus the mean cross-entropy of a point, in nats.

    >>> round(cross_entropy(jax.random.key(0), jnp.zeros((4, 10)), jnp.arange(4)).item(), 4)
    -2.3026
    """
    del key
    return -jnp.mean(optax.softmax_cross_entropy_with_integer_labels(logits, labels))


def errors(key: Key, logits: jax.Array, labels: jax.Array) -> jax.Array:
    """Minus the number of points whose most likely class is wrong, 0 at best."""
    del key
    return -jnp.sum(logits.argmax(axis=-1) != labels).astype(jnp.float32)


def till_death(key: Key, logits: jax.Array, labels: jax.Array) -> jax.Array:
    """The number of points that are right before the first error, in their fixed order. Everything right is P.

    >>> logits = jnp.eye(3)
    >>> [till_death(None, logits, jnp.array(labels)).item() for labels in ([0, 1, 2], [0, 2, 2], [1, 1, 2])]
    [3.0, 1.0, 0.0]
    """
    del key
    right = logits.argmax(axis=-1) == labels
    return jnp.sum(jnp.cumprod(right)).astype(jnp.float32)


def till_death_shuffled(key: Key, logits: jax.Array, labels: jax.Array) -> jax.Array:
    """`till_death` with the points in a new order every generation, the same for all children."""
    right = logits.argmax(axis=-1) == labels
    return jnp.sum(jnp.cumprod(jax.random.permutation(key, right))).astype(jnp.float32)


def sampled(key: Key, logits: jax.Array, labels: jax.Array) -> jax.Array:
    """The number of points whose class, drawn from the softmax, is right: accuracy with a slope to climb."""
    return jnp.sum(jax.random.categorical(key, logits) == labels).astype(jnp.float32)


def noise(points: int, shape: Sequence[int], classes: int, seed: int = 0) -> tuple[jax.Array, jax.Array]:
    """The data of `memorization`: Gaussian points ``[P, *shape]`` and uniform labels ``[P]``."""
    key_inputs, key_labels = jax.random.split(path_key(jax.random.key(seed), ("memorization",)))
    return jax.random.normal(key_inputs, (points, *shape)), jax.random.randint(key_labels, (points,), 0, classes)


def memorization(
    network: linen.Module,
    *,
    points: int = 64,
    shape: Sequence[int] = (64, 64, 3),
    classes: int = 10,
    loss: Loss = cross_entropy,
    seed: int = 0,
) -> Task:
    """Memorize ``points`` points of Gaussian noise of ``shape``, with labels drawn uniformly from ``classes``.

    Args:
      network: a flax module from ``[P, *shape]`` to logits ``[P, classes]``.
      points: P.
      shape: of one point.
      classes: C.
      loss: `cross_entropy`, `errors`, `till_death`, `till_death_shuffled`, `sampled`, or any
        ``(key, logits, labels) -> fitness``. With `sampled` every child draws for itself.
      seed: of the data, apart from the seed of a run.

    Logged for the best child: ``points`` (right by argmax, of P) and ``cross_entropy`` (mean, nats).

    >>> from jaxga.nn import MLP
    >>> task = memorization(MLP((10,)), points=4, shape=(8,))
    >>> params = task.init(jax.random.key(0))
    >>> task.evaluate(jax.random.key(1), params).fitness.shape
    ()
    """
    require_at_least(1, points=points)
    require_at_least(2, classes=classes)
    require(all(side >= 1 for side in shape), f"shape is {tuple(shape)}, and every side must be 1 or more.")
    inputs, labels = noise(points, shape, classes, seed)

    def init(key: Key) -> Params:
        return network.init(key, inputs[:1])

    def forward(params: Params) -> jax.Array:
        return cast(jax.Array, network.apply(params, inputs))

    def evaluate(key: Key, params: Params) -> Evaluation:
        logits = forward(params)
        metrics = {
            "points": jnp.sum(logits.argmax(axis=-1) == labels).astype(jnp.int32),
            "cross_entropy": -cross_entropy(key, logits, labels),
        }
        # argmax takes NaN for an opinion: a network that overflowed has no fitness.
        return Evaluation(jnp.where(jnp.isnan(logits).any(), jnp.nan, loss(key, logits, labels)), metrics=metrics)

    def differentiable(key: Key, params: Params) -> jax.Array:
        return -cross_entropy(key, forward(params), labels)

    return Task(init, evaluate, independent if loss is sampled else common, differentiable)
