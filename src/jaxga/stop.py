"""Stop rules. A rule is a pure function of a state and of the metrics of the generation that led to it.

Rules can therefore be evaluated after every generation within a compiled block of generations.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from jaxga.base import State, require, require_whole

Metrics = Mapping[str, Any]  # of one generation; empty before the first


@dataclass(frozen=True)
class Stop:
    """The base class of all rules, which never stops. Rules are hashable: equal rules share one compiled program."""

    reason = "nothing"

    def __call__(self, state: State, metrics: Metrics) -> jax.Array:
        """Is the rule met by this state, and by the metrics of the generation that led to it?"""
        del metrics
        return jnp.zeros((), bool) & (state.generation < 0)

    def explain(self, state: State, metrics: Metrics) -> str:
        """In words, why a run that ended in this state stopped.

        Args:
          state: the final state.
          metrics: of the generation that led to it.
        """
        del state, metrics
        return self.reason


never = Stop()


@dataclass(frozen=True)
class _Target(Stop):
    value: float
    metric: str
    reason = "target reached"

    def __call__(self, state: State, metrics: Metrics) -> jax.Array:
        if self.metric == "best_fitness":
            return state.best.fitness >= self.value
        logged = sorted(metrics)
        require(not logged or self.metric in metrics, f"target is of {self.metric!r}, which is not among {logged}.")
        return jnp.asarray(metrics.get(self.metric, jnp.nan) >= self.value)


@dataclass(frozen=True)
class _NoImprovement(Stop):
    generations: int

    @property
    def reason(self) -> str:
        return f"no improvement for {self.generations} generations"

    def __call__(self, state: State, metrics: Metrics) -> jax.Array:
        del metrics
        return state.generation - 1 - state.best.generation >= self.generations


@dataclass(frozen=True)
class _Plateau(Stop):
    least: float
    metric: str

    @property
    def reason(self) -> str:
        return f"{self.metric} is below {self.least:g}"

    def __call__(self, state: State, metrics: Metrics) -> jax.Array:
        del state
        require(
            not metrics or self.metric in metrics,
            f"plateau looks at {self.metric!r}, which is not among {sorted(metrics)}: log it, by "
            "selection=jaxga.selection.watching(selection, generations).",
        )
        return jnp.asarray(metrics.get(self.metric, jnp.nan) < self.least)


@dataclass(frozen=True)
class _AnyOf(Stop):
    rules: tuple[Stop, ...]

    def __call__(self, state: State, metrics: Metrics) -> jax.Array:
        return jnp.stack([rule(state, metrics) for rule in self.rules]).any()

    def explain(self, state: State, metrics: Metrics) -> str:
        return next((rule.explain(state, metrics) for rule in self.rules if rule(state, metrics)), self.reason)


def target(value: float, metric: str = "best_fitness") -> Stop:
    """Stop after the first generation in which a metric is at least ``value``.

    ``target(0.927, "validation_accuracy")`` stops at 92.7 % on images that were never trained on.

    Args:
      value: in units of the metric.
      metric: name of a logged metric, by default the best fitness so far.

    Raises:
      InputError: within a run, if there is no such metric.
    """
    return _Target(float(value), metric)


def no_improvement(generations: int) -> Stop:
    """Stop when the best fitness so far has not improved for ``generations`` generations.

    Raises:
      InputError: if ``generations`` is below 1.
    """
    require_whole(1, generations=generations)
    return _NoImprovement(generations)


def plateau(least: float, metric: str = "improvement") -> Stop:
    """Stop when the mean best fitness of recent generations exceeds the mean before by less than ``least``.

    The selection must measure this ``improvement``: ``ga(selection=watching(selection, generations))``, where
    ``generations`` is the number of generations in each mean (`jaxga.selection.watching`).

    Args:
      least: the smallest improvement with which the run goes on, in units of fitness.
      metric: name of the metric, by default ``improvement``.

    Raises:
      InputError: within a run, if there is no such metric.
    """
    return _Plateau(float(least), metric)


def any_of(*rules: Stop) -> Stop:
    """Stop as soon as one of several rules is met; without rules, never."""
    return _AnyOf(rules) if rules else never
