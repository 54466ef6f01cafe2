"""What came out of a claim's runs: statistics, verdicts and the files that say so, computed from values by seed."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seqadd import verdicts
from seqadd.claims import BEGIN, END, UNTIL, Claim, Statement, is_fraction
from seqadd.config.messages import one_line
from seqadd.config.schema import known_keys
from seqadd.errors import ConfigError
from seqadd.reporting import markup

if TYPE_CHECKING:
    import pandas as pd

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
    """The value of a statement's metric for one run; NaN where it has none.

    Args:
        metric: of the run, taken after ``epochs``; ``best_acc``: the greatest ``acc`` up to then;
            ``epochs_until_val_acc_0.9``: the first epoch after which ``val_acc`` is at least 0.9, up to then.
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
    """What became of each statement: the rows of reproduced.csv, as text.

    Args:
        claim: with the statements.
        values: for each statement by seed, what its metric came to; where it compares two conditions, the difference
            between them. Without the seeds that have none.
        runs: the runs that they come from, as in runs.csv.
    """
    import pandas as pd

    commits = {label: sorted(set(of_label["commit"])) for label, of_label in runs.groupby("condition")}
    rows = []
    for statement, by_seed in zip(claim.statements, values, strict=True):
        # Rounded first, so that everything here follows from what the file says.
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
    said: dict[str, float | Decimal] = {
        # Of the numbers as they are written: a sum of floats would round differently on another machine.
        "mean": sum(map(Decimal, map(_number, numbers)), Decimal()) / len(numbers),
        "std": float(np.std(numbers, ddof=1)) if len(numbers) > 1 else math.nan,
        "min": min(numbers),
        "max": max(numbers),
        "low": interval.low,
        "high": interval.high,
    }
    if statement.value is not None:
        said["below"] = sum(number < statement.value for number in numbers)
    elif statement.than is not None:
        said |= {"below": sum(number < 0 for number in numbers), "effect": verdicts.standardized(numbers)}
    return said


def _verdict(statement: Statement, numbers: list[float], fewest: int) -> str:
    if statement.relation == "":
        return ""
    if statement.than is not None:
        return verdicts.of_difference(numbers, statement.relation, fewest)
    assert statement.value is not None
    return verdicts.of_number(numbers, statement.value, statement.relation, fewest, is_fraction(statement.metric))


def _number(value: float | Decimal) -> str:
    """Six digits behind the point and no zeros at the end; nothing for what is no number."""
    if not math.isfinite(value):
        return ""
    return f"{value:.6f}".rstrip("0").rstrip(".")


def written_values(text: str) -> dict[int, float]:
    """The column ``values`` of reproduced.csv: ``0:0.9914 1:0.9973`` is ``{0: 0.9914, 1: 0.9973}``."""
    return {int(seed): float(value) for seed, _, value in (each.partition(":") for each in text.split())}


def to_csv(rows: pd.DataFrame) -> str:
    """A table as a CSV file."""
    return str(rows.to_csv(index=False, lineterminator="\n"))


