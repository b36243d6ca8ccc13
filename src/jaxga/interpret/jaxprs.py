"""The internal form of traced programs (jaxprs), and its differences between versions of JAX.

All other modules of this package read programs through these functions. For a form that they do not know they return
None instead of raising an error. The operation then gets plain arrays, which is correct in every version.
"""

from collections.abc import Callable, Sequence
from pathlib import PurePath
from typing import Any, NamedTuple

import jax
from jax.extend.core import Literal
from jax.extend.source_info_util import summarize

CALLS = {"jit": "jaxpr", "pjit": "jaxpr", "closed_call": "call_jaxpr", "core_call": "call_jaxpr"}
DERIVATIVES = {"custom_jvp_call": "call_jaxpr", "custom_vjp_call": "call_jaxpr", "custom_vjp_call_jaxpr": "fun_jaxpr"}


class Scan(NamedTuple):
    body: Any  # (constants, carries, slices) -> (carries, outputs)
    constants: int
    carries: int
    options: dict[str, Any]  # length, reverse, unroll of `jax.lax.scan`


class While(NamedTuple):
    condition: Any
    body: Any
    of_condition: int  # the first operands: the number of the condition's constants
    of_body: int  # the operands after these: the number of the body's constants; the rest are carries


class Cond(NamedTuple):
    branches: Sequence[Any]
    platforms: Sequence[Sequence[str] | None] | None  # of `jax.lax.platform_dependent`


class Remat(NamedTuple):
    body: Any
    options: dict[str, Any]  # of `jax.checkpoint`
    barrier: bool


def trace(function: Callable[..., Any], *arguments: Any) -> tuple[Any, Any]:
    """The program of a function, and the pytree structure of its result."""
    closed, out = jax.make_jaxpr(function, return_shape=True)(*arguments)
    return closed, jax.tree.structure(out)


def parts_of(closed: Any) -> tuple[Any, Sequence[Any]]:
    """A program and its constants (none if it is not a closed jaxpr)."""
    return (closed.jaxpr, closed.consts) if hasattr(closed, "consts") else (closed, ())


def value_of(atom: Any, known: dict[Any, Any]) -> Any:
    return atom.val if isinstance(atom, Literal) else known[atom]


def bind(eqn: Any, *values: Any) -> list[Any]:
    """Apply one operation to arrays."""
    with eqn.ctx.manager:
        out = eqn.primitive.bind(*values, **eqn.primitive.get_bind_params(eqn.params))
    return out if eqn.primitive.multiple_results else [out]


def call_of(eqn: Any) -> Any:
    """The program that an operation calls, if it does only this; else None."""
    return eqn.params.get(CALLS.get(eqn.primitive.name))


def derivative_of(eqn: Any) -> Any:
    """The program of a function with a custom derivative, else None."""
    return eqn.params.get(DERIVATIVES.get(eqn.primitive.name))


def scan_of(eqn: Any) -> Scan | None:
    p = eqn.params
    if "num_consts" in p:
        sizes = p["num_consts"], p["num_carry"]
    elif "ft_in" in p:  # from JAX 0.12 on
        constants, carries, _ = map(len, p["ft_in"].unpack())
        sizes = constants, carries
    else:
        return None
    if not {"jaxpr", "length", "reverse", "unroll"} <= set(p):
        return None
    return Scan(p["jaxpr"], *sizes, {name: p[name] for name in ("length", "reverse", "unroll")})


def while_of(eqn: Any) -> While | None:
    names = "cond_jaxpr", "body_jaxpr", "cond_nconsts", "body_nconsts"
    return While(*map(eqn.params.get, names)) if set(names) <= set(eqn.params) else None


def cond_of(eqn: Any) -> Cond | None:
    branches = eqn.params.get("branches")
    return None if branches is None else Cond(branches, eqn.params.get("branches_platforms"))


def remat_of(eqn: Any) -> Remat | None:
    p, names = eqn.params, ("prevent_cse", "policy")
    if not {"jaxpr", "differentiated", *names} <= set(p):
        return None
    return Remat(p["jaxpr"], {name: p[name] for name in names}, p["differentiated"] and p["prevent_cse"])


def place_of(eqn: Any) -> str:
    """Where the user's code calls this operation: the flax module, if there is one, and the line."""
    line = PurePath(summarize(eqn.source_info).split(" ")[0]).name
    return " ".join(part for part in (str(eqn.source_info.name_stack), line) if part)
