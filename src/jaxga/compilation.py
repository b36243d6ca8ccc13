"""``jit`` for functions that close over data.

A task closes over its images. ``jax.jit`` would write them into every program that it compiles: 188 MB of MNIST take
seven seconds and three copies of themselves. Here they are arguments of the program.
"""

import re
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
from jax.core import Tracer, eval_jaxpr
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jaxga.base import require
from jaxga.devices import everywhere, free_memory

HOISTED_BYTES = 4096  # what is smaller may well be part of the program


class Memory(NamedTuple):
    """Bytes that a program needs on each device."""

    data: int  # closed over
    arguments: int
    results: int
    working: int  # while it runs


class Prepared(NamedTuple):
    """A program, compiled for arguments of one kind."""

    program: Callable[[list[Any], list[Any]], list[Any]]
    data: list[Any]
    out: Any  # structure of its result
    memory: Memory
    compiled: Any  # for its cost_analysis() and as_text()


def jit(function: Callable[..., Any], mesh: Mesh | None = None) -> Callable[..., Any]:
    """Like ``jax.jit``, but large arrays that ``function`` closes over are handed to the program, not copied into it.

    With a ``mesh`` they and the arguments are put on all of its devices, once.

    Raises:
      InputError: when it is called, where the program needs more memory than there is.

    >>> import jax.numpy as jnp
    >>> data = jnp.ones((1000, 100))
    >>> float(jit(lambda w: jnp.sum(data @ w))(jnp.ones(100)))
    100000.0
    """
    programs: dict[Any, Prepared] = {}

    def call(*arguments: Any) -> Any:
        leaves, treedef = jax.tree.flatten(arguments)
        if any(isinstance(leaf, Tracer) for leaf in leaves):
            return function(*arguments)  # already part of a program
        leaves = everywhere(leaves, mesh)  # before they are looked at: an array's type says where it is
        signature = treedef, tuple(jax.typeof(leaf) for leaf in leaves)
        if signature not in programs:
            programs[signature] = prepare(function, treedef.unflatten(leaves), mesh)
            _check(programs[signature].memory, mesh.size if mesh else 1)
        found = programs[signature]
        return found.out.unflatten(found.program(found.data, leaves))

    return call


def prepare(function: Callable[..., Any], arguments: tuple[Any, ...], mesh: Mesh | None = None) -> Prepared:
    """Compile ``function`` for these arguments, or for their shapes; then its data stays where it is."""
    closed, out = jax.make_jaxpr(function, return_shape=True)(*arguments)
    large = [getattr(const, "nbytes", 0) >= HOISTED_BYTES for const in closed.consts]

    @jax.jit
    def program(data: list[Any], leaves: list[Any]) -> list[Any]:
        rest = iter(data)
        consts = [next(rest) if hoist else const for hoist, const in zip(large, closed.consts, strict=True)]
        return eval_jaxpr(closed.jaxpr, consts, *leaves)

    data = [const for hoist, const in zip(large, closed.consts, strict=True) if hoist]
    inputs = data, jax.tree.leaves(arguments)
    if any(isinstance(leaf, jax.ShapeDtypeStruct) for leaf in inputs[1]):
        compiled = program.lower(*(_shapes(leaves, mesh) for leaves in inputs)).compile()
    else:  # what is called later with the same arguments is then compiled already
        data, leaves = everywhere(inputs, mesh)
        compiled = program.lower(data, leaves).compile()
    stats = compiled.memory_analysis()
    held = sum(int(const.nbytes) for const in data)
    needs = ("argument", "output", "temp") if stats else ()  # not every backend tells
    sizes = [getattr(stats, f"{part}_size_in_bytes") for part in needs] or [held, 0, 0]
    memory = Memory(held, sizes[0] - held, *sizes[1:])
    return Prepared(program, data, jax.tree.structure(out), memory, compiled)


def wording(*programs: Any) -> str:
    """Jaxprs as text, without the addresses that objects have in this process."""
    return re.sub(r"0x[0-9a-f]+", "", " ".join(map(str, programs)))


def _shapes(leaves: list[Any], mesh: Mesh | None) -> list[jax.ShapeDtypeStruct]:
    place = NamedSharding(mesh, PartitionSpec()) if mesh else None
    kinds = [jax.typeof(leaf) for leaf in leaves]
    return [jax.ShapeDtypeStruct(kind.shape, kind.dtype, sharding=place, weak_type=kind.weak_type) for kind in kinds]


def _check(memory: Memory, devices: int) -> None:
    needed, free = memory.results + memory.working, free_memory(devices)
    require(
        needed <= free,
        f"a program needs {needed / 1e9:.1f} GB of working memory, and {free / 1e9:.1f} GB are free: score fewer "
        "children at once (chunk), or take fewer parents; jaxga.plan says what fits.",
    )
