"""Which sums an epoch takes."""

from collections.abc import Iterator

import numpy as np
import pytest
import tensorflow as tf
from conftest import SMALL, make_config

from seqadd.data import addition, curriculum
from seqadd.data.addition import VOCABULARY
from seqadd.data.curriculum import rows_by_length, stage
from seqadd.errors import ConfigError
from seqadd.models import architectures
from seqadd.system import tensorflow_setup
from seqadd.training import loop
from seqadd.training.dataset import make_dataset
from seqadd.training.state import restore, state

tensorflow_setup.use_threads(1)  # as a run does, for other tests start runs in this process

LENGTHS = np.repeat([1, 2, 3], [10, 100, 890])


def shares(curriculum: str, at: int = 1) -> list[float]:
    rows = rows_by_length(curriculum, LENGTHS, at, 0, 1)
    assert rows.shape == (1000,)
    return [float(np.mean(LENGTHS[rows] == length)) for length in (1, 2, 3)]


def test_no_curriculum_takes_the_longest_alone():
    assert shares("none") == [0, 0, 1]


def test_naive_takes_one_length_after_the_other():
    assert [shares("naive", at) for at in (1, 2, 3)] == [[1, 0, 0], [0, 1, 0], [0, 0, 1]]


def test_mixed_takes_every_length_equally_often_whatever_there_are():
    assert shares("mixed") == pytest.approx([1 / 3, 1 / 3, 1 / 3], abs=0.05)


def test_combined_is_half_of_each():
    assert shares("combined", 2) == pytest.approx([1 / 6, 1 / 2 + 1 / 6, 1 / 6], abs=0.05)


def test_rows_follow_from_seed_and_epoch():
    first, again, other, later = (
        rows_by_length("mixed", LENGTHS, 1, seed, epoch) for seed, epoch in ((0, 1), (0, 1), (1, 1), (0, 2))
    )
    assert (first == again).all()
    assert (first != other).any()
    assert (first != later).any()


def epochs(**values: list[float]) -> list[dict[str, float]]:
    """Metrics of epochs, from their values of each length: ``d1``, ``d2`` and so on."""
    n = len(next(iter(values.values())))
    return [{f"val_exact_match_digits_{name[1:]}": each[i] for name, each in values.items()} for i in range(n)]


def test_naive_goes_on_when_a_length_is_learnt():
    history = epochs(d1=[0.5, 0.99, 1.0, 1.0], d2=[0.0, 0.2, 0.5, 0.99], d3=[0.0] * 4)
    assert [stage(history[:n], 3) for n in range(5)] == [1, 1, 2, 2, 3]


def test_naive_goes_on_when_there_is_no_progress():
    stuck = epochs(d1=[0.3] + [0.305] * 9, d2=[0.0] * 10, d3=[0.0] * 10)
    # Epoch 1 was progress, from nothing; five more were none.
    assert [stage(stuck[:n], 3) for n in (5, 6, 7)] == [1, 2, 2]
    assert stage(stuck * 3, 2) == 2  # and never beyond the longest


@pytest.fixture
def eagerly() -> Iterator[None]:
    """Without the seconds that it takes to make a program of an epoch."""
    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


def test_a_run_with_a_curriculum_goes_on_as_it_would_have(monkeypatch, eagerly):
    monkeypatch.setattr(curriculum, "PATIENCE", 1)  # so that the length changes within a few epochs
    taken = []
    rows_of = rows_by_length
    monkeypatch.setattr(curriculum, "rows_by_length", lambda *given: taken.append(given) or rows_of(*given))
    overrides = ["task.digits=2", "task.n_questions=600", "task.equal_lengths=true", "cell=simple_rnn", "epochs=6",
                 "batch_size=240", "curriculum=combined", "learning_rate=0.02", "jit=false"]  # fmt: skip
    config = make_config(*SMALL, *overrides)
    data = make_dataset(config)

    def train(history, until, arrays=None):
        model = architectures.build_model(config, config.question_length, config.answer_length, 12)
        optimizer = loop.make_optimizer(model, config)
        if arrays is not None:
            restore(model, optimizer, arrays)
        for row in loop.train(model, optimizer, data, config, history):
            if row["epoch"] == until:
                break
        return state(model, optimizer)

    whole: list[dict[str, float]] = []
    train(whole, 6)
    halves: list[dict[str, float]] = []
    train(halves, 6, train(halves, 3))
    assert [row["loss"] for row in halves] == [row["loss"] for row in whole]
    stages = [at for _, lengths, at, _, _ in taken if lengths is not None]
    assert stages[:6] == stages[6:]
    assert (stages[0], stages[3:6]) == (1, [2, 2, 2])
    assert {"val_exact_match_digits_1", "val_exact_match_digits_2"} <= whole[0].keys()


