"""The command `jaxga`, on runs as they lie on a disk."""

import importlib.metadata
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxga
from jaxga import cli, genome, report, variation
from jaxga.report.reading import read

SCRIPT = '''
"""Three weights on a sphere."""
from dataclasses import dataclass
from pathlib import Path

import jax.numpy as jnp

import jaxga
from jaxga import variation


@dataclass
class Args:
    out: Path | None = None
    sigma: float = 0.1
    seed: int = 0


def make(args):
    task = jaxga.Task(lambda key: {"w": jnp.ones(3)}, lambda key, params: -jnp.sum(params["w"] ** 2))
    size = variation.multiplicative(variation.absolute(args.sigma))
    return task, jaxga.ga(task.init, variation.gaussian(size), parents=2, children=8, elites=1)
'''


@pytest.fixture(scope="module")
def sphere(tmp_path_factory):
    """A script, a run of it, and what the run returned."""
    folder = tmp_path_factory.mktemp("sphere")
    script = folder / "sphere_script.py"
    script.write_text(SCRIPT)
    names = {}
    exec(SCRIPT, names)
    args = names["Args"]()
    directory = report.RunDirectory(folder / "run", "sphere", {"sigma": args.sigma, "seed": 0, "out": folder / "run"})
    task, algorithm = names["make"](args)
    result = jaxga.run(algorithm, task, 0, generations=30, directory=directory)
    return folder / "run", script, result


def told(capsys, *arguments):
    cli.main([str(argument) for argument in arguments])
    return capsys.readouterr().out


def refused(capsys, *arguments):
    with pytest.raises(SystemExit) as ended:
        cli.main([str(argument) for argument in arguments])
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert said.count("\n") == 1
    return said


def test_inspect_says_what_ran_and_how_it_went(sphere, capsys):
    path, _, result = sphere
    shown = told(capsys, "inspect", path)
    assert shown.startswith(f"sphere, {path}")
    assert "sigma 0.1" in shown
    assert f"{float(result.state.best_fitness):,.6g}" in shown
    assert "█" in shown
    assert "step_size" in shown.replace(" ", "_")
    assert "not ended" not in shown


def test_a_run_that_goes_on_is_shown_so_far(sphere, tmp_path, capsys):
    path, _, _ = sphere
    lines = (path / "metrics.jsonl").read_text().splitlines()
    (tmp_path / "metrics.jsonl").write_text("\n".join(lines[:5]) + "\n" + lines[5][:20])  # half a line
    (tmp_path / "config.json").write_text((path / "config.json").read_text())
    shown = told(capsys, "inspect", tmp_path, "--metric", "mean_fitness")
    assert "It has not ended" in shown
    assert "generations so far" in shown
    np.testing.assert_allclose(read(tmp_path).history["fitness"], [json.loads(line)["fitness"] for line in lines[:5]])


def test_compare_writes_a_table_and_a_picture(sphere, tmp_path, capsys):
    path, _, result = sphere
    shown = told(capsys, "compare", path, path, "--out", tmp_path / "both.png")
    assert shown.count(f"{float(result.state.best_fitness):.4g}") == 2
    assert (tmp_path / "both.png").stat().st_size > 1000


def test_seeds_give_an_interval(sphere, tmp_path, capsys):
    path, _, result = sphere
    for seed in range(2):
        (tmp_path / f"seed-{seed}").mkdir()
        for name in ("config.json", "metrics.jsonl"):
            (tmp_path / f"seed-{seed}" / name).write_text((path / name).read_text())
    shown = told(capsys, "compare", path, tmp_path, "--out", tmp_path / "both.png")
    best = f"{float(result.state.best_fitness):.4g}"
    assert f"{best} [{best}, {best}] (n=2)" in shown
    assert "name one of" in refused(capsys, "export", tmp_path, tmp_path / "best.npz")


@pytest.mark.parametrize("name", ["best.npz", "best.safetensors", "best"])
def test_the_best_network_is_exported(sphere, tmp_path, capsys, name):
    path, _, result = sphere
    shown = told(capsys, "export", path, tmp_path / name)
    assert "3 weights in 1 arrays" in shown
    if name.endswith("npz"):
        found = np.load(tmp_path / name)["w"]
    elif name.endswith("safetensors"):
        from safetensors.numpy import load_file

        found = load_file(tmp_path / name)["w"]
    else:
        import orbax.checkpoint as ocp

        found = ocp.StandardCheckpointer().restore(tmp_path / name)["w"]
    np.testing.assert_array_equal(found, result.best.params["w"])
    np.testing.assert_allclose(-(found**2).sum(), result.state.best_fitness, rtol=1e-6)


