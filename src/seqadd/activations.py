"""What every layer of a model puts out, and what goes on inside its recurrent layers. Draws and records nothing.

Layers are found by their names, so a model of another architecture or with other cells needs no change here. A
recurrent layer of a kind that is not known by name has no gates to show; its output is shown like any other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from seqadd import alphabet
from seqadd.alphabet import Ids
from seqadd.system.tensorflow_setup import quiet_import

if TYPE_CHECKING:
    import pandas as pd

with quiet_import():  # a notebook may import this module first
    import keras

Array = npt.NDArray[np.floating[Any]]

#: Questions that go through a model at once; more would only take memory.
_AT_ONCE = 1000
# What is computed here and what the layer puts out may differ by rounding alone, which grows from step to step.
_ROUNDING = 1e-3

#: A gate counts as saturated below and above these, as in Karpathy, Johnson and Li 2015 (arXiv 1506.02078).
GATE_LIMITS = (0.1, 0.9)
#: What lies in -1..1, states and candidates, counts as saturated beyond these.
STATE_LIMITS = (-0.9, 0.9)
#: A unit whose state stays within this range whatever it is asked never moves.
_STILL = 0.01


def activations(model: keras.Model, questions: Ids) -> dict[str, Array]:
    """What each layer puts out for each question.

    Args:
        model: as ``models.build_model`` makes it.
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
    values = _in_batches(model, outputs, questions)
    return {name: values[name] for name in outputs}  # Keras sorts them


def probabilities(model: keras.Model, questions: Ids) -> Array:
    """The probability of each character at each place of the answer: ``(n, question_length) -> (n, length, 12)``.

    A model that reads its own answer has given it on its own.
    """
    if not hasattr(model, "answer"):
        return _in_batches(model, {"probabilities": model.outputs[0]}, questions)["probabilities"]
    return np.concatenate([model.answer(alphabet.one_hot(batch)).numpy() for batch in _batches(model, questions)])


def answer_probabilities(model: keras.Model, questions: Ids, answers: Ids) -> Array:
    """How probable a model thinks whole answers, ``(n,)``: the products over their characters.

    Each character's is that after the ones before it in this answer; a model that says all at once knows of none.

    Args:
        model: as ``models.build_model`` makes it.
        questions: ids, ``(n, question_length)``.
        answers: ids, ``(n, answer_length)``; of a model that ends them itself, up to the blank that does.
    """
    if not hasattr(model, "answer"):
        each = probabilities(model, questions)
        return np.take_along_axis(each, answers[..., None].astype(np.intp), axis=-1)[..., 0].prod(axis=1)
    from seqadd.encoder_decoder import counted, previous

    found = []
    for at in range(0, len(questions), _AT_ONCE):
        right = answers[at : at + _AT_ONCE]
        x = keras.ops.convert_to_tensor(alphabet.one_hot(questions[at : at + _AT_ONCE]))
        taught = model([x, previous(right)], training=False).numpy()
        of_right = np.take_along_axis(taught, right[..., None].astype(np.intp), axis=-1)[..., 0]
        found.append(np.where(counted(right).numpy() > 0.5, of_right, 1.0).prod(axis=1))
    return np.concatenate(found)


