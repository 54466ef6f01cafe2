"""Converts a trace to heatmaps of its layers, with named axes. Draws nothing.

An array's shape and the layer's name determine the axes, never the layer's index in the model.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from seqadd.inspection.trace import HEAD, Trace
from seqadd.reporting.heatmaps import Heatmap

if TYPE_CHECKING:
    from seqadd.evaluation.predict import Array

_GATE_OR_STATE = {
    "input_gate": "input gate: how much of the candidate is let in",
    "forget_gate": "forget gate: how much of the cell state is kept",
    "output_gate": "output gate: how much of the cell state is shown",
    "update_gate": "update gate: how much of the state is kept",
    "reset_gate": "reset gate: how much of the state the candidate sees",
    "candidate": "candidate: what could come in",
    "cell_state": "cell state: what is remembered",
    "state": "state: what the layer puts out",
}


def visible(alphabet: str) -> list[str]:
    """Returns the characters with a visible symbol for the blank."""
    return ["␣" if character == " " else character for character in alphabet]


def question_heatmap(traced: Trace) -> Heatmap:
    """Returns the question as the model reads it: a row for each character, one-hot."""
    return Heatmap(
        name="question",
        title="question, as the model reads it",
        values=traced.question.notation.vocabulary.one_hot(traced.question.ids),
        limits=(0.0, 1.0),
        rows=_question_steps(traced),
        columns=_characters(traced),
        row_axis="step, character",
        column_axis="character",
        scale="one-hot",
    )


def layer_heatmaps(traces: Sequence[Trace], names: Sequence[dict[str, str]] | None = None) -> list[list[Heatmap]]:
    """Returns the outputs of all layers for each trace; layers of the same name share their limits.

    Args:
        traces: the traces to compare.
        names: for each trace, new names of layers that are compared with a layer of another name.
    """
    called = names or [{}] * len(traces)
    values: dict[str, list[Array]] = {}
    for traced, rename in zip(traces, called, strict=True):
        for layer, output in traced.outputs.items():
            values.setdefault(rename.get(layer, layer), []).append(output)
    return [
        [_layer_heatmap(traced, layer, rename.get(layer, layer), values) for layer in traced.outputs]
        for traced, rename in zip(traces, called, strict=True)
    ]


def _layer_heatmap(traced: Trace, layer: str, name: str, compared: dict[str, list[Array]]) -> Heatmap:
    output = traced.outputs[layer]
    is_last = layer == traced.character_layers[-1]
    of_characters = layer in traced.character_layers and output.ndim == 2
    limits = (0.0, 1.0) if is_last else _limits(compared[name])
    if of_characters:
        return Heatmap(
            name=name,
            title=f"{layer}: {output.shape[0]} characters",
            values=_until_its_end(traced, output),
            limits=limits,
            rows=_answer_steps(traced),
            columns=_characters(traced),
            row_axis="position → guess",
            column_axis="character (boxed: the right one)",
            scale="probability" if is_last else "before softmax",
            boxed=list(enumerate(traced.question.answer.tolist())),
            written=".2f" if is_last else ".1f",
        )
    if name.startswith("alignment"):
        shares = output if len(output) == len(traced.question.answer) else output.reshape(1, -1)
        return Heatmap(
            name=name,
            title=f"{layer}: attention weights",
            values=_until_its_end(traced, shares),
            limits=(0.0, 1.0),
            rows=_answer_steps(traced) if len(shares) > 1 else ["all positions"],
            columns=[_characters(traced)[character] for character in traced.question.ids],
            row_axis="position → guess",
            column_axis="the question, as the model reads it",
            scale="share of 1",
            written=".2f",
        )
    if HEAD in layer:
        text = _text_read(traced, len(output))
        return Heatmap(
            name=name,
            title=f"{layer}: attention weights",
            values=output,
            limits=(0.0, 1.0),
            rows=text,
            columns=text if output.shape[1] == len(text) else [str(n + 1) for n in range(output.shape[1])],
            row_axis="the place that looks",
            column_axis="what it looks at",
            scale="share of 1",
        )
    if output.ndim == 1:
        folded = _folded(output)
        n_rows, n_columns = folded.shape
        return Heatmap(
            name=name,
            title=f"{layer}: {output.shape[0]} units, folded to {n_rows} x {n_columns}",
            values=folded,
            limits=limits,
            rows=[str(row * n_columns) for row in range(n_rows)],
            columns=[f"+{column}" for column in range(n_columns)],
            row_axis="unit",
            column_axis="number of the row + column",
            scale="output",
        )
    flat = output.reshape(output.shape[0], -1)
    return Heatmap(
        name=name,
        title=f"{layer}: {output.shape[0]} steps x {flat.shape[1]} units",
        values=flat,
        limits=limits,
        rows=_steps(traced, layer, output.shape[0]),
        columns=_every_eighth(flat.shape[1]),
        row_axis="step",
        column_axis="unit",
        scale="output",
    )


def _text_read(traced: Trace, n: int) -> list[str]:
    """Returns what stands at each of ``n`` places that a model reads: the question, the answer so far, or both."""
    characters = _characters(traced)
    question = [characters[character] for character in traced.question.ids]
    guesses = traced.probabilities.argmax(axis=-1)
    previous = [characters[0], *(characters[character] for character in guesses[:-1])]
    fitting = (text for text in (question, previous, question + previous) if len(text) == n)
    return next(fitting, [str(place + 1) for place in range(n)])


def step_heatmaps(traced: Trace, layer: str) -> list[Heatmap]:
    """Returns the gates and states of a recurrent layer, a row for each step."""
    panels = []
    for part, values in traced.gates[layer].items():
        limits = (0.0, 1.0) if part.endswith("gate") else _limits([values])
        panels.append(
            Heatmap(
                name=part,
                title=_GATE_OR_STATE.get(part, part),
                values=values,
                limits=limits,
                rows=_steps(traced, layer, len(values)),
                columns=_every_eighth(values.shape[1]),
                row_axis="step",
                column_axis="unit",
                scale="gate" if part.endswith("gate") else "value",
            )
        )
    return panels


# Ends of a colour scale; few, so that most epochs have the same.
_ENDS = [float(f"{factor}e{power}") for power in range(-1, 13) for factor in (1.0, 1.5, 2.0, 3.0, 5.0, 7.0)]
# So many of a hundred values are within the scale.
_WITHIN = 99.0


def _limits(arrays: Sequence[Array]) -> tuple[float, float]:
    """Returns symmetric limits for values that are compared: the smallest scale that has 99 of 100 of them."""
    finite = np.abs(np.concatenate([values[np.isfinite(values)] for values in arrays]))
    most = float(np.percentile(finite, _WITHIN, method="higher")) if finite.size else 0.0
    limit = next((end for end in _ENDS if end >= most), most)
    return -limit, limit


def answer_heatmap(traced: Trace) -> Heatmap:
    """Returns the probabilities of the answer's characters: a row for each position."""
    (panel,) = (each for each in layer_heatmaps([traced])[0] if each.name == traced.character_layers[-1])
    return panel


