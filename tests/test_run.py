"""Runs: stop rules, blocks, resume, files, checkpoints, and what happens when fitness fails."""

import dataclasses
import json
import signal
import subprocess
import sys

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
    chex.assert_trees_all_equal(whole.pedigree.recipes, resumed.pedigree.recipes)
    equal_histories(whole.history, resumed.history)
    lines = [(tmp_path / name / "metrics.jsonl").read_text().splitlines() for name in ("whole", "half")]
    for one, other in zip(*lines, strict=True):
        one, other = json.loads(one), json.loads(other)
        assert {k: x for k, x in one.items() if k not in TIMED} == {k: x for k, x in other.items() if k not in TIMED}


def test_a_resumed_run_does_only_what_is_left(task, algorithm, tmp_path, monkeypatch):
    """After 500 generations, three more are dispatched and advanced, and the 500 are not done again."""
    advanced, dispatched = [], []

    def advance(source, recipe):
        jax.debug.callback(lambda: advanced.append(1))  # when it is computed, not when it is traced
        return algorithm.advance(source, recipe)

    def dispatch(program, state, limit):
        dispatched.append(limit)
        return _dispatch(program, state, limit)

    _dispatch = sys.modules["jaxga.run"]._dispatch
    monkeypatch.setattr(sys.modules["jaxga.run"], "_dispatch", dispatch)
    counted = algorithm._replace(advance=advance)
    jaxga.run(counted, task, generations=500, directory=open_directory(tmp_path))
    jax.effects_barrier()
    assert (len(advanced), sum(dispatched)) == (500, 500)
    advanced.clear(), dispatched.clear()
    result = jaxga.run(counted, task, generations=503, directory=open_directory(tmp_path, resume=True))
    jax.effects_barrier()
    assert (len(advanced), sum(dispatched)) == (3, 3)
    assert (int(result.state.generation), result.pedigree.generations) == (503, 503)


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


def send(number):
    """A hook that sends this process a signal after three generations or more."""
    return lambda state, _: signal.raise_signal(number) if state.generation >= 3 else None


@pytest.mark.usefixtures("ctrl_c")
def test_ctrl_c_saves_and_then_raises(task, algorithm, tmp_path):
    """So a loop over seeds ends, and does not go on with the next one."""
    directory = open_directory(tmp_path)
    with pytest.raises(jaxga.Interrupted) as caught:
        jaxga.run(algorithm, task, generations=10**6, directory=directory, hooks=[send(signal.SIGINT)])
    stopped = caught.value
    assert isinstance(stopped, KeyboardInterrupt)
    assert stopped.result.interrupted
    assert stopped.result.stopped_because == "interrupted by SIGINT"
    assert checkpoint.latest(directory.checkpoints) == int(stopped.result.state.generation)
    assert f"its state is saved in {tmp_path}" in str(stopped)


def test_a_handler_of_the_users_own_is_called_after_saving(task, algorithm, tmp_path):
    directory, called = open_directory(tmp_path), []
    note = lambda number, _: called.append((number, checkpoint.latest(directory.checkpoints)))  # noqa: E731
    before = signal.signal(signal.SIGTERM, note)
    try:
        result = jaxga.run(algorithm, task, generations=10**6, directory=directory, hooks=[send(signal.SIGTERM)])
    finally:
        signal.signal(signal.SIGTERM, before)
    assert result.stopped_because == "interrupted by SIGTERM"
    assert called == [(signal.SIGTERM, int(result.state.generation))]


def test_a_signal_that_is_ignored_stays_so(task, algorithm):
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        result = jaxga.run(algorithm, task, generations=6, hooks=[send(signal.SIGINT)])
    finally:
        signal.signal(signal.SIGINT, before)
    assert result.stopped_because == "all 6 generations done"


def test_a_signal_that_nobody_handles_ends_the_process_after_saving(tmp_path):
    """A script without a word of signals: SIGTERM, which would have killed it, still does, and the state is there."""
    code = f"""
import signal, jax.numpy as jnp, jaxga
from jaxga.variation import absolute, gaussian
task = jaxga.Task(lambda key: jnp.ones(3), lambda key, w: -jnp.sum(w**2))
algorithm = jaxga.ga(task.init, gaussian(absolute(0.1)), parents=2, children=16)
send = lambda *_: signal.raise_signal(signal.SIGTERM)
for seed in range(100):
    jaxga.run(algorithm, task, seed, generations=10**6, directory={str(tmp_path)!r} + f"/{{seed}}", hooks=[send])
"""
    process = subprocess.run([sys.executable, "-c", code], timeout=100)
    assert process.returncode == -signal.SIGTERM
    assert [path.name for path in tmp_path.iterdir()] == ["0"]
    assert checkpoint.latest(tmp_path / "0" / "checkpoints") > 0


def test_an_error_in_a_hook_loses_nothing(task, algorithm, tmp_path):
    def hook(state, _):
        if state.generation >= 3:
            raise ZeroDivisionError("in a hook")

    with pytest.raises(ZeroDivisionError, match="in a hook"):
        jaxga.run(algorithm, task, generations=20, directory=tmp_path / "run", hooks=[hook])
    assert checkpoint.latest(tmp_path / "run" / "checkpoints") >= 3
    resumed = jaxga.run(algorithm, task, generations=20, directory=tmp_path / "run")
    chex.assert_trees_all_equal(resumed.state, jaxga.run(algorithm, task, generations=20).state)


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
