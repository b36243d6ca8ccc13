"""Lives: tasks drawn by a key. Each has a hidden variable that an individual can only learn within the life."""

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
    """Examples of ``A sin(x - phase)``. For each life, A is drawn from 0.1 to 5 and the phase from 0 to pi.

    The returned function ``(key, n) -> (x [n, 1], y [n, 1])`` draws x from -5 to 5. All draws are uniform.

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
    """Few-shot regression (Finn et al. 2017): in each life a network learns a sine curve from a few points.

    The loss is the mean square error on ``shots`` points of the curve. The fitness is minus the mean square error on
    ``tested`` other points. See `sine_curves`.

    Args:
      network: a flax module from ``[n, 1]`` to ``[n, 1]``.
      shots: points to learn from, by default 10.
      tested: points to score on, by default 100.

    Raises:
      InputError: if ``shots`` or ``tested`` is below 1.

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
    """Examples from the training images, with labels permuted at random: each life draws its own permutation."""
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
    """Image classification with labels permuted at random in each life, so labels cannot be inherited.

    The loss is the cross-entropy on ``shots`` images. The fitness is the accuracy on ``tested`` other draws. See
    `relabelled`.

    Args:
      network: a flax module from images ``[n, h, w, channels]`` to logits ``[n, classes]``.
      images: the data, from `jaxga.data`. Only training images are used.
      shots: images to learn from, by default 64.
      tested: images to score on, by default 128.

    Raises:
      InputError: if ``shots`` or ``tested`` is below 1, or there are no training images.
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
    """Point navigation: each life draws a goal on the plane that is not observed, see `jaxga.tasks.point`.

    Args:
      network: a flax module from observations ``[E, 2]`` to ``[E, 2]``.
      options: options of `policy_gradient`.

    >>> from jaxga import nn
    >>> task = point_goals(nn.MLP((8, 2)), episodes=2, steps=5)(jax.random.key(0))
    >>> bool(task.score(jax.random.key(2), task.init(jax.random.key(1))).fitness < 0)
    True
    """

    def life(key: Key) -> Task:
        goal = jax.random.uniform(key, (2,), jnp.float32, -0.5, 0.5)
        return policy_gradient(point(goal), network, **options)

    return life
