"""Step sizes: numbers that carry their unit, and that may themselves evolve.

A step size is the standard deviation of the change of one weight. Its unit is part of the argument:
``absolute(0.002)`` is in units of the weights, ``relative(0.02)`` in units of a leaf's scale at initialisation. The
size that an individual uses is inherited in its strategy; `adaptive` lets it mutate first and then move the weights,
so that a child is judged by the size it carries (self-adaptation, Schwefel 1981; Beyer 2001).
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.core import Tracer

from jaxga.base import Context, Individual, Key, Params, Strategy, require, require_at_least
from jaxga.tree import name_of, path_key, paths, root_mean_square
from jaxga.variation import per
from jaxga.variation.checks import require_function, shown
from jaxga.variation.per import GroupOf, as_group


class StepSize(NamedTuple):
    """``init: (params) -> strategy``; ``apply: (key, strategy, context) -> (sizes, strategy)``.

    ``sizes`` is a tree like the parameters: a scalar, or an array of the leaf's shape, at every leaf.
    """

    init: Callable[[Params], Strategy]
    apply: Callable[[Key, Strategy, Context], tuple[Any, Strategy]]


def require_step_size(step_size: Any, who: str) -> None:
    """Refuse what is no `StepSize`: a bare number has no unit, and ``who`` says which function got it."""
    number = step_size if isinstance(step_size, (int, float)) else 0.1
    require(
        isinstance(step_size, StepSize),
        f"{who} got {shown(step_size)} as its step size, and a step size needs a unit: absolute({number}) is in units "
        f"of the weights, relative({number}) in units of each layer's scale at initialisation.",
    )


def fixed(init: Callable[[Params], Any]) -> StepSize:
    """Sizes that are set once, at initialisation."""
    require_function("init", init, "the params: a fixed number is absolute(0.1) or relative(0.1)")
    return StepSize(init, lambda key, sizes, context: (sizes, sizes))


def absolute(sigma: Any) -> StepSize:
    """Every weight moves with standard deviation ``sigma``, in units of the weights.

    >>> absolute(0.002).init({"w": jnp.ones((2, 2))})
    {'w': Array(0.002, dtype=float32)}
    """
    require_at_least(0, sigma=sigma)
    return fixed(lambda params: jax.tree.map(lambda array: jnp.asarray(sigma, jnp.result_type(array)), params))


def relative(sigma: Any) -> StepSize:
    """Every weight moves with standard deviation ``sigma`` times the scale of its leaf at initialisation.

    The scale is the root mean square of the leaf. A leaf that starts at zero, as biases do, takes the largest scale
    of its layer, then the largest of the network; a network that is zero everywhere has scale 1. A leaf without
    numbers counts as zero.

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


def adaptive(step_size: StepSize, log_factor: Callable[[Key, tuple[int, ...]], jax.Array], per: GroupOf) -> StepSize:
    """Self-adaptation: sizes are multiplied by ``exp(log_factor(key, shape))`` before every use, and inherited.

    ``per`` says who shares a size: a group of `jaxga.variation.per`. What stands under the name
    ``step_size`` in a strategy, the sizes as they were used last, is logged.
    """
    require_step_size(step_size, "adaptive")
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
        sizes = jax.tree.map(lambda size, log: size * jnp.exp(log), sizes, logs)
        return sizes, {"inner": inner, "log_factor": logs, "step_size": sizes}

    return StepSize(init, apply)


def _drawn(log_factor: Callable[..., jax.Array], key: Key, log: jax.Array) -> jax.Array:
    """What is added to the logarithm of a size, of its shape and dtype."""
    drawn = jnp.asarray(log_factor(key, log.shape))
    require(
        drawn.shape == log.shape,
        f"log_factor {name_of(log_factor)} returned shape {drawn.shape}, and {log.shape}, which it got, was due.",
    )
    return drawn.astype(log.dtype)


def multiplicative(step_size: StepSize, up: Any = 1.05, down: Any = None, per: GroupOf = per.layer) -> StepSize:
    """Mutative step-size control: every size is multiplied by ``up``, 1 or 1 / ``down``, each with probability 1/3.

    ``down`` is ``up`` unless given. Example: ``gaussian(multiplicative(absolute(0.03), up=1.05))``.
    """
    require_step_size(step_size, "multiplicative")
    down = up if down is None else down
    require_at_least(1, up=up, down=down)

    def log_factor(key: Key, shape: tuple[int, ...]) -> jax.Array:
        lower, higher = 1 / jnp.asarray(down, jnp.float32), jnp.asarray(up, jnp.float32)
        logs = jnp.stack([jnp.log(lower), jnp.zeros((), jnp.float32), jnp.log(higher)])
        return logs[jax.random.randint(key, shape, 0, 3, jnp.int32)]

    return adaptive(step_size, log_factor, per)


def log_normal(step_size: StepSize, tau: Any = 0.1, per: GroupOf = per.parameter) -> StepSize:
    """Log-normal self-adaptation: every size is multiplied by ``exp(tau * N(0, 1))``, its logarithm walks at random.

    With ``per=per.parameter`` each weight has a rate of its own: weights that matter can fall silent.
    """
    require_step_size(step_size, "log_normal")
    require_at_least(0, tau=tau)
    return adaptive(step_size, lambda key, shape: tau * jax.random.normal(key, shape, jnp.float32), per)


def scheduled(step_size: StepSize, schedule: Callable[[Any], Any]) -> StepSize:
    """Sizes are multiplied by ``schedule(generation)``: any optax schedule.

    ``scheduled(absolute(0.03), optax.cosine_decay_schedule(1.0, 1000))`` falls from 0.03 to 0 in 1,000 generations.
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
    """The 1/5 success rule (Rechenberg 1973): sizes grow by ``up`` when a child replaces its parent, and shrink when
    none does, by as much as makes both equal out at a success rate of ``target``.

    It needs no fitness: a parent that was born long ago has failed ever since. So it is for plus selection,
    ``ga(..., elites=parents)``, where parents can survive; under comma selection every generation is a success.
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
