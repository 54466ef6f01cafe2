"""A decoder that reads its own last output, a vector: what the article's second script calls Seq2Seq."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf


@keras.saving.register_keras_serializable(package="seqadd")
class ReadoutDecoder(keras.layers.Layer):
    """The first readout and the states before it -> the readout after each step.

    Args:
        recurrent: of ``seqadd.layers``.
        units: width of a readout, tanh of the state.
        steps: how many.
        name, trainable, dtype: as in Keras' layers.
    """

    def __init__(self, recurrent: Any, units: int, steps: int, name: str | None = None, **settings: Any) -> None:
        super().__init__(name=name, **settings)
        self.recurrent = recurrent
        self._readout = keras.layers.Dense(units, activation="tanh", name="readout", dtype=self.dtype_policy)
        self._steps = steps

    def get_config(self) -> dict[str, Any]:
        """All that ``__init__`` takes."""
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
        """Makes all weights, from the shapes of what ``call`` takes."""
        batch, units = first_shape
        self.recurrent.build((batch, None, units))
        self._readout.build((batch, self.recurrent.units))

    def call(self, first: tf.Tensor, states: list[tf.Tensor]) -> tf.Tensor:
        """``(batch, units)``, and states each ``(batch, recurrent units)`` -> ``(batch, steps, units)``."""
        now, read, each = list(states), first, []
        once = self.recurrent.once(first[:, None])
        for _ in range(self._steps):
            now = self.recurrent.step(self.recurrent.with_one(read), now, once)
            read = self._readout(now[0])
            each.append(read)
        return tf.stack(each, axis=1)
