"""What counts beside a score: comparisons with the parent, for `jaxga.against`, and penalties on weights."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from jaxga.base import Evaluation, InputError, Key, Params, Task, Trial, require

Compare = Callable[[Key, Params, Params], Evaluation]


def along_gradient(task: Task) -> Compare:
    """The oracle: the cosine between a child's step and the steepest way down `Task.loss` from its parent.

    It says how much of a mutation goes in the right direction, whatever its length. The score of the child is logged
    as ``score``. A child that did not move has 0.

    Raises:
      InputError: where the task has no loss.

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
    """The inner products of two trees with themselves and each other, ``[2, 2]``: one matrix product a leaf.

    Three sums would be fused with what they add up, on many devices otherwise than on one, and so rounded otherwise.
    """
    found = jnp.zeros((2, 2), jnp.float32)
    for leaves in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        both = jnp.stack([jnp.ravel(leaf).astype(jnp.float32) for leaf in leaves])
        found = found + both @ both.T
    return found


def change_of(outputs: Callable[[Params], jax.Array]) -> Compare:
    """How far the child's behaviour is from its parent's: the root mean square difference of ``outputs(params)``.

    ``outputs`` is what a network answers to fixed inputs, an array of any shape.

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
    """The same task, less a penalty on the weights ``(params) -> []``: in fitness, and in the loss of gradient descent.

    What is validated and tested is not penalised. The penalty is logged as ``penalty``.

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
    """A penalty: ``weight`` times the mean square distance of the weights' absolute values from ``magnitude``.

    With 0 it is what is called weight decay. (`jaxga.variation.towards_magnitude` is the same pull as a projection.)
    """

    def penalty(params: Params) -> jax.Array:
        weights = jnp.concatenate([leaf.reshape(-1).astype(jnp.float32) for leaf in jax.tree.leaves(params)])
        return weight * jnp.mean((jnp.abs(weights) - magnitude) ** 2)

    return penalty
