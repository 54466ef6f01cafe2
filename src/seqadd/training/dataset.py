"""The data set of a run, drawn from its configuration."""

from __future__ import annotations

import numpy as np

from seqadd.config.schema import Config
from seqadd.data import addition, curriculum
from seqadd.errors import ConfigError


def make_dataset(config: Config) -> addition.Dataset:
    """Draws the sums of a run.

    Raises:
        ConfigError: if a stage of the curriculum would have no sums of its length.
    """
    data = addition.make_dataset(
        digits=config.task.digits,
        n_questions=config.task.n_questions,
        held_out=config.task.held_out,
        reverse=config.reverse,
        answer_length=config.answer_length,
        equal_lengths=bool(config.task.equal_lengths),
        longest=config.task.longest,
        rng=np.random.default_rng(config.seed),
    )
    if config.curriculum is not None:
        missing = curriculum.missing_length(data.train_digits, data.val_digits, config.task.digits)
        if missing is not None:
            raise ConfigError(
                f"curriculum={config.curriculum}: the sums of seed={config.seed} have none of {missing} digits to "
                f"learn, or none held out; raise task.n_questions={config.task.n_questions} or task.held_out"
            )
    return data


def data_digest(config: Config) -> str:
    """The digest of the sums of a run."""
    return make_dataset(config).digest()
