"""The metrics of a generation in the log."""

import warnings
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from jaxga.base import Evaluation, Individual, InputError
from jaxga.tree import named_leaves

INHERITED = {"step_size", "frequency", "free"}  # what of a strategy is logged, as means over the parents
NUMBERS = 16  # of one metric, at most


def fitness_metrics(
    evaluation: Evaluation, order: jax.Array, survivors: jax.Array, children: int, scored: int, some_lethal: bool
) -> dict[str, jax.Array]:
    """Metrics of the fitness in one generation.

    Args:
      evaluation: scores of the candidates ``[C]``, children first.
      order: candidates from best to worst, ``[C]``.
      survivors: fitness of the selected candidates.
      children: N, the number of children.
      scored: number of candidates that were scored in this generation.
      some_lethal: count lethal children, whose fitness is -inf, and leave them out of the means.
    """
    fitness = evaluation.fitness[:children]
    lethal = jnp.isneginf(fitness) if some_lethal else jnp.zeros(fitness.shape, bool)
    valid = ~jnp.isnan(fitness) & ~lethal
    dead = jnp.sum(lethal).astype(jnp.int32)
    metrics = {
        "fitness": evaluation.fitness[order[0]],
        "mean_fitness": jnp.mean(fitness, where=valid),
        "std_fitness": jnp.std(fitness, where=valid),
        "survivors_mean_fitness": jnp.nanmean(survivors),
        "nan": jnp.sum(jnp.isnan(fitness)).astype(jnp.int32),
        "evaluations": jnp.int32(scored) - dead,
    }
    return metrics | ({"lethal": dead} if some_lethal else {})


def metrics_of_best(metrics: Any, order: jax.Array, children: int) -> dict[str, jax.Array]:
    """What was measured of the best candidate of whom something was measured in this generation.

    Children are the first candidates, elites that were scored again follow; one that kept its score was not measured.
    """
    return as_columns({
        name: values[order[jnp.argmax(_measured(values, order, children))]] if values.ndim else values
        for name, values in dict(metrics or {}).items()
    })  # fmt: skip


def merged(*measured: tuple[str, Mapping[str, jax.Array]]) -> dict[str, jax.Array]:
    """The columns of a generation, from pairs of who measured them and what. No two may have a column of one name.

    >>> merged(("every run", {"fitness": 1}), ("the evaluation", {"points": 2}))
    {'fitness': 1, 'points': 2}
    """
    found: dict[str, jax.Array] = {}
    logged_by: dict[str, str] = {}
    for who, columns in measured:
        for name, column in columns.items():
            if name in found:
                raise InputError(
                    f"the metric {name!r} of {who} has the name of one that {logged_by[name]} logs: rename it."
                )
            found[name], logged_by[name] = column, who
    return found


def as_columns(metrics: Mapping[str, jax.Array]) -> dict[str, jax.Array]:
    """Metrics of one individual as columns; one of several numbers gets one for each: ``name_0``, ``name_1``, ...

    What begins with an underscore is for selections alone.
    """
    found: dict[str, jax.Array] = {}
    for name, value in metrics.items():
        if name.startswith("_"):
            continue
        if value.size > NUMBERS:
            warnings.warn(
                f"the metric {name!r} has shape {value.shape}, and is not logged: more than {NUMBERS} numbers. Call it "
                f"{'_' + name!r} if that is meant.",
                RuntimeWarning, stacklevel=2,
            )  # fmt: skip
        elif value.ndim:
            found |= {f"{name}_{number}": one for number, one in enumerate(value.reshape(-1))}
        else:
            found[name] = value
    return found


def _measured(values: jax.Array, order: jax.Array, children: int) -> jax.Array:
    """Of whom, in this order, was a metric measured? ``[C]``"""
    born = order < children
    if len(values) == children or not jnp.issubdtype(values.dtype, jnp.floating):
        return born | (order < len(values))
    return born | ~jnp.isnan(values).reshape(len(values), -1).any(axis=1)[order]


def inherited(parents: Individual, known: bool) -> dict[str, jax.Array]:
    """What parents inherited: the mean of each step size. NaN where it is not known, before founders are chosen."""
    leaves = named_leaves(parents.strategy).items()
    return {
        name: jnp.mean(leaf) if known else jnp.full((), jnp.nan, jnp.result_type(leaf, jnp.float32))
        for name, leaf in leaves
        if leaf.size and INHERITED & set(name.split("/"))
    }
