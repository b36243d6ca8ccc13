"""The types that all other modules share.

Letters for shapes, used everywhere: T parents, N children, P pairs that breed (by default every parent with a mate),
B = N / P children of one pair (a brood), k children averaged into one parent, G generations. ``[]`` is a scalar.

The central idea: **a child is a pure function of (key of the generation, parents, index of the child)**. A `Source`
holds the key and the parents. Any device or process that needs child ``i`` builds it from the source and ``i``.
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

THREEFRY = "threefry2x32"  # the kind of keys that give the same numbers one by one and under vmap


class InputError(ValueError):
    """Raised for arguments that cannot work. The message is one sentence that names the argument and a remedy."""


def configured(name: str) -> Any:
    """The value of a JAX configuration option, such as ``configured("debug_nans")``; None for an unknown one."""
    return getattr(jax.config, f"jax_{name}", None)


def require(condition: bool, message: str) -> None:
    """Refuse wrong input: raise ``InputError(message)`` unless ``condition`` holds.

    Args:
      condition: what must hold.
      message: one sentence that names the argument, its value and a remedy.

    Raises:
      InputError: if ``condition`` is false.

    >>> require(0 <= 0.5 <= 1, "rate is 0.5, and must lie between 0 and 1.")
    """
    if not condition:
        raise InputError(message)


def require_at_least(least: float, **numbers: Any) -> None:
    """Refuse numbers below ``least``. The keyword is the name in the message. Traced numbers pass unchecked.

    Traced numbers occur when `jaxga.run_many` runs a sweep under ``vmap``.

    Raises:
      InputError: for a value that is not a number, or is below ``least``.
    """
    for name, value in numbers.items():
        if not isinstance(value, Tracer):
            require(_is_number(value), f"{name} is {value!r}, and must be a number.")
            require(float(value) >= least, f"{name} is {value}, and must be {least:g} or more.")


def require_whole(least: int, **counts: Any) -> None:
    """Refuse counts that are not whole numbers, or are below ``least``. The keyword is the name in the message.

    Raises:
      InputError: for a value that is traced, is not a whole number, or is below ``least``.

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
    """The name of a user's function in messages: its qualified name, or file and line of a lambda.

    For a `functools.partial` it is the name of the inner function, for any other callable object that of its class.

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
    """A typed threefry key, from a typed key, an integer seed, or the two numbers of ``jax.random.PRNGKey``.

    Raises:
      InputError: for anything else. Keys of other kinds are refused, too: with ``rbg`` the random numbers of a child
        would depend on which other children are drawn in the same batch.
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
    """The purposes for which a generation needs random keys: ``fold_in(fold_in(root, generation), purpose)``."""

    OFFSPRING = 0
    EVALUATION = 1
    SELECTION = 2
    FOUNDERS = 3
    VALIDATION = 4


class Individual(NamedTuple):
    """One candidate solution: its parameters, and what it inherits in addition to them, such as step sizes."""

    params: Params  # any pytree of float arrays
    strategy: Strategy = ()  # any pytree, as `Variation.init` makes it


class Context(NamedTuple):
    """What a variation may know in addition to the individual that it varies. A fitness is never part of it."""

    generation: jax.Array  # [] int32, the number of the generation
    mate: Individual  # a second parent, named by the selection or drawn; the parent itself if there is no other
    brood: Key | None = None  # [] one key for all children of a pair; None if no algorithm calls the variation


class Variation(NamedTuple):
    """Mutation or crossover, written for ONE individual.

    ``init: (params) -> strategy`` makes what an individual inherits in addition to its weights.
    ``apply: (key, individual, context) -> individual`` makes a child of the individual.

    In a chain, an earlier variation such as `low_rank` may leave weights in parts, as a base and factors
    (`jaxga.lowrank`). ``apply`` sees such weights as ordinary arrays, unless ``in_parts`` is set.
    """

    init: Callable[[Params], Strategy]  # (params) -> strategy
    apply: Callable[[Key, Individual, Context], Individual]  # (key, parent, context) -> child
    in_parts: bool = False  # can apply work on low-rank leaves themselves?


