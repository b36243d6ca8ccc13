"""Control tasks in environments that are JAX programs, so that whole generations compile.

The E episodes of one individual pass through its network as one batch. Only running sums are kept of them. The
functions of an `Environment` are written for ONE episode, those of a `Policy` for E episodes. `control` makes a `Task`
of an environment and a policy.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen

from jaxga.base import (
    Evaluation,
    InputError,
    Key,
    Observer,
    Params,
    Step,
    Task,
    as_key,
    independent,
    name_of,
    require,
    require_whole,
)
from jaxga.compilation import any_of_all, apart
from jaxga.tree import check_like, path_key, where

State = Any
Memory = Any
Action = Any
Observation = jax.Array

CHUNK = 256  # children scored at once on a CPU, because each step of an episode is little work
CLIP = 10.0  # normalised observations are clipped to this absolute value, in standard deviations


class Box(NamedTuple):
    """Continuous actions ``[n]`` between two bounds."""

    low: tuple[float, ...]  # [n], the lower bound of each component
    high: tuple[float, ...]  # [n], the upper bound of each component


class Environment(NamedTuple):
    """One episode of a task, as two pure functions.

    ``reset: (key) -> (state, observation)``. ``step: (key, state, action) -> (state, observation, reward, done)``.
    A reward is float32 ``[]``, ``done`` is bool ``[]``. A state is any pytree of arrays whose shapes and dtypes do not
    change from step to step. ``step`` must not reset an episode that is over: `control` freezes it.
    """

    reset: Callable[[Key], tuple[State, Observation]]  # (key) -> (state, observation)
    step: Callable[[Key, State, Action], tuple[State, Observation, jax.Array, jax.Array]]  # one step of the episode
    observation: tuple[int, ...]  # shape of an observation, float32
    actions: int | Box  # the number n of discrete actions 0 to n - 1, or the bounds of continuous actions
    max_steps: int  # most steps of an episode
    costly: bool = False  # compile a step as a separate part, see `jaxga.compilation.apart`; try which is faster

    @property
    def init(self) -> Any:
        """An environment has no ``init``, because it is not a task.

        Raises:
          InputError: always.
        """
        raise InputError("an Environment is no task: make one of it by tasks.control(environment, network).")

    @property
    def outputs(self) -> int:
        """The number of network outputs: one for each discrete action, or for each component of a continuous one."""
        return len(self.actions.low) if isinstance(self.actions, Box) else self.actions


class Policy(NamedTuple):
    """A policy with a memory that lasts one episode, as three pure functions of a batch of E episodes.

    ``act: (params, memory, observations [E, ...], keys [E]) -> (memory, actions [E, ...])``.
    A memory is any pytree of arrays ``[E, ...]``, or ``()`` for none. An action that is NaN, or a discrete action
    below 0, ends its episode with a return of NaN.
    """

    init: Callable[[Key], Params]  # (key) -> params
    start: Callable[[Params, Key], Memory]  # (params, keys [E]) -> memory at the start of the episodes
    act: Callable[[Params, Memory, jax.Array, jax.Array], tuple[Memory, Action]]  # one step of all E episodes


class Statistics(NamedTuple):
    """Mean and standard deviation of every component of an observation."""

    mean: jax.Array  # [...], in the shape of an observation
    std: jax.Array  # [...], in the shape of an observation; 1 for a component that never changed


class _Episodes(NamedTuple):
    """The carry from step to step, ``[E, ...]``."""

    state: State
    observation: jax.Array
    memory: Memory
    over: jax.Array  # [E] bool
    seen: dict[str, Any]  # the accumulated value of each observer


# Observers of every episode.
RETURN, LENGTH = "return", "steps"
ALWAYS = {
    RETURN: Observer(lambda *_: jnp.float32(0), lambda seen, step: seen + step.reward, lambda seen: seen),
    LENGTH: Observer(lambda *_: jnp.int32(0), lambda seen, _: seen + 1, lambda seen: seen),
}


def greedy(key: Key, outputs: jax.Array) -> jax.Array:
    """The index ``[]`` of the largest of ``outputs [n]``, the first among equals; -1, no action, if an output is NaN.

    It compares outputs instead of calling argmax, which for a population is faster on a CPU.

    Args:
      key: not used. It is there for functions that draw, such as `drawn`.
      outputs: of the network, ``[n]``.

    >>> [greedy(None, jnp.array(outputs)).item() for outputs in ([1.0, 3.0, 3.0], [2.0, jnp.nan, 1.0])]
    [1, -1]
    """
    del key
    best, action = outputs[0], jnp.int32(0)
    for number in range(1, len(outputs)):
        larger = outputs[number] > best
        best, action = jnp.where(larger, outputs[number], best), jnp.where(larger, number, action)
    return jnp.where(jnp.isnan(outputs).any(), -1, action)


def drawn(key: Key, outputs: jax.Array) -> jax.Array:
    """An action ``[]`` drawn from the softmax of ``outputs [n]``; -1, no action, if an output is NaN.

    Args:
      key: the key of the draw.
      outputs: of the network, ``[n]``.
    """
    return greedy(key, outputs + jax.random.gumbel(key, outputs.shape, outputs.dtype))


def squashed(bounds: Box) -> Callable[[Key, jax.Array], jax.Array]:
    """``(key, outputs [n]) -> low + (high - low) * (tanh(outputs) + 1) / 2``. The key is not used.

    >>> squashed(Box((-2.0,), (2.0,)))(None, jnp.zeros(1)).tolist()
    [0.0]
    """
    low, high = (jnp.asarray(bound, jnp.float32) for bound in bounds)

    def act(key: Key, outputs: jax.Array) -> jax.Array:
        del key
        return (high + low) / 2 + (high - low) / 2 * jnp.tanh(outputs)

    return act


def feedforward(
    network: linen.Module, environment: Environment, act: Callable[[Key, jax.Array], Action] | None = None
) -> Policy:
    """A policy without memory.

    Args:
      network: a flax module from observations ``[E, *observation]`` to outputs ``[E, n]``.
      environment: decides the shape of observations and the kind of actions.
      act: ``(key, outputs [n]) -> action``, for ONE episode. By default `greedy` for discrete actions and `squashed`
        for continuous ones. `drawn` samples discrete actions.

    Raises:
      InputError: if ``act`` is not given and the network has another number of outputs than the environment needs.
    """
    actions = environment.actions
    default = squashed(actions) if isinstance(actions, Box) else greedy
    inputs = jnp.zeros((1, *environment.observation), jnp.float32)
    outputs, _ = jax.eval_shape(network.init_with_output, jax.random.key(0), inputs)
    require(
        act is not None or outputs.shape == (1, environment.outputs),
        f"network makes outputs {outputs.shape} of one observation, and the environment needs {environment.outputs} "
        "numbers: change the width of its last layer, or pass act.",
    )

    def apply(params: Params, memory: Memory, observations: jax.Array, keys: jax.Array) -> tuple[Memory, Action]:
        outputs = cast(jax.Array, network.apply(params, observations))
        return memory, jax.vmap(act or default)(keys, outputs)

    return Policy(lambda key: network.init(key, inputs), _no_memory, apply)


def _no_memory(params: Params, keys: Key) -> Memory:
    del params, keys
    return ()


def statistics(environment: Environment, *, episodes: int = 64, steps: int = 200, seed: int = 0) -> Statistics:
    """Mean and standard deviation of observations under random actions, for `control(..., normalise=...)`.

    They are measured once and stay constant. With running statistics, which are common in evolution strategies, a score
    would depend on what was scored before. A replay or a run on another device would then have another result.

    A component that never changes has the standard deviation 1, so it keeps its scale.

    Args:
      environment: the environment.
      episodes: number of episodes with random actions, by default 64.
      steps: most steps of an episode, by default 200.
      seed: seed of actions and episodes, by default 0.

    Raises:
      InputError: if ``environment`` is no `Environment`, or a number is below 1.

    >>> from jaxga.tasks import cartpole
    >>> found = statistics(cartpole(), episodes=8)
    >>> found.mean.shape, bool((found.std > 0).all())
    ((4,), True)
    """
    _require_environment(environment)
    require_whole(1, episodes=episodes, steps=steps)

    def step(carry: tuple[State, jax.Array], key: Key) -> tuple[Any, tuple[jax.Array, jax.Array]]:
        state, over = carry
        key_action, key_step = jax.random.split(key)
        state, observation, _, done = environment.step(key_step, state, _random_action(key_action, environment.actions))
        return (state, over | done), (observation, ~over)

    def episode(key: Key) -> tuple[jax.Array, jax.Array]:
        key_reset, key_steps = jax.random.split(key)
        state, first = environment.reset(key_reset)
        keys = jax.random.split(key_steps, min(steps, environment.max_steps))
        _, (seen, counted) = jax.lax.scan(step, (state, jnp.bool_(False)), keys)
        return jnp.concatenate([first[None], seen]), jnp.append(True, counted)

    def measured(keys: jax.Array) -> Statistics:
        seen, counted = jax.vmap(episode)(keys)
        counted = counted.reshape(*counted.shape, *(1,) * len(environment.observation))
        mean, std = (of(seen, axis=(0, 1), where=counted) for of in (jnp.mean, jnp.std))
        return Statistics(mean, jnp.where(std > 1e-6, std, 1))

    key = path_key(as_key(seed), ("control", "statistics"))
    return jax.jit(measured)(jax.random.split(key, episodes))


def _random_action(key: Key, actions: int | Box) -> Action:
    if not isinstance(actions, Box):
        return jax.random.randint(key, (), 0, actions, jnp.int32)
    low, high = (jnp.asarray(bound, jnp.float32) for bound in actions)
    return jax.random.uniform(key, low.shape, jnp.float32, low, high)


def control(
    environment: Environment,
    network: linen.Module | Policy,
    *,
    episodes: int = 1,
    max_steps: int | None = None,
    block: int = 16,
    act: Callable[[Key, jax.Array], Action] | None = None,
    normalise: Statistics | None = None,
    key: Callable[[Key, jax.Array], Key] = independent,
    validation_episodes: int = 100,
    observe: Mapping[str, Observer] | None = None,
) -> Task:
    """A task whose fitness is the return, the sum of rewards, averaged over E episodes.

    Args:
      environment: `cartpole`, `bandit`, `from_gymnax`, or your own `Environment`.
      network: a flax module from ``[E, *observation]`` to ``[E, outputs]``; or a `Policy`, which may have a memory.
      episodes: E, by default 1. Each episode has its own start, and all run at the same time.
      max_steps: most steps of an episode, by default the environment's own limit.
      block: number of steps after which the program checks if all episodes of all children that are scored together
        are over, by default 16. It changes how many steps are computed in vain, and never the result.
      act: ``(key, outputs [n]) -> action`` for a network, see `feedforward`. It is refused with a `Policy`.
      normalise: mean and standard deviation from `statistics`. Observations minus the mean are divided by the standard
        deviation and clipped to -10 to 10. By default observations stay as they are.
      key: `independent` (default) gives each child its own episodes, `common` all children of a generation the same.
      validation_episodes: number of episodes of `Task.validate`, by default 100. Its fitness is their mean return.
        They are the same in every validation, and are never used for fitness in the run.
      observe: further measurements of an episode, by name, see `jaxga.Observer` and `jaxga.observe`. The mean of each
        over the episodes, in any shape, becomes a metric.

    Rewards after the end of an episode do not count. An action, an observation or a reward that is NaN ends its episode
    and makes the fitness of the individual NaN. It does not affect other episodes or individuals.

    Metrics of the best child in the log: ``episode_steps``, the mean length of its episodes; ``steps``, the sum of
    their lengths; ``worst_return``, their lowest return.

    Raises:
      InputError: if ``environment`` is no valid `Environment`, a number is below 1, or another argument does not fit.

    >>> from jaxga import nn
    >>> from jaxga.tasks import cartpole
    >>> task = control(cartpole(), nn.MLP((2,)), episodes=2, max_steps=20)
    >>> params = task.init(jax.random.key(0))
    >>> score = jax.jit(task.evaluate)(jax.random.key(1), params)
    >>> float(2 * score.fitness) == float(score.metrics["steps"])
    True
    """
    _require_environment(environment)
    limit = environment.max_steps if max_steps is None else max_steps
    require_whole(1, episodes=episodes, max_steps=limit, block=block, validation_episodes=validation_episodes)
    require(act is None or not isinstance(network, Policy), "act is for a network: a Policy acts by itself.")
    _check(environment)
    policy = network if isinstance(network, Policy) else feedforward(network, environment, act)
    observers = dict(observe or {})
    taken = sorted({"episode_steps", "worst_return", *ALWAYS} & set(observers))
    require(not taken, f"observe has {taken}, which every episode measures under these names: rename them.")
    play = partial(_play, environment, policy, _normalised(environment, normalise), limit, block, ALWAYS | observers)

    def evaluate(key: Key, params: Params) -> Evaluation:
        return _score(play(jax.random.split(key, episodes), params))

    def validate(params: Params) -> Evaluation:
        unseen = path_key(as_key(0), ("control", "validation"))
        return _score(play(jax.random.split(unseen, validation_episodes), params))

    return Task(policy.init, evaluate, key, validate=validate, chunk=CHUNK)


def _score(values: dict[str, jax.Array]) -> Evaluation:
    """The evaluation, from the observers' values for each episode, ``[E, ...]``."""
    returns, steps = values[RETURN], values[LENGTH]
    metrics = {
        "episode_steps": jnp.mean(steps.astype(jnp.float32)),
        "steps": jnp.sum(steps, dtype=jnp.int32),
        "worst_return": jnp.min(returns),
    }
    means = {name: jnp.mean(_as_float(value), axis=0) for name, value in values.items() if name not in ALWAYS}
    return Evaluation(jnp.mean(returns), metrics=metrics | means)


