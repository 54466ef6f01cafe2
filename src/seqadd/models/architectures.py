"""Builds a keras.Model from the names of a cell and an architecture. Contains no training code.

To add an architecture to the package: a function here, its name in ``ARCHITECTURES`` here and in
``seqadd.config.schema``, a file in ``conf/architecture/``. An own one needs no change here, see ``own_architecture``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import keras

from seqadd.config.schema import Config
from seqadd.models.cells import cell_of, character_layers
from seqadd.models.decoders import ReadoutDecoder
from seqadd.models.encoder_decoder import build_encoder_decoder
from seqadd.models.own_architecture import build_own_architecture
from seqadd.models.own_cell import check_output_is_state
from seqadd.models.protocol import AnswerModel, KerasFileModel


def _units(width: int | None) -> int:
    assert width is not None, "config.validation checks that an architecture of the package has its widths"
    return width


def repeat_vector(config: Config, question_length: int, answer_length: int, n_characters: int) -> AnswerModel:
    """The article's main model: the decoder reads the encoder's last state at every character of the answer."""
    cell = cell_of(config)
    return _chain(
        (question_length, n_characters),
        [
            cell(_units(config.encoder_units), return_sequences=False, name=f"{config.cell}_1"),
            keras.layers.RepeatVector(answer_length, name="repeat_vector_1"),
            cell(_units(config.decoder_units), return_sequences=True, constant_input=True, name=f"{config.cell}_2"),
            *character_layers(n_characters),
        ],
        name="repeat_vector",
    )


def aligned(config: Config, question_length: int, answer_length: int, n_characters: int) -> AnswerModel:
    """One layer with an output at every input step: the article's "Dense only" and "LSTM alone, return_sequences"."""
    assert answer_length == question_length, "an aligned model answers as many characters as it is asked"
    return _chain(
        (question_length, n_characters),
        [
            cell_of(config)(_units(config.encoder_units), return_sequences=True, name=f"{config.cell}_1"),
            *character_layers(n_characters),
        ],
        name="aligned",
    )


def _chain(question_shape: tuple[int, int], layers: Sequence[keras.layers.Layer], name: str) -> AnswerModel:
    """A model of layers in sequence: each layer takes the output of the previous one."""
    question = x = keras.Input(question_shape, name="question")
    for layer in layers:
        x = layer(x)
    return AnswerModel(question, x, name=name)


def encoder_decoder(config: Config, question_length: int, answer_length: int, n_characters: int) -> AnswerModel:
    """The encoder's states start a decoder that reads its own answer: the article's second half. Optional attention."""
    assert config.cell is not None
    return build_encoder_decoder(
        cell_of(config),
        config.cell,
        _units(config.encoder_units),
        question_length,
        answer_length,
        n_characters,
        peek=bool(config.peek),
        score=config.score,
    )


# The three models that the article's second script compares, after the source of a library of 2017 (seq2seq by
# F. Rahman). docs/architectures.md describes them, and their differences from that library.


def repeat_vector_stacked(config: Config, question_length: int, answer_length: int, n_characters: int) -> AnswerModel:
    """SimpleSeq2Seq: ``repeat_vector`` with a decoder of two layers."""
    cell = cell_of(config)
    return _chain(
        (question_length, n_characters),
        [
            cell(_units(config.encoder_units), return_sequences=False, name=f"{config.cell}_1"),
            keras.layers.RepeatVector(answer_length, name="repeat_vector_1"),
            cell(_units(config.decoder_units), return_sequences=True, constant_input=True, name=f"{config.cell}_2"),
            cell(_units(config.decoder_units), return_sequences=True, name=f"{config.cell}_3"),
            *character_layers(n_characters),
        ],
        name="repeat_vector_stacked",
    )


def readout(config: Config, question_length: int, answer_length: int, n_characters: int) -> AnswerModel:
    """Seq2Seq: the encoder's states start a decoder that reads its own output, which is a vector, not a character."""
    cell = cell_of(config)
    question = keras.Input((question_length, n_characters), name="question")
    encoder = cell(_units(config.encoder_units), return_sequences=False, return_state=True, name=f"{config.cell}_1")
    decoder = cell(_units(config.encoder_units), return_sequences=True, name=f"{config.cell}_2")
    encoded, *states = encoder(question)
    first = keras.layers.Dense(_units(config.decoder_units), name="first_readout")(encoded)
    x = ReadoutDecoder(decoder, _units(config.decoder_units), answer_length, name=f"readout_{config.cell}_2")(
        first, states
    )
    check_output_is_state(decoder, config.architecture)
    for layer in character_layers(n_characters):
        x = layer(x)
    return AnswerModel(question, x, name="readout")


def pooled(config: Config, question_length: int, answer_length: int, n_characters: int) -> AnswerModel:
    """AttentionSeq2Seq: a weighted sum of a bidirectional encoder's outputs, the same for every character.

    Its attention scores a state c and an output x by w_x x + w_c c, without a nonlinearity. The state's term is equal
    for all outputs, so it cancels in the softmax over them.
    """
    cell = cell_of(config)
    question = keras.Input((question_length, n_characters), name="question")
    forward = cell(_units(config.encoder_units), return_sequences=True, name=f"{config.cell}_1")
    backward = cell(_units(config.encoder_units), return_sequences=True, name=f"{config.cell}_1_backward")
    outputs = keras.layers.Add(name="add_1")(
        [forward(question), keras.ops.flip(backward(keras.ops.flip(question, axis=1)), axis=1)]
    )
    alignment = keras.layers.Softmax(axis=1, name="alignment_1")(keras.layers.Dense(1, name="score_1")(outputs))
    context = keras.layers.Flatten(name="context_1")(keras.layers.Dot(axes=1, name="dot_1")([alignment, outputs]))
    x = keras.layers.RepeatVector(answer_length, name="repeat_vector_1")(context)
    x = cell(_units(config.encoder_units), return_sequences=True, constant_input=True, name=f"{config.cell}_2")(x)
    x = keras.layers.Dense(_units(config.decoder_units), activation="tanh", name="time_distributed_0")(x)
    for layer in character_layers(n_characters):
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
    build = ARCHITECTURES.get(config.architecture, build_own_architecture)
    return build(config, question_length, answer_length, n_characters)
