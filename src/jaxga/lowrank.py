"""A weight as its parent's array plus a low-rank step, kept apart: ``W + A B``.

A mutation of a matrix ``W [m, n]`` may be ``W + A B`` with ``A [m, r]`` and ``B [r, n]``. Drawing it costs
``r (m + n)`` random numbers instead of ``m n``, and ``x (W + A B) = x W + (x A) B``, where ``x W`` is one product for
all children of a parent. The idea is that of EGGROLL (arXiv 2511.16652), there for evolution strategies. A kernel
``[h, w, c, n]`` of a convolution is seen as the matrix ``[h w c, n]``.

Variations make such leaves. Tasks, models and other user code never meet them: `jaxga.interpret` computes what they
would make of the array, from the parts. `Columns` is the case of mutations that rewrite single units of a layer,
`Member` that of mutations that change one of several networks (or layers) that are stacked in one array.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp


@dataclass(frozen=True)
class InParts:
    """A leaf of a child that stands for an array, with the shape and dtype of its ``base``."""

    base: jax.Array
    name = ""  # of the leaf, while a program is read
    turned = False  # are its axes kept in another order? `jaxga.interpret.layout`

    def dense(self) -> jax.Array:
        """The array itself."""
        raise NotImplementedError

    @property
    def rank(self) -> int:
        """Of the step; 0 where there is none."""
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
    """``base + sum_r left[r] * right[r]``. Each axis belongs to one of the factors, and has size 1 in the other.

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
        """For each axis: does it belong to the right factor? One of size 1 counts as the left one's."""
        return tuple(size > 1 for size in self.right.shape[1:])

    def dense(self) -> jax.Array:
        """The array itself."""
        if self.rank == 0:
            return self.base
        left, right = (factor.reshape(self.rank, -1) for factor in (self.left, self.right))
        if self.on_right[-1:] == (True,) and not any(self.on_right[:-1]):
            return self.base + (left.T @ right).reshape(self.shape)
        return self.base + jnp.sum(self.left * self.right, axis=0)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Columns(InParts):
    """``base`` with r of its columns written anew: a step of rank r, and exact. Of one written twice, the last counts.

    >>> leaf = Columns(jnp.zeros((2, 3)), jnp.array([1, 1]), jnp.array([[1.0, 2.0], [1.0, 3.0]]))
    >>> leaf.dense().tolist(), leaf.low_rank().right[:, 0].tolist()
    ([[0.0, 2.0, 0.0], [0.0, 3.0, 0.0]], [[0.0, 1.0, 0.0], [0.0, 1.0, 0.0]])
    """

    base: jax.Array  # [m, n]
    index: jax.Array  # [r]
    value: jax.Array  # [m, r]
    name: str = field(default="", metadata={"static": True})

    @property
    def rank(self) -> int:
        return self.index.size

    @property
    def counts(self) -> jax.Array:
        """``[r]``: is it the last that is written to its column?"""
        return ~jnp.triu(self.index[:, None] == self.index, 1).any(axis=1)

    def low_rank(self) -> LowRank:
        """The same as base and factors."""
        left = jnp.where(self.counts, self.value - self.base[:, self.index], 0)
        right = jax.nn.one_hot(self.index, self.base.shape[1], dtype=self.dtype)
        return LowRank(self.base, left.T[:, :, None], right[:, None, :], self.name)

    def dense(self) -> jax.Array:
        """The array itself."""
        place = jnp.where(self.counts, self.index, self.base.shape[1])  # one past the end: dropped
        return self.base.at[:, place].set(self.value, mode="drop")


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Member(InParts):
    """``base`` with one of its members written anew: ``base[index]`` is ``value``, an array or a leaf in parts.

    ``together`` names all leaves of the child that were written with this index: equal names, equal index. Whoever
    takes some of these leaves from a child and not the others has to build them.

    >>> leaf = Member(jnp.zeros((3, 2)), jnp.array(1), jnp.ones(2))
    >>> leaf.shape, leaf.dense().tolist()
    ((3, 2), [[0.0, 0.0], [1.0, 1.0], [0.0, 0.0]])
    """

    base: jax.Array  # [M, ...]
    index: jax.Array  # []
    value: Any  # [...]
    together: tuple[str, ...] = field(default=(), metadata={"static": True})
    name: str = field(default="", metadata={"static": True})

    @property
    def rank(self) -> int:
        """As that of a step: more than 0."""
        return 1

    def dense(self) -> jax.Array:
        """The array itself."""
        return self.base.at[self.index].set(dense_leaf(self.value))


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
    return isinstance(node, InParts)


def dense_leaf(leaf: Any) -> Any:
    """A leaf as a plain array."""
    return leaf.dense() if is_low_rank(leaf) else leaf


def dense(tree: Any) -> Any:
    """The same tree with plain arrays only."""
    return map_low_rank(dense_leaf, tree)


