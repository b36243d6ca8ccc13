"""A matrix plus a low-rank step, kept apart: ``W + A B``.

A mutation of a matrix ``W [m, n]`` may be ``W + A B`` with ``A [m, r]`` and ``B [r, n]``. Drawing it costs
``r (m + n)`` random numbers instead of ``m n``, and ``x (W + A B) = x W + (x A) B``, where ``x W`` is one product for
all children of a parent. A convolution kernel ``[h, w, c, n]`` is seen as the matrix ``[h w c, n]`` over patches.

`LowRank` is a leaf, not a mode: layers of `jaxga.nn` use its factors, any other code sees the dense matrix: jnp
functions, operators, methods. The idea is that of EGGROLL (arXiv 2511.16652), there for evolution strategies. `Columns`
is its case for mutations that rewrite single units of a layer.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp


class _SeenAsDense(ABC):
    """To any other code an array: the dense one."""

    base: jax.Array

    @abstractmethod
    def dense(self) -> jax.Array:
        """The array itself."""

    @property
    def shape(self) -> tuple[int, ...]:
        return self.base.shape

    @property
    def ndim(self) -> int:
        return self.base.ndim

    @property
    def dtype(self) -> Any:
        return self.base.dtype

    def __jax_array__(self) -> jax.Array:
        return self.dense()

    def __getattr__(self, name: str) -> Any:
        """Whatever else an array has (``T``, ``reshape``, ``sum``, ...), the dense matrix has."""
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self.dense(), name)


def _of_dense(name: str) -> Callable[..., Any]:
    return lambda self, *operands: getattr(self.dense(), name)(*map(dense_leaf, operands))


for _binary in ("add", "sub", "mul", "truediv", "pow", "matmul"):
    setattr(_SeenAsDense, f"__{_binary}__", _of_dense(f"__{_binary}__"))
    setattr(_SeenAsDense, f"__r{_binary}__", _of_dense(f"__r{_binary}__"))
for _other in ("__neg__", "__abs__", "__getitem__"):
    setattr(_SeenAsDense, _other, _of_dense(_other))


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class LowRank(_SeenAsDense):
    """``base + left @ right``, of the shape and dtype of ``base``.

    >>> leaf = LowRank(jnp.zeros((2, 3)), jnp.ones((2, 1)), jnp.ones((1, 3)))
    >>> leaf.shape, float(leaf.sum()), float(jnp.sum(leaf**2 + 1)), float(jnp.asarray(leaf)[0, 0])
    ((2, 3), 6.0, 12.0, 1.0)
    """

    base: jax.Array  # [..., n], seen as [m, n]
    left: jax.Array  # [m, r]
    right: jax.Array  # [r, n]

    def dense(self) -> jax.Array:
        """The matrix itself."""
        return self.base + (self.left @ self.right).reshape(self.base.shape)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Columns(_SeenAsDense):
    """``base`` with r of its columns written anew: a step of rank r, and exact. Of one written twice, the last counts.

    >>> leaf = Columns(jnp.zeros((2, 3)), jnp.array([1, 1]), jnp.array([[1.0, 2.0], [1.0, 3.0]]))
    >>> leaf.dense().tolist(), leaf.right.tolist()
    ([[0.0, 2.0, 0.0], [0.0, 3.0, 0.0]], [[0.0, 1.0, 0.0], [0.0, 1.0, 0.0]])
    """

    base: jax.Array  # [m, n]
    index: jax.Array  # [r]
    value: jax.Array  # [m, r]

    @property
    def counts(self) -> jax.Array:
        """``[r]``: is it the last that is written to its column?"""
        return ~jnp.triu(self.index[:, None] == self.index, 1).any(axis=1)

    @property
    def left(self) -> jax.Array:
        """``[m, r]``, of the same step as factors."""
        return jnp.where(self.counts, self.value - self.base[:, self.index], 0)

    @property
    def right(self) -> jax.Array:
        """``[r, n]``"""
        return jax.nn.one_hot(self.index, self.base.shape[1], dtype=self.dtype)

    def dense(self) -> jax.Array:
        """The matrix itself."""
        place = jnp.where(self.counts, self.index, self.base.shape[1])  # one past the end: dropped
        return self.base.at[:, place].set(self.value, mode="drop")


def base_of(leaf: Any) -> jax.Array:
    """What `Columns` are written into; of any other leaf all of it."""
    return leaf.base if isinstance(leaf, Columns) else dense_leaf(leaf)


def write_columns(leaf: Any, index: jax.Array, value: jax.Array) -> Columns:
    """A leaf ``[m, n]`` with columns ``index [r]`` written anew, ``value [m, r]``."""
    if isinstance(leaf, Columns):
        return Columns(
            leaf.base, jnp.concatenate([leaf.index, index]), jnp.concatenate([leaf.value, value.astype(leaf.dtype)], 1)
        )
    base = dense_leaf(leaf)
    return Columns(base, index, value.astype(base.dtype))


def read_columns(leaf: Any, index: jax.Array) -> jax.Array:
    """Columns ``index [...]`` of a leaf ``[m, n]``: ``[m, ...]``."""
    return written_over(leaf, base_of(leaf)[:, index], index)


def written_over(leaf: Any, found: jax.Array, index: jax.Array) -> jax.Array:
    """Columns ``index [...]`` of a leaf, of which ``found [m, ...]`` is what its base has there."""
    if not isinstance(leaf, Columns):
        return found
    for number in range(leaf.index.size):
        value = leaf.value[:, number].reshape(-1, *(1,) * index.ndim)
        found = jnp.where(index == leaf.index[number], value, found)
    return found


def is_low_rank(node: Any) -> bool:
    """For ``is_leaf``: stop at `LowRank` and `Columns` leaves."""
    return isinstance(node, _SeenAsDense)


def dense_leaf(leaf: Any) -> Any:
    """A leaf as a plain array."""
    return leaf.dense() if is_low_rank(leaf) else leaf


def dense(tree: Any) -> Any:
    """The same tree with plain arrays only."""
    return map_low_rank(dense_leaf, tree)


def matmul(x: jax.Array, kernel: Any) -> jax.Array:
    """``x [..., m]`` times a kernel ``[m, n]``, dense or low-rank. The product with the base is shared by a brood."""
    if not is_low_rank(kernel):
        return x @ _matrix(kernel)
    return _matmul(x, _matrix(kernel.base), kernel.left, kernel.right)


def matmul_columns(x: jax.Array, kernel: Any) -> jax.Array:
    """`matmul` of examples in columns: ``x [m, P]`` to ``[n, P]``.

    What a population of narrow layers is fastest in on a CPU: everything beside the products runs along the examples.
    """
    if not is_low_rank(kernel):
        return _matrix(kernel).T @ x
    return _matmul_columns(x, _matrix(kernel.base), kernel.left, kernel.right)


def _matrix(kernel: jax.Array) -> jax.Array:
    return kernel.reshape(-1, kernel.shape[-1])


def _by_parts(x: jax.Array, base: jax.Array, left: jax.Array, right: jax.Array) -> jax.Array:
    return x @ base + (x @ left) @ right


def _by_building(x: jax.Array, base: jax.Array, left: jax.Array, right: jax.Array) -> jax.Array:
    return x @ (base + left @ right)


def _columns_by_parts(x: jax.Array, base: jax.Array, left: jax.Array, right: jax.Array) -> jax.Array:
    x = jax.lax.optimization_barrier(x)
    return base.T @ x + right.T @ (left.T @ x)


def _columns_by_building(x: jax.Array, base: jax.Array, left: jax.Array, right: jax.Array) -> jax.Array:
    return (base.T + right.T @ left.T) @ x


FEW_ROWS = 16  # building a kernel pays off where it costs less than its factors with so many rows


def _of_brood(by_parts: Callable[..., jax.Array], by_building: Callable[..., jax.Array]) -> Callable[..., jax.Array]:
    """A product that knows what to do for a whole brood.

    What goes into a later layer differs from child to child, so nothing is shared there. Where a kernel is narrow, the
    thin products with its factors cost a good part of that with its base, and one with the dense kernel is cheaper.
    """
    product = jax.custom_batching.custom_vmap(by_parts)

    @product.def_vmap
    def rule(axis_size: int, in_batched: list[bool], *operands: jax.Array) -> tuple[jax.Array, bool]:
        x, base = operands[:2]
        m, n = base.shape[-2:]
        rows = x.size // max(m, 1) // (axis_size if in_batched[0] else 1)
        build = in_batched[0] and m * n < min(rows, FEW_ROWS) * (m + n)
        axes = [0 if batched else None for batched in in_batched]
        return jax.vmap(by_building if build else by_parts, in_axes=axes)(*operands), True

    return product


_matmul = _of_brood(_by_parts, _by_building)
_matmul_columns = _of_brood(_columns_by_parts, _columns_by_building)


def add_factors(leaf: Any, left: jax.Array, right: jax.Array) -> LowRank:
    """Add a low-rank step: steps on steps keep the base and add up their ranks."""
    if is_low_rank(leaf):
        return LowRank(
            leaf.base, jnp.concatenate([leaf.left, left], axis=1), jnp.concatenate([leaf.right, right], axis=0)
        )
    return LowRank(leaf, left, right)


def select_leaf(chosen: jax.Array, new: Any, old: Any) -> Any:
    """``new`` where the scalar ``chosen`` holds, else ``old``; stays low-rank where both are steps from one base."""
    if isinstance(new, LowRank) and new.base is old:
        return LowRank(new.base, jnp.where(chosen, new.left, 0), new.right)
    written = next((leaf for leaf in (new, old) if isinstance(leaf, Columns)), None)
    if written is not None:
        one, other = (_as_written(leaf, written) for leaf in (new, old))
        if one is not None and other is not None:
            index, value = (jnp.where(chosen, *pair) for pair in zip(one, other, strict=True))
            return Columns(written.base, index, value)
    return jnp.where(chosen, dense_leaf(new), dense_leaf(old))


def _as_written(leaf: Any, like: Columns) -> tuple[jax.Array, jax.Array] | None:
    """Index and value of a leaf as `Columns` on the same base and as many; of the base itself what stands there."""
    if leaf is like.base:
        return like.index, like.base[:, like.index]
    same = isinstance(leaf, Columns) and leaf.base is like.base and leaf.index.shape == like.index.shape
    return (leaf.index, leaf.value) if same else None


def select(chosen: Any, new: Any, old: Any) -> Any:
    """`select_leaf` over trees; ``chosen`` is a scalar or a tree of scalars."""
    if not isinstance(chosen, jax.Array):
        return jax.tree.map(select_leaf, chosen, new, old)
    return map_low_rank(partial(select_leaf, chosen), new, old)


def map_low_rank(function: Callable[..., Any], tree: Any, *rest: Any) -> Any:
    """``jax.tree.map`` that stops at `LowRank` leaves of ``tree``."""
    return jax.tree.map(function, tree, *rest, is_leaf=is_low_rank)


class Factors(NamedTuple):
    """A low-rank step by itself: ``left @ right``."""

    left: jax.Array  # [m, r]
    right: jax.Array  # [r, n]


def step_leaf(new: Any, old: jax.Array) -> Factors | jax.Array:
    """``new - old``: as `Factors` where it is a low-rank step from ``old``, else as an array."""
    if is_low_rank(new) and new.base is old:
        return Factors(new.left, new.right)
    return dense_leaf(new) - old


def square_norm(step: Factors | jax.Array) -> jax.Array:
    """Sum of squares of a step as made by `step_leaf`; of ``A B`` without building it: ``tr((A'A)(BB'))``."""
    if isinstance(step, Factors):
        left, right = step
        return jnp.sum((left.T @ left) * (right @ right.T))
    return jnp.sum(step * step)


def scale_step(old: jax.Array, step: Factors | jax.Array, factor: jax.Array) -> Any:
    """``old + factor * step`` for a step as made by `step_leaf`."""
    if isinstance(step, Factors):
        left, right = step
        return LowRank(old, left * factor, right)
    return old + factor * step


def add_weighted(total: jax.Array, weights: jax.Array, steps: Any) -> jax.Array:
    """``total + sum_c weights[c] * steps[c]``, steps with a leading axis; of factors one product, ``A diag(w) B``."""
    if isinstance(steps, Factors):
        left, right = steps
        return total + jnp.einsum("c,cmr,crn->mn", weights.astype(left.dtype), left, right).reshape(total.shape)
    return total + jnp.tensordot(weights.astype(steps.dtype), steps, axes=1)
