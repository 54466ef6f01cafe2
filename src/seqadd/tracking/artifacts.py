"""Names of runs and of their artifacts."""

from __future__ import annotations

import re

from seqadd.config.schema import Config

#: The artifact from which a longer run continues.
CHECKPOINT = "end.checkpoint"

#: The artifact with a run's final weights.
WEIGHTS = "model.weights.h5"

#: The artifact folder of a run's snapshots.
SNAPSHOTS = "snapshots"
#: The name of the images on MLflow's page.
IMAGES = "layers"


def snapshot_name(epoch: int, kind: str) -> str:
    """Returns the artifact path of an epoch's snapshot: ``snapshots/epoch_00010.png``."""
    return f"{SNAPSHOTS}/epoch_{epoch:05d}.{kind}"


def epoch_of_weights(path: str) -> int | None:
    """Returns the epoch of an artifact with weights; None for any other artifact."""
    found = re.fullmatch(rf"{SNAPSHOTS}/epoch_([0-9]+)\.weights\.h5", path)
    return int(found[1]) if found else None


def run_name(config: Config) -> str:
    """Returns a run's display name: ``lstm seed 0, repeat_vector, 200 epochs``. Lists truncate names at the end."""
    return f"{config.cell} seed {config.seed}, {config.architecture}, {config.epochs} epochs"
