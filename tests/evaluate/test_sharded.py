"""The same run on one device and on many: equal in every bit, whatever does not divide evenly."""

import subprocess
import sys

import chex
import evolve
import jax
import numpy as np
import pytest

import jaxga
from jaxga import report
from jaxga import variation as v
from jaxga.devices import mesh
from jaxga.evaluate import Vmapped
from jaxga.run import evaluator_of


def scores(evaluator, algorithm, seed=0):
    return jax.device_get(jax.jit(evaluator)(jax.jit(algorithm.init)(jax.random.key(seed))))


@pytest.mark.parametrize(
    ("parents", "children", "chunk"),
    [(1, 16, 2), (1, 16, 8), (4, 16, 8), (4, 16, 4), (6, 6, 2), (1, 7, 1)],
    ids=[
        "one brood",
        "fewer chunks than devices",
        "two broods a chunk",
        "one brood a chunk",
        "broods of one",
        "a prime",
    ],
)
def test_the_scores_are_those_of_one_device(task, parents, children, chunk):
    mutation = v.low_rank(v.relative(0.3))
    algorithm = jaxga.ga(task.init, mutation, parents=parents, children=children, elites=1, reevaluate=True)
    evaluator = jaxga.vmapped(algorithm, task, chunk)
    one = scores(evaluator, algorithm)
    assert one.fitness.shape == (children + 1,)
    assert len(np.unique(one.fitness)) > 3
    chex.assert_trees_all_equal(one, scores(jaxga.sharded(evaluator, jax.devices()[:3]), algorithm))


def test_scores_that_come_from_the_parent_are_those_of_one_device():
    """Distinct founders, a masked body that is the tiebreak, vectors: equal inside a brood, and not outside of it."""
    task, algorithm = evolve.parental()
    state = jax.jit(algorithm.init)(jax.random.key(0))
    bodies = np.repeat(np.asarray(state.parents.params["body"]), 4, axis=0)
    evaluator = jaxga.vmapped(algorithm, task, 2)
    one = jax.device_get(jax.jit(evaluator)(state))
    np.testing.assert_array_equal(one.metrics["body"], bodies)
    np.testing.assert_array_equal(one.metrics["constant"], np.tile([1.0, 2.0, 3.0], (16, 1)))
    np.testing.assert_allclose(one.tiebreak, bodies.sum(axis=1), rtol=1e-6)
    for count in (2, 3, 4):
        chex.assert_trees_all_equal(
            one, jax.device_get(jax.jit(jaxga.sharded(evaluator, jax.devices()[:count]))(state))
        )
    runs = [jaxga.run(algorithm, task, generations=5, chunk=2, devices=jax.devices()[:count]) for count in (1, 3)]
    chex.assert_trees_all_equal(*(result.pedigree.recipes for result in runs))
    np.testing.assert_array_equal(*(result.history["body_1"] for result in runs))


@pytest.mark.parametrize(
    ("parents", "children", "chunk", "share"),
    [
        (1, 32, 2, (1, 4)),
        (1, 8, 4, (1, 1)),
        (8, 8, 1, (2, 1)),
        (6, 12, 2, (2, 1)),
        (4, 32, 2, (1, 4)),
        (2, 32, 2, (2, 2)),
    ],
)
def test_no_device_has_more_to_do_than_need_be(task, monkeypatch, parents, children, chunk, share):
    """Of 4 devices; ``share`` is of how many parents one of them scores how many chunks each."""
    algorithm = jaxga.ga(task.init, v.gaussian(v.relative(0.3)), parents=parents, children=children)
    evaluator = jaxga.sharded(jaxga.vmapped(algorithm, task, chunk), jax.devices()[:4])
    seen, score = [], Vmapped.score_chunks
    monkeypatch.setattr(Vmapped, "score_chunks", lambda *them: seen.append(tuple(map(len, them[2:]))) or score(*them))
    jax.eval_shape(evaluator, jax.eval_shape(algorithm.init, jax.random.key(0)))
    assert seen == [share]


@pytest.mark.parametrize(
    "founders", [jaxga.common_founder, pytest.param(jaxga.random_founders, marks=pytest.mark.slow)]
)
def test_a_run_is_the_same_on_any_number_of_devices(task, founders):
    mutation = v.low_rank(v.multiplicative(v.relative(0.3)))
    algorithm = jaxga.ga(task.init, mutation, parents=2, children=16, founders=founders,
                         recombination=v.average(4, v.by_rank))  # fmt: skip
    one, three = (jaxga.run(algorithm, task, 3, generations=12, devices=jax.devices()[:n]) for n in (1, 3))
    chex.assert_trees_all_equal(one.state, three.state)
    chex.assert_trees_all_equal(one.pedigree.recipes, three.pedigree.recipes)


