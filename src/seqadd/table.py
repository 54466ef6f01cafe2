"""Tracked runs + published numbers -> the comparison table.

    python -m seqadd.table
    python -m seqadd.table cell=lstm batch_size=64,512,4096 --epochs 10,50
    python -m seqadd.table --user anna

Its overrides are those of the sweep that it tabulates: every combination is a column, and the runs of a column are
those whose configuration it is, whatever they are called. A run of 200 epochs fills the rows of 10, 50 and 100 too.
"""

from __future__ import annotations

import argparse
import collections
import gc
import html
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from seqadd.cli.console import SafeConsole
from seqadd.cli.entry import add_version, command
from seqadd.codes import origin
from seqadd.config.composition import Selection, compose_selection
from seqadd.config.schema import Config, known_keys, override_text
from seqadd.errors import ConfigError, redact_credentials
from seqadd.reporting.markup import sanitize
from seqadd.system.files import atomic_write, resource_dir, write_file
from seqadd.tracking.database import check_database
from seqadd.tracking.run_filter import ALL_RUNS, RunFilter, add_filter_options, run_filter_from

if TYPE_CHECKING:
    import pandas as pd
    from rich.table import Table

    from seqadd.tracking.store import RunRecord, RunsByStatus, Store

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
_MOST_NAMED = 8  # in a line below the table; of the others it says how many there are
_FIGURES = (".png", ".svg", ".pdf")


@dataclass(frozen=True)
class Found:
    """What is recorded of a column, and the store that it is recorded in."""

    store: Store
    runs: RunsByStatus


def find(selection: Selection, only: RunFilter) -> list[Found]:
    """What is recorded of each column.

    Raises:
        ConfigError: when a store or an experiment is not there.
    """
    for column in selection.columns:
        check_database(column.config.tracking, create=False)
    from seqadd.tracking import (
        connection,
        delivery,  # here, because MLflow takes seconds that a refusal must not cost
    )

    stores: dict[tuple[str, str], Store] = {}
    for column in selection.columns:
        where = column.config.tracking
        if (where.uri, where.experiment) not in stores:
            store = connection.open_store(where, create=False)
            delivery.reconcile(store)
            stores[where.uri, where.experiment] = store.narrowed(only)
    found: dict[int, Found] = {}
    for (uri, experiment), store in stores.items():
        of_store = {
            index: column.config.condition_hash()
            for index, column in enumerate(selection.columns)
            if (column.config.tracking.uri, column.config.tracking.experiment) == (uri, experiment)
        }
        each = store.each(store.of_condition, of_store.values())
        found |= {index: Found(store, runs) for index, runs in zip(of_store, each, strict=True)}
    return [found[index] for index in range(len(selection.columns))]


@dataclass(frozen=True)
class _Curves:
    """The runs of a column and seed, oldest first, and what is known of them."""

    column: int
    seed: int
    runs: list[RunRecord]
    values: dict[tuple[int, str], tuple[float, RunRecord]]

    def ask_next(self, wanted: Sequence[int] | None, metrics: Sequence[str]) -> list[tuple[RunRecord, str]]:
        """The newest run that can have something that is not known yet, and of which metrics; it is not asked again."""
        while self.runs:
            run = self.runs.pop()
            last = int(run.params["epochs"])
            epochs = range(1, last + 1) if wanted is None else [epoch for epoch in wanted if epoch <= last]
            unknown = [
                (run, metric)
                for metric in metrics
                if metric in run.metrics and any((epoch, metric) not in self.values for epoch in epochs)
            ]
            if unknown:
                return unknown
        return []