def _as_float(value: jax.Array) -> jax.Array:
    return value if jnp.issubdtype(value.dtype, jnp.floating) else value.astype(jnp.float32)


def _require_environment(environment: Any) -> None:
    shown = environment if isinstance(environment, str) else type(environment).__name__
    require(
        isinstance(environment, Environment),
        f"environment is {shown!r}, and must be an Environment: tasks.cartpole(), or tasks.from_gymnax(name).",
    )


def _check(environment: Environment) -> None:
    """Refuse an environment whose step returns other shapes or dtypes than its reset."""
    key = jax.random.key(0)
    state, observation = jax.eval_shape(environment.reset, key)
    action = jax.eval_shape(partial(_random_action, actions=environment.actions), key)
    after, later, reward, done = jax.eval_shape(environment.step, key, state, action)
    for name, first, second in (("state", state, after), ("observation", observation, later)):
        require(
            _types(first) == _types(second),
            f"environment.step makes a {name} of other types than reset: {_types(second)}, not {_types(first)}.",
        )
    shape, expected = observation.shape, tuple(environment.observation)
    require(shape == expected, f"environment.reset makes an observation {shape}, and {expected} is what it promises.")
    require(reward.shape == done.shape == (), f"reward {reward.shape} and done {done.shape} must be scalars, ().")


