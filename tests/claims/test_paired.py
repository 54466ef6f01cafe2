"""Comparisons without a claim: the words, the level, how many seeds would decide."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from seqadd.claims import paired
from seqadd.config.composition import compose_selection
from seqadd.errors import ConfigError

EXPERIMENTS = Path(__file__).resolve().parents[2] / "experiments"


@pytest.mark.parametrize(
    ("differences", "verdict"),
    [
        ([0.01, 0.02, 0.03, 0.02, 0.02], "above"),
        ([-0.01, -0.02, -0.03, -0.02, -0.02], "below"),
        ([0.001, -0.001, 0.0, 0.001, 0.0], "equal"),
        ([0.004, 0.005, 0.006, 0.005, 0.005], "equal"),  # surely above 0, but by less than a character in a hundred
        ([0.1, -0.1, 0.05, 0.0, 0.02], "undecided"),
        ([0.01, 0.02, 0.03, 0.02], "undecided"),  # fewer than five seeds
        ([], "undecided"),
    ],
)
def test_the_words(differences: list[float], verdict: str) -> None:
    assert paired.verdict(differences) == verdict


def test_the_words_are_those_that_a_claim_would_get() -> None:
    """The committed values of the claim about reversal, compared as columns of a table."""
    with (EXPERIMENTS / "reversal" / "reproduced.csv").open(encoding="utf-8", newline="") as lines:
        rows = [row for row in csv.DictReader(lines) if row["than"] == "reverse=false"]
    assert [row["verdict"] for row in rows if row["verdict"]] == ["reproduced", "undecided", "reproduced"]
    for row in rows:
        differences = {int(seed): float(value) for seed, value in (each.split(":") for each in row["values"].split())}
        selection = compose_selection([f"cell={row['cell']}", "reverse=true,false"])
        values = {(0, seed): 0.5 + value for seed, value in differences.items()} | {
            (1, seed): 0.5 for seed in differences
        }
        (found,) = paired.compare(curves(values), selection, ["reverse=false"], [10]).to_dict("records")
        if row["verdict"]:  # the claim says "above"
            assert found["verdict"] == {"reproduced": "above", "undecided": "undecided"}[row["verdict"]]
        for name in ("mean", "low", "high"):
            assert found[name] == pytest.approx(float(row[name]), abs=2e-6)


def test_of_a_thousand_comparisons_without_a_difference_one_in_twenty_is_decided() -> None:
    rng = np.random.default_rng(1)
    decided = sum(paired.verdict(rng.normal(0, 0.1, size=8).tolist()) != "undecided" for _ in range(1000))
    assert 30 <= decided <= 70  # 50 expected, standard deviation 7


def test_so_many_more_seeds_of_the_same_kind_decide() -> None:
    rng = np.random.default_rng(0)
    few = [0.03, -0.02, 0.01, 0.02, -0.01, 0.01]
    more = paired.seeds_to_decide(few)
    assert more is not None
    n = len(few) + more
    mean, spread = np.mean(few), np.std(few, ddof=1)
    draws = rng.normal(size=(2, n))
    draws = (draws - draws.mean(axis=1, keepdims=True)) / draws.std(axis=1, ddof=1, keepdims=True)
    assert all(paired.verdict((mean + spread * each).tolist()) == "above" for each in draws)
    fewer = (draws[:, :-1] - draws[:, :-1].mean(axis=1, keepdims=True)) / draws[:, :-1].std(
        axis=1, ddof=1, keepdims=True
    )
    assert all(paired.verdict((mean + spread * each).tolist()) == "undecided" for each in fewer)
    assert paired.seeds_to_decide([0.01, 0.02, 0.03, 0.02, 0.02]) == 0
    assert paired.seeds_to_decide([0.01]) is None
    assert paired.seeds_to_decide([1e-9, -1e-9, 1.0, -1.0, 1e-9]) is None


def curves(values: dict[tuple[int, int], float]) -> pd.DataFrame:
    """Values by column and seed, after 10 epochs."""
    rows = [
        {"column": column, "seed": seed, "epoch": 10, "metric": "val_acc", "value": value}
        for (column, seed), value in values.items()
    ]
    return pd.DataFrame(rows)


def test_columns_are_compared_over_the_seeds_that_both_have() -> None:
    selection = compose_selection(["cell=lstm,gru"])
    found = paired.compare(
        curves({(0, 0): 0.5, (0, 1): 0.6, (0, 2): 0.7, (1, 0): 0.4, (1, 1): 0.3, (1, 9): 0.9}),
        selection,
        ["cell=gru"],
        [10],
    )
    (row,) = found.to_dict("records")
    assert (row["condition"], row["than"], row["seeds"], row["verdict"]) == ("lstm", "gru", 2, "undecided")
    assert row["mean"] == pytest.approx(0.2)  # 0.1 and 0.3
    header, line = paired.lay_out(found)
    assert header[:3] == ["epochs", "metric", "difference"]
    assert line[:4] == ["10", "val_acc", "lstm - gru", "+0.2000"]


def test_a_column_is_compared_with_the_one_that_differs_in_the_named_key_alone() -> None:
    selection = compose_selection(["cell=lstm,gru", "reverse=true,false"])
    assert paired.partners(selection, ["cell=gru"]) == {0: 2, 1: 3}
    assert paired.partners(selection, ["cell=gru", "reverse=true"]) == {0: 2, 1: 2, 3: 2}


@pytest.mark.parametrize(
    ("against", "said"),
    [
        (["epochs=3"], "--against epochs=3: the table does not sweep over epochs"),
        (["cell=simple_rnn"], "--against cell=simple_rnn: no column of the table can be compared with it"),
    ],
)
def test_what_cannot_be_compared_is_refused(against: list[str], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        paired.partners(compose_selection(["cell=lstm,gru"]), against)
