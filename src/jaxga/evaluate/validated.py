"""Choose the elite by many episodes: the best children are scored again, because a single score may be due to luck."""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from jaxga.base import (
    Algorithm,
    Evaluation,
    Purpose,
    Recipe,
    Source,
    Task,
    as_fitness,
    generation_key,
    require,
    require_whole,
)
from jaxga.evaluate.contract import PLAYED, STEPS, Evaluator, Part
from jaxga.scores import join, of_children, unknown_scores
from jaxga.selection import ranking
from jaxga.tree import iota


@dataclass(frozen=True)
class Validated(Evaluator):
    """See `validated`."""

    evaluator: Evaluator
    candidates: int
    episodes: int

    @property
    def algorithm(self) -> Algorithm:
        """Whose children are scored."""
        return self.evaluator.algorithm

    @property
    def task(self) -> Task | None:
        """The task that is scored."""
        return self.evaluator.task

    @property
    def chunk(self) -> int | None:
        """The chunk of the evaluator."""
        return self.evaluator.chunk

    @property
    def on_host(self) -> bool:
        """Is the evaluator on the host?"""
        return self.evaluator.on_host

    @property
    def mesh(self) -> Any:
        """The mesh of the evaluator."""
        return self.evaluator.mesh

    def like(self, source: Source) -> Evaluation:
        """Shapes of the evaluator's scores, and of the metrics of the validation."""
        children, elites = self.algorithm.children, len(self.algorithm.rescored(source))
        unscored = lambda scores: _with_unscored(of_children(scores, children), elites)  # noqa: E731
        scores = jax.eval_shape(unscored, self.evaluator.like(source))
        mean = jax.ShapeDtypeStruct((), jnp.float32)
        means = {"elite_mean": scores.fitness, "elite_std": scores.fitness, "candidates_mean": mean}
        return scores._replace(metrics=dict(scores.metrics or {}) | means)

    def hear(self, generation: int, recipe: Recipe) -> None:
        """Pass the recipe on to the evaluator."""
        self.evaluator.hear(generation, recipe)

    def children(self, source: Source, number: Any = 0, slices: int = 1) -> Evaluation:
        """The scores of children, by the evaluator; no validation."""
        return self.evaluator.children(source, number, slices)

    def individuals(self, source: Source, indices: Any, episodes: int | None = None) -> Evaluation:
        """The scores of individuals, by the evaluator; no validation."""
        return self.evaluator.individuals(source, indices, episodes)

    def parts(self, source: Source) -> list[Part]:
        """The parts of the evaluator, and the numbers of candidates and episodes."""
        first, *others = self.evaluator.parts(source)
        return [first._replace(words=[*first.words, self.candidates, self.episodes]), *others]

    def __call__(self, source: Source) -> Evaluation:
        """The scores ``[N + E]``. Elites have a validation, but no fitness (NaN)."""
        children, slots = self.algorithm.children, self.algorithm.rescored(source)
        scores = as_fitness(self.evaluator.children(source))
        order = ranking(generation_key(source, Purpose.VALIDATION), scores)
        elites = children + jnp.array(slots, jnp.int32)
        chosen = jnp.concatenate([elites, order[: self.candidates - len(slots)]])
        measured = self.evaluator.individuals(source, chosen, self.episodes)
        scores = _with_unscored(scores, len(slots))
        place = jnp.concatenate([children + iota(len(slots)), order[: self.candidates - len(slots)]])
        nothing = jnp.full(len(scores.fitness), jnp.nan, jnp.float32)
        metrics = dict(scores.metrics or {}) | {
            "elite_mean": nothing.at[place].set(measured.fitness),
            "elite_std": nothing.at[place].set(measured.metrics["std_return"]),
            "candidates_mean": jnp.nanmean(measured.fitness),
        }
        metrics |= {name: metrics[name] + measured.metrics[name] for name in {STEPS, PLAYED} & set(metrics)}
        return scores._replace(metrics=metrics)


def _with_unscored(scores: Evaluation, elites: int) -> Evaluation:
    """Extend the scores of children ``[N]`` to ``[N + E]``: NaN for elites; integers become floats."""
    return join(scores, unknown_scores(scores, elites)) if elites else scores


def validated(evaluator: Evaluator, candidates: int = 10, episodes: int = 30) -> Validated:
    """Score all children, then score the elite and the best children again on new draws, to choose the next elite.

    With noisy scores, the best of a thousand children is mostly lucky. Such et al. 2017 therefore play the elite and
    the 9 best others for 30 more episodes. The one with the best mean becomes the next elite, which is always a parent.

    Use it with ``ga(..., elites=1, reevaluate=True, champion=best_validated)``. The elite then has a validation but no
    fitness, so it survives only if it is the champion.

    Logged: ``elite_mean`` and ``elite_std``, mean and standard deviation over the champion's episodes, and
    ``candidates_mean``, the mean over all candidates.

    Args:
      evaluator: `jaxga.vmapped`, `jaxga.sharded` or `jaxga.rollouts`.
      candidates: number of individuals that are validated, including elites, by default 10.
      episodes: number of new draws for each, the same for all candidates, by default 30.

    Raises:
      InputError: if the numbers do not fit, or the algorithm has no elites that are scored again.

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
    require_whole(len(algorithm.elites) + 1, candidates=candidates)
    require_whole(2, episodes=episodes)
    require(candidates <= algorithm.children, f"candidates is {candidates}, more than {algorithm.children} children.")
    require(
        bool(algorithm.elites) and algorithm.selection.reevaluate,
        "a validated elite must stay: make the algorithm with elites=1, reevaluate=True, champion=best_validated.",
    )
    return Validated(evaluator, candidates, episodes)


def best_validated(evaluation: Evaluation) -> jax.Array:
    """For ``ga(champion=...)``: the position of the individual with the best validation; of equals, the old elite."""
    means = evaluation.metrics["elite_mean"]
    return means.size - 1 - jnp.nanargmax(means[::-1])
