"""Inspects a trained run's layers, or compares several runs side by side.

    python -m seqadd.inspect run=latest question=617+397
    python -m seqadd.inspect cell=lstm,gru seed=0 --errors 3

The functions for notebooks are in ``seqadd.evaluation`` and ``seqadd.inspection``.
"""

from __future__ import annotations

import sys

# When a file of this folder is run by its path, as editors do, Python imports this file instead of its own ``inspect``.
# Nearly every library imports ``inspect``, so this check runs first, whichever file was started.
if not __package__:
    _script = sys.argv[0].replace("\\", "/").rpartition("/")[2].removesuffix(".py")
    _command = _script if _script in ("run", "table", "reproduce", "inspect", "answer", "parts") else "run"
    print(
        f"seqadd: files of this folder cannot be run by path; in another folder, use: python -m seqadd.{_command}",
        file=sys.stderr,
    )
    sys.exit(2)

from seqadd.system import status_line

if status_line.is_command(__name__):
    status_line.show("reading the configuration")  # before the other imports, which take a second

import argparse
import shlex
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from seqadd.cli.code_option import add_code_option, take_code
from seqadd.cli.console import SafeConsole
from seqadd.cli.entry import add_version, as_program, command
from seqadd.config.messages import one_line
from seqadd.config.words import read_word
from seqadd.errors import ConfigError, DeliveryPending
from seqadd.tracking.run_filter import add_filter_options, run_filter_from

if TYPE_CHECKING:
    from seqadd.evaluation.trained_run import TrainedRun
    from seqadd.tracking.store import Store

#: The folder that reports are written to, and the name of a run's artifact folder for them.
FOLDER = "inspect"
# Each error takes several pictures, and a second or two.
_MOST_ERRORS = 50


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Parses the command line of ``python -m seqadd.inspect``."""
    parser = argparse.ArgumentParser(
        prog="python -m seqadd.inspect",
        description="Shows the inside of a trained run: each layer's output for a sum, gates and states step by step,\n"
        "weights, saturation, errors.\nCompares several runs, or several epochs of one, side by side.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
        epilog="which run, one of:\n"
        "  run=latest            the finished run that started last (default)\n"
        "  run=ID[,ID]           as python -m seqadd.run prints it\n"
        "  cell=lstm seed=0 ...  by configuration, as for python -m seqadd.run; of several runs, the longest\n"
        "  model=lstm            a trained model that comes with seqadd: lstm, gru, simple_rnn; needs no run\n"
        "which sums, and when:\n"
        "  question=617+397,5+61\n"
        "  epoch=10,50 or all    weights saved during training (python -m seqadd.run inspect.every=10);\n"
        "                        of a model: 10, 50, 100, 200\n"
        "  epoch=best            weights of the highest val_acc (python -m seqadd.run inspect.best=true)\n"
        "what if (of one run):\n"
        "  off=lstm_1[12,40]     these units are 0 in every state, at every step; off=lstm_1 for all units\n"
        "  off=each              which units matter most: accuracy without each\n"
        "  patch=431+121@4       the first layer has the states that 431+121 gives it in step 4;\n"
        "                        patch=431+121@4:lstm_2[7] for another layer, or for some units\n"
        "\nexamples:\n"
        "  python -m seqadd.inspect run=latest question=617+397\n"
        "  python -m seqadd.inspect cell=lstm,gru,simple_rnn seed=0 --errors 3\n"
        "  python -m seqadd.inspect cell=lstm epoch=all question=617+397\n"
        "  python -m seqadd.inspect model=lstm epoch=50",
    )
    parser.add_argument("words", nargs="*", metavar="KEY=VALUE", help="which run, which sums; see below")
    parser.add_argument(
        "--errors",
        type=int,
        default=0,
        metavar="N",
        help="also show N held-out sums that the model gets wrong (of several runs, the last)",
    )
    parser.add_argument(
        "--out", type=Path, metavar="FOLDER", help=f"folder for the files (default: {FOLDER}/ and the run's ID)"
    )
    parser.add_argument(
        "--no-record",
        action="store_true",
        help=f"do not add the files to the run's artifacts in {FOLDER}/ (a comparison is never added)",
    )
    add_code_option(parser)
    add_filter_options(parser)
    add_version(parser)
    return parser.parse_intermixed_args(arguments)


def split_questions(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Splits the words into questions, and the words that choose runs."""
    questions: list[str] = []
    others = []
    for word in words:
        if word.startswith("question="):
            questions += read_word(word)[1] or [""]  # which is no sum
        else:
            others.append(word)
    return questions, others


