"""Tracked runs + published numbers -> the comparison table.

    python -m seqadd.table
    python -m seqadd.table cell=lstm batch_size=64,512,4096 --epochs 10,50
    python -m seqadd.table --user anna
    python -m seqadd.table --runs

It takes the overrides of the sweep that it tabulates: every combination is a column. A column's runs are found by their
configuration, not by their name. A run of 200 epochs fills the rows of 10, 50 and 100 too. ``--runs`` lists the runs.
"""

from __future__ import annotations

from seqadd.system import status_line

if status_line.is_command(__name__):
    status_line.show("importing MLflow, reading the runs")  # before the other imports, which take a second

import argparse
import gc
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from seqadd.claims import paired
from seqadd.cli.code_option import add_code_option, take_code
from seqadd.cli.console import SafeConsole
from seqadd.cli.entry import add_version, as_program, command
from seqadd.comparison.curves import BEST, DERIVED, find_runs
from seqadd.comparison.every_epoch import read_curves, write_curves
from seqadd.comparison.missing import training_command
from seqadd.comparison.notes import alternatives, excluded_runs, notes
from seqadd.comparison.rounded import find_rounded
from seqadd.comparison.runs import lay_out_runs, list_runs
from seqadd.comparison.table import (
    ARTICLE_COLUMNS,
    WIDTH,
    default_metrics,
    default_rows,
    lay_out,
    read_published,
    summarize,
    to_csv,
    to_latex,
    to_list,
    to_markdown,
    to_terminal,
)
from seqadd.config.composition import Selection, compose_selection
from seqadd.config.parts import declared
from seqadd.errors import ConfigError
from seqadd.system.files import atomic_write, resource_dir, write_file
from seqadd.tracking.run_filter import add_filter_options, run_filter_from
from seqadd.training.metric_names import METRICS, is_metric, lacks_group, shown_first

if TYPE_CHECKING:
    import pandas as pd

#: The options that name files, with the endings that a file may have.
_FILES = {
    "markdown": (), "csv": (), "latex": (), "figure": (".png", ".svg", ".pdf"), "curves": (".csv", ".parquet"),
}  # fmt: skip


def check_outputs(options: argparse.Namespace) -> None:
    """Raises ConfigError for a file that cannot be written, before any work is done."""
    for name in ("epochs", "metrics", "figure", "curves", "against") if options.runs else ():
        if getattr(options, name) is not None:
            raise ConfigError(f"--runs --{name}: --{name} is for the table; leave one of them out")
    for name, endings in _FILES.items():
        path = getattr(options, name)
        if path is None:
            continue
        if path.is_dir():
            raise ConfigError(f"--{name} {path}: is a folder; name a file in it")
        if not path.absolute().parent.is_dir():
            raise ConfigError(f"--{name} {path}: there is no folder {path.absolute().parent}")
        if endings and path.suffix not in endings:
            raise ConfigError(f"--{name} {path}: must end in {', '.join(endings)}")


def _epochs(text: str) -> tuple[int | str, ...]:
    try:
        rows: tuple[int | str, ...] = tuple(part if part == BEST else int(part) for part in text.split(","))
    except ValueError:
        rows = ()
    if not rows or any(isinstance(row, int) and row < 1 for row in rows):
        raise argparse.ArgumentTypeError(
            f"{text}: must be numbers of epochs of at least 1, or {BEST}, as in 10,50,100,200,{BEST}"
        )
    return rows


