"""What is said at the end of a training that went wrong although every loss was finite."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from seqadd.cli.layout import metric_text
from seqadd.config.schema import Config
from seqadd.data import vocabulary
from seqadd.data.addition import Dataset
from seqadd.training.metrics import character_accuracy

# The loss of a model that gives all characters the same probability.
_LOSS_OF_GUESSING = math.log(len(vocabulary.CHARACTERS))
_RISE = 1000
# A val_acc less than this above chance is not learning, and so many epochs are enough to see it.
_ABOVE_CHANCE, _EPOCHS = 0.01, 5


def chance_accuracy(data: Dataset, *, ends_with_eos: bool) -> float:
    """Returns the val_acc of a model that ignores the question: the most frequent character at each position.

    Args:
        data: its training set says which characters are frequent.
        ends_with_eos: whether the padding after the end of an answer does not count, see ``Config.ends_with_eos``.
    """
    n_characters = len(vocabulary.CHARACTERS)
    frequent = np.array([np.bincount(each, minlength=n_characters).argmax() for each in data.train_answers.T])
    blanks = data.val_answers == vocabulary.BLANK
    counts = np.cumsum(blanks, axis=1) - blanks == 0 if ends_with_eos else None
    guesses = np.broadcast_to(frequent.astype(data.val_answers.dtype), data.val_answers.shape)
    return character_accuracy(guesses, data.val_answers, counts)


def warnings(config: Config, data: Dataset, history: Sequence[Mapping[str, float]]) -> list[str]:
    """Returns a line for each sign that a finished training went wrong: its loss rose, or it has learnt nothing."""
    found = []
    last, lowest = history[-1], min(row["loss"] for row in history)
    if last["loss"] > max(_RISE * min(lowest, _LOSS_OF_GUESSING), _LOSS_OF_GUESSING):
        found.append(
            f"loss has risen to {metric_text(last['loss'])}, where guessing gives {metric_text(_LOSS_OF_GUESSING)}: "
            f"the training is unstable; lower learning_rate={config.learning_rate:g}"
        )
    if len(history) >= _EPOCHS:
        chance, best = chance_accuracy(data, ends_with_eos=config.ends_with_eos), max(row["val_acc"] for row in history)
        if best < chance + _ABOVE_CHANCE:
            found.append(
                f"val_acc is {metric_text(best)} at best, no better than chance: the most frequent characters alone "
                f"give {metric_text(chance)}; raise epochs={config.epochs}, or try another learning_rate than "
                f"{config.learning_rate:g}"
            )
    return found
