"""Notes below a table: the runs that count, the runs that do not and why, and other runs for a filter."""

from __future__ import annotations

import collections
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from seqadd.comparison.curves import BEST, ConditionRuns
from seqadd.comparison.table import ARTICLE_EPOCHS
from seqadd.config.composition import Selection
from seqadd.config.differences import differences
from seqadd.config.schema import override_text
from seqadd.errors import ConfigError
from seqadd.reporting.markup import sanitize
from seqadd.tracking.run_filter import ALL_RUNS, RunFilter

if TYPE_CHECKING:
    import pandas as pd

    from seqadd.tracking.store import RunRecord

_WITH_FLAGS = "trained with flags that can change numbers (--tag flags=VALUE includes them)"
_MOST_NAMED = 8  # names in a line below the table; the line gives only the number of the others


def notes(
    curves: pd.DataFrame,
    selection: Selection,
    metrics: Sequence[str],
    run_filter: RunFilter = ALL_RUNS,
    *,
    published: bool = True,
) -> list[str]:
    """Returns the notes on a table's numbers: condition, filter, seeds, users, commits, versions, machines.

    Args:
        curves: the values in the table, as of ``learning_curves``.
        selection: the columns and seeds.
        metrics: names of the metrics.
        run_filter: which runs count.
        published: whether the table has published numbers.
    """
    shared = _shared(selection)
    condition = f"in every column {' '.join(f'{key}={text}' for key, text in shared.items())}; " if shared else ""
    lines = [f"fields: ({', '.join(metrics)}); {condition}all other keys have default values"]
    experiments = {column.config.tracking.experiment for column in selection.columns}
    if any(override.startswith("tracking.experiment=") for override in selection.columns[0].overrides):
        lines.append(f"experiment: {_listed(sorted(experiments))}")
    if run_filter:
        lines.append(f"only runs of {run_filter}")
    if curves.empty:
        return lines
    if (curves["epoch"] == BEST).any():
        lines.append("best: of each run the epoch with the highest val_acc, so this val_acc is higher than on new sums")
    seeds = [sorted(curves.loc[curves["column"] == i, "seed"].unique()) for i in range(len(selection.columns))]
    if any(len(each) > 1 for each in seeds):
        difference = "; difference: measured - published" if published else ""
        lines.append(f"measured: mean over n seeds; spread: their standard deviation{difference}")
    named = [
        f"{column.label}{':' * (' ' in column.label)} {_listed(map(str, each), ', ', 20) or 'none'}"
        for column, each in zip(selection.columns, seeds, strict=True)
    ]
    lines.append(f"seeds: {_listed(named)}")
    if curves["user"].nunique() > 1:
        lines.append(f"user: {_listed(_by_runs(curves, 'user'))}")
    of_commit = curves.groupby("commit")["code"].transform("nunique")
    # One commit can have several codes, for example after edits that were not committed.
    curves = curves.assign(commit=curves["commit"].where(of_commit == 1, curves["commit"] + ", code " + curves["code"]))
    for what in ("commit", "versions", "machine"):
        lines.append(f"{what}: {_listed(_by_runs(curves, what))}")
    return lines


def _shared(selection: Selection) -> dict[str, str]:
    """The keys that differ from the defaults in the same way in all columns, and are not swept over."""
    of_columns = [
        {key: override_text(value) for key, value in column.config.condition().items()} for column in selection.columns
    ]
    each = differences(of_columns)
    every = [values | own for values, own in zip(of_columns, each, strict=True)]  # with the name of the task
    return {
        key: text
        for own in each
        for key, text in own.items()
        if key not in selection.columns[0].swept and all(values.get(key) == text for values in every)
    }


def _listed(names: Iterable[str], between: str = "; ", most: int = _MOST_NAMED) -> str:
    """Joins at most ``most`` names, and appends how many more there are."""
    every = list(names)
    more = f"{between}and {len(every) - most} more" if len(every) > most else ""
    return between.join(every[:most]) + more


