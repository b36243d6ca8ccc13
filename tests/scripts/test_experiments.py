"""Experiments as a user runs them: real processes, killed, interrupted, resumed, and given nonsense.

These processes compile with optimisation, so equal bits here are equal bits for users.
"""

import importlib
import json
import os
import runpy
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from places import ROOT

import jaxga
from jaxga import analysis, checkpoint, memory, pedigree, tasks, variation

SCRIPT = str(ROOT / "experiments" / "memorization.py")
# Vectors and a small perceptron: compiles in a few seconds.
SMALL = ["--points", "8", "--shape", "16", "--parents", "2", "--children", "8", "--average", "1", "--sigma", "0.3",
         "--target", "100", "--elites", "1"]  # fmt: skip


def environment():
    plain = {name: value for name, value in os.environ.items() if name != "XLA_FLAGS"}
    return plain | {"JAX_PLATFORMS": "cpu", "PYTHONUNBUFFERED": "1"}


def start(*arguments, script=SCRIPT, **variables):
    return subprocess.Popen(
        [sys.executable, script, *map(str, arguments)], env=environment() | variables, cwd=ROOT, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def run(*arguments, script=SCRIPT, **variables):
    process = start(*arguments, script=script, **variables)
    out, err = process.communicate(timeout=200)
    return process.returncode, out, err


def wait_for_checkpoint(process, out, beyond=0, seconds=120):
    """Until a checkpoint beyond a generation is complete; the number of its generation."""
    end = time.monotonic() + seconds
    while time.monotonic() < end and process.poll() is None:
        if (checkpoint.latest(out / "checkpoints") or 0) > beyond:
            return
        time.sleep(0.05)
    raise AssertionError(f"no checkpoint; the process returned {process.poll()}: {process.communicate()}")


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    out = tmp_path_factory.mktemp("whole") / "run"
    code, shown, err = run(*SMALL, "--generations", 200, "--out", out)
    assert code == 0, err
    return out, shown


def assert_same_run(one, other):
    first, second = (checkpoint.restore(out / "checkpoints") for out in (one, other))
    chex.assert_trees_all_equal(first.state, second.state)
    chex.assert_trees_all_equal(first.recipes, second.recipes)
    timed = {"seconds", "evaluations_per_second"}
    lines = [(out / "metrics.jsonl").read_text().splitlines() for out in (one, other)]
    records = [[json.loads(line) for line in run] for run in lines]
    untimed = [[{k: x for k, x in record.items() if k not in timed} for record in run] for run in records]
    assert untimed[0] == untimed[1]


def test_a_run_leaves_everything_behind(uninterrupted):
    out, shown = uninterrupted
    files = {"config.json", "metrics.jsonl", "summary.json", "pedigree.npz", "memorization.png", ".lock"}
    assert {path.name for path in out.iterdir()} == files | {"checkpoints", "tensorboard"}
    summary = json.loads((out / "summary.json").read_text())
    assert {"name", "seed", "generations", "evaluations", "best_fitness", "wall_seconds", "evaluations_per_second",
            "backend", "stopped_because", "points_memorized"} <= set(summary)  # fmt: skip
    assert (summary["generations"], summary["evaluations"]) == (200, 1600)
    assert str(out) in shown
    assert "Adam" in shown
    assert (out / "pedigree.npz").stat().st_size < 100 * 200
    assert len((out / "metrics.jsonl").read_text().splitlines()) == 200


@pytest.mark.slow
def test_a_pedigree_replays_a_run_of_another_process_bit_for_bit(uninterrupted):
    out, _ = uninterrupted
    code = f"""
import sys, json, chex, jax
sys.path.insert(0, {str(ROOT / "experiments")!r})
import memorization
from jaxga import analysis, checkpoint, pedigree
saved = pedigree.load({str(out / "pedigree.npz")!r})
names = memorization.Args.__dataclass_fields__
arguments = {{k: tuple(x) if isinstance(x, list) else x for k, x in saved.config["arguments"].items() if k in names}}
task, algorithm = memorization.make(memorization.Args(**arguments))
state = checkpoint.restore({str(out / "checkpoints")!r}).state
chex.assert_trees_all_equal(pedigree.replay(algorithm, saved), state.source)
"""
    command = [sys.executable, "-c", code]
    process = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=200)
    assert process.returncode == 0, process.stderr


def test_killed_and_resumed_equals_never_stopped(uninterrupted, tmp_path):
    out = tmp_path / "run"
    assert run(*SMALL, "--generations", 100, "--out", out)[0] == 0
    process = start("--resume", "--out", out, "--generations", 10**6)
    wait_for_checkpoint(process, out, beyond=99)
    time.sleep(4)  # well into generations that no checkpoint holds
    process.kill()
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert checkpoint.latest(out / "checkpoints") == 100
    # On another number of devices too: the run so far had one for every core.
    devices = {"XLA_FLAGS": "--xla_force_host_platform_device_count=3"}
    code, _, err = run("--resume", "--out", out, "--generations", 200, **devices)
    assert code == 0, err
    assert "warning" not in err
    assert_same_run(uninterrupted[0], out)


