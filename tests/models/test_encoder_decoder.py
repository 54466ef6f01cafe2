"""The encoder-decoder: padding counts for nothing, and what it answers on its own it answers without help."""

import dataclasses
import functools
import itertools
from collections.abc import Iterator

import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import SMALL, make_config

from seqadd.data.addition import VOCABULARY
from seqadd.data.vocabulary import BLANK
from seqadd.errors import ConfigError
from seqadd.models import architectures, cells, recurrent
from seqadd.models.encoder_decoder import EncoderDecoder
from seqadd.models.self_reading import shift_right, until_eos_mask
from seqadd.system import tensorflow_setup
from seqadd.training import dataset, loop, schedule, state
from seqadd.training.state import restore

tensorflow_setup.use_threads(1)  # as a run does, for other tests start runs in this process

CELLS = ["lstm", "gru", "simple_rnn"]
#: Questions back to front and padded; answers ended by a blank, padded with more.
QUESTIONS = VOCABULARY.encode(["  543+21", "716+397 "[::-1], "    61+5"])[:, 1:]
ANSWERS = VOCABULARY.encode(["357  ", "1113 ", "66   "])


#: Every decoder that there is.
KINDS = [["architecture=encoder_decoder"], ["architecture=encoder_decoder", "peek=true"],
         ["architecture=attention"], ["architecture=attention", "score=dot"]]  # fmt: skip


def build(cell: str, *overrides: str) -> EncoderDecoder:
    model, weights = _build(cell, *(overrides or ("architecture=encoder_decoder",)))
    model.set_weights(weights)  # whatever a test before has made of them
    return model


@functools.cache
def _build(cell: str, *overrides: str) -> tuple[EncoderDecoder, list[np.ndarray]]:
    config = dataclasses.replace(make_config(*overrides), cell=cell)
    model = architectures.build_model(config, 7, config.answer_length, 12)
    assert isinstance(model, EncoderDecoder)
    rng = np.random.default_rng(0)
    for weights in model.weights:  # as after some training: no bias is zero
        weights.assign(weights.numpy() + 0.3 * rng.normal(size=weights.shape))
    return model, model.get_weights()


def one_hot(ids: np.ndarray) -> tf.Tensor:
    return tf.one_hot(ids, 12)


def test_an_answer_counts_up_to_the_blank_that_ends_it():
    assert until_eos_mask(tf.constant(ANSWERS)).numpy().tolist() == [
        [1, 1, 1, 1, 0], [1, 1, 1, 1, 1], [1, 1, 1, 0, 0]
    ]  # fmt: skip


def test_the_taught_decoder_reads_the_character_before():
    read = shift_right(tf.constant(ANSWERS), 12).numpy().argmax(axis=-1)
    assert VOCABULARY.decode(read) == [" 357 ", " 1113", " 66  "]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("cell", CELLS)
def test_a_padded_batch_gives_what_each_question_gives_alone(cell, kind):
    model = build(cell, *kind)
    together = model.greedy_decode(one_hot(QUESTIONS))
    for row, text in enumerate(["543+21", "793+617", "61+5"]):
        alone = model.greedy_decode(one_hot(VOCABULARY.encode([text])))
        np.testing.assert_allclose(together[row], alone[0], atol=1e-5)


