"""Leaves in parts: a weight as its parent's array plus a low-rank step, ``W + A B``, which are stored separately.

A mutation can change a matrix ``W [m, n]`` to ``W + A B``, with ``A [m, r]`` and ``B [r, n]``. It draws ``r (m + n)``
random numbers instead of ``m n``. Since ``x (W + A B) = x W + (x A) B``, the product ``x W`` can be computed once for
all children of a parent. EGGROLL uses this for evolution strategies (arXiv 2511.16652, 2025). A convolution kernel
``[h, w, c, n]`` is treated as the matrix ``[h w c, n]``.

Variations make such leaves. Tasks, models and other user code never see them: `jaxga.interpret` applies user code,
which is written for arrays, to the parts. There are three kinds of leaves in parts: `LowRank`, `Columns` for mutations
that rewrite single units of a layer, and `Member` for mutations that change one of several networks (or layers) that
are stacked in one array.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp


@dataclass(frozen=True)
class InParts:
    """A leaf of a child that stands for an array, with the shape and dtype of ``base``: a leaf in parts."""

    base: jax.Array
    name = ""  # of the leaf, while `jaxga.interpret` evaluates a program
    turned = False  # are its axes stored in another order? See `jaxga.interpret.layout`

    def dense(self) -> jax.Array:
        """The array for which the leaf stands."""
        raise NotImplementedError

    @property
    def rank(self) -> int:
        """The rank of the step; 0 if there is no step."""
        return 0

    @property
    def shape(self) -> tuple[int, ...]:
        return self.base.shape

    @property
    def ndim(self) -> int:
        return self.base.ndim

    @property
    def dtype(self) -> Any:
        return self.base.dtype


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class LowRank(InParts):
    """The array ``base + sum_r left[r] * right[r]``. Each axis belongs to one factor, and has size 1 in the other.

    >>> leaf = LowRank(jnp.zeros((2, 3)), jnp.ones((1, 2, 1)), jnp.ones((1, 1, 3)))
    >>> leaf.shape, leaf.rank, leaf.on_right, leaf.dense().tolist()
    ((2, 3), 1, (False, True), [[1.0, 1.0, 1.0], [1.0, 1.0, 1.0]])
    """

    base: jax.Array  # [...]
    left: jax.Array  # [r, ...]
    right: jax.Array  # [r, ...]
    name: str = field(default="", metadata={"static": True})

    @property
    def rank(self) -> int:
        return self.left.shape[0]

    @property
    def on_right(self) -> tuple[bool, ...]:
        """For each axis: does it belong to the right factor? An axis of size 1 counts as the left factor's."""
        return tuple(size > 1 for size in self.right.shape[1:])

    def dense(self) -> jax.Array:
        """The array for which the leaf stands."""
        if self.rank == 0:
            return self.base
        left, right = (factor.reshape(self.rank, -1) for factor in (self.left, self.right))
        if self.on_right[-1:] == (True,) and not any(self.on_right[:-1]):
            return self.base + (left.T @ right).reshape(self.shape)
        return self.base + jnp.sum(self.left * self.right, axis=0)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Columns(InParts):
    """The array ``base`` with r of its columns replaced: a step of rank r, without rounding.

    If a column is replaced twice, the last value counts.

    >>> leaf = Columns(jnp.zeros((2, 3)), jnp.array([1, 1]), jnp.array([[1.0, 2.0], [1.0, 3.0]]))
    >>> leaf.dense().tolist(), leaf.low_rank().right[:, 0].tolist()
    ([[0.0, 2.0, 0.0], [0.0, 3.0, 0.0]], [[0.0, 1.0, 0.0], [0.0, 1.0, 0.0]])
    """

    base: jax.Array  # [m, n]
    index: jax.Array  # [r], which columns are replaced
    value: jax.Array  # [m, r], the new columns
    name: str = field(default="", metadata={"static": True})

    @property
    def rank(self) -> int:
        return self.index.size

    @property
    def counts(self) -> jax.Array:
        """Bool ``[r]``: is this the last value for its column?"""
        return ~jnp.triu(self.index[:, None] == self.index, 1).any(axis=1)

    def low_rank(self) -> LowRank:
        """The same array as a `LowRank`."""
        left = jnp.where(self.counts, self.value - self.base[:, self.index], 0)
        right = jax.nn.one_hot(self.index, self.base.shape[1], dtype=self.dtype)
        return LowRank(self.base, left.T[:, :, None], right[:, None, :], self.name)

    def dense(self) -> jax.Array:
        """The array for which the leaf stands."""
        place = jnp.where(self.counts, self.index, self.base.shape[1])  # one past the end, so that it is dropped
        return self.base.at[:, place].set(self.value, mode="drop")


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Member(InParts):
    """The array ``base`` with one member replaced: ``base[index]`` becomes ``value``, an array or a leaf in parts.

    ``together`` names all leaves of the child that were replaced at the same index: leaves with equal ``together`` have
    equal indices. Code that takes only some of these leaves from a child must therefore build them (`alone`).

    >>> leaf = Member(jnp.zeros((3, 2)), jnp.array(1), jnp.ones(2))
    >>> leaf.shape, leaf.dense().tolist()
    ((3, 2), [[0.0, 0.0], [1.0, 1.0], [0.0, 0.0]])
    """

    base: jax.Array  # [M, ...]
    index: jax.Array  # [], which member is replaced
    value: Any  # [...], the new member
    together: tuple[str, ...] = field(default=(), metadata={"static": True})
    name: str = field(default="", metadata={"static": True})

    @property
    def rank(self) -> int:
        """1: there is a step, of whatever rank."""
        return 1

    def dense(self) -> jax.Array:
        """The array for which the leaf stands."""
        return self.base.at[self.index].set(dense_leaf(self.value))


