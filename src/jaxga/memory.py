"""Prototype memories, and mutations that change one head at a time.

A memory has H heads. Each head has a prototype, a column of ``memory [D, H]``, and a label, a column of ``label
[C, H]``. The output for a point is the label of the head whose prototype is most similar to the point. So a mutation of
one head changes the output only for the points that this head wins or loses.

Mutations of heads are called genes. They rewrite single columns (`jaxga.lowrank.Columns`). The similarities of points
to the heads of a parent are computed once for all its children. Each child computes only the similarities to its new
columns.
"""

from collections.abc import Callable, Sequence
from functools import partial, wraps
from typing import Any, Literal, NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen

from jaxga.base import (
    Context,
    Individual,
    Key,
    Params,
    Strategy,
    Variation,
    as_key,
    require,
    require_at_least,
    require_whole,
)
from jaxga.interpret import by_parts, with_rule
from jaxga.lowrank import Columns, base_of, dense_leaf, is_low_rank, read_columns, write_columns, written_over
from jaxga.noise import normal
from jaxga.tree import Path, check_like, iota, name_of, path_key, paths
from jaxga.variation import StepSize, absolute, mixture
from jaxga.variation.checks import require_function, shown
from jaxga.variation.mutation import checked_sizes
from jaxga.variation.step_size import require_step_size

Start = Literal["zeros", "random"]


class Look(NamedTuple):
    """The result of a memory for P points."""

    logits: jax.Array  # [P, C]
    closeness: jax.Array  # [P], similarity of each point to the most similar head
    winner: jax.Array  # [P] int32, index of the most similar head


class PrototypeMemory(linen.Module):
    """A memory that returns the label of the most similar prototype, or a mean of labels weighted by similarity.

    Args:
      outputs: C, the length of a label.
      heads: H, the number of heads, by default 128.
      dimension: D, the length of points after a fixed random projection. By default there is no projection.
      similarity: "dot" (default) or "cosine".
      temperature: temperature of a softmax over the similarities to all heads, which weights their labels. By default
        None: the label of the most similar head is returned, of the first one if several are equal.
      start: "zeros" (default), or "random" for prototypes and labels of length 1 in random directions.
      seed: seed of the projection, by default 0.

    Raises:
      InputError: when the network is called, if ``similarity`` or ``start`` is not one of these values, ``temperature``
        is below 0, or ``seed`` is not a seed.

    >>> network = PrototypeMemory(10, heads=16)
    >>> params = network.init(jax.random.key(0), jnp.zeros((1, 8)))
    >>> network.apply(params, jnp.ones((5, 8))).shape, jax.tree.map(jnp.shape, params["params"])
    ((5, 10), {'label': (10, 16), 'memory': (8, 16)})
    """

    outputs: int
    heads: int = 128
    dimension: int | None = None
    similarity: Literal["dot", "cosine"] = "dot"
    temperature: float | None = None
    start: Start = "zeros"
    seed: int = 0

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.look(x).logits

    def classify(self, x: jax.Array) -> jax.Array:
        """The classes ``[P]`` int32 of points ``[P, ...]``: the index of the largest output, or -1 if an output is NaN.

        Without a temperature the class of each label is computed once, and no logits are made for the points.
        """
        if self.temperature is not None:
            return _class(self.look(x).logits.T)[0]
        return self.look(x, _class).logits[:, 0]

    @linen.compact
    def look(self, x: jax.Array, say: Callable[[jax.Array], jax.Array] | None = None) -> Look:
        """The outputs for points, and the most similar head of each point.

        Args:
          x: points ``[P, ...]``, which are flattened to vectors.
          say: a function of the labels ``[C, H]`` that returns ``[K, H]``. Its columns take the place of the labels, so
            that `Look.logits` is ``[P, K]``. By default the labels stay as they are.

        Raises:
          InputError: as for `PrototypeMemory`.
        """
        require(self.similarity in ("dot", "cosine"), f"similarity is {self.similarity!r}: take 'dot' or 'cosine'.")
        require(self.start in ("zeros", "random"), f"start is {self.start!r}, and must be 'zeros' or 'random'.")
        x = x.reshape(x.shape[0], -1)
        if self.dimension is not None:
            with jax.ensure_compile_time_eval():  # once, and not for every chunk of children
                fixed = projection(x.shape[1], self.dimension, self.seed)
            x = x @ fixed.astype(x.dtype)
        begin = linen.initializers.zeros if self.start == "zeros" else unit_columns
        memory = self.param("memory", begin, (x.shape[1], self.heads), jnp.float32)
        label = self.param("label", begin, (self.outputs, self.heads), jnp.float32)
        column = _same
        if self.similarity == "cosine":
            x, column = _unit(x, axis=1), _unit
        if self.temperature is None:
            functions = partial(partial, column=column, say=say or _same)
            return with_rule(functions(_hard), functions(_hard_by_columns))(x, memory, label)
        similar = with_rule(partial(_similarity, column), partial(_similarity_by_columns, column))(x, memory)
        return _soft(similar, label if say is None else say(label), self.temperature)


