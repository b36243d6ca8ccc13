"""Networks made of parts, of which a gene may change one: members of an ensemble, layers of a stack.

The weights of all M parts are stacked, ``[M, ...]``, under the name "members" or "layers". So `jaxga.variation.one_of`
changes one part of a child, and what the other parts compute is computed once for all children of a parent.
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
    """Every member counts the same."""
    return outputs.mean(axis=0)


def total(outputs: jax.Array) -> jax.Array:
    """The sum of all members: one whose last layer is zero changes nothing, and may grow from there."""
    return outputs.sum(axis=0)


def largest_logit(outputs: jax.Array) -> jax.Array:
    """For each example, the member with the largest logit answers alone."""
    return _of_winner(outputs, outputs.max(axis=-1))


def importance(outputs: jax.Array) -> jax.Array:
    """For each example, the member whose last output, its importance, is largest answers alone, with the others."""
    return _of_winner(outputs[..., :-1], outputs[..., -1])


def attention(outputs: jax.Array) -> jax.Array:
    """A mean of all members, weighted by the softmax of their last output.

    This is a head that attends always: it has no weights, so nothing can mutate it. (With a constant query, the key of
    a member says no more than its product with the query: one number.)
    """
    return jnp.sum(jax.nn.softmax(outputs[..., -1:], axis=0) * outputs[..., :-1], axis=0)


def _of_winner(outputs: jax.Array, votes: jax.Array) -> jax.Array:
    winner = jnp.argmax(votes, axis=0)
    return jnp.take_along_axis(outputs, winner[None, :, None], axis=0)[0]


class Ensemble(linen.Module):
    """M networks of one kind with weights of their own, and what is made of their outputs.

    ``Ensemble(MLP((32, 10)), 8)`` is the mean of 8 perceptrons. An ensemble *by action* combines what members would do.
    *By state*, its members say what they see, and a ``head``, one more network, makes an action of what is combined:
    ``Ensemble(MLP((32, 16)), 8, head=MLP((10,)))``. With ``states=16`` it is both: the first 16 outputs of a member are
    its state, and the others are added to what the head says.

    The params are stacked under "members", and a mutation ``one_of(...)`` changes one member of a child. A child then
    costs about an M-th where all children of a parent see the same examples.

    Args:
      member: a network ``[B, ...] -> [B, C]`` that has "params" and no other variables.
      members: M, their number.
      combine: `mean`, `total`, `largest_logit`, `importance`, `attention`, or ``(outputs [M, B, C]) -> [B, D]`` of
        your own, a flax module too. `importance` and `attention` take the last of the C outputs for themselves.
      head: a network ``[B, S] -> [B, D]``; without one, what is combined is the output.
      states: S, where a head gets a part of what is combined and the rest is added to its output; all by default.

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
    """The same layer L times, one after another, with weights of their own.

    ``Stack(Residual(64), 8)`` is a deep network of constant width. The params are stacked under "layers", so that
    ``one_of(mutation, "layers", of_brood=True)`` changes one layer, the same one for all children of a pair: the layers
    below it are then computed once for all of them.

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
    """``x`` plus a perceptron of it with one hidden layer, whose output is zero at first: the block changes nothing.

    (He et al. 2016; that the last layer of a branch begins with zero is of Goyal et al. 2017.)

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
    """``[M, ...]``: what every part makes of ``x``; ``params`` are stacked, ``[M, ...]``.

    Of a child that differs in one part, the others are those of its parent, and are computed with its weights.
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
    """``x`` through every part, one after another; ``params`` are stacked, ``[L, ...]``.

    Of children that differ from their parent in the same part, the parts before it are computed once for all of them.
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
