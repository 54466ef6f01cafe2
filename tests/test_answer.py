"""The command that asks a trained model."""

import io
import sys

import numpy as np
import pytest
from trained_runs import model_of, record_run

from seqadd import answer
from seqadd.data.addition import VOCABULARY
from seqadd.data.vocabulary import CHARACTERS
from seqadd.evaluation import run_selection

SMALL_LSTM = ["task.digits=1", "task.n_questions=55", "task.held_out=0.2", "batch_size=20", "encoder_units=6",
              "decoder_units=5", "cell=lstm"]  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A store with a run whose model predicts 1 at both positions for every sum, with probability .7 each."""
    folder = tmp_path_factory.mktemp("store")
    model = model_of(*SMALL_LSTM)
    biases = np.full(12, -30.0, np.float32)
    biases[CHARACTERS.index("1")] = np.log(0.7)
    biases[CHARACTERS.index("2")] = np.log(0.3)
    dense = model.get_layer("time_distributed_1")
    dense.set_weights([np.zeros_like(dense.get_weights()[0]), biases])
    record_run(folder, "cell=lstm", "epochs=1", model=model)
    return folder


@pytest.fixture
def asked(folder, call, monkeypatch):
    """Calls the command in the store's folder, with a text on its standard input."""
    monkeypatch.chdir(folder)

    def ask(*words: str, stdin: str = ""):
        monkeypatch.setattr(sys, "stdin", io.StringIO(stdin))
        return call(answer.main, *words)

    return ask


def test_sums_as_arguments(asked):
    said = "5+7 = 12  says 11, wrong  p=0.4900\n7+4 = 11  right  p=0.4900\n"
    assert asked("run=latest", "5+7", "7+4") == (0, said, "")


def test_a_sum_may_be_typed_with_blanks_and_in_full_width_characters(asked):
    said = "5+7 = 12  says 11, wrong  p=0.4900\n7+4 = 11  right  p=0.4900\n"
    assert asked("run=latest", "5", "+", "7", "7", "+4") == (0, said, "")
    assert asked("run=latest", "\uff15", "\uff0b", "\uff17", "\uff17\uff0b\uff14") == (0, said, "")
    assert asked("run=latest", stdin="\uff15\uff0b\uff17\n\uff17\u3000\uff0b\uff14\n") == (0, said, "")


@pytest.mark.parametrize("stdin", ["", "\n \n"])
def test_no_sum_at_all_is_said(stdin, asked):
    code, out, err = asked("run=latest", stdin=stdin)
    assert (code, out) == (0, "\n" * stdin.count("\n"))
    assert err == "seqadd: no sum is given; write 535+61 as an argument, or one per line on standard input\n"


def test_sums_from_standard_input_a_line_each(asked, monkeypatch):
    monkeypatch.setattr(answer, "_AT_ONCE", 2)
    said = "5+7 = 12  says 11, wrong  p=0.4900\n\n7+4 = 11  right  p=0.4900\n0+0 = 0  says 11, wrong  p=0.4900\n"
    assert asked(*SMALL_LSTM, stdin="5+7\n\n 7 + 4 \n0+0") == (0, said, "")


def test_line_n_answers_sum_n_also_where_one_is_no_sum(asked):
    code, out, err = asked("5+7", "5-7", "12+1", "1+1")
    assert code == 2
    assert out == "5+7 = 12  says 11, wrong  p=0.4900\n\n\n1+1 = 2  says 11, wrong  p=0.4900\n"
    assert err.splitlines() == [
        "seqadd: question=5-7: '-' is no character of a sum; write it as 535+61",
        "seqadd: question=12+1: 12 has 2 digits, the sums of this task at most 1",
    ]


def test_what_is_no_sum_is_one_also_where_it_looks_like_something_else(asked):
    code, out, err = asked("-5+7", "5+7=", "=", "1+1")
    assert (code, out) == (2, "\n\n\n1+1 = 2  says 11, wrong  p=0.4900\n")
    assert [line.partition(";")[0] for line in err.splitlines()] == [
        "seqadd: question=-5+7: '-' is no character of a sum",
        "seqadd: question=5+7=: '=' is no character of a sum",
        "seqadd: question==: '=' is no character of a sum",
    ]


