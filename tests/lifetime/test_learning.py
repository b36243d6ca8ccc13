"""Gradient steps within a life, against closed forms and loops by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from lifetimes import learning

import jaxga
from jaxga import lifetime, nn, tasks, variation
from jaxga.base import Purpose, generation_key
from jaxga.tree import take

KEY = jax.random.key(3)


def bowl(key):
    """A life with a target of its own, and a loss without noise."""
    target = jax.random.normal(key, (3,))
    return jaxga.Task(
        lambda key: jax.random.normal(key, (3,)),
        lambda key, w: -jnp.sum((w - target) ** 2),
        loss=lambda key, w: jnp.sum((w - target) ** 2),
    )


def noisy(key):
    """A life whose every draw has another target."""
    return jaxga.Task(
        lambda key: jnp.zeros(()),
        lambda key, w: -jnp.sum((w - jax.random.normal(key, ())) ** 2),
        loss=lambda key, w: jnp.sum((w - jax.random.normal(key, ())) ** 2),
    )


@pytest.mark.parametrize("steps", [1, 4])
def test_fitness_is_that_after_the_steps(steps):
    """Each step of gradient descent on a bowl leaves 1 - 2 * rate of the way, in every life."""
    task = lifetime.learn(bowl, optax.sgd(0.1), steps, count=3)
    w = jnp.array([1.0, -2.0, 0.5])
    targets = [jax.random.normal(jax.random.split(jax.random.fold_in(KEY, life), 3)[0], (3,)) for life in range(3)]
    expected = np.mean([-np.sum((0.8**steps * (w - target)) ** 2) for target in targets])
    np.testing.assert_allclose(jax.jit(task.score)(KEY, w).fitness, expected, rtol=1e-5)


def test_any_optimiser_does_what_it_does_by_hand_and_begins_anew():
    optimiser = optax.adam(0.05)
    task = lifetime.learn(bowl, optimiser, 5)
    w = jnp.array([1.0, -2.0, 0.5])
    key_life, _, key_score = jax.random.split(jax.random.fold_in(KEY, 0), 3)
    life, memory = bowl(key_life), optimiser.init(w)
    for _ in range(5):
        with jax.numpy_dtype_promotion("standard"):
            updates, memory = optimiser.update(jax.grad(life.loss, 1)(KEY, w), memory, w)
        w = optax.apply_updates(w, updates)
    found = task.score(KEY, jnp.array([1.0, -2.0, 0.5])).fitness
    np.testing.assert_allclose(found, life.score(key_score, w).fitness, rtol=1e-5)


def test_steps_are_on_one_draw_or_on_fresh_ones():
    """On one draw a long life ends at what was drawn; on fresh ones it is somewhere between."""
    same, fresh = (
        lifetime.learning_curve(noisy, optax.sgd(0.5), 3, jnp.zeros(()), KEY, fresh=fresh, count=40)
        for fresh in (False, True)
    )
    assert same.shape == fresh.shape == (40, 4)
    np.testing.assert_allclose(same[:, 1], same[:, 3], rtol=1e-5)  # a step of 0.5 ends in the bottom
    assert (np.abs(fresh[:, 1] - fresh[:, 3]) > 1e-3).mean() > 0.9


@pytest.mark.parametrize(("rates", "shape"), [("leaf", ()), ("weight", (3,))])
def test_learning_rates_are_factors_that_evolve(rates, shape):
    task = lifetime.learn(bowl, optax.sgd(0.1), 2, rates=rates)
    params = task.init(jax.random.key(0))
    assert params.log_rates.shape == shape
    plain = lifetime.learn(bowl, optax.sgd(0.1), 2)
    np.testing.assert_allclose(task.score(KEY, params).fitness, plain.score(KEY, params.start).fitness, rtol=1e-6)
    twice = params._replace(log_rates=jnp.full(shape, jnp.log(2.0)))
    faster = lifetime.learn(bowl, optax.sgd(0.2), 2)
    np.testing.assert_allclose(task.score(KEY, twice).fitness, faster.score(KEY, params.start).fitness, rtol=1e-5)


def test_validation_has_the_whole_curve():
    task = lifetime.learn(bowl, optax.sgd(0.1), 2, validation_lives=20)
    w = jnp.zeros(3)
    metrics = task.validate(w).metrics
    start = metrics["after_0"]
    np.testing.assert_allclose([metrics["after_1"] / start, metrics["after_2"] / start], [0.64, 0.64**2], rtol=1e-5)
    assert task.validate(w).fitness == metrics["after_2"]


def test_a_task_is_the_same_in_every_life():
    task = tasks.memorization(nn.MLP((4,)), points=4, shape=(6,), classes=4)
    learned = lifetime.learn(task, optax.sgd(1.0), 30)
    params = learned.init(jax.random.key(0))
    assert learned.score(KEY, params).fitness > task.score(KEY, params).fitness + 0.5


def test_children_in_parts_score_as_arrays_do():
    task, algorithm = learning()
    state = algorithm.init(jax.random.key(0))
    found = jax.jit(jaxga.vmapped(algorithm, task, 3))(state.source).fitness
    key, params = generation_key(state, Purpose.EVALUATION), jaxga.population(algorithm, state).params
    score = jax.jit(lambda index, child: task.score(task.key(key, index), child).fitness)
    expected = [score(jnp.int32(index), take(params, index)) for index in range(12)]
    np.testing.assert_allclose(found[:12], expected, rtol=1e-5)


def test_memory_does_not_grow_with_the_steps():
    lives = lifetime.sinusoids(nn.MLP((40, 40, 1)))

    def needs(steps):
        task = lifetime.learn(lives, optax.sgd(0.01), steps)
        params = jax.eval_shape(task.init, KEY)
        return jax.jit(task.evaluate).lower(KEY, params).compile().memory_analysis().temp_size_in_bytes

    assert needs(50) < 1.1 * needs(2)


@pytest.mark.slow
def test_a_plan_counts_what_is_needed_within_a_life():
    """Adam remembers two numbers a weight in each life; the fitness is not computed by it, so nothing else differs."""
    lives = lifetime.sinusoids(nn.MLP((200, 200, 1)))
    weights = sum(leaf.size for leaf in jax.tree.leaves(jax.eval_shape(lives(KEY).init, KEY)))

    def needs(optimiser):
        task = lifetime.learn(lives, optimiser, 3)
        algorithm = jaxga.ga(task.init, variation.gaussian(variation.absolute(0.1)), parents=1, children=8)
        return jaxga.plan(algorithm, task, chunk=8, devices=1).working

    extra = needs(optax.adam(0.01)) - needs(optax.sgd(0.01))
    assert 8 * 2 * 4 * weights * 0.8 < extra < 8 * 2 * 4 * weights * 3


def test_a_life_that_ends_in_nan_ranks_last_and_is_counted():
    def evaluate(key, w):
        del key
        return -jnp.sum(w**2)

    exploding = jaxga.Task(lambda key: jnp.ones(()), evaluate, loss=lambda key, w: w**2)
    task = lifetime.learn(exploding, optax.sgd(1.0), 200, rates="leaf")  # a factor above 1 goes to infinity
    mutation = variation.masked(variation.gaussian(variation.absolute(2.0)), lambda path: "log_rates" in path[0])
    algorithm = jaxga.ga(task.init, mutation, parents=2, children=16)
    result = jaxga.run(algorithm, task, 0, generations=3)
    assert result.history["nan"].max() > 0
    assert np.isfinite(result.history["fitness"]).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"lives": lambda key: jaxga.Task(jnp.zeros, lambda key, w: 0.0)}, "without a loss"),
        ({"lives": lambda key: 3}, "returned a int for a key, and a Task was due"),
        ({"steps": 0}, "steps is 0"),
        ({"steps": -1}, "steps is -1"),
        ({"steps": 1.5}, "steps is 1.5"),
        ({"count": 0}, "count is 0"),
        ({"rates": "layer"}, "rates is 'layer'"),
        ({"optimiser": 0.1}, "optimiser is"),
    ],
)
def test_refuses_what_cannot_work(arguments, message):
    with pytest.raises(jaxga.InputError, match=message):
        lifetime.learn(**{"lives": bowl, "optimiser": optax.sgd(0.1), "steps": 1} | arguments)


@pytest.mark.slow
def test_evolution_finds_a_start_that_learns():
    """Of bowls around (2, 2, 2) with a spread of 0.1: the best start is their middle, wherever it began."""

    def near(key):
        life = bowl(key)
        target = 2 + 0.1 * jax.random.normal(key, (3,))
        return life._replace(
            evaluate=lambda key, w: -jnp.sum((w - target) ** 2), loss=lambda key, w: jnp.sum((w - target) ** 2)
        )

    task = lifetime.learn(near, optax.sgd(0.05), 2, count=4)
    mutation = variation.gaussian(variation.log_normal(variation.absolute(0.3)))
    result = jaxga.run(jaxga.ga(task.init, mutation, parents=4, children=32), task, 0, generations=60)
    np.testing.assert_allclose(result.state.parents.params[0], 2, atol=0.2)
