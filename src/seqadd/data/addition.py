"""Addition problems: reads a sum, draws the data set, and writes questions and answers. Contains no model code."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from seqadd.data import vocabulary
from seqadd.data.vocabulary import Ids

_SUM = re.compile(r"\s*([0-9]+)\s*\+\s*([0-9]+)\s*")


def read_question(text: str, digits: int) -> tuple[int, int]:
    """Reads the two addends of a sum: ``"535+61"`` and ``" 535 + 61"`` are 535 and 61, ``"007+5"`` is 7 and 5.

    Args:
        text: the sum as the user typed it.
        digits: the most digits that an addend may have.

    Raises:
        ValueError: in one line, for a text that is not a sum of two numbers, or has too many digits.
    """
    found = _SUM.fullmatch(text)
    if found is None:
        strange = sorted(set(text) - set("0123456789+ "))
        why = f"{strange[0]!r} is no character of a sum" if strange else "is no sum of two numbers"
        raise ValueError(f"question={text}: {why}; write it as 535+61")
    for number in found.groups():
        n = len(number.lstrip("0"))
        if n > digits:
            raise ValueError(f"question={text}: {number} has {n} digits, the sums of this task at most {digits}")
    return int(found[1]), int(found[2])


def as_people_write(question: str, reverse: bool) -> str:
    """Converts a question of ``write_question`` to plain notation: ``"  543+21"``, reversed, is ``12+345``."""
    return (question[::-1] if reverse else question).strip()


Addends = npt.NDArray[np.int64]

#: The number of test sums for each number of digits that is not in the training set.
N_LONGER = 1_000


def question_length(digits: int) -> int:
    """Characters in a question: two addends of ``digits`` digits and the plus sign between them."""
    return 2 * digits + 1


def answer_length(digits: int) -> int:
    """Characters in an answer: 999 + 999 has one digit more than its addends."""
    return digits + 1


def count_pairs(digits: int) -> int:
    """Distinct questions of up to ``digits`` digits: unordered pairs of the numbers below ``10 ** digits``."""
    numbers: int = 10**digits
    return numbers * (numbers + 1) // 2


def held_out_count(n_questions: int, held_out: float) -> int:
    """The number of sums kept for validation, rounded down as the article's ``len(x) // 10``."""
    return int(round(n_questions * held_out, 6))  # the inner rounding keeps 0.29 * 100 at 29


def too_many_questions(n_questions: int, digits: int) -> str:
    """The error message if there are fewer than ``n_questions`` distinct sums."""
    return (
        f"cannot draw {n_questions} distinct sums: {digits}-digit addends give {count_pairs(digits)} pairs; "
        "lower task.n_questions or raise task.digits"
    )


@dataclass(frozen=True)
class Dataset:
    """Questions and answers as ids of characters (see ``data.vocabulary``), shuffled and split.

    Attributes:
        train_questions, train_answers: shapes ``(n_train, question_length)`` and ``(n_train, answer_length)``.
        val_questions, val_answers: the held-out sums, never trained on.
        val_carries: how many carries each held-out sum has, shape ``(n_val,)``, 0..digits.
        train_digits, val_digits: digits of the longer addend of each sum, shapes ``(n_train,)`` and ``(n_val,)``, 1 and
            more.
        longer_questions, longer_answers, longer_digits: test sums with more digits than the training set, ``N_LONGER``
            for each number of digits up to ``task.longest``; no rows if there is none.
    """

    train_questions: Ids
    train_answers: Ids
    val_questions: Ids
    val_answers: Ids
    val_carries: npt.NDArray[np.int64]
    train_digits: npt.NDArray[np.int64]
    val_digits: npt.NDArray[np.int64]
    longer_questions: Ids
    longer_answers: Ids
    longer_digits: npt.NDArray[np.int64]

    def digest(self) -> str:
        """16 hex digits that identify this data set: contents, order and split."""
        digest = hashlib.sha256()
        longer = (self.longer_questions, self.longer_answers) if len(self.longer_digits) else ()
        for array in (self.train_questions, self.train_answers, self.val_questions, self.val_answers, *longer):
            digest.update(repr(array.shape).encode())
            digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()[:16]


def make_dataset(
    *,
    digits: int,
    n_questions: int,
    held_out: float,
    reverse: bool,
    answer_length: int,
    rng: np.random.Generator,
    equal_lengths: bool = False,
    longest: int | None = None,
) -> Dataset:
    """Draws ``n_questions`` sums, shuffles them, and holds out the last ``held_out`` share of them.

    Args:
        digits: the most digits of an addend, 1..9.
        n_questions: number of distinct sums, at most ``count_pairs(digits)``.
        held_out: share of the sums for validation, between 0 and 1.
        reverse: whether questions are written back to front.
        answer_length: characters in an answer, padded with spaces; at least ``longest + 1``.
        rng: the only source of randomness.
        equal_lengths: whether one number of digits is drawn for both addends.
        longest: digits that questions are padded for, at least ``digits``; None for ``digits``.

    Raises:
        ValueError: if fewer than ``n_questions`` distinct sums exist.
    """
    longest = longest or digits
    addends = draw_addends(n_questions, digits, rng, equal_lengths)
    # Shuffled as in the article: later draws have longer numbers, because most short ones were drawn already.
    addends = addends[rng.permutation(n_questions)]
    longer = np.concatenate(
        [np.empty((0, 2), np.int64)]
        + [draw_of_length(N_LONGER, d, rng, equal_lengths) for d in range(digits + 1, longest + 1)]
    )
    questions = write_questions(addends, longest, reverse)
    answers = write_answers(addends, answer_length)
    split_at = n_questions - held_out_count(n_questions, held_out)
    return Dataset(
        questions[:split_at],
        answers[:split_at],
        questions[split_at:],
        answers[split_at:],
        count_carries(addends[split_at:], digits),
        count_digits(addends[:split_at]),
        count_digits(addends[split_at:]),
        write_questions(longer, longest, reverse) if len(longer) else questions[:0],
        write_answers(longer, answer_length) if len(longer) else answers[:0],
        count_digits(longer),
    )


