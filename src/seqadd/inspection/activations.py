"""Outputs and weights of every layer of a model. Draws and records nothing.

Layers are keyed by their names, so a model of another architecture or with other cells needs no change here. For gates
and states of recurrent layers see ``inspection.gates``; the output of any other kind of layer is here too.
"""

from __future__ import annotations

import numpy as np

from seqadd.data.vocabulary import Ids
from seqadd.evaluation.predict import Array, in_batches
from seqadd.inspection.trace import HEAD
from seqadd.system.tensorflow_setup import quiet_import

with quiet_import():  # a notebook may import this module first
    import keras


def activations(model: keras.Model, questions: Ids) -> dict[str, Array]:
    """Returns the output of each layer for each question.

    Args:
        model: as ``models.architectures.build_model`` makes it.
        questions: ids of characters as the model reads them, shape ``(n, question_length)``.

    Raises:
        ValueError: when questions are not such ids.

    Returns:
        An array for each layer by its name, in the layers' order. The first axis is the questions, so that an encoder
        has ``(n, units)`` and a layer with an output at every step ``(n, steps, units)``. If a layer has several
        outputs, the names are its ``output_names``, or ``name``, ``name/1``, ``name/2`` and so on. What an own
        architecture shows (``seqadd.show``) follows, attention head by head: ``(n, to, from)``.

    Source: the figures of the article, which draw every layer's output for one sum.

    Example:
        >>> from seqadd import load_run
        >>> run = load_run("run=latest")
        >>> outputs = activations(run.model, run.write(["535+61"]))  # the main model, cell=lstm
        >>> outputs["lstm_1"].shape, outputs["lstm_2"].shape
        ((1, 64), (1, 4, 32))
    """
    outputs: dict[str, keras.KerasTensor] = {}
    for layer in model.layers:
        if isinstance(layer, keras.layers.InputLayer):
            continue
        found = keras.tree.flatten(layer.output)
        names = getattr(layer, "output_names", [layer.name, *(f"{layer.name}/{n}" for n in range(1, len(found)))])
        # The attention of several heads, a fourth axis, is shown by ``show`` only.
        outputs |= {name: symbol for name, symbol in zip(names, found, strict=True) if len(symbol.shape) <= 3}
    outputs |= _shown_by(model)
    values = in_batches(model, outputs, questions)
    return {name: values[name] for name in outputs}  # in the layers' order: Keras sorts by name


def _shown_by(model: keras.Model) -> dict[str, keras.KerasTensor]:
    """Returns the symbols that an own architecture shows; attention of several heads is a symbol for each head."""
    symbols: dict[str, keras.KerasTensor] = {}
    names = [each.name for each in getattr(model, "shown", ())]
    for index, each in enumerate(getattr(model, "shown", ())):
        name = each.name if names.count(each.name) == 1 else f"{each.name}_{names[: index + 1].count(each.name)}"
        if len(each.value.shape) == 4:
            symbols |= {f"{name}{HEAD}{head + 1}": each.value[:, head] for head in range(each.value.shape[1])}
        else:
            symbols[name] = each.value
    return symbols


def character_layers(model: keras.Model) -> list[str]:
    """Returns the layers with a value for each character as output: the last layer with weights, and those after it."""
    names: list[str] = []
    for layer in reversed(model.layers):
        names.insert(0, layer.name)
        if layer.weights:
            break
    return names


def weights(model: keras.Model) -> dict[str, Array]:
    """Returns every array of weights by layer and name, ``lstm_1/kernel``, in the layers' order.

    Args:
        model: of a ``TrainedRun``, or any other Keras model.

    Returns:
        Copies, in the shapes and the order of gates that Keras has. An LSTM's kernel is ``(features, 4 * units)``.

    Example:
        >>> from seqadd import load_run
        >>> run = load_run("run=latest")
        >>> weights(run.model)["lstm_1/kernel"].shape  # cell=lstm, 64 units
        (12, 256)
    """
    found = {}
    for layer in model.layers:
        for variable in layer.weights:
            found[f"{layer.name}/{variable.name}"] = np.asarray(keras.ops.convert_to_numpy(variable))
    return found