def base_of(leaf: Any) -> jax.Array:
    """The base of `Columns`; any other leaf as an array."""
    return leaf.base if isinstance(leaf, Columns) else dense_leaf(leaf)


def write_columns(leaf: Any, index: jax.Array, value: jax.Array) -> Columns:
    """Replace columns ``index [r]`` of a leaf ``[m, n]`` by ``value [m, r]``.

    >>> write_columns(jnp.zeros((2, 3)), jnp.array([1]), jnp.array([[5.0], [6.0]])).dense().tolist()
    [[0.0, 5.0, 0.0], [0.0, 6.0, 0.0]]
    """
    if isinstance(leaf, Columns):
        return Columns(
            leaf.base, jnp.concatenate([leaf.index, index]), jnp.concatenate([leaf.value, value.astype(leaf.dtype)], 1)
        )
    base = dense_leaf(leaf)
    return Columns(base, index, value.astype(base.dtype))


def read_columns(leaf: Any, index: jax.Array) -> jax.Array:
    """Columns ``index [...]`` of a leaf ``[m, n]``, as an array ``[m, ...]``.

    >>> leaf = write_columns(jnp.zeros((2, 3)), jnp.array([1]), jnp.array([[5.0], [6.0]]))
    >>> read_columns(leaf, jnp.array([1, 2])).tolist()
    [[5.0, 0.0], [6.0, 0.0]]
    """
    return written_over(leaf, base_of(leaf)[:, index], index)


def written_over(leaf: Any, found: jax.Array, index: jax.Array) -> jax.Array:
    """As `read_columns`, if columns ``index [...]`` of the leaf's base are known: ``found [m, ...]``."""
    if not isinstance(leaf, Columns):
        return found
    for number in range(leaf.index.size):
        value = leaf.value[:, number].reshape(-1, *(1,) * index.ndim)
        found = jnp.where(index == leaf.index[number], value, found)
    return found


def is_low_rank(node: Any) -> bool:
    """Is the node a leaf in parts? For ``is_leaf`` of `jax.tree.map`."""
    return isinstance(node, InParts)


def dense_leaf(leaf: Any) -> Any:
    """A leaf as a plain array."""
    return leaf.dense() if is_low_rank(leaf) else leaf


def dense(tree: Any) -> Any:
    """The same tree with all leaves as plain arrays."""
    return map_low_rank(dense_leaf, tree)


def add_factors(leaf: Any, left: jax.Array, right: jax.Array) -> LowRank:
    """Add the step ``left [m, r] @ right [r, n]`` to a leaf ``[..., n]``, treated as a matrix ``[m, n]``.

    If the leaf has a step already, the base stays the same and the ranks add up.

    >>> leaf = add_factors(jnp.zeros((2, 3)), jnp.ones((2, 1)), jnp.ones((1, 3)))
    >>> add_factors(leaf, jnp.ones((2, 1)), jnp.ones((1, 3))).rank
    2
    """
    rank, shape = right.shape[0], leaf.shape
    left, right = left.T.reshape(rank, *shape[:-1], 1), right.reshape(rank, *(1,) * (len(shape) - 1), -1)
    if isinstance(leaf, LowRank) and (leaf.left.shape[1:], leaf.right.shape[1:]) == (left.shape[1:], right.shape[1:]):
        return LowRank(leaf.base, jnp.concatenate([leaf.left, left]), jnp.concatenate([leaf.right, right]))
    return LowRank(dense_leaf(leaf), left, right)


def alone(leaf: Any) -> Any:
    """A leaf to be used without the child's other leaves: a `Member` that was replaced with others becomes an array."""
    return leaf.dense() if isinstance(leaf, Member) and len(leaf.together) > 1 else leaf


