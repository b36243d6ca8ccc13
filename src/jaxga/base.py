"""The types that every other module speaks. Nothing here computes.

Letters for shapes, used everywhere: T parents, N children, P pairs that breed (every parent, if nothing else is said),
B = N / P children of one pair (a brood), k children averaged into one parent, G generations. ``[]`` is a scalar.

The one idea: **a child is a pure function of (key of the generation, parents, index of the child)**. These make up a
`Source`; whoever needs child ``i`` builds it from the source and ``i``.
"""

import functools
import inspect
import operator
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from enum import IntEnum
from pathlib import PurePath
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

Key = jax.Array
Params = Any
Strategy = Any

THREEFRY = "threefry2x32"  # the kind of keys whose numbers are the same one by one and under vmap


class InputError(ValueError):
    """A request that cannot work. Its message is one sentence that names the argument and the way out."""


def configured(name: str) -> Any:
    """What JAX is configured to: ``configured("debug_nans")``."""
    return getattr(jax.config, f"jax_{name}", None)


def require(condition: bool, message: str) -> None:
    """Raise ``InputError(message)`` unless ``condition`` holds."""
    if not condition:
        raise InputError(message)


def require_at_least(least: float, **numbers: Any) -> None:
    """Refuse a number below ``least``, named as its keyword. A traced one passes, so that a sweep may be a vmap."""
    for name, value in numbers.items():
        if not isinstance(value, Tracer):
            require(_is_number(value), f"{name} is {value!r}, and must be a number.")
            require(float(value) >= least, f"{name} is {value}, and must be {least:g} or more.")


def require_whole(least: int, **counts: Any) -> None:
    """Refuse a count that is not a whole number, or that is below ``least``, named as its keyword.

    >>> require_whole(1, generations=1000 / 400)
    Traceback (most recent call last):
    jaxga.base.InputError: generations is 2.5, and must be a whole number: write int(...), or divide with //.
    """
    for name, count in counts.items():
        traced = f"{name} is a traced number, and a program must know it before it runs: put it into grid, not sweep."
        require(not isinstance(count, Tracer), traced)
        whole = hasattr(type(count), "__index__") and jnp.ndim(count) == 0
        require(whole, f"{name} is {count}, and must be a whole number: write int(...), or divide with //.")
        require_at_least(least, **{name: operator.index(count)})


def name_of(function: Any) -> str:
    """How a message calls a user's function: by its qualified name; a lambda by its file and line.

    Of a `functools.partial` it is the function inside, of any other callable object its class.

    >>> name_of(jax.random.normal), name_of(functools.partial(operator.index, 1))
    ('normal', 'index')
    """
    while isinstance(function, functools.partial):
        function = function.func
    function = inspect.unwrap(function)
    code = getattr(function, "__code__", None)
    if code is not None and code.co_name == "<lambda>":
        return f"<lambda> at {PurePath(code.co_filename).name}:{code.co_firstlineno}"
    name = getattr(function, "__qualname__", None) or getattr(function, "__name__", None)
    return str(name or type(function).__qualname__).split("<locals>.")[-1]


def as_key(key: Any) -> Key:
    """A typed key as it is; the key of a seed, or of the two numbers of ``jax.random.PRNGKey``, of kind threefry.

    Raises:
      InputError: for anything else, keys of other kinds among them: with ``rbg`` a child's random numbers depend on
        which other children are drawn in the same batch.
    """
    typed = isinstance(key, jax.Array) and jnp.issubdtype(key.dtype, jax.dtypes.prng_key)
    if typed:
        found = key
    elif jnp.shape(key) == (2,) and jnp.result_type(key) == jnp.uint32:
        found = jax.random.wrap_key_data(jnp.asarray(key), impl=THREEFRY)
    else:
        whole = jnp.ndim(key) == 0 and hasattr(type(key), "__index__")
        require(whole, f"key is {key!r}: give a seed (a whole number) or jax.random.key(seed).")
        found = jax.random.key(operator.index(key), impl=THREEFRY)
    require(found.ndim == 0, f"key has shape {found.shape}, and one key is due: pass one of them.")
    kind = str(jax.random.key_impl(found))
    require(
        kind == THREEFRY,
        f"key is of kind {kind}, with which a child is another one in another batch: give a seed, or "
        f"jax.random.key(seed, impl='{THREEFRY}').",
    )
    return found


