"""The names of metrics in MLflow, whose page shows each prefix before a slash as a section of charts.

The metrics that most readers want (``acc``, ``val_acc``, ``loss``, ``val_loss``, ``val_exact_match``) have no
prefix, and so share a section with no others. Only the store uses these names; code, files and commands use seqadd's
own.
"""

from __future__ import annotations

import re

#: The metric with the seconds of all epochs so far; a run's duration in MLflow includes the time of interruptions.
TRAIN_SECONDS = "train_seconds"

# How names begin: seqadd's and MLflow's.
_PREFIXES = (
    ("val_acc_position_", "position/val_acc_"),
    ("val_acc_teacher_forced", "teacher_forced/val_acc"),
    ("binary_accuracy", "binary/accuracy"),
    ("val_binary_accuracy", "binary/val_accuracy"),
    ("epoch_seconds", "timing/epoch_seconds"),
    (TRAIN_SECONDS, f"timing/{TRAIN_SECONDS}"),
    ("sweep_", "sweep/"),
    ("best_", "search/best_"),
    ("pruned_trials", "search/pruned_trials"),
)

# A metric of the questions with a number of a group of the task, such as carries: its section is the group.
_OURS = re.compile(r"val_exact_match_(?P<group>\w+)_(?P<number>\d+)")
_THEIRS = re.compile(r"(?P<group>\w+)/val_exact_match_(?P<number>\d+)")


def to_mlflow(name: str) -> str:
    """Returns the name under which the store keeps a metric.

    Example:
        >>> to_mlflow("val_acc_position_1"), to_mlflow("val_acc")
        ('position/val_acc_1', 'val_acc')
        >>> to_mlflow("val_exact_match_carries_2")
        'carries/val_exact_match_2'
    """
    if found := _OURS.fullmatch(name):
        return f"{found['group']}/val_exact_match_{found['number']}"
    for ours, theirs in _PREFIXES:
        if name.startswith(ours):
            return theirs + name.removeprefix(ours)
    return name


def from_mlflow(name: str) -> str:
    """Returns seqadd's name of a metric in the store; names of older stores, which have no sections, are seqadd's.

    Example:
        >>> from_mlflow("position/val_acc_1"), from_mlflow("val_acc_position_1")
        ('val_acc_position_1', 'val_acc_position_1')
    """
    if found := _THEIRS.fullmatch(name):
        return f"val_exact_match_{found['group']}_{found['number']}"
    for ours, theirs in _PREFIXES:
        if name.startswith(theirs):
            return ours + name.removeprefix(theirs)
    return name
