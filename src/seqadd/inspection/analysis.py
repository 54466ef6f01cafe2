"""Computes all data of an inspection of one trained run, or of a comparison of several. Draws nothing.

``html_report`` (figures, tables, a page) and ``terminal`` display the data.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from seqadd.errors import ConfigError
from seqadd.evaluation import error_analysis
from seqadd.evaluation.questions import Question, encode_questions
from seqadd.evaluation.trained_run import TrainedRun
from seqadd.inspection import diagnostics
from seqadd.inspection.trace import Trace, trace

if TYPE_CHECKING:
    import pandas as pd

    from seqadd.data.vocabulary import Ids
    from seqadd.evaluation.predict import Array


@dataclass(frozen=True)
class HeldOut:
    """A model's answers to the held-out questions.

    Attributes:
        sums: as ``error_analysis.by_question`` returns them.
        by_position, confusion: as the functions of these names in ``error_analysis`` return them.
        by_group: for each group that is shown, as ``error_analysis.by_group`` returns it.
        guesses: ids of the answers' characters, shape ``(n, answer_length)``.
    """

    sums: pd.DataFrame
    by_position: pd.DataFrame
    by_group: dict[str, pd.DataFrame]
    confusion: pd.DataFrame
    guesses: Ids

    @property
    def exact_match(self) -> float:
        """The share of questions with every character right."""
        return float(self.sums["right"].mean())


@dataclass(frozen=True)
class Changed:
    """What a model does with its states changed, see ``interventions``.

    Attributes:
        traces: of each question, by its text: for each change its word and the trace; after a patch, the donor's own.
        held_out: for each change that turns units off, by its word.
        without: with each unit off in turn: ``layer``, ``unit``, ``exact_match``; empty if it was not asked for.
    """

    traces: dict[str, list[tuple[str, Trace]]] = field(default_factory=dict)
    held_out: dict[str, HeldOut] = field(default_factory=dict)
    without: list[dict[str, Any]] = field(default_factory=list)


@dataclass(frozen=True)
class Inspection:
    """The data of an inspection of one run.

    Attributes:
        run: the inspected run.
        traces: the model's trace for each question.
        seen_in_training: for each question what ``TrainedRun.seen_in_training`` returns.
        held_out: its answers to the held-out sums.
        weights: every array, by its name.
        saturation: as ``saturation.saturation`` returns it, over the held-out sums.
        warnings: signs of an unhealthy model, a line each.
        changed: what it does with its states changed.
    """

    run: TrainedRun
    traces: list[Trace]
    seen_in_training: list[str]
    held_out: HeldOut
    weights: dict[str, Array]
    saturation: pd.DataFrame
    warnings: list[str]
    changed: Changed = field(default_factory=Changed)


def held_out(run: TrainedRun) -> HeldOut:
    """Computes the answers of a run's model to all held-out questions."""
    from seqadd.evaluation import predict

    data, noun = run.data, run.config.noun
    # Digits of addends are for longer sums and curricula; nearly all held-out sums have the same number.
    groups = {name: numbers for name, numbers in data.val_groups.items() if noun != "sums" or name != "digits"}
    probabilities = predict.probabilities(run.model, data.val_questions)
    counts = run.counts(data.val_answers)
    return HeldOut(
        error_analysis.by_question(
            run.read(data.val_questions),
            data.val_answers,
            probabilities,
            groups,
            predict.answer_probabilities(run.model, data.val_questions, data.val_answers),
            run.notation,
        ),
        error_analysis.by_position(data.val_answers, probabilities, counts, noun),
        {
            name: error_analysis.by_group(data.val_answers, probabilities, name, numbers, noun)
            for name, numbers in groups.items()
        },
        error_analysis.confusion(data.val_answers, probabilities, data.alphabet, counts),
        probabilities.argmax(axis=-1).astype(np.uint8),
    )


def choose_questions(found: HeldOut, questions: Sequence[str], errors: int, fits: Callable[[str], bool]) -> list[str]:
    """Chooses the questions to inspect: those given, then errors; without either the first error, or the first one.

    Args:
        found: the held-out questions of a run and its answers. Their order is random, so the first errors are a fair
            sample.
        questions: the questions given by the user.
        errors: how many wrong answers to add.
        fits: whether a question may be chosen.
    """
    short = found.sums["question"].map(fits)
    wrong = found.sums.loc[short & ~found.sums["right"], "question"].tolist()
    chosen = [*questions, *wrong[:errors]]
    return chosen or (wrong or found.sums.loc[short, "question"].tolist())[:1]


def ask_all(run: TrainedRun, questions: Sequence[str]) -> list[Question]:
    """Encodes the questions for one run, without duplicates.

    Raises:
        ConfigError: for a text that is no question of the run's task, or too long for it.
    """
    try:
        return list({asked.text: asked for asked in encode_questions(run.config, questions)}.values())
    except ValueError as error:
        raise ConfigError(f"{error} ({run.origin})") from error


