"""Which distribution do gradients and updates follow?"""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import scipy

from jaxga.base import Params, require
from jaxga.report.plots import Curve, Histogram, plot_curves
from jaxga.tree import named_leaves

SHAPIRO_LIMIT = 5000  # the p-values of the test are valid up to this number of samples


class Fit(NamedTuple):
    """The values of one array, and the normal and the Laplace distribution with the largest likelihood."""

    values: np.ndarray  # [n], the values of the array
    normal: tuple[float, float]  # mean and standard deviation
    laplace: tuple[float, float]  # median and mean absolute deviation from it, 1 / lambda
    log_likelihood: tuple[float, float]  # mean log likelihood per value of normal and Laplace, in nats
    shapiro: float  # p-value of the Shapiro-Wilk test; a normal distribution is unlikely below 0.05

    @property
    def better(self) -> str:
        """The distribution with the larger likelihood, "normal" or "Laplace"."""
        return "normal" if self.log_likelihood[0] > self.log_likelihood[1] else "Laplace"


def fit_distributions(tree: Params, seed: int = 0) -> dict[str, Fit]:
    """Are values distributed normally, or with heavier tails, as in a Laplace distribution?

    Both distributions are fitted to each array of a tree by maximum likelihood. The test of Shapiro and Wilk (1965) is
    applied to up to 5,000 of its values. Empty arrays are left out. The notes' lambda of an exponential distribution
    is ``1 / laplace[1]``.

    Args:
      tree: a pytree of arrays, for example a gradient or an update.
      seed: seed that draws the values for the test, by default 0.

    Returns:
      A `Fit` for each array, by the name of the leaf.

    Raises:
      InputError: if an array contains NaN or infinity.

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
    """Plot a panel for each array: a histogram of its values and both fits, with a logarithmic density axis.

    Args:
      fits: from `fit_distributions`.
      path: where to save the figure; by default it is only returned.
    """
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
