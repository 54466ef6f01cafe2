"""Intervals and verdicts: what several seeds say about one published number, or about two conditions.

What each verdict means, and what it does not: docs/verdicts.md. Numbers in, numbers out; reads and writes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

CONFIDENCE = 0.95
#: Fewer seeds than this decide nothing.
FEWEST_SEEDS = 5
#: An interval for a fraction that is wider than this would contain almost anything that could have been published; for
#: anything else, one wider than this share of the mean.
WIDEST = 0.2
#: Differences of accuracy up to one character in a hundred are called none.
NEGLIGIBLE = 0.01
#: Published numbers have four digits behind the point.
ROUNDING = 0.00005

REPRODUCED, NOT_REPRODUCED, UNDECIDED = "reproduced", "not reproduced", "undecided"

#: What a published number can be to the measured one, or one condition to another.
RELATIONS = ("equal", "above", "below", "not above", "not below")


@dataclass(frozen=True)
class Interval:
    """Both ends of a 95 % interval; infinite where one value or none says nothing of the spread."""

    low: float
    high: float

    @property
    def width(self) -> float:
        """From end to end."""
        return self.high - self.low


def prediction_interval(values: Sequence[float], least: float = 0.0, most: float = 1.0) -> Interval:
    """Where one more run of the same law falls in 95 of 100 cases: mean ± t * s * sqrt(1 + 1/n), Student's t, n - 1.

    Args:
        values: one for each seed.
        least, most: what values are possible; the interval is cut there.
    """
    n = len(values)
    if n < 2:
        return Interval(least, most)
    spread = np.std(values, ddof=1) * np.sqrt(1 + 1 / n)
    return _around(values, spread, least, most)


def mean_interval(differences: Sequence[float]) -> Interval:
    """Where the mean difference lies with 95 % confidence: mean ± t * s / sqrt(n), Student's t, n - 1 degrees."""
    n = len(differences)
    if n < 2:
        return Interval(-np.inf, np.inf)
    return _around(differences, np.std(differences, ddof=1) / np.sqrt(n), -np.inf, np.inf)


def _around(values: Sequence[float], spread: float, least: float, most: float) -> Interval:
    from scipy import stats  # here, because importing it takes longer than --help may

    mean = float(np.mean(values))
    reach = float(stats.t.ppf((1 + CONFIDENCE) / 2, len(values) - 1) * spread)
    return Interval(max(least, mean - reach), min(most, mean + reach))


def standardized(differences: Sequence[float]) -> float:
    """Mean difference over its standard deviation, Cohen's d for pairs; NaN where there is no deviation."""
    spread = float(np.std(differences, ddof=1)) if len(differences) > 1 else 0.0
    return float(np.mean(differences)) / spread if spread > 0 else float("nan")


def of_number(
    values: Sequence[float],
    published: float,
    relation: str = "equal",
    fewest: int = FEWEST_SEEDS,
    fraction: bool = True,
) -> str:
    """The verdict on a published number.

    ``equal``: reproduced inside the prediction interval, not reproduced outside; undecided inside one wider than
    ``WIDEST``. ``above`` and ``below`` (the published number is a limit that values pass or stay under): reproduced
    where the whole interval does, not reproduced where none of it does, else undecided.

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
    """The verdict on a claim that one condition is above another, from their differences over the same seeds.

    ``above`` and ``below``: reproduced where the whole interval of the mean difference has that sign, not reproduced
    where it has the other, else undecided. ``not above`` and ``not below`` ("does not help"): reproduced where it
    reaches no farther than ``NEGLIGIBLE`` on that side, not reproduced where all of it is farther, else undecided.
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
