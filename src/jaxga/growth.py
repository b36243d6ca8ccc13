"""Networks that grow while they evolve: a run in stages, each with a larger network than the one before.

What is added begins without effect, so that a grown network does what it did: hidden units whose outgoing weights are
zero, layers of `jaxga.nn.Residual`, members of an `jaxga.nn.Ensemble` with ``combine=total`` whose last layer is zero.
"""

import os
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
from jaxga.pedigree import Ancestor
from jaxga.report.files import RunDirectory
from jaxga.run import Result, run
from jaxga.stop import Stop, never
from jaxga.tree import named_leaves, paths

STACKED = ("members", "layers")  # names of leaves [M, ...] that hold M parts, as those of jaxga.nn do
ROUNDING = 1e-4  # a grown network may sum in another order


class Stage(NamedTuple):
    """One stage of `grow`."""

    name: str
    task: Task
    algorithm: Callable[[Any], Algorithm]  # (free) -> Algorithm; free is `new_weights`, None in the first stage
    generations: int  # at most
    stop: Stop = never  # such as `jaxga.stop.plateau`


class Grown(NamedTuple):
    """What `grow` returns."""

    results: tuple[Result, ...]  # of the stages

    @property
    def result(self) -> Result:
        """That of the last stage."""
        return self.results[-1]

    @property
    def history(self) -> dict[str, np.ndarray]:
        """The columns that all stages logged, one after another, and ``stage``, the number of each row's stage."""
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
        """Child ``index`` of ``generation``, of whichever stage it was born in; ``N + t`` is parent t.

        Generations are counted through all stages.
        """
        ends = [result.pedigree.last for result in self.results]
        require(0 <= generation <= ends[-1], f"generation is {generation}, and the stages know 0 to {ends[-1]}.")
        found = next((r for r, end in zip(self.results, ends, strict=True) if generation < end), self.result)
        return pedigree.individual(found.algorithm, found.pedigree, generation, index)

    def ancestors(self, slot: int = 0) -> list[Ancestor]:
        """The lineage of final parent ``slot`` through all stages, youngest first: see `jaxga.pedigree.ancestors`."""
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
    """Run the stages one after another; each begins with the parents of the one before, in a larger network.

    Weights that were there keep their values (`grown`), and so do step sizes and scores. Slots keep their meaning, so
    all stages have as many parents. To change only what is new, freeze the rest: ``Stage(..., algorithm=lambda free:
    jaxga.ga(task.init, frozen(mutation, free), ...))``.

    Args:
      stages: in the order of their sizes.
      key: root key or seed.
      directory: each stage has a directory in it, ``0_name``, ``1_name``, ..., with a pedigree that names the one
        before. Called again, it goes on in the stage that was not finished.
      same_fitness: refuse a stage that changes what a network scores when it grows. Pass False where the task changes,
        too.
      options: of `jaxga.run`.

    Raises:
      InputError: where a leaf becomes smaller, the number of parents changes, or growing changes a fitness.

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
    """Those of all stages, which hold as many parents."""
    grows = [None, *(new_weights(one.task, other.task) for one, other in pairwise(stages))]
    algorithms = [stage.algorithm(free) for stage, free in zip(stages, grows, strict=True)]
    for stage, algorithm in zip(stages, algorithms, strict=True):
        held, due = algorithm.parents, algorithms[0].parents
        require(
            held == due, f"stage {stage.name!r} holds {held} parents, and the first stage {due}: let all hold as many."
        )
    return algorithms


def new_weights(before: Task, task: Task) -> Any:
    """Which weights of a task's network that of the task before does not have: a tree for `jaxga.variation.frozen`.

    One bool for each leaf that is new or old as a whole; an array of bools for one that grows.
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
    """The state of a run, with its parents in the larger network of another algorithm: a start for `jaxga.run`.

    Weights and what is inherited beside them are kept (`grown`), and so are scores. The selection remembers nothing.
    """
    slots = state.parents
    fresh = algorithm.init(jax.random.fold_in(state.key, state.generation), state.scores)
    params = jax.vmap(grown)(slots.params, fresh.parents.params)
    strategy = jax.vmap(partial(grown, loose=True))(slots.strategy, fresh.parents.strategy)
    source = state.source._replace(parents=Individual(params, strategy), pairs=fresh.pairs)
    return State(source, state.scores, fresh.remembered, nobody())


def grown(old: Params, fresh: Params, loose: bool = False) -> Params:
    """A larger network that does what the old one did; what is new begins as ``fresh`` has it.

    A leaf that both have under one name keeps its old weights in its first places. Where a kernel ``[..., n, m]`` has
    new inputs, their weights into old outputs are zero, so that new hidden units change nothing. A leaf of
    `STACKED` parts may get more parts, which are fresh.

    Args:
      old: params.
      fresh: of the larger network.
      loose: allow leaves that the larger one does not have; they are dropped.

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
            return new  # of another mutation
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
    """Refuse a stage into which the network of the one before cannot grow, before anything is run."""
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
