"""Medians and means with confidence intervals, tests of differences, and causes of variance, over seeds."""

from bisect import bisect_left
from typing import NamedTuple

import numpy as np

from jaxga.base import require


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

    Args:
      values: ``[n]``.
      confidence: of the interval, by default 0.95.

    Returns:
      The mean, the lower end and the upper end. With one value the ends are infinite.

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

    Args:
      values: ``[n, ...]``, n samples.
      confidence: of the interval, by default 0.95.
      seed: seed of the bootstrap, by default 0.

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


def interquartile_range(values: np.ndarray) -> float:
    """The upper minus the lower quartile of ``values [n]``: the middle half of the runs lies within it.

    >>> interquartile_range(np.array([1.0, 2.0, 3.0, 4.0, 100.0]))
    2.0
    """
    import scipy

    return float(scipy.stats.iqr(np.asarray(values, float)))


class Difference(NamedTuple):
    """The mean difference between two samples, with its confidence interval and a test."""

    mean: float  # of the second sample minus the first
    low: float  # the lower end of the interval
    high: float  # the upper end of the interval
    p: float  # two-sided: the chance of a difference at least as large if the true difference is 0
    samples: int  # the number of pairs, or of both samples together

    def __str__(self) -> str:
        return f"{self.mean:+.4g} [{self.low:+.4g}, {self.high:+.4g}] (p={self.p:.2g}, n={self.samples})"


def difference(first: np.ndarray, second: np.ndarray, *, paired: bool = True, confidence: float = 0.95) -> Difference:
    """By how much is ``second [n]`` larger than ``first [m]`` on average? By Student's t distribution.

    Args:
      first: results of one setting.
      second: results of another one.
      paired: result r of both belongs to the same seed, the same founder or the same data (the default, the paired t
        test). What both have in common then cancels. Otherwise the samples are independent (Welch's t test).
      confidence: of the interval, by default 0.95.

    Raises:
      InputError: if a sample has fewer than 2 results, or paired samples differ in length.

    >>> first, second = np.array([1.0, 5.0, 9.0]), np.array([2.1, 6.0, 9.9])
    >>> print(difference(first, second))
    +1 [+0.7516, +1.248] (p=0.0033, n=3)
    >>> print(difference(first, second, paired=False))
    +1 [-7.957, +9.957] (p=0.77, n=6)
    """
    import scipy

    first, second = np.asarray(first, float), np.asarray(second, float)
    sizes = len(first), len(second)
    require(min(sizes) >= 2, f"samples have {sizes[0]} and {sizes[1]} results: give 2 or more of each.")
    require(
        not paired or sizes[0] == sizes[1],
        f"paired samples have {sizes[0]} and {sizes[1]} results: give as many of each, or pass paired=False.",
    )
    samples = [second - first] if paired else [first, second]
    parts = np.array([np.var(sample, ddof=1) / len(sample) for sample in samples])  # of the variance of the mean
    degrees = np.array([len(sample) - 1 for sample in samples])
    error, mean = float(np.sqrt(parts.sum())), float(second.mean() - first.mean())
    freedom = parts.sum() ** 2 / (parts**2 / degrees).sum() if error > 0 else degrees.sum()
    reach = error * scipy.stats.t.ppf((1 + confidence) / 2, freedom)
    p = 2 * scipy.stats.t.sf(abs(mean) / max(error, 1e-300), freedom)
    return Difference(mean, float(mean - reach), float(mean + reach), float(p), sum(len(one) for one in samples))


def trials_needed(
    deviation: float, difference: float, *, paired: bool = True, power: float = 0.8, confidence: float = 0.95
) -> int:
    """How many runs of each setting does a t test need to see a difference? By the noncentral t distribution.

    Args:
      deviation: the standard deviation of the differences between pairs; if not paired, that of the runs of a setting.
      difference: the true mean difference, in the same units.
      paired: as in `difference`.
      power: the chance that the test sees the difference, by default 0.8.
      confidence: of the two-sided test, by default 0.95.

    Returns:
      The least number of runs of each setting, at least 2 and at most a million.

    Raises:
      InputError: if ``deviation`` is below 0, or ``difference`` is 0.

    >>> trials_needed(1.0, 1.0), trials_needed(1.0, 1.0, paired=False)  # as in the tables of Cohen 1988
    (10, 17)
    """
    import scipy

    require(deviation >= 0, f"deviation is {deviation}, and must be 0 or more.")
    require(difference != 0, "difference is 0, and no number of runs can see that: give the size that matters.")

    def seen(runs: int) -> bool:
        freedom, spread = (runs - 1, 1 / runs) if paired else (2 * runs - 2, 2 / runs)
        limit = scipy.stats.t.ppf((1 + confidence) / 2, freedom)
        ratio = abs(difference) / max(deviation * spread**0.5, 1e-300)
        return ratio > 30 or float(scipy.stats.nct.sf(limit, freedom, ratio)) >= power

    choices = range(2, 1_000_001)
    return choices[min(bisect_left(choices, True, key=seen), len(choices) - 1)]


class Causes(NamedTuple):
    """Shares of a variance, which add up to 1: each with the ends of its interval, ``[3]``."""

    first: np.ndarray  # of what differs between rows
    second: np.ndarray  # of what differs between columns
    neither: np.ndarray  # of what only the combination of row and column decides


def causes_of_variance(values: np.ndarray, confidence: float = 0.95, seed: int = 0) -> Causes:
    """Which part of a variance is due to the first cause, which to the second, and which to neither alone?

    For a crossed design, such as every founder with every root key. The model is ``mean + row + column + rest``, with
    independent normal effects. Its variances are estimated from the mean squares of the two-way analysis of variance;
    an estimate below 0 counts as 0. The intervals are generalised confidence intervals (Weerahandi 1993): mean squares
    are divided by draws of their chi-square distributions.

    Args:
      values: one result for each combination, ``[A, B]``.
      confidence: of the intervals, by default 0.95.
      seed: of the draws, by default 0.

    Raises:
      InputError: if there are fewer than 2 rows or columns.

    >>> rows, columns = np.array([[0.0], [1.0], [4.0]]), np.array([[0.0, 0.3, 0.1]])
    >>> causes_of_variance(rows + columns).first[0] > 0.95
    np.True_
    """
    values = np.asarray(values, float)
    require(values.ndim == 2 and min(values.shape) >= 2, f"values have shape {values.shape}: give 2 rows, 2 columns.")
    rows, columns = values.shape
    means = values.mean(axis=1, keepdims=True), values.mean(axis=0, keepdims=True)
    rest = values - means[0] - means[1] + values.mean()
    squares = np.array([columns * np.var(means[0]) * rows, rows * np.var(means[1]) * columns, (rest**2).sum()])
    freedom = np.array([rows - 1, columns - 1, (rows - 1) * (columns - 1)])

    def shares(mean_squares: np.ndarray) -> np.ndarray:
        left = mean_squares[..., 2]
        parts = [(mean_squares[..., 0] - left) / columns, (mean_squares[..., 1] - left) / rows, left]
        parts = np.maximum(np.stack(parts, axis=-1), 0)
        return parts / np.maximum(parts.sum(axis=-1, keepdims=True), 1e-300)

    draws = shares(squares / np.random.default_rng(seed).chisquare(freedom, (4000, 3)))
    low, high = np.quantile(draws, [(1 - confidence) / 2, (1 + confidence) / 2], axis=0)
    return Causes(*np.stack([shares(squares / freedom), low, high], axis=1))
