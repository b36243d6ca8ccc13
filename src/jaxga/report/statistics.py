"""Medians and means with confidence intervals, to compare results over seeds."""

from typing import NamedTuple

import numpy as np


class Interval(NamedTuple):
    """A median with its confidence interval."""

    median: np.ndarray  # of all samples
    low: np.ndarray  # the lower end of the interval
    high: np.ndarray  # the upper end of the interval
    samples: int  # the number of samples

    def __str__(self) -> str:
        return f"{self.median:.4g} [{self.low:.4g}, {self.high:.4g}] (n={self.samples})"


def mean_interval(values: np.ndarray, confidence: float = 0.95) -> tuple[float, float, float]:
    """The mean of ``values [n]``, and the ends of its confidence interval by Student's t distribution.

    >>> mean, low, high = mean_interval(np.array([1.0, 2.0, 3.0]))
    >>> round(mean, 2), round(low, 2), round(high, 2)
    (2.0, -0.48, 4.48)
    """
    import scipy

    values = np.asarray(values, float)
    mean, error = values.mean(), scipy.stats.sem(values) if len(values) > 1 else np.inf
    reach = error * scipy.stats.t.ppf((1 + confidence) / 2, max(len(values) - 1, 1))
    return float(mean), float(mean - reach), float(mean + reach)


def median_interval(values: np.ndarray, confidence: float = 0.95, seed: int = 0) -> Interval:
    """The median over the first axis, with a percentile bootstrap interval (Efron 1979; `scipy.stats.bootstrap`).

    With fewer than 5 samples the bootstrap is not meaningful, and the interval is the range of the samples.

    >>> print(median_interval(np.array([1.0, 2.0, 3.0])))
    2 [1, 3] (n=3)
    """
    import scipy

    values = np.asarray(values, float)
    median = np.median(values, axis=0)
    if len(values) < 5:
        return Interval(median, values.min(axis=0), values.max(axis=0), len(values))
    flat = values.reshape(len(values), -1)
    ends = scipy.stats.bootstrap(
        (flat,),
        np.median,
        axis=0,
        n_resamples=999,
        confidence_level=confidence,
        method="percentile",
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return Interval(median, ends.low.reshape(median.shape), ends.high.reshape(median.shape), len(values))
