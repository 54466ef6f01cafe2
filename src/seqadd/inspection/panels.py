"""A question put to a model -> what each of its layers has to show, as heatmaps with named axes. Draws nothing.

What an axis is follows from an array's shape and from the layer's name, never from its place in the model.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from seqadd.data import vocabulary
from seqadd.inspection.trace import Trace
from seqadd.reporting.heatmaps import Heatmap

if TYPE_CHECKING:
    from seqadd.evaluation.predict import Array

#: How characters are written where a blank would not be seen.
VISIBLE = ["␣" if character == " " else character for character in vocabulary.CHARACTERS]

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


def question_heatmap(view: Trace) -> Heatmap:
    """The question as the model reads it: a row for each character, one-hot."""
    return Heatmap(
        name="question",
        title="question, as the model reads it",
        values=vocabulary.one_hot(view.asked.ids),
        limits=(0.0, 1.0),
        rows=_question_steps(view),
        columns=VISIBLE,
        row_axis="step, character",
        column_axis="character",
        scale="one-hot",
    )


def layer_heatmaps(views: Sequence[Trace], names: Sequence[dict[str, str]] | None = None) -> list[list[Heatmap]]:
    """The outputs of all layers for each view, those of one name with the same limits.

    Args:
        views: that are compared.
        names: for each view, what layers are called where their own names would not be compared.
    """
    called = names or [{}] * len(views)
    values: dict[str, list[Array]] = {}
    for view, rename in zip(views, called, strict=True):
        for layer, output in view.outputs.items():
            values.setdefault(rename.get(layer, layer), []).append(output)
    return [
        [_layer_heatmap(view, layer, rename.get(layer, layer), values) for layer in view.outputs]
        for view, rename in zip(views, called, strict=True)
    ]


def _layer_heatmap(view: Trace, layer: str, name: str, compared: dict[str, list[Array]]) -> Heatmap:
    output = view.outputs[layer]
    is_last = layer == view.character_layers[-1]
    of_characters = layer in view.character_layers and output.ndim == 2
    limits = (0.0, 1.0) if is_last else _limits(compared[name], least=50.0 if of_characters else 1.0)
    if of_characters:
        return Heatmap(
            name=name,
            title=f"{layer}: {output.shape[0]} characters",
            values=_until_its_end(view, output),
            limits=limits,
            rows=_answer_steps(view),
            columns=VISIBLE,
            row_axis="place → guess",
            column_axis="character (boxed: the right one)",
            scale="probability" if is_last else "before softmax",
            boxed=list(enumerate(view.asked.answer.tolist())),
            written=".2f" if is_last else ".1f",
        )
    if name.startswith("alignment"):
        shares = output if len(output) == len(view.asked.answer) else output.reshape(1, -1)
        return Heatmap(
            name=name,
            title=f"{layer}: where it looks",
            values=_until_its_end(view, shares),
            limits=(0.0, 1.0),
            rows=_answer_steps(view) if len(shares) > 1 else ["every place"],
            columns=[VISIBLE[character] for character in view.asked.ids],
            row_axis="place → guess",
            column_axis="the question, as the model reads it",
            scale="share of 1",
            written=".2f",
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
        rows=_steps(view, layer, output.shape[0]),
        columns=_every_eighth(flat.shape[1]),
        row_axis="step",
        column_axis="unit",
        scale="output",
    )


def step_heatmaps(view: Trace, layer: str) -> list[Heatmap]:
    """What goes on in a recurrent layer, a row for each step: its gates, and what it remembers."""
    panels = []
    for part, values in view.gates[layer].items():
        limits = (0.0, 1.0) if part.endswith("gate") else _limits([values])
        panels.append(
            Heatmap(
                name=part,
                title=_GATE_OR_STATE.get(part, part),
                values=values,
                limits=limits,
                rows=_steps(view, layer, len(values)),
                columns=_every_eighth(values.shape[1]),
                row_axis="step",
                column_axis="unit",
                scale="gate" if part.endswith("gate") else "value",
            )
        )
    return panels


def _limits(arrays: Sequence[Array], least: float = 1.0) -> tuple[float, float]:
    """-1..1 for what stays inside, as states do; else in coarse steps, so that pictures of other epochs have the same.

    Values before softmax, which are written out, have at least -50..50.
    """
    finite = [np.abs(values[np.isfinite(values)]) for values in arrays]
    most = max((float(np.max(values, initial=0.0)) for values in finite), default=0.0)
    steps = [least * factor for power in range(12) for factor in (10.0**power, 3.0 * 10.0**power)]
    limit = next((step for step in steps if step >= most), most)
    return -limit, limit


def _until_its_end(view: Trace, by_place: Array) -> Array:
    """A row for each place of the answer; NaN after the blank by which the model has ended it."""
    if not view.ends_itself or " " not in view.guess or len(by_place) != len(view.guess):
        return by_place
    shown = by_place.copy()
    shown[view.guess.index(" ") + 1 :] = np.nan
    return shown


def _folded(output: Array) -> Array:
    """A vector as a rectangle that is as square as can be; what is left over is NaN."""
    n = len(output)
    rows = next(rows for rows in range(math.isqrt(n), 0, -1) if n % rows == 0)
    if n > 4 * rows * rows:  # a prime number of units would give one long line
        rows = math.isqrt(n)
    columns = math.ceil(n / rows)
    folded: Any = np.full(rows * columns, np.nan, np.float32)
    folded[:n] = output
    return folded.reshape(rows, columns)


def _steps(view: Trace, layer: str, n: int) -> list[str]:
    of_decoder = layer.endswith(("_2", "_3"))  # where question and answer have as many characters
    if n == len(view.asked.ids) and not (of_decoder and n == len(view.asked.answer)):
        return _question_steps(view)
    return _answer_steps(view) if n == len(view.asked.answer) else [str(step + 1) for step in range(n)]


def _question_steps(view: Trace) -> list[str]:
    return [f"{step}  {VISIBLE[character]}" for step, character in enumerate(view.asked.ids, start=1)]


def _answer_steps(view: Trace) -> list[str]:
    guesses = view.probabilities.argmax(axis=-1)
    return [f"{place} → {VISIBLE[character]}" for place, character in enumerate(guesses, start=1)]


def _every_eighth(n: int) -> list[str]:
    return [str(unit) if unit % 8 == 0 else "" for unit in range(n)]
