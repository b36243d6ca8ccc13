"""Gradient steps within a life. Evolution finds the initial weights and, optionally, the learning rates."""

from collections.abc import Callable
from functools import partial
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxga.base import Evaluation, Key, Params, Task, as_key, common, name_of, require, require_whole
from jaxga.tree import iota, path_key

Lives = Callable[[Key], Task]
Rates = Literal["leaf", "weight"]


class Learner(NamedTuple):
    """Parameters with evolved learning rates. Both parts are mutated and inherited like any parameters."""

    start: Params  # the weights at the start of a life
    log_rates: Any  # for each leaf of start, [] or its shape; their exponentials multiply the updates of the optimiser


def learn(
    lives: Lives | Task,
    optimiser: optax.GradientTransformation,
    steps: int,
    *,
    rates: Rates | None = None,
    fresh: bool = False,
    count: int = 1,
    key: Callable[[Key, jax.Array], Key] = common,
    validation_lives: int = 100,
) -> Task:
    """A task whose fitness is that of a network after K steps of an optimiser, averaged over several lives.

    In a life, the network starts with its inherited weights and takes K steps down the gradient of ``Task.loss``.
    Then ``Task.evaluate`` scores it with another key, so on data that it did not learn from. A child inherits the
    initial weights of its parent, not the learned ones (Baldwin 1896; Fernando et al. 2018).

    No gradient is taken through the steps. So memory does not grow with K, and only ``Task.loss`` has to be
    differentiable. MAML (Finn et al. 2017) searches for the same initial weights by the gradient through the steps.

    Args:
      lives: ``(key) -> Task``, which draws a life; all lives have the same ``init``. Or a `Task` for every life.
      optimiser: an optax optimiser. Its state is initialised in every life.
      steps: K, the number of steps in a life.
      rates: None (default) uses the updates of the optimiser as they are. "leaf" evolves a factor for each leaf,
        "weight" a factor for each weight. Parameters are then a `Learner`, whose factors are 1 at the start of a run.
      fresh: True draws new data for each step, such as another minibatch, or episodes of the current policy. False
        (default) uses the same data in all steps of a life, as in few-shot learning.
      count: lives of a child in a generation, by default 1. Fitness is the mean over them.
      key: `common` (default) gives all children of a generation the same lives, `independent` each its own.
      validation_lives: number of lives of `Task.validate`, by default 100. They are the same in every validation, and
        are never used for fitness in the run. The metrics ``after_0`` to ``after_K`` are the mean fitness after each
        number of steps.

    A child whose learning ends in NaN has no fitness. It ranks last and is counted in ``nan``, and the run goes on.

    Raises:
      InputError: if lives have no loss or need a `Trial`, an argument has the wrong type, or a count is not a whole
        number of 1 or more.

    >>> import optax
    >>> from jaxga import lifetime, nn
    >>> task = learn(lifetime.sinusoids(nn.MLP((8, 1))), optax.sgd(0.01), steps=3, count=2)
    >>> params = task.init(jax.random.key(0))
    >>> task.evaluate(jax.random.key(1), params).fitness.shape, sorted(task.validate(params).metrics)
    ((), ['after_0', 'after_1', 'after_2', 'after_3'])
    """
    require_whole(1, steps=steps, count=count, validation_lives=validation_lives)
    require(rates in (None, "leaf", "weight"), f"rates is {rates!r}: take None, 'leaf' or 'weight'.")
    require(
        hasattr(optimiser, "init") and hasattr(optimiser, "update"),
        f"optimiser is {name_of(optimiser)}, and must be one of optax, such as optax.sgd(0.01).",
    )
    born = _born(lives)
    live = partial(_live, born, optimiser, steps, fresh)

    def init(key: Key) -> Any:
        start = born(as_key(0)).init(key)
        return start if rates is None else Learner(start, jax.tree.map(partial(_log_rate, rates), start))

    def evaluate(key: Key, params: Any) -> Evaluation:
        fitness = jax.vmap(lambda number: live(jax.random.fold_in(key, number), params, False))(iota(count))
        return Evaluation(jnp.mean(fitness))

    def validate(params: Any) -> Evaluation:
        curve = jnp.mean(curves(unseen_lives(), params), axis=0)
        return Evaluation(curve[-1], metrics={f"after_{number}": value for number, value in enumerate(curve)})

    def curves(key: Key, params: Any) -> jax.Array:
        each = lambda number: live(jax.random.fold_in(key, number), params, True)  # noqa: E731
        return jax.lax.map(each, iota(validation_lives), batch_size=min(16, validation_lives))

    return Task(init, evaluate, key, validate=validate)


