"""The encoder-decoder: padding counts for nothing, and what it answers on its own it answers without help."""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import SMALL, make_config

from seqadd import alphabet, layers, models, run, training
from seqadd.config import ConfigError
from seqadd.encoder_decoder import EncoderDecoder, counted, previous

training.use_threads(1)  # as a run does, for other tests start runs in this process

CELLS = ["lstm", "gru", "simple_rnn"]
#: Questions back to front and padded; answers ended by a blank, padded with more.
QUESTIONS = alphabet.encode(["  543+21", "716+397 "[::-1], "    61+5"])[:, 1:]
ANSWERS = alphabet.encode(["357  ", "1113 ", "66   "])


def build(cell: str, *overrides: str) -> EncoderDecoder:
    config = make_config("architecture=encoder_decoder", f"cell={cell}", *overrides)
    model = models.build_model(config, 7, config.answer_length, 12)
    assert isinstance(model, EncoderDecoder)
    rng = np.random.default_rng(0)
    for weights in model.weights:  # as after some training: no bias is zero
        weights.assign(weights.numpy() + 0.3 * rng.normal(size=weights.shape))
    return model


def one_hot(ids: np.ndarray) -> tf.Tensor:
    return tf.one_hot(ids, 12)


def test_an_answer_counts_up_to_the_blank_that_ends_it():
    assert counted(tf.constant(ANSWERS)).numpy().tolist() == [
        [1, 1, 1, 1, 0], [1, 1, 1, 1, 1], [1, 1, 1, 0, 0]
    ]  # fmt: skip


def test_the_taught_decoder_reads_the_character_before():
    read = previous(tf.constant(ANSWERS)).numpy().argmax(axis=-1)
    assert alphabet.decode(read) == [" 357 ", " 1113", " 66  "]


@pytest.mark.parametrize("cell", CELLS)
def test_a_padded_batch_gives_what_each_question_gives_alone(cell):
    model = build(cell)
    together = model.encode(one_hot(QUESTIONS))
    for row, text in enumerate(["543+21", "793+617", "61+5"]):
        alone = model.encode(one_hot(alphabet.encode([text])))
        for state, expected in zip(together, alone, strict=True):
            np.testing.assert_allclose(state[row], expected[0], atol=1e-6)


@pytest.mark.parametrize("cell", CELLS)
def test_it_is_keras_own_layers_with_a_mask(cell):
    model = build(cell)
    encoder, decoder, characters, _ = model._parts
    kind = {"lstm": keras.layers.LSTM, "gru": keras.layers.GRU, "simple_rnn": keras.layers.SimpleRNN}[cell]
    settings = {} if cell == "simple_rnn" else {"recurrent_activation": models.hard_sigmoid_of_keras2}
    if cell == "gru":
        settings["reset_after"] = False
    theirs = [kind(64, return_state=True, **settings), kind(64, return_sequences=True, **settings)]
    x, read = one_hot(QUESTIONS), previous(tf.constant(ANSWERS))
    states = theirs[0](x)
    theirs[0].set_weights(encoder.get_weights())
    _, *states = theirs[0](x, mask=tf.constant(QUESTIONS != alphabet.BLANK))
    theirs[1].build(read.shape)
    theirs[1].set_weights(decoder.get_weights())
    expected = tf.nn.softmax(characters(theirs[1](read, initial_state=states)))
    np.testing.assert_allclose(model([x, read]), expected, atol=1e-5)


@pytest.mark.parametrize("cell", CELLS)
def test_what_it_answers_is_what_it_says_when_it_is_given_its_own_answer(cell):
    model = build(cell)
    alone = model.answer(one_hot(QUESTIONS)).numpy()
    guess = alone.argmax(axis=-1)
    taught = model([one_hot(QUESTIONS), previous(tf.constant(guess))]).numpy()
    counts = counted(tf.constant(guess)).numpy() > 0.5
    np.testing.assert_allclose(alone[counts], taught[counts], atol=1e-5)
    assert (guess[~counts] == alphabet.BLANK).all()


def prepare(*overrides: str):
    config = make_config(*SMALL, "architecture=encoder_decoder", "decoder_units=6", *overrides)
    data = run.draw(config)
    return models.build_model(config, 3, config.answer_length, 12), data, config


