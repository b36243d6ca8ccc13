"""Runs: stop rules, blocks, resume, files, checkpoints, and what happens when fitness fails."""

import dataclasses
import json
import os
import signal
import sys
import threading

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxga
from jaxga import checkpoint, report
from jaxga import variation as v

TIMED = {"seconds", "evaluations_per_second"}


def equal_histories(first, second):
    assert set(first) == set(second)
    for name in set(first) - TIMED:
        np.testing.assert_array_equal(first[name], second[name], err_msg=name)


def open_directory(path, resume=False, **arguments):
    return report.RunDirectory(path, "test", {"sigma": 0.3, **arguments}, resume)


def test_history_has_a_row_a_generation(task, algorithm):
    result = jaxga.run(algorithm, task, generations=7)
    assert {name: len(column) for name, column in result.history.items()} == dict.fromkeys(result.history, 7)
    assert result.history["generation"].tolist() == list(range(7))
    assert result.history["evaluations"].tolist() == [16 * n for n in range(1, 8)]
    assert (np.diff(result.history["best_fitness"]) >= 0).all()
    assert result.stopped_because == "all 7 generations done"
    assert result.best.params["params"]["Dense_0"]["kernel"].shape == (16, 8)


def test_same_key_same_run_other_key_another(task, algorithm):
    first, same, other = (jaxga.run(algorithm, task, seed, generations=5) for seed in (1, 1, 2))
    chex.assert_trees_all_equal(first.state, same.state)
    assert first.state.best_fitness != other.state.best_fitness


def test_keys_of_other_kinds_are_refused_and_never_made_of_seeds(task, algorithm):
    """With them a child in a batch is not the one that is built alone."""
    with pytest.raises(jaxga.InputError, match=r"key is of kind rbg, .* give a seed, or jax.random.key"):
        jaxga.run(algorithm, task, jax.random.key(0, impl="rbg"), generations=1)
    expected = jaxga.run(algorithm, task, 0, generations=2)
    with jax.default_prng_impl("rbg"):
        chex.assert_trees_all_equal(jaxga.run(algorithm, task, 0, generations=2).state, expected.state)


def test_blocks_do_not_change_the_result(task, algorithm, monkeypatch):
    whole = jaxga.run(algorithm, task, generations=30)
    monkeypatch.setattr(sys.modules["jaxga.run"], "DISPATCH_SECONDS", 0.0)  # one generation a dispatch
    single = jaxga.run(algorithm, task, generations=30)
    chex.assert_trees_all_equal(whole.state, single.state)
    equal_histories(whole.history, single.history)


@pytest.mark.parametrize(
    ("founders", "mutation"),
    [
        pytest.param(jaxga.common_founder, v.gaussian(v.relative(0.3)), marks=pytest.mark.slow),
        (jaxga.random_founders, v.low_rank(v.multiplicative(v.relative(0.3)))),
    ],
)
def test_resumed_equals_never_stopped(task, tmp_path, founders, mutation):
    algorithm = jaxga.ga(task.init, mutation, parents=4, children=16, elites=1, founders=founders)
    whole = jaxga.run(algorithm, task, 5, generations=20, directory=open_directory(tmp_path / "whole"))
    jaxga.run(algorithm, task, 5, generations=10, directory=open_directory(tmp_path / "half"))
    directory = open_directory(tmp_path / "half", resume=True)
    resumed = jaxga.run(algorithm, task, 5, generations=20, directory=directory)
    chex.assert_trees_all_equal(whole.state, resumed.state)
    chex.assert_trees_all_equal(whole.pedigree.survivors, resumed.pedigree.survivors)
    equal_histories(whole.history, resumed.history)
    lines = [(tmp_path / name / "metrics.jsonl").read_text().splitlines() for name in ("whole", "half")]
    for one, other in zip(*lines, strict=True):
        one, other = json.loads(one), json.loads(other)
        assert {k: x for k, x in one.items() if k not in TIMED} == {k: x for k, x in other.items() if k not in TIMED}


def test_target_no_improvement_and_seconds_stop_a_run(task, algorithm):
    free = jaxga.run(algorithm, task, generations=40)
    reached = free.history["best_fitness"][20]
    first = int(np.argmax(free.history["best_fitness"] >= reached))
    result = jaxga.run(algorithm, task, generations=40, stop=jaxga.stop.target(float(reached)))
    assert (int(result.state.generation), result.stopped_because) == (first + 1, "target reached")
    flat = jaxga.Task(task.init, lambda *_: jaxga.Evaluation(1.0))
    rule = jaxga.stop.any_of(jaxga.stop.target(5.0), jaxga.stop.no_improvement(6))
    result = jaxga.run(algorithm, flat, generations=40, stop=rule)
    assert result.stopped_because == "no improvement for 6 generations"
    assert int(result.state.generation) == 7
    result = jaxga.run(algorithm, task, generations=10**6, seconds=0.5)
    assert result.stopped_because == "0.5 seconds are over"


def test_a_generation_of_nan_stops_the_run_with_the_last_good_parents(task, algorithm, tmp_path):
    def evaluate(key, params):
        score = task.evaluate(key, params)
        overflow = jnp.std(params["params"]["Dense_0"]["kernel"]) > 0.4  # it starts at 0.25, and walks at random
        return score._replace(fitness=jnp.where(overflow, jnp.nan, score.fitness))

    failing = task._replace(evaluate=evaluate)
    directory = open_directory(tmp_path)
    with pytest.warns(RuntimeWarning, match="is NaN: the run stopped with the parents before it"):
        result = jaxga.run(algorithm, failing, generations=500, directory=directory)
    assert result.failed
    assert 0 < int(result.state.generation) == len(result.history["generation"]) < 500
    assert not jnp.isnan(result.state.fitness[0])
    chex.assert_trees_all_equal(checkpoint.restore(directory.checkpoints).state, result.state)


