"""Scores against numbers worked out by hand, and a golden run of every task."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

import jaxga
from jaxga import nn, tasks
from jaxga import variation as v

KEY = jax.random.key(0)
LOGITS = jnp.log(jnp.array([[0.7, 0.2, 0.1], [0.1, 0.8, 0.1], [0.3, 0.3, 0.4]]))


@pytest.mark.parametrize(
    ("loss", "labels", "expected"),
    [
        (tasks.cross_entropy, [0, 1, 2], np.mean(np.log([0.7, 0.8, 0.4]))),
        (tasks.cross_entropy, [1, 1, 1], np.mean(np.log([0.2, 0.8, 0.3]))),
        (tasks.errors, [0, 1, 2], 0),
        (tasks.errors, [1, 1, 1], -2),
        (tasks.errors, [1, 0, 0], -3),
        (tasks.till_death, [0, 1, 2], 3),
        (tasks.till_death, [0, 1, 0], 2),
        (tasks.till_death, [0, 0, 2], 1),
        (tasks.till_death, [1, 1, 2], 0),
    ],
)
def test_losses_by_hand(loss, labels, expected):
    assert abs(float(loss(KEY, LOGITS, jnp.array(labels))) - expected) < 1e-6


def test_sampled_counts_what_the_softmax_would_get_right():
    drawn = jax.vmap(lambda key: tasks.sampled(key, LOGITS, jnp.array([0, 1, 2])))(jax.random.split(KEY, 4000))
    assert abs(float(drawn.mean()) - 1.9) < 0.05
    assert set(np.unique(drawn)) <= {0, 1, 2, 3}


@pytest.mark.parametrize("loss", [tasks.cross_entropy, tasks.errors, tasks.till_death, tasks.sampled])
def test_evaluate_is_pure_and_counts_points(loss):
    task = tasks.memorization(nn.MLP((4,)), points=6, shape=(5,), classes=4, loss=loss)
    params = task.init(KEY)
    evaluate = jax.jit(task.evaluate)
    chex.assert_trees_all_equal(evaluate(KEY, params), evaluate(KEY, params))
    inputs, labels = tasks.noise(6, (5,), 4)
    logits = inputs @ params["params"]["Dense_0"]["kernel"]
    found = evaluate(KEY, params)
    chex.assert_trees_all_close(found.fitness, loss(KEY, logits, labels), rtol=1e-5)
    assert int(found.metrics["points"]) == int((logits.argmax(1) == labels).sum())
    assert abs(float(found.metrics["cross_entropy"] + tasks.cross_entropy(KEY, logits, labels))) < 1e-5
    assert (task.key is jaxga.independent) == (loss is tasks.sampled)


@pytest.mark.parametrize("loss", [tasks.cross_entropy, tasks.errors, tasks.till_death, tasks.sampled])
def test_a_network_that_overflowed_has_no_fitness(loss):
    task = tasks.memorization(nn.MLP((4,)), points=6, shape=(5,), classes=4, loss=loss)
    broken = jax.tree.map(lambda leaf: leaf * jnp.nan, task.init(KEY))
    assert jnp.isnan(task.evaluate(KEY, broken).fitness)


def test_till_death_shuffled_ends_at_the_first_error_of_a_new_order():
    logits, labels = jnp.eye(3), jnp.array([0, 2, 2])  # the second of three is wrong
    ends = jax.vmap(lambda key: tasks.till_death_shuffled(key, logits, labels))(jax.random.split(KEY, 600))
    assert stats.chisquare(np.bincount(ends.astype(int), minlength=3)).pvalue > 1e-3


def test_data_is_gaussian_and_depends_on_its_seed_alone():
    inputs, labels = tasks.noise(500, (8, 8, 3), 10, seed=3)
    assert stats.kstest(np.ravel(inputs), "norm").pvalue > 1e-3
    assert stats.chisquare(np.bincount(labels, minlength=10)).pvalue > 1e-3
    build = lambda seed: tasks.memorization(nn.MLP((4,)), points=6, shape=(5,), classes=4, seed=seed)  # noqa: E731
    params = build(0).init(KEY)
    first, same, other = (build(seed).evaluate(KEY, params).fitness for seed in (0, 0, 1))
    assert first == same != other


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"points": 0}, "points is 0"), ({"classes": 1}, "classes is 1, and must be 2"), ({"shape": (4, 0)}, "shape is")],
)
def test_wrong_settings_are_named(settings, message):
    with pytest.raises(jaxga.InputError, match=message):
        tasks.memorization(nn.MLP((4,)), **settings)


def test_golden_run():
    """Averaging 8 of 64 low-rank children memorizes 16 vectors; the loss after 60 generations, loosely."""
    task = tasks.memorization(nn.MLP((32, 10)), points=16, shape=(32,))
    algorithm = jaxga.ga(
        task.init, v.low_rank(v.relative(0.1)), parents=1, children=64, recombination=v.average(8, v.by_rank, 8**0.5)
    )
    result = jaxga.run(algorithm, task, 0, generations=60)
    assert result.history["points"][-1] == 16
    assert 0.001 < result.history["cross_entropy"][-1] < 0.1
