"""Functions that use a leaf in parts in a better way than their single operations could."""

from collections.abc import Callable
from functools import partial, wraps
from typing import Any

import jax
from jax.core import eval_jaxpr
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

from jaxga.interpret import jaxprs
from jaxga.interpret.walk import array, rule, run_open
from jaxga.lowrank import InParts

ruled = Primitive("ruled")
ruled.multiple_results = True


def with_rule(function: Callable[..., Any], of_parts: Callable[..., Any]) -> Callable[..., Any]:
    """The same function, with a rule that `jaxga.interpret.by_parts` uses if an argument is a leaf in parts.

    The rule is not used where the user's code calls the function inside ``vmap`` or a derivative.

    Args:
      function: a function of arrays.
      of_parts: the rule. It takes the same arguments as ``function``, and returns the same result. Weights among its
        arguments may be leaves in parts (`jaxga.lowrank`). If it returns ``NotImplemented``, the operations of
        ``function`` are evaluated one by one, as those of any other function.

    Returns:
      A function that is called like ``function``.

    >>> import jax.numpy as jnp
    >>> from jaxga.interpret import by_parts
    >>> from jaxga.lowrank import LowRank
    >>> def of_parts(w):
    ...     return jnp.trace(w.base) + jnp.sum(w.left[:, :, 0] * w.right[:, 0, :])
    >>> leaf = LowRank(jnp.eye(2), jnp.ones((1, 2, 1)), jnp.ones((1, 1, 2)))
    >>> float(by_parts(with_rule(jnp.trace, of_parts))(leaf))
    4.0
    """

    @wraps(function)
    def call(*arguments: Any) -> Any:
        leaves, treedef = jax.tree.flatten(arguments)
        closed, out = jaxprs.trace(lambda *leaves: function(*treedef.unflatten(leaves)), *leaves)

        def by_rule(*values: Any) -> list[Any]:
            return jax.tree.leaves(of_parts(*treedef.unflatten(values)))

        body, consts = jaxprs.parts_of(closed)
        return out.unflatten(ruled.bind(*consts, *leaves, body=body, rule=by_rule, consts=len(consts)))

    return call


def _as_function(*values: Any, body: Any, rule: Any, consts: int) -> list[Any]:
    del rule
    return eval_jaxpr(body, values[:consts], *values[consts:])


def _batched(values: Any, dimensions: Any, **params: Any) -> Any:
    out = jax.vmap(partial(_as_function, **params), dimensions)(*values)
    return out, [0] * len(out)


def _with_derivative(primals: Any, tangents: Any, **params: Any) -> Any:
    tangents = tuple(ad.instantiate_zeros(tangent) for tangent in tangents)
    return jax.jvp(partial(_as_function, **params), tuple(primals), tangents)


ruled.def_impl(_as_function)
ruled.def_abstract_eval(lambda *_, body, **__: [var.aval for var in body.outvars])
batching.primitive_batchers[ruled] = _batched
ad.primitive_jvps[ruled] = _with_derivative
mlir.register_lowering(ruled, mlir.lower_fun(_as_function, multiple_results=True))


@rule("ruled", as_they_are=True)
def _ask(eqn: Any, *values: Any) -> Any:
    own = values[eqn.params["consts"] :]
    in_parts = [isinstance(value, InParts) and value.rank > 0 for value in own]
    if not any(in_parts):
        return NotImplemented
    arguments = [value if parts else array(value) for value, parts in zip(own, in_parts, strict=True)]
    found = eqn.params["rule"](*arguments)
    if any(value is NotImplemented for value in found):
        return run_open(eqn.params["body"], *values)
    return [array(value) for value in found]