@pytest.mark.slow  # the signals themselves: test_run.py
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_saves_and_says_how_to_resume(uninterrupted, tmp_path, number):
    out = tmp_path / "run"
    process = start(*SMALL, "--generations", 10**6, "--out", out)
    end = time.monotonic() + 120
    while time.monotonic() < end and not (out / "metrics.jsonl").exists():
        time.sleep(0.05)
    time.sleep(0.5)
    process.send_signal(number)
    shown, _ = process.communicate(timeout=100)
    assert process.returncode == 130
    assert f"--resume --out {out}" in shown
    stopped = checkpoint.latest(out / "checkpoints")
    assert stopped is not None
    saved = pedigree.load(out / "pedigree.npz")
    assert saved.generations == stopped
    if stopped < 200:
        assert run("--resume", "--out", out, "--generations", 200)[0] == 0
        assert_same_run(uninterrupted[0], out)


def refusal(script, arguments, monkeypatch, capsys):
    """What a script says, run in this process: most of the time of another one would be imports."""
    monkeypatch.setattr(sys, "argv", [script, *map(str, arguments)])
    monkeypatch.syspath_prepend(str(Path(script).parent))
    monkeypatch.setattr("jaxga.report.command.use_cores", lambda: None)
    monkeypatch.setattr(warnings, "formatwarning", warnings.formatwarning)  # put back afterwards
    with pytest.raises(SystemExit) as stop:
        runpy.run_path(script, run_name="__main__")
    jax.config.update("jax_disable_most_optimizations", False)  # which --quick sets
    return stop.value.code, *capsys.readouterr()


def test_nonsense_ends_a_process_with_one_sentence():
    code, shown, err = run("--seeds", "0")
    assert (code, shown, err) == (2, "", "error: seeds is 0, and must be 1 or more.\n")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--children", "10", "--parents", "4"], "children is 10, no multiple of the 4 parents: take 8 or 12."),
        (["--parents", "0"], "parents is 0, and must be 1 or more"),
        (["--sigma", "-1"], "sigma is -1.0, and must be 0 or more"),
        (["--shape", "20", "20", "3"], "is smaller than the kernel"),
        (["--parents", "8", "--average", "32"], "leave 16 to average: take 16 or fewer"),
        (["--resume"], "resume needs to know which run: pass --out DIR as well."),
        (["--resume", "--out", "/nonexistent"], "/nonexistent holds no run to resume"),
    ],
)
def test_nonsense_gets_one_sentence(arguments, message, monkeypatch, capsys):
    code, shown, err = refusal(str(ROOT / "experiments" / "memorization.py"), arguments, monkeypatch, capsys)
    assert code == 2
    assert shown == ""
    assert err.startswith("error: ")
    assert message in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--dataset", "digits", "--batch", "5000"], "batch is 5000, and there are 1438 training images: take fewer"),
        (["--dataset", "digits", "--gamma", "0.9"], "gamma is 0.9, and must be 1 or more."),
        (["--dataset", "digits", "--decay", "2"], "decay is 2.0, and must lie between 0 and 1."),
        (["--data", "/nonexistent"], "/nonexistent has no train-images-idx3-ubyte(.gz): name a folder"),
        (["--dataset", "digits", "--average", "0"], "average is 0, and must be 1 or more."),
    ],
)
def test_nonsense_about_digits_gets_one_sentence(arguments, message, tmp_path, monkeypatch, capsys):
    arguments = [*arguments, "--out", tmp_path / "run"]
    code, shown, err = refusal(str(ROOT / "experiments" / "mnist.py"), arguments, monkeypatch, capsys)
    assert code == 2
    assert shown == ""
    assert err.startswith(f"error: {message}")
    assert err.count("\n") == 1
    assert not (tmp_path / "run").exists()


NONSENSE = [  # what the message begins with; or words of tyro, whose sentences differ between its versions
    ("memorization", ["--sigmaa", "1"], ("unrecognized", "--sigmaa", "did you mean --sigma")),
    ("memorization", ["--sigma", "wide"], ("--sigma", "'wide'", "--help")),
    ("memorization", ["--sigma"], ("--sigma", "xpected 1", "--help")),
    ("memorization", ["64"], ("unrecognized", "64", "--help")),
    ("memorization", ["--backend", "moon"], ("invalid choice", "'moon'", "--backend", "'local',")),
    ("memorization", ["--generations", "0"], "generations is 0, and must be 1 or more."),
    ("memorization", ["--seconds", "-1"], "seconds is -1.0, and must be 0 or more."),
    ("memorization", ["--average", "0"], "average is 0, and must be 1 or more."),
    ("memorization", ["--out", "FILE"], "out is FILE, a file: name a directory."),
    ("memorization", ["--out", "FILE/run"], "out is FILE/run, which cannot be made (Not a directory): name another"),
    ("memorization_sweep", ["--sizes"], "sizes is empty: name at least one of"),
    ("memorization_sweep", ["--sigmas", "-1"], "sigmas is (-1.0,), and none may be less than 0."),
    ("till_death", ["--heads", "0"], "heads is 0, and must be 1 or more."),
    ("till_death", ["--genes", "200"], "genes is 200, and must lie between 1 and the 128 heads."),
    ("till_death", ["--temperature", "0"], "temperature is 0.0, and must be more than 0: leave it out"),
    ("control", ["--hidden", "0"], "hidden is (0,), and every width must be 1 or more."),
    ("control", ["--validate-every", "0"], "validate_every is 0, and must be 1 or more."),
    ("control", ["--chunk", "0"], "chunk is 0, and must be 1 or more."),
    ("memory_questions", ["--seeds", "1"], "seeds is 1, and must be 2 or more."),
    ("memory_region", ["--draws", "0"], "draws is 0, and must be 1 or more."),
    ("memory_replays", ["--points", "1"], "points is 1, and must be 2 or more."),
    ("memory_study", ["--seeds", "0"], "seeds is 0, and must be 1 or more."),
    ("memory_study", ["--parts"], "parts is empty: name at least one of notes"),
    ("memory_study", ["--out", "FILE"], "out is FILE, a file: name a directory."),
    ("sizes", ["--seeds", "1"], "seeds is 1, and must be 2 or more."),
    ("sizes", ["--problems"], "problems is empty: name noise, digits or both."),
    ("chance", ["--question", "influence", "--evaluations", "512"], "evaluations is 512, and must be 2560 or more"),
    ("gradient", ["--batch", "0"], "batch is 0, and must be 1 or more."),
    ("patterns", ["--questions"], "questions is empty: name at least one of glyphs"),
    ("patterns", ["--generations", "5"], "generations is 5, and must be 10 or more."),
    ("atari", ["--children", "7", "--parents", "2"], "children is 7, no multiple of the 2 parents: take 6 or 8."),
    ("atari", ["--generations", "0"], "generations is 0, and must be 1 or more."),
    ("atari_table", ["--games"], "games is empty: name at least one."),
    ("atari_table", ["--frames", "-1"], "frames is -1, and must be more than 0."),
    ("atari_table", ["--network", "huge"], ("invalid choice", "'huge'", "--network")),
    ("atari_replay", [], ("required", "--run")),
]