def _until_its_end(traced: Trace, by_position: Array) -> Array:
    """Returns a row for each position of the answer; NaN after the blank with which the model has ended it."""
    if not traced.ends_itself or " " not in traced.guess or len(by_position) != len(traced.guess):
        return by_position
    shown = by_position.copy()
    shown[traced.guess.index(" ") + 1 :] = np.nan
    return shown


def _folded(output: Array) -> Array:
    """Folds a vector to a rectangle as square as possible; unused fields are NaN."""
    n = len(output)
    rows = next(rows for rows in range(math.isqrt(n), 0, -1) if n % rows == 0)
    if n > 4 * rows * rows:  # for example, a prime number of units would give one long line
        rows = math.isqrt(n)
    columns = math.ceil(n / rows)
    folded: Any = np.full(rows * columns, np.nan, np.float32)
    folded[:n] = output
    return folded.reshape(rows, columns)


def _steps(traced: Trace, layer: str, n: int) -> list[str]:
    of_decoder = layer.endswith(("_2", "_3"))  # decides only if question and answer have the same length
    if n == len(traced.question.ids) and not (of_decoder and n == len(traced.question.answer)):
        return _question_steps(traced)
    return _answer_steps(traced) if n == len(traced.question.answer) else [str(step + 1) for step in range(n)]


def _question_steps(traced: Trace) -> list[str]:
    shown = _characters(traced)
    return [f"{step}  {shown[character]}" for step, character in enumerate(traced.question.ids, start=1)]


def _answer_steps(traced: Trace) -> list[str]:
    shown, guesses = _characters(traced), traced.probabilities.argmax(axis=-1)
    return [f"{position} → {shown[character]}" for position, character in enumerate(guesses, start=1)]


def _characters(traced: Trace) -> list[str]:
    return visible(traced.question.notation.alphabet)


def _every_eighth(n: int) -> list[str]:
    return [str(unit) if unit % 8 == 0 else "" for unit in range(n)]
