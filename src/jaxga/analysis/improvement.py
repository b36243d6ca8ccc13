"""Effects of single mutations at many step sizes: how many improve, by how much, and which step size is best."""

from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxga.base import Context, Individual, Key, Params, Task, Variation, as_key, require, require_whole
from jaxga.compilation import jit
from jaxga.lowrank import dense
from jaxga.report.plots import Curve, plot_curves
from jaxga.tree import where

CHUNK = 32  # children scored at once
Mutation = Callable[[Any], Variation]  # (step size) -> Variation


def _children(task: Task, mutation: Mutation, size: Any, params: Params, key: Key, count: int) -> tuple[jax.Array, Key]:
    """Fitness ``[count]`` of mutants of ``params``, all scored with one key, and the keys that make the mutants."""
    key_data, key_children = jax.random.split(key)
    keys = jax.random.split(key_children, count)

    def score(key: Key) -> jax.Array:
        return task.score(key_data, dense(_child(mutation, size, params, key).params)).fitness

    return jax.lax.map(score, keys, batch_size=min(CHUNK, count)), keys


def _child(mutation: Mutation, size: Any, params: Params, key: Key) -> Individual:
    change = mutation(size)
    parent = Individual(params, change.init(params))
    return change.apply(key, parent, Context(jnp.int32(0), parent))


def _parent_fitness(task: Task, params: Params, key: Key) -> jax.Array:
    """Fitness of the parent, scored with the same key as the mutants of `_children`."""
    return task.score(jax.random.split(key)[0], params).fitness


class Improvements(NamedTuple):
    """Changes of fitness by single mutations, for every step size."""

    sizes: np.ndarray  # [S], the step sizes
    changes: np.ndarray  # [S, M], fitness of each mutant minus that of the parent

    @property
    def chance(self) -> np.ndarray:
        """``[S]``, the fraction of mutations that improve the fitness."""
        return (self.changes > 0).mean(axis=1)

    def expected_best(self, children: int) -> np.ndarray:
        """``[S]``, the expected change by the best of ``children`` mutants, from order statistics of the changes."""
        ordered = np.sort(np.nan_to_num(self.changes, nan=np.finfo(float).min, neginf=np.finfo(float).min), axis=1)
        places = np.arange(ordered.shape[1] + 1) / ordered.shape[1]
        return ordered @ np.diff(places**children)

    def best_size(self, children: int) -> float:
        """The step size with the largest `expected_best`."""
        return float(self.sizes[self.expected_best(children).argmax()])

    def per_evaluation(self, generation_sizes: Sequence[int]) -> np.ndarray:
        """``[len(generation_sizes)]``: improvement per evaluation, for each number k of children at its best step size.

        If evaluations are the only cost, the k with the largest value is optimal for (1 + k) selection.
        """
        return np.array([max(self.expected_best(k).max(), 0) / k for k in generation_sizes])

    def plot(self, path: str | Path | None = None, children: Sequence[int] = (1, 16, 256)) -> Any:
        """Plot the chance to improve, the expected change by the best of k, and the improvement per evaluation.

        Args:
          path: where to save the figure; by default it is only returned.
          children: numbers k of mutants for which the best of k is drawn, by default 1, 16 and 256.
        """
        counts = [2**power for power in range(int(np.log2(self.changes.shape[1])) + 1)]
        gains = [Curve(f"best of {k}", self.sizes, self.expected_best(k)) for k in children]
        scale = {"xlabel": "step size", "xscale": "log"}
        top = max(gain.values.max() for gain in gains)
        return plot_curves(
            [
                ({**scale, "ylabel": "chance to improve"}, [Curve("", self.sizes, self.chance)]),
                ({**scale, "ylabel": "expected change of fitness", "ylim": (-2 * top, 1.2 * top)}, gains),
                (
                    {"xlabel": "children a generation", "xscale": "log", "ylabel": "improvement an evaluation"},
                    [Curve("", counts, self.per_evaluation(counts))],
                ),
            ],
            path,
        )