class Purpose(IntEnum):
    """What a key of one generation is for: ``fold_in(fold_in(root, generation), purpose)``."""

    OFFSPRING = 0
    EVALUATION = 1
    SELECTION = 2
    FOUNDERS = 3
    VALIDATION = 4


class Individual(NamedTuple):
    """One candidate: its parameters (any pytree of floats) and what it inherits beside them (step sizes, ...)."""

    params: Params
    strategy: Strategy = ()


class Context(NamedTuple):
    """What a variation may know beside the individual. Never a fitness."""

    generation: jax.Array  # [] int32
    mate: Individual  # another parent, drawn uniformly; the parent itself where there is no other
    brood: Key | None = None  # [] the same for all children of a pair; None outside of an algorithm


class Variation(NamedTuple):
    """Mutation or crossover, written for ONE individual.

    ``init: (params) -> strategy`` makes what an individual inherits beside its weights;
    ``apply: (key, individual, context) -> individual`` makes a child. It sees arrays, also where the individual is a
    `low_rank` child of another variation, unless it takes such leaves ``in_parts`` (`jaxga.lowrank`).
    """

    init: Callable[[Params], Strategy]
    apply: Callable[[Key, Individual, Context], Individual]
    in_parts: bool = False


class Evaluation(NamedTuple):
    """The score of one individual ``[]`` or of all children ``[N]``. Higher fitness is better, NaN is worst.

    ``tiebreak`` orders equal fitness; ``metrics`` is a dict of arrays to be logged. A metric whose name begins with an
    underscore is not logged: it is for selections.
    """

    fitness: Any
    tiebreak: Any = 0.0
    metrics: Any = ()  # or a dict of arrays

    def ranking(self, key: Key) -> jax.Array:
        """Positions from best to worst, int32 ``[N]``: by fitness, then tiebreak, then a fair draw."""
        fitness, tiebreak, _ = as_fitness(self)
        lot = jax.random.uniform(key, fitness.shape, jnp.float32)
        valid = ~jnp.isnan(fitness)
        tiebreak = jnp.where(jnp.isnan(tiebreak), -jnp.inf, tiebreak)
        keys = (lot, tiebreak, jnp.where(valid, fitness, -jnp.inf), valid)
        return jnp.lexsort(keys)[::-1].astype(jnp.int32)


def common(key: Key, index: jax.Array) -> Key:
    """Everyone of a generation is scored on the same draw: common random numbers."""
    del index
    return key


def independent(key: Key, index: jax.Array) -> Key:
    """Every individual is scored on a draw of its own."""
    return jax.random.fold_in(key, index)


class Trial(NamedTuple):
    """Under what circumstances one individual is scored: for tasks that ask for more than a key."""

    key: Key  # [] of the draw, as `Task.key` chose it
    generation: Any = 0  # [] int32
    index: Any = 0  # [] int32, of the individual
    parent: Params | None = None  # None of a founder that was drawn afresh, and outside of a run


