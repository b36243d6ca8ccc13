"""Comparisons of a child with its parent, for `jaxga.against`, and penalties on weights."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from jaxga.base import Evaluation, InputError, Key, Params, Task, Trial, require

Compare = Callable[[Key, Params, Params], Evaluation]


def along_gradient(task: Task) -> Compare:
    """An oracle: the cosine between the child's step and the negative gradient of `Task.loss` at its parent.

    The step is child minus parent. The cosine measures the direction of a mutation, and does not depend on its length.
    It is 0 for a child that equals its parent. The score of the child is logged as ``score``.

    Raises:
      InputError: if the task has no loss.

    >>> import jaxga
    >>> square = lambda key, w: jnp.sum(w**2)
    >>> task = Task(lambda key: jnp.ones(2), lambda key, w: Evaluation(-square(key, w)), loss=square)
    >>> oracle = jaxga.against(task, along_gradient(task))
    >>> trial = jaxga.Trial(jax.random.key(0), parent=jnp.ones(2))
    >>> round(float(oracle.score(trial, jnp.array([0.9, 0.9])).fitness), 4)
    1.0
    """
    loss = task.loss
    if loss is None:
        raise InputError("along_gradient needs the gradient of a loss, and the task has none: give it Task(loss=...).")

    def compare(key: Key, child: Params, parent: Params) -> Evaluation:
        down = jax.tree.map(jnp.negative, jax.grad(lambda params: loss(key, params))(parent))
        step = jax.tree.map(jnp.subtract, child, parent)
        (square, inner), (_, other) = _products(down, step)
        lengths = jnp.sqrt(square * other)
        cosine = inner / jnp.where(lengths > 0, lengths, 1)
        return Evaluation(cosine, metrics={"score": task.score(key, child).fitness})

    return compare


def _products(one: Params, other: Params) -> jax.Array:
    """The inner products of two trees with themselves and each other, ``[2, 2]``: one matrix product per leaf.

    XLA would fuse three separate sums with their operands, in another way on many devices than on one. The rounding
    would then depend on the number of devices.
    """
    found = jnp.zeros((2, 2), jnp.float32)
    for leaves in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        both = jnp.stack([jnp.ravel(leaf).astype(jnp.float32) for leaf in leaves])
        found = found + both @ both.T
    return found


def change_of(outputs: Callable[[Params], jax.Array]) -> Compare:
    """The change of behaviour: the root mean square difference between ``outputs`` of the child and of its parent.

    Args:
      outputs: ``(params) -> array`` of any shape, for example a network's outputs for fixed inputs.

    Raises:
      InputError: if ``outputs`` is not callable.

    >>> compare = change_of(lambda params: params * jnp.array([1.0, 2.0]))
    >>> round(float(compare(jax.random.key(0), jnp.array([1.0, 0.0]), jnp.zeros(2)).fitness), 4)
    0.7071
    """
    require(callable(outputs), "outputs must be a function of params that returns what the network answers.")

    def compare(key: Key, child: Params, parent: Params) -> Evaluation:
        del key
        return Evaluation(jnp.sqrt(jnp.mean((outputs(child) - outputs(parent)) ** 2)))

    return compare


def penalised(task: Task, penalty: Callable[[Params], jax.Array]) -> Task:
    """The same task with a penalty, which is subtracted from the fitness and added to `Task.loss`.

    `Task.validate` and `Task.test` have no penalty. The penalty is logged as ``penalty``.

    Args:
      task: the task.
      penalty: ``(params) -> []``, such as `from_magnitude` returns.

    >>> task = Task(lambda key: jnp.ones(2), lambda key, w: Evaluation(-jnp.sum(w**2)))
    >>> float(penalised(task, from_magnitude()).score(jax.random.key(0), jnp.array([0.0, 3.0])).fitness)
    -11.5
    """
    loss = task.loss

    def evaluate(trial: Trial, params: Params) -> Evaluation:
        score, cost = task.score(trial, params), penalty(params)
        return score._replace(fitness=score.fitness - cost, metrics={**dict(score.metrics or {}), "penalty": cost})

    with_cost = None if loss is None else lambda key, params: loss(key, params) + penalty(params)
    return task._replace(evaluate=evaluate, with_trial=True, loss=with_cost)


def from_magnitude(magnitude: float = 1.0, weight: float = 1.0) -> Callable[[Params], jax.Array]:
    """A penalty: ``weight * mean((abs(params) - magnitude) ** 2)``, over all parameters of a network.

    With ``magnitude=0`` it is weight decay. `jaxga.variation.towards_magnitude` is the corresponding projection.

    Args:
      magnitude: absolute value at which a parameter has no penalty, by default 1.0.
      weight: factor of the penalty, by default 1.0.
    """

    def penalty(params: Params) -> jax.Array:
        weights = jnp.concatenate([leaf.reshape(-1).astype(jnp.float32) for leaf in jax.tree.leaves(params)])
        return weight * jnp.mean((jnp.abs(weights) - magnitude) ** 2)

    return penalty
