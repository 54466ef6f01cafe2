"""The data set of any task: of addition, which stays what it was to the bit, and of texts."""

import dataclasses

import numpy as np
import pytest
from conftest import make_config

from seqadd.data import drawing
from seqadd.data.multiplication import Multiplication
from seqadd.data.text_task import TextTask
from seqadd.errors import ConfigError
from seqadd.training import dataset
from seqadd.training.dataset import make_dataset


class Letters:
    """Six questions, so few that all of them can be seen: a, b, aa, ab, ba, bb; the answer doubles the last letter."""

    def draw(self, rng, n):
        return ["".join("ab"[i] for i in rng.integers(0, 2, size=size)) for size in rng.integers(1, 3, size=n)]

    def solve(self, question):
        if set(question) - {"a", "b"} or not question:
            raise ValueError
        return question + question[-1]

    def roomiest(self):
        return ("ab",)

    def groups(self, question):
        return {"bs": question.count("b")}


def of(task: object, characters: str = "ab") -> TextTask:
    return TextTask(task, characters, "letters.py:4: task=letters")


def make(task: TextTask, n: int = 6, **settings):
    given = {"held_out": 0.5, "reverse": False, "rng": np.random.default_rng(0), **settings}
    return drawing.make_dataset(task, n_questions=n, **given)


def texts(data: drawing.Dataset, *names: str) -> list[str]:
    return ["".join(data.alphabet[i] for i in row) for name in names for row in getattr(data, name)]


#: Printed by the code before tasks of one's own were possible.
DIGESTS = [
    ("three_digits reverse=false", "20faa25ace230a47"),
    ("three_digits architecture=aligned decoder_units=null", "e4fb7c8aad7f670f"),
    ("two_digits", "03e87950ba3c8dc6"),
    ("two_digits architecture=encoder_decoder", "0d1b193eb6dd69e2"),
    ("two_digits seed=7 task.equal_lengths=true", "cb964328b3b03da8"),
    ("mixed_lengths", "2d3fc9855a18b0f2"),
]
LARGE = [
    ("four_digits", "1a7ffbf7cdbb8a2e"),
    ("five_digits", "fa344b3bfa8e060e"),
    ("nine_digits", "281fd86314ac52d5"),
    ("nine_digits reverse=false", "8ed262422f4486a2"),
]


@pytest.mark.parametrize(
    ("overrides", "digest"), [*DIGESTS, *(pytest.param(*each, marks=pytest.mark.long) for each in LARGE)]
)
def test_the_sums_of_every_task_stay_what_they_are(overrides, digest):
    assert make_dataset(make_config(*f"task={overrides}".split())).digest() == digest


def test_reversed_answers_change_the_answers_alone():
    config = make_config("task=two_digits")
    forwards, backwards = make_dataset(config), make_dataset(dataclasses.replace(config, reverse_answer=True))
    assert (forwards.train_questions == backwards.train_questions).all()
    pairs = list(zip(texts(forwards, "val_answers"), texts(backwards, "val_answers"), strict=True))
    assert all(backward == forward.strip()[::-1].ljust(3) for forward, backward in pairs)
    assert forwards.digest() != backwards.digest()


def test_a_task_of_texts_has_every_question_once_and_its_answers():
    data = make(of(Letters()))
    assert data.alphabet == " ab"
    questions = texts(data, "train_questions", "val_questions")
    assert sorted(questions) == ["a ", "aa", "ab", "b ", "ba", "bb"]
    assert [f"{question.strip()}{question.strip()[-1]}".ljust(3) for question in questions] == texts(
        data, "train_answers", "val_answers"
    )
    assert data.val_groups["bs"].tolist() == [question.count("b") for question in texts(data, "val_questions")]
    assert (len(data.train_questions), len(data.val_questions)) == (3, 3)
    assert (len(data.train_digits), len(data.longer_digits)) == (0, 0)


def test_a_task_of_texts_is_shuffled_by_the_seed_alone():
    assert make(of(Letters())).digest() == make(of(Letters())).digest()
    assert make(of(Letters())).digest() != make(of(Letters()), rng=np.random.default_rng(1)).digest()


def test_questions_and_answers_of_texts_are_padded_and_reversed_as_sums_are():
    data = make(of(Letters()), reverse=True, reverse_answer=True, lengths=(3, 5))
    pairs = zip(texts(data, "val_questions"), texts(data, "val_answers"), strict=True)
    for question, answer in pairs:
        forwards = question[::-1].strip()
        assert question == forwards.ljust(3)[::-1]
        assert answer == (forwards + forwards[-1])[::-1].ljust(5)


def test_questions_that_count_as_one_are_drawn_once():
    task = type("OfPairs", (Letters,), {"same": lambda self, question: "".join(sorted(question))})()
    assert sorted(texts(make(of(task), 5), "train_questions", "val_questions")) in (
        ["a ", "aa", "ab", "b ", "bb"],
        ["a ", "aa", "b ", "ba", "bb"],
    )


