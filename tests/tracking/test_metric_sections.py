"""Metrics have sections in MLflow and their own names everywhere else."""

import pytest
from conftest import make_config

from seqadd.tracking.metric_sections import from_mlflow, to_mlflow
from seqadd.training.metric_names import is_metric, lacks_group


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ("val_acc", "val_acc"),
        ("val_exact_match", "val_exact_match"),
        ("val_acc_position_1", "position/val_acc_1"),
        ("val_exact_match_carries_2", "carries/val_exact_match_2"),
        ("val_exact_match_digits_10", "digits/val_exact_match_10"),
        ("val_exact_match_longest_run_3", "longest_run/val_exact_match_3"),
    ],
)
def test_a_metric_comes_back_under_its_own_name(ours, theirs):
    assert to_mlflow(ours) == theirs
    assert from_mlflow(theirs) == from_mlflow(ours) == ours
    assert is_metric(ours)


def test_sums_have_no_groups_of_another_task():
    sums, products = make_config(), make_config("task=multiplication")
    assert lacks_group("val_exact_match_borrows_1", sums)
    assert not lacks_group("val_exact_match_carries_1", sums)
    assert not lacks_group("val_exact_match_borrows_1", products)  # only its data knows
    assert not is_metric("val_exact_match_borrows")
