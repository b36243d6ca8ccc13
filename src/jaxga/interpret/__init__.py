"""Run user code on a child whose weights are kept in parts, without building these weights as arrays.

``by_parts(function)(params)`` equals ``function(dense(params))``. The function is traced once, with an array for every
leaf, so user code only ever sees arrays. The traced program (a jaxpr) is then evaluated with the `jaxga.lowrank` leaves
in place of the arrays. Operations that have a rule use the parts: products, convolutions, lookups, and operations that
only rearrange a weight. All other operations get the array.

If a function as a whole can use a leaf in parts better than its single operations can, `with_rule` says how.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import wraps
from typing import Any

import jax
import jax.numpy as jnp

from jaxga.base import configured, name_of, require
from jaxga.interpret import convolution, layout, products, rearrange, ruled  # noqa: F401  each registers its rules
from jaxga.interpret.jaxprs import trace
from jaxga.interpret.ruled import with_rule
from jaxga.interpret.walk import array, run
from jaxga.lowrank import InParts, LowRank, dense, is_low_rank
from jaxga.tree import paths

__all__ = ["by_parts", "with_rule"]


def by_parts(function: Callable[..., Any], keep: bool = False) -> Callable[..., Any]:
    """Let a function of arrays take params with leaves in parts, which are built as arrays only where necessary.

    Under ``jax.disable_jit()`` the function is called with arrays, so that it can be debugged.

    Args:
      function: ``(params, *others) -> anything``, written for arrays.
      keep: for functions from params to params: leaves of the result that are in parts stay in parts. If no leaf of
        ``params`` is in parts, the function is called without being traced. By default the result has arrays only.

    Returns:
      ``(params, *others) -> function(dense(params), *others)``.

    Raises:
      InputError: when called, if an argument after ``params`` has leaves in parts.

    >>> leaf = LowRank(jnp.ones((2, 3)), jnp.ones((1, 2, 1)), jnp.ones((1, 1, 3)))
    >>> by_parts(lambda w: jnp.ones(2) @ w)(leaf).tolist()
    [4.0, 4.0, 4.0]
    >>> by_parts(lambda w: (jnp.sum(w > 1), 2 * w), keep=True)(leaf)[1].left.tolist()
    [[[2.0], [2.0]]]
    """

    @wraps(function)
    def call(params: Any, *others: Any) -> Any:
        if configured("disable_jit"):
            return function(dense(params), *others)
        leaves, treedef = jax.tree.flatten(params, is_low_rank)
        if keep and not any(map(is_low_rank, leaves)):
            return function(params, *others)
        rest, others_treedef = jax.tree.flatten(others)
        require(
            not any(map(is_low_rank, jax.tree.leaves(others, is_low_rank))),
            f"{name_of(function)} got leaves in parts after its first argument: by_parts takes the params first, as in "
            "by_parts(lambda params: task.evaluate(key, params))(params).",
        )

        def plain(*arrays: Any) -> Any:
            weights, others = arrays[: len(leaves)], arrays[len(leaves) :]
            return function(treedef.unflatten(weights), *others_treedef.unflatten(others))

        closed, out = trace(plain, *(leaf.base if isinstance(leaf, InParts) else leaf for leaf in leaves), *rest)
        names = ["/".join(path) for path in jax.tree.leaves(paths(params, is_low_rank))]
        weights = [_weight(leaf, name) for leaf, name in zip(leaves, names, strict=True)]
        found = run(closed, *weights, *rest)
        return out.unflatten([_leaf(value) if keep else array(value) for value in found])

    return call


def _weight(leaf: Any, name: str) -> Any:
    """A leaf of params as `jaxga.interpret.walk` needs it: an array of floats becomes a `LowRank` of rank 0."""
    if isinstance(leaf, InParts):
        return replace(leaf, name=name)
    if not jnp.issubdtype(jnp.result_type(leaf), jnp.floating):
        return leaf
    return LowRank(leaf, jnp.zeros((0, *leaf.shape), leaf.dtype), jnp.zeros((0,) + (1,) * leaf.ndim, leaf.dtype), name)


def _leaf(value: Any) -> Any:
    """The inverse of `_weight`: a value as a leaf of params."""
    if isinstance(value, LowRank) and value.rank == 0:
        return value.base
    return replace(value, name="") if isinstance(value, InParts) and not value.turned else array(value)