@pytest.mark.parametrize(("script", "arguments", "message"), NONSENSE)
def test_wrong_arguments_get_one_sentence_and_leave_nothing(script, arguments, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "FILE").write_text("")
    path = str(ROOT / "experiments" / f"{script}.py")
    code, shown, err = refusal(path, arguments, monkeypatch, capsys)
    assert (code, shown) == (2, "")
    begins, words = (message, ()) if isinstance(message, str) else ("", message)
    assert err.startswith(f"error: {begins}")
    assert all(word in err for word in words)
    assert err.count("\n") == 1
    assert [file.name for file in tmp_path.iterdir()] == ["FILE"]


def test_a_task_that_does_not_exist_is_answered_with_near_ones(monkeypatch, capsys):
    script = str(ROOT / "experiments" / "control.py")
    code, shown, err = refusal(script, ["--task", "cartpol"], monkeypatch, capsys)
    assert (code, shown) == (2, "")
    assert err.startswith("error: there is no task 'cartpol': did you mean cartpole")
    assert err.count("\n") == 1


@pytest.mark.slow
def test_a_validated_run_resumes_as_if_it_had_never_stopped(tmp_path):
    script = str(ROOT / "experiments" / "mnist.py")
    small = ["--dataset", "digits", "--hidden", 8, "--children", 16, "--batch", 50, "--gamma", 1.1, "--anneal", 30,
             "--pairing", "paired", "--warmup", 5, "--validate-every", 4, "--decay", 0.01]  # fmt: skip
    for out, generations in (("whole", 30), ("parts", 13)):
        assert run(*small, "--generations", generations, "--out", tmp_path / out, script=script)[0] == 0
    assert run("--resume", "--out", tmp_path / "parts", "--generations", 30, script=script)[0] == 0
    assert_same_run(tmp_path / "whole", tmp_path / "parts")
    whole, parts = (json.loads((tmp_path / out / "summary.json").read_text()) for out in ("whole", "parts"))
    assert 0 < whole["test_accuracy"] == parts["test_accuracy"] < 1
    assert whole["test_loss"] == parts["test_loss"] != whole["validation_loss"]


JAXGA = str(Path(sys.executable).parent / "jaxga")
SHOWN = {  # what `jaxga replay` draws of a run of a script, and a run of it that takes seconds
    "memorization": ("points.png", SMALL),
    "mnist": ("misread.png", ["--dataset", "digits", "--hidden", "4", "--children", "8", "--batch", "20"]),
    "control": ("episode.png", ["--children", "8", "--episodes", "1", "--max-steps", "20"]),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", SHOWN)
def test_replay_draws_what_a_network_does(name, tmp_path):
    picture, arguments = SHOWN[name]
    script = ROOT / "experiments" / f"{name}.py"
    code, _, err = run(*arguments, "--generations", 2, "--out", tmp_path / "run", script=str(script))
    assert code == 0, err
    code, shown, err = run("replay", tmp_path / "run", "--script", script, script=JAXGA)
    assert code == 0, shown + err
    assert f"picture: {tmp_path / 'run' / picture}" in shown
    assert (tmp_path / "run" / picture).read_bytes().startswith(b"\x89PNG")


@pytest.fixture
def mnist(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "experiments"))
    return importlib.import_module("mnist")


