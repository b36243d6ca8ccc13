"""Groups of weights that share one step size: ``log_normal(relative(0.1), per=per.leaf)`` has one for each leaf.

A group is a function from the path of a leaf to a name. Leaves with the same name share a step size. A `Group` can
also give parts of a leaf their own step sizes.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from jaxga.tree import Path

Shape = tuple[int, ...]
GroupOf = Callable[[Path], tuple[str, ...]]  # a Group is one


def one(shape: Shape) -> Shape:
    """One size for the whole leaf."""
    del shape
    return ()


@dataclass(frozen=True)
class Group:
    """Says which weights share a step size: leaves with equal names do, and ``sizes`` divides a leaf further."""

    name: Callable[[Path], tuple[str, ...]]  # (path of a leaf) -> name of its group
    sizes: Callable[[Shape], Shape] = one  # (shape of a leaf) -> shape of its step sizes; () is one for the whole leaf

    def __call__(self, path: Path) -> tuple[str, ...]:
        return self.name(path)


def as_group(per: Any) -> Group:
    """A `Group` as it is, or the group that a function from paths to names defines."""
    return per if isinstance(per, Group) else Group(per)


individual = Group(lambda path: ())
"""One step size for all weights of an individual."""

layer = Group(lambda path: path[:-1])
"""One step size for a layer: its kernel and its bias together."""

leaf = Group(lambda path: path)
"""One step size for every array."""

unit = Group(lambda path: path[:-1], lambda shape: shape[-1:])
"""One step size for every unit of a layer: for column i of its kernel ``[..., n]`` and element i of its bias ``[n]``.
The heads of `jaxga.memory` are units."""

parameter = Group(lambda path: path, lambda shape: shape)
"""One step size for every single weight."""