def name_for(runs: Sequence[TrainedRun]) -> str:
    """Returns the name of a report: ``1a2b3c4d`` for one run, ``1a2b3c4d_5e6f7a8b`` for several."""
    ids = list(dict.fromkeys(run.short_id for run in runs))
    name = "_".join(ids[:4]) + (f"_and_{len(ids) - 4}_more" if len(ids) > 4 else "")
    if len(ids) < len(runs):
        name += "_epochs"
    elif len(runs) == 1 and runs[0].epoch != runs[0].config.epochs:
        name += f"_epoch_{runs[0].epoch}"
    return name


def main() -> None:
    """Command line of ``python -m seqadd.inspect``."""
    with command():
        options = parse_arguments(take_code(sys.argv[1:]))
        questions, words = split_questions(options.words)
        what_if = [word for word in words if word.startswith(("off=", "patch="))]
        words = [word for word in words if word not in what_if]
        if not 0 <= options.errors <= _MOST_ERRORS:
            raise ConfigError(
                f"--errors {options.errors}: must be in 0..{_MOST_ERRORS}; predictions.csv lists all errors"
            )

        status_line.show("importing MLflow")
        from seqadd.evaluation import run_selection, trained_run
        from seqadd.inspection import analysis, html_report, report_folder, terminal

        if options.out is not None:
            report_folder.check_folder(options.out)
        choice = run_selection.read_choice(words, others=["question", "off", "patch"])
        console = SafeConsole(highlight=False, soft_wrap=True)
        with console.status("loading the run") as status:
            store = run_selection.open_store_of(choice, run_filter_from(options))
            runs = run_selection.load_from(store, choice)
            name = name_for(runs)
            folder = options.out or Path(FOLDER) / name
            report_folder.check_folder(folder)

            def drawing(picture: str) -> None:
                status.update(f"drawing {picture}")

            status.update("computing outputs")
            where = " ".join(map(shlex.quote, [*what_if, *(word for word in words if word.startswith("tracking."))]))
            from seqadd.inspection import interventions  # imports TensorFlow

            changes = interventions.read_changes(runs, what_if, questions)
            with tempfile.TemporaryDirectory() as gathered:
                # Files are published only when all are complete, from a temporary folder that holds nothing else.
                if len(runs) == 1:
                    seen = analysis.inspect_run(runs[0], questions, options.errors)
                    seen = interventions.with_changes(seen, changes, status.update)
                    terminal.print_inspection(seen, console)
                    shown = html_report.write_inspection(seen, Path(gathered), drawing, where, folder)
                    n_new = len(seen.traces)
                else:
                    beside = analysis.compare(runs, trained_run.labels(runs), questions, options.errors)
                    terminal.print_comparison(beside, console)
                    shown = html_report.write_comparison(beside, Path(gathered), drawing, where, folder)
                    n_new = len(beside.traces)
                page = report_folder.publish(Path(gathered), folder)
                console.print(f"\n{page}", markup=False)
                if shown[n_new:]:
                    console.print(f"with the earlier {', '.join(shown[n_new:])}", markup=False)
                if store is not None and not options.no_record and len({run.run_id for run in runs}) == 1:
                    _record(store, runs[0], Path(gathered), name, console)


def _record(store: Store, run: TrainedRun, gathered: Path, name: str, console: SafeConsole) -> None:
    """Uploads the files to the artifacts of their run; files of several runs are not uploaded."""
    from seqadd.errors import StoreMoved
    from seqadd.tracking.retry import STORE_ERRORS

    artifact = FOLDER if name == run.run_id[:8] else f"{FOLDER}_{name}"
    try:
        store.log_folder(run.run_id, gathered, artifact)
    except StoreMoved as error:
        console.print(f"cannot add the files to the run's artifacts: {error}", markup=False)
    except STORE_ERRORS as error:
        raise DeliveryPending(
            f"run {run.run_id}: cannot add the files to its artifacts: {one_line(error)[:200]}"
        ) from error


def program() -> NoReturn:
    """The program of a process; ``main`` is for callers that go on afterwards."""
    as_program(main)


if __name__ == "__main__":
    program()
