"""Who breeds with whom."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxga
from jaxga import variation as v
from jaxga.base import Evaluation
from jaxga.selection import (
    alike,
    alike_weights,
    attraction,
    choose_mate,
    tournament,
    truncation,
    unlike,
    unlike_weights,
)
from jaxga.selection.described import draw

PLACES = np.array([0.0, 1, 2, 10, 11, 20], np.float32)
HELD = Evaluation(jnp.arange(6.0), jnp.zeros(6), {"place": jnp.asarray(PLACES)[:, None]})
SLOTS = jnp.arange(6, dtype=jnp.int32)


def drawn(mates, held=HELD, slots=SLOTS, times=300):
    return np.asarray(
        jax.jit(jax.vmap(lambda key: mates(key, held, slots)))(jax.random.split(jax.random.key(0), times))
    )


@pytest.mark.parametrize("mates", [alike("place", 2), unlike("place", 2), choose_mate(tournament(2))])
def test_nobody_mates_with_itself(mates):
    found = drawn(mates)
    assert (found != np.arange(6)).all()
    assert ((found >= 0) & (found < 6)).all()


def test_the_most_and_the_least_alike_of_all():
    assert (drawn(alike("place", 5)) == [1, 0, 1, 4, 3, 4]).all() or (
        drawn(alike("place", 5)) == [1, 2, 1, 4, 3, 4]
    ).all()
    assert (drawn(unlike("place", 5)) == [5, 5, 5, 5, 0, 0]).all() or (drawn(unlike("place", 5))[:, :3] == 5).all()
    some = drawn(alike("place", 2))
    assert abs(PLACES[some] - PLACES).mean() < abs(PLACES[drawn(unlike("place", 2))] - PLACES).mean()


def test_a_mate_by_its_own_merits():
    assert (drawn(choose_mate(truncation), slots=SLOTS[:1]) == 5).all()


def test_attraction_is_to_who_is_good_where_one_is_not():
    points = jnp.array([[1, 1, 0, 0], [1, 1, 0, 0], [1, 0, 1, 0], [0, 0, 1, 1.0]])
    held = Evaluation(jnp.zeros(4), jnp.zeros(4), {"points": points})
    found = drawn(attraction("points"), held, jnp.zeros(4000, jnp.int32), times=1)[0]
    # Points 2 and 3 are worth 1/2 and 1: the third network pulls with 1/2, the last one with 3/2.
    np.testing.assert_allclose(np.bincount(found, minlength=4) / 4000, [0, 0, 0.25, 0.75], atol=0.03)


def test_where_nobody_attracts_everyone_else_is_as_likely():
    held = Evaluation(jnp.zeros(4), jnp.zeros(4), {"points": jnp.ones((4, 5))})
    found = drawn(attraction("points"), held, jnp.full(4000, 2, jnp.int32), times=1)[0]
    np.testing.assert_allclose(np.bincount(found, minlength=4) / 4000, [1 / 3, 1 / 3, 0, 1 / 3], atol=0.03)
    nothing = held._replace(metrics={"points": jnp.full((4, 5), jnp.nan)})
    assert set(drawn(attraction("points"), nothing, jnp.zeros(300, jnp.int32), times=1)[0]) == {1, 2, 3}


@pytest.mark.parametrize(("mates", "expected"), [(alike_weights(3), [1, 0, 3, 2]), (unlike_weights(3), [3, 3, 0, 0])])
def test_mates_by_their_weights(mates, expected):
    take_mate = jaxga.Variation(lambda _: (), lambda _, parent, context: parent._replace(params=context.mate.params))
    algorithm = jaxga.ga(
        lambda _: {"a": jnp.zeros(2), "b": jnp.zeros(())}, take_mate, parents=4, children=8, mates=mates
    )
    where = jnp.array([0.0, 1, 10, 12])
    parents = jaxga.Individual({"a": jnp.zeros((4, 2)), "b": where})
    children = jaxga.population(algorithm, algorithm.init(jax.random.key(0)).with_source(parents=parents))
    np.testing.assert_array_equal(
        children.params["b"].reshape(4, 2), np.repeat(where[jnp.array(expected)], 2).reshape(4, 2)
    )


def test_draws_are_in_proportion_to_weights():
    found = np.asarray(draw(jax.random.key(1), jnp.array([0, 1, 3, 0, 4.0, 0]), 8000))
    np.testing.assert_allclose(np.bincount(found, minlength=6) / 8000, [0, 1 / 8, 3 / 8, 0, 1 / 2, 0], atol=0.02)
    assert set(np.asarray(draw(jax.random.key(1), jnp.zeros(3), 100))) == {0, 1, 2}


def test_mates_are_used_by_a_run():
    task = jaxga.Task(lambda _: jnp.zeros(3), lambda _, w: -jnp.sum((w - 1) ** 2))
    change = v.chain(v.uniform_crossover(), v.gaussian(v.absolute(0.1)))
    algorithm = jaxga.ga(task.init, change, parents=4, children=16, mates=alike_weights(2))
    assert jaxga.run(algorithm, task, generations=60).state.best_fitness > -0.5
