"""A judged comparison without a claim: each condition of a table against another one, seed by seed.

docs/verdicts.md explains the words.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from seqadd.claims.verdicts import CONFIDENCE, FEWEST_SEEDS, REPRODUCED, difference_verdict, mean_interval
from seqadd.config.composition import Column, Selection
from seqadd.errors import ConfigError

if TYPE_CHECKING:
    import pandas as pd

ABOVE, BELOW, EQUAL, UNDECIDED = "above", "below", "equal", "undecided"
#: More seeds than this are not worth asking for.
_MOST_SEEDS = 1000


def verdict(differences: Sequence[float], fewest: int = FEWEST_SEEDS) -> str:
    """Returns the verdict on paired differences of two conditions, one for each seed.

    ``above`` and ``below``: a claim of that relation would be reproduced. ``equal``: neither "not above" nor "not
    below" would be anything but reproduced, so the means differ by at most 0.01. Else ``undecided``.

    Args:
        differences: of accuracy, in -1..1: the condition minus the other one.
        fewest: with fewer values than this, 5 by default, the verdict is undecided.

    Example:
        >>> verdict([0.01, 0.02, 0.03, 0.02, 0.02]), verdict([0.0, 0.001, -0.001, 0.0, 0.0])
        ('above', 'equal')
        >>> verdict([0.01, 0.02, 0.03])
        'undecided'
    """
    if all(difference_verdict(differences, f"not {relation}", fewest) == REPRODUCED for relation in (ABOVE, BELOW)):
        return EQUAL
    relations = (each for each in (ABOVE, BELOW) if difference_verdict(differences, each, fewest) == REPRODUCED)
    return next(relations, UNDECIDED)


def seeds_to_decide(differences: Sequence[float], fewest: int = FEWEST_SEEDS) -> int | None:
    """Returns how many more seeds would decide whether a condition is above or below, if they are like these.

    Returns:
        The number of seeds, 0 if it is decided; None if more than 1,000 are needed, or the spread is unknown.

    Example:
        >>> seeds_to_decide([0.01, 0.02, 0.03]), seeds_to_decide([0.03, -0.02, 0.01, 0.02, -0.01, 0.01])
        (2, 27)
    """
    from scipy import stats

    if verdict(differences, fewest) != UNDECIDED:
        return 0
    n, mean = len(differences), abs(float(np.mean(differences)))
    if n < 2:
        return None
    counts = np.arange(max(n, fewest), n + _MOST_SEEDS + 1)
    reach = stats.t.ppf((1 + CONFIDENCE) / 2, counts - 1) * float(np.std(differences, ddof=1)) / np.sqrt(counts)
    enough = counts[reach < mean]
    return int(enough[0]) - n if len(enough) else None


def partners(selection: Selection, against: Sequence[str]) -> dict[int, int]:
    """Returns for each column of a table, by index, the column that it is compared with.

    Args:
        selection: the columns.
        against: the overrides of the other condition, ``cell=gru``; the keys that it does not name must be equal.

    Raises:
        ConfigError: when no column has these values, or no column is left to compare with it.
    """
    wanted = dict(word.partition("=")[::2] for word in against)
    values = [column.distinct_values for column in selection.columns]
    for column in selection.columns:  # as typed: 0 and 0.0, 1e-3 and 0.001 are equal
        typed = {key for key, value in wanted.items() if column.swept.get(key) == value}
        wanted |= {key: column.distinct_values[key] for key in typed}
    missing = sorted(key for key in wanted if not any(key in each for each in values))
    if missing:
        raise ConfigError(f"--against {missing[0]}={wanted[missing[0]]}: the table does not sweep over {missing[0]}")
    found: dict[int, int] = {}
    for index, mine in enumerate(values):
        if all(mine[key] == value for key, value in wanted.items()):
            continue
        other = {**mine, **wanted}
        if other in values:
            found[index] = values.index(other)
    if not found:
        raise ConfigError(f"--against {' '.join(against)}: no column of the table can be compared with it")
    return found


def compare(
    curves: pd.DataFrame, selection: Selection, against: Sequence[str], epochs: Sequence[int | str]
) -> pd.DataFrame:
    """Compares columns with another one, seed by seed.

    Args:
        curves: as ``comparison.curves.learning_curves`` returns them.
        selection: the columns of the table.
        against: the overrides of the other condition.
        epochs: the rows of the table.

    Returns:
        A row for each column, number of epochs and metric: ``column`` (index), ``condition`` and ``than`` (labels),
        ``epochs``, ``metric``, ``seeds`` (both have them), ``mean`` (of the differences), ``low`` and ``high`` (its
        95 % interval), ``verdict``, ``more_seeds`` (to decide; missing if unknown).

    Raises:
        ConfigError: as ``partners``.
    """
    import pandas as pd

    rows: list[dict[str, Any]] = []
    for index, other in partners(selection, against).items():
        for n in epochs:
            for metric in curves["metric"].unique():
                here = curves[(curves["epoch"] == n) & (curves["metric"] == metric)]
                mine, theirs = (here[here["column"] == at].set_index("seed")["value"] for at in (index, other))
                differences = (mine - theirs).dropna().tolist()
                rows.append(_row(selection.columns[index], selection.columns[other], differences)
                            | {"column": index, "epochs": n, "metric": metric})  # fmt: skip
    names = ["column", "condition", "than", "epochs", "metric", "seeds", "mean", "low", "high", "verdict", "more_seeds"]
    return pd.DataFrame(rows, columns=names)


def _row(mine: Column, other: Column, differences: list[float]) -> dict[str, Any]:
    interval = mean_interval(differences)
    return {
        "condition": mine.label,
        "than": other.label,
        "seeds": len(differences),
        "mean": float(np.mean(differences)) if differences else float("nan"),
        "low": interval.low,
        "high": interval.high,
        "verdict": verdict(differences),
        "more_seeds": seeds_to_decide(differences) if differences else None,
    }


def lay_out(compared: pd.DataFrame) -> list[list[str]]:
    """Lays out the comparison for readers: a header, then a line for each column, number of epochs and metric."""
    lines = [["epochs", "metric", "difference", "mean", "95 % interval", "seeds", "verdict"]]
    for row in compared.to_dict("records"):
        spread = "unknown" if not np.isfinite(row["low"]) else f"{row['low']:+.4f} to {row['high']:+.4f}"
        more = row["more_seeds"]
        said = row["verdict"]
        if said == UNDECIDED and more == more and more is not None:  # NaN, where pandas has no number
            said += f"; about {int(more)} more seeds would decide"
        lines.append(
            [
                str(row["epochs"]),
                row["metric"],
                f"{row['condition']} - {row['than']}",
                f"{row['mean']:+.4f}",
                spread,
                str(row["seeds"]),
                said,
            ]
        )
    return lines
