"""The mutations in the ancestry of an individual, and which of them have no effect on it."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxga.base import Algorithm, InputError, Params, Source, require
from jaxga.compilation import jit
from jaxga.genome import Genome, decode
from jaxga.pedigree import Pedigree, ancestors, begin, drawn_afresh, slot_of
from jaxga.tree import take


def prune(algorithm: Algorithm, pedigree: Pedigree, slot: int = 0) -> Genome:
    """The genome of a final parent without dead genes, mutations that later mutations overwrote completely.

    A gene is kept if it was the last to change some parameter. This works for mutations that replace the parameters
    that they change, such as ``jaxga.memory.gene(jaxga.memory.replace)``.

    Args:
      algorithm: the algorithm of the run.
      pedigree: the pedigree of the run.
      slot: slot of the final parent, by default 0.

    Raises:
      InputError: if the remaining genes do not make the same individual, because mutations add to parameters or depend
        on them; if parents are averaged, founders were drawn afresh, or the run continued another run.
    """
    require(
        not drawn_afresh(algorithm, pedigree),
        "a genome begins with the first parents, and founders were drawn afresh: take common_founder.",
    )
    require(pedigree.start is None, "a genome begins with founders, and this run went on from another: prune that one.")
    averaged = pedigree.recipes is not None and pedigree.recipes.indices.shape[2] > 1
    require(not averaged, "parents are averages of children: no list of mutations makes them.")
    lineage = ancestors(algorithm, pedigree, slot)[::-1]
    slots = np.array([link.slot for link in lineage], np.int32)
    start = begin(algorithm, pedigree)
    founder = slot_of(algorithm, pedigree, 0, lineage[0].index) if lineage else slot
    first = take(start.parents.params, founder)

    def step(carry: tuple[Source, Params, Params], row: Any) -> tuple[tuple[Source, Params, Params], None]:
        source, before, last = carry
        source = algorithm.advance(source, row[0])
        after = take(source.parents.params, row[1])
        born = source.generation - 1
        last = jax.tree.map(lambda new, old, when: jnp.where(new != old, born, when), after, before, last)
        return (source, after, last), None

    def follow(recipes: Any, slots: jax.Array) -> tuple[Params, Params]:
        never = jax.tree.map(lambda leaf: jnp.full(leaf.shape, -1, jnp.int32), first)
        (_, end, last), _ = jax.lax.scan(step, (start, first, never), (recipes, slots))
        return end, last

    end, last = jit(follow)(jax.tree.map(jnp.asarray, pedigree.recipes), jnp.asarray(slots))
    living = set(np.unique(np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(last)])).tolist())
    mutations = [(link.generation, link.index) for link in lineage if link.index < algorithm.children]
    kept = [gene for gene in mutations if gene[0] in living]
    genes = np.array(kept, np.int32).reshape(-1, 2)
    genome = Genome(pedigree.key, founder, genes, dead=len(mutations) - len(kept))
    same = jax.tree.map(lambda one, other: np.allclose(one, other, 1e-4, 1e-5), decode(algorithm, genome).params, end)
    if not all(jax.tree.leaves(same)):
        raise InputError(
            "what is left makes another individual: its mutations build on one another, or look at what they change; "
            "only those that replace whatever was there can be pruned."
        )
    return genome