def projection(inputs: int, dimension: int, seed: int = 0) -> jax.Array:
    """A random matrix ``[inputs, dimension]`` of numbers from N(0, 1 / inputs), where 1 / inputs is the variance.

    Points whose components are drawn from N(0, 1) have such components after the projection, too.

    Args:
      inputs: length of the points.
      dimension: length of the projected points.
      seed: seed of the matrix, by default 0.

    Raises:
      InputError: if ``seed`` is neither a whole number nor a key.

    >>> projection(3, 2).shape
    (3, 2)
    """
    key = path_key(as_key(seed), ("projection",))
    return jax.random.normal(key, (inputs, dimension), jnp.float32) / float(np.sqrt(inputs))


def unit_columns(key: Key, shape: tuple[int, ...], dtype: Any = jnp.float32) -> jax.Array:
    """A flax initializer: columns of length 1 in random directions.

    Args:
      key: key of the draw.
      shape: ``(m, n)`` for n columns of m numbers.
      dtype: a float dtype, by default float32.

    >>> bool(jnp.allclose(jnp.linalg.norm(unit_columns(jax.random.key(0), (3, 5)), axis=0), 1))
    True
    """
    return _unit(jax.random.normal(key, shape, dtype))


def _class(columns: jax.Array) -> jax.Array:
    """The class ``[1, n]`` of each column of logits ``[C, n]``, -1 if one of them is NaN."""
    return jnp.where(jnp.isnan(columns).any(axis=0), -1, _argmax(columns, 0))[None]


def _argmax(values: jax.Array, axis: int) -> jax.Array:
    return jnp.argmax(values, axis=axis).astype(jnp.int32)


def _unit(columns: jax.Array, axis: int = 0) -> jax.Array:
    length = jnp.sqrt(jnp.sum(columns * columns, axis=axis, keepdims=True))
    return columns / jnp.where(length > 0, length, 1)


def _same(columns: jax.Array) -> jax.Array:
    return columns


def _each_column(function: Callable[[jax.Array], jax.Array], leaf: Any) -> Any:
    """Apply a function of columns ``[m, n]`` to a leaf. What belongs to its base is computed once for a brood."""
    if isinstance(leaf, Columns):
        return Columns(function(leaf.base), leaf.index, function(leaf.value))
    return function(dense_leaf(leaf))


Function = Callable[[jax.Array], jax.Array]  # of columns [m, n]


def _similarity(column: Function, x: jax.Array, memory: jax.Array) -> jax.Array:
    return x @ column(memory)


def _similarity_by_columns(column: Function, x: jax.Array, memory: Any) -> jax.Array:
    return by_parts(lambda memory: x @ memory)(_each_column(column, memory))


def _hard(x: jax.Array, memory: jax.Array, label: jax.Array, column: Function, say: Function) -> Look:
    similar = _similarity(column, x, memory)
    winner = _argmax(similar, 1)
    return Look(say(label)[:, winner].T, jnp.max(similar, axis=1), winner)


