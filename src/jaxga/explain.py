"""Which low-rank weights of a child are built as dense arrays while it is scored, and for which operation."""

from typing import NamedTuple

import jax
import numpy as np

from jaxga.algorithm import shape_of_source
from jaxga.base import Algorithm, Game, InputError, Source, Task
from jaxga.evaluate.rollouts import programs_of
from jaxga.evaluate.vmapped import vmapped
from jaxga.interpret.walk import Built, report
from jaxga.lowrank import InParts, is_low_rank
from jaxga.report.tables import text_table
from jaxga.tree import named_leaves

CHILD = "child/"  # the prefix of leaf names in the arguments of a task, see `jaxga.evaluate.vmapped.Family`


class Leaf(NamedTuple):
    """One leaf of a child, and how it is scored."""

    name: str  # its path, such as "params/Dense_0/kernel"
    shape: tuple[int, ...]  # of the dense array
    rank: int | None  # rank of the child's step; None if the variation makes a dense array
    built: tuple[Built, ...]  # the operations for which the dense array is built

    @property
    def in_parts(self) -> bool:
        """Is the leaf low-rank, and never built as a dense array?"""
        return self.rank is not None and not self.built


class Explanation(NamedTuple):
    """The result of `explain`; ``print(explanation)`` shows a table."""

    leaves: tuple[Leaf, ...]  # all leaves of a child

    def __str__(self) -> str:
        rows = []
        for leaf in self.leaves:
            child = "an array" if leaf.rank is None else f"rank {leaf.rank}"
            first = {"leaf": leaf.name, "shape": " x ".join(map(str, leaf.shape)), "a child's": child}
            for number, built in enumerate(leaf.built or (None,)):
                rows.append(
                    (first if number == 0 else dict.fromkeys(first, "")) | {"while it is scored": _said(leaf, built)}
                )
        return text_table(rows)


def _ask(algorithm: Algorithm, game: Game, source: Source) -> None:
    """Trace the program that computes the children's actions."""
    if game.observation is None:
        raise InputError("the game does not say what it shows: give Game(observation=...).")
    programs = programs_of(algorithm, game.act, game.draw, game.key, game.decode)
    rows = np.zeros(programs.rows, np.int32)
    seen = jax.ShapeDtypeStruct((len(rows), *game.observation.shape), game.observation.dtype)
    jax.eval_shape(programs.ask_brood, jax.eval_shape(programs.brood, source, 0), rows, seen)


def _said(leaf: Leaf, built: Built | None) -> str:
    if built is None:
        return "" if leaf.rank is None else "in parts"
    why = f"built, which is cheaper here, for {built.operation}" if built.cheaper else f"built for {built.operation}"
    return f"{why} ({built.place})" if built.place else why


def explain(algorithm: Algorithm, task: Task | Game) -> Explanation:
    """Explain which weights of a low-rank child stay in parts while it is scored, which are built, and why.

    Weights that stay in parts are cheap, since children share the matrix products of their parent. A weight that is
    built as a dense array costs each child as much as the full matrix product. Nothing is computed: the task is traced
    in the same way as when children are scored.

    Args:
      algorithm: from `jaxga.ga`.
      task: a `Task`, or a `Game` with a known `Game.observation`.

    Returns:
      An `Explanation`, to be printed.

    Raises:
      InputError: for a game whose ``observation`` is None.

    >>> import jax.numpy as jnp
    >>> import jaxga
    >>> from jaxga.variation import low_rank, relative
    >>> x = jnp.ones((32, 100))
    >>> task = jaxga.Task(
    ...     lambda key: {"first": jnp.ones((100, 50)), "second": jnp.ones((50, 40))},
    ...     lambda key, w: -jnp.mean(x @ w["first"] @ jnp.tanh(w["second"])),
    ... )
    >>> for leaf in explain(jaxga.ga(task.init, low_rank(relative(0.1)), parents=1, children=8), task).leaves:
    ...     print(leaf.name, leaf.in_parts, [built.operation for built in leaf.built])
    first True []
    second False ['tanh']
    """
    source = shape_of_source(algorithm)
    told: list[Built] = []
    token = report.set(told)
    try:
        if isinstance(task, Game):
            _ask(algorithm, task, source)
        else:
            jax.eval_shape(vmapped(algorithm, task).children, source)
    finally:
        report.reset(token)
    child = jax.eval_shape(lambda source: algorithm.offspring(source, 0, 0).params, source)
    built = dict.fromkeys(told)
    leaves = [
        Leaf(
            name,
            tuple(np.shape(leaf)),
            leaf.rank if isinstance(leaf, InParts) else None,
            tuple(each for each in built if name in each.name.replace(CHILD, "").split(" + ")),
        )
        for name, leaf in named_leaves(child, is_low_rank).items()
    ]
    return Explanation(tuple(leaves))