def learning_curves(
    found: Sequence[Found], selection: Selection, metrics: Sequence[str], epochs: Sequence[int] | None = None
) -> pd.DataFrame:
    """The metrics of the selected conditions, epoch by epoch.

    Args:
        found: what is recorded of each column.
        selection: the columns and seeds.
        metrics: which.
        epochs: which are needed; None for all. Runs are read only while something is missing, so that it does not take
            longer where many people have run the same.

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
        curves += [_Curves(index, seed, by_seed[seed], {}) for seed in wanted if seed in by_seed]
    while asked := [(curve, *each) for curve in curves for each in curve.ask_next(epochs, metrics)]:
        for store in dict.fromkeys(column.store for column in found):
            here = [(curve, run, metric) for curve, run, metric in asked if found[curve.column].store is store]
            histories = store.histories([(run.run_id, metric) for _, run, metric in here])
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


def _origin(run: RunRecord) -> dict[str, str]:
    """Where a run's numbers come from, in words that can act in no terminal and no file."""
    return {
        "run_id": run.run_id,
        "user": sanitize(run.user),
        "commit": sanitize(origin(run.tags)),
        "code": sanitize(run.tags.get("code", "unknown")),
        "versions": sanitize(f"TensorFlow {run.tags.get('tensorflow')}, Keras {run.tags.get('keras')}"),
        "machine": sanitize(run.tags.get("machine", "unknown machine")),
    }


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


def notes(curves: pd.DataFrame, selection: Selection, metrics: Sequence[str], only: RunFilter = ALL_RUNS) -> list[str]:
    """What the table's numbers are and where they come from, a line each."""
    first, *others = [column.config.condition() for column in selection.columns]
    shared = {key: value for key, value in first.items() if all(other[key] == value for other in others)}
    condition = " ".join(f"{key}={override_text(value)}" for key, value in shared.items())
    lines = [f"({', '.join(metrics)}) after so many epochs; every column: {condition}"]
    experiments = {column.config.tracking.experiment for column in selection.columns}
    if any(override.startswith("tracking.experiment=") for override in selection.columns[0].overrides):
        lines.append(f"experiment: {_listed(sorted(experiments))}")
    if only:
        lines.append(f"only runs of {only}")
    if curves.empty:
        return lines
    seeds = [sorted(curves.loc[curves["column"] == i, "seed"].unique()) for i in range(len(selection.columns))]
    if any(len(each) > 1 for each in seeds):
        lines.append("measured: mean ± standard deviation over n seeds; difference: mean - published")
    named = [
        f"{column.label} {_listed(map(str, each), ', ', 20) or 'none'}"
        for column, each in zip(selection.columns, seeds, strict=True)
    ]
    lines.append(f"seeds: {_listed(named)}")
    if curves["user"].nunique() > 1:
        lines.append(f"user: {_listed(_by_runs(curves, 'user'))}")
    of_commit = curves.groupby("commit")["code"].transform("nunique")
    # As where files were edited and not committed.
    curves = curves.assign(commit=curves["commit"].where(of_commit == 1, curves["commit"] + ", code " + curves["code"]))
    for what in ("commit", "versions", "machine"):
        lines.append(f"{what}: {_listed(_by_runs(curves, what))}")
    return lines


def _listed(names: Iterable[str], between: str = "; ", most: int = _MOST_NAMED) -> str:
    """Some names, and how many more there are."""
    every = list(names)
    more = f"{between}and {len(every) - most} more" if len(every) > most else ""
    return between.join(every[:most]) + more


def _by_runs(curves: pd.DataFrame, what: str) -> list[str]:
    """The values of a column of ``learning_curves``: all in their order, or, of too many, the most frequent first."""
    runs = curves.drop_duplicates("run_id")[what].value_counts()
    return sorted(runs.index) if len(runs) <= _MOST_NAMED else [str(name) for name in runs.index]


def left_out(
    found: Sequence[Found], selection: Selection, curves: pd.DataFrame, epochs: Sequence[int] = ARTICLE_EPOCHS
) -> list[str]:
    """Which runs of the conditions do not count, a line for each reason: not finished, no numbers, flags, not ours."""
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
        "not counted": unfinished,
        "finished, but without these metrics": empty,
        "not counted, for they do not say their seed and epochs": strange,
        f"{len(with_flags)} not counted, made with flags that can alter numbers (--tag flags=... counts)": with_flags,
    }
    lines = []
    for reason, runs in reasons.items():
        counts = collections.Counter(runs).items()
        if runs:
            lines.append(f"{reason}: {_listed(f'{name} ({n} times)' if n > 1 else name for name, n in counts)}")
    return lines


