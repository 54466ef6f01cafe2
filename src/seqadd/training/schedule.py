"""What depends on the epoch: the order in which the questions are trained, and the teacher-forcing ratio."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from seqadd.config.schema import Config
from seqadd.data import curriculum
from seqadd.data.drawing import Dataset

#: The scale of the decay in ``teacher_forcing_ratio``, in epochs.
SCHEDULE = 20


def rows_of_epoch(config: Config, data: Dataset, history: list[dict[str, float]], epoch: int) -> curriculum.Rows:
    """The rows of epoch ``epoch``, from 1, in training order; determined by the seed, the epoch and the history."""
    if config.curriculum is None:
        ordered_as = epoch if config.shuffle == "each_epoch" else 1
        return curriculum.epoch_order(config.seed, ordered_as, len(data.train_questions))
    assert config.task.digits is not None
    at = curriculum.stage(history, config.task.digits)
    return curriculum.rows_by_length(config.curriculum, data.train_digits, at, config.seed, epoch)


def teacher_forcing_ratio(epoch: int) -> float:
    """The teacher-forcing ratio in epoch ``epoch`` under ``teacher_forcing=scheduled``.

    Inverse sigmoid decay (Bengio et al. 2015, arXiv 1506.03099): .95 in epoch 1, half in epoch 60, .05 in epoch 120.
    """
    return SCHEDULE / (SCHEDULE + math.exp(min(epoch / SCHEDULE, 50.0)))


def teacher_forcing_mask(config: Config, epoch: int, size: tuple[int, int]) -> npt.NDArray[np.bool_]:
    """Where the decoder reads the correct previous character (True) or its own (False).

    Depends on seed and epoch alone; ``size`` is ``(n, answer_length)``. numpy draws it, because XLA and TensorFlow draw
    different numbers from each other.
    """
    share = {"always": 1.0, "scheduled": teacher_forcing_ratio(epoch), "never": 0.0}[config.teacher_forcing or "always"]
    coins: npt.NDArray[np.bool_] = np.random.default_rng((config.seed, epoch, 1)).random(size) < share
    return coins