class Task(NamedTuple):
    """What is to be solved.

    ``init: (key) -> params`` makes a fresh network. ``evaluate: (key, params) -> Evaluation`` scores ONE individual
    and is pure; with ``with_trial`` it is ``(trial, params) -> Evaluation``, where a `Trial` knows the generation, the
    index and the parent, too. ``key: (key of the generation, index of the child) -> key`` is `common` or `independent`.
    ``loss: (key, params) -> []`` is what gradient descent would minimise, where there is such a thing.
    ``validate: (params) -> Evaluation`` tells whether anything general was learned; it is logged and never selected by,
    but a run may stop at it, and settings are tuned by it. ``test: (params) -> Evaluation`` is the same on data that
    nothing of this has seen. No run calls it: ask it once, about the network that comes out,
    ``task.test(result.best.params)``.
    """

    init: Callable[[Key], Params]
    evaluate: Callable[[Any, Params], Evaluation]
    key: Callable[[Key, jax.Array], Key] = common
    loss: Callable[[Key, Params], jax.Array] | None = None
    validate: Callable[[Params], Evaluation] | None = None
    chunk: int | None = None  # children at once that suit it on a CPU, where it knows better than `vmapped`
    test: Callable[[Params], Evaluation] | None = None
    with_trial: bool = False  # does evaluate take a Trial instead of a key?
    comparable: bool = True  # do scores of two generations mean the same, so that an elite may keep its own?

    def score(self, draw: Key | Trial, params: Params) -> Evaluation:
        """What ``evaluate`` says of ONE individual, with float32 ``fitness []`` and ``tiebreak []``.

        Raises:
          InputError: where it returned anything but an `Evaluation` of one individual or a number.
        """
        trial = draw if isinstance(draw, Trial) else Trial(draw)
        score = self.evaluate(trial if self.with_trial else trial.key, params)
        return as_evaluation(score, f"evaluate ({name_of(self.evaluate)})")

    def against_parent(self) -> "Task":
        """See `paired`."""

        def improvement(trial: Trial, child: Params, parent: Params) -> Evaluation:
            score = self.score(trial, child)
            return score._replace(fitness=score.fitness - self.score(trial, parent).fitness)

        return _against(self, improvement, "improvement")

    def encoded(self, init: Callable[[Key], Any], decode: Callable[[Any], Params]) -> "Task":
        """See `jaxga.encoding.encoded`."""

        def of_genes(function: Any) -> Any:
            return None if function is None else functools.wraps(function)(lambda genes: function(decode(genes)))

        @functools.wraps(self.evaluate)
        def evaluate(draw: Any, genes: Any) -> Evaluation:
            if isinstance(draw, Trial) and draw.parent is not None:
                draw = draw._replace(parent=decode(draw.parent))
            return self.evaluate(draw, decode(genes))

        loss = self.loss
        return self._replace(
            init=init,
            evaluate=evaluate,
            loss=None if loss is None else lambda key, genes: loss(key, decode(genes)),
            validate=of_genes(self.validate),
            test=of_genes(self.test),
            chunk=None,  # it suits children who share what their parent makes of the data
        )


def as_they_are(params: Params) -> Params:
    """Parameters that are weights already."""
    return params


class Step(NamedTuple):
    """What happened in one step of one episode."""

    observation: Any  # after it
    action: Any
    reward: Any  # []; NaN where the episode is lost
    state: Any  # of the environment, after it; of a game on the host what it tells beside the observation: ["ram"]


class Observer(NamedTuple):
    """Turns what happens in an episode into a metric of any shape: a descriptor of behaviour, for instance.

    ``start: (state, observation) -> seen``; ``add: (seen, Step) -> seen``; ``end: (seen) -> value``. For `control`
    these are pure functions of JAX. For games on the host they are functions of NumPy, and ``shape`` is that of the
    value.
    """

    start: Callable[[Any, Any], Any]
    add: Callable[[Any, Step], Any]
    end: Callable[[Any], Any]
    shape: tuple[int, ...] = ()


