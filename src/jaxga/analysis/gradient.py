"""Random steps against gradients: how much of the right direction do they find, and how often are they wrong?"""

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

CHUNK = 64  # steps held at once


class Cosines(NamedTuple):
    """Cosines of random steps with a direction, and their theory."""

    values: np.ndarray  # [S]
    weights: int  # N, the dimension

    @property
    def expected(self) -> float:
        """1 / sqrt(N), the standard deviation that theory gives."""
        return self.weights**-0.5

    def plot(self, path: str | Path | None = None) -> Any:
        """The cosines within their normal distribution."""
        x = np.linspace(-4, 4, 200) * self.expected
        theory = Curve("N(0, 1 / N)", x, scipy.stats.norm.pdf(x, scale=self.expected))
        axes = {"xlabel": "cosine of a random step with the gradient", "ylabel": "density"}
        return plot_curves([(axes, [Histogram("measured", self.values), theory])], path)


def cosine(direction: Params, key: Key | int = 0, samples: int = 1024) -> Cosines:
    """How much of the gradient does a random step find?

    The cosine of a Gaussian step with any fixed direction in N dimensions is nearly N(0, 1 / N): the best of k steps
    has one of about ``sqrt(2 ln k / N)``, which for large networks is next to nothing. That is why averaging helps.

    Args:
      direction: a gradient, or anything of the shape of params.
      key: or seed.
      samples: S, rounded up to a multiple of 64.

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
    """The best of k random steps by the gradient of a minibatch, seen by the gradient of everything."""

    correlation: np.ndarray  # [R], cosine of the two gradients
    chosen: np.ndarray  # [R], cosine of the best step with the gradient that chose it
    full: dict[int, np.ndarray]  # for every j the cosine of the mean of the j best steps with the full gradient, [R]
    children: int  # k

    def harm(self) -> dict[int, tuple[float, float]]:
        """For every j: how often the mean of the j best steps hurts, measured and by `chance_of_harm`."""
        return {
            best: (float(np.mean(cosines < 0)), float(np.mean(chance_of_harm(self.correlation, self.children, best))))
            for best, cosines in self.full.items()
        }

    @property
    def angles(self) -> dict[str, np.ndarray]:
        """``[R]`` each, in degrees: of the two gradients, and of the best step and the gradient that chose it."""
        pairs = {
            "minibatch's and full gradient": self.correlation,
            "best step and minibatch's gradient": self.chosen,
        }
        return {name: np.degrees(np.arccos(np.clip(cosines, -1, 1))) for name, cosines in pairs.items()}

    def plot(self, path: str | Path | None = None) -> Any:
        """Cosines with the full gradient; the chance of harm against the gradients' correlation; both angles."""
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
    """How often does the best of k mutations on a minibatch hurt on the whole set, and does averaging the best help?

    The notes' experiment in four steps: (1) the gradient of all data, (2) that of a fresh minibatch, (3) of k Gaussian
    steps the best by its cosine with the second, (4) its cosine with the first. With small steps that is what selection
    on a minibatch does. `chance_of_harm` is the theory.

    Args:
      minibatch: a task whose loss draws a minibatch from its key.
      full: the same on all data.
      params: where the gradients are taken.
      key: or seed.
      children: k, the number of steps that are tried.
      average: numbers j; the mean of the j best steps is looked at as well.
      repeats: R, of the whole.
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
        # Of independent steps the mean of j is sqrt(j) times shorter than one.
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

    >>> round(expected_top(256), 2), round(expected_top(256, 64), 2)
    (2.83, 1.27)
    """
    x = np.linspace(-8, 8, 20_001)
    among_best = scipy.stats.binom.cdf(best - 1, children - 1, scipy.stats.norm.sf(x))
    return float(np.trapezoid(x * scipy.stats.norm.pdf(x) * among_best, x) * children / best)


def chance_of_harm(correlation: Any, children: int, best: int = 1) -> np.ndarray:
    """``Phi(-a sqrt(j) rho / sqrt(1 - rho^2))``: the mean of the j best of k steps hurts.

    Along the full gradient a step is ``rho a + sqrt(1 - rho^2) b``: a is its part along the minibatch's gradient, which
    selection has made large (`expected_top`), b of N(0, 1) is luck; averaging j steps shrinks luck by sqrt(j).

    >>> round(float(chance_of_harm(0.235, 256)), 2)
    0.25
    """
    rho = np.asarray(correlation, float)
    luck = np.sqrt(np.maximum(1 - rho**2, np.finfo(float).tiny))  # rounding may take a cosine beyond 1
    return scipy.stats.norm.cdf(-expected_top(children, best) * best**0.5 * rho / luck)


def _flatten(tree: Params) -> jax.Array:
    return jnp.concatenate([jnp.ravel(leaf) for leaf in jax.tree.leaves(tree)])


def _unit(gradient: Params) -> jax.Array:
    """The direction that lowers the loss, of length 1; of length 0 where none does."""
    flat = -_flatten(gradient)
    length = jnp.linalg.norm(flat)
    return flat / jnp.where(length > 0, length, 1)
