"""Prototype memories, and mutations that change one head at a time.

A memory has H heads. Each is a prototype, a column of ``memory [D, H]``, and what it says, a column of ``label
[C, H]``. A point takes the label of the head that is most similar to it, so a mutation of one head moves the points
that it wins or loses and no others. Genes rewrite single columns (`jaxga.lowrank.Columns`): a child costs the
similarity of its points to the new column, and the rest is its parent's.
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
      temperature: temperature of a softmax over heads that weights the labels. By default None: the label of the most
        similar head is returned, of the first one among equals.
      start: "zeros" (default), or "random" for prototypes and labels of length 1 in random directions.
      seed: seed of the projection, by default 0.

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
        """The class ``[P]`` of points ``[P, ...]``, -1 where that is NaN: the class of the winner, and no logits."""
        if self.temperature is not None:
            return _class(self.look(x).logits.T)[0]
        return self.look(x, _class).logits[:, 0]

    @linen.compact
    def look(self, x: jax.Array, say: Callable[[jax.Array], jax.Array] | None = None) -> Look:
        """Logits, and which head gave them, of points ``[P, ...]``. With ``say`` a function of columns of labels."""
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
    """``[inputs, dimension]`` of N(0, 1 / inputs), so that points of N(0, 1) stay such."""
    key = path_key(as_key(seed), ("projection",))
    return jax.random.normal(key, (inputs, dimension), jnp.float32) / float(np.sqrt(inputs))


def unit_columns(key: Key, shape: tuple[int, ...], dtype: Any = jnp.float32) -> jax.Array:
    """Random columns of length 1."""
    return _unit(jax.random.normal(key, shape, dtype))


def _class(columns: jax.Array) -> jax.Array:
    """The class ``[1, n]`` of each column ``[C, n]`` of logits."""
    return jnp.where(jnp.isnan(columns).any(axis=0), -1, _argmax(columns, 0))[None]


def _argmax(values: jax.Array, axis: int) -> jax.Array:
    return jnp.argmax(values, axis=axis).astype(jnp.int32)


def _unit(columns: jax.Array, axis: int = 0) -> jax.Array:
    length = jnp.sqrt(jnp.sum(columns * columns, axis=axis, keepdims=True))
    return columns / jnp.where(length > 0, length, 1)


def _same(columns: jax.Array) -> jax.Array:
    return columns


def _each_column(function: Callable[[jax.Array], jax.Array], leaf: Any) -> Any:
    """A function of columns ``[m, n]``; what is its base's is computed once for a brood."""
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
    """The best of the heads that are the parent's is found once a brood, and then compared with those that are new.

    One of the parent's r + 1 best is none of r rewritten ones.
    """
    if not isinstance(memory, Columns):
        return _hard(x, dense_leaf(memory), dense_leaf(label), column, say)
    memory, label = _each_column(column, memory), _each_column(say, label)
    heads, rewritten = memory.shape[1], memory.index.size
    similar = x @ memory.base
    parents = [Look(base_of(label)[:, head], most, head) for most, head in _nearest(similar, rewritten + 1)]
    parents = jax.lax.optimization_barrier(parents)  # XLA would look them up again for every child
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
    """The nearest heads of every point, one after another: similarity ``[P]`` and which it is ``[P]``."""
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

    memory: Any  # [D]; of many [D, H]
    label: Any  # [C]; of many [C, H]


Change = Callable[[Head, Head, Head], Head]  # (head, size, noise of N(0, 1)) -> head


class Choice(NamedTuple):
    """Which head is to change: ``weights: (memory [D, H], strategy) -> [H]``, to which its chance is proportional."""

    init: Callable[[Params], Strategy]
    move: Callable[[Key, Strategy], Strategy]
    weights: Callable[[jax.Array, Strategy], jax.Array]


def _stateless(weights: Callable[[jax.Array], jax.Array]) -> Choice:
    return Choice(lambda _: (), lambda _, strategy: strategy, lambda memory, _: weights(memory))


def in_use(memory: jax.Array) -> jax.Array:
    """Bool ``[H]``: a head that is nothing but zeros is free."""
    return (memory != 0).any(axis=0)


def _or_any(mask: jax.Array) -> jax.Array:
    return (mask | ~mask.any()).astype(jnp.float32)


any_head = _stateless(lambda memory: jnp.ones(memory.shape[1], jnp.float32))
"""All with the same chance."""

free_head = _stateless(lambda memory: _or_any(~in_use(memory)))
"""One that is free; any one, where none is."""

used_head = _stateless(lambda memory: _or_any(in_use(memory)))
"""One that is in use; any one, where none is."""


