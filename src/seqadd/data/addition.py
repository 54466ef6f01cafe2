"""Addition: reads, draws and writes sums. Contains no model code."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from seqadd.data.vocabulary import BLANK, CHARACTERS, Ids, Vocabulary

#: The ids of the characters of sums.
VOCABULARY = Vocabulary(CHARACTERS)
#: The ids of the plus sign and of the digit 0; the other digits follow 0 in order.
_PLUS, _ZERO = CHARACTERS.index("+"), CHARACTERS.index("0")

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


def too_many_questions(n_questions: int, digits: int) -> str:
    """The error message if there are fewer than ``n_questions`` distinct sums."""
    return (
        f"cannot draw {n_questions} distinct sums: {digits}-digit addends give {count_pairs(digits)} pairs; "
        "lower task.n_questions or raise task.digits"
    )


@dataclass(frozen=True)
class Addition:
    """The task: sums of two numbers, as ``data.drawing.Task``; its items are pairs of addends.

    Attributes:
        most_digits: the most digits of an addend, 1..9.
        equal_lengths: whether one number of digits is drawn for both addends.
        longest: digits that questions have room for, at least ``most_digits``; None for ``most_digits``.
    """

    most_digits: int
    equal_lengths: bool = False
    longest: int | None = None

    @property
    def alphabet(self) -> str:
        """The characters of sums, the blank first."""
        return CHARACTERS

    def room(self) -> tuple[int, int]:
        """The most characters of a question, and of an answer."""
        digits = self.longest or self.most_digits
        return question_length(digits), answer_length(digits)

    def draw(self, n: int, rng: np.random.Generator) -> Addends:
        """See ``draw_addends``."""
        return draw_addends(n, self.most_digits, rng, self.equal_lengths)

    def draw_longer(self, rng: np.random.Generator) -> Addends:
        """``N_LONGER`` test sums for each number of digits above ``most_digits``, up to ``longest``."""
        lengths = range(self.most_digits + 1, (self.longest or self.most_digits) + 1)
        each = [draw_of_length(N_LONGER, digits, rng, self.equal_lengths) for digits in lengths]
        return np.concatenate([np.empty((0, 2), np.int64), *each])

    def write_questions(self, items: Addends, length: int) -> Ids:
        """See ``write_questions``."""
        return write_questions(items, length)

    def write_answers(self, items: Addends, length: int) -> Ids:
        """See ``write_answers``."""
        return write_answers(items, length)

    def groups(self, items: Addends) -> dict[str, npt.NDArray[np.int64]]:
        """The number of carries of each sum, and of digits of its longer addend."""
        return {"carries": count_carries(items, self.most_digits), "digits": count_digits(items)}

    def digits(self, items: Addends) -> npt.NDArray[np.int64]:
        """See ``count_digits``."""
        return count_digits(items)

    def read(self, text: str) -> str:
        """A sum as a person typed it, without blanks and leading zeros; see ``read_question``."""
        a, b = read_question(text, self.longest or self.most_digits)
        return f"{a}+{b}"

    def solve(self, question: str) -> str:
        """The sum of the two numbers of a question."""
        a, b = map(int, question.split("+"))
        return str(a + b)

    def same(self, question: str) -> tuple[int, ...]:
        """The addends in order: either way round it is the same sum."""
        return tuple(sorted(map(int, question.split("+"))))


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


def write_questions(addends: Addends, length: int) -> Ids:
    """Ids of the questions, ``535+61``, padded with blanks to ``length`` characters, shape ``(n, length)``."""
    ids = np.full((len(addends), length), BLANK, dtype=np.uint8)
    after_first = _write_numbers(ids, addends[:, 0], np.zeros(len(addends), dtype=np.int64))
    ids[np.arange(len(addends)), after_first] = _PLUS
    _write_numbers(ids, addends[:, 1], after_first + 1)
    return ids


def write_answers(addends: Addends, length: int) -> Ids:
    """Ids of the sums, padded with blanks to ``length`` characters, shape ``(n, length)``."""
    ids = np.full((len(addends), length), BLANK, dtype=np.uint8)
    _write_numbers(ids, addends.sum(axis=1), np.zeros(len(addends), dtype=np.int64))
    return ids


def _write_numbers(ids: Ids, numbers: npt.NDArray[np.int64], start: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Writes a number into each row of ``ids`` from column ``start`` on; returns the column after each number."""
    n_digits = _count_digits(numbers)
    for place in range(n_digits.max(initial=0)):  # from the left
        (rows,) = np.nonzero(place < n_digits)
        digit = numbers[rows] // 10 ** (n_digits[rows] - 1 - place) % 10
        ids[rows, start[rows] + place] = _ZERO + digit
    return start + n_digits