def _hard_by_columns(x: jax.Array, memory: Any, label: Any, column: Function, say: Function) -> Look:
    """Like `_hard`, for a memory in which a child has rewritten r heads.

    The r + 1 most similar heads of the parent are found once for a brood. At least one of them was not rewritten. The
    best of these is compared with the rewritten heads.
    """
    if not isinstance(memory, Columns):
        return _hard(x, dense_leaf(memory), dense_leaf(label), column, say)
    memory, label = _each_column(column, memory), _each_column(say, label)
    heads, rewritten = memory.shape[1], memory.index.size
    similar = x @ memory.base
    parents = [Look(base_of(label)[:, head], most, head) for most, head in _nearest(similar, rewritten + 1)]
    parents = jax.lax.optimization_barrier(parents)  # otherwise XLA repeats the lookup for every child
    says_nothing = jnp.zeros((label.shape[0], len(x)), label.dtype)
    nobody = Look(says_nothing, jnp.full(len(x), -jnp.inf, similar.dtype), jnp.full(len(x), heads, jnp.int32))
    best = parents.pop() if len(parents) > rewritten else nobody
    for own in reversed(parents):
        best = _chosen((own.winner[:, None] != memory.index).all(axis=1), own, best)
    best = best._replace(logits=written_over(label, best.logits, best.winner))
    said, similar = read_columns(label, memory.index), memory.value.T @ x.T  # [C, r], [r, P]
    for n in range(rewritten):
        own = Look(said[:, n, None], similar[n], memory.index[n])
        wins = (own.closeness > best.closeness) | ((own.closeness == best.closeness) & (own.winner < best.winner))
        best = _chosen(wins & memory.counts[n], own, best)
    return best._replace(logits=best.logits.T)


def _nearest(similar: jax.Array, number: int) -> list[tuple[jax.Array, jax.Array]]:
    """The most similar heads of each point, best first: for each the similarity ``[P]`` and the index ``[P]``."""
    every, found = iota(similar.shape[1]), []
    for _ in range(min(number, similar.shape[1])):
        most = jnp.max(similar, axis=1)
        head = jnp.min(jnp.where(similar == most[:, None], every, every[-1]), axis=1)
        similar = jnp.where(every == head[:, None], -jnp.inf, similar)
        found.append((most, head))
    return found


def _chosen(condition: jax.Array, one: Look, other: Look) -> Look:
    return Look(*(jnp.where(condition, *pair) for pair in zip(one, other, strict=True)))


def _soft(similar: jax.Array, label: jax.Array, temperature: float) -> Look:
    require_at_least(0, temperature=temperature)
    weights = jax.nn.softmax(similar / temperature, axis=1)
    return Look(weights @ label.T, jnp.max(similar, axis=1), _argmax(similar, 1))


class Head(NamedTuple):
    """One prototype and its label."""

    memory: Any  # [D]; for several heads [D, H]
    label: Any  # [C]; for several heads [C, H]


Change = Callable[[Head, Head, Head], Head]  # (head, size, noise of N(0, 1)) -> head
"""How a head changes, a function ``(head, size, noise) -> head``.

``head`` is the head before the change. ``size`` holds its step sizes, ``[1]`` or ``[D]`` for the prototype and ``[1]``
or ``[C]`` for the label. ``noise`` holds random numbers from N(0, 1), in the shapes of the head. All three are a
`Head`, and so is the result, which has the shapes of ``head``. `walk`, `replace`, `turn` and `erase` are changes.
"""


class Choice(NamedTuple):
    """How a `gene` draws heads: `any_head`, `free_head`, `used_head`, or what `plastic` returns.

    A head is drawn with a probability in proportion to its weight. Weights may depend on a strategy that is inherited.
    """

    init: Callable[[Params], Strategy]  # (memory [D, H]) -> the strategy of a founder
    move: Callable[[Key, Strategy], Strategy]  # (key, the parent's strategy) -> the child's strategy
    weights: Callable[[jax.Array, Strategy], jax.Array]  # (the parent's memory [D, H], the child's strategy) -> [H]


def _stateless(weights: Callable[[jax.Array], jax.Array]) -> Choice:
    return Choice(lambda _: (), lambda _, strategy: strategy, lambda memory, _: weights(memory))


