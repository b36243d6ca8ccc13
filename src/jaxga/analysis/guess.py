"""Guess and check: how many random networks fit the training data, and do those that fit generalise?"""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxga.base import Key, Params, as_key, require, require_whole
from jaxga.compilation import jit
from jaxga.lifetime.learning import updated
from jaxga.report.plots import Curve, plot_curves
from jaxga.tasks.losses import cross_entropy, right
from jaxga.tree import iota, path_key

Forward = Callable[[Params, jax.Array], jax.Array]  # (params, inputs [P, ...]) -> logits [P, C]
Examples = tuple[Any, Any]  # inputs [P, ...], labels [P]

TOGETHER = 64  # networks that are tested at once


class Guesses(NamedTuple):
    """Random networks, counted by the number of training points that they classify correctly."""

    draws: int  # number of random networks
    points: tuple[int, ...]  # values of n; for each n, the first n training points are used
    counts: tuple[np.ndarray, ...]  # for each n [n + 1]: number of networks that have 0, 1, ..., n points right
    tested: tuple[tuple[np.ndarray, ...], ...]  # for each n and each number right: test accuracies, at most ``keep``

    @property
    def fits(self) -> np.ndarray:
        """For each n, the number of networks that have all n points right, ``[len(points)]``."""
        return np.array([count[-1] for count in self.counts])

    def chance(self, confidence: float = 0.95) -> np.ndarray:
        """The probability to fit n points, ``[len(points), 3]``: estimate, and bounds of its exact confidence interval.

        The interval is that of Clopper and Pearson (1934), by default at 95 %.
        """
        import scipy

        tail, fits = (1 - confidence) / 2, self.fits
        low = np.where(fits > 0, scipy.stats.beta.ppf(tail, np.maximum(fits, 1), self.draws - fits + 1), 0.0)
        high = scipy.stats.beta.ppf(1 - tail, fits + 1, np.maximum(self.draws - fits, 1))
        return np.stack([fits / self.draws, low, np.where(fits < self.draws, high, 1.0)], axis=1)

    def accuracy(self) -> tuple[np.ndarray, ...]:
        """For each n ``[n + 1]``: mean test accuracy of networks with 0, 1, ..., n points right; NaN for none."""
        return tuple(np.array([some.mean() if len(some) else np.nan for some in each]) for each in self.tested)

    def plot(self, path: str | Path | None = None) -> Any:
        """Plot the probability to fit n points, compared with coin flips, and test against training accuracy."""
        n, found = np.array(self.points), self.fits / self.draws
        chances = [Curve("random networks", n[found > 0], found[found > 0], "o-"), Curve("coin flips", n, 0.5**n, ":")]
        curves = [
            Curve(f"{count} points", np.arange(count + 1) / count, values, "o-")
            for count, values in zip(self.points, self.accuracy(), strict=True)
        ]
        left = {"xlabel": "training points", "ylabel": "chance to fit them all", "yscale": "log"}
        return plot_curves(
            [(left, chances), ({"xlabel": "training accuracy", "ylabel": "test accuracy"}, curves)], path
        )


