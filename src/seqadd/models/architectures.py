"""Builds a keras.Model from the names of a cell and an architecture. Contains no training code.

To add a cell: a function here, its name in ``CELLS`` here and in ``seqadd.config.schema``, a file in ``conf/cell/``.
To add an architecture: a function here, its name in ``ARCHITECTURES`` here and in ``seqadd.config.schema``, a file in
``conf/architecture/``. A recurrence that Keras has no layer for begins in ``recurrent``.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import keras

from seqadd.config.schema import Config
from seqadd.models import recurrent
from seqadd.models.decoders import ReadoutDecoder
from seqadd.models.encoder_decoder import build_encoder_decoder
from seqadd.models.protocol import AnswerModel, KerasFileModel


@keras.saving.register_keras_serializable(package="seqadd")
def hard_sigmoid_of_keras2(x: keras.KerasTensor) -> keras.KerasTensor:
    """``clip(0.2 x + 0.5, 0, 1)``, any shape: the gates' activation in Keras 2.2 (``hard_sigmoid`` of its backend).

    Keras 3's ``hard_sigmoid`` has another slope: ``relu6(x + 3) / 6``.
    """
    return keras.ops.clip(0.2 * x + 0.5, 0.0, 1.0)


#: Defaults of the recurrent layers by era. Initialisers, the forget bias of 1 and Adam are the same in both eras.
GATE_ACTIVATION = {"keras2": hard_sigmoid_of_keras2, "keras3": "sigmoid"}
GRU_RESET_AFTER = {"keras2": False, "keras3": True}


# A cell's function takes the width, the era and the settings of ``recurrent``: return_sequences, constant_input, name.


def lstm(units: int, era: str, **settings: Any) -> keras.layers.Layer:
    """LSTM with the era's gates: ``(batch, steps, features) -> (batch, [steps,] units)``."""
    return recurrent.LSTM(units, recurrent_activation=GATE_ACTIVATION[era], **settings)


def gru(units: int, era: str, **settings: Any) -> keras.layers.Layer:
    """GRU with the era's gates and reset gate position: ``(batch, steps, features) -> (batch, [steps,] units)``."""
    return recurrent.GRU(units, recurrent_activation=GATE_ACTIVATION[era], reset_after=GRU_RESET_AFTER[era], **settings)


def simple_rnn(units: int, era: str, **settings: Any) -> keras.layers.Layer:
    """SimpleRNN, the same in every era: ``(batch, steps, features) -> (batch, [steps,] units)``."""
    return recurrent.SimpleRNN(units, **settings)


def dense(units: int, era: str, *, return_sequences: bool, name: str) -> keras.layers.Layer:
    """A SimpleRNN without the recurrence: tanh of one step, ``(batch, steps, features) -> (batch, steps, units)``."""
    assert return_sequences, "a dense cell has no last state: config.check allows it in architecture=aligned only"
    return keras.layers.Dense(units, activation="tanh", name=name)


CELLS: dict[str, Callable[..., keras.layers.Layer]] = {
    "lstm": lstm,
    "gru": gru,
    "simple_rnn": simple_rnn,
    "dense": dense,
}


def repeat_vector(config: Config, question_length: int, answer_length: int, n_characters: int) -> AnswerModel:
    """The article's main model: the decoder reads the encoder's last state at every character of the answer."""
    cell = CELLS[config.cell]
    assert config.decoder_units is not None
    return _chain(
        (question_length, n_characters),
        [
            cell(config.encoder_units, config.era, return_sequences=False, name=f"{config.cell}_1"),
            keras.layers.RepeatVector(answer_length, name="repeat_vector_1"),
            cell(config.decoder_units, config.era, return_sequences=True, constant_input=True, name=f"{config.cell}_2"),
            *_characters(n_characters),
        ],
        name="repeat_vector",
    )


def aligned(config: Config, question_length: int, answer_length: int, n_characters: int) -> AnswerModel:
    """One layer with an output at every input step: the article's "Dense only" and "LSTM alone, return_sequences"."""
    assert answer_length == question_length, "an aligned model answers as many characters as it is asked"
    return _chain(
        (question_length, n_characters),
        [
            CELLS[config.cell](config.encoder_units, config.era, return_sequences=True, name=f"{config.cell}_1"),
            *_characters(n_characters),
        ],
        name="aligned",
    )


def _chain(question_shape: tuple[int, int], layers: Sequence[keras.layers.Layer], name: str) -> AnswerModel:
    """A model of layers in sequence: each layer takes the output of the previous one."""
    question = x = keras.Input(question_shape, name="question")
    for layer in layers:
        x = layer(x)
    return AnswerModel(question, x, name=name)


def _characters(n_characters: int) -> list[keras.layers.Layer]:
    """A softmax over the alphabet at every step: ``(batch, steps, features) -> (batch, steps, n_characters)``."""
    return [
        # TimeDistributed(Dense(...)) in the article. Dense alone computes the same, as one product for all steps.
        keras.layers.Dense(n_characters, name="time_distributed_1"),
        keras.layers.Activation("softmax", name="activation_1"),
    ]


