"""Questions and answers between the text that people write and the ids of characters that models read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from seqadd.config.schema import Config
from seqadd.data import addition, vocabulary
from seqadd.data.addition import read_question
from seqadd.data.vocabulary import Ids


@dataclass(frozen=True)
class Question:
    """A sum as people write it, as a model reads it, and its answer.

    Attributes:
        text: without blanks, as ``535+61``.
        ids: of the question's characters, padded and reversed, shape ``(question_length,)``.
        answer: ids of the right answer's characters, padded, shape ``(answer_length,)``.
    """

    text: str
    ids: Ids
    answer: Ids


def encode_question(config: Config, text: str) -> Question:
    """A sum for the models of a configuration.

    Raises:
        ValueError: for a text that is no sum, or that has too many digits for the task.
    """
    a, b = read_question(text, config.longest)
    answer = str(a + b).ljust(config.answer_length)
    return Question(
        f"{a}+{b}", encode_addends([(a, b)], config.longest, config.reverse)[0], vocabulary.encode([answer])[0]
    )


def encode_addends(addends: Sequence[tuple[int, int]], digits: int, reverse: bool) -> Ids:
    """The questions of some pairs of numbers, of any size, as models read them.

    Args:
        addends: ``n`` pairs.
        digits: of the longest addend that the questions have room for.
        reverse: whether the questions are written back to front.

    Returns:
        Ids of characters, shape ``(n, 2 * digits + 1)``.
    """
    return vocabulary.encode([addition.write_question(a, b, digits, reverse) for a, b in addends])


def decode_questions(questions: Ids, reverse: bool) -> list[str]:
    """Questions as people write them: ``535+61``, where the ids say ``535+61 `` or, reversed, `` 16+535``."""
    return [addition.as_people_write(text, reverse) for text in vocabulary.decode(questions)]


def decode_answers(answers: npt.NDArray[np.integer[Any]]) -> list[str]:
    """Answers without their padding, from ids of shape ``(n, length)``."""
    return [text.strip() for text in vocabulary.decode(answers)]
