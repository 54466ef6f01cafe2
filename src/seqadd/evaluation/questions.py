"""Questions and answers between the text that people write and the ids of characters that models read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from seqadd.config.schema import Config
from seqadd.data.notation import Notation
from seqadd.data.vocabulary import Ids
from seqadd.training.dataset import lengths, task_of


@dataclass(frozen=True)
class Question:
    """A question as people write it, as a model reads it, and its answer.

    Attributes:
        text: without blanks, as ``535+61``.
        right_answer: as people write it.
        ids: of the question's characters, padded and reversed, shape ``(question_length,)``.
        answer: ids of the right answer's characters as the model writes it, padded, shape ``(answer_length,)``.
        notation: of the model.
    """

    text: str
    right_answer: str
    ids: Ids
    answer: Ids
    notation: Notation


def notation_of(config: Config) -> Notation:
    """How the models of a configuration read and write."""
    return Notation(config.alphabet, config.reverse, bool(config.reverse_answer))


def encode_questions(config: Config, texts: Sequence[str]) -> list[Question]:
    """Questions for the models of a configuration.

    Raises:
        ValueError: in one line, for a text that is no question of the task, or needs more room than it has.
    """
    task, notation = task_of(config), notation_of(config)
    question_length, answer_length = lengths(config, task)
    questions = [task.read(text) for text in texts]
    answers = [task.solve(question) for question in questions]
    ids = notation.write_questions(questions, question_length)
    ids_of_answers = notation.write_answers(answers, answer_length)
    return [Question(*each, notation) for each in zip(questions, answers, ids, ids_of_answers, strict=True)]
