"""Networks that grow while they evolve: a run in stages, each with a larger network than the one before.

New weights have no effect at first, so that a network computes the same before and after it grows. This holds for
hidden units whose outgoing weights are zero, for layers of `jaxga.nn.Residual`, and for members of an
`jaxga.nn.Ensemble` with ``combine=total`` whose last layer is zero.
"""

import os
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxga import pedigree
from jaxga.algorithm import nobody
from jaxga.base import Algorithm, Individual, Key, Params, State, Task, as_key, require
from jaxga.doubts import KEPT
from jaxga.pedigree import Ancestor
from jaxga.report.files import RunDirectory
from jaxga.run import Result, run
from jaxga.stop import Stop, never
from jaxga.tree import named_leaves, paths

STACKED = ("members", "layers")  # names in paths of leaves [M, ...] that hold M stacked parts, as in jaxga.nn
ROUNDING = 1e-4  # relative tolerance for fitness: a grown network may sum in another order


class Stage(NamedTuple):
    """One stage of `grow`."""

    name: str  # also part of the name of its directory
    task: Task  # whose ``init`` makes the network of this stage
    algorithm: Callable[[Any], Algorithm]  # (free) -> Algorithm; free is the tree of `new_weights`, None in stage 0
    generations: int  # the most generations in this stage
    stop: Stop = never  # a rule that ends the stage earlier, such as `jaxga.stop.plateau`


class Grown(NamedTuple):
    """What `grow` returns."""

    results: tuple[Result, ...]  # the results of the stages that were run

    @property
    def result(self) -> Result:
        """The result of the last stage."""
        return self.results[-1]

    @property
    def history(self) -> dict[str, np.ndarray]:
        """The metrics that all stages logged, joined, and a column ``stage`` with the number of each row's stage."""
        names = set.intersection(*(set(result.history) for result in self.results))
        columns = {
            name: np.concatenate([result.history[name] for result in self.results])
            for name in self.results[0].history
            if name in names
        }
        return columns | {
            "stage": np.repeat(np.arange(len(self.results)), [len(r.history["seconds"]) for r in self.results])
        }

    def individual(self, generation: int, index: int) -> Individual:
        """Any individual of any stage, whether it survived or not.

        Args:
          generation: its generation, counted through all stages.
          index: its index in that generation; ``N + t`` is the parent in slot t.

        Raises:
          InputError: if there is no such individual.
        """
        ends = [result.pedigree.last for result in self.results]
        require(0 <= generation <= ends[-1], f"generation is {generation}, and the stages know 0 to {ends[-1]}.")
        found = next((r for r, end in zip(self.results, ends, strict=True) if generation < end), self.result)
        return pedigree.individual(found.algorithm, found.pedigree, generation, index)

    def ancestors(self, slot: int = 0) -> list[Ancestor]:
        """The lineage of the final parent in ``slot``, through all stages: see `jaxga.pedigree.ancestors`."""
        lineage: list[Ancestor] = []
        for result in reversed(self.results):
            lineage += pedigree.ancestors(result.algorithm, result.pedigree, slot)
            if result.generations:
                slot = pedigree.slot_of(result.algorithm, result.pedigree, 0, lineage[-1].index)
        return lineage


