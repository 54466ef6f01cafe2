"""Tracked runs + published numbers -> the comparison table.

    python -m seqadd.table
    python -m seqadd.table cell=lstm batch_size=64,512,4096 --epochs 10,50

Its overrides are those of the sweep that it tabulates: every combination is a column, and the runs of a column are
those whose configuration it is, whatever they are called. A run of 200 epochs fills the rows of 10, 50 and 100 too.
"""

from __future__ import annotations

import argparse
import collections
import html
import itertools
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from omegaconf import open_dict

from seqadd.config import Config, ConfigError, as_text, from_hydra, known_keys, packaged, without_passwords
from seqadd.exits import command
from seqadd.files import replacing, write_whole
from seqadd.progress import PatientConsole

if TYPE_CHECKING:
    import pandas as pd
    from rich.table import Table

    from seqadd.tracking import Store

ARTICLE_COLUMNS = ["cell=lstm,gru,simple_rnn"]
ARTICLE_EPOCHS = (10, 50, 100, 200)
ARTICLE_METRICS = ("acc", "val_acc")
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


def is_metric(name: str) -> bool:
    """Whether runs have a metric of this name."""
    return (
        name in METRICS or re.fullmatch(r"val_acc_position_\d+|val_exact_match_(carries|digits)_\d+", name) is not None
    )


_PUBLISHED = {"epochs", "metric", "value"}
_FIGURES = (".png", ".svg", ".pdf")


@dataclass(frozen=True)
class Column:
    """One condition: what it is called in the table, the overrides that choose it, and its configuration."""

    label: str
    overrides: tuple[str, ...]
    config: Config


@dataclass(frozen=True)
class Selection:
    """What the table shows: a column for each condition, and the seeds wanted, None for all there are."""

    columns: list[Column]
    seeds: tuple[int, ...] | None


def select(overrides: Sequence[str]) -> Selection:
    """The columns that the overrides of a sweep stand for.

    Args:
        overrides: as for ``python -m seqadd.run -m``; values swept over give one column each. ``seed`` picks the
            seeds that are averaged over.

    Raises:
        ConfigError: for a condition that cannot be run, or ``epochs``, which are the rows.
    """
    seeds: tuple[int, ...] | None = None
    choices: list[list[tuple[str, str, bool]]] = []
    columns = []
    with initialize_config_dir(str(packaged("conf")), version_base="1.3"):
        parser = OverridesParser.create(config_loader=GlobalHydra.instance().config_loader())
        for override in parser.parse_overrides(list(overrides)):
            key, values = override.get_key_element(), _values(override)
            if key == "epochs":
                raise ConfigError(f"epochs={','.join(values)}: epochs are the table's rows; choose them with --epochs")
            if key == "seed":
                if not all(value.isdecimal() for value in values):
                    raise ConfigError(f"seed={','.join(values)}: must be integers of at least 0")
                seeds = tuple(int(value) for value in values)
            else:
                choices.append([(key, value, len(values) > 1) for value in values])
        for combination in itertools.product(*choices):
            own = [f"{key}={value}" for key, value, _ in combination]
            config = composed(own)
            written = {key: as_text(value) for key, value in config.flat().items()}
            swept = {key: written.get(key, value) for key, value, is_swept in combination if is_swept}
            if len(swept) > 1:
                label = " ".join(f"{key}={value}" for key, value in swept.items())
            else:
                label = next(iter(swept.values()), config.cell)
            columns.append(Column(label, tuple(own), config))
    return Selection(columns, seeds)


def composed(overrides: list[str]) -> Config:
    """The checked configuration that these overrides give; inside ``hydra.initialize_config_dir``."""
    cfg = compose("config", overrides, return_hydra_config=True)
    choices = cfg.hydra.runtime.choices
    with open_dict(cfg):
        del cfg["hydra"]
    return from_hydra(cfg, choices)


def _values(override: Override) -> list[str]:
    if override.is_sweep_override():
        return [str(value) for value in override.sweep_string_iterator()]
    return [str(override.get_value_element_as_str())]


def learning_curves(store: Store, selection: Selection, metrics: Sequence[str]) -> pd.DataFrame:
    """What the store holds of the selected conditions, epoch by epoch.

    Returns:
        One row for each value, with the columns ``column`` (its index in the selection), ``seed``, ``epoch`` (from
        1), ``metric``, ``value``, ``run_id``, ``commit`` and ``versions``. Where a seed was run more than once, the
        newest run that reached an epoch counts.
    """
    import pandas as pd

    values: dict[tuple[int, int, int, str], dict[str, Any]] = {}
    for index, column in enumerate(selection.columns):
        for run in store.condition_runs(column.config.condition_hash()):  # oldest first, so that newer ones overwrite
            seed = int(run.params["seed"])
            if selection.seeds is not None and seed not in selection.seeds:
                continue
            said = {
                "run_id": run.run_id,
                "commit": run.tags.get("git_commit", "unknown")[:12]
                + (" with changes" if run.tags.get("git_dirty") == "true" else ""),
                "versions": f"TensorFlow {run.tags.get('tensorflow')}, Keras {run.tags.get('keras')}",
                "machine": run.tags.get("machine", "unknown machine"),
            }
            for metric in metrics:
                for epoch, value in store.history(run.run_id, metric).items():
                    row = {"column": index, "seed": seed, "epoch": epoch, "metric": metric, "value": value}
                    values[index, seed, epoch, metric] = {**row, **said}
    names = ["column", "seed", "epoch", "metric", "value", "run_id", "commit", "versions", "machine"]
    return pd.DataFrame(list(values.values()), columns=names)


