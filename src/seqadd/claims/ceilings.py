"""Ceilings: the best accuracy of any function of a model's visible context, computed exactly.

At each position a model sees a part of the question: its visible context. It is coded as an integer for each question
and position; equal integers mean equal contexts. The best guess in a context is its most frequent character; the
ceiling is the share of characters that the best guesses get right.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from seqadd.config.schema import Config
from seqadd.data import addition
from seqadd.data.notation import Notation
from seqadd.data.vocabulary import Ids

#: There are a million pairs of three-digit numbers, and a hundred million of four-digit numbers.
MOST_DIGITS = 3

Visible = npt.NDArray[np.int64]
Weights = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Distribution:
    """Pairs of addends with the probability of each, before any reversal of the question.

    Attributes:
        addends: ordered pairs of integers, 0 to ``10 ** digits - 1``; shape ``(n, 2)``.
        weights: the probability of each pair, 0..1, shape ``(n,)``, sum 1.

    Example:
        >>> import numpy as np
        >>> Distribution(np.array([[1, 2], [3, 4]]), np.array([0.5, 0.5])).addends.sum(axis=1)
        array([3, 7])
    """

    addends: npt.NDArray[np.int64]
    weights: Weights


def draw_distribution(digits: int) -> Distribution:
    """Returns all ``10 ** (2 * digits)`` ordered pairs, each with its probability in one draw of the generator.

    The generator is that of the article's script: it draws a number's length, then its digits.

    Args:
        digits: of the longest addends, 1 to 3.

    Raises:
        ValueError: for more than three digits.

    Example:
        >>> distribution = draw_distribution(2)
        >>> distribution.addends.shape
        (10000, 2)
        >>> numbers = distribution.weights.reshape(100, 100).sum(axis=1)  # a number below 10 is drawn more often
        >>> round(float(numbers[7]), 4), round(float(numbers[42]), 4)
        (0.055, 0.005)
    """
    if digits > MOST_DIGITS:
        raise ValueError(f"digits={digits}: must be at most {MOST_DIGITS}, so that all pairs fit into memory")
    numbers = np.arange(10**digits)
    # The generator draws a length first, then the digits: 7 is "7", "07" or "007".
    of_number = np.mean([(numbers < 10**length) / 10**length for length in range(1, digits + 1)], axis=0)
    a, b = np.meshgrid(numbers, numbers, indexing="ij")
    return Distribution(np.stack([a.ravel(), b.ravel()], axis=1), np.outer(of_number, of_number).ravel())


def dataset_distribution(digits: int, n_questions: int) -> Distribution:
    """Returns every ordered pair with its share in a set of ``n_questions`` distinct sums, averaged over all such sets.

    The generator draws until it has ``n_questions`` distinct sums, so frequent pairs cannot occur twice. A pair with
    probability p per draw is in the set after t draws with probability 1 - (1 - p) ** t; t is chosen so that these
    probabilities add up to ``n_questions``. (t is the mean; for 50,000 three-digit sums it varies by half a percent.)
    (a, b) and (b, a) are the same sum, written in the order in which it was first drawn.

    Args:
        digits: of the longest addends, 1 to 3.
        n_questions: distinct sums in a set, at least 1.

    Returns:
        All ``10 ** (2 * digits)`` ordered pairs, each with its expected share of the set.

    Raises:
        ValueError: for more than three digits.

    Example:
        >>> shares = dataset_distribution(2, n_questions=1000).weights.reshape(100, 100)
        >>> round(float(shares[7, 8] / shares[42, 43]), 1)  # in one draw it is 121
        11.1
    """
    draws = draw_distribution(digits)
    a, b = draws.addends.T
    n_of_pair = np.where(a == b, 1.0, 0.5)  # pairs of unequal numbers are listed in both orders
    if n_questions >= addition.count_pairs(digits):
        return Distribution(draws.addends, n_of_pair / n_of_pair.sum())
    # A million pairs share a dozen probabilities.
    probabilities, index = np.unique(np.where(a == b, draws.weights, 2 * draws.weights), return_inverse=True)
    counts = np.bincount(index, n_of_pair)

    def there(t: float) -> Weights:
        """Returns the probability that a pair is among t draws, for each of ``probabilities``."""
        return -np.expm1(t * np.log1p(-probabilities))

    low, high = 0.0, float(n_questions)  # bisection for t
    while there(high) @ counts < n_questions:
        low, high = high, 2 * high
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if there(middle) @ counts < n_questions else (low, middle)
    weights = there(high)[index] * n_of_pair
    return Distribution(draws.addends, weights / weights.sum())


def _ranks(values: Visible) -> Visible:
    """Replaces values by the ranks of the distinct ones, 0, 1, ..., as ``np.unique`` does, but without sorting.

    Args:
        values: integers of at least 0; memory is taken for as many as the largest of them.
    """
    there = np.zeros(int(values.max()) + 1, dtype=bool)
    there[values] = True
    return (np.cumsum(there) - 1)[values]


def one_character(questions: Ids) -> Visible:
    """Returns the context of a layer without memory: the character at each step, ``(n, length) -> (n, length)``."""
    return questions.astype(np.int64)


def characters_so_far(questions: Ids) -> Visible:
    """Returns the context of a recurrent layer: all characters up to each step, and thereby the step's number."""
    n, length = questions.shape
    seen, n_characters = np.zeros((n, length), dtype=np.int64), int(questions.max(initial=0)) + 1
    before = np.zeros(n, dtype=np.int64)
    for step in range(length):
        # Each pair of earlier context and character gets a number; the offset keeps the steps' numbers distinct.
        before = _ranks(before * n_characters + questions[:, step])
        seen[:, step] = before + step * (n + 1)
    return seen


