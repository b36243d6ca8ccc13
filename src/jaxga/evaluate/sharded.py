"""Score all children on several devices: each has all parents, scores a share of the children, and gets all scores."""

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
    """See `sharded`. It is hashable: equal evaluators share one compiled program."""

    evaluator: Vmapped
    mesh: Mesh = field()

    @property
    def algorithm(self) -> Algorithm:
        """Whose children are scored."""
        return self.evaluator.algorithm

    @property
    def task(self) -> Task:
        """The task that is scored."""
        return self.evaluator.task

    @property
    def chunk(self) -> int:
        """The number of children that each device scores at once."""
        return self.evaluator.chunk

    def children(self, source: Source, number: Any = 0, slices: int = 1) -> Evaluation:
        """The scores ``[N]`` of all children. Slices are ignored."""
        del number, slices
        part = Together(self.evaluator, self.mesh.shape[AXIS]).children
        everywhere = PartitionSpec()
        return jax.shard_map(part, mesh=self.mesh, in_specs=everywhere, out_specs=everywhere, check_vma=False)(source)

    def individuals(self, source: Source, indices: Any, episodes: int | None = None) -> Evaluation:
        """By every device for itself."""
        return self.evaluator.individuals(source, indices, episodes)

    def parts(self, source: Source) -> list[Part]:
        """The parts of the evaluator that is shared."""
        return self.evaluator.parts(source)


@dataclass(frozen=True)
class Together(Evaluator):
    """Scores children on several devices together; each of them calls it within a `jax.shard_map` over "pop"."""

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
        """The scores ``[N]`` of all children, on every device."""
        del number, slices
        groups, chunks = self.evaluator.grid
        some_groups = -(-groups // self.devices)
        some_chunks = enough(self.evaluator.shares, -(-chunks // self.devices))
        # Each device scores either some of the pairs or a part of each brood, whichever is less work. What a brood
        # shares is computed by every device that has a part of it, so at equal work devices take whole pairs.
        axis, share = (0, some_groups) if some_groups * chunks <= groups * some_chunks else (1, some_chunks)
        numbers = [iota(groups), iota(chunks)]
        count = len(numbers[axis])
        first = jax.lax.axis_index(AXIS) * share
        numbers[axis] = (first + iota(share)) % count  # if it is uneven, some are scored twice
        scores = _gather(self.evaluator.score_chunks(source, *numbers), self.evaluator.varying(source), axis)
        return merge(jax.tree.map(lambda leaf: jax.lax.slice_in_dim(leaf, 0, count, axis=axis), scores), 3)


def _gather(scores: Evaluation, varying: Evaluation, axis: int) -> Evaluation:
    """The scores of all devices. Only what differs between children is sent, arrays of one shape and dtype together."""
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
    """Are there several devices, and several chunks to share?

    Args:
      evaluator: whose chunks would be shared.
      devices: the number of devices.
    """
    return devices > 1 and evaluator.grid != (1, 1)


def together(evaluator: Vmapped, devices: int) -> Vmapped | Together:
    """An evaluator that scores children on several devices together; the same evaluator if there is nothing to share.

    Args:
      evaluator: from `vmapped`.
      devices: the number of devices.
    """
    return Together(evaluator, devices) if worth_sharing(evaluator, devices) else evaluator


def sharded(evaluator: Vmapped, devices: Devices | None = None) -> Sharded:
    """Share the chunks of an evaluator among devices.

    Every device has all parents, builds its children from their indices, and sends their scores. Only scores are sent
    between devices, never weights. Chunks are the same as on one device, and so is the result, bit for bit. The
    implementation is ``jax.shard_map`` over a mesh axis named "pop".

    Args:
      evaluator: from `vmapped`.
      devices: the devices, or their number; by default all.

    Raises:
      InputError: if there are not that many devices.

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
