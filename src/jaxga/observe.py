"""Measurements of an episode in addition to its return, for example descriptors of behaviour.

For environments in JAX use ``tasks.control(..., observe={"end": observe.last(...)})``, for games on the host
``game._replace(observe=...)``. The metric of an individual is the mean over its episodes.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from jaxga.base import Observer, Step

__all__ = ["Observer", "Step", "last", "total"]


def total(of: Callable[[Step], Any]) -> Observer:
    """The sum of a number over the steps of an episode: ``total(lambda step: step.reward)`` is the return.

    >>> import jax
    >>> from jaxga import nn, tasks
    >>> lean = total(lambda step: abs(step.observation[2]))
    >>> task = tasks.control(tasks.cartpole(), nn.MLP((2,)), max_steps=20, observe={"lean": lean})
    >>> score = jax.jit(task.evaluate)(jax.random.key(1), task.init(jax.random.key(0)))
    >>> 0 < float(score.metrics["lean"]) < 20
    True
    """

    def number(value: Any) -> Any:
        return value.astype(np.float32) if hasattr(value, "astype") else float(value)

    return Observer(lambda *_: 0.0, lambda seen, step: seen + number(of(step)), lambda seen: seen)


def last(of: Callable[[Any, Any], Any], shape: tuple[int, ...] = ()) -> Observer:
    """The value of a function of state and observation at the end of an episode.

    Args:
      of: ``(state, observation) -> value``.
      shape: shape of the value, by default ``()``. Only games on the host need it.

    >>> import jax
    >>> from jaxga import nn, tasks
    >>> place = last(lambda state, observation: observation[:2])
    >>> task = tasks.control(tasks.cartpole(), nn.MLP((2,)), max_steps=20, observe={"place": place})
    >>> jax.jit(task.evaluate)(jax.random.key(1), task.init(jax.random.key(0))).metrics["place"].shape
    (2,)
    """
    return Observer(of, lambda _, step: of(step.state, step.observation), lambda seen: seen, shape)
