"""Asks a trained model: sums come from arguments, from standard input, or from a prompt.

python -m seqadd.answer run=latest 535+61
echo 535+61 | python -m seqadd.answer cell=lstm seed=0

A model that ends its answers itself accepts longer sums than it was trained on, and a beam search.
"""

from __future__ import annotations

import sys

from seqadd.system import status_line

if status_line.is_command(__name__):
    status_line.show("reading the sums")  # before the other imports, which take a second

import argparse
import itertools
import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, NoReturn

from seqadd.cli.code_option import add_code_option, take_code
from seqadd.cli.console import SafeConsole
from seqadd.cli.entry import add_version, as_program, command
from seqadd.config.schema import GROUPS, Config, known_keys
from seqadd.data.addition import Addition
from seqadd.data.text_task import signs
from seqadd.data.vocabulary import BLANK
from seqadd.errors import ConfigError
from seqadd.tracking.run_filter import add_filter_options, run_filter_from

if TYPE_CHECKING:
    from seqadd.evaluation.trained_run import TrainedRun

#: Lines of standard input in one batch.
_AT_ONCE = 1000
#: Limits for models that accept questions of any length: digits of an addend, characters of an answer.
_MOST_DIGITS, _LONGEST = 18, 40
#: The keys that choose a run.
_CHOOSE = {*known_keys(), *GROUPS, "run", "model", "epoch", "epochs"}
#: The largest beam.
_WIDEST = 1000


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Parses the command line of ``python -m seqadd.answer``."""
    parser = argparse.ArgumentParser(
        prog="python -m seqadd.answer",
        description="Asks a trained model to add. Prints one line per line of input: the sum, whether the model is "
        "right, its\nanswer if it is wrong, and the probability of its answer. Input that is not a sum gets an empty "
        "line, a\nmessage on standard error, and exit code 2. A model of another task is asked its questions.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
        epilog="which run: run=latest (default), run=ID, or a configuration, as for python -m seqadd.inspect;\n"
        "  or model=lstm, model=gru, model=simple_rnn: a trained model that comes with seqadd, of 200 epochs, or of\n"
        "  epoch=10, 50 or 100\n"
        "\nexamples:\n"
        "  python -m seqadd.answer model=lstm 535+61\n"
        "  python -m seqadd.answer run=latest 535+61 5+7\n"
        "  python -m seqadd.answer cell=lstm seed=0 < sums.txt\n"
        "  python -m seqadd.answer",
    )
    parser.add_argument(
        "words",
        nargs="*",
        metavar="A+B | KEY=VALUE",
        help="sums, and which run; without sums, they are read from standard input, one per line",
    )
    parser.add_argument(
        "--beam",
        type=int,
        metavar="N",
        help="width of the beam search (default: 1, greedy); for a model that reads its own answer",
    )
    parser.add_argument(
        "--max-length",
        type=int,
        metavar="N",
        help="most characters of an answer (default: as many as the longest sum can need); for a model that reads its "
        "own answer; an answer that is cut ends in ...",
    )
    add_code_option(parser)
    add_filter_options(parser)
    add_version(parser)
    words = sys.argv[1:] if arguments is None else arguments
    # A word such as -5+7 is an invalid question, not an option.
    options = parser.parse_intermixed_args([f" {word}" if re.match(r"-\d", word) else word for word in words])
    # A key without "=" is no question: ``model lstm`` is refused with its right form.
    before = ["", *options.words]
    options.choice = [
        word
        for word, last in zip(options.words, before, strict=False)
        if re.match(r"[^-+\d\s].*=", word) or word in _CHOOSE or (last in _CHOOSE and word[:1].isalpha())
    ]
    for word in options.choice:
        if word.startswith("question="):
            raise ConfigError(f"{word}: write the sum without question=, for example 535+61")
    options.typed = [word for word in options.words if word not in options.choice]
    return options


def read_text(text: str, alphabet: str) -> str:
    """Returns a question as typed without blanks around it, in ASCII: Asian keyboards write full-width characters."""
    return "".join(each if each in alphabet else unicodedata.normalize("NFKC", each) for each in text).strip()


def join_words(words: Sequence[str], around: str = "+") -> list[str]:
    """Joins the words of questions that were typed with blanks: ``12 + 7`` is one sum, ``12+7 5+1`` are two.

    Args:
        words: of the command line.
        around: the signs around which blanks may be typed.

    Example:
        >>> join_words(["12", "+", "7", "5+1", "3", "+4"])
        ['12+7', '5+1', '3+4']
    """
    signs, joined = tuple(around), list[str]()
    for word in words:
        if joined and (joined[-1].endswith(signs) or (word.startswith(signs) and not set(signs) & set(joined[-1]))):
            joined[-1] += word
        else:
            joined.append(word)
    return joined


def takes_longer_sums(config: Config) -> bool:
    """Whether a model can be asked longer sums than it was trained on: one of the package that ends its answers."""
    return config.ends_with_eos and config.task.name is None and config.part("architecture") is None


def check_options(run: TrainedRun, beam: int | None, max_length: int | None) -> None:
    """Raises ConfigError if ``--beam`` or ``--max-length`` is out of range, or this run's model does not support it."""
    config = run.config
    longest = run.task.room()[1]
    highest = max(_LONGEST, longest) if takes_longer_sums(config) else longest
    for option, value, low, high in (("--beam", beam, 1, _WIDEST), ("--max-length", max_length, longest, highest)):
        if value is not None and not low <= value <= high:
            why = f" (its task has answers of {longest} characters)" if low > 1 else ""
            raise ConfigError(f"{option}={value}: must be in {low}..{high}{why}")
        if value is not None and not config.ends_with_eos:
            raise ConfigError(
                f"{option}={value}: architecture={config.architecture} predicts all characters at once; leave it "
                "out, or choose a run of architecture=encoder_decoder or attention"
            )


