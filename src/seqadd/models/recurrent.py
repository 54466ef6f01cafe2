"""Keras' recurrent layers with the loop over the steps unrolled for XLA: same weights, same arithmetic, less time.

To add a recurrence, subclass ``UnrolledRNN``, and name it in ``architectures.CELLS``.

Four optimizations that no compiler applies to Keras' layers (docs/performance.md has the figures):

- The first step has no previous state, so it computes no product with a state.
- A decoder with the same input at every step multiplies that input with its weights once, also in the gradient.
- Otherwise input, bias and state enter a step through one product, instead of two whose results every gate adds up;
  also in the gradient.
- The next step uses a state several times, most of all in the gradient. XLA fuses cheap operations into each of their
  uses, and so would compute the whole chain of earlier steps again for every use of a state. Here each state is
  computed once (see ``fusion_barrier``).

Models of these layers are saved and loaded like any Keras model: ``model.save("model.keras")`` and, after an import of
this module, ``keras.models.load_model("model.keras")``. To load a model of ``seqadd.models.architectures``, import that
module instead.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from seqadd.data.vocabulary import BLANK


@tf.custom_gradient
def fusion_barrier(x: tf.Tensor, one: tf.Tensor) -> Any:
    """Returns ``x``, any shape, in a form that XLA does not fuse into more than one use; also for the gradient.

    XLA treats a division as expensive, and does not duplicate expensive operations. A division by 1 is exact.

    Args:
        x: any tensor.
        one: a scalar 1.0 that the compiler cannot recognize as 1; otherwise it would drop the division.
    """
    return x / one, lambda gradient: (gradient / one, None)


@tf.custom_gradient
def joint_product(inputs: tf.Tensor, state: tf.Tensor, weights: tf.Tensor) -> Any:
    """``inputs @ weights[:n] + state @ weights[n:]`` as one product; the gradient of the weights is one product too.

    Args:
        inputs: ``(batch, n)``.
        state: ``(batch, units)``.
        weights: ``(n + units, columns)``.
    """
    both = tf.concat([inputs, state], axis=1)
    n = inputs.shape[1]

    def gradients(of_product: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        # Two products instead of autodiff's one: the gradient of one-hot inputs is not used, so it is never computed.
        of_inputs = tf.matmul(of_product, weights[:n], transpose_b=True)
        of_state = tf.matmul(of_product, weights[n:], transpose_b=True)
        return of_inputs, of_state, tf.matmul(both, of_product, transpose_a=True)

    return both @ weights, gradients


Barrier = Callable[[tf.Tensor], tf.Tensor]

#: The settings of Keras' layers that the steps below support; all other settings have their defaults.
_SETTINGS = frozenset(
    {"recurrent_activation", "reset_after", "return_sequences", "return_state", "go_backwards"}
    | {"name", "trainable", "dtype"}
)


class UnrolledRNN:
    """The loop over the steps; a subclass defines one step.

    Args of the subclasses:
        units: width of the state.
        return_sequences: whether the output of every step is returned; otherwise that of the last step.
        constant_input: the caller's guarantee that the input is the same at every step, as after ``RepeatVector``.
        skip_blanks: whether a step whose input is the one-hot blank leaves the states unchanged.
        recurrent_activation, reset_after, return_state, go_backwards, name, trainable, dtype: as in Keras' layer.
    """

    cell: Any
    units: int
    return_sequences: bool
    return_state: bool
    go_backwards: bool
    state_size: list[int]
    name: str
    compute_dtype: str
    variable_dtype: str

    def __init__(self, units: int, *, constant_input: bool = False, skip_blanks: bool = False, **settings: Any) -> None:
        unknown = settings.keys() - _SETTINGS
        if unknown:  # Keras' layer would accept it, but the steps below would ignore it
            raise NotImplementedError(f"{type(self).__name__} of seqadd knows no {', '.join(sorted(unknown))}")
        super().__init__(units, **settings)  # type: ignore[call-arg]
        if self.variable_dtype == "bfloat16":
            raise NotImplementedError(
                f"{type(self).__name__}: TensorFlow draws no orthogonal first weights in bfloat16; "
                "dtype='mixed_bfloat16' computes in it too"
            )
        self.constant_input = constant_input
        self.skip_blanks = skip_blanks
        self.use_cudnn = False  # or keras.layers.Bidirectional would bypass ``call`` on a GPU and use cuDNN's cell

    def get_config(self) -> dict[str, Any]:
        """All arguments of ``__init__``. Keras' own layers refuse them, because they do not know ``skip_blanks``."""
        config = super().get_config()  # type: ignore[misc]
        return {
            "units": self.units,
            **{name: value for name, value in config.items() if name in _SETTINGS},
            "constant_input": self.constant_input,
            "skip_blanks": self.skip_blanks,
        }

    def call(
        self,
        sequences: tf.Tensor,
        initial_state: Any = None,
        mask: Any = None,
        training: bool = False,
    ) -> Any:
        """``(batch, steps, features) -> (batch, [steps,] units)``.

        With ``return_state`` it returns a list of that output and the last states, each ``(batch, units)``.

        Args:
            sequences: the inputs; the number of steps must be known, and at least 1.
            initial_state: a list of the states, each ``(batch, units)``; a single state may come without a list. None
                for zeros.
            mask: must be None.
            training: has no effect.

        Raises:
            NotImplementedError: for a mask.
            ValueError: for the wrong number or shape of states, and for an unknown number of steps, or 0.
        """
        if mask is not None:
            raise NotImplementedError("these layers take sequences of one length, without a mask")
        if not sequences.shape[1]:
            raise ValueError(
                f"{self.name}: an input of shape {tuple(sequences.shape)} has {sequences.shape[1]} steps; their number "
                "must be known, and at least 1, as with keras.Input((steps, features))"
            )
        sequences = tf.cast(sequences, self.compute_dtype)
        if self.go_backwards:
            sequences = tf.reverse(sequences, axis=[1])
        barrier = self.barrier(sequences)
        states = None if initial_state is None else self._as_states(initial_state, sequences)
        outputs = []
        for at, inputs in enumerate(self.inputs_of_steps(sequences)):
            new = self.step(inputs, states, barrier)
            if self.skip_blanks:
                blank = sequences[:, at, BLANK, None] > 0.5
                before = states or [tf.zeros_like(state) for state in new]
                new = [tf.where(blank, old, state) for old, state in zip(before, new, strict=True)]
            states = new
            outputs.append(self.output_of(new))
        output = tf.stack(outputs, axis=1) if self.return_sequences else outputs[-1]
        return [output, *new[: len(self.state_size)]] if self.return_state else output

    def inputs_of_steps(self, sequences: tf.Tensor) -> list[tf.Tensor]:
        """The inputs of each step, as ``step`` takes them, from ``(batch, steps, features)``."""
        if self.constant_input:
            return [sequences[:, 0] @ self.cell.kernel + self.bias] * sequences.shape[1]
        with_one = tf.concat([sequences, tf.ones_like(sequences[:, :, :1])], axis=2)  # the 1 multiplies the bias
        return tf.unstack(with_one, axis=1)

    def output_of(self, states: list[tf.Tensor]) -> tf.Tensor:
        """The output of a step, ``(batch, units)``, given the states that ``step`` returned."""
        return states[0]

    def _as_states(self, initial_state: Any, sequences: tf.Tensor) -> list[tf.Tensor]:
        given = initial_state if isinstance(initial_state, list | tuple) else [initial_state]
        states = [tf.cast(state, sequences.dtype) for state in given]
        wanted = [(sequences.shape[0], size) for size in self.state_size]
        if len(states) != len(wanted) or not all(
            state.shape.is_compatible_with(shape) for state, shape in zip(states, wanted, strict=True)
        ):
            raise ValueError(
                f"{self.name}: initial_state is {[tuple(state.shape) for state in states]}, must be one array of shape "
                f"{wanted[0]} for each state of {type(self).__name__}, in a list of {len(wanted)}"
            )
        return states

    @staticmethod
    def barrier(sequences: tf.Tensor) -> Barrier:
        """``fusion_barrier`` for ``step``, with a 1 computed from an input of shape ``(batch, steps, features)``."""
        # If the batch size is unknown, and so may be 0, a sum, which is 0 over no rows; otherwise the number itself,
        # so that the compiled program stays the same.
        any_number = sequences[0, 0, 0] if sequences.shape[0] else tf.reduce_sum(sequences[:1, 0, 0])
        one = 1.0 + 0.0 * any_number  # the compiler cannot simplify it, because 0 times NaN is not 0
        one = tf.where(tf.math.is_finite(any_number), one, tf.ones_like(one))  # one row's NaN must not reach other rows
        return lambda x: fusion_barrier(x, one)

    def append_bias_input(self, inputs: tf.Tensor) -> tf.Tensor:
        """Converts inputs of one step, ``(batch, features)``, to those that ``step`` takes."""
        return tf.concat([inputs, tf.ones_like(inputs[:, :1])], axis=1)  # the 1 multiplies the bias

    def step(self, inputs: tf.Tensor, states: list[tf.Tensor] | None, barrier: Barrier) -> list[tf.Tensor]:
        """The next states, each ``(batch, units)``.

        Args:
            inputs: as ``preactivation`` takes them.
            states: the previous states; None for zeros.
            barrier: to be applied to results that are cheap to compute and used more than once.
        """
        raise NotImplementedError

    @property
    def bias(self) -> tf.Tensor:
        """The bias that a step adds to its products, ``(gates * units,)``."""
        return self.cell.bias

    def preactivation(self, inputs: tf.Tensor, state: tf.Tensor | None, columns: slice = slice(None)) -> tf.Tensor:
        """``inputs @ kernel + bias + state @ recurrent_kernel``, or some of its ``gates * units`` columns."""
        recurrent_kernel = self.cell.recurrent_kernel[:, columns]
        if self.constant_input:  # ``call`` has multiplied the input with the kernel already
            return inputs[:, columns] if state is None else inputs[:, columns] + state @ recurrent_kernel
        weights = tf.concat([self.cell.kernel[:, columns], self.bias[None, columns]], axis=0)
        if state is None:
            return inputs @ weights
        return joint_product(inputs, state, tf.concat([weights, recurrent_kernel], axis=0))


