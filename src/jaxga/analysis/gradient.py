"""Random steps compared with gradients: their cosine with the gradient, and how often selected steps are harmful."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import scipy

from jaxga.base import InputError, Key, Params, Task, as_key, require, require_whole
from jaxga.compilation import jit
from jaxga.report.plots import Curve, Histogram, plot_curves

CHUNK = 64  # random steps in memory at once


class Cosines(NamedTuple):
    """Cosines of random steps with a direction."""

    values: np.ndarray  # [S], the cosine of each step
    weights: int  # N, the number of weights

    @property
    def expected(self) -> float:
        """1 / sqrt(N), the standard deviation of the cosines in theory."""
        return self.weights**-0.5

    def plot(self, path: str | Path | None = None) -> Any:
        """Plot a histogram of the cosines and their normal distribution in theory."""
        x = np.linspace(-4, 4, 200) * self.expected
        theory = Curve("N(0, 1 / N)", x, scipy.stats.norm.pdf(x, scale=self.expected))
        axes = {"xlabel": "cosine of a random step with the gradient", "ylabel": "density"}
        return plot_curves([(axes, [Histogram("measured", self.values), theory])], path)


def cosine(direction: Params, key: Key | int = 0, samples: int = 1024) -> Cosines:
    """How well is a random step aligned with the gradient?

    The cosine between a Gaussian step and any fixed direction in N dimensions is distributed almost as N(0, 1 / N). The
    best of k steps has a cosine of about ``sqrt(2 ln k / N)``, which is close to 0 for large networks. For this reason,
    averaging several good steps helps.

    Args:
      direction: a gradient, or any pytree with the shapes of the parameters.
      key: key or seed, by default 0.
      samples: S, the number of random steps, rounded up to a multiple of 64, by default 1024.

    Raises:
      InputError: if ``direction`` is zero or not finite, or ``samples`` is below 1.

    >>> answer = cosine(jnp.ones(400), samples=10_000)
    >>> bool(abs(answer.values.std() / answer.expected - 1) < 0.03)
    True
    """
    require_whole(1, samples=samples)
    flat = _flatten(direction)
    length = float(jnp.linalg.norm(flat))
    require(0 < length < np.inf, f"direction has length {length}, and must have a finite one above 0.")
    unit = flat / jnp.linalg.norm(flat)

    def chunk(key: Key) -> jax.Array:
        steps = jax.random.normal(key, (CHUNK, unit.size), jnp.float32)
        return steps @ unit / jnp.linalg.norm(steps, axis=1)

    keys = jax.random.split(as_key(key), -(-samples // CHUNK))
    return Cosines(np.asarray(jit(lambda keys: jax.lax.map(chunk, keys))(keys)).ravel(), unit.size)


class BestOf(NamedTuple):
    """The best of k random steps by a minibatch's gradient, compared with the full gradient, in R repeats."""

    correlation: np.ndarray  # [R], cosine of the minibatch's gradient with the full gradient
    chosen: np.ndarray  # [R], cosine of the best step with the minibatch's gradient, which chose it
    full: dict[int, np.ndarray]  # for each j [R]: cosine of the mean of the j best steps with the full gradient
    children: int  # k, the number of random steps

    def harm(self) -> dict[int, tuple[float, float]]:
        """For each j, how often the mean of the j best steps is harmful: measured, and by `chance_of_harm`."""
        return {
            best: (float(np.mean(cosines < 0)), float(np.mean(chance_of_harm(self.correlation, self.children, best))))
            for best, cosines in self.full.items()
        }

    @property
    def angles(self) -> dict[str, np.ndarray]:
        """Angles in degrees, ``[R]`` each: between both gradients, and of the best step to the minibatch's gradient."""
        pairs = {
            "minibatch's and full gradient": self.correlation,
            "best step and minibatch's gradient": self.chosen,
        }
        return {name: np.degrees(np.arccos(np.clip(cosines, -1, 1))) for name, cosines in pairs.items()}

    def plot(self, path: str | Path | None = None) -> Any:
        """Plot the cosines with the full gradient, the chance of harm against the correlation, and both angles."""
        bars = [Histogram(f"mean of the best {best}" if best > 1 else "best", c) for best, c in self.full.items()]
        x = np.linspace(0.01, 0.9, 90)
        theory = [
            Curve(f"{best} of {self.children}, theory", x, chance_of_harm(x, self.children, best)) for best in self.full
        ]
        center = [self.correlation.mean()]
        points = []
        for number, (best, (measured, expected)) in enumerate(self.harm().items()):
            name = "" if number else "theory at all measured cosines"
            points.append(Curve(f"{best} of {self.children}, measured", center, np.array([measured]), "o", number))
            points.append(Curve(name, center, np.array([expected]), "x", number))
        left = {"xlabel": "cosine with the full gradient", "ylabel": "density"}
        right = {"xlabel": "cosine of minibatch and full gradient", "ylabel": "chance that the step hurts"}
        angles = [Histogram(name, values) for name, values in self.angles.items()]
        last = {"xlabel": "angle (degrees)", "ylabel": "density"}
        return plot_curves([(left, bars), (right, theory + points), (last, angles)], path)