@pytest.mark.slow
def test_digits_are_tested_once_by_the_network_that_comes_out(mnist):
    """Numpy scores the last parent on the test images; generation 13 was never validated by the run itself."""
    args = mnist.Args(dataset="digits", hidden=(), children=8, batch=50, anneal=0, sgd=2)
    images = mnist.experiment.pictures(args)
    task, algorithm = mnist.make(args, images)
    result = jaxga.run(algorithm, task, generations=13, validate_every=10)
    row = mnist.row("GA", result, mnist.judges(task))
    layer = jax.tree.map(lambda leaf: np.asarray(leaf)[0], result.state.parents.params)["params"]["Dense_0"]

    def accuracy(pixels, labels):
        normal = (pixels - images.train_images.mean()) / images.train_images.std()
        return np.mean((normal.reshape(len(labels), -1) @ layer["kernel"] + layer["bias"]).argmax(axis=1) == labels)

    assert row["test accuracy"] == pytest.approx(accuracy(images.test_images, images.test_labels))
    assert row["validation accuracy"] == pytest.approx(accuracy(images.validation_images, images.validation_labels))
    assert row["steps"] == 13
    first, second = mnist.descend(args, images)
    assert {"validation accuracy", "validation loss"} <= set(first) & set(second)
    assert {"test accuracy", "test loss"} <= set(second) - set(first)


def test_workers_are_sent_what_stands_beside_a_script(mnist):
    own_modules = importlib.import_module("jaxga.evaluate.pool")._own_modules
    assert {"experiment", "mnist"} <= {module.__name__ for module in own_modules(mnist)}
    assert own_modules(jaxga) == own_modules(chex) == []


def test_seeds_are_summed_up_by_their_median(mnist):
    figures = [0.91, 0.95, 0.93, 0.92, 0.94]
    rows = [dict.fromkeys(mnist.MEASURES, figure) for figure in figures]
    found = mnist.medians(rows)
    assert found["test_accuracy"] == found["validation_loss"] == 0.93
    assert 0.91 <= found["test_accuracy_interval"][0] < 0.93 < found["test_accuracy_interval"][1] <= 0.95
    assert mnist.medians(rows[:3])["test_loss_interval"] == [0.91, 0.95]  # too few for an interval: the range
    assert (mnist.spread(5), mnist.spread(3)) == ("95 % interval", "range")


def test_what_is_refused_leaves_nothing_behind(tmp_path):
    assert run("--shape", 20, 20, 3, "--out", tmp_path / "run")[0] == 2
    assert not (tmp_path / "run").exists()


def test_a_generation_of_nan_is_one_sentence_and_a_failure(tmp_path):
    code, shown, err = run(*SMALL, "--sigma", 1e30, "--out", tmp_path / "run")
    assert code == 1
    assert "warning: every fitness of generation 0 is NaN: the run stopped with the parents before it.\n" in err
    assert "Traceback" not in err + shown


def test_a_loss_that_does_not_exist_is_named():
    code, _, err = run("--loss", "wishful")
    assert code == 2
    assert "wishful" in err
    assert "till_death" in err


def test_another_runs_directory_is_left_alone(uninterrupted):
    out, _ = uninterrupted
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    code, _, err = run(*SMALL, "--sigma", 0.1, "--out", out)
    assert code == 2
    assert "which holds another run (sigma 0.3 there, 0.1 here): choose another --out" in err
    code, _, err = run(*SMALL, "--out", out)
    assert code == 2
    assert "pass --resume" in err
    assert before == {path: path.stat().st_mtime_ns for path in out.rglob("*")}


@pytest.mark.slow
def test_several_seeds_share_one_picture(tmp_path):
    out = tmp_path / "run"
    code, shown, err = run(*SMALL, "--generations", 20, "--seeds", 2, "--out", out)
    assert code == 0, err
    assert "GA, seed 1" in shown
    assert (out / "memorization.png").exists()
    assert (out / "seed-0" / "pedigree.npz").exists()


# The default suite asks control, which is quick and does all that the others do by experiment.py: run, validate, sum up
# seeds, draw. What memorization leaves behind is tested above; sweeps and tables are many such runs.
SLOW = {
    "alignment",
    "atari_table",
    "baldwin",
    "chance",
    "characters",
    "encodings",
    "fusion",
    "gradient",
    "guess",
    "illuminate",
    "inheritance",
    "lifetime",
    "maze",
    "memorization",
    "memorization_sweep",
    "memory_questions",
    "memory_region",
    "memory_replays",
    "memory_study",
    "mnist",
    "mnist_sweep",
    "mutations",
    "norms",
    "oracle",
    "overwriting",
    "parts",
    "paths",
    "patterns",
    "plasticity",
    "rewards",
    "safe",
    "safe_toy",
    "selective",
    "senses",
    "steps",
    "sizes",
    "strangers",
    "till_death",
    "updates",
    "walkers",
}
SCRIPTS = [
    pytest.param(path, id=path.stem, marks=[pytest.mark.slow] if path.stem in SLOW else [])
    for path in sorted((ROOT / "experiments").glob("*.py"))
    if path.stem
    not in {"arms", "experiment", "published", "atari", "atari_replay"}  # no scripts, or tested on their own
]


def assert_quick(summary):
    """So little is scored that it takes a few seconds on two cores."""
    assert summary.get("evaluations", 0) <= 25_000
    assert summary.get("generations", 0) <= 300


def assert_few_programs(log):
    """Compiling is what a quick run mostly does: a program of the run takes up to two seconds, others 0.05."""
    assert 1 <= log.count("Finished XLA compilation of jit(program)") <= 8
    assert log.count("Finished XLA compilation") <= 150


