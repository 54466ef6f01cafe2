"""The interface of models that training, evaluation, ``answer`` and ``inspect`` use, for every architecture.

A model is a ``keras.Model`` with these additional members. A model that answers in one pass inherits them; a model that
reads its own answer, character by character, overrides them (``encoder_decoder.EncoderDecoder``).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from seqadd.models.shown import Shown


@keras.saving.register_keras_serializable(package="seqadd")
class AnswerModel(keras.Model):
    """A model from one-hot questions to probabilities that predicts all characters at once.

    Questions are one-hot, ``(batch, question_length, 12)``; probabilities ``(batch, answer_length, 12)``.

    Attributes:
        reads_answer: whether the model reads the beginning of its own answer before it predicts the next character, and
            ends the answer with a blank, after which no character counts.
        shown: the symbols of an own architecture that ``show`` was called with, see ``models.shown``.
    """

    reads_answer = False
    shown: Sequence[Shown] = ()

    def training_forward(
        self, questions: tf.Tensor, answers: tf.Tensor, *, training: bool, forced: tf.Tensor | None = None
    ) -> tf.Tensor:
        """The probabilities from which the loss is computed.

        Args:
            questions: one-hot, ``(batch, question_length, 12)``.
            answers: ids of the correct answers, ``(batch, answer_length)``; used only if ``reads_answer``.
            training: as in ``keras.Model``.
            forced: the positions, ``(batch, answer_length)``, at which the model reads the correct character instead of
                its own; None for all.
        """
        return self(questions, training=training)

    def greedy_decode(self, questions: tf.Tensor) -> tf.Tensor:
        """The probabilities when the model answers alone, with the most probable character at each position."""
        return self(questions, training=False)

    def inner_inputs(self, questions: tf.Tensor) -> Any:
        """The inputs of the Keras graph that reproduce the layers' activations of a greedy answer."""
        return questions


@keras.saving.register_keras_serializable(package="seqadd")
class KerasFileModel(AnswerModel):
    """An ``AnswerModel`` with layers that Keras can load from ``.keras`` files only."""

    def save(self, filepath: Any, *arguments: Any, **settings: Any) -> None:
        """As in ``keras.Model``.

        Raises:
            ValueError: for a file in Keras' older format, which could not be loaded.
        """
        if str(filepath).endswith((".h5", ".hdf5")):
            raise ValueError(f"{filepath}: {self.name} cannot be loaded from this older format; save it as .keras")
        super().save(filepath, *arguments, **settings)