def _by_runs(curves: pd.DataFrame, what: str) -> list[str]:
    """Returns the values of a column of ``learning_curves``: sorted, or the most frequent first if there are many."""
    runs = curves.drop_duplicates("run_id")[what].value_counts()
    return sorted(runs.index) if len(runs) <= _MOST_NAMED else [str(name) for name in runs.index]


def excluded_runs(
    found: Sequence[ConditionRuns], selection: Selection, curves: pd.DataFrame, epochs: Sequence[int] = ARTICLE_EPOCHS
) -> list[str]:
    """Lists the runs that do not count, a line for each reason: not finished, no metrics, no seed or epochs, flags."""
    unfinished, empty, strange, with_flags = [], [], [], []
    for index, (column, here) in enumerate(zip(selection.columns, found, strict=True)):
        counted = {run.tags.get("config_hash") for run in here.runs.finished}
        for run in here.runs.unfinished:
            wanted = selection.seeds is None or run.params.get("seed", "") in map(str, selection.seeds)
            if wanted and run.tags.get("config_hash") not in counted:
                unfinished.append(f"{column.label} seed {sanitize(run.params.get('seed', 'unknown'))} {run.status}")
        with_numbers = set(curves.loc[curves["column"] == index, "seed"])
        for run in here.runs.finished:
            seed = int(run.params["seed"])
            wanted = selection.seeds is None or seed in selection.seeds
            if wanted and int(run.params["epochs"]) >= min(epochs) and seed not in with_numbers:
                empty.append(f"{column.label} seed {seed}")
        strange += [f"{column.label} run {run.run_id}" for run in here.runs.strange]
        with_flags += [
            f"{column.label} seed {run.params['seed']}"
            for run in here.runs.with_flags
            if selection.seeds is None or int(run.params["seed"]) in selection.seeds
        ]
    reasons = {
        "not counted, not finished": unfinished,
        "finished, but without these metrics": empty,
        "not counted, without a recorded seed or number of epochs": strange,
        f"{len(with_flags)} not counted, {_WITH_FLAGS}": with_flags,
    }
    lines = []
    for reason, runs in reasons.items():
        counts = collections.Counter(runs).items()
        if runs:
            lines.append(f"{reason}: {_listed(f'{name} ({n} times)' if n > 1 else name for name, n in counts)}")
    return lines


def alternatives(found: Sequence[ConditionRuns], selection: Selection, run_filter: RunFilter) -> list[str]:
    """Describes the existing runs of each column in which no run matches the filter; a line for each such column.

    Raises:
        ConfigError: when no column has a matching run.
    """
    others = {}
    for column, here in zip(selection.columns, found, strict=True):
        if not here.runs.finished:
            recorded = here.store.filtered(ALL_RUNS).of_condition(column.config.condition_hash())
            others[column.label] = recorded.finished + recorded.with_flags
    if len(others) == len(found):
        every = [run for runs in others.values() for run in runs]
        wanted = f"no finished run of {_listed(others, ', ')} matches; {_filter_note(every, run_filter)}"
        raise ConfigError(f"{run_filter.as_options()}: {wanted}")
    return [f"{label}: no finished run matches; {_filter_note(runs, run_filter)}" for label, runs in others.items()]


def _filter_note(runs: Sequence[RunRecord], run_filter: RunFilter) -> str:
    if not runs:
        return "there is no other run; python -m seqadd.run trains one"
    values = {
        "user": [run.user for run in runs],
        "commit": [run.tags.get("git_commit", "unknown")[:12] for run in runs],
        **{f"tag {key}": [run.tags.get(key, "none") for run in runs] for key, _ in run_filter.tags},
    }
    parts = []
    for what, each in values.items():
        counts = collections.Counter(map(sanitize, each)).most_common()
        parts.append(f"{what} " + _listed((f"{value} ({n})" for value, n in counts), ", "))
    return f"without the filter: {len(runs)} runs, {'; '.join(parts)}"
