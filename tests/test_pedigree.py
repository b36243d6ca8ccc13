"""A run in a few bytes: its file, its exact replay, its lineages."""

import itertools
import json

import chex
import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest

import jaxga
from jaxga import checkpoint, pedigree, selection, tree
from jaxga import variation as v
from jaxga.base import Purpose, generation_key

ALGORITHMS = {
    "gaussian": {"variation": v.gaussian(v.relative(0.3)), "elites": 1},
    "self-adaptive": {"variation": v.gaussian(v.multiplicative(v.relative(0.3), 1.3))},
    "normalised, self-adaptive": {"variation": v.normalised(v.laplace(v.log_normal(v.relative(0.3))), 1.0)},
    "crossover": {"variation": v.chain(v.uniform_crossover(v.by_neuron), v.low_rank(v.relative(0.3))), "elites": 4},
    "random founders": {"variation": v.low_rank(v.relative(0.3)), "founders": jaxga.random_founders},
    "average": {"variation": v.low_rank(v.relative(0.3)), "recombination": v.average(3, v.by_fitness, 2.0)},
    "random search": {"variation": v.fresh},
}


def build(name, task):
    settings = dict(ALGORITHMS[name])
    if settings["variation"] is v.fresh:
        settings["variation"] = v.fresh(task.init)
    return jaxga.ga(task.init, parents=4, children=16, **settings)


SLOW = {"self-adaptive", "crossover", "gaussian", "average"}  # parts of what the others have


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] if name in SLOW else []) for name in ALGORITHMS]
)
def test_replay_equals_live_bit_for_bit(task, name, tmp_path):
    algorithm = build(name, task)
    result = jaxga.run(algorithm, task, 3, generations=25)
    loaded = pedigree.load(pedigree.save(result.pedigree, tmp_path / "pedigree.npz"))
    chex.assert_trees_all_equal(loaded.recipes, result.pedigree.recipes)
    replayed = pedigree.replay(algorithm, loaded)
    chex.assert_trees_all_equal(replayed, result.state.source)


def test_replay_reaches_every_generation(task, algorithm):
    half, whole = (jaxga.run(algorithm, task, 3, generations=generations) for generations in (10, 20))
    chex.assert_trees_all_equal(pedigree.replay(algorithm, whole.pedigree, 10), half.state.source)
    onward = pedigree.forward(algorithm, whole.pedigree, half.state.source, 20)
    chex.assert_trees_all_equal(onward, whole.state.source)
    with pytest.raises(
        jaxga.InputError, match="generation is 9, and from this source on the pedigree leads to 10 to 20"
    ):
        pedigree.forward(algorithm, whole.pedigree, half.state.source, 9)
    fresh = build("random founders", task)
    assert pedigree.replay(fresh, jaxga.run(fresh, task, 3, generations=2).pedigree, 0).founding
    start = pedigree.replay(algorithm, whole.pedigree, 0)
    chex.assert_trees_all_equal(start, jax.jit(algorithm.init)(jax.random.key(3)).source)


def test_the_file_is_small_and_holds_no_pickle(task, tmp_path):
    algorithm = jaxga.ga(task.init, v.gaussian(v.relative(0.3)), parents=8, children=128)
    result = jaxga.run(algorithm, task, 0, generations=200)
    path = pedigree.save(result.pedigree, tmp_path / "pedigree.npz")
    assert path.stat().st_size < 100 * 200
    with np.load(path, allow_pickle=False) as file:
        assert file["indices"].dtype == np.uint8


def test_any_child_can_be_built_again_also_from_a_file_of_its_own(task, algorithm, tmp_path):
    result = jaxga.run(algorithm, task, 3, generations=10)
    best = int(result.state.best.generation), int(result.state.best.index)
    child = pedigree.individual(algorithm, result.pedigree, *best)
    state = pedigree.replay(algorithm, result.pedigree, best[0])
    key = task.key(generation_key(state, Purpose.EVALUATION), best[1])
    score = jax.jit(task.evaluate)(key, child.params).fitness
    chex.assert_trees_all_close(score, result.state.best_fitness, rtol=1e-5)
    path = pedigree.save(pedigree.of_individual(result.pedigree, *best), tmp_path / "best.npz")
    chex.assert_trees_all_equal(pedigree.individual(algorithm, pedigree.load(path)), child)
    with pytest.raises(jaxga.InputError, match="this is the pedigree of a whole run"):
        pedigree.individual(algorithm, result.pedigree)
    with pytest.raises(jaxga.InputError, match="generation is 11, and this pedigree reaches from 0 to 10"):
        pedigree.of_individual(result.pedigree, 11, 0)


def test_ancestors_lead_back_to_the_founder(task, algorithm):
    result = jaxga.run(algorithm, task, 3, generations=12)
    lineage = pedigree.ancestors(algorithm, result.pedigree)
    assert [link.generation for link in lineage] == list(range(11, -1, -1))
    assert lineage[0].fitness == result.state.fitness[0]
    for younger, older in itertools.pairwise(lineage):
        kept = younger.index >= algorithm.children
        mother = younger.index - algorithm.children if kept else younger.index // algorithm.brood
        assert mother == older.slot
    # The weights of every ancestor are those of the replayed parents.
    link = lineage[4]
    source = pedigree.replay(algorithm, result.pedigree, link.generation + 1)
    key = task.key(generation_key(source, Purpose.EVALUATION), link.index)
    score = jax.jit(task.evaluate)(key, tree.take(source.parents, link.slot).params).fitness
    chex.assert_trees_all_close(score, link.fitness, rtol=1e-5)