def grow(
    stages: Sequence[Stage],
    key: Key | int = 0,
    *,
    directory: str | os.PathLike[str] | None = None,
    same_fitness: bool = True,
    **options: Any,
) -> Grown:
    """Run stages one after another. Each stage begins with the parents of the stage before, in a larger network.

    Old weights keep their values (`grown`), and so do step sizes and scores. Every slot keeps its parent, so all stages
    need the same number of parents. To mutate only the new weights of a stage, freeze the others: ``Stage(...,
    algorithm=lambda free: jaxga.ga(task.init, frozen(mutation, free), ...))``.

    Args:
      stages: from the smallest network to the largest.
      key: root key or seed, by default 0.
      directory: in it, each stage writes to a directory of its own: ``0_name``, ``1_name``, ... The pedigree of a stage
        names the stage before. If the directory holds these stages already, the unfinished stage continues.
      same_fitness: refuse a stage in which growing changes the fitness of a network, the default. Pass False if the
        task changes, too.
      options: of `jaxga.run`, for every stage.

    Returns:
      `Grown`. If a stage fails or is interrupted, it is the last one.

    Raises:
      InputError: if a leaf becomes smaller, the number of parents changes, or growing changes a fitness.

    >>> import jaxga
    >>> from jaxga import nn, tasks, variation
    >>> def stage(hidden):
    ...     task = tasks.memorization(nn.MLP((hidden, 10)), points=8, shape=(4,))
    ...     mutation = variation.gaussian(variation.relative(0.1))
    ...     algorithm = lambda free: jaxga.ga(
    ...         task.init, variation.frozen(mutation, free) if free else mutation, parents=1, children=8)
    ...     return Stage(f"{hidden} units", task, algorithm, generations=5)
    >>> found = grow([stage(4), stage(6)])
    >>> found.result.best.params["params"]["Dense_0"]["kernel"].shape, found.history["stage"].tolist()
    ((4, 6), [0, 0, 0, 0, 0, 1, 1, 1, 1, 1])
    """
    stages = list(stages)
    require(len(stages) > 0, "grow got no stages: give it one or more.")
    for stage in stages:
        require(isinstance(stage, Stage), f"grow got a {type(stage).__name__} among its stages: make a Stage of it.")
        require(
            isinstance(stage.task, Task), f"stage {stage.name!r} has a {type(stage.task).__name__}: give it a Task."
        )
    for one, other in pairwise(stages):
        _check_growth(one, other, same_fitness)
    algorithms = _algorithms(stages)
    results: list[Result] = []
    before: str | None = None
    state: State | None = None
    for number, (stage, algorithm) in enumerate(zip(stages, algorithms, strict=True)):
        state = None if state is None else grown_state(state, algorithm)
        name = f"{number}_{stage.name.replace(' ', '_')}"
        config = {"stage": stage.name, "before": before}
        place = None
        if directory is not None:
            path = Path(directory) / name
            place = RunDirectory(path, "stage", config, resume=(path / "config.json").exists())
        start = as_key(key) if state is None else None
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", KEPT)  # the step sizes of a stage are meant to go on in the next one
            result = run(
                algorithm, stage.task, start, state=state, generations=stage.generations, stop=stage.stop,
                directory=place, **options,
            )  # fmt: skip
        if place is None:
            result = result._replace(pedigree=result.pedigree._replace(config={"arguments": config}))
        results.append(result)
        if result.failed or result.interrupted:
            break
        state, before = result.state, name
    return Grown(tuple(results))


def _algorithms(stages: Sequence[Stage]) -> list[Algorithm]:
    """The algorithms of all stages, which must have the same number of parents."""
    grows = [None, *(new_weights(one.task, other.task) for one, other in pairwise(stages))]
    algorithms = [stage.algorithm(free) for stage, free in zip(stages, grows, strict=True)]
    for stage, algorithm in zip(stages, algorithms, strict=True):
        held, due = algorithm.parents, algorithms[0].parents
        require(
            held == due, f"stage {stage.name!r} holds {held} parents, and the first stage {due}: let all hold as many."
        )
    return algorithms


def new_weights(before: Task, task: Task) -> Any:
    """Which weights of a task's network are new compared with a smaller one: a tree for `jaxga.variation.frozen`.

    Each leaf that is entirely new or old is one bool, and each leaf that grows is an array of bools.

    Args:
      before: the task with the smaller network.
      task: the task with the larger network.

    Raises:
      InputError: if a leaf becomes smaller.
    """
    old = named_leaves(jax.eval_shape(before.init, as_key(0)))
    due = jax.eval_shape(task.init, as_key(0))

    def free(path: Any, leaf: Any) -> Any:
        there = old.get("/".join(path))
        if there is None or there.shape == leaf.shape:
            return np.bool_(there is None)
        _check_larger(path, there, leaf)
        new = np.ones(leaf.shape, bool)
        new[_corner(there)] = False
        return new

    return jax.tree.map(free, paths(due), due)


