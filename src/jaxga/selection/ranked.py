"""Selection by rank: all candidates compete with each other, and slots are in the order of fitness, best first."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from jaxga.base import (
    Choice,
    Evaluation,
    Key,
    Recipe,
    Scored,
    Selection,
    name_of,
    require,
)
from jaxga.measures import metrics_of_best
from jaxga.selection.choices import Candidates, truncation
from jaxga.variation.crossover import Recombination

Champion = Callable[[Evaluation], jax.Array]  # Evaluation [C] -> position


def ranked(
    choice: Choice = truncation,
    *,
    elites: int = 0,
    reevaluate: bool = False,
    champion: Champion | None = None,
    recombination: Recombination | None = None,
) -> Selection:
    """A selection in which a choice decides which candidates survive. `jaxga.ga` makes one from its arguments.

    The next parents are in the order of their rank, with the best in slot 0.

    Args:
      choice: ``(key, candidates [C], num) -> positions [num]``, by default `truncation`. The `Candidates` have the
        fields of an `Evaluation`, with all ties broken, and their ranking.
      elites: number of best parents that compete with the children. As many of the best of both always survive. By
        default 0.
      reevaluate: score elites again in every generation. By default they keep their score.
      champion: ``(evaluation [C]) -> position`` of the candidate that is ranked first regardless of its fitness, and
        hence survives.
      recombination: average several children into each next parent, see `jaxga.variation.average`.

    Raises:
      InputError: when the selection is applied, if there are too few candidates to average, or ``choice`` does not
        return ``num`` whole numbers.

    >>> import jaxga
    >>> from jaxga.variation import absolute, gaussian
    >>> algorithm = jaxga.ga(lambda key: jnp.zeros(3), gaussian(absolute(0.1)), parents=2, children=8,
    ...                      selection=ranked(elites=1))
    >>> state, info = algorithm.update(algorithm.init(jax.random.key(0)), Evaluation(jnp.arange(8.0)))
    >>> state, info = algorithm.update(state, Evaluation(jnp.full(8, 6.5)))
    >>> int(info.recipe.indices[0, 0])  # the elite, in slot 0
    8
    """
    averaged = recombination.size if recombination else 1
    safe = max(elites, int(champion is not None))

    def apply(key: Key, scored: Scored, remembered: Any) -> tuple[Recipe, Any, dict[str, jax.Array]]:
        parents, order = len(scored.parents.fitness), scored.order
        require(
            averaged == 1 or parents * averaged <= len(order),
            f"average is {averaged}, and {parents} parents of {len(order)} candidates leave {len(order) // parents} to "
            "average: take so many or fewer.",
        )
        if champion is not None:
            order = led_by(jnp.asarray(champion(scored.evaluation), jnp.int32), order)
        place = jnp.argsort(order).astype(jnp.int32)
        rest = _others(choice, key, scored.evaluation, order, place, safe, parents * averaged - safe)
        chosen = jnp.concatenate([order[:safe], rest])
        chosen = chosen[jnp.argsort(place[chosen])]  # best first
        positions = chosen.reshape(averaged, parents).T  # parent t gets the ranks t, t + T, t + 2 T, ...
        known = (positions >= 0) & (positions < len(order))
        indices = jnp.where(known, scored.index[positions], -1)
        measured = {} if champion is None else metrics_of_best(scored.evaluation.metrics, order, len(order) - elites)
        if recombination is None:
            return Recipe(indices), remembered, measured
        weights = jax.vmap(partial(_weights, recombination))(scored.evaluation.fitness[positions])
        return Recipe(indices, *weights), remembered, measured

    return Selection(lambda *_: (), apply, tuple(range(elites)), reevaluate, ordered=True)


def as_selection(selection: Any, **options: Any) -> Selection:
    """A `Selection` as it is, or the selection by rank that a choice defines.

    Raises:
      InputError: for options in addition to a `Selection`, where they would have no effect.
    """
    if not isinstance(selection, Selection):
        return ranked(selection, **options)
    void = [name for name, value in options.items() if value]
    require(not void, f"{' and '.join(void)} would have no effect: the selection decides it, so say it there.")
    return selection


def led_by(first: jax.Array, order: jax.Array) -> jax.Array:
    """The same order, with one position put first."""
    return order[jnp.argsort(order != first, stable=True)]


def _others(
    choice: Choice, key: Key, evaluation: Evaluation, order: jax.Array, place: jax.Array, safe: int, num: int
) -> jax.Array:
    """The survivors in addition to the ``safe`` best, which are excluded from the choice."""
    if not num:
        return place[:0]
    out = place < safe
    # A mask, not a scatter: XLA (0.10.2) scatters wrongly into a vector whose shards are uneven.
    fitness = jnp.where(out, jnp.nan, evaluation.fitness)
    tiebreak = jnp.where(out, -jnp.inf, -place.astype(jnp.float32))
    ranked = Candidates(evaluation._replace(fitness=fitness, tiebreak=tiebreak), jnp.roll(order, -safe))
    chosen: Any = choice(jax.random.split(key)[1], ranked, num)
    found = getattr(chosen, "shape", None), getattr(chosen, "dtype", type(chosen).__name__)
    require(
        found[0] == (num,) and jnp.issubdtype(found[1], jnp.integer),
        f"selection {name_of(choice)} returned {found[1]} of shape {found[0]}, and integers of shape {(num,)} "
        "were due: the positions of the survivors.",
    )
    return jnp.asarray(chosen, jnp.int32)


def _weights(recombination: Recombination, fitness: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Share and step ``[k]`` of children with this fitness. Lethal children, and those without a fitness, get 0.

    If no child has a fitness, the parents' mean stays as it is.
    """
    valid = fitness > -jnp.inf  # and no NaN
    known = jnp.where(valid, fitness, jnp.min(fitness, where=valid, initial=jnp.inf))
    weights = recombination.weights(jnp.where(valid.any(), known, 0))
    kept = jnp.where(valid, weights, 0)
    total = jnp.sum(jnp.abs(kept))
    part = jnp.sum(jnp.abs(weights)) / jnp.where(total > 0, total, 1)
    share = jnp.where(total > 0, jnp.abs(kept) / jnp.where(total > 0, total, 1), 1 / fitness.size)
    return share, kept * part * recombination.scale