class Evaluation(NamedTuple):
    """The score of one individual ``[]``, or the scores of all children ``[N]``.

    Fitness is maximised, and NaN is worse than any number. Where two fitness values are equal, the higher ``tiebreak``
    is better. ``metrics`` is a dict of arrays that are logged. Metrics whose names begin with an underscore are not
    logged; they are for selections only.
    """

    fitness: Any  # [] or [N], higher is better
    tiebreak: Any = 0.0  # [] or [N], orders equal fitness
    metrics: Any = ()  # a dict of arrays [...] or [N, ...]; () if there are none

    def ranking(self, key: Key) -> jax.Array:
        """Positions from best to worst, int32 ``[N]``: by fitness, then by tiebreak, then at random."""
        fitness, tiebreak, _ = as_fitness(self)
        lot = jax.random.uniform(key, fitness.shape, jnp.float32)
        valid = ~jnp.isnan(fitness)
        tiebreak = jnp.where(jnp.isnan(tiebreak), -jnp.inf, tiebreak)
        keys = (lot, tiebreak, jnp.where(valid, fitness, -jnp.inf), valid)
        return jnp.lexsort(keys)[::-1].astype(jnp.int32)


def common(key: Key, index: jax.Array) -> Key:
    """All individuals of a generation are scored with the same key: common random numbers. For `Task.key`.

    Args:
      key: the key of the generation.
      index: int32 ``[]``, the index of the individual in its generation.

    Returns:
      The key with which the individual is scored.
    """
    del index
    return key


def independent(key: Key, index: jax.Array) -> Key:
    """Every individual is scored with its own key, ``fold_in(key, index)``. Arguments are those of `common`."""
    return jax.random.fold_in(key, index)


class Trial(NamedTuple):
    """The circumstances under which one individual is scored, for tasks that need more than a key."""

    key: Key  # [] the key that `Task.key` chose for this individual
    generation: Any = 0  # [] int32, the number of the generation
    index: Any = 0  # [] int32, the index of the individual in its generation
    parent: Params | None = None  # its parent's weights; None outside a run, and for children drawn without parents


