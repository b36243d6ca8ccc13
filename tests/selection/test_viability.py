"""Lethal children are never scored, never survive, and change nothing for the others."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxga
from jaxga import nn, tasks
from jaxga import variation as v
from jaxga.base import Evaluation
from jaxga.evaluate.rollouts import _among

KEY = jax.random.key(0)


def below(limit):
    """Nobody may have a first weight above this."""
    return lambda child: jnp.asarray(child.params)[0] < limit


def sphere(scored=None):
    def evaluate(key, w):
        del key
        if scored is not None:
            jax.debug.callback(lambda w: scored.append(np.asarray(w)), w)
        return jaxga.Evaluation(-jnp.sum((w - 1) ** 2))

    return jaxga.Task(lambda _: jnp.zeros(3), evaluate)


def make(task, viable=None, **options):
    options = {"parents": 2, "children": 16} | options
    return jaxga.ga(task.init, v.gaussian(v.absolute(0.3)), viable=viable, **options)


def test_lethal_children_are_neither_scored_nor_chosen():
    scored = []
    task = sphere(scored)
    algorithm = make(task, below(0.1))
    state = algorithm.init(KEY)
    scores = jax.jit(jaxga.vmapped(algorithm, task, chunk=1))(state)
    jax.effects_barrier()
    children = np.stack([algorithm.offspring(state, *divmod(number, 8)).params for number in range(16)])
    alive = children[:, 0] < 0.1
    assert 0 < alive.sum() < 16
    assert np.isneginf(scores.fitness).tolist() == (~alive).tolist()
    assert len(scored) == alive.sum()  # nothing was computed for the others
    assert all(w[0] < 0.1 for w in scored)
    _, info = algorithm.select(state, scores)
    assert int(info.metrics["evaluations"]) == alive.sum()
    assert int(info.metrics["lethal"]) == 16 - alive.sum()
    assert np.isfinite(info.metrics["mean_fitness"])
    assert alive[np.asarray(info.recipe.indices).ravel()].all()


def test_scores_of_the_others_are_the_same_in_any_chunk():
    task = sphere()
    free, bound = make(task), make(task, below(0.1))
    state = free.init(KEY)
    expected = jaxga.vmapped(free, task, 4)(state).fitness
    for chunk in (1, 4, 16):
        found = jaxga.vmapped(bound, task, chunk)(state).fitness
        chex.assert_trees_all_close(found, jnp.where(jnp.isneginf(found), -jnp.inf, expected), rtol=1e-6)


def test_a_run_stays_within_the_rule():
    """The optimum lies beyond it: parents come close and never pass."""
    task = sphere()
    result = jaxga.run(make(task, below(0.5)), task, generations=60)
    first = np.asarray(result.state.parents.params)[:, 0]
    assert (first > 0.3).all()
    assert (first < 0.5).all()
    assert result.history["evaluations"][-1] < 60 * 16
    assert result.history["lethal"].sum() == 60 * 16 - result.history["evaluations"][-1]


def test_where_all_children_are_lethal_their_parents_stay():
    task = sphere()
    algorithm = make(task, below(-10.0))
    state = algorithm.init(KEY)
    state = state._replace(scores=state.scores._replace(fitness=jnp.array([4.0, 3.0])))
    after, info = jax.jit(algorithm.update)(state, jaxga.vmapped(algorithm, task)(state))
    chex.assert_trees_all_equal(after.parents, state.parents)
    assert set(np.asarray(after.fitness).tolist()) <= {4.0, 3.0}
    assert int(info.metrics["evaluations"]) == 0
    assert float(after.best_fitness) == -np.inf


def test_lethal_children_do_not_play():
    game = tasks.envpool_game("CartPole-v1", nn.MLP((2,)), max_steps=40)
    mutation = v.gaussian(v.absolute(1.0))
    sign = lambda child: jax.tree.leaves(child.params)[-1].ravel()[0] > 0  # noqa: E731
    free, bound = (jaxga.ga(game.init, mutation, parents=2, children=16, viable=viable) for viable in (None, sign))
    state = free.init(KEY)
    everyone = jaxga.rollouts(free, game, envs=4, threads=1)(state)
    some = jaxga.rollouts(bound, game, envs=4, threads=1)(state)
    lethal = np.isneginf(some.fitness)
    assert 0 < lethal.sum() < 16
    np.testing.assert_array_equal(np.asarray(some.fitness)[~lethal], np.asarray(everyone.fitness)[~lethal])
    assert int(some.metrics[jaxga.STEPS]) < int(everyone.metrics[jaxga.STEPS])
    nobody = jaxga.ga(game.init, mutation, parents=2, children=16, viable=lambda _: jnp.bool_(False))
    none = jaxga.rollouts(nobody, game, envs=4, threads=1)(state)
    assert np.isneginf(none.fitness).all()
    assert int(none.metrics[jaxga.STEPS]) == 0
    assert set(none.metrics) == set(everyone.metrics)


@pytest.mark.parametrize("elites", [0, 2])
def test_elites_are_no_reason_to_score_lethal_children(elites):
    task = sphere()
    result = jaxga.run(make(task, below(0.5), elites=elites), task, generations=5)
    assert (np.asarray(result.state.parents.params)[:, 0] < 0.5).all()


def test_scores_of_those_who_play_take_their_places():
    """Vectors too; where nobody is alive there is nothing to take."""
    alive = np.array([True, False, True])
    scores = Evaluation(
        jnp.array([5.0, 7.0]), metrics={"place": jnp.array([[1.0, 2.0], [3.0, 4.0]]), "all": jnp.int32(9)}
    )
    found = _among(alive, scores)
    assert found.fitness.tolist() == [5, -np.inf, 7]
    assert found.metrics["place"].tolist() == [[1, 2], [0, 0], [3, 4]]
    assert int(found.metrics["all"]) == 9
    nobody = _among(alive & False, jax.tree.map(lambda leaf: leaf[:0] if jnp.ndim(leaf) else leaf, scores))
    assert nobody.fitness.tolist() == [-np.inf] * 3
    assert nobody.metrics["place"].tolist() == [[0, 0]] * 3
