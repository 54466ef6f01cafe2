"""Models that read the beginning of their own answer before they write its next character.

A blank begins and ends an answer, as ``</s>`` does elsewhere. A model says how it encodes a question and how it takes a
step; teacher forcing, scheduled sampling, greedy decoding and beam search are the same for all.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from seqadd.data.vocabulary import BLANK
from seqadd.models.protocol import KerasFileModel

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


def shift_right(answers: tf.Tensor, n_characters: int) -> tf.Tensor:
    """The decoder's input under teacher forcing: at each position the correct previous character, one-hot.

    Args:
        answers: ids, shape ``(batch, answer_length)``.
        n_characters: size of the alphabet.
    """
    begun = tf.fill([tf.shape(answers)[0], 1], tf.constant(BLANK, answers.dtype))
    return tf.one_hot(tf.concat([begun, answers[:, :-1]], axis=1), n_characters)


class SelfReadingModel(KerasFileModel):
    """A model of ``[question, previous]``, both one-hot, the second ``(batch, answer_length, characters)``."""

    reads_answer = True

    @property
    def answer_length(self) -> int:
        """Characters of an answer, the blank that ends it included."""
        return int(self.inputs[1].shape[1])

    @property
    def n_characters(self) -> int:
        """Size of the alphabet."""
        return int(self.inputs[1].shape[2])

    def encode(self, questions: tf.Tensor) -> Any:
        """Encodes one-hot questions: tensors whose first axis is the batch, ``states`` among them, for ``step``."""
        raise NotImplementedError

    def step(self, read: tf.Tensor, states: list[tf.Tensor], encoded: Any, barrier: Any = lambda x: x) -> Any:
        """Predicts one character: its probabilities, ``(batch, characters)``, and the next states.

        Args:
            read: the previous character, one-hot, ``(batch, characters)``.
            states: the previous states, each with the batch as its first axis.
            encoded: the encoded questions.
            barrier: as for ``step`` in ``models.recurrent``.
        """
        raise NotImplementedError

    def barrier(self, questions: tf.Tensor) -> Any:
        """The barrier for ``step`` in a training step; see ``models.recurrent``."""
        return lambda x: x

    @property
    def step_dtype(self) -> str:
        """The dtype that ``step`` computes in."""
        return str(self.compute_dtype)

    def training_forward(
        self, questions: tf.Tensor, answers: tf.Tensor, *, training: bool, forced: tf.Tensor | None = None
    ) -> tf.Tensor:
        """See ``AnswerModel``."""
        if forced is not None:
            return self.scheduled_sampling_forward(questions, answers, forced)
        return self([questions, shift_right(answers, self.n_characters)], training=training)

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
        blank = blanks(questions)
        read, ended = blank, tf.zeros_like(blank[:, :1])
        each = []
        for _ in range(longest or self.answer_length):
            probabilities, states = self.step(read, states, encoded)
            probabilities = tf.where(ended > 0.5, blank, probabilities)
            each.append(probabilities)
            read = most_probable(probabilities)
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
        states, said, each = encoded.states, blanks(questions), []
        barrier = self.barrier(questions)
        for at, right in enumerate(tf.unstack(self._as_input(shift_right(answers, self.n_characters)), axis=1)):
            probabilities, states = self.step(tf.where(forced[:, at, None], right, said), states, encoded, barrier)
            each.append(probabilities)
            said = most_probable(probabilities)
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
        n, dtype, n_characters = tf.shape(questions)[0], questions.dtype, self.n_characters
        encoded = tf.nest.map_structure(
            lambda part: None if part is None else tf.repeat(part, width, axis=0), self.encode(questions)
        )
        states = encoded.states
        answers = tf.zeros((n, width, 0), tf.int32)
        # At first all prefixes of a question are the same empty one, which must count once only.
        scores = tf.tile(tf.constant([[0.0] + [_NEVER] * (width - 1)], dtype), [n, 1])
        read = tf.one_hot(tf.fill([n * width], BLANK), n_characters, dtype=dtype)
        ended = tf.zeros((n, width), tf.bool)
        after_the_end = tf.one_hot(BLANK, n_characters, on_value=0.0, off_value=_NEVER, dtype=dtype)
        for _ in range(longest or self.answer_length):
            probabilities, states = self.step(read, states, encoded)
            logarithms = tf.reshape(tf.math.log(tf.maximum(probabilities, 1e-30)), (n, width, n_characters))
            logarithms = tf.where(ended[:, :, None], after_the_end, logarithms)
            scores, chosen = tf.math.top_k(
                tf.reshape(scores[:, :, None] + logarithms, (n, width * n_characters)), width
            )
            came_from, characters = chosen // n_characters, chosen % n_characters
            answers = tf.concat([tf.gather(answers, came_from, batch_dims=1), characters[:, :, None]], axis=2)
            ended = tf.gather(ended, came_from, batch_dims=1) | (characters == BLANK)
            rows = tf.reshape(tf.range(n)[:, None] * width + came_from, [-1])
            states = [tf.gather(state, rows) for state in states]
            read = tf.one_hot(tf.reshape(characters, [-1]), n_characters, dtype=dtype)
        return answers, scores

    def _as_input(self, one_hot: tf.Tensor) -> tf.Tensor:
        """Casts to the dtype that the model computes in."""
        return tf.cast(one_hot, self.step_dtype)

    def inner_inputs(self, questions: tf.Tensor) -> list[tf.Tensor]:
        """The questions, and the characters that the decoder reads of its own answers."""
        return [
            tf.convert_to_tensor(questions),
            shift_right(tf.argmax(self.greedy_decode(questions), axis=-1), self.n_characters),
        ]


def blanks(questions: tf.Tensor) -> tf.Tensor:
    """The blank that begins each answer, one-hot, ``(batch, 12)``."""
    return tf.one_hot(tf.fill([tf.shape(questions)[0]], BLANK), questions.shape[-1], dtype=questions.dtype)


def most_probable(probabilities: tf.Tensor) -> tf.Tensor:
    """The most probable character, one-hot: ``(batch, 12) -> (batch, 12)``."""
    return tf.one_hot(tf.argmax(probabilities, axis=-1), probabilities.shape[-1], dtype=probabilities.dtype)
