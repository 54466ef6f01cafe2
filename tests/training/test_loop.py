"""The training epoch against a plain Keras loop over the same order."""

import dataclasses
from collections import Counter
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import SMALL, make_config

from seqadd.config.schema import Config
from seqadd.data import curriculum, drawing
from seqadd.data.addition import VOCABULARY
from seqadd.errors import TrainingDiverged
from seqadd.models import architectures
from seqadd.system import tensorflow_setup
from seqadd.training import loop, metrics, schedule, state
from seqadd.training.dataset import make_dataset

tensorflow_setup.use_threads(1)  # as a run does, for other tests start runs in this process

WITHOUT_XLA = ["cell=simple_rnn", "jit=false"]


def prepare(*overrides: str) -> tuple[keras.Model, drawing.Dataset, Config]:
    config = make_config(*SMALL, *overrides)
    data = make_dataset(config)
    return architectures.build_model(config, 3, config.answer_length, 12), data, config


def train(model: keras.Model, data: drawing.Dataset, config: Config, **settings: Any) -> Iterator[tuple[int, dict]]:
    return loop.train(model, loop.make_optimizer(model, config), data, config, [], **settings)


def plain_keras_epochs(model: keras.Model, data: drawing.Dataset, config: Config) -> list[dict[str, float]]:
    """What Keras' own ``train_on_batch`` makes of the same batches."""
    loss = {"categorical": "categorical_crossentropy", "binary": "binary_crossentropy"}[config.loss]
    model.compile(
        optimizer=keras.optimizers.Adam(config.learning_rate),
        loss=loss,
        metrics=["categorical_accuracy", keras.metrics.BinaryAccuracy()],
        jit_compile=False,
        run_eagerly=True,
    )
    x, y = VOCABULARY.one_hot(data.train_questions), VOCABULARY.one_hot(data.train_answers)
    history = []
    for epoch in range(1, config.epochs + 1):
        order = curriculum.epoch_order(config.seed, epoch, len(x))
        sums: Counter[str] = Counter()
        for start in range(0, len(x), config.batch_size):
            rows = order[start : start + config.batch_size]
            of_batch = model.train_on_batch(x[rows], y[rows], return_dict=True)
            sums.update({name: value * len(rows) for name, value in of_batch.items()})
        of_epoch = {name: value / len(x) for name, value in sums.items()}
        of_validation = model.evaluate(
            VOCABULARY.one_hot(data.val_questions), VOCABULARY.one_hot(data.val_answers), verbose=0, return_dict=True
        )
        history.append({**of_epoch, **{f"val_{name}": value for name, value in of_validation.items()}})
    return history


#: With XLA only among the long tests; what it makes of the layers is tested in tests/models.
OTHERS = [
    ["cell=gru"],
    ["cell=simple_rnn"],
    ["cell=dense", "decoder_units=null"],
    ["cell=lstm", "era=keras3"],
    ["cell=gru", "loss=binary"],
    ["cell=lstm", "architecture=aligned", "decoder_units=null"],
]


@pytest.fixture
def eagerly() -> Iterator[None]:
    """Without the seconds that it takes to make a program of an epoch."""
    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


@pytest.mark.parametrize("overrides", [["cell=lstm"], *(pytest.param(each, marks=pytest.mark.long) for each in OTHERS)],
                         ids=" ".join)  # fmt: skip
def test_two_epochs_equal_a_plain_keras_loop(overrides):
    equals_a_plain_keras_loop(*overrides)


@pytest.mark.parametrize(
    "overrides",
    [
        ["cell=gru", "loss=binary"],
        ["cell=simple_rnn"],
        ["cell=dense", "decoder_units=null"],
        ["cell=lstm", "era=keras3", "architecture=aligned", "decoder_units=null"],
    ],
    ids=" ".join,
)
def test_uncompiled_too_two_epochs_equal_a_plain_keras_loop(overrides, eagerly):
    """Each value once; era, loss and architecture have nothing to do with each other."""
    equals_a_plain_keras_loop(*overrides, "jit=false")


