"""Gates and states of recurrent layers at every step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from seqadd.data import vocabulary
from seqadd.data.vocabulary import Ids
from seqadd.evaluation.predict import Array, in_batches
from seqadd.system.tensorflow_setup import quiet_import

with quiet_import():  # a notebook may import this module first
    import keras

    from seqadd.models.own_cell import OwnRNN
    from seqadd.models.shown import collect


# The states computed here may differ from the layer's output only by rounding, which grows from step to step.
_ROUNDING = 1e-3


def gates(model: keras.Model, questions: Ids) -> dict[str, dict[str, Array]]:
    """Computes gates and states of every recurrent layer at each step, from the layer's own weights.

    Args:
        model: as ``models.architectures.build_model`` makes it.
        questions: ids of characters as the model reads them, shape ``(n, question_length)``.

    Returns:
        Arrays of shape ``(n, steps, units)`` for each recurrent layer, by its name.

        - LSTM: ``input_gate``, ``forget_gate``, ``output_gate`` (0..1), ``candidate`` (-1..1), ``cell_state`` (without
          limits), ``state`` (-1..1), which is its output.
        - GRU: ``update_gate`` (1 keeps the old state), ``reset_gate`` (0..1), ``candidate``, ``state`` (-1..1).
        - SimpleRNN: ``state`` (-1..1).
        - An own cell: what it shows (``seqadd.show``), its states ``state``, ``state_2``, and so on, and ``output`` if
          that is not its first state.

        At a skipped step (padding of a question), gates and candidate are NaN, and states keep their values.

    Raises:
        ArithmeticError: when the computed state differs from the layer's output.
        ValueError: when questions are not such ids.

    Source: the equations of ``keras.layers.LSTM``, ``GRU`` and ``SimpleRNN``; every state is compared with the layer's.

    Example:
        >>> from seqadd import load_run
        >>> run = load_run("run=latest")
        >>> found = gates(run.model, run.write(["535+61"]))  # the main model, cell=lstm
        >>> list(found["lstm_1"])
        ['input_gate', 'forget_gate', 'output_gate', 'candidate', 'cell_state', 'state']
        >>> found["lstm_1"]["forget_gate"].shape, found["lstm_2"]["forget_gate"].shape
        ((1, 7, 64), (1, 4, 32))
    """
    layers = {layer.name: (layer, layer.input, layer.output) for layer in model.layers if _inside_of(layer) is not None}
    layers |= getattr(model, "inside", {})  # recurrent layers within other layers
    if not layers:
        return {}
    ends = {name: [given, output] for name, (_, given, output) in layers.items()}
    found = in_batches(model, ends, questions)
    return {
        name: gates_of(layer, *keras.tree.flatten(found[name][0]), output=keras.tree.flatten(found[name][1])[0])
        for name, (layer, _, _) in layers.items()
    }


def gates_of(layer: keras.layers.Layer, sequences: Array, *initial: Array, output: Array) -> dict[str, Array]:
    """Computes gates and states of one recurrent layer at each step; see ``gates``.

    Args:
        layer: an LSTM, a GRU or a SimpleRNN, of Keras or of ``models.recurrent``.
        sequences: its input, shape ``(n, steps, features)``.
        initial: its states before the first step, each ``(n, units)``; zero by default.
        output: its output, ``(n, units)`` or ``(n, steps, units)``, which the computed state must equal.

    Raises:
        ArithmeticError: when the computed state differs from ``output``.
    """
    step = _inside_of(layer)
    assert step is not None, layer
    names = ("state", "cell_state") if isinstance(layer, keras.layers.LSTM) else state_names(layer)
    sizes = layer.state_size if isinstance(layer.state_size, list | tuple) else [layer.state_size]
    states = list(initial) or [np.zeros((len(sequences), size), np.float32) for size in sizes]
    each: list[dict[str, Array]] = []
    for at in range(sequences.shape[1]):
        inside = step(layer.cell, sequences[:, at], *states)
        if getattr(layer, "skip_blanks", False):
            before = dict(zip(names, states, strict=True))
            blank = sequences[:, at, vocabulary.BLANK, None] > 0.5
            inside = {name: np.where(blank, before.get(name, np.nan), values) for name, values in inside.items()}
        states = [inside[name] for name in names]
        each.append(inside)
    result = {name: np.stack([inside[name] for inside in each], axis=1) for name in each[0]}
    of_steps = result.get("output", result["state"])
    computed = of_steps if layer.return_sequences else of_steps[:, -1]
    difference = float(np.max(np.abs(computed - output), initial=0.0))
    if not difference <= _ROUNDING:
        raise ArithmeticError(
            f"{layer.name}: the state computed from its weights differs from its output by {difference:.2g}; rounding "
            f"allows {_ROUNDING}, so its gates cannot be shown"
        )
    return result


def _inside_of_lstm(cell: Any, inputs: Array, state: Array, cell_state: Array) -> dict[str, Array]:
    kernel, recurrent_kernel, bias = (weights.numpy() for weights in (cell.kernel, cell.recurrent_kernel, cell.bias))
    gate, activation = _in_numpy(cell.recurrent_activation), _in_numpy(cell.activation)
    weighed = inputs @ kernel + state @ recurrent_kernel + bias
    input_gate, forget_gate, candidate, output_gate = np.split(weighed, 4, axis=1)  # in Keras' order
    inside = {
        "input_gate": gate(input_gate),
        "forget_gate": gate(forget_gate),
        "output_gate": gate(output_gate),
        "candidate": activation(candidate),
    }
    inside["cell_state"] = inside["forget_gate"] * cell_state + inside["input_gate"] * inside["candidate"]
    inside["state"] = inside["output_gate"] * activation(inside["cell_state"])
    return inside


def _inside_of_gru(cell: Any, inputs: Array, state: Array) -> dict[str, Array]:
    kernel, recurrent_kernel, bias = (weights.numpy() for weights in (cell.kernel, cell.recurrent_kernel, cell.bias))
    gate, activation = _in_numpy(cell.recurrent_activation), _in_numpy(cell.activation)
    of_inputs, of_state = bias if cell.reset_after else (bias, np.zeros_like(bias))
    from_inputs = np.split(inputs @ kernel + of_inputs, 3, axis=1)  # update, reset, candidate: Keras' order
    recurrent = np.split(recurrent_kernel, 3, axis=1)
    biases = np.split(of_state, 3)
    update_gate = gate(from_inputs[0] + state @ recurrent[0] + biases[0])
    reset_gate = gate(from_inputs[1] + state @ recurrent[1] + biases[1])
    if cell.reset_after:
        from_state = reset_gate * (state @ recurrent[2] + biases[2])
    else:
        from_state = (reset_gate * state) @ recurrent[2]
    candidate = activation(from_inputs[2] + from_state)
    return {
        "update_gate": update_gate,
        "reset_gate": reset_gate,
        "candidate": candidate,
        "state": update_gate * state + (1.0 - update_gate) * candidate,
    }


def _inside_of_simple_rnn(cell: Any, inputs: Array, state: Array) -> dict[str, Array]:
    weighed = inputs @ cell.kernel.numpy() + state @ cell.recurrent_kernel.numpy() + cell.bias.numpy()
    return {"state": _in_numpy(cell.activation)(weighed)}


def own_layers(model: keras.Model) -> set[str]:
    """Returns the names of the recurrent layers of own cells, those inside other layers included."""
    inside = {name: layer for name, (layer, _, _) in getattr(model, "inside", {}).items()}
    return {name for name, layer in {**{layer.name: layer for layer in model.layers}, **inside}.items()
            if isinstance(layer, OwnRNN)}  # fmt: skip


def state_names(layer: keras.layers.Layer) -> tuple[str, ...]:
    """Returns the names of a layer's states: ``state``, ``state_2``, and so on."""
    return ("state", *(f"state_{n}" for n in range(2, len(layer.state_size) + 1)))


