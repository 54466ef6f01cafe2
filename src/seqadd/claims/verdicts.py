"""Intervals and verdicts on a published number, or on the difference of two conditions, from several seeds.

docs/verdicts.md explains what each verdict means, and what it does not. Pure functions; reads and writes no files.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

CONFIDENCE = 0.95
#: With fewer seeds than this, a verdict is undecided.
FEWEST_SEEDS = 5
#: The widest interval that can confirm a fraction: a wider one would contain almost any published number. For other
#: metrics, the widest interval as a share of the mean.
WIDEST = 0.2
#: Differences of accuracy up to one character in a hundred count as no difference.
NEGLIGIBLE = 0.01
#: Published numbers have four decimals.
ROUNDING = 0.00005

REPRODUCED, NOT_REPRODUCED, UNDECIDED = "reproduced", "not reproduced", "undecided"

#: The claimed relations of the measured number to a published one, or of one condition to another.
RELATIONS = ("equal", "above", "below", "not above", "not below")


@dataclass(frozen=True)
class Interval:
    """Both ends of a 95 % interval; fewer than two values give the widest possible one, as their spread is unknown.

    Attributes:
        low: the lower end, in the unit of the values; ``-inf`` if nothing limits it.
        high: the upper end; ``inf`` if nothing limits it.

    Example:
        >>> Interval(0.25, 0.5).width
        0.25
    """

    low: float
    high: float

    @property
    def width(self) -> float:
        """The difference between both ends."""
        return self.high - self.low


def prediction_interval(values: Sequence[float], least: float = 0.0, most: float = 1.0) -> Interval:
    """Returns the 95 % prediction interval of one more run: mean ± t * s * sqrt(1 + 1/n), Student's t, n - 1 degrees.

    The formula assumes that the values of single runs are normally distributed. Source: Student (1908).
    docs/verdicts.md says what the interval means here.

    Args:
        values: one for each seed, in any unit; fewer than two give ``Interval(least, most)``.
        least: the smallest possible value; the interval is clipped to it. 0 by default, as for shares.
        most: the largest possible value; 1 by default.

    Returns:
        The interval, in the unit of the values.

    Example:
        >>> interval = prediction_interval([0.50, 0.51, 0.49, 0.50, 0.50])
        >>> round(interval.low, 4), round(interval.high, 4)
        (0.4785, 0.5215)
        >>> prediction_interval([0.5])
        Interval(low=0.0, high=1.0)
    """
    n = len(values)
    if n < 2:
        return Interval(least, most)
    spread = np.std(values, ddof=1) * np.sqrt(1 + 1 / n)
    return _around(values, spread, least, most)


def mean_interval(differences: Sequence[float]) -> Interval:
    """Returns the 95 % confidence interval of the mean: mean ± t * s / sqrt(n), Student's t, n - 1 degrees.

    Source: Student (1908).

    Args:
        differences: of two conditions, one for each seed; fewer than two give ``Interval(-inf, inf)``.

    Returns:
        The interval, in the unit of the differences. It is not clipped.

    Example:
        >>> interval = mean_interval([0.01, 0.02, 0.03, 0.02, 0.02])
        >>> round(interval.low, 4), round(interval.high, 4)
        (0.0112, 0.0288)
    """
    n = len(differences)
    if n < 2:
        return Interval(-np.inf, np.inf)
    return _around(differences, np.std(differences, ddof=1) / np.sqrt(n), -np.inf, np.inf)


def _around(values: Sequence[float], spread: float, least: float, most: float) -> Interval:
    from scipy import stats  # here, because importing it is too slow for --help

    mean = float(np.mean(values))
    reach = float(stats.t.ppf((1 + CONFIDENCE) / 2, len(values) - 1) * spread)
    return Interval(max(least, mean - reach), min(most, mean + reach))


def standardized(differences: Sequence[float]) -> float:
    """Returns the mean difference over its standard deviation, Cohen's d for pairs; NaN if the deviation is 0."""
    spread = float(np.std(differences, ddof=1)) if len(differences) > 1 else 0.0
    return float(np.mean(differences)) / spread if spread > 0 else float("nan")


