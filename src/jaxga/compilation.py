"""``jit`` for functions that close over data, and programs that are compiled once whoever asks for them.

A task closes over its images. ``jax.jit`` would write them into every program that it compiles: 188 MB of MNIST take
seven seconds and three copies of themselves. Here they are arguments of the program. So the program holds no data, and
equal ones, known by their text, are one: a second `jaxga.ga` with the same arguments compiles nothing.
"""

import hashlib
import os
import re
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.core import Tracer, eval_jaxpr
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jaxga.base import THREEFRY, configured, require
from jaxga.devices import everywhere, free_memory

HOISTED_BYTES = 4096  # what is smaller may well be part of the program
SHARED = 64  # compiled programs that are remembered, without any data

_shared: OrderedDict[str, Any] = OrderedDict()


class Memory(NamedTuple):
    """Bytes that a program needs on each device."""

    data: int  # closed over
    arguments: int
    results: int
    working: int  # while it runs


class Prepared(NamedTuple):
    """A program, compiled for arguments of one kind."""

    compiled: Any  # called with data and arguments, two lists; it has cost_analysis() and as_text(), too
    data: list[Any]
    out: Any  # structure of its result
    memory: Memory


def jit(function: Callable[..., Any], mesh: Mesh | None = None) -> Callable[..., Any]:
    """Like ``jax.jit``, but large arrays that ``function`` closes over are handed to the program, not copied into it.

    With a ``mesh`` they and the arguments are put on all of its devices, once. Under ``jax.disable_jit()`` the function
    is called as it is.

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
        if configured("disable_jit"):
            return function(*arguments)
        leaves = everywhere(leaves, mesh)  # before they are looked at: an array's type says where it is
        signature = treedef, tuple(jax.typeof(leaf) for leaf in leaves)
        if signature not in programs:
            programs[signature] = prepare(function, treedef.unflatten(leaves), mesh)
            _check(programs[signature].memory, mesh.size if mesh else 1)
        found = programs[signature]
        with jax.debug_nans(False):  # a fitness may be NaN: `jaxga.doubts` hunts those
            return found.out.unflatten(found.compiled(found.data, leaves))

    return call


def prepare(function: Callable[..., Any], arguments: tuple[Any, ...], mesh: Mesh | None = None) -> Prepared:
    """Compile ``function`` for these arguments, or for their shapes; then its data stays where it is."""
    closed, out = jax.make_jaxpr(function, return_shape=True)(*arguments)
    jaxpr, large = closed.jaxpr, [getattr(const, "nbytes", 0) >= HOISTED_BYTES for const in closed.consts]
    data = [const for hoist, const in zip(large, closed.consts, strict=True) if hoist]
    small = [const for hoist, const in zip(large, closed.consts, strict=True) if not hoist]

    @jax.jit
    def program(data: list[Any], leaves: list[Any]) -> list[Any]:
        rest, others = iter(data), iter(small)
        return eval_jaxpr(jaxpr, [next(rest) if hoist else next(others) for hoist in large], *leaves)

    leaves = jax.tree.leaves(arguments)
    if any(isinstance(leaf, jax.ShapeDtypeStruct) for leaf in leaves):
        inputs = [_shapes(some, mesh) for some in (data, leaves)]
    else:
        data, leaves = inputs = everywhere((data, leaves), mesh)
    compiled = _compile_once(program.lower(*inputs), inputs)
    stats = compiled.memory_analysis()
    held = sum(int(const.nbytes) for const in data)
    needs = ("argument", "output", "temp") if stats else ()  # not every backend tells
    sizes = [getattr(stats, f"{part}_size_in_bytes") for part in needs] or [held, 0, 0]
    memory = Memory(held, sizes[0] - held, *sizes[1:])
    return Prepared(compiled, data, jax.tree.structure(out), memory)


def _compile_once(lowered: Any, inputs: Any) -> Any:
    """The program of this text for these kinds of arguments; compiled, if it is not among the latest ones.

    The text of a program that calls back into Python does not say which function, so that one is never shared.
    """
    text = lowered.as_text()
    if "callback" in text:
        return lowered.compile()
    kinds = [(jax.typeof(leaf), getattr(leaf, "sharding", None)) for leaf in jax.tree.leaves(inputs)]
    name = hashlib.sha256(repr((text, kinds)).encode()).hexdigest()
    if name not in _shared:
        _shared[name] = lowered.compile()
    _shared.move_to_end(name)
    if len(_shared) > SHARED:
        _shared.popitem(last=False)
    return _shared[name]


def keep_programs(folder: str | os.PathLike[str] | None = None) -> None:
    """Keep compiled programs in files, so that a later process with the same program need not compile it again.

    The experiments call it. It is JAX's own persistent cache, ``jax_compilation_cache_dir``; where that is set already,
    by the environment for instance, nothing changes.

    Args:
      folder: by default ``$XDG_CACHE_HOME/jaxga/programs`` (``~/.cache`` by default). It grows; delete it at will.
    """
    if configured("compilation_cache_dir"):
        return
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "jaxga" / "programs"
    jax.config.update("jax_compilation_cache_dir", str(folder or home))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)


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


def loop(function: Callable[[Any], Any], elements: jax.Array, unknown: jax.Array) -> Any:
    """Like ``jax.lax.map``, by the same program for each element, however many there are.

    XLA takes a single turn out of its loop and fuses it with what is around it; it also treats a loop of a few turns
    otherwise than one of many. Sums are then rounded otherwise, and a score would depend on how the work was shared. So
    XLA must not know how many turns there are: ``unknown`` is an integer, 0 or more, that the program cannot foresee.
    """
    call = jax.jit(function, inline=True)  # traced once, for its shapes and for the loop
    several = jnp.concatenate([elements, elements]) if len(elements) == 1 else elements
    shapes = jax.eval_shape(call, several[0])
    start = jnp.int32(0), jax.tree.map(lambda shape: _zeros(shape.update(shape=(len(several), *shape.shape))), shapes)
    turns = len(elements) * _anyone(unknown >= 0)

    def turn(carry: tuple[jax.Array, Any]) -> tuple[jax.Array, Any]:
        number, found = carry
        one = call(jax.lax.dynamic_index_in_dim(several, number, keepdims=False))
        return number + 1, jax.tree.map(lambda leaf, new: leaf.at[number].set(new), found, one)

    found = jax.lax.while_loop(lambda carry: carry[0] < turns, turn, start)[1]
    return jax.tree.map(lambda leaf: leaf[: len(elements)], found)


def apart(function: Callable[[], Any], unknown: jax.Array) -> Any:
    """What ``function`` returns, computed by a program part of its own: a `loop` of one turn.

    XLA on a CPU fuses what is computed into everything that uses it, and computes it again for each: an expensive step
    of an environment five times.
    """
    return jax.tree.map(lambda leaf: leaf[0], loop(lambda _: function(), jnp.zeros(1, jnp.int32), unknown))


@jax.custom_batching.custom_vmap
def _anyone(condition: jax.Array) -> jax.Array:
    """1 or 0; under ``vmap`` the same for all, so that a loop of many runs need not choose whose results are kept."""
    return condition.any().astype(jnp.int32)


@_anyone.def_vmap
def _anyone_of_all(axis_size: int, in_batched: list[bool], condition: jax.Array) -> tuple[jax.Array, bool]:
    del axis_size, in_batched
    return _anyone(condition), False


def _zeros(shape: jax.ShapeDtypeStruct) -> jax.Array:
    if jnp.issubdtype(shape.dtype, jax.dtypes.prng_key):
        return jnp.broadcast_to(jax.random.key(0, impl=THREEFRY), shape.shape)
    return jnp.zeros(shape.shape, shape.dtype)