def read_published(path: Path) -> pd.DataFrame:
    """Published numbers: a column for each key of the configuration they are for, then epochs, metric and value.

    Of a claim's statements (see ``seqadd.claims``) only those that are numbers to be equalled.

    Raises:
        ConfigError: when the file is not there or lacks one of these columns.
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
    """The number published for this condition, or None; every key that the file names must agree."""
    keys = {**{key: as_text(value) for key, value in config.flat().items()}, "epochs": str(epochs), "metric": metric}
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
    """The table in long form: one row for each column, number of epochs and metric.

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
                        **{key: as_text(value) for key, value in column.config.condition().items()},
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
    """The table as a person reads it: a header, then three rows for each number of epochs.

    Each field holds the metrics in their order, as the article writes them: ``(acc, val_acc)``. The rows are
    ``measured``, ``published`` and ``difference``; the last two only where something was published.
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
    """One kind of number for each metric, as in ``(0.3576, 0.3577)``; with several seeds ``(... ±...) n=3``."""
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


def notes(curves: pd.DataFrame, selection: Selection, metrics: Sequence[str]) -> list[str]:
    """What the table's numbers are and where they come from, a line each."""
    first, *others = [column.config.condition() for column in selection.columns]
    shared = {key: value for key, value in first.items() if all(other[key] == value for other in others)}
    condition = " ".join(f"{key}={as_text(value)}" for key, value in shared.items())
    lines = [f"({', '.join(metrics)}) after so many epochs; every column: {condition}"]
    if curves.empty:
        return lines
    seeds = [sorted(curves.loc[curves["column"] == i, "seed"].unique()) for i in range(len(selection.columns))]
    if any(len(each) > 1 for each in seeds):
        lines.append("measured: mean ± standard deviation over n seeds; difference: mean - published")
    named = [
        f"{column.label} {', '.join(map(str, each)) or 'none'}"
        for column, each in zip(selection.columns, seeds, strict=True)
    ]
    lines.append("seeds: " + "; ".join(named))
    for what in ("commit", "versions", "machine"):
        lines.append(f"{what}: " + "; ".join(sorted(curves[what].unique())))
    return lines


def left_out(store: Store, selection: Selection) -> list[str]:
    """Which runs of the conditions do not count because they are not finished, in a line; none if all are."""
    runs = []
    for column in selection.columns:
        condition = column.config.condition_hash()
        counted = {run.tags.get("config_hash") for run in store.condition_runs(condition)}
        for run in store.unfinished_runs(condition):
            wanted = selection.seeds is None or run.params.get("seed", "") in map(str, selection.seeds)
            if wanted and run.tags.get("config_hash") not in counted:
                runs.append(f"{column.label} seed {run.params.get('seed', 'unknown')} {run.status}")
    named = [f"{name} ({n} times)" if n > 1 else name for name, n in collections.Counter(runs).items()]
    return [f"not counted: {'; '.join(named)}"] if named else []


def to_markdown(lines: list[list[str]], below: Sequence[str]) -> str:
    """The table of ``lay_out`` in Markdown, with notes below it."""
    # Whoever may write to the store may have written HTML, which Markdown would let through.
    header, *body = [[html.escape(cell, quote=False).replace("|", "\\|") for cell in line] for line in lines]
    rows = [header, ["---"] * len(header), *body]
    listed = "".join(f"- {html.escape(line, quote=False)}\n" for line in below)
    return "\n".join(f"| {' | '.join(row)} |" for row in rows) + "\n\n" + listed


def to_terminal(lines: list[list[str]]) -> Table:
    """The table of ``lay_out`` for rich."""
    from rich import box
    from rich.table import Table

    header, *body = lines
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for index, name in enumerate(header):
        # Two columns may differ in their last letters only, so a narrow terminal wraps their names and cuts nothing.
        table.add_column(name, justify="right" if index == 0 else "left", no_wrap=index < 2, overflow="fold")
    for index, line in enumerate(body):
        last_of_its_epochs = index + 1 == len(body) or body[index + 1][0] != ""
        table.add_row(*line, style=None if line[1] == "measured" else "dim", end_section=last_of_its_epochs)
    return table


