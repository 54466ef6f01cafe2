"""What is said at the end of a training that went wrong."""

import dataclasses

import numpy as np
import pytest
from conftest import SMALL, make_config

from seqadd.data.addition import VOCABULARY
from seqadd.training import dataset, outcome

CONFIG = make_config(*SMALL, "cell=lstm", "epochs=6")
DATA = dataclasses.replace(
    dataset.make_dataset(CONFIG),
    train_answers=VOCABULARY.encode(["10", "12", "13", "7 "]),
    val_answers=VOCABULARY.encode(["1 ", "12", "5 ", "10"]),
)


def history(*values: tuple[float, float]) -> list[dict[str, float]]:
    rows = enumerate(values, start=1)
    return [{"epoch": n, "loss": loss, "acc": val_acc, "val_acc": val_acc} for n, (loss, val_acc) in rows]


def test_chance_is_what_the_most_frequent_characters_give():
    assert np.unique(DATA.train_answers[:, 0], return_counts=True)[1].max() == 3  # three of four begin with 1
    first, second = 3 / 4, 2 / 4  # of val: 1, 1 and 1 begin so; the second is most often a blank, or one of 0, 2, 3
    assert outcome.chance_accuracy(DATA, ends_with_eos=False) == pytest.approx((first + second) / 2)


def test_padding_after_the_end_of_an_answer_does_not_count_where_it_is_not_learnt():
    data = dataclasses.replace(
        DATA, train_answers=VOCABULARY.encode(["1  "]), val_answers=VOCABULARY.encode(["1  ", "25 "])
    )
    assert outcome.chance_accuracy(data, ends_with_eos=False) == pytest.approx(4 / 6)
    assert outcome.chance_accuracy(data, ends_with_eos=True) == pytest.approx(3 / 5)  # "1 " and the blank of "25 "


@pytest.mark.parametrize("values", [[(2.0, 0.9)], [(2.0, 0.3), (1e-8, 1.0), (1e-3, 1.0)], [(2.4, 0.1)] * 4])
def test_a_good_or_short_training_is_not_commented(values):
    assert outcome.warnings(CONFIG, DATA, history(*values)) == []


def test_a_loss_that_rises_a_thousandfold_is_said():
    (said,) = outcome.warnings(CONFIG, DATA, history((2.0, 0.3), (1.5, 0.4), (9e31, 0.1)))
    assert said == (
        "loss has risen to 9e+31, where guessing gives 2.4849: the training is unstable; lower learning_rate=0.001"
    )


def test_a_training_stuck_at_chance_says_so():
    chance = outcome.chance_accuracy(DATA, ends_with_eos=False)
    (said,) = outcome.warnings(CONFIG, DATA, history(*[(2.4, chance)] * 6))
    assert said == (
        f"val_acc is {chance:.4f} at best, no better than chance: the most frequent characters alone "
        f"give {chance:.4f}; raise epochs=6, or try another learning_rate than 0.001"
    )
    assert outcome.warnings(CONFIG, DATA, history(*[(2.4, chance + 0.02)] * 6)) == []


def test_a_training_that_knows_its_own_sums_alone_is_told_to_have_more_of_them():
    chance = outcome.chance_accuracy(DATA, ends_with_eos=False)
    (said,) = outcome.warnings(CONFIG, DATA, [{**row, "acc": 1.0} for row in history(*[(0.1, chance)] * 6)])
    assert said.endswith("acc is 1.0000, so it overfits: raise task.n_questions=55")


def test_guessing_has_the_loss_that_keras_gives_it():
    import keras

    right, guess = np.eye(12, dtype=np.float32)[:1], np.full((1, 12), 1 / 12, dtype=np.float32)
    for loss, of_keras in (
        ("categorical", keras.losses.categorical_crossentropy),
        ("binary", keras.losses.binary_crossentropy),
    ):
        assert outcome.guessing_loss(loss, 12) == pytest.approx(float(of_keras(right, guess)[0]), rel=1e-5)
