"""Makes the data set of any task: distinct questions, shuffled, split, padded, reversed, with a digest.

A task says what its questions and answers are (``Task``); all else is the same for all of them, and is here.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from seqadd.data.notation import Notation
from seqadd.data.vocabulary import Ids

#: Questions in a task's own form, an array whose first axis is the questions: pairs of numbers, or texts.
Items = npt.NDArray[Any]
Counts = npt.NDArray[np.int64]


class Task(Protocol):
    """What a data set and a trained model need to know of a task: of addition, or of an own one."""

    @property
    def alphabet(self) -> str:
        """The characters of its questions and answers, the blank first."""

    def room(self) -> tuple[int, int]:
        """The most characters of a question, and of an answer."""

    def draw(self, n: int, rng: np.random.Generator) -> Items:
        """``n`` distinct questions, in the order in which they were first drawn."""

    def draw_longer(self, rng: np.random.Generator) -> Items:
        """Test questions that are longer than those of ``draw``; none for most tasks."""

    def write_questions(self, items: Items, length: int) -> Ids:
        """The ids of questions, padded on the right, ``(n, length)``."""

    def write_answers(self, items: Items, length: int) -> Ids:
        """The ids of the right answers, padded on the right, ``(n, length)``."""

    def groups(self, items: Items) -> dict[str, Counts]:
        """Numbers by which accuracies are recorded separately, by name, each ``(n,)``."""

    def digits(self, items: Items) -> Counts:
        """The lengths by which a curriculum chooses, ``(n,)``; empty for a task without curricula."""

    def read(self, text: str) -> str:
        """A question as a person typed it, as the task writes it; ValueError, in one line, for any other text."""

    def solve(self, question: str) -> str:
        """The right answer to a question that ``read`` has returned."""

    def same(self, question: str) -> Any:
        """Equal for questions that count as one."""


@dataclass(frozen=True)
class Dataset:
    """Questions and answers as ids of characters (see ``data.notation``), shuffled and split.

    Attributes:
        alphabet: the characters, the blank first; an id is an index of it.
        train_questions, train_answers: shapes ``(n_train, question_length)`` and ``(n_train, answer_length)``.
        val_questions, val_answers: the held-out questions, never trained on.
        val_groups: numbers by which accuracies on held-out questions are recorded separately, by name, each
            ``(n_val,)``: of a sum its carries, and the digits of its longer addend.
        train_digits: digits of the longer addend of each sum, shape ``(n_train,)``, 1 and more; empty for other tasks.
        longer_questions, longer_answers, longer_digits: test sums with more digits than the training set, ``N_LONGER``
            for each number of digits up to ``task.longest``; no rows if there is none.
    """

    alphabet: str
    train_questions: Ids
    train_answers: Ids
    val_questions: Ids
    val_answers: Ids
    val_groups: Mapping[str, Counts]
    train_digits: Counts
    longer_questions: Ids
    longer_answers: Ids
    longer_digits: Counts

    def digest(self) -> str:
        """16 hex digits that identify this data set: contents, order and split."""
        digest = hashlib.sha256()
        longer = (self.longer_questions, self.longer_answers) if len(self.longer_digits) else ()
        for array in (self.train_questions, self.train_answers, self.val_questions, self.val_answers, *longer):
            digest.update(repr(array.shape).encode())
            digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()[:16]


def held_out_count(n_questions: int, held_out: float) -> int:
    """The number of questions kept for validation, rounded down as the article's ``len(x) // 10``."""
    return int(round(n_questions * held_out, 6))  # the inner rounding keeps 0.29 * 100 at 29


def make_dataset(
    task: Task,
    *,
    n_questions: int,
    held_out: float,
    reverse: bool,
    rng: np.random.Generator,
    reverse_answer: bool = False,
    lengths: tuple[int, int] | None = None,
) -> Dataset:
    """Draws ``n_questions`` questions, shuffles them, and holds out the last ``held_out`` share of them.

    Args:
        task: what is asked.
        n_questions: number of distinct questions.
        held_out: share of the questions for validation, between 0 and 1.
        reverse: whether questions are reversed.
        rng: the only source of randomness.
        reverse_answer: whether answers are reversed.
        lengths: characters in a question and in an answer, padding included; None for ``task.room()``, the least.

    Raises:
        ValueError: if the task has fewer than ``n_questions`` distinct questions.
    """
    notation = Notation(task.alphabet, reverse, reverse_answer)
    question_length, answer_length = lengths or task.room()

    def write(items: Items) -> tuple[Ids, Ids]:
        questions = notation.as_read(task.write_questions(items, question_length))
        return questions, notation.as_written(task.write_answers(items, answer_length))

    # Shuffled as in the article: later draws have longer numbers, because most short ones were drawn already.
    items = task.draw(n_questions, rng)[rng.permutation(n_questions)]
    longer = task.draw_longer(rng)
    questions, answers = write(items)
    longer_questions, longer_answers = write(longer) if len(longer) else (questions[:0], answers[:0])
    split_at = n_questions - held_out_count(n_questions, held_out)
    return Dataset(
        task.alphabet,
        questions[:split_at],
        answers[:split_at],
        questions[split_at:],
        answers[split_at:],
        task.groups(items[split_at:]),
        task.digits(items[:split_at]),
        longer_questions,
        longer_answers,
        task.digits(longer),
    )
