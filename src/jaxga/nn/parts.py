"""Networks made of parts, one of which a mutation can change: members of an ensemble, or layers of a stack.

The weights of all M parts are stacked, ``[M, ...]``, under the name "members" or "layers". `jaxga.variation.one_of`
changes one part of a child. The outputs of the other parts are then computed once for all children of a parent.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, cast

import jax
import jax.numpy as jnp
from flax import linen
from jax import lax

from jaxga.base import require, require_whole
from jaxga.interpret import by_parts, with_rule
from jaxga.interpret.products import axes
from jaxga.interpret.walk import tell_built
from jaxga.lowrank import Member, dense, dense_leaf, is_low_rank, map_low_rank

Part = Callable[[Any, jax.Array], jax.Array]  # (params of one part, x) -> y
Combine = Callable[[jax.Array], jax.Array]  # [M, B, C] of all members -> [B, C or C - 1]


def mean(outputs: jax.Array) -> jax.Array:
    """The mean of all members."""
    return outputs.mean(axis=0)


def total(outputs: jax.Array) -> jax.Array:
    """The sum of all members. A member whose last layer is zero has no effect until it mutates."""
    return outputs.sum(axis=0)


def largest_logit(outputs: jax.Array) -> jax.Array:
    """For each example, the outputs of the member with the largest logit."""
    return _of_winner(outputs, outputs.max(axis=-1))


def importance(outputs: jax.Array) -> jax.Array:
    """For each example, the outputs of the member with the largest importance, its last output, which is left out."""
    return _of_winner(outputs[..., :-1], outputs[..., -1])


def attention(outputs: jax.Array) -> jax.Array:
    """A mean of all members, weighted by the softmax over members of their last output, which is left out.

    It is an attention head with a constant query. It has no weights of its own that could mutate. With a constant
    query, only the product of a member's key with the query matters, so one number per member is enough.
    """
    return jnp.sum(jax.nn.softmax(outputs[..., -1:], axis=0) * outputs[..., :-1], axis=0)


def _of_winner(outputs: jax.Array, votes: jax.Array) -> jax.Array:
    winner = jnp.argmax(votes, axis=0)
    return jnp.take_along_axis(outputs, winner[None, :, None], axis=0)[0]


class Ensemble(linen.Module):
    """M networks of one architecture with separate weights, whose outputs are combined.

    ``Ensemble(MLP((32, 10)), 8)`` is the mean of 8 perceptrons. In an ensemble *by action*, the output is the combined
    output of its members. In an ensemble *by state*, the combined outputs are the input of one more network, ``head``:
    ``Ensemble(MLP((32, 16)), 8, head=MLP((10,)))``. With ``states=16`` both are used: the first 16 combined outputs
    are the input of the head, and the others are added to its output.

    Parameters are stacked under "members", and a mutation ``one_of(...)`` changes one member of a child. If all
    children of a parent see the same examples, a child then costs about 1 / M of the whole network.

    Args:
      member: a network ``[B, ...] -> [B, C]`` that has "params" and no other variables.
      members: M, the number of members.
      combine: `mean`, `total`, `largest_logit`, `importance`, `attention`, or ``(outputs [M, B, C]) -> [B, D]`` of
        your own, a flax module too. `importance` and `attention` take the last of the C outputs for themselves.
      head: a network ``[B, S] -> [B, D]``. By default None: the combined outputs are the output.
      states: S, the number of combined outputs that are the input of the head; the others are added to its output. By
        default all.

    >>> network = Ensemble(linen.Dense(4), 3, importance)
    >>> params = network.init(jax.random.key(0), jnp.zeros((1, 5)))
    >>> params["params"]["members"]["kernel"].shape, network.apply(params, jnp.zeros((2, 5))).shape
    ((3, 5, 4), (2, 3))
    """

    member: linen.Module
    members: int
    combine: Combine = mean
    head: linen.Module | None = None
    states: int | None = None

    @linen.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        require_whole(1, members=self.members)
        require(self.states is None or self.head is not None, "states is for a head, and there is none: pass head=.")
        member, init = _functional(self.member, "member")
        params = self.param("members", _stacked(init, self.members), x)
        found = self.combine(each(member, params, x))
        if self.head is None:
            return found
        states = found.shape[-1] if self.states is None else self.states
        require(
            0 < states <= found.shape[-1],
            f"states is {states}, and the members' combined outputs are {found.shape[-1]}: take 1 to as many.",
        )
        answer = cast(jax.Array, self.head(found[:, :states]))  # pyright: ignore[reportCallIssue]
        return answer if states == found.shape[-1] else answer + found[:, states:]


class Stack(linen.Module):
    """L layers of one kind in sequence, with separate weights.

    ``Stack(Residual(64), 8)`` is a deep network of constant width. Parameters are stacked under "layers".
    ``one_of(mutation, "layers", of_brood=True)`` changes one layer, the same for all children of a pair. The layers
    below it are then computed once for all these children.

    >>> network = Stack(linen.Dense(5), 3)
    >>> params = network.init(jax.random.key(0), jnp.zeros((1, 5)))
    >>> params["params"]["layers"]["kernel"].shape
    (3, 5, 5)
    """

    layer: linen.Module  # [B, ...] -> the same shape
    depth: int

    @linen.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        require_whole(1, depth=self.depth)
        layer, init = _functional(self.layer, "layer")
        params = self.param("layers", _stacked(init, self.depth), x)
        first = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype), params)
        shape = jax.eval_shape(layer, first, x).shape
        require(shape == x.shape, f"layer makes {shape} of {x.shape}, and layers of a stack keep the shape.")
        return in_turn(layer, params, x)


class Residual(linen.Module):
    """A residual block (He et al. 2016): ``x`` plus a perceptron of ``x`` with one hidden layer.

    Its last layer is initialised with zeros (Goyal et al. 2017), so the block is the identity at first.

    >>> block = Residual(8)
    >>> x = jnp.ones((1, 3))
    >>> block.apply(block.init(jax.random.key(0), x), x).tolist()
    [[1.0, 1.0, 1.0]]
    """

    hidden: int

    @linen.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        y = jax.nn.relu(linen.Dense(self.hidden, kernel_init=linen.initializers.lecun_normal())(x))
        return x + linen.Dense(x.shape[-1], kernel_init=linen.initializers.zeros)(y)


def _functional(module: linen.Module, who: str) -> tuple[Part, Callable[..., Any]]:
    """A module as functions of its params: what it computes, and how they begin."""
    module = module.clone(parent=None, name=None)

    def init(key: jax.Array, x: jax.Array) -> Any:
        variables = dict(module.init(key, x))
        params = variables.pop("params", None)
        require(
            params is not None and not variables,
            f"{who} has the variables {sorted(variables) or 'none'}, and must have params and no others.",
        )
        return params

    return lambda params, x: cast(jax.Array, module.apply({"params": params}, x)), init


def _stacked(init: Callable[..., Any], parts: int) -> Callable[..., Any]:
    return lambda key, x: jax.vmap(init, (0, None))(jax.random.split(key, parts), x)


def each(part: Part, params: Any, x: jax.Array) -> jax.Array:
    """The outputs ``[M, ...]`` of all parts for the same input.

    If a child differs from its parent in one part, the other parts are computed with the parent's weights.

    Args:
      part: ``(params of one part, x) -> y``.
      params: of all parts, stacked: ``[M, ...]``.
      x: the input.
    """
    return with_rule(partial(_each, part), partial(_each_but_one, part))(params, x)


def _each(part: Part, params: Any, x: jax.Array) -> jax.Array:
    return jax.vmap(part, (0, None))(params, x)


def _each_but_one(part: Part, params: Any, x: Any) -> Any:
    index = _one_index(params)
    if index is None:
        return NotImplemented
    base, own = _of_parent(params), _of_child(params, index)
    return _each(part, base, dense_leaf(x)).at[index].set(by_parts(part)(own, dense_leaf(x)))


def in_turn(part: Part, params: Any, x: jax.Array) -> jax.Array:
    """The output of all parts in sequence: each part gets the output of the part before it.

    If children differ from their parent in the same part, the parts before it are computed once for all children.

    Args:
      part: ``(params of one part, x) -> y``, where y has the shape and dtype of x.
      params: of all parts, stacked: ``[L, ...]``.
      x: the input of the first part.
    """
    return with_rule(partial(_in_turn, part), partial(_in_turn_but_one, part))(params, x)


def _in_turn(part: Part, params: Any, x: jax.Array) -> jax.Array:
    return lax.scan(lambda x, own: (part(own, x), None), x, params)[0]


def _in_turn_but_one(part: Part, params: Any, x: Any) -> Any:
    if _one_index(params) is None:
        return NotImplemented
    leaves, treedef = jax.tree.flatten((params, dense_leaf(x)))

    def whole(*leaves: Any) -> jax.Array:
        params, x = treedef.unflatten(leaves)
        return _in_turn(part, dense(params), x)

    def below_once(*leaves: Any) -> jax.Array:
        params, x = treedef.unflatten(leaves)
        index, base = _one_index(params), _of_parent(params)

        def step(number: jax.Array, x: jax.Array) -> jax.Array:
            return part(jax.tree.map(lambda leaf: leaf[number], base), x)

        x = by_parts(part)(_of_child(params, index), lax.fori_loop(0, index, step, x))
        return lax.fori_loop(index + 1, len(jax.tree.leaves(base)[0]), step, x)

    brood = jax.custom_batching.custom_vmap(whole)

    @brood.def_vmap
    def of_brood(size: int, batched: list[bool], *leaves: Any) -> tuple[jax.Array, bool]:
        own, _ = treedef.unflatten(batched)
        each_its_own = _one_index(own) or any(jax.tree.leaves(_of_parent(own)))
        if each_its_own:
            for leaf in jax.tree.leaves(params, is_leaf=is_low_rank):
                tell_built(leaf, "layers that children draw for themselves")
        return jax.vmap(whole if each_its_own else below_once, axes(batched), axis_size=size)(*leaves), True

    return brood(*leaves)


def _one_index(params: Any) -> Any:
    """The part that a child has of its own, where it has one alone; None where that cannot be told."""
    found = [leaf for leaf in jax.tree.leaves(params, is_leaf=is_low_rank) if is_low_rank(leaf)]
    one = all(isinstance(leaf, Member) and leaf.together == found[0].together for leaf in found)
    return found[0].index if found and one else None


def _of_parent(params: Any) -> Any:
    return map_low_rank(lambda leaf: leaf.base if isinstance(leaf, Member) else leaf, params)


def _of_child(params: Any, index: Any) -> Any:
    return map_low_rank(lambda leaf: leaf.value if isinstance(leaf, Member) else leaf[index], params)
