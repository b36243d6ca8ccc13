"""The data that a pool and its workers exchange, as plain NumPy arrays."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxga._version import __version__
from jaxga.algorithm import shape_of_source
from jaxga.base import THREEFRY, Algorithm, Evaluation, Source, as_fitness
from jaxga.evaluate.contract import Evaluator
from jaxga.evaluate.fingerprint import fingerprint

Job = tuple[Any, ...]  # the name of a method of the evaluator, and its arguments after the source


class About(NamedTuple):
    """What a worker and its pool must have in common."""

    jaxga: str  # version
    jax: str  # version
    work: str  # hashes of the programs, see `jaxga.evaluate.fingerprint`


def about(evaluator: Evaluator) -> About:
    """Versions, and hashes of the programs that a worker runs. Selection is not among them."""
    programs = fingerprint(evaluator.algorithm, evaluator)
    return About(__version__, jax.__version__, " ".join(programs[name] for name in ("init", "score", "advance")))


class Parcel(NamedTuple):
    """A whole source, for a worker that joins during a run."""

    key: np.ndarray  # the root key, as numbers
    generation: int  # its number
    leaves: list[np.ndarray] | None  # leaves of parents and pairs; None if children are initialised without parents

    @classmethod
    def of(cls, source: Source) -> "Parcel":
        """Pack a source: its key, parents and pairs."""
        parts = source.parents, source.pairs
        leaves = None if source.founding else [np.asarray(leaf) for leaf in jax.tree.leaves(parts)]
        return cls(np.asarray(jax.random.key_data(source.key)), int(source.generation), leaves)

    def source(self, algorithm: Algorithm) -> Source:
        """Unpack the source on this machine."""
        key = jax.random.wrap_key_data(jnp.asarray(self.key), impl=THREEFRY)
        if self.leaves is None:
            return jax.jit(algorithm.begin)(key)
        kind = shape_of_source(algorithm)
        leaves = [jnp.asarray(leaf) for leaf in self.leaves]
        parents, pairs = jax.tree.unflatten(jax.tree.structure((kind.parents, kind.pairs)), leaves)
        return Source(key, jnp.int32(self.generation), parents, pairs)


class Scores(NamedTuple):
    """An evaluation that is sent. A tiebreak that is the same for all is sent once."""

    fitness: np.ndarray
    tiebreak: np.ndarray
    metrics: dict[str, np.ndarray]

    @classmethod
    def of(cls, evaluation: Evaluation) -> "Scores":
        """Pack an evaluation as NumPy arrays."""
        found = jax.device_get(as_fitness(evaluation))
        same = bool((found.tiebreak == found.tiebreak[0]).all())
        tiebreak = found.tiebreak[0] if same else found.tiebreak
        return cls(found.fitness, np.asarray(tiebreak), dict(found.metrics or {}))

    def evaluation(self) -> Evaluation:
        """Unpack the evaluation."""
        return Evaluation(self.fitness, np.broadcast_to(self.tiebreak, self.fitness.shape), self.metrics)
