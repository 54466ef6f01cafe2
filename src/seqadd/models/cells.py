"""The cells: recurrent layers with the defaults of an era, and the last layers, which write characters.

To add a cell to the package: a function here, its name in ``CELLS`` here and in ``seqadd.config.schema``, a file in
``conf/cell/``; a recurrence that Keras has no layer for begins in ``recurrent``. An own cell needs no change here, see
``own_cell``.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import keras

from seqadd.config.schema import Config
from seqadd.models import recurrent
from seqadd.models.own_cell import own_cell


@keras.saving.register_keras_serializable(package="seqadd")
def hard_sigmoid_of_keras2(x: keras.KerasTensor) -> keras.KerasTensor:
    """``clip(0.2 x + 0.5, 0, 1)``, any shape: the gates' activation in Keras 2.2 (``hard_sigmoid`` of its backend).

    Keras 3's ``hard_sigmoid`` has another slope: ``relu6(x + 3) / 6``.
    """
    return keras.ops.clip(0.2 * x + 0.5, 0.0, 1.0)


#: Defaults of the recurrent layers by era. Initialisers, the forget bias of 1 and Adam are the same in both eras.
GATE_ACTIVATION = {"keras2": hard_sigmoid_of_keras2, "keras3": "sigmoid"}
GRU_RESET_AFTER = {"keras2": False, "keras3": True}


# A cell's function takes the width, the era and the settings of ``recurrent``: return_sequences, constant_input, name.


def lstm(units: int, era: str, **settings: Any) -> keras.layers.Layer:
    """LSTM with the era's gates: ``(batch, steps, features) -> (batch, [steps,] units)``."""
    return recurrent.LSTM(units, recurrent_activation=GATE_ACTIVATION[era], **settings)


def gru(units: int, era: str, **settings: Any) -> keras.layers.Layer:
    """GRU with the era's gates and reset gate position: ``(batch, steps, features) -> (batch, [steps,] units)``."""
    return recurrent.GRU(units, recurrent_activation=GATE_ACTIVATION[era], reset_after=GRU_RESET_AFTER[era], **settings)


def simple_rnn(units: int, era: str, **settings: Any) -> keras.layers.Layer:
    """SimpleRNN, the same in every era: ``(batch, steps, features) -> (batch, [steps,] units)``."""
    return recurrent.SimpleRNN(units, **settings)


def dense(units: int, era: str, *, return_sequences: bool, name: str) -> keras.layers.Layer:
    """A SimpleRNN without the recurrence: tanh of one step, ``(batch, steps, features) -> (batch, steps, units)``."""
    assert return_sequences, "a dense cell has no last state: config.check allows it in architecture=aligned only"
    return keras.layers.Dense(units, activation="tanh", name=name)


CELLS: dict[str, Callable[..., keras.layers.Layer]] = {
    "lstm": lstm,
    "gru": gru,
    "simple_rnn": simple_rnn,
    "dense": dense,
}


def cell_of(config: Config) -> Callable[..., keras.layers.Layer]:
    """The function that makes layers of the configured cell: ``(units, **settings) -> layer``."""
    part = config.part("cell")
    if part is not None:
        return own_cell(part, GATE_ACTIVATION[config.era])
    assert config.cell is not None
    return functools.partial(CELLS[config.cell], era=config.era)


def character_layers(n_characters: int) -> list[keras.layers.Layer]:
    """A softmax over the alphabet at every step: ``(batch, steps, features) -> (batch, steps, n_characters)``."""
    return [
        # TimeDistributed(Dense(...)) in the article. Dense alone computes the same, as one product for all steps.
        keras.layers.Dense(n_characters, name="time_distributed_1"),
        keras.layers.Activation("softmax", name="activation_1"),
    ]