@pytest.mark.parametrize("script", SCRIPTS)
def test_quick(script, tmp_path):
    """In less than 20 seconds on two cores, which no clock is asked about."""
    code, shown, err = run("--quick", "--out", tmp_path / "run", script=str(script), JAX_LOG_COMPILES="1")
    assert code == 0, err
    assert str(tmp_path / "run") in shown
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["name"] == script.stem
    assert list((tmp_path / "run").rglob("*.png"))
    assert_quick(summary)
    assert_few_programs(err)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("script", "option", "questions"),
    [
        ("patterns", "--questions", ["count_ones", "mixture"]),
        ("memory_study", "--parts", ["notes", "variants", "frequencies"]),
        ("memory_study", "--parts", ["till_death", "recipes", "start", "sigma"]),
        ("memory_study", "--parts", ["robustness", "skills"]),
    ],
)
def test_questions_that_quick_leaves_out(script, option, questions, tmp_path):
    path = str(ROOT / "experiments" / f"{script}.py")
    code, _, err = run("--quick", option, *questions, "--out", tmp_path / "run", script=path)
    assert code == 0, err
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert all(summary[question] for question in questions)


@pytest.mark.slow
def test_a_child_of_the_toy_keeps_what_it_could_where_steps_are_divided(tmp_path):
    """Where gradients cancel in their sum, dividing by it is the plain mutation, and by their magnitude it is not."""
    code, _, err = run("--quick", "--out", tmp_path / "run", script=str(ROOT / "experiments" / "safe_toy.py"))
    assert code == 0, err
    rows = json.loads((tmp_path / "run" / "summary.json").read_text())["rows"]
    found = {(row[""], row["magnitude"]): row["median"] for row in rows}
    for magnitude in (0.01, 0.1):
        plain, by_sum, by_magnitude = (
            found[f"washout, {name}", magnitude] for name in ("plain", "by sum", "by magnitude")
        )
        assert by_sum == pytest.approx(plain)
        assert by_magnitude != pytest.approx(plain, rel=0.1)
    assert found["medium, by magnitude", 1.0] > -0.2 > found["medium, plain", 1.0]


@pytest.fixture
def overwriting(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "experiments"))
    return importlib.import_module("overwriting")


def test_runs_are_compared_where_they_first_know_as_much(overwriting):
    run = {"known": np.array([10.0, 30.0, 20.0, 40.0]), "spared": np.array([8.0, 4.0, 9.0, 2.0])}
    run["learned"] = 2 * run["spared"]
    at = overwriting.at_level(run, 20)
    assert at == {"known": 20.0, "spared": 6.0, "learned": 12.0, "if learned": 50.0}
    assert all(np.isnan(value) for value in overwriting.at_level(run, 41).values())


