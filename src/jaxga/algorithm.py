"""The genetic algorithm: founders, offspring, survivors, and the next state."""

import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from jaxga.base import (
    Algorithm,
    Context,
    Evaluation,
    Individual,
    Info,
    Kept,
    Key,
    Params,
    Purpose,
    Selection,
    State,
    Survivors,
    Variation,
    Verdict,
    as_fitness,
    as_key,
    generation_key,
    name_of,
    require,
    require_whole,
)
from jaxga.compilation import jit
from jaxga.lowrank import add_weighted, dense, map_low_rank, step_leaf
from jaxga.selection import ranking, truncation
from jaxga.tree import check_like, expand, iota, named_leaves, replicate, shape_of_params, take, where
from jaxga.variation.checks import checked
from jaxga.variation.crossover import Recombination
from jaxga.variation.projection import Projection, project

Champion = Callable[[Evaluation], jax.Array]  # (Evaluation [N + elites]) -> index
Founders = Callable[[Key, Callable[[Key], Params], int], Params | None]

RESERVED = {
    *("fitness", "mean_fitness", "std_fitness", "survivors_mean_fitness", "best_fitness", "nan"),
    *("best_validation", "generation", "evaluations", "seconds", "evaluations_per_second", "lethal"),
}  # names that every run logs
LOGGED = {"step_size", "frequency"}  # what of a strategy is logged, as means over the parents
RECOMBINATION_CHUNK = 64  # children whose steps are held at once while they are averaged
LOGGED_NUMBERS = 16  # of one metric, at most


def common_founder(key: Key, init: Callable[[Key], Params], parents: int) -> Params:
    """One initialisation, shared by all first parents: the first children are its mutations (the default)."""
    return replicate(init(key), parents)


def random_founders(key: Key, init: Callable[[Key], Params], parents: int) -> None:
    """No first parents: every child of generation 0 is an initialisation of its own (Such et al. 2017)."""
    del key, init, parents


def trained_founders(params: Params) -> Founders:
    """A warm start: all first parents are this network, trained before by whatever means.

    >>> from jaxga.variation import absolute, gaussian
    >>> trained = jnp.array([1.0, 2.0, 3.0])
    >>> algorithm = ga(lambda key: jnp.zeros(3), gaussian(absolute(0.1)), parents=2, children=8,
    ...                founders=trained_founders(trained))
    >>> algorithm.init(jax.random.key(0)).parents.params[1].tolist()
    [1.0, 2.0, 3.0]
    """

    def founders(key: Key, init: Callable[[Key], Params], parents: int) -> Params:
        del key, init
        return replicate(jax.tree.map(jnp.asarray, params), parents)

    return founders


