"""Saves and restores the state that training changes: weights and optimizer variables, as arrays."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
import numpy.typing as npt


def state(model: keras.Model, optimizer: keras.optimizers.Optimizer) -> dict[str, npt.NDArray[Any]]:
    """The weights and the optimizer's variables, under names that depend on the model alone."""
    return {name: keras.ops.convert_to_numpy(variable) for name, variable in _variables(model, optimizer).items()}


def restore(model: keras.Model, optimizer: keras.optimizers.Optimizer, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
    """Restores model and optimizer from the arrays that ``state`` returned, to the bit.

    Raises:
        ValueError: if the arrays belong to another model; then nothing is changed.
    """
    variables = _variables(model, optimizer)
    shapes = {name: tuple(variable.shape) for name, variable in variables.items()}
    if shapes != {name: array.shape for name, array in arrays.items()}:
        raise ValueError("these arrays belong to another model")
    for name, variable in variables.items():
        variable.assign(arrays[name])


def seed_layers(model: keras.Model, seed: int, epoch: int) -> None:
    """Sets the random numbers that layers such as dropout draw in an epoch; they follow from seed and epoch alone.

    Only for Keras' own seed generators; without them, as in all models of the package, nothing is drawn.
    """
    states = [variable for variable in model.variables if variable.name == "seed_generator_state"]
    for index, state in enumerate(states):
        drawn = np.random.default_rng((seed, epoch, 2, index)).integers(0, 2**31, size=2)
        state.assign(drawn.astype(state.dtype))


def weights_digest(model: keras.Model) -> str:
    """64 hex digits, equal for models whose weights are all equal to the bit."""
    digest = hashlib.sha256()
    for weights in model.get_weights():
        digest.update(f"{weights.shape} {weights.dtype}".encode() + weights.tobytes())
    return digest.hexdigest()


def _variables(model: keras.Model, optimizer: keras.optimizers.Optimizer) -> dict[str, Any]:
    # Keras numbers layers and optimizers over the whole process, so their own names differ in another process.
    return {
        **{f"model/{i}/{variable.name}": variable for i, variable in enumerate(model.weights)},
        **{f"optimizer/{i}": variable for i, variable in enumerate(optimizer.variables)},
    }


def save_weights(model: keras.Model, path: Any) -> None:
    """Writes only the weights (``.weights.h5``): a model is built from its configuration, never from a file."""
    model.save_weights(path)
