"""Safe mutations: steps that change what a network does by a controlled amount (Lehman et al. 2018, arXiv 1712.06563).

``outputs: (params) -> [B, O]`` computes the network's O outputs for B inputs. The change of these outputs is what is
controlled. Safe mutations wrap any variation and return a variation, so they can be combined with all others.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from jaxga.base import Context, Individual, Key, Params, Variation, require, require_at_least, require_whole
from jaxga.interpret import by_parts
from jaxga.lowrank import dense, scale_step, step_leaf
from jaxga.tree import check_like, name_of
from jaxga.variation.checks import checked, require_function

Outputs = Callable[[Params], jax.Array]  # (params) -> [B, O]
Sensitivity = Callable[[Outputs, Params], Params]  # (outputs, params) -> a tree like params


def _answers(outputs: Outputs, params: Params) -> jax.Array:
    """The network's outputs ``[B, O]``, checked."""
    answers = jnp.asarray(outputs(params))
    name, shape = name_of(outputs), answers.shape
    require(len(shape) == 2, f"outputs {name} returned shape {shape}, and (inputs, numbers for each) was due.")
    return answers


def of_sum(outputs: Outputs, params: Params) -> Params:
    """Sensitivity SM-G-SUM: ``sqrt(sum_o (sum_b dy_bo / dw)^2)``. Gradients of opposite sign cancel between inputs.

    Args:
      outputs: ``(params) -> [B, O]``, the outputs for B inputs.
      params: of the network.

    Returns:
      A tree like ``params``: the sensitivity of the outputs to each weight.

    Raises:
      InputError: if ``outputs`` returns an array that does not have two axes.
    """
    answers, pull = jax.vjp(partial(_answers, outputs), params)
    cotangents = jnp.broadcast_to(
        jnp.eye(answers.shape[1], dtype=answers.dtype)[:, None], (answers.shape[1], *answers.shape)
    )
    (slopes,) = jax.vmap(pull)(cotangents)
    return jax.tree.map(lambda slope: jnp.sqrt(jnp.sum(slope**2, axis=0)), slopes)


def of_magnitude(outputs: Outputs, params: Params) -> Params:
    """Sensitivity SM-G-ABS: ``sqrt(sum_o (mean_b |dy_bo / dw|)^2)``. Gradients of different inputs do not cancel.

    It takes B O backward passes, where `of_sum` takes O. Arguments, result and errors are those of `of_sum`.
    """
    answers, pull = jax.vjp(partial(_answers, outputs), params)
    inputs, units = jnp.eye(answers.shape[0], dtype=answers.dtype), jnp.eye(answers.shape[1], dtype=answers.dtype)

    def add(total: Params, one: jax.Array) -> tuple[Params, None]:
        (slopes,) = jax.vmap(lambda unit: pull(one[:, None] * unit))(units)
        return jax.tree.map(lambda sums, slope: sums + jnp.abs(slope), total, slopes), None

    zeros = jax.tree.map(lambda leaf: jnp.zeros((answers.shape[1], *leaf.shape), leaf.dtype), params)
    total, _ = jax.lax.scan(add, zeros, inputs)
    return jax.tree.map(lambda sums: jnp.sqrt(jnp.sum((sums / answers.shape[0]) ** 2, axis=0)), total)