def equals_a_plain_keras_loop(*overrides: str) -> None:
    # The last batch of each epoch is a smaller one.
    model, data, config = prepare(*overrides, "epochs=2", "learning_rate=0.01")
    twin = architectures.build_model(config, 3, config.answer_length, 12)
    ours = list(train(model, data, config))
    theirs = plain_keras_epochs(twin, data, config)
    for name, weight, expected in zip(
        [weight.path for weight in model.weights], model.get_weights(), twin.get_weights(), strict=True
    ):
        np.testing.assert_allclose(weight, expected, atol=2e-5, err_msg=name)
    for mine, expected in zip(ours, theirs, strict=True):
        assert mine["loss"] == pytest.approx(expected["loss"], rel=1e-4)
        assert mine["acc"] == pytest.approx(expected["categorical_accuracy"], abs=1e-6)
        assert mine["val_loss"] == pytest.approx(expected["val_loss"], rel=1e-4)
        assert mine["val_acc"] == pytest.approx(expected["val_categorical_accuracy"], abs=1e-6)
        if config.loss == "binary":
            assert mine["binary_accuracy"] == pytest.approx(expected["binary_accuracy"], abs=1e-6)
            assert mine["val_binary_accuracy"] == pytest.approx(expected["val_binary_accuracy"], abs=1e-6)
        else:
            assert "binary_accuracy" not in mine


def test_every_epoch_has_an_order_of_its_own_that_follows_from_seed_and_epoch():
    orders = [curriculum.epoch_order(seed, epoch, 1000) for seed in (0, 1) for epoch in (1, 2, 3)]
    assert len({order.tobytes() for order in orders}) == 6
    assert all(sorted(order) == list(range(1000)) for order in orders)
    assert np.array_equal(curriculum.epoch_order(0, 2, 1000), orders[1])


def test_an_epoch_does_not_depend_on_how_many_follow(eagerly):
    """So one run of 200 epochs gives the rows of 10, 50 and 100 too."""
    short = [measured["loss"] for measured in train(*prepare(*WITHOUT_XLA, "epochs=2"))]
    long = [measured["loss"] for measured in train(*prepare(*WITHOUT_XLA, "epochs=3"))]
    assert long[:2] == short


def test_the_same_seed_gives_the_same_weights_to_the_bit(eagerly):
    twins = []
    for _ in range(2):
        model, data, config = prepare(*WITHOUT_XLA, "epochs=1")
        list(train(model, data, config))
        twins.append(model.get_weights())
    assert all(np.array_equal(a, b) for a, b in zip(*twins, strict=True))


def test_val_exact_match_is_that_of_the_models_own_predictions(eagerly):
    model, data, config = prepare(
        *WITHOUT_XLA, "epochs=2", "learning_rate=0.02", "encoder_units=32", "decoder_units=32"
    )
    (*_, last) = train(model, data, config)
    predicted = np.array(model(VOCABULARY.one_hot(data.val_questions))).argmax(axis=-1).astype(np.uint8)
    assert last["val_exact_match"] == metrics.exact_match(predicted, data.val_answers)
    assert last["val_acc"] == metrics.character_accuracy(predicted, data.val_answers)


def test_accuracies_by_position_and_by_carries_make_up_those_of_the_whole(eagerly):
    model, data, config = prepare(*WITHOUT_XLA, "epochs=2", "learning_rate=0.02")
    (*_, last) = train(model, data, config)
    assert np.mean([last["val_acc_position_1"], last["val_acc_position_2"]]) == pytest.approx(last["val_acc"])
    without, with_one = np.bincount(data.val_groups["carries"])
    right = without * last["val_exact_match_carries_0"] + with_one * last["val_exact_match_carries_1"]
    assert right / (without + with_one) == pytest.approx(last["val_exact_match"])


def test_shuffled_once_every_epoch_has_the_order_of_the_first(monkeypatch, eagerly):
    asked = []
    order_of = curriculum.epoch_order
    monkeypatch.setattr(
        curriculum, "epoch_order", lambda seed, epoch, n: asked.append(epoch) or order_of(seed, epoch, n)
    )
    first, again = (list(train(*prepare(*WITHOUT_XLA, "epochs=2", *others))) for others in ([], ["shuffle=once"]))
    assert asked == [1, 2, 1, 1]
    assert again[0]["loss"] == first[0]["loss"]
    assert again[1]["loss"] != first[1]["loss"]


def test_under_the_binary_loss_a_model_that_says_nothing_has_a_binary_accuracy_of_eleven_twelfths(eagerly):
    first = next(train(*prepare(*WITHOUT_XLA, "loss=binary", "learning_rate=1e-9")))
    assert first["binary_accuracy"] == pytest.approx(11 / 12)
    assert first["acc"] < 0.5