def test_a_damaged_file_or_another_algorithm_is_named(task, algorithm, tmp_path):
    result = jaxga.run(algorithm, task, 3, generations=3)
    path = pedigree.save(result.pedigree, tmp_path / "pedigree.npz")
    other = jaxga.ga(task.init, v.gaussian(v.relative(0.3)), parents=2, children=16)
    with pytest.raises(jaxga.InputError, match="the pedigree has 4 parents and 16 children, the algorithm 2 and 16"):
        pedigree.replay(other, result.pedigree)
    with pytest.raises(jaxga.InputError, match="generation is 9, and the pedigree knows 0 to 3"):
        pedigree.replay(algorithm, result.pedigree, 9)
    with pytest.raises(jaxga.InputError, match="index is 99, and generation 1 has 0 to 19"):
        pedigree.individual(algorithm, result.pedigree, 1, 99)
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(jaxga.InputError, match="cannot be read"):
        pedigree.load(path)


@pytest.mark.parametrize("name", ["averages", pytest.param("plain, one elite", marks=pytest.mark.slow)])
def test_files_of_version_0_1_are_read(task, tmp_path, name):
    """They held one table of survivors, and a state without parts: written here as that version wrote them."""
    options = {"elites": 1} if name == "plain, one elite" else {"recombination": v.average(3)}
    algorithm = jaxga.ga(task.init, v.gaussian(v.log_normal(v.relative(0.3))), parents=2, children=8, **options)
    whole = jaxga.run(algorithm, task, 3, generations=6)
    half = jaxga.run(algorithm, task, 3, generations=4, directory=tmp_path / "now")
    saved = checkpoint.restore(tmp_path / "now" / "checkpoints")
    ones = np.ones(saved.recipes.indices.shape, np.float32)
    table = {"indices": saved.recipes.indices, "fitness": saved.fitness, "tiebreak": 0 * saved.fitness}
    table |= {part: ones if getattr(saved.recipes, part) is None else getattr(saved.recipes, part)
              for part in ("share", "step")}  # fmt: skip
    state, best = saved.state, saved.state.best
    old = {"key": jax.random.key_data(state.key), "generation": state.generation, "parents": state.parents,
           "fitness": state.fitness, "tiebreak": state.scores.tiebreak, "best_fitness": best.fitness,
           "best_generation": best.generation, "best_index": best.index}  # fmt: skip
    record = {"survivors": table, "history": saved.history, "seconds": saved.seconds}
    folder = tmp_path / "then"
    folder.mkdir()
    config = json.loads((tmp_path / "now" / "config.json").read_text())
    config["run"] |= {"versions": config["run"]["versions"] | {"jaxga": "0.1.0"}}
    del config["run"]["pairs"]
    (folder / "config.json").write_text(json.dumps(config))
    with ocp.CheckpointManager((folder / "checkpoints").absolute()) as manager:
        items = {"state": ocp.args.StandardSave(jax.tree.map(np.asarray, old)), "record": ocp.args.StandardSave(record)}
        manager.save(4, args=ocp.args.Composite(**items, config=ocp.args.JsonSave(config)))
    with pytest.warns(RuntimeWarning, match="was begun with"):
        resumed = jaxga.run(algorithm, task, 3, generations=6, directory=folder)
    chex.assert_trees_all_equal(resumed.state, whole.state)
    chex.assert_trees_all_equal(resumed.pedigree.recipes, whole.pedigree.recipes)
    path = pedigree.save(half.pedigree, tmp_path / "pedigree.npz")
    with np.load(path) as file:
        kept = {part: file[part] for part in file.files if part != "version"}
    kept |= {"indices": half.pedigree.recipes.indices, "fitness": half.pedigree.fitness}  # as they were
    np.savez(path, **kept, tiebreak=table["tiebreak"], best_fitness=0, best_index=0)
    chex.assert_trees_all_equal(pedigree.replay(algorithm, pedigree.load(path)), half.state.source)


@pytest.mark.parametrize("named", [False, True])
def test_mates_are_those_that_children_took_their_weights_from(named):
    """With probability 1 a child is its mate once more. Elites are nobody's child."""
    task = jaxga.Task(jax.random.normal, lambda key, _: jax.random.normal(key, ()), key=jaxga.independent)
    founders = lambda key, init, parents: jax.vmap(init)(jax.random.split(key, parents))  # noqa: E731
    chosen = selection.ranked(elites=1, reevaluate=True)
    if named:
        chosen = selection.breeding(chosen, 8, mates=selection.choose_mate(selection.tournament(2)))
    algorithm = jaxga.ga(
        task.init, v.uniform_crossover(probability=1.0), parents=8, children=64, founders=founders, selection=chosen
    )
    record = jaxga.run(algorithm, task, 3, generations=12).pedigree
    first, second = pedigree.parents_of(algorithm, record), pedigree.mates_of(algorithm, record)
    assert first.shape == second.shape == (12, 8, 1)
    for generation in range(12):
        before, after = (
            np.asarray(pedigree.replay(algorithm, record, number).parents.params)
            for number in (generation, generation + 1)
        )
        np.testing.assert_array_equal(after, before[second[generation, :, 0]])
        kept = record.recipes.indices[generation, :, 0] >= 64
        assert ((first[generation] == second[generation])[kept]).all()
        if not named:
            assert (first[generation] != second[generation])[~kept].all()
    fresh = jaxga.ga(task.init, v.uniform_crossover(), parents=8, children=64, founders=jaxga.random_founders)
    with pytest.raises(jaxga.InputError, match="have no parents, so no mates"):
        pedigree.mates_of(fresh, jaxga.run(fresh, task, generations=2).pedigree)
