"""Rules for operations that only rearrange, cut, scale or look up a weight.

Each is applied to the base, and to each factor along the axes that belong to that factor.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxga.interpret.walk import rule
from jaxga.lowrank import LowRank


def of_parts(w: LowRank, function: Callable[[jax.Array], jax.Array]) -> LowRank:
    """Apply an elementwise function to the base and to both factors."""
    return replace(w, base=function(w.base), left=function(w.left), right=function(w.right))


def along_axes(w: LowRank, function: Callable[[jax.Array, int], jax.Array]) -> LowRank:
    """Apply ``function(part, extra)`` to the base and both factors.

    ``extra`` is the number of additional leading axes: 1 for factors, whose first axis is the rank, and 0 for the base.
    """
    return replace(w, base=function(w.base, 0), left=function(w.left, 1), right=function(w.right, 1))


def _along(w: LowRank, cut: Callable[[jax.Array, int, Sequence[bool]], jax.Array]) -> LowRank:
    """As `along_axes`, with ``cut(part, extra, own)``, where ``own`` says which axes belong to this part."""
    right = w.on_right
    left = [side == size and not r for side, size, r in zip(w.left.shape[1:], w.shape, right, strict=True)]
    return replace(w, base=cut(w.base, 0, [True] * w.ndim), left=cut(w.left, 1, left), right=cut(w.right, 1, right))


@rule("convert_element_type")
def _convert(eqn: Any, w: LowRank) -> Any:
    dtype = eqn.params["new_dtype"]
    if not jnp.issubdtype(dtype, jnp.floating):
        return NotImplemented
    return of_parts(w, lambda part: part.astype(dtype))


@rule("copy", "copy_p", "stop_gradient", "name", "optimization_barrier")
def _same(eqn: Any, w: LowRank, *others: Any) -> Any:
    if others or eqn.primitive.multiple_results:
        return NotImplemented
    return of_parts(w, lambda part: eqn.primitive.bind(part, **eqn.params))


@rule("neg")
def _neg(_: Any, w: LowRank) -> LowRank:
    return replace(w, base=-w.base, left=-w.left)


@rule("mul", "div")
def _scale(eqn: Any, a: Any, b: Any) -> Any:
    w, other = (a, b) if isinstance(a, LowRank) else (b, a)
    divides = eqn.primitive.name == "div"
    if isinstance(other, LowRank) or np.ndim(other) or (divides and w is b):
        return NotImplemented
    by = jnp.divide if divides else jnp.multiply
    return replace(w, base=by(w.base, other), left=by(w.left, other))


@rule("transpose")
def _transpose(eqn: Any, w: LowRank) -> LowRank:
    order = eqn.params["permutation"]
    return along_axes(w, lambda part, extra: part.transpose((*range(extra), *(axis + extra for axis in order))))


@rule("reshape", "squeeze", "expand_dims", "broadcast_in_dim")
def _reshape(eqn: Any, w: LowRank, *dynamic: Any) -> Any:
    old, new = w.shape, eqn.outvars[0].aval.shape
    reorders = eqn.primitive.name == "reshape" and eqn.params.get("dimensions") is not None
    if dynamic or reorders or np.prod(old) != np.prod(new) or 0 in old:
        return NotImplemented
    ends, goals = (np.cumprod([1, *shape]) for shape in (old, new))
    right = []
    for axis in range(len(new)):  # a new axis is made of the old axes that overlap with it
        low, high = goals[axis], goals[axis + 1]
        sides = {side for n, side in enumerate(w.on_right) if old[n] > 1 and max(ends[n], low) < min(ends[n + 1], high)}
        if len(sides) > 1:
            return NotImplemented
        right.append(True in sides)
    shapes = ([size if side is mine else 1 for size, side in zip(new, right, strict=True)] for mine in (False, True))
    left, right = (part.reshape(w.rank, *shape) for part, shape in zip((w.left, w.right), shapes, strict=True))
    return replace(w, base=w.base.reshape(new), left=left, right=right)


@rule("slice")
def _slice(eqn: Any, w: LowRank) -> LowRank:
    p = eqn.params
    cuts = list(map(slice, p["start_indices"], p["limit_indices"], p["strides"] or (1,) * w.ndim))

    def cut(part: jax.Array, extra: int, own: Sequence[bool]) -> jax.Array:
        return part[(slice(None),) * extra + tuple(c if o else slice(None) for c, o in zip(cuts, own, strict=True))]

    return _along(w, cut)


@rule("dynamic_slice")
def _dynamic_slice(eqn: Any, w: Any, *starts: Any) -> Any:
    if not isinstance(w, LowRank) or any(isinstance(start, LowRank) for start in starts):
        return NotImplemented
    sizes = eqn.params["slice_sizes"]

    def cut(part: jax.Array, extra: int, own: Sequence[bool]) -> jax.Array:
        zero = jnp.zeros_like(starts[0])
        begin = [zero] * extra + [start if o else zero for start, o in zip(starts, own, strict=True)]
        size = [s if o else whole for s, o, whole in zip(sizes, own, part.shape[extra:], strict=True)]
        return lax.dynamic_slice(part, begin, [*part.shape[:extra], *size])

    return _along(w, cut)


@rule("rev")
def _rev(eqn: Any, w: LowRank) -> LowRank:
    return along_axes(w, lambda part, extra: lax.rev(part, [axis + extra for axis in eqn.params["dimensions"]]))


@rule("split")
def _split(eqn: Any, w: LowRank) -> list[LowRank]:
    axis, ends = eqn.params["axis"], np.cumsum([0, *eqn.params["sizes"]])

    def part(start: int, end: int) -> LowRank:
        return _along(w, lambda p, extra, own: lax.slice_in_dim(p, start, end, axis=axis + extra) if own[axis] else p)

    return [part(int(start), int(end)) for start, end in pairwise(ends)]


@rule("concatenate")
def _concatenate(eqn: Any, *ws: Any) -> Any:
    axis = eqn.params["dimension"]
    alike = all(isinstance(w, LowRank) and w.shape[axis] > 1 for w in ws) and len({w.on_right for w in ws}) == 1
    if not alike:
        return NotImplemented
    side, total, before = ws[0].on_right[axis], sum(w.shape[axis] for w in ws), 0
    left, right = [], []
    for w in ws:  # the ranks add up; the step of each weight is 0 in the places of the other weights
        widths = [(0, 0)] * (w.ndim + 1)
        widths[axis + 1] = before, total - before - w.shape[axis]
        before += w.shape[axis]
        left.append(w.left if side else jnp.pad(w.left, widths))
        right.append(jnp.pad(w.right, widths) if side else w.right)
    base = jnp.concatenate([w.base for w in ws], axis)
    return LowRank(base, jnp.concatenate(left), jnp.concatenate(right), " + ".join(dict.fromkeys(w.name for w in ws)))


@rule("reduce_sum")
def _sum(eqn: Any, w: LowRank) -> LowRank:
    axes = eqn.params["axes"]
    return along_axes(w, lambda part, extra: part.sum([axis + extra for axis in axes]))


@rule("gather")
def _gather(eqn: Any, w: Any, index: Any) -> Any:
    p = eqn.params
    d, sizes = p["dimension_numbers"], p["slice_sizes"]
    if not isinstance(w, LowRank) or isinstance(index, LowRank) or d.operand_batching_dims:
        return NotImplemented
    cut = {axis for axis in range(w.ndim) if sizes[axis] < w.shape[axis]}
    if p["fill_value"] is not None and not np.isnan(p["fill_value"]):
        return NotImplemented
    sides = {w.on_right[axis] for axis in cut}
    if len(sides) != 1:
        return NotImplemented
    on_right = sides.pop()
    mine, other = (w.right, w.left) if on_right else (w.left, w.right)
    numbers = lax.GatherDimensionNumbers(
        offset_dims=(0, *(axis + 1 for axis in d.offset_dims)),
        collapsed_slice_dims=tuple(axis + 1 for axis in d.collapsed_slice_dims),
        start_index_map=tuple(axis + 1 for axis in d.start_index_map),
    )
    narrow = (w.rank, *(size if axis in cut else mine.shape[axis + 1] for axis, size in enumerate(sizes)))
    options = {name: p[name] for name in ("mode", "fill_value", "unique_indices", "indices_are_sorted")}
    taken = lax.gather(mine, index, numbers, narrow, **options)
    base = lax.gather(w.base, index, d, sizes, **options)
    kept = [axis for axis in range(w.ndim) if axis not in d.collapsed_slice_dims]
    shape = [1] * (taken.ndim - 1)
    for place, axis in zip(d.offset_dims, kept, strict=True):
        shape[place] = other.shape[axis + 1]
    other = other.reshape(w.rank, *shape)
    if np.prod(index.shape[:-1]) == 1:
        return replace(
            w, base=base, **({"left": other, "right": taken} if on_right else {"left": taken, "right": other})
        )
    return base + (taken * other).sum(0)  # several rows of a table: from here on they are inputs, and not a weight
