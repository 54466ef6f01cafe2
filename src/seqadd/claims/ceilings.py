"""The best accuracy that what a model can see allows, computed exactly: no function of it can be right more often.

An answer's character is guessed best by the one that is most frequent among all questions that look the same from
there. What a model can see at each position is an integer for each question and position, equal where things look
equal; the ceiling is the share of characters that the best guesses get right.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from seqadd.config.schema import Config
from seqadd.data import addition, vocabulary
from seqadd.data.vocabulary import Ids

N_CHARACTERS = len(vocabulary.CHARACTERS)

#: All pairs of three-digit numbers are a million; of four digits, a hundred.
MOST_DIGITS = 3

Visible = npt.NDArray[np.int64]
Weights = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Distribution:
    """Questions with the probability of each, whichever way round it is written.

    Attributes:
        addends: ordered pairs, shape ``(n, 2)``.
        weights: of each pair, shape ``(n,)``, sum 1.
    """

    addends: npt.NDArray[np.int64]
    weights: Weights


def draw_distribution(digits: int) -> Distribution:
    """Every ordered pair with the probability that one draw of the generator gives it; 10 ** (2 * digits) pairs.

    Raises:
        ValueError: for more than three digits.
    """
    if digits > MOST_DIGITS:
        raise ValueError(f"digits={digits}: must be at most {MOST_DIGITS}, or all pairs would not fit into memory")
    numbers = np.arange(10**digits)
    # A length is drawn first, then the digits: 7 is "7", "07" or "007".
    of_number = np.mean([(numbers < 10**length) / 10**length for length in range(1, digits + 1)], axis=0)
    a, b = np.meshgrid(numbers, numbers, indexing="ij")
    return Distribution(np.stack([a.ravel(), b.ravel()], axis=1), np.outer(of_number, of_number).ravel())


def dataset_distribution(digits: int, n_questions: int) -> Distribution:
    """Every ordered pair with its share in a set of ``n_questions`` distinct sums, averaged over all such sets.

    Draws go on until so many are distinct, and frequent pairs cannot come twice. A pair that a draw gives with
    probability p is among them after t draws with probability 1 - (1 - p) ** t, and t is where these add up to
    ``n_questions``. (t is the mean; for 50,000 three-digit sums it varies by half a percent.) Either way round a pair
    is the same one, and written as it was drawn first.
    """
    draws = draw_distribution(digits)
    a, b = draws.addends.T
    n_of_pair = np.where(a == b, 1.0, 0.5)  # every other pair is listed twice
    if n_questions >= addition.count_pairs(digits):
        return Distribution(draws.addends, n_of_pair / n_of_pair.sum())
    # A million pairs have a dozen probabilities.
    probabilities, index = np.unique(np.where(a == b, draws.weights, 2 * draws.weights), return_inverse=True)
    counts = np.bincount(index, n_of_pair)

    def there(t: float) -> Weights:
        """The probability that a pair is among t draws, for each probability that one draw gives it."""
        return -np.expm1(t * np.log1p(-probabilities))

    low, high = 0.0, float(n_questions)  # bisection for t
    while there(high) @ counts < n_questions:
        low, high = high, 2 * high
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if there(middle) @ counts < n_questions else (low, middle)
    weights = there(high)[index] * n_of_pair
    return Distribution(draws.addends, weights / weights.sum())


def _number(values: Visible) -> Visible:
    """0, 1, ... for the distinct values in their order, as ``np.unique`` gives them, but without sorting.

    Args:
        values: integers of at least 0, few times as large as there are many.
    """
    there = np.zeros(int(values.max()) + 1, dtype=bool)
    there[values] = True
    return (np.cumsum(there) - 1)[values]


def one_character(questions: Ids) -> Visible:
    """What a layer without memory sees at a step: the character there, ``(n, length) -> (n, length)``."""
    return questions.astype(np.int64)


def characters_so_far(questions: Ids) -> Visible:
    """What a recurrent layer has read at a step: all characters up to there, and so also where it is."""
    n, length = questions.shape
    seen = np.zeros((n, length), dtype=np.int64)
    before = np.zeros(n, dtype=np.int64)
    for step in range(length):
        # Numbered by what was seen before and the character; the offset keeps the steps apart.
        before = _number(before * N_CHARACTERS + questions[:, step])
        seen[:, step] = before + step * (n + 1)
    return seen


def whole_question(questions: Ids, answer_length: int) -> Visible:
    """What a decoder without recurrence sees at each position of the answer: the same question every time."""
    read = characters_so_far(questions)[:, -1:]
    return np.repeat(read, answer_length, axis=1)


def ceiling(visible: Visible, answers: Ids, weights: Weights) -> float:
    """The accuracy of the best function of what is visible, one function for all positions.

    Args:
        visible: integers of at least 0, shape ``(n, answer_length)``; positions with the same one must get the same
            guess.
        answers: ids of the right characters, same shape.
        weights: of each question, shape ``(n,)``; they need not add up to 1.

    Returns:
        A share of characters, 0..1: the sum over all integers of the greatest weight that one character has there.
    """
    assert visible.shape == answers.shape
    cell = _number(visible)
    pairs = cell.ravel() * N_CHARACTERS + answers.ravel()
    weight = np.bincount(pairs, np.repeat(weights, answers.shape[1]), minlength=(cell.max() + 1) * N_CHARACTERS)
    return float(weight.reshape(-1, N_CHARACTERS).max(axis=1).sum() / (weights.sum() * answers.shape[1]))


#: What can be seen, by a name for it: a function of questions (ids) and the answer's length.
READERS: dict[str, Callable[[Ids, int], Visible]] = {
    "one_character": lambda questions, length: one_character(questions),
    "characters_so_far": lambda questions, length: characters_so_far(questions),
    "whole_question": whole_question,
}


def visible_context(config: Config) -> str | None:
    """What the models of a configuration can see at each position; None where that is all that an answer needs."""
    if config.architecture != "aligned":
        return None
    return "one_character" if config.cell == "dense" else "characters_so_far"


def distribution_ceiling(law: Distribution, reader: str, config: Config) -> float:
    """The ceiling of a reader for a law, with questions and answers written as the configuration says."""
    questions = addition.write_questions(law.addends, config.longest, config.reverse)
    answers = addition.write_answers(law.addends, config.answer_length)
    return ceiling(READERS[reader](questions, config.answer_length), answers, law.weights)


def dataset_ceiling(questions: Ids, answers: Ids, reader: str) -> float:
    """The ceiling of a reader that may know every answer of the set by heart; it sees no more than the reader."""
    return ceiling(READERS[reader](questions, answers.shape[1]), answers, np.ones(len(answers)))
