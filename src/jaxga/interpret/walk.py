"""Evaluate a program, some of whose inputs are weights in parts.

A program (a jaxpr) is a list of operations. If an operand is in parts (`jaxga.lowrank.InParts`, of which `Turned` is a
kind), and there is a rule for the operation, the rule computes the result. A rule that does not know the case returns
``NotImplemented``. Every other operation is applied to arrays, as JAX would do it.
"""

from collections.abc import Callable, Sequence
from contextvars import ContextVar
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np
from jax import lax

from jaxga.interpret import jaxprs
from jaxga.lowrank import Columns, InParts, LowRank, Member


class Built(NamedTuple):
    """A weight that is built as an array, and the operation for which it is built."""

    name: str  # of the leaf
    operation: str
    place: str  # where the user's code calls the operation
    cheaper: bool = False  # is it built because this costs less than using its parts?


in_rows: ContextVar[bool] = ContextVar("in_rows", default=False)  # must values stay in rows, not `Turned`?
report: ContextVar[list[Built] | None] = ContextVar("report", default=None)  # collects what `jaxga.explain` shows

Rule = Callable[..., Any]  # (eqn, *operands) -> the result of the operation, or NotImplemented
RULES: dict[str, dict[bool, Rule]] = {}  # by operation; then True: for `Turned` operands, False: for weights


def rule(*names: str, turned: bool = False, weights: bool = True, as_they_are: bool = False) -> Callable[[Rule], Rule]:
    """A decorator that registers a rule for the operations with these names.

    Args:
      names: of the operations.
      turned: use the rule if an operand is `Turned`.
      weights: use the rule if an operand is a weight in parts.
      as_they_are: the rule takes leaves of all kinds. By default it gets `Columns` as `LowRank`, and is not used if an
        operand is a `Member`, which is then built.
    """

    def register(function: Rule) -> Rule:
        def of_factors(eqn: Any, *values: Any) -> Any:
            if any(isinstance(value, Member) for value in values):
                return NotImplemented
            return function(eqn, *(value.low_rank() if isinstance(value, Columns) else value for value in values))

        for name in names:
            kinds = (True,) * turned + (False,) * weights
            RULES.setdefault(name, {}).update(dict.fromkeys(kinds, function if as_they_are else of_factors))
        return function

    return register


def run(closed: Any, *values: Any) -> list[Any]:
    """The results of a program for arrays and weights in parts. Results may be in parts, too."""
    jaxpr, consts = jaxprs.parts_of(closed)
    return run_open(jaxpr, *consts, *values)


def run_open(jaxpr: Any, *values: Any) -> list[Any]:
    """As `run`, for a program whose constants are the first of the values."""
    known = dict(zip((*jaxpr.constvars, *jaxpr.invars), values, strict=True))
    for eqn in jaxpr.eqns:
        inputs = [jaxprs.value_of(atom, known) for atom in eqn.invars]
        known.update(zip(eqn.outvars, step(eqn, inputs), strict=True))
    return [jaxprs.value_of(atom, known) for atom in jaxpr.outvars]


def run_dense(eqn: Any, closed: Any, *values: Any) -> list[Any]:
    """As `run`, with arrays only as results. ``eqn`` is the operation that contains the program."""
    return [built(eqn, value) for value in run(closed, *values)]


def step(eqn: Any, inputs: Sequence[Any]) -> list[Any]:
    """The results of one operation: by a rule if there is one, else on arrays."""
    for turned in (True, False):
        if any(isinstance(value, InParts) and value.turned is turned for value in inputs):
            found = RULES.get(eqn.primitive.name, {}).get(turned)
            out = NotImplemented if found is None else found(eqn, *inputs)
            if out is not NotImplemented:
                return out if eqn.primitive.multiple_results else [out]
            inputs = [array(value) if turned and is_turned(value) else value for value in inputs]
    return jaxprs.bind(eqn, *(built(eqn, value) for value in inputs))


def is_turned(value: Any) -> bool:
    return isinstance(value, InParts) and value.turned


def array(value: Any) -> Any:
    """A value as a plain array."""
    return value.dense() if isinstance(value, InParts) else value


def built(eqn: Any, value: Any) -> Any:
    """A value as the plain array that this operation needs."""
    note_built(eqn, value)
    return array(value)


def note_built(eqn: Any, value: Any, cheaper: bool = False) -> None:
    """Report that this weight is built as an array for this operation, if `jaxga.explain` asks for it."""
    tell_built(value, eqn.primitive.name, lambda: jaxprs.place_of(eqn), cheaper)


def tell_built(value: Any, operation: str, place: Callable[[], str] = str, cheaper: bool = False) -> None:
    """As `note_built`, where there is no ``eqn``. ``place`` returns the place in the user's code."""
    told = report.get()
    if told is not None and isinstance(value, InParts) and value.rank and not value.turned:
        told.append(Built(value.name, operation, place(), cheaper))