@pytest.mark.slow
def test_a_run_goes_on_with_another_number_of_devices(task, algorithm, tmp_path):
    def run(generations, devices, resume=False):
        directory = report.RunDirectory(tmp_path / "run", "test", {}, resume)
        devices = jax.devices()[:devices]
        return jaxga.run(algorithm, task, generations=generations, devices=devices, directory=directory)

    run(5, 4)
    resumed = run(10, 1, resume=True)
    chex.assert_trees_all_equal(resumed.state, jaxga.run(algorithm, task, generations=10).state)


@pytest.mark.slow
def test_runs_are_shared_out_without_changing_them(task):
    def make(parents):
        return jaxga.ga(task.init, v.low_rank(v.relative(0.3)), parents=parents, children=8)

    one, three = (
        jaxga.run_many(make, task, generations=4, seeds=4, grid={"parents": [1, 2]}, batch=1, devices=devices)
        for devices in (jax.devices()[:1], jax.devices()[:3])
    )
    for name, values in one.metrics.items():
        np.testing.assert_array_equal(values, three.metrics[name], err_msg=name)


@pytest.mark.slow
def test_several_devices_share_a_run_where_there_are_few(task):
    def make(sigma):
        return jaxga.ga(task.init, v.low_rank(v.relative(sigma)), parents=2, children=8)

    options = {"generations": 4, "seeds": 1, "sweep": {"sigma": [0.1, 0.3]}, "batch": 1, "chunk": 2}
    one, four = (jaxga.run_many(make, task, devices=jax.devices()[:count], **options) for count in (1, 4))
    for name, values in one.metrics.items():
        np.testing.assert_array_equal(values, four.metrics[name], err_msg=name)


def test_a_program_is_compiled_once_on_many_devices(task, algorithm):
    evaluators = [jaxga.sharded(jaxga.vmapped(algorithm, task, 4), jax.devices()) for _ in range(2)]
    assert evaluators[0].mesh.size == 4
    assert evaluators[0] == evaluators[1]
    assert hash(evaluators[0]) == hash(evaluators[1])


@pytest.mark.parametrize(
    ("parents", "children", "chunk"),
    [(2, 16, 2), pytest.param(1, 16, 1, marks=pytest.mark.slow), pytest.param(4, 8, 4, marks=pytest.mark.slow)],
)
@pytest.mark.slow
def test_slices_are_scored_as_the_whole_is(task, parents, children, chunk):
    """However few chunks there are in one: a loop of one turn must not be another program."""
    mutation = v.low_rank(v.multiplicative(v.relative(0.3)))
    algorithm = jaxga.ga(task.init, mutation, parents=parents, children=children,
                         recombination=v.average(children // parents // 2, v.by_rank))  # fmt: skip
    evaluator = jaxga.vmapped(algorithm, task, chunk)
    state = jaxga.run(algorithm, task, 3, generations=2, chunk=chunk).state
    whole = jax.device_get(jax.jit(evaluator)(state.source))
    counts = {evaluator.slices(about) for about in range(1, 20)}
    assert max(counts) == children // chunk
    for count in counts:
        score = jax.jit(evaluator.children, static_argnums=2)
        parts = [jax.device_get(score(state.source, np.int32(number), count)) for number in range(count)]
        chex.assert_trees_all_equal(jax.tree.map(lambda *leaves: np.concatenate(leaves), *parts), whole)


def test_a_single_chunk_is_not_shared(task, algorithm):
    devices = jax.devices()[:2]
    assert isinstance(evaluator_of(algorithm, task, 16, devices), Vmapped)
    assert not isinstance(evaluator_of(algorithm, task, 4, devices), Vmapped)


def test_no_devices_is_an_error(task, algorithm):
    for use in (
        lambda: mesh([]),
        lambda: jaxga.run(algorithm, task, generations=1, devices=[]),
        lambda: jaxga.run_many(lambda: algorithm, task, generations=1, devices=[]),
    ):
        with pytest.raises(jaxga.InputError, match="devices is empty: name at least one"):
            use()


def test_cores_become_devices_before_anything_else():
    def tell(code):
        environment = {"PATH": "", "JAX_PLATFORMS": "cpu"}
        return subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, env=environment, timeout=100
        )

    assert tell("import jaxga, jax; jaxga.use_cores(3); print(len(jax.devices()))").stdout == "3\n"
    late = tell("import jaxga, jax; jax.devices(); jaxga.use_cores(3)")
    assert "JAX has its devices already: call use_cores before anything else of JAX" in late.stderr
    assert "count is 0" in tell("import jaxga; jaxga.use_cores(0)").stderr
