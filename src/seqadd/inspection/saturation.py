"""Saturation: how often gates and states are near their limits."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from seqadd.data.vocabulary import Ids
from seqadd.evaluation.predict import Array, batches
from seqadd.inspection.activations import activations
from seqadd.inspection.gates import gates, own_layers
from seqadd.system.tensorflow_setup import quiet_import

with quiet_import():  # a notebook may import this module first
    import keras


if TYPE_CHECKING:
    import pandas as pd

#: A gate is saturated below the first and above the second, as in Karpathy, Johnson and Li 2015 (arXiv 1506.02078).
GATE_LIMITS = (0.1, 0.9)
#: States and candidates, which are in -1..1, are saturated below the first and above the second.
STATE_LIMITS = (-0.9, 0.9)
#: A unit never moves if its values for all questions differ by no more than this.
_STILL = 0.01


def saturation(model: keras.Model, questions: Ids) -> pd.DataFrame:
    """Measures how often gates and states are near their limits, and whether they move, over all steps of questions.

    Args:
        model: as ``models.architectures.build_model`` makes it.
        questions: ids of characters as the model reads them, shape ``(n, question_length)``.

    Returns:
        One row for each unit of each gate and state of recurrent layers, and of each layer whose activation is tanh.
        Columns: ``layer``, ``part``, ``unit`` (from 0), ``low`` and ``high`` (the share of its values below and above
        ``GATE_LIMITS`` or ``STATE_LIMITS``), ``least``, ``greatest``, ``mean`` and ``moves`` (whether least and
        greatest differ by more than 0.01).
    """
    import pandas as pd

    found: dict[tuple[str, str], _Extent] = {}
    for batch in batches(model, questions):
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
    """Returns the table of ``saturation`` without rows."""
    import pandas as pd

    return pd.DataFrame(columns=["layer", "part", "unit", "low", "high", "least", "greatest", "mean", "moves"])


def _bounded(model: keras.Model, questions: Ids) -> dict[str, dict[str, Array]]:
    """Returns all bounded values: gates and states of recurrent layers, and the outputs of other layers with tanh."""
    inside = gates(model, questions)
    tanh = [
        layer.name
        for layer in model.layers
        if layer.name not in inside and getattr(layer, "activation", None) is keras.activations.tanh
    ]
    outputs = activations(model, questions) if tanh else {}
    found = {layer: {"output": outputs[layer]} for layer in tanh}
    for layer, parts in inside.items():
        # A cell state is unbounded; its tanh is bounded, and gradients flow through the tanh.
        found[layer] = {
            part if part != "cell_state" else "tanh(cell_state)": np.tanh(values) if part == "cell_state" else values
            for part, values in parts.items()
            if part == "cell_state" or _is_bounded(part, values)
        }
    return found


def _is_bounded(part: str, values: Array) -> bool:
    """Whether values are a gate's, or in -1..1; an own cell may have others, which have no limits to be near to."""
    return part.endswith("gate") or bool(np.nanmax(np.abs(values), initial=0.0) <= 1.0)


def not_checked(model: keras.Model, questions: Ids, table: pd.DataFrame) -> list[str]:
    """Returns what saturation says nothing about, a line each: own cells that show no gates, models without bounds.

    Args:
        model, questions: as for ``saturation``.
        table: as ``saturation`` returns it.
    """
    silent = [
        f"{layer}: its cell shows nothing but its states, so its gates are not checked; call seqadd.show in the cell"
        for layer, parts in gates(model, questions[:1]).items()
        if all(part == "output" or part.startswith("state") for part in parts) and layer in own_layers(model)
    ]
    if len(table) == 0 and not silent:
        return ["no layer of this model has gates, states or tanh, so saturation is not checked"]
    return silent


class _Extent:
    """Accumulates statistics of each unit of a gate or state over batches."""

    def __init__(self, part: str) -> None:
        self._limits = GATE_LIMITS if part.endswith("gate") else STATE_LIMITS
        self._n = 0
        self._sums: dict[str, Array] = {}

    def add(self, values: Array) -> None:
        """Adds values of shape ``(n, units)``; NaN rows are skipped steps and do not count."""
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
        """Returns a row for each unit."""
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
