"""The type `Encoding`, and tasks and games whose parameters are genes."""

from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import jax

from jaxga.base import Game, Key, Params, Task, as_key, name_of, require
from jaxga.tree import check_like, shape_of_params

Genes = Any
Problem = TypeVar("Problem", Task, Game)


class Encoding(NamedTuple):
    """A function that draws genes, and a pure function that decodes genes to the parameters of a network."""

    init: Callable[[Key], Genes]  # (key) -> genes of a founder, any pytree of float arrays
    decode: Callable[[Genes], Params]  # (genes) -> params, the same in every run


def encoded(
    problem: Problem,
    decode: Encoding | Callable[[Genes], Params],
    init: Callable[[Key], Genes] | None = None,
) -> Problem:
    """The same task or game, with genes as its parameters.

    ``evaluate``, ``loss``, ``validate`` and ``test`` of a task decode genes once per call. So `jaxga.tasks.control`
    decodes once per evaluation, and not in every step. A game decodes when a network is built to play (`Game.decode`).
    A run returns genes; ``decode(result.best.params)`` are the parameters of the network.

    Args:
      problem: a `Task` or a `Game`. In a paired task, the genes of the parent are decoded, too.
      decode: an `Encoding`, or a function ``(genes) -> params``.
      init: ``(key) -> genes``, required if ``decode`` is a function.

    Raises:
      InputError: if ``problem`` is neither a `Task` nor a `Game`, ``init`` is missing or given twice, ``decode`` is
        neither an `Encoding` nor a function, or decoded genes differ from the problem's parameters in structure, shape
        or dtype.

    >>> import jax.numpy as jnp, jaxga
    >>> task = jaxga.Task(lambda key: jnp.zeros(3), lambda key, w: -jnp.sum((w - 2) ** 2))
    >>> same = encoded(task, lambda gene: jnp.full(3, gene), lambda key: jnp.zeros(()))
    >>> float(same.score(jax.random.key(0), jnp.ones(())).fitness)
    -3.0
    """
    require(hasattr(problem, "encoded"), f"problem is {name_of(problem)}, and must be a jaxga.Task or a jaxga.Game.")
    if isinstance(decode, Encoding):
        require(init is None, "encoded got an Encoding and an init: the Encoding has one already.")
        init, decode = decode
    require(
        init is not None and callable(decode),
        "encoded needs an Encoding, or a function from genes to params and init, a function from a key to genes.",
    )
    assert init is not None
    genes, due = (shape_of_params(each, as_key(0)) for each in (init, problem.init))
    who = f"decode ({name_of(decode)})"
    jax.eval_shape(lambda genes: check_like(decode(genes), due, who), genes)
    return problem.encoded(init, decode)
