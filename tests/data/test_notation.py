"""How questions and answers are padded and reversed, and read back."""

import pytest

from seqadd.data.notation import Notation
from seqadd.data.vocabulary import CHARACTERS


def written(notation: Notation) -> list[str]:
    questions, answers = notation.write_questions(["12+345", "7+999"], 7), notation.write_answers(["357", "1006"], 5)
    return [*notation.vocabulary.decode(questions), *notation.vocabulary.decode(answers)]


@pytest.mark.parametrize(
    ("reverse", "reverse_answer", "expected"),
    [
        (False, False, ["12+345 ", "7+999  ", "357  ", "1006 "]),
        (True, False, [" 543+21", "  999+7", "357  ", "1006 "]),
        (False, True, ["12+345 ", "7+999  ", "753  ", "6001 "]),
        (True, True, [" 543+21", "  999+7", "753  ", "6001 "]),
    ],
)
def test_a_question_is_reversed_with_its_padding_and_an_answer_without(reverse, reverse_answer, expected):
    notation = Notation(CHARACTERS, reverse, reverse_answer)
    assert written(notation) == expected
    assert notation.read_questions(notation.write_questions(["12+345", "7+999"], 7)) == ["12+345", "7+999"]
    assert notation.read_answers(notation.write_answers(["357", "1006"], 5)) == ["357", "1006"]


def test_what_a_model_says_is_read_forwards_whatever_blanks_it_writes():
    notation = Notation(CHARACTERS, reverse_answer=True)
    assert notation.read_answers(notation.vocabulary.encode([" 21 3 ", "      "])) == ["3 12", ""]