def in_use(memory: jax.Array) -> jax.Array:
    """Which heads are in use, bool ``[H]``, for ``memory [D, H]``. A head whose prototype is zero is free.

    >>> in_use(jnp.array([[0.0, 1.0], [0.0, 0.0]])).tolist()
    [False, True]
    """
    return (memory != 0).any(axis=0)


def _or_any(mask: jax.Array) -> jax.Array:
    return (mask | ~mask.any()).astype(jnp.float32)


any_head = _stateless(lambda memory: jnp.ones(memory.shape[1], jnp.float32))
"""All heads are equally likely."""

free_head = _stateless(lambda memory: _or_any(~in_use(memory)))
"""One of the free heads; any head if none is free. All of these are equally likely."""

used_head = _stateless(lambda memory: _or_any(in_use(memory)))
"""One of the heads in use; any head if none is in use. All of these are equally likely."""


def plastic(tau: Any = 0.1) -> Choice:
    """Heads are drawn by a softmax of plasticities, one number for each head, which are inherited.

    Plasticities of founders are 0. In every child, each plasticity first changes by ``tau * N(0, 1)``, and then heads
    are drawn. So selection can make some heads change more rarely than others.

    Args:
      tau: standard deviation of the change of a plasticity, by default 0.1.

    Raises:
      InputError: if ``tau`` is below 0.
    """
    require_at_least(0, tau=tau)
    return Choice(
        init=lambda memory: {"plasticity": jnp.zeros(memory.shape[1], jnp.float32)},
        move=lambda key, strategy: {
            "plasticity": strategy["plasticity"]
            + tau * jax.random.normal(key, strategy["plasticity"].shape, jnp.float32)
        },
        weights=lambda _, strategy: jax.nn.softmax(strategy["plasticity"]),
    )


def walk(head: Head, size: Head, noise: Head) -> Head:
    """A `Change`: ``head + size * noise``, for prototype and label. So a head becomes longer, as in a random walk.

    >>> walk(Head(jnp.ones(2), jnp.zeros(1)), Head(0.5, 0.1), Head(jnp.array([1.0, -1.0]), jnp.ones(1))).memory.tolist()
    [1.5, 0.5]
    """
    return Head(head.memory + size.memory * noise.memory, head.label + size.label * noise.label)


def replace(head: Head, size: Head, noise: Head) -> Head:
    """A `Change`: a prototype and a label of length ``size`` in random directions, whatever the head was before.

    >>> new = replace(Head(jnp.ones(2), jnp.ones(1)), Head(2.0, 1.0), Head(jnp.array([3.0, 4.0]), jnp.ones(1)))
    >>> round(float(jnp.linalg.norm(new.memory)), 5)
    2.0
    """
    del head
    return Head(size.memory * _unit(noise.memory), size.label * _unit(noise.label))


def turn(head: Head, size: Head, noise: Head) -> Head:
    """A `Change`: the prototype moves on the unit sphere, and the label is drawn anew.

    The prototype moves by ``size * noise / sqrt(D)``, and is then scaled to length 1. The label becomes ``size *
    noise``.

    >>> new = turn(Head(jnp.array([1.0, 0.0]), jnp.zeros(1)), Head(0.0, 2.0), Head(jnp.ones(2), jnp.ones(1)))
    >>> new.memory.tolist(), new.label.tolist()
    ([1.0, 0.0], [2.0])
    """
    moved = head.memory + size.memory * noise.memory / float(np.sqrt(head.memory.size))
    return Head(_unit(moved), size.label * noise.label)


def erase(head: Head, size: Head, noise: Head) -> Head:
    """A `Change`: prototype and label become zero, so that the head is free.

    >>> head = Head(jnp.ones(2), jnp.ones(1))
    >>> erase(head, Head(1.0, 1.0), head).memory.tolist()
    [0.0, 0.0]
    """
    del size, noise
    return Head(jnp.zeros_like(head.memory), jnp.zeros_like(head.label))


