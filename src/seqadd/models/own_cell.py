"""The recurrent layer of an own cell: a Keras RNN cell in the loop that XLA compiles, for every architecture."""

from __future__ import annotations

import inspect
from typing import Any

import keras
import tensorflow as tf

from seqadd.config.parts import Part
from seqadd.errors import ConfigError
from seqadd.models.parts import error_in, load_part
from seqadd.models.recurrent import Barrier, UnrolledRNN


class OwnRNN(UnrolledRNN, keras.layers.RNN):
    """A cell's loop: ``(batch, steps, features) -> (batch, [steps,] output)``.

    Args:
        cell: a Keras RNN cell: ``call(inputs, states) -> (output, states)``.
        part: its declaration, for messages.
        settings: as for ``UnrolledRNN``.

    If the cell's output is not its first state, ``step`` carries the output as one more state.
    """

    def __init__(self, cell: Any, part: Part, **settings: Any) -> None:
        super().__init__(cell, **settings)
        self._part = part
        self.units = self.state_size[0]
        self.output_is_state = True

    def build(self, sequences_shape: Any, initial_state_shape: Any = None) -> None:
        """Creates the cell's weights, and finds out whether the cell's output is its first state."""
        super().build(sequences_shape, initial_state_shape)
        output, states = self._call_cell(tf.random.stateless_normal((2, sequences_shape[-1]), (0, 1)), self._zeros(2))
        sizes = [tuple(state.shape) for state in states]
        if sizes != [(2, size) for size in self.state_size]:
            raise ConfigError(
                f"{self._part.where}: call returns states of shapes {sizes} for a batch of 2; state_size says "
                f"{[(2, size) for size in self.state_size]}"
            )
        self.output_is_state = output is states[0]  # equal values here could differ for other states, or in training

    def inputs_of_steps(self, sequences: tf.Tensor) -> list[tf.Tensor]:
        """See ``UnrolledRNN``; a cell has weights of its own for its inputs."""
        if self.constant_input:
            return [sequences[:, 0]] * sequences.shape[1]
        return tf.unstack(sequences, axis=1)

    def append_bias_input(self, inputs: tf.Tensor) -> tf.Tensor:
        """Returns the inputs: a cell adds its own bias."""
        return inputs

    def output_of(self, states: list[tf.Tensor]) -> tf.Tensor:
        """See ``UnrolledRNN``."""
        return states[0] if self.output_is_state else states[-1]

    def step(
        self, inputs: tf.Tensor, states: list[tf.Tensor] | None, barrier: Barrier = lambda x: x
    ) -> list[tf.Tensor]:
        """See ``UnrolledRNN``; with the output as the last state if it is not the first state."""
        n = len(self.state_size)
        before = self._zeros(tf.shape(inputs)[0]) if states is None else states[:n]
        output, new = self._call_cell(inputs, before)
        new = [barrier(state) for state in new]
        return new if self.output_is_state else [*new, output]

    def get_config(self) -> dict[str, Any]:
        """Refused: a file with this layer could be loaded only together with the part's code."""
        raise NotImplementedError(f"{self._part.where}: a layer of an own cell cannot be saved in a .keras file")

    def _call_cell(self, inputs: tf.Tensor, states: list[tf.Tensor]) -> tuple[tf.Tensor, list[tf.Tensor]]:
        returned = self.cell(inputs, states)
        if not (isinstance(returned, tuple | list) and len(returned) == 2):
            raise ConfigError(
                f"{self._part.where}: call returns {type(returned).__name__}; it must return (output, states)"
            )
        output, new = returned
        return output, list(new) if isinstance(new, list | tuple) else [new]

    def _zeros(self, n: Any) -> list[tf.Tensor]:
        return [tf.zeros((n, size), self.compute_dtype) for size in self.state_size]


def own_cell(part: Part, gate: Any) -> Any:
    """Returns a function that makes the recurrent layer of an own cell: ``(units, **settings) -> layer``.

    Args:
        part: the cell's part, with the values of its keys.
        gate: the gates' activation of the era, for a constructor with the parameter ``recurrent_activation``.
    """
    kind = load_part(part)
    given = dict(part.values)
    if "recurrent_activation" in inspect.signature(kind).parameters:
        given["recurrent_activation"] = gate

    def layer(units: int, **settings: Any) -> OwnRNN:
        try:
            cell = kind(units, **given)
        except Exception as error:
            raise error_in(part, error) from error
        return OwnRNN(cell, part, **settings)

    return layer


def check_output_is_state(layer: Any, architecture: str) -> None:
    """Raises ConfigError if an architecture that steps through a cell would take its first state for its output."""
    if not getattr(layer, "output_is_state", True):
        raise ConfigError(
            f"{layer._part.where}: its output is not its first state, as architecture={architecture} needs it; "
            "return (state, [state, ...]), or choose repeat_vector, repeat_vector_stacked, aligned or pooled"
        )