def guess(
    init: Callable[[Key], Params],
    forward: Forward,
    train: Examples,
    test: Examples,
    *,
    points: Sequence[int] | None = None,
    draws: int = 1_000_000,
    chunk: int = 2048,
    keep: int = 200,
    key: Key | int = 0,
) -> Guesses:
    """How likely is a random network to fit n points, and how well do the networks that fit generalise?

    If most networks that fit a few points also classify other points correctly, gradient descent may not be the cause
    of generalisation: the volume of good networks would explain it (Chiang et al. 2023). This is contested, see
    docs/guess.md.

    Network i is ``init(fold_in(key, i))``. All networks classify the training points. For each number of points that
    are right, the first ``keep`` networks are built again and tested. So memory is that of one chunk. The result does
    not depend on the chunk size, except for points with two logits that are equal to the last bit.

    Args:
      init: ``(key) -> params``, draws a random network. It defines the prior.
      forward: ``(params, inputs [P, ...]) -> logits [P, C]``.
      train: training inputs ``[P, ...]`` and labels ``[P]``.
      test: test inputs ``[U, ...]`` and labels ``[U]``.
      points: values of n; for each, the first n training points are used. By default P alone.
      draws: number of random networks, by default 1,000,000.
      chunk: networks that are evaluated at once, by default 2048.
      keep: number of networks to test, for each n and each number of points right, by default 200.
      key: key or seed, by default 0.

    Raises:
      InputError: if a count is below 1, or ``points`` exceeds the number of training points.

    >>> init = lambda key: jax.random.normal(key, (2,))
    >>> forward = lambda w, x: jnp.stack([x @ w, -(x @ w)], axis=1)
    >>> train = jnp.array([[1.0, 0.0], [0.0, 1.0]]), jnp.array([0, 0])
    >>> found = guess(init, forward, train, train, points=(1, 2), draws=10_000)
    >>> [round(float(chance), 1) for chance in found.chance()[:, 0]], [round(a[-1].item(), 1) for a in found.accuracy()]
    ([0.5, 0.2], [0.8, 1.0])
    """
    chosen = _points(points, train)
    require_whole(1, draws=draws, chunk=chunk, keep=keep)
    require(draws <= 2**31 - chunk, f"draws is {draws}, and networks are numbered in 32 bits: take at most 2e9.")
    key = path_key(as_key(key), ("guess",))
    # Data is an argument of the compiled programs, so that other data does not cause a new compilation.
    ask, learned = jit(partial(_right_of, init, forward, chosen, chunk)), _arrays(train)
    counts = [np.zeros(n + 1, np.int64) for n in chosen]
    kept: list[list[list[int]]] = [[[] for _ in range(n + 1)] for n in chosen]
    for first in range(0, draws, chunk):
        found = np.asarray(ask(key, learned, np.int32(first)))[: draws - first]
        for place, n in enumerate(chosen):
            counts[place] += np.bincount(found[:, place], minlength=n + 1)
            for number, some in enumerate(kept[place]):
                if len(some) < keep:
                    some += (first + np.flatnonzero(found[:, place] == number)[: keep - len(some)]).tolist()
    numbers = sorted({number for n in kept for some in n for number in some})
    score, unseen = jit(partial(_accuracy_of, init, forward)), _arrays(test)
    parts = [
        np.resize(np.array(numbers[i : i + TOGETHER], np.int32), TOGETHER) for i in range(0, len(numbers), TOGETHER)
    ]
    scores = np.concatenate([np.asarray(score(key, unseen, part), float) for part in parts])
    accuracy = dict(zip(numbers, scores.tolist(), strict=False))  # the last part is filled up
    tested = tuple(tuple(np.array([accuracy[i] for i in some]) for some in each) for each in kept)
    return Guesses(draws, chosen, tuple(counts), tested)


class Descents(NamedTuple):
    """Networks that gradient descent trained until they fit."""

    points: tuple[int, ...]  # values of n, the number of training points
    steps: np.ndarray  # [len(points), seeds], steps until the network first fits; the largest number if it never does
    fitted: np.ndarray  # [len(points), seeds] bool: does the network fit all n points at the end?
    accuracy: np.ndarray  # [len(points), seeds], test accuracy at the end


