"""The encoder-decoder: the encoder's states start a decoder that reads its own answer. A batch may mix lengths.

After Cho et al. 2014 (arXiv 1406.1078), Sutskever et al. 2014 (arXiv 1409.3215) and the article's second half; with
attention after Bahdanau et al. 2015 (arXiv 1409.0473). The blank begins and ends an answer, as ``</s>`` does elsewhere;
in a question it is padding, and the encoder skips it. Training model, encoder and single step are one object and share
their layers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from seqadd.models.decoders import AttentionDecoder, Memory
from seqadd.models.own_cell import check_output_is_state
from seqadd.models.self_reading import SelfReadingModel


class Encoded(NamedTuple):
    """The encoder's result, which the decoder takes.

    Attributes:
        states: the decoder's initial states, each ``(batch, units)``.
        context: the encoder's last output, for a decoder that peeks; None for others.
        memory: for a decoder with attention; None for others.
    """

    states: list[tf.Tensor]
    context: tf.Tensor | None
    memory: Memory | None


@keras.saving.register_keras_serializable(package="seqadd")
class EncoderDecoder(SelfReadingModel):
    """Maps one-hot questions and the previous characters of the answers to probabilities of the answers' characters.

    Args:
        inputs, outputs: of a graph that ``build_encoder_decoder`` made, or its copy that Keras makes on loading.
        name, trainable: as in ``keras.Model``.

    Raises:
        ValueError: for any other graph.
    """

    def __init__(self, inputs: Any, outputs: Any, name: str | None = None, **settings: Any) -> None:
        super().__init__(inputs, outputs, name=name, **settings)
        kinds = [AttentionDecoder, keras.layers.RNN, keras.layers.Dense, keras.layers.Activation]
        attentions, recurrent, *others = ([layer for layer in self.layers if isinstance(layer, kind)] for kind in kinds)
        recurrent += [attention.recurrent for attention in attentions]
        if [len(self.inputs), len(recurrent), *map(len, others)] != [2, 2, 1, 1]:
            raise ValueError(f"{self.name}: this graph is no encoder with a decoder; build_encoder_decoder makes one")
        (encoder, decoder), ((characters,), (softmax,)) = recurrent, others
        attention = attentions[0] if attentions else None
        inside = {}
        if attention is not None:
            read, _, encoded, *states = attention.input
            outputs, alignment = attention.output
            # Computes the decoder's input once more, which is cheap, so that ``inspect`` has it as a tensor.
            context = keras.layers.Dot(axes=(2, 1))([alignment, encoded])
            inside[decoder.name] = (decoder, [keras.layers.Concatenate()([read, context]), *states], outputs)
        self._encoder, self._decoder, self._attention = encoder, decoder, attention
        self._characters, self._softmax = characters, softmax
        self._peek = any(isinstance(layer, keras.layers.RepeatVector) for layer in self.layers)
        #: For ``inspect``: recurrent layers inside other layers, by name, with the tensors of their inputs and output.
        self.inside = inside

    def encode(self, questions: tf.Tensor) -> Encoded:
        """Encodes one-hot questions of any length, ``(batch, n, 12)``, for the decoder.

        Raises:
            NotImplementedError: for a model whose policy is neither float32 nor float64.
        """
        policy = self._decoder.dtype_policy.name
        if policy not in ("float32", "float64"):  # a step runs outside of Keras' layers, so Keras casts no weights
            raise NotImplementedError(
                f"{self.name} answers on its own in float32 or float64; its policy is {policy}: build it under another"
            )
        encoded, *states = self._encoder(questions)
        if self._attention is not None:
            return Encoded(states, None, self._attention.build_memory(questions, encoded))
        return Encoded(states, encoded if self._peek else None, None)

    def step(
        self, read: tf.Tensor, states: list[tf.Tensor], encoded: Encoded, barrier: Any = lambda x: x
    ) -> tuple[tf.Tensor, list[tf.Tensor]]:
        """Predicts one character of the answer.

        Args:
            read: the previous character, one-hot, ``(batch, 12)``.
            states: the previous states.
            encoded: the encoded questions.
            barrier: as for ``step`` in ``models.recurrent``.

        Returns:
            Probabilities ``(batch, 12)``, and the next states.
        """
        if self._attention is not None and encoded.memory is not None:
            states, context, _ = self._attention.step(read, states, encoded.memory, barrier)
            return self._softmax(self._characters(tf.concat([states[0], context], axis=1))), states
        inputs = read if encoded.context is None else tf.concat([read, encoded.context], axis=1)
        states = self._decoder.step(self._decoder.append_bias_input(inputs), states, barrier)
        return self._softmax(self._characters(states[0])), states

    def barrier(self, questions: tf.Tensor) -> Any:
        """See ``SelfReadingModel``."""
        return self._decoder.barrier(questions)

    @property
    def step_dtype(self) -> str:
        """See ``SelfReadingModel``."""
        return str(self._decoder.compute_dtype)


def build_encoder_decoder(
    recurrent: Callable[..., Any],
    cell: str,
    units: int,
    question_length: int,
    answer_length: int,
    n_characters: int,
    *,
    peek: bool = False,
    score: str | None = None,
) -> EncoderDecoder:
    """Builds an encoder-decoder with initial weights.

    Args:
        recurrent: makes a recurrent layer of ``models.recurrent``: (units, **settings) -> layer.
        cell: name of the cell, the prefix of the layers' names.
        units: width of encoder and decoder, equal because the decoder starts with the encoder's states.
        question_length: characters in a question, padding included.
        answer_length: characters in an answer, the blank that ends it included.
        n_characters: size of the alphabet.
        peek: whether every step of the decoder also reads the encoder's last output, as in Cho et al. 2014.
        score: the attention's score, ``additive`` or ``dot``; None for a decoder without attention.
    """
    encoder = recurrent(
        units, return_sequences=score is not None, return_state=True, skip_blanks=True, name=f"{cell}_1"
    )
    decoder = recurrent(units, return_sequences=True, name=f"{cell}_2")
    characters = keras.layers.Dense(n_characters, name="time_distributed_1")
    softmax = keras.layers.Activation("softmax", name="activation_1")
    question = keras.Input((question_length, n_characters), name="question")
    read = keras.Input((answer_length, n_characters), name="previous")
    encoded, *states = encoder(question)
    if score is not None:
        attention = AttentionDecoder(decoder, score, name=f"attention_{cell}_2")
        outputs, alignment = attention(read, question, encoded, states)
        context = keras.layers.Dot(axes=(2, 1), name="context_1")([alignment, encoded])
        outputs = keras.layers.Concatenate(name="concatenate_1")([outputs, context])
    elif peek:
        context = keras.layers.RepeatVector(answer_length, name="repeat_vector_1")(encoded)
        outputs = decoder(keras.layers.Concatenate(name="concatenate_1")([read, context]), initial_state=states)
    else:
        outputs = decoder(read, initial_state=states)
    check_output_is_state(decoder, "encoder_decoder" if score is None else "attention")
    return EncoderDecoder([question, read], softmax(characters(outputs)), name="encoder_decoder")
