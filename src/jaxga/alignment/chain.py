"""Params as a chain of layers, and the same params with their hidden units in another order."""

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxga.base import InputError, Params, require
from jaxga.tree import named_leaves

Layers = Sequence[str] | None  # names of layers in order; the end of a path is enough
EXACT = jax.lax.Precision.HIGHEST  # by default a GPU rounds factors to 10 bits
WAY_OUT = "name the layers of a chain in their order, as layers=('Dense_0', 'Dense_1')"


class Layer(NamedTuple):
    """The places of a layer's leaves in the tree, and its sizes."""

    name: str
    kernel: int  # the number of the kernel among the leaves of the tree
    bias: int | None  # that of the bias; None if there is no bias
    shape: tuple[int, int, int]  # positions, input units at each position, output units


class Chain(NamedTuple):
    """A network as kernels ``[positions, in, out]`` and biases ``[out]``. Biases are zeros in layers without them."""

    kernels: list[jax.Array]
    biases: list[jax.Array]

    def coming(self, number: int, before: Any) -> jax.Array:
        """The incoming weights and biases of a layer's units, ``[positions * in + 1, out]``.

        ``before [in]`` is the order of the units in the layer before; None leaves them as they are.
        """
        kernel = self.kernels[number] if before is None else self.kernels[number][:, before]
        return jnp.concatenate([kernel.reshape(-1, kernel.shape[-1]), self.biases[number][None]])

    def going(self, number: int, after: Any) -> jax.Array:
        """The outgoing weights of a layer's units, ``[out, positions * units of the next layer]``.

        ``after`` is the order of the units in the next layer; None leaves them as they are.
        """
        kernel = self.kernels[number + 1] if after is None else self.kernels[number + 1][:, :, after]
        return jnp.swapaxes(kernel, 0, 1).reshape(kernel.shape[1], -1)


def layers_of(params: Params, names: Layers) -> tuple[Layer, ...]:
    """The layers of a chain, in order.

    Args:
      params: of the network.
      names: of the layers, in order. By default all layers of the tree: first convolutions, then dense layers, each
        sorted by name, with Dense_9 before Dense_10.

    Raises:
      InputError: if a name fits no layer, or several, or if the layers are not a chain.
    """
    groups: dict[str, dict[str, tuple[int, Any]]] = {}
    for number, (path, leaf) in enumerate(named_leaves(params).items()):
        group, _, name = path.rpartition("/")
        groups.setdefault(group, {})[name] = number, leaf
    chosen = list(groups) if names is None else [_found(name, list(groups)) for name in names]
    require(len(chosen) > 0, f"params has no layers: {WAY_OUT}.")
    kinds = {name: _kernel(name, groups[name]) for name in chosen}
    if names is None:
        chosen = sorted(chosen, key=lambda name: (np.ndim(kinds[name]) == 2, _natural(name)))
    found: list[Layer] = []
    for name in chosen:
        (kernel, _), bias = groups[name]["kernel"], groups[name].get("bias")
        shape = _shape(name, np.shape(kinds[name]), found[-1] if found else None, kinds)
        found.append(Layer(name, kernel, None if bias is None else bias[0], shape))
    return tuple(found)


def _found(name: str, groups: list[str]) -> str:
    fitting = [group for group in groups if group == name or group.endswith(f"/{name}")]
    require(len(fitting) > 0, f"layers has {name!r}, and the layers of params are {groups}: take some of these.")
    require(len(fitting) == 1, f"layers has {name!r}, and params has {fitting}: write more of the path.")
    return fitting[0]


def _natural(name: str) -> list[Any]:
    """A key to sort by, with Dense_9 before Dense_10."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name)]


def _kernel(name: str, leaves: dict[str, tuple[int, Any]]) -> Any:
    require(
        set(leaves) in ({"kernel"}, {"kernel", "bias"}),
        f"layer '{name}' of params has the leaves {sorted(leaves)}, and a layer of a chain has a kernel, and a bias or "
        f"none: {WAY_OUT}, with no layer like this among or between them.",
    )
    _, kernel = leaves["kernel"]
    require(
        np.ndim(kernel) >= 2,
        f"layer '{name}' has a kernel of shape {np.shape(kernel)}, and [in, out] or [h, w, in, out] is due: {WAY_OUT}.",
    )
    bias = np.shape(leaves["bias"][1]) if "bias" in leaves else np.shape(kernel)[-1:]
    require(
        bias == np.shape(kernel)[-1:],
        f"layer '{name}' has a bias of shape {bias} and a kernel of shape {np.shape(kernel)}: one bias a unit is due.",
    )
    return kernel


def _shape(name: str, shape: tuple[int, ...], before: Layer | None, kernels: dict[str, Any]) -> tuple[int, int, int]:
    """Positions, input units and output units. A dense layer after a convolution has several positions, too."""
    *window, coming, going = shape
    positions = int(np.prod(window))
    if before is None:
        return positions, coming, going
    units, flattened = before.shape[2], not window and np.ndim(kernels[before.name]) > 2
    fits = units and coming % units == 0 if flattened else coming == units
    require(
        bool(fits),
        f"layer '{name}' takes {coming} inputs, and '{before.name}' before it has {units} units: {WAY_OUT}, where each "
        "takes what the one before it gives.",
    )
    return positions * (coming // units), units, going


def chain_of(params: Params, layers: Sequence[Layer]) -> Chain:
    """The weights of these layers as a `Chain`, in float32."""
    leaves = [jnp.asarray(leaf) for leaf in jax.tree.leaves(params)]
    kernels = [leaves[layer.kernel].reshape(layer.shape).astype(jnp.float32) for layer in layers]
    biases = [
        jnp.zeros(layer.shape[2], jnp.float32) if layer.bias is None else leaves[layer.bias].astype(jnp.float32)
        for layer in layers
    ]
    return Chain(kernels, biases)


def reordered(params: Params, layers: Sequence[Layer], orders: Sequence[jax.Array]) -> Params:
    """``params`` with the hidden units in another order: unit ``orders[l][i]`` of hidden layer l comes to place i."""
    leaves, treedef = jax.tree.flatten(params)
    for number, layer in enumerate(layers):
        kernel = jnp.asarray(leaves[layer.kernel])
        parts = kernel.reshape(layer.shape)
        parts = parts[:, orders[number - 1]] if number else parts
        if number < len(orders):
            parts = parts[:, :, orders[number]]
            if layer.bias is not None:
                leaves[layer.bias] = jnp.asarray(leaves[layer.bias])[orders[number]]
        leaves[layer.kernel] = parts.reshape(kernel.shape)
    return treedef.unflatten(leaves)


def require_alike(name: str, one: Params, other_name: str, other: Params) -> None:
    """Refuse two trees whose leaves differ in name or shape.

    Raises:
      InputError: for such trees. ``name`` and ``other_name`` are the names of the arguments, for the message.
    """
    ours, theirs = ({leaf: np.shape(array) for leaf, array in named_leaves(tree).items()} for tree in (one, other))
    differing = [leaf for leaf in {**ours, **theirs} if ours.get(leaf) != theirs.get(leaf)]
    for leaf in differing[:1]:
        shapes = [str(tree.get(leaf, "absent")) for tree in (ours, theirs)]
        message = (
            f"{name} and {other_name} differ in leaf '{leaf}', {' and '.join(shapes)}: take networks of one shape."
        )
        raise InputError(message)
