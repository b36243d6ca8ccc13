"""Image classification: fitness on training images (all of them or a batch), accuracy on validation and test images."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen

from jaxga.base import Evaluation, Key, Params, Task, common, require, require_whole
from jaxga.data import Images
from jaxga.nn import applied
from jaxga.tasks.losses import Loss, cross_entropy, right
from jaxga.tree import iota

WHOLE = 1000  # up to this number of images are scored at once
BLOCK = 100  # images scored at a time if there are more, so that the activations of a network stay in a cache
CHUNK = 128  # children scored at a time on blocks; they share the activations of their parent


def classification(
    network: linen.Module,
    images: Images,
    *,
    loss: Loss = cross_entropy,
    batch: int | None = None,
    key: Callable[[Key, jax.Array], Key] = common,
    normalise: bool = True,
    dtype: Any = jnp.float32,
) -> Task:
    """Classify images. The device holds one copy of the data for the whole population.

    Args:
      network: a flax module from ``[B, h, w, channels]`` to logits ``[B, classes]``.
      images: the data, from `jaxga.data`.
      loss: `cross_entropy`, `errors`, `sampled` or another `Loss`. Fitness is its mean over examples: minus the
        cross-entropy in nats; minus the error rate; the part of examples for which a draw from the softmax is right.
      batch: number of training images, drawn with replacement in every generation. By default None: all images.
      key: `common` (default) scores all individuals of a generation on the same batch, `independent` each child on its
        own batch. `jaxga.paired` scores the difference between child and parent.
      normalise: subtract the mean of the training pixels and divide by their standard deviation, by default True.
      dtype: dtype of the network's computation, by default float32; for example `jnp.bfloat16`. Losses are float32.

    On the validation images, `Task.validate` gives the accuracy as fitness, and the mean cross-entropy as the metric
    ``loss``. `Task.test` gives the same on the test images, if there are any. Validation and test pixels are
    normalised with mean and standard deviation of the training pixels.

    Raises:
      InputError: if ``batch`` is below 1 or above the number of training images; if a part of the data has no images,
        does not have one integer label per image, or has labels for which the network has no output.

    >>> from jaxga import data, nn
    >>> task = classification(nn.MLP((10,)), data.digits(), batch=32)
    >>> params = task.init(jax.random.key(0))
    >>> task.evaluate(jax.random.key(1), params).fitness.shape, sorted(task.validate(params).metrics)
    ((), ['accuracy', 'loss'])
    >>> task.test(params).fitness.shape
    ()
    """
    parts = _checked(images, network)
    total = len(images.train_labels)
    require_whole(1, batch=total if batch is None else batch)
    require((batch or 0) <= total, f"batch is {batch}, and there are {total} training images: take fewer, or all.")
    mean, scale = (images.train_images.mean(), images.train_images.std()) if normalise else (0.0, 1.0)
    (inputs, labels), *unseen = (
        (jnp.asarray((pixels - mean) / scale, dtype), jnp.asarray(answers, jnp.int32)) for pixels, answers in parts
    )
    forward = applied(network, dtype)

    def init(key: Key) -> Params:
        return network.init(key, inputs[:1].astype(jnp.float32))

    def summed_loss(key: Key, params: Params, inputs: jax.Array, labels: jax.Array) -> jax.Array:
        return jnp.sum(loss.each(key, forward(params, inputs), labels))

    def summed_scores(key: Key, params: Params, inputs: jax.Array, labels: jax.Array) -> jax.Array:
        logits = forward(params, inputs)
        correct = jnp.sum(right(logits, labels)).astype(jnp.float32)
        return jnp.stack([correct, -jnp.sum(cross_entropy.each(key, logits, labels))])

    def draw(key: Key) -> tuple[jax.Array, jax.Array]:
        if batch is None:
            return inputs, labels
        chosen = jax.random.randint(key, (batch,), 0, total, jnp.int32)
        return inputs[chosen], labels[chosen]

    def evaluate(key: Key, params: Params) -> Evaluation:
        key_batch, key_loss = jax.random.split(key)
        return Evaluation(_mean_in_blocks(summed_loss, key_loss, params, *draw(key_batch)))

    def scores_on(inputs: jax.Array, labels: jax.Array) -> Callable[[Params], Evaluation]:
        def scores(params: Params) -> Evaluation:
            accuracy, entropy = _mean_in_blocks(summed_scores, jax.random.key(0), params, inputs, labels)
            return Evaluation(accuracy, metrics={"accuracy": accuracy, "loss": entropy})

        return scores

    def differentiable(key: Key, params: Params) -> jax.Array:
        inputs, labels = draw(key)
        return -cross_entropy(key, forward(params, inputs), labels)

    validate, *test = (scores_on(*part) for part in unseen)
    chunk = CHUNK if (batch or total) > WHOLE else None
    return Task(init, evaluate, key, differentiable, validate, chunk=chunk, test=test[0] if test else None)


def _checked(images: Images, network: linen.Module) -> list[tuple[np.ndarray, np.ndarray]]:
    """Images and labels for training, validation and, if there are any, the test, after all checks."""
    parts = {
        "training": (images.train_images, images.train_labels),
        "validation": (images.validation_images, images.validation_labels),
        "test": (images.test_images, images.test_labels),
    }
    if images.test_images is None and images.test_labels is None:
        del parts["test"]
    shape = np.shape(images.train_images)[1:]
    sample = jax.ShapeDtypeStruct((1, *shape), jnp.float32)
    logits, _ = jax.eval_shape(network.init_with_output, jax.random.key(0), sample)
    for name, (pixels, labels) in parts.items():
        _check_part(name, pixels, labels, shape, logits.shape[-1])
    return list(parts.values())


def _check_part(name: str, pixels: Any, labels: Any, shape: tuple[int, ...], outputs: int) -> None:
    count, kind = np.shape(labels), np.asarray(labels).dtype
    require(
        len(count) == 1 and count[0] >= 1 and np.issubdtype(kind, np.integer),
        f"{name} labels are of shape {count} and type {kind}: give one integer an image, and at least one.",
    )
    require(
        np.shape(pixels) == (*count, *shape),
        f"{name} images are of shape {np.shape(pixels)}, and {(*count, *shape)} is due: as many as labels, of the "
        "size of the training images.",
    )
    low, high = np.min(labels), np.max(labels)
    require(
        low >= 0 and high < outputs,
        f"{name} labels reach from {low} to {high}, and the network has {outputs} outputs: take labels from 0 to "
        f"{outputs - 1}, or a network with more outputs.",
    )


def _mean_in_blocks(
    scores: Callable[..., jax.Array], key: Key, params: Params, inputs: jax.Array, labels: jax.Array
) -> jax.Array:
    """``sum(scores) / P``. More than WHOLE images are scored in blocks of BLOCK; the last block may be smaller."""
    total, whole = len(labels), len(labels) // BLOCK
    if total <= WHOLE:
        return scores(key, params, inputs, labels) / total

    def block(number: jax.Array) -> jax.Array:
        part = (jax.lax.dynamic_slice_in_dim(array, number * BLOCK, BLOCK) for array in (inputs, labels))
        return scores(jax.random.fold_in(key, number), params, *part)

    def add(sums: jax.Array, number: jax.Array) -> tuple[jax.Array, None]:
        return sums + block(number), None

    sums, _ = jax.lax.scan(add, jnp.zeros_like(block(jnp.int32(0))), iota(whole))
    if total % BLOCK:
        rest = slice(whole * BLOCK, None)
        sums += scores(jax.random.fold_in(key, whole), params, inputs[rest], labels[rest])
    return sums / total
