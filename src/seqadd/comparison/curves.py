"""Learning curves of many runs, from the store, as one DataFrame."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from seqadd.config.composition import Selection
from seqadd.reporting.markup import sanitize
from seqadd.tracking.database import check_database
from seqadd.tracking.provenance import PARAMETERS, origin
from seqadd.tracking.run_filter import RunFilter

if TYPE_CHECKING:
    import pandas as pd

    from seqadd.tracking.store import RunRecord, RunsByStatus, Store


#: The median of the seconds of the epochs so far.
MEDIAN_SECONDS = "median_epoch_seconds"
#: Metrics that follow from what runs record.
DERIVED = (PARAMETERS, MEDIAN_SECONDS)
#: In place of an epoch: the one with the highest ``val_acc`` of each run.
BEST = "best"


@dataclass(frozen=True)
class ConditionRuns:
    """The recorded runs of a column, and their store."""

    store: Store
    runs: RunsByStatus


def open_stores(selection: Selection, run_filter: RunFilter) -> dict[tuple[str, str], Store]:
    """Opens the store of each column, by URI and experiment.

    Raises:
        ConfigError: when a store or an experiment does not exist.
    """
    for column in selection.columns:
        check_database(column.config.tracking, create=False)
    from seqadd.tracking import connection

    stores: dict[tuple[str, str], Store] = {}
    for column in selection.columns:
        where = column.config.tracking
        if (where.uri, where.experiment) not in stores:
            stores[where.uri, where.experiment] = connection.connect(where, create=False, run_filter=run_filter)
    return stores


def find_runs(selection: Selection, run_filter: RunFilter) -> list[ConditionRuns]:
    """Finds the recorded runs of each column.

    Raises:
        ConfigError: when a store or an experiment does not exist.
    """
    found: dict[int, ConditionRuns] = {}
    for (uri, experiment), store in open_stores(selection, run_filter).items():
        of_store = {
            index: column.config.condition_hash()
            for index, column in enumerate(selection.columns)
            if (column.config.tracking.uri, column.config.tracking.experiment) == (uri, experiment)
        }
        each = store.each(store.of_condition, of_store.values())
        found |= {index: ConditionRuns(store, runs) for index, runs in zip(of_store, each, strict=True)}
    return [found[index] for index in range(len(selection.columns))]


def longest_runs(found: Sequence[ConditionRuns], selection: Selection) -> list[dict[int, int]]:
    """Returns for each column the epochs of the longest finished run of each selected seed: ``[{0: 200, 1: 50}]``."""
    longest: list[dict[int, int]] = []
    for here in found:
        longest.append({})
        for run in here.runs.finished:
            seed = int(run.params["seed"])
            if selection.seeds is None or seed in selection.seeds:
                longest[-1][seed] = max(int(run.params["epochs"]), longest[-1].get(seed, 0))
    return longest


@dataclass(frozen=True)
class _MetricReader:
    """The runs of a column and seed that are not read yet, oldest first, and the values read so far."""

    column: int
    seed: int
    runs: list[RunRecord]
    values: dict[tuple[int, str], tuple[float, RunRecord]]

    def ask_next(self, wanted: Sequence[int] | None, metrics: Sequence[str]) -> list[tuple[RunRecord, str]]:
        """Takes the newest run that may have missing values off the list; returns it once for each such metric."""
        while self.runs:
            run = self.runs.pop()
            last = int(run.params["epochs"])
            epochs = range(1, last + 1) if wanted is None else [epoch for epoch in wanted if epoch <= last]
            unknown = [
                (run, metric)
                for metric in metrics
                if _has(run, metric) and any((epoch, metric) not in self.values for epoch in epochs)
            ]
            if unknown:
                return unknown
        return []


def learning_curves(
    found: Sequence[ConditionRuns], selection: Selection, metrics: Sequence[str], epochs: Sequence[int] | None = None
) -> pd.DataFrame:
    """Returns the metrics of the selected conditions, epoch by epoch.

    Args:
        found: the recorded runs of each column.
        selection: the columns and seeds.
        metrics: names of the metrics.
        epochs: the epochs to read; None for all. Runs are read only while values are missing, so many runs of the same
            configuration take no longer than one.

    Returns:
        One row for each value, with the columns ``column`` (its index in the selection), ``seed``, ``epoch`` (from
        1), ``metric``, ``value``, ``run_id``, ``user``, ``commit``, ``code``, ``versions`` and ``machine``. Where a
        seed was run more than once, the newest run that reached an epoch counts.
    """
    import pandas as pd

    curves = []
    for index, column in enumerate(found):
        by_seed: dict[int, list[RunRecord]] = {}
        for each in column.runs.finished:
            by_seed.setdefault(int(each.params["seed"]), []).append(each)
        wanted = selection.seeds or sorted(by_seed)
        curves += [_MetricReader(index, seed, by_seed[seed], {}) for seed in wanted if seed in by_seed]
    while requests := [(curve, *each) for curve in curves for each in curve.ask_next(epochs, metrics)]:
        for store in dict.fromkeys(column.store for column in found):
            here = [(curve, run, metric) for curve, run, metric in requests if found[curve.column].store is store]
            histories = store.each(functools.partial(_history, store), [(run, metric) for _, run, metric in here])
            for (curve, run, metric), values in zip(here, histories, strict=True):
                for epoch, value in values.items():
                    if (epochs is None or epoch in epochs) and not math.isnan(value):
                        curve.values.setdefault((epoch, metric), (value, run))
    rows = [
        {"column": curve.column, "seed": curve.seed, "epoch": epoch, "metric": metric, "value": value, **_origin(run)}
        for curve in curves
        for (epoch, metric), (value, run) in curve.values.items()
    ]
    names = ["column", "seed", "epoch", "metric", "value", "run_id", "user", "commit", "code", "versions", "machine"]
    return pd.DataFrame(rows, columns=names)


def _has(run: RunRecord, metric: str) -> bool:
    if metric == PARAMETERS:
        return run.tags.get(PARAMETERS, "").isdecimal()
    return ("epoch_seconds" if metric == MEDIAN_SECONDS else metric) in run.metrics


def _history(store: Store, wanted: tuple[RunRecord, str]) -> dict[int, float]:
    """Returns a metric of a run after each epoch, ``DERIVED`` ones included."""
    run, metric = wanted
    if metric == PARAMETERS:
        return dict.fromkeys(store.history(run.run_id, "loss"), float(run.tags[PARAMETERS]))
    if metric == MEDIAN_SECONDS:
        import pandas as pd

        seconds = store.history(run.run_id, "epoch_seconds")
        return dict(zip(seconds, pd.Series(seconds).expanding().median(), strict=True))
    return store.history(run.run_id, metric)


def _origin(run: RunRecord) -> dict[str, str]:
    """Returns a run's provenance as sanitized texts, which are safe in terminals and files."""
    return {
        "run_id": run.run_id,
        "user": sanitize(run.user),
        "commit": sanitize(origin(run.tags)),
        "code": sanitize(run.tags.get("code", "unknown")),
        "versions": sanitize(f"TensorFlow {run.tags.get('tensorflow')}, Keras {run.tags.get('keras')}"),
        "machine": sanitize(run.tags.get("machine", "unknown machine")),
    }
