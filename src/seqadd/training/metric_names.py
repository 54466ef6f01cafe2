"""Names of the metrics that runs record."""

from __future__ import annotations

import re

METRICS = (
    "acc",
    "val_acc",
    "val_acc_teacher_forced",
    "val_exact_match",
    "loss",
    "val_loss",
    "binary_accuracy",
    "val_binary_accuracy",
    "epoch_seconds",
)


def is_metric(name: str) -> bool:
    """Whether runs have a metric of this name."""
    return (
        name in METRICS or re.fullmatch(r"val_acc_position_\d+|val_exact_match_(carries|digits)_\d+", name) is not None
    )