def select_leaf(chosen: jax.Array, new: Any, old: Any) -> Any:
    """``new`` if the scalar ``chosen`` is True, else ``old``. It stays in parts if both have the same base."""
    if isinstance(new, LowRank) and new.base is old:
        return LowRank(new.base, jnp.where(chosen, new.left, 0), new.right)
    if isinstance(old, LowRank) and old.base is new:
        return LowRank(old.base, jnp.where(chosen, 0, old.left), old.right)
    if isinstance(old, Member) and old.base is new:
        return select_leaf(~chosen, old, new)
    if isinstance(new, Member):
        if new.base is old:
            parent = new.value.base if is_low_rank(new.value) else new.base[new.index]
            return replace(new, value=select_leaf(chosen, new.value, parent))
        if isinstance(old, Member) and (old.base is new.base, old.together) == (True, new.together):
            index, value = select(chosen, (new.index, dense_leaf(new.value)), (old.index, dense_leaf(old.value)))
            return replace(new, index=index, value=value)
    written = next((leaf for leaf in (new, old) if isinstance(leaf, Columns)), None)
    if written is not None:
        one, other = (_as_written(leaf, written) for leaf in (new, old))
        if one is not None and other is not None:
            index, value = (jnp.where(chosen, *pair) for pair in zip(one, other, strict=True))
            return Columns(written.base, index, value)
    return jnp.where(chosen, dense_leaf(new), dense_leaf(old))


def _as_written(leaf: Any, like: Columns) -> tuple[jax.Array, jax.Array] | None:
    """Index and value of a leaf as `Columns` with the base and the number of columns of ``like``; else None.

    The base itself is seen as columns that are replaced by themselves.
    """
    if leaf is like.base:
        return like.index, like.base[:, like.index]
    same = isinstance(leaf, Columns) and leaf.base is like.base and leaf.index.shape == like.index.shape
    return (leaf.index, leaf.value) if same else None


def select(chosen: Any, new: Any, old: Any) -> Any:
    """`select_leaf` for every leaf of a tree. ``chosen`` is a scalar, or a tree with a scalar for every leaf."""
    if not isinstance(chosen, jax.Array):
        return jax.tree.map(lambda own, new, old: select_leaf(own, alone(new), alone(old)), chosen, new, old)
    return map_low_rank(partial(select_leaf, chosen), new, old)


def map_low_rank(function: Callable[..., Any], tree: Any, *rest: Any) -> Any:
    """As ``jax.tree.map``, where a leaf of ``tree`` that is in parts counts as one leaf."""
    return jax.tree.map(function, tree, *rest, is_leaf=is_low_rank)


class Factors(NamedTuple):
    """A low-rank step without its base: ``sum_r left[r] * right[r]``, as in `LowRank`."""

    left: jax.Array  # [r, ...]
    right: jax.Array  # [r, ...]


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class OfMember:
    """The step of one member without its base, as in `Member`. The step of all other members is 0."""

    index: jax.Array  # []
    step: jax.Array  # [...]
    together: tuple[str, ...] = field(metadata={"static": True})


Step = Factors | OfMember | jax.Array


def step_leaf(new: Any, old: jax.Array) -> Step:
    """The step ``new - old``.

    It is an `OfMember` or `Factors` if ``new`` is in parts and its base is ``old`` (the same object), else an array.
    """
    if isinstance(new, Member) and new.base is old:
        return OfMember(new.index, dense_leaf(new.value) - old[new.index], new.together)
    if is_low_rank(new) and new.base is old:
        found: Any = new.low_rank() if isinstance(new, Columns) else new
        return Factors(found.left, found.right)
    return dense_leaf(new) - old


def square_norm(step: Step) -> jax.Array:
    """The sum of squares of a step from `step_leaf`.

    For factors this is ``tr((A'A)(BB'))``, so that ``A B`` is not built.

    >>> float(square_norm(Factors(jnp.ones((1, 2, 1)), jnp.ones((1, 1, 3)))))
    6.0
    """
    if isinstance(step, OfMember):
        return square_norm(step.step)
    if isinstance(step, Factors):
        left, right = (factor.reshape(len(factor), -1) for factor in step)
        return jnp.sum((left @ left.T) * (right @ right.T))
    return jnp.sum(step * step)


def scale_step(old: jax.Array, step: Step, factor: jax.Array) -> Any:
    """``old + factor * step``, for a step from `step_leaf`. The result is in parts if the step is."""
    if isinstance(step, OfMember):
        return Member(old, step.index, old[step.index] + factor * step.step, step.together)
    if isinstance(step, Factors):
        return LowRank(old, step.left * factor, step.right)
    return old + factor * step


def add_weighted(total: jax.Array, weights: jax.Array, steps: Any) -> jax.Array:
    """``total + sum_c weights[c] * steps[c]``, for stacked steps ``[c, ...]``.

    Factors are summed as one matrix product, ``A diag(w) B``.
    """
    if isinstance(steps, OfMember):
        weighted = weights.astype(total.dtype).reshape(-1, *(1,) * (steps.step.ndim - 1)) * steps.step
        return total.at[steps.index].add(weighted)
    if isinstance(steps, Factors):
        left, right = (factor.reshape(*factor.shape[:2], -1) for factor in steps)
        return total + jnp.einsum("c,crm,crn->mn", weights.astype(left.dtype), left, right).reshape(total.shape)
    return total + jnp.tensordot(weights.astype(steps.dtype), steps, axes=1)