def ga(
    init: Callable[[Key], Params],
    variation: Variation,
    *,
    parents: int,
    children: int,
    selection: Selection = truncation,
    elites: int = 0,
    reevaluate: bool = False,
    recombination: Recombination | None = None,
    founders: Founders = common_founder,
    warmup: int = 0,
    champion: Champion | None = None,
    viable: Callable[[Individual], Any] | None = None,
) -> Algorithm:
    """A generational genetic algorithm: T parents, N children, the survivors become the parents.

    Args:
      init: ``(key) -> params``, usually ``task.init``.
      variation: how a child differs from its parent.
      parents: T.
      children: N, a multiple of T: every parent has N / T children, its brood.
      selection: who survives.
      elites: this many of the best parents compete with the children, and as many of the best of all always survive.
        0 is comma selection (mu, lambda), ``elites=parents`` is plus selection (mu + lambda).
      reevaluate: score elites again every generation (for noisy fitness), or keep their old score.
      recombination: average several children into each next parent, see `jaxga.variation.average`.
      founders: `common_founder` or `random_founders`.
      warmup: so many generations in which only what is inherited beside the weights evolves, such as step sizes:
        children are scored as ever, and survivors pass on their strategy with their parent's weights.
      champion: who is put first whatever its fitness, and so is the elite: `jaxga.best_validated`.
      viable: ``(individual) -> bool []``: a child for whom it does not hold is lethal. It costs no evaluation, its
        fitness is -inf, and it survives nowhere: where there are not enough others, its parent stays.

    Raises:
      InputError: where the sizes do not fit, or params hold anything but floats.

    >>> from jaxga.variation import absolute, gaussian
    >>> algorithm = ga(lambda key: jnp.zeros(3), gaussian(absolute(0.1)), parents=2, children=8)
    >>> state = algorithm.init(jax.random.key(0))
    >>> algorithm.offspring(state, 1, 3).params.shape  # child 1 * 4 + 3 = 7
    (3,)
    >>> state, info = algorithm.update(state, Evaluation(jnp.arange(8.0)))
    >>> info.survivors.indices[:, 0].tolist(), state.fitness.tolist()
    ([7, 6], [7.0, 6.0])
    """
    require(callable(init), f"init is {init!r}, and must be a function of a key that returns params, as task.init.")
    variation = checked(variation, "ga")
    _check_sizes(parents, children, elites, reevaluate, recombination)
    require_whole(0, warmup=warmup)
    brood = children // parents
    averaged = recombination.size if recombination else 1

    def new_state(key: Key) -> State:
        shape = shape_of_params(init, key)
        first = founders(jax.random.fold_in(jax.random.fold_in(key, 0), Purpose.FOUNDERS), init, parents)
        if first is not None:
            due = jax.eval_shape(partial(replicate, times=parents), shape)
            first = check_like(jax.tree.map(jnp.asarray, first), due, f"founders ({name_of(founders)})")
        with jax.debug_nans(False):  # this one is meant
            unknown = jnp.full(parents, jnp.nan, jnp.float32)
        return State(
            key=key,
            generation=jnp.int32(0),
            parents=None if first is None else Individual(first, jax.vmap(variation.init)(first)),
            fitness=unknown,
            tiebreak=jnp.zeros(parents, jnp.float32),
            best_fitness=jnp.float32(-jnp.inf),
            best_generation=jnp.int32(-1),
            best_index=jnp.int32(-1),
        )

    def child_of(state: State, parent: Individual, slot: Any, member: Any) -> Individual:
        key_mate, key_child = jax.random.split(child_key(state, slot, member))
        other = jax.random.randint(key_mate, (), 1, max(parents, 2), jnp.int32)
        mate = take(state.parents, (slot + other) % parents)
        return variation.apply(key_child, parent, Context(state.generation, mate))

    def child_key(state: State, slot: Any, member: Any) -> Key:
        return jax.random.fold_in(generation_key(state, Purpose.OFFSPRING), slot * brood + member)

    def offspring(state: State, slot: Any, member: Any) -> Individual:
        slot, member = jnp.asarray(slot, jnp.int32), jnp.asarray(member, jnp.int32)
        if state.parents is None:
            params = init(child_key(state, slot, member))
            return Individual(params, variation.init(params))
        return child_of(state, take(state.parents, slot), slot, member)

    def select(state: State, evaluation: Evaluation) -> Info:
        scored = as_fitness(evaluation)
        evaluation = _candidates(state, scored, children, elites, reevaluate)
        key_rank, key_select = jax.random.split(generation_key(state, Purpose.SELECTION))
        ranked = order = ranking(key_rank, evaluation)
        if champion is not None:
            order = ranked[jnp.argsort(ranked != jnp.asarray(champion(evaluation), jnp.int32), stable=True)]
        safe = elites if state.parents is not None else 0
        if selection is truncation:  # the elites are among the best anyway
            chosen = order[: parents * averaged]
        else:
            rest = _rest(selection, key_select, evaluation, order[:safe], parents * averaged)
            chosen = jnp.concatenate([order[:safe], rest])
            chosen = chosen[jnp.argsort(jnp.argsort(order)[chosen])]  # best first
        indices = chosen.reshape(averaged, parents).T  # dealt like cards: parent t gets ranks t, t + T, ...
        survivors = _survivors(recombination, evaluation, indices, ranked[0])
        if viable is not None and recombination is None and state.parents is not None:
            survivors = _with_parents_of_lethal(survivors, state, children)
        if warmup and state.parents is not None:
            survivors = _without_steps(survivors, state.generation < warmup)
        kept = 0 if reevaluate else safe
        metrics = {
            **_fitness_metrics(evaluation, ranked[0], indices, children, kept, viable is not None),
            **_logged(scored.metrics, order),
            **_inherited(state),
        }
        known = ((indices >= 0) & (indices < evaluation.fitness.size)).all()
        some = metrics["nan"] < children
        verdict = jnp.where(known, jnp.where(some, Verdict.FINE, Verdict.NO_FITNESS), Verdict.OUT_OF_RANGE)
        return Info(survivors, metrics, verdict.astype(jnp.int32))

    def advance(state: State, survivors: Survivors) -> State:
        if recombination and state.parents is not None:
            new_parents = jax.lax.map(
                partial(_average, child_of, state, children, recombination.projection),
                (survivors.indices, survivors.share, survivors.step),
            )
        else:  # founders are not averaged: the mean of strangers solves nothing
            held = survivors.step[:, 0] == 0 if warmup and state.parents is not None else None
            new_parents = jax.vmap(partial(_rebuild, offspring, state, children))(survivors.indices[:, 0], held)
        better = survivors.best_fitness > state.best_fitness
        return State(
            key=state.key,
            generation=state.generation + 1,
            parents=new_parents,
            fitness=survivors.fitness,
            tiebreak=survivors.tiebreak,
            best_fitness=jnp.where(better, survivors.best_fitness, state.best_fitness),
            best_generation=jnp.where(better, state.generation, state.best_generation),
            best_index=jnp.where(better, survivors.best_index, state.best_index),
        )

    sizes = parents, children, elites, reevaluate
    return Algorithm(new_state, offspring, select, advance, *sizes, viable, Kept(), averaged)