class Task(NamedTuple):
    """A problem to be solved: how to initialise a network, and how to score it.

    ``init: (key) -> params`` initialises a network.

    ``evaluate: (key, params) -> Evaluation`` scores ONE individual and is a pure function. It may also return a plain
    number, which is then the fitness. Fitness is maximised. If ``with_trial`` is set, the signature is ``(trial,
    params) -> Evaluation``; a `Trial` also holds the generation, the index and the parent's weights.

    ``key: (key of the generation, index of the child) -> key`` chooses the key for ``evaluate``: `common` gives all
    children of a generation the same key, `independent` gives each child its own.

    ``loss: (key, params) -> []`` is the loss that gradient descent would minimise, if the task has one.

    ``validate: (params) -> Evaluation`` measures generalisation. Its results are logged, and never used for selection.
    They may be used by a stop rule, and to tune settings.

    ``test: (params) -> Evaluation`` measures the same on data that neither training, nor stop rules, nor tuning used.
    A run never calls it. Call it once, for the final network: ``task.test(result.best.params)``.
    """

    init: Callable[[Key], Params]  # (key) -> params
    evaluate: Callable[[Any, Params], Evaluation]  # (key or trial, params) -> Evaluation, or a number
    key: Callable[[Key, jax.Array], Key] = common  # (key of the generation, index of the child) -> key of evaluate
    loss: Callable[[Key, Params], jax.Array] | None = None  # (key, params) -> [], for gradient descent
    validate: Callable[[Params], Evaluation] | None = None  # (params) -> Evaluation, logged and never selected by
    chunk: int | None = None  # preferred number of children scored at once on a CPU; None: `vmapped` decides
    test: Callable[[Params], Evaluation] | None = None  # (params) -> Evaluation on unseen data; no run calls it
    with_trial: bool = False  # does evaluate take a Trial instead of a key?
    comparable: bool = True  # can scores of two generations be compared, so that an elite may keep its score?

    def score(self, draw: Key | Trial, params: Params) -> Evaluation:
        """The score of ONE individual, with float32 ``fitness []`` and ``tiebreak []``.

        Args:
          draw: the key for ``evaluate``, or a `Trial`.
          params: of the individual.

        Raises:
          InputError: if ``evaluate`` returned neither an `Evaluation` of one individual nor a number.
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
        """The task that `jaxga.encoding.encoded` returns, where ``init`` and ``decode`` are explained."""

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
            chunk=None,  # the preferred chunk holds only where children share their parent's matrix products
        )


def as_they_are(params: Params) -> Params:
    """The identity, for parameters that need no decoding."""
    return params


class Step(NamedTuple):
    """What happened in one step of one episode."""

    observation: Any  # the observation after the step
    action: Any  # the action that was taken
    reward: Any  # [] the reward of the step; NaN where the episode is lost
    state: Any  # the environment's state after the step; for games on the host a dict of other outputs, such as "ram"


class Observer(NamedTuple):
    """Computes a metric of any shape from the steps of an episode, such as a descriptor of behaviour.

    ``start`` makes an accumulator ``seen`` at the start of the episode, ``add`` updates it after each step, and ``end``
    computes the metric from it. For `control` these are pure JAX functions. For games on the host they are NumPy
    functions, and ``shape`` must be the shape of the metric.
    """

    start: Callable[[Any, Any], Any]  # (state, observation) -> seen
    add: Callable[[Any, Step], Any]  # (seen, Step) -> seen
    end: Callable[[Any], Any]  # (seen) -> value
    shape: tuple[int, ...] = ()  # of the value; needed for games on the host only


class Game(NamedTuple):
    """A problem whose episodes are played outside of JAX, in environments on the host.

    An episode is a pure function of the network and of the episode's start. A start is an int32: the number of frames
    that pass before the network acts, or a seed of the environment.
    """

    init: Callable[[Key], Params]  # (key) -> params
    act: Callable[[Params, jax.Array], jax.Array]  # (params, observations [B, ...]) -> actions [B, ...]
    make: Callable[..., Any]  # (num_envs, batch_size, num_threads, seed) -> a pool of environments, see `jaxga.arena`
    actions: Any  # the action space, a gymnasium space
    draw: Callable[[Key], jax.Array]  # (key) -> the start of an episode, int32 []
    starts: Mapping[bytes, int] | None  # starts that can be recognised; None: each start needs its own environment
    max_steps: int  # the agent's steps after which a training episode is cut off
    frames: int = 1  # frames of the game in one step of the agent
    unseen: int = 0  # frames of the frame stack that are black at the start
    key: Callable[[Key, jax.Array], Key] = independent  # (key of the generation, index of the child) -> key of draw
    observation: jax.ShapeDtypeStruct | None = None  # shape and dtype of one environment's observation, if known
    paired: bool = False  # is the parent's return subtracted from the child's? See `paired`
    observe: Mapping[str, Observer] = MappingProxyType({})  # metrics by name, computed by NumPy functions
    decode: Callable[[Params], Params] = as_they_are  # params -> what `act` takes; called once for each network

    def against_parent(self) -> "Game":
        """See `paired`."""
        return self._replace(paired=True)

    def encoded(self, init: Callable[[Key], Any], decode: Callable[[Any], Params]) -> "Game":
        """The game that `jaxga.encoding.encoded` returns, where ``init`` and ``decode`` are explained."""
        inner = self.decode
        return self._replace(init=init, decode=lambda genes: inner(decode(genes)))

    @property
    def comparable(self) -> bool:
        """Can scores of two generations be compared, so that an elite may keep its score?"""
        return not self.paired


def against(task: Task, compare: Callable[[Key, Params, Params], Any]) -> Task:
    """The same task, with a fitness that compares a child with its parent.

    What depends on the parent alone, such as its gradient, is computed once for each chunk of its children. Children of
    generation 0 that are drawn without parents (`jaxga.random_founders`) keep the score of the task. `paired`,
    `jaxga.tasks.along_gradient` and `jaxga.tasks.change_of` are special cases.

    Args:
      task: the task.
      compare: ``(key, child, parent) -> Evaluation``, or a number, from the params of both. ``key`` is the key that
        `Task.key` chose for the child.

    Raises:
      InputError: if ``compare`` is not a function.

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
    """The same `Task` or `Game`, with the child's improvement over its own parent as fitness.

    Child and parent are scored with the same key, hence on the same data or episodes. A child that was scored on easy
    data is then not mistaken for a good one. With ``key=common`` a parent of a `Task` is scored once for each chunk of
    its children, and a parent of a `Game` plays each start once. With ``key=independent`` the parent is scored once for
    each child. Children of generation 0 that are drawn without parents keep their score.
    """
    return problem.against_parent()


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Source:
    """All that is needed to build the children of a generation, on this machine or on another one.

    Child ``i`` is a function of the source and of ``i``. T slots hold the parents. P pairs of slots breed, and each
    pair has B = N / P children, its brood.
    """

    key: Key  # [] the root key of the run, never changed
    generation: jax.Array  # [] int32, the number of the generation
    parents: Individual  # [T], one in each slot
    pairs: jax.Array  # [P, 2] int32: the slot that breeds, and its mate's slot; -1: a mate is drawn for every child
    founding: bool = field(default=False, metadata={"static": True})  # are children initialised without parents?

    def _replace(self, **changes: Any) -> "Source":
        return replace(self, **changes)