def inspect_run(run: TrainedRun, questions: Sequence[str], errors: int = 0) -> Inspection:
    """Computes all data of an inspection of one run.

    Args:
        run: the run to inspect.
        questions: written like ``535+61``.
        errors: how many questions that it gets wrong to add.

    Raises:
        ConfigError: for a text that is no question of the run's task, or too long for it.
    """
    from seqadd.inspection import activations

    ask_all(run, questions)  # checks the questions before work that takes seconds
    found = held_out(run)
    asked = ask_all(run, choose_questions(found, questions, errors, _fits([run])))
    weights = activations.weights(run.model)
    saturation, warnings = _saturation(run)
    return Inspection(
        run,
        trace(run.model, asked),
        [run.seen_in_training(each.text) for each in asked],
        found,
        weights,
        saturation,
        warnings + _unhealthy(run, saturation, weights, found.guesses),
    )


@dataclass(frozen=True)
class Comparison:
    """The data of a comparison of several runs, or of one run after several epochs.

    Attributes:
        runs: the compared runs.
        labels: a label for each run.
        traces: for each question the trace of each run's model.
        held_out: the answers of each run's model to the held-out sums.
        saturation: for each run, as ``diagnostics.summary`` returns it.
        warnings: for each run signs of an unhealthy model, a line each.
    """

    runs: list[TrainedRun]
    labels: list[str]
    traces: list[list[Trace]]
    held_out: list[HeldOut]
    saturation: list[pd.DataFrame]
    warnings: list[list[str]]

    @property
    def of_one_run(self) -> bool:
        """Whether it is one run after several epochs."""
        return len({run.run_id for run in self.runs}) == 1


def compare(runs: Sequence[TrainedRun], labels: Sequence[str], questions: Sequence[str], errors: int = 0) -> Comparison:
    """Computes all data of a comparison; each question is put to all runs.

    Args:
        runs: at least two.
        labels: a label for each run.
        questions: written like ``535+61``.
        errors: how many questions that the last run gets wrong to add.

    Raises:
        ConfigError: for a text that is no question of one of the runs, or too long for it.
    """
    from seqadd.inspection import activations

    for run in runs:
        ask_all(run, questions)
    found = [held_out(run) for run in runs]
    chosen = choose_questions(found[-1], questions, errors, _fits(runs))
    if not chosen:
        example = "A+B" if runs[-1].config.noun == "sums" else "..."
        one = runs[-1].config.noun.removesuffix("s")
        raise ConfigError(
            f"question: no held-out {one} of the last run is short enough for all runs; add question={example}"
        )
    by_run = [trace(run.model, ask_all(run, chosen)) for run in runs]
    saturation: list[pd.DataFrame] = []
    warnings: list[list[str]] = []
    for run, of_run in zip(runs, found, strict=True):
        table, of_units = _saturation(run)
        saturation.append(diagnostics.summary(table))
        weights = activations.weights(run.model)
        warnings.append(of_units + _unhealthy(run, table, weights, of_run.guesses))
    each = [list(views_of_question) for views_of_question in zip(*by_run, strict=True)]
    return Comparison(list(runs), list(labels), each, found, saturation, warnings)


def _fits(runs: Sequence[TrainedRun]) -> Callable[[str], bool]:
    """Returns a function: whether all of these runs can be asked a held-out question of the last."""
    digits = [run.config.task.digits for run in runs if run.config.task.digits is not None]
    if len(digits) == len(runs):
        return lambda question: max(map(len, question.split("+"))) <= min(digits)
    others = [run for run in runs[:-1] if run.config.parts.get("task") != runs[-1].config.parts.get("task")]
    return lambda question: all(_reads(run, question) for run in others)


def _reads(run: TrainedRun, question: str) -> bool:
    try:
        run.task.read(question)
    except ValueError:
        return False
    return True


def _unhealthy(run: TrainedRun, saturation: pd.DataFrame, weights: Mapping[str, Any], guesses: Ids) -> list[str]:
    answers = run.data.val_answers
    return diagnostics.warnings(
        saturation, weights, guesses, answers, run.history, run.counts(answers),
        alphabet=run.data.alphabet, noun=run.config.noun,
    )  # fmt: skip


def _saturation(run: TrainedRun) -> tuple[pd.DataFrame, list[str]]:
    """Returns ``saturation.saturation`` for the held-out questions, and what it says nothing about, a line each."""
    from seqadd.inspection.saturation import no_saturation, not_checked, saturation

    questions = run.data.val_questions
    try:
        table = saturation(run.model, questions)
        return table, not_checked(run.model, questions, table)
    except ArithmeticError as error:
        return no_saturation(), [str(error)]


def accuracies(labels: Sequence[str], each: Sequence[HeldOut]) -> tuple[list[str], list[list[str]]]:
    """Returns header and lines of a table of accuracies for each label: by position, by group, and of all questions."""
    positions = sorted({position for found in each for position in found.by_position["place"]})
    groups = [
        (name, n)
        for name in dict.fromkeys(name for found in each for name in found.by_group)
        for n in sorted({n for found in each if name in found.by_group for n in found.by_group[name][name]})
    ]
    lines = []
    for label, found in zip(labels, each, strict=True):
        of_position = dict(zip(found.by_position["place"], found.by_position["accuracy"], strict=True))
        of_group = {
            (name, n): value
            for name, table in found.by_group.items()
            for n, value in zip(table[name], table["exact_match"], strict=True)
        }
        values = [
            *(of_position.get(position) for position in positions),
            *(of_group.get(group) for group in groups),
            found.exact_match,
        ]
        lines.append([label, *("" if value is None else f"{value:.4f}" for value in values)])
    return [
        "",
        *(f"position {position}" for position in positions),
        *(f"{n} {name}" for name, n in groups),
        "all right",
    ], lines