def improvements(
    task: Task, params: Params, mutation: Mutation, sizes: Sequence[float], key: Key | int = 0, samples: int = 512
) -> Improvements:
    """How does a single mutation change the fitness, at many step sizes? Can mutations still improve a network?

    Args:
      task: the task. It scores parent and mutants of all step sizes with one key, so on the same data.
      params: parameters of the network to mutate, for example of a checkpoint.
      mutation: ``(step size) -> Variation``, such as ``lambda size: gaussian(absolute(size))``.
      sizes: S step sizes.
      key: key or seed of mutations and data, by default 0.
      samples: M, the number of mutants at each step size, by default 512.

    Calls with the same task, ``mutation`` and ``samples`` share one program, so define ``mutation`` once to ask many
    networks.

    Raises:
      InputError: if ``samples`` is below 2.

    >>> from jaxga.base import Evaluation
    >>> from jaxga.variation import absolute, gaussian
    >>> slope = Task(lambda key: jnp.zeros(50), lambda key, w: Evaluation(w[0]))  # a plane: half of all steps go up
    >>> answer = improvements(slope, jnp.zeros(50), lambda size: gaussian(absolute(size)), [0.1, 1.0])
    >>> [round(chance, 1) for chance in answer.chance.tolist()], answer.best_size(16)
    ([0.5, 0.5], 1.0)
    """
    require_whole(2, samples=samples)
    values = jnp.asarray(sizes, jnp.float32)
    changes = _changes(task, mutation, samples)(as_key(key), values, params)
    return Improvements(np.asarray(values), np.asarray(changes, float))


@lru_cache(maxsize=8)  # a task may hold much data
def _changes(task: Task, mutation: Mutation, samples: int) -> Callable[[Key, jax.Array, Params], jax.Array]:
    """The changes ``[S, M]``; the networks of a whole run are asked with one program."""

    def of_size(key: Key, size: jax.Array, params: Params) -> jax.Array:
        fitness, _ = _children(task, mutation, size, params, key, samples)
        return fitness - _parent_fitness(task, params, key)

    return jit(lambda key, sizes, params: jax.lax.map(lambda size: of_size(key, size, params), sizes))


class StepSizeSearch(NamedTuple):
    """The gain by the best of k children of the first generation, for every initialisation and step size."""

    sizes: np.ndarray  # [S], the step sizes
    gains: np.ndarray  # [I, S], fitness of the best child minus that of the initial network

    @property
    def best(self) -> float:
        """The step size with the largest mean gain over initialisations. Gains that are NaN are left out.

        Raises:
          InputError: if all gains are NaN.
        """
        known = ~np.isnan(self.gains)
        require(bool(known.any()), "no child of any step size has a fitness: all gains are NaN.")
        sums = np.where(known, self.gains, 0).sum(axis=0)
        return float(self.sizes[np.where(known.any(axis=0), sums / np.maximum(known.sum(axis=0), 1), -np.inf).argmax()])

    def plot(self, path: str | Path | None = None) -> Any:
        """Plot the gains of all initialisations against the step size."""
        axes = {"xlabel": "step size", "xscale": "log", "ylabel": "gain of the best first child", "yscale": "symlog"}
        return plot_curves([(axes, [Curve(f"best at {self.best:.3g}", self.sizes, self.gains)])], path)


def first_step_size(
    task: Task,
    mutation: Mutation,
    sizes: Sequence[float] | None = None,
    key: Key | int = 0,
    *,
    initialisations: int = 32,
    children: int = 32,
) -> StepSizeSearch:
    """Which step size should a run start with? Measures the gain by the best of k children of random networks.

    Args:
      task: the task.
      mutation: ``(step size) -> Variation``, such as ``lambda size: gaussian(absolute(size))``.
      sizes: S step sizes, by default 13 from 1e-4 to 1 in equal ratios.
      key: key or seed, by default 0.
      initialisations: number of random networks from ``task.init``, by default 32.
      children: k, the number of children of each network at each step size, by default 32.

    Raises:
      InputError: if ``key`` is neither a key nor a seed.

    >>> from jaxga.base import Evaluation
    >>> from jaxga.variation import absolute, gaussian
    >>> task = Task(lambda key: jax.random.normal(key, (20,)), lambda key, w: Evaluation(-jnp.sum(w**2)))
    >>> 0.1 < first_step_size(task, lambda size: gaussian(absolute(size))).best < 1
    True
    """
    values = jnp.asarray(np.logspace(-4, 0, 13) if sizes is None else sizes, jnp.float32)

    def of_network(key: Key) -> jax.Array:
        key_init, key_score = jax.random.split(key)
        params = task.init(key_init)

        def gain(size: jax.Array) -> jax.Array:
            fitness, _ = _children(task, mutation, size, params, key_score, children)
            return jnp.max(fitness) - _parent_fitness(task, params, key_score)

        return jax.lax.map(gain, values)

    keys = jax.random.split(as_key(key), initialisations)
    return StepSizeSearch(np.asarray(values), np.asarray(jit(lambda keys: jax.lax.map(of_network, keys))(keys)))


