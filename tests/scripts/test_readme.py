"""The examples of the README and of CONTRIBUTING run as they stand."""

import re

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from places import ROOT, blocks

import jaxga
from jaxga import variation
from jaxga.base import Context, Individual


def test_the_example_of_the_readme(capsys):
    (example,) = blocks("README.md")
    exec(example, {})
    shown = capsys.readouterr().out
    assert int(shown.split()[0]) == 64
    assert len([line for line in example.splitlines() if line.strip()]) <= 12


@pytest.mark.slow
def test_models_of_every_library_evolve_by_the_same_lines():
    """docs/models.md: one block makes the data, most of the others make a task."""
    first, *others, _ = blocks("docs/models.md")
    names = {}
    exec(first, names)
    best = [float(names["result"].state.best_fitness)]
    for block in others:
        exec(block, names)
        task, size = names["task"], variation.relative(0.1)
        algorithm = jaxga.ga(task.init, variation.low_rank(size), parents=4, children=64)
        best.append(float(jaxga.run(algorithm, task, key=0, generations=5).state.best_fitness))
    assert len(best) == 5
    assert all(-0.5 < fitness < 0 for fitness in best)


@pytest.mark.slow
def test_selections_by_the_page_about_them():
    """docs/selection.md: a choice, crowding, pairs that are named, and descriptors."""
    choice, crowding, best, descriptors = blocks("docs/selection.md")
    names = {}
    exec(choice, names)
    exec(crowding, names)
    indices = names["result"].pedigree.recipes.indices[:, :, 0]
    parents = np.where(indices < 32, indices // 8, indices - 32)
    assert (parents == np.arange(4)).all()  # every slot keeps its own line
    assert (np.diff(names["result"].pedigree.fitness, axis=0) >= 0).all()
    exec(best, names)
    assert names["algorithm"].pairs == 2
    exec(descriptors, names)
    score = jax.eval_shape(names["task"].evaluate, jax.random.key(0), names["task"].init(jax.random.key(0)))
    assert score.metrics["end"].shape == (2,)


def test_the_mutation_of_contributing():
    example, _ = blocks("CONTRIBUTING.md")
    names = {"additive": variation.additive, "jax": jax}
    exec(example, names)
    mutation = names["cauchy"](variation.absolute(0.1))
    parent = Individual(params := {"w": jnp.zeros((3, 2))}, mutation.init(params))
    child = mutation.apply(jax.random.key(0), parent, Context(jnp.int32(0), parent))
    chex.assert_shape(child.params["w"], (3, 2))


@pytest.mark.parametrize("temperature", [1e-9, 1e9])
def test_the_selection_of_contributing(temperature):
    """Without heat it is crowding; with heat enough, the best child of every slot is taken, however bad."""
    names = {}
    exec(blocks("CONTRIBUTING.md")[1], names)
    task = jaxga.Task(lambda _: jnp.ones(3), lambda _, w: -jnp.sum(w**2))

    def recipes(chosen):
        mutation = variation.gaussian(variation.absolute(0.3))
        algorithm = jaxga.ga(task.init, mutation, parents=4, children=12, selection=chosen)
        return jaxga.run(algorithm, task, 0, generations=15).pedigree.recipes.indices

    found = recipes(names["annealing"](temperature))
    if temperature < 1:
        np.testing.assert_array_equal(found, recipes(jaxga.selection.crowding()))
    else:
        assert (found[:, :, 0] // 3 == np.arange(4)).all()  # a child of its own slot, and nobody is kept


def test_every_link_leads_somewhere():
    for page in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]:
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


@pytest.mark.slow
def test_lifetimes_by_the_page_about_them(capsys):
    """docs/lifetimes.md: every block makes a task that gives a network a fitness."""
    first, *others = blocks("docs/lifetimes.md")
    names = {}
    exec(first, names)
    assert "'validation_after_1'" in capsys.readouterr().out
    for block in others:
        exec(block, names)
        task = names["task"]
        score = jax.jit(task.score)(jax.random.key(0), task.init(jax.random.key(1)))
        assert bool(jnp.isfinite(score.fitness))


@pytest.mark.slow
def test_populations_by_the_page_about_them(capsys):
    """docs/populations.md: niches, novelty, cells, islands, mates."""
    names = {}
    for block in blocks("docs/populations.md"):
        exec(block, names)
    shown = capsys.readouterr().out
    one, both, cells, best = shown.splitlines()
    assert one == "truncation keeps one peak: [1.0]"
    assert both == "crowding keeps both: [-1.0, 1.0]"
    assert cells.endswith("of the cells are filled")
    assert 0.09 < float(best) < 0.11


@pytest.mark.slow
def test_networks_by_the_page_about_them(capsys):
    """docs/networks.md: members, layers, growth, and one individual alone; and pages on genes, order and luck."""
    for page in ("encodings", "alignment", "guess"):
        for block in blocks(f"docs/{page}.md"):
            exec(block, {})
    capsys.readouterr()
    names = {}
    for block in blocks("docs/networks.md"):
        exec(block, names)
    shown = capsys.readouterr().out
    assert "of 16 points" in shown
    assert "layers that children draw for themselves" not in shown
    assert shown.splitlines()[-1].endswith("bytes")
