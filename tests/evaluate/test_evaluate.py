"""The evaluator against plain calls, its costs against what was promised, and the same result on any topology."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxga
from jaxga import nn, tasks
from jaxga import variation as v
from jaxga.base import Purpose, generation_key
from jaxga.lowrank import dense


def scores(algorithm, task, chunk=None, state=None):
    state = jax.jit(algorithm.init)(jax.random.key(0)) if state is None else state
    return jax.jit(jaxga.vmapped(algorithm, task, chunk))(state)


def one_by_one(algorithm, task):
    """Every child built and scored alone, dense."""
    state = jax.jit(algorithm.init)(jax.random.key(0))
    key = generation_key(state, Purpose.EVALUATION)

    @jax.jit
    def score(index):
        child = algorithm.offspring(state, index // algorithm.brood, index % algorithm.brood)
        return task.evaluate(task.key(key, index), dense(child.params)).fitness

    return jnp.stack([score(index) for index in range(algorithm.children)])


@pytest.mark.parametrize("mutation", [v.gaussian(v.relative(0.3)), v.low_rank(v.relative(0.3), 2)])
@pytest.mark.parametrize("chunk", [1, 7, *(pytest.param(chunk, marks=pytest.mark.slow) for chunk in (2, 4, 8, 100))])
def test_any_chunk_equals_one_by_one(task, mutation, chunk):
    algorithm = jaxga.ga(task.init, mutation, parents=4, children=16)
    evaluation = scores(algorithm, task, chunk)
    chex.assert_trees_all_close(evaluation.fitness, one_by_one(algorithm, task), rtol=1e-4)
    assert evaluation.tiebreak.shape == (16,)
    assert evaluation.metrics["points"].shape == (16,)


def test_independent_draws_differ_and_common_draws_do_not():
    for key, different in ((jaxga.independent, True), (jaxga.common, False)):
        lottery = jaxga.Task(lambda _: jnp.zeros(3), lambda key, _: jaxga.Evaluation(jax.random.uniform(key)), key)
        algorithm = jaxga.ga(lottery.init, v.gaussian(v.absolute(0.1)), parents=2, children=8)
        assert (len(np.unique(scores(algorithm, lottery).fitness)) == 8) is different
        state = algorithm.init(jax.random.key(0))
        later = scores(algorithm, lottery, state=state.with_source(generation=jnp.int32(1))).fitness
        assert not (later == scores(algorithm, lottery, state=state).fitness).any()


def test_common_draws_take_the_luck_out_of_a_comparison():
    """On one draw x of N(0, I), scores w x of a and b differ by (a - b) x, with variance |a - b|^2.

    On a draw each it is |a|^2 + |b|^2.
    """
    a, b = np.array([3.0, 4.0]), np.array([3.1, 3.9])
    generations = jnp.maximum(jnp.arange(-1, 4000), 0)  # the first one twice
    found = {}
    for key in (jaxga.common, jaxga.independent):
        lottery = jaxga.Task(
            lambda _: jnp.zeros(2), lambda key, w: jaxga.Evaluation(jnp.vdot(w, jax.random.normal(key, (2,)))), key
        )
        algorithm = jaxga.ga(lottery.init, v.gaussian(v.absolute(0.0)), parents=2, children=2)  # their equals
        state = jax.jit(algorithm.init)(jax.random.key(0))
        state = state._replace(
            source=state.source._replace(parents=state.parents._replace(params=jnp.asarray([a, b], jnp.float32)))
        )
        scored = jaxga.vmapped(algorithm, lottery)

        @jax.jit
        @jax.vmap
        def rounds(number, state=state, scored=scored):
            return scored(state.with_source(generation=number)).fitness

        scores = np.asarray(rounds(generations))
        assert (scores[0] == scores[1]).all()  # the same key, the same again
        assert len(np.unique(scores[1:, 0])) > 3990
        found[key] = np.var(scores[1:, 0] - scores[1:, 1])
    tolerance = 5 * (2 / 4000) ** 0.5  # five standard errors of a variance
    np.testing.assert_allclose(found[jaxga.common], np.sum((a - b) ** 2), rtol=tolerance)
    np.testing.assert_allclose(found[jaxga.independent], np.sum(a**2) + np.sum(b**2), rtol=tolerance)


def test_elites_are_scored_again_where_asked(task):
    algorithm = jaxga.ga(task.init, v.gaussian(v.relative(0.3)), parents=4, children=16, elites=2, reevaluate=True)
    state = jax.jit(algorithm.init)(jax.random.key(0))
    evaluation = scores(algorithm, task, state=state)
    assert evaluation.fitness.shape == (18,)
    expected = task.evaluate(jax.random.key(0), jax.tree.map(lambda leaf: leaf[0], state.parents.params)).fitness
    chex.assert_trees_all_close(evaluation.fitness[16:], jnp.stack([expected] * 2), rtol=1e-5)


def test_founders_drawn_afresh_are_scored(task):
    algorithm = jaxga.ga(task.init, v.low_rank(v.relative(0.3)), parents=4, children=16, founders=jaxga.random_founders)
    chex.assert_trees_all_close(scores(algorithm, task, 4).fitness, one_by_one(algorithm, task), rtol=1e-4)


# Costs, as compiled.


def compiled(children, parents=1, chunk=16, mutation=None):
    big = tasks.memorization(nn.MLP((64, 10)), points=32, shape=(128,))
    algorithm = jaxga.ga(big.init, mutation or v.low_rank(v.relative(0.1)), parents=parents, children=children)
    state = jax.eval_shape(algorithm.init, jax.random.key(0))
    return jax.jit(jaxga.vmapped(algorithm, big, chunk)).lower(state).compile()


def test_memory_does_not_grow_with_the_children():
    few, many = (compiled(children).memory_analysis().temp_size_in_bytes for children in (1024, 65_536))
    assert many - few < 40 * 65_536  # a few scalars a child, while a child has 8,906 weights


def test_a_brood_shares_the_products_of_its_parent():
    flops = {chunk: compiled(16, chunk=chunk).cost_analysis()["flops"] for chunk in (1, 16)}
    first_layer = 2 * 32 * 128 * 64  # of one child
    # A loop counts once. Sixteen children of one chunk may cost 16 second layers, but only one first one.
    assert flops[16] < 16 * flops[1] - 14 * first_layer


def test_low_rank_children_are_never_built():
    dense_bytes = 16 * 4 * (128 * 64)  # sixteen first layers
    low = compiled(16).memory_analysis().temp_size_in_bytes
    full = compiled(16, mutation=v.gaussian(v.relative(0.1))).memory_analysis().temp_size_in_bytes
    assert low < dense_bytes < full


def test_noise_is_drawn_once_and_not_for_every_example():
    """Fused into the hidden layer ``[16, 32, 64]``, drawing normal numbers would be a hundred instructions of it."""
    computations = [part.strip().splitlines() for part in compiled(16).as_text().split("\n\n")]
    hidden = [
        len(lines) for lines in computations if any("ROOT" in line and "= f32[16,32,64]" in line for line in lines)
    ]
    assert hidden
    assert max(hidden) < 40


def test_one_trace_for_a_configuration(task, algorithm):
    evaluator, same = jaxga.vmapped(algorithm, task, 4), jaxga.vmapped(algorithm, task, 4)
    assert evaluator == same
    assert hash(evaluator) == hash(same)
    count = []
    run = jax.jit(lambda evaluator, state: count.append(1) or evaluator(state), static_argnums=0)
    state = algorithm.init(jax.random.key(0))
    run(evaluator, state), run(same, state.with_source(generation=jnp.int32(5)))
    assert len(count) == 1


def test_a_wrong_chunk_is_named(algorithm, task):
    with pytest.raises(jaxga.InputError, match="chunk is 0, and must be 1 or more"):
        jaxga.vmapped(algorithm, task, 0)