class Oracle(NamedTuple):
    """The best step size in each generation, in hindsight."""

    sizes: np.ndarray  # [G], the step size of the best child of each generation
    fitness: np.ndarray  # [G], fitness of the parent after each generation
    tried: np.ndarray  # [S], the step sizes that were tried

    def schedule(self, generation: Any) -> jax.Array:
        """Step size of a generation, a geometric moving average over 11 generations, constant after the last one.

        Use it with `jaxga.variation.scheduled`: ``gaussian(scheduled(absolute(1.0), oracle.schedule))``.
        """
        padded = np.pad(np.log(self.sizes), 5, mode="edge")
        smooth = np.exp(np.convolve(padded, np.full(11, 1 / 11), mode="valid"))
        return jnp.asarray(smooth, jnp.float32)[jnp.minimum(jnp.asarray(generation, jnp.int32), len(smooth) - 1)]

    def plot(self, path: str | Path | None = None) -> Any:
        """Step size and fitness against generations."""
        x = np.arange(1, len(self.sizes) + 1)
        smooth = np.asarray(jax.vmap(self.schedule)(jnp.arange(len(x))))
        sizes = [Curve("chosen", x, self.sizes, "."), Curve("schedule", x, smooth)]
        left = {"xlabel": "generation", "ylabel": "best step size", "yscale": "log"}
        return plot_curves(
            [(left, sizes), ({"xlabel": "generation", "ylabel": "fitness"}, [Curve("", x, self.fitness)])], path
        )


def oracle_schedule(
    task: Task, mutation: Mutation, sizes: Sequence[float], key: Key | int = 0, *, generations: int, children: int = 32
) -> Oracle:
    """Which schedule of step sizes is best in hindsight?

    In each generation, k children are scored at each of S step sizes. The best child of all becomes the parent if it is
    better, and its step size is recorded. `Oracle.schedule` then gives the step sizes of an ordinary run, which needs
    only k children per generation. The schedule is greedy: the step size with the largest gain in a generation need
    not be the best one for the whole run.

    Args:
      task: the task.
      mutation: ``(step size) -> Variation``, such as ``lambda size: gaussian(absolute(size))``.
      sizes: S step sizes to try.
      key: key or seed, by default 0.
      generations: G, the number of generations.
      children: k, the number of children at each step size, by default 32.

    Raises:
      InputError: if ``sizes`` is empty.
    """
    require(len(sizes) > 0, "sizes is empty: give step sizes to try.")
    values = jnp.asarray(sizes, jnp.float32)

    def step(params: Params, key: Key) -> tuple[Params, tuple[jax.Array, jax.Array]]:
        fitness, keys = jax.lax.map(lambda size: _children(task, mutation, size, params, key, children), values)
        before = _parent_fitness(task, params, key)
        chosen, member = jnp.divmod(jnp.argmax(jnp.where(jnp.isnan(fitness), -jnp.inf, fitness)), children)
        child = dense(_child(mutation, values[chosen], params, keys[chosen, member]).params)
        after = fitness[chosen, member]
        return where(after > before, child, params), (values[chosen], jnp.maximum(after, before))

    def all_generations(key: Key) -> tuple[jax.Array, jax.Array]:
        key_init, key_steps = jax.random.split(key)
        return jax.lax.scan(step, task.init(key_init), jax.random.split(key_steps, generations))[1]

    chosen, fitness = jit(all_generations)(as_key(key))
    return Oracle(np.asarray(chosen), np.asarray(fitness), np.asarray(values))
