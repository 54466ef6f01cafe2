"""What every layer of a model puts out, and what goes on inside its recurrent layers. Draws and records nothing.

Layers are found by their names, so a model of another architecture or with other cells needs no change here. A
recurrent layer of a kind that is not known by name has no gates to show; its output is shown like any other.
"""

from __future__ import annotations

import numpy as np

from seqadd.data.vocabulary import Ids
from seqadd.evaluation.predict import Array, in_batches
from seqadd.system.tensorflow_setup import quiet_import

with quiet_import():  # a notebook may import this module first
    import keras


def activations(model: keras.Model, questions: Ids) -> dict[str, Array]:
    """What each layer puts out for each question.

    Args:
        model: as ``models.architectures.build_model`` makes it.
        questions: ids of characters as the model reads them, shape ``(n, question_length)``.

    Raises:
        ValueError: for questions that are no such ids.

    Returns:
        The layers' names in their order, each with an array whose first axis is the questions: ``(n, units)`` for an
        encoder, ``(n, steps, units)`` for a layer with an output at every step. Where a layer puts out several arrays,
        those after the first are called ``name/1``, ``name/2`` and so on, or as its ``output_names`` say.
    """
    outputs: dict[str, keras.KerasTensor] = {}
    for layer in model.layers:
        if isinstance(layer, keras.layers.InputLayer):
            continue
        found = keras.tree.flatten(layer.output)
        names = getattr(layer, "output_names", [layer.name, *(f"{layer.name}/{n}" for n in range(1, len(found)))])
        outputs |= dict(zip(names, found, strict=True))
    values = in_batches(model, outputs, questions)
    return {name: values[name] for name in outputs}  # Keras sorts them


def character_layers(model: keras.Model) -> list[str]:
    """The names of the layers whose outputs are a value for each character: the last one with weights, and on."""
    names: list[str] = []
    for layer in reversed(model.layers):
        names.insert(0, layer.name)
        if layer.weights:
            break
    return names


def weights(model: keras.Model) -> dict[str, Array]:
    """Every array of weights under its layer's and its own name, ``lstm_1/kernel``, in the layers' order."""
    found = {}
    for layer in model.layers:
        for variable in layer.weights:
            found[f"{layer.name}/{variable.name}"] = np.asarray(keras.ops.convert_to_numpy(variable))
    return found
