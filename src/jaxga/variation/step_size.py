"""Step sizes, which have a unit and can themselves evolve.

A step size is the standard deviation of the change of one weight. Its unit is explicit: ``absolute(0.002)`` is in units
of the weights, ``relative(0.02)`` in units of a leaf's scale at initialisation. An individual inherits its step sizes
as part of its strategy. With `adaptive`, a child's step sizes mutate first, and then its weights change by the new step
sizes. So selection judges a child by the step sizes that it passes on (self-adaptation, Schwefel 1981; Beyer 2001).
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.core import Tracer

from jaxga.base import Context, Individual, Key, Params, Strategy, require, require_at_least, require_whole
from jaxga.tree import name_of, path_key, paths, root_mean_square, where
from jaxga.variation import per
from jaxga.variation.checks import require_function, shown
from jaxga.variation.per import GroupOf, as_group


class StepSize(NamedTuple):
    """How large mutations are, and how these sizes are inherited.

    ``init: (params) -> strategy`` makes what a founder inherits. ``apply: (key, strategy, context) -> (sizes,
    strategy)`` makes the sizes and the strategy of a child. ``sizes`` is a tree like the parameters, with a scalar for
    every leaf, or an array that broadcasts to the leaf.
    """

    init: Callable[[Params], Strategy]  # (params) -> strategy
    apply: Callable[[Key, Strategy, Context], tuple[Any, Strategy]]  # (key, strategy, context) -> (sizes, strategy)


def require_step_size(step_size: Any, who: str) -> None:
    """Refuse anything but a `StepSize`, such as a bare number, which has no unit.

    Raises:
      InputError: for such a value. ``who`` is named in the message.
    """
    number = step_size if isinstance(step_size, (int, float)) else 0.1
    require(
        isinstance(step_size, StepSize),
        f"{who} got {shown(step_size)} as its step size, and a step size needs a unit: absolute({number}) is in units "
        f"of the weights, relative({number}) in units of each layer's scale at initialisation.",
    )


def fixed(init: Callable[[Params], Any]) -> StepSize:
    """Step sizes that ``init: (params) -> sizes`` sets at initialisation, and that do not evolve.

    Raises:
      InputError: if ``init`` is not a function.
    """
    require_function("init", init, "the params: a fixed number is absolute(0.1) or relative(0.1)")
    return StepSize(init, lambda key, sizes, context: (sizes, sizes))


def absolute(sigma: Any) -> StepSize:
    """Every weight changes with standard deviation ``sigma``, in units of the weights.

    Raises:
      InputError: if ``sigma`` is below 0.

    >>> absolute(0.002).init({"w": jnp.ones((2, 2))})
    {'w': Array(0.002, dtype=float32)}
    """
    require_at_least(0, sigma=sigma)
    return fixed(lambda params: jax.tree.map(lambda array: jnp.asarray(sigma, jnp.result_type(array)), params))


def relative(sigma: Any) -> StepSize:
    """Every weight changes with standard deviation ``sigma`` times the scale of its leaf at initialisation.

    The scale is the root mean square of the leaf. A leaf of zeros, such as an initial bias, has the largest scale in
    its layer. If the whole layer is zero, it has the largest scale in the network. If the whole network is zero, the
    scale is 1. Empty leaves count as zero.

    Raises:
      InputError: if ``sigma`` is below 0.

    >>> sizes = relative(0.02).init({"kernel": jnp.full((4, 4), 0.5), "bias": jnp.zeros(4)})
    >>> float(sizes["kernel"]), float(sizes["bias"])
    (0.009999999776482582, 0.009999999776482582)
    """
    require_at_least(0, sigma=sigma)

    def init(params: Params) -> Any:
        scales = jax.tree.map(root_mean_square, params)
        names = jax.tree.leaves(paths(params))
        leaves, treedef = jax.tree.flatten(scales)
        largest = jnp.stack(leaves).max()
        largest = jnp.where(largest > 0, largest, 1)
        sizes = []
        for name, scale in zip(names, leaves, strict=True):
            of_layer = jnp.stack(
                [s for n, s in zip(names, leaves, strict=True) if per.layer(n) == per.layer(name)]
            ).max()
            own = jnp.where(scale > 0, scale, jnp.where(of_layer > 0, of_layer, largest))
            sizes.append((sigma * own).astype(scale.dtype))
        return treedef.unflatten(sizes)

    return fixed(init)


def adaptive(
    step_size: StepSize, log_factor: Callable[[Key, tuple[int, ...]], jax.Array], per: GroupOf, every: int = 1
) -> StepSize:
    """Self-adaptation: a child's step sizes are its parent's, multiplied by ``exp(log_factor(key, shape))``.

    The child's weights change by the new step sizes, and the child passes these on. They are logged as ``step_size``.

    Args:
      step_size: the initial step sizes.
      log_factor: ``(key, shape) -> array`` of this shape: the change of the logarithms.
      per: which weights share a step size, a group of `jaxga.variation.per`.
      every: step sizes change only in generations whose number is a multiple of it, by default 1: in all of them.

    Raises:
      InputError: if ``step_size`` is not a `StepSize`, ``log_factor`` or ``per`` is not a function, or ``every`` is
        below 1.
    """
    require_step_size(step_size, "adaptive")
    require_whole(1, every=every)
    require_function("log_factor", log_factor, "(key, shape)")
    require_function("per", per, "a path, such as per.leaf")
    group = as_group(per)

    def init(params: Params) -> Strategy:
        zeros = jax.tree.map(lambda array: jnp.zeros(group.sizes(jnp.shape(array)), jnp.result_type(array)), params)
        inner = step_size.init(params)
        sizes, _ = step_size.apply(jax.random.key(0), inner, Context(jnp.int32(0), Individual(params, ())))
        return {"inner": inner, "log_factor": zeros, "step_size": jax.tree.map(jnp.add, zeros, sizes)}

    def apply(key: Key, strategy: Strategy, context: Context) -> tuple[Any, Strategy]:
        key_inner, key_factor = jax.random.split(key)
        sizes, inner = step_size.apply(key_inner, strategy["inner"], context)
        logs = jax.tree.map(
            lambda path, log: log + _drawn(log_factor, path_key(key_factor, group(path)), log),
            paths(strategy["log_factor"]),
            strategy["log_factor"],
        )
        if every > 1:
            logs = where(context.generation % every == 0, logs, strategy["log_factor"])
        sizes = jax.tree.map(lambda size, log: size * jnp.exp(log), sizes, logs)
        return sizes, {"inner": inner, "log_factor": logs, "step_size": sizes}

    return StepSize(init, apply)


def _drawn(log_factor: Callable[..., jax.Array], key: Key, log: jax.Array) -> jax.Array:
    """The change of the logarithm of a step size, with the same shape and dtype."""
    drawn = jnp.asarray(log_factor(key, log.shape))
    require(
        drawn.shape == log.shape,
        f"log_factor {name_of(log_factor)} returned shape {drawn.shape}, and {log.shape}, which it got, was due.",
    )
    return drawn.astype(log.dtype)


def multiplicative(
    step_size: StepSize, up: Any = 1.05, down: Any = None, per: GroupOf = per.layer, every: int = 1
) -> StepSize:
    """Mutative step-size control: every size is multiplied by ``up``, 1 or 1 / ``down``, each with probability 1/3.

    Example: ``gaussian(multiplicative(absolute(0.03), up=1.05))``.

    Args:
      step_size: the initial step sizes.
      up: the factor by which sizes grow, 1 or more, by default 1.05.
      down: the factor by which they shrink, 1 or more, by default ``up``.
      per: which weights share a step size, by default ``per.layer``.
      every: sizes change only in generations whose number is a multiple of it, by default 1. In the generations
        between, all children of a parent have its step sizes.

    Raises:
      InputError: if ``step_size`` is not a `StepSize`, or ``up``, ``down`` or ``every`` is below 1.

    >>> from jaxga.base import Context
    >>> slow = multiplicative(absolute(1.0), up=2.0, every=10)
    >>> strategy = slow.init({"w": jnp.zeros(3)})
    >>> of = lambda generation: jax.vmap(lambda seed: slow.apply(
    ...     jax.random.key(seed), strategy, Context(jnp.int32(generation), None))[0]["w"])(jnp.arange(64))
    >>> sorted(set(of(20).tolist())), sorted(set(of(21).tolist()))
    ([0.5, 1.0, 2.0], [1.0])
    """
    require_step_size(step_size, "multiplicative")
    down = up if down is None else down
    require_at_least(1, up=up, down=down)

    def log_factor(key: Key, shape: tuple[int, ...]) -> jax.Array:
        lower, higher = 1 / jnp.asarray(down, jnp.float32), jnp.asarray(up, jnp.float32)
        logs = jnp.stack([jnp.log(lower), jnp.zeros((), jnp.float32), jnp.log(higher)])
        return logs[jax.random.randint(key, shape, 0, 3, jnp.int32)]

    return adaptive(step_size, log_factor, per, every)


def log_normal(step_size: StepSize, tau: Any = 0.1, per: GroupOf = per.parameter) -> StepSize:
    """Log-normal self-adaptation: every size is multiplied by ``exp(tau * N(0, 1))``.

    With one size for each weight, mutations of important weights can become small, while others stay large.

    Args:
      step_size: the initial step sizes.
      tau: standard deviation of the change of a size's logarithm, by default 0.1.
      per: which weights share a step size, by default ``per.parameter``: each weight has its own.

    Raises:
      InputError: if ``step_size`` is not a `StepSize`, or ``tau`` is below 0.
    """
    require_step_size(step_size, "log_normal")
    require_at_least(0, tau=tau)
    return adaptive(step_size, lambda key, shape: tau * jax.random.normal(key, shape, jnp.float32), per)


def scheduled(step_size: StepSize, schedule: Callable[[Any], Any]) -> StepSize:
    """Multiply step sizes by ``schedule(generation)``, for example an optax schedule.

    ``scheduled(absolute(0.03), optax.cosine_decay_schedule(1.0, 1000))`` falls from 0.03 to 0 in 1,000 generations.

    Args:
      step_size: the step sizes that are multiplied.
      schedule: ``(generation) -> factor``; the generation is a float32 number, from 0 on.

    Raises:
      InputError: if ``step_size`` is not a `StepSize`, or ``schedule`` is not a function; later, if it returns anything
        but one number.
    """
    require_step_size(step_size, "scheduled")
    require_function("schedule", schedule, "the generation")

    def apply(key: Key, strategy: Strategy, context: Context) -> tuple[Any, Strategy]:
        sizes, strategy = step_size.apply(key, strategy, context)
        factor = jnp.asarray(schedule(jnp.asarray(context.generation, jnp.float32)))
        name = name_of(schedule)
        require(factor.shape == (), f"schedule {name} returned shape {factor.shape}, and one number, (), was due.")
        return jax.tree.map(lambda size: size * factor.astype(jnp.result_type(size)), sizes), strategy

    return StepSize(step_size.init, apply)


def success_rule(step_size: StepSize, up: Any = 1.5, target: Any = 0.2) -> StepSize:
    """The 1/5 success rule (Rechenberg 1973): step sizes grow after a success and shrink after a failure.

    A generation is a success if a child replaces its parent, and a failure if the parent survives. The rule needs no
    fitness: the number of failures is the number of generations that the parent has survived. Parents must be able to
    survive, so use it with plus selection, ``ga(..., elites=parents)``. With comma selection every generation is a
    success.

    Args:
      step_size: the initial step sizes.
      up: the factor by which sizes grow after a success, 1 or more, by default 1.5.
      target: the rate of successes at which growth and shrinkage cancel, between 0 and 1, by default 0.2. It determines
        the factor by which sizes shrink, ``up ** (target / (1 - target))``.

    Raises:
      InputError: if ``up`` is below 1, or ``target`` is below 0 or not below 1.
    """
    require_step_size(step_size, "success_rule")
    require_at_least(1, up=up)
    require_at_least(0, target=target)
    require(isinstance(target, Tracer) or target < 1, f"target is {target}, and must be below 1.")

    def init(params: Params) -> Strategy:
        inner, one = step_size.init(params), jnp.ones((), jnp.float32)
        return {"inner": inner, "born": jnp.int32(-1), "log_factor": jnp.zeros((), jnp.float32), "step_size": one}

    def apply(key: Key, strategy: Strategy, context: Context) -> tuple[Any, Strategy]:
        sizes, inner = step_size.apply(key, strategy["inner"], context)
        failures = (context.generation - strategy["born"] - 1).astype(jnp.float32)
        rise = jnp.log(jnp.asarray(up, jnp.float32))
        log = strategy["log_factor"] - failures * rise * target / (1 - target)
        factor = jnp.exp(log)
        sizes = jax.tree.map(lambda size: size * factor.astype(jnp.result_type(size)), sizes)
        born = jnp.asarray(context.generation, jnp.int32)
        return sizes, {"inner": inner, "born": born, "log_factor": log + rise, "step_size": factor}

    return StepSize(init, apply)
