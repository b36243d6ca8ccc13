"""Gradient descent on the same task and network, as a baseline for evolution."""

from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any

import jax
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
    return _compiled(task, optimiser, steps)(as_key(key), start)


@lru_cache(maxsize=64)
def _compiled(task: Task, optimiser: optax.GradientTransformation, steps: int) -> Callable[..., Any]:
    return jit(partial(_descend, task, optimiser, steps))


def _descend(
    task: Task, optimiser: optax.GradientTransformation, steps: int, key: Key, start: Params | None
) -> tuple[Params, jax.Array]:
    assert task.loss is not None
    key_init, key_data = jax.random.split(path_key(key, ("gradient descent",)))
    params = task.init(key_init) if start is None else start
    value_and_grad = jax.value_and_grad(task.loss, argnums=1)

    def step(carry, key):
        params, memory = carry
        loss, gradient = value_and_grad(key, params)
        updates, memory = optimiser.update(gradient, memory, params)
        return (optax.apply_updates(params, updates), memory), loss

    (params, _), losses = jax.lax.scan(step, (params, optimiser.init(params)), jax.random.split(key_data, steps))
    return params, losses
