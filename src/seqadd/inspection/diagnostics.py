"""Warnings about an unhealthy trained model. The limits were set by the models of the article's claims.

In models that learnt to add, up to three eighths of the units have a stuck gate, every unit of a state moves, and less
than eight tenths of a state's values are near their limits (docs/look-inside.md has the figures). Gates near their
limits are no fault: a gate that has made its decision is near 0 or 1.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from seqadd.data.vocabulary import Ids
from seqadd.training import metrics

if TYPE_CHECKING:
    import pandas as pd

#: A unit is stuck if its values are beyond the same limit in more than this share of all steps of all sums.
STUCK = 0.99
# Shares of stuck units and of saturated values above which a warning is given.
_MANY_STUCK, _MANY_SATURATED = 0.4, 0.8
# A difference between accuracies gives a warning if it is greater than the first or second number (overfitting, still
# rising) and than so many standard errors. The last number is the fewest epochs for such a warning.
_OVERFIT, _STILL_RISING, _STANDARD_ERRORS, _EPOCHS = 0.05, 0.01, 4.0, 20
# A model must beat the most frequent character at each position by this accuracy, or a warning is given.
_NO_BETTER = 0.02


def summary(saturation: pd.DataFrame) -> pd.DataFrame:
    """Summarizes saturation by gate and state.

    Args:
        saturation: as ``saturation.saturation`` returns it.

    Returns:
        A row for each gate and state with ``layer``, ``part``, ``units``, ``low`` and ``high`` (the share of all its
        values), ``stuck`` and ``still`` (how many units are stuck, and how many never move).
    """
    stuck = saturation[["low", "high"]].max(axis=1) > STUCK
    grouped = saturation.assign(stuck=stuck, still=~saturation["moves"].astype(bool)).groupby(
        ["layer", "part"], sort=False
    )
    found = grouped.agg(
        units=("unit", "size"),
        low=("low", "mean"),
        high=("high", "mean"),
        stuck=("stuck", "sum"),
        still=("still", "sum"),
    )
    return found.reset_index()


def warnings(
    saturation: pd.DataFrame,
    weights: Mapping[str, npt.NDArray[np.floating[Any]]],
    guesses: Ids,
    answers: Ids,
    history: Mapping[str, Mapping[int, float]],
    counts: metrics.Counts = None,
    *,
    alphabet: str,
    noun: str = "sums",
) -> list[str]:
    """Returns the signs of an unhealthy model, a line each; empty if there are none.

    Args:
        saturation: as ``saturation.saturation`` returns it.
        weights: as ``inspection.activations.weights`` returns them.
        guesses: to the held-out sums, shape ``(n, answer_length)``.
        answers: the right answers.
        history: ``acc`` and ``val_acc`` by epoch; ``val_acc_teacher_forced`` of a model trained by teacher forcing.
        counts: which characters count, shape ``(n, answer_length)``; None for all, padding included.
        alphabet: the characters.
        noun: what people read for the questions.
    """
    counted = np.ones(answers.shape, bool) if counts is None else counts
    warnings = [
        f"{name}: {int((~np.isfinite(values)).sum())} of {values.size} weights are not finite"
        for name, values in weights.items()
        if not np.isfinite(values).all()
    ]
    for row in summary(saturation).to_dict("records"):
        what = f"{row['layer']}, {row['part']}"
        if row["part"] in ("state", "output") and row["still"]:
            warnings.append(f"{what}: {row['still']} of {row['units']} units are constant for all {noun}")
        if row["stuck"] > _MANY_STUCK * row["units"]:
            warnings.append(f"{what}: {row['stuck']} of {row['units']} units are saturated at one limit for all {noun}")
        if row["part"] in ("state", "output") and row["low"] + row["high"] > _MANY_SATURATED:
            warnings.append(f"{what}: {100 * (row['low'] + row['high']):.0f} % of the values are saturated")
    of_answers = _of_answers(guesses, answers, counted, alphabet, noun.removesuffix("s"))
    return [*warnings, *of_answers, *_of_history(history, int(counted.sum()))]


def _of_answers(guesses: Ids, answers: Ids, counted: npt.NDArray[np.bool_], alphabet: str, one: str) -> list[str]:
    warnings = []
    right = float(np.mean(guesses[counted] == answers[counted]))
    most_frequent = [
        np.bincount(position[there]).max() for position, there in zip(answers.T, counted.T, strict=True) if there.any()
    ]
    by_frequency = float(np.sum(most_frequent) / counted.sum())
    if right < by_frequency + _NO_BETTER:
        warnings.append(
            f"accuracy {right:.2f} is hardly above {by_frequency:.2f}, that of the most frequent character per position"
        )
    return warnings + _always_the_same(guesses, answers, counted, alphabet, one)


def _always_the_same(guesses: Ids, answers: Ids, counted: npt.NDArray[np.bool_], alphabet: str, one: str) -> list[str]:
    same = {
        position: alphabet[guesses[there, position][0]]
        for position, there in enumerate(counted.T)
        if there.any()
        and len(np.unique(guesses[there, position])) == 1
        and len(np.unique(answers[there, position])) > 1
    }
    if not same:
        return []
    if len(same) == counted.any(axis=0).sum():
        return [f"the answer is the same for every {one}"]
    listed = ", ".join(f"{position + 1} ({character!r})" for position, character in same.items())
    return [f"the character is the same for every {one} at position {listed}"]


def _of_history(history: Mapping[str, Mapping[int, float]], n: int) -> list[str]:
    """Returns warnings from the learning curves; ``n`` is the number of held-out characters of an accuracy."""
    acc, val_acc = history.get("acc", {}), history.get("val_acc", {})
    teacher_forced = history.get("val_acc_teacher_forced") or val_acc  # the accuracy that is comparable with acc
    if not acc or not val_acc or max(val_acc) < _EPOCHS:
        return []
    last = max(val_acc)
    noise = _STANDARD_ERRORS * math.sqrt(val_acc[last] * (1 - val_acc[last]) / n)
    warnings = []
    if acc[last] - teacher_forced[last] > max(_OVERFIT, noise):
        name = "val_acc" if teacher_forced is val_acc else "val_acc_teacher_forced"
        warnings.append(f"acc is {acc[last] - teacher_forced[last]:.2f} above {name}: overfitting")
    before = last - last // 10
    if before in val_acc and val_acc[last] - val_acc[before] > max(_STILL_RISING, noise):
        rose = val_acc[last] - val_acc[before]
        warnings.append(f"val_acc rose by {rose:.2f} in the last {last - before} epochs: not converged")
    return warnings