def encoder_decoder(config: Config, question_length: int, answer_length: int, n_characters: int) -> AnswerModel:
    """The encoder's states start a decoder that reads its own answer: the article's second half. Optional attention."""
    return build_encoder_decoder(
        functools.partial(CELLS[config.cell], era=config.era),
        config.cell,
        config.encoder_units,
        question_length,
        answer_length,
        peek=bool(config.peek),
        score=config.score,
    )


# The three models that the article's second script compares, after the source of a library of 2017 (seq2seq by
# F. Rahman). docs/architectures.md describes them, and their differences from that library.


def repeat_vector_stacked(config: Config, question_length: int, answer_length: int, n_characters: int) -> AnswerModel:
    """SimpleSeq2Seq: ``repeat_vector`` with a decoder of two layers."""
    cell = CELLS[config.cell]
    assert config.decoder_units is not None
    return _chain(
        (question_length, n_characters),
        [
            cell(config.encoder_units, config.era, return_sequences=False, name=f"{config.cell}_1"),
            keras.layers.RepeatVector(answer_length, name="repeat_vector_1"),
            cell(config.decoder_units, config.era, return_sequences=True, constant_input=True, name=f"{config.cell}_2"),
            cell(config.decoder_units, config.era, return_sequences=True, name=f"{config.cell}_3"),
            *_characters(n_characters),
        ],
        name="repeat_vector_stacked",
    )


def readout(config: Config, question_length: int, answer_length: int, n_characters: int) -> AnswerModel:
    """Seq2Seq: the encoder's states start a decoder that reads its own output, which is a vector, not a character."""
    cell = CELLS[config.cell]
    assert config.decoder_units is not None
    question = keras.Input((question_length, n_characters), name="question")
    encoder = cell(config.encoder_units, config.era, return_sequences=False, return_state=True, name=f"{config.cell}_1")
    decoder = cell(config.encoder_units, config.era, return_sequences=True, name=f"{config.cell}_2")
    encoded, *states = encoder(question)
    first = keras.layers.Dense(config.decoder_units, name="first_readout")(encoded)
    x = ReadoutDecoder(decoder, config.decoder_units, answer_length, name=f"readout_{config.cell}_2")(first, states)
    for layer in _characters(n_characters):
        x = layer(x)
    return AnswerModel(question, x, name="readout")


def pooled(config: Config, question_length: int, answer_length: int, n_characters: int) -> AnswerModel:
    """AttentionSeq2Seq: a weighted sum of a bidirectional encoder's outputs, the same for every character.

    Its attention scores a state c and an output x by w_x x + w_c c, without a nonlinearity. The state's term is equal
    for all outputs, so it cancels in the softmax over them.
    """
    cell = CELLS[config.cell]
    question = keras.Input((question_length, n_characters), name="question")
    forward = cell(config.encoder_units, config.era, return_sequences=True, name=f"{config.cell}_1")
    backward = cell(config.encoder_units, config.era, return_sequences=True, name=f"{config.cell}_1_backward")
    outputs = keras.layers.Add(name="add_1")(
        [forward(question), keras.ops.flip(backward(keras.ops.flip(question, axis=1)), axis=1)]
    )
    alignment = keras.layers.Softmax(axis=1, name="alignment_1")(keras.layers.Dense(1, name="score_1")(outputs))
    context = keras.layers.Flatten(name="context_1")(keras.layers.Dot(axes=1, name="dot_1")([alignment, outputs]))
    x = keras.layers.RepeatVector(answer_length, name="repeat_vector_1")(context)
    x = cell(config.encoder_units, config.era, return_sequences=True, constant_input=True, name=f"{config.cell}_2")(x)
    x = keras.layers.Dense(config.decoder_units, activation="tanh", name="time_distributed_0")(x)
    for layer in _characters(n_characters):
        x = layer(x)
    return KerasFileModel(question, x, name="pooled")


ARCHITECTURES: dict[str, Callable[[Config, int, int, int], AnswerModel]] = {
    "repeat_vector": repeat_vector,
    "aligned": aligned,
    "encoder_decoder": encoder_decoder,
    "attention": encoder_decoder,
    "repeat_vector_stacked": repeat_vector_stacked,
    "readout": readout,
    "pooled": pooled,
}


def build_model(config: Config, question_length: int, answer_length: int, n_characters: int) -> AnswerModel:
    """Builds the model that the configuration names, with initial weights determined by its seed.

    Args:
        config: gives architecture, cell, era, widths and seed.
        question_length: characters in a question.
        answer_length: characters in an answer.
        n_characters: size of the alphabet.

    Returns:
        A model from one-hot questions, shape ``(batch, question_length, n_characters)``, to probabilities of the
        answer's characters, shape ``(batch, answer_length, n_characters)``. An ``EncoderDecoder`` has a second input:
        the characters of the answer that it reads. Layers are named as in the article's summary.
    """
    keras.utils.set_random_seed(config.seed)
    return ARCHITECTURES[config.architecture](config, question_length, answer_length, n_characters)
