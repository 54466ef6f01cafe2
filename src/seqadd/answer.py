"""A trained model adds: from arguments, from standard input, or at a prompt.

python -m seqadd.answer run=latest 535+61
echo 535+61 | python -m seqadd.answer cell=lstm seed=0
"""

from __future__ import annotations

import argparse
import itertools
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from seqadd.exits import command
from seqadd.progress import PatientConsole

if TYPE_CHECKING:
    from seqadd.trained import TrainedRun

#: Lines of standard input that go through the model at once.
_AT_ONCE = 1000


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line of ``python -m seqadd.answer``."""
    parser = argparse.ArgumentParser(
        prog="python -m seqadd.answer",
        description="A trained model adds. One line for each sum: what it says, and how probable it thinks that is. It "
        "can be wrong. What is no sum gets an empty line and is named on standard error; the exit code is then 2.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
        epilog="which run: run=latest (if nothing is said), run=ID, or a configuration, as for seqadd.inspect\n"
        "\nexamples:\n"
        "  python -m seqadd.answer run=latest 535+61 5+7\n"
        "  python -m seqadd.answer cell=lstm seed=0 < sums.txt\n"
        "  python -m seqadd.answer",
    )
    parser.add_argument(
        "words",
        nargs="*",
        metavar="A+B | KEY=VALUE",
        help="sums, and which run; without sums they are read from standard input, a line each, or asked for",
    )
    options = parser.parse_intermixed_args(arguments)
    options.choice = [word for word in options.words if "=" in word]
    options.questions = [word for word in options.words if "=" not in word]
    return options


def answers(run: TrainedRun, questions: Sequence[str]) -> list[tuple[str, float]]:
    """What a model says to each question, and the probability of that, the product over its characters.

    Args:
        run: which.
        questions: as ``535+61``, at least one.

    Raises:
        ValueError: for a question that is no sum, or too long for this run.
    """
    from seqadd import activations, alphabet

    probabilities = activations.probabilities(run.model, run.write(questions))
    texts = alphabet.decode(probabilities.argmax(axis=-1))
    sure = probabilities.max(axis=-1).prod(axis=-1)
    return [(text.strip(), float(p)) for text, p in zip(texts, sure, strict=True)]


def lines_of(run: TrainedRun, questions: Sequence[str]) -> Iterator[tuple[str, str | None]]:
    """For each question a line for standard output, and one for standard error where it is no sum."""
    from seqadd import views

    refused: dict[int, str] = {}
    for index, question in enumerate(questions):
        try:
            views.ask(run.config, question)
        except ValueError as error:
            refused[index] = str(error)
    good = [question for index, question in enumerate(questions) if index not in refused]
    found = iter(answers(run, good) if good else [])
    for index in range(len(questions)):
        if index in refused:
            yield "", refused[index]
        else:
            text, p = next(found)
            yield f"{text}  p={p:.4f}", None


def _asked(console: PatientConsole) -> Iterator[list[str]]:
    """Questions from standard input, many at once where it is a file; at a terminal one after another."""
    if sys.stdin.isatty():
        console.print("a sum a line, as 535+61; Ctrl-D ends", style="dim")
        while True:
            try:
                question = input("> ").strip()
            except EOFError:
                console.print()
                return
            if question:
                yield [question]
    lines: Iterable[str] = (line.strip() for line in sys.stdin)
    questions = (line for line in lines if line)
    while batch := list(itertools.islice(questions, _AT_ONCE)):
        yield batch


def main() -> None:
    """Command line of ``python -m seqadd.answer``."""
    with command():
        options = parse_arguments()
        from seqadd import trained

        console = PatientConsole(highlight=False, soft_wrap=True)
        run = trained.load_run(*options.choice)
        refused = 0
        for batch in [options.questions] if options.questions else _asked(console):
            for line, problem in lines_of(run, batch):
                console.print(line, markup=False)  # an empty one too: line n answers sum n
                if problem is not None:
                    refused += 1
                    print(f"seqadd: {problem}", file=sys.stderr)
        if refused:
            sys.exit(2)


if __name__ == "__main__":
    main()