@pytest.mark.slow
def test_effects_are_those_of_every_child(overwriting):
    """By hand, of two points and a network that is its own log-likelihood; the first point is known."""
    each = lambda params: (params, params > -1)  # noqa: E731
    change = jaxga.variation.gaussian(jaxga.variation.absolute(0.5))
    algorithm = jaxga.ga(lambda _: np.array([-0.5, -2.0], np.float32), change, parents=1, children=8)
    source = algorithm.init(jax.random.key(0)).source
    found = jax.jit(overwriting.effects(algorithm, each))(source)
    steps = np.asarray(jaxga.population(algorithm, source).params) - [-0.5, -2.0]
    best = steps[steps.mean(axis=1).argmax()]
    np.testing.assert_allclose(found["better"], (steps.mean(axis=1) > 0).mean(), rtol=1e-5)
    np.testing.assert_allclose(found["gain"], best.mean(), rtol=1e-5)
    np.testing.assert_allclose(found["won"], np.maximum(best, 0).mean(), rtol=1e-5)
    np.testing.assert_allclose(found["lost"], max(-best[0], 0) / 2, rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(found["loss"], 1.25)


def first_number(text):
    """The median of what a table tells."""
    return float(text.split()[0])


def quick_tables(script, out, *arguments):
    """The summary of a quick run."""
    code, _, err = run("--quick", *arguments, "--out", out, script=str(ROOT / "experiments" / f"{script}.py"))
    assert code == 0, err
    return json.loads((out / "summary.json").read_text())


def test_the_best_step_size_on_a_sphere_is_near_its_theory(monkeypatch):
    """Beyer 2001: c(1, 64) R / n, and a gain of c^2 / 2n; for a mean of 16 both grow, at most 16 times."""
    monkeypatch.syspath_prepend(str(ROOT / "experiments"))
    steps = importlib.import_module("steps")
    size, gain = steps.best_on_sphere(64)
    c = analysis.expected_top(64)
    assert size == pytest.approx(c, rel=0.2)
    assert gain == pytest.approx(c**2 / 2000, rel=0.1)
    size_of_mean, gain_of_mean = steps.best_on_sphere(64, 16)
    c = analysis.expected_top(64, 16)
    assert 0.5 * 16 * c < size_of_mean < 1.1 * 16 * c
    assert gain < gain_of_mean < 16 * c**2 / 2000


@pytest.mark.slow
def test_step_sizes_settle_near_the_best_for_one_parent_and_too_small_for_means(tmp_path):
    rows = {row[""]: row for row in quick_tables("steps", tmp_path / "run")["sphere"]}
    for name in ("1.01 / 1.01", "1.05 / 1.05", "1.1 / 1.1"):
        assert 0.5 < first_number(rows[name]["step / best"]) < 2
        assert 60 < first_number(rows[name]["gain, % of best"]) < 120
    means = [first_number(rows[f"{pair}, mean of 16"]["step / best"]) for pair in ("1.05 / 1.05", "1.1 / 1.1")]
    assert means[1] < means[0] < 0.9


@pytest.mark.slow
@pytest.mark.parametrize("question", ["slower", "start", "isolation"])
def test_other_questions_of_step_sizes(question, tmp_path):
    rows = {row[""]: row for row in quick_tables("steps", tmp_path / "run", "--question", question)["sphere"]}
    assert first_number(next(iter(rows.values()))["by the first"]) == 1
    if question == "start":  # a constant size stays as far away as it began, but for a goal that comes nearer
        assert 0.02 < first_number(rows["constant, from 1/30"]["step / best"]) < 0.1
        assert rows["constant, from 1/30"]["near it after"] == "0 of 2 ever"


@pytest.mark.slow
@pytest.mark.parametrize("problem", ["noise", "digits"])
def test_step_sizes_are_compared_with_the_best_for_networks(problem, tmp_path):
    rows = quick_tables("steps", tmp_path / "run", "--problems", problem)[problem]
    assert all(0.1 < first_number(row["step / best"]) < 10 for row in rows)
    assert all(("step / truly best" in row) == (problem == "digits") for row in rows)


@pytest.mark.slow
def test_updates_of_sgd_are_not_normal_noise(tmp_path):
    form, cosines = quick_tables("updates", tmp_path / "run")["tables"].values()
    rows = {row[""]: {key: first_number(text) for key, text in row.items() if key} for row in form}
    batch, noise = rows["Dense_0, a batch"], rows["Dense_0, normal noise"]
    assert abs(noise["kurtosis"]) < 0.3 < batch["kurtosis"]
    assert noise["Laplace - normal"] < 0 < batch["Laplace - normal"]
    expected = 100 * (64**0.5 + 32**0.5) ** 2 / (64 * 32)  # the largest singular value of noise
    assert noise["rank 1, %"] == pytest.approx(expected, rel=0.1)
    assert batch["rank 1, %"] > 2 * expected
    normal = next(row for row in cosines if row[""] == "normal")
    assert first_number(normal["batch / theory"]) == pytest.approx(1, abs=0.3)


@pytest.mark.slow
def test_gradient_descent_goes_straighter_than_evolution_and_evolution_than_chance(tmp_path):
    summary = quick_tables("paths", tmp_path / "run")
    straight = {row[""]: first_number(row["of the length, %"]) for row in summary["paths"]}
    assert straight["gradient descent"] > 50 > straight["mean of the better half"] > 1.5 * straight["a random walk"]
    assert straight["best child"] > straight["a random walk"]
    assert {row["reached"] for row in summary["paths"]} == {2, ""}


@pytest.mark.slow
def test_of_noise_only_the_length_matters(tmp_path):
    best, kinds = quick_tables("updates", tmp_path / "run", "--question", "levels")["tables"].values()
    assert all(1e-3 < first_number(row["best step size"]) < 1 for row in best if row["best step size"] != "-")
    rows = {row[""]: row for row in kinds}
    assert rows["lambda 89"]["gain"] == rows["Laplace"]["gain"]  # the same draws, and the same lengths
    sizes = [first_number(rows[name]["best sigma"]) for name in ("lambda 89", "Laplace")]
    assert sizes[0] / sizes[1] == pytest.approx(89 / 2**0.5, rel=0.05)


@pytest.mark.slow
def test_a_layer_that_keeps_its_norm_keeps_it(tmp_path):
    grown = {}
    for row in quick_tables("norms", tmp_path / "run")["digits"]:
        grown.setdefault(row[""], []).append(first_number(row["norm, last by first"]))
    free, kept = grown.values()
    assert free[2] > free[1] > 1.02  # the larger the steps
    assert kept == pytest.approx([1, 1, 1], abs=0.02)


def asked(script, question, out):
    """The summary of a quick run that answers one question."""
    path = str(ROOT / "experiments" / f"{script}.py")
    code, _, err = run("--quick", "--question", question, "--out", out, script=path)
    assert code == 0, err
    assert (out / f"{question}.png").exists()
    return json.loads((out / "summary.json").read_text())


FIRST_LINES = {"0 elites, adaptive", "0 elites, constant", "best child", "no mate"}


@pytest.mark.slow
@pytest.mark.parametrize("question", ["elites", "children", "regimes", "width"])
def test_arms_of_a_question_have_equal_evaluations(question, tmp_path):
    summary = asked("sizes", question, tmp_path / "run")
    panels = [rows for rows in summary.values() if isinstance(rows, list) and rows and "generations" in str(rows[0])]
    assert len(panels) == (3 if question == "regimes" else 1)
    for row in (row for rows in panels for row in rows):
        children = {"regimes": 256, "width": 128}.get(question) or row["children"]
        assert row["generations"] * children == summary["evaluations"]
        assert bool(row["against the first line"]) != (row[""] in FIRST_LINES)
    if question == "children":
        gains = np.array([[row[name] for name in row if name != "children"] for row in summary["predicted"]])
        assert gains.max() == 1
        assert (gains >= 0).all()


@pytest.mark.slow
def test_batches_are_compared_at_equal_generations_and_at_equal_images(tmp_path):
    rows = asked("sizes", "batches", tmp_path / "run")["MNIST"]
    assert {row[""] for row in rows} >= {"best, common batches", "mean, own batches"}
    assert all(row["after 20 generations"] == row["validation, %"] for row in rows)


@pytest.mark.slow
def test_two_parents_have_twice_the_children_at_half_the_influence(tmp_path):
    one, two = asked("chance", "influence", tmp_path / "run")["digits"]
    assert (one["children"], two["children"]) == (1, 2)
    assert one["variance"] == one["of influence"]
    assert two["variance"] == pytest.approx(4 * two["of influence"], abs=0.03)  # half the influence, a quarter of it
    assert 1 <= float(one["effective"].split()[0]) < float(two["effective"].split()[0]) <= 8


@pytest.mark.slow
def test_the_shares_of_founder_and_root_key_are_all_there_is(tmp_path):
    summary = asked("chance", "randomness", tmp_path / "run")
    for row in summary["noise"]["causes"]:
        shares = [int(row[name].split()[0]) for name in ("founder, %", "root key, %", "neither alone, %")]
        assert sum(shares) == pytest.approx(100, abs=1)
    assert len({row["difference in cross-entropy (log)"] for row in summary["noise"]["16 against 4 parents"]}) == 1


@pytest.mark.slow
def test_adam_memorizes_noise_in_batches(tmp_path):
    (row,) = asked("gradient", "noise", tmp_path / "run")["arms"]
    assert 1 <= float(row["epochs until all are right"].split()[0]) <= 30
    assert float(row["loss at the end"].split()[0]) < 0.2


@pytest.fixture
def mutations(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "experiments"))
    return importlib.import_module("mutations")


