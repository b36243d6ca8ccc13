"""The goal-setting agent as a user runs it: a run, going on with it, and nonsense."""

import json
import os
import runpy
import signal
import subprocess
import sys
import time
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from places import ROOT

import jaxga

sys.path.append(str(ROOT / "experiments"))

from goal_agent import agent, checkpoints, depths, environments, settings

SCRIPT = str(ROOT / "experiments" / "goal_agent" / "train.py")


def run(*arguments, script=SCRIPT):
    plain = {name: value for name, value in os.environ.items() if name != "XLA_FLAGS"} | {"JAX_PLATFORMS": "cpu"}
    command = [sys.executable, str(script), *map(str, arguments)]
    return subprocess.run(command, env=plain, cwd=ROOT, capture_output=True, text=True, timeout=280)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    out = tmp_path_factory.mktemp("whole") / "run"
    ended = run("--quick", "--out", out)
    assert ended.returncode == 0, ended.stderr
    return out, ended.stdout


def test_quick_leaves_everything_behind(whole):
    out, shown = whole
    assert {path.name for path in out.iterdir()} == {
        "config.json", "metrics.jsonl", "tests.npz", "summary.json", "goal_agent.png", "checkpoints", "tensorboard",
    }  # fmt: skip
    summary = json.loads((out / "summary.json").read_text())
    assert (summary["name"], summary["rounds"], summary["steps"]) == ("goal_agent", 4, 4 * 4 * 20)
    assert str(out) in shown
    assert checkpoints.latest(out / "checkpoints") == 4


@pytest.mark.slow
def test_a_run_that_goes_on_is_the_one_that_never_stopped(whole, tmp_path):
    out = tmp_path / "run"
    assert run("--quick", "--rounds", 2, "--out", out).returncode == 0
    ended = run("--resume", "--out", out, "--rounds", 4)
    assert ended.returncode == 0, ended.stderr
    files = [np.load(path / "tests.npz") for path in (whole[0], out)]
    for name in files[0]:
        np.testing.assert_array_equal(files[0][name], files[1][name])
    lines = [
        [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()] for path in (whole[0], out)
    ]
    untimed = [[{name: x for name, x in line.items() if name != "seconds"} for line in some] for some in lines]
    assert untimed[0] == untimed[1]


