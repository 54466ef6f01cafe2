"""From values by seed to the files that say what became of a claim."""

import math

import pandas as pd
import pytest
from claim_folders import make_claim

from seqadd.claims import loading, results, tables
from seqadd.claims.claim import base_metric
from seqadd.reporting import markup


def runs_by(commit: str = "abc") -> pd.DataFrame:
    rows = [
        {"condition": label, "seed": str(seed), "epochs": "3", "seconds_per_epoch": "2.0", "commit": commit,
         "versions": "Keras 3", "machine": "here", "data_digest": "ab", "first_losses": f"{label} {seed}"}
        for label in ("reverse=true", "reverse=false")
        for seed in (0, 1)
    ]  # fmt: skip
    return pd.DataFrame(rows)


CURVE = {1: 0.3, 2: 0.95, 3: 0.91, 4: 0.5}


@pytest.mark.parametrize(
    ("metric", "epochs", "value"),
    [
        ("acc", 3, 0.91),
        ("acc", 5, math.nan),
        ("best_acc", 4, 0.95),
        ("best_acc", 1, 0.3),
        ("epochs_until_acc_0.9", 4, 2.0),
        ("epochs_until_acc_0.9", 1, math.nan),
    ],
)
def test_metrics_of_statements_follow_from_a_runs_curve(metric, epochs, value):
    assert base_metric(metric) == "acc"
    assert results.measure(metric, CURVE, epochs) == pytest.approx(value, nan_ok=True)


def test_rows_have_statistics_place_and_verdict(tmp_path):
    claim = loading.read(make_claim(tmp_path))
    rows = results.results(claim, [{0: 0.39, 1: 0.41}, {1: 0.2, 0: 0.1}, {0: 0.5}], runs_by())
    number, direction, measured = rows.to_dict("records")
    assert (number["seeds"], number["mean"], number["std"]) == ("2", "0.4", "0.014142")
    assert (number["min"], number["max"], number["below"]) == ("0.39", "0.41", "1")
    # t for one degree of freedom is 12.706; times .014142 times the root of 1.5 that is .22
    assert (number["low"], number["high"], number["verdict"]) == ("0.179922", "0.620078", "undecided")
    assert (direction["mean"], direction["values"], direction["verdict"]) == ("0.15", "0:0.1 1:0.2", "undecided")
    assert (direction["below"], direction["effect"]) == ("0", "2.12132")
    assert (measured["mean"], measured["std"], measured["verdict"]) == ("0.5", "", "")
    assert set(rows["commit"]) == {"abc"}


def test_all_that_is_written_follows_from_the_values_that_are_written(tmp_path):
    claim = loading.read(make_claim(tmp_path))
    rows = results.results(claim, [{0: 1 / 3, 1: 2 / 3}, {0: 1e-7, 1: 0.2}, {}], runs_by())
    again = [results.written_values(text) for text in rows["values"]]
    assert results.to_csv(results.results(claim, again, runs_by())) == results.to_csv(rows)


def test_the_table_says_what_is_missing_and_what_was_claimed(tmp_path):
    claim = loading.read(make_claim(tmp_path))
    text = tables.table(claim, results.results(claim, [{0: 0.39, 1: 0.41}, {0: 0.1, 1: 0.2}, {}], runs_by()))
    assert "| reverse=true | 3 | `val_acc` | 0.4 | 0.4000 ± 0.0141 | 0.3900 to 0.4100 |" in text
    assert "| reverse=true | 2 | `val_acc` | above reverse=false | +0.1500 ± 0.0707 |" in text
    assert "| reverse=true | 3 | `best_acc` | missing |  | 0 of 2 |" in text


def test_a_mean_is_that_of_the_numbers_as_they_are_written(tmp_path):
    """0.1 + 0.2 is not 0.3 in floats, and half of the sixth digit goes to the even one."""
    claim = loading.read(make_claim(tmp_path))
    rows = results.results(claim, [{0: 0.100001, 1: 0.1}, {0: 0.100003, 1: 0.1}, {}], runs_by())
    assert rows["mean"].tolist() == ["0.1", "0.100002", ""]


def test_runs_that_claims_share_cost_once():
    longer = runs_by().assign(epochs="5")
    assert results.seconds(pd.concat([runs_by(), longer])) == 4 * 5 * 2.0


def test_what_others_wrote_to_a_store_cannot_act():
    assert markup.sanitize('<b>&"\n![a](b)|`') == "?b??????a?(b)??"


def test_costs_are_of_one_processor_and_in_words(tmp_path):
    assert results.seconds(runs_by()) == 4 * 3 * 2.0
    assert [tables.duration(s) for s in (35, 59.4, 60, 3599, 3600, 12_000)] == [
        "35 s", "59 s", "1 min", "1 h 0 min", "1 h 0 min", "3 h 20 min",
    ]  # fmt: skip
    claim = loading.read(make_claim(tmp_path))
    rows = results.results(claim, [{0: 0.39, 1: 0.41}, {0: 0.1, 1: 0.2}, {}], runs_by())
    assert "**0 of 2 reproduced, 2 undecided**" in tables.summary(rows, runs_by())
    assert "4 runs, 24 s of one processor; commit abc;" in tables.summary(rows, runs_by())
