"""Prints an inspection or a comparison to the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.text import Text

from seqadd.evaluation import error_analysis
from seqadd.inspection.analysis import Comparison, HeldOut, Inspection, accuracies
from seqadd.inspection.trace import Trace

if TYPE_CHECKING:
    import pandas as pd

#: Questions in the sample.
_SAMPLE = 10


def visible(character: str, encoding: str = "utf-8") -> str:
    """Returns a character, with a visible symbol for the blank; an ASCII one if the terminal's encoding needs that."""
    if character != " ":
        return character
    return "␣" if can_encode("␣", encoding) else "_"


def can_encode(text: str, encoding: str) -> bool:
    try:
        text.encode(encoding)
    except (UnicodeError, LookupError):
        return False
    return True


def trace_line(traced: Trace, seen_in_training: str) -> str:
    """Describes a question and its answer: ``617+397 = 1014: says 1004, wrong (held out, read as "793+716")``."""
    notation = traced.question.notation
    read = f'read as "{notation.vocabulary.decode(traced.question.ids[None])[0]}"'
    written = f', written as "{traced.guess.rstrip()}"' if notation.reverse_answer else ""
    return f"{traced.summary} ({seen_in_training}, {read}{written})"


def characters_table(traced: Trace) -> pd.DataFrame:
    """Returns an answer character by character, as ``error_analysis.by_character`` does."""
    question = traced.question
    return error_analysis.by_character(question.answer, traced.probabilities, question.notation.alphabet)


#: Columns of ``character_rows``.
CHARACTERS_HEADER = ("position", "predicted", "p", "runner-up", "p", "answer", "p")


def character_rows(traced: Trace, encoding: str = "utf-8") -> list[list[str]]:
    """Returns an answer character by character: a line for each position, under ``CHARACTERS_HEADER``."""
    return [
        [
            str(row["place"]),
            visible(row["guess"], encoding),
            f"{row['p']:.4f}",
            visible(row["runner_up"], encoding),
            f"{row['p_runner_up']:.4f}",
            visible(row["answer"], encoding),
            f"{row['p_answer']:.4f}",
        ]
        for row in characters_table(traced).to_dict("records")
    ]


def _print_table(
    console: Console, header: Sequence[str], lines: Sequence[Sequence[str]], styles: Sequence[str]
) -> None:
    """Prints right-aligned columns in full width: a narrow terminal wraps lines instead of cutting numbers."""
    widths = [max(map(len, column)) for column in zip(header, *lines, strict=True)]
    for cells, style in zip([header, *lines], ["", *styles], strict=True):
        text = "  ".join(cell.rjust(width) for cell, width in zip(cells, widths, strict=True))
        console.print(Text(text.rstrip(), style=style), soft_wrap=True)


def print_inspection(inspection: Inspection, console: Console) -> None:
    """Prints the main results of an inspection; the files have all results."""
    run, found, encoding = inspection.run, inspection.held_out, console.encoding

    def notify(text: Any = "") -> None:
        console.print(text, markup=False)

    notify(f"{run.name}, {run.origin}")
    for note in run.notes:
        console.print(note, style="yellow", markup=False)
    notify(f"{100 * found.exact_match:.1f} % of {len(found.sums)} held-out {run.config.noun} right")
    for traced, seen_in_training in zip(inspection.traces, inspection.seen_in_training, strict=True):
        changed = inspection.changed.traces.get(traced.question.text, [])
        others = [(f"{word}: {each.summary}", each) for word, each in changed]
        for line, each in [(trace_line(traced, seen_in_training), traced), *others]:
            notify()
            notify(line)
            lines = character_rows(each, encoding)
            _print_table(console, CHARACTERS_HEADER, lines, ["" if row[1] == row[5] else "red" for row in lines])
    notify()
    notify(f"first held-out {run.config.noun}:")
    for example in sample(found.sums.head(_SAMPLE), encoding):
        notify(example)
    notify()
    off = inspection.changed.held_out
    _print_accuracies(console, ["right", *off], [found, *off.values()])
    notify()
    for row in sorted(inspection.changed.without, key=lambda row: row["exact_match"])[:_SAMPLE]:
        notify(f"without {row['layer']}[{row['unit']}]: {100 * row['exact_match']:.1f} % right")
    if inspection.warnings:
        notify("warnings:")
        for warning in inspection.warnings:
            console.print(f"  {warning}", style="yellow", markup=False)
    else:
        notify("no warnings")


def print_comparison(comparison: Comparison, console: Console) -> None:
    """Prints the answers, accuracies and warnings of each compared run."""
    for run, label in zip(comparison.runs, comparison.labels, strict=True):
        console.print(f"{label}: {run.name}, {run.origin}", markup=False)
        for note in run.notes:
            console.print(f"{label}: {note}", style="yellow", markup=False)
    for each in comparison.traces:
        console.print()
        for run, traced, label in zip(comparison.runs, each, comparison.labels, strict=True):
            console.print(f"{label}: {trace_line(traced, run.seen_in_training(traced.question.text))}", markup=False)
    console.print()
    _print_accuracies(console, comparison.labels, comparison.held_out)
    for label, warnings in zip(comparison.labels, comparison.warnings, strict=True):
        for warning in warnings:
            console.print(f"{label}: {warning}", style="yellow", markup=False)


def _print_accuracies(console: Console, labels: Sequence[str], each: Sequence[HeldOut]) -> None:
    header, lines = accuracies(labels, each)
    _print_table(console, header, lines, [""] * len(lines))


def sample(sums: pd.DataFrame, encoding: str) -> list[Text]:
    """Returns held-out questions with the model's answers, a line each: question, right answer, mark, guess."""
    good, bad = ("✓", "✗") if can_encode("✓✗", encoding) else ("ok", "no")
    width = max(map(len, sums["question"]), default=0)
    longest = max(map(len, sums["answer"]), default=0)
    lines = []
    for row in sums.to_dict("records"):
        line = Text(f"Q {row['question']:<{width}}  T {row['answer']:<{longest}}  ")
        mark = good if row["right"] else bad
        line.append(f"{mark:<{max(len(good), len(bad))}} {row['guess']}", style="green" if row["right"] else "red")
        lines.append(line)
    return lines