@pytest.mark.slow
def test_a_run_that_is_interrupted_has_saved(tmp_path):
    out = tmp_path / "run"
    small = "--size 5 --seeds 1 --hidden 8 --batch 8 --updates 1 --environments 2 --episodes 8 --states 16 --stages 1"
    command = [sys.executable, SCRIPT, *small.split(), "--rounds", "1000000", "--every", "2", "--out", str(out)]
    plain = {name: value for name, value in os.environ.items() if name != "XLA_FLAGS"} | {"JAX_PLATFORMS": "cpu"}
    process = subprocess.Popen(command, env=plain, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    end = time.monotonic() + 120
    while process.poll() is None and time.monotonic() < end:
        if (out / "metrics.jsonl").exists() and (out / "metrics.jsonl").read_text():
            break
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    shown, told = process.communicate(timeout=60)
    assert process.returncode == 130, told
    assert f"--resume --out {out}" in shown
    last = json.loads((out / "metrics.jsonl").read_text().splitlines()[-1])
    assert checkpoints.latest(out / "checkpoints") == last["generation"]


@pytest.mark.slow
@pytest.mark.parametrize("options", [["--env", "deep-sea"], ["--env", "bit-flip"], ["--env", "sprites"],
                                     ["--encoder", "vae"], ["--encoder", "mmd", "--reward", "progress"],
                                     ["--chooser", "random", "--intrinsic", "0.1"]])  # fmt: skip
def test_every_environment_and_part_runs(options, tmp_path):
    ended = run("--quick", *options, "--out", tmp_path / "run")
    assert ended.returncode == 0, ended.stderr
    assert (tmp_path / "run" / "goal_agent.png").exists()


def make(size, hidden):
    problem = environments.make("deep-sea", size)
    small = {"batch": 8, "episodes": 8, "states": 16, "environments": 2, "updates": 1}
    return agent.build(problem, settings.Settings(hidden=hidden, **small))


def test_a_checkpoint_comes_back_as_it_was_and_no_other_agent_takes_it(tmp_path):
    program = make(3, (4,))
    agents = jax.jit(jax.vmap(program.init))(jax.random.split(jax.random.key(0), 2))
    agents = agents._replace(rounds=agents.rounds + 7)
    checkpoints.save(tmp_path / "there", 7, agents)
    like = jax.eval_shape(lambda: agents)
    back = checkpoints.restore(tmp_path / "there", like)
    assert jax.tree.structure(back) == jax.tree.structure(agents)
    for one, other in zip(jax.tree.leaves(agents), jax.tree.leaves(back), strict=True):
        assert one.dtype == other.dtype
        if not jnp.issubdtype(one.dtype, jax.dtypes.prng_key):
            np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(jax.random.key_data(back.key), jax.random.key_data(agents.key))
    for size, hidden in ((3, (6,)), (4, (4,))):
        other = jax.eval_shape(jax.vmap(make(size, hidden).init), jax.random.split(jax.random.key(0), 2))
        with pytest.raises(jaxga.InputError, match=r"holds an agent of other sizes \(actor/params"):
            checkpoints.restore(tmp_path / "there", other)
    with pytest.raises(jaxga.InputError, match="it has other parts"):
        checkpoints.restore(tmp_path / "there", jax.eval_shape(jax.vmap(make(3, (4, 4)).init), agents.key))
    with pytest.raises(jaxga.InputError, match="holds no complete checkpoint"):
        checkpoints.restore(tmp_path / "nowhere", like)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--env", "four-room"], "env is 'four-room', which is not known: did you mean four-rooms?"),
        (["--size", "8"], "size is 8, and must be odd"),
        (["--rounds", "30"], "rounds is 30, and must be a multiple of every, 20."),
        (["--seeds", "0"], "seeds is 0, and must be 1 or more."),
        (["--optimism", "2"], "optimism is 2.0, and must lie between 0 and 1."),
        (["--env", "deep-sea", "--chooser", "given"], "chooser is 'given', and this environment gives no goals"),
        (["--resume"], "resume needs to know which run: pass --out DIR as well."),
    ],
)
def test_nonsense_gets_one_sentence_and_leaves_nothing(arguments, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [SCRIPT, *arguments])
    monkeypatch.setattr("jaxga.report.command.use_cores", lambda: None)
    monkeypatch.setattr(warnings, "formatwarning", warnings.formatwarning)
    with pytest.raises(SystemExit) as stop:
        runpy.run_path(SCRIPT, run_name="__main__")
    shown, err = capsys.readouterr()
    assert (stop.value.code, shown) == (2, "")
    assert err.startswith(f"error: {message}")
    assert err.count("\n") == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_the_evolved_actor_and_the_figure_of_depths(tmp_path):
    folder = ROOT / "experiments" / "goal_agent"
    ended = run("--quick", "--out", tmp_path / "evolved", script=folder / "evolve.py")
    assert ended.returncode == 0, ended.stderr
    assert 0 <= json.loads((tmp_path / "evolved" / "summary.json").read_text())["reached"][0] <= 1
    assert run("--quick", "--env", "deep-sea", "--out", tmp_path / "sea").returncode == 0
    ended = run("--runs", tmp_path / "sea", "--out", tmp_path / "depths.png", script=folder / "depths.py")
    assert ended.returncode == 0, ended.stderr
    assert (tmp_path / "depths.png").exists()
    ended = run("--runs", tmp_path / "evolved", script=folder / "depths.py")
    assert (ended.returncode, ended.stderr.count("\n")) == (2, 1)


def test_bsuite_counts_a_depth_when_a_fifth_of_all_episodes_found_the_treasure(tmp_path):
    returns = np.array([[0.0, 0.0, 0.99], [0.0, 0.0, 0.99], [0.3, 0.0, 0.0], [0.9, 0.0, 0.0]])  # [tests, seeds]
    np.savez(tmp_path / "tests.npz", practised=returns)
    assert depths.episodes_of(tmp_path, size=10, steps=4000).tolist() == [400, np.inf, 100]
    np.savez(tmp_path / "tests.npz", goals_reached=returns)
    with pytest.raises(jaxga.InputError, match="run it again"):
        depths.episodes_of(tmp_path, size=10, steps=4000)


def test_the_autoencoder_may_learn_from_either_stream(tmp_path):
    found = {}
    for stream in ("diverse", "recent"):
        out = tmp_path / stream
        told = run("--quick", "--env", "deep-sea", "--encoder", "plain", "--chooser", "random", "--stream", stream,
                   "--out", out)  # fmt: skip
        assert "error of codes" in told.stdout
        found[stream] = json.loads((out / "summary.json").read_text())["of the worst tenth"]
        assert np.isfinite(found[stream]).all()
    assert found["diverse"] != found["recent"]
