"""Encodings that encode single leaves. The genes of a leaf have its name, and leaves that are not encoded stay."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxga.base import Key, Params, as_key, require
from jaxga.encoding.encoded import Encoding
from jaxga.tree import named_leaves, path_key, root_mean_square, shape_of_params


class Leaf(NamedTuple):
    """The encoding of one leaf."""

    genes: tuple[int, ...]  # shape of the genes
    scale: float  # standard deviation of initial genes, in units of the leaf's root mean square
    decode: Callable[[jax.Array], jax.Array]  # genes -> the leaf, in any shape with as many elements


def of_leaves(
    init: Callable[[Key], Params],
    names: Iterable[str],
    leaf_of: Callable[[str, jax.ShapeDtypeStruct], Leaf],
    who: str,
) -> Encoding:
    """An encoding of the named leaves. Other leaves are genes themselves.

    Args:
      init: ``(key) -> params``, the network.
      names: names of the leaves to encode.
      leaf_of: ``(name, shape) -> Leaf``.
      who: name of the user's argument that gave the names, for messages.

    Raises:
      InputError: for names that no leaf has, or if the network's params cannot mutate, see `jaxga.tree.check_params`.
    """
    shapes = shape_of_params(init, as_key(0))
    known, treedef = named_leaves(shapes), jax.tree.structure(shapes)
    check_names(names, known, who)
    found = {name: leaf_of(name, known[name]) for name in names}

    def genes_of(key: Key) -> Any:
        genes = []
        for name, leaf in named_leaves(init(key)).items():
            own = found.get(name)
            if own is not None:
                noise = jax.random.normal(path_key(key, ("genes", name)), own.genes, leaf.dtype)
                leaf = noise * (root_mean_square(leaf) * jnp.asarray(own.scale, leaf.dtype))
            genes.append(leaf)
        return treedef.unflatten(genes)

    def decode(genes: Any) -> Params:
        leaves = []
        for leaf, (name, shape) in zip(treedef.flatten_up_to(genes), known.items(), strict=True):
            own = found.get(name)
            leaves.append(leaf if own is None else own.decode(leaf).reshape(shape.shape).astype(shape.dtype))
        return treedef.unflatten(leaves)

    return Encoding(genes_of, decode)


def check_names(names: Iterable[str], known: Mapping[str, Any], who: str) -> None:
    """Refuse names that no leaf has.

    Raises:
      InputError: for such names. ``who`` names the user's argument, for the message.
    """
    unknown = [name for name in names if name not in known]
    require(not unknown, f"{who} names the leaves {unknown}, and the network has {list(known)}.")


def seen_shapes(
    shapes: Mapping[str, Sequence[int]] | None, known: Mapping[str, jax.ShapeDtypeStruct]
) -> dict[str, tuple[int, ...]]:
    """For every leaf, the shape in which the encoding sees it: that in ``shapes``, else its own.

    Raises:
      InputError: for names that no leaf has, and for shapes with another number of elements than the leaf.
    """
    check_names(shapes or {}, known, "shapes")
    found = {name: tuple(leaf.shape) for name, leaf in known.items()}
    for name, shape in (shapes or {}).items():
        require(
            int(np.prod(shape)) == int(np.prod(found[name])),
            f"shapes[{name!r}] is {tuple(shape)}, and the leaf is {found[name]}: give a shape of the same size.",
        )
        found[name] = tuple(shape)
    return found