def test_children_above_the_limit_that_they_inherited_die(mutations):
    size = variation.multiplicative(variation.absolute(0.1), up=1.3, per=variation.per.individual)
    task = jaxga.Task(lambda _: jnp.ones(3), lambda _, w: jnp.sum(w))  # the larger the step, the better
    free, bound = (
        jaxga.run(
            jaxga.ga(
                task.init, variation.gaussian(mutations.bounded(size, limit, 0.0)), parents=1, children=32,
                viable=mutations.below_limit,
            ),
            task, generations=20,
        ) for limit in (np.inf, 1.0)
    )  # fmt: skip
    assert free.history["lethal"].sum() == 0 < bound.history["lethal"].mean()
    assert np.exp(free.state.parents.strategy["inner"]["log_factor"]).max() > 1.5
    assert np.exp(bound.state.parents.strategy["inner"]["log_factor"]).max() <= 1


def test_mates_are_told_which_points_are_right(mutations):
    task = mutations.with_points()
    score = task.score(jax.random.key(0), task.init(jax.random.key(1)))
    assert score.metrics["_right"].shape == (64,)
    assert int(score.metrics["_right"].sum()) == int(score.metrics["points"])


@pytest.fixture
def arms(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "experiments"))
    return importlib.import_module("arms")


def test_arms_are_compared_seed_by_seed(arms):
    first = np.array([1.0, 2.0, 4.0, 8.0])
    entropy, percent = arms.Score("loss", "loss", log=True), arms.Score("accuracy", "%")
    assert entropy.against(first, first / 2) == "x 0.50 [0.50, 0.50]"
    assert percent.against(first, first + 3) == "+3.00 [+3.00, +3.00]"
    assert percent.against(first, first[:2] + 3) == "+3.00 [+3.00, +3.00]"  # of the seeds that both have
    evaluations, values = np.array([10, 20, 30]), np.array([[3.0, 0.4, 0.6], [3.0, 2.0, 1.0]])
    np.testing.assert_array_equal(arms.until(entropy, values, evaluations, 0.5), [20, np.inf])
    np.testing.assert_array_equal(arms.until(percent, values, evaluations, 2.5), [10, 10])


@pytest.mark.slow
@pytest.mark.parametrize("question", ["cat", "heads", "turns", "rates", "luck"])
def test_questions_about_memories_compare_their_arms_with_the_first(question, tmp_path):
    path = str(ROOT / "experiments" / "memory_questions.py")
    code, _, err = run("--quick", "--question", question, "--out", tmp_path / "run", script=path)
    assert code == 0, err
    first, second = json.loads((tmp_path / "run" / "summary.json").read_text())["arms"]
    assert first["more than first"].startswith("0.0 [0.0, 0.0]") or question == "luck"  # of luck, sizes differ
    assert all(0 < float(arm["points"].split()[0]) <= arm["of"] for arm in (first, second))
    if question == "cat":  # heads of zeros know all dogs, and two heads cannot hold a cat among them
        assert (first["cats"], first["dogs lost"]) == ("0 of 2", "0 [0, 0]")


@pytest.mark.slow
def test_closeness_is_explained_by_the_heads_that_went_and_came(tmp_path):
    path = str(ROOT / "experiments" / "memory_replays.py")
    code, _, err = run("--quick", "--question", "closeness", "--out", tmp_path / "run", script=path)
    assert code == 0, err
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    kinds = summary["replacements, in sums over the points"]
    assert [row["points then"] for row in kinds] == ["more points", "as many", "fewer"]
    assert all(float(row["old head"].split()[0]) <= 0 <= float(row["new head"].split()[0]) for row in kinds)