def add_factors(leaf: Any, left: jax.Array, right: jax.Array) -> LowRank:
    """Add the step ``left [m, r] @ right [r, n]`` to a leaf ``[..., n]`` that is seen as a matrix ``[m, n]``.

    Steps on steps keep the base and add up their ranks.
    """
    rank, shape = right.shape[0], leaf.shape
    left, right = left.T.reshape(rank, *shape[:-1], 1), right.reshape(rank, *(1,) * (len(shape) - 1), -1)
    if isinstance(leaf, LowRank) and (leaf.left.shape[1:], leaf.right.shape[1:]) == (left.shape[1:], right.shape[1:]):
        return LowRank(leaf.base, jnp.concatenate([leaf.left, left]), jnp.concatenate([leaf.right, right]))
    return LowRank(dense_leaf(leaf), left, right)


def alone(leaf: Any) -> Any:
    """A leaf of a child whose other leaves are not taken along: a `Member` that was written with others is built."""
    return leaf.dense() if isinstance(leaf, Member) and len(leaf.together) > 1 else leaf


def select_leaf(chosen: jax.Array, new: Any, old: Any) -> Any:
    """``new`` where the scalar ``chosen`` holds, else ``old``; stays in parts where both are steps from one base."""
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
    """Index and value of a leaf as `Columns` on the same base and as many; of the base itself what stands there."""
    if leaf is like.base:
        return like.index, like.base[:, like.index]
    same = isinstance(leaf, Columns) and leaf.base is like.base and leaf.index.shape == like.index.shape
    return (leaf.index, leaf.value) if same else None


def select(chosen: Any, new: Any, old: Any) -> Any:
    """`select_leaf` over trees; ``chosen`` is a scalar or a tree of scalars."""
    if not isinstance(chosen, jax.Array):
        return jax.tree.map(lambda own, new, old: select_leaf(own, alone(new), alone(old)), chosen, new, old)
    return map_low_rank(partial(select_leaf, chosen), new, old)


def map_low_rank(function: Callable[..., Any], tree: Any, *rest: Any) -> Any:
    """``jax.tree.map`` that stops at `LowRank` leaves of ``tree``."""
    return jax.tree.map(function, tree, *rest, is_leaf=is_low_rank)


class Factors(NamedTuple):
    """A low-rank step by itself: ``sum_r left[r] * right[r]``, as in `LowRank`."""

    left: jax.Array
    right: jax.Array


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class OfMember:
    """The step of one member by itself, as in `Member`; it is 0 for all others."""

    index: jax.Array
    step: jax.Array
    together: tuple[str, ...] = field(metadata={"static": True})


Step = Factors | OfMember | jax.Array


def step_leaf(new: Any, old: jax.Array) -> Step:
    """``new - old``: as `Factors` where it is a low-rank step from ``old``, of one member alone, else as an array."""
    if isinstance(new, Member) and new.base is old:
        return OfMember(new.index, dense_leaf(new.value) - old[new.index], new.together)
    if is_low_rank(new) and new.base is old:
        found: Any = new.low_rank() if isinstance(new, Columns) else new
        return Factors(found.left, found.right)
    return dense_leaf(new) - old


def square_norm(step: Step) -> jax.Array:
    """Sum of squares of a step as made by `step_leaf`; of ``A B`` without building it: ``tr((A'A)(BB'))``."""
    if isinstance(step, OfMember):
        return square_norm(step.step)
    if isinstance(step, Factors):
        left, right = (factor.reshape(len(factor), -1) for factor in step)
        return jnp.sum((left @ left.T) * (right @ right.T))
    return jnp.sum(step * step)


def scale_step(old: jax.Array, step: Step, factor: jax.Array) -> Any:
    """``old + factor * step`` for a step as made by `step_leaf`."""
    if isinstance(step, OfMember):
        return Member(old, step.index, old[step.index] + factor * step.step, step.together)
    if isinstance(step, Factors):
        return LowRank(old, step.left * factor, step.right)
    return old + factor * step


def add_weighted(total: jax.Array, weights: jax.Array, steps: Any) -> jax.Array:
    """``total + sum_c weights[c] * steps[c]``, steps with a leading axis; of factors one product, ``A diag(w) B``."""
    if isinstance(steps, OfMember):
        weighted = weights.astype(total.dtype).reshape(-1, *(1,) * (steps.step.ndim - 1)) * steps.step
        return total.at[steps.index].add(weighted)
    if isinstance(steps, Factors):
        left, right = (factor.reshape(*factor.shape[:2], -1) for factor in steps)
        return total + jnp.einsum("c,crm,crn->mn", weights.astype(left.dtype), left, right).reshape(total.shape)
    return total + jnp.tensordot(weights.astype(steps.dtype), steps, axes=1)
