"""Selections that users write, in which slots have a meaning: islands, and a grid of cells."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import structured
from equal import same

import jaxga
from jaxga import pedigree
from jaxga import variation as v
from jaxga.selection import Selection

MADE = {"islands": structured.on_islands, "grid": structured.on_a_grid}
GENERATIONS = 12


def start(_):
    return jnp.zeros(2)


def of_recipe(recipe):
    """It always decides the same."""
    return Selection(lambda *_: (), lambda *_: (recipe, (), {}))


KEPT = jnp.array([[6], [7], [8], [9]])  # everybody stays


@pytest.fixture(scope="module", params=[pytest.param("islands", marks=pytest.mark.slow), "grid"])
def alone(request):
    """A run on one device."""
    task, algorithm = MADE[request.param]()
    return task, algorithm, jaxga.run(algorithm, task, 0, generations=GENERATIONS, chunk=2)


@pytest.mark.slow
def test_four_devices_make_no_difference(alone):
    task, algorithm, one = alone
    same(one, jaxga.run(algorithm, task, 0, generations=GENERATIONS, chunk=2, devices=jax.devices()[:4]))


@pytest.mark.slow
def test_resumed_equals_never_stopped(alone, tmp_path):
    task, algorithm, whole = alone
    for generations in (5, GENERATIONS):
        resumed = jaxga.run(algorithm, task, 0, generations=generations, chunk=2, directory=tmp_path)
    same(whole, resumed)


def test_a_pedigree_replays_it_from_its_file(alone, tmp_path):
    _, algorithm, result = alone
    loaded = pedigree.load(pedigree.save(result.pedigree, tmp_path / "pedigree.npz"))
    chex.assert_trees_all_equal(pedigree.replay(algorithm, loaded), result.state.source)
    youngest, *others = pedigree.ancestors(algorithm, loaded, 1)
    for older in others:  # every link is a child of the one before, or it
        source = pedigree.replay(algorithm, loaded, youngest.generation)
        assert int(algorithm.place(source, youngest.index).slot) == older.slot
        youngest = older


def test_islands_mix_by_migration_alone():
    task, algorithm = structured.on_islands()
    indices = jaxga.run(algorithm, task, 0, generations=GENERATIONS, chunk=2).pedigree.recipes.indices[:, :, 0]
    island = indices // 8
    home = np.arange(6) // 2
    for generation, row in enumerate(island):
        came = np.flatnonzero(row != home)
        assert came.tolist() == ([1, 3, 5] if (generation + 1) % 3 == 0 else [])
        assert (row[came] == (home[came] - 1) % 3).all()


def test_a_grid_keeps_the_best_of_every_cell():
    task, algorithm = structured.on_a_grid()
    result = jaxga.run(algorithm, task, 0, generations=GENERATIONS, chunk=2)
    places, fitness = result.state.scores.metrics["place"], np.asarray(result.state.fitness)
    at = np.clip(np.floor(np.asarray(places) + 1.5), 0, 2)
    held = ~np.isnan(fitness)
    assert (3 * at[:, 0] + at[:, 1] == np.arange(9))[held].all()
    assert result.history["filled"][-1] == held.sum() > 3
    scores = result.pedigree.fitness
    assert (np.diff(scores, axis=0)[~np.isnan(scores[:-1])] >= 0).all()  # no cell grows worse
    np.testing.assert_array_equal(
        np.asarray(result.best.params), np.asarray(result.state.parents.params[fitness.argmax()])
    )


def test_children_are_of_the_pairs_that_were_named():
    """Also of the mate that was named, where it was."""
    seen = jaxga.Variation(
        lambda _: (), lambda _, parent, context: parent._replace(params=parent.params + 10 * context.mate.params)
    )
    algorithm = jaxga.ga(
        lambda _: jnp.zeros(()),
        seen,
        parents=4,
        children=6,
        pairs=3,
        selection=of_recipe(jaxga.Recipe(KEPT, pairs=jnp.array([[2, 3], [0, 1], [3, 3]]))),
    )
    state = algorithm.init(jax.random.key(0)).with_source(parents=jaxga.Individual(jnp.arange(4.0)))
    state, _ = jax.jit(algorithm.update)(state, jaxga.Evaluation(jnp.arange(6.0)))
    state = state.with_source(parents=jaxga.Individual(jnp.arange(4.0)))
    assert jaxga.population(algorithm, state).params.tolist() == [32, 32, 10, 10, 33, 33]


@pytest.mark.parametrize(
    ("recipe", "sentence"),
    [
        (jaxga.Recipe(KEPT[:3]), r"indices of shape \(3, 1\), and integers of shape \(4, 1\) were due"),
        (jaxga.Recipe(KEPT.astype(jnp.float32)), r"indices of shape \(4, 1\), and integers"),
        (jaxga.Recipe(KEPT[:, 0]), r"indices of shape \(4,\), and integers"),
        (jaxga.Recipe(KEPT, step=jnp.ones((4, 1))), r"share and step of shapes \[None, \(4, 1\)\]"),
        (jaxga.Recipe(jnp.tile(KEPT, 2)), "several indices a slot without a step"),
        (jaxga.Recipe(KEPT), r"pairs of shape \(\), and \(3, 2\) was due"),
        (jaxga.Recipe(KEPT, pairs=KEPT[:3]), r"pairs of shape \(3, 1\), and \(3, 2\) was due"),
    ],
)
def test_a_recipe_of_other_shapes_is_refused(recipe, sentence):
    algorithm = jaxga.ga(
        start,
        v.gaussian(v.absolute(0.1)),
        parents=4,
        children=6,
        pairs=3,
        selection=of_recipe(recipe),
    )
    with pytest.raises(jaxga.InputError, match=sentence):
        jax.jit(algorithm.update)(algorithm.init(jax.random.key(0)), jaxga.Evaluation(jnp.arange(6.0)))


@pytest.mark.parametrize(
    "recipe",
    [
        jaxga.Recipe(KEPT + 1, pairs=jnp.array([[0, -1]] * 3)),
        jaxga.Recipe(KEPT, pairs=jnp.array([[4, -1]] * 3)),
        jaxga.Recipe(KEPT, pairs=jnp.array([[0, -2]] * 3)),
    ],
)
def test_places_that_nobody_has_end_the_run(recipe):
    task = jaxga.Task(start, lambda _, w: -jnp.sum(w**2))
    algorithm = jaxga.ga(
        task.init, v.gaussian(v.absolute(0.1)), parents=4, children=6, pairs=3, selection=of_recipe(recipe)
    )
    with pytest.raises(jaxga.InputError, match="the selection chose an index in generation 0 that nobody has"):
        jaxga.run(algorithm, task, generations=2)


def test_options_that_a_selection_decides_are_refused():
    with pytest.raises(jaxga.InputError, match="elites would have no effect: the selection decides it"):
        jaxga.ga(start, v.gaussian(v.absolute(0.1)), parents=2, children=4, elites=1,
                 selection=jaxga.selection.ranked())  # fmt: skip
