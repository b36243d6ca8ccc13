"""Founders that were trained before: are they known, and are they held?"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxga
from jaxga import variation as v

TRAINED = jnp.array([0.01, 0.02, -0.01])
TASK = jaxga.Task(lambda _: jnp.ones(3), lambda _, w: jaxga.Evaluation(-jnp.sum(w**2), metrics={"at": w}))


def make(**options):
    return jaxga.ga(
        TASK.init, v.gaussian(v.absolute(1.0)), parents=2, children=8, elites=2,
        founders=jaxga.trained_founders(TRAINED), **options,
    )  # fmt: skip


def test_a_trained_network_is_held_until_a_child_is_better():
    result = jaxga.run(make(score_founders=True), TASK, generations=5)
    np.testing.assert_array_equal(result.best.params, TRAINED)
    np.testing.assert_array_equal(result.state.scores.metrics["at"][0], TRAINED)
    assert float(result.state.fitness[0]) == float(-jnp.sum(TRAINED**2))
    assert np.abs(jaxga.run(make(), TASK, generations=5).best.params).max() > 0.1  # nobody knew it


@pytest.mark.slow
def test_it_is_so_on_many_devices_resumed_and_replayed(tmp_path):
    algorithm = make(score_founders=True)
    one = jaxga.run(algorithm, TASK, generations=4, chunk=2)
    four = jaxga.run(algorithm, TASK, generations=4, chunk=2, devices=jax.devices()[:4])
    for generations in (2, 4):
        resumed = jaxga.run(algorithm, TASK, generations=generations, chunk=2, directory=tmp_path)
    for other in (four, resumed):
        np.testing.assert_array_equal(one.pedigree.recipes.indices, other.pedigree.recipes.indices)
        np.testing.assert_array_equal(one.state.fitness, other.state.fitness)
    replayed = jaxga.pedigree.replay(algorithm, one.pedigree)
    np.testing.assert_array_equal(replayed.parents.params, one.state.parents.params)


def test_many_runs_know_it_too():
    runs = jaxga.run_many(lambda: make(score_founders=True), TASK, generations=3, seeds=2)
    assert (runs.metrics["survivors_mean_fitness"] == np.float32(-jnp.sum(TRAINED**2))).all()


def test_founders_drawn_afresh_are_scored_anyway():
    with pytest.raises(jaxga.InputError, match="score_founders would have no effect"):
        jaxga.ga(TASK.init, v.gaussian(v.absolute(1.0)), parents=2, children=8, founders=jaxga.random_founders,
                 score_founders=True)  # fmt: skip
