"""Keras' recurrent layers with the loop over the steps written for XLA: same weights, same arithmetic, less time.

Three things that no compiler does for them:

- The steps of a recurrence are chained: a state is used several times by the next step, in the gradient above all. XLA
  fuses cheap operations into each of their uses, and so computes the whole chain of earlier steps again for every use
  of a state, which took a third of an LSTM's epoch. Here a step's state is computed once (see ``computed_once``).
- The first step starts from nothing, so it has no recurrent product.
- A decoder that sees the same input at every step multiplies it with its weights once, and its gradient likewise.
"""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf


@tf.custom_gradient
def computed_once(x: tf.Tensor, one: tf.Tensor) -> Any:
    """``x``, any shape, in a form that XLA does not fuse into more than one use; its gradient likewise.

    A division counts as expensive, and expensive operations are not repeated. Dividing by 1 is exact.

    Args:
        x: any tensor.
        one: a scalar 1.0 that the compiler cannot know to be 1, or it would drop the division.
    """
    return x / one, lambda gradient: (gradient / one, None)


class _StepByStep:
    """The loop over the steps; a subclass says what one step does.

    Args of the subclasses:
        units: width of the state.
        return_sequences: whether every step's output is returned, or the last one's.
        constant_input: a promise that the input is the same at every step, as behind ``RepeatVector``.
        recurrent_activation, reset_after, name: as in Keras' layer.
    """

    cell: Any
    return_sequences: bool

    def __init__(self, units: int, *, constant_input: bool = False, **settings: Any) -> None:
        unknown = settings.keys() - {"recurrent_activation", "reset_after", "return_sequences", "name"}
        if unknown:  # Keras' layer would take it, and the steps below ignore it
            raise NotImplementedError(f"{type(self).__name__} of seqadd knows no {', '.join(sorted(unknown))}")
        super().__init__(units, **settings)
        self.constant_input = constant_input

    def call(
        self,
        sequences: tf.Tensor,
        initial_state: list[tf.Tensor] | None = None,
        mask: Any = None,
        training: bool = False,
    ) -> tf.Tensor:
        """``(batch, steps, features) -> (batch, [steps,] units)``; without an initial state it is zero."""
        if mask is not None:
            raise NotImplementedError("these layers take sequences of one length, without a mask")
        one = 1.0 + 0.0 * sequences[0, 0, 0]  # not simplified, since 0 times NaN is not 0
        if self.constant_input:
            projections = [self.project(sequences[:, 0])] * sequences.shape[1]
        else:
            projections = [self.project(inputs) for inputs in tf.unstack(sequences, axis=1)]
        states = initial_state
        outputs = []
        for projection in projections:
            states = [computed_once(state, one) for state in self.step(projection, states)]
            outputs.append(states[0])  # in all three cells the first state is the output
        return tf.stack(outputs, axis=1) if self.return_sequences else outputs[-1]

    def project(self, inputs: tf.Tensor) -> tf.Tensor:
        """What the input alone adds to a step: ``(batch, features) -> (batch, gates * units)``."""
        return inputs @ self.cell.kernel + self.cell.bias

    def step(self, projection: tf.Tensor, states: list[tf.Tensor] | None) -> list[tf.Tensor]:
        """The next states, each ``(batch, units)``, from the projected input and the states; None for zeros."""
        raise NotImplementedError


class LSTM(_StepByStep, keras.layers.LSTM):
    """``keras.layers.LSTM``: ``(batch, steps, features) -> (batch, [steps,] units)``; states are output and carry."""

    def step(self, projection: tf.Tensor, states: list[tf.Tensor] | None) -> list[tf.Tensor]:
        gate, activation = self.cell.recurrent_activation, self.cell.activation
        if states is not None:
            projection += states[0] @ self.cell.recurrent_kernel
        i, f, g, o = tf.split(projection, 4, axis=1)
        carry = gate(i) * activation(g)
        if states is not None:
            carry += gate(f) * states[1]
        return [gate(o) * activation(carry), carry]


class GRU(_StepByStep, keras.layers.GRU):
    """``keras.layers.GRU``: ``(batch, steps, features) -> (batch, [steps,] units)``; the state is the output."""

    def project(self, inputs: tf.Tensor) -> tf.Tensor:
        bias = self.cell.bias[0] if self.cell.reset_after else self.cell.bias
        return inputs @ self.cell.kernel + bias

    def step(self, projection: tf.Tensor, states: list[tf.Tensor] | None) -> list[tf.Tensor]:
        gate, activation = self.cell.recurrent_activation, self.cell.activation
        x_update, x_reset, x_new = tf.split(projection, 3, axis=1)
        if self.cell.reset_after:
            recurrent = self.cell.bias[1]
            if states is not None:
                recurrent += states[0] @ self.cell.recurrent_kernel
            h_update, h_reset, h_new = tf.split(recurrent, 3, axis=-1)
            update = gate(x_update + h_update)
            new = activation(x_new + gate(x_reset + h_reset) * h_new)
        elif states is None:
            update, new = gate(x_update), activation(x_new)
        else:
            of_gates, of_new = tf.split(self.cell.recurrent_kernel, [2 * self.units, self.units], axis=1)
            h_update, h_reset = tf.split(states[0] @ of_gates, 2, axis=1)
            update = gate(x_update + h_update)
            new = activation(x_new + (gate(x_reset + h_reset) * states[0]) @ of_new)
        output = (1.0 - update) * new
        if states is not None:
            output += update * states[0]
        return [output]


class SimpleRNN(_StepByStep, keras.layers.SimpleRNN):
    """``keras.layers.SimpleRNN``: ``(batch, steps, features) -> (batch, [steps,] units)``; the state is the output."""

    def step(self, projection: tf.Tensor, states: list[tf.Tensor] | None) -> list[tf.Tensor]:
        if states is not None:
            projection += states[0] @ self.cell.recurrent_kernel
        return [self.cell.activation(projection)]
