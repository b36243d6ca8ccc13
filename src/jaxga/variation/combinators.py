"""Combinators: functions that make a variation of other variations. They can be nested."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from jaxga.base import Context, Individual, Key, Params, Variation, require, require_at_least
from jaxga.lowrank import Member, alone, dense, is_low_rank, map_low_rank, scale_step, select, square_norm, step_leaf
from jaxga.tree import Path, name_of, paths, root_mean_square
from jaxga.variation import per as groups_of
from jaxga.variation.checks import checked, require_function, require_probability, shown
from jaxga.variation.per import GroupOf


def _with_strategy(whole: Individual, strategy: Any) -> Individual:
    return Individual(whole.params, strategy)


def chain(*variations: Variation) -> Variation:
    """Apply variations one after another, for instance a crossover and then a mutation.

    The strategy is a tuple of the strategies of all parts.

    Raises:
      InputError: if there is no variation, or an argument is not one.
    """
    require(len(variations) > 0, "chain got no variations: give it one or more, as arguments of their own.")
    variations = tuple(checked(variation, "chain") for variation in variations)

    def apply(key: Key, parent: Individual, context: Context) -> Individual:
        keys = jax.random.split(key, len(variations))
        params, strategies = parent.params, []
        for number, variation in enumerate(variations):
            mate = _with_strategy(context.mate, context.mate.strategy[number])
            child = variation.apply(
                keys[number], Individual(params, parent.strategy[number]), context._replace(mate=mate)
            )
            params = child.params
            strategies.append(child.strategy)
        return Individual(params, tuple(strategies))

    return Variation(lambda params: tuple(variation.init(params) for variation in variations), apply, in_parts=True)


def masked(variation: Variation, mask: Any) -> Variation:
    """Change only some leaves, and leave the others as they are.

    Args:
      variation: what changes the leaves.
      mask: ``(path) -> bool``, True for leaves that change. A path is a tuple of names.

    Raises:
      InputError: if ``variation`` is not a variation, or ``mask`` is not a function; later, if it returns no bool, or
        chooses no leaf.

    >>> from jaxga.variation import absolute, gaussian
    >>> biases_only = masked(gaussian(absolute(0.1)), lambda path: path[-1] == "bias")
    """

    variation = checked(variation, "masked")
    require_function("mask", mask, 'a path, as lambda path: path[-1] == "bias"')

    def asked(path: Path) -> bool:
        found = mask(path)
        right = isinstance(found, (bool, np.bool_))
        require(right, f"mask {name_of(mask)} returned {shown(found)} for the path {tuple(path)}, and a bool was due.")
        return bool(found)

    def apply(key: Key, parent: Individual, context: Context) -> Individual:
        names = paths(parent.params, is_low_rank)
        chosen = jax.tree.map(asked, names)
        every = ["/".join(path) for path in jax.tree.leaves(names)]
        require(any(jax.tree.leaves(chosen)), f"mask chooses none of the leaves {every}: it gets a path as a tuple.")
        child = variation.apply(key, parent, context)
        taken = {
            "/".join(path) for path, take in zip(jax.tree.leaves(names), jax.tree.leaves(chosen), strict=True) if take
        }

        def part(take: bool, new: Any, old: Any) -> Any:
            whole = isinstance(new, Member) and taken.issuperset(new.together)
            return (new if whole else alone(new)) if take else old

        return child._replace(params=jax.tree.map(part, chosen, child.params, parent.params))

    return Variation(variation.init, apply, in_parts=True)


def one_at_a_time(variation: Variation, per: GroupOf) -> Variation:
    """Change only one group of leaves, which is drawn uniformly for every child.

    Args:
      variation: what changes the group.
      per: what a group is: ``per.leaf`` or ``per.layer``. Groups of empty arrays are never drawn.

    Raises:
      InputError: if ``variation`` is not a variation, or ``per`` is not a function.
    """
    variation = checked(variation, "one_at_a_time")
    require_function("per", per, "a path, such as per.leaf")

    def apply(key: Key, parent: Individual, context: Context) -> Individual:
        key_group, key_child = jax.random.split(key)
        groups = jax.tree.map(lambda path: "/".join(per(path)), paths(parent.params, is_low_rank))
        sizes = map_low_rank(lambda leaf: leaf.base.size if is_low_rank(leaf) else leaf.size, parent.params)
        filled = zip(jax.tree.leaves(groups), jax.tree.leaves(sizes), strict=True)
        names = sorted({group for group, numbers in filled if numbers})
        drawn = jax.random.randint(key_group, (), 0, len(names), jnp.int32)
        chosen = jax.tree.map(lambda group: drawn == (names.index(group) if group in names else -1), groups)
        child = variation.apply(key_child, parent, context)
        return child._replace(params=select(chosen, child.params, parent.params))

    return Variation(variation.init, apply, in_parts=True)


def with_probability(probability: Any, variation: Variation) -> Variation:
    """Apply a variation with some probability; otherwise the child equals its parent.

    Args:
      probability: between 0 and 1.
      variation: the variation.

    Raises:
      InputError: if ``variation`` is not a variation, or ``probability`` is not between 0 and 1.
    """
    variation = checked(variation, "with_probability")
    require_probability(probability)

    def apply(key: Key, parent: Individual, context: Context) -> Individual:
        key_choice, key_child = jax.random.split(key)
        child = variation.apply(key_child, parent, context)
        return select(jax.random.bernoulli(key_choice, jnp.asarray(probability, jnp.float32)), child, parent)

    return Variation(variation.init, apply, in_parts=True)


def mixture(
    parts: Sequence[tuple[Any, Variation]] | Mapping[str, tuple[Any, Variation]], *, evolve: Any = 0.0
) -> Variation:
    """Apply one of several variations, drawn with given weights.

    For example ``mixture([(0.9, gaussian(...)), (0.1, fresh(init))])`` makes every tenth child a new initialisation.

    With ``evolve`` above 0 the weights are part of the strategy. Each child inherits its parent's weights, adds
    ``evolve * N(0, 1)`` to their logarithms, and draws by the new weights. Types of mutation whose children survive
    thus become frequent. The shares are logged as ``frequency``.

    Args:
      parts: (weight, variation) pairs: a sequence, or a mapping whose keys are the names in the log.
      evolve: standard deviation of the change of the logarithms, by default 0: the weights are fixed.

    Raises:
      InputError: if there are no parts, a weight is below 0, or all weights are 0.
    """
    named = dict(parts) if isinstance(parts, Mapping) else {str(number): part for number, part in enumerate(parts)}
    require(len(named) > 0, "mixture got no parts: give it (weight, variation) pairs.")
    for part in named.values():
        pair = isinstance(part, Sequence) and len(part) == 2 and not isinstance(part, Variation)
        require(pair, f"mixture got {shown(part)} as a part: give it (weight, variation) pairs.")
        require_at_least(0, weight=part[0])
    evolving = not isinstance(evolve, (int, float)) or evolve > 0
    require_at_least(0, evolve=evolve)
    weights = [weight for weight, _ in named.values()]
    some = any(isinstance(weight, Tracer) or weight > 0 for weight in weights)
    require(some, f"mixture got the weights {weights}, of which one at least must be above 0.")
    variations = [checked(variation, "mixture") for _, variation in named.values()]
    given = lambda: jnp.log(jnp.stack([jnp.asarray(weight, jnp.float32) for weight in weights]))  # noqa: E731

    def init(params: Params) -> Any:
        shares = jax.nn.softmax(given())
        frequency = {"frequency": dict(zip(named, shares, strict=True))} if evolving else {}
        return {"parts": tuple(variation.init(params) for variation in variations), **frequency}

    def apply(key: Key, parent: Individual, context: Context) -> Individual:
        key_choice, *keys = jax.random.split(key, len(variations) + 1)
        logs, frequency = given(), {}
        if evolving:
            key_choice, key_walk = jax.random.split(key_choice)
            logs = jnp.log(jnp.stack(list(parent.strategy["frequency"].values())))
            logs = jax.nn.log_softmax(logs + evolve * jax.random.normal(key_walk, logs.shape, jnp.float32))
            frequency = {"frequency": dict(zip(parent.strategy["frequency"], jnp.exp(logs), strict=True))}
        drawn = jax.random.categorical(key_choice, logs)
        params, strategies = parent.params, []
        for number, variation in enumerate(variations):
            mate = _with_strategy(context.mate, context.mate.strategy["parts"][number])
            own = _with_strategy(parent, parent.strategy["parts"][number])
            child = variation.apply(keys[number], own, context._replace(mate=mate))
            strategies.append(select(drawn == number, child.strategy, own.strategy))
            params = select(drawn == number, child.params, params)
        return Individual(params, {"parts": tuple(strategies), **frequency})

    return Variation(init, apply, in_parts=True)


def momentum(variation: Variation, memory: Any = 0.8) -> Variation:
    """Children also take a step along the mean direction of their ancestors' steps.

    Each individual inherits a path, a running mean of its ancestors' steps: ``path' = memory * path + (1 - memory) *
    (child - parent)``. In addition to the variation's step, a child takes a step ``z * path``. The number z is drawn
    from a normal distribution of mean 0 and standard deviation ``1 / (1 - memory)``, so selection decides how far to
    go, and whether to go back. The path is the evolution path of Hansen and Ostermeier 2001, used as a direction.

    Args:
      variation: what makes the other part of the step.
      memory: share of the old path that is kept in each generation, between 0 and 1, by default 0.8.

    Raises:
      InputError: if ``memory`` is below 0, or not below 1.
    """
    variation = checked(variation, "momentum")
    require_at_least(0, memory=memory)
    require(isinstance(memory, Tracer) or memory < 1, f"memory is {memory}, and must be below 1.")

    def init(params: Params) -> Any:
        return {"inner": variation.init(params), "path": jax.tree.map(jnp.zeros_like, params)}

    def apply(key: Key, parent: Individual, context: Context) -> Individual:
        key_along, key_child = jax.random.split(key)
        params, path = dense(parent.params), parent.strategy["path"]
        mate = _with_strategy(context.mate, context.mate.strategy["inner"])
        own = Individual(params, parent.strategy["inner"])
        child = variation.apply(key_child, own, context._replace(mate=mate))
        along = jax.random.normal(key_along, (), jnp.float32) / (1 - memory)
        moved = jax.tree.map(lambda new, part: new + along.astype(new.dtype) * part, dense(child.params), path)
        path = jax.tree.map(lambda part, new, old: memory * part + (1 - memory) * (new - old), path, moved, params)
        return Individual(moved, {"inner": child.strategy, "path": path})

    return Variation(init, apply, in_parts=True)


def proportional(variation: Variation) -> Variation:
    """Multiply the step of every leaf by the root mean square of the parent's weights in that leaf.

    Step sizes are then relative to the present weights, not to the initial ones as with `relative`. A leaf of zeros,
    such as an initial bias, uses the largest root mean square of its network.

    Raises:
      InputError: if ``variation`` is not a variation.
    """
    variation = checked(variation, "proportional")

    def apply(key: Key, parent: Individual, context: Context) -> Individual:
        olds, treedef = jax.tree.flatten(dense(parent.params))
        child = variation.apply(key, parent._replace(params=treedef.unflatten(olds)), context)
        scales = jnp.stack([root_mean_square(old) for old in olds])
        scales = jnp.where(scales > 0, scales, scales.max())
        news = [
            scale_step(old, step_leaf(new, old), scale.astype(old.dtype))
            for new, old, scale in zip(treedef.flatten_up_to(child.params), olds, scales, strict=True)
        ]
        return child._replace(params=treedef.unflatten(news))

    return Variation(variation.init, apply, in_parts=True)


def normalised(variation: Variation, length: Any, per: GroupOf = groups_of.individual) -> Variation:
    """Scale the step ``child - parent`` to a given Euclidean length.

    Without this, lengths vary little: their relative spread for n weights is ``sqrt((kurtosis - 1) / (4 n))``. For
    1,280 weights that is 2 % with Gaussian noise and 3 % with Laplace noise.

    Args:
      variation: what makes the step.
      length: in units of the weights.
      per: whose length is meant: that of all weights (the default), or of each ``per.layer`` or ``per.leaf``.

    Raises:
      InputError: if ``length`` is below 0, or ``per`` is not a function.
    """
    variation = checked(variation, "normalised")
    require_at_least(0, length=length)
    require_function("per", per, "a path, such as per.leaf")

    def apply(key: Key, parent: Individual, context: Context) -> Individual:
        parent = parent._replace(params=dense(parent.params))
        child = variation.apply(key, parent, context)
        olds, treedef = jax.tree.flatten(parent.params)
        steps = [step_leaf(new, old) for new, old in zip(treedef.flatten_up_to(child.params), olds, strict=True)]
        groups = [per(path) for path in jax.tree.leaves(paths(parent.params))]
        squares: dict[tuple[str, ...], Any] = {}
        for group, step in zip(groups, steps, strict=True):
            squares[group] = squares.get(group, 0) + square_norm(step)
        factors = {
            group: length / jnp.sqrt(jnp.where(square > 0, square, jnp.inf)) for group, square in squares.items()
        }
        news = [
            scale_step(old, step, factors[group].astype(old.dtype))
            for old, step, group in zip(olds, steps, groups, strict=True)
        ]
        return child._replace(params=treedef.unflatten(news))

    return Variation(variation.init, apply, in_parts=True)
