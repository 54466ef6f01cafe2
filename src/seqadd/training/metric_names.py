"""Names of the metrics that runs record."""

from __future__ import annotations

import re
from collections.abc import Iterable

from seqadd.config.schema import Config

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


# The groups of sums; other tasks name their own.
_GROUPS_OF_SUMS = ("carries", "digits")


def is_metric(name: str) -> bool:
    """Whether runs of some task can have a metric of this name; see ``lacks_group``."""
    return name in METRICS or re.fullmatch(r"val_acc_position_\d+|val_exact_match_[a-z]\w*_\d+", name) is not None


def shown_first(configs: Iterable[Config]) -> str | None:
    """The metric that tables and figures of these configurations show first, as their own task wants it; else None."""
    tasks = [config.part("task") for config in configs]
    curves = {None if task is None else str(task.settings["curve"]) for task in tasks}
    return curves.pop() if len(curves) == 1 else None


def lacks_group(name: str, config: Config) -> bool:
    """Whether a metric is one of a group that the task of a configuration lacks, as far as can be known without it."""
    found = re.fullmatch(r"val_exact_match_(\w+)_\d+", name)
    return found is not None and config.task.name is None and found[1] not in _GROUPS_OF_SUMS
