"""Encodings in which a weight is a function of its place in its leaf: sums of cosines, and hypernetworks."""

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
    """Weights as sums of cosines of low frequency: the inverse DCT of a few coefficients (Koutnik et al. 2010).

    The genes are coefficients. A leaf is ``scipy.fft.idctn(coefficients, norm="ortho")``, where all other coefficients
    are 0. Neighbouring weights of a leaf are therefore similar.

    The genes of a leaf have its name. Initial genes are normal numbers, scaled so that the weights have the leaf's
    scale at initialisation.

    Args:
      init: ``(key) -> params``, the network.
      coefficients: number of coefficients for each leaf; a larger number than the leaf's size counts as its size. The
        coefficients are those with the lowest sum of frequencies over the axes; among equal sums, the first in
        row-major order. Or a mapping from names of leaves, such as "params/Dense_0/kernel", to such a number, or to a
        sequence: the number of frequencies along each axis. Leaves that are not named are genes themselves.
      shapes: a mapping from names of leaves to the shape in which the encoding sees them, by default their own. For
        example, ``(28, 28, 32)`` for the kernel ``[784, 32]`` of a layer whose input is an image. Neighbouring weights
        are then those of neighbouring pixels.

    Returns:
      An `Encoding`. The genes of a leaf are ``[number of its coefficients]``.

    Raises:
      InputError: for numbers of coefficients below 1, for a sequence that does not fit the axes of the leaf or has more
        frequencies than an axis is long, for names that no leaf has, for shapes of another size, and if the network's
        params hold anything but floats.

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
            for basis in bases:  # transforms the first axis, and puts it behind the others
                weights = jnp.tensordot(weights, basis, axes=(0, 0))
            return weights

        return Leaf((len(places),), float(np.sqrt(np.prod(seen[name]) / len(places))), decode)

    return of_leaves(init, due, leaf_of, "coefficients")


def _frequencies(who: str, count: Any, shape: Sequence[int]) -> np.ndarray:
    """The frequencies ``[k, axes]`` of the k coefficients that are genes."""
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
    """The first rows of the orthonormal DCT-II, ``[frequencies, places]``."""
    angles = np.pi / places * np.outer(np.arange(frequencies), np.arange(places) + 0.5)
    return np.cos(angles) * np.where(np.arange(frequencies)[:, None] == 0, np.sqrt(1 / places), np.sqrt(2 / places))


class CPPN(linen.Module):
    """A CPPN (Stanley 2007): a network with different activations, from coordinates ``[W, c]`` to ``[W, 1]``.

    In each hidden layer, about a third of the units are sines, a third Gaussian bells ``exp(-x**2)``, and a third tanh.

    >>> network = CPPN((6,))
    >>> params = network.init(jax.random.key(0), jnp.zeros((1, 3)))
    >>> network.apply(params, jnp.zeros((5, 3))).shape
    (5, 1)
    """

    features: Sequence[int] = (12, 12)  # number of units in each hidden layer
    frequency: float = 3.0  # initial scale of a hidden unit's weighted sum, relative to that of its inputs

    @linen.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        wide = linen.initializers.variance_scaling(self.frequency**2, "fan_in", "normal")
        for features in self.features:
            x = linen.Dense(features, kernel_init=wide, bias_init=linen.initializers.normal(1.0))(x)
            waves, bells, steps = jnp.split(x, [-(-features // 3), -(-2 * features // 3)], axis=-1)
            x = jnp.concatenate([jnp.sin(waves), jnp.exp(-(bells**2)), jnp.tanh(steps)], axis=-1)
        return linen.Dense(1)(x)


def hypernetwork(network: linen.Module, init: Callable[[Key], Params], shapes: Shapes | None = None) -> Encoding:
    """A small network computes each weight of a large one from its coordinates, as in HyperNEAT.

    The genes are the params of the small network, whose structure is fixed, unlike in HyperNEAT (Stanley et al. 2009).
    Each decoding applies it to the coordinates of all W weights.

    The coordinates of a weight are its leaf, as a one-hot vector, and its place along each axis of the leaf, from -1 to
    1. The axes of different leaves are aligned at the last axis, that of the output units. For leaves with fewer axes,
    the missing coordinates are 0. The output is multiplied by the leaf's root mean square at initialisation. For leaves
    that are 0 at initialisation, such as biases, it is the root mean square of all weights.

    Args:
      network: the small network, a flax module from coordinates ``[W, c]`` to ``[W, 1]``, such as `CPPN`.
      init: ``(key) -> params``, the large network, with W weights.
      shapes: a mapping from names of leaves, such as "params/Dense_0/kernel", to the shape in which the encoding sees
        them, by default their own. For example, ``(28, 28, 32)`` gives a weight of a kernel ``[784, 32]`` two
        coordinates for the pixel and one for the unit.

    Returns:
      An `Encoding`, with the params of ``network`` as genes.

    Raises:
      InputError: if ``network`` does not return ``[W, 1]``, for names that no leaf has, for shapes of another size, and
        if the large network's params hold anything but floats.

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
    """Coordinates ``[W, leaves + axes]``: the leaf as a one-hot vector, then the places along its axes, -1 to 1."""
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
