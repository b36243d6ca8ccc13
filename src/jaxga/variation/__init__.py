"""How children differ from their parents: mutations, crossovers, step sizes, and combinations of these."""

import warnings
from typing import Any

from jaxga.variation import per
from jaxga.variation.combinators import (
    chain,
    masked,
    mixture,
    momentum,
    normalised,
    one_at_a_time,
    proportional,
    with_probability,
)
from jaxga.variation.crossover import (
    Recombination,
    average,
    by_centred_rank,
    by_fitness,
    by_layer,
    by_leaf,
    by_neuron,
    by_rank,
    by_weight,
    equal,
    line,
    slerp,
    uniform_crossover,
)
from jaxga.variation.mutation import (
    additive,
    fresh,
    gaussian,
    laplace,
    low_rank,
    row,
    scaled,
    sparse,
    stateless,
    uniform,
)
from jaxga.variation.parts import freezing, frozen, one_of
from jaxga.variation.projection import (
    Projection,
    decay,
    keep_norm,
    projected,
    rotation,
    sphere,
    torus,
    towards_magnitude,
)
from jaxga.variation.safe import of_magnitude, of_sum, safe_gradient, safe_rescale
from jaxga.variation.step_size import (
    StepSize,
    absolute,
    adaptive,
    fixed,
    log_normal,
    multiplicative,
    relative,
    scheduled,
    success_rule,
)

__all__ = [
    "Projection",
    "Recombination",
    "StepSize",
    "absolute",
    "adaptive",
    "additive",
    "average",
    "by_centred_rank",
    "by_fitness",
    "by_layer",
    "by_leaf",
    "by_neuron",
    "by_rank",
    "by_weight",
    "chain",
    "decay",
    "equal",
    "fixed",
    "freezing",
    "fresh",
    "frozen",
    "gaussian",
    "keep_norm",
    "laplace",
    "line",
    "log_normal",
    "low_rank",
    "masked",
    "mixture",
    "momentum",
    "multiplicative",
    "normalised",
    "of_magnitude",
    "of_sum",
    "one_at_a_time",
    "one_of",
    "per",
    "projected",
    "proportional",
    "relative",
    "rotation",
    "row",
    "safe_gradient",
    "safe_rescale",
    "scaled",
    "scheduled",
    "slerp",
    "sparse",
    "sphere",
    "stateless",
    "success_rule",
    "torus",
    "towards_magnitude",
    "uniform",
    "uniform_crossover",
    "with_probability",
]


def __getattr__(name: str) -> Any:
    """Old names of groups, from version 0.1: ``variation.leaf`` is now ``variation.per.leaf``."""
    if name in ("individual", "layer", "leaf", "parameter", "unit"):
        warnings.warn(
            f"jaxga.variation.{name} is jaxga.variation.per.{name} now, and goes with version 0.3.",
            DeprecationWarning, stacklevel=2,
        )  # fmt: skip
        return getattr(per, name)
    raise AttributeError(f"module 'jaxga.variation' has no attribute {name!r}")
