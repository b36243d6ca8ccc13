"""Many runs as one program equal single runs, and their table is tidy."""

import chex
import jax
import numpy as np
import pandas as pd
import pytest

import jaxga
from jaxga import variation as v


@pytest.fixture(scope="module")
def runs(task):
    return jaxga.run_many(
        maker(task), task, 7, generations=6, seeds=5, sweep={"sigma": [0.1, 0.3]}, grid={"parents": [1, 4]}
    )


def maker(task):
    def make(parents, sigma):
        return jaxga.ga(task.init, v.gaussian(v.relative(sigma)), parents=parents, children=8)

    return make


@pytest.mark.slow
def test_the_table_is_tidy(runs):
    table = pd.DataFrame(runs.table())
    assert len(table) == 20
    assert table.groupby(["parents", "sigma"]).size().tolist() == [5] * 4
    assert len(pd.DataFrame(runs.long_table())) == 120
    summary = pd.DataFrame(runs.summary())
    assert (summary["low"] <= summary["best_fitness"]).all()
    assert (summary["best_fitness"] <= summary["high"]).all()
    row = summary[(summary.parents == 4) & (summary.sigma > 0.2)].iloc[0]
    chosen = table[(table.parents == 4) & (table.sigma > 0.2)]
    assert row["best_fitness"] == pytest.approx(chosen["best_fitness"].median())


@pytest.mark.parametrize("number", [0, 17, pytest.param(9, marks=pytest.mark.slow)])
def test_each_run_equals_a_single_one(runs, task, number):
    """The two of the default suite differ in both settings; a single run is a program for each."""
    row = pd.DataFrame(runs.table()).iloc[number]
    algorithm = maker(task)(int(row.parents), np.float32(row.sigma))
    single = jaxga.run(algorithm, task, jax.random.fold_in(jax.random.key(7), int(row.seed)), generations=6)
    assert row.best_fitness == pytest.approx(float(single.state.best_fitness), rel=1e-4)


@pytest.mark.slow
def test_one_at_a_time_equals_all_at_once_and_founders_work(task):
    def make():
        mutation = v.gaussian(v.multiplicative(v.relative(0.3)))
        return jaxga.ga(task.init, mutation, parents=2, children=8, founders=jaxga.random_founders)

    first, second = (jaxga.run_many(make, task, generations=4, seeds=3, batch=batch) for batch in (None, 1))
    np.testing.assert_allclose(first.metrics["best_fitness"], second.metrics["best_fitness"], rtol=1e-4)
    assert first.groups()[0][0] == {}


def test_a_picture(runs, tmp_path):
    runs.plot(tmp_path / "runs.png", yscale="symlog")
    assert (tmp_path / "runs.png").stat().st_size > 10_000


def test_saved_and_loaded(runs, tmp_path):
    runs.save(tmp_path / "runs.npz")
    loaded = jaxga.load_runs(tmp_path / "runs.npz")
    assert loaded.seconds == runs.seconds
    for part in ("settings", "metrics"):
        for name, values in getattr(runs, part).items():
            np.testing.assert_array_equal(getattr(loaded, part)[name], values)


@pytest.mark.slow
def test_settings_of_any_kind(task):
    def make(shape, name):
        assert name in "ab"
        return jaxga.ga(task.init, v.gaussian(v.absolute(0.1)), parents=shape[0], children=shape[1])

    runs = jaxga.run_many(make, task, generations=2, seeds=2, grid={"shape": [(1, 4), (2, 4)], "name": ["a"]})
    assert [setting for setting, _ in runs.groups()] == [{"shape": (1, 4), "name": "a"}, {"shape": (2, 4), "name": "a"}]
    assert len(pd.DataFrame(runs.table())) == 4
    runs.plot()


def test_an_empty_axis_is_named(task):
    with pytest.raises(jaxga.InputError, match="sigma has no values to try"):
        jaxga.run_many(maker(task), task, generations=2, sweep={"sigma": []})


@pytest.mark.slow
def test_settings_may_log_different_things_and_change_the_task(task):
    def make(size):
        mutation = v.gaussian(v.multiplicative(v.relative(0.1)) if size == "adaptive" else v.relative(0.1))
        return jaxga.ga(task.init, mutation, parents=1, children=4), task

    runs = jaxga.run_many(make, generations=3, seeds=2, grid={"size": ["fixed", "adaptive"]})
    (name,) = {name for name in runs.metrics if "step_size" in name and "kernel" in name and "0" in name}
    assert np.isnan(runs.metrics[name][:2]).all()
    assert (runs.metrics[name][2:, 1:] > 0).all()
    with pytest.raises(jaxga.InputError, match="task is None"):
        jaxga.run_many(lambda: make("fixed")[0], generations=1, seeds=1)


@pytest.mark.slow
def test_pedigrees_of_many_runs_are_those_of_single_ones(task):
    def make(parents):
        return jaxga.ga(
            task.init, v.gaussian(v.relative(0.3)), parents=parents, children=8, founders=jaxga.random_founders
        )

    runs = jaxga.run_many(make, task, key=3, generations=4, seeds=2, grid={"parents": [1, 2]}, pedigrees=True)
    assert len(runs.pedigrees) == 4
    for number, kept in enumerate(runs.pedigrees):
        algorithm = make(int(runs.settings["parents"][number]))
        root = jax.random.fold_in(jax.random.key(3), int(runs.settings["seed"][number]))
        alone = jaxga.run(algorithm, task, root, generations=4)
        np.testing.assert_array_equal(kept.recipes.indices, alone.pedigree.recipes.indices)
        np.testing.assert_allclose(kept.fitness, alone.pedigree.fitness, rtol=1e-6)
        chex.assert_trees_all_equal(jaxga.pedigree.replay(algorithm, kept).parents, alone.state.parents)
    assert jaxga.run_many(make, task, generations=2, seeds=1, grid={"parents": [1]}).pedigrees == ()
