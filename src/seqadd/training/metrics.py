"""Accuracy metrics of predicted answers: fractions in 0..1, over arrays of character ids; numpy only.

``loop.evaluation_program`` calls them after each epoch; ``metric_names`` has the names under which runs record them.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from seqadd.data.vocabulary import Ids

Counts = npt.NDArray[np.bool_] | None


def character_accuracy(predicted: Ids, answers: Ids, counts: Counts = None) -> float:
    """The share of correct characters; all shapes ``(n, answer_length)``.

    The article's ``acc``: Keras' categorical accuracy counts every position of every answer once, padding included.

    Args:
        predicted, answers: ids of characters.
        counts: which of the characters count; None for all.
    """
    right = predicted == answers
    return float(np.mean(right if counts is None else right[counts]))


def exact_match(predicted: Ids, answers: Ids) -> float:
    """The share of questions with every character of the answer correct; both shapes ``(n, answer_length)``."""
    return float(np.mean(np.all(predicted == answers, axis=1)))


def accuracy_by_position(predicted: Ids, answers: Ids, counts: Counts = None) -> dict[int, float]:
    """The share of correct characters at each position of the answer, from 1; positions where none count are left out.

    Args:
        predicted, answers, counts: as for ``character_accuracy``.
    """
    if counts is None:
        return dict(enumerate(np.mean(predicted == answers, axis=0).tolist(), start=1))
    right = ((predicted == answers) & counts).sum(axis=0) / np.maximum(counts.sum(axis=0), 1)
    return {
        position: float(right[position - 1]) for position in range(1, len(right) + 1) if counts[:, position - 1].any()
    }


def exact_match_by(counts: npt.NDArray[np.int64], predicted: Ids, answers: Ids) -> dict[int, float]:
    """The share of questions with every character of the answer correct, for each number that occurs.

    Args:
        counts: a number of each question, such as the carries of a sum, shape ``(n,)``; see ``drawing.Task.groups``.
        predicted, answers: shapes ``(n, answer_length)``.
    """
    right = np.all(predicted == answers, axis=1)
    return {int(n): float(np.mean(right[counts == n])) for n in np.unique(counts)}
