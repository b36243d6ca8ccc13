"""Mutations. All noises have unit variance, so a step size means the same for each of them.

A new mutation can be written at three levels: as noise for one leaf (`additive`), as a function of all parameters
without a strategy (`stateless`), or as a full `Variation`.
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
    """A mutation without a strategy, from a function ``(key, params) -> params``.

    The returned params must have the same structure, shapes and dtypes.

    Raises:
      InputError: if ``function`` is not a function; later, if it returns params of another structure, shape or dtype.
    """
    require_function("the argument of stateless", function, "(key, params) that returns params")
    return _stateless(seeing_arrays(function), f"mutation {name_of(function)}")


def _stateless(function: Callable[[Key, Params], Params], who: str) -> Variation:
    def apply(key: Key, individual: Individual, context: Context) -> Individual:
        del context
        return individual._replace(params=check_like(function(key, individual.params), individual.params, who))

    return Variation(lambda params: (), apply, in_parts=True)


def scaled(step_size: StepSize, move: Callable[[Key, Params, Any], Params]) -> Variation:
    """A mutation from a function of key, params and step sizes.

    Args:
      step_size: the step sizes.
      move: ``(key, params, sizes) -> params``. ``sizes`` has for every leaf of params a scalar, or an array that
        broadcasts to the leaf. The returned params have the same structure, shapes and dtypes.

    Raises:
      InputError: if ``step_size`` is not a `StepSize`, or ``move`` is not a function; later, if it returns params of
        another structure, shape or dtype.
    """
    require_step_size(step_size, "scaled")
    require_function("move", move, "(key, params, sizes) that returns params")
    return moved_by(step_size, seeing_arrays(move))


def moved_by(step_size: StepSize, move: Callable[[Key, Params, Any], Params]) -> Variation:
    """Like `scaled`, for a ``move`` that can handle low-rank leaves itself."""

    def apply(key: Key, individual: Individual, context: Context) -> Individual:
        key_size, key_noise = jax.random.split(key)
        sizes, strategy = step_size.apply(key_size, individual.strategy, context)
        sizes = checked_sizes(sizes, individual.params, f"step size {name_of(step_size.apply)}")
        moved = move(key_noise, individual.params, sizes)
        return Individual(check_like(moved, individual.params, f"mutation {name_of(move)}"), strategy)

    return Variation(step_size.init, apply, in_parts=True)


def checked_sizes(sizes: Any, params: Params, who: str) -> Any:
    """Check ``sizes``: for every leaf of params a size, or sizes that broadcast to its shape, of the leaf's dtype."""

    def broadcast(size: Any, leaf: Any) -> Any:
        shape = np.shape(size)
        return jax.ShapeDtypeStruct(shape if spreads_over(shape, leaf.shape) else leaf.shape, leaf.dtype)

    whole = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), params, is_leaf=is_low_rank)
    same = jax.tree.structure(sizes) == jax.tree.structure(whole)
    return check_like(sizes, jax.tree.map(broadcast, sizes, whole) if same else whole, who)


def additive(noise: Noise, step_size: StepSize) -> Variation:
    """``w + size * noise`` for every leaf, each with its own key.

    Args:
      noise: ``(key, shape, dtype) -> array`` with mean 0 and variance 1.
      step_size: the standard deviation of the change.

    Raises:
      InputError: if ``noise`` is not a function, or ``step_size`` is not a `StepSize`.
    """
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
    """Gaussian noise: ``w + size * N(0, 1)`` for every weight.

    With ``absolute(0.002)`` it is the mutation of Such et al. 2017 (arXiv 1712.06567).

    Raises:
      InputError: if ``step_size`` is not a `StepSize`, for instance a bare number.

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
    """Laplace noise of standard deviation ``size``: its density is proportional to ``exp(-sqrt(2) |x| / size)``.

    Raises:
      InputError: if ``step_size`` is not a `StepSize`.
    """
    require_step_size(step_size, "laplace")
    width = float(np.sqrt(0.5))
    return additive(lambda key, shape, dtype: width * jax.random.laplace(key, shape, dtype), step_size)


def uniform(step_size: StepSize) -> Variation:
    """Uniform noise of standard deviation ``size``: between ``-sqrt(3) size`` and ``sqrt(3) size``.

    Raises:
      InputError: if ``step_size`` is not a `StepSize`.
    """
    require_step_size(step_size, "uniform")
    width = float(np.sqrt(3))
    return additive(lambda key, shape, dtype: jax.random.uniform(key, shape, dtype, -width, width), step_size)


def sparse(step_size: StepSize, weights: int = 1) -> Variation:
    """A given number of weights of the whole network change by ``size * N(0, 1)``; all others stay.

    The list of all weights is divided into that many equal segments, and one weight is drawn from each segment. So
    exactly ``weights`` weights change, and each weight is equally likely to be drawn (up to rounding of the segments).

    Args:
      step_size: the standard deviation of the change.
      weights: the number of weights that change, by default 1.

    Raises:
      InputError: if ``weights`` is below 1; later, if the network has fewer weights.
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
    """One row of one array changes by ``size * N(0, 1)``: in a kernel, the outgoing weights of one input.

    The array is drawn uniformly among those that are not empty, and then a row of it. A kernel ``[..., n]`` is treated
    as a matrix ``[m, n]``, and a bias as one row.

    Raises:
      InputError: if ``step_size`` is not a `StepSize`.
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
    """Low-rank noise: ``W + size * A B / sqrt(rank)`` with ``A [m, rank]`` and ``B [rank, n]`` drawn from N(0, 1).

    Every weight changes with standard deviation ``size``. Vectors, such as biases, change as in `gaussian`. Children
    are scored without building their matrices, and children of one parent share its matrix products (`jaxga.lowrank`).

    Args:
      step_size: the standard deviation of the change: one number for each leaf, not one for each weight.
      rank: the rank of each matrix's change, by default 1.

    Raises:
      InputError: if ``rank`` is below 1; later, if ``step_size`` has one number for each weight.
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
        # One draw for all leaves, cut into pieces: the factors are small, and ten draws compile ten times as long.
        noise = normal(key, (int(ends[-1]),), jnp.result_type(*(leaf.dtype for leaf in leaves)))
        pieces = jnp.split(noise, ends[:-1])
        return treedef.unflatten(map(move_leaf, leaves, treedef.flatten_up_to(sizes), pieces))

    return moved_by(step_size, move)


def fresh(init: Callable[[Key], Params]) -> Variation:
    """A new initialisation that ignores the parent. If it is the only variation, the algorithm is random search.

    Raises:
      InputError: if ``init`` is not a function; later, if its params have other shapes than the parent's.
    """
    require_function("init", init, "a key that returns params, as task.init is")
    return _stateless(lambda key, params: init(key), f"init {name_of(init)}")
