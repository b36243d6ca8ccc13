"""Losses of classifiers, written as fitness: higher is better.

A `Loss` gives every example its own value, so that a batch of any size can be scored in blocks. P examples, C classes.

>>> round(cross_entropy(jax.random.key(0), jnp.zeros((4, 10)), jnp.arange(4)).item(), 4)
-2.3026
>>> logits = jnp.eye(3)
>>> [till_death(None, logits, jnp.array(labels)).item() for labels in ([0, 1, 2], [0, 2, 2], [1, 1, 2])]
[3.0, 1.0, 0.0]
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxga.base import Key
from jaxga.tree import iota


class Loss(NamedTuple):
    """``each: (key, logits [P, C], labels [P]) -> [P]``, and how the values of examples are put together.

    Calling it gives the fitness of a batch, ``[]``. A loss that asks only who is right says how it counts them,
    ``of_right: (key, right [P]) -> [P]``: a network that knows its answers without logits is spared them.
    """

    each: Callable[[Key, jax.Array, jax.Array], jax.Array]
    together: Callable[[jax.Array], jax.Array]  # jnp.mean, or jnp.sum of what is counted
    of_right: Callable[[Key, jax.Array], jax.Array] | None = None

    def __call__(self, key: Key, logits: jax.Array, labels: jax.Array) -> jax.Array:
        """Fitness of a batch, ``[]``."""
        return self.together(self.each(key, logits, labels))


def right(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """``logits.argmax(axis=-1) == labels``, bool ``[P]``; but NaN is no opinion, and never right.

    By comparisons, which on a CPU are five times faster for a population than the search for the largest.
    """
    columns, classes = _in_columns(logits)
    labels = labels.astype(jnp.int32)
    picked = _picked(columns, classes, labels)
    return jnp.where(classes < labels, columns < picked, columns <= picked).all(axis=0)


def _in_columns(logits: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Logits as ``[C, P]``, as the networks of `jaxga.nn` make them: what is done to each example is then one pass."""
    return logits.T, iota(logits.shape[-1])[:, None]


def _picked(columns: jax.Array, classes: jax.Array, labels: jax.Array) -> jax.Array:
    """``logits[p, labels[p]]``, by a sum: a population's gather is slow."""
    return jnp.sum(jnp.where(classes == labels, columns, 0), axis=0)


def _log_likelihood(key: Key, logits: jax.Array, labels: jax.Array) -> jax.Array:
    del key
    columns, classes = _in_columns(logits)
    return _picked(columns, classes, labels.astype(jnp.int32)) - jax.nn.logsumexp(columns, axis=0)


def _counting(of_right: Callable[[Key, jax.Array], jax.Array]) -> Loss:
    return Loss(lambda key, logits, labels: of_right(key, right(logits, labels)), jnp.sum, of_right)


def _wrong(key: Key, right: jax.Array) -> jax.Array:
    del key
    return right.astype(jnp.float32) - 1


def _before_error(key: Key, right: jax.Array) -> jax.Array:
    del key
    place = iota(right.size)
    first = jnp.min(place, where=~right, initial=right.size)  # not a cumulative product, which a CPU is slow in
    return (place < first).astype(jnp.float32)


def _before_error_shuffled(key: Key, right: jax.Array) -> jax.Array:
    return _before_error(key, jax.random.permutation(key, right))


def _drawn_right(key: Key, logits: jax.Array, labels: jax.Array) -> jax.Array:
    # The largest of logits plus Gumbel noise is a draw from the softmax.
    return right(logits + jax.random.gumbel(key, logits.shape, logits.dtype), labels).astype(jnp.float32)


cross_entropy = Loss(_log_likelihood, jnp.mean)
"""Minus the mean cross-entropy of an example, in nats."""

errors = _counting(_wrong)
"""Minus the number of examples whose most likely class is wrong, 0 at best."""

till_death = _counting(_before_error)
"""The number of examples that are right before the first error, in their fixed order. Everything right is P."""

till_death_shuffled = _counting(_before_error_shuffled)
"""`till_death` with the examples in a new order every generation, the same for all children."""

sampled = Loss(_drawn_right, jnp.sum)
"""The number of examples whose class, drawn from the softmax, is right: accuracy with a slope to climb."""
