"""Learn labelled images: fitness on the training images, all of them or a batch, and accuracy on images not learned."""

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

WHOLE = 1000  # images are scored at once, if there are no more,
BLOCK = 100  # and else so many at a time, so that what a network's layers make of them stays in a cache,
CHUNK = 128  # by so many children, who share what their parent makes of a block.


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
    """Classify images. The data is on the device once, whatever the population.

    Args:
      network: a flax module from ``[B, h, w, channels]`` to logits ``[B, classes]``.
      images: from `jaxga.data`.
      loss: `cross_entropy`, `errors`, `sampled` or another `Loss`. Fitness is its mean over examples: minus nats, minus
        the part that is wrong, the part that a draw from the softmax gets right.
      batch: so many training images, drawn anew every generation with replacement. None takes them all.
      key: `common` scores everyone of a generation on the same batch, `independent` every child on one of its own.
        See `jaxga.paired` for the difference to the parent.
      normalise: subtract the mean of the training pixels and divide by their standard deviation.
      dtype: that the network computes in, `jnp.bfloat16` for instance. Losses are float32.

    `Task.validate` gives accuracy (its fitness) and loss, the mean cross-entropy, on the validation images. `Task.test`
    gives the same on the test images, where there are any. All pixels are normalised by those of the training images.

    Raises:
      InputError: for a batch larger than the training images; for a part without images, or whose labels are not one
        integer an image, or are none of the network's outputs.

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
    """Images and labels to learn from, for validation, and for the test where there are any; all can be classified."""
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
    """``sum(scores) / P``, so many images at a time; the last block is as small as what is left."""
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