def _room(run: TrainedRun, question: str) -> tuple[int, int]:
    """Returns the characters that a question takes, padding included, and those that its answer may need."""
    if not takes_longer_sums(run.config):
        return run.data.train_questions.shape[1], run.task.room()[1]
    return Addition(max(run.config.longest, *map(len, question.split("+")))).room()


def answers(
    run: TrainedRun, questions: Sequence[str], beam: int | None = None, max_length: int | None = None
) -> list[tuple[str, float]]:
    """Returns a model's answer to each question, and its probability: the product over its characters.

    Args:
        run: whose model answers.
        questions: as the task's ``read`` returns them, at least one.
        beam: width of the beam search; None for greedy decoding.
        max_length: most characters of an answer; None for the longest answer of the task, or to sums with as many
            digits as the question has if that is more.

    Returns:
        For each question the answer as people write it, with ``...`` where it was cut at ``max_length``, and the
        probability.
    """
    from seqadd.evaluation import predict

    # Other questions must not change an answer, so each length is a separate batch.
    by_room: dict[tuple[int, int], list[int]] = {}
    for index, question in enumerate(questions):
        by_room.setdefault(_room(run, question), []).append(index)
    found: dict[int, tuple[str, float]] = {}
    for (question_length, answer_length), indices in by_room.items():
        asked = run.notation.write_questions([questions[index] for index in indices], question_length)
        length = max_length or answer_length
        if run.config.ends_with_eos:
            ids, sure = predict.free_answers(run.model, asked, length + 1, beam or 1)  # a blank ends it
        else:
            probabilities = predict.probabilities(run.model, asked)
            ids, sure = probabilities.argmax(axis=-1), probabilities.max(axis=-1).prod(axis=-1)
        is_cut = (ids != BLANK).all(axis=1) & run.config.ends_with_eos
        whole, beginnings = run.notation.read_answers(ids), run.notation.read_answers(ids[:, :length])
        cut = ("...{}" if run.notation.reverse_answer else "{}...").format
        for index, text, beginning, cut_here, p in zip(indices, whole, beginnings, is_cut, sure, strict=True):
            found[index] = cut(beginning) if cut_here else text, float(p)
    return [found[index] for index in range(len(questions))]