def test_a_champion_is_exported_whatever_its_score(tmp_path, capsys):
    """The best parent is that of `Result.best`: the one whom the selection puts first."""
    task = jaxga.Task(lambda _: {"w": jnp.ones(3)}, lambda _, params: -jnp.sum(params["w"] ** 2))
    algorithm = jaxga.ga(
        task.init, variation.gaussian(variation.absolute(0.1)), parents=3, children=12, elites=1, reevaluate=True,
        champion=lambda scores: jnp.argmin(scores.fitness),
    )  # fmt: skip
    result = jaxga.run(algorithm, task, generations=5, directory=tmp_path / "run")
    assert result.state.fitness[0] < result.state.fitness[1]
    told(capsys, "export", tmp_path / "run", tmp_path / "best.npz")
    np.testing.assert_array_equal(np.load(tmp_path / "best.npz")["w"], result.best.params["w"])


def test_a_genome_is_exported_and_decoded(sphere, tmp_path, capsys):
    path, script, result = sphere
    told(capsys, "export", path, tmp_path / "best.json", "--script", script)
    found = genome.decode(result.algorithm, genome.load(tmp_path / "best.json"))
    np.testing.assert_array_equal(found.params["w"], result.best_ever.params["w"])


def test_replay_compares_with_the_checkpoint(sphere, capsys):
    path, script, _ = sphere
    shown = told(capsys, "replay", path, "--script", script, "--last", "3")
    assert "30 generations were replayed; their parents are those of the checkpoint, bit for bit." in shown
    assert shown.count("│") == 3 * 5


def test_replay_draws_the_family_and_what_the_script_shows(sphere, tmp_path, capsys):
    path, script, result = sphere
    showing = tmp_path / "showing_script.py"
    showing.write_text(
        script.read_text()
        + "\n\ndef show(args, task, params, directory):\n"
        + "    file = directory / 'shown.txt'\n"
        + "    file.write_text(f'{args.sigma} {float(task.evaluate(None, params)):.6g} {params}')\n"
        + "    return file\n"
    )
    shown = told(capsys, "replay", path, "--script", showing)
    assert f"picture: {path / 'family.png'}" in shown
    assert (path / "family.png").read_bytes().startswith(b"\x89PNG")
    assert f"picture: {path / 'shown.txt'}" in shown
    seen = (path / "shown.txt").read_text()
    assert seen == f"0.1 {float(result.state.best_fitness):.6g} {result.best.params}"


def test_replay_says_where_the_script_has_changed(sphere, tmp_path, capsys):
    path, script, _ = sphere
    changed = tmp_path / "changed_script.py"
    changed.write_text(script.read_text().replace("jnp.ones(3)", "jnp.full(3, 2.0)"))
    with pytest.raises(SystemExit) as ended:
        cli.main(["replay", str(path), "--script", str(changed)])
    assert ended.value.code == 1
    assert "are NOT those" in capsys.readouterr().out


def test_doctor_names_versions_and_devices(capsys):
    shown = told(capsys, "doctor")
    assert jax.__version__ in shown
    assert "device 0" in shown
    assert "free memory" in shown


def test_nonsense_is_one_sentence(sphere, tmp_path, capsys):
    path, _, _ = sphere
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "config.json").write_text("{")
    (tmp_path / "other_script.py").write_text("x = 1")
    assert "no directory" in refused(capsys, "inspect", tmp_path / "nowhere")
    assert "holds no run" in refused(capsys, "inspect", tmp_path)
    assert "damaged" in refused(capsys, "inspect", tmp_path / "damaged")
    assert "has best_fitness" in refused(capsys, "inspect", path, "--metric", "loss")
    assert "two runs or more" in refused(capsys, "compare", path)
    assert "end it in" in refused(capsys, "export", path, tmp_path / "best.txt")
    assert "--script" in refused(capsys, "export", path, tmp_path / "best.json")
    assert "no file" in refused(capsys, "replay", path, "--script", tmp_path / "nowhere.py")
    assert "no Args and make" in refused(capsys, "replay", path, "--script", tmp_path / "other_script.py")


def test_a_run_that_is_not_of_jaxga_run_is_shown_all_the_same(tmp_path, capsys):
    """As the goal agent writes it: its own columns and checkpoints."""
    (tmp_path / "config.json").write_text(json.dumps({"name": "other", "arguments": {"size": 5}}))
    records = [{"generation": number, "steps": 10 * number, "solved": number / 10} for number in range(5)]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    (tmp_path / "checkpoints").mkdir()
    shown = told(capsys, "inspect", tmp_path)
    assert "\nsolved\n" in shown
    assert "size 5" in shown
    page = told(capsys, "dashboard", tmp_path).split("page: ")[1].strip()
    with open(page) as file:
        assert file.read().count("<svg") == 1
    assert "no run of jaxga.run" in refused(capsys, "export", tmp_path, tmp_path / "best.npz")


def test_a_curve_of_one_value_or_of_none():
    assert "no finite value" in cli.draw(np.array([np.nan, np.inf]), "x")
    assert cli.draw(jnp.ones(1), "x").startswith("x\n")
    assert len(cli.draw(np.arange(1000.0), "x").splitlines()[1]) == 11 + 72


def test_it_is_installed_as_a_command():
    points = importlib.metadata.entry_points(group="console_scripts", name="jaxga")
    assert {point.value for point in points} == {"jaxga.cli:main"}
