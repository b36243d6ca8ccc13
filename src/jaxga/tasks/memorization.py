"""Memorize random points with random labels. Nothing can be generalised, so the task measures the search alone.

P points, C classes.
"""

from collections.abc import Callable, Sequence
from typing import Any, cast

import jax
import jax.numpy as jnp
from flax import linen
from jax.core import Tracer

from jaxga.base import Evaluation, Key, Params, Task, as_key, common, independent, require, require_whole
from jaxga.nn import applied
from jaxga.tasks.losses import Loss, cross_entropy, right, sampled
from jaxga.tree import path_key


def noise(points: int, shape: Sequence[int], classes: int, seed: int = 0) -> tuple[jax.Array, jax.Array]:
    """The data of `memorization`: Gaussian points ``[P, *shape]`` and uniform labels ``[P]``.

    Args:
      points: P, the number of points.
      shape: shape of one point.
      classes: C, the number of classes; labels are 0 to C - 1, int32.
      seed: seed of the data, by default 0.

    Raises:
      InputError: if ``seed`` is neither a whole number nor a key.
    """
    key_inputs, key_labels = jax.random.split(path_key(as_key(seed), ("memorization",)))
    inputs = jax.random.normal(key_inputs, (points, *shape), jnp.float32)
    return inputs, jax.random.randint(key_labels, (points,), 0, classes, jnp.int32)


def memorization(
    network: linen.Module,
    *,
    points: int = 64,
    shape: Sequence[int] = (64, 64, 3),
    classes: int = 10,
    loss: Loss = cross_entropy,
    seed: int = 0,
    tiebreak: Callable[[Params, jax.Array], jax.Array] | None = None,
    dtype: Any = jnp.float32,
) -> Task:
    """Memorize P points of Gaussian noise, with labels drawn uniformly.

    Args:
      network: a flax module from ``[P, *shape]`` to logits ``[P, classes]``.
      points: P, the number of points, by default 64.
      shape: shape of one point, by default (64, 64, 3).
      classes: C, the number of classes, by default 10.
      loss: `cross_entropy` (default), `errors`, `till_death`, `till_death_shuffled`, `sampled`, or any other `Loss`.
        Losses that count give a number of points, at most P; with `sampled`, each child has its own draws.
      seed: seed of the data, by default 0. It is independent of the seed of a run.
      tiebreak: ``(params, points [P, *shape]) -> []``, ranks individuals with equal fitness, the larger value first;
        for example `jaxga.memory.intrinsic`. By default None.
      dtype: dtype of the network's computation, by default float32; for example `jnp.bfloat16`. Losses are float32.

    Metrics of the best child in the log: ``points``, the number that argmax gets right, and ``cross_entropy``, the mean
    in nats. A network may have a method ``classify`` from points ``[P, *shape]`` to classes ``[P]``, -1 for NaN. If the
    loss only counts right points, this method is called instead of the network, and ``cross_entropy`` is not logged.

    Raises:
      InputError: if ``points`` or a side of ``shape`` is below 1, or ``classes`` is below 2; and as in `labelled`.

    >>> from jaxga.nn import MLP
    >>> task = memorization(MLP((10,)), points=4, shape=(8,))
    >>> params = task.init(jax.random.key(0))
    >>> task.evaluate(jax.random.key(1), params).fitness.shape
    ()
    """
    require_whole(1, points=points)
    require_whole(2, classes=classes)
    require(all(side >= 1 for side in shape), f"shape is {tuple(shape)}, and every side must be 1 or more.")
    inputs, labels = noise(points, shape, classes, seed)
    return labelled(network, inputs, labels, loss=loss, tiebreak=tiebreak, dtype=dtype)


