"""Texts of files with own parts; the fixture ``own`` declares them."""

from __future__ import annotations

CELL = """
import keras
from keras import ops
import seqadd

@seqadd.cell("mine")
class Mine(keras.layers.Layer):
    def __init__(self, units, **settings):
        super().__init__(**settings)
        self.units = self.state_size = units
    def build(self, shape):
        self.W = self.add_weight(shape=(shape[-1], self.units), name="kernel")
        self.U = self.add_weight(shape=(self.units, self.units), name="recurrent_kernel")
        {build}
    def call(self, x, states):
        h = ops.tanh(x @ self.W + states[0] @ self.U)
        {call}
"""
ARCHITECTURE = """
import keras
from keras import layers, ops
import seqadd

@seqadd.architecture("mine", cell=None, reads_answer={reads_answer})
def mine({parameters}):
    {body}
"""


def cell(call: str = "return h, [h]", build: str = "pass") -> str:
    return CELL.format(call=call, build=build)


def architecture(body: str, *, reads_answer: bool = False) -> str:
    parameters = "question, previous" if reads_answer else "question, answer_length"
    return ARCHITECTURE.format(body=body, reads_answer=reads_answer, parameters=parameters)
