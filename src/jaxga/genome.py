"""The genome of one individual: the list of mutations that lead to it from a first parent, in a few bytes each.

A mutation is a function of the root key of the run, the generation and the index of the child. So a genome stores
generation and index for each mutation. (The compact encoding of Such et al. 2017 stores a seed for each.) Decoding
repeats one mutation after another. It needs the algorithm, but no other data of the run.
"""

import base64
import json
import os
import zlib
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxga.algorithm import shape_of_source
from jaxga.base import Algorithm, Individual, InputError, Recipe, Source, require
from jaxga.compilation import jit
from jaxga.evaluate.vmapped import depends
from jaxga.pedigree import Pedigree, first_source, parents_of, require_index, slot_of
from jaxga.report.files import write_text
from jaxga.tree import iota, replicate, take

FORMAT = "jaxga genome 1"


class Genome(NamedTuple):
    """The mutations that lead from a first parent to an individual, oldest first."""

    key: jax.Array  # the root key of the run
    founder: int  # the slot of the first parent
    genes: np.ndarray  # [L, 2] int32: generation and index of the child that each mutation made
    steps: np.ndarray | None = None  # [L] float32: the factor of each mutation's step; None: all are 1
    dead: int = 0  # the number of mutations that `jaxga.analysis.prune` left out


def genome_of(algorithm: Algorithm, pedigree: Pedigree, generation: int, index: int) -> Genome:
    """The genome of any individual of a run, whether it survived or not.

    Args:
      algorithm: made as it was for the run.
      pedigree: of the run.
      generation: of the individual.
      index: of the individual in its generation; ``N + t`` is the parent in slot t.

    Raises:
      InputError: if an individual is not determined by its line of parents, because children depend on mates or
        parents are averages of children; if the run continued from the state of another run; if there is no such
        individual.

    >>> import jaxga
    >>> from jaxga.variation import absolute, gaussian
    >>> task = jaxga.Task(lambda key: jnp.ones(3), lambda key, w: jaxga.Evaluation(-jnp.sum(w**2)))
    >>> algorithm = jaxga.ga(task.init, gaussian(absolute(0.1)), parents=2, children=16)
    >>> record = jaxga.run(algorithm, task, generations=20).pedigree
    >>> genome = genome_of(algorithm, record, 19, 3)
    >>> bool((decode(algorithm, genome).params == jaxga.pedigree.individual(algorithm, record, 19, 3).params).all())
    True
    """
    way_out = "save its part of the pedigree: pedigree.save(pedigree.of_individual(record, generation, index), path)."
    averaged = pedigree.recipes is not None and pedigree.recipes.indices.shape[2] > 1
    require(not averaged, f"parents are averages of children, and no list of mutations makes them: {way_out}")
    require(not uses_mates(algorithm), f"children depend on mates, and a lineage leaves these out: {way_out}")
    require(pedigree.start is None, f"a genome begins with founders, and this run went on from another one: {way_out}")
    known = 0 <= generation <= pedigree.generations
    require(known, f"generation is {generation}, and the pedigree knows 0 to {pedigree.generations}.")
    require_index(algorithm, generation, index)
    recipes: Any = pedigree.recipes
    genes = [(generation, index, 1.0)] if index < algorithm.children else []
    slot, before = slot_of(algorithm, pedigree, generation, index), parents_of(algorithm, pedigree)
    for row in reversed(range(generation)):
        child = int(recipes.indices[row, slot, 0])
        if child < algorithm.children:
            genes.append((row, child, 1.0 if recipes.step is None else float(recipes.step[row, slot, 0])))
        slot = int(before[row, slot, 0])
    table = np.array(genes[::-1], np.float64).reshape(-1, 3)
    steps = table[:, 2].astype(np.float32)
    return Genome(pedigree.key, slot, table[:, :2].astype(np.int32), None if (steps == 1).all() else steps)


def uses_mates(algorithm: Algorithm) -> bool:
    """Does a child depend on its parent's mate? A batching rule for ``vmap`` finds it out from the variation."""
    source = shape_of_source(algorithm)

    def child_of(source: Source, mate: jax.Array) -> Individual:
        return algorithm.offspring(source._replace(pairs=_Pair(jnp.int32(0), mate)), 0, 0)

    found: list[bool] = []

    def look(source: Source) -> None:
        found.append(algorithm.parents > 1 and depends(partial(child_of, source), iota(2)))

    jax.eval_shape(look, source)
    return found[0]