def grown_state(state: State, algorithm: Algorithm) -> State:
    """The state of a run with its parents in the larger network of another algorithm, for ``jaxga.run(state=...)``.

    Weights and strategies are kept (`grown`), and so are scores. The memory of the selection is reset.

    Args:
      state: of the run.
      algorithm: that of the larger network, with as many parents.

    Raises:
      InputError: if the old network does not fit into the new one, see `grown`.
    """
    slots = state.parents
    fresh = algorithm.init(jax.random.fold_in(state.key, state.generation), state.scores)
    params = jax.vmap(grown)(slots.params, fresh.parents.params)
    strategy = jax.vmap(partial(grown, loose=True))(slots.strategy, fresh.parents.strategy)
    source = state.source._replace(parents=Individual(params, strategy), pairs=fresh.pairs)
    return State(source, state.scores, fresh.remembered, nobody())


def grown(old: Params, fresh: Params, loose: bool = False) -> Params:
    """A larger network that computes the same as a smaller one. New weights are those of ``fresh``.

    If both networks have a leaf of the same name, the old weights are in its first positions. If a kernel ``[..., n,
    m]`` has new inputs, the weights from these to old outputs are zero, so that new hidden units have no effect. A leaf
    of `STACKED` parts can get more parts, which are those of ``fresh``.

    Args:
      old: params of the smaller network.
      fresh: params of the larger network, newly initialised.
      loose: for strategies instead of params: drop old leaves that do not fit, and set no weights to zero. By default
        False.

    Raises:
      InputError: if a leaf becomes smaller, or, unless ``loose``, is missing in the larger network.

    >>> import jax.numpy as jnp
    >>> old, fresh = {"kernel": jnp.ones((1, 2))}, {"kernel": jnp.full((2, 3), 5.0)}
    >>> grown(old, fresh)["kernel"].tolist()
    [[1.0, 1.0, 5.0], [0.0, 0.0, 5.0]]
    """
    there = named_leaves(old)
    names = ["/".join(path) for path in jax.tree.leaves(paths(fresh))]
    gone = [name for name in there if name not in names]
    require(loose or not gone, f"the larger network has no leaf {gone[:1]}: it keeps all leaves of the smaller one.")

    def leaf(path: Any, new: jax.Array) -> jax.Array:
        before = there.get("/".join(path))
        if before is None or before.shape == new.shape:
            return new if before is None else before
        if loose and (before.ndim != new.ndim or any(a > b for a, b in zip(before.shape, new.shape, strict=True))):
            return new  # the strategy of another mutation
        _check_larger(path, before, new)
        parts = 1 if set(STACKED) & set(path) else 0
        if new.ndim >= parts + 2 and not loose:
            into_old = (*map(slice, before.shape[:-2]), slice(before.shape[-2], None), slice(before.shape[-1]))
            new = new.at[into_old].set(0)
        return new.at[_corner(before)].set(before)

    return jax.tree.map(leaf, paths(fresh), fresh)


def _corner(leaf: Any) -> tuple[slice, ...]:
    return tuple(map(slice, leaf.shape))


def _check_larger(path: Any, old: Any, new: Any) -> None:
    larger = len(old.shape) == len(new.shape) and all(a <= b for a, b in zip(old.shape, new.shape, strict=True))
    require(
        larger,
        f"leaf '{'/'.join(path)}' had shape {tuple(old.shape)} and has {tuple(new.shape)} in the larger network: no "
        "side may become smaller.",
    )


def _check_growth(before: Stage, stage: Stage, same_fitness: bool) -> None:
    """Refuse, before anything is run, a stage into which the network of the stage before cannot grow."""
    draw, key = jax.random.split(as_key(0))
    old = before.task.init(draw)
    new = grown(old, stage.task.init(key))
    if not same_fitness:
        return
    one, other = (float(task.score(draw, net).fitness) for task, net in ((before.task, old), (stage.task, new)))
    same = abs(one - other) <= ROUNDING * (1 + abs(one)) or (np.isnan(one) and np.isnan(other))
    require(
        same,
        f"stage {stage.name!r} changes the fitness of a network from {one:.6g} to {other:.6g} when it grows: let what "
        "is new begin without effect (nn.Residual, combine=nn.total with a last layer of zeros, hidden units), or pass "
        "same_fitness=False.",
    )
