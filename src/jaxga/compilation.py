"""A ``jit`` for functions that close over data, with a cache in which equal programs are compiled once.

A task closes over its data, such as images. ``jax.jit`` would copy the data into every program that it compiles: with
188 MB of MNIST this takes seven seconds and three copies. Here data are arguments of the program. Programs then contain
no data, and equal programs are recognised by their text. A second `jaxga.ga` with the same arguments compiles nothing.
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

HOISTED_BYTES = 4096  # smaller arrays may be part of the program
SHARED = 64  # number of compiled programs that are kept, without data

_shared: OrderedDict[str, Any] = OrderedDict()


class Memory(NamedTuple):
    """Bytes that a program needs on each device."""

    data: int  # for arrays that the function closes over
    arguments: int  # for its arguments
    results: int  # for its results
    working: int  # for temporary arrays while it runs


class Prepared(NamedTuple):
    """A program that is compiled for arguments of given shapes and dtypes."""

    compiled: Any  # JAX's compiled program, called with two lists: data and arguments
    data: list[Any]  # large arrays that the function closes over
    out: Any  # pytree structure of the result
    memory: Memory  # what it needs


def jit(function: Callable[..., Any], mesh: Mesh | None = None) -> Callable[..., Any]:
    """Like ``jax.jit``, but large arrays that ``function`` closes over are passed to the program, not copied into it.

    Under ``jax.disable_jit()`` the function is called without compilation.

    Args:
      function: of pytrees of arrays.
      mesh: if given, arguments and closed-over arrays are copied to all its devices.

    Raises:
      InputError: when the returned function is called, if the program needs more memory than is free.

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
        leaves = everywhere(leaves, mesh)  # before the signature is taken: an array's type includes its devices
        signature = treedef, tuple(jax.typeof(leaf) for leaf in leaves)
        if signature not in programs:
            programs[signature] = prepare(function, treedef.unflatten(leaves), mesh)
            _check(programs[signature].memory, mesh.size if mesh else 1)
        found = programs[signature]
        with jax.debug_nans(False):  # a fitness may be NaN: `jaxga.doubts` looks for other NaNs
            return found.out.unflatten(found.compiled(found.data, leaves))

    return call


def prepare(function: Callable[..., Any], arguments: tuple[Any, ...], mesh: Mesh | None = None) -> Prepared:
    """Compile ``function`` for these arguments, or for their shapes. With shapes, its data are not moved."""
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
    """The compiled program, from the cache if a program with the same text and types of arguments is there.

    Programs that call back into Python are never shared, because their text does not say which function they call.
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
    """Keep compiled programs in files, so that later processes with the same program need not compile it again.

    It turns on JAX's persistent cache, ``jax_compilation_cache_dir``. If that is already set, for instance by the
    environment, nothing changes. All experiments call this function.

    Args:
      folder: by default ``$XDG_CACHE_HOME/jaxga/programs`` (``~/.cache`` by default). It grows without limit, and can
        be deleted at any time.
    """
    if configured("compilation_cache_dir"):
        return
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "jaxga" / "programs"
    jax.config.update("jax_compilation_cache_dir", str(folder or home))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)


def wording(*programs: Any) -> str:
    """The text of jaxprs, without the memory addresses of objects."""
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
    """Like ``jax.lax.map``, but the same program computes each element, for any number of elements.

    XLA compiles loops differently if it knows the number of turns: it merges a single turn with its surroundings, and
    treats a few turns differently from many. Sums are then rounded differently, and a score would depend on how the
    work was shared. So the number of turns is hidden from XLA.

    Args:
      function: of one element.
      elements: ``[n, ...]``.
      unknown: an integer array, 0 or more, whose value XLA cannot know at compile time.
    """
    call = jax.jit(function, inline=True)  # traced once, for its shapes and for the loop
    several = jnp.concatenate([elements, elements]) if len(elements) == 1 else elements
    shapes = jax.eval_shape(call, several[0])
    start = jnp.int32(0), jax.tree.map(lambda shape: _zeros(shape.update(shape=(len(several), *shape.shape))), shapes)
    turns = len(elements) * any_of_all(unknown >= 0).astype(jnp.int32)

    def turn(carry: tuple[jax.Array, Any]) -> tuple[jax.Array, Any]:
        number, found = carry
        one = call(jax.lax.dynamic_index_in_dim(several, number, keepdims=False))
        return number + 1, jax.tree.map(lambda leaf, new: leaf.at[number].set(new), found, one)

    found = jax.lax.while_loop(lambda carry: carry[0] < turns, turn, start)[1]
    return jax.tree.map(lambda leaf: leaf[: len(elements)], found)


def apart(function: Callable[[], Any], unknown: jax.Array) -> Any:
    """What ``function`` returns, computed in a separate part of the program: a `loop` of one turn.

    Otherwise XLA may, on a CPU, fuse a computation into all its users and repeat it for each of them. An expensive step
    of an environment was computed five times in this way.
    """
    return jax.tree.map(lambda leaf: leaf[0], loop(lambda _: function(), jnp.zeros(1, jnp.int32), unknown))


@jax.custom_batching.custom_vmap
def any_of_all(condition: jax.Array) -> jax.Array:
    """``condition.any()``, and under ``vmap`` the same for all lanes: does it hold anywhere in any of them?

    As the condition of a loop it keeps ``vmap`` from selecting, turn by turn, whose results are kept. So a lane for
    which the loop is over must not change in further turns.
    """
    return condition.any()


@any_of_all.def_vmap
def _any_of_all_lanes(axis_size: int, in_batched: list[bool], condition: jax.Array) -> tuple[jax.Array, bool]:
    del axis_size, in_batched
    return any_of_all(condition.reshape(-1)), False


def _zeros(shape: jax.ShapeDtypeStruct) -> jax.Array:
    if jnp.issubdtype(shape.dtype, jax.dtypes.prng_key):
        return jnp.broadcast_to(jax.random.key(0, impl=THREEFRY), shape.shape)
    return jnp.zeros(shape.shape, shape.dtype)
