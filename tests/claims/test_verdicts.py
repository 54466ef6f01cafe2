"""Intervals against Student's table and against simulation; verdicts by what they promise."""

import math

import numpy as np
import pytest

from seqadd.claims import verdicts
from seqadd.claims.verdicts import NOT_REPRODUCED, REPRODUCED, UNDECIDED

# Mean .5, standard deviation .01: five values whose squares are easily added.
FIVE = [0.5 - 0.01 * math.sqrt(2), 0.5, 0.5, 0.5, 0.5 + 0.01 * math.sqrt(2)]


def test_the_prediction_interval_is_that_of_students_table():
    interval = verdicts.prediction_interval(FIVE)  # t for 4 degrees of freedom, 97.5 %: 2.776
    reach = 2.7764 * 0.01 * math.sqrt(1 + 1 / 5)
    assert (interval.low, interval.high) == pytest.approx((0.5 - reach, 0.5 + reach), abs=1e-6)
    assert interval.width == pytest.approx(0.060829, abs=1e-6)


def test_the_interval_of_a_mean_is_that_of_students_table():
    interval = verdicts.mean_interval([1.0, 2.0, 3.0])  # t for 2 degrees of freedom, 97.5 %: 4.303
    assert (interval.low, interval.high) == pytest.approx(
        (2 - 4.3027 / math.sqrt(3), 2 + 4.3027 / math.sqrt(3)), abs=1e-4
    )


def test_of_a_hundred_further_runs_ninety_five_fall_into_the_prediction_interval():
    rng = np.random.default_rng(0)
    inside = 0
    for _ in range(4000):
        *seeds, another = rng.normal(0.5, 0.02, size=6)
        interval = verdicts.prediction_interval(seeds)
        inside += interval.low <= another <= interval.high
    assert inside / 4000 == pytest.approx(0.95, abs=0.01)  # three standard deviations of a share of 4,000


def test_an_interval_is_cut_at_what_is_possible_and_one_value_says_nothing():
    assert verdicts.prediction_interval([0.99, 1.0, 0.98, 1.0]).high == 1.0
    assert verdicts.prediction_interval([0.5]) == verdicts.Interval(0.0, 1.0)
    assert verdicts.mean_interval([0.5]) == verdicts.Interval(-math.inf, math.inf)


def test_a_number_inside_is_reproduced_and_outside_not():
    assert verdicts.number_verdict(FIVE, 0.53) == REPRODUCED
    assert verdicts.number_verdict(FIVE, 0.5305) == NOT_REPRODUCED
    assert verdicts.number_verdict(FIVE, 0.4695) == NOT_REPRODUCED


def test_a_published_number_is_rounded_to_four_digits():
    alike = [0.25, 0.25, 0.25, 0.25, 0.25]
    assert verdicts.number_verdict(alike, 0.25004) == REPRODUCED
    assert verdicts.number_verdict(alike, 0.25006) == NOT_REPRODUCED


def test_an_interval_wider_than_a_fifth_decides_only_what_is_outside():
    wide = [0.3, 0.4, 0.5, 0.6, 0.7]  # its interval is .019 to .981
    assert verdicts.number_verdict(wide, 0.5) == UNDECIDED
    assert verdicts.number_verdict(wide, 0.99) == NOT_REPRODUCED


def test_fewer_seeds_than_five_or_than_asked_for_decide_nothing():
    assert verdicts.number_verdict(FIVE[:4], 0.5) == UNDECIDED
    assert verdicts.number_verdict(FIVE, 0.5, fewest=10) == UNDECIDED
    assert verdicts.difference_verdict([0.1, 0.1, 0.11, 0.1], "above") == UNDECIDED


def test_a_limit_is_passed_by_the_whole_interval_by_none_of_it_or_by_some():
    assert [verdicts.number_verdict(FIVE, limit, "above") for limit in (0.46, 0.5, 0.54)] == [
        REPRODUCED,
        UNDECIDED,
        NOT_REPRODUCED,
    ]
    assert [verdicts.number_verdict(FIVE, limit, "below") for limit in (0.46, 0.5, 0.54)] == [
        NOT_REPRODUCED,
        UNDECIDED,
        REPRODUCED,
    ]


UP, DOWN, NEITHER = [0.1, 0.2, 0.15, 0.1, 0.2], [-0.1, -0.2, -0.15, -0.1, -0.2], [0.1, -0.2, 0.15, -0.1, 0.05]
SURE_BUT_SMALL = [0.003, 0.0035, 0.004, 0.003, 0.0035]
TINY = [0.001, -0.002, 0.002, -0.001, 0.0]


@pytest.mark.parametrize(
    ("relation", "up", "down", "neither", "tiny"),
    [
        ("above", REPRODUCED, NOT_REPRODUCED, UNDECIDED, UNDECIDED),
        ("below", NOT_REPRODUCED, REPRODUCED, UNDECIDED, UNDECIDED),
        ("not above", NOT_REPRODUCED, REPRODUCED, UNDECIDED, REPRODUCED),
        ("not below", REPRODUCED, NOT_REPRODUCED, UNDECIDED, REPRODUCED),
    ],
)
def test_a_direction_is_that_of_the_whole_interval(relation, up, down, neither, tiny):
    assert [verdicts.difference_verdict(each, relation) for each in (UP, DOWN, NEITHER, TINY)] == [
        up,
        down,
        neither,
        tiny,
    ]


def test_a_difference_that_is_sure_but_below_a_hundredth_is_none():
    assert verdicts.difference_verdict(SURE_BUT_SMALL, "not above") == REPRODUCED
    assert verdicts.difference_verdict([5 * each for each in SURE_BUT_SMALL], "not above") == NOT_REPRODUCED
    assert verdicts.difference_verdict([3 * each for each in SURE_BUT_SMALL], "not above") == UNDECIDED
    assert verdicts.difference_verdict(SURE_BUT_SMALL, "above") == REPRODUCED


def test_numbers_that_are_no_fractions_are_judged_by_their_own_size():
    losses = [1.2, 1.3, 1.25, 1.22, 1.28]  # its interval is 1.12 to 1.38, which is wider than a fifth of its mean
    assert verdicts.number_verdict(losses, 1.25, fraction=False) == UNDECIDED
    assert verdicts.number_verdict(losses, 1.39, fraction=False) == NOT_REPRODUCED
    epochs = [300.0, 305.0, 310.0, 302.0, 308.0]
    assert verdicts.number_verdict(epochs, 305, fraction=False) == REPRODUCED
    assert verdicts.number_verdict(epochs, 325, fraction=False) == NOT_REPRODUCED


def test_the_effect_is_the_mean_difference_in_standard_deviations():
    assert verdicts.standardized([0.1, 0.2, 0.3]) == pytest.approx(2.0)
    assert math.isnan(verdicts.standardized([0.1, 0.1]))
