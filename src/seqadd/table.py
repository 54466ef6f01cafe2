"""Tracked runs + published numbers -> the comparison table.

    python -m seqadd.table
    python -m seqadd.table cell=lstm batch_size=64,512,4096 --epochs 10,50
    python -m seqadd.table --user anna

It takes the overrides of the sweep that it tabulates: every combination is a column. A column's runs are found by their
configuration, not by their name. A run of 200 epochs fills the rows of 10, 50 and 100 too.
"""

from __future__ import annotations

from seqadd.system import status_line

if status_line.is_command(__name__):
    status_line.show("importing MLflow, reading the runs")  # before the other imports, which take a second

import argparse
import gc
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from seqadd.cli.console import SafeConsole
from seqadd.cli.entry import add_version, as_program, command
from seqadd.comparison.curves import find_runs, learning_curves
from seqadd.comparison.notes import alternatives, excluded_runs, notes
from seqadd.comparison.table import (
    ARTICLE_COLUMNS,
    ARTICLE_EPOCHS,
    ARTICLE_METRICS,
    lay_out,
    read_published,
    summarize,
    to_csv,
    to_markdown,
    to_terminal,
)
from seqadd.config.composition import compose_selection
from seqadd.errors import ConfigError, redact_credentials
from seqadd.system.files import atomic_write, resource_dir, write_file
from seqadd.tracking.run_filter import add_filter_options, run_filter_from
from seqadd.training.metric_names import METRICS, is_metric

_FIGURES = (".png", ".svg", ".pdf")


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
    """Parses the command line of ``python -m seqadd.table``."""
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
    # Collect garbage rarely: MLflow creates so many objects that collections would take two seconds out of five.
    gc.set_threshold(100_000, 50, 100)
    with command(prints=True):
        options = parse_arguments()
        check_outputs(options)
        overrides = list(options.overrides)
        if not any(override.startswith("cell=") for override in overrides):
            overrides = ARTICLE_COLUMNS + overrides
        selection = compose_selection(overrides)
        published = read_published(options.published)

        run_filter = run_filter_from(options)
        found = find_runs(selection, run_filter)
        of_others = alternatives(found, selection, run_filter) if run_filter else []
        metrics = list(options.metrics)
        curves = learning_curves(found, selection, metrics, None if options.figure else options.epochs)
        summary = summarize(curves, selection, published, options.epochs, metrics)
        lines = lay_out(summary, selection)
        below = notes(curves[curves["epoch"].isin(options.epochs)], selection, metrics, run_filter)
        below += excluded_runs(found, selection, curves, options.epochs) + of_others

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
            console.width = 1000  # lines in a file or a pipe need no wrapping
        console.print(to_terminal(lines))
        for line in below:
            console.print(line, style="dim", markup=False)
        for index in [] if run_filter else summary.loc[summary["seeds"] == 0, "column"].unique():
            column = selection.columns[index]
            command_line = f"python -m seqadd.run {' '.join(column.overrides)} epochs={max(options.epochs)}"
            remedy = redact_credentials(f"to fill what is missing of {column.label}: {command_line}")
            console.print(remedy, markup=False)


def program() -> NoReturn:
    """The program of a process; ``main`` is for callers that go on afterwards."""
    as_program(main)


if __name__ == "__main__":
    program()