def of_prototype(change: Change) -> Change:
    """The same `Change`, of the prototype only: the label stays as it is.

    Raises:
      InputError: if ``change`` is not a function.

    >>> head = Head(jnp.ones(2), jnp.ones(1))
    >>> of_prototype(erase)(head, Head(1.0, 1.0), head).label.tolist()
    [1.0]
    """
    require_function("change", change, "(head, size, noise): walk, replace, turn or erase")
    return wraps(change)(lambda head, size, noise: change(head, size, noise)._replace(label=head.label))


def of_label(change: Change) -> Change:
    """The same `Change`, of the label only: the prototype stays as it is.

    Raises:
      InputError: if ``change`` is not a function.

    >>> head = Head(jnp.ones(2), jnp.ones(1))
    >>> of_label(erase)(head, Head(1.0, 1.0), head).memory.tolist()
    [1.0, 1.0]
    """
    require_function("change", change, "(head, size, noise): walk, replace, turn or erase")
    return wraps(change)(lambda head, size, noise: change(head, size, noise)._replace(memory=head.memory))


def gene(
    change: Change | Sequence[tuple[float, Change]],
    step_size: StepSize | None = None,
    *,
    heads: int | None = 1,
    choose: Choice = any_head,
) -> Variation:
    """A mutation of some heads of a `PrototypeMemory`: ``gene(walk)``, ``gene(turn, absolute(0.3))``, ``gene(erase)``.

    Heads are drawn, and each of them changes. All other weights of the network stay as they are.

    Args:
      change: a `Change`: `walk`, `replace`, `turn`, `erase`, one of these restricted to the prototype or the label
        (``of_prototype(turn)``, ``of_label(replace)``), or a function of your own. Or (weight, change) pairs, such as
        ``[(0.9, replace), (0.1, erase)]``: each head then draws one of the changes, in proportion to the weights.
      step_size: as for any mutation, by default ``absolute(1.0)``. With ``per=per.unit`` every head evolves a step size
        of its own.
      heads: number of heads that are drawn, with replacement, by default 1. A head that is drawn twice changes once.
        None: all heads change.
      choose: how heads are drawn: `any_head` (default), `free_head`, `used_head` or ``plastic()``.

    Raises:
      InputError: if ``change`` is neither a function nor (weight, change) pairs, a weight is below 0, all weights are
        0, ``heads`` is below 1, ``step_size`` is not a `StepSize`, or ``choose`` is not a `Choice`; later, if the
        network does not have exactly one `PrototypeMemory`, or ``change`` returns a head of another shape.

    >>> network, mutation = PrototypeMemory(4, heads=8), gene(walk, absolute(0.5))
    >>> params = network.init(jax.random.key(0), jnp.zeros((1, 3)))
    >>> parent = Individual(params, mutation.init(params))
    >>> child = mutation.apply(jax.random.key(1), parent, Context(jnp.int32(0), parent))
    >>> int(in_use(child.params["params"]["memory"].dense()).sum())
    1
    """
    require_whole(1, heads=1 if heads is None else heads)
    kinds = [(1.0, change)] if callable(change) else list(change)
    for kind in kinds:
        pair = isinstance(kind, Sequence) and len(kind) == 2
        require(pair, f"gene got {shown(kind)} as a part: give it one change, or (weight, change) pairs.")
        require_at_least(0, weight=kind[0])
        require_function("change", kind[1], "(head, size, noise): walk, replace, turn or erase")
    some = sum(weight for weight, _ in kinds) > 0
    require(some, "gene got no change of any weight: give it one, or (weight, change) pairs, one above 0.")
    sizes_of = absolute(1.0) if step_size is None else step_size
    require_step_size(sizes_of, "gene")
    require(isinstance(choose, Choice), f"choose is {shown(choose)}: take any_head, free_head, used_head or plastic().")

    def init(params: Params) -> Strategy:
        return {"step": sizes_of.init(params), "choice": choose.init(_memory(params)[0])}

    def apply(key: Key, parent: Individual, context: Context) -> Individual:
        key_size, key_choice, key_head, key_kind, key_noise = jax.random.split(key, 5)
        sizes, step = sizes_of.apply(key_size, parent.strategy["step"], context)
        sizes = checked_sizes(sizes, parent.params, f"step size {name_of(sizes_of.apply)}")
        choice = choose.move(key_choice, parent.strategy["choice"])
        memory, label = _memory(parent.params)
        width = memory.shape[1]
        size_of = [_wide(size, width) for size in _memory(sizes)]
        index = iota(width)
        if heads is not None:
            index = _drawn(key_head, choose.weights(base_of(memory), choice), heads)
        old = Head(read_columns(memory, index), read_columns(label, index))
        size = Head(*(size[:, index] for size in size_of))
        drawn = normal(key_noise, (memory.shape[0] + label.shape[0], index.size), memory.dtype)
        noise = Head(*jnp.split(drawn, [memory.shape[0]]))
        new = _changed(kinds, key_kind, old, size, noise)
        if heads is not None:
            new = Head(write_columns(memory, index, new.memory), write_columns(label, index, new.label))
        return Individual(_with_memory(parent.params, new), {"step": step, "choice": choice})

    return Variation(init, apply, in_parts=True)