@pytest.mark.parametrize("cell", CELLS)
def test_it_is_keras_own_layers_with_a_mask(cell):
    model = build(cell)
    encoder, decoder, characters = model._encoder, model._decoder, model._characters
    kind = {"lstm": keras.layers.LSTM, "gru": keras.layers.GRU, "simple_rnn": keras.layers.SimpleRNN}[cell]
    settings = {} if cell == "simple_rnn" else {"recurrent_activation": cells.hard_sigmoid_of_keras2}
    if cell == "gru":
        settings["reset_after"] = False
    theirs = [kind(64, return_state=True, **settings), kind(64, return_sequences=True, **settings)]
    x, read = one_hot(QUESTIONS), shift_right(tf.constant(ANSWERS), 12)
    theirs[0].build(x.shape)
    theirs[0].set_weights(encoder.get_weights())
    _, *states = theirs[0](x, mask=tf.constant(QUESTIONS != BLANK))
    theirs[1].build(read.shape)
    theirs[1].set_weights(decoder.get_weights())
    expected = tf.nn.softmax(characters(theirs[1](read, initial_state=states)))
    np.testing.assert_allclose(model([x, read]), expected, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("cell", CELLS)
def test_what_it_answers_is_what_it_says_when_it_is_given_its_own_answer(cell, kind):
    model = build(cell, *kind)
    alone = model.greedy_decode(one_hot(QUESTIONS)).numpy()
    guess = alone.argmax(axis=-1)
    taught = model([one_hot(QUESTIONS), shift_right(tf.constant(guess), 12)]).numpy()
    counts = until_eos_mask(tf.constant(guess)).numpy() > 0.5
    np.testing.assert_allclose(alone[counts], taught[counts], atol=1e-5)
    assert (guess[~counts] == BLANK).all()


def test_additive_attention_by_hand():
    """Bahdanau et al. 2015: shares of softmax(v tanh(W s + U h)) over the characters, none of padding."""
    model = build("gru", "architecture=attention")
    layer = model._attention
    questions = one_hot(QUESTIONS)
    encoded = model.encode(questions)
    state, outputs = encoded.states[0].numpy(), encoded.memory.outputs.numpy()
    query, key, v = (weights.numpy() for weights in (layer._query.kernel, layer._key.kernel, layer._attention.scale))
    energies = np.tanh((state @ query)[:, None] + outputs @ key) @ v
    energies[QUESTIONS == BLANK] = -np.inf
    shares = np.exp(energies) / np.exp(energies).sum(axis=1, keepdims=True)
    context, alignment = layer.attend(encoded.states, encoded.memory)
    np.testing.assert_allclose(alignment, shares, atol=1e-5)
    np.testing.assert_allclose(context, np.einsum("bq,bqu->bu", shares, outputs), atol=1e-5)


def test_dot_attention_by_hand():
    model = build("lstm", "architecture=attention", "score=dot")
    encoded = model.encode(one_hot(QUESTIONS[1:2]))  # without padding
    state, outputs = encoded.states[0].numpy()[0], encoded.memory.outputs.numpy()[0]
    energies = np.exp(outputs @ state)
    _, alignment = model._attention.attend(encoded.states, encoded.memory)
    np.testing.assert_allclose(alignment[0], energies / energies.sum(), atol=1e-5)


def test_a_decoder_that_peeks_is_keras_own_layer_reading_the_encoders_last_output_too():
    model = build("lstm", "architecture=encoder_decoder", "peek=true")
    own = keras.layers.LSTM(64, return_sequences=True, recurrent_activation=cells.hard_sigmoid_of_keras2)
    x, read = one_hot(QUESTIONS), shift_right(tf.constant(ANSWERS), 12)
    output, *states = model._encoder(x)
    seen = tf.concat([read, tf.repeat(output[:, None], 5, axis=1)], axis=2)
    own.build(seen.shape)
    own.set_weights(model._decoder.get_weights())
    expected = tf.nn.softmax(model._characters(own(seen, initial_state=states)))
    np.testing.assert_allclose(model([x, read]), expected, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_told_everywhere_is_taught_and_told_nowhere_reads_its_own_answer(kind):
    model = build("lstm", *kind)
    questions, answers = one_hot(QUESTIONS), tf.constant(ANSWERS)
    everywhere = model.scheduled_sampling_forward(questions, answers, tf.ones((3, 5), tf.bool))
    np.testing.assert_allclose(everywhere, model([questions, shift_right(answers, 12)]), atol=1e-5)
    nowhere = model.scheduled_sampling_forward(questions, answers, tf.zeros((3, 5), tf.bool)).numpy()
    alone = model.greedy_decode(questions).numpy()
    counts = until_eos_mask(tf.constant(alone.argmax(axis=-1))).numpy() > 0.5
    np.testing.assert_allclose(nowhere[counts], alone[counts], atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("cell", CELLS)
def test_a_beam_of_one_is_the_greedy_answer(cell, kind):
    model = build(cell, *kind)
    questions = one_hot(VOCABULARY.encode([f"{a}+{b}".ljust(7) for a, b in [(1, 2), (535, 61), (99, 999), (7, 70)]]))
    answers, scores = model.beam_search(questions, 1)
    alone = model.greedy_decode(questions).numpy()
    assert (answers[:, 0].numpy() == alone.argmax(axis=-1)).all()
    np.testing.assert_allclose(np.exp(scores[:, 0]), alone.max(axis=-1).prod(axis=-1), rtol=1e-3)


@pytest.mark.parametrize(("cell", "kind"), list(zip(["lstm", "gru", "lstm", "gru"], KINDS, strict=True)))
def test_a_beam_that_is_wide_enough_finds_all_the_most_probable_answers(cell, kind):
    """133 beginnings of two characters there are, those that have ended included; so a beam of 144 loses none."""
    model = build(cell, *kind)
    for weights in model.weights:  # flat distributions, in which the most probable character leads astray
        weights.assign(0.3 * weights.numpy())
    questions = one_hot(VOCABULARY.encode(["12+345 ", "  543+1"]))
    found, scores = model.beam_search(questions, 144, longest=3)
    every = np.array(list(itertools.product(range(12), repeat=3)))
    counts = until_eos_mask(tf.constant(every)).numpy() > 0.5
    every, counts = (array[((every == BLANK) | counts).all(axis=1)] for array in (every, counts))
    read = shift_right(tf.constant(np.pad(every, ((0, 0), (0, 2)))), 12)
    astray = []
    for row in range(2):
        taught = model([tf.repeat(questions[row : row + 1], len(every), axis=0), read]).numpy()[:, :3]
        of_characters = np.take_along_axis(taught, every[:, :, None], axis=2)[:, :, 0]
        of_answers = np.where(counts, of_characters, 1.0).prod(axis=1)
        np.testing.assert_allclose(np.exp(scores[row]), np.sort(of_answers)[::-1][:144], rtol=1e-3)
        for answer, score in list(zip(found[row].numpy().tolist(), np.exp(scores[row]), strict=True))[:20]:
            assert score == pytest.approx(of_answers[every.tolist().index(answer)], rel=1e-3)
        greedy = model.greedy_decode(questions[row : row + 1], 3).numpy().argmax(axis=-1)[0].tolist()
        astray.append(greedy != every[of_answers.argmax()].tolist())
    assert any(astray)


@pytest.fixture
def eagerly() -> Iterator[None]:
    """Without the seconds that it takes to make a program of an epoch."""
    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


def prepare(*overrides: str):
    architecture = [] if any("architecture" in each for each in overrides) else ["architecture=encoder_decoder"]
    config = make_config(*SMALL, "decoder_units=6", *architecture, *overrides)
    data = dataset.make_dataset(config)
    return architectures.build_model(config, config.question_length, config.answer_length, 12), data, config


def test_answers_have_room_for_the_blank_that_ends_them():
    _, data, config = prepare("cell=gru")
    assert config.answer_length == 3
    assert data.train_answers.shape == (44, 3)
    assert (data.train_answers[:, -1] == BLANK).all()


def test_a_decoder_whose_every_step_is_perfect_scores_one(monkeypatch):
    model, data, config = prepare("cell=simple_rnn", "jit=false")
    answers = iter(np.moveaxis(data.val_answers, 1, 0))
    monkeypatch.setattr(
        EncoderDecoder, "step", lambda self, read, states, encoded: (one_hot(next(answers)), states)
    )  # while the program is traced, a place after the other
    measured = loop.evaluation_program(model, config)(data)
    assert measured["val_acc"] == measured["val_exact_match"] == 1.0
    assert measured["val_acc_teacher_forced"] < 1.0


@pytest.mark.parametrize("kind", KINDS)
def test_what_it_answers_on_its_own_does_not_depend_on_the_right_answers(kind, eagerly):
    model, data, config = prepare("cell=gru", "jit=false", *kind)
    evaluate = loop.evaluation_program(model, config)
    guesses = model.greedy_decode(one_hot(data.val_questions)).numpy().argmax(axis=-1)
    for answers in (data.val_answers, data.val_answers[::-1].copy()):
        measured = evaluate(dataclasses.replace(data, val_answers=answers))
        counts = until_eos_mask(tf.constant(answers)).numpy() > 0.5
        assert measured["val_acc"] == pytest.approx(np.mean((guesses == answers)[counts]))
        assert measured["val_exact_match"] == pytest.approx(np.mean((guesses == answers).all(axis=1)))


def test_padding_adds_nothing_to_loss_or_accuracy():
    model, data, config = prepare("cell=lstm")
    measures = loop._measures(config)
    ids = tf.constant(data.val_answers, tf.int32)
    read = one_hot(data.val_questions)
    probabilities = model([read, shift_right(ids, 12)])
    expected = tf.reduce_sum(measures(ids, probabilities), axis=1)
    padding = tf.zeros((len(ids), 4), tf.int32)
    nonsense = tf.fill((len(ids), 4, 12), 1 / 12)
    padded = measures(tf.concat([ids, padding], axis=1), tf.concat([probabilities, nonsense], axis=1))
    np.testing.assert_allclose(tf.reduce_sum(padded, axis=1), expected, rtol=1e-6)
    # And the mean is over characters: their number is the last of the sums.
    assert expected[-1] == sum(len(text.rstrip()) + 1 for text in VOCABULARY.decode(data.val_answers))


def trained(*overrides: str, epochs: int) -> list[dict[str, float]]:
    """The metrics of some epochs, without XLA: what it compiles is tested elsewhere."""
    model, data, config = prepare(f"epochs={epochs}", "learning_rate=0.03", "jit=false", *overrides)
    history: list[dict[str, float]] = []
    for _ in loop.train(model, loop.make_optimizer(model, config), data, config, history):
        pass
    return history


@pytest.mark.parametrize(
    "overrides",
    [["cell=simple_rnn"], ["cell=lstm", "architecture=attention"],
     ["cell=gru", "architecture=attention", "score=dot"], ["cell=simple_rnn", "peek=true", "teacher_forcing=never"]],
    ids=" ".join,
)  # fmt: skip
def test_a_batch_of_mixed_lengths_trains(overrides, eagerly):
    history = trained(*overrides, "batch_size=44", "learning_rate=0.1", epochs=6)
    assert history[-1]["loss"] < 0.8 * history[0]["loss"]
    assert {"acc", "val_acc", "val_acc_teacher_forced", "val_exact_match", "val_acc_position_1"} <= history[0].keys()


def test_scheduled_it_is_told_less_and_less(monkeypatch, eagerly):
    assert [round(schedule.teacher_forcing_ratio(epoch), 2) for epoch in (1, 60, 120)] == [0.95, 0.5, 0.05]
    told, scheduled, never = (
        trained("cell=simple_rnn", f"teacher_forcing={x}", epochs=1) for x in ("always", "scheduled", "never")
    )
    assert len({told[0]["loss"], scheduled[0]["loss"], never[0]["loss"]}) == 3
    monkeypatch.setattr(schedule, "teacher_forcing_ratio", lambda epoch: 1.0)
    assert trained("cell=simple_rnn", "teacher_forcing=scheduled", epochs=1)[-1]["loss"] == pytest.approx(
        told[-1]["loss"], rel=1e-3
    )
    monkeypatch.setattr(schedule, "teacher_forcing_ratio", lambda epoch: 0.0)
    assert trained("cell=simple_rnn", "teacher_forcing=scheduled", epochs=1)[-1]["loss"] == pytest.approx(
        never[-1]["loss"], rel=1e-3
    )


def test_a_scheduled_training_goes_on_as_it_would_have(eagerly):
    overrides = ["cell=simple_rnn", "teacher_forcing=scheduled", "epochs=2", "seed=4294967295", "jit=false"]
    losses = []
    for stops in ((2,), (1, 2)):
        history: list[dict[str, float]] = []
        kept = None
        for stop in stops:
            model, data, config = prepare(*overrides)
            optimizer = loop.make_optimizer(model, config)
            if kept is not None:
                restore(model, optimizer, kept)
            for row in loop.train(model, optimizer, data, config, history):
                if row["epoch"] == stop:
                    break
            kept = state.state(model, optimizer)
        losses.append([row["loss"] for row in history])
    assert losses[0] == losses[1]


@pytest.mark.long
@pytest.mark.parametrize(
    "overrides",
    [*KINDS, ["architecture=attention", "teacher_forcing=scheduled"], ["peek=true", "teacher_forcing=never"],
     ["architecture=readout"], ["architecture=pooled"], ["architecture=repeat_vector_stacked"]],
    ids=" ".join,
)  # fmt: skip
def test_xla_compiles_it_and_it_learns_the_same(overrides):
    losses, said = [], []
    for jit in ("true", "false"):
        model, data, config = prepare("cell=lstm", "epochs=3", f"jit={jit}", "task.longest=2", *overrides)
        history: list[dict[str, float]] = []
        optimizer = loop.make_optimizer(model, config)
        for _ in loop.train(model, optimizer, data, config, history, warn=said.append):
            pass
        losses.append([row["loss"] for row in history])
    assert said == []
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


@pytest.mark.parametrize("name", ["LSTM", "GRU", "SimpleRNN"])
def test_skipped_blanks_have_no_gradient(name):
    """What stands before the question begins cannot matter, so nothing is learnt from it."""
    layer = getattr(recurrent, name)(4, skip_blanks=True)
    x = tf.Variable(one_hot(VOCABULARY.encode(["  12"])))
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
            "decoder_units=32: must equal encoder_units=64, because architecture=encoder_decoder copies the encoder's",
        ),
        (["cell=dense"], "cell=dense architecture=encoder_decoder: a dense cell has no memory"),
        (["score=dot"], "score=dot: architecture=encoder_decoder does not use it; leave it null"),
        (["architecture=attention", "score=null"], "score=null: architecture=attention needs a value; leave score out"),
        (["architecture=attention", "score=cosine"], "score=cosine: must be one of additive, dot"),
        (["architecture=repeat_vector", "peek=true"], "peek=true: architecture=repeat_vector does not use it"),
        (["architecture=readout", "teacher_forcing=never"], "teacher_forcing=never: architecture=readout does not use"),
        (["teacher_forcing=sometimes"], "teacher_forcing=sometimes: must be one of always, scheduled, never"),
    ],
)
def test_what_cannot_be(overrides, said):
    architecture = [] if any("architecture" in each for each in overrides) else ["architecture=encoder_decoder"]
    with pytest.raises(ConfigError) as refused:
        make_config(*architecture, *overrides)
    assert str(refused.value).startswith(said)


