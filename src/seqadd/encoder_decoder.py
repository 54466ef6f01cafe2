"""An encoder whose states start a decoder that reads its own answer: questions and answers of any length in a batch.

After Cho et al. 2014 (arXiv 1406.1078), Sutskever et al. 2014 (arXiv 1409.3215) and the article's second half. The
blank begins an answer and ends it, as ``</s>`` does elsewhere; in a question it is padding, and is skipped. Training
model, encoder and single step share their layers, for they are one object.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from seqadd.alphabet import BLANK, CHARACTERS

_N = len(CHARACTERS)

States = list[tf.Tensor]


def counted(answers: tf.Tensor) -> tf.Tensor:
    """Which characters of answers count: those of the number, and the blank that ends it.

    Args:
        answers: ids, shape ``(batch, answer_length)``.

    Returns:
        1.0 or 0.0, same shape.
    """
    blanks_before = tf.cumsum(tf.cast(tf.equal(answers, BLANK), tf.float32), axis=1, exclusive=True)
    return tf.cast(tf.equal(blanks_before, 0.0), tf.float32)


def previous(answers: tf.Tensor) -> tf.Tensor:
    """What the decoder reads when it is taught: at each place the right character of the place before, one-hot.

    Args:
        answers: ids, shape ``(batch, answer_length)``.
    """
    begun = tf.fill([tf.shape(answers)[0], 1], tf.constant(BLANK, answers.dtype))
    return tf.one_hot(tf.concat([begun, answers[:, :-1]], axis=1), _N)


class EncoderDecoder(keras.Model):
    """Maps one-hot questions and what is read of the answers to probabilities of the answers' characters.

    Args:
        recurrent: makes a recurrent layer of ``seqadd.layers``: (units, **settings) -> layer.
        cell: what the layers are called after.
        units: of encoder and decoder, for the states of one are those of the other.
        question_length: characters in a question, padding included.
        answer_length: characters in an answer, the blank that ends it included.
    """

    def __init__(
        self,
        recurrent: Callable[..., Any],
        cell: str,
        units: int,
        question_length: int,
        answer_length: int,
    ) -> None:
        encoder = recurrent(units, return_sequences=False, return_state=True, skip_blanks=True, name=f"{cell}_1")
        decoder = recurrent(units, return_sequences=True, name=f"{cell}_2")
        characters = keras.layers.Dense(_N, name="time_distributed_1")
        softmax = keras.layers.Activation("softmax", name="activation_1")
        question = keras.Input((question_length, _N), name="question")
        read = keras.Input((answer_length, _N), name="previous")
        states = encoder(question)[1:]
        super().__init__(
            [question, read], softmax(characters(decoder(read, initial_state=states))), name="encoder_decoder"
        )
        self._parts = (encoder, decoder, characters, softmax)
        self.answer_length = answer_length

    def encode(self, questions: tf.Tensor) -> States:
        """The states that the decoder starts with, each ``(batch, units)``, for one-hot questions."""
        return self._parts[0](questions)[1:]

    def step(self, read: tf.Tensor, states: States) -> tuple[tf.Tensor, States]:
        """One character of the answer.

        Args:
            read: the character before, one-hot, ``(batch, 12)``.
            states: those before.

        Returns:
            Probabilities ``(batch, 12)``, and the next states.
        """
        _, decoder, characters, softmax = self._parts
        states = decoder.step(decoder.with_one(read), states, lambda x: x)
        return softmax(characters(states[0])), states

    def answer(self, questions: tf.Tensor) -> tf.Tensor:
        """Answers that it gives on its own, always the most probable character: it sees no right answer.

        Args:
            questions: one-hot, ``(batch, question_length, 12)``.

        Returns:
            Probabilities, ``(batch, answer_length, 12)``; after the blank that ends an answer there are blanks alone.
        """
        states = self.encode(questions)
        blank = tf.one_hot(tf.fill([tf.shape(questions)[0]], BLANK), _N)
        read, ended = blank, tf.zeros_like(blank[:, :1])
        each = []
        for _ in range(self.answer_length):
            probabilities, states = self.step(read, states)
            probabilities = tf.where(ended > 0.5, blank, probabilities)
            each.append(probabilities)
            read = tf.one_hot(tf.argmax(probabilities, axis=-1), _N)
            ended = tf.maximum(ended, read[:, BLANK, None])
        return tf.stack(each, axis=1)

    def inputs_for(self, questions: tf.Tensor) -> list[tf.Tensor]:
        """What the model as a whole is given to look at it from inside: the questions, and what it reads of its own."""
        return [tf.convert_to_tensor(questions), previous(tf.argmax(self.answer(questions), axis=-1))]