@pytest.mark.slow
@pytest.mark.parametrize("turns", [False, True])
def test_chances_of_heads_are_those_of_real_mutations(turns, monkeypatch):
    """Of one head of a memory, which is then changed 20,000 times by the gene itself and asked about every point."""
    monkeypatch.syspath_prepend(str(ROOT / "experiments"))
    region = importlib.import_module("memory_region")
    points, labels = tasks.noise(8, (region.DIMENSION,), region.CLASSES)
    network = memory.PrototypeMemory(region.CLASSES, heads=3, start="random")
    params = network.init(jax.random.key(3), points)
    labels = labels.at[:4].set(network.apply(params, points[:4], method="classify"))  # so that some are known
    found = region.chances(params, points, labels, 2**15, turns)
    change = memory.turn if turns else memory.replace
    known = np.asarray(network.apply(params, points, method="classify") == labels)

    def after(key):
        head = jax.tree.map(lambda leaf: leaf[:, 1], memory.Head(**params["params"]))
        noise = jax.tree.map(
            lambda leaf, key: jax.random.normal(key, leaf.shape), head, memory.Head(*jax.random.split(key))
        )
        new = change(head, memory.Head(1.0, 1.0), noise)
        new = {name: leaf.at[:, 1].set(getattr(new, name)) for name, leaf in params["params"].items()}
        return network.apply({"params": new}, points, method="classify") == labels

    right = np.asarray(jax.lax.map(after, jax.random.split(jax.random.key(1), 20_000), batch_size=1000))
    mends, unharmed = (right & ~known).any(axis=1), right[:, known].all(axis=1)
    assert 0 < mends.mean() < 1
    assert found.mends[1] == pytest.approx(mends.mean(), abs=0.015)
    assert found.harmless[1] == pytest.approx((mends & unharmed).mean(), abs=0.015)
    assert found.complete[1] == pytest.approx(right.all(axis=1).mean(), abs=0.015)
    assert found.labelled[1] > found.harmless[1]


@pytest.fixture(scope="module")
def played(tmp_path_factory):
    out = tmp_path_factory.mktemp("atari") / "run"
    code, shown, err = run("--quick", "--dollars-per-hour", 3.6, "--out", out, script=ATARI, JAX_LOG_COMPILES="1")
    assert code == 0, err
    return out, shown, err


ATARI = str(ROOT / "experiments" / "atari.py")


@pytest.mark.slow
def test_atari_leaves_score_film_and_picture(played):
    out, shown, err = played
    assert str(out) in shown
    assert "Frostbite generation 2  elite" in err
    assert "of 1,000M frames" in err
    assert all((out / name).stat().st_size for name in ("elite.gif", "atari.png", "pedigree.npz"))
    summary, config = (json.loads((out / f"{name}.json").read_text()) for name in ("summary", "config"))
    assert summary["game_frames"] == 4 * summary["agent_steps"] == 4 * 2 * (16 + 8) * 30
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert [line["agent_steps"] for line in lines] == [(16 + 8) * 30, 2 * (16 + 8) * 30]
    assert_quick(summary)
    assert_few_programs(err)
    assert summary["test_interval"][0] <= summary["test_mean"] <= summary["test_interval"][1]
    assert 0 < summary["emulator_fraction"] < 1
    assert summary["frames_per_second"] < summary["random_frames_per_second"]
    assert summary["dollars"] == pytest.approx(summary["wall_seconds"] / 1000, abs=1e-3)
    assert summary["published"]["DQN"] == 797
    assert "children is 16, not 1000" in config["deviations"]
    assert "mutation is low_rank, not gaussian" in config["deviations"]


@pytest.mark.slow
def test_atari_is_replayed_from_its_pedigree(played, tmp_path):
    out, _, _ = played
    script = str(ROOT / "experiments" / "atari_replay.py")
    code, shown, err = run("--run", out, "--episodes", 8, "--out", tmp_path / "film.gif", script=script)
    assert code == 0, err
    assert "individual 16 of 2" in shown
    assert (tmp_path / "film.gif").exists()
    code, shown, err = run("replay", out, "--script", ATARI, script=JAXGA)
    assert code == 0, shown + err
    assert (out / "replay.gif").read_bytes() == (out / "elite.gif").read_bytes()


@pytest.mark.slow
def test_nonsense_about_atari_gets_one_sentence(played, monkeypatch, capsys, tmp_path):
    out, _, _ = played
    for arguments, message in [
        (["--game", "Frostbyte"], "game 'Frostbyte' is not known: did you mean Frostbite"),
        (["--frames", 1000], "frames is 1,000, and one generation of 1,000 children takes 200,000 at the very least"),
        (
            ["--quick", "--game", "Freeway", "--out", out],
            f"out is {out}, which holds another run (game Frostbite there",
        ),
        (
            ["--resume", "--game", "Freeway", "--out", out],
            f"out is {out}, which holds another run (game Frostbite there",
        ),
        (["--validation", 1, "--out", tmp_path / "run"], "candidates is 1, and must be 2 or more"),
    ]:
        code, shown, err = refusal(ATARI, arguments, monkeypatch, capsys)
        assert (code, shown) == (2, "")
        assert err.startswith(f"error: {message}")
        assert err.count("\n") == 1
    assert not (tmp_path / "run").exists()
