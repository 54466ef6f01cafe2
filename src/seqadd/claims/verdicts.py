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
    """Both ends of a 95 % interval; fewer than two values give the widest possible one, as their spread is unknown."""

    low: float
    high: float

    @property
    def width(self) -> float:
        """The difference between both ends."""
        return self.high - self.low


def prediction_interval(values: Sequence[float], least: float = 0.0, most: float = 1.0) -> Interval:
    """Returns the 95 % prediction interval of one more run: mean ± t * s * sqrt(1 + 1/n), Student's t, n - 1 degrees.

    Args:
        values: one for each seed.
        least, most: the range of possible values; the interval is clipped to it.
    """
    n = len(values)
    if n < 2:
        return Interval(least, most)
    spread = np.std(values, ddof=1) * np.sqrt(1 + 1 / n)
    return _around(values, spread, least, most)


def mean_interval(differences: Sequence[float]) -> Interval:
    """Returns the 95 % confidence interval of the mean: mean ± t * s / sqrt(n), Student's t, n - 1 degrees."""
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


def of_number(
    values: Sequence[float],
    published: float,
    relation: str = "equal",
    fewest: int = FEWEST_SEEDS,
    fraction: bool = True,
) -> str:
    """Returns the verdict on a published number.

    ``equal``: reproduced if the number is inside the prediction interval, not reproduced if it is outside, undecided
    if it is inside an interval wider than ``WIDEST``. ``above`` and ``below`` (the number is a limit for the values):
    reproduced if the whole interval is on the claimed side, not reproduced if none of it is, else undecided.

    Args:
        values: one for each seed.
        published: the number.
        relation: of the measured to the published number, see ``RELATIONS``.
        fewest: with fewer values than this the verdict is undecided.
        fraction: whether values are in 0..1; else they are at least 0.
    """
    if len(values) < fewest:
        return UNDECIDED
    interval = prediction_interval(values, most=1.0 if fraction else np.inf)
    if relation == "equal":
        if not interval.low - ROUNDING <= published <= interval.high + ROUNDING:
            return NOT_REPRODUCED
        return REPRODUCED if interval.width <= WIDEST * (1.0 if fraction else np.mean(values)) else UNDECIDED
    return _of_direction(Interval(interval.low - published, interval.high - published), relation, 0.0)


def of_difference(differences: Sequence[float], relation: str, fewest: int = FEWEST_SEEDS) -> str:
    """Returns the verdict on a claim that one condition is above another, from their differences over the same seeds.

    ``above`` and ``below``: reproduced if the whole interval of the mean difference has that sign, not reproduced if
    it has the other sign, else undecided. ``not above`` and ``not below`` ("does not help"): reproduced if no part of
    the interval exceeds ``NEGLIGIBLE`` on that side, not reproduced if all of it does, else undecided.
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