def _types(tree: Any) -> Any:
    return jax.tree.map(lambda leaf: f"{leaf.dtype}{list(leaf.shape)}", tree)


def _normalised(environment: Environment, found: Statistics | None) -> Callable[[jax.Array], jax.Array]:
    if found is None:
        return lambda observation: observation
    shapes = np.shape(found.mean), np.shape(found.std)
    expected = (tuple(environment.observation),) * 2
    require(shapes == expected, f"normalise has shapes {shapes}, and those of an observation are {expected}.")
    return lambda observation: jnp.clip((observation - found.mean) / found.std, -CLIP, CLIP)


def _play(
    environment: Environment,
    policy: Policy,
    look: Callable[[jax.Array], jax.Array],
    limit: int,
    block: int,
    observers: Mapping[str, Observer],
    keys: jax.Array,
    params: Params,
) -> dict[str, jax.Array]:
    """Play an episode for each of ``keys [E]``, in blocks of steps until all are over. Returns observers' values."""

    def drawn_for(number: Any) -> jax.Array:
        return jax.vmap(jax.random.fold_in, in_axes=(0, None))(keys, number)

    def one_step(episodes: _Episodes, number: jax.Array) -> tuple[_Episodes, None]:
        memory, action = policy.act(params, episodes.memory, look(episodes.observation), drawn_for(2 * number))
        step_all = partial(jax.vmap(environment.step), drawn_for(2 * number + 1), episodes.state, action)
        state, observation, reward, done = apart(step_all, number) if environment.costly else step_all()
        lost = _none(action) | _has_nan(observation) | _has_nan(reward)
        step = Step(observation, action, jnp.where(lost, jnp.nan, reward), state)
        seen = {name: jax.vmap(_kept(observer.add))(episodes.seen[name], step) for name, observer in observers.items()}
        over = done | lost | (number >= limit)
        after = _Episodes(state, observation, memory, over, seen)
        return jax.vmap(where)(episodes.over, episodes, after), None

    def one_block(carry: tuple[_Episodes, jax.Array]) -> tuple[_Episodes, jax.Array]:
        episodes, number = carry
        episodes, _ = jax.lax.scan(one_step, episodes, number + jnp.arange(1, block + 1, dtype=jnp.int32))
        return episodes, number + block

    state, observation = jax.vmap(environment.reset)(drawn_for(0))
    count = len(keys)
    seen = {name: jax.vmap(_as_arrays(observer.start))(state, observation) for name, observer in observers.items()}
    first = _Episodes(state, observation, policy.start(params, drawn_for(1)), jnp.zeros(count, bool), seen)
    episodes, _ = jax.lax.while_loop(lambda carry: any_of_all(~carry[0].over), one_block, (first, jnp.int32(0)))
    return {name: jax.vmap(_as_arrays(observer.end))(episodes.seen[name]) for name, observer in observers.items()}


def _as_arrays(function: Callable[..., Any]) -> Callable[..., Any]:
    """The same function with Python numbers in its result as arrays, floats as float32."""

    def array(leaf: Any) -> jax.Array:
        return jnp.asarray(leaf, jnp.float32) if isinstance(leaf, float) else jnp.asarray(leaf)

    return lambda *arguments: jax.tree.map(array, function(*arguments))


def _kept(add: Callable[[Any, Step], Any]) -> Callable[[Any, Step], Any]:
    """The same function, with a check that its result has the structure, shapes and dtypes of its first argument."""

    def call(seen: Any, step: Step) -> Any:
        return check_like(_as_arrays(add)(seen, step), seen, f"add ({name_of(add)}) of an observer")

    return call


def _none(action: Action) -> jax.Array:
    """Bool ``[E]``: which of the actions ``[E, ...]`` mean "no action"?"""
    if jnp.issubdtype(action.dtype, jnp.integer):
        return (action < 0).reshape(len(action), -1).any(axis=1)
    return _has_nan(action)


def _has_nan(values: jax.Array) -> jax.Array:
    """Bool ``[E]``: which of ``values [E, ...]`` contain a NaN?"""
    return jnp.isnan(values).reshape(len(values), -1).any(axis=1)