class Game(NamedTuple):
    """What is to be played outside of JAX, in environments on the host.

    An episode is a pure function of a network and of its start, an int32: frames that pass before it, or a seed.
    """

    init: Callable[[Key], Params]
    act: Callable[[Params, jax.Array], jax.Array]  # (params, observations [B, ...]) -> actions [B, ...]
    make: Callable[..., Any]  # (num_envs, batch_size, num_threads, seed) -> a pool of environments, see `jaxga.arena`
    actions: Any  # their space, of gymnasium
    draw: Callable[[Key], jax.Array]  # the start of an episode, int32 []
    starts: Mapping[bytes, int] | None  # those that can be recognised; None where each needs an environment of its own
    max_steps: int  # of the agent, after which an episode of training is over
    frames: int = 1  # of the game, in a step of the agent
    unseen: int = 0  # frames of the stack that are black at the start
    key: Callable[[Key, jax.Array], Key] = independent
    observation: jax.ShapeDtypeStruct | None = None  # what one environment shows, where it is known
    paired: bool = False  # are returns less those of the parent? See `paired`
    observe: Mapping[str, Observer] = MappingProxyType({})  # metrics, of functions of NumPy
    decode: Callable[[Params], Params] = as_they_are  # what `act` takes, made when a network is built and at no step

    def against_parent(self) -> "Game":
        """See `paired`."""
        return self._replace(paired=True)

    def encoded(self, init: Callable[[Key], Any], decode: Callable[[Any], Params]) -> "Game":
        """See `jaxga.encoding.encoded`."""
        inner = self.decode
        return self._replace(init=init, decode=lambda genes: inner(decode(genes)))

    @property
    def comparable(self) -> bool:
        """Do scores of two generations mean the same, so that an elite may keep its own?"""
        return not self.paired


def against(task: Task, compare: Callable[[Key, Params, Params], Any]) -> Task:
    """The same task, with a fitness that compares a child with its parent: ``(key, child, parent) -> Evaluation``.

    The key is that of the draw, as `Task.key` chose it. What depends on the parent alone, such as its gradient, is
    computed once a chunk of its children. Founders that are drawn afresh have no parent, and keep their score. `paired`
    is the case of the improvement on the same draw; `jaxga.tasks.along_gradient` and `jaxga.tasks.change_of` are
    others.

    >>> task = Task(lambda key: jnp.zeros(2), lambda key, w: Evaluation(-jnp.sum(w**2)))
    >>> far = against(task, lambda key, child, parent: jnp.sum((child - parent) ** 2))
    >>> float(far.score(Trial(jax.random.key(0), parent=jnp.zeros(2)), jnp.ones(2)).fitness)
    2.0
    """
    require(callable(compare), f"compare is {compare!r}, and must be a function of (key, child, parent).")
    return _against(task, lambda trial, child, parent: compare(trial.key, child, parent), name_of(compare))


def _against(task: Task, compare: Callable[[Trial, Params, Params], Any], name: str) -> Task:
    def evaluate(trial: Trial, params: Params) -> Evaluation:
        if trial.parent is None:
            return task.score(trial, params)
        return as_evaluation(compare(trial, params, trial.parent), f"compare ({name})")

    return task._replace(evaluate=evaluate, with_trial=True, comparable=False)


def paired(problem: Any) -> Any:
    """Fitness is the improvement of a child over its own parent on the same draw, of a `Task` or a `Game`.

    A child that met easy data is then not taken for a good one. With ``key=common`` a parent is scored once a chunk of
    its children (a game is played once a start), with ``key=independent`` once a child. Founders that are drawn afresh
    have no parent, and keep their score.
    """
    return problem.against_parent()


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Source:
    """What makes the children of a generation, and all that another machine needs to make them.

    Child ``i`` is a function of the source and ``i``. T slots hold the parents; P pairs of slots breed, and each pair
    has B = N / P children.
    """

    key: Key  # [] the root key of the run, never changed
    generation: jax.Array  # [] int32
    parents: Individual  # [T], one in each slot
    pairs: jax.Array  # [P, 2] int32: the slot that breeds, and the slot of its mate; -1: drawn for every child
    founding: bool = field(default=False, metadata={"static": True})  # children are drawn afresh, not from parents

    def _replace(self, **changes: Any) -> "Source":
        return replace(self, **changes)


