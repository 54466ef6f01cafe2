"""How a model reads questions and writes answers: padded, and reversed where the configuration says so.

People read and write texts without padding, forwards. A question is padded on the right, then reversed as a whole. An
answer is reversed, then padded on the right: ``596`` of four characters is ``695 ``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from seqadd.data.vocabulary import BLANK, Ids, Vocabulary


@dataclass(frozen=True)
class Notation:
    """Converts between the texts that people write and the ids that a model reads and writes.

    Attributes:
        alphabet: the characters, the blank first.
        reverse: whether questions are reversed.
        reverse_answer: whether answers are reversed.
    """

    alphabet: str
    reverse: bool = False
    reverse_answer: bool = False

    @property
    def vocabulary(self) -> Vocabulary:
        """The ids of the characters."""
        return Vocabulary(self.alphabet)

    def write_questions(self, texts: Sequence[str], length: int) -> Ids:
        """Questions as the model reads them, ids of shape ``(n, length)``: ``12+345`` is `` 543+21`` if reversed."""
        return self.as_read(self.vocabulary.encode([text.ljust(length) for text in texts]))

    def write_answers(self, texts: Sequence[str], length: int) -> Ids:
        """Answers as the model writes them, ids of shape ``(n, length)``: ``596`` is ``695 `` if reversed."""
        return self.as_written(self.vocabulary.encode([text.ljust(length) for text in texts]))

    def read_questions(self, questions: npt.NDArray[np.integer[Any]]) -> list[str]:
        """Questions as people write them: ``535+61``, where the ids say ``535+61 `` or, reversed, `` 16+535``."""
        return [_forwards(text, self.reverse) for text in self.vocabulary.decode(questions)]

    def read_answers(self, answers: npt.NDArray[np.integer[Any]]) -> list[str]:
        """Answers as people write them, from ids of shape ``(n, length)``; a model may write blanks inside."""
        return [_forwards(text, self.reverse_answer) for text in self.vocabulary.decode(answers)]

    def as_read(self, questions: Ids) -> Ids:
        """Reverses padded questions if the model reads them so."""
        return np.ascontiguousarray(questions[:, ::-1]) if self.reverse else questions

    def as_written(self, answers: Ids) -> Ids:
        """Reverses the texts of padded answers, which have no blank inside, if the model writes them so."""
        if not self.reverse_answer:
            return answers
        n_characters = np.count_nonzero(answers != BLANK, axis=1)[:, None]
        at = n_characters - 1 - np.arange(answers.shape[1])
        return np.where(at >= 0, np.take_along_axis(answers, np.maximum(at, 0), axis=1), BLANK).astype(answers.dtype)


def _forwards(text: str, reverse: bool) -> str:
    return (text[::-1] if reverse else text).strip()
