"""The types that every other module speaks. Nothing here computes.

Letters for shapes, used everywhere: T parents, N children, B = N / T children of one parent (a brood), k
children averaged into one parent, G generations. ``[]`` is a scalar.

The one idea: **a child is a pure function of (key of the generation, parents, index of the child)**. A state holds
the parents alone; whoever needs child ``i`` builds it from the state and ``i``.
"""

import operator
from collections.abc import Callable, Mapping
from enum import IntEnum
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.core import Tracer

Key = jax.Array
Params = Any
Strategy = Any

THREEFRY = "threefry2x32"  # the kind of keys whose numbers are the same one by one and under vmap
STEPS, PLAYED = "agent_steps", "played_steps"  # metrics that count: of a generation as measured, so far in a history


class InputError(ValueError):
    """A request that cannot work. Its message is one sentence that names the argument and the way out."""


def require(condition: bool, message: str) -> None:
    """Raise ``InputError(message)`` unless ``condition`` holds."""
    if not condition:
        raise InputError(message)


def require_at_least(least: float, **numbers: Any) -> None:
    """Refuse a number below ``least``, named as its keyword. A traced one passes, so that a sweep may be a vmap."""
    for name, value in numbers.items():
        traced = isinstance(value, Tracer)
        require(traced or float(value) >= least, f"{name} is {value}, and must be {least:g} or more.")


def as_key(key: Any) -> Key:
    """A typed key as it is, or the key of a seed, whatever JAX is configured to make of seeds.

    Raises:
      InputError: for keys of other kinds: of ``rbg`` a child's numbers depend on who else is drawn at the same time.
    """
    typed = isinstance(key, jax.Array) and jnp.issubdtype(key.dtype, jax.dtypes.prng_key)
    found = key if typed else jax.random.key(operator.index(key), impl=THREEFRY)
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


class Variation(NamedTuple):
    """Mutation or crossover, written for ONE individual.

    ``init: (params) -> strategy`` makes what an individual inherits beside its weights;
    ``apply: (key, individual, context) -> individual`` makes a child.
    """

    init: Callable[[Params], Strategy]
    apply: Callable[[Key, Individual, Context], Individual]


class Evaluation(NamedTuple):
    """The score of one individual ``[]`` or of all children ``[N]``. Higher fitness is better, NaN is worst.

    ``tiebreak`` orders equal fitness; ``metrics`` is a dict of arrays to be logged.
    """

    fitness: Any
    tiebreak: Any = 0.0
    metrics: Any = ()  # or a dict of arrays


def common(key: Key, index: jax.Array) -> Key:
    """Everyone of a generation is scored on the same draw: common random numbers."""
    del index
    return key


def independent(key: Key, index: jax.Array) -> Key:
    """Every individual is scored on a draw of its own."""
    return jax.random.fold_in(key, index)


class Task(NamedTuple):
    """What is to be solved.

    ``init: (key) -> params`` makes a fresh network. ``evaluate: (key, params) -> Evaluation`` scores ONE individual
    and is pure. ``key: (key of the generation, index of the child) -> key`` is `common` or `independent`.
    ``loss: (key, params) -> []`` is what gradient descent would minimise, where there is such a thing.
    ``validate: (params) -> Evaluation`` tells whether anything general was learned; it is logged and never selected by.
    """

    init: Callable[[Key], Params]
    evaluate: Callable[[Key, Params], Evaluation]
    key: Callable[[Key, jax.Array], Key] = common
    loss: Callable[[Key, Params], jax.Array] | None = None
    validate: Callable[[Params], Evaluation] | None = None
    paired: bool = False  # see `paired`
    chunk: int | None = None  # children at once that suit it on a CPU, where it knows better than `vmapped`


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


def paired(task: Task) -> Task:
    """Fitness is the improvement of a child over its own parent on the same draw.

    A child that met easy data is then not taken for a good one. With ``key=common`` a parent is scored once a chunk of
    its children, with ``key=independent`` once a child. Founders that are drawn afresh have no parent, and keep their
    score.
    """
    return task._replace(paired=True)


class Survivors(NamedTuple):
    """All that fitness decided about the next generation: which children, with which weights, make the next parents.

    Parent t of the next generation is ``sum_j share[t, j] * (parent of child j) + step[t, j] * (child j - its parent)``
    over the children ``indices[t]``; with k = 1 it is the child itself. An index ``N + s`` is parent s kept as it is.
    A pedigree is the list of these, so that a replay needs no fitness.
    """

    indices: jax.Array  # [T, k] int32, best first
    share: jax.Array  # [T, k] sums to 1 along k
    step: jax.Array  # [T, k]
    fitness: jax.Array  # [T] of the new parents; NaN where several children were averaged
    tiebreak: jax.Array  # [T]
    best_fitness: jax.Array  # [] of the best child of this generation
    best_index: jax.Array  # [] int32


class State(NamedTuple):
    """What a run carries from one generation to the next. Everything random is derived from ``key`` by ``fold_in``."""

    key: Key  # [] the root key, never changed
    generation: jax.Array  # [] int32
    parents: Individual | None  # [T], best first; None before founders that are drawn afresh
    fitness: jax.Array  # [T]
    tiebreak: jax.Array  # [T]
    best_fitness: jax.Array  # [] best so far
    best_generation: jax.Array  # [] int32, the generation whose child that was; -1 before the first
    best_index: jax.Array  # [] int32, the index of that child


class Info(NamedTuple):
    """What one generation leaves behind: the survivors and numbers to be logged."""

    survivors: Survivors
    metrics: dict[str, jax.Array]


class Algorithm(NamedTuple):
    """An evolutionary algorithm: four pure functions and four sizes.

    ``update`` is the whole selection step, for whoever has an Evaluation: `select`, then `advance`.
    """

    init: Callable[[Key], State]
    offspring: Callable[[State, Any, Any], Individual]  # (state, slot [], member []): child slot * brood + member
    select: Callable[[State, Evaluation], Info]
    advance: Callable[[State, Survivors], State]
    parents: int  # T
    children: int  # N
    elites: int  # parents that compete with the children
    reevaluate: bool  # are elites scored again every generation?
    viable: Callable[[Individual], Any] | None = None  # who is scored at all

    @property
    def brood(self) -> int:
        """B, the children of one parent."""
        return self.children // self.parents

    def scores_elites(self, state: State) -> bool:
        """Are elites scored again in this generation, behind the children?"""
        return bool(self.reevaluate and self.elites and state.parents is not None)

    def update(self, state: State, evaluation: Evaluation) -> tuple[State, Info]:
        """Evaluation ``[N]`` (``[N + elites]`` where elites are re-evaluated) to the next state."""
        info = self.select(state, evaluation)
        return self.advance(state, info.survivors), info


Selection = Callable[[Key, Evaluation, int], jax.Array]  # (key, Evaluation [N], num) -> indices int32 [num]
Evaluator = Callable[[State], Evaluation]  # state -> Evaluation [N], or [N + elites] where those are re-evaluated


def generation_key(state: State, purpose: Purpose) -> Key:
    """The key of this generation for one purpose."""
    return jax.random.fold_in(jax.random.fold_in(state.key, state.generation), purpose)


def as_fitness(evaluation: Evaluation) -> Evaluation:
    """Give every field its full shape: ``tiebreak`` like ``fitness``, both float32."""
    fitness = jnp.asarray(evaluation.fitness, jnp.float32)
    return evaluation._replace(
        fitness=fitness, tiebreak=jnp.broadcast_to(jnp.asarray(evaluation.tiebreak, jnp.float32), fitness.shape)
    )
