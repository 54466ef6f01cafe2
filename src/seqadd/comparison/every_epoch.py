"""What needs every epoch of the runs: the best epoch of each, and the file of their curves."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from seqadd.comparison.curves import BEST, ConditionRuns, learning_curves
from seqadd.comparison.table import to_csv
from seqadd.config.composition import Selection
from seqadd.system.files import atomic_write, write_file

if TYPE_CHECKING:
    import pandas as pd


def read_curves(
    found: Sequence[ConditionRuns],
    selection: Selection,
    metrics: Sequence[str],
    rows: Sequence[int | str],
    *,
    whole: bool,
) -> pd.DataFrame:
    """Returns the metrics of the selected conditions, as ``learning_curves`` does, with the rows of the best epochs.

    Args:
        found: the recorded runs of each column.
        selection: the columns and seeds.
        metrics: names of the metrics.
        rows: epochs, or ``BEST``: then there are further rows with ``BEST`` as their ``epoch``, of the first epoch with
            the highest ``val_acc`` of each run, which is their ``best_epoch``.
        whole: whether to read every epoch.
    """
    import pandas as pd

    if BEST not in rows:
        return learning_curves(found, selection, metrics, None if whole else [int(row) for row in rows])
    curves = learning_curves(found, selection, list(dict.fromkeys([*metrics, "val_acc"])))
    if curves.empty:
        return curves
    measured = curves[curves["metric"] == "val_acc"].sort_values(["value", "epoch"], ascending=[False, True])
    best = curves.merge(measured.drop_duplicates(["column", "seed"])[["column", "seed", "epoch"]])
    every = pd.concat([curves, best.assign(best_epoch=best["epoch"], epoch=BEST)], ignore_index=True)
    return every[every["metric"].isin(metrics)]


def write_curves(path: Path, curves: pd.DataFrame, selection: Selection) -> None:
    """Writes every epoch of every run that counts, a row each, as CSV or Parquet, which the file's ending tells.

    The columns are the keys that differ between the conditions, ``seed``, ``epoch``, the metrics, and ``run_id``.
    """
    rows = ["column", "seed", "epoch", "run_id"]
    wide = curves.pivot(index=rows, columns="metric", values="value").reset_index().astype({"epoch": int})
    keys = [column.distinct_values for column in selection.columns]
    for at, key in enumerate(keys[0]):
        wide.insert(at, key, [keys[index][key] for index in wide["column"]])
    wide = wide[[name for name in wide.columns if name not in ("column", "run_id")] + ["run_id"]]
    if path.suffix == ".csv":
        write_file(path, to_csv(wide))
    else:
        with atomic_write(path) as unfinished:
            wide.to_parquet(unfinished, index=False)
