"""Variations that change only a part of a child: one member of an ensemble, or the weights that are not frozen."""

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
    """Change one of several networks or layers that are stacked in the params. The part is drawn uniformly.

    Stacked leaves are arrays ``[M, ...]`` of M parts. Their paths contain a common name: "members" for the networks of
    a `jaxga.nn.Ensemble`, "layers" for those of a `jaxga.nn.Stack`. ``variation`` is applied to one part, and each part
    has its own strategy, hence its own step sizes.

    Drawing the noise costs only 1 / M of what it would cost for all parts. The same holds for scoring an ensemble, if
    all children of a parent are scored on the same examples (see `jaxga.nn.Ensemble`).

    Args:
      variation: changes one part, for example ``low_rank(relative(0.1))``.
      parts: the name in the paths of the stacked leaves, or a function ``(path) -> bool``. By default "members".
      of_brood: if True, all children of a pair change the same part. The layers of a `jaxga.nn.Stack` below that part
        are then computed once for all of them. By default each child draws its own part.

    Raises:
      InputError: if no leaf is chosen, or the chosen leaves have different numbers of parts.

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
        """The stacked leaves; None in place of all others, so that the tree has no leaf there."""
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
    """M, the number of parts."""
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
    """Change only the weights that are marked as free; all others stay.

    Args:
      variation: what changes the free weights.
      free: a tree like the params. Each leaf is either a bool, which says whether the whole leaf may change, or an
        array of bools that broadcasts to the leaf's shape, one for each weight. `jaxga.growth.new_weights` makes such
        a tree, in which the new weights of a grown network are free.

    Raises:
      InputError: if ``free`` is not a tree of bools that fits the params.

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
    """A leaf with the child's weights where they are free, and the parent's weights elsewhere."""
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
    """Change only free weights, where each individual inherits which of its weights are free and which are frozen.

    At first all groups of weights are free. In each child, every group turns from free to frozen, or back, with a given
    probability. Then the variation changes the free groups. So selection can protect weights that no mutation should
    change. The share that is free is logged as ``free``.

    Args:
      variation: what changes the free weights.
      probability: of each group to turn, in each child, by default 0.02.
      per: what a group is: ``per.leaf`` (the default), ``per.layer``, ``per.unit``, ``per.parameter``.

    Raises:
      InputError: if ``probability`` is not between 0 and 1, or ``per`` is not a function.

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
