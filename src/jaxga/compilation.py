"""``jit`` for functions that close over data.

A task closes over its images. ``jax.jit`` would write them into every program that it compiles: 188 MB of MNIST take
seven seconds and three copies of themselves. Here they are arguments of the program.
"""

from collections.abc import Callable
from typing import Any

import jax
from jax.core import Tracer, eval_jaxpr
from jax.sharding import Mesh

from jaxga.devices import everywhere

HOISTED_BYTES = 4096  # what is smaller may well be part of the program


def jit(function: Callable[..., Any], mesh: Mesh | None = None) -> Callable[..., Any]:
    """Like ``jax.jit``, but large arrays that ``function`` closes over are handed to the program, not copied into it.

    With a ``mesh`` they and the arguments are put on all of its devices, once.

    >>> import jax.numpy as jnp
    >>> data = jnp.ones((1000, 100))
    >>> float(jit(lambda w: jnp.sum(data @ w))(jnp.ones(100)))
    100000.0
    """
    programs: dict[Any, tuple[Callable[..., Any], list[Any], Any]] = {}

    def call(*arguments: Any) -> Any:
        leaves, treedef = jax.tree.flatten(arguments)
        if any(isinstance(leaf, Tracer) for leaf in leaves):
            return function(*arguments)  # already part of a program
        signature = treedef, tuple(jax.typeof(leaf) for leaf in leaves)
        if signature not in programs:
            program, data, out = _program(function, arguments)
            programs[signature] = program, everywhere(data, mesh), out
        program, data, out = programs[signature]
        return out.unflatten(program(data, everywhere(leaves, mesh)))

    return call


def _program(function: Callable[..., Any], arguments: tuple[Any, ...]) -> tuple[Callable[..., Any], list[Any], Any]:
    """The compiled program, the data that it is to be given, and the structure of its result."""
    closed, out = jax.make_jaxpr(function, return_shape=True)(*arguments)
    large = [getattr(const, "nbytes", 0) >= HOISTED_BYTES for const in closed.consts]

    @jax.jit
    def program(data: list[Any], leaves: list[Any]) -> list[Any]:
        rest = iter(data)
        consts = [next(rest) if hoist else const for hoist, const in zip(large, closed.consts, strict=True)]
        return eval_jaxpr(closed.jaxpr, consts, *leaves)

    data = [const for hoist, const in zip(large, closed.consts, strict=True) if hoist]
    return program, data, jax.tree.structure(out)