def _metrics(text: str) -> tuple[str, ...]:
    names = tuple(text.split(","))
    for name in names:
        if not (is_metric(name) or name in DERIVED):
            raise argparse.ArgumentTypeError(
                f"{name}: must be one of {', '.join((*METRICS, *DERIVED))}, val_acc_position_N, val_exact_match_GROUP_N"
            )
    return names


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Parses the command line of ``python -m seqadd.table``."""
    parser = argparse.ArgumentParser(
        prog="python -m seqadd.table",
        description="The comparison table of tracked runs, beside the published numbers.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="examples:\n  python -m seqadd.table\n  python -m seqadd.table era=keras3 cell=lstm,gru\n"
        "  python -m seqadd.table cell=lstm batch_size=64,512,4096 --epochs 10,50 --csv table.csv\n"
        "  python -m seqadd.table tracking.experiment=ours,theirs cell=lstm --user anna --commit 4265967\n"
        "  python -m seqadd.table --runs cell=gru",
    )
    parser.add_argument(
        "overrides",
        nargs="*",
        metavar="KEY=VALUE",
        help="overrides of python -m seqadd.run: each value of a sweep (A,B,C) is a column, the others define the "
        f"condition; seed=0,1 selects seeds (default: {' '.join(ARTICLE_COLUMNS)}, all seeds)",
    )
    parser.add_argument(
        "--epochs",
        type=_epochs,
        metavar="N,N",
        help="rows (default: 10,50,100,200 up to the longest run, and the last epoch of shorter runs); best: of each "
        "run the epoch with the highest val_acc",
    )
    parser.add_argument(
        "--metrics",
        type=_metrics,
        metavar="NAME,NAME",
        help="in each field (default: acc,val_acc; with a task of your own, its curve before them); also parameters, "
        "how many the model has, and median_epoch_seconds",
    )
    parser.add_argument(
        "--published",
        type=Path,
        default=resource_dir("experiments") / "cells" / "published.csv",
        metavar="FILE",
        help="published numbers (default: the article's table)",
    )
    parser.add_argument(
        "--runs",
        action="store_true",
        help="list the runs instead, best val_acc first: name, what differs from the defaults, last epoch, val_acc, "
        "status; KEY=VALUE selects runs with this value (default: all runs)",
    )
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the table as Markdown")
    parser.add_argument("--latex", type=Path, metavar="FILE", help="write the table as LaTeX, for the package booktabs")
    parser.add_argument(
        "--csv", type=Path, metavar="FILE", help="write the table in long form, a number a row, with each seed's value"
    )
    parser.add_argument(
        "--curves", type=Path, metavar="FILE", help="write these metrics of every epoch of every run (.csv, .parquet)"
    )
    parser.add_argument("--figure", type=Path, metavar="FILE", help="draw the learning curves (.png, .svg, .pdf)")
    add_code_option(parser)
    parser.add_argument(
        "--against",
        action="append",
        metavar="KEY=VALUE",
        help="compare each column with the one of this value, seed by seed: mean difference, interval, verdict "
        "(docs/verdicts.md); may be repeated",
    )
    add_filter_options(parser)
    add_version(parser)
    return parser.parse_intermixed_args(arguments)


def main() -> None:
    """Command line of ``python -m seqadd.table``."""
    # Collect garbage rarely: MLflow creates so many objects that collections would take two seconds out of five.
    gc.set_threshold(100_000, 50, 100)
    with command(prints=True):
        options = parse_arguments(take_code(sys.argv[1:]))
        check_outputs(options)
        console = SafeConsole(highlight=False)
        width = min(WIDTH, console.width)
        if not console.is_terminal:
            width, console.width = WIDTH, 1000  # lines in a file or a pipe need no wrapping
        if options.runs:
            _list_runs(options, console, width)
        else:
            _tabulate(options, console, width)


def _tabulate(options: argparse.Namespace, console: SafeConsole, width: int) -> None:
    """Prints and writes the comparison table."""
    overrides = list(options.overrides)
    if not _chooses_models(overrides):
        overrides = ARTICLE_COLUMNS + overrides
    selection = compose_selection(overrides)
    published = read_published(options.published)

    run_filter = run_filter_from(options)
    found, selection, below = find_rounded(find_runs(selection, run_filter), selection)
    of_others = alternatives(found, selection, run_filter) if run_filter else []
    epochs = options.epochs or default_rows(found, selection)
    first = shown_first(column.config for column in selection.columns)
    metrics = list(options.metrics or default_metrics(selection))
    for name in metrics:
        if all(lacks_group(name, column.config) for column in selection.columns):
            raise ConfigError(f"--metrics {name}: addition has no such group; must be carries or digits")
    curves = read_curves(found, selection, metrics, epochs, whole=bool(options.figure or options.curves))
    summary = summarize(curves, selection, published, epochs, metrics)
    lines = lay_out(summary, selection)
    below += notes(
        curves[curves["epoch"].isin(epochs)],
        selection,
        metrics,
        run_filter,
        published=bool(summary["published"].notna().any()),
    )
    numbers = [row for row in epochs if isinstance(row, int)] or default_rows(found, selection)
    below += excluded_runs(found, selection, curves, numbers) + of_others

    compared = paired.compare(curves, selection, options.against, epochs) if options.against else None
    if compared is not None:
        names = ["than", "seeds", "mean", "low", "high", "verdict", "more_seeds"]
        renamed = {name: f"against_{name}" for name in names}
        summary = summary.merge(
            compared.rename(columns=renamed).drop(columns="condition"), how="left", on=["column", "epochs", "metric"]
        )
    _write(options, lines, below, summary, None if compared is None else paired.lay_out(compared))
    drawn = metrics[-1] if options.metrics or first is None else first
    _write_curves(options, curves[curves["epoch"] != BEST], selection, summary, drawn)

    console.print(to_terminal(lines, width))
    if compared is not None:
        console.print(to_list(paired.lay_out(compared), wraps=("difference", "verdict")), width=width)
    for line in below:
        console.print(line, style="dim", markup=False)
    command_line = None if run_filter else training_command(found, selection, max(numbers))
    if command_line is not None:
        console.print(f"to train what is missing: {command_line}", markup=False, soft_wrap=True)


def _chooses_models(overrides: Sequence[str]) -> bool:
    """Whether overrides name cells, or an own architecture, whose cell is its own affair."""
    own = {name for kind, name in declared() if kind == "architecture"}
    words = [override.partition("=") for override in overrides]
    return any(key == "cell" or (key == "architecture" and own.intersection(text.split(","))) for key, _, text in words)


def _list_runs(options: argparse.Namespace, console: SafeConsole, width: int) -> None:
    """Prints and writes the list of runs."""
    runs = list_runs(options.overrides, run_filter_from(options))
    lines = lay_out_runs(runs)
    _write(options, lines, [], runs)
    if len(runs) == 0:
        console.print("no run matches; python -m seqadd.run trains one", markup=False)
        return
    console.print(to_list(lines), width=width)
    best = runs["run_id"].iloc[0]
    console.print(f"to look inside the first: python -m seqadd.inspect run={best}", markup=False, soft_wrap=True)


def _write(
    options: argparse.Namespace,
    lines: list[list[str]],
    below: list[str],
    numbers: pd.DataFrame,
    compared: list[list[str]] | None = None,
) -> None:
    if options.markdown:
        second = "" if compared is None else "\n" + to_markdown(compared, [])
        write_file(options.markdown, to_markdown(lines, below) + second)
    if options.latex:
        write_file(options.latex, to_latex(lines, below))
    if options.csv:
        write_file(options.csv, to_csv(numbers))


def _write_curves(
    options: argparse.Namespace, curves: pd.DataFrame, selection: Selection, summary: pd.DataFrame, metric: str
) -> None:
    if options.curves:
        write_curves(options.curves, curves, selection)
    if options.figure:
        from seqadd.reporting.curves import learning_curves as draw_curves

        columns = [(column.label, column.distinct_values) for column in selection.columns]
        with atomic_write(options.figure) as path:
            draw_curves(curves, columns, summary, metric).savefig(path, dpi=150)


def program() -> NoReturn:
    """The program of a process; ``main`` is for callers that go on afterwards."""
    as_program(main)


if __name__ == "__main__":
    program()
