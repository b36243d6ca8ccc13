"""When to stop: rules are pure functions of the state, so that they hold within a compiled block of generations."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp

from jaxga.base import State, require_at_least


@dataclass(frozen=True)
class Stop:
    """No rule at all; the base of the others. Values, so that equal rules share one compiled program."""

    reason = "nothing"

    def __call__(self, state: State) -> jax.Array:
        """Has the rule been met by this state?"""
        return jnp.zeros((), bool) & (state.generation < 0)

    def explain(self, state: State) -> str:
        """Why a run that ended in this state stopped, in words."""
        del state
        return self.reason


never = Stop()


@dataclass(frozen=True)
class _Target(Stop):
    fitness: float
    reason = "target reached"

    def __call__(self, state: State) -> jax.Array:
        return state.best_fitness >= self.fitness


@dataclass(frozen=True)
class _NoImprovement(Stop):
    generations: int

    @property
    def reason(self) -> str:
        return f"no improvement for {self.generations} generations"

    def __call__(self, state: State) -> jax.Array:
        return state.generation - 1 - state.best_generation >= self.generations


@dataclass(frozen=True)
class _AnyOf(Stop):
    rules: tuple[Stop, ...]

    def __call__(self, state: State) -> jax.Array:
        return jnp.stack([rule(state) for rule in self.rules]).any()

    def explain(self, state: State) -> str:
        return next((rule.explain(state) for rule in self.rules if rule(state)), self.reason)


def target(fitness: float) -> Stop:
    """Stop after the first generation whose best child reaches ``fitness``."""
    return _Target(float(fitness))


def no_improvement(generations: int) -> Stop:
    """Stop once the best fitness so far is ``generations`` generations old."""
    require_at_least(1, generations=generations)
    return _NoImprovement(generations)


def any_of(*rules: Stop) -> Stop:
    """Stop as soon as one of the rules is met."""
    return _AnyOf(rules) if rules else never