def test_a_loss_that_is_no_number_ends_training_and_says_what_to_do(eagerly):
    with pytest.raises(TrainingDiverged, match=r"loss is nan after epoch \d; lower learning_rate=1e\+38"):
        list(train(*prepare(*WITHOUT_XLA, "learning_rate=1e38", "epochs=5")))


def test_a_training_that_is_taken_up_again_gives_what_one_without_a_break_gives():
    """With XLA, which is asked for the same program three times, of the cell that it compiles soonest."""
    of_dense = ["cell=dense", "decoder_units=null"]
    model, data, config = prepare("epochs=4", *of_dense)
    whole = [measured["loss"] for measured in train(model, data, config)]

    first, _, _ = prepare(*of_dense)
    optimizer = loop.make_optimizer(first, config)
    history: list[dict[str, float]] = []
    list(loop.train(first, optimizer, data, dataclasses.replace(config, epochs=2), history))
    arrays = state.state(first, optimizer)

    second, _, _ = prepare(*of_dense, "seed=1")
    optimizer = loop.make_optimizer(second, config)
    state.restore(second, optimizer, arrays)
    assert [row["epoch"] for row in loop.train(second, optimizer, data, config, history)] == [3, 4]
    assert [row["loss"] for row in history] == whole
    assert all(np.array_equal(a, b) for a, b in zip(second.get_weights(), model.get_weights(), strict=True))


def test_the_state_of_another_model_is_refused_and_changes_nothing():
    model, _, config = prepare()
    other, _, _ = prepare("encoder_units=7")
    optimizer = loop.make_optimizer(model, config)
    before = model.get_weights()
    with pytest.raises(ValueError, match="belong to another model"):
        state.restore(model, optimizer, state.state(other, loop.make_optimizer(other, config)))
    assert all(np.array_equal(a, b) for a, b in zip(model.get_weights(), before, strict=True))


class NotForXla(keras.layers.Layer):
    """Leaves its input as it is, by way of Python, where XLA cannot follow."""

    def call(self, x):
        y = tf.numpy_function(lambda array: array, [x], tf.float32)
        return x + tf.stop_gradient(tf.reshape(y, tf.shape(x)) - x)


def test_where_xla_cannot_compile_training_says_so_once_and_gives_the_same():
    model, data, config = prepare("cell=dense", "decoder_units=null", "epochs=2")
    plain = [measured["loss"] for measured in train(model, data, dataclasses.replace(config, jit=False))]
    model, data, config = prepare("cell=dense", "decoder_units=null", "epochs=2")
    said: list[str] = []
    model = architectures._chain((3, 12), [*model.layers[1:-1], NotForXla(), model.layers[-1]], "not_for_xla")
    losses = [measured["loss"] for measured in train(model, data, config, warn=said.append)]
    assert losses == pytest.approx(plain, rel=1e-5)
    (line,) = said
    assert line.startswith("XLA cannot compile this model; the run goes on without XLA: ")
    assert "\n" not in line


@pytest.mark.parametrize("loss", ["categorical", "binary"])
def test_losses_and_accuracies_of_given_probabilities_by_hand(loss):
    rng = np.random.default_rng(0)
    probabilities = rng.dirichlet(np.full(12, 0.3), size=(5, 4))  # one of them is often above a half
    ids = rng.integers(0, 12, size=(5, 4))
    ids[:, :2] = probabilities[:, :2].argmax(axis=-1)
    p, y = np.clip(probabilities, 1e-7, 1 - 1e-7), np.eye(12)[ids]
    expected = [
        -(y * np.log(p)).sum(axis=-1) if loss == "categorical" else -np.log(np.where(y == 1, p, 1 - p)).mean(axis=-1),
        probabilities.argmax(axis=-1) == ids,
        *([((probabilities > 0.5) == y).mean(axis=-1)] if loss == "binary" else []),
    ]
    measures = loop._measures(make_config(f"loss={loss}"))
    measured = measures(tf.constant(ids, tf.int32), tf.constant(probabilities, tf.float32))
    np.testing.assert_allclose(measured, np.mean(expected, axis=-1), rtol=1e-4)


def test_an_epoch_takes_the_sums_in_the_order_of_its_own_or_of_the_first():
    config = make_config(*SMALL)
    data = make_dataset(config)
    for epoch in (1, 2, 3):
        for shuffle, ordered_as in (("each_epoch", epoch), ("once", 1)):
            rows = schedule.rows_of_epoch(dataclasses.replace(config, shuffle=shuffle), data, [], epoch)
            assert (rows == curriculum.epoch_order(config.seed, ordered_as, 44)).all()
