"""What training, evaluation, ``answer`` and ``inspect`` ask of a model, whatever its architecture.

A model is a ``keras.Model`` with these members beside Keras' own. A model that answers in one pass has them as they are
here; one that reads its own answer, character by character, overrides them (``encoder_decoder.EncoderDecoder``).
"""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf


@keras.saving.register_keras_serializable(package="seqadd")
class AnswerModel(keras.Model):
    """A graph from one-hot questions to probabilities, which says all characters at once.

    Questions are one-hot, ``(batch, question_length, 12)``; probabilities ``(batch, answer_length, 12)``.

    Attributes:
        reads_answer: whether it reads the beginning of its own answer before it says the next character, and ends the
            answer with a blank, behind which nothing counts.
    """

    reads_answer = False

    def training_forward(
        self, questions: tf.Tensor, answers: tf.Tensor, *, training: bool, forced: tf.Tensor | None = None
    ) -> tf.Tensor:
        """The probabilities that the loss is taken of.

        Args:
            questions: see above.
            answers: ids of the right answers, ``(batch, answer_length)``; read only where ``reads_answer``.
            training: as Keras' argument.
            forced: at which places, ``(batch, answer_length)``, the right character is read instead of the model's own;
                None for all.
        """
        return self(questions, training=training)

    def greedy_decode(self, questions: tf.Tensor) -> tf.Tensor:
        """The probabilities of the answers that it gives on its own, the most probable character at each place."""
        return self(questions, training=False)

    def inner_inputs(self, questions: tf.Tensor) -> Any:
        """The inputs of the Keras graph whose layers show what goes on inside while it answers by itself."""
        return questions


@keras.saving.register_keras_serializable(package="seqadd")
class KerasFileModel(AnswerModel):
    """A model with parts that are loaded from ``.keras`` alone; all else is as in ``AnswerModel``."""

    def save(self, filepath: Any, *arguments: Any, **settings: Any) -> None:
        """As in ``keras.Model``.

        Raises:
            ValueError: for a file of Keras' older format, which could not be loaded.
        """
        if str(filepath).endswith((".h5", ".hdf5")):
            raise ValueError(f"{filepath}: {self.name} cannot be loaded from this older format; save it as .keras")
        super().save(filepath, *arguments, **settings)
