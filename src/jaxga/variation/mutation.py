"""Mutations. Every noise has unit variance, so a step size means the same for all of them.

Three levels for whoever adds one: a function of one leaf (`additive`), a stateless function of the parameters
(`stateless`), or a full `Variation`.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxga.base import Context, Individual, Key, Params, Variation, require, require_whole
from jaxga.lowrank import add_factors, dense, dense_leaf, is_low_rank
from jaxga.noise import normal
from jaxga.tree import check_like, iota, key_tree, name_of, size
from jaxga.variation.checks import require_function, seeing_arrays, spreads_over
from jaxga.variation.step_size import StepSize, require_step_size

Noise = Callable[[Key, tuple[int, ...], Any], jax.Array]  # (key, shape, dtype) -> unit variance


def stateless(function: Callable[[Key, Params], Params]) -> Variation:
    """A mutation that inherits nothing, from ``(key, params) -> params`` of the same structure, shapes and dtypes."""
    require_function("the argument of stateless", function, "(key, params) that returns params")
    return _stateless(seeing_arrays(function), f"mutation {name_of(function)}")


def _stateless(function: Callable[[Key, Params], Params], who: str) -> Variation:
    def apply(key: Key, individual: Individual, context: Context) -> Individual:
        del context
        return individual._replace(params=check_like(function(key, individual.params), individual.params, who))

    return Variation(lambda params: (), apply, in_parts=True)


def scaled(step_size: StepSize, move: Callable[[Key, Params, Any], Params]) -> Variation:
    """A mutation from ``move: (key, params, sizes) -> params``, its sizes from ``step_size``."""
    require_step_size(step_size, "scaled")
    require_function("move", move, "(key, params, sizes) that returns params")
    return moved_by(step_size, seeing_arrays(move))


def moved_by(step_size: StepSize, move: Callable[[Key, Params, Any], Params]) -> Variation:
    """`scaled` for a ``move`` that takes leaves in parts."""

    def apply(key: Key, individual: Individual, context: Context) -> Individual:
        key_size, key_noise = jax.random.split(key)
        sizes, strategy = step_size.apply(key_size, individual.strategy, context)
        sizes = checked_sizes(sizes, individual.params, f"step size {name_of(step_size.apply)}")
        moved = move(key_noise, individual.params, sizes)
        return Individual(check_like(moved, individual.params, f"mutation {name_of(move)}"), strategy)

    return Variation(step_size.init, apply, in_parts=True)


def checked_sizes(sizes: Any, params: Params, who: str) -> Any:
    """A tree like ``params``: for every leaf one size, or sizes that go with its shape, of its dtype."""

    def broadcast(size: Any, leaf: Any) -> Any:
        shape = np.shape(size)
        return jax.ShapeDtypeStruct(shape if spreads_over(shape, leaf.shape) else leaf.shape, leaf.dtype)

    whole = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), params, is_leaf=is_low_rank)
    same = jax.tree.structure(sizes) == jax.tree.structure(whole)
    return check_like(sizes, jax.tree.map(broadcast, sizes, whole) if same else whole, who)


def additive(noise: Noise, step_size: StepSize) -> Variation:
    """``w + size * noise`` on every leaf, a key of its own for each; ``noise: (key, shape, dtype) -> array``."""
    require_function("noise", noise, "(key, shape, dtype)")
    require_step_size(step_size, "additive")

    def move(key: Key, params: Params, sizes: Any) -> Params:
        params = dense(params)
        keys = key_tree(key, params)
        drawn = jax.tree.map(lambda leaf_key, leaf: noise(leaf_key, leaf.shape, leaf.dtype), keys, params)
        drawn = check_like(drawn, params, f"noise {name_of(noise)}")
        return jax.tree.map(lambda leaf, size, step: leaf + size * step, params, sizes, drawn)

    return moved_by(step_size, move)


def gaussian(step_size: StepSize) -> Variation:
    """``w + size * N(0, 1)``: the mutation of Such et al. 2017 (arXiv 1712.06567) with ``absolute(0.002)``.

    >>> from jaxga.variation import absolute
    >>> mutation = gaussian(absolute(0.1))
    >>> parent = Individual(params := jnp.zeros(3), mutation.init(params))
    >>> child = mutation.apply(jax.random.key(0), parent, Context(jnp.int32(0), parent))
    >>> child.params.shape
    (3,)
    """
    require_step_size(step_size, "gaussian")
    return additive(normal, step_size)


def laplace(step_size: StepSize) -> Variation:
    """Symmetric exponential noise of standard deviation ``size``: its density falls as ``exp(-sqrt(2) |x| / size)``."""
    require_step_size(step_size, "laplace")
    width = float(np.sqrt(0.5))
    return additive(lambda key, shape, dtype: width * jax.random.laplace(key, shape, dtype), step_size)


def uniform(step_size: StepSize) -> Variation:
    """Uniform noise of standard deviation ``size``: between ``-sqrt(3) size`` and ``sqrt(3) size``."""
    require_step_size(step_size, "uniform")
    width = float(np.sqrt(3))
    return additive(lambda key, shape, dtype: jax.random.uniform(key, shape, dtype, -width, width), step_size)


def sparse(step_size: StepSize, weights: int = 1) -> Variation:
    """``weights`` weights of the whole network move by ``size * N(0, 1)``, all others stay.

    The weights are numbered through and cut into ``weights`` equal stretches; one of each stretch is drawn, so that
    exactly that many differ and each is as likely as any other (up to rounding of the stretches).
    """
    require_step_size(step_size, "sparse")
    require_whole(1, weights=weights)

    def move(key: Key, params: Params, sizes: Any) -> Params:
        params = dense(params)
        total = size(params)
        require(weights <= total, f"weights is {weights}, and the network has {total}: ask for fewer.")
        edges = np.arange(weights + 1) * total // weights
        key_place, key_noise = jax.random.split(key)
        places = jax.random.randint(key_place, (weights,), edges[:-1], edges[1:], jnp.int32)
        noise = jax.random.normal(key_noise, (weights,), jnp.float32)
        leaves, treedef = jax.tree.flatten(params)
        moved, offset = [], 0
        for leaf, leaf_size in zip(leaves, jax.tree.leaves(sizes), strict=True):
            inside = (places >= offset) & (places < offset + leaf.size)
            target = jnp.where(inside, places - offset, leaf.size)  # one past the end: dropped
            change = jnp.zeros(leaf.size, leaf.dtype).at[target].add(noise.astype(leaf.dtype), mode="drop")
            moved.append(leaf + leaf_size * change.reshape(leaf.shape))
            offset += leaf.size
        return treedef.unflatten(moved)

    return moved_by(step_size, move)


def row(step_size: StepSize) -> Variation:
    """One row of one array moves by ``size * N(0, 1)``: the weights that leave one input.

    The array is drawn uniformly among those that have rows; a kernel ``[..., n]`` is seen as the matrix ``[m, n]``, a
    bias as one row.
    """
    require_step_size(step_size, "row")

    def move(key: Key, params: Params, sizes: Any) -> Params:
        leaves, treedef = jax.tree.flatten(dense(params))
        key_leaf, key_row, key_noise = jax.random.split(key, 3)
        filled = [number for number, leaf in enumerate(leaves) if leaf.size]
        chosen = jax.random.randint(key_leaf, (), 0, len(filled), jnp.int32)
        moved = list(leaves)
        for place, number in enumerate(filled):
            leaf, leaf_size = leaves[number], jax.tree.leaves(sizes)[number]
            width = leaf.shape[-1] if leaf.ndim else 1
            height = leaf.size // width
            index = jax.random.randint(jax.random.fold_in(key_row, number), (), 0, height, jnp.int32)
            noise = jax.random.normal(jax.random.fold_in(key_noise, number), (width,), leaf.dtype)
            hit = (iota(height) == index) & (chosen == place)
            moved[number] = leaf + leaf_size * jnp.where(hit[:, None], noise, 0).reshape(leaf.shape)
        return treedef.unflatten(moved)

    return moved_by(step_size, move)


def low_rank(step_size: StepSize, rank: int = 1) -> Variation:
    """``W + size * A B / sqrt(rank)`` with ``A [m, rank]`` and ``B [rank, n]`` of independent N(0, 1).

    Vectors move as in `gaussian`. Every weight moves with standard deviation ``size``. Children of one parent share
    its matrix products and are never built (`jaxga.lowrank`). A step size must be one number a leaf, not one a weight.
    """
    require_step_size(step_size, "low_rank")
    require_whole(1, rank=rank)

    def numbers(leaf: Any) -> int:
        if 0 in leaf.shape:
            return 0
        return rank * (int(np.prod(leaf.shape[:-1])) + leaf.shape[-1]) if leaf.ndim >= 2 else int(np.prod(leaf.shape))

    def move_leaf(leaf: Any, leaf_size: jax.Array, noise: jax.Array) -> Any:
        noise = noise.astype(leaf.dtype)
        if 0 in leaf.shape:
            return leaf
        if leaf.ndim < 2:
            return dense_leaf(leaf) + leaf_size * noise.reshape(leaf.shape)
        require(
            leaf_size.ndim == 0,
            "low_rank takes one step size a leaf, not one a weight: use per=per.leaf, or gaussian.",
        )
        left, right = jnp.split(noise, [noise.size - rank * leaf.shape[-1]])
        scale = leaf_size / jnp.sqrt(jnp.asarray(rank, jnp.float32)).astype(leaf.dtype)
        return add_factors(leaf, left.reshape(-1, rank) * scale, right.reshape(rank, -1))

    def move(key: Key, params: Params, sizes: Any) -> Params:
        leaves, treedef = jax.tree.flatten(params, is_low_rank)
        ends = np.cumsum([numbers(leaf) for leaf in leaves])
        # One draw, cut into pieces: the factors are small, and ten draws take ten times as long to compile.
        noise = normal(key, (int(ends[-1]),), jnp.result_type(*(leaf.dtype for leaf in leaves)))
        pieces = jnp.split(noise, ends[:-1])
        return treedef.unflatten(map(move_leaf, leaves, treedef.flatten_up_to(sizes), pieces))

    return moved_by(step_size, move)


def fresh(init: Callable[[Key], Params]) -> Variation:
    """A new initialisation that ignores the parent. As the only variation it makes the search random search."""
    require_function("init", init, "a key that returns params, as task.init is")
    return _stateless(lambda key, params: init(key), f"init {name_of(init)}")
