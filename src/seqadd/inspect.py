"""A trained run from inside, or several side by side.

    python -m seqadd.inspect run=latest question=617+397
    python -m seqadd.inspect cell=lstm,gru seed=0 --errors 3

What notebooks call is in ``seqadd.trained`` and ``seqadd.activations``.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from seqadd.config import ConfigError
from seqadd.exits import command
from seqadd.progress import PatientConsole

if TYPE_CHECKING:
    from seqadd.tracking import Store
    from seqadd.trained import TrainedRun

#: The folder that looks go into, and the name of a run's artifact with them.
FOLDER = "inspect"


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line of ``python -m seqadd.inspect``."""
    parser = argparse.ArgumentParser(
        prog="python -m seqadd.inspect",
        description="Look inside a trained run: what every layer puts out for a sum, gates and states step by step, "
        "weights, saturation, what it gets wrong. Several runs, or several epochs of one, are set side by side.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
        epilog="which run, one of:\n"
        "  run=latest            the finished run that was begun last (if nothing is said)\n"
        "  run=ID[,ID]           as python -m seqadd.run prints it\n"
        "  cell=lstm seed=0 ...  by its configuration: overrides of python -m seqadd.run; of several, the longest\n"
        "which sums, and when:\n"
        "  question=617+397,5+61\n"
        "  epoch=10,50 or all    weights that were kept while it trained (python -m seqadd.run inspect.every=10)\n"
        "\nexamples:\n"
        "  python -m seqadd.inspect run=latest question=617+397\n"
        "  python -m seqadd.inspect cell=lstm,gru,simple_rnn seed=0 --errors 3\n"
        "  python -m seqadd.inspect cell=lstm epoch=all question=617+397",
    )
    parser.add_argument("words", nargs="*", metavar="KEY=VALUE", help="which run, which sums; see below")
    parser.add_argument(
        "--errors",
        type=int,
        default=0,
        metavar="N",
        help="look at N held-out sums that it gets wrong too (of several runs: the last one)",
    )
    parser.add_argument(
        "--out", type=Path, metavar="FOLDER", help=f"where the files go (default: {FOLDER}/ and the run's id)"
    )
    parser.add_argument(
        "--no-record", action="store_true", help=f"do not put the files into the run's artifacts, under {FOLDER}/"
    )
    return parser.parse_intermixed_args(arguments)


def split_questions(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Questions, and the words that choose runs."""
    questions: list[str] = []
    others = []
    for word in words:
        key, _, value = word.partition("=")
        if key == "question":
            questions += [part.strip() for part in value.split(",")]
        else:
            others.append(word)
    return questions, others


def folder_for(runs: Sequence[TrainedRun]) -> Path:
    """Where the files go if nothing is said: ``inspect/1a2b3c4d``, of several runs ``inspect/1a2b3c4d_5e6f7a8b``."""
    ids = list(dict.fromkeys(run.run_id[:8] for run in runs))
    name = "_".join(ids[:4]) + (f"_and_{len(ids) - 4}_more" if len(ids) > 4 else "")
    if len(ids) < len(runs):
        name += "_epochs"
    elif len(runs) == 1 and runs[0].epoch != runs[0].config.epochs:
        name += f"_epoch_{runs[0].epoch}"
    return Path(FOLDER) / name


def main() -> None:
    """Command line of ``python -m seqadd.inspect``."""
    with command():
        options = parse_arguments()
        questions, words = split_questions(options.words)
        if options.errors < 0:
            raise ConfigError(f"--errors {options.errors}: must be at least 0")
        if options.out is not None and options.out.exists() and not options.out.is_dir():
            raise ConfigError(f"--out {options.out}: is a file; name a folder")

        from seqadd import inspection, inspection_files, trained

        choice = trained.read_choice(words)
        console = PatientConsole(highlight=False, soft_wrap=True)
        if not console.is_terminal:
            console.width = 1000  # a file or a pipe has no edge to wrap at
        with console.status("looking for the run") as status:
            store = trained.open_store_of(choice)
            runs = trained.load_from(store, choice)
            folder = options.out or folder_for(runs)

            def drawing(name: str) -> None:
                status.update(f"drawing {name}")

            status.update("asking the model")
            page: Callable[[], Path]
            if len(runs) == 1:
                seen = inspection.inspect_run(runs[0], questions, options.errors)
                inspection.print_inspection(seen, console)
                page = lambda: inspection_files.write_inspection(seen, folder, drawing)  # noqa: E731
            else:
                beside = inspection.compare(runs, trained.labels(runs), questions, options.errors)
                inspection.print_comparison(beside, console)
                page = lambda: inspection_files.write_comparison(beside, folder, drawing)  # noqa: E731
            path = page()
            if not options.no_record:
                _record(store, runs, folder, console)
        console.print(f"\n{path}", markup=False)


def _record(store: Store, runs: Sequence[TrainedRun], folder: Path, console: PatientConsole) -> None:
    """Puts the files into the artifacts of the run that they are of; those of several runs belong to none of them."""
    from seqadd.tracking import STORE_ERRORS

    if len({run.run_id for run in runs}) > 1:
        return
    name = FOLDER if len(runs) == 1 and runs[0].epoch == runs[0].config.epochs else f"{FOLDER}_{folder.name}"
    try:
        store.log_folder(runs[0].run_id, folder, name)
    except STORE_ERRORS as error:
        console.print(f"the files could not be put into the run's artifacts: {error}", markup=False)


if __name__ == "__main__":
    main()