def test_what_cannot_be():
    with pytest.raises(ConfigError, match=r"curriculum=naive: sums of task.digits=1 have one length; task.digits must"):
        make_config(*SMALL, "curriculum=naive")
    with pytest.raises(ConfigError, match=r"shuffle=once: curriculum=mixed draws new sums for each epoch"):
        make_config("curriculum=mixed", "shuffle=once")
    with pytest.raises(ConfigError, match=r"task.equal_lengths=false: must be true, or null"):
        make_config("task.equal_lengths=false")
    few = make_config(*SMALL, "task.digits=3", "task.n_questions=60", "curriculum=mixed")
    with pytest.raises(
        ConfigError, match="curriculum=mixed: the sums of seed=0 have none of 1 digits to learn, or none"
    ):
        make_dataset(few)
    with pytest.raises(ConfigError, match=r"task.longest=3: must be more than task.digits=3, or null"):
        make_config("task.longest=3")


def test_longer_sums_are_tested_and_not_learnt(eagerly):
    config = make_config(*SMALL, "task.longest=3", "cell=simple_rnn", "epochs=1", "jit=false")
    data = make_dataset(config)
    assert data.train_questions.shape == (44, 7)
    assert data.train_answers.shape == (44, 4)
    assert sorted(set(data.train_digits)) == [1]
    assert np.bincount(data.longer_digits).tolist() == [0, 0, addition.N_LONGER, addition.N_LONGER]
    for pair, answer, digits in zip(
        VOCABULARY.decode(data.longer_questions),
        VOCABULARY.decode(data.longer_answers),
        data.longer_digits,
        strict=True,
    ):
        a, b = pair[::-1].strip().split("+")  # back to front, as the configuration has it
        assert int(answer) == int(a) + int(b)
        assert max(len(a), len(b)) == digits
    model = architectures.build_model(config, 7, 4, 12)
    (row,) = loop.train(model, loop.make_optimizer(model, config), data, config, [])
    assert {f"val_exact_match_digits_{n}" for n in (1, 2, 3)} <= row.keys()


def test_addends_of_equal_lengths():
    addends = addition.draw_addends(3000, 4, np.random.default_rng(0), equal_lengths=True)
    # Of two numbers below 10000, drawn with four digits each, 81 % have four; else one of two lengths were drawn.
    both = (addends >= 1000).all(axis=1)
    one = (addends >= 1000).any(axis=1) & ~both
    assert 0.7 < both.sum() / (both.sum() + one.sum()) < 0.9
    longer = addition.draw_of_length(1000, 4, np.random.default_rng(0), equal_lengths=True)
    assert 0.85 < (longer >= 1000).all(axis=1).mean() < 0.95
    free = addition.draw_of_length(1000, 4, np.random.default_rng(0))
    assert (free >= 1000).any(axis=1).all()
    assert 0.15 < (free >= 1000).all(axis=1).mean() < 0.3  # a quarter of lengths, 90 % without a leading zero


def test_every_task_has_sums_of_every_length_for_a_curriculum():
    config = make_config("task=nine_digits", "curriculum=mixed", "task.n_questions=20000", "task.digits=3")
    assert sorted(set(make_dataset(config).val_groups["digits"])) == [1, 2, 3]