def test_a_task_with_too_few_questions_is_refused_and_says_how_many_it_has():
    with pytest.raises(ConfigError) as refused:
        make(of(Letters()), 7)
    assert str(refused.value) == (
        "letters.py:4: task=letters: gave 6 distinct questions in 11 draws of 1000; lower task.n_questions=7"
    )


def mistaken(**methods) -> TextTask:
    return of(type("Mistaken", (Letters,), {name: staticmethod(method) for name, method in methods.items()})())


@pytest.mark.parametrize(
    ("methods", "why"),
    [
        ({"draw": lambda rng, n: ["a"]}, "draw(rng, 1000) returns 1 questions; it must return 1000, which may repeat"),
        ({"draw": lambda rng, n: "ab" * n}, "it must return texts"),
        ({"draw": lambda rng, n: None}, "draw(rng, 1000) returns None; it must return texts"),
        ({"draw": lambda rng, n: [1] * n}, "draw(rng, 1000) returns 1 among its texts; it must return texts only"),
        (
            {"draw": lambda rng, n: [""] * n},
            "draw(rng, 1000) returns an empty question; a question must have a character",
        ),
        ({"draw": lambda rng, n: 1 / 0}, "draw(rng, 1000) raises ZeroDivisionError: division by zero"),
        ({"draw": lambda rng, n: ["ac"] * n}, "draw(rng, 1000) returns 'ac'; characters='ab' lacks 'c'"),
        (
            {"draw": lambda rng, n: ["aba"] * n},
            "draw(rng, 1000) returns 'aba', 3 characters; those of roomiest() have at most 2: roomiest() must return "
            "the questions that need the most",
        ),
        (
            {"solve": lambda question: question * 2 if question != "bb" else "bbbbb"},
            "solve('bb') returns 'bbbbb', 5 characters; those of roomiest() have at most 4: roomiest() must return the "
            "questions that need the most",
        ),
        ({"solve": lambda question: 12}, "solve('ab') returns 12; it must return a text"),
        ({"solve": lambda question: "c"}, "solve('ab') returns 'c'; characters='ab' lacks 'c'"),
        ({"solve": lambda question: question[1] * 2}, "') raises IndexError: string index out of range"),
        ({"roomiest": lambda: ()}, "roomiest() returns no question; it must return one that needs the most room"),
        ({"same": lambda question: [question]}, "returns a list; it must be a text, a number or a tuple of them"),
        (
            {"groups": lambda question: [1]},
            "returns [1]; it must return integers of at least 0, by names of small letters",
        ),
        ({"groups": lambda question: {"bs": -1}}, "returns {'bs': -1}; it must return integers of at least 0"),
        ({"groups": lambda question: {"Bs": 1}}, "returns {'Bs': 1}; it must return integers of at least 0"),
        ({"groups": lambda question: {"bs": 0.5}}, "returns {'bs': 0.5}; it must return integers of at least 0"),
        ({"groups": lambda question: {question: 1}}, "every question must have the same groups"),
    ],
)
def test_a_mistake_of_a_task_is_one_line_that_names_it(methods, why):
    with pytest.raises(ConfigError) as refused:
        make(mistaken(**methods))
    said = str(refused.value)
    assert said.startswith("letters.py:4: task=letters: ")
    assert why in said
    assert "\n" not in said


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("ac", "question=ac: 'c' is no character of this task; write it as ab"),
        ("", "question=: is no question of this task; write it as ab"),
        ("aba", "question=aba: the question has 3 characters, the questions of this task at most 2"),
    ],
)
def test_what_is_no_question_of_a_task_is_refused_in_one_line(text, why):
    with pytest.raises(ValueError) as refused:  # noqa: PT011
        of(Letters()).read(text)
    assert str(refused.value) == why


def test_a_typed_question_may_have_blanks_around_its_signs():
    task = TextTask(Multiplication(), "*0123456789", "multiplication")
    assert task.read(" 12 * 345 ") == "12*345"
    with pytest.raises(ValueError, match=r"question=1 2\*3: ' ' is no character of this task; write it as 999\*999"):
        task.read("1 2*3")


def test_products_have_their_own_room_groups_and_order():
    task = TextTask(Multiplication(), "*0123456789", "multiplication")
    assert task.room() == (7, 6)
    assert task.solve("12*345") == "4140"
    assert task.same("12*345") == task.same("345*12")
    data = make(task, 200)
    for question, answer, digits in zip(
        texts(data, "val_questions"), texts(data, "val_answers"), data.val_groups["digits"], strict=True
    ):
        a, b = question.split("*")
        assert (str(int(a) * int(b)), len(answer.strip())) == (answer.strip(), digits)


def test_sizes_follow_from_the_task_and_the_model():
    task = of(Letters())  # questions of 2, answers of 3
    assert dataset.lengths(make_config(), task) == (2, 3)
    assert dataset.lengths(make_config("architecture=encoder_decoder"), task) == (2, 4)
    assert dataset.lengths(make_config("architecture=aligned"), task) == (3, 3)
