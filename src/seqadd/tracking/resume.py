"""Decides where a training starts: fresh, resumed, extending a shorter run, or not at all as it is finished."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Protocol

from seqadd.cli.layout import metric_text
from seqadd.config.schema import Config
from seqadd.errors import CheckpointError
from seqadd.reporting.markup import sanitize
from seqadd.tracking import delivery, other_source
from seqadd.tracking.artifacts import CHECKPOINT
from seqadd.tracking.provenance import SLURM_JOB, origin, slurm_tags
from seqadd.training.checkpoint import Start, load
from seqadd.training.fingerprint import equivalent_codes, fingerprint_of

if TYPE_CHECKING:
    from seqadd.data.drawing import Dataset
    from seqadd.tracking.run_directory import RunDirectory
    from seqadd.tracking.store import RunRecord, Store


class Trial(Protocol):
    """The trial that a run belongs to, if a search started it."""

    metric: str

    def begin(self, run_id: str, values: Mapping[int, float]) -> None:
        """Reports the run's ID, and the metric after each epoch so far."""


def already_finished(run: RunRecord, config: Config) -> str:
    """Returns the message for a run that is already finished."""
    by_other_code = run.tags.get("code") not in equivalent_codes()
    other = f" by other code, commit {sanitize(origin(run.tags))}" if by_other_code else ""
    asked = [name for name, value in (("every", config.inspect.every), ("best", config.inspect.best)) if value]
    return f"finished already: run {run.run_id}{other}; force=true trains it again" + (
        f", and only then takes the snapshots of inspect.{asked[0]}" if asked else ""
    )


def reuse(
    store: Store,
    finished: RunRecord,
    config: Config,
    run_dir: RunDirectory,
    trial: Trial,
    notify: Callable[[str], None],
) -> str:
    """Reuses a finished run instead of training it again; returns its ID."""
    run_dir.discard()
    notify(already_finished(finished, config))
    if "val_acc" in finished.values:
        notify(f"val_acc {metric_text(finished.values['val_acc'])} after {config.epochs} epochs")
    trial.begin(finished.run_id, store.history(finished.run_id, trial.metric) if trial.metric else {})
    return finished.run_id


def finished_before(store: Store, config: Config, data: Dataset) -> RunRecord | None:
    """Returns the finished run that makes a training unnecessary, or None.

    With ``force`` only a run of this Slurm job counts: a job of several runs was requeued after some had finished.
    """
    found = None if config.force and not _is_requeued() else store.finished_run(config, data.digest)
    if found is None or not config.force:
        return found
    return found if found.tags.get(SLURM_JOB) == slurm_tags().get(SLURM_JOB, "") else None


def _is_requeued() -> bool:
    return int(os.environ.get("SLURM_RESTART_COUNT", "0")) > 0


def find_start(
    store: Store, run_dir: RunDirectory, config: Config, data: Dataset, notify: Callable[[str], None]
) -> Start:
    """Finds the longest usable start: this run's latest checkpoint, or the end of a finished run with fewer epochs.

    With ``force`` the training starts fresh; but a job that Slurm has requeued resumes its own checkpoint.
    """
    fingerprint = fingerprint_of(config, data.digest())
    if config.force and not _is_requeued():
        return Start(fingerprint)
    own = run_dir.latest_checkpoint(fingerprint, notify)
    same_run = delivery.can_go_on(store, run_dir, own)
    for shorter in [] if config.force else store.shorter_runs(config):
        epochs = int(shorter.params["epochs"])
        if own is not None and len(own.history) >= epochs:
            break
        which = f"run {shorter.run_id} of {epochs} epochs"
        try:
            with store.artifact_of(shorter.run_id, CHECKPOINT) as path:
                found = load(path, fingerprint)
        except (CheckpointError, FileNotFoundError) as error:
            notify(f"{which} is not continued: {error}")
        else:
            if len(found.history) != epochs:
                notify(f"{which} is not continued: its checkpoint has {len(found.history)} epochs")
                continue
            notify(f"continuing from the end of {which}")
            return Start(fingerprint, found, same_run, {"continued_from": shorter.run_id})
    if not config.force and (own is None or not own.history):
        equal = other_source.find_start(store, config, data, fingerprint, notify)
        if equal is not None:
            return dataclasses.replace(equal, same_run=same_run)
    if own is not None and own.history:
        notify(f"resuming after epoch {len(own.history)}, where it was interrupted")
    return Start(fingerprint, own, same_run)