@keras.saving.register_keras_serializable(package="seqadd")
class LSTM(UnrolledRNN, keras.layers.LSTM):
    """``keras.layers.LSTM``: ``(batch, steps, features) -> (batch, [steps,] units)``; states are output and carry."""

    def step(self, inputs: tf.Tensor, states: list[tf.Tensor] | None, barrier: Barrier) -> list[tf.Tensor]:
        gate, activation = self.cell.recurrent_activation, self.cell.activation
        output, carry = states or (None, None)
        i, f, g, o = tf.split(self.preactivation(inputs, output), 4, axis=1)
        new = gate(i) * activation(g)
        carry = barrier(new if carry is None else gate(f) * carry + new)
        return [gate(o) * activation(carry), carry]


@keras.saving.register_keras_serializable(package="seqadd")
class GRU(UnrolledRNN, keras.layers.GRU):
    """``keras.layers.GRU``: ``(batch, steps, features) -> (batch, [steps,] units)``; the state is the output."""

    @property
    def bias(self) -> tf.Tensor:
        if not self.cell.reset_after:
            return self.cell.bias
        of_inputs, of_state = tf.unstack(self.cell.bias)
        return of_inputs + tf.concat([of_state[: 2 * self.units], tf.zeros(self.units, of_state.dtype)], axis=0)

    def step(self, inputs: tf.Tensor, states: list[tf.Tensor] | None, barrier: Barrier) -> list[tf.Tensor]:
        gate, activation = self.cell.recurrent_activation, self.cell.activation
        state = None if states is None else states[0]
        of_gates, of_new = slice(2 * self.units), slice(2 * self.units, None)
        update, reset = tf.split(gate(self.preactivation(inputs, state, of_gates)), 2, axis=1)
        if self.cell.reset_after:
            from_state = self.cell.bias[1, of_new]
            if state is not None:
                from_state += state @ self.cell.recurrent_kernel[:, of_new]
            new = activation(self.preactivation(inputs, None, of_new) + reset * from_state)
        else:
            new = activation(self.preactivation(inputs, None if state is None else reset * state, of_new))
        output = (1.0 - update) * new
        return [barrier(output if state is None else update * state + output)]


@keras.saving.register_keras_serializable(package="seqadd")
class SimpleRNN(UnrolledRNN, keras.layers.SimpleRNN):
    """``keras.layers.SimpleRNN``: ``(batch, steps, features) -> (batch, [steps,] units)``; the state is the output."""

    def step(self, inputs: tf.Tensor, states: list[tf.Tensor] | None, barrier: Barrier) -> list[tf.Tensor]:
        return [self.cell.activation(self.preactivation(inputs, None if states is None else states[0]))]
