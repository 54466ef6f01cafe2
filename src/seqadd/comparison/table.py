"""The article's table: a column for each condition, a row for each number of epochs, beside the published numbers."""

from __future__ import annotations

import html
import math
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from seqadd.comparison.curves import BEST, ConditionRuns, longest_runs
from seqadd.config.composition import Selection
from seqadd.config.schema import Config, known_keys, override_text
from seqadd.errors import ConfigError
from seqadd.reporting import markup
from seqadd.training.metric_names import shown_first

if TYPE_CHECKING:
    import pandas as pd
    from rich.console import Group
    from rich.table import Table

ARTICLE_COLUMNS = ["cell=lstm,gru,simple_rnn"]
ARTICLE_EPOCHS = (10, 50, 100, 200)
ARTICLE_METRICS = ("acc", "val_acc")

#: The most characters in a line of a table.
WIDTH = 100
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
_MOST_TOGETHER = 3  # metrics that share a field; of more metrics each has its own rows
_MOST_EPOCHS = 4  # that a field lists
_MOST_COUNTED = 1e12
_PUBLISHED = {"epochs", "metric", "value"}


def default_metrics(selection: Selection) -> list[str]:
    """The metrics of a table: the one that the own task of all columns names with ``curve``, if any; the article's."""
    first = shown_first(column.config for column in selection.columns)
    return list(dict.fromkeys([*([first] if first else []), *ARTICLE_METRICS]))


def read_published(path: Path) -> pd.DataFrame:
    """Reads published numbers: a column for each key of their configuration, then epochs, metric and value.

    In a claim's file of statements (see ``claims.loading``), only rows with the relation ``equal`` are numbers.

    Raises:
        ConfigError: when the file does not exist, lacks one of these columns, or has an unknown column or no number.
    """
    import pandas as pd

    try:
        published = pd.read_csv(path, dtype=str, keep_default_na=False)
    except (OSError, ValueError) as error:
        raise ConfigError(f"--published {path}: cannot read it: {error}") from error
    missing = _PUBLISHED - set(published.columns)
    if missing:
        raise ConfigError(f"--published {path}: lacks the column {', '.join(sorted(missing))}")
    strange = set(published.columns) - _PUBLISHED - {"source", "relation", "than"} - set(known_keys())
    if strange:
        raise ConfigError(f"--published {path}: unknown column {', '.join(sorted(strange))}")
    if "relation" in published.columns:
        published = published[published["relation"] == "equal"].reset_index(drop=True)
    numbers = pd.to_numeric(published["value"], errors="coerce")
    if numbers.isna().any():
        line = int(numbers.isna().to_numpy().argmax()) + 2
        raise ConfigError(f"--published {path}: line {line}: {published['value'].iloc[line - 2]!r} is not a number")
    return published


def published_value(published: pd.DataFrame, config: Config, epochs: int | str, metric: str) -> float | None:
    """Returns the number published for a condition, or None; every key that the file has must match."""
    keys = {
        **{key: override_text(value) for key, value in config.flat().items()},
        "epochs": str(epochs),
        "metric": metric,
    }
    named = [name for name in published.columns if name in keys]
    fits = (published[named] == [keys[name] for name in named]).all(axis=1)
    values = published.loc[fits, "value"]
    return float(values.iloc[0]) if len(values) else None


def default_rows(found: Sequence[ConditionRuns], selection: Selection) -> tuple[int, ...]:
    """Returns the article's epochs up to the longest run, and the last epoch of each column with shorter runs."""
    last = [max(each.values(), default=0) for each in longest_runs(found, selection)]
    shorter = {epoch for epoch in last if 0 < epoch < ARTICLE_EPOCHS[-1]}
    return tuple(sorted({epoch for epoch in ARTICLE_EPOCHS if epoch <= max(last)} | shorter)) or ARTICLE_EPOCHS


