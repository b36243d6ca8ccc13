"""Questions about evolution, one function each. Every answer can draw itself: ``answer.plot("picture.png")``."""

from jaxga.analysis.distributions import Fit, fit_distributions, plot_fits
from jaxga.analysis.drift import Drift, drift
from jaxga.analysis.fates import Fates, fates
from jaxga.analysis.genome import prune
from jaxga.analysis.gradient import BestOf, Cosines, best_of, chance_of_harm, cosine, expected_top
from jaxga.analysis.guess import Descents, Guesses, descend_until_fit, guess
from jaxga.analysis.improvement import (
    Improvements,
    Oracle,
    StepSizeSearch,
    first_step_size,
    improvements,
    oracle_schedule,
)
from jaxga.analysis.interference import Interference, Trace, interference, trace
from jaxga.analysis.lineage import Diagnosis, Effects, Robustness, diagnose, lineage_effects, robustness

__all__ = [
    "BestOf",
    "Cosines",
    "Descents",
    "Diagnosis",
    "Drift",
    "Effects",
    "Fates",
    "Fit",
    "Guesses",
    "Improvements",
    "Interference",
    "Oracle",
    "Robustness",
    "StepSizeSearch",
    "Trace",
    "best_of",
    "chance_of_harm",
    "cosine",
    "descend_until_fit",
    "diagnose",
    "drift",
    "expected_top",
    "fates",
    "first_step_size",
    "fit_distributions",
    "guess",
    "improvements",
    "interference",
    "lineage_effects",
    "oracle_schedule",
    "plot_fits",
    "prune",
    "robustness",
    "trace",
]
