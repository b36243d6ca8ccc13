"""Matrix products with a low-rank weight: ``x (W + A B) = x W + (x A) B``.

If all children of a brood have the same ``x``, then ``x W`` is computed once for all of them.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from jaxga.interpret.layout import Turned, turned
from jaxga.interpret.walk import array, in_rows, note_built, rule
from jaxga.lowrank import LowRank

FEW_ROWS = 16  # a weight is built if it is smaller than its factors times min(rows of x, FEW_ROWS)
MANY_ROWS = 64  # outputs are stored in columns for at least this number of examples,
NARROW = 128  # and at most this number of units


def of_brood(by_parts: Callable[..., jax.Array], many: Callable[..., Any]) -> Callable[..., jax.Array]:
    """The function ``by_parts``, which under ``vmap`` is computed by ``many(axis_size, in_batched, *operands)``.

    ``many`` computes the results of a whole brood, stacked along the first axis. Gradients are those of ``by_parts``.
    """
    brood = jax.custom_batching.custom_vmap(by_parts)
    brood.def_vmap(lambda size, batched, *operands: (many(size, batched, *operands), True))
    product = jax.custom_jvp(lambda *operands: brood(*operands))
    product.defjvp(lambda primals, tangents: jax.jvp(by_parts, primals, tangents))
    return product


def axes(batched: Sequence[bool]) -> list[int | None]:
    """``in_axes`` for ``vmap``: 0 for operands that are batched, None for the others."""
    return [0 if own else None for own in batched]


@rule("dot_general", turned=True)
def _dot(eqn: Any, a: Any, b: Any) -> Any:
    if isinstance(a, LowRank) and isinstance(b, LowRank):
        a, b = _one_weight(eqn, a, b)
    if not isinstance(a, LowRank) and not isinstance(b, LowRank):
        return NotImplemented
    p, w_first = eqn.params, isinstance(a, LowRank)
    (contract_a, contract_b), (batch_a, batch_b) = p["dimension_numbers"]
    names_a, names_b = list(range(a.ndim)), list(range(a.ndim, a.ndim + b.ndim))
    for n, m in zip((*contract_a, *batch_a), (*contract_b, *batch_b), strict=True):
        names_b[m] = names_a[n]
    summed, shared = {names_a[n] for n in contract_a}, [names_a[n] for n in batch_a]
    out = shared + [name for name in names_a + names_b if name not in summed and name not in shared]
    (w, names_w), (x, names_x) = ((a, names_a), (b, names_b)) if w_first else ((b, names_b), (a, names_a))
    plain = w.ndim == x.ndim == 2 and len(summed) == 1
    fits = plain and not w_first and x.shape[0] >= MANY_ROWS and w.shape[1] <= NARROW
    in_columns = fits and not in_rows.get()
    if in_columns:
        out = out[::-1]
    if plain and isinstance(x, Turned):
        x, names_x = x.base, [names_x[axis] for axis in x.order]
    elif in_columns and w.rank:  # transposed once, and not again in each of the products
        x, names_x = lax.optimization_barrier(array(x).T), names_x[::-1]
    options = {name: p[name] for name in ("precision", "preferred_element_type")}
    y = _product(eqn, array(x), names_x, w, names_w, out, in_columns or w_first, in_columns, options)
    return turned(y, (1, 0)) if in_columns else y


def _one_weight(eqn: Any, a: LowRank, b: LowRank) -> tuple[Any, Any]:
    """Build one of two weights as an array: a weight without a step (rank 0), else the smaller one."""
    if (a.rank > 0, a.base.size) < (b.rank > 0, b.base.size):
        note_built(eqn, a)
        return a.dense(), b
    note_built(eqn, b)
    return a, b.dense()


def _product(
    eqn: Any,
    x: jax.Array,
    names_x: list[int],
    w: LowRank,
    names_w: list[int],
    out: list[int],
    w_first: bool,
    in_columns: bool,
    options: dict[str, Any],
) -> jax.Array:
    """The sum of ``x`` times ``w`` over all axes that are not in ``out``, as in ``einsum``.

    ``names_x``, ``names_w`` and ``out`` name the axes; axes with the same name are the same axis. ``out`` lists them in
    the order in which ``dot_general`` returns them.
    """
    summed = (set(names_x) | set(names_w)) - set(out)
    size = dict(zip(names_x + names_w, x.shape + w.shape, strict=True))
    numbers = _numbers(*((names_w, names_x) if w_first else (names_x, names_w)), summed, out)

    def whole(x: jax.Array, base: jax.Array) -> jax.Array:
        return lax.dot_general(*((base, x) if w_first else (x, base)), numbers, **options)

    if w.rank == 0:
        return whole(x, w.base)

    own = [[name for name, right in zip(names_w, w.on_right, strict=True) if right is side] for side in (False, True)]
    factors = [
        part.reshape(w.rank, *(size[name] for name in names))
        for part, names in zip((w.left, w.right), own, strict=True)
    ]
    meets = [math.prod(size[name] for name in names if name in summed) for names in own]
    first, second = (0, 1) if meets[0] >= meets[1] else (1, 0)  # first multiply by the factor that sums more of x
    rank = max(size) + 1

    def thin(x: jax.Array, *factors: jax.Array) -> jax.Array:
        one, other = factors[first], factors[second]
        between = [name for name in dict.fromkeys(names_x + own[first]) if name in out or name in own[second]]
        if w.rank == 1 and not summed & set(own[second]):  # elementwise, so that XLA can fuse it with what follows
            kept = [name for name in out if name in between]
            t = jnp.einsum(x, names_x, one[0], own[first], kept, **options)
            t = t.reshape([size[name] if name in kept else 1 for name in out])
            order = sorted(own[second], key=out.index)
            u = other[0].transpose([own[second].index(name) for name in order])
            return t * u.reshape([size[name] if name in order else 1 for name in out])
        t = jnp.einsum(one, [rank, *own[first]], x, names_x, [rank, *between], **options)
        return jnp.einsum(other, [rank, *own[second]], t, [rank, *between], out, **options)

    def by_parts(x: jax.Array, base: jax.Array, *factors: jax.Array) -> jax.Array:
        y = whole(x, base)
        return y + thin(x, *factors).astype(y.dtype)

    def by_building(x: jax.Array, base: jax.Array, *factors: jax.Array) -> jax.Array:
        if not in_columns:
            step = jnp.einsum(factors[0], [rank, *own[0]], factors[1], [rank, *own[1]], names_w)
            return whole(x, base + step)
        step = jnp.einsum(factors[0], [rank, *own[0]], factors[1], [rank, *own[1]], names_w[::-1])
        return jnp.matmul(base.T + step, x if names_x[0] in summed else x.T, **options)

    def many(number: int, batched: list[bool], x: jax.Array, base: jax.Array, *factors: jax.Array) -> jax.Array:
        rows = x.size // (number if batched[0] else 1) // max(math.prod(size[name] for name in summed), 1)
        cheap = w.base.size < min(rows, FEW_ROWS) * (w.left.size + w.right.size)
        build = batched[1] or (batched[0] and cheap)
        if build:
            note_built(eqn, w, cheaper=True)
        return jax.vmap(by_building if build else by_parts, axes(batched))(x, base, *factors)

    return of_brood(by_parts, many)(x, w.base, *factors)


def _numbers(names_a: list[int], names_b: list[int], summed: set[int], out: list[int]) -> Any:
    """Dimension numbers for `jax.lax.dot_general`. The batch axes come first in ``out``."""
    both = [name for name in out if name in names_a and name in names_b]
    pairs = [[names.index(name) for name in some] for some in (sorted(summed), both) for names in (names_a, names_b)]
    return (tuple(pairs[0]), tuple(pairs[1])), (tuple(pairs[2]), tuple(pairs[3]))