def test_hooks_see_every_generation_once(task, algorithm):
    seen = []
    jaxga.run(algorithm, task, generations=9, hooks=[lambda _, records: seen.extend(records)])
    assert [record["generation"] for record in seen] == list(range(9))
    assert all(isinstance(record["best_fitness"], float) for record in seen)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_saves_and_stops(task, algorithm, tmp_path, number):
    directory = open_directory(tmp_path)
    timer = threading.Timer(3.0, os.kill, (os.getpid(), number))
    timer.start()
    result = jaxga.run(algorithm, task, generations=10**6, directory=directory, seconds=60)
    timer.join()
    assert result.interrupted
    assert result.stopped_because == f"interrupted by {signal.Signals(number).name}"
    assert checkpoint.latest(directory.checkpoints) == int(result.state.generation)


def test_a_checkpoint_is_complete_by_itself(task, algorithm, tmp_path):
    directory = open_directory(tmp_path)
    result = jaxga.run(algorithm, task, 2, generations=4, directory=directory)
    saved = checkpoint.restore(directory.checkpoints)
    chex.assert_trees_all_equal(saved.state, result.state)
    assert saved.config["arguments"] == {"sigma": 0.3}
    assert jax.random.key_data(saved.state.key).tolist() == jax.random.key_data(jax.random.key(2)).tolist()
    equal_histories(saved.history, result.history)


def test_a_half_written_checkpoint_is_never_read(task, algorithm, tmp_path):
    directory = open_directory(tmp_path)
    jaxga.run(algorithm, task, generations=4, directory=directory)
    unfinished = directory.checkpoints / "9.orbax-checkpoint-tmp-1"
    unfinished.mkdir()
    (unfinished / "state").write_text("half")
    assert checkpoint.latest(directory.checkpoints) == 4


def test_a_damaged_checkpoint_is_named_and_nothing_is_lost(task, algorithm, tmp_path):
    directory = open_directory(tmp_path)
    jaxga.run(algorithm, task, generations=2, directory=directory)
    jaxga.run(algorithm, task, generations=4, directory=open_directory(tmp_path, resume=True))
    files = [path for path in (directory.checkpoints / "4").rglob("*") if path.is_file()]
    for path in files:
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(jaxga.InputError, match=r"checkpoint .*4 cannot be read .*move that folder away"):
        jaxga.run(algorithm, task, generations=8, directory=open_directory(tmp_path, resume=True))
    (directory.checkpoints / "4").rename(tmp_path / "away")
    again = jaxga.run(algorithm, task, generations=4, directory=open_directory(tmp_path, resume=True))
    chex.assert_trees_all_equal(again.state, jaxga.run(algorithm, task, generations=4).state)


@pytest.mark.slow
def test_a_checkpoint_of_self_adaptation_can_be_gone_on_with(task, tmp_path):
    mutation = v.chain(v.uniform_crossover(), v.gaussian(v.multiplicative(v.relative(0.3))))
    algorithm = jaxga.ga(task.init, mutation, parents=4, children=16)
    directory = open_directory(tmp_path)
    result = jaxga.run(algorithm, task, generations=2, directory=directory)
    state = checkpoint.restore(directory.checkpoints).state
    chex.assert_trees_all_equal(state, result.state)
    child = jax.jit(algorithm.offspring)
    chex.assert_trees_all_equal(child(state, 0, 0), child(result.state, 0, 0))


def test_a_directory_is_not_used_for_two_runs_nor_for_another_key(task, algorithm, tmp_path):
    directory = open_directory(tmp_path)
    jaxga.run(algorithm, task, 0, generations=2, directory=directory)
    with pytest.raises(jaxga.InputError, match="holds a run already"):
        jaxga.run(algorithm, task, 0, generations=2, directory=directory)
    with pytest.raises(jaxga.InputError, match="key is not that of the run in"):
        jaxga.run(algorithm, task, 1, generations=4, directory=open_directory(tmp_path, resume=True))


@pytest.mark.parametrize("founders", [jaxga.common_founder, jaxga.random_founders])
def test_a_first_generation_of_nan_leaves_the_start(task, founders, tmp_path):
    algorithm = jaxga.ga(task.init, v.gaussian(v.relative(0.3)), parents=4, children=16, founders=founders)
    failing = jaxga.Task(task.init, lambda *_: jaxga.Evaluation(jnp.nan))
    with pytest.warns(RuntimeWarning, match="every fitness of generation 0 is NaN"):
        result = jaxga.run(algorithm, failing, generations=5, directory=open_directory(tmp_path))
    assert result.failed
    assert (int(result.state.generation), result.summary()["evaluations"], result.pedigree.generations) == (0, 0, 0)


def test_a_missing_checkpoint_is_named(tmp_path):
    with pytest.raises(jaxga.InputError, match="holds no complete checkpoint"):
        checkpoint.restore(tmp_path)


def test_params_of_any_node_type_survive_a_checkpoint(tmp_path):
    @jax.tree_util.register_dataclass
    @dataclasses.dataclass(frozen=True)
    class Weights:
        w: jax.Array

    task = jaxga.Task(lambda _: (Weights(w=jnp.zeros(3)),), lambda _, p: jaxga.Evaluation(-jnp.sum((p[0].w - 1) ** 2)))
    algorithm = jaxga.ga(task.init, v.gaussian(v.absolute(0.1)), parents=2, children=8)
    jaxga.run(algorithm, task, generations=3, directory=open_directory(tmp_path))
    resumed = jaxga.run(algorithm, task, generations=6, directory=open_directory(tmp_path, resume=True))
    chex.assert_trees_all_equal(resumed.state, jaxga.run(algorithm, task, generations=6).state)
