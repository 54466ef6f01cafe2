"""Layers that draw random numbers: an epoch's follow from seed and epoch, so resuming is exact to the bit."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from own_parts import architecture

from seqadd import load_config
from seqadd.config.schema import Config
from seqadd.training.checkpoint import Start
from seqadd.training.dataset import make_dataset
from seqadd.training.session import TrainingSession

DROPOUT = "return layers.Dropout(0.5)(layers.RepeatVector(answer_length)(layers.Dense(8)(layers.Flatten()(question))))"


def session(config: Config, start: Start | None = None) -> TrainingSession:
    trained = TrainingSession(config, make_dataset(config), start or Start({}))
    trained.fit([])
    return trained


def test_one_and_one_epoch_are_two(own: Callable[[str], None]) -> None:
    from seqadd.training.state import weights_digest

    own(architecture(DROPOUT))
    words = ["architecture=mine", "epochs=2", "task.n_questions=100", "batch_size=45", "jit=false"]
    config = load_config(*words)
    whole = session(config)
    first = session(dataclasses.replace(config, epochs=1))
    resumed = session(config, Start({}, first.take_checkpoint()))
    losses = [row["loss"] for row in whole.history]
    assert [row["loss"] for row in resumed.history] == losses
    assert weights_digest(resumed.model) == weights_digest(whole.model)
    own(architecture(DROPOUT.replace("0.5", "0.0")))
    assert [row["loss"] for row in session(load_config(*words)).history] != losses  # dropout did draw numbers
