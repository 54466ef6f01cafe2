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

from seqadd.data.vocabulary import BLANK, CHARACTERS
from seqadd.models.decoders import AttentionDecoder, Memory
from seqadd.models.protocol import KerasFileModel

_N = len(CHARACTERS)

States = list[tf.Tensor]
_NEVER = -1e9  # a log probability, finite and below all real ones


def until_eos_mask(answers: tf.Tensor) -> tf.Tensor:
    """The mask of the characters that count: those of the number, and the blank that ends it.

    Args:
        answers: ids, shape ``(batch, answer_length)``.

    Returns:
        1.0 or 0.0, same shape.
    """
    blanks_before = tf.cumsum(tf.cast(tf.equal(answers, BLANK), tf.float32), axis=1, exclusive=True)
    return tf.cast(tf.equal(blanks_before, 0.0), tf.float32)


def shift_right(answers: tf.Tensor) -> tf.Tensor:
    """The decoder's input under teacher forcing: at each position the correct previous character, one-hot.

    Args:
        answers: ids, shape ``(batch, answer_length)``.
    """
    begun = tf.fill([tf.shape(answers)[0], 1], tf.constant(BLANK, answers.dtype))
    return tf.one_hot(tf.concat([begun, answers[:, :-1]], axis=1), _N)


class Encoded(NamedTuple):
    """The encoder's result, which the decoder takes.

    Attributes:
        states: the decoder's initial states, each ``(batch, units)``.
        context: the encoder's last output, for a decoder that peeks; None for others.
        memory: for a decoder with attention; None for others.
    """

    states: States
    context: tf.Tensor | None
    memory: Memory | None


