"""How right predicted answers are. Fractions in 0..1, over arrays of character ids; numpy only."""

from __future__ import annotations

import numpy as np

from seqadd.alphabet import Ids


def character_accuracy(predicted: Ids, answers: Ids) -> float:
    """The share of characters that are right, padding included; both shapes ``(n, answer_length)``.

    The article's ``acc``: Keras' categorical accuracy counts every position of every answer once.
    """
    return float(np.mean(predicted == answers))


def exact_match(predicted: Ids, answers: Ids) -> float:
    """The share of sums with every character right; both shapes ``(n, answer_length)``."""
    return float(np.mean(np.all(predicted == answers, axis=1)))