def test_answers_have_room_for_the_blank_that_ends_them():
    _, data, config = prepare("cell=gru")
    assert config.answer_length == 3
    assert data.train_answers.shape == (44, 3)
    assert (data.train_answers[:, -1] == alphabet.BLANK).all()


def test_a_decoder_whose_every_step_is_perfect_scores_one(monkeypatch):
    model, data, config = prepare("cell=simple_rnn")
    answers = iter(np.moveaxis(data.val_answers, 1, 0))
    monkeypatch.setattr(
        EncoderDecoder, "step", lambda self, read, states: (one_hot(next(answers)), states)
    )  # while the program is traced, a place after the other
    measured = training.evaluation_program(model, config)(data)
    assert measured["val_acc"] == measured["val_exact_match"] == 1.0
    assert measured["val_acc_teacher_forced"] < 1.0


@pytest.mark.parametrize("cell", CELLS)
def test_what_it_answers_on_its_own_does_not_depend_on_the_right_answers(cell):
    model, data, config = prepare(f"cell={cell}")
    evaluate = training.evaluation_program(model, config)
    guesses = model.answer(one_hot(data.val_questions)).numpy().argmax(axis=-1)
    for answers in (data.val_answers, data.val_answers[::-1].copy()):
        measured = evaluate(dataclasses.replace(data, val_answers=answers))
        counts = counted(tf.constant(answers)).numpy() > 0.5
        assert measured["val_acc"] == pytest.approx(np.mean((guesses == answers)[counts]))
        assert measured["val_exact_match"] == pytest.approx(np.mean((guesses == answers).all(axis=1)))


def test_padding_adds_nothing_to_loss_or_accuracy():
    model, data, config = prepare("cell=lstm")
    measures = training._measures(config)
    ids = tf.constant(data.val_answers, tf.int32)
    read = one_hot(data.val_questions)
    probabilities = model([read, previous(ids)])
    expected = tf.reduce_sum(measures(ids, probabilities), axis=1)
    padding = tf.zeros((len(ids), 4), tf.int32)
    nonsense = tf.fill((len(ids), 4, 12), 1 / 12)
    padded = measures(tf.concat([ids, padding], axis=1), tf.concat([probabilities, nonsense], axis=1))
    np.testing.assert_allclose(tf.reduce_sum(padded, axis=1), expected, rtol=1e-6)
    # And the mean is over characters: their number is the last of the sums.
    assert expected[-1] == sum(len(text.rstrip()) + 1 for text in alphabet.decode(data.val_answers))


@pytest.mark.parametrize("cell", CELLS)
def test_a_batch_of_mixed_lengths_trains(cell):
    model, data, config = prepare(f"cell={cell}", "epochs=30", "learning_rate=0.02")
    history = []
    for _ in training.train(model, training.make_optimizer(model, config), data, config, history):
        pass
    assert history[-1]["loss"] < 0.8 * history[0]["loss"]
    assert {"acc", "val_acc", "val_acc_teacher_forced", "val_exact_match", "val_acc_position_1"} <= history[0].keys()


@pytest.mark.parametrize("name", ["LSTM", "GRU", "SimpleRNN"])
def test_skipped_blanks_have_no_gradient(name):
    """What stands before the question begins cannot matter, so nothing is learnt from it."""
    layer = getattr(layers, name)(4, skip_blanks=True)
    x = tf.Variable(one_hot(alphabet.encode(["  12"])))
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(layer(x))
    gradient = tape.gradient(loss, x).numpy()[0]
    assert np.abs(gradient[:2]).max() == 0
    assert np.abs(gradient[2:]).max() > 0


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (
            ["decoder_units=32"],
            "decoder_units=32: architecture=encoder_decoder hands the encoder's states to its decoder",
        ),
        (["cell=dense"], "cell=dense architecture=encoder_decoder: a dense cell has no memory"),
    ],
)
def test_what_cannot_be(overrides, said):
    with pytest.raises(ConfigError) as refused:
        make_config("architecture=encoder_decoder", *overrides)
    assert str(refused.value).startswith(said)
