"""Where a training begins: afresh, after an interruption, or at the end of a shorter run; or not at all."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from seqadd.config.schema import Config
from seqadd.errors import CheckpointError
from seqadd.reporting.markup import sanitize
from seqadd.tracking import delivery
from seqadd.tracking.artifacts import CHECKPOINT
from seqadd.tracking.provenance import origin
from seqadd.training.checkpoint import Checkpoint, load
from seqadd.training.fingerprint import equivalent_codes

if TYPE_CHECKING:
    from seqadd.tracking.run_directory import RunDirectory
    from seqadd.tracking.store import RunRecord, Store


def already_finished(run: RunRecord, config: Config) -> str:
    """What to tell a person whose run is there."""
    by_other_code = run.tags.get("code") not in equivalent_codes()
    other = f" by other code, commit {sanitize(origin(run.tags))}" if by_other_code else ""
    return f"finished already: run {run.run_id}{other}; force=true trains it again" + (
        ", and only then takes the snapshots of inspect.every" if config.inspect.every is not None else ""
    )


@dataclass(frozen=True)
class Start:
    """Where a training begins: at the first epoch, or with what an earlier one has left.

    Attributes:
        checkpoint: what to go on from; None for the first epoch.
        same_run: whether the record goes on too, or a new one begins.
        tags: what the record says of it.
    """

    checkpoint: Checkpoint | None = None
    same_run: bool = False
    tags: dict[str, str] = field(default_factory=dict)

    @property
    def history(self) -> list[dict[str, float]]:
        """The metrics of the epochs that are behind it."""
        return self.checkpoint.history if self.checkpoint is not None else []


def find_start(
    store: Store, place: RunDirectory, config: Config, fingerprint: dict[str, str], say: Callable[[str], None]
) -> Start:
    """The farthest that this training has got before it was interrupted, or a finished one of fewer epochs.

    ``force`` asks for neither, but where Slurm has requeued the job that it was asked of, this goes on with itself.
    """
    if config.force and int(os.environ.get("SLURM_RESTART_COUNT", "0")) == 0:
        return Start()
    own = place.latest_checkpoint(fingerprint, say)
    same_run = delivery.can_go_on(store, place, own)
    for shorter in [] if config.force else store.shorter_runs(config):
        epochs = int(shorter.params["epochs"])
        if own is not None and len(own.history) >= epochs:
            break
        which = f"run {shorter.run_id} of {epochs} epochs"
        try:
            with store.artifact_of(shorter.run_id, CHECKPOINT) as path:
                found = load(path, fingerprint)
        except (CheckpointError, FileNotFoundError) as error:
            say(f"{which} is not continued: {error}")
        else:
            if len(found.history) != epochs:
                say(f"{which} is not continued: its checkpoint has {len(found.history)} epochs")
                continue
            say(f"goes on from the end of {which}")
            return Start(found, same_run, {"continued_from": shorter.run_id})
    if own is not None and own.history:
        say(f"goes on after epoch {len(own.history)}, where it was interrupted")
    return Start(own, same_run)
