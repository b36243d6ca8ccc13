"""Variations that change a part of a child and leave the rest as it is: one member, or the weights that are free."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxga.base import Context, Individual, InputError, Key, Params, Strategy, Variation, require
from jaxga.lowrank import Member, alone, dense, dense_leaf, is_low_rank, select_leaf
from jaxga.tree import Path, path_key, paths, take
from jaxga.variation import per as groups_of
from jaxga.variation.checks import checked, require_function, require_probability, spreads_over
from jaxga.variation.per import GroupOf, as_group


def one_of(variation: Variation, parts: str | Callable[[Path], bool] = "members", of_brood: bool = False) -> Variation:
    """One of several networks (or layers) that are stacked in the params changes, drawn uniformly; the rest stays.

    Every leaf whose path has the name ``parts``, as `jaxga.nn.Ensemble` has "members" and `jaxga.nn.Stack` "layers", is
    an array ``[M, ...]`` of M parts. The ``variation`` is given one part alone, with a strategy of its own: step sizes
    are those of a part. Drawing costs an M-th of all parts, and so does scoring an ensemble, if all children of a
    parent see the same examples (`jaxga.nn.Ensemble`).

    Args:
      variation: of one part, as ``low_rank(relative(0.1))``.
      parts: the name in the path of the leaves, or ``(path) -> bool``.
      of_brood: all children of a pair change the same part. What a `jaxga.nn.Stack` computes below it is then computed
        once. By default each child draws for itself.

    Raises:
      InputError: where no leaf is meant, or leaves have different numbers of parts.

    >>> from jaxga.variation import absolute, gaussian
    >>> mutation = one_of(gaussian(absolute(0.1)))
    >>> parent = Individual(params := {"members": jnp.zeros((4, 3)), "head": jnp.zeros(2)}, mutation.init(params))
    >>> child = dense(mutation.apply(jax.random.key(0), parent, Context(jnp.int32(0), parent)).params)
    >>> int(jnp.sum(jnp.any(child["members"] != 0, axis=1))), child["head"].tolist()
    (1, [0.0, 0.0])
    """
    variation = checked(variation, "one_of")
    meant = (lambda path: parts in path) if isinstance(parts, str) else parts
    require_function("parts", meant, 'a path, or a name in it, such as "members"')

    def chosen(params: Params) -> Any:
        """The leaves that are meant; elsewhere None, where a tree has no leaf."""
        return jax.tree.map(lambda path, leaf: leaf if meant(path) else None, paths(params, is_low_rank), params)

    def init(params: Params) -> Strategy:
        members = chosen(params)
        _count(members, params, parts)
        return jax.vmap(variation.init)(members)

    def apply(key: Key, parent: Individual, context: Context) -> Individual:
        members = chosen(parent.params)
        names = tuple("/".join(path) for path in jax.tree.leaves(paths(members, is_low_rank)))
        again = any(map(is_low_rank, jax.tree.leaves(members, is_leaf=is_low_rank)))  # changed before, in a chain
        members = dense(members)
        key_index, key_child = jax.random.split(key)
        if of_brood:
            if context.brood is None:
                raise InputError("of_brood needs the key of a brood: pass Context(..., brood=key).")
            key_index = path_key(context.brood, names)
        index = jax.random.randint(key_index, (), 0, _count(members, parent.params, parts), jnp.int32)
        own = Individual(take(members, index), take(parent.strategy, index))
        mate = Individual(take(dense(chosen(context.mate.params)), index), take(context.mate.strategy, index))
        child = variation.apply(key_child, own, context._replace(mate=mate))

        def written(base: jax.Array, value: Any) -> Any:
            leaf = Member(base, index, value, names)
            return dense_leaf(leaf) if again else leaf

        moved = iter(jax.tree.leaves(jax.tree.map(written, members, child.params), is_leaf=is_low_rank))
        params = jax.tree.map(
            lambda path, leaf: next(moved) if meant(path) else leaf, paths(parent.params, is_low_rank), parent.params
        )
        strategy = jax.tree.map(lambda all, one: all.at[index].set(one), parent.strategy, child.strategy)
        return Individual(params, strategy)

    return Variation(init, apply, in_parts=True)


def _count(members: Any, params: Params, parts: Any) -> int:
    """M."""
    leaves = jax.tree.leaves(members, is_leaf=is_low_rank)
    every = ["/".join(path) for path in jax.tree.leaves(paths(params, is_low_rank))]
    who = f"whose path has {parts!r}" if isinstance(parts, str) else "that parts chooses"
    require(bool(leaves), f"one_of finds no leaf {who} among {every}: name the leaves that are stacked.")
    counts = {leaf.shape[0] if leaf.ndim else 0 for leaf in leaves}
    require(
        len(counts) == 1 and min(counts) > 0,
        f"one_of finds leaves {who} with {sorted(counts)} parts along their first axis: all must have as many, 1 or "
        "more.",
    )
    return counts.pop()


def frozen(variation: Variation, free: Any) -> Variation:
    """Only weights that are free change. ``free`` is a tree like the params, of bools or of arrays of them.

    For each leaf, one bool says whether the leaf may change, and an array ``[...]`` that goes with its shape says it of
    each weight. `jaxga.growth.new_weights` makes such a tree: of a network that has grown, what is new.

    >>> from jaxga.variation import absolute, gaussian
    >>> mutation = frozen(gaussian(absolute(0.1)), {"body": False, "head": jnp.array([True, False])})
    >>> parent = Individual(params := {"body": jnp.zeros(2), "head": jnp.zeros(2)}, mutation.init(params))
    >>> child = mutation.apply(jax.random.key(0), parent, Context(jnp.int32(0), parent))
    >>> [[bool(w) for w in child.params[name]] for name in ("body", "head")]
    [[False, False], [True, False]]
    """
    variation = checked(variation, "frozen")

    def apply(key: Key, parent: Individual, context: Context) -> Individual:
        names, same = paths(parent.params, is_low_rank), jax.tree.structure(free)
        require(
            jax.tree.structure(names) == same,
            f"free is a tree {same}, and params are {jax.tree.structure(names)}: make one bool, or an array of bools, "
            "for each leaf.",
        )
        child = variation.apply(key, parent, context)
        params = jax.tree.map(_where_free, names, free, child.params, parent.params)
        return child._replace(params=params)

    return Variation(variation.init, apply, in_parts=True)


def _where_free(path: Path, free: Any, new: Any, old: Any) -> Any:
    """A leaf of which only the weights that are free are the child's."""
    free = np.asarray(free)
    require(
        free.dtype == np.bool_ and spreads_over(free.shape, new.shape),
        f"free is {free.dtype}{list(free.shape)} for leaf '{'/'.join(path)}', and bools that go with its shape "
        f"{tuple(new.shape)} were due.",
    )
    if free.all() or not free.any():
        return alone(new) if free.all() else old
    return jnp.where(free, dense_leaf(new), dense_leaf(old))