def lines_of(
    run: TrainedRun, questions: Sequence[str], beam: int | None = None, max_length: int | None = None
) -> Iterator[tuple[str, str | None]]:
    """Yields for each question a line for standard output, and one for standard error if the task has no such question.

    An empty question gives an empty line.
    """
    task = Addition(_MOST_DIGITS) if takes_longer_sums(run.config) else run.task
    refused: dict[int, str] = {}
    good: list[str] = []
    for index, question in enumerate(questions):
        if not question:
            continue
        try:
            asked = task.read(question)
            room = _room(run, asked)[1]
            if max_length is not None and max_length < room:
                raise ValueError(
                    f"question={question}: the answer may have {room} characters; raise --max-length={max_length}"
                )
            good.append(asked)
        except ValueError as error:
            refused[index] = str(error)
    found = iter(zip(good, answers(run, good, beam, max_length), strict=True) if good else [])
    for index, question in enumerate(questions):
        if not question or index in refused:
            yield "", refused.get(index)
        else:
            asked, (text, p) = next(found)
            right_answer = task.solve(asked)
            verdict = "right" if text == right_answer else f"says {text or 'nothing'}, wrong"
            yield f"{asked} = {right_answer}  {verdict}  p={p:.4f}", None


def _example(run: TrainedRun) -> str:
    """Returns a question of the run's task."""
    return "535+61" if run.config.task.name is None else run.read(run.data.val_questions[:1])[0]


def _read_questions(run: TrainedRun, console: SafeConsole) -> Iterator[list[str]]:
    """Yields batches of questions from standard input: many at once from a file, one by one from a terminal.

    A file's empty lines are questions too, as line n answers line n.
    """
    if sys.stdin.isatty():
        one = run.config.noun.removesuffix("s")
        console.print(f"one {one} per line, for example {_example(run)}; Ctrl-D ends", style="dim", markup=False)
        while True:
            try:
                question = read_text(input("> "), run.config.alphabet)
            except EOFError:
                console.print()
                return
            if question:
                yield [question]
    questions: Iterable[str] = iter(read_text(line, run.config.alphabet) for line in sys.stdin)
    while batch := list(itertools.islice(questions, _AT_ONCE)):
        yield batch


def _notify(text: str) -> None:
    """Prints a message to standard error: on standard output, line n answers line n."""
    print(f"seqadd: {text}", file=sys.stderr)


def main() -> None:
    """Command line of ``python -m seqadd.answer``."""
    with command(prints=True):
        options = parse_arguments(take_code(sys.argv[1:]))
        status_line.show("importing MLflow")
        from seqadd.evaluation import run_selection

        status_line.show("looking for the run, importing TensorFlow")
        console = SafeConsole(highlight=False, soft_wrap=True)
        run = run_selection.load_run(*options.choice, run_filter=run_filter_from(options), notify=_notify)
        check_options(run, options.beam, options.max_length)
        status_line.clear()
        typed = [read_text(word, run.config.alphabet) for word in options.typed]
        questions = join_words(typed, signs(run.config.alphabet))
        refused = asked = 0
        for batch in [questions] if questions else _read_questions(run, console):
            for line, problem in lines_of(run, batch, options.beam, options.max_length):
                console.print(line, markup=False)  # even an empty one: line n answers line n
                asked += bool(line) or problem is not None
                if problem is not None:
                    refused += 1
                    _notify(problem)
        if not asked and (questions or not sys.stdin.isatty()):
            one = run.config.noun.removesuffix("s")
            _notify(f"no {one} is given; write {_example(run)} as an argument, or one per line on standard input")
        if refused:
            sys.exit(2)


def program() -> NoReturn:
    """The program of a process; ``main`` is for callers that go on afterwards."""
    as_program(main)


if __name__ == "__main__":
    program()
