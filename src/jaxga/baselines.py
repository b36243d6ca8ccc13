"""Gradient descent on the same task and network, as a baseline for evolution."""

import itertools
from collections.abc import Callable, Iterator
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
    require_whole(1, steps=steps)
    return next(descent(task, optimiser, key, start, every=steps))


def descent(
    task: Task,
    optimiser: optax.GradientTransformation,
    key: Key | int = 0,
    start: Params | None = None,
    *,
    every: int = 1,
) -> Iterator[tuple[Params, jax.Array]]:
    """`gradient_descent` without an end, to be watched: the parameters and the last losses after every few steps.

    The optimiser keeps its state in between. The first part equals that of `gradient_descent` with ``steps=every``.

    Args:
      task: as for `gradient_descent`.
      optimiser: as for `gradient_descent`.
      key: key or seed, by default 0.
      start: initial parameters, by default from ``task.init``.
      every: number of steps from one result to the next, by default 1; for example those of an epoch.

    Returns:
      An iterator over parameters, and losses ``[every]``, each before its step.

    Raises:
      InputError: if the task has no loss, ``optimiser`` is not from optax, or ``every`` is below 1.

    >>> import itertools, jax.numpy as jnp, jaxga
    >>> loss = lambda key, w: jnp.sum(w**2)
    >>> task = jaxga.Task(lambda key: jnp.ones(3), lambda key, w: jaxga.Evaluation(-loss(key, w)), loss=loss)
    >>> [round(float(params[0]), 3) for params, _ in itertools.islice(descent(task, optax.sgd(0.1), every=10), 3)]
    [0.107, 0.012, 0.001]
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
    require_whole(1, every=every)
    key_init, key_data = jax.random.split(path_key(as_key(key), ("gradient descent",)))
    params = _initial(task)(key_init) if start is None else start

    def parts(params: Params, memory: Any) -> Iterator[tuple[Params, jax.Array]]:
        step = _step(task, optimiser)
        for part in itertools.count():
            keys = jax.random.split(jax.random.fold_in(key_data, part) if part else key_data, every)
            losses = jnp.zeros(every)
            for number in range(every):
                params, memory, losses = step(number, keys, params, memory, losses)
            yield params, losses

    return parts(params, optimiser.init(params))


@lru_cache(maxsize=8)  # a task may hold much data
def _initial(task: Task) -> Callable[..., Any]:
    return jit(task.init)


@lru_cache(maxsize=8)  # a task may hold much data
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
