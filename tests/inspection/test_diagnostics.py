"""What looks unhealthy, from tables written by hand."""

import numpy as np
import pandas as pd
import pytest

from seqadd.data.addition import VOCABULARY
from seqadd.data.vocabulary import CHARACTERS
from seqadd.inspection import diagnostics

ANSWERS = VOCABULARY.encode(["12", "34", "56"] * 1000)
FINE = {"acc": {18: 0.5, 20: 0.5}, "val_acc": {18: 0.5, 20: 0.5}}


def saturation_of(part: str, units: list[tuple[float, float, bool]]) -> pd.DataFrame:
    return pd.DataFrame(
        [
            {"layer": "lstm_1", "part": part, "unit": unit, "low": low, "high": high, "moves": moves}
            for unit, (low, high, moves) in enumerate(units)
        ]
    )


def warnings(saturation=None, weights=None, guesses=ANSWERS, history=FINE) -> list[str]:
    if saturation is None:
        saturation = saturation_of("state", [(0.0, 0.0, True)])
    return diagnostics.warnings(saturation, weights or {}, guesses, ANSWERS, history, alphabet=CHARACTERS)


def test_a_healthy_model_gets_no_warning():
    assert warnings() == []


def test_gates_that_have_decided_are_no_fault():
    assert warnings(saturation_of("input_gate", [(0.05, 0.94, True)] * 10)) == []


@pytest.mark.parametrize(
    ("part", "units", "warning"),
    [
        ("state", [(0, 0, True)] * 9 + [(0, 0, False)], "lstm_1, state: 1 of 10 units are constant for all sums"),
        (
            "input_gate",
            [(0, 1, True)] * 5 + [(0, 0, True)] * 5,
            "lstm_1, input_gate: 5 of 10 units are saturated at one limit for all sums",
        ),
        ("state", [(0.5, 0.4, True)] * 10, "lstm_1, state: 90 % of the values are saturated"),
    ],
)
def test_units_that_are_stuck_still_or_saturated(part, units, warning):
    assert warnings(saturation_of(part, units)) == [warning]


def test_three_stuck_gates_of_ten_are_no_reason_to_worry():
    assert warnings(saturation_of("input_gate", [(0, 1, False)] * 3 + [(0, 0, True)] * 7)) == []


def test_weights_that_are_no_numbers():
    assert warnings(weights={"lstm_1/kernel": np.array([[1.0, np.nan], [np.inf, 0.0]])}) == [
        "lstm_1/kernel: 2 of 4 weights are not finite"
    ]


def test_a_model_that_says_the_same_to_everything():
    no_better = "accuracy 0.33 is hardly above 0.33, that of the most frequent character per position"
    assert warnings(guesses=VOCABULARY.encode(["12", "12", "12"] * 1000)) == [
        no_better,
        "the answer is the same for every sum",
    ]
    assert warnings(guesses=VOCABULARY.encode(["12", "34", "52"] * 1000)) == []
    assert warnings(guesses=VOCABULARY.encode(["1 ", "3 ", "5 "] * 1000)) == [
        "the character is the same for every sum at position 2 (' ')"
    ]


def test_sums_learnt_by_heart_and_training_that_ended_early():
    by_heart = {"acc": {20: 0.8}, "val_acc": {20: 0.7}}
    assert warnings(history=by_heart) == ["acc is 0.10 above val_acc: overfitting"]
    early = {"acc": {18: 0.5, 20: 0.6}, "val_acc": {18: 0.5, 20: 0.6}}
    assert warnings(history=early) == ["val_acc rose by 0.10 in the last 2 epochs: not converged"]


def test_the_summary_counts_units():
    table = saturation_of("state", [(1.0, 0.0, False), (0.0, 0.5, True)])
    assert diagnostics.summary(table).to_dict("records") == [
        {"layer": "lstm_1", "part": "state", "units": 2, "low": 0.5, "high": 0.25, "stuck": 1, "still": 1}
    ]


def test_what_does_not_count_says_nothing_of_a_model_that_ends_its_answers():
    answers = VOCABULARY.encode(["12  ", "34  ", "5   "] * 1000)
    counts = np.array([[True, True, True, False], [True, True, True, False], [True, True, False, False]] * 1000)
    guesses = VOCABULARY.encode(["18  ", "38  ", "18  "] * 1000)
    fine = saturation_of("state", [(0.0, 0.0, True)])
    said = diagnostics.warnings(fine, {}, guesses, answers, FINE, counts, alphabet=CHARACTERS)
    # Of 8 characters that count 2 + 2 + 0 are right; the most frequent ones at each place are 1 + 1 + 2.
    assert said == [
        "accuracy 0.50 is hardly above 0.50, that of the most frequent character per position",
        "the character is the same for every sum at position 2 ('8')",
    ]


def test_a_difference_that_may_be_chance_or_comes_after_few_epochs_says_nothing():
    early = {"acc": {19: 0.9}, "val_acc": {19: 0.7}}
    assert warnings(history=early) == []
    # 22 held-out characters: one standard error is .1
    few = diagnostics.warnings(
        saturation_of("state", [(0.0, 0.0, True)]),
        {},
        ANSWERS[:11],
        ANSWERS[:11],
        {"acc": {20: 0.9}, "val_acc": {20: 0.7}},
        alphabet=CHARACTERS,
    )
    assert few == []
