"""The genetic algorithm: founders, offspring, selection, and the step to the next generation."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from jaxga import scores
from jaxga.base import (
    Algorithm,
    Best,
    Choice,
    Context,
    Evaluation,
    Individual,
    Info,
    Kept,
    Key,
    Params,
    Purpose,
    Recipe,
    Scored,
    Selection,
    Source,
    State,
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
from jaxga.heredity import candidate, next_parents
from jaxga.measures import as_columns, fitness_metrics, inherited, merged, metrics_of_best
from jaxga.selection import as_selection, sparing, truncation, warming_up
from jaxga.selection.ranked import Champion
from jaxga.tree import check_like, iota, replicate, shape_of_params, take, where
from jaxga.variation.checks import checked
from jaxga.variation.crossover import Recombination

Founders = Callable[[Key, Callable[[Key], Params], int], Params | Individual | None]
Mates = Callable[[Key, Source, jax.Array], jax.Array]  # (key, source, slot of the parent) -> slot of the mate


def common_founder(key: Key, init: Callable[[Key], Params], parents: int) -> Params:
    """All first parents are the same initialisation (the default). Children of generation 0 are its mutations.

    Args:
      key: the key of the founders.
      init: ``(key) -> params``.
      parents: T, the number of parents.

    Returns:
      Params ``[T, ...]``. A function for ``ga(founders=...)`` may also return an `Individual` ``[T, ...]``, whose
      strategies are kept.
    """
    return replicate(init(key), parents)


def random_founders(key: Key, init: Callable[[Key], Params], parents: int) -> None:
    """Every child of generation 0 is a separate initialisation, without a parent (Such et al. 2017).

    The arguments are those of `common_founder`, and are not used.
    """
    del key, init, parents


def trained_founders(trained: Params | Individual) -> Founders:
    """A warm start: all first parents are a network that was trained before, by any method.

    Args:
      trained: params; or an `Individual` such as ``result.best``, whose strategy (such as step sizes) is kept, too.

    Returns:
      Founders for ``ga(founders=...)``.

    >>> from jaxga.variation import absolute, gaussian
    >>> trained = jnp.array([1.0, 2.0, 3.0])
    >>> algorithm = ga(lambda key: jnp.zeros(3), gaussian(absolute(0.1)), parents=2, children=8,
    ...                founders=trained_founders(trained))
    >>> algorithm.init(jax.random.key(0)).parents.params[1].tolist()
    [1.0, 2.0, 3.0]
    """

    def founders(key: Key, init: Callable[[Key], Params], parents: int) -> Params | Individual:
        del key, init
        return replicate(jax.tree.map(jnp.asarray, trained), parents)

    return founders


def uniform_mate(key: Key, source: Source, slot: jax.Array) -> jax.Array:
    """A mate drawn uniformly from all other parents (the default); the parent itself if there is no other.

    Args:
      key: the key of the draw.
      source: the source of the generation.
      slot: int32 ``[]``, the slot of the parent.

    Returns:
      The slot of the mate, int32 ``[]``.
    """
    parents = len(jax.tree.leaves(source.parents.params)[0])
    return (slot + jax.random.randint(key, (), 1, max(parents, 2), jnp.int32)) % parents


def ga(
    init: Callable[[Key], Params],
    variation: Variation,
    *,
    parents: int,
    children: int,
    selection: Selection | Choice = truncation,
    pairs: int | None = None,
    founders: Founders = common_founder,
    mates: Mates = uniform_mate,
    elites: int = 0,
    reevaluate: bool = False,
    champion: Champion | None = None,
    recombination: Recombination | None = None,
    warmup: int = 0,
    viable: Callable[[Individual], Any] | None = None,
    score_founders: bool = False,
) -> Algorithm:
    """A generational genetic algorithm: P pairs of T parents have N children, and a selection chooses the next parents.

    Args:
      init: ``(key) -> params``, usually ``task.init``.
      variation: how a child differs from its parent, a `jaxga.Variation`.
      parents: T, the number of parents in each generation.
      children: N, the number of children in each generation, a multiple of P. Every pair has N / P children, its brood.
      selection: which individuals are the next parents, and which of these breed. Either a `Selection`, or a choice
        such as `jaxga.selection.tournament`, which `jaxga.selection.ranked` turns into a selection. By default the
        best children survive.
      pairs: P, the number of pairs that breed. By default T: every parent breeds, with mates that are drawn. Other
        numbers need a selection that names the pairs, such as `jaxga.selection.breeding`.
      founders: the parents of generation 0: `common_founder`, `random_founders` or ``trained_founders(...)``.
      mates: ``(key, source, slot) -> slot`` draws the mate of a parent, unless the selection names it.
      elites: number of best parents that compete with the children. As many of the best of both always survive. With 0
        this is comma selection (mu, lambda), with ``elites=parents`` plus selection (mu + lambda).
      reevaluate: score elites again in every generation, for noisy fitness. By default they keep their score.
      champion: chooses the individual that is ranked first regardless of its fitness, and hence survives, such as
        `jaxga.best_validated`.
      recombination: average several children into each next parent, see `jaxga.variation.average`.
      warmup: number of first generations in which only strategies evolve, such as step sizes. Children are scored as
        usual, but survivors pass on their strategy together with their parent's weights.
      viable: ``(individual) -> bool []``. Children for which it is False are lethal: they are not scored, have a
        fitness of -inf, and never become parents. If there are too few other children, the lethal child's parent stays.
      score_founders: score the founders before generation 0, so that a trained network stays until a child is better.
        By default founders have no score, and any child replaces them, even as elites.

    Returns:
      An `Algorithm`, for `jaxga.run`.

    Raises:
      InputError: if the sizes do not fit together, or params hold anything but floats.

    >>> from jaxga.variation import absolute, gaussian
    >>> algorithm = ga(lambda key: jnp.zeros(3), gaussian(absolute(0.1)), parents=2, children=8)
    >>> state = algorithm.init(jax.random.key(0))
    >>> algorithm.offspring(state, 1, 3).params.shape  # child 1 * 4 + 3 = 7
    (3,)
    >>> state, info = algorithm.update(state, Evaluation(jnp.arange(8.0)))
    >>> info.recipe.indices[:, 0].tolist(), state.fitness.tolist()
    ([7, 6], [7.0, 6.0])
    """
    require(callable(init), f"init is {init!r}, and must be a function of a key that returns params, as task.init.")
    require(
        callable(founders),
        f"founders is a {type(founders).__name__}, and must be a function such as random_founders: "
        "trained_founders(params) makes one of weights that you have.",
    )
    require(callable(mates), f"mates is {mates!r}, and must be a function of (key, source, slot), as uniform_mate.")
    require(
        viable is None or callable(viable), f"viable is {viable!r}, and must be None or a function of an Individual."
    )
    variation = checked(variation, "ga")
    pairs = parents if pairs is None else pairs
    _check_sizes(parents, children, pairs, elites, reevaluate, recombination)
    require_whole(0, warmup=warmup)
    chosen = as_selection(
        selection, elites=elites, reevaluate=reevaluate, champion=champion, recombination=recombination
    )
    for name, number in {"parents": parents, "children": children, "pairs": pairs}.items():
        require(
            number % chosen.groups == 0, f"{name} is {number}, and must be a multiple of the {chosen.groups} islands."
        )
    require(
        not score_founders or founders is not random_founders,
        "score_founders would have no effect: random_founders are the children of generation 0, who are scored anyway.",
    )
    if viable is not None and recombination is None:
        chosen = sparing(chosen)
    if warmup:
        chosen = warming_up(chosen, warmup)

    def begin(key: Key) -> Source:
        return _first_source(init, variation, founders, parents, pairs, chosen.groups, key)

    def new_state(key: Key, like: Evaluation | None = None) -> State:
        unknown = scores.unknown_scores(like or Evaluation(None), parents)
        return State(begin(key), unknown, chosen.init(parents, unknown), nobody())

    def child_of(source: Source, parent: Individual, pair: Any, member: Any) -> Individual:
        key_mate, key_child = jax.random.split(child_key(source, pair, member))
        slot, mate = source.pairs[pair]
        mate = jnp.where(mate < 0, drawn_mate(key_mate, source, slot), mate)
        context = Context(source.generation, take(source.parents, mate), brood_key(source, pair))
        return variation.apply(key_child, parent, context)

    def drawn_mate(key: Key, source: Source, slot: jax.Array) -> jax.Array:
        if chosen.groups == 1:
            return mates(key, source, slot)
        group, own = jnp.divmod(slot, parents // chosen.groups)
        return slot - own + mates(key, algorithm.group(source, group), own)

    def brood_key(source: Source, pair: Any) -> Key:
        place = algorithm.place_of(source, pair, jnp.int32(0))
        number = children + place.number // algorithm.brood  # a number that no child has
        return jax.random.fold_in(algorithm.key(source, Purpose.OFFSPRING, place.group), number)

    def child_key(source: Source, pair: Any, member: Any) -> Key:
        place = algorithm.place_of(source, pair, member)
        return jax.random.fold_in(algorithm.key(source, Purpose.OFFSPRING, place.group), place.number)

    def offspring(source: Source, pair: Any, member: Any) -> Individual:
        pair, member = jnp.asarray(pair, jnp.int32), jnp.asarray(member, jnp.int32)
        if source.founding:
            params = init(child_key(source, pair, member))
            return Individual(params, variation.init(params))
        return child_of(source, take(source.parents, source.pairs[pair, 0]), pair, member)

    def selection_key(state: State) -> Key:
        if chosen.groups == 1:
            return generation_key(state, Purpose.SELECTION)
        return jax.vmap(partial(algorithm.key, state, Purpose.SELECTION))(iota(chosen.groups))

    def select(state: State, evaluation: Evaluation) -> tuple[State, Info]:
        evaluation, count = as_fitness(evaluation), children + len(algorithm.rescored(state))
        got = evaluation.fitness.shape
        require(got == (count,), f"the evaluator returned fitness of shape {got}, and {(count,)} was due.")
        key = selection_key(state)
        born = scores.of_children(evaluation, children)
        held = scores.of_parents(state, evaluation, children, algorithm.rescored(state))
        order_key = jax.random.split(generation_key(state, Purpose.SELECTION))[0]
        scored = scores.candidates(order_key, state, born, held, algorithm.elites)
        recipe, remembered, measured = chosen.apply(key, scored, state.remembered)
        _check_recipe(recipe, parents, pairs)
        everyone, order = scores.join(born, held), scored.order
        after = state._replace(
            scores=scores.of_recipe(state, recipe, everyone),
            remembered=remembered,
            best=_best(state, scored),
        )
        selected = everyone.fitness[recipe.indices]
        by_selection = as_columns(measured)  # which may log metrics of somebody else than the best, such as a champion
        of_best = metrics_of_best(evaluation.metrics, order, children)
        metrics = merged(
            ("every run", fitness_metrics(scored.evaluation, order, selected, children, count, viable is not None)),
            ("the evaluation", {name: one for name, one in of_best.items() if name not in by_selection}),
            ("the selection", by_selection),
            ("the strategy", inherited(state.parents, not state.founding)),
        )
        verdict = _verdict(recipe, parents, children, metrics["nan"])
        return after, Info(recipe, after.scores.fitness, scored.index[order[0]], metrics, verdict)

    def advance(source: Source, recipe: Recipe) -> Source:
        projection = recombination.projection if recombination else None
        return Source(
            key=source.key,
            generation=source.generation + 1,
            parents=next_parents(algorithm, child_of, projection, source, recipe),
            pairs=everybody(parents, pairs, chosen.groups) if recipe.pairs is None else recipe.pairs,
        )

    algorithm = Algorithm(
        begin, new_state, offspring, select, advance, chosen, parents, children, pairs, viable, score_founders, Kept()
    )
    return algorithm


def population(algorithm: Algorithm, state: State | Source) -> Individual:
    """All children of a generation ``[N, ...]`` as plain arrays, for a loop that scores them itself (ask and tell).

    Children are in the order of their indices, so their scores ``[N]`` can be passed to ``algorithm.update``. `run`
    does not need this function, and never builds all children at once.

    Args:
      algorithm: from `ga`.
      state: from ``algorithm.init`` or ``algorithm.update``.

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
    return build(source_of(state))