def _changed(kinds: Sequence[tuple[float, Change]], key: Key, old: Head, size: Head, noise: Head) -> Head:
    """The new heads ``[m, r]``. If there are several kinds of change, each head draws one."""
    ways = [jax.vmap(partial(_one_changed, change), in_axes=1, out_axes=1)(old, size, noise) for _, change in kinds]
    if len(ways) == 1:
        return ways[0]
    which = _drawn(key, jnp.array([weight for weight, _ in kinds], jnp.float32), old.memory.shape[1])
    return jax.tree.map(lambda *found: jax.lax.select_n(jnp.broadcast_to(which, found[0].shape), *found), *ways)


def _one_changed(change: Change, head: Head, size: Head, noise: Head) -> Head:
    new = change(head, size, noise)
    return check_like(new, head, f"change {name_of(change)}")


def typed(
    add: float = 0.4,
    delete: float = 0.3,
    perturb: float = 0.3,
    *,
    step_size: StepSize | None = None,
    heads: int = 1,
    evolve: float = 0.0,
) -> Variation:
    """Mutations of three types: write a random head to a free place, erase a head in use, or turn a head in use.

    Args:
      add: weight of writing a head, by default 0.4.
      delete: weight of erasing a head, by default 0.3.
      perturb: weight of turning a head, by default 0.3.
      step_size: step size of turns, by default ``absolute(1.0)``.
      heads: number of heads that a mutation draws, by default 1.
      evolve: standard deviation with which the logarithms of the weights change in each child, which inherits them. By
        default 0: the weights are fixed.

    Raises:
      InputError: if a weight or ``evolve`` is below 0, all weights are 0, ``heads`` is below 1, or ``step_size`` is not
        a `StepSize`.
    """
    parts = {
        "add": (add, gene(replace, heads=heads, choose=free_head)),
        "delete": (delete, gene(erase, heads=heads, choose=used_head)),
        "perturb": (perturb, gene(turn, step_size, heads=heads, choose=used_head)),
    }
    return mixture(parts, evolve=evolve)


def mixed(
    whole: float = 0.5,
    prototype: float = 0.3,
    label: float = 0.2,
    *,
    step_size: StepSize | None = None,
    heads: int = 1,
) -> Variation:
    """Mutations of three kinds: replace a whole head, turn a prototype, or replace a label.

    It is the mutation that solved the till-death task, see docs/memory.md.

    Args:
      whole: weight of replacing a head, by default 0.5.
      prototype: weight of turning a prototype, by default 0.3.
      label: weight of replacing a label, by default 0.2.
      step_size: step size of turns, by default ``absolute(1.0)``.
      heads: number of heads that a mutation draws, by default 1.

    Raises:
      InputError: if a weight is below 0, all weights are 0, ``heads`` is below 1, or ``step_size`` is not a `StepSize`.
    """

    def anew(head: Head, size: Head, noise: Head) -> Head:
        del size  # which is for turns
        return replace(head, Head(1.0, 1.0), noise)

    kinds = [(whole, anew), (prototype, of_prototype(turn)), (label, of_label(anew))]
    return gene(kinds, step_size, heads=heads)


