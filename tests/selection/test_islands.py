"""Islands: runs of their own, but for those who migrate."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxga
from jaxga import variation as v
from jaxga.selection import (
    anywhere,
    breeding,
    by,
    everywhere,
    islands,
    novelty,
    random_migrants,
    ranked,
    ring,
    tournament,
)

GENERATIONS = 6


def bowl(key, w):
    return jaxga.Evaluation(-jnp.sum(w**2) + 0.1 * jax.random.normal(key), metrics={"place": w[:2]})


def make(selection, islands=1, **options):
    """One island has four slots and eight children."""
    change = v.chain(v.uniform_crossover(), v.gaussian(v.log_normal(v.absolute(0.3))))
    sizes = {"parents": 4 * islands, "children": 8 * islands}
    if "pairs" in options:
        options["pairs"] *= islands
    return jaxga.ga(lambda key: jax.random.normal(key, (3,)), change, selection=selection, **sizes, **options)


@pytest.mark.parametrize(
    ("selection", "options"),
    [
        pytest.param(ranked(tournament(2), elites=1), {"founders": jaxga.random_founders}, id="an elite"),
        pytest.param(
            by(novelty("place", 3), breeding(ranked(), 2)), {"pairs": 2}, id="novelty", marks=pytest.mark.slow
        ),
        pytest.param(ranked(elites=1, reevaluate=True), {"warmup": 2}, id="scored again", marks=pytest.mark.slow),
        pytest.param(ranked(recombination=v.average(2)), {}, id="averages", marks=pytest.mark.slow),
    ],
)
@pytest.mark.parametrize("key", [jaxga.independent, pytest.param(jaxga.common, marks=pytest.mark.slow)])
def test_islands_without_migration_are_runs_of_their_own(selection, options, key):
    task = jaxga.Task(lambda key: jax.random.normal(key, (3,)), bowl, key)
    whole = jaxga.run(make(islands(selection, 3), 3, **options), task, 5, generations=GENERATIONS, chunk=2)
    for island in range(3):
        root = jax.random.fold_in(jax.random.key(5), island)
        alone = jaxga.run(make(selection, **options), task, root, generations=GENERATIONS, chunk=2)
        own = jax.tree.map(lambda leaf, island=island: leaf[4 * island : 4 * island + 4], whole.state.parents)
        chex.assert_trees_all_equal(own, alone.state.parents)
        np.testing.assert_array_equal(whole.state.fitness[4 * island : 4 * island + 4], alone.state.fitness)
        rows = whole.pedigree.fitness[:, 4 * island : 4 * island + 4]
        np.testing.assert_array_equal(rows, alone.pedigree.fitness)
        if options.get("founders") is None:
            np.testing.assert_array_equal(whole.history[f"island_fitness_{island}"], alone.history["fitness"])


def decided(selection, islands, fitness, generation=0, seed=0):
    """Whom a selection holds, of children with this fitness."""
    algorithm = make(selection, islands)
    state = algorithm.init(jax.random.key(seed)).with_source(generation=jnp.int32(generation))
    _, info = jax.jit(algorithm.update)(state, jaxga.Evaluation(jnp.asarray(fitness, jnp.float32)))
    return info.recipe.indices[:, 0].reshape(islands, -1)


FITNESS = np.arange(24) % 8 + np.repeat([100, 200, 300], 8)  # the last island is the best


def test_the_best_migrate_round_a_ring_when_it_is_time():
    selection = islands(ranked(), 3, every=2)
    assert decided(selection, 3, FITNESS).tolist() == [[7, 6, 5, 4], [15, 14, 13, 12], [23, 22, 21, 20]]
    # To the first island comes the best of the last one, whose own newcomer is no match for its natives.
    assert decided(selection, 3, FITNESS, generation=1).tolist() == [[23, 7, 6, 5], [15, 14, 13, 12], [23, 22, 21, 20]]


def test_from_everywhere_and_several_at_once():
    selection = islands(ranked(), 3, every=1, migrants=2, topology=everywhere)
    assert decided(selection, 3, FITNESS).tolist() == [[23, 22, 15, 14], [23, 22, 15, 14], [23, 22, 21, 20]]


@pytest.mark.slow
def test_random_migrants_from_anywhere_else():
    selection = islands(ranked(), 3, every=1, topology=anywhere, choose=random_migrants)
    came = [decided(selection, 3, FITNESS, seed=seed)[0, 0].item() for seed in range(40)]
    assert len(set(came)) > 8
    assert min(came) >= 8


@pytest.mark.parametrize("topology", [ring, anywhere, everywhere])
@pytest.mark.parametrize("count", [2, 5])
def test_migrants_come_from_other_islands(topology, count):
    for seed in range(20):
        whence = topology(jax.random.key(seed), count)
        assert len(whence) == count
        assert (np.asarray(whence) != np.arange(count)[:, None]).all()
        assert ((whence >= 0) & (whence < count)).all()


def test_elites_of_an_island_keep_their_slot_there():
    algorithm = make(islands(ranked(elites=1), 3), 3)
    assert algorithm.elites == (0, 4, 8)
    state = algorithm.init(jax.random.key(0))
    state, _ = jax.jit(algorithm.update)(state, jaxga.Evaluation(jnp.asarray(FITNESS, jnp.float32)))
    _, info = jax.jit(algorithm.update)(state, jaxga.Evaluation(jnp.arange(24.0)))
    assert info.recipe.indices[:, 0].reshape(3, 4)[:, 0].tolist() == [24, 28, 32]


def test_mates_are_of_the_same_island():
    """A child is the mate of its parent: nobody comes from another island."""
    take_mate = jaxga.Variation(lambda _: (), lambda _, parent, context: parent._replace(params=context.mate.params))
    algorithm = jaxga.ga(lambda _: jnp.zeros(()), take_mate, parents=12, children=48, selection=islands(ranked(), 3))
    state = algorithm.init(jax.random.key(0))
    state = state.with_source(parents=jaxga.Individual(jnp.arange(12.0)))
    mates = np.asarray(jaxga.population(algorithm, state).params).reshape(12, 4)
    assert (mates // 4 == np.arange(12)[:, None] // 4).all()
    assert (mates != np.arange(12)[:, None]).all()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: islands(ranked(), 1), "count is 1, and must be 2 or more"),
        (lambda: islands(ranked(), 2, every=0), "every is 0, and must be 1 or more"),
        (lambda: islands(islands(ranked(), 2), 2), "islands cannot have islands"),
        (lambda: make(islands(ranked(), 3), 2), "parents is 8, and must be a multiple of the 3 islands"),
        (
            lambda: make(islands(ranked(elites=5), 2), 2).init(jax.random.key(0)),
            "elites do not fit on islands with 4 slots",
        ),
    ],
)
def test_what_does_not_fit_is_named(call, message):
    with pytest.raises(jaxga.InputError, match=message):
        call()
