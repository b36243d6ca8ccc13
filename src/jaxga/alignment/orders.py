"""Hidden units in the order of those of another network, or in one that is the same for all orders."""

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

GAIN = 1e-6  # what is less, as a part of the sum, is rounding


def align(
    reference: Params,
    params: Params,
    *,
    layers: Layers = None,
    activations: tuple[Sequence[Any], Sequence[Any]] | None = None,
    sweeps: int = 100,
) -> Params:
    """``params`` with its hidden units in the order of those of ``reference`` that they are most like. A pure function.

    By weights: the sum of products of all weights with those of the reference is made large, layer by layer, each by a
    linear assignment, until no layer gains (weight matching of Git Re-Basin, Ainsworth et al. 2022). It begins with an
    order by what comes in, first layer first, so that a copy in another order is put back exactly. By activations:
    the sum of the correlations of units that answer to the same examples is largest, in each layer for itself.

    Args:
      reference: a network that is a chain, see `jaxga.alignment`, wherever its layers are in the tree.
      params: another one of the same shapes.
      layers: their names in order, ``("Dense_0", "Dense_1")``; what else is in the tree then stays as it is. By default
        all of the tree, convolutions first, then by name, Dense_9 before Dense_10.
      activations: those of the reference and those of params, for every hidden layer ``[..., units]``.
      sweeps: over all layers, at most. With 0 it is what comes in that decides.

    Raises:
      InputError: where the tree is no chain, or the two differ in shape.

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
    """One network for all orders of its hidden units: those into which the longest vectors come stand first.

    Units with vectors of one length are ordered by a fixed sum of their weights; units into which exactly the same
    comes keep their order. The arguments and errors are those of `align`.

    >>> a = {"one": {"kernel": jnp.array([[3.0, -4.0]])}, "two": {"kernel": jnp.array([[5.0], [6.0]])}}
    >>> canonical(a)["two"]["kernel"].tolist()
    [[6.0], [5.0]]
    """
    return _canonical(params, layers_of(params, layers))


def aligned(crossover: Variation, layers: Layers = None, *, sweeps: int = 10) -> Variation:
    """A crossover whose mate is first put into the order of the parent: `align`, by weights.

    A child of a parent and its own copy in another order is then the parent again. Only weights are put in order: what
    a mate inherits beside them is as it was. ``layers`` and ``sweeps`` are those of `align`. For a hidden layer of n
    units it takes n^3 operations a sweep that follow one another, for every child whose mate is drawn for itself.

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
        first = count == 0  # where those that follow are in no order yet
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
    """``[examples, units]`` with mean 0 and length 1; a unit that always says the same has length 0."""
    flat = activations.reshape(-1, activations.shape[-1])
    flat -= jnp.mean(flat, axis=0)
    length = jnp.sqrt(jnp.sum(flat**2, axis=0))
    return flat / jnp.where(length > 0, length, 1)


def _products(own: jax.Array, other: jax.Array) -> jax.Array:
    """``own.T @ other``: how much each unit of one is like each of the other."""
    return jnp.matmul(own.T, other, precision=EXACT)


@jax.jit
def _match(likeness: jax.Array) -> jax.Array:
    """Which unit of the other goes to each place, ``[n]`` int32, so that the sum of likeness ``[n, n]`` is largest."""
    costs = jnp.where(jnp.isfinite(likeness), -likeness, 0)  # the search would not end with NaN
    with jax.numpy_dtype_promotion("standard"):  # optax promotes
        places, units = optax.assignment.hungarian_algorithm(costs)
    return jnp.zeros(len(costs), jnp.int32).at[places].set(units.astype(jnp.int32))
