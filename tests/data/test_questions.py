"""A sum as a person writes it."""

import pytest

from seqadd.data.addition import Addition, read_question


@pytest.mark.parametrize(
    ("text", "addends"), [("535+61", (535, 61)), (" 5 + 61 ", (5, 61)), ("007+5", (7, 5)), ("0+0", (0, 0))]
)
def test_a_sum_is_read(text, addends):
    assert read_question(text, 3) == addends


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("535-61", "question=535-61: '-' is no character of a sum; write it as 535+61"),
        ("5+", "question=5+: is no sum of two numbers; write it as 535+61"),
        ("", "question=: is no sum of two numbers; write it as 535+61"),
        ("1+2+3", "question=1+2+3: is no sum of two numbers; write it as 535+61"),
        ("1 2+3", "question=1 2+3: is no sum of two numbers; write it as 535+61"),
        ("٣+1", "question=٣+1: '٣' is no character of a sum; write it as 535+61"),
        ("5+1234", "question=5+1234: 1234 has 4 digits, the sums of this task at most 3"),
    ],
)
def test_what_is_no_sum_is_refused_in_one_line(text, why):
    with pytest.raises(ValueError) as refused:  # noqa: PT011
        read_question(text, 3)
    assert str(refused.value) == why


def test_a_sum_is_written_solved_and_known_the_other_way_round():
    task = Addition(3, longest=4)
    assert task.read(" 012 + 3456") == "12+3456"
    assert task.solve("12+3456") == "3468"
    assert task.same("12+3456") == task.same("3456+12") != task.same("12+3455")