def summarize(
    curves: pd.DataFrame,
    selection: Selection,
    published: pd.DataFrame,
    epochs: Sequence[int | str] = ARTICLE_EPOCHS,
    metrics: Sequence[str] = ARTICLE_METRICS,
) -> pd.DataFrame:
    """Computes the table in long form: one row for each column, number of epochs and metric.

    Returns:
        ``column`` (index), the keys of the condition, ``epochs``, ``metric``, ``seeds`` (how many), ``mean``,
        ``std`` (of a sample; NaN for one seed), ``min``, ``max``, ``published``, ``difference`` (mean - published),
        and the value of each seed as ``seed_0``, ``seed_1``, ...; NaN where a number is missing. With the row ``BEST``
        also ``best_epoch``, the epochs of the seeds as a text.
    """
    import pandas as pd

    rows = []
    every = sorted(curves.loc[curves["epoch"].isin(epochs), "seed"].unique())
    for index, column in enumerate(selection.columns):
        for n_epochs in epochs:
            for metric in metrics:
                here = (curves["column"] == index) & (curves["epoch"] == n_epochs) & (curves["metric"] == metric)
                values = curves[here].set_index("seed")["value"].astype(float)
                best = _epochs_in_words(curves[here]["best_epoch"]) if n_epochs == BEST and len(values) else ""
                known = published_value(published, column.config, n_epochs, metric)
                rows.append(
                    {
                        "column": index,
                        **{key: override_text(value) for key, value in column.config.condition().items()},
                        "epochs": n_epochs,
                        "metric": metric,
                        "seeds": len(values),
                        "mean": values.mean(),
                        "std": values.std(ddof=1),
                        "min": values.min(),
                        "max": values.max(),
                        "published": float("nan") if known is None else known,
                        "difference": float("nan") if known is None else values.mean() - known,
                        **{f"seed_{seed}": values.get(seed, float("nan")) for seed in every},
                        **({"best_epoch": best} if BEST in epochs else {}),
                    }
                )
    return pd.DataFrame(rows)


def lay_out(summary: pd.DataFrame, selection: Selection) -> list[list[str]]:
    """Lays out the table for readers: a header, then up to four rows for each number of epochs.

    The rows are ``measured`` (the mean over seeds), and where there is any, ``spread`` (the standard deviation of
    several seeds), ``epoch`` (the best ones), ``published`` and ``difference``. A field holds up to three metrics, as
    the article writes them: ``(acc, val_acc)``; of more metrics each has its own rows. Headings have a line for each
    key.
    """
    kinds = ("measured", "spread", "epoch", "published", "difference")
    metrics = list(summary["metric"].unique())
    together = [metrics] if len(metrics) <= _MOST_TOGETHER else [[metric] for metric in metrics]
    lines = [["epochs", "", *["\n".join(column.heading) for column in selection.columns]]]
    for n_epochs in summary["epochs"].unique():
        first = str(n_epochs)
        for names in together:
            here = summary[(summary["epochs"] == n_epochs) & summary["metric"].isin(names)]
            of_columns = [here[here["column"] == index] for index in range(len(selection.columns))]
            for kind in kinds:
                fields = [_field(rows, kind) for rows in of_columns]
                if kind == "measured" or any(fields):
                    lines.append([first, kind if len(together) == 1 else f"{names[0]} {kind}", *fields])
                    first = ""
    return lines


_COLUMN_OF = {"measured": "mean", "spread": "std"}


def _field(rows: pd.DataFrame, kind: str) -> str:
    """Formats one kind of number for each metric: ``(0.3576, 0.3577)``, ``±(0.0120, 0.0101) n=3``."""
    if kind == "epoch":
        return str(rows["best_epoch"].iloc[0]) if "best_epoch" in rows else ""
    n = rows["seeds"].max()
    if kind == "spread" and n < 2:
        return ""
    empty = "missing" if kind == "measured" else ""
    numbers = [
        empty if math.isnan(number) else _number(number, "+" if kind == "difference" else "")
        for number in rows[_COLUMN_OF.get(kind, kind)]
    ]
    if set(numbers) == {empty}:
        return empty
    together = f"({', '.join(numbers)})"
    return f"±{together} n={n}" if kind == "spread" else together


def _number(number: float, sign: str) -> str:
    """Formats a number with four decimals; large ones with four digits, but a number of parameters with all."""
    large = ".0f" if abs(number) < _MOST_COUNTED and float(number).is_integer() else ".4g"
    return format(number, sign + (".4f" if abs(number) < 1000 else large))