def number_verdict(
    values: Sequence[float],
    published: float,
    relation: str = "equal",
    fewest: int = FEWEST_SEEDS,
    fraction: bool = True,
) -> str:
    """Returns the verdict on a published number.

    ``equal``: reproduced if the number is inside the prediction interval, not reproduced if it is outside, undecided
    if it is inside an interval wider than 0.2 (``WIDEST``). ``above`` and ``below`` (the number is a limit for the
    values): reproduced if the whole interval is on the claimed side, not reproduced if none of it is, else undecided.

    Args:
        values: one for each seed.
        published: the number, in the unit of the values; it counts as rounded to four decimals.
        relation: of the measured to the published number: ``equal``, ``above`` or ``below``.
        fewest: with fewer values than this, 5 by default, the verdict is undecided.
        fraction: whether values are in 0..1; else they are at least 0.

    Returns:
        ``reproduced``, ``not reproduced`` or ``undecided``.

    Example:
        >>> values = [0.50, 0.51, 0.49, 0.50, 0.50]  # the 95 % prediction interval is 0.4785 to 0.5215
        >>> number_verdict(values, 0.52), number_verdict(values, 0.53)
        ('reproduced', 'not reproduced')
        >>> number_verdict(values[:4], 0.5)
        'undecided'
        >>> number_verdict(values, 0.45, "above")
        'reproduced'
    """
    if len(values) < fewest:
        return UNDECIDED
    interval = prediction_interval(values, most=1.0 if fraction else np.inf)
    if relation == "equal":
        if not interval.low - ROUNDING <= published <= interval.high + ROUNDING:
            return NOT_REPRODUCED
        return REPRODUCED if interval.width <= WIDEST * (1.0 if fraction else np.mean(values)) else UNDECIDED
    return _of_direction(Interval(interval.low - published, interval.high - published), relation, 0.0)


def difference_verdict(differences: Sequence[float], relation: str, fewest: int = FEWEST_SEEDS) -> str:
    """Returns the verdict on a claim that one condition is above another, from their differences over the same seeds.

    ``above`` and ``below``: reproduced if the whole interval of the mean difference has that sign, not reproduced if
    it has the other sign, else undecided. ``not above`` and ``not below`` ("does not help"): reproduced if no part of
    the interval exceeds 0.01 (``NEGLIGIBLE``) on that side, not reproduced if all of it does, else undecided.

    Args:
        differences: of accuracy, in -1..1, one for each seed: the first condition minus the second.
        relation: of the first condition to the second: ``above``, ``below``, ``not above`` or ``not below``.
        fewest: with fewer values than this, 5 by default, the verdict is undecided.

    Returns:
        ``reproduced``, ``not reproduced`` or ``undecided``.

    Example:
        >>> differences = [0.01, 0.02, 0.03, 0.02, 0.02]
        >>> difference_verdict(differences, "above"), difference_verdict(differences, "below")
        ('reproduced', 'not reproduced')
        >>> difference_verdict([0.0, 0.001, -0.001, 0.0, 0.0], "not above")
        'reproduced'
    """
    if len(differences) < fewest:
        return UNDECIDED
    return _of_direction(mean_interval(differences), relation, NEGLIGIBLE)


def _of_direction(interval: Interval, relation: str, negligible: float) -> str:
    low, high = interval.low, interval.high
    if relation.endswith("below"):
        low, high = -high, -low
    if relation.startswith("not"):
        return REPRODUCED if high <= negligible else NOT_REPRODUCED if low > negligible else UNDECIDED
    return REPRODUCED if low > 0 else NOT_REPRODUCED if high < 0 else UNDECIDED