def whole_question(questions: Ids, answer_length: int) -> Visible:
    """Returns the context of a decoder without recurrence: the whole question at each position of the answer."""
    read = characters_so_far(questions)[:, -1:]
    return np.repeat(read, answer_length, axis=1)


def ceiling(visible: Visible, answers: Ids, weights: Weights) -> float:
    """Returns the accuracy of the best function of the visible context; one function serves all positions.

    Args:
        visible: contexts as integers of at least 0, shape ``(n, answer_length)``; equal integers must get the same
            guess.
        answers: ids of the right characters, same shape.
        weights: of each question, shape ``(n,)``; they need not add up to 1.

    Returns:
        A share of characters, 0..1: the weight of the most frequent character in each context, summed over contexts
        and divided by the total weight.
    """
    assert visible.shape == answers.shape
    cell, n_characters = _ranks(visible), int(answers.max()) + 1
    pairs = cell.ravel() * n_characters + answers.ravel()
    weight = np.bincount(pairs, np.repeat(weights, answers.shape[1]), minlength=(cell.max() + 1) * n_characters)
    return float(weight.reshape(-1, n_characters).max(axis=1).sum() / (weights.sum() * answers.shape[1]))


#: Visible contexts by their names: functions of questions (ids) and the answer's length.
READERS: dict[str, Callable[[Ids, int], Visible]] = {
    "one_character": lambda questions, length: one_character(questions),
    "characters_so_far": lambda questions, length: characters_so_far(questions),
    "whole_question": whole_question,
}


def visible_context(config: Config) -> str | None:
    """Returns the name of a model's visible context; None if the model sees all that an answer needs."""
    if config.architecture != "aligned":
        return None
    return "one_character" if config.cell == "dense" else "characters_so_far"


def distribution_ceiling(distribution: Distribution, reader: str, config: Config) -> float:
    """Returns the ceiling of a reader for a distribution: the best accuracy of any function of what the reader sees.

    Args:
        distribution: of the addends.
        reader: what is visible at each position of the answer: ``one_character`` (of the question, at this step),
            ``characters_so_far`` (of the question, up to this step) or ``whole_question``, without the position.
        config: says how long questions and answers are, and whether they are reversed.

    Returns:
        A share of characters, 0..1.

    Raises:
        KeyError: for a reader of another name.

    Source: the article's "Dense only" never passes 0.5714, the ceiling of ``one_character``; see docs/verdicts.md.

    Example:
        >>> from seqadd import load_config
        >>> config = load_config("architecture=aligned", "cell=dense", "task.digits=2", "task.n_questions=1000")
        >>> round(distribution_ceiling(draw_distribution(2), "one_character", config), 4)
        0.615
    """
    notation = Notation(config.alphabet, config.reverse, bool(config.reverse_answer))
    questions = notation.as_read(addition.write_questions(distribution.addends, config.question_length))
    answers = notation.as_written(addition.write_answers(distribution.addends, config.answer_length))
    return ceiling(READERS[reader](questions, config.answer_length), answers, distribution.weights)


def dataset_ceiling(questions: Ids, answers: Ids, reader: str) -> float:
    """Returns the ceiling of a reader on one data set: a model that overfits this set perfectly cannot exceed it.

    Args:
        questions: ids of characters, shape ``(n, question_length)``, as ``TrainedRun.data`` has them.
        answers: ids of the right characters, shape ``(n, answer_length)``.
        reader: see ``distribution_ceiling``.

    Returns:
        A share of characters, 0..1.

    Raises:
        KeyError: for a reader of another name.

    Example:
        >>> import numpy as np
        >>> questions = np.array([[1, 2], [1, 3]])
        >>> answers = np.array([[4, 5], [6, 5]])  # after the character 1 comes 4 or 6: one of them cannot be guessed
        >>> dataset_ceiling(questions, answers, "characters_so_far")
        0.75
    """
    return ceiling(READERS[reader](questions, answers.shape[1]), answers, np.ones(len(answers)))
