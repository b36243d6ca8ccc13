"""Populations with a structure: one contract for all of them, and what each promises."""

import chex
import jax
import numpy as np
import pytest
from equal import same
from populations import MADE

import jaxga
from jaxga import pedigree

GENERATIONS = 9
USUAL = ("islands of cells",)  # the default suite asks this


def those(*usual):
    """Parametrize by name; the default suite asks some."""
    names = [pytest.param(name, marks=[] if name in usual else [pytest.mark.slow]) for name in MADE]
    return pytest.mark.parametrize("name", names)


@pytest.fixture(scope="module")
def alone():
    """Runs on one device, each made once."""
    found = {}

    def run(name):
        if name not in found:
            task, algorithm = MADE[name]()
            found[name] = task, algorithm, jaxga.run(algorithm, task, 0, generations=GENERATIONS, chunk=2)
        return found[name]

    return run


@those(*USUAL)
def test_four_devices_make_no_difference(alone, name):
    task, algorithm, one = alone(name)
    same(one, jaxga.run(algorithm, task, 0, generations=GENERATIONS, chunk=2, devices=jax.devices()[:4]))


@those(*USUAL)
def test_resumed_equals_never_stopped(alone, name, tmp_path):
    task, algorithm, whole = alone(name)
    for generations in (4, GENERATIONS):
        resumed = jaxga.run(algorithm, task, 0, generations=generations, chunk=2, directory=tmp_path)
    same(whole, resumed)


@those(*USUAL)
def test_a_pedigree_replays_it_from_its_file(alone, name, tmp_path):
    _, algorithm, result = alone(name)
    loaded = pedigree.load(pedigree.save(result.pedigree, tmp_path / "pedigree.npz"))
    chex.assert_trees_all_equal(pedigree.replay(algorithm, loaded), result.state.source)
    youngest, *others = pedigree.ancestors(algorithm, loaded, algorithm.parents - 1)
    for older in others:  # every link is a child of the one before, or it
        source = pedigree.replay(algorithm, loaded, youngest.generation)
        assert int(algorithm.place(source, youngest.index).slot) == older.slot
        youngest = older


@those(*USUAL)
def test_scores_are_those_of_who_is_held(alone, name):
    """Of everyone who has one: the metrics of a state describe the networks in it."""
    _, _, result = alone(name)
    state = result.state
    held = ~np.isnan(np.asarray(state.fitness))
    assert held.any()
    np.testing.assert_array_equal(state.scores.metrics["place"][held], np.asarray(state.parents.params)[held, :2])
    assert np.isfinite(result.history["best_fitness"]).all()