class Recipe(NamedTuple):
    """The decisions of a selection: how the next parents are made of this generation's children.

    A recipe and a source determine the next source; no fitness is needed. A pedigree is the list of all recipes.

    Without ``step``, the next parent in slot t is child ``indices[t, 0]``. An index ``N + s`` stands for the parent
    that is in slot s now. With ``share`` and ``step``, the next parent in slot t is ``sum_j share[t, j] * (parent of
    child j) + step[t, j] * (child j - its parent)``, over the children ``indices[t]``.
    """

    indices: jax.Array  # [T, k] int32: child i, or N + s for the parent in slot s
    share: jax.Array | None = None  # [T, k] weights of the children's parents, sum 1 along k
    step: jax.Array | None = None  # [T, k] weights of the children's steps; 0: strategies are inherited, weights stay
    pairs: jax.Array | None = None  # [P, 2] the slots that breed next, see `Source`; None: every slot, with drawn mates


class Best(NamedTuple):
    """The individual with the best fitness so far."""

    fitness: jax.Array  # [] its fitness; -inf before the first generation
    generation: jax.Array  # [] int32, the generation in which it was scored; -1 before the first
    index: jax.Array  # [] int32, its index in that generation: a child, or a parent from N on


class State(NamedTuple):
    """What a run carries from one generation to the next."""

    source: Source  # all that is needed to build the children
    scores: Evaluation  # [T] of the parents; NaN for one that was never scored, such as a mean of children
    remembered: Any  # the selection's own memory, such as an archive
    best: Best  # the best individual so far, for the log

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
        """The parents ``[T]``, one in each slot."""
        return self.source.parents

    @property
    def pairs(self) -> jax.Array:
        """The slots that breed, and their mates, ``[P, 2]``, see `Source`."""
        return self.source.pairs

    @property
    def founding(self) -> bool:
        """Are the children of this generation initialised afresh, without parents?"""
        return self.source.founding

    @property
    def fitness(self) -> jax.Array:
        """Fitness of the parents ``[T]``; NaN for one that was never scored."""
        return self.scores.fitness

    @property
    def best_fitness(self) -> jax.Array:
        """The best fitness so far, ``[]``."""
        return self.best.fitness


class Verdict(IntEnum):
    """Whether a generation is valid, and if not, why."""

    FINE = 0
    NO_FITNESS = 1  # every child scored NaN
    OUT_OF_RANGE = 2  # the selection chose an index that does not exist


class Info(NamedTuple):
    """The record of one generation."""

    recipe: Recipe  # how the next parents are made
    fitness: jax.Array  # [T] of the next parents; NaN for one that was never scored
    best_index: jax.Array  # [] int32, the best individual of this generation: a child, or a parent from N on
    metrics: dict[str, jax.Array]  # what is logged
    verdict: jax.Array  # [] int32, a `Verdict`


