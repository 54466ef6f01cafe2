"""Keras' recurrent layers with the loop over the steps written for XLA: same weights, same arithmetic, less time.

The steps of a recurrence are chained: a state is used several times by the next step, in the gradient above all. XLA
fuses cheap operations into each of their uses, and so computes the whole chain of earlier steps again for every use of
a state, which took a third of an LSTM's epoch. Here every step's state is computed once (see ``computed_once``).
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
    """Replaces the loop over the steps in a subclass of ``keras.layers.RNN``; each step is the layer's own cell."""

    cell: Any

    def inner_loop(self, sequences: Any, initial_state: Any, mask: Any, training: bool = False) -> Any:
        """As ``keras.layers.RNN.inner_loop``: last output, all outputs ``(batch, steps, units)``, last states."""
        if mask is not None:
            raise NotImplementedError("these layers take sequences of one length, without a mask")
        one = 1.0 + 0.0 * sequences[0, 0, 0]  # not simplified, since 0 times NaN is not 0
        states = list(initial_state)
        outputs = []
        for inputs in tf.unstack(sequences, axis=1):
            _, new_states = self.cell(inputs, states, training=training)
            states = [computed_once(state, one) for state in keras.tree.flatten(new_states)]
            outputs.append(states[0])  # in all three cells the first state is the output
        return outputs[-1], tf.stack(outputs, axis=1), states


class LSTM(_StepByStep, keras.layers.LSTM):
    """``keras.layers.LSTM``: ``(batch, steps, features) -> (batch, [steps,] units)``."""


class GRU(_StepByStep, keras.layers.GRU):
    """``keras.layers.GRU``: ``(batch, steps, features) -> (batch, [steps,] units)``."""


class SimpleRNN(_StepByStep, keras.layers.SimpleRNN):
    """``keras.layers.SimpleRNN``: ``(batch, steps, features) -> (batch, [steps,] units)``."""
