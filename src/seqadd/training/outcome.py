"""What is said at the end of a training that went wrong although every loss was finite."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from seqadd.cli.layout import metric_text
from seqadd.config.schema import Config
from seqadd.data.drawing import Dataset
from seqadd.data.vocabulary import BLANK
from seqadd.training.metrics import character_accuracy

_RISE = 1000
# A val_acc less than this above chance is not learning, and so many epochs are enough to see it.
_ABOVE_CHANCE, _EPOCHS = 0.01, 5
# An acc that is this much above val_acc is learning, of the training set alone.
_OVERFIT = 0.1


def chance_accuracy(data: Dataset, *, ends_with_eos: bool) -> float:
    """Returns the val_acc of a model that ignores the question: the most frequent character at each position.

    Args:
        data: its training set says which characters are frequent.
        ends_with_eos: whether the padding after the end of an answer does not count, see ``Config.ends_with_eos``.
    """
    frequent = np.array([np.bincount(each).argmax() for each in data.train_answers.T])
    blanks = data.val_answers == BLANK
    counts = np.cumsum(blanks, axis=1) - blanks == 0 if ends_with_eos else None
    guesses = np.broadcast_to(frequent.astype(data.val_answers.dtype), data.val_answers.shape)
    return character_accuracy(guesses, data.val_answers, counts)


def guessing_loss(loss: str, n_characters: int) -> float:
    """Returns the loss of a model that gives all characters the same probability.

    Args:
        loss: ``categorical``, or ``binary``: Keras' mean over the outputs.
        n_characters: size of the alphabet.
    """
    n = n_characters
    return math.log(n) if loss == "categorical" else math.log(n) - (n - 1) / n * math.log(n - 1)


def warnings(config: Config, data: Dataset, history: Sequence[Mapping[str, float]]) -> list[str]:
    """Returns a line for each sign that a finished training went wrong: its loss rose, or val_acc did not."""
    found = []
    last, lowest = history[-1], min(row["loss"] for row in history)
    guessing = guessing_loss(config.loss, len(data.alphabet))
    if last["loss"] > max(_RISE * min(lowest, guessing), guessing):
        found.append(
            f"loss has risen to {metric_text(last['loss'])}, where guessing gives {metric_text(guessing)}: "
            f"the training is unstable; lower learning_rate={config.learning_rate:g}"
        )
    if len(history) >= _EPOCHS:
        chance, best = chance_accuracy(data, ends_with_eos=config.ends_with_eos), max(row["val_acc"] for row in history)
        if best < chance + _ABOVE_CHANCE:
            overfits = last["acc"] > best + _OVERFIT
            remedy = (
                f"acc is {metric_text(last['acc'])}, so it overfits: raise task.n_questions={config.task.n_questions}"
                if overfits
                else f"raise epochs={config.epochs}, or try another learning_rate than {config.learning_rate:g}"
            )
            found.append(
                f"val_acc is {metric_text(best)} at best, no better than chance: the most frequent characters alone "
                f"give {metric_text(chance)}; {remedy}"
            )
    return found
