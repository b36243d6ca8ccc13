"""Score all children on many devices: parents on every one, children shared out, one fitness vector gathered."""

from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, PartitionSpec

from jaxga.base import Algorithm, Evaluation, Source, Task
from jaxga.devices import AXIS, Devices, mesh
from jaxga.evaluate.contract import Evaluator, Part
from jaxga.evaluate.vmapped import Vmapped, enough, merge
from jaxga.tree import iota


@dataclass(frozen=True)
class Sharded(Evaluator):
    """See `sharded`. A value, so that equal evaluators share one compiled program."""

    evaluator: Vmapped
    mesh: Mesh = field()

    @property
    def algorithm(self) -> Algorithm:
        """Whose children are scored."""
        return self.evaluator.algorithm

    @property
    def task(self) -> Task:
        """That is scored."""
        return self.evaluator.task

    @property
    def chunk(self) -> int:
        """Children that a device scores at once."""
        return self.evaluator.chunk

    def children(self, source: Source, number: Any = 0, slices: int = 1) -> Evaluation:
        """All children; there are no slices."""
        del number, slices
        part = Together(self.evaluator, self.mesh.shape[AXIS]).children
        everywhere = PartitionSpec()
        return jax.shard_map(part, mesh=self.mesh, in_specs=everywhere, out_specs=everywhere, check_vma=False)(source)

    def individuals(self, source: Source, indices: Any, episodes: int | None = None) -> Evaluation:
        """By every device for itself."""
        return self.evaluator.individuals(source, indices, episodes)

    def parts(self, source: Source) -> list[Part]:
        """Those of what is shared."""
        return self.evaluator.parts(source)


@dataclass(frozen=True)
class Together(Evaluator):
    """Scores as so many devices together, to be called by each of them within a `jax.shard_map` over "pop"."""

    evaluator: Vmapped
    devices: int

    @property
    def algorithm(self) -> Algorithm:
        """Whose children are scored."""
        return self.evaluator.algorithm

    def individuals(self, source: Source, indices: Any, episodes: int | None = None) -> Evaluation:
        """By every device for itself."""
        return self.evaluator.individuals(source, indices, episodes)

    def children(self, source: Source, number: Any = 0, slices: int = 1) -> Evaluation:
        """All children ``[N]``."""
        del number, slices
        groups, chunks = self.evaluator.grid
        some_groups = -(-groups // self.devices)
        some_chunks = enough(self.evaluator.shares, -(-chunks // self.devices))
        # A device has some of the pairs, or a part of each brood: whichever leaves it less to do. What a brood shares
        # is computed by everyone who has some of it, so of equals it is the pairs.
        axis, share = (0, some_groups) if some_groups * chunks <= groups * some_chunks else (1, some_chunks)
        numbers = [iota(groups), iota(chunks)]
        count = len(numbers[axis])
        first = jax.lax.axis_index(AXIS) * share
        numbers[axis] = (first + iota(share)) % count  # some twice, where it is uneven
        scores = _gather(self.evaluator.score_chunks(source, *numbers), self.evaluator.varying(source), axis)
        return merge(jax.tree.map(lambda leaf: jax.lax.slice_in_dim(leaf, 0, count, axis=axis), scores), 3)


def _gather(scores: Evaluation, varying: Evaluation, axis: int) -> Evaluation:
    """Those of all devices: of what differs between children, arrays of one kind in one message; the rest is here."""
    leaves, tree = jax.tree.flatten(scores)
    kinds: dict[Any, list[int]] = {}
    for place, (leaf, varies) in enumerate(zip(leaves, jax.tree.leaves(varying), strict=True)):
        if varies:
            kinds.setdefault((leaf.shape, leaf.dtype), []).append(place)
        else:
            shape = list(leaf.shape)
            shape[axis] *= jax.lax.axis_size(AXIS)
            leaves[place] = jnp.broadcast_to(leaf[:1, :1, :1], shape)
    for places in kinds.values():
        stacked = jnp.stack([leaves[place] for place in places])
        everyone = jax.lax.all_gather(stacked, AXIS, axis=axis + 1, tiled=True)
        for place, leaf in zip(places, everyone, strict=True):
            leaves[place] = leaf
    return tree.unflatten(leaves)


def worth_sharing(evaluator: Vmapped, devices: int) -> bool:
    """Not where a device is alone, or would have the only chunk."""
    return devices > 1 and evaluator.grid != (1, 1)


def together(evaluator: Vmapped, devices: int) -> Vmapped | Together:
    """`Together` of several devices, where that is worth it."""
    return Together(evaluator, devices) if worth_sharing(evaluator, devices) else evaluator


def sharded(evaluator: Vmapped, devices: Devices | None = None) -> Sharded:
    """Share the chunks of an evaluator out over devices, by default over all that there are.

    A device has the parents, builds its children from their indices and returns their scores, so nothing as large as
    a network crosses from one to another. Chunks are the same as on one device, and so is the result, bit for bit.
    Whoever looks for ``pmap`` finds it here: ``jax.shard_map`` over a mesh axis named "pop".

    >>> import jaxga
    >>> from jaxga.variation import absolute, gaussian
    >>> task = jaxga.Task(lambda key: jnp.ones(3), lambda key, w: jaxga.Evaluation(-jnp.sum(w**2)))
    >>> algorithm = jaxga.ga(task.init, gaussian(absolute(0.1)), parents=2, children=8)
    >>> evaluator = jaxga.vmapped(algorithm, task)
    >>> state = algorithm.init(jax.random.key(0))
    >>> bool((sharded(evaluator)(state).fitness == evaluator(state).fitness).all())
    True
    """
    return Sharded(evaluator, mesh(devices))