def to_csv(summary: pd.DataFrame) -> str:
    """The table of ``summarize`` as a CSV file, in which no text can be a formula to a spreadsheet."""
    texts = summary.select_dtypes(exclude="number").columns
    harmless = {name: summary[name].map(lambda text: f"'{text}" if text[:1] in "=+-@\t\r" else text) for name in texts}
    return str(summary.assign(**harmless).drop(columns="column").to_csv(index=False, lineterminator="\n"))


def check_outputs(options: argparse.Namespace) -> None:
    """Raises ConfigError for a file that cannot be written, before any work is done."""
    for name in ("markdown", "csv", "figure"):
        path = getattr(options, name)
        if path is None:
            continue
        if path.is_dir():
            raise ConfigError(f"--{name} {path}: is a folder; name a file in it")
        if not path.absolute().parent.is_dir():
            raise ConfigError(f"--{name} {path}: there is no folder {path.absolute().parent}")
    if options.figure is not None and options.figure.suffix not in _FIGURES:
        raise ConfigError(f"--figure {options.figure}: must end in {', '.join(_FIGURES)}")


def _epochs(text: str) -> tuple[int, ...]:
    try:
        numbers = tuple(int(part) for part in text.split(","))
    except ValueError:
        numbers = ()
    if not numbers or min(numbers) < 1:
        raise argparse.ArgumentTypeError(f"{text}: must be numbers of epochs of at least 1, as in 10,50,100,200")
    return numbers


def _metrics(text: str) -> tuple[str, ...]:
    names = tuple(text.split(","))
    for name in names:
        if not is_metric(name):
            raise argparse.ArgumentTypeError(
                f"{name}: must be one of {', '.join(METRICS)}, val_acc_position_N, val_exact_match_carries_N"
            )
    return names


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line of ``python -m seqadd.table``."""
    parser = argparse.ArgumentParser(
        prog="python -m seqadd.table",
        description="The comparison table of tracked runs, beside the published numbers.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="examples:\n  python -m seqadd.table\n  python -m seqadd.table era=keras3 cell=lstm,gru\n"
        "  python -m seqadd.table cell=lstm batch_size=64,512,4096 --epochs 10,50 --csv table.csv",
    )
    parser.add_argument(
        "overrides",
        nargs="*",
        metavar="KEY=VALUE",
        help="overrides of python -m seqadd.run: values swept over (A,B,C) are the columns, all others choose the "
        f"condition; seed=0,1 picks seeds (default: {' '.join(ARTICLE_COLUMNS)}, all seeds)",
    )
    parser.add_argument("--epochs", type=_epochs, default=ARTICLE_EPOCHS, help="rows (default: 10,50,100,200)")
    parser.add_argument(
        "--metrics", type=_metrics, default=ARTICLE_METRICS, help="in each field (default: acc,val_acc)"
    )
    parser.add_argument(
        "--published",
        type=Path,
        default=packaged("experiments") / "cells" / "published.csv",
        metavar="FILE",
        help="published numbers (default: the article's table)",
    )
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the table as Markdown")
    parser.add_argument("--csv", type=Path, metavar="FILE", help="write the table in long form, a number a row")
    parser.add_argument("--figure", type=Path, metavar="FILE", help="draw the learning curves (.png, .svg, .pdf)")
    return parser.parse_intermixed_args(arguments)


def main() -> None:
    """Command line of ``python -m seqadd.table``."""
    with command():
        options = parse_arguments()
        check_outputs(options)
        overrides = list(options.overrides)
        if not any(override.startswith("cell=") for override in overrides):
            overrides = ARTICLE_COLUMNS + overrides
        selection = select(overrides)
        published = read_published(options.published)

        from seqadd import tracking

        store = tracking.open_store(selection.columns[0].config.tracking, create=False)
        store.settle()
        metrics = list(options.metrics)
        curves = learning_curves(store, selection, metrics)
        summary = summarize(curves, selection, published, options.epochs, metrics)
        lines = lay_out(summary, selection)
        below = notes(curves[curves["epoch"].isin(options.epochs)], selection, metrics)
        below += left_out(store, selection)

        if options.markdown:
            write_whole(options.markdown, to_markdown(lines, below))
        if options.csv:
            write_whole(options.csv, to_csv(summary))
        if options.figure:
            from seqadd import figures

            labels = [column.label for column in selection.columns]
            with replacing(options.figure) as path:
                figures.learning_curves(curves, labels, summary, metrics[-1]).savefig(path, dpi=150)

        console = PatientConsole(highlight=False)
        if not console.is_terminal:
            console.width = 1000  # a file or a pipe has no edge to wrap at
        console.print(to_terminal(lines))
        for line in below:
            console.print(line, style="dim", markup=False)
        for index in summary.loc[summary["seeds"] == 0, "column"].unique():
            column = selection.columns[index]
            command_line = f"python -m seqadd.run {' '.join(column.overrides)} epochs={max(options.epochs)}"
            said = without_passwords(f"to fill what is missing of {column.label}: {command_line}")
            console.print(said, markup=False)


if __name__ == "__main__":
    main()
