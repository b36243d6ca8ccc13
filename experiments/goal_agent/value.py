"""What the actor and the goal setter learn with: a network of two inputs, and double Q-learning."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import optax
from flax import linen

from jaxga.base import Key
from jaxga.lifetime.learning import updated

Params = Any


class Pair(linen.Module):
    """A perceptron that reads states ``[..., d]`` and goals ``[..., d]``, which broadcast against each other.

    The first layer is a sum of one for states and one for goals, so that every state is met with every goal
    (``[E, 1, d]`` and ``[1, n, d]``) at the price of both alone. With ``differences`` it reads where they differ, too,
    and this also goes straight to the outputs.
    """

    hidden: Sequence[int]
    outputs: int
    differences: bool = False

    @linen.compact
    def __call__(self, states: jax.Array, goals: jax.Array) -> jax.Array:
        x = linen.Dense(self.hidden[0])(states) + linen.Dense(self.hidden[0], use_bias=False)(goals)
        differing = jnp.abs(states - goals) if self.differences else None
        x = x if differing is None else x + linen.Dense(self.hidden[0], use_bias=False)(differing)
        for features in self.hidden[1:]:
            x = linen.Dense(features)(jax.nn.relu(x))
        outputs = linen.Dense(self.outputs)(jax.nn.relu(x))
        return outputs if differing is None else outputs + linen.Dense(self.outputs, use_bias=False)(differing)


class Learned(NamedTuple):
    """Weights that learn, those that follow them slowly, and what the optimiser remembers."""

    params: Params
    slow: Params
    memory: Any


class Learner(NamedTuple):
    """A network, and how it takes a step."""

    init: Callable[[Key], Learned]
    apply: Callable[[Params, jax.Array, jax.Array], jax.Array]  # states, goals -> [..., outputs]
    step: Callable[[Learned, Params], Learned]  # down a gradient


def learner(network: Pair, size: int, rate: float | optax.Schedule, following: float = 0.02) -> Learner:
    """Adam; the slow weights go ``following`` of the way to the others at every step."""
    optimiser = optax.adam(rate)
    nothing = jnp.zeros((1, size), jnp.float32)

    def init(key: Key) -> Learned:
        params = network.init(key, nothing, nothing)
        return Learned(params, params, optimiser.init(params))

    def apply(params: Params, states: jax.Array, goals: jax.Array) -> jax.Array:
        return cast(jax.Array, network.apply(params, states, goals))

    def step(learned: Learned, gradient: Params) -> Learned:
        updates, memory = updated(optimiser, gradient, learned.memory, learned.params)
        params = cast(Params, optax.apply_updates(learned.params, updates))
        slow = jax.tree.map(lambda old, new: old + following * (new - old), learned.slow, params)
        return Learned(params, slow, memory)

    return Learner(init, apply, step)


def chosen(values: jax.Array, actions: jax.Array) -> jax.Array:
    """The values ``[B]`` of the actions ``[B]`` among ``values [B, A]``."""
    return jnp.take_along_axis(values, actions[:, None], axis=1)[:, 0]


def double_target(
    rewards: jax.Array,
    over: jax.Array,
    discount: float,
    now: jax.Array,
    slow: jax.Array,
    bounds: tuple[float, float] | None = None,
) -> jax.Array:
    """``r + discount * slow[argmax now]`` (van Hasselt et al. 2016), ``[B]``; nothing follows what is over.

    Args:
      rewards: ``[B]``.
      over: ``[B]`` bool.
      discount: of a step.
      now: ``[B, A]``, values of what comes next by the weights that learn.
      slow: ``[B, A]``, by those that follow.
      bounds: between which every value lies; what is estimated beyond them is cut off.
    """
    after = chosen(slow, jnp.argmax(now, axis=1).astype(jnp.int32))
    target = rewards + discount * jnp.where(over, 0.0, after)
    return jax.lax.stop_gradient(target if bounds is None else jnp.clip(target, *bounds))


def distance(value: jax.Array, discount: float) -> jax.Array:
    """How many steps away a goal of this ``value`` is: reaching it pays 1, ``discount ** (steps - 1)`` before.

    >>> [round(steps, 3) for steps in distance(jnp.array([1.0, 0.81]), 0.9).tolist()]
    [1.0, 3.0]
    """
    return 1 + jnp.log(jnp.clip(value, 1e-6, 1.0)) / jnp.log(discount)