def safe_gradient(
    variation: Variation, outputs: Outputs, sensitivity: Sensitivity = of_sum, floor: Any = 0.01, limit: Any = 0.2
) -> Variation:
    """Divide the step of every weight by the sensitivity of the outputs to that weight (SM-G).

    A parent's sensitivity is computed once for each chunk of its children. A sensitivity of 0 counts as 1.

    Args:
      variation: what makes the step.
      outputs: ``(params) -> [B, O]``, the outputs for B inputs.
      sensitivity: ``(outputs, params) -> tree like params``: `of_sum` (the default) or `of_magnitude`.
      floor: the smallest sensitivity by which a step is divided, by default 0.01.
      limit: the most that a weight moves, in units of the weights, by default 0.2.

    Raises:
      InputError: if ``outputs`` or ``sensitivity`` is not a function, or ``floor`` or ``limit`` is below 0.

    >>> from jaxga.variation import absolute, gaussian
    >>> inputs = jnp.array([[100.0, 0.1]])  # the first weight matters a thousand times more
    >>> mutation = safe_gradient(gaussian(absolute(0.01)), lambda w: inputs @ w, limit=1e9)
    >>> parent = Individual(jnp.zeros((2, 1)), mutation.init(jnp.zeros((2, 1))))
    >>> steps = jax.vmap(lambda key: mutation.apply(key, parent, Context(jnp.int32(0), parent)).params)(
    ...     jax.random.split(jax.random.key(0), 1000))
    >>> [f"{spread:.0e}" for spread in steps.std(axis=0)[:, 0].tolist()]
    ['1e-04', '1e-01']
    """
    variation = checked(variation, "safe_gradient")
    require_function("outputs", outputs, "the params that returns (inputs, numbers for each)")
    require_function("sensitivity", sensitivity, "(outputs, params): of_sum or of_magnitude")
    require_at_least(0, floor=floor, limit=limit)

    def apply(key: Key, parent: Individual, context: Context) -> Individual:
        params = dense(parent.params)
        slopes = sensitivity(outputs, params)
        slopes = check_like(slopes, params, f"sensitivity {name_of(sensitivity)}")
        child = variation.apply(key, parent._replace(params=params), context)

        def move(new: jax.Array, old: jax.Array, slope: jax.Array) -> jax.Array:
            divisor = jnp.where(slope > 0, jnp.maximum(slope, floor), 1)
            return old + jnp.clip((new - old) / divisor, -limit, limit)

        return child._replace(params=jax.tree.map(move, dense(child.params), params, slopes))

    return Variation(variation.init, apply, in_parts=True)


def safe_rescale(variation: Variation, outputs: Outputs, divergence: Any, iterations: int = 12) -> Variation:
    """Rescale the whole step until the outputs change by a given amount (SM-R). Low-rank steps stay low-rank.

    The factor is found by bisection of its logarithm, between 2^-12 and 2^12. If even the largest factor changes the
    outputs by less, it is used.

    Args:
      variation: what makes the step.
      outputs: ``(params) -> [B, O]``, the outputs for B inputs.
      divergence: the desired root mean square of the outputs' changes, over B and O.
      iterations: of the bisection, by default 12, which is exact to 0.2 %.

    Raises:
      InputError: if ``outputs`` is not a function, ``divergence`` is below 0, or ``iterations`` is below 1.
    """
    variation = checked(variation, "safe_rescale")
    require_function("outputs", outputs, "the params that returns (inputs, numbers for each)")
    require_at_least(0, divergence=divergence)
    require_whole(1, iterations=iterations)

    def apply(key: Key, parent: Individual, context: Context) -> Individual:
        params = dense(parent.params)
        child = variation.apply(key, parent._replace(params=params), context)
        olds, treedef = jax.tree.flatten(params)
        steps = [step_leaf(new, old) for new, old in zip(treedef.flatten_up_to(child.params), olds, strict=True)]
        before = by_parts(outputs)(params)

        def stretched(log_factor: jax.Array) -> Params:
            factor = jnp.exp2(log_factor)
            moved = [scale_step(old, step, factor.astype(old.dtype)) for old, step in zip(olds, steps, strict=True)]
            return treedef.unflatten(moved)

        def halve(ends: tuple[jax.Array, jax.Array], _: None) -> tuple[tuple[jax.Array, jax.Array], None]:
            low, high = ends
            middle = (low + high) / 2
            too_far = jnp.sqrt(jnp.mean((by_parts(outputs)(stretched(middle)) - before) ** 2)) > divergence
            return (jnp.where(too_far, low, middle), jnp.where(too_far, middle, high)), None

        (low, high), _ = jax.lax.scan(halve, (jnp.float32(-12), jnp.float32(12)), None, length=iterations)
        return child._replace(params=stretched((low + high) / 2))

    return Variation(variation.init, apply, in_parts=True)