def draw_addends(n_questions: int, digits: int, rng: np.random.Generator, equal_lengths: bool = False) -> Addends:
    """The first ``n_questions`` distinct pairs of an endless sequence of draws.

    Returns:
        Array of shape ``(n_questions, 2)``, in the order of the draws.

    Raises:
        ValueError: if fewer than ``n_questions`` distinct sums exist.
    """
    if n_questions > count_pairs(digits):
        raise ValueError(too_many_questions(n_questions, digits))
    # 50,000 three-digit questions take about 142,000 draws; drawing at least 1,000 at a time keeps small sets fast.
    draws = max(4 * n_questions, 1_000)
    distinct = np.empty((0, 2), dtype=np.int64)
    while len(distinct) < n_questions:
        lengths = rng.integers(1, digits + 1, size=(draws, 1 if equal_lengths else 2)).repeat(1 + equal_lengths, axis=1)
        numbers = rng.integers(0, 10**lengths)
        distinct = _first_of_each(np.concatenate([distinct, numbers]), digits)
    return distinct[:n_questions]


def draw_of_length(n: int, digits: int, rng: np.random.Generator, equal_lengths: bool = False) -> Addends:
    """Draws pairs whose longer addend has exactly ``digits`` digits without leading zeros; pairs may repeat.

    Returns:
        Array of shape ``(n, 2)``; the longer addend comes first in about half of the rows.
    """
    longer = rng.integers(10 ** (digits - 1), 10**digits, size=n)
    other = rng.integers(0, 10 ** rng.integers(digits if equal_lengths else 1, digits + 1, size=n))
    return rng.permuted(np.stack([longer, other], axis=1), axis=1)


def _first_of_each(addends: Addends, digits: int) -> Addends:
    """Removes pairs that occurred before in either order; keeps the sequence."""
    key = addends.min(axis=1) * 10**digits + addends.max(axis=1)
    _, first = np.unique(key, return_index=True)
    return addends[np.sort(first)]


def count_carries(addends: Addends, digits: int) -> npt.NDArray[np.int64]:
    """The number of carries when each pair is added by hand: 1 + 2 has none, 5 + 5 one, 999 + 1 three.

    Args:
        addends: pairs, shape ``(n, 2)``.
        digits: the most digits of an addend.

    Returns:
        Array of shape ``(n,)``, 0..digits.
    """
    powers = 10 ** np.arange(1, digits + 1)
    # There is a carry out of the lowest k digits if their sum alone has more than k digits.
    return ((addends[:, :, None] % powers).sum(axis=1) >= powers).sum(axis=1)


def count_digits(addends: Addends) -> npt.NDArray[np.int64]:
    """The number of digits of each pair's longer addend, ``(n, 2) -> (n,)``: 2 for 61 + 5; 1 for 0 + 0."""
    return _count_digits(addends.max(axis=1, initial=0))


def _count_digits(numbers: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    return 1 + (numbers[:, None] >= 10 ** np.arange(1, 10)).sum(axis=1)


def write_question(a: int, b: int, digits: int, reverse: bool) -> str:
    """``a+b``, padded with spaces to ``question_length(digits)``; with ``reverse`` the whole text is reversed."""
    question = f"{a}+{b}".ljust(question_length(digits))
    return question[::-1] if reverse else question


def write_questions(addends: Addends, digits: int, reverse: bool) -> Ids:
    """Ids of many questions, shape ``(n, 2 * digits + 1)``; each row as ``write_question`` writes it."""
    ids = np.full((len(addends), question_length(digits)), vocabulary.BLANK, dtype=np.uint8)
    after_first = _write_numbers(ids, addends[:, 0], np.zeros(len(addends), dtype=np.int64))
    ids[np.arange(len(addends)), after_first] = vocabulary.PLUS
    _write_numbers(ids, addends[:, 1], after_first + 1)
    return np.ascontiguousarray(ids[:, ::-1]) if reverse else ids


def write_answers(addends: Addends, length: int) -> Ids:
    """Ids of the sums, padded with spaces to ``length`` characters, shape ``(n, length)``."""
    ids = np.full((len(addends), length), vocabulary.BLANK, dtype=np.uint8)
    _write_numbers(ids, addends.sum(axis=1), np.zeros(len(addends), dtype=np.int64))
    return ids


def _write_numbers(ids: Ids, numbers: npt.NDArray[np.int64], start: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Writes a number into each row of ``ids`` from column ``start`` on; returns the column after each number."""
    n_digits = _count_digits(numbers)
    for place in range(n_digits.max(initial=0)):  # from the left
        (rows,) = np.nonzero(place < n_digits)
        digit = numbers[rows] // 10 ** (n_digits[rows] - 1 - place) % 10
        ids[rows, start[rows] + place] = vocabulary.ZERO + digit
    return start + n_digits
