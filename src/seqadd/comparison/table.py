"""The article's table: a column for each condition, a row for each number of epochs, beside the published numbers."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from seqadd.config.composition import Selection
from seqadd.config.schema import Config, known_keys, override_text
from seqadd.errors import ConfigError

if TYPE_CHECKING:
    import pandas as pd
    from rich.table import Table

ARTICLE_COLUMNS = ["cell=lstm,gru,simple_rnn"]
ARTICLE_EPOCHS = (10, 50, 100, 200)
ARTICLE_METRICS = ("acc", "val_acc")


_PUBLISHED = {"epochs", "metric", "value"}


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
        raise ConfigError(f"--published {path}: no key is called {', '.join(sorted(strange))}")
    if "relation" in published.columns:
        published = published[published["relation"] == "equal"].reset_index(drop=True)
    numbers = pd.to_numeric(published["value"], errors="coerce")
    if numbers.isna().any():
        line = int(numbers.isna().to_numpy().argmax()) + 2
        raise ConfigError(f"--published {path}: line {line}: {published['value'].iloc[line - 2]!r} is no number")
    return published


def published_value(published: pd.DataFrame, config: Config, epochs: int, metric: str) -> float | None:
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


def summarize(
    curves: pd.DataFrame,
    selection: Selection,
    published: pd.DataFrame,
    epochs: Sequence[int] = ARTICLE_EPOCHS,
    metrics: Sequence[str] = ARTICLE_METRICS,
) -> pd.DataFrame:
    """Computes the table in long form: one row for each column, number of epochs and metric.

    Returns:
        ``column`` (index), the keys of the condition, ``epochs``, ``metric``, ``seeds`` (how many), ``mean``,
        ``std`` (of a sample; NaN for one seed), ``min``, ``max``, ``published`` and ``difference`` (mean -
        published); NaN where a number is missing.
    """
    import pandas as pd

    rows = []
    for index, column in enumerate(selection.columns):
        for n_epochs in epochs:
            for metric in metrics:
                here = (curves["column"] == index) & (curves["epoch"] == n_epochs) & (curves["metric"] == metric)
                values = curves.loc[here, "value"].astype(float)
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
                    }
                )
    return pd.DataFrame(rows)


def lay_out(summary: pd.DataFrame, selection: Selection) -> list[list[str]]:
    """Lays out the table for readers: a header, then up to three rows for each number of epochs.

    Each field holds all metrics in order, as the article writes them: ``(acc, val_acc)``. The rows are ``measured``,
    ``published`` and ``difference``; the last two only if the table has any published number.
    """
    kinds = ["measured"] + (["published", "difference"] if summary["published"].notna().any() else [])
    lines = [["epochs", "", *[column.label for column in selection.columns]]]
    for n_epochs in summary["epochs"].unique():
        for kind in kinds:
            fields = []
            for index in range(len(selection.columns)):
                here = summary[(summary["column"] == index) & (summary["epochs"] == n_epochs)]
                fields.append(_field(here, kind))
            lines.append([str(n_epochs) if kind == "measured" else "", kind, *fields])
    return lines


def _field(rows: pd.DataFrame, kind: str) -> str:
    """Formats one kind of number for each metric: ``(0.3576, 0.3577)``; with several seeds ``(... ±...) n=3``."""
    numbers = []
    for row in rows.to_dict("records"):
        number = row["mean" if kind == "measured" else kind]
        if math.isnan(number):
            numbers.append("missing" if kind == "measured" else "")
        elif kind == "measured" and row["seeds"] > 1:
            numbers.append(f"{number:.3f} ±{row['std']:.3f}")
        else:
            numbers.append(format(number, "+.4f" if kind == "difference" else ".4f"))
    if set(numbers) <= {"", "missing"}:
        return numbers[0]
    n = rows["seeds"].max()
    return f"({', '.join(numbers)})" + (f" n={n}" if kind == "measured" and n > 1 else "")


def to_markdown(lines: list[list[str]], below: Sequence[str]) -> str:
    """Returns the table of ``lay_out`` in Markdown, with notes below it."""
    # Escaped, because other users of the store may have written HTML, which Markdown passes through.
    header, *body = [[html.escape(cell, quote=False).replace("|", "\\|") for cell in line] for line in lines]
    rows = [header, ["---"] * len(header), *body]
    listed = "".join(f"- {html.escape(line, quote=False)}\n" for line in below)
    return "\n".join(f"| {' | '.join(row)} |" for row in rows) + "\n\n" + listed


def to_terminal(lines: list[list[str]]) -> Table:
    """Returns the table of ``lay_out`` for rich."""
    from rich import box
    from rich.table import Table

    header, *body = lines
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for index, name in enumerate(header):
        # Column names may differ only in their last letters, so a narrow terminal wraps them instead of cutting them.
        table.add_column(name, justify="right" if index == 0 else "left", no_wrap=index < 2, overflow="fold")
    for index, line in enumerate(body):
        last_of_its_epochs = index + 1 == len(body) or body[index + 1][0] != ""
        table.add_row(*line, style=None if line[1] == "measured" else "dim", end_section=last_of_its_epochs)
    return table


def to_csv(summary: pd.DataFrame) -> str:
    """Returns the table of ``summarize`` as CSV; texts that a spreadsheet would read as formulas are quoted."""
    texts = summary.select_dtypes(exclude="number").columns
    harmless = {name: summary[name].map(lambda text: f"'{text}" if text[:1] in "=+-@\t\r" else text) for name in texts}
    return str(summary.assign(**harmless).drop(columns="column").to_csv(index=False, lineterminator="\n"))