def instead(found: Sequence[Found], selection: Selection, only: RunFilter) -> list[str]:
    """Whose runs there are of the columns that have none of those wanted; a line for each such column.

    Raises:
        ConfigError: when no column has any.
    """
    others = {}
    for column, here in zip(selection.columns, found, strict=True):
        if not here.runs.finished:
            recorded = here.store.narrowed(ALL_RUNS).of_condition(column.config.condition_hash())
            others[column.label] = recorded.finished + recorded.with_flags
    if len(others) == len(found):
        every = [run for runs in others.values() for run in runs]
        raise ConfigError(
            f"{only.as_options()}: finds no finished run of {_listed(others, ', ')}; {_whose(every, only)}"
        )
    return [f"{label}: no such run is finished; {_whose(runs, only)}" for label, runs in others.items()]


def _whose(runs: Sequence[RunRecord], only: RunFilter) -> str:
    if not runs:
        return "there is no other either; python -m seqadd.run makes one"
    values = {
        "user": [run.user for run in runs],
        "commit": [run.tags.get("git_commit", "unknown")[:12] for run in runs],
        **{f"tag {key}": [run.tags.get(key, "none") for run in runs] for key, _ in only.tags},
    }
    said = []
    for what, each in values.items():
        counts = collections.Counter(map(sanitize, each)).most_common()
        said.append(f"{what} " + _listed((f"{value} ({n})" for value, n in counts), ", "))
    return f"of all {len(runs)} there are: {'; '.join(said)}"


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
        "  python -m seqadd.table cell=lstm batch_size=64,512,4096 --epochs 10,50 --csv table.csv\n"
        "  python -m seqadd.table tracking.experiment=ours,theirs cell=lstm --user anna --commit 4265967",
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
        default=resource_dir("experiments") / "cells" / "published.csv",
        metavar="FILE",
        help="published numbers (default: the article's table)",
    )
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the table as Markdown")
    parser.add_argument("--csv", type=Path, metavar="FILE", help="write the table in long form, a number a row")
    parser.add_argument("--figure", type=Path, metavar="FILE", help="draw the learning curves (.png, .svg, .pdf)")
    add_filter_options(parser)
    add_version(parser)
    return parser.parse_intermixed_args(arguments)


def main() -> None:
    """Command line of ``python -m seqadd.table``."""
    # To look for garbage again and again, among all that MLflow imports and makes, would take two seconds of five.
    gc.set_threshold(100_000, 50, 100)
    with command(prints=True):
        options = parse_arguments()
        check_outputs(options)
        overrides = list(options.overrides)
        if not any(override.startswith("cell=") for override in overrides):
            overrides = ARTICLE_COLUMNS + overrides
        selection = compose_selection(overrides)
        published = read_published(options.published)

        only = run_filter_from(options)
        found = find(selection, only)
        of_others = instead(found, selection, only) if only else []
        metrics = list(options.metrics)
        curves = learning_curves(found, selection, metrics, None if options.figure else options.epochs)
        summary = summarize(curves, selection, published, options.epochs, metrics)
        lines = lay_out(summary, selection)
        below = notes(curves[curves["epoch"].isin(options.epochs)], selection, metrics, only)
        below += left_out(found, selection, curves, options.epochs) + of_others

        if options.markdown:
            write_file(options.markdown, to_markdown(lines, below))
        if options.csv:
            write_file(options.csv, to_csv(summary))
        if options.figure:
            from seqadd.reporting import figures

            labels = [column.label for column in selection.columns]
            with atomic_write(options.figure) as path:
                figures.learning_curves(curves, labels, summary, metrics[-1]).savefig(path, dpi=150)

        console = SafeConsole(highlight=False)
        if not console.is_terminal:
            console.width = 1000  # a file or a pipe has no edge to wrap at
        console.print(to_terminal(lines))
        for line in below:
            console.print(line, style="dim", markup=False)
        for index in [] if only else summary.loc[summary["seeds"] == 0, "column"].unique():
            column = selection.columns[index]
            command_line = f"python -m seqadd.run {' '.join(column.overrides)} epochs={max(options.epochs)}"
            said = redact_credentials(f"to fill what is missing of {column.label}: {command_line}")
            console.print(said, markup=False)


if __name__ == "__main__":
    main()
