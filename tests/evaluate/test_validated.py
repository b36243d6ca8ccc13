"""The elite of Such et al. 2017: chosen by many episodes among the old one and the best of a generation."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxga
from jaxga import tree
from jaxga import variation as v

CANDIDATES, EPISODES, PARENTS, CHILDREN = 5, 8, 4, 16


def noisy(noise):
    def evaluate(key, w):
        return jaxga.Evaluation(-jnp.sum(w**2) + noise * jax.random.normal(key))

    return jaxga.Task(lambda key: jax.random.normal(key, (3,)), evaluate, jaxga.independent)


def algorithm_of(task, **options):
    validates = {"elites": 1, "reevaluate": True, "champion": jaxga.best_validated} | options
    return jaxga.ga(
        task.init, v.gaussian(v.absolute(0.1)), parents=PARENTS, children=CHILDREN, founders=jaxga.random_founders,
        **validates,
    )  # fmt: skip


def by_the_paper(fitness, means):
    """Survivors as the paper's code chooses them, of ``fitness [N]`` and validation ``means [N + elites]``."""
    elites = len(means) - len(fitness)
    others = sorted(range(len(fitness)), key=lambda child: -fitness[child])
    tried = [*range(len(fitness), len(means)), *others[: CANDIDATES - elites]]
    elite = max(tried, key=lambda index: means[index])
    best = others[:PARENTS]
    return [elite, *[child for child in best if child != elite]][:PARENTS], tried


def test_survivors_are_those_of_the_paper_in_every_generation():
    task = noisy(2.0)
    algorithm = algorithm_of(task)
    evaluator = jaxga.validated(jaxga.vmapped(algorithm, task), CANDIDATES, EPISODES)
    state = jax.jit(algorithm.init)(jax.random.key(0))
    first, later = (jax.jit(lambda state: (evaluator(state), *algorithm.update(state, evaluator(state)))) for _ in "12")
    kept = 0
    for generation in range(12):
        evaluation, state, info = (later if generation else first)(state)
        means = np.array(evaluation.metrics["elite_mean"])
        survivors, tried = by_the_paper(np.array(evaluation.fitness[:CHILDREN]), means)
        assert np.flatnonzero(~np.isnan(means)).tolist() == sorted(tried)
        assert info.recipe.indices[:, 0].tolist() == survivors
        assert np.isnan(evaluation.fitness[CHILDREN:]).all()
        kept += survivors[0] == CHILDREN
        assert float(info.metrics["elite_mean"]) == means[survivors[0]]
        assert float(info.metrics["candidates_mean"]) == pytest.approx(np.nanmean(means))
    assert 0 < kept < 12  # the old elite stayed sometimes, and not always


@pytest.mark.slow
def test_a_validated_elite_is_no_lucky_one():
    """A bandit whose arms differ little and pay with much noise: the best of many single draws is mostly luck."""
    task = jaxga.Task(
        lambda key: jax.random.normal(key, (1,)),
        lambda key, w: jaxga.Evaluation(1 + 0.1 * jnp.tanh(w[0]) + jax.random.normal(key)),
        jaxga.independent,
    )

    def claimed_and_true(champion):
        algorithm = jaxga.ga(
            task.init, v.gaussian(v.absolute(0.1)), parents=2, children=200, elites=1, reevaluate=champion is not None,
            champion=champion,
        )  # fmt: skip
        plain = jaxga.vmapped(algorithm, task)
        result = jaxga.run(
            algorithm, plain if champion is None else jaxga.validated(plain, 10, 300), 0, generations=5
        )  # fmt: skip
        claimed = result.state.best_fitness if champion is None else result.history["elite_mean"][-1]
        return float(claimed), 1 + 0.1 * float(jnp.tanh(result.best.params[0]))

    claimed, true = claimed_and_true(None)
    assert claimed > 2 * true
    claimed, true = claimed_and_true(jaxga.best_validated)
    assert claimed == pytest.approx(true, rel=0.15)


def test_of_equals_the_old_elite_stays():
    means = jnp.array([jnp.nan, 2.0, 3.0, jnp.nan, 3.0])
    assert int(jaxga.best_validated(jaxga.Evaluation(means, metrics={"elite_mean": means}))) == 4


@pytest.mark.slow
def test_on_many_devices_it_is_the_same():
    task = noisy(2.0)
    algorithm = algorithm_of(task)
    plain = jaxga.vmapped(algorithm, task)
    state = jaxga.run(algorithm, jaxga.validated(plain, CANDIDATES, EPISODES), generations=1).state
    one = jax.jit(jaxga.validated(plain, CANDIDATES, EPISODES))(state)
    many = jax.jit(jaxga.validated(jaxga.sharded(plain, jax.devices()[:3]), CANDIDATES, EPISODES))(state)
    np.testing.assert_array_equal(one.fitness, many.fitness)
    np.testing.assert_array_equal(one.metrics["elite_mean"], many.metrics["elite_mean"])


@pytest.mark.slow
def test_the_best_of_a_run_is_the_champion():
    """Whatever its score: the one that was validated best stands first."""
    task = noisy(1.0)
    algorithm = algorithm_of(task)
    result = jaxga.run(algorithm, jaxga.validated(jaxga.vmapped(algorithm, task), 5, 5), 0, generations=6)
    assert int(np.nanargmax(result.state.fitness)) != 0  # a worse validation has the luckier score
    chex.assert_trees_all_equal(result.best, tree.take(result.state.parents, 0))


def test_validation_in_bad_input():
    task = noisy(1.0)
    with pytest.raises(jaxga.InputError, match="a validated elite must stay"):
        jaxga.validated(jaxga.vmapped(ga := algorithm_of(task, reevaluate=False, champion=None), task), 5, 5)
    plain = jaxga.vmapped(ga := algorithm_of(task), task)
    with pytest.raises(jaxga.InputError, match="candidates is 17, more than 16 children"):
        jaxga.validated(plain, 17, 5)
    with pytest.raises(jaxga.InputError, match="candidates is 1, and must be 2 or more"):
        jaxga.validated(plain, 1, 5)
    with pytest.raises(jaxga.InputError, match="episodes is 1, and must be 2 or more"):
        jaxga.validated(plain, 5, 1)
    assert ga.selection.elites == (0,)