class _Pair(NamedTuple):
    """In place of `Source.pairs`: one pair whose slot and mate are separate values, so that one of them can vary."""

    slot: jax.Array
    mate: jax.Array

    def __getitem__(self, place: Any) -> Any:
        return (self.slot, self.mate)[place[1]] if isinstance(place, tuple) else (self.slot, self.mate)


def decode(algorithm: Algorithm, genome: Genome) -> Individual:
    """The individual with this genome, the same as in the run, bit for bit.

    For a pruned genome the effect of dead genes is missing, and sums of mutations can differ by rounding.

    Args:
      algorithm: made as it was for the run.
      genome: from `genome_of` or `load`.
    """
    start = first_source(algorithm, genome.key)
    parent = take(start.parents, genome.founder)
    steps = np.ones(len(genome.genes), np.float32) if genome.steps is None else genome.steps
    genes = np.asarray(genome.genes, np.int32)

    def born(source: Source, gene: Any) -> Individual:
        """The child as in the run; all parents are copies of its parent."""
        (generation, index), step = gene
        stay = algorithm.children + iota(algorithm.parents)
        indices = stay.at[0].set(index)[:, None]
        weights = (
            {} if genome.steps is None else {"share": jnp.ones(indices.shape), "step": jnp.full(indices.shape, step)}
        )
        return take(algorithm.advance(source._replace(generation=generation), Recipe(indices, **weights)).parents, 0)

    def mutate(parent: Individual, gene: Any) -> tuple[Individual, None]:
        source = start._replace(parents=replicate(parent, algorithm.parents), founding=False)
        return born(source, gene), None

    if start.founding and len(genes):
        parent = jit(born)(start, ((genes[0, 0], genes[0, 1]), steps[0]))
        genes, steps = genes[1:], steps[1:]
    everything = ((jnp.asarray(genes[:, 0]), jnp.asarray(genes[:, 1])), jnp.asarray(steps))
    return jit(lambda parent, genes: jax.lax.scan(mutate, parent, genes)[0])(parent, everything)


def save(genome: Genome, path: str | os.PathLike[str]) -> Path:
    """Write a genome to a JSON file: a header of about 200 bytes, and less than 4 bytes for each gene.

    Args:
      genome: the genome.
      path: of the file, which is replaced if it exists.

    Returns:
      The path.
    """
    gaps = np.diff(genome.genes[:, 0], prepend=0)
    numbers = np.stack([gaps, genome.genes[:, 1]]).astype("<i4")
    data = {
        "format": FORMAT,
        "key": np.asarray(jax.random.key_data(genome.key)).tolist(),
        "key_type": str(jax.random.key_impl(genome.key)),
        "founder": int(genome.founder),
        "dead": int(genome.dead),
        "genes": _as_text(numbers),
        "steps": None if genome.steps is None else _as_text(genome.steps.astype("<f4")),
    }
    path = Path(path)
    write_text(path, json.dumps(data))
    return path


def load(path: str | os.PathLike[str]) -> Genome:
    """Read what `save` wrote.

    Raises:
      InputError: if the file is missing or damaged.
    """
    try:
        data = json.loads(Path(path).read_text())
        require(data["format"] == FORMAT, f"its format is {data['format']!r}, and {FORMAT!r} was due")
        gaps, indices = _from_text(data["genes"], "<i4").reshape(2, -1)
        key = jax.random.wrap_key_data(jnp.array(data["key"], jnp.uint32), impl=data["key_type"])
        steps = None if data["steps"] is None else _from_text(data["steps"], "<f4")
        genes = np.stack([np.cumsum(gaps), indices], axis=1).astype(np.int32)
        return Genome(key, int(data["founder"]), genes, steps, int(data["dead"]))
    except Exception as error:  # a text can be damaged in many ways
        raise InputError(f"genome {path} cannot be read ({error}): save it from its run again.") from error


def _as_text(numbers: np.ndarray) -> str:
    """Compressed text of 4-byte numbers. Bytes of the same place are stored together, which compresses better."""
    planes = np.ascontiguousarray(numbers.reshape(-1)).view(np.uint8).reshape(-1, 4).T
    return base64.b64encode(zlib.compress(planes.tobytes(), 9)).decode()


def _from_text(text: str, dtype: str) -> np.ndarray:
    planes = np.frombuffer(zlib.decompress(base64.b64decode(text)), np.uint8).reshape(4, -1)
    return np.ascontiguousarray(planes.T).view(dtype).reshape(-1)
