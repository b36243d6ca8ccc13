"""What a run leaves behind: files, events, intervals, tables."""

import json

import numpy as np
import pytest
from scipy import stats
from tensorboardX.proto import event_pb2
from tensorboardX.record_writer import masked_crc32c

import jaxga
from jaxga import report, variation
from jaxga.report.files import identity


def test_the_id_changes_with_every_hyperparameter_and_with_nothing_else():
    base = {"sigma": 0.02, "parents": 8, "out": "a", "resume": False, "generations": 10}
    assert identity("x", base) == identity("x", base | {"out": "b", "resume": True, "generations": 20})
    others = [identity("x", base | change) for change in ({"sigma": 0.01}, {"parents": 4}, {"new": 1})]
    assert len({identity("x", base), identity("y", base), *others}) == 5


def test_config_says_everything(tmp_path):
    report.RunDirectory(tmp_path / "run", "x", {"sigma": 0.02, "shape": (3, 4), "out": tmp_path})
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["arguments"] == {"sigma": 0.02, "shape": [3, 4], "out": str(tmp_path)}
    assert {"id", "name", "jaxga", "jax", "python", "commit", "backend", "device"} <= set(config)


def test_a_directory_of_another_run_is_refused_and_left_alone(tmp_path):
    report.RunDirectory(tmp_path, "x", {"parents": 8, "sigma": 0.02})
    before = (tmp_path / "config.json").read_text()
    with pytest.raises(jaxga.InputError, match=r"holds another run \(parents 8 there, 4 here\): choose another --out"):
        report.RunDirectory(tmp_path, "x", {"parents": 4, "sigma": 0.02}, resume=True)
    with pytest.raises(jaxga.InputError, match="holds another run"):
        report.RunDirectory(tmp_path, "y", {"parents": 8, "sigma": 0.02}, resume=True)
    with pytest.raises(jaxga.InputError, match="holds this run already: pass --resume"):
        report.RunDirectory(tmp_path, "x", {"parents": 8, "sigma": 0.02})
    assert (tmp_path / "config.json").read_text() == before
    (tmp_path / "file").write_text("")
    with pytest.raises(jaxga.InputError, match="a file: name a directory"):
        report.RunDirectory(tmp_path / "file", "x", {})


def test_metrics_are_lines_and_events_and_are_cut_at_a_resume(tmp_path):
    directory = report.RunDirectory(tmp_path, "x", {})
    directory.start(0, 5)
    directory.write([{"generation": n, "fitness": float("nan") if n == 1 else n * 0.5} for n in range(4)])
    directory.close()
    with open(tmp_path / "metrics.jsonl", "a") as file:
        file.write('{"generation": 4, "fit')  # a crash in the middle of a line
    directory = report.RunDirectory(tmp_path, "x", {}, resume=True)
    directory.start(2, 5)
    directory.write([{"generation": 2, "fitness": 9.0}])
    directory.close()
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert lines == [
        {"generation": 0, "fitness": 0.0},
        {"generation": 1, "fitness": None},
        {"generation": 2, "fitness": 9.0},
    ]
    assert (2, "fitness", 9.0) in events(tmp_path / "tensorboard")


@pytest.mark.slow
def test_what_the_notes_watched_is_logged_by_generation_and_by_time(task, tmp_path):
    """Average and best fitness, step sizes and time, each as a line of JSON and as an event of TensorBoard."""
    mutation = variation.gaussian(variation.multiplicative(variation.relative(0.3), up=1.5))
    algorithm = jaxga.ga(task.init, mutation, parents=2, children=8)
    jaxga.run(algorithm, task, generations=3, directory=report.RunDirectory(tmp_path / "run", "x", {}))
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [line["generation"] for line in lines] == [0, 1, 2]
    assert [line["evaluations"] for line in lines] == [8, 16, 24]
    assert all(line["mean_fitness"] < line["fitness"] <= line["best_fitness"] for line in lines)
    took = [8 / line["evaluations_per_second"] for line in lines]  # seconds of each generation
    assert 0 < sum(took) <= lines[2]["seconds"]  # which counts what is written between them, too
    assert lines[0]["seconds"] < lines[1]["seconds"] < lines[2]["seconds"]
    parents = jaxga.run(algorithm, task, generations=2).state.parents  # those of generation 2
    kernel = parents.strategy["step_size"]["params"]["Dense_0"]["kernel"]
    assert lines[2]["step_size/params/Dense_0/kernel"] == pytest.approx(float(kernel.mean()), rel=1e-5)
    assert lines[2]["step_size/params/Dense_0/kernel"] != lines[0]["step_size/params/Dense_0/kernel"]
    found = {(step, tag): value for step, tag, value in events(tmp_path / "run" / "tensorboard")}
    for line in lines:
        for name in set(line) - {"generation"}:
            assert found[line["generation"], name] == pytest.approx(line[name], rel=1e-6)


def events(folder):
    """(step, tag, value) of every scalar in the event files of a folder."""
    found = []
    for path in sorted(folder.iterdir()):
        data = path.read_bytes()
        while data:
            length = int.from_bytes(data[:8], "little")
            assert masked_crc32c(data[:8]) == int.from_bytes(data[8:12], "little")
            event = event_pb2.Event.FromString(data[12 : 12 + length])
            found += [(event.step, value.tag, value.simple_value) for value in event.summary.value]
            data = data[16 + length :]
    return found


def test_a_new_directory_never_takes_an_old_one(tmp_path):
    first = report.find_run("x", {"sigma": 1}, tmp_path)
    first.mkdir(parents=True)
    assert report.find_run("x", {"sigma": 1}, tmp_path).name == f"{first.name}-2"


