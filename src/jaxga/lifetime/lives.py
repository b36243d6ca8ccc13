"""Lives: tasks that a key draws, each with something that an individual can only learn while it lives."""

from collections.abc import Callable
from typing import Any, cast

import jax
import jax.numpy as jnp
from flax import linen

from jaxga.base import Evaluation, Key, Params, Task, require, require_whole
from jaxga.data import Images
from jaxga.lifetime.learning import Lives
from jaxga.lifetime.policy_gradient import policy_gradient
from jaxga.tasks.hidden import point
from jaxga.tasks.losses import cross_entropy, right

Examples = Callable[[Key, int], tuple[jax.Array, jax.Array]]  # (key, n) -> inputs [n, ...], answers [n, ...]


def sine_curves(life: Key) -> Examples:
    """``A sin(x - phase)``: A from 0.1 to 5 and the phase from 0 to pi, both drawn for a life; x from -5 to 5.

    >>> x, y = sine_curves(jax.random.key(0))(jax.random.key(1), 10)
    >>> x.shape, y.shape
    ((10, 1), (10, 1))
    """
    key_size, key_phase = jax.random.split(life)
    size = jax.random.uniform(key_size, (), jnp.float32, 0.1, 5.0)
    phase = jax.random.uniform(key_phase, (), jnp.float32, 0.0, jnp.pi)

    def draw(key: Key, count: int) -> tuple[jax.Array, jax.Array]:
        x = jax.random.uniform(key, (count, 1), jnp.float32, -5.0, 5.0)
        return x, size * jnp.sin(x - phase)

    return draw


def sinusoids(network: linen.Module, *, shots: int = 10, tested: int = 100) -> Lives:
    """Few-shot regression (Finn et al. 2017): a life is a sine curve, of which ``shots`` points are shown.

    The loss is the mean square error on these, and the fitness minus that on ``tested`` others. See `sine_curves`.

    >>> from jaxga import nn
    >>> task = sinusoids(nn.MLP((40, 40, 1)))(jax.random.key(0))
    >>> params = task.init(jax.random.key(1))
    >>> bool(task.score(jax.random.key(2), params).fitness < 0)
    True
    """
    require_whole(1, shots=shots, tested=tested)

    def life(key: Key) -> Task:
        draw = sine_curves(key)

        def error(params: Params, x: jax.Array, y: jax.Array) -> jax.Array:
            return jnp.mean((cast(jax.Array, network.apply(params, x)) - y) ** 2)

        return Task(
            lambda key: network.init(key, jnp.zeros((1, 1), jnp.float32)),
            lambda key, params: Evaluation(-error(params, *draw(key, tested))),
            loss=lambda key, params: error(params, *draw(key, shots)),
        )

    return life


def relabelled(images: Images) -> Callable[[Key], Examples]:
    """Training images whose labels change places: which digit has which label, every life draws anew."""
    pixels = jnp.asarray(images.train_images)
    labels = jnp.asarray(images.train_labels, jnp.int32)
    classes = int(images.train_labels.max()) + 1

    def life(key: Key) -> Examples:
        order = jax.random.permutation(key, classes)

        def draw(key: Key, count: int) -> tuple[jax.Array, jax.Array]:
            chosen = jax.random.randint(key, (count,), 0, len(labels), jnp.int32)
            return pixels[chosen], order[labels[chosen]].astype(jnp.int32)

        return draw

    return life


def permuted_labels(network: linen.Module, images: Images, *, shots: int = 64, tested: int = 128) -> Lives:
    """Images whose labels change places from life to life: nothing that is inherited knows a label, see `relabelled`.

    The loss is the cross-entropy on ``shots`` images, and the fitness the part of ``tested`` others that is right.
    """
    require_whole(1, shots=shots, tested=tested)
    require(len(images.train_labels) > 0, "images has no training images: pass data.digits() or data.mnist().")
    draw_life = relabelled(images)

    def life(key: Key) -> Task:
        draw = draw_life(key)

        def logits(params: Params, pixels: jax.Array) -> jax.Array:
            return cast(jax.Array, network.apply(params, pixels))

        def evaluate(key: Key, params: Params) -> Evaluation:
            pixels, labels = draw(key, tested)
            return Evaluation(jnp.mean(right(logits(params, pixels), labels).astype(jnp.float32)))

        def loss(key: Key, params: Params) -> jax.Array:
            pixels, labels = draw(key, shots)
            return -cross_entropy(key, logits(params, pixels), labels)

        return Task(lambda key: network.init(key, jnp.asarray(images.train_images[:1])), evaluate, loss=loss)

    return life


def point_goals(network: linen.Module, **options: Any) -> Lives:
    """A life is a goal on the plane that is not seen, see `jaxga.tasks.point`; ``options`` are those of
    `policy_gradient`.

    >>> from jaxga import nn
    >>> task = point_goals(nn.MLP((8, 2)), episodes=2, steps=5)(jax.random.key(0))
    >>> bool(task.score(jax.random.key(2), task.init(jax.random.key(1))).fitness < 0)
    True
    """

    def life(key: Key) -> Task:
        goal = jax.random.uniform(key, (2,), jnp.float32, -0.5, 0.5)
        return policy_gradient(point(goal), network, **options)

    return life
