"""Score all children on one device, one chunk of children at a time."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxga.algorithm import shape_of_source
from jaxga.base import (
    Algorithm,
    Evaluation,
    Game,
    Individual,
    Key,
    Params,
    Place,
    Purpose,
    Source,
    Task,
    Trial,
    as_they_are,
    generation_key,
    name_of,
    require,
    require_whole,
)
from jaxga.compilation import loop
from jaxga.evaluate.contract import Evaluator
from jaxga.heredity import candidate
from jaxga.interpret import by_parts
from jaxga.tree import iota, running_statistics, size, take

CHUNK = 8  # children scored at once on a CPU, so that their activations stay in the cache
LARGE_CHUNK = 512  # children scored at once on other devices, so that a GPU is busy
CHUNK_NUMBERS = 1_000_000, 32_000_000  # the most numbers that the children of a chunk own, on a CPU and elsewhere
AHEAD, AHEAD_NUMBERS = 8, 200_000  # the most chunks whose children are built together on a CPU, and their numbers


@dataclass(frozen=True)
class Vmapped(Evaluator):
    """See `vmapped`. It is hashable: equal evaluators share one compiled program."""

    algorithm: Algorithm
    task: Task = field()
    pairs: int  # number of pairs whose children are scored at once
    members: int  # number of children of one pair that are scored at once
    ahead: int = 1  # number of chunks whose children are built together, as a block; divides the chunks of a brood

    @property
    def chunk(self) -> int:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The number of children scored at once."""
        return self.pairs * self.members

    @property
    def grid(self) -> tuple[int, int]:
        """The number of groups of pairs, and the number of chunks in each brood."""
        return self.algorithm.pairs // self.pairs, self.algorithm.brood // self.members

    def children(self, source: Source, number: Any = 0, slices: int = 1) -> Evaluation:
        """Score a slice of the children, chunk by chunk."""
        groups, chunks = self.grid
        if slices == 1:
            return merge(self.score_chunks(source, iota(groups), iota(chunks)), 3)
        if slices <= groups:
            some = groups // slices
            return merge(self.score_chunks(source, number * some + iota(some), iota(chunks)), 3)
        group, part = jnp.divmod(number, slices // groups)
        some = chunks * groups // slices
        return merge(self.score_chunks(source, group[None], part * some + iota(some)), 3)

    def individuals(self, source: Source, indices: Any, episodes: int | None = None) -> Evaluation:
        """Score individuals one by one."""
        key = generation_key(source, Purpose.VALIDATION)

        def as_child(index: jax.Array) -> Evaluation:
            place, individual = self.algorithm.place(source, index), candidate(self.algorithm, source, index)
            return self.score(source, place, individual, take(source.parents, place.slot))

        def on_fresh_draws(index: jax.Array) -> Evaluation:
            params = candidate(self.algorithm, source, index).params
            keys = jax.vmap(partial(jax.random.fold_in, key))(iota(episodes or 0))
            fitness = jax.lax.map(lambda key: self.task.score(key, params).fitness, keys)
            return Evaluation(jnp.mean(fitness), metrics={"std_return": jnp.std(fitness)})

        return jax.lax.map(on_fresh_draws if episodes else as_child, jnp.asarray(indices, jnp.int32))

    def slices(self, about: int) -> int:
        """The possible number of slices next to ``about``: slices are whole groups of pairs, or whole chunks of one."""
        groups, chunks = self.grid
        parts = [chunks // count for count in self.shares if chunks % count == 0]
        return enough([*divisors(groups), *(groups * count for count in parts)], about)

    @property
    def shares(self) -> list[int]:
        """The numbers of a brood's chunks that can be scored separately: equal parts of a block, or whole blocks."""
        return [*divisors(self.ahead)[:-1], *range(self.ahead, self.grid[1] + 1, self.ahead)]

    def score_chunks(self, source: Source, groups: jax.Array, chunks: jax.Array) -> Evaluation:
        """Score chunks of the broods of groups of pairs.

        The loops are nested, so that what depends only on the parent is computed once for each brood.

        Args:
          source: the source of the generation.
          groups: ``[S]``, the numbers of groups of pairs.
          chunks: ``[K]``, the numbers of chunks in each brood. They are consecutive, and K is one of `shares`.

        Returns:
          The scores ``[S, K, chunk]``.
        """

        def score_block(group: jax.Array, chunks: jax.Array) -> Evaluation:
            if self.pairs == 1:
                return self.score_brood(source, group, chunks)
            pairs = group * self.pairs + iota(self.pairs)
            scores = jax.vmap(self.score_brood, in_axes=(None, 0, None), out_axes=1)(source, pairs, chunks)
            return jax.tree.map(lambda leaf: leaf.reshape(len(chunks), -1, *leaf.shape[3:]), scores)

        def score_group(group: jax.Array) -> Evaluation:
            blocks = chunks.reshape(-1, min(self.ahead, len(chunks)))
            return merge(loop(partial(score_block, group), blocks, source.generation), 2)

        return loop(score_group, groups, source.generation)

    def score_brood(self, source: Source, pair: jax.Array, chunks: jax.Array) -> Evaluation:
        """Score chunks of one block of a pair's brood.

        A block is always built as a whole, even if only a part of it is scored. Results for an array of another size
        could be rounded differently, for instance in the last elements, which do not fill a processor register.

        Args:
          source: the source of the generation.
          pair: int32 ``[]``, the number of the pair.
          chunks: ``[K]``, the numbers of chunks in the brood.

        Returns:
          The scores ``[K, chunk]``.
        """

        def build(member: jax.Array) -> Individual:
            return self.algorithm.offspring(source, pair, member)

        def score(member: jax.Array, child: Individual) -> Evaluation:
            return self.score(source, self.algorithm.place_of(source, pair, member), child, parent)

        parent = take(source.parents, source.pairs[pair, 0])
        first = chunks[0] // self.ahead * self.ahead * self.members
        everyone = first + iota(self.ahead * self.members)
        axes = _axes(build, everyone)
        children = jax.vmap(build, out_axes=axes)(everyone)

        def score_chunk(number: jax.Array) -> Evaluation:
            part = partial(jax.lax.dynamic_slice_in_dim, start_index=number * self.members, slice_size=self.members)
            chunk = part(everyone)
            some = map_axes(lambda axis, leaf: leaf if axis is None else part(leaf), axes, children)
            score_all = jax.vmap(score, in_axes=(0, axes))
            if self.algorithm.viable is None:
                return score_all(chunk, some)
            alive = jax.vmap(by_parts(self.algorithm.viable), in_axes=(axes,))(some)
            return _of_viable(alive, score_all, chunk, some)

        return loop(score_chunk, chunks % self.ahead, source.generation)

    def varying(self, source: Source) -> Evaluation:
        """For each array of a score: can it differ between children? (A tiebreak that is not set is 0 for all.)"""

        def score(index: jax.Array) -> Evaluation:
            place = self.algorithm.place(source, index)
            child = self.algorithm.offspring(source, place.pair, place.member)
            return self.score(source, place, child, take(source.parents, place.slot))

        axes = _axes(score, iota(2))
        return jax.tree.map(lambda axis: axis is not None, axes, is_leaf=lambda axis: axis is None)

    def score(self, source: Source, place: Place, individual: Individual, parent: Individual) -> Evaluation:
        """Score one individual, with the key that belongs to its place.

        Args:
          source: the source of the generation.
          place: of the individual.
          individual: the individual that is scored.
          parent: its parent.
        """

        def judge(family: Family, key: Key, generation: jax.Array, index: jax.Array) -> Evaluation:
            return self.task.score(Trial(key, generation, index, family.parent), family.child)

        key = self.task.key(self.algorithm.key(source, Purpose.EVALUATION, place.group), place.number)
        family = Family(individual.params, None if source.founding else parent.params)
        return by_parts(judge)(family, key, source.generation, place.number)


class Family(NamedTuple):
    """Parameters on which a score may depend."""

    child: Params  # of the individual that is scored
    parent: Params | None  # of its parent; None if it has none


def vmapped(algorithm: Algorithm, task: Task, chunk: int | None = None) -> Vmapped:
    """Score all children on one device by ``vmap``, one chunk of children at a time.

    Memory is needed for the parents and for one chunk only, for any number of children. The children of a chunk have
    the same parent, so that they share its matrix products. If broods are smaller than the chunk, it consists of whole
    broods.

    The last bit of a result depends on the chunk, because sums are computed in another order. Use the same chunk if
    runs must be equal.

    Args:
      algorithm: from `jaxga.ga`.
      task: whose ``evaluate`` scores a child.
      chunk: number of children scored at once, rounded down so that it divides the broods evenly. The default is 8 on
        a CPU (or `Task.chunk`) and 512 elsewhere. It is lower if the children of a chunk would own more than 1 million
        numbers on a CPU, or 32 million elsewhere. Gaussian children own all their weights, low-rank children their
        factors. `best_chunk` measures which chunk is fastest.

    Raises:
      InputError: if ``task`` is not a `Task`, ``chunk`` is below 1, or the selection keeps elites' scores and the
        task's scores cannot be compared between generations.

    >>> import jaxga
    >>> from jaxga.variation import absolute, gaussian
    >>> task = jaxga.Task(lambda key: jnp.ones(3), lambda key, w: jaxga.Evaluation(-jnp.sum(w**2)))
    >>> algorithm = jaxga.ga(task.init, gaussian(absolute(0.1)), parents=2, children=8)
    >>> vmapped(algorithm, task)(algorithm.init(jax.random.key(0))).fitness.shape
    (8,)
    """
    require(isinstance(task, Task), f"task is {name_of(task)}, and must be a jaxga.Task: {_way_out(task)}.")
    require_comparable(algorithm, task)
    own, cpu = parts_of_child(algorithm).own, jax.default_backend() == "cpu"
    if chunk is None:
        most = (task.chunk or CHUNK) if cpu else LARGE_CHUNK
        chunk = int(np.clip(CHUNK_NUMBERS[not cpu] // own, 1, most))
    require_whole(1, chunk=chunk)
    if chunk > algorithm.brood:
        return Vmapped(algorithm, task, largest_divisor(algorithm.pairs, chunk // algorithm.brood), algorithm.brood)
    members = largest_divisor(algorithm.brood, chunk)
    ahead = min(max(AHEAD_NUMBERS // (own * members), 1), AHEAD) if cpu else 1
    return Vmapped(algorithm, task, 1, members, largest_divisor(algorithm.brood // members, ahead))


def require_comparable(algorithm: Algorithm, problem: Task | Game) -> None:
    """Refuse elites that keep their score if scores of different generations cannot be compared.

    An improvement over a parent is such a score.

    Raises:
      InputError: for such an algorithm and problem.
    """
    selection = algorithm.selection
    keeps = selection.incumbents or (selection.elites and not selection.reevaluate)
    require(
        problem.comparable or not keeps,
        "an elite cannot keep its improvement over its own parent as a score: pass reevaluate=True, or take a "
        "selection that compares children with each other alone.",
    )


def _way_out(task: Any) -> str:
    """For the error message: how to score something that is not a task."""
    if isinstance(task, Game):
        return "score a Game by jaxga.rollouts(algorithm, game)"
    return "make one of init and evaluate, or of an environment by tasks.control(environment, network)"


class Parts(NamedTuple):
    """Which parts of a child are its own, and which it shares with its parent."""

    axes: Any  # axes of the params for ``vmap`` over children: 0 for leaves of its own, None for shared ones
    own: int  # number of numbers of its own, at least 1
    whole: int  # number of numbers of the dense network


def parts_of_child(algorithm: Algorithm, decode: Callable[[Params], Params] = as_they_are) -> Parts:
    """Which parts of a child are its own; with ``decode``, which parts of the decoded child.

    A variation need not declare it: a batching rule for ``vmap`` finds out which leaves differ between children.

    Raises:
      InputError: if the variation would mutate running statistics, such as those of a BatchNorm.
    """
    return algorithm.remembered((parts_of_child, decode), lambda: _parts_of_child(algorithm, decode))


def _parts_of_child(algorithm: Algorithm, decode: Callable[[Params], Params]) -> Parts:
    found = []

    def look(source: Source) -> None:
        child = lambda member: decoded(decode, algorithm.offspring(source, 0, member).params)  # noqa: E731
        axes, shapes = _axes(child, iota(2)), jax.eval_shape(child, 0)
        numbers = map_axes(lambda axis, leaf: 0 if axis is None else leaf.size, axes, shapes)
        whole = size(jax.eval_shape(decode, take(source.parents, 0).params))
        statistics = running_statistics(map_axes(lambda axis, leaf: None if axis is None else leaf, axes, shapes))
        require(
            not statistics,
            f"params hold running statistics, and the variation changes them ({', '.join(statistics)}): keep them "
            "outside of params and close over them, or mutate the rest alone, by masked(variation, lambda path: "
            "'batch_stats' not in path).",
        )
        found.append(Parts(axes, max(sum(jax.tree.leaves(numbers)), 1), whole))

    jax.eval_shape(look, shape_of_source(algorithm))
    return found[0]


def decoded(decode: Callable[[Params], Params], params: Params) -> Params:
    """The decoded parameters. Leaves that come out low-rank stay low-rank."""
    return by_parts(decode, keep=True)(params)


def _axes(function: Callable[[jax.Array], Any], examples: jax.Array) -> Any:
    """For every leaf of ``function(example)``: 0 if it depends on the example, else None, as axes for ``vmap``."""
    found: list[Any] = []
    look = jax.custom_batching.custom_vmap(lambda tree: tree)

    @look.def_vmap
    def note(axis_size: int, in_batched: list[Any], tree: Any) -> tuple[Any, Any]:
        del axis_size
        found.append(in_batched[0])
        return tree, in_batched[0]

    shapes = jax.eval_shape(jax.vmap(lambda example: look(function(example))), examples)
    depends = found[0] if found else jax.tree.map(lambda _: False, shapes)
    return jax.tree.map(lambda batched: 0 if batched else None, depends)


def depends(function: Callable[[jax.Array], Any], examples: jax.Array) -> bool:
    """Does any part of ``function(example)`` depend on the example?"""
    return bool(jax.tree.leaves(_axes(function, examples)))


def map_axes(function: Callable[[int | None, Any], Any], axes: Any, tree: Any) -> Any:
    return jax.tree.map(function, axes, tree, is_leaf=lambda axis: axis is None)


def _of_viable(alive: jax.Array, score: Callable[..., Evaluation], *children: Any) -> Evaluation:
    """The scores of a chunk, -inf where ``alive [chunk]`` is False. If no child is alive, nothing is computed."""
    shapes = jax.eval_shape(score, *children)
    nothing = lambda *_: jax.tree.map(lambda shape: jnp.zeros(shape.shape, shape.dtype), shapes)  # noqa: E731
    scores = jax.lax.cond(alive.any(), score, nothing, *children)
    return scores._replace(fitness=jnp.where(alive, scores.fitness, -jnp.inf))


def merge(tree: Evaluation, axes: int) -> Evaluation:
    """Flatten the leading ``axes`` axes into one."""
    return jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[axes:]), tree)


def enough(counts: Sequence[int], about: int) -> int:
    """The smallest count that is at least ``about``; if there is none, the largest count."""
    return min((count for count in counts if count >= about), default=max(counts))


def divisors(number: int) -> list[int]:
    return [divisor for divisor in range(1, number + 1) if number % divisor == 0]


def largest_divisor(number: int, limit: int) -> int:
    return next(divisor for divisor in range(min(limit, number), 0, -1) if number % divisor == 0)