def best_of(
    minibatch: Task,
    full: Task,
    params: Params,
    key: Key | int = 0,
    *,
    children: int = 256,
    average: Sequence[int] = (1, 2, 64),
    repeats: int = 200,
) -> BestOf:
    """How often is the best of k mutations on a minibatch harmful on all data, and does averaging the best help?

    Each repeat of the experiment has four steps: (1) compute the gradient on all data; (2) compute the gradient on a
    new minibatch; (3) of k Gaussian steps, choose the one with the largest cosine with the minibatch's gradient;
    (4) compute the cosine of this step with the full gradient. For small steps this is what selection on a minibatch
    does. `chance_of_harm` is the theory.

    Args:
      minibatch: a task whose loss draws a minibatch from its key.
      full: the same task on all data.
      params: parameters at which the gradients are taken.
      key: key or seed, by default 0.
      children: k, the number of random steps, by default 256.
      average: values of j, by default (1, 2, 64). For each, the mean of the j best steps is measured.
      repeats: R, the number of repeats, by default 200.

    Raises:
      InputError: if a task has no loss, or a value of ``average`` is larger than ``children``.
    """
    if minibatch.loss is None or full.loss is None:
        raise InputError("best_of needs gradients: pass tasks with a loss.")
    require(max(average) <= children, f"average is {max(average)}, more than the {children} children: take fewer.")
    loss, whole = minibatch.loss, full.loss
    size = -(-children // CHUNK) * CHUNK

    def trial(goal: jax.Array, params: Params, key: Key) -> tuple[jax.Array, ...]:
        key_batch, key_steps = jax.random.split(key)
        guess = _unit(jax.grad(loss, argnums=1)(key_batch, params))

        def chunk(key: Key) -> tuple[jax.Array, jax.Array, jax.Array]:
            steps = jax.random.normal(key, (CHUNK, guess.size), jnp.float32)
            return steps @ guess, steps @ goal, jnp.linalg.norm(steps, axis=1)

        parts = jax.lax.map(chunk, jax.random.split(key_steps, size // CHUNK))
        by_guess, by_goal, lengths = (part.ravel()[:children] for part in parts)
        order = jnp.argsort(-by_guess / lengths)
        # The mean of j independent steps is shorter than one step by the factor sqrt(j).
        means = [by_goal[order[:best]].mean() * best**0.5 / lengths.mean() for best in average]
        return jnp.vdot(guess, goal), (by_guess / lengths)[order[0]], jnp.stack(means)

    def all_trials(keys: Key, params: Params) -> tuple[jax.Array, ...]:
        goal = _unit(jax.grad(whole, argnums=1)(keys[0], params))
        return jax.lax.map(lambda key: trial(goal, params, key), keys)

    correlation, chosen, means = jit(all_trials)(jax.random.split(as_key(key), repeats), params)
    of_best = {best: np.asarray(means[:, number]) for number, best in enumerate(average)}
    return BestOf(np.asarray(correlation), np.asarray(chosen), of_best, children)


def expected_top(children: int, best: int = 1) -> float:
    """The expected mean of the ``best`` largest of ``children`` draws of N(0, 1).

    Args:
      children: the number of draws.
      best: the number of largest draws that are averaged, by default 1.

    >>> round(expected_top(256), 2), round(expected_top(256, 64), 2)
    (2.83, 1.27)
    """
    x = np.linspace(-8, 8, 20_001)
    among_best = scipy.stats.binom.cdf(best - 1, children - 1, scipy.stats.norm.sf(x))
    return float(np.trapezoid(x * scipy.stats.norm.pdf(x) * among_best, x) * children / best)


def chance_of_harm(correlation: Any, children: int, best: int = 1) -> np.ndarray:
    """The probability that the mean of the j best of k steps is harmful: ``Phi(-a sqrt(j) rho / sqrt(1 - rho^2))``.

    The component of a step along the full gradient is ``rho a + sqrt(1 - rho^2) b``. Here ``a`` is its component along
    the minibatch's gradient, which selection makes large (`expected_top`), and ``b`` is noise, N(0, 1). The mean of j
    steps divides the noise by sqrt(j).

    Args:
      correlation: rho, the cosine of the minibatch's gradient with the full gradient, a number or an array.
      children: k, the number of random steps.
      best: j, the number of best steps in the mean, by default 1.

    >>> round(float(chance_of_harm(0.235, 256)), 2)
    0.25
    """
    rho = np.asarray(correlation, float)
    luck = np.sqrt(np.maximum(1 - rho**2, np.finfo(float).tiny))  # rounding may take a cosine beyond 1
    return scipy.stats.norm.cdf(-expected_top(children, best) * best**0.5 * rho / luck)


def _flatten(tree: Params) -> jax.Array:
    return jnp.concatenate([jnp.ravel(leaf) for leaf in jax.tree.leaves(tree)])


def _unit(gradient: Params) -> jax.Array:
    """The negative gradient as a flat vector of length 1, or of length 0 if the gradient is 0."""
    flat = -_flatten(gradient)
    length = jnp.linalg.norm(flat)
    return flat / jnp.where(length > 0, length, 1)