class Recipe(NamedTuple):
    """All that fitness decided about the next generation: it leads from one source to the next, without a fitness.

    The next parent in slot t is ``sum_j share[t, j] * (parent of child j) + step[t, j] * (child j - its parent)`` over
    the children ``indices[t]``. Where ``step`` is None it is the child ``indices[t, 0]`` itself. An index ``N + s`` is
    whoever is in slot s now, kept as it is. A pedigree is the list of recipes.
    """

    indices: jax.Array  # [T, k] int32
    share: jax.Array | None = None  # [T, k] sums to 1 along k
    step: jax.Array | None = None  # [T, k]; 0 keeps the weights of the parents, and takes what children inherit beside
    pairs: jax.Array | None = None  # [P, 2] who breeds next, see `Source`; None: every slot, with mates that are drawn


class Best(NamedTuple):
    """The best child so far."""

    fitness: jax.Array  # []
    generation: jax.Array  # [] int32; -1 before the first
    index: jax.Array  # [] int32, of the child in that generation


class State(NamedTuple):
    """What a run carries from one generation to the next."""

    source: Source  # what makes children
    scores: Evaluation  # [T] of the parents; NaN where nobody scored that individual, such as a mean of children
    remembered: Any  # by the selection, beside the scores
    best: Best  # what is logged

    def with_source(self, **changes: Any) -> "State":
        """The same state with another key, generation, parents or pairs: ``state.with_source(parents=...)``."""
        return self._replace(source=self.source._replace(**changes))

    @property
    def key(self) -> Key:
        """The root key."""
        return self.source.key

    @property
    def generation(self) -> jax.Array:
        """The number of this generation, int32 ``[]``."""
        return self.source.generation

    @property
    def parents(self) -> Individual:
        """The individuals ``[T]`` that are held, one in each slot."""
        return self.source.parents

    @property
    def pairs(self) -> jax.Array:
        """Which slots breed, ``[P, 2]``, see `Source`."""
        return self.source.pairs

    @property
    def founding(self) -> bool:
        """Are the children of this generation drawn afresh?"""
        return self.source.founding

    @property
    def fitness(self) -> jax.Array:
        """Of the parents ``[T]``."""
        return self.scores.fitness

    @property
    def best_fitness(self) -> jax.Array:
        """Of the best child so far, ``[]``."""
        return self.best.fitness


class Verdict(IntEnum):
    """Can a generation count?"""

    FINE = 0
    NO_FITNESS = 1  # every child scored NaN
    OUT_OF_RANGE = 2  # the selection chose an index that nobody has


class Info(NamedTuple):
    """What one generation leaves behind."""

    recipe: Recipe
    fitness: jax.Array  # [T] of the next parents; NaN where nobody scored that individual
    best_index: jax.Array  # [] int32: the best of this generation, a child or (from N on) a parent
    metrics: dict[str, jax.Array]  # to be logged
    verdict: jax.Array  # [] int32, a `Verdict`


class Scored(NamedTuple):
    """What a selection sees of a generation: C = N + E candidates, the children and then the elites."""

    evaluation: Evaluation  # [C]; elites that are not scored again have the scores that they were chosen with
    index: jax.Array  # [C] int32: child i, or N + s for whoever is in slot s
    slot: jax.Array  # [C] int32: of the parent; of an elite its own
    order: jax.Array  # [C] int32: positions among the candidates, best first; ties are broken by a fair draw
    parents: Evaluation  # [T]: the scores of all that are held
    generation: jax.Array  # [] int32
    born: jax.Array  # [C] bool: is it a child?
    held: jax.Array  # [T] int32: the index that keeps whoever is in slot s there, N + s


class Selection(NamedTuple):
    """Who is held next and who breeds: ``init`` makes what it remembers, ``apply`` decides.

    ``init: (T, like) -> remembered``, where ``like`` has the shapes of the scores of one generation, metrics too.
    ``apply: (key, Scored, remembered) -> (Recipe, remembered, metrics to be logged)``. Each slot gets one index (or k
    that are averaged). A slot keeps its meaning: nothing sorts them.
    """

    init: Callable[[int, Evaluation], Any]
    apply: Callable[[Key, Scored, Any], tuple[Recipe, Any, dict[str, jax.Array]]]
    elites: tuple[int, ...] = ()  # the slots that compete with the children, of each group
    reevaluate: bool = False  # are elites scored again every generation?
    ordered: bool = False  # does slot 0 hold the best? Else it is found by its score
    incumbents: bool = False  # are children compared with scores that the others keep?
    in_place: bool = False  # does whoever is kept stay in its slot, and is a child in one slot at most? Less is moved
    groups: int = 1  # of slots, pairs and children with keys of their own, see `jaxga.selection.islands`


