"""Choose the elite by many episodes: the best few children are played again, because one score may be luck."""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from jaxga.base import (
    PLAYED,
    STEPS,
    Evaluation,
    Purpose,
    State,
    Survivors,
    as_fitness,
    generation_key,
    require,
    require_whole,
)
from jaxga.selection import ranking
from jaxga.tree import iota


@dataclass(frozen=True)
class Validated:
    """See `validated`."""

    evaluator: Any  # Vmapped, Sharded or Rollouts
    candidates: int
    episodes: int

    @property
    def on_host(self) -> bool:
        return getattr(self.evaluator, "on_host", False)

    def like(self, state: State) -> Evaluation:
        """Shapes of what a call returns for this state, or for its shapes."""
        algorithm = self.evaluator.algorithm
        alone = self.evaluator.like(state)
        elites = algorithm.elites if state.parents is not None else 0
        metrics = {
            name: leaf if leaf.ndim == 0 else _of(algorithm.children, leaf) for name, leaf in alone.metrics.items()
        }
        number = jax.ShapeDtypeStruct((algorithm.children + elites,), jnp.float32)
        means = {"elite_mean": number, "elite_std": number, "candidates_mean": jax.ShapeDtypeStruct((), jnp.float32)}
        return Evaluation(number, number, metrics | means)

    def hear(self, generation: int, survivors: Survivors) -> None:
        """What a pool of workers is told."""
        if hasattr(self.evaluator, "hear"):
            self.evaluator.hear(generation, survivors)

    @property
    def mesh(self) -> Any:
        return getattr(self.evaluator, "mesh", None)

    def __call__(self, state: State) -> Evaluation:
        """Evaluation ``[N]``; ``[N + elites]`` once there are parents: elites have a validation, and no score."""
        algorithm = self.evaluator.algorithm
        scores = as_fitness(self.evaluator.children(state))
        elites = algorithm.elites if state.parents is not None else 0
        order = ranking(generation_key(state, Purpose.VALIDATION), scores)
        chosen = jnp.concatenate([iota(elites) + algorithm.children, order[: self.candidates - elites]])
        measured = self.evaluator.measure(state, chosen, self.episodes)
        nothing = jnp.full(algorithm.children + elites, jnp.nan, jnp.float32)
        metrics = dict(scores.metrics or {}) | {
            "elite_mean": nothing.at[chosen].set(measured.fitness),
            "elite_std": nothing.at[chosen].set(measured.metrics["std_return"]),
            "candidates_mean": jnp.nanmean(measured.fitness),
        }
        metrics |= {name: metrics[name] + measured.metrics[name] for name in {STEPS, PLAYED} & set(metrics)}
        unscored = nothing[:elites]
        return Evaluation(
            jnp.append(scores.fitness, unscored), jnp.append(scores.tiebreak, jnp.zeros_like(unscored)), metrics
        )


def _of(count: int, leaf: Any) -> Any:
    """The shape of a metric of so many individuals; what is one number for all of them stays one."""
    return jax.ShapeDtypeStruct((count, *leaf.shape[1:]), leaf.dtype) if leaf.ndim else leaf


def validated(evaluator: Any, candidates: int = 10, episodes: int = 30) -> Validated:
    """Score children as ever, then validate the elite and the best others, ``candidates`` in all, on fresh draws.

    A child with the best of a thousand scores is mostly lucky. Such et al. 2017 therefore play the elite and the 9 best
    others 30 times more, and the best mean of those is the next elite, always a parent. To be used with
    ``ga(..., elites=1, reevaluate=True, champion=best_validated)``. An elite has no score of its own and takes no
    survivor's place, except as the champion.

    Logged: ``elite_mean`` and ``elite_std`` over the champion's episodes, and ``candidates_mean``, that of all.

    Args:
      evaluator: `jaxga.vmapped`, `jaxga.sharded` or `jaxga.rollouts`.
      candidates: individuals that are validated, elites among them.
      episodes: of each, the same draws for all.

    >>> import jaxga
    >>> from jaxga.variation import absolute, gaussian
    >>> noisy = lambda key, w: jaxga.Evaluation(-jnp.sum(w**2) + jax.random.normal(key))
    >>> task = jaxga.Task(lambda key: jnp.ones(3), noisy, jaxga.independent)
    >>> algorithm = jaxga.ga(
    ...     task.init, gaussian(absolute(0.1)), parents=2, children=8, elites=1, reevaluate=True,
    ...     champion=best_validated,
    ... )
    >>> evaluator = validated(jaxga.vmapped(algorithm, task), candidates=3, episodes=5)
    >>> evaluation = evaluator(algorithm.init(jax.random.key(0)))
    >>> evaluation.fitness.shape, int((~jnp.isnan(evaluation.metrics["elite_mean"])).sum())
    ((9,), 3)
    """
    algorithm = evaluator.algorithm
    require_whole(algorithm.elites + 1, candidates=candidates)
    require_whole(2, episodes=episodes)
    require(candidates <= algorithm.children, f"candidates is {candidates}, more than {algorithm.children} children.")
    require(
        algorithm.elites >= 1 and algorithm.reevaluate,
        "a validated elite must stay: make the algorithm with elites=1, reevaluate=True, champion=best_validated.",
    )
    return Validated(evaluator, candidates, episodes)


def best_validated(evaluation: Evaluation) -> jax.Array:
    """The index of the best validation, of equals the old elite: a champion for `jaxga.ga`."""
    means = evaluation.metrics["elite_mean"]
    return means.size - 1 - jnp.nanargmax(means[::-1])
