"""Which distribution do gradients and updates follow?"""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import scipy

from jaxga.base import Params, require
from jaxga.report.plots import Curve, Histogram, plot_curves
from jaxga.tree import named_leaves

SHAPIRO_LIMIT = 5000  # the test's p-values hold up to so many samples


class Fit(NamedTuple):
    """The numbers of one array, and the normal and Laplace distributions that fit them best."""

    values: np.ndarray  # [n]
    normal: tuple[float, float]  # mean, standard deviation
    laplace: tuple[float, float]  # median, mean absolute deviation: 1 / lambda
    log_likelihood: tuple[float, float]  # of the two, per number, in nats
    shapiro: float  # p-value: below 0.05 they are hardly normal

    @property
    def better(self) -> str:
        """The one that fits better."""
        return "normal" if self.log_likelihood[0] > self.log_likelihood[1] else "Laplace"


def fit_distributions(tree: Params, seed: int = 0) -> dict[str, Fit]:
    """Are these numbers normal, or do most of them stay near zero and few go far, as Laplace's do?

    Maximum likelihood for every array of a tree, by name, and the test of Shapiro and Wilk (1965) on up to 5,000 of
    its numbers. Arrays without a number are left out. The notes' lambda of an exponential distribution is
    ``1 / laplace[1]``.

    >>> fit = fit_distributions({"w": np.random.default_rng(0).laplace(scale=1 / 89, size=20_000)})["w"]
    >>> fit.better, round(1 / fit.laplace[1]), fit.shapiro < 0.05
    ('Laplace', 89, True)
    """
    arrays = {name: np.ravel(np.asarray(leaf, float)) for name, leaf in named_leaves(tree).items()}
    for name, values in arrays.items():
        require(bool(np.isfinite(values).all()), f"leaf '{name}' holds NaN or infinity, which no distribution fits.")
    return {name: _fit(values, seed) for name, values in arrays.items() if values.size}


def _fit(values: np.ndarray, seed: int) -> Fit:
    normal, laplace = scipy.stats.norm.fit(values), scipy.stats.laplace.fit(values)
    some = np.random.default_rng(seed).choice(values, min(len(values), SHAPIRO_LIMIT), replace=False)
    likelihoods = scipy.stats.norm.logpdf(values, *normal).mean(), scipy.stats.laplace.logpdf(values, *laplace).mean()
    p_value = float(scipy.stats.shapiro(some).pvalue) if len(some) >= 3 and np.ptp(some) > 0 else float("nan")
    pairs = [(float(pair[0]), float(pair[1])) for pair in (normal, laplace, likelihoods)]
    return Fit(values, pairs[0], pairs[1], pairs[2], p_value)


def plot_fits(fits: dict[str, Fit], path: str | Path | None = None) -> Any:
    """A panel for every array: its numbers and both fits, on a logarithmic scale that shows the tails."""
    panels = []
    for name, fit in fits.items():
        low, high = np.quantile(fit.values, [0.0005, 0.9995])
        x = np.linspace(low, high, 200)
        curves = [
            Histogram("measured", fit.values[(fit.values >= x[0]) & (fit.values <= x[-1])]),
            Curve("normal", x, scipy.stats.norm.pdf(x, *fit.normal)),
            Curve("Laplace", x, scipy.stats.laplace.pdf(x, *fit.laplace)),
        ]
        panels.append(({"title": name, "yscale": "log", "ylabel": "density"}, curves))
    return plot_curves(panels, path)
