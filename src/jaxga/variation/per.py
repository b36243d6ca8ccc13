"""What shares one step size: ``log_normal(relative(0.1), per=per.leaf)`` gives every leaf one of its own.

A group is a function from the path of a leaf to a name, and leaves with the same name share. A `Group` says, too,
whether parts of a leaf have sizes of their own.
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
    """A function from a path to a name; ``sizes`` is the shape of the step sizes of a leaf of this shape."""

    name: Callable[[Path], tuple[str, ...]]
    sizes: Callable[[Shape], Shape] = one

    def __call__(self, path: Path) -> tuple[str, ...]:
        return self.name(path)


def as_group(per: Any) -> Group:
    """A group as it is; one of a function from a path to a name."""
    return per if isinstance(per, Group) else Group(per)


individual = Group(lambda path: ())
"""One step size for all weights of an individual."""

layer = Group(lambda path: path[:-1])
"""One step size for a layer: its kernel and its bias together."""

leaf = Group(lambda path: path)
"""One step size for every array."""

unit = Group(lambda path: path[:-1], lambda shape: shape[-1:])
"""One step size for every unit of a layer: a column of its kernel ``[..., n]``, and what stands below it, as a bias
``[n]``. The heads of `jaxga.memory` are units."""

parameter = Group(lambda path: path, lambda shape: shape)
"""One step size for every single weight."""
