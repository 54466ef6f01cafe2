"""Results of a claim's runs: statistics, and verdicts by the rules in ``verdicts``; and their CSV files."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seqadd.claims import verdicts
from seqadd.claims.claim import UNTIL, Claim, Statement, is_fraction
from seqadd.config.messages import one_line
from seqadd.errors import ConfigError

if TYPE_CHECKING:
    import pandas as pd


def seconds(runs: pd.DataFrame) -> float:
    """Returns the seconds of one processor that some runs took: epochs times the run's median seconds per epoch.

    Claims share runs: of runs with the same data set and the same first losses, only the longest counts.
    """
    took = runs["epochs"].astype(int) * runs["seconds_per_epoch"].astype(float)
    return float(took.groupby([runs["data_digest"], runs["first_losses"]]).max().sum())


#: Columns of reproduced.csv after those of published.csv.
RESULT = (
    "seeds", "mean", "std", "min", "max", "low", "high", "below", "effect", "verdict", "values", "commit",
)  # fmt: skip
#: Columns of runs.csv.
RUN = (
    "condition", "seed", "epochs", "seconds_per_epoch", "first_losses", "weights_sha256", "data_digest", "code",
    "commit", "versions", "machine",
)  # fmt: skip


def measure(metric: str, curve: dict[int, float], epochs: int) -> float:
    """Returns the value of a statement's metric for one run; NaN if the run has none.

    Args:
        metric: a metric of the run, taken after ``epochs``; or ``best_acc``, the greatest ``acc`` up to then; or
            ``epochs_until_val_acc_0.9``, the first epoch up to then after which ``val_acc`` is at least 0.9.
        curve: values of ``base_metric(metric)`` by epoch, from 1.
        epochs: at least 1.
    """
    until = UNTIL.fullmatch(metric)
    if until:
        limit = float(until[2])
        return float(min((n for n, value in curve.items() if n <= epochs and value >= limit), default=math.nan))
    if metric.startswith("best_"):
        return max((value for n, value in curve.items() if n <= epochs), default=math.nan)
    return curve.get(epochs, math.nan)


def results(claim: Claim, values: Sequence[dict[int, float]], runs: pd.DataFrame) -> pd.DataFrame:
    """Returns the result of each statement: the rows of reproduced.csv, as text.

    Args:
        claim: with the statements.
        values: for each statement, by seed, the value of its metric; the difference if it compares two conditions.
            Seeds without a value are left out.
        runs: the runs of these values, as in runs.csv.
    """
    import pandas as pd

    commits = {label: sorted(set(of_label["commit"])) for label, of_label in runs.groupby("condition")}
    rows = []
    for statement, by_seed in zip(claim.statements, values, strict=True):
        # Rounded first, so that all results can be recomputed from the file.
        rounded = {seed: round(value, 6) for seed, value in sorted(by_seed.items()) if not math.isnan(value)}
        numbers = list(rounded.values())
        row: dict[str, Any] = dict.fromkeys(RESULT, "")
        row |= {
            "seeds": str(len(numbers)),
            "values": " ".join(f"{seed}:{_number(value)}" for seed, value in rounded.items()),
            "commit": "; ".join(commits.get(claim.conditions[statement.condition].label, [])),
        }
        if numbers:
            row |= {name: _number(value) for name, value in _statistics(statement, numbers).items()}
        row["verdict"] = _verdict(statement, numbers, claim.settings.fewest_seeds)
        rows.append(statement.fields | row)
    return pd.DataFrame(rows, columns=[*claim.statements[0].fields, *RESULT])


def _statistics(statement: Statement, numbers: list[float]) -> dict[str, float | Decimal]:
    import numpy as np

    if statement.than is not None:
        interval = verdicts.mean_interval(numbers)
    elif is_fraction(statement.metric):
        interval = verdicts.prediction_interval(numbers)
    else:
        interval = verdicts.prediction_interval(numbers, most=math.inf)
    measured: dict[str, float | Decimal] = {
        # The mean of the numbers as written: a sum of floats would round differently on another machine.
        "mean": sum(map(Decimal, map(_number, numbers)), Decimal()) / len(numbers),
        "std": float(np.std(numbers, ddof=1)) if len(numbers) > 1 else math.nan,
        "min": min(numbers),
        "max": max(numbers),
        "low": interval.low,
        "high": interval.high,
    }
    if statement.value is not None:
        measured["below"] = sum(number < statement.value for number in numbers)
    elif statement.than is not None:
        measured |= {"below": sum(number < 0 for number in numbers), "effect": verdicts.standardized(numbers)}
    return measured


def _verdict(statement: Statement, numbers: list[float], fewest: int) -> str:
    if statement.relation == "":
        return ""
    if statement.than is not None:
        return verdicts.difference_verdict(numbers, statement.relation, fewest)
    assert statement.value is not None
    return verdicts.number_verdict(numbers, statement.value, statement.relation, fewest, is_fraction(statement.metric))


def _number(value: float | Decimal) -> str:
    """Formats a number with at most six decimals and no trailing zeros; empty if it is not finite."""
    if not math.isfinite(value):
        return ""
    return f"{value:.6f}".rstrip("0").rstrip(".")


def written_values(text: str) -> dict[int, float]:
    """Parses the column ``values`` of reproduced.csv: ``0:0.9914 1:0.9973`` is ``{0: 0.9914, 1: 0.9973}``."""
    return {int(seed): float(value) for seed, _, value in (each.partition(":") for each in text.split())}


def to_csv(rows: pd.DataFrame) -> str:
    """Formats a table as CSV."""
    return str(rows.to_csv(index=False, lineterminator="\n"))


def from_csv(path: Path, columns: Sequence[str]) -> pd.DataFrame:
    """Reads a CSV file that ``to_csv`` wrote; all values stay text.

    Raises:
        ConfigError: when it cannot be read or does not have these columns.
    """
    import pandas as pd

    try:
        rows = pd.read_csv(io.StringIO(path.read_text(encoding="utf-8")), dtype=str, keep_default_na=False)
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: cannot read it: {one_line(error)}") from error
    missing = [column for column in columns if column not in rows.columns]
    if missing:
        raise ConfigError(f"{path}: lacks the column {', '.join(missing)}")
    return rows


def read_runs(folder: Path) -> pd.DataFrame:
    """Reads the runs.csv of a claim.

    Raises:
        ConfigError: when it cannot be read, or does not have the program's format.
    """
    path = folder / "runs.csv"
    runs = from_csv(path, RUN)
    try:
        seconds(runs)
    except ValueError as error:
        raise ConfigError(f"{path}: {error}") from error
    return runs


def read_rows(folder: Path) -> pd.DataFrame:
    """Reads the reproduced.csv of a claim.

    Raises:
        ConfigError: when it cannot be read, or does not have the program's format.
    """
    path = folder / "reproduced.csv"
    rows = from_csv(path, RESULT)
    try:
        for text in rows["values"]:
            written_values(text)
    except ValueError as error:
        raise ConfigError(f"{path}: {error}") from error
    return rows


def counts(rows: pd.DataFrame) -> dict[str, int]:
    """Counts the statements with each verdict."""
    kinds = (verdicts.REPRODUCED, verdicts.NOT_REPRODUCED, verdicts.UNDECIDED)
    return {kind: int((rows["verdict"] == kind).sum()) for kind in kinds}