def learning_curve(
    lives: Lives | Task,
    optimiser: optax.GradientTransformation,
    steps: int,
    params: Any,
    key: Key | int = 0,
    *,
    fresh: bool = False,
    count: int = 100,
) -> jax.Array:
    """Fitness ``[count, K + 1]`` after 0 to K steps in each of several lives, see `learn`.

    Args:
      lives: ``(key) -> Task``, or a `Task`, as in `learn`.
      optimiser: an optax optimiser.
      steps: K, the number of steps in a life.
      params: parameters of one individual, for example ``result.best.params``.
      key: key or seed that draws the lives, by default 0.
      fresh: draw new data for each step, by default False.
      count: number of lives, by default 100.

    Raises:
      InputError: if ``steps`` or ``count`` is below 1, or ``lives`` are not valid.
    """
    require_whole(1, steps=steps, count=count)
    born = _born(lives)

    def one(key: Key) -> jax.Array:
        return _live(born, optimiser, steps, fresh, key, params, True)

    keys = jax.random.split(as_key(key), count)
    return jax.jit(partial(jax.lax.map, one, batch_size=min(16, count)))(keys)


def unseen_lives() -> Key:
    """The key of the lives that are used for validation only."""
    return path_key(as_key(0), ("lifetime", "validation"))


def _born(lives: Lives | Task) -> Lives:
    """``lives`` as a function of a key, after a check of the tasks that it returns."""

    def always(key: Key) -> Any:
        del key
        return lives

    born: Lives = lives if callable(lives) else always
    found: list[Any] = []
    jax.eval_shape(lambda key: found.append(born(key)), as_key(0))
    task, name = found[0], name_of(lives)
    require(isinstance(task, Task), f"lives ({name}) returned a {type(task).__name__} for a key, and a Task was due.")
    require(
        task.loss is not None,
        f"lives ({name}) are tasks without a loss, so there is no gradient to learn by: pass Task(..., loss=...).",
    )
    require(not task.with_trial, f"lives ({name}) ask for a Trial: within a life there is a key alone.")
    return born


def _log_rate(rates: Rates, leaf: jax.Array) -> jax.Array:
    return jnp.zeros(jnp.shape(leaf) if rates == "weight" else (), jnp.float32)


def _live(
    born: Lives,
    optimiser: optax.GradientTransformation,
    steps: int,
    fresh: bool,
    key: Key,
    params: Any,
    curve: bool,
) -> jax.Array:
    """Fitness ``[]`` at the end of a life; with ``curve`` fitness ``[K + 1]`` before the first step and after each."""
    key_life, key_learning, key_score = jax.random.split(key, 3)
    task = born(key_life)
    assert task.loss is not None
    slope = jax.grad(task.loss, argnums=1)
    start, scale = _parts(params)

    def step(carry: tuple[Params, Any], number: jax.Array) -> tuple[tuple[Params, Any], Any]:
        params, memory = carry
        data = jax.random.fold_in(key_learning, number) if fresh else key_learning
        updates, memory = updated(optimiser, slope(data, params), memory, params)
        params = optax.apply_updates(params, scale(updates))
        return (params, memory), score(params) if curve else None

    def score(params: Params) -> jax.Array:
        return task.score(key_score, params).fitness

    (last, _), seen = jax.lax.scan(step, (start, optimiser.init(start)), iota(steps))
    return score(last) if seen is None else jnp.concatenate([score(start)[None], seen])


def updated(optimiser: optax.GradientTransformation, gradient: Any, memory: Any, params: Params) -> tuple[Any, Any]:
    """The updates and the next state of an optimiser, under JAX's standard type promotion, which optax needs.

    Args:
      optimiser: an optax optimiser.
      gradient: a pytree like ``params``.
      memory: state of the optimiser.
      params: current parameters.
    """
    with jax.numpy_dtype_promotion("standard"):
        return optimiser.update(gradient, memory, params)


def _parts(params: Any) -> tuple[Params, Callable[[Any], Any]]:
    """The initial weights of a life, and a function that multiplies updates by the learning rates."""
    if not isinstance(params, Learner):
        return params, lambda updates: updates
    factors = jax.tree.map(jnp.exp, params.log_rates)
    return params.start, lambda updates: jax.tree.map(lambda a, b: a * b.astype(a.dtype), updates, factors)