def _epochs_in_words(epochs: Iterable[float]) -> str:
    """Returns the epochs of several seeds: ``137, 150``; of many seeds the first and the last: ``95 to 200``."""
    each = list(map(int, epochs))
    return f"{min(each)} to {max(each)}" if len(each) > _MOST_EPOCHS else ", ".join(map(str, each))


def _without_newlines(lines: list[list[str]]) -> list[list[str]]:
    return [[cell.replace("\n", ", ") for cell in line] for line in lines]


def to_markdown(lines: list[list[str]], below: Sequence[str]) -> str:
    """Returns a table in Markdown, with notes below it; the first line is the header."""
    # Escaped, because other users of the store may have written HTML, which Markdown passes through.
    escaped = [
        [html.escape(cell, quote=False).replace("|", "\\|") for cell in line] for line in _without_newlines(lines)
    ]
    listed = "".join(f"- {html.escape(line, quote=False)}\n" for line in below)
    return markup.table(escaped[0], escaped[1:]) + "\n" + listed


def to_latex(lines: list[list[str]], below: Sequence[str]) -> str:
    """Returns a table in LaTeX, for the package booktabs, with notes as comments; the first line is the header."""
    import pandas as pd

    # pandas needs Jinja2 for this, which Flask requires, and MLflow requires Flask.
    header, *body = _without_newlines(lines)
    text = str(
        pd.DataFrame(body, columns=range(len(header))).to_latex(index=False, header=header, escape=True)
    ).replace("±", r"$\pm$")
    return "".join(f"% {line}\n" for line in below) + text


def to_terminal(lines: list[list[str]], width: int = WIDTH) -> Group:
    """Returns the table of ``lay_out`` for rich: several tables below each other if the columns need more width."""
    from rich.console import Group

    columns = list(zip(*lines, strict=True))
    widths = [max(len(line) for cell in column for line in cell.split("\n")) for column in columns]
    room = width - sum(widths[:2]) - 5  # between two columns are three characters
    groups: list[list[int]] = [[]]
    for index in range(2, len(columns)):
        if groups[-1] and sum(widths[at] + 3 for at in (*groups[-1], index)) > room:
            groups.append([])
        groups[-1].append(index)
    tables = [[[*line[:2], *(line[at] for at in of)] for line in lines] for of in groups]
    with_fields = [[line for line in each if line[1].endswith("measured") or any(line[2:])] for each in tables]
    return Group(*(_terminal_table(each, room - 3) for each in with_fields))


def _terminal_table(lines: list[list[str]], room: int) -> Table:
    """Returns one table for rich, whose columns have at most so many characters."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    header, *body = lines
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for index, name in enumerate(header):
        # Column names may differ only in their last letters, so a narrow terminal wraps them instead of cutting them.
        table.add_column(
            Text(name),
            justify="right" if index == 0 else "left",
            no_wrap=index < 2,
            overflow="fold",
            max_width=None if index < 2 else max(room, 1),
        )
    for index, line in enumerate(body):
        last_of_its_epochs = index + 1 == len(body) or body[index + 1][0] != ""
        style = None if line[1].endswith("measured") else "dim"
        table.add_row(*map(Text, line), style=style, end_section=last_of_its_epochs)
    return table


def to_list(lines: list[list[str]], wraps: Collection[str] = ()) -> Table:
    """Returns a list for rich, a line for each row; the first line is the header.

    Args:
        lines: the texts.
        wraps: names of further columns that may take several lines; the first two may.
    """
    from rich import box
    from rich.table import Table
    from rich.text import Text

    header, *body = lines
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for index, name in enumerate(header):
        table.add_column(Text(name), overflow="fold", no_wrap=index >= 2 and name not in wraps)
    for line in body:
        table.add_row(*map(Text, line))
    return table


def to_csv(summary: pd.DataFrame) -> str:
    """Returns a table as CSV, without its ``column``; texts that a spreadsheet would read as formulas are quoted."""
    texts = summary.select_dtypes(exclude="number").columns
    harmless = {
        name: summary[name].map(lambda text: f"'{text}" if str(text).startswith(_FORMULA) else text) for name in texts
    }
    return str(
        summary.assign(**harmless).drop(columns="column", errors="ignore").to_csv(index=False, lineterminator="\n")
    )
