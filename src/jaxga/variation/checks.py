"""Checks of arguments. Each error message is one sentence that names the function and the wrong argument."""

from collections.abc import Callable
from functools import wraps
from typing import Any

from jax.core import Tracer

from jaxga.base import Context, Individual, Key, Variation, require, require_at_least
from jaxga.interpret import by_parts
from jaxga.tree import check_like, name_of


def shown(value: Any) -> str:
    """How a message shows a wrong argument: numbers and strings by value, functions by name, others by type."""
    if callable(value):
        return f"the function {name_of(value)}"
    plain = value is None or isinstance(value, (bool, int, float, str))
    return repr(value) if plain else f"a {type(value).__name__}"


def require_function(name: str, function: Any, of: str) -> None:
    """Refuse anything but a function; ``of`` describes its arguments in the message."""
    require(callable(function), f"{name} is {shown(function)}, and must be a function of {of}.")


def spreads_over(shape: tuple[int, ...], whole: tuple[int, ...]) -> bool:
    """Does an array of this shape broadcast to the shape ``whole``?

    >>> spreads_over((4,), (6, 4)), spreads_over((), (0,)), spreads_over((6,), (6, 4)), spreads_over((1, 4), (4,))
    (True, True, False, False)
    """
    sides = zip(reversed(shape), reversed(whole), strict=False)
    return len(shape) <= len(whole) and all(own in (1, side) for own, side in sides)


def require_probability(probability: Any) -> None:
    """Refuse numbers below 0 or above 1. Traced numbers pass unchecked."""
    require_at_least(0, probability=probability)
    traced = isinstance(probability, Tracer)
    require(traced or probability <= 1, f"probability is {probability}, and must be 1 or less.")


def seeing_arrays(function: Callable[..., Any]) -> Callable[..., Any]:
    """Let ``function(key, tree, *others)`` take a tree with low-rank leaves. Leaves it leaves alone stay low-rank."""

    @wraps(function)
    def call(key: Key, tree: Any, *others: Any) -> Any:
        return by_parts(lambda tree, key, *others: function(key, tree, *others), keep=True)(tree, key, *others)

    return call


def checked(variation: Any, who: str) -> Variation:
    """The same variation, with a check that each child has the structure and shapes of its parent.

    ``who`` names the function that uses the variation, for the message.

    Raises:
      InputError: for anything but a `Variation`.
    """
    require(
        isinstance(variation, Variation),
        f"{who} got {shown(variation)} where a variation is due: gaussian(absolute(0.1)) is one, and "
        "stateless(function) makes one of a function of (key, params).",
    )
    name = f"variation {name_of(variation.apply)}"
    of_arrays = variation.apply if variation.in_parts else seeing_arrays(variation.apply)

    def apply(key: Key, parent: Individual, context: Context) -> Individual:
        child = of_arrays(key, parent, context)
        require(isinstance(child, Individual), f"{name} returned {shown(child)}, and an Individual was due.")
        params = check_like(child.params, parent.params, name)
        return Individual(params, check_like(child.strategy, parent.strategy, f"the strategy of {name}"))

    return Variation(variation.init, apply, in_parts=True)
