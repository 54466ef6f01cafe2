"""What a run and its artifacts are called."""

from __future__ import annotations

import re

from seqadd.config.schema import Config

#: The artifact that a longer run goes on from.
CHECKPOINT = "end.checkpoint"

#: The artifact with the weights that a run ended with.
WEIGHTS = "model.weights.h5"

#: The folder of a run's artifacts that they are in.
SNAPSHOTS = "snapshots"
#: What MLflow's page calls the images.
IMAGES = "layers"


def snapshot_name(epoch: int, kind: str) -> str:
    """The artifact of an epoch: ``snapshots/epoch_00010.png``."""
    return f"{SNAPSHOTS}/epoch_{epoch:05d}.{kind}"


def epoch_of_weights(path: str) -> int | None:
    """The epoch whose weights an artifact is, or None."""
    found = re.fullmatch(rf"{SNAPSHOTS}/epoch_([0-9]+)\.weights\.h5", path)
    return int(found[1]) if found else None


def run_name(config: Config) -> str:
    """What a person would call the run: ``lstm seed 0, repeat_vector, 200 epochs``; lists cut names at their end."""
    return f"{config.cell} seed {config.seed}, {config.architecture}, {config.epochs} epochs"