def population(algorithm: Algorithm, state: State) -> Individual:
    """All children of a generation ``[N, ...]``, built, as plain arrays: to be scored in a loop of one's own.

    `run` never builds them all at once. A child stands at its index, so that ``algorithm.update`` takes their scores.

    >>> from jaxga.variation import absolute, gaussian
    >>> algorithm = ga(lambda key: jnp.zeros(3), gaussian(absolute(0.1)), parents=2, children=8)
    >>> state = algorithm.init(jax.random.key(0))
    >>> for _ in range(20):
    ...     children = population(algorithm, state)
    ...     state, info = algorithm.update(state, Evaluation(-jnp.sum((children.params - 1) ** 2, axis=1)))
    >>> bool(state.best_fitness > -1)
    True
    """
    build = algorithm.remembered(population, lambda: jit(partial(_population, algorithm)))
    return build(state)


def _population(algorithm: Algorithm, state: State) -> Individual:
    return jax.vmap(partial(candidate, algorithm, state))(iota(algorithm.children))


def state_with_parents(algorithm: Algorithm, key: Key) -> State:
    """A first state, where founders are drawn afresh with the first of them for all parents."""
    state = algorithm.init(key)
    child = algorithm.offspring(state, jnp.int32(0), jnp.int32(0))
    return state._replace(parents=replicate(child._replace(params=dense(child.params)), algorithm.parents))


def shape_of_state(algorithm: Algorithm) -> State:
    """Shapes and node types of a state that has parents."""
    return algorithm.remembered(
        shape_of_state, lambda: jax.eval_shape(partial(state_with_parents, algorithm), as_key(0))
    )


def shape_of_survivors(algorithm: Algorithm) -> Survivors:
    """Shapes of what fitness decides in a generation."""
    table, line = (algorithm.parents, algorithm.averaged), (algorithm.parents,)
    kinds: dict[str, Any] = {"indices": (table, jnp.int32), "share": (table, jnp.float32), "step": (table, jnp.float32)}
    kinds |= {"fitness": (line, jnp.float32), "tiebreak": (line, jnp.float32)}
    kinds |= {"best_fitness": ((), jnp.float32), "best_index": ((), jnp.int32)}
    shapes: dict[str, Any] = {name: jax.ShapeDtypeStruct(*kind) for name, kind in kinds.items()}
    return Survivors(**shapes)