def freezing(variation: Variation, probability: Any = 0.02, per: GroupOf = groups_of.leaf) -> Variation:
    """Which weights may change is inherited, and evolves: frozen ones are those that nothing should touch.

    Each group of weights that ``per`` names (a leaf, a layer, a unit, a weight) is free at first. A child's groups turn
    from free to frozen, or back, each with this ``probability``; then the variation changes those that are free. What
    is free is logged as ``free``, as a part of all.

    >>> from jaxga.variation import absolute, gaussian
    >>> mutation = freezing(gaussian(absolute(0.1)), probability=1.0)
    >>> parent = Individual(params := {"w": jnp.zeros(2)}, mutation.init(params))
    >>> child = mutation.apply(jax.random.key(0), parent, Context(jnp.int32(0), parent))
    >>> child.params["w"].tolist(), child.strategy["free"]["w"].tolist()
    ([0.0, 0.0], False)
    """
    variation = checked(variation, "freezing")
    require_probability(probability)
    require_function("per", per, "a path, such as per.leaf")
    group = as_group(per)

    def init(params: Params) -> Strategy:
        free = jax.tree.map(lambda leaf: jnp.ones(group.sizes(jnp.shape(leaf)), bool), params)
        return {"inner": variation.init(params), "free": free}

    def apply(key: Key, parent: Individual, context: Context) -> Individual:
        key_flip, key_child = jax.random.split(key)

        def turned(path: Path, free: jax.Array) -> jax.Array:
            chance = jnp.asarray(probability, jnp.float32)
            return free ^ jax.random.bernoulli(path_key(key_flip, group(path)), chance, free.shape)

        free = jax.tree.map(turned, paths(parent.strategy["free"]), parent.strategy["free"])
        mate = context.mate._replace(strategy=context.mate.strategy["inner"])
        own = Individual(parent.params, parent.strategy["inner"])
        child = variation.apply(key_child, own, context._replace(mate=mate))

        def part(free: jax.Array, new: Any, old: Any) -> Any:
            if free.ndim == 0:
                return select_leaf(free, alone(new), alone(old))
            return jnp.where(free, dense_leaf(new), dense_leaf(old))

        params = jax.tree.map(part, free, child.params, parent.params)
        return Individual(params, {"inner": child.strategy, "free": free})

    return Variation(init, apply, in_parts=True)
