"""Arrays whose axes are stored in another order than in the program.

The outputs ``[P, n]`` of a narrow layer for many examples are stored in columns, as ``[n, P]``. On a CPU, XLA is faster
at products of this shape, and all operations between the products run along the examples. Elementwise operations,
reductions and products keep this order. Any other operation gets the array in its usual order.
"""

from dataclasses import dataclass, field
from typing import Any

import jax
import numpy as np

from jaxga.interpret.walk import rule
from jaxga.lowrank import InParts

# Names of operations, as JAX prints them in a program.
ELEMENTWISE = [
    "abs", "acos", "acosh", "add", "and", "asin", "asinh", "atan", "atan2", "atanh", "cbrt", "ceil", "clamp",
    "convert_element_type", "copy", "cos", "cosh", "div", "eq", "erf", "erf_inv", "erfc", "exp", "exp2", "expm1",
    "floor", "ge", "gt", "integer_pow", "is_finite", "le", "lgamma", "log", "log1p", "logistic", "lt", "max", "min",
    "mul", "ne", "neg", "nextafter", "not", "or", "pow", "rem", "round", "rsqrt", "select_n", "sign", "sin", "sinh",
    "sqrt", "square", "sub", "tan", "tanh", "xor",
]  # fmt: skip
REDUCTIONS = ["reduce_and", "reduce_max", "reduce_min", "reduce_or", "reduce_prod", "reduce_sum"]


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Turned(InParts):
    """An array whose axis n is axis ``order[n]`` of ``base``."""

    base: jax.Array
    order: tuple[int, ...] = field(metadata={"static": True})
    turned = True

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.base.shape[axis] for axis in self.order)

    def dense(self) -> jax.Array:
        """The array with its axes in their usual order."""
        return self.base.transpose(self.order)

    def like(self, value: Any) -> Any:
        """Another value of the same shape, stored in the same order as ``base``. A scalar is returned as it is."""
        if isinstance(value, Turned) and value.order == self.order:
            return value.base
        value = value.dense() if isinstance(value, InParts) else value
        return value.transpose(np.argsort(self.order)) if np.ndim(value) else value


def turned(base: jax.Array, order: Any) -> Any:
    """A `Turned` value, or ``base`` itself if the order is the usual one."""
    order = tuple(map(int, order))
    return base if order == tuple(range(len(order))) else Turned(base, order)


@rule(*ELEMENTWISE, turned=True, weights=False)
def _each(eqn: Any, *values: Any) -> Any:
    first = next(value for value in values if isinstance(value, Turned))
    if first.shape != eqn.outvars[0].aval.shape or {np.ndim(value) for value in values} - {0, first.ndim}:
        return NotImplemented
    return Turned(eqn.primitive.bind(*map(first.like, values), **eqn.params), first.order)


@rule("transpose", turned=True, weights=False)
def _transpose(eqn: Any, value: Turned) -> Any:
    return turned(value.base, [value.order[axis] for axis in eqn.params["permutation"]])


@rule(*REDUCTIONS, turned=True, weights=False)
def _reduce(eqn: Any, value: Turned) -> Any:
    gone = {value.order[axis] for axis in eqn.params["axes"]}
    kept = [value.order[axis] for axis in range(value.ndim) if axis not in eqn.params["axes"]]
    base = eqn.primitive.bind(value.base, **{**eqn.params, "axes": tuple(sorted(gone))})
    return turned(base, np.argsort(np.argsort(kept)))


@rule("argmax", "argmin", turned=True, weights=False)
def _arg(eqn: Any, value: Turned) -> Any:
    (axis,) = eqn.params["axes"]
    kept = [value.order[other] for other in range(value.ndim) if other != axis]
    base = eqn.primitive.bind(value.base, **{**eqn.params, "axes": (value.order[axis],)})
    return turned(base, np.argsort(np.argsort(kept)))


@rule("split", turned=True, weights=False)
def _split(eqn: Any, value: Turned) -> Any:
    axis = value.order[eqn.params["axis"]]
    return [Turned(part, value.order) for part in eqn.primitive.bind(value.base, **{**eqn.params, "axis": axis})]
