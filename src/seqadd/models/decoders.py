"""Decoders: one with attention, and one that reads its own readout."""

from __future__ import annotations

from typing import Any, NamedTuple

import keras
import tensorflow as tf

from seqadd.data.vocabulary import BLANK


@keras.saving.register_keras_serializable(package="seqadd")
class ReadoutDecoder(keras.layers.Layer):
    """A recurrent layer that reads its own readout: first readout and initial states -> the readout after each step.

    Args:
        recurrent: a layer of ``models.recurrent``.
        units: width of a readout, which is a dense layer with tanh on the state.
        steps: the number of steps.
        name, trainable, dtype: as in Keras' layers.
    """

    def __init__(self, recurrent: Any, units: int, steps: int, name: str | None = None, **settings: Any) -> None:
        super().__init__(name=name, **settings)
        self.recurrent = recurrent
        self._readout = keras.layers.Dense(units, activation="tanh", name="readout", dtype=self.dtype_policy)
        self._steps = steps

    def get_config(self) -> dict[str, Any]:
        """All arguments of ``__init__``."""
        return {
            **super().get_config(),
            "recurrent": keras.saving.serialize_keras_object(self.recurrent),
            "units": self._readout.units,
            "steps": self._steps,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Any:
        """The reverse of ``get_config``."""
        return cls(**{**config, "recurrent": keras.saving.deserialize_keras_object(config["recurrent"])})

    def build(self, first_shape: Any, states_shape: Any) -> None:
        """Creates all weights from the shapes of the inputs of ``call``."""
        batch, units = first_shape
        self.recurrent.build((batch, None, units))
        self._readout.build((batch, self.recurrent.units))

    def call(self, first: tf.Tensor, states: list[tf.Tensor]) -> tf.Tensor:
        """``(batch, units)``, and states each ``(batch, recurrent units)`` -> ``(batch, steps, units)``."""
        now, read, each = list(states), first, []
        barrier = self.recurrent.barrier(first[:, None])
        for _ in range(self._steps):
            now = self.recurrent.step(self.recurrent.append_bias_input(read), now, barrier)
            read = self._readout(now[0])
            each.append(read)
        return tf.stack(each, axis=1)


class Memory(NamedTuple):
    """What a decoder attends to, for questions of ``n`` characters.

    Attributes:
        outputs: outputs of the encoder, ``(batch, n, units)``.
        keys: vectors that the state is compared with, same shape.
        real: which characters are not padding, ``(batch, n)``, bool.
    """

    outputs: tf.Tensor
    keys: tf.Tensor
    real: tf.Tensor


@keras.saving.register_keras_serializable(package="seqadd")
class AttentionDecoder(keras.layers.Layer):
    """A recurrent layer that reads its input and the attention's context.

    Args:
        recurrent: a layer of ``models.recurrent`` that returns sequences, as wide as the encoder.
        score: ``additive``: v tanh(W state + U output), or ``dot``: the product of state and output.
        name, trainable, dtype: as in Keras' layers.
    """

    def __init__(self, recurrent: Any, score: str, name: str | None = None, **settings: Any) -> None:
        super().__init__(name=name, **settings)
        #: The names that ``inspect`` gives to the outputs.
        self.output_names = (self.name, "alignment_1")
        self.recurrent = recurrent
        self._score = score
        dtype = self.dtype_policy
        if score == "additive":
            self._query: Any = keras.layers.Dense(recurrent.units, use_bias=False, name="query", dtype=dtype)
            self._key: Any = keras.layers.Dense(recurrent.units, use_bias=False, name="key", dtype=dtype)
            self._attention: Any = keras.layers.AdditiveAttention(name="score", dtype=dtype)
        else:
            self._query = self._key = keras.layers.Identity(dtype=dtype)
            self._attention = keras.layers.Attention(name="score", dtype=dtype)

    def get_config(self) -> dict[str, Any]:
        """All arguments of ``__init__``."""
        recurrent = keras.saving.serialize_keras_object(self.recurrent)
        return {**super().get_config(), "recurrent": recurrent, "score": self._score}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Any:
        """The reverse of ``get_config``."""
        return cls(**{**config, "recurrent": keras.saving.deserialize_keras_object(config["recurrent"])})

    def build(self, read_shape: Any, question_shape: Any, outputs_shape: Any, states_shape: Any) -> None:
        """Creates all weights from the shapes of the inputs of ``call``."""
        batch, _, characters = read_shape
        units = outputs_shape[-1]
        self._query.build((batch, units))
        self._key.build(outputs_shape)
        self._attention.build([(batch, 1, units), outputs_shape, outputs_shape])
        self.recurrent.build((batch, None, characters + units))

    def build_memory(self, question: tf.Tensor, outputs: tf.Tensor) -> Memory:
        """Builds the memory that ``attend`` reads.

        Args:
            question: one-hot, ``(batch, n, 12)``.
            outputs: outputs of the encoder, ``(batch, n, units)``.
        """
        return Memory(outputs, self._key(outputs), question[:, :, BLANK] < 0.5)

    def attend(self, states: list[tf.Tensor], memory: Memory) -> tuple[tf.Tensor, tf.Tensor]:
        """The attention's context, ``(batch, units)``, and its alignment: weights that sum to 1, ``(batch, n)``."""
        query = self._query(states[0])[:, None]
        context, alignment = self._attention(
            [query, memory.outputs, memory.keys], mask=[None, memory.real], return_attention_scores=True
        )
        return context[:, 0], alignment[:, 0]

    def step(
        self, read: tf.Tensor, states: list[tf.Tensor], memory: Memory, barrier: Any = lambda x: x
    ) -> tuple[list[tf.Tensor], tf.Tensor, tf.Tensor]:
        """The next states, the context and the alignment, given the previous character ``read``, ``(batch, 12)``."""
        context, alignment = self.attend(states, memory)
        inputs = self.recurrent.append_bias_input(tf.concat([read, context], axis=1))
        return self.recurrent.step(inputs, states, barrier), context, alignment

    def call(
        self, read: tf.Tensor, question: tf.Tensor, outputs: tf.Tensor, states: list[tf.Tensor]
    ) -> list[tf.Tensor]:
        """Runs all steps with given inputs.

        Args:
            read: the previous characters, one-hot, ``(batch, steps, 12)``.
            question, outputs: as for ``build_memory``.
            states: the states before the first step.

        Returns:
            The states after each step, ``(batch, steps, units)``, and the alignments, ``(batch, steps, n)``.
        """
        memory = self.build_memory(question, outputs)
        now, each, alignments = list(states), [], []
        barrier = self.recurrent.barrier(read)
        for inputs in tf.unstack(read, axis=1):
            now, _, alignment = self.step(inputs, now, memory, barrier)
            each.append(now[0])
            alignments.append(alignment)
        return [tf.stack(each, axis=1), tf.stack(alignments, axis=1)]