def descend_until_fit(
    init: Callable[[Key], Params],
    forward: Forward,
    train: Examples,
    test: Examples,
    optimiser: optax.GradientTransformation,
    *,
    points: Sequence[int] | None = None,
    seeds: int = 100,
    steps: int = 2000,
    beyond: int = 0,
    key: Key | int = 0,
) -> Descents:
    """Train the networks of `guess` by gradient descent until they fit all n points.

    Each step minimises the cross-entropy on all n points.

    Args:
      init: ``(key) -> params``, draws an initial network.
      forward: ``(params, inputs [P, ...]) -> logits [P, C]``.
      train: training inputs ``[P, ...]`` and labels ``[P]``.
      test: test inputs ``[U, ...]`` and labels ``[U]``.
      optimiser: an optax optimiser.
      points: values of n; for each, the first n training points are used. By default P alone.
      seeds: number of networks, each with its own initial parameters, by default 100.
      steps: largest number of steps until a network fits, by default 2000.
      beyond: further steps after a network fits, by default 0.
      key: key or seed, by default 0.

    Raises:
      InputError: if a count is out of range.
    """
    chosen = _points(points, train)
    require_whole(1, seeds=seeds, steps=steps)
    require_whole(0, beyond=beyond)
    keys = jax.random.split(path_key(as_key(key), ("descend",)), seeds)
    descend = jit(jax.vmap(partial(_descend, init, forward, optimiser), in_axes=(None, None, None, None, 0)))
    found = []
    for n in chosen:
        inputs, labels = _arrays(train)
        some = (inputs[:n], labels[:n]), _arrays(test), np.int32(steps), np.int32(beyond)
        found.append(jax.tree.map(np.asarray, descend(*some, keys)))
    return Descents(chosen, *(np.stack(parts) for parts in zip(*found, strict=True)))


def _points(points: Sequence[int] | None, train: Examples) -> tuple[int, ...]:
    count = len(train[1])
    chosen = (count,) if points is None else tuple(points)
    require(len(chosen) > 0, "points is empty: name at least one number of training points.")
    for n in chosen:
        require_whole(1, points=n)
        require(n <= count, f"points has {n}, and there are {count} training points: take fewer.")
    return chosen


def _arrays(examples: Examples) -> tuple[jax.Array, jax.Array]:
    return jnp.asarray(examples[0]), jnp.asarray(examples[1], jnp.int32)


def _right_of(
    init: Callable[[Key], Params],
    forward: Forward,
    points: tuple[int, ...],
    chunk: int,
    key: Key,
    train: Examples,
    first: jax.Array,
) -> jax.Array:
    """For networks from ``first`` on and each n, the number of points that are right, ``[chunk, len(points)]``."""

    def one(number: jax.Array) -> jax.Array:
        hits = right(forward(init(jax.random.fold_in(key, number)), train[0]), train[1])
        return jnp.cumsum(hits, dtype=jnp.int32)[np.array(points) - 1]

    return jax.vmap(one)(first + iota(chunk))


def _accuracy_of(
    init: Callable[[Key], Params], forward: Forward, key: Key, test: Examples, numbers: jax.Array
) -> jax.Array:
    """Test accuracy of networks, by their numbers ``[k]``."""

    def one(number: jax.Array) -> jax.Array:
        hits = right(forward(init(jax.random.fold_in(key, number)), test[0]), test[1])
        return jnp.mean(hits, dtype=jnp.float32)

    return jax.vmap(one)(numbers)


def _descend(
    init: Callable[[Key], Params],
    forward: Forward,
    optimiser: optax.GradientTransformation,
    train: Examples,
    test: Examples,
    steps: jax.Array,
    beyond: jax.Array,
    key: Key,
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Steps, whether it fits, and test accuracy of one network."""
    params = init(key)
    loss = lambda params: -cross_entropy(key, forward(params, train[0]), train[1])  # noqa: E731
    fits = lambda params: right(forward(params, train[0]), train[1]).all()  # noqa: E731

    def step(carry: Any) -> Any:
        number, params, memory = carry
        updates, memory = updated(optimiser, jax.grad(loss)(params), memory, params)
        return number + 1, optax.apply_updates(params, updates), memory

    goes_on = lambda carry: (carry[0] < steps) & ~fits(carry[1])  # noqa: E731
    first = jax.lax.while_loop(goes_on, step, (jnp.int32(0), params, optimiser.init(params)))
    _, params, _ = jax.lax.fori_loop(0, beyond, lambda _, carry: step(carry), first)
    hits = right(forward(params, test[0]), test[1])
    return first[0], fits(params), jnp.mean(hits, dtype=jnp.float32)