def intrinsic(network: PrototypeMemory, free: float = 0.0) -> Callable[[Params, jax.Array], jax.Array]:
    """A tiebreak for `jaxga.tasks.memorization`: the sum, over all points, of the similarity to the most similar head.

    Args:
      network: the memory.
      free: number that is added for each free head, by default 0. With it, of two memories with equal fitness the one
        with more free heads can win.

    Returns:
      A function ``(params, points [P, ...]) -> []``.
    """

    def value(params: Params, x: jax.Array) -> jax.Array:
        close = jnp.sum(cast(Look, network.apply(params, x, method="look")).closeness)
        unused = jnp.sum(~in_use(_memory(params).memory)).astype(close.dtype)
        return close + free * unused if free else close

    return value


def statistics(network: PrototypeMemory, individual: Individual, x: jax.Array) -> dict[str, jax.Array]:
    """What the heads of an individual do. To see it for every generation of a finished run, use `jaxga.analysis.trace`.

    Args:
      network: the memory.
      individual: the individual.
      x: points ``[P, ...]``.

    Returns:
      Arrays ``[H]``: ``usage``, the number of points that a head wins; ``norm``, the length of its prototype; and if
      step sizes evolve, ``rate``, the mean step size of its prototype.

    Raises:
      InputError: if the network does not have exactly one `PrototypeMemory`.

    >>> network = PrototypeMemory(4, heads=3)
    >>> params = network.init(jax.random.key(0), x := jnp.ones((5, 2)))
    >>> statistics(network, Individual(params, ()), x)["usage"].tolist()  # all heads are equal, and the first one wins
    [5.0, 0.0, 0.0]
    """
    winner = cast(Look, network.apply(individual.params, x, method="look")).winner
    found = {
        "usage": jnp.sum(jax.nn.one_hot(winner, network.heads, dtype=jnp.float32), axis=0),
        "norm": jnp.linalg.norm(_memory(individual.params).memory, axis=0),
    }
    step = individual.strategy.get("step") if isinstance(individual.strategy, dict) else None
    if isinstance(step, dict) and "step_size" in step:
        found["rate"] = _wide(_memory(step["step_size"]).memory, network.heads).mean(axis=0)
    return found


def _drawn(key: Key, weights: jax.Array, number: int) -> jax.Array:
    """Draw ``number`` positions, with replacement, in proportion to ``weights [H]``."""
    below = jnp.cumsum(weights)
    unit = jax.random.uniform(key, (number,), jnp.float32)
    points = unit * (1 - 2**-20) * below[-1]  # below the last, in spite of rounding
    return jnp.sum(below <= points[:, None], axis=1, dtype=jnp.int32)


def _wide(size: Any, width: int) -> jax.Array:
    """A step size as ``[1, H]`` or ``[m, H]``, from one for all heads, one for each head, or one for each weight."""
    size = jnp.asarray(size)
    return size if size.ndim == 2 else jnp.broadcast_to(size, (1, width))


def _memory(tree: Any) -> Head:
    """The two leaves of the memory in a tree like the parameters of a network."""
    named = [(path[-1], leaf) for path, leaf in _leaves(tree)]
    names = [name for name, _ in named]
    one = names.count("memory") == names.count("label") == 1
    require(one, f"genes of heads are for a network with one PrototypeMemory, and this one has the leaves {names}.")
    return Head(dict(named)["memory"], dict(named)["label"])


def _with_memory(params: Params, head: Head) -> Params:
    new = head._asdict()
    treedef = jax.tree.structure(params, is_leaf=is_low_rank)
    return treedef.unflatten([new.get(path[-1], leaf) for path, leaf in _leaves(params)])


def _leaves(tree: Any) -> list[tuple[Path, Any]]:
    return list(zip(jax.tree.leaves(paths(tree, is_low_rank)), jax.tree.leaves(tree, is_leaf=is_low_rank), strict=True))
