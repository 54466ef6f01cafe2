"""What people ask a model of another task than addition, and what they read, forwards, of one that writes backwards."""

import numpy as np
import pytest
from conftest import make_config

from seqadd import answer
from seqadd.evaluation import predict
from seqadd.evaluation.questions import encode_questions
from seqadd.evaluation.trained_run import TrainedRun
from seqadd.inspection.terminal import trace_line
from seqadd.inspection.trace import Trace
from seqadd.tracking import description, lineage
from seqadd.training.dataset import make_dataset

#: Products of one digit: questions such as 7*8, answers such as 56, written as 65.
PRODUCTS = ["task=multiplication", "multiplication.digits=1", "task.n_questions=50", "task.held_out=0.2",
            "batch_size=20", "reverse_answer=true"]  # fmt: skip


@pytest.fixture(scope="module")
def run():
    config = make_config(*PRODUCTS)
    return TrainedRun("12ab", config, {}, 1, None, make_dataset(config), {})


def always_56(run, questions):
    """Probabilities of a model that writes 56 for every question, from right to left."""
    ids = run.notation.write_answers(["56"] * len(questions), 2)
    return run.notation.vocabulary.one_hot(ids)


def test_an_answer_that_is_written_backwards_is_read_forwards(run, monkeypatch):
    monkeypatch.setattr(predict, "probabilities", lambda model, questions: always_56(run, questions))
    assert list(answer.lines_of(run, ["7*8", "9 * 6", "1*5", "", "7+8", "12*3"])) == [
        ("7*8 = 56  right  p=1.0000", None),
        ("9*6 = 54  says 56, wrong  p=1.0000", None),
        ("1*5 = 5  says 56, wrong  p=1.0000", None),
        ("", None),
        ("", "question=7+8: '+' is no character of this task; write it as 9*9"),
        ("", "question=12*3: the question has 4 characters, the questions of this task at most 3"),
    ]


def test_words_are_joined_around_the_signs_of_the_task():
    assert answer.join_words(["7", "*", "8", "1*5", "9*", "6"], "*") == ["7*8", "1*5", "9*6"]
    assert answer.join_words(["12", "-345", "-5-3", "5-", "-3"], "-") == ["12-345", "-5-3", "5--3"]
    assert answer.join_words(["312", "123"], "") == ["312", "123"]


def test_a_question_was_learnt_if_it_was_learnt_in_any_way_that_counts_as_the_same(run):
    held_out = next(text for text in run.read(run.data.val_questions) if text != text[::-1])
    assert run.seen_in_training(held_out) == "held out"
    assert run.seen_in_training(held_out[::-1]) == f"held out as {held_out}"
    known = {
        run.task.same(text) for text in run.read(np.concatenate([run.data.train_questions, run.data.val_questions]))
    }
    unknown = next(f"{a}*{b}" for a in range(10) for b in range(10) if run.task.same(f"{a}*{b}") not in known)
    assert run.seen_in_training(unknown) == "not among its 50 questions"


def test_a_trace_shows_what_is_written_and_what_is_read(run):
    (question,) = encode_questions(run.config, ["9*6"])
    assert (question.text, question.right_answer) == ("9*6", "54")
    traced = Trace(question, {}, {}, [], always_56(run, ["9*6"])[0])
    assert traced.summary == "9*6 = 54: says 56, wrong"
    assert trace_line(traced, "held out") == '9*6 = 54: says 56, wrong (held out, read as "6*9", written as "65")'


def test_data_set_and_description_have_the_tasks_name(run):
    fields = lineage.dataset_fields(run.config, run.data, "ab")
    assert fields["name"] == "multiplication"
    assert '"multiplication.digits": "1"' in fields["source"]
    assert '"reverse_answer": "true"' in fields["source"]
    assert "of multiplication; seed 0" in description.of_training(run.config)
    assert description.task_title(make_config()) == "3-digit sums"
