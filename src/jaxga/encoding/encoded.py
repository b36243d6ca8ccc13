"""What an encoding is, and a task or a game whose parameters are genes."""

from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import jax

from jaxga.base import Game, Key, Params, Task, as_key, name_of, require
from jaxga.tree import check_like, shape_of_params

Genes = Any
Problem = TypeVar("Problem", Task, Game)


class Encoding(NamedTuple):
    """Genes, and what becomes of them.

    ``init: (key) -> genes`` draws the genes of a founder: any pytree of floats. ``decode: (genes) -> params`` makes the
    network of them: pure, and the same in every run.
    """

    init: Callable[[Key], Genes]
    decode: Callable[[Genes], Params]


def encoded(
    problem: Problem,
    decode: Encoding | Callable[[Genes], Params],
    init: Callable[[Key], Genes] | None = None,
) -> Problem:
    """The same task or game, with genes as its parameters.

    Everything that takes parameters decodes first: ``evaluate``, ``loss``, ``validate`` and ``test`` of a task, once a
    call; so an episode of `jaxga.tasks.control` decodes once, and not at every step. A game decodes when a network is
    built to play, and its steps ask what was decoded (`Game.decode`). What a run returns are genes:
    ``decode(result.best.params)`` is the network.

    Args:
      problem: a `Task` or a `Game`. A paired one stays paired: genes of the parent are decoded, too.
      decode: an `Encoding`; or its function ``(genes) -> params``, and then
      init: ``(key) -> genes``.

    Raises:
      InputError: where there is no ``init``; where decoded genes are no parameters of the problem: another structure,
        shape or dtype.

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
