"""Encodings in which several weights depend on the same gene: random subspaces, and tied weights."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxga.base import Key, Params, as_key, require, require_whole
from jaxga.encoding.encoded import Encoding
from jaxga.encoding.leaves import Leaf, of_leaves
from jaxga.tree import iota, path_key, size


def subspace(init: Callable[[Key], Params], dimensions: int, key: Key | int = 0) -> Encoding:
    """Evolve a random subspace: the D weights are ``theta = theta_0 + P z``, and z ``[d]`` are the genes.

    theta_0 is a fixed random initialisation, and P ``[D, d]`` a fixed random projection with orthonormal columns (Li et
    al. 2018). In this implementation each weight belongs to one gene, which is drawn at random. The numbers of weights
    of two genes differ by at most one. A gene z with c weights adds ``z / sqrt(c)`` to each of them, with a random
    sign. (Weights that are tied at random are known from HashedNets, Chen et al. 2015.)

    No two columns of P have a weight in common, so they are exactly orthogonal. Whatever d is, P takes 8 bytes a weight
    and one pass over the weights. A dense P with d = 750 would take 600 MB for a perceptron 784-200-200-10, and 150
    million multiplications for each child.

    All genes are 0 at first, so relative step sizes have no scale: use `jaxga.variation.absolute`. With ``absolute(s)``
    the distance of a child from its parent is about ``s * sqrt(d)``, in the space of all weights.

    Args:
      init: ``(key) -> params``, the network.
      dimensions: d, at most D.
      key: a key or a seed, for theta_0 and P, by default 0. All individuals of a run have the same theta_0 and P.

    Returns:
      An `Encoding` with genes ``[d]`` in float32.

    Raises:
      InputError: if ``dimensions`` is below 1 or above D, or ``key`` is neither a key nor a seed.

    >>> encoding = subspace(lambda key: {"w": jax.random.normal(key, (20, 30))}, 50)
    >>> genes = encoding.init(jax.random.key(0))
    >>> step = encoding.decode(genes + 1.0)["w"] - encoding.decode(genes)["w"]
    >>> genes.shape, round(float(jnp.sum(step**2)), 3)
    ((50,), 50.0)
    """
    require_whole(1, dimensions=dimensions)
    key_start, key_genes, key_signs = jax.random.split(path_key(as_key(key), ("subspace",)), 3)
    start = jax.jit(init)(key_start)
    count = size(start)
    require(dimensions <= count, f"dimensions is {dimensions}, and the network has {count} weights: take fewer.")
    gene = jax.random.permutation(key_genes, iota(count) % dimensions)
    shared = jnp.bincount(gene, length=dimensions).astype(jnp.float32)
    scale = jax.random.rademacher(key_signs, (count,), jnp.float32) / jnp.sqrt(shared)[gene]
    leaves, treedef = jax.tree.flatten(start)
    ends = np.cumsum([leaf.size for leaf in leaves])[:-1]
    # One array for all leaves: a large array is an argument of a program, small ones would be constants in its text.
    wide = jnp.float64 if any(leaf.dtype == jnp.float64 for leaf in leaves) else jnp.float32
    whole = jnp.concatenate([leaf.reshape(-1).astype(wide) for leaf in leaves])
    kinds = [(leaf.shape, leaf.dtype) for leaf in leaves]

    def decode(genes: jax.Array) -> Params:
        weights = whole + (_taken(genes, gene) * scale).astype(whole.dtype)
        parts = zip(jnp.split(weights, ends), kinds, strict=True)
        return treedef.unflatten([part.reshape(shape).astype(dtype) for part, (shape, dtype) in parts])

    return Encoding(lambda _: jnp.zeros(dimensions, jnp.float32), decode)


def tied(init: Callable[[Key], Params], ties: Mapping[str, Any]) -> Encoding:
    """Tie weights to shared genes, by a table: weight w of a leaf is gene ``ties[leaf][w]``, or 0 if this is -1.

    `patches` and `everywhere` make tables. The genes of a leaf have its name. Leaves without a table are genes
    themselves.

    The initial genes of a tied leaf are normal numbers. Their scale is chosen so that the expected mean square of all
    weights of the leaf, including those that are 0, is that of ``init``. A unit that sees a patch of an image thus
    starts as in a convolution.

    Args:
      init: ``(key) -> params``, the network.
      ties: a mapping from names of leaves, such as "params/Dense_0/kernel", to tables: integers of the leaf's shape.

    Returns:
      An `Encoding`. The genes of a tied leaf are ``[largest number in its table + 1]``.

    Raises:
      InputError: for names that no leaf has; for a table that does not hold integers in the leaf's shape, holds numbers
        below -1, or ties no weight to a gene; if the network's params hold anything but floats.

    >>> encoding = tied(lambda key: {"w": jnp.ones((2, 2)), "b": jnp.zeros(2)}, {"w": [[0, 1], [-1, 0]]})
    >>> encoding.decode({"w": jnp.array([5.0, 7.0]), "b": jnp.ones(2)})["w"].tolist()
    [[5.0, 7.0], [0.0, 5.0]]
    """

    def leaf_of(name: str, shape: jax.ShapeDtypeStruct) -> Leaf:
        table = np.asarray(ties[name])
        require(
            np.issubdtype(table.dtype, np.integer) and table.shape == shape.shape,
            f"ties[{name!r}] has shape {table.shape} and dtype {table.dtype}, and whole numbers of the leaf's shape "
            f"{shape.shape} are due.",
        )
        lowest, highest = int(table.min(initial=-1)), int(table.max(initial=-1))
        require(
            lowest == -1 or lowest >= 0, f"ties[{name!r}] goes down to {lowest}: -1 means 0, and genes count from 0."
        )
        require(highest >= 0, f"ties[{name!r}] ties no weight to a gene: give it a number from 0 on.")
        count, part = highest + 1, float(np.mean(table >= 0))
        place = jnp.asarray(np.where(table < 0, count, table), jnp.int32)

        def decode(genes: jax.Array) -> jax.Array:
            return _taken(jnp.append(genes, jnp.zeros(1, genes.dtype)), place)

        return Leaf((count,), part**-0.5, decode)

    return of_leaves(init, ties, leaf_of, "ties")


def patches(image: Sequence[int], patch: Sequence[int], features: int, stride: int = 1) -> np.ndarray:
    """A table for `tied` that makes the kernel of a dense layer a convolution without padding.

    Args:
      image: ``(h, w, channels)`` of the layer's input.
      patch: ``(h, w)`` of the patch that a unit sees.
      features: number of units at every place.
      stride: the distance from one place to the next, by default 1.

    Returns:
      An int32 table ``[h * w * channels, places * features]``. Unit ``p * features + f`` of the layer is feature f at
      place p; places are counted row by row. The genes are a kernel ``[patch h, patch w, channels, features]``,
      flattened.

    Raises:
      InputError: for sizes below 1, for a patch larger than the image, or if ``image`` does not have three numbers and
        ``patch`` two.

    >>> patches((1, 3, 1), (1, 2), 1).tolist()
    [[0, -1], [1, 0], [-1, 1]]
    """
    require(len(image) == 3 and len(patch) == 2, f"image is {image} and patch {patch}: give (h, w, channels), (h, w).")
    height, width, channels = image
    high, wide = patch
    require_whole(1, height=height, width=width, channels=channels, features=features, stride=stride)
    require_whole(1, **{"patch height": high, "patch width": wide})
    fits = high <= height and wide <= width
    require(fits, f"a patch of {high} x {wide} is larger than the image, {height} x {width}: take a smaller one.")
    rows, columns = range(0, height - high + 1, stride), range(0, width - wide + 1, stride)
    table = np.full((height, width, channels, len(rows), len(columns), features), -1, np.int32)
    genes = np.arange(high * wide * channels * features, dtype=np.int32).reshape(high, wide, channels, features)
    for i, row in enumerate(rows):
        for j, column in enumerate(columns):
            table[row : row + high, column : column + wide, :, i, j] = genes
    return table.reshape(height * width * channels, -1)


def everywhere(places: int, shape: Sequence[int]) -> np.ndarray:
    """A table for `tied` that makes weights equal at every place.

    It goes with `patches`: ``everywhere(places, (features,))`` is the table for the bias of that layer.
    ``everywhere(places, (features, outputs))`` is the table for the kernel of the next layer, which then sums each
    feature over all places.

    Args:
      places: number of places.
      shape: of the weights at one place. The first axis is the features.

    Returns:
      An int32 table ``[places * shape[0], *shape[1:]]``.

    Raises:
      InputError: for sizes below 1, or if ``shape`` is empty.

    >>> everywhere(2, (2,)).tolist()
    [0, 1, 0, 1]
    """
    require_whole(1, places=places)
    require(len(shape) >= 1, "shape is empty, and must have an axis at least: the features of a place.")
    for side in shape:
        require_whole(1, side=side)
    genes = np.arange(np.prod(shape), dtype=np.int32).reshape(shape)
    return np.tile(genes, (places, *(1,) * (len(shape) - 1)))


def _taken(genes: jax.Array, place: jax.Array) -> jax.Array:
    """``genes[place]``, without a check of the bounds."""
    return genes.at[place].get(mode="promise_in_bounds")