class Scored(NamedTuple):
    """What a selection sees of a generation: C = N + E candidates, first N children, then E elites."""

    evaluation: Evaluation  # [C] scores; elites that are not scored again have their earlier scores
    index: jax.Array  # [C] int32: child i, or N + s for the elite in slot s
    slot: jax.Array  # [C] int32: the slot of a child's parent; an elite's own slot
    order: jax.Array  # [C] int32: positions of the candidates, best first; ties are broken at random
    parents: Evaluation  # [T] scores of all parents
    generation: jax.Array  # [] int32, the number of the generation
    born: jax.Array  # [C] bool: is the candidate a child?
    held: jax.Array  # [T] int32: N + s for slot s, the index by which a recipe keeps the parent that is there


class Selection(NamedTuple):
    """Decides which individuals are the next parents, and which of these breed.

    ``init: (T, like) -> remembered`` makes the selection's memory. ``like`` has the shapes of the scores of one
    generation, including metrics.

    ``apply: (key, Scored, remembered) -> (Recipe, remembered, metrics to be logged)`` decides. The recipe has one index
    for each slot, or k indices of children that are averaged. Slots are not sorted afterwards, so a selection may give
    each slot a meaning of its own, such as a cell of `jaxga.selection.map_elites`.
    """

    init: Callable[[int, Evaluation], Any]  # (T, like) -> remembered
    apply: Callable[[Key, Scored, Any], tuple[Recipe, Any, dict[str, jax.Array]]]  # decides, see above
    elites: tuple[int, ...] = ()  # slots of each group whose parents compete with the children
    reevaluate: bool = False  # are elites scored again every generation?
    ordered: bool = False  # does slot 0 hold the best parent? If not, the best is found by its score
    incumbents: bool = False  # are children compared with earlier scores that parents keep?
    in_place: bool = False  # do kept parents stay in their slots, each child in at most one? Less data is moved then
    groups: int = 1  # groups of slots, pairs and children, each with its own keys, see `jaxga.selection.islands`


class Kept:
    """A cache of the latest programs made for an algorithm. Programs and their data live as long as the algorithm."""

    MOST = 8

    def __init__(self) -> None:
        self.found: OrderedDict[Any, Any] = OrderedDict()

    def get(self, name: Any, make: Callable[[], Any]) -> Any:
        """The cached value for this name; ``make`` is called if there is none."""
        if name not in self.found:
            self.found[name] = make()
        self.found.move_to_end(name)
        if len(self.found) > self.MOST:
            self.found.popitem(last=False)
        return self.found[name]


