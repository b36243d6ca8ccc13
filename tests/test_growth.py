"""Runs in stages: what grows keeps what it does, and lineages go through all stages."""

import itertools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from equal import same
from flax import linen

import jaxga
from jaxga import growth, nn, pedigree, selection, stop, tasks, variation
from jaxga.growth import Stage, grow

MUTATION = variation.low_rank(variation.multiplicative(variation.relative(0.1)))


def stage(network, name, generations=4, freeze=False, parents=2, **options):
    task = tasks.memorization(network, points=8, shape=(5,))

    def algorithm(free):
        mutation = variation.frozen(MUTATION, free) if freeze and free else MUTATION
        return jaxga.ga(task.init, mutation, parents=parents, children=8, elites=1, **options)

    return Stage(name, task, algorithm, generations)


def deep(layers, hidden=6):
    return linen.Sequential([linen.Dense(6), nn.Stack(nn.Residual(hidden), layers), linen.Dense(10)])


def members(number):
    return nn.Ensemble(nn.MLP((4, 10), output_init=linen.initializers.zeros), number, nn.total)


PAIRS = {
    "hidden units": (nn.MLP((4, 3, 10)), nn.MLP((6, 5, 10))),
    "a layer": (deep(1), deep(3)),
    "units of a layer": (deep(2), deep(2, hidden=8)),
    "members": (members(1), members(3)),
}


@pytest.mark.parametrize("kind", PAIRS)
def test_what_is_added_changes_no_output(kind):
    small, large = PAIRS[kind]
    x = jax.random.normal(jax.random.key(1), (7, 5))
    old = jax.tree.map(lambda leaf: leaf + 0.1, small.init(jax.random.key(0), x))
    new = growth.grown(old, large.init(jax.random.key(2), x))
    chex.assert_trees_all_close(large.apply(new, x), small.apply(old, x), atol=1e-5)


def test_new_weights_are_those_that_were_not_there():
    first, second = stage(nn.MLP((4, 10)), "small"), stage(nn.MLP((6, 10)), "large")
    free = growth.new_weights(first.task, second.task)["params"]
    np.testing.assert_array_equal(free["Dense_0"]["kernel"], np.tile([False] * 4 + [True] * 2, (5, 1)))
    np.testing.assert_array_equal(free["Dense_1"]["kernel"], np.tile([[False]] * 4 + [[True]] * 2, 10))
    assert not free["Dense_1"]["bias"]


@pytest.fixture(scope="module")
def grown():
    return grow(stages(), key=3)


def stages():
    return [stage(nn.MLP((4, 10)), "small"), stage(nn.MLP((6, 10)), "frozen", freeze=True)]


def test_frozen_weights_stay(grown):
    first, second = (result.state.parents.params["params"] for result in grown.results)
    before = pedigree.replay(grown.results[1].algorithm, grown.results[1].pedigree, 4).parents.params["params"]
    for slot in range(2):
        np.testing.assert_array_equal(before["Dense_0"]["kernel"][slot, :, :4], first["Dense_0"]["kernel"][slot])
    after = second["Dense_0"]["kernel"]
    assert all((after[slot, :, :4] == first["Dense_0"]["kernel"]).all(axis=(1, 2)).any() for slot in range(2))
    assert not np.array_equal(after[:, :, 4:], before["Dense_0"]["kernel"][:, :, 4:])


def test_scores_and_step_sizes_go_on(grown):
    first, second = grown.results
    assert second.history["fitness"][0] >= first.state.fitness[0]
    assert second.history["generation"].tolist() == [4, 5, 6, 7]
    assert grown.history["stage"].tolist() == [0] * 4 + [1] * 4
    start = pedigree.begin(second.algorithm, second.pedigree).parents.strategy
    chex.assert_trees_all_equal(start["step_size"], first.state.parents.strategy["step_size"])


def test_individuals_and_ancestors_of_all_stages(grown):
    lineage = grown.ancestors()
    assert [link.generation for link in lineage] == list(range(7, -1, -1))
    for link, before in itertools.pairwise(lineage):
        born = grown.individual(before.generation, before.index).params["params"]["Dense_1"]["bias"]
        result = grown.results[link.generation > 3]
        held = pedigree.replay(result.algorithm, result.pedigree, link.generation).parents
        np.testing.assert_array_equal(held.params["params"]["Dense_1"]["bias"][before.slot], born)
    with pytest.raises(jaxga.InputError, match="the stages know 0 to 8"):
        grown.individual(9, 0)


def test_resumed_in_the_right_stage(grown, tmp_path):
    short = [stages()[0], stages()[1]._replace(generations=2)]
    grow(short, key=3, directory=tmp_path)
    found = grow(stages(), key=3, directory=tmp_path)
    for one, other in zip(found.results, grown.results, strict=True):
        same(one, other)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0_small", "1_frozen"]
    kept = pedigree.load(tmp_path / "1_frozen" / "pedigree.npz")
    assert kept.config["arguments"] == {"stage": "frozen", "before": "0_small"}


def test_a_plateau_ends_a_stage():
    chosen = selection.watching(selection.ranked(), 3)
    task = jaxga.Task(lambda _: jnp.zeros(2), lambda _, w: jaxga.Evaluation(-jnp.sum(jnp.abs(w - 1))))
    mutation = variation.gaussian(variation.absolute(0.05))
    algorithm = jaxga.ga(task.init, mutation, parents=1, children=8, selection=chosen)
    result = jaxga.run(algorithm, task, generations=200, stop=stop.plateau(0.01))
    best, improvement = result.history["fitness"], result.history["improvement"]
    means = [best[row - 2 : row + 1].mean() - best[row - 5 : row - 2].mean() for row in range(5, len(best))]
    assert np.isnan(improvement[:5]).all()
    assert result.generations < 200
    np.testing.assert_allclose(improvement[5:], means, atol=1e-6)
    assert improvement[-1] < 0.01 <= improvement[5:-1].min()
    assert "improvement" in result.stopped_because
    plain = jaxga.ga(task.init, mutation, parents=1, children=8)
    with pytest.raises(jaxga.InputError, match="watching"):
        jaxga.run(plain, task, generations=3, stop=stop.plateau(0.01))


REFUSED = {
    "smaller": ([stage(nn.MLP((6, 10)), "a"), stage(nn.MLP((4, 10)), "b")], "no side may become smaller"),
    "parents": (
        [stage(nn.MLP((4, 10)), "a"), stage(nn.MLP((6, 10)), "b", parents=4)],
        "holds 4 parents, and the first stage 2",
    ),
    "gone": ([stage(nn.MLP((4, 4, 10)), "a"), stage(nn.MLP((6, 10)), "b")], "no leaf .*Dense_2"),
    "changed": (
        [stage(nn.Ensemble(nn.MLP((4, 10)), 1), "a"), stage(nn.Ensemble(nn.MLP((4, 10)), 2), "b")],
        "changes the fitness of a network",
    ),
    "none": ([], "got no stages"),
    "no stage": (["a"], "got a str"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_cannot_grow_is_refused(kind):
    wrong, message = REFUSED[kind]
    with pytest.raises(jaxga.InputError, match=message):
        grow([one._replace(generations=1) if isinstance(one, Stage) else one for one in wrong])


def test_a_directory_of_other_stages_is_refused(tmp_path):
    grow([stages()[0]], key=3, directory=tmp_path)
    with pytest.raises(jaxga.InputError):
        grow([stages()[0]], key=4, directory=tmp_path)
    assert (tmp_path / "0_small" / "summary.json").exists()