def _inside_of_own(layer: OwnRNN, inputs: Array, *states: Array) -> dict[str, Array]:
    """Runs a step of an own cell, and collects what it shows."""
    with collect() as shown:
        after = layer.step(keras.ops.convert_to_tensor(inputs), list(map(keras.ops.convert_to_tensor, states)))
    names = state_names(layer) if layer.output_is_state else (*state_names(layer), "output")
    values = {each.name: each.value for each in shown} | dict(zip(names, after, strict=True))
    return {name: np.asarray(value) for name, value in values.items()}


def _inside_of(layer: keras.layers.Layer) -> Callable[..., dict[str, Array]] | None:
    """Returns the function that computes a step of a recurrent layer; None for any other kind of layer."""
    if isinstance(layer, OwnRNN):
        return lambda cell, inputs, *states: _inside_of_own(layer, inputs, *states)
    kinds: dict[type, Callable[..., dict[str, Array]]] = {
        keras.layers.LSTM: _inside_of_lstm,
        keras.layers.GRU: _inside_of_gru,
        keras.layers.SimpleRNN: _inside_of_simple_rnn,
    }
    return next((inside for kind, inside in kinds.items() if isinstance(layer, kind)), None)


def _in_numpy(function: Callable[..., Any]) -> Callable[[Array], Array]:
    return lambda x: np.asarray(keras.ops.convert_to_numpy(function(keras.ops.convert_to_tensor(x))))
