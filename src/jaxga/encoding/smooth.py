"""Encodings in which a weight is a function of its place: cosines of low frequency, and networks of coordinates."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen

from jaxga.base import Key, Params, as_key, require, require_whole
from jaxga.encoding.encoded import Encoding
from jaxga.encoding.leaves import Leaf, of_leaves, seen_shapes
from jaxga.tree import named_leaves, root_mean_square, shape_of_params

Shapes = Mapping[str, Sequence[int]]


def cosines(
    init: Callable[[Key], Params],
    coefficients: int | Mapping[str, int | Sequence[int]],
    shapes: Shapes | None = None,
) -> Encoding:
    """Weights as sums of cosines of low frequency (Koutnik et al. 2010): the inverse DCT of a few coefficients.

    A leaf is ``scipy.fft.idctn(coefficients, norm="ortho")``, where all but the given coefficients are 0. So weights of
    neighbours in a matrix are alike.

    Args:
      init: ``(key) -> params``, the network.
      coefficients: number of coefficients of each leaf, at most its size: those with the lowest sum of frequencies
        along the axes, row by row among equals. Or a mapping from names of leaves, such as "params/Dense_0/kernel", to
        such a number or to the number of frequencies along each axis. Leaves that are not named are genes themselves.
      shapes: for the name of a leaf the shape that it is seen in, if not its own: ``(28, 28, 32)`` for the kernel
        ``[784, 32]`` of a layer that looks at images, so that neighbours are those in the image.

    Genes keep the names of their leaves. They are drawn from N(0, 1), so that weights have the scale that the leaf has
    at initialisation.

    Raises:
      InputError: for numbers below 1, for more frequencies than an axis is long, for names that no leaf has, and for
        shapes of another size.

    >>> encoding = cosines(lambda key: {"w": jnp.ones((4, 6)), "b": jnp.zeros(6)}, 3)
    >>> genes = {"w": jnp.array([1.0, 0.0, 0.0]), "b": jnp.zeros(3)}
    >>> weights = encoding.decode(genes)["w"]
    >>> weights.shape, round(float(weights[0, 0]), 4), round(float(weights.std()), 4)
    ((4, 6), 0.2041, 0.0)
    """
    known = named_leaves(shape_of_params(init, as_key(0)))
    seen = seen_shapes(shapes, known)
    due = coefficients if isinstance(coefficients, Mapping) else dict.fromkeys(known, coefficients)

    def leaf_of(name: str, leaf: jax.ShapeDtypeStruct) -> Leaf:
        places = _frequencies(f"coefficients of {name!r}", due[name], seen[name])
        corner = places.max(axis=0, initial=-1) + 1
        bases = [jnp.asarray(_cosines(*sizes), leaf.dtype) for sizes in zip(corner, seen[name], strict=True)]

        def decode(genes: jax.Array) -> jax.Array:
            weights = jnp.zeros(corner, genes.dtype).at[tuple(places.T)].set(genes)
            for basis in bases:  # each turn takes the first axis, and puts its places behind the others
                weights = jnp.tensordot(weights, basis, axes=(0, 0))
            return weights

        return Leaf((len(places),), float(np.sqrt(np.prod(seen[name]) / len(places))), decode)

    return of_leaves(init, due, leaf_of, "coefficients")


def _frequencies(who: str, count: Any, shape: Sequence[int]) -> np.ndarray:
    """The frequencies ``[k, axes]`` of the coefficients that are genes."""
    if isinstance(count, Sequence):
        require(len(count) == len(shape), f"{who} are {tuple(count)}, one for each axis of {tuple(shape)} was due.")
        for number, side in zip(count, shape, strict=True):
            require_whole(1, **{who: number})
            require(number <= side, f"{who} are {tuple(count)}, more than the leaf has along an axis: {tuple(shape)}.")
        return np.indices(count).reshape(len(shape), -1).T
    require_whole(1, **{who: count})
    every = np.indices(shape).reshape(len(shape), -1).T if len(shape) else np.zeros((1, 0), int)
    return every[np.argsort(every.sum(axis=1), kind="stable")[:count]]


def _cosines(frequencies: int, places: int) -> np.ndarray:
    """Rows of the orthonormal DCT-II, ``[frequencies, places]``."""
    angles = np.pi / places * np.outer(np.arange(frequencies), np.arange(places) + 0.5)
    return np.cos(angles) * np.where(np.arange(frequencies)[:, None] == 0, np.sqrt(1 / places), np.sqrt(2 / places))


class CPPN(linen.Module):
    """A network of waves, bells and sigmoids (Stanley 2007), from coordinates ``[W, c]`` to ``[W, 1]``.

    >>> network = CPPN((6,))
    >>> params = network.init(jax.random.key(0), jnp.zeros((1, 3)))
    >>> network.apply(params, jnp.zeros((5, 3))).shape
    (5, 1)
    """

    features: Sequence[int] = (12, 12)
    frequency: float = 3.0  # standard deviation of what a hidden unit sums up, over that of its input

    @linen.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        wide = linen.initializers.variance_scaling(self.frequency**2, "fan_in", "normal")
        for features in self.features:
            x = linen.Dense(features, kernel_init=wide, bias_init=linen.initializers.normal(1.0))(x)
            waves, bells, steps = jnp.split(x, [-(-features // 3), -(-2 * features // 3)], axis=-1)
            x = jnp.concatenate([jnp.sin(waves), jnp.exp(-(bells**2)), jnp.tanh(steps)], axis=-1)
        return linen.Dense(1)(x)


def hypernetwork(network: linen.Module, init: Callable[[Key], Params], shapes: Shapes | None = None) -> Encoding:
    """A small network computes each weight from its coordinates: HyperNEAT (Stanley et al. 2009), of fixed shape.

    Coordinates of a weight are which leaf it belongs to (a 1 among as many numbers as there are leaves), and its place
    along each axis of the leaf, from -1 to 1. Places are aligned at the last axis, that of the units it leads to; a
    leaf of fewer axes has 0 for those it lacks. The output is multiplied by the leaf's root mean square at
    initialisation; leaves that begin with zero, as biases do, take that of all weights together.

    Args:
      network: a flax module from coordinates ``[W, c]`` to ``[W, 1]``, such as `CPPN`.
      init: ``(key) -> params``, the large network, of W weights.
      shapes: for the name of a leaf, such as "params/Dense_0/kernel", the shape that it is seen in, if not its own:
        ``(28, 28, 32)`` gives a weight two coordinates in the image, and one for its unit.

    Genes are the parameters of ``network``, which is asked about all W weights whenever an individual is decoded.

    Raises:
      InputError: where the network does not return ``[W, 1]``, for names that no leaf has, and for shapes of another
        size.

    >>> from jaxga import nn
    >>> large = lambda key: nn.MLP((100, 10)).init(key, jnp.zeros((1, 16)))
    >>> encoding = hypernetwork(CPPN((6,)), large, {"params/Dense_0/kernel": (4, 4, 100)})
    >>> genes = encoding.init(jax.random.key(0))
    >>> sum(leaf.size for leaf in jax.tree.leaves(genes)), encoding.decode(genes)["params"]["Dense_0"]["kernel"].shape
    (55, (16, 100))
    """
    fresh = jax.jit(init)(as_key(0))
    known = named_leaves(shape_of_params(init, as_key(0)))
    seen, treedef = seen_shapes(shapes, known), jax.tree.structure(fresh)
    scales = [root_mean_square(leaf) for leaf in jax.tree.leaves(fresh)]
    whole = root_mean_square(jnp.concatenate([leaf.reshape(-1) for leaf in jax.tree.leaves(fresh)]))
    scales = [jnp.where(scale > 0, scale, whole.astype(scale.dtype)) for scale in scales]
    coordinates = jnp.asarray(_coordinates(list(seen.values())), jnp.float32)
    ends = np.cumsum([leaf.size for leaf in known.values()])[:-1]
    out, _ = jax.eval_shape(network.init_with_output, as_key(0), coordinates)
    due = (len(coordinates), 1)
    shape = getattr(out, "shape", None)
    require(shape == due, f"network returned shape {shape} for coordinates {coordinates.shape}, and {due} was due.")

    def decode(genes: Any) -> Params:
        weights: Any = network.apply(genes, coordinates)
        parts = zip(jnp.split(weights[:, 0], ends), known.values(), scales, strict=True)
        return treedef.unflatten([part.reshape(leaf.shape).astype(leaf.dtype) * scale for part, leaf, scale in parts])

    return Encoding(lambda key: network.init(key, coordinates[:1]), decode)


def _coordinates(shapes: Sequence[tuple[int, ...]]) -> np.ndarray:
    """``[W, leaves + axes]``: a 1 for the leaf, then places along its axes, from -1 to 1."""
    axes, found = max(map(len, shapes)), []
    for number, shape in enumerate(shapes):
        lines = [np.linspace(-1, 1, side) if side > 1 else np.zeros(1) for side in shape]
        grid = np.meshgrid(*lines, indexing="ij")
        rows = np.zeros((int(np.prod(shape)), len(shapes) + axes), np.float32)
        rows[:, number] = 1
        for place, line in enumerate(grid):
            rows[:, len(shapes) + axes - len(shape) + place] = line.reshape(-1)
        found.append(rows)
    return np.concatenate(found)
