"""Encodings in which many weights take their value from one gene: random subspaces, and weights that are tied."""

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
    """A network plus a random projection of ``dimensions`` genes: ``theta = theta_0 + P z`` (Li et al. 2018).

    P ``[D, d]`` has orthonormal columns. Each of the D weights belongs to one gene, drawn at random; all genes have as
    many, or one more. A gene of c weights moves each of them by ``z / sqrt(c)``, with a random sign. No two columns
    have a weight in common, so they are orthogonal exactly, and P takes 8 bytes a weight and one pass over the weights,
    whatever d is. A dense P of 750 columns would take 600 MB for a perceptron 784-200-200-10, and 150 million products
    a child. (Weights tied at random are those of HashedNets, Chen et al. 2015.)

    Args:
      init: ``(key) -> params``, the network.
      dimensions: d, at most D.
      key: or seed, of theta_0 and P. All individuals of a run have these in common.

    Genes are ``[d]`` and begin with zero, so step sizes must be `jaxga.variation.absolute`, in units of a length in
    the space of all weights: with ``absolute(s)`` a child is about ``s sqrt(d)`` away from its parent.

    Raises:
      InputError: for more dimensions than weights.

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
    # One array for all leaves: it is handed to programs, where small ones would be written into them.
    wide = jnp.float64 if any(leaf.dtype == jnp.float64 for leaf in leaves) else jnp.float32
    whole = jnp.concatenate([leaf.reshape(-1).astype(wide) for leaf in leaves])
    kinds = [(leaf.shape, leaf.dtype) for leaf in leaves]

    def decode(genes: jax.Array) -> Params:
        weights = whole + (_taken(genes, gene) * scale).astype(whole.dtype)
        parts = zip(jnp.split(weights, ends), kinds, strict=True)
        return treedef.unflatten([part.reshape(shape).astype(dtype) for part, (shape, dtype) in parts])

    return Encoding(lambda _: jnp.zeros(dimensions, jnp.float32), decode)


def tied(init: Callable[[Key], Params], ties: Mapping[str, Any]) -> Encoding:
    """Weights that share genes, by a table: weight w of a leaf is gene ``ties[leaf][w]``, or 0 where that is -1.

    `patches` and `everywhere` write tables. Leaves without a table are genes themselves. Genes keep the names of their
    leaves. Those of a tied leaf are drawn from N(0, 1), with the leaf's scale at initialisation: the mean square of
    all its weights, zeros among them, stays what it was. So a unit that sees a patch of an image starts as it would in
    a convolution.

    Args:
      init: ``(key) -> params``, the network.
      ties: for the name of a leaf, such as "params/Dense_0/kernel", whole numbers of its shape.

    Raises:
      InputError: for names that no leaf has; for tables that are not whole numbers of a leaf's shape, or below -1, or
        in which nothing is tied to a gene.

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
    """The table of a patch at every place of an image: a convolution without padding, as a dense matrix.

    Args:
      image: ``(h, w, channels)`` of what comes in.
      patch: ``(h, w)`` of the patch.
      features: units at every place.
      stride: from one place to the next.

    Returns:
      int32 ``[h w channels, places features]`` for `tied`: the kernel of a dense layer whose unit ``p * features + f``
      is feature f at place p, row by row. Genes are those of a kernel ``[patch h, patch w, channels, features]``.

    Raises:
      InputError: for sizes below 1, and for a patch larger than the image.

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
    """The table of weights that are the same at every place: int32 ``[places * shape[0], *shape[1:]]``, for `tied`.

    With `patches` in the layer below, ``everywhere(places, (features,))`` is its bias, and ``everywhere(places,
    (features, outputs))`` the kernel of a layer above that asks how much of each feature there is, anywhere.

    Raises:
      InputError: for sizes below 1.

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
    """``genes[place]``, where every place is known to exist."""
    return genes.at[place].get(mode="promise_in_bounds")
