"""A cell: the minimal gated unit, a GRU whose two gates are one (Zhou et al. 2016, arXiv 1603.09420).

python -m seqadd.run --code examples/mgu.py -m cell=mgu,gru 'seed=range(5)' epochs=50
python -m seqadd.table --code examples/mgu.py cell=mgu,gru --epochs 50 --against cell=gru
"""

import keras
from keras import ops

import seqadd


@seqadd.cell("mgu")
class MinimalGatedUnit(keras.layers.Layer):
    """``(batch, features)`` and a state ``(batch, units)`` -> the next state, which is the output."""

    def __init__(self, units, recurrent_activation="sigmoid", **settings):
        super().__init__(**settings)
        self.units = self.state_size = units
        self.gate = keras.activations.get(recurrent_activation)  # the program hands in that of the era

    def build(self, shape):
        columns = 2 * self.units  # of the gate, then of the candidate
        self.kernel = self.add_weight(shape=(shape[-1], columns), name="kernel")
        self.recurrent = self.add_weight(shape=(self.units, columns), initializer="orthogonal", name="recurrent_kernel")
        self.bias = self.add_weight(shape=(columns,), initializer="zeros", name="bias")

    def call(self, inputs, states):
        (state,) = states
        gate_in, candidate_in = ops.split(inputs @ self.kernel + self.bias, 2, axis=-1)
        of_gate, of_candidate = ops.split(self.recurrent, 2, axis=-1)
        forget = seqadd.show("forget_gate", self.gate(gate_in + state @ of_gate))
        candidate = seqadd.show("candidate", ops.tanh(candidate_in + (forget * state) @ of_candidate))
        state = (1 - forget) * state + forget * candidate
        return state, [state]