def labelled(
    network: linen.Module,
    inputs: Any,
    labels: Any,
    *,
    loss: Loss = cross_entropy,
    tiebreak: Callable[[Params, jax.Array], jax.Array] | None = None,
    dtype: Any = jnp.float32,
) -> Task:
    """Learn the given points with the given labels. Every evaluation uses all of them, as in `memorization`.

    Args:
      network: a flax module from ``[P, ...]`` to logits ``[P, C]``.
      inputs: the points ``[P, ...]``, real numbers.
      labels: the labels ``[P]``, integers from 0 to C - 1.
      loss: a `Loss`, by default `cross_entropy`.
      tiebreak: ``(params, points [P, ...]) -> []``, ranks individuals with equal fitness, by default None.
      dtype: dtype of the network's computation, by default float32.

    Raises:
      InputError: if there are no points, or some are not finite; if labels are not integers, or are outside 0 to
        C - 1, where C is the number of the network's outputs.

    >>> from jaxga.nn import MLP
    >>> from jaxga.tasks import errors
    >>> task = labelled(MLP((2,)), [[0.0, 1.0], [1.0, 0.0]], [0, 1], loss=errors)
    >>> float(task.evaluate(None, jax.tree.map(jnp.zeros_like, task.init(jax.random.key(0)))).fitness)
    -1.0
    """
    inputs, labels = _points(inputs, dtype), jnp.asarray(labels)
    require(
        inputs.shape[:1] == labels.shape, f"inputs are {inputs.shape} and labels {labels.shape}: one label a point."
    )

    def init(key: Key) -> Params:
        return network.init(key, inputs[:1])

    forward = applied(network, dtype)
    labels = _classes(labels, jax.eval_shape(lambda key: forward(init(key), inputs), jax.random.key(0)).shape)

    def evaluate(key: Key, params: Params) -> Evaluation:
        decides = 0.0 if tiebreak is None else tiebreak(params, inputs)
        if loss.of_right is not None and hasattr(network, "classify"):
            classes = cast(jax.Array, network.apply(params, inputs, method="classify"))
            correct = classes == labels
            fitness, metrics = loss.together(loss.of_right(key, correct)), {}
            broken = (classes < 0).any()
        else:
            logits = forward(params, inputs)
            correct = right(logits, labels)
            fitness, metrics = loss(key, logits, labels), {"cross_entropy": -cross_entropy(key, logits, labels)}
            broken = jnp.isnan(logits).any()
        # Points could be counted even where logits are NaN, but a network that overflowed must have no fitness.
        metrics = {"points": jnp.sum(correct).astype(jnp.int32), **metrics}
        return Evaluation(jnp.where(broken, jnp.nan, fitness), decides, metrics)

    def differentiable(key: Key, params: Params) -> jax.Array:
        return -cross_entropy(key, forward(params, inputs), labels)

    return Task(init, evaluate, independent if loss is sampled else common, differentiable)


def _points(inputs: Any, dtype: Any) -> jax.Array:
    """Inputs as float32, or as float64 if ``dtype`` is float64."""
    points = jnp.asarray(inputs)
    real = jnp.issubdtype(points.dtype, jnp.floating) or jnp.issubdtype(points.dtype, jnp.integer)
    require(real or points.dtype == jnp.bool_, f"inputs have dtype {points.dtype}, and must be real numbers.")
    require(points.ndim > 0 and points.size > 0, f"inputs have shape {points.shape}, and must hold a number at least.")
    if not isinstance(points, Tracer):
        wrong = int(jnp.sum(~jnp.isfinite(points)))
        require(wrong == 0, f"inputs hold {wrong} numbers that are NaN or infinite, and must be finite.")
    return points.astype(jnp.float64 if dtype == jnp.float64 else jnp.float32)


def _classes(labels: jax.Array, outputs: tuple[int, ...]) -> jax.Array:
    """Labels ``[P]`` as int32, after checking that they are classes of a network whose outputs have this shape."""
    require(
        outputs[:-1] == labels.shape,
        f"network returns shape {outputs} for {labels.size} points, and one row of logits for each was due.",
    )
    require(
        jnp.issubdtype(labels.dtype, jnp.integer) or labels.dtype == jnp.bool_,
        f"labels have dtype {labels.dtype}, and must be classes, 0 to {outputs[-1] - 1}: cast them to an integer type.",
    )
    if not isinstance(labels, Tracer):
        lowest, highest = int(labels.min()), int(labels.max())
        require(lowest >= 0, f"labels begin with {lowest}, and must be classes, counted from 0.")
        require(
            highest < outputs[-1],
            f"labels go up to {highest}, and the network has {outputs[-1]} outputs, for the classes 0 to "
            f"{outputs[-1] - 1}: give its last layer {highest + 1}.",
        )
    return labels.astype(jnp.int32)