class Algorithm(NamedTuple):
    """An evolutionary algorithm: five pure functions, a selection and three sizes."""

    begin: Callable[[Key], Source]  # (root key) -> the source of generation 0
    init: Callable[..., State]  # (root key, like=None) -> State; like: an Evaluation [N], for selections by metrics
    offspring: Callable[[Any, Any, Any], Individual]  # (Source, pair [], member []) -> child pair * B + member
    select: Callable[[State, Evaluation], tuple[State, Info]]  # the next state, still with the source of this one
    advance: Callable[[Any, Recipe], Source]  # (Source, Recipe) -> the next source
    selection: Selection  # decides about the next parents
    parents: int  # T, the number of parents
    children: int  # N, the number of children in a generation
    pairs: int  # P, the number of pairs that breed
    viable: Callable[[Individual], Any] | None = None  # (individual) -> bool []; where False, a child is not scored
    score_founders: bool = False  # are founders scored before generation 0?
    kept: Kept = Kept()  # a cache of compiled programs

    def remembered(self, name: Any, make: Callable[[], Any]) -> Any:
        """The value that is cached for this algorithm under a name.

        Args:
          name: any hashable value.
          make: ``() -> value``, called if there is no value yet.
        """
        return self.kept.get((name, self), make)

    @property
    def brood(self) -> int:
        """B = N / P, the number of children of one pair."""
        return self.children // self.pairs

    @property
    def elites(self) -> tuple[int, ...]:
        """The slots, of all groups, whose parents compete with the children."""
        slots = self.parents // self.selection.groups
        return tuple(group * slots + slot for group in range(self.selection.groups) for slot in self.selection.elites)

    def rescored(self, source: Any) -> tuple[int, ...]:
        """The slots whose parents are scored again in this generation; their scores follow those of the children."""
        return self.elites if self.selection.reevaluate and not source.founding else ()

    def place(self, source: Any, index: Any) -> "Place":
        """The pair, member and slot that an index stands for. Index ``N + s`` is the parent in slot s.

        Args:
          source: the source of the generation.
          index: int32, one index or an array of them.
        """
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
        """The place of a child, from its pair and its number in the brood.

        Args:
          source: the source of the generation.
          pair: int32 ``[]``, the number of the pair, from 0 to P - 1.
          member: int32 ``[]``, the number of the child in the brood, from 0 to B - 1.
        """
        index, kept = pair * self.brood + member, jnp.zeros(jnp.shape(pair), bool)
        if self.selection.groups == 1:
            return Place(pair, member, source.pairs[pair, 0], kept, jnp.zeros_like(pair), index)
        group = pair // (self.pairs // self.selection.groups)
        number = index - group * (self.children // self.selection.groups)
        return Place(pair, member, source.pairs[pair, 0], kept, group, number)

    def key(self, source: Any, purpose: Purpose, group: Any) -> Key:
        """The key of this generation for one purpose. If there are several groups, each has its own root key.

        Args:
          source: the source of the generation.
          purpose: what the key is for.
          group: the number of the group.
        """
        if self.selection.groups == 1:
            return generation_key(source, purpose)
        root = jax.random.fold_in(source.key, group)
        return jax.random.fold_in(jax.random.fold_in(root, source.generation), purpose)

    def group(self, source: Any, group: Any) -> Source:
        """The source of one group as if there were no other groups. Its root key is ``fold_in(key, group)``.

        Args:
          source: the source of the whole population.
          group: the number of the group.
        """
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
        """The next state, from the scores of this generation's children.

        Args:
          state: the state of this generation.
          evaluation: the scores ``[N]`` of the children. If elites are scored again, their scores follow: ``[N + E]``.

        Returns:
          The state of the next generation, and the record of this one.
        """
        state, info = self.select(state, evaluation)
        return state._replace(source=self.advance(state.source, info.recipe)), info


class Place(NamedTuple):
    """What an index stands for: a child, or a parent that is kept."""

    pair: jax.Array  # [] int32, the pair that has the child
    member: jax.Array  # [] int32, the child's number in the brood of that pair
    slot: jax.Array  # [] int32, the slot of the child's parent; of a kept parent its own slot
    kept: jax.Array  # [] bool: is it a parent that is kept?
    group: jax.Array  # [] int32, the selection's group, such as an island; 0 if there is only one
    number: jax.Array  # [] int32, the index within the group


Choice = Callable[[Key, Any, int], jax.Array]  # (key, Evaluation or Candidates [C], num) -> positions int32 [num]
Evaluator = Callable[[Any], Evaluation]  # Source -> Evaluation [N], or [N + E] where elites are scored again


def generation_key(source: Any, purpose: Purpose) -> Key:
    """The key of this generation for one purpose."""
    return jax.random.fold_in(jax.random.fold_in(source.key, source.generation), purpose)


def as_fitness(evaluation: Evaluation) -> Evaluation:
    """The same evaluation, with float32 fitness, and a float32 tiebreak of the same shape."""
    fitness = jnp.asarray(evaluation.fitness, jnp.float32)
    return evaluation._replace(
        fitness=fitness, tiebreak=jnp.broadcast_to(jnp.asarray(evaluation.tiebreak, jnp.float32), fitness.shape)
    )


def as_evaluation(score: Any, who: str) -> Evaluation:
    """The score of ONE individual that a user's function returned: an `Evaluation`, or a number, which is a fitness.

    Raises:
      InputError: for anything else. ``who`` names the function in the message.
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