def plastic(tau: Any = 0.1) -> Choice:
    """By a softmax of plasticities, one a head, which are inherited and walk at random by N(0, tau).

    A head that should rest can become so.
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
    """``head + size * N(0, 1)``: its length grows as that of a random walk."""
    return Head(head.memory + size.memory * noise.memory, head.label + size.label * noise.label)


def replace(head: Head, size: Head, noise: Head) -> Head:
    """A random prototype and a random label of length ``size``, whatever was there."""
    del head
    return Head(size.memory * _unit(noise.memory), size.label * _unit(noise.label))


def turn(head: Head, size: Head, noise: Head) -> Head:
    """The prototype moves by ``size * N(0, 1 / D)`` and is put back on the unit sphere; the label is drawn anew."""
    moved = head.memory + size.memory * noise.memory / float(np.sqrt(head.memory.size))
    return Head(_unit(moved), size.label * noise.label)


def erase(head: Head, size: Head, noise: Head) -> Head:
    """Nothing: the head is free."""
    del size, noise
    return Head(jnp.zeros_like(head.memory), jnp.zeros_like(head.label))


def of_prototype(change: Change) -> Change:
    """A change that leaves the label as it is."""
    require_function("change", change, "(head, size, noise): walk, replace, turn or erase")
    return wraps(change)(lambda head, size, noise: change(head, size, noise)._replace(label=head.label))


def of_label(change: Change) -> Change:
    """A change that leaves the prototype as it is."""
    require_function("change", change, "(head, size, noise): walk, replace, turn or erase")
    return wraps(change)(lambda head, size, noise: change(head, size, noise)._replace(memory=head.memory))


def gene(
    change: Change | Sequence[tuple[float, Change]],
    step_size: StepSize | None = None,
    *,
    heads: int | None = 1,
    choose: Choice = any_head,
) -> Variation:
    """Some heads of a `PrototypeMemory` change: ``gene(walk)``, ``gene(turn, absolute(0.3))``, ``gene(erase)``.

    Args:
      change: `walk`, `replace`, `turn`, `erase`; of the prototype or the label alone, ``of_prototype(turn)``,
        ``of_label(replace)``; a function of a `Head`, the sizes due to it and as many numbers of N(0, 1); or one of
        several for each head, ``[(0.9, replace), (0.1, erase)]``, with the given weights.
      step_size: as for any mutation, 1 unless given; with ``per=per.unit`` every head has one of its own.
      heads: how many are drawn; one that is drawn twice changes once. None for all of them.
      choose: `any_head`, `free_head`, `used_head`, `plastic`.

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
    """Heads ``[m, r]``, each changed in one of these ways."""
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
    """Mutations of three types: write a random head to a free place, erase a head in use, turn a head in use a little.

    Args:
      add: weight of writing a head, by default 0.4.
      delete: weight of erasing a head, by default 0.3.
      perturb: weight of turning a head, by default 0.3.
      step_size: step size of turns, by default 1.
      heads: number of heads that a mutation draws, by default 1.
      evolve: if above 0, the frequencies are inherited and their logarithms change by N(0, evolve). By default 0.
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
      step_size: step size of turns, by default 1.
      heads: number of heads that a mutation draws, by default 1.
    """

    def anew(head: Head, size: Head, noise: Head) -> Head:
        del size  # which is for turns
        return replace(head, Head(1.0, 1.0), noise)

    kinds = [(whole, anew), (prototype, of_prototype(turn)), (label, of_label(anew))]
    return gene(kinds, step_size, heads=heads)


def intrinsic(network: PrototypeMemory, free: float = 0.0) -> Callable[[Params, jax.Array], jax.Array]:
    """A tiebreak for `jaxga.tasks.memorization`: the sum of similarities of all points to their most similar heads.

    Each free head adds ``free``, so that of two memories with equal fitness, the one with more free heads can win.
    """

    def value(params: Params, x: jax.Array) -> jax.Array:
        close = jnp.sum(cast(Look, network.apply(params, x, method="look")).closeness)
        unused = jnp.sum(~in_use(_memory(params).memory)).astype(close.dtype)
        return close + free * unused if free else close

    return value


def statistics(network: PrototypeMemory, individual: Individual, x: jax.Array) -> dict[str, jax.Array]:
    """Of each head ``[H]``: ``usage``, how many of the points ``x`` it wins; ``norm``, the length of its prototype;
    ``rate``, the mean of its step sizes, where these evolve.

    To be asked of a run that is over, of all generations at once: `jaxga.analysis.trace`.
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
    """So many of ``[H]``, with replacement."""
    below = jnp.cumsum(weights)
    unit = jax.random.uniform(key, (number,), jnp.float32)
    points = unit * (1 - 2**-20) * below[-1]  # below the last, in spite of rounding
    return jnp.sum(below <= points[:, None], axis=1, dtype=jnp.int32)


def _wide(size: Any, width: int) -> jax.Array:
    """A step size as ``[..., H]``, whether it is one for all, one a head, or one a weight."""
    size = jnp.asarray(size)
    return size if size.ndim == 2 else jnp.broadcast_to(size, (1, width))


def _memory(tree: Any) -> Head:
    """The two leaves of the memory in a network."""
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