@keras.saving.register_keras_serializable(package="seqadd")
class EncoderDecoder(KerasFileModel):
    """Maps one-hot questions and the previous characters of the answers to probabilities of the answers' characters.

    Args:
        inputs, outputs: of a graph that ``build_encoder_decoder`` made, or its copy that Keras makes on loading.
        name, trainable: as in ``keras.Model``.

    Raises:
        ValueError: for any other graph.
    """

    reads_answer = True

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
        self.answer_length = self.inputs[1].shape[1]

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
        self, read: tf.Tensor, states: States, encoded: Encoded, barrier: Any = lambda x: x
    ) -> tuple[tf.Tensor, States]:
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

    def training_forward(
        self, questions: tf.Tensor, answers: tf.Tensor, *, training: bool, forced: tf.Tensor | None = None
    ) -> tf.Tensor:
        """See ``AnswerModel``."""
        if forced is not None:
            return self.scheduled_sampling_forward(questions, answers, forced)
        return self([questions, shift_right(answers)], training=training)

    def greedy_decode(self, questions: tf.Tensor, longest: int | None = None) -> tf.Tensor:
        """Answers with the most probable character at each step, without any correct answer.

        Args:
            questions: one-hot, ``(batch, n, 12)``.
            longest: maximal length of an answer, the blank that ends it included; None for ``answer_length``.

        Returns:
            Probabilities, ``(batch, longest, 12)``; after the blank that ends an answer all characters are blanks.
        """
        questions = self._as_input(questions)
        encoded = self.encode(questions)
        states = encoded.states
        blank = _blanks(questions)
        read, ended = blank, tf.zeros_like(blank[:, :1])
        each = []
        for _ in range(longest or self.answer_length):
            probabilities, states = self.step(read, states, encoded)
            probabilities = tf.where(ended > 0.5, blank, probabilities)
            each.append(probabilities)
            read = _most_probable(probabilities)
            ended = tf.maximum(ended, read[:, BLANK, None])
        return tf.stack(each, axis=1)

    def scheduled_sampling_forward(self, questions: tf.Tensor, answers: tf.Tensor, forced: tf.Tensor) -> tf.Tensor:
        """The probabilities of each character when the decoder reads the correct previous character or its own.

        Args:
            questions: one-hot, ``(batch, n, 12)``.
            answers: ids, ``(batch, answer_length)``.
            forced: where the decoder reads the correct character, ``(batch, answer_length)``; at the first position it
                always reads the blank.
        """
        questions = self._as_input(questions)
        encoded = self.encode(questions)
        states, said, each = encoded.states, _blanks(questions), []
        barrier = self._decoder.barrier(questions)
        for at, right in enumerate(tf.unstack(self._as_input(shift_right(answers)), axis=1)):
            probabilities, states = self.step(tf.where(forced[:, at, None], right, said), states, encoded, barrier)
            each.append(probabilities)
            said = _most_probable(probabilities)
        return tf.stack(each, axis=1)

    def beam_search(self, questions: tf.Tensor, width: int, longest: int | None = None) -> tuple[tf.Tensor, tf.Tensor]:
        """The most probable answers that beam search finds: it keeps the ``width`` best prefixes at each character.

        Args:
            questions: one-hot, ``(batch, n, 12)``.
            width: at least 1; 1 is equivalent to ``greedy_decode``.
            longest: as for ``greedy_decode``.

        Returns:
            Ids, ``(batch, width, longest)``, the most probable answer first, and the log probabilities of the whole
            answers, ``(batch, width)``; below -1e8 if there were fewer answers than ``width``.
        """
        questions = self._as_input(questions)
        n, dtype = tf.shape(questions)[0], questions.dtype
        encoded = tf.nest.map_structure(
            lambda part: None if part is None else tf.repeat(part, width, axis=0), self.encode(questions)
        )
        states = encoded.states
        answers = tf.zeros((n, width, 0), tf.int32)
        # At first all prefixes of a question are the same empty one, which must count once only.
        scores = tf.tile(tf.constant([[0.0] + [_NEVER] * (width - 1)], dtype), [n, 1])
        read = tf.one_hot(tf.fill([n * width], BLANK), _N, dtype=dtype)
        ended = tf.zeros((n, width), tf.bool)
        after_the_end = tf.one_hot(BLANK, _N, on_value=0.0, off_value=_NEVER, dtype=dtype)
        for _ in range(longest or self.answer_length):
            probabilities, states = self.step(read, states, encoded)
            logarithms = tf.reshape(tf.math.log(tf.maximum(probabilities, 1e-30)), (n, width, _N))
            logarithms = tf.where(ended[:, :, None], after_the_end, logarithms)
            scores, chosen = tf.math.top_k(tf.reshape(scores[:, :, None] + logarithms, (n, width * _N)), width)
            came_from, characters = chosen // _N, chosen % _N
            answers = tf.concat([tf.gather(answers, came_from, batch_dims=1), characters[:, :, None]], axis=2)
            ended = tf.gather(ended, came_from, batch_dims=1) | (characters == BLANK)
            rows = tf.reshape(tf.range(n)[:, None] * width + came_from, [-1])
            states = [tf.gather(state, rows) for state in states]
            read = tf.one_hot(tf.reshape(characters, [-1]), _N, dtype=dtype)
        return answers, scores

    def _as_input(self, one_hot: tf.Tensor) -> tf.Tensor:
        """Casts to the dtype that the model computes in."""
        return tf.cast(one_hot, self._decoder.compute_dtype)

    def inner_inputs(self, questions: tf.Tensor) -> list[tf.Tensor]:
        """The questions, and the characters that the decoder reads of its own answers."""
        return [tf.convert_to_tensor(questions), shift_right(tf.argmax(self.greedy_decode(questions), axis=-1))]


def build_encoder_decoder(
    recurrent: Callable[..., Any],
    cell: str,
    units: int,
    question_length: int,
    answer_length: int,
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
        peek: whether every step of the decoder also reads the encoder's last output, as in Cho et al. 2014.
        score: the attention's score, ``additive`` or ``dot``; None for a decoder without attention.
    """
    encoder = recurrent(
        units, return_sequences=score is not None, return_state=True, skip_blanks=True, name=f"{cell}_1"
    )
    decoder = recurrent(units, return_sequences=True, name=f"{cell}_2")
    characters = keras.layers.Dense(_N, name="time_distributed_1")
    softmax = keras.layers.Activation("softmax", name="activation_1")
    question = keras.Input((question_length, _N), name="question")
    read = keras.Input((answer_length, _N), name="previous")
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
    return EncoderDecoder([question, read], softmax(characters(outputs)), name="encoder_decoder")


def _blanks(questions: tf.Tensor) -> tf.Tensor:
    """The blank that begins each answer, one-hot, ``(batch, 12)``."""
    return tf.one_hot(tf.fill([tf.shape(questions)[0]], BLANK), _N, dtype=questions.dtype)


def _most_probable(probabilities: tf.Tensor) -> tf.Tensor:
    """The most probable character, one-hot: ``(batch, 12) -> (batch, 12)``."""
    return tf.one_hot(tf.argmax(probabilities, axis=-1), _N, dtype=probabilities.dtype)