def _population(algorithm: Algorithm, source: Source) -> Individual:
    return jax.vmap(partial(candidate, algorithm, source))(iota(algorithm.children))


def source_of(state: State | Source) -> Source:
    """The `Source` of a state; a source is returned as it is."""
    return Source(state.key, state.generation, state.parents, state.pairs, state.founding)


def shape_of_source(algorithm: Algorithm) -> Source:
    """Shapes and pytree structure of a source whose children have parents."""
    shapes = algorithm.remembered(shape_of_source, lambda: jax.eval_shape(algorithm.begin, as_key(0)))
    return shapes._replace(founding=False)


def shape_of_state(algorithm: Algorithm, like: Evaluation | None = None) -> State:
    """Shapes of a state whose children have parents; ``like`` has the shapes of the scores."""
    return jax.eval_shape(partial(algorithm.init, like=like), as_key(0))._replace(source=shape_of_source(algorithm))


def _check_sizes(
    parents: int, children: int, pairs: int, elites: int, reevaluate: bool, recombination: Recombination | None
) -> None:
    require_whole(0, parents=parents, children=children, pairs=pairs, elites=elites)
    require(parents >= 1, f"parents is {parents}, and must be 1 or more; random search is the variation fresh(init).")
    require(pairs >= 1, f"pairs is {pairs}, and must be 1 or more.")
    who = f"{pairs} parents" if pairs == parents else f"{pairs} pairs"
    require(children >= pairs, f"children is {children}, fewer than the {who}: give each one at least.")
    near = " or ".join(str(times * pairs) for times in (children // pairs, children // pairs + 1))
    require(children % pairs == 0, f"children is {children}, no multiple of the {who}: take {near}.")
    require(0 <= elites <= parents, f"elites is {elites}, and must lie between 0 and the {parents} parents.")
    if recombination:
        k = recombination.size
        require(
            k * parents <= children,
            f"average is {k}, and {children} children of {parents} parents leave {children // parents} to average: "
            f"take {children // parents} or fewer.",
        )
        require(elites == 0 or reevaluate, "elites that are averages have no score to keep: pass reevaluate=True.")


def _first_source(
    init: Callable[[Key], Params],
    variation: Variation,
    founders: Founders,
    parents: int,
    pairs: int,
    groups: int,
    key: Key,
) -> Source:
    """The source of generation 0. With `random_founders`, its parents are placeholders that have no children."""
    founding, each = False, parents // groups

    def first_of(key: Key) -> Params | Individual:
        nonlocal founding
        key_founders = jax.random.fold_in(jax.random.fold_in(key, 0), Purpose.FOUNDERS)
        found = founders(key_founders, init, each)
        founding = found is None
        if founding:
            return jax.vmap(lambda slot: init(jax.random.fold_in(key_founders, slot)))(iota(each))
        return found

    if groups == 1:
        first = first_of(key)
    else:
        found = jax.vmap(lambda group: first_of(jax.random.fold_in(key, group)))(iota(groups))
        first = jax.tree.map(lambda leaf: leaf.reshape(parents, *leaf.shape[2:]), found)
    shape = shape_of_params(init, key)
    whole = isinstance(first, Individual)
    params = jax.tree.map(jnp.asarray, first.params if whole else first)
    due, who = jax.eval_shape(partial(replicate, times=parents), shape), f"founders ({name_of(founders)})"
    params = check_like(params, due, who)
    strategy = jax.vmap(variation.init)(params)
    if whole:
        strategy = check_like(jax.tree.map(jnp.asarray, first.strategy), strategy, f"the strategy of {who}")
    return Source(key, jnp.int32(0), Individual(params, strategy), everybody(parents, pairs, groups), founding)


def everybody(parents: int, pairs: int, groups: int = 1) -> jax.Array:
    """Pairs ``[P, 2]`` in which the slots of each group breed in order, from the first on, with drawn mates."""
    slots = iota(groups)[:, None] * (parents // groups) + iota(pairs // groups) % (parents // groups)
    return jnp.stack([slots.reshape(-1), jnp.full(pairs, -1, jnp.int32)], axis=1)


def _check_recipe(recipe: Recipe, parents: int, pairs: int) -> None:
    """Refuse a recipe whose shapes do not fit the algorithm."""
    found = jnp.shape(recipe.indices)
    require(
        len(found) == 2 and found[0] == parents and jnp.issubdtype(recipe.indices.dtype, jnp.integer),
        f"the selection returned indices of shape {found}, and integers of shape {(parents, 1)} were due: one for each "
        "slot, or k that are averaged.",
    )
    weights = [None if part is None else jnp.shape(part) for part in (recipe.share, recipe.step)]
    require(
        weights in ([None, None], [found, found]),
        f"the selection returned share and step of shapes {weights}, and both of shape {found} were due, or None.",
    )
    require(found[1] == 1 or recipe.step is not None, "the selection returned several indices a slot without a step.")
    default = (pairs, 2) if pairs == parents else ()
    breeding = default if recipe.pairs is None else jnp.shape(recipe.pairs)
    require(
        breeding == (pairs, 2),
        f"the selection returned pairs of shape {breeding}, and {(pairs, 2)} was due: the slot that breeds, and that "
        "of its mate (-1: drawn).",
    )


def _verdict(recipe: Recipe, parents: int, children: int, nan: jax.Array) -> jax.Array:
    known = ((recipe.indices >= 0) & (recipe.indices < children + parents)).all()
    if recipe.pairs is not None:
        known &= (recipe.pairs >= jnp.array([0, -1])).all() & (recipe.pairs < parents).all()
    found = jnp.where(known, jnp.where(nan < children, Verdict.FINE, Verdict.NO_FITNESS), Verdict.OUT_OF_RANGE)
    return found.astype(jnp.int32)


def _best(state: State, scored: Scored) -> Best:
    """The best individual so far, this generation included."""
    first = scored.order[0]
    now = Best(scored.evaluation.fitness[first], state.generation, scored.index[first])
    return where(now.fitness > state.best.fitness, now, state.best)


def nobody() -> Best:
    """A placeholder for the best individual, before the first generation."""
    return Best(jnp.float32(-jnp.inf), jnp.int32(-1), jnp.int32(-1))
