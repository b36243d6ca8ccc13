"""What a run promises, of lives, genes and networks of parts: topology, resume, replay."""

import chex
import genotypes
import jax
import lifetimes
import networks
import numpy as np
import pytest
from equal import same

import jaxga
from jaxga import pedigree

GENERATIONS = 4
MADE = {**lifetimes.MADE, **genotypes.MADE, **networks.MADE}
USUAL = ("learning", "encoded by patches", "an ensemble")  # the default suite asks one of each
NAMES = [pytest.param(name, marks=[] if name in USUAL else [pytest.mark.slow]) for name in MADE]


@pytest.fixture(scope="module", params=NAMES)
def alone(request):
    """A run on one device."""
    task, algorithm = MADE[request.param]()
    return task, algorithm, jaxga.run(algorithm, task, 0, generations=GENERATIONS, chunk=3)


def test_four_devices_make_no_difference(alone):
    task, algorithm, one = alone
    same(one, jaxga.run(algorithm, task, 0, generations=GENERATIONS, chunk=3, devices=jax.devices()[:4]))


def test_resumed_equals_never_stopped_and_replays(alone, tmp_path):
    task, algorithm, whole = alone
    for generations in (2, GENERATIONS):
        resumed = jaxga.run(algorithm, task, 0, generations=generations, chunk=3, directory=tmp_path)
    same(whole, resumed)
    loaded = pedigree.load(pedigree.save(whole.pedigree, tmp_path / "pedigree.npz"))
    chex.assert_trees_all_equal(pedigree.replay(algorithm, loaded), whole.state.source)
    for name in {"fitness", "best_validation"} & set(whole.history):
        assert np.isfinite(whole.history[name]).all()