class Kept:
    """The latest programs that were made for an algorithm. They and their data live as long as it does."""

    MOST = 8

    def __init__(self) -> None:
        self.found: OrderedDict[Any, Any] = OrderedDict()

    def get(self, name: Any, make: Callable[[], Any]) -> Any:
        """What ``make`` made for this name before, or makes now."""
        if name not in self.found:
            self.found[name] = make()
        self.found.move_to_end(name)
        if len(self.found) > self.MOST:
            self.found.popitem(last=False)
        return self.found[name]


class Algorithm(NamedTuple):
    """An evolutionary algorithm: five pure functions, a selection and three sizes."""

    begin: Callable[[Key], Source]  # of generation 0
    init: Callable[..., State]  # (key, like=None): of the scores of a generation, if a selection is to know metrics
    offspring: Callable[[Any, Any, Any], Individual]  # (Source, pair [], member []): child pair * brood + member
    select: Callable[[State, Evaluation], tuple[State, Info]]  # all of the next state but its source
    advance: Callable[[Any, Recipe], Source]
    selection: Selection
    parents: int  # T
    children: int  # N
    pairs: int  # P
    viable: Callable[[Individual], Any] | None = None  # who is scored at all
    score_founders: bool = False  # are they scored before generation 0?
    kept: Kept = Kept()

    def remembered(self, name: Any, make: Callable[[], Any]) -> Any:
        """What ``make`` made of this algorithm under this name before, or makes now."""
        return self.kept.get((name, self), make)

    @property
    def brood(self) -> int:
        """B, the children of one pair."""
        return self.children // self.pairs

    @property
    def elites(self) -> tuple[int, ...]:
        """The slots that compete with the children, of all groups."""
        slots = self.parents // self.selection.groups
        return tuple(group * slots + slot for group in range(self.selection.groups) for slot in self.selection.elites)

    def rescored(self, source: Any) -> tuple[int, ...]:
        """The slots whose individuals are scored in this generation, behind the children."""
        return self.elites if self.selection.reevaluate and not source.founding else ()

    def place(self, source: Any, index: Any) -> "Place":
        """Where an index points to: the one place that knows. Index ``N + s`` is whoever is in slot s."""
        index = jnp.asarray(index, jnp.int32)
        kept = index >= self.children
        pair, member = jnp.divmod(index % self.children, self.brood)
        child, slot = self.place_of(source, pair, member), index - self.children
        if self.selection.groups == 1:
            return child._replace(slot=jnp.where(kept, slot, child.slot), kept=kept, number=index)
        group, own = jnp.divmod(slot, self.parents // self.selection.groups)
        stays = Place(pair, member, slot, kept, group, self.children // self.selection.groups + own)
        return jax.tree.map(functools.partial(jnp.where, kept), stays, child._replace(kept=kept))

    def place_of(self, source: Any, pair: Any, member: Any) -> "Place":
        """The place of a child of this pair."""
        index, kept = pair * self.brood + member, jnp.zeros(jnp.shape(pair), bool)
        if self.selection.groups == 1:
            return Place(pair, member, source.pairs[pair, 0], kept, jnp.zeros_like(pair), index)
        group = pair // (self.pairs // self.selection.groups)
        number = index - group * (self.children // self.selection.groups)
        return Place(pair, member, source.pairs[pair, 0], kept, group, number)

    def key(self, source: Any, purpose: Purpose, group: Any) -> Key:
        """The key of this generation for one purpose; each of several groups has a root key of its own."""
        if self.selection.groups == 1:
            return generation_key(source, purpose)
        root = jax.random.fold_in(source.key, group)
        return jax.random.fold_in(jax.random.fold_in(root, source.generation), purpose)

    def group(self, source: Any, group: Any) -> Source:
        """The source of one group, as if it were alone: its root key is ``fold_in(key, group)``."""
        slots, pairs = self.parents // self.selection.groups, self.pairs // self.selection.groups

        def own(leaf: jax.Array, size: int) -> jax.Array:
            return jax.lax.dynamic_slice_in_dim(leaf, group * size, size)

        breeding = own(source.pairs, pairs)
        return Source(
            key=jax.random.fold_in(source.key, group),
            generation=source.generation,
            parents=jax.tree.map(lambda leaf: own(leaf, slots), source.parents),
            pairs=jnp.where(breeding < 0, breeding, breeding - group * slots),
            founding=source.founding,
        )

    def update(self, state: State, evaluation: Evaluation) -> tuple[State, Info]:
        """A generation's scores ``[N]`` (and those of elites that are scored again) to the next state."""
        state, info = self.select(state, evaluation)
        return state._replace(source=self.advance(state.source, info.recipe)), info


class Place(NamedTuple):
    """An index, taken apart."""

    pair: jax.Array  # [] int32
    member: jax.Array  # [] int32, of the brood of that pair
    slot: jax.Array  # [] int32: the parent's, or its own
    kept: jax.Array  # [] bool: is it a parent that is kept?
    group: jax.Array  # [] int32: of the selection, 0 where it has one
    number: jax.Array  # [] int32: the index within the group


Choice = Callable[[Key, Any, int], jax.Array]  # (key, Evaluation or Candidates [C], num) -> positions int32 [num]
Evaluator = Callable[[Any], Evaluation]  # Source -> Evaluation [N], or [N + E] where elites are scored again


def generation_key(source: Any, purpose: Purpose) -> Key:
    """The key of this generation for one purpose."""
    return jax.random.fold_in(jax.random.fold_in(source.key, source.generation), purpose)


def as_fitness(evaluation: Evaluation) -> Evaluation:
    """Give every field its full shape: ``tiebreak`` like ``fitness``, both float32."""
    fitness = jnp.asarray(evaluation.fitness, jnp.float32)
    return evaluation._replace(
        fitness=fitness, tiebreak=jnp.broadcast_to(jnp.asarray(evaluation.tiebreak, jnp.float32), fitness.shape)
    )


def as_evaluation(score: Any, who: str) -> Evaluation:
    """The score of ONE individual as a user's function returned it: an `Evaluation`, or a number, which is a fitness.

    ``who`` names that function in the error.
    """
    due = "return jaxga.Evaluation(fitness, metrics={...}) of ONE individual, or its fitness alone, a number"
    if not isinstance(score, Evaluation):
        require(_is_number(score), f"{who} returned {_described(score)}: {due}.")
        score = Evaluation(score)
    for name, value in (("fitness", score.fitness), ("tiebreak", score.tiebreak)):
        require(_is_number(value), f"{who} returned a {name} that is {_described(value)}: {due}.")
    metrics: Any = {} if isinstance(score.metrics, tuple) and not score.metrics else score.metrics
    require(isinstance(metrics, Mapping), f"{who} returned metrics that are {_described(metrics)}: return a dict.")
    for name, value in metrics.items():
        require(_is_array(value), f"{who} returned metric {name!r}, which is {_described(value)}: make it an array.")
    return as_fitness(score._replace(metrics={name: jnp.asarray(value) for name, value in metrics.items()}))


def _is_array(value: Any) -> bool:
    return isinstance(value, jax.Array | np.ndarray | np.generic | bool | int | float)


def _is_number(value: Any) -> bool:
    """Is it one real number?"""
    real = _is_array(value) and not jnp.issubdtype(jnp.result_type(value), jnp.complexfloating)
    return real and jnp.ndim(value) == 0


def _described(value: Any) -> str:
    if value is None:
        return "nothing (None)"
    if _is_array(value):
        return f"an array of shape {jnp.shape(value)} and dtype {jnp.result_type(value)}"
    return f"a {type(value).__name__}"