def free_answers(model: keras.Model, questions: Ids, length: int, beam: int) -> tuple[Ids, Array]:
    """What a model that ends its answers itself says, and how probable it thinks each whole answer.

    Args:
        model: an ``EncoderDecoder``.
        questions: ids of characters, shape ``(n, any length)``.
        length: of an answer at most, with the blank that ends it.
        beam: how many beginnings of an answer are kept; at least 1.

    Returns:
        Ids, ``(n, length)``, and probabilities, ``(n,)``.
    """
    each = []
    n = max(1, _AT_ONCE // beam)
    for at in range(0, len(questions), n):
        ids, logarithms = model.beam_search(alphabet.one_hot(questions[at : at + n]), beam, length)
        each.append((ids[:, 0].numpy(), np.exp(logarithms[:, 0].numpy())))
    return np.concatenate([ids for ids, _ in each]), np.concatenate([sure for _, sure in each])


def character_layers(model: keras.Model) -> list[str]:
    """The names of the layers whose outputs are a value for each character: the last one with weights, and on."""
    names: list[str] = []
    for layer in reversed(model.layers):
        names.insert(0, layer.name)
        if layer.weights:
            break
    return names


def gates(model: keras.Model, questions: Ids) -> dict[str, dict[str, Array]]:
    """What every recurrent layer does at each step, computed from the layer's own weights.

    Args:
        model: as ``models.build_model`` makes it.
        questions: ids of characters as the model reads them, shape ``(n, question_length)``.

    Returns:
        For each recurrent layer, by its name, arrays of shape ``(n, steps, units)``:

        - LSTM: ``input_gate``, ``forget_gate``, ``output_gate`` (0..1), ``candidate`` (-1..1), ``cell_state`` (without
          limits), ``state`` (-1..1), which is its output.
        - GRU: ``update_gate`` (1 keeps the old state), ``reset_gate`` (0..1), ``candidate``, ``state`` (-1..1).
        - SimpleRNN: ``state`` (-1..1).

        At a step that is skipped, the padding of a question, gates and candidate are NaN, and states stay as they are.

    Raises:
        ArithmeticError: when the state that is computed is not what the layer puts out.
    """
    layers = {layer.name: (layer, layer.input, layer.output) for layer in model.layers if _inside_of(layer) is not None}
    layers |= getattr(model, "inside", {})  # those within other layers
    if not layers:
        return {}
    ends = {name: [given, output] for name, (_, given, output) in layers.items()}
    found = _in_batches(model, ends, questions)
    return {
        name: gates_of(layer, *keras.tree.flatten(found[name][0]), output=keras.tree.flatten(found[name][1])[0])
        for name, (layer, _, _) in layers.items()
    }


def gates_of(layer: keras.layers.Layer, sequences: Array, *initial: Array, output: Array) -> dict[str, Array]:
    """What one recurrent layer does at each step; see ``gates``.

    Args:
        layer: an LSTM, a GRU or a SimpleRNN, of Keras or of ``seqadd.layers``.
        sequences: its input, shape ``(n, steps, features)``.
        initial: its states before the first step, each ``(n, units)``; without them they are zero.
        output: what it puts out, ``(n, units)`` or ``(n, steps, units)``; is compared with.

    Raises:
        ArithmeticError: when the state that is computed is not ``output``.
    """
    step = _inside_of(layer)
    assert step is not None, layer
    n_states = 2 if isinstance(layer, keras.layers.LSTM) else 1
    states = list(initial) or [np.zeros((len(sequences), layer.units), np.float32)] * n_states
    each: list[dict[str, Array]] = []
    for at in range(sequences.shape[1]):
        inside = step(layer.cell, sequences[:, at], *states)
        if getattr(layer, "skip_blanks", False):
            before = dict(zip(("state", "cell_state"), states, strict=False))
            blank = sequences[:, at, alphabet.BLANK, None] > 0.5
            inside = {name: np.where(blank, before.get(name, np.nan), values) for name, values in inside.items()}
        states = [inside["state"], *([inside["cell_state"]] if n_states == 2 else [])]
        each.append(inside)
    result = {name: np.stack([inside[name] for inside in each], axis=1) for name in each[0]}
    computed = result["state"] if layer.return_sequences else result["state"][:, -1]
    difference = float(np.max(np.abs(computed - output), initial=0.0))
    if not difference <= _ROUNDING:
        raise ArithmeticError(
            f"{layer.name}: the state computed from its weights differs from its output by {difference:.2g}, which is "
            f"more than {_ROUNDING} for rounding; its gates are not what is thought here"
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


def _inside_of(layer: keras.layers.Layer) -> Callable[..., dict[str, Array]] | None:
    """What computes a step of a recurrent layer; None for one that is not recurrent, or of an unknown kind."""
    kinds: dict[type, Callable[..., dict[str, Array]]] = {
        keras.layers.LSTM: _inside_of_lstm,
        keras.layers.GRU: _inside_of_gru,
        keras.layers.SimpleRNN: _inside_of_simple_rnn,
    }
    return next((inside for kind, inside in kinds.items() if isinstance(layer, kind)), None)


def _in_numpy(function: Callable[..., Any]) -> Callable[[Array], Array]:
    return lambda x: np.asarray(keras.ops.convert_to_numpy(function(keras.ops.convert_to_tensor(x))))


def _batches(model: keras.Model, questions: Ids) -> Iterator[Ids]:
    given, length = np.asarray(questions), model.inputs[0].shape[1]
    if given.ndim != 2 or len(given) == 0 or given.shape[1] != length or not np.issubdtype(given.dtype, np.integer):
        raise ValueError(
            f"questions: must be ids of characters, shape (n, {length}), at least one; these are {given.dtype} of "
            f"shape {given.shape}; TrainedRun.write makes ids of texts"
        )
    for at in range(0, len(questions), _AT_ONCE):
        yield questions[at : at + _AT_ONCE]


def _in_batches(model: keras.Model, wanted: dict[str, Any], questions: Ids) -> dict[str, Any]:
    """Tensors of a model for many questions, as arrays; lists of arrays where a list of tensors is wanted."""
    inputs_for = getattr(model, "inputs_for", lambda questions: questions)
    sub_model = keras.Model(model.inputs if hasattr(model, "inputs_for") else model.inputs[0], wanted)
    parts = [sub_model(inputs_for(alphabet.one_hot(batch)), training=False) for batch in _batches(model, questions)]
    return keras.tree.map_structure(lambda *each: np.concatenate([np.asarray(part) for part in each]), *parts)


def saturation(model: keras.Model, questions: Ids) -> pd.DataFrame:
    """How near their limits gates and states are, and how far they move, over many questions and all their steps.

    Args:
        model: as ``models.build_model`` makes it.
        questions: ids of characters as the model reads them, shape ``(n, question_length)``.

    Returns:
        One row for each unit of each gate and state, of recurrent layers and of layers whose activation is tanh, with
        the columns ``layer``, ``part``, ``unit`` (from 0), ``low`` and ``high`` (the share of its values below and
        above ``GATE_LIMITS`` or ``STATE_LIMITS``), ``least``, ``greatest``, ``mean`` and ``moves`` (whether least and
        greatest differ by more than 0.01).
    """
    import pandas as pd

    found: dict[tuple[str, str], _Extent] = {}
    for batch in _batches(model, questions):
        for layer, parts in _bounded(model, batch).items():
            for part, values in parts.items():
                found.setdefault((layer, part), _Extent(part)).add(values.reshape(-1, values.shape[-1]))
    frames = []
    for (layer, part), extent in found.items():
        frame = extent.frame()
        frame.insert(0, "layer", layer)
        frame.insert(1, "part", part)
        frames.append(frame)
    return pd.concat(frames, ignore_index=True) if frames else no_saturation()


def no_saturation() -> pd.DataFrame:
    """The table of ``saturation`` without a row."""
    import pandas as pd

    return pd.DataFrame(columns=["layer", "part", "unit", "low", "high", "least", "greatest", "mean", "moves"])


def _bounded(model: keras.Model, questions: Ids) -> dict[str, dict[str, Array]]:
    """What has limits: gates and states of recurrent layers, and the outputs of other layers with tanh."""
    inside = gates(model, questions)
    tanh = [
        layer.name
        for layer in model.layers
        if layer.name not in inside and getattr(layer, "activation", None) is keras.activations.tanh
    ]
    outputs = activations(model, questions) if tanh else {}
    found = {layer: {"output": outputs[layer]} for layer in tanh}
    for layer, parts in inside.items():
        # A cell's state has no limits; what becomes of it under tanh has, and that is what a gradient goes through.
        found[layer] = {
            part if part != "cell_state" else "tanh(cell_state)": np.tanh(values) if part == "cell_state" else values
            for part, values in parts.items()
        }
    return found


class _Extent:
    """What the values of each unit of a gate or a state have been."""

    def __init__(self, part: str) -> None:
        self._limits = GATE_LIMITS if part.endswith("gate") else STATE_LIMITS
        self._n = 0
        self._sums: dict[str, Array] = {}

    def add(self, values: Array) -> None:
        """Values of shape ``(n, units)``; rows that are NaN are steps that were skipped."""
        low, high = self._limits
        values = values[~np.isnan(values).any(axis=1)]
        sums = {
            "low": np.sum(values < low, axis=0, dtype=float),
            "high": np.sum(values > high, axis=0, dtype=float),
            "mean": np.sum(values, axis=0, dtype=float),
        }
        ends = {"least": np.min(values, axis=0), "greatest": np.max(values, axis=0)}
        if self._sums:
            sums = {name: self._sums[name] + more for name, more in sums.items()}
            ends = {
                "least": np.minimum(self._sums["least"], ends["least"]),
                "greatest": np.maximum(self._sums["greatest"], ends["greatest"]),
            }
        self._sums = {**sums, **ends}
        self._n += len(values)

    def frame(self) -> pd.DataFrame:
        """A row for each unit."""
        import pandas as pd

        sums = self._sums
        return pd.DataFrame(
            {
                "unit": np.arange(len(sums["low"])),
                "low": sums["low"] / self._n,
                "high": sums["high"] / self._n,
                "least": sums["least"],
                "greatest": sums["greatest"],
                "mean": sums["mean"] / self._n,
                "moves": sums["greatest"] - sums["least"] > _STILL,
            }
        )


def weights(model: keras.Model) -> dict[str, Array]:
    """Every array of weights under its layer's and its own name, ``lstm_1/kernel``, in the layers' order."""
    found = {}
    for layer in model.layers:
        for variable in layer.weights:
            found[f"{layer.name}/{variable.name}"] = np.asarray(keras.ops.convert_to_numpy(variable))
    return found
