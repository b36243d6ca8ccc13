"""Gradient descent on the very same task."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxga
from jaxga import baselines, nn, tasks


def test_descends_the_loss_that_evolution_sees():
    task = tasks.memorization(nn.MLP((32, 10)), points=16, shape=(32,))
    with jax.numpy_dtype_promotion("standard"):  # optax promotes
        params, losses = baselines.gradient_descent(task, optax.adam(3e-3), 100)
    assert losses.shape == (100,)
    assert losses[-1] < 0.05 < 1 < losses[0]
    assert -task.evaluate(None, params).fitness <= losses[-1]


def test_momentum_descent_with_a_growing_step_reaches_a_small_loss():
    task = tasks.memorization(nn.MLP((32, 10)), points=16, shape=(32,))
    _, losses = baselines.gradient_descent(task, optax.sgd(optax.exponential_decay(0.01, 1, 1.05), 0.9), 150)
    assert losses[-1] < 1e-4


def test_a_step_is_that_of_optax_with_a_key_of_its_own():
    def loss(key, w):
        return jnp.sum((w - jax.random.normal(key, (3,))) ** 2)

    task = jaxga.Task(lambda _: jnp.zeros(3), lambda key, w: jaxga.Evaluation(-loss(key, w)), loss=loss)
    start = jnp.ones(3)
    params, losses = baselines.gradient_descent(task, optax.sgd(0.5), 4, start=start)
    # With this step size a step ends at the sample that it saw, so the next loss is that of two samples.
    samples = [start]
    for step in range(4):
        ended, seen = baselines.gradient_descent(task, optax.sgd(0.5), step + 1, start=start)
        samples.append(ended)
        assert seen.shape == (step + 1,)
        assert losses[step] == pytest.approx(float(jnp.sum((samples[step] - ended) ** 2)), rel=1e-5)
    assert len({float(sample[0]) for sample in samples}) == 5  # a new key each step
    assert jnp.array_equal(params, ended)


def test_a_descent_that_is_watched_keeps_its_momentum():
    task = jaxga.Task(lambda _: jnp.ones(3), lambda *_: jaxga.Evaluation(0.0), loss=lambda _, w: jnp.sum(w**2))
    with jax.numpy_dtype_promotion("standard"):  # optax promotes
        whole, losses = baselines.gradient_descent(task, optax.adam(0.1), 12)
        parts = list(itertools.islice(baselines.descent(task, optax.adam(0.1), every=4), 3))
    assert jnp.array_equal(parts[-1][0], whole)
    assert jnp.array_equal(jnp.concatenate([seen for _, seen in parts]), losses)
    with pytest.raises(jaxga.InputError, match="every is 0"):
        baselines.descent(task, optax.adam(0.1), every=0)


def test_every_part_of_a_descent_sees_other_data():
    loss = lambda key, w: w * jax.random.normal(key, ())  # noqa: E731
    task = jaxga.Task(lambda _: jnp.zeros(()), lambda *_: jaxga.Evaluation(0.0), loss=loss)
    ends = [float(params) for params, _ in itertools.islice(baselines.descent(task, optax.sgd(1.0)), 20)]
    assert len(set(np.diff(ends).round(5).tolist())) == 19


def test_a_task_without_a_loss_is_named():
    task = jaxga.Task(lambda _: jnp.zeros(2), lambda *_: jaxga.Evaluation(0.0))
    with pytest.raises(jaxga.InputError, match="task has no loss, and gradient descent needs one"):
        baselines.gradient_descent(task, optax.sgd(0.1), 3)