def flat(values: Sequence[Any], function: Callable[..., Any]) -> tuple[list[jax.Array], Callable[..., Any]]:
    """The arrays that the values consist of, and ``function`` as a function of these arrays."""
    leaves, treedef = jax.tree.flatten(list(values))
    return leaves, lambda *leaves: function(*treedef.unflatten(leaves))


# --- operations that contain programs -----------------------------------------------------------------------------


@rule("jit", "pjit", "closed_call", "core_call", turned=True, as_they_are=True)
def _call(eqn: Any, *values: Any) -> Any:
    body = jaxprs.call_of(eqn)
    return NotImplemented if body is None else run(body, *values)


@rule("custom_jvp_call", "custom_vjp_call", "custom_vjp_call_jaxpr", turned=True, as_they_are=True)
def _custom_derivative(eqn: Any, *values: Any) -> Any:
    body = jaxprs.derivative_of(eqn)
    if body is None:
        return NotImplemented
    leaves, here = flat(values, lambda *values: [_no_weight(value) for value in run(body, *values)])
    _, theirs = flat(values, lambda *values: jaxprs.bind(eqn, *map(array, values)))
    function = jax.custom_jvp(here)

    @function.defjvp
    def derivative(primals: Any, tangents: Any) -> Any:
        found = jax.jvp(theirs, primals, tangents)
        return tuple(
            jax.tree.map(_in_order_of, jax.eval_shape(here, *primals), some, is_leaf=is_turned) for some in found
        )

    return function(*leaves)


def _no_weight(value: Any) -> Any:
    return value if is_turned(value) else array(value)


def _in_order_of(value: Any, whole: jax.Array) -> Any:
    return replace(value, base=value.like(whole)) if is_turned(value) else whole


@rule("remat2", "checkpoint", "remat", turned=True, as_they_are=True)
def _remat(eqn: Any, *values: Any) -> Any:
    found = jaxprs.remat_of(eqn)
    if found is None:
        return NotImplemented
    leaves, function = flat(values, partial(run_dense, eqn, found.body))
    if found.barrier:
        leaves = lax.optimization_barrier(leaves)
    return jax.checkpoint(function, **found.options)(*leaves)


@rule("scan", turned=True, as_they_are=True)
def _scan(eqn: Any, *values: Any) -> Any:
    found = jaxprs.scan_of(eqn)
    if found is None:
        return NotImplemented
    carries = found.constants + found.carries
    constants, carry = values[: found.constants], [built(eqn, value) for value in values[found.constants : carries]]
    stacks = [stack if isinstance(stack, LowRank) else built(eqn, stack) for stack in values[carries:]]

    # With `Turned` values, the state of a recurrent layer would be transposed back and forth at every step.
    recurrent = in_rows.get() or any(np.ndim(value) > 1 for value in carry)

    def body(carry: Any, xs: Any) -> Any:
        token = in_rows.set(recurrent)
        try:
            out = run_dense(eqn, found.body, *constants, *carry, *map(_layer, stacks, xs))
        finally:
            in_rows.reset(token)
        return out[: found.carries], out[found.carries :]

    carry, outputs = lax.scan(body, carry, [_scanned(stack) for stack in stacks], **found.options)
    return [*carry, *outputs]


def _scanned(stack: Any) -> Any:
    """The parts of a stack of weights that ``scan`` goes through: the base, and the factor with the axis of the layers.

    All layers have the other factor in common.
    """
    if not isinstance(stack, LowRank):
        return stack
    own = stack.right if stack.on_right[0] else stack.left
    return stack.base, own.swapaxes(0, 1) if own.shape[1] == stack.shape[0] else own[None].repeat(stack.shape[0], 0)


def _layer(stack: Any, x: Any) -> Any:
    if not isinstance(stack, LowRank):
        return x
    base, own = x
    other = (stack.left if stack.on_right[0] else stack.right)[:, 0]
    return LowRank(base, *((other, own) if stack.on_right[0] else (own, other)), stack.name)


@rule("while", turned=True, as_they_are=True)
def _while(eqn: Any, *values: Any) -> Any:
    found = jaxprs.while_of(eqn)
    if found is None:
        return NotImplemented
    first, second = found.of_condition, found.of_condition + found.of_body
    of_condition, of_body, carry = values[:first], values[first:second], values[second:]
    return lax.while_loop(
        lambda carry: run_dense(eqn, found.condition, *of_condition, *carry)[0],
        lambda carry: run_dense(eqn, found.body, *of_body, *carry),
        [built(eqn, value) for value in carry],
    )


@rule("cond", turned=True, as_they_are=True)
def _cond(eqn: Any, index: Any, *values: Any) -> Any:
    found = jaxprs.cond_of(eqn)
    if found is None:
        return NotImplemented
    branches = [partial(run_dense, eqn, branch, *values) for branch in found.branches]
    if found.platforms is None:
        return lax.switch(index, branches)
    pairs = zip(found.platforms, branches, strict=True)
    return lax.platform_dependent(**{name: branch for names, branch in pairs for name in names or ("default",)})