def test_a_model_that_is_not_there(asked):
    code, out, err = asked("run=nobody", "5+7")
    assert (code, out) == (2, "")
    assert err.startswith("seqadd: run=nobody: no such run in this store")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("modle=lstm 5+7", "modle: no such key; did you mean model?"),
        ("epch=10 model=lstm 5+7", "epch: no such key; did you mean epoch?"),
        ("rnu=latest 5+7", "rnu: no such key; did you mean run?"),
        ("cel=gru 5+7", "cel: no such key; did you mean cell?"),
        ("model lstm 5+7", "model lstm: write model=lstm"),
        ("question=5+7", "question=5+7: write the sum without question=, for example 535+61"),
    ],
)
def test_words_that_nearly_choose_a_run_are_refused_with_their_right_form(words, said, call, in_empty_folder):
    assert call(answer.main, *words.split()) == (2, "", f"seqadd: {said}\n")


def test_answers_are_those_of_the_model(folder, tmp_path):
    run_id = record_run(tmp_path, "cell=gru", "epochs=1")
    run = run_selection.load_run(f"run={run_id}", f"tracking.uri=sqlite:///{tmp_path}/mlflow.db")
    probabilities = np.asarray(run.model(np.eye(12, dtype=np.float32)[run.write(["5+7", "9+9"])]))
    for (text, p), expected in zip(answer.answers(run, ["5+7", "9+9"]), probabilities, strict=True):
        assert text == "".join(CHARACTERS[i] for i in expected.argmax(axis=1)).strip()
        assert p == pytest.approx(expected.max(axis=1).prod(), rel=1e-4)


@pytest.fixture(scope="module")
def free(tmp_path_factory):
    """A store with a run of a model that ends its answers itself."""
    folder = tmp_path_factory.mktemp("free")
    record_run(folder, "cell=gru", "epochs=1", "architecture=attention", "decoder_units=6")
    return folder


def test_longer_sums_than_it_was_trained_on_and_a_beam(free, call, monkeypatch):
    monkeypatch.chdir(free)
    code, greedy, err = call(answer.main, "run=latest", "5+7", "123+4567")
    assert (code, err) == (0, "")
    assert len(greedy.splitlines()) == 2
    assert call(answer.main, "5+7", "123+4567", "--beam", "1") == (0, greedy, "")
    # Other questions of the same call do not change an answer.
    assert call(answer.main, "5+7")[1] == greedy.splitlines(keepends=True)[0]
    model = run_selection.load_run("run=latest", f"tracking.uri=sqlite:///{free}/mlflow.db").model
    ids, _ = model.beam_search(np.eye(12, dtype=np.float32)[VOCABULARY.encode(["7+5"])], 9, longest=6)
    said = VOCABULARY.decode(ids[:1, 0].numpy())[0]
    code, beam, _ = call(answer.main, "5+7", "--beam=9", "--max-length=5")
    text = said.strip() if " " in said else f"{said[:5]}..."
    assert beam.startswith("5+7 = 12  right  " if text == "12" else f"5+7 = 12  says {text or 'nothing'}, wrong  p=")


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ("--beam=0", "--beam=0: must be in 1..1000"),
        ("--beam=1000000000000", "--beam=1000000000000: must be in 1..1000"),
        ("--max-length=1", "--max-length=1: must be in 2..40 (its task has answers of 2 characters)"),
    ],
)
def test_ways_to_answer_that_are_none(free, call, monkeypatch, option, said):
    monkeypatch.chdir(free)
    assert call(answer.main, "5+7", option) == (2, "", f"seqadd: {said}\n")


def test_an_answer_that_could_not_have_all_its_characters_is_not_given(free, call, monkeypatch):
    monkeypatch.chdir(free)
    code, out, err = call(answer.main, "5+7", "500+5", "--max-length=3")
    assert (code, len(out.splitlines()), out.splitlines()[1]) == (2, 2, "")
    assert err == "seqadd: question=500+5: the answer may have 4 characters; raise --max-length=3\n"


def test_a_model_that_says_all_characters_at_once_takes_no_beam(asked):
    code, out, err = asked("5+7", "--beam=3")
    assert (code, out) == (2, "")
    assert err.startswith("seqadd: --beam=3: architecture=repeat_vector predicts all characters at once; leave it out")