def from_csv(path: Path, columns: Sequence[str]) -> pd.DataFrame:
    """A CSV file as ``to_csv`` writes it, all of it text.

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
    """The runs.csv of a claim.

    Raises:
        ConfigError: when it cannot be read, or is not as the program writes it.
    """
    path = folder / "runs.csv"
    runs = from_csv(path, RUN)
    try:
        seconds(runs)
    except ValueError as error:
        raise ConfigError(f"{path}: {error}") from error
    return runs


def read_rows(folder: Path) -> pd.DataFrame:
    """The reproduced.csv of a claim.

    Raises:
        ConfigError: when it cannot be read, or is not as the program writes it.
    """
    path = folder / "reproduced.csv"
    rows = from_csv(path, RESULT)
    try:
        for text in rows["values"]:
            written_values(text)
    except ValueError as error:
        raise ConfigError(f"{path}: {error}") from error
    return rows


def table(claim: Claim, rows: pd.DataFrame) -> str:
    """table.md: reproduced.csv as a person reads it."""
    if claim.settings.columns is not None:
        return _across(claim, rows, claim.settings.columns) + "\n" + _down(claim, rows)
    return _down(claim, rows)


def _across(claim: Claim, rows: pd.DataFrame, key: str) -> str:
    """The published numbers as the article shows them: a column for each value of a key, below it the metrics."""
    columns: dict[str, None] = {}
    lines: dict[tuple[str, ...], dict[str, list[str]]] = {}
    keys = [name for name in rows.columns if name in known_keys() and name not in ("epochs", key)]
    others = [name for name in keys if rows[name].nunique() > 1]
    for statement, row in zip(claim.statements, rows.to_dict("records"), strict=True):
        if statement.value is None:
            continue
        columns[row[key]] = None
        line = lines.setdefault((row["epochs"], *(row[name] for name in others)), {})
        said = f"`{row['metric']}` {row['value']}; {_mean(row)}, **{row['verdict']}**"
        line.setdefault(row[key], []).append(said)
    header = ["epochs", *others, *(f"{column}: published; measured" for column in columns)]
    return markup.table(header, [[*line, *("<br>".join(of.get(c, [])) for c in columns)] for line, of in lines.items()])


def _down(claim: Claim, rows: pd.DataFrame) -> str:
    """Every statement in a row, a table for each kind."""
    of_numbers, of_differences, of_others = [], [], []
    for statement, row in zip(claim.statements, rows.to_dict("records"), strict=True):
        what = [claim.conditions[statement.condition].label, row["epochs"], f"`{row['metric']}`"]
        seeds = _range(row["min"], row["max"])
        if statement.value is not None:
            published = ("" if row["relation"] == "equal" else f"{row['relation']} ") + row["value"]
            below = f"{row['below']} of {row['seeds']}" if row["below"] else ""
            interval = _range(row["low"], row["high"])
            of_numbers.append([*what, published, _mean(row), seeds, interval, below, f"**{row['verdict']}**"])
        elif statement.than is not None:
            claimed = f"{row['relation']} {row['than']}".strip()
            effect = f"{float(row['effect']):+.1f}" if row["effect"] else ""
            seeds, interval = _range(row["min"], row["max"], "+"), _range(row["low"], row["high"], "+")
            of_differences.append([*what, claimed, _mean(row, "+"), seeds, interval, effect, _bold(row["verdict"])])
        else:
            if UNTIL.fullmatch(row["metric"]):
                seeds = _range(row["min"], row["max"], digits=0)
            n = f"{row['seeds']} of {len(claim.conditions[statement.condition].jobs)}"
            of_others.append([*what, _mean(row), seeds, n])
    what = ["condition", "epochs", "metric"]
    parts = [
        ([*what, "published", "measured", "seeds", "95 % of runs", "seeds below", "verdict"], of_numbers),
        ([*what, "against", "difference", "seeds", "95 % interval", "effect", "verdict"], of_differences),
        ([*what, "measured", "seeds", "seeds that have it"], of_others),
    ]
    return "\n".join(markup.table(header, lines) for header, lines in parts if lines)


def ceilings_table(ceilings: pd.DataFrame) -> str:
    """The rows of ceilings.csv as a person reads them; nothing where there are none."""
    lines = []
    for (reader, label), of in ceilings.astype(str).groupby(["reader", "condition"], sort=False):
        law = of.loc[of["over"] == "law", "ceiling"].iloc[0]
        parts = [of.loc[of["over"].str.startswith(part), "ceiling"] for part in ("set", "training set")]
        counted = [_range(part.min(), part.max()) for part in parts]
        lines.append([str(reader).replace("_", " "), str(label), _short(law), *counted])
    header = ["what is seen of the question", "condition", "ceiling: of the law", "of the sets", "of the training sets"]
    return "\n" + markup.table(header, lines) if lines else ""


def _bold(verdict: str) -> str:
    return f"**{verdict}**" if verdict else ""


def _mean(row: Mapping[Any, Any], sign: str = "") -> str:
    if not row["mean"]:
        return "missing"
    digits = 1 if UNTIL.fullmatch(row["metric"]) else 4
    return _short(row["mean"], sign, digits) + (f" ± {_short(row['std'], '', digits)}" if row["std"] else "")


def _range(low: str, high: str, sign: str = "", digits: int = 4) -> str:
    return f"{_short(low, sign, digits)} to {_short(high, sign, digits)}" if low and high else ""


def _short(number: str, sign: str = "", digits: int = 4) -> str:
    """So many digits behind the point, and fewer for large numbers."""
    value = float(number)
    return f"{value:{sign}.{digits}f}" if abs(value) < 10 else f"{value:{sign}.0f}"


def counts(rows: pd.DataFrame) -> dict[str, int]:
    """How many statements got each verdict."""
    kinds = (verdicts.REPRODUCED, verdicts.NOT_REPRODUCED, verdicts.UNDECIDED)
    return {kind: int((rows["verdict"] == kind).sum()) for kind in kinds}


def in_words(rows: pd.DataFrame) -> str:
    """The verdicts in short: ``22 of 24 reproduced, 1 not reproduced, 1 undecided``."""
    n = counts(rows)
    said = [f"{n[verdicts.REPRODUCED]} of {sum(n.values())} {verdicts.REPRODUCED}"]
    said += [f"{n[kind]} {kind}" for kind in (verdicts.NOT_REPRODUCED, verdicts.UNDECIDED) if n[kind]]
    return ", ".join(said)


def seconds(runs: pd.DataFrame) -> float:
    """Seconds of one processor that the epochs of some runs took, each as long as the median one of its run.

    Of runs of which one begins the other, as claims share them, the longest counts.
    """
    took = runs["epochs"].astype(int) * runs["seconds_per_epoch"].astype(float)
    return float(took.groupby([runs["data_digest"], runs["first_losses"]]).max().sum())


def duration(of_seconds: float) -> str:
    """Seconds in words: ``35 s``, ``12 min``, ``3 h 20 min``."""
    if of_seconds < 60:
        return f"{of_seconds:.0f} s"
    hours, minutes = divmod(round(of_seconds / 60), 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"


def summary(rows: pd.DataFrame, runs: pd.DataFrame, *, curves: bool = False) -> str:
    """What README.md says between its markers.

    Args:
        rows: of reproduced.csv.
        runs: the rows of runs.csv.
        curves: whether curves.csv.gz has all these runs.
    """
    files = ["table.md", "reproduced.csv", "runs.csv", *(["curves.csv.gz"] if curves else [])]
    commits = ", ".join(sorted(set(runs["commit"])))
    versions, machines = ("; ".join(sorted(set(runs[name]))) for name in ("versions", "machine"))
    return (
        f"**{in_words(rows)}**: {', '.join(f'[{name}]({name})' for name in files)}.\n"
        f"{len(runs)} runs, {duration(seconds(runs))} of one processor; commit {commits};\n{versions}; {machines}.\n"
    )


def readme_with(text: str, said: str) -> str:
    """A claim's README with its results between the markers."""
    before, _, rest = text.partition(BEGIN)  # each is there once, see claims.read
    after = rest.partition(END)[2]
    return f"{before}{BEGIN}\n{said}{END}{after}"