def test_a_step_of_the_optimizer_follows_the_mean_over_the_characters_of_its_batch(eagerly):
    """Three batches, the last of four sums, against Keras' own loss; gradient descent, since Adam forgets a factor."""
    model, data, config = prepare("cell=simple_rnn", "jit=false")
    twin = architectures.build_model(config, config.question_length, config.answer_length, 12)
    order = np.arange(44, dtype=np.int32)
    loop.epoch_program(model, keras.optimizers.SGD(0.5), data, config)(order, 1)
    for rows in (order[:20], order[20:40], order[40:]):
        answers = tf.constant(data.train_answers[rows], tf.int32)
        counts = until_eos_mask(answers).numpy() > 0.5
        with tf.GradientTape() as tape:
            probabilities = twin([one_hot(data.train_questions[rows]), shift_right(answers, 12)], training=True)
            loss = tf.reduce_mean(keras.losses.sparse_categorical_crossentropy(answers[counts], probabilities[counts]))
        for weights, gradient in zip(
            twin.trainable_variables, tape.gradient(loss, twin.trainable_variables), strict=True
        ):
            weights.assign_sub(0.5 * gradient)
    for ours, theirs in zip(model.get_weights(), twin.get_weights(), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-6)


def test_where_it_is_told_follows_from_seed_and_epoch_and_is_another_in_each():
    _, _, config = prepare("cell=gru", "teacher_forcing=scheduled")
    other = dataclasses.replace(config, seed=1)
    first, again, later, of_other = (
        schedule.teacher_forcing_mask(each, epoch, (1000, each.answer_length))
        for each, epoch in ((config, 60), (config, 60), (config, 61), (other, 60))
    )
    assert (first == again).all()
    # Half are told in either; of two that do not follow from each other, half of the places are the same.
    assert np.mean(first == later) == pytest.approx(0.5, abs=0.05)
    assert np.mean(first == of_other) == pytest.approx(0.5, abs=0.05)
