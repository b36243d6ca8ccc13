"""One individual alone: a few bytes a mutation, and the same bits in another process."""

import hashlib
import subprocess
import sys

import chex
import jax
import numpy as np
import pytest
from places import PROGRAMS

import jaxga
from jaxga import genome, nn, pedigree, tasks, variation

TASK = tasks.memorization(nn.MLP((4, 10)), points=8, shape=(5,))
LOW_RANK = variation.low_rank(variation.multiplicative(variation.relative(0.1)), rank=2)


def evolved(generations, mutation=LOW_RANK, **options):
    sizes = {"parents": 3, "children": 12} | options
    algorithm = jaxga.ga(TASK.init, mutation, **sizes)
    return algorithm, jaxga.run(algorithm, TASK, 5, generations=generations).pedigree


FEW = jaxga.selection.breeding(jaxga.selection.replace_worst(), 2)
MADE = {
    "low rank": {"elites": 1},
    "drawn afresh": {"founders": jaxga.random_founders},
    "warm-up": {"warmup": 3, "elites": 1},
    "more slots than children": {"parents": 6, "children": 4, "pairs": 2, "selection": FEW},
}


@pytest.mark.parametrize(
    "kind", [pytest.param(kind, marks=[] if kind == "low rank" else [pytest.mark.slow]) for kind in MADE]
)
def test_decoded_bit_for_bit(kind, tmp_path):
    algorithm, record = evolved(12, **MADE[kind])
    for generation, index in ((0, 3), (11, 2), (12, algorithm.children)):
        found = genome.genome_of(algorithm, record, generation, index)
        found = genome.load(genome.save(found, tmp_path / "one.json"))
        whole = pedigree.individual(algorithm, record, generation, index)
        chex.assert_trees_all_equal(genome.decode(algorithm, found), whole)


def test_a_thousand_mutations_take_less_than_four_bytes_each(tmp_path):
    key = jax.random.key(0)
    genes = np.stack([np.arange(1000), np.random.default_rng(0).integers(0, 1000, 1000)], axis=1)
    made = genome.Genome(key, 0, genes.astype(np.int32))
    path = genome.save(made, tmp_path / "one.json")
    assert path.stat().st_size <= 4 * 1000
    found = genome.load(path)
    np.testing.assert_array_equal(found.genes, genes)
    assert path.stat().st_size - genome.save(made._replace(genes=made.genes[:1]), path).stat().st_size > 1000


def test_what_a_lineage_does_not_make_is_refused(tmp_path):
    crossed = variation.chain(variation.uniform_crossover(), LOW_RANK)
    algorithm, record = evolved(2, crossed)
    with pytest.raises(jaxga.InputError, match="depend on mates"):
        genome.genome_of(algorithm, record, 1, 0)
    assert not genome.uses_mates(evolved(1)[0])
    averaged = jaxga.ga(TASK.init, LOW_RANK, parents=1, children=6, recombination=variation.average(3))
    record = jaxga.run(averaged, TASK, generations=2).pedigree
    with pytest.raises(jaxga.InputError, match="averages of children"):
        genome.genome_of(averaged, record, 1, 0)
    (tmp_path / "bad.json").write_text('{"format": "other"}')
    with pytest.raises(jaxga.InputError, match=r"bad\.json cannot be read \(its format is 'other'"):
        genome.load(tmp_path / "bad.json")


def test_bad_places_are_refused():
    algorithm, record = evolved(2)
    for place, message in (((3, 0), "knows 0 to 2"), ((0, 12), "has 0 to 11"), ((1, 15), "has 0 to 14")):
        with pytest.raises(jaxga.InputError, match=message):
            genome.genome_of(algorithm, record, *place)


def test_decoded_in_a_fresh_process(tmp_path):
    algorithm, record = evolved(5, elites=1)
    genome.save(genome.genome_of(algorithm, record, 4, 7), tmp_path / "one.json")
    code = f"""
import sys; sys.path.insert(0, {str(PROGRAMS.parent)!r})
import hashlib, jax, jaxga, numpy, test_genome as here
algorithm = jaxga.ga(here.TASK.init, here.LOW_RANK, parents=3, children=12, elites=1)
leaves = jax.tree.leaves(jaxga.genome.decode(algorithm, jaxga.genome.load({str(tmp_path / "one.json")!r})))
print(hashlib.sha256(b"".join(numpy.asarray(leaf).tobytes() for leaf in leaves)).hexdigest())
"""
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    leaves = jax.tree.leaves(pedigree.individual(algorithm, record, 4, 7))
    assert found[-1] == hashlib.sha256(b"".join(np.asarray(leaf).tobytes() for leaf in leaves)).hexdigest()
