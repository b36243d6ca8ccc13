"""Gradient descent on the same task and network, as a baseline for evolution."""

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import jax
import jax.numpy as jnp
import optax

from jaxga.base import Key, Params, Task, as_key, require, require_whole
from jaxga.compilation import jit
from jaxga.tree import path_key


def gradient_descent(
    task: Task,
    optimiser: optax.GradientTransformation,
    steps: int,
    key: Key | int = 0,
    start: Params | None = None,
) -> tuple[Params, jax.Array]:
    """Minimise ``task.loss`` by any optax optimiser.

    Args:
      task: one with a loss, as `jaxga.tasks.labelled` and `jaxga.tasks.classification` have.
      optimiser: ``optax.sgd(0.1)``, ``optax.adam(1e-3)``, ...
      steps: number of steps. The task's loss decides which data a step uses.
      key: key or seed, by default 0.
      start: initial parameters, by default from ``task.init``. The state of the optimiser is always initialised.

    Returns:
      The final parameters, and the loss before each step, ``[steps]``.

    Raises:
      InputError: if the task has no loss, ``optimiser`` is not from optax, or ``steps`` is below 1.

    >>> import jax.numpy as jnp, jaxga
    >>> loss = lambda key, w: jnp.sum(w**2)
    >>> task = jaxga.Task(lambda key: jnp.ones(3), lambda key, w: jaxga.Evaluation(-loss(key, w)), loss=loss)
    >>> params, losses = gradient_descent(task, optax.sgd(0.1), 20)
    >>> bool(losses[-1] < 1e-3)
    True
    """
    require(isinstance(task, Task), f"task is a {type(task).__name__}, and must be a Task with a loss.")
    require(
        task.loss is not None,
        "task has no loss, and gradient descent needs one: Task(..., loss=lambda key, params: ...) is to be minimised.",
    )
    require(
        isinstance(optimiser, optax.GradientTransformation),
        f"optimiser is {optimiser!r}, and must be one of optax, such as optax.adam(1e-3).",
    )
    require_whole(1, steps=steps)
    key_init, key_data = jax.random.split(path_key(as_key(key), ("gradient descent",)))
    params = _initial(task)(key_init) if start is None else start
    step = _step(task, optimiser)
    keys = jax.random.split(key_data, steps)
    carry = params, optimiser.init(params), jnp.zeros(steps)
    for number in range(steps):
        carry = step(number, keys, *carry)
    params, _, losses = carry
    return params, losses


@lru_cache(maxsize=64)
def _initial(task: Task) -> Callable[..., Any]:
    return jit(task.init)


@lru_cache(maxsize=64)
def _step(task: Task, optimiser: optax.GradientTransformation) -> Callable[..., Any]:
    """One step is one program. In a loop that XLA compiles, the gradient of a convolution takes 12 times as long on a
    CPU."""
    assert task.loss is not None
    value_and_grad = jax.value_and_grad(task.loss, argnums=1)

    def step(number: jax.Array, keys: Key, params: Params, memory: Any, losses: jax.Array) -> tuple[Any, ...]:
        loss, gradient = value_and_grad(keys[number], params)
        updates, memory = optimiser.update(gradient, memory, params)
        return optax.apply_updates(params, updates), memory, losses.at[number].set(loss.astype(losses.dtype))

    return jit(step)