def test_median_interval_covers_the_median():
    random, hits = np.random.default_rng(0), 0
    for number in range(100):
        interval = report.median_interval(random.normal(size=15), seed=number)
        hits += interval.low <= 0 <= interval.high
    assert stats.binomtest(hits, 100, 0.95).pvalue > 1e-3
    curves = report.median_interval(random.normal(size=(7, 20)))
    assert curves.median.shape == curves.low.shape == curves.high.shape == (20,)
    assert (curves.low <= curves.high).all()


def test_a_paired_test_sees_what_an_unpaired_one_cannot():
    random = np.random.default_rng(0)
    common = random.normal(size=12)
    first, second = common + 0.05 * random.normal(size=12), common + 0.2 + 0.05 * random.normal(size=12)
    paired, unpaired = (report.difference(first, second, paired=paired) for paired in (True, False))
    assert paired.mean == unpaired.mean == pytest.approx(second.mean() - first.mean())
    assert 0 < paired.low < 0.2 < paired.high < unpaired.high
    assert unpaired.low < 0
    assert paired.p < 1e-3 < 0.1 < unpaired.p
    assert (paired.samples, unpaired.samples) == (12, 24)
    assert paired.p == pytest.approx(stats.ttest_1samp(second - first, 0).pvalue)
    assert report.difference(first, first).p == 1
    assert report.difference(np.arange(3.0), np.arange(3.0) + 1)[:4] == (1, 1, 1, 0)
    welch = stats.ttest_ind(second, first, equal_var=False)
    assert unpaired.p == pytest.approx(welch.pvalue)
    assert unpaired[1:3] == pytest.approx(tuple(welch.confidence_interval()))
    with pytest.raises(jaxga.InputError, match="give as many of each"):
        report.difference(first, second[1:])


def test_the_interval_of_a_difference_covers_it():
    random, hits = np.random.default_rng(1), 0
    for _ in range(200):
        first, second = random.normal(size=8), random.normal(0.5, 2, size=8)
        hits += [report.difference(first, second, paired=paired)[1] <= 0.5 for paired in (True, False)][1]
    assert stats.binomtest(hits, 200, 0.975).pvalue > 1e-3


def test_as_many_trials_as_needed_see_a_difference_as_often_as_asked():
    random = np.random.default_rng(0)
    for paired in (True, False):
        runs = report.trials_needed(1.0, 0.8, paired=paired)
        samples = random.normal(size=(2000, 2, runs)) / (2**0.5 if paired else 1)  # differences have deviation 1
        seen = np.mean([report.difference(one, two + 0.8, paired=paired).p < 0.05 for one, two in samples])
        assert seen == pytest.approx(0.8, abs=0.05)
    assert report.trials_needed(0.0, 1.0) == 2
    assert report.trials_needed(1.0, 0.1) > 50 * report.trials_needed(1.0, 1.0)
    with pytest.raises(jaxga.InputError, match="difference is 0"):
        report.trials_needed(1.0, 0.0)


def test_the_causes_of_a_made_variance_are_found():
    random, covered = np.random.default_rng(0), np.zeros(3)
    truth = np.array([0.6, 0.3, 0.1])
    for _ in range(100):
        rows, columns, rest = (random.normal(size=shape) for shape in ((8, 1), (1, 8), (8, 8)))
        found = report.causes_of_variance(truth[0] ** 0.5 * rows + truth[1] ** 0.5 * columns + truth[2] ** 0.5 * rest)
        shares = np.array(found)
        assert shares[:, 0].sum() == pytest.approx(1)
        covered += (shares[:, 1] <= truth) & (truth <= shares[:, 2])
    assert (covered >= 88).all()
    only_rows = report.causes_of_variance(np.arange(6.0)[:, None] + 1e-3 * random.normal(size=(6, 6)))
    assert only_rows.first[0] > 0.99
    assert (only_rows.second[0], only_rows.neither[0]) < (0.01, 0.01)
    assert report.causes_of_variance(random.normal(size=(40, 40))).neither[0] > 0.9


def test_progress_prints_plain_lines_where_there_is_no_terminal(capsys):
    progress = report.Progress("seed 1")
    progress.start(0, 2)
    progress.write([{"generation": 1, "best_fitness": -0.5, "evaluations_per_second": 1234.5}])
    progress.close()
    assert capsys.readouterr().err == "seed 1 generation 2/2  best -0.5  1,234 evaluations/s\n"


def test_a_table_shows_all_of_its_rows(capsys):
    report.print_table([{"name": "a", "value": 0.123456}, {"name": "b", "value": 1234567}], "Title")
    shown = capsys.readouterr().out
    assert "Title" in shown
    assert "0.1235" in shown
    assert "1,234,567" in shown


def test_a_family_tree_knows_descendants_through_both_parents(tmp_path):
    parents, mates = np.array([[0, 0, 2], [1, 1, 1]]), np.array([[1, 0, 2], [1, 2, 1]])
    assert report.with_descendants(parents).tolist() == [[True, False, False], [False, True, False], [True] * 3]
    both = report.with_descendants(parents, mates)
    assert both.tolist() == [[True, False, True], [False, True, True], [True] * 3]
    figure = report.plot_family(parents, mates, tmp_path / "family.png", first=5)
    assert (tmp_path / "family.png").exists()
    lines = figure.axes[0].lines
    assert len(lines) == 6 + 2  # a parent each, and the mates that are somebody else
    assert sum(line.get_linestyle() == ":" for line in lines) == 2
    assert {float(x) for line in lines for x in line.get_xdata()} == {5, 6, 7}
    assert len(report.plot_family(parents, last=1).axes[0].lines) == 3
    with pytest.raises(jaxga.InputError, match="mates has shape"):
        report.plot_family(parents, mates[:1])
