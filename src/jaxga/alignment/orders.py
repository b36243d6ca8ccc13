"""Permute the hidden units of a network: into the order of another network, or into a canonical order."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax

from jaxga.alignment.chain import EXACT, Layer, Layers, chain_of, layers_of, reordered, require_alike
from jaxga.base import Context, Individual, Key, Params, Variation, require, require_whole
from jaxga.lowrank import dense
from jaxga.tree import iota
from jaxga.variation.checks import checked

GAIN = 1e-6  # a smaller relative gain counts as a rounding error


def align(
    reference: Params,
    params: Params,
    *,
    layers: Layers = None,
    activations: tuple[Sequence[Any], Sequence[Any]] | None = None,
    sweeps: int = 100,
) -> Params:
    """Permute the hidden units of ``params`` so that each unit matches the unit of ``reference`` in its place.

    It is a pure function, and can be called within ``jit`` and ``vmap``.

    By default, units are matched by their weights (the weight matching of Git Re-Basin, Ainsworth et al. 2022). This
    increases the sum of products of all weights with those of the reference, one layer after another, each by a linear
    assignment, until no layer gains. It starts with a pass from the first layer to the last that compares incoming
    weights only. A copy in another order therefore comes back exactly.

    With ``activations``, units are matched by their outputs on the same examples: in each layer, the sum of the
    correlations of matched units is as large as possible.

    Args:
      reference: params of a chain, see `jaxga.alignment`. Its layers may be anywhere in the tree.
      params: of another network with the same shapes.
      layers: the names of the layers in order, such as ``("Dense_0", "Dense_1")``. Leaves of other layers stay as they
        are. By default all layers of the tree: first convolutions, then dense layers, each sorted by name, with Dense_9
        before Dense_10.
      activations: two sequences, for the reference and for params, with an array ``[..., units]`` for every hidden
        layer. By default None: units are matched by their weights.
      sweeps: the largest number of passes over all layers, by default 100. With 0, only incoming weights are compared.

    Returns:
      Params with the same structure, shapes and dtypes as ``params``.

    Raises:
      InputError: if ``sweeps`` is below 0, the network is not a chain, the leaves of the two networks differ in name or
        shape, or the shapes of ``activations`` do not fit the network.

    >>> a = {"one": {"kernel": jnp.array([[1.0, 2.0, 3.0]])}, "two": {"kernel": jnp.array([[4.0], [5.0], [6.0]])}}
    >>> b = {"one": {"kernel": jnp.array([[3.0, 1.0, 2.0]])}, "two": {"kernel": jnp.array([[6.0], [4.0], [5.0]])}}
    >>> align(a, b)["one"]["kernel"].tolist()
    [[1.0, 2.0, 3.0]]
    """
    require_whole(0, sweeps=sweeps)
    found = layers_of(reference, layers)
    require_alike("reference", reference, "params", params)
    if activations is None:
        return _by_weights(reference, params, found, sweeps)
    return _by_activations(params, found, _checked([layer.shape[2] for layer in found[:-1]], activations))


def canonical(params: Params, layers: Layers = None) -> Params:
    """Sort the hidden units of every layer by the norm of their incoming weights and bias, largest first.

    Networks that are equal except for the order of their units thus get equal params. Units with the same norm are
    sorted by a fixed weighted sum of their incoming weights. Units with equal incoming weights keep their order.

    Args:
      params: of a chain, see `jaxga.alignment`.
      layers: the names of the layers, as in `align`.

    Raises:
      InputError: if the network is not a chain.

    >>> a = {"one": {"kernel": jnp.array([[3.0, -4.0]])}, "two": {"kernel": jnp.array([[5.0], [6.0]])}}
    >>> canonical(a)["two"]["kernel"].tolist()
    [[6.0], [5.0]]
    """
    return _canonical(params, layers_of(params, layers))


def aligned(crossover: Variation, layers: Layers = None, *, sweeps: int = 10) -> Variation:
    """A crossover that first aligns the mate with the parent: `align`, by weights.

    If the mate is a copy of the parent in another order, the child is equal to the parent. Only the mate's params are
    permuted, and not its strategy.

    A hidden layer of n units takes n^3 sequential operations in each sweep, for every child with a mate of its own.

    Args:
      crossover: any `Variation`, such as ``uniform_crossover(by_neuron)``.
      layers: the names of the layers, as in `align`.
      sweeps: the largest number of passes over all layers, by default 10.

    Raises:
      InputError: if ``crossover`` is not a `Variation`, or ``sweeps`` is below 0. When a child is made, if the network
        is not a chain.

    >>> from jaxga.variation import by_neuron, uniform_crossover
    >>> crossover = aligned(uniform_crossover(by_neuron))
    """
    crossover = checked(crossover, "aligned")
    require_whole(0, sweeps=sweeps)

    def apply(key: Key, parent: Individual, context: Context) -> Individual:
        own, mate = dense(parent.params), dense(context.mate.params)
        mate = context.mate._replace(params=align(own, mate, layers=layers, sweeps=sweeps))
        return crossover.apply(key, parent, context._replace(mate=mate))

    return Variation(crossover.init, apply, in_parts=True)


@partial(jax.jit, static_argnames="layers")
def _canonical(params: Params, layers: tuple[Layer, ...]) -> Params:
    chain = chain_of(params, layers)
    orders: list[Any] = [None]
    for number in range(len(layers) - 1):
        coming = chain.coming(number, orders[-1])
        fixed = jnp.cos(jnp.arange(len(coming), dtype=jnp.float32))
        orders.append(jnp.lexsort((fixed @ coming, -jnp.sum(coming**2, axis=0))))
    return reordered(params, layers, orders[1:])


@partial(jax.jit, static_argnames="layers")
def _by_weights(reference: Params, params: Params, layers: tuple[Layer, ...], sweeps: Any) -> Params:
    own, other = chain_of(reference, layers), chain_of(params, layers)

    def sweep(state: tuple[Any, Any, Any]) -> tuple[Any, Any, Any]:
        orders, count, gained = [None, *state[0], None], state[1], jnp.zeros((), bool)
        first = count == 0  # the layers after this one have no order yet
        for number in range(len(layers) - 1):
            coming = _products(own.coming(number, None), other.coming(number, orders[number]))
            going = _products(own.going(number, None).T, other.going(number, orders[number + 2]).T)
            likeness, old = coming + jnp.where(first, 0, going), orders[number + 1]
            new = _match(likeness)
            before, after = (likeness[iota(len(old)), order] for order in (old, new))
            better = first | (jnp.sum(after - before) > GAIN * jnp.sum(jnp.abs(before)))
            orders[number + 1] = jnp.where(better, new, old)
            gained |= better
        return orders[1:-1], count + 1, gained

    start = [iota(layer.shape[2]) for layer in layers[:-1]], jnp.zeros((), jnp.int32), jnp.ones((), bool)
    orders, _, _ = jax.lax.while_loop(lambda state: state[2] & (state[1] <= sweeps), sweep, start)
    return reordered(params, layers, orders)


def _checked(units: Sequence[int], activations: Any) -> tuple[list[jax.Array], list[jax.Array]]:
    due = f"two sequences, each with an array [..., units] for every hidden layer, whose units are {list(units)}"
    pair = isinstance(activations, Sequence) and len(activations) == 2
    require(pair, f"activations must be those of the reference and those of params: {due}.")
    own, other = ([jnp.asarray(layer, jnp.float32) for layer in layers] for layers in activations)
    shapes = [layer.shape for layer in own], [layer.shape for layer in other]
    require(
        shapes[0] == shapes[1] and [shape[-1:] for shape in shapes[0]] == [(size,) for size in units],
        f"activations have the shapes {shapes[0]} and {shapes[1]}: give {due}.",
    )
    return own, other


@partial(jax.jit, static_argnames="layers")
def _by_activations(params: Params, layers: tuple[Layer, ...], activations: Any) -> Params:
    pairs = zip(*activations, strict=True)
    return reordered(params, layers, [_match(_products(*map(_standardised, both))) for both in pairs])


def _standardised(activations: jax.Array) -> jax.Array:
    """Activations ``[examples, units]``, each unit with mean 0 and norm 1. A unit with constant output has norm 0."""
    flat = activations.reshape(-1, activations.shape[-1])
    flat -= jnp.mean(flat, axis=0)
    length = jnp.sqrt(jnp.sum(flat**2, axis=0))
    return flat / jnp.where(length > 0, length, 1)


def _products(own: jax.Array, other: jax.Array) -> jax.Array:
    """``own.T @ other [n, n]``: the similarity of each unit of one network to each unit of the other."""
    return jnp.matmul(own.T, other, precision=EXACT)


@jax.jit
def _match(likeness: jax.Array) -> jax.Array:
    """For each place the unit of the other network, ``[n]`` int32, with the largest sum of ``likeness [n, n]``."""
    costs = jnp.where(jnp.isfinite(likeness), -likeness, 0)  # with NaN the search would not end
    with jax.numpy_dtype_promotion("standard"):  # optax relies on type promotion
        places, units = optax.assignment.hungarian_algorithm(costs)
    return jnp.zeros(len(costs), jnp.int32).at[places].set(units.astype(jnp.int32))