def _check_sizes(
    parents: int, children: int, elites: int, reevaluate: bool, recombination: Recombination | None
) -> None:
    require_whole(0, parents=parents, children=children, elites=elites)
    require(parents >= 1, f"parents is {parents}, and must be 1 or more; random search is the variation fresh(init).")
    require(children >= parents, f"children is {children}, fewer than the {parents} parents: give each one at least.")
    near = " or ".join(str(times * parents) for times in (children // parents, children // parents + 1))
    require(children % parents == 0, f"children is {children}, no multiple of the {parents} parents: take {near}.")
    require(0 <= elites <= parents, f"elites is {elites}, and must lie between 0 and the {parents} parents.")
    if recombination:
        k = recombination.size
        require(
            k * parents <= children,
            f"average is {k}, and {children} children of {parents} parents leave {children // parents} to average: "
            f"take {children // parents} or fewer.",
        )
        require(elites == 0 or reevaluate, "elites that are averages have no score to keep: pass reevaluate=True.")


def _candidates(state: State, evaluation: Evaluation, children: int, elites: int, reevaluate: bool) -> Evaluation:
    """The children ``[N]`` and the elites that compete with them, ``[N + elites]``."""
    competing = elites if state.parents is not None else 0
    expected = children + (competing if reevaluate else 0)
    got = evaluation.fitness.shape
    require(got == (expected,), f"the evaluator returned fitness of shape {got}, and {(expected,)} was due.")
    if reevaluate or not competing:
        return evaluation
    return Evaluation(
        jnp.concatenate([evaluation.fitness, state.fitness[:competing]]),
        jnp.concatenate([evaluation.tiebreak, state.tiebreak[:competing]]),
        {name: _with_unknown(values, competing) for name, values in dict(evaluation.metrics or {}).items()},
    )


def _with_unknown(values: jax.Array, kept: int) -> jax.Array:
    """A metric ``[N, ...]`` as ``[N + kept, ...]``: NaN for elites that kept their score and were not measured again.

    Whole numbers become floats for it. What is one number for all children stays as it is.
    """
    if values.ndim == 0:
        return values
    values = values if jnp.issubdtype(values.dtype, jnp.floating) else values.astype(jnp.float32)
    return jnp.concatenate([values, jnp.full((kept, *values.shape[1:]), jnp.nan, values.dtype)])


def _rest(selection: Selection, key: Key, evaluation: Evaluation, safe: jax.Array, num: int) -> jax.Array:
    """The survivors beside the ``safe`` ones, who are out of the draw."""
    if num == safe.size:
        return safe[:0]
    # A mask, not a scatter: XLA (0.10.2) scatters wrongly into a vector whose shards are uneven.
    out = (iota(evaluation.fitness.size)[:, None] == safe).any(axis=1)
    due = num - safe.size
    chosen = selection(key, evaluation._replace(fitness=jnp.where(out, jnp.nan, evaluation.fitness)), due)
    found = getattr(chosen, "shape", None), getattr(chosen, "dtype", type(chosen).__name__)
    require(
        found[0] == (due,) and jnp.issubdtype(found[1], jnp.integer),
        f"selection {name_of(selection)} returned {found[1]} of shape {found[0]}, and integers of shape {(due,)} "
        "were due: the indices of the survivors.",
    )
    return jnp.asarray(chosen, jnp.int32)


def _survivors(
    recombination: Recombination | None, evaluation: Evaluation, indices: jax.Array, best: jax.Array
) -> Survivors:
    fitness, tiebreak = evaluation.fitness[indices], evaluation.tiebreak[indices]  # [T, k]
    share = step = jnp.ones(indices.shape, jnp.float32)
    if recombination:
        share, step = jax.vmap(partial(_weights, recombination))(fitness)
    return Survivors(
        indices=indices,
        share=share,
        step=step,
        fitness=jnp.full_like(fitness[:, 0], jnp.nan) if recombination else fitness[:, 0],
        tiebreak=jnp.zeros_like(tiebreak[:, 0]) if recombination else tiebreak[:, 0],
        best_fitness=evaluation.fitness[best],
        best_index=best,
    )


def _with_parents_of_lethal(survivors: Survivors, state: State, children: int) -> Survivors:
    """Survivors of whom lethal children are replaced by their parents, with the scores that these have."""
    index = survivors.indices[:, 0]
    parents = state.fitness.size
    slot = jnp.where(index < children, index // (children // parents), index - children)
    lethal = jnp.isneginf(survivors.fitness)
    return survivors._replace(
        indices=jnp.where(lethal, children + slot, index)[:, None],
        fitness=jnp.where(lethal, state.fitness[slot], survivors.fitness),
        tiebreak=jnp.where(lethal, state.tiebreak[slot], survivors.tiebreak),
    )


def _without_steps(survivors: Survivors, held: jax.Array) -> Survivors:
    """Survivors that leave their parents' weights as they are, where ``held``; nobody was scored with those."""
    nothing = jnp.zeros_like(survivors.step), jnp.full_like(survivors.fitness, jnp.nan)
    step, fitness = where(held, nothing, (survivors.step, survivors.fitness))
    return survivors._replace(step=step, fitness=fitness)


def _weights(recombination: Recombination, fitness: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Share and step ``[k]`` of children with this fitness: those without one, or lethal ones, get nothing.

    Where no child has a fitness the parents' mean stays where it is.
    """
    valid = fitness > -jnp.inf  # and no NaN
    known = jnp.where(valid, fitness, jnp.min(fitness, where=valid, initial=jnp.inf))
    weights = recombination.weights(jnp.where(valid.any(), known, 0))
    kept = jnp.where(valid, weights, 0)
    total = jnp.sum(jnp.abs(kept))
    part = jnp.sum(jnp.abs(weights)) / jnp.where(total > 0, total, 1)
    share = jnp.where(total > 0, jnp.abs(kept) / jnp.where(total > 0, total, 1), 1 / fitness.size)
    return share, kept * part * recombination.scale


def _fitness_metrics(
    evaluation: Evaluation, best: jax.Array, indices: jax.Array, children: int, kept: int, some_lethal: bool
) -> dict[str, jax.Array]:
    """What is logged of the fitness of a generation."""
    fitness = evaluation.fitness[:children]
    lethal = jnp.isneginf(fitness) if some_lethal else jnp.zeros(fitness.shape, bool)
    valid = ~jnp.isnan(fitness) & ~lethal
    metrics = {
        "fitness": evaluation.fitness[best],
        "mean_fitness": jnp.mean(fitness, where=valid),
        "std_fitness": jnp.std(fitness, where=valid),
        "survivors_mean_fitness": jnp.nanmean(evaluation.fitness[indices]),
        "nan": jnp.sum(jnp.isnan(fitness)).astype(jnp.int32),
        "evaluations": jnp.int32(evaluation.fitness.size - kept) - jnp.sum(lethal).astype(jnp.int32),
    }
    return metrics | ({"lethal": jnp.sum(lethal).astype(jnp.int32)} if some_lethal else {})


def _logged(metrics: Any, order: jax.Array) -> dict[str, jax.Array]:
    """What the evaluation measured of the best individual that was scored; an elite that kept its score was not.

    A metric of several numbers gets a column for each of them: ``name_0``, ``name_1``, ...
    """
    found: dict[str, jax.Array] = {}
    for name, values in dict(metrics or {}).items():
        best = values[order[jnp.argmax(order < len(values))]] if values.ndim else values
        if best.size > LOGGED_NUMBERS:
            warnings.warn(
                f"the metric {name!r} has shape {best.shape}, and is not logged: more than {LOGGED_NUMBERS} numbers.",
                RuntimeWarning, stacklevel=2,
            )  # fmt: skip
        elif best.ndim:
            found |= {f"{name}_{number}": value for number, value in enumerate(best.reshape(-1))}
        else:
            found[name] = best
    clash = sorted(RESERVED & set(found))
    require(not clash, f"the metrics {clash} of the evaluation have names that every run logs: rename them.")
    return found


def _inherited(state: State) -> dict[str, jax.Array]:
    """What is logged of what parents inherited: the mean of each step size."""
    if state.parents is None:
        return {}
    leaves = named_leaves(state.parents.strategy).items()
    return {name: jnp.mean(leaf) for name, leaf in leaves if leaf.size and LOGGED & set(name.split("/"))}


def candidate(algorithm: Algorithm, state: State, index: Any) -> Individual:
    """Child ``index`` of this generation, or parent ``index - N``, dense."""
    return _rebuild(algorithm.offspring, state, algorithm.children, index, None)


def _rebuild(
    offspring: Callable[..., Individual], state: State, children: int, index: jax.Array, held: jax.Array | None
) -> Individual:
    """Child ``index``, built once more and made dense; a surviving parent is taken as it is.

    Where ``held`` it keeps the weights of its parent.
    """
    slot, member = jnp.divmod(index % children, children // state.fitness.size)
    child = offspring(state, slot, member)
    child = child._replace(params=dense(child.params))
    if state.parents is None:
        return child
    if held is not None:
        child = child._replace(params=where(held, take(state.parents, slot).params, child.params))
    return where(index >= children, take(state.parents, jnp.maximum(index - children, 0)), child)


def _average(
    child_of: Callable[..., Individual],
    state: State,
    children: int,
    projection: Projection | None,
    recipe: tuple[jax.Array, jax.Array, jax.Array],
) -> Individual:
    """Weighted means of children: of their parents, plus of their steps, a chunk of children at a time.

    What a strategy holds beside floats, such as a count, is that of the best child, the first index.

    Low-rank children are never built: the sum of their steps is one matrix product, ``A diag(w) B``.
    """
    indices, share, step = recipe  # [k]
    slots, members = jnp.divmod(indices % children, children // len(state.fitness))
    kept = indices >= children
    slots = jnp.where(kept, indices - children, slots)
    size = min(RECOMBINATION_CHUNK, len(indices))
    chunks = jax.tree.map(
        lambda values: jnp.pad(values, (0, -len(indices) % size)).reshape(-1, size),
        (slots, members, kept, share, jnp.where(kept, 0, step)),
    )

    def steps_of(slot: Any, member: jax.Array, kept: jax.Array) -> Individual:
        parent = take(state.parents, slot)
        child = child_of(state, parent, slot, member)
        steps = map_low_rank(step_leaf, child.params, parent.params)
        return Individual(steps, where(kept, parent.strategy, child.strategy))

    def add(total: Individual, chunk: tuple[Any, jax.Array]) -> tuple[Individual, None]:
        (slot, member, kept, shares, weights), first = chunk
        # One parent is not batched, so that its matrices are not copied for every child.
        alone = len(state.fitness) == 1
        steps = jax.vmap(steps_of, in_axes=(None if alone else 0, 0, 0))(0 if alone else slot, member, kept)
        params = jax.tree.map(
            lambda old, new: add_weighted(old, weights, new), total.params, _heard(weights, steps.params)
        )
        strategy = jax.tree.map(partial(_add_share, shares, first), total.strategy, steps.strategy)
        return Individual(params, strategy), None

    assert state.parents is not None
    parents = state.parents.params
    weights = jnp.zeros(len(state.fitness), share.dtype).at[slots].add(share)
    zeros = jax.tree.map(lambda leaf: jnp.zeros_like(leaf[0]), parents)
    base = (
        take(parents, 0)
        if len(state.fitness) == 1
        else jax.tree.map(lambda zero, leaf: add_weighted(zero, weights, leaf), zeros, parents)
    )
    strategy = jax.tree.map(
        lambda leaf: jnp.zeros_like(leaf) if _is_float(leaf) else leaf, take(state.parents.strategy, slots[0])
    )
    first = iota(len(chunks[0])) == 0  # the chunk with the best child, whom it begins with
    total, _ = jax.lax.scan(add, Individual(base, strategy), (chunks, first))
    if projection is None:
        return total
    projected = project(projection, total.params, base, state.generation)
    return total._replace(params=where((step != 0).any(), projected, total.params))  # who does not move stays


def _heard(weights: jax.Array, tree: Any) -> Any:
    """Zeros for all that has no weight: it may be anything, NaN too."""
    return jax.tree.map(lambda leaf: jnp.where(expand(weights != 0, leaf), leaf, jnp.zeros_like(leaf)), tree)


def _is_float(leaf: jax.Array) -> bool:
    return jnp.issubdtype(leaf.dtype, jnp.floating)


def _add_share(shares: jax.Array, first: jax.Array, total: jax.Array, leaves: jax.Array) -> jax.Array:
    """A mean of floats; of anything else that of the best child, which comes ``first``."""
    if _is_float(total):
        return add_weighted(total, shares, _heard(shares, leaves))
    return where(first, leaves[0], total)
