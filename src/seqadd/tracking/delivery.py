"""Delivers pending updates from disk to the store: at a run's end, or after its process crashed or was killed."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress

from mlflow.entities import Run, RunTag
from mlflow.utils.mlflow_tags import MLFLOW_RUN_NAME

from seqadd.system.signals import defer_signals
from seqadd.tracking import description, lineage
from seqadd.tracking.metric_sections import TRAIN_SECONDS
from seqadd.tracking.retry import STORE_ERRORS
from seqadd.tracking.run_directory import RECORDER, PendingResult, RunDirectory, RunInfo, run_directories
from seqadd.tracking.store import BEST_OF_SEARCH, PRUNED, RunRecord, Store
from seqadd.training.checkpoint import Checkpoint


def reconcile(store: Store) -> None:
    """Delivers the pending updates of all orphaned runs: runs whose processes are gone, killed ones included.

    If the store raises an error for a run, that run's updates stay on disk for the next attempt.
    """
    for run_dir in run_directories(store.run_directories):
        with suppress(*STORE_ERRORS), run_dir.try_lock() as free:
            if free:
                deliver(store, run_dir)


@defer_signals()
def deliver(store: Store, run_dir: RunDirectory) -> None:
    """Delivers the pending updates of a run directory that this process has locked.

    If the run has no ending, its process was killed: the run ends as KILLED, with the epochs of its last checkpoint.
    """
    about = run_dir.about()
    if about is None:
        run_dir.discard()
        return
    if about.store != store.name:
        return
    ending = run_dir.ending()
    run = begun_run(store, run_dir)
    if run is None:  # never begun, or deleted from the store; a checkpoint can still be used
        run_dir.mark_delivered()
        if not run_dir.has_checkpoint():
            run_dir.discard()
        return
    if ending is None:
        if run.info.status != "RUNNING":
            return
        ending = _ending_of_lost_process(run_dir, run)
    ending = dataclasses.replace(ending, tags=description.keep_edited(ending.tags, run.data.tags))
    run_id, end_time = run.info.run_id, max(ending.end_time, run.info.start_time)
    if ending.status == "FINISHED":
        _deliver_content(store, run_id, run_dir, ending)  # before the status: a finished run promises to have it
        lineage.deliver_model(store, run, run_dir.model, about.recorder, ending)
        store.client.set_terminated(run_id, ending.status, end_time)
        run_dir.discard()
        return
    store.client.set_terminated(run_id, ending.status, end_time)  # first, because a full disk may refuse the artifacts
    _deliver_content(store, run_id, run_dir, ending)
    if PRUNED in ending.tags:  # a pruned run is never resumed
        run_dir.discard()
    else:
        run_dir.mark_delivered()


def _ending_of_lost_process(run_dir: RunDirectory, run: Run) -> PendingResult:
    """Ends a run whose process is gone, as KILLED, with the epochs of its last checkpoint."""
    checkpoint = run_dir.latest_checkpoint(None, lambda text: None)
    history = checkpoint.history if checkpoint is not None else []
    history = with_train_seconds(history)
    how = description.how_it_ended("KILLED", history[-1] if history else {}, "its process was killed")
    ending = PendingResult("KILLED", now_ms(), history, tags=description.with_ending(run.data.tags, how))
    run_dir.end(ending)
    return ending


def _deliver_content(store: Store, run_id: str, run_dir: RunDirectory, ending: PendingResult) -> None:
    """Delivers everything but a run's status: the epochs that the store lacks, data set, artifacts and tags."""
    known = store.last_epoch(run_id)
    times = ending.times or [ending.end_time] * len(ending.history)
    rows = zip(ending.history, times, strict=True)
    store.log_epochs(run_id, [(row, time_ms) for row, time_ms in rows if row["epoch"] > known])
    if ending.dataset:
        store.log_dataset(run_id, ending.dataset)
    if run_dir.artifacts.is_dir():
        store.log_folder(run_id, run_dir.artifacts)
    if ending.tags:
        _set_tags(store, run_id, ending.tags)
    for trial, (is_best, line) in ending.best.items():
        run = store.run(trial)  # None if a person has deleted it
        if run is not None:
            where = description.with_where(run.tags, line)
            _set_tags(store, trial, {BEST_OF_SEARCH: "true" if is_best else "false", **where})


def _set_tags(store: Store, run_id: str, tags: Mapping[str, str]) -> None:
    store.client.log_batch(run_id, tags=[RunTag(name, value) for name, value in tags.items()])


def reopen(store: Store, run_dir: RunDirectory, run: RunRecord) -> None:
    """Makes a run directory continue a run that has ended, as if it had begun there; keeps the checkpoints."""
    about = RunInfo(store.name, store.experiment, run.tags[MLFLOW_RUN_NAME], run.tags[RECORDER])
    run_dir.begin(about, keep_checkpoints=True)


def begun_run(store: Store, run_dir: RunDirectory) -> Run | None:
    """Returns the store's record of the run that began in ``run_dir``; None if none began, or it was deleted."""
    about = run_dir.about()
    if about is None:
        return None
    # The run's own experiment: the process that delivers may be configured with another one.
    experiment = store.client.get_experiment_by_name(about.experiment)
    wanted = f"tags.{RECORDER} = '{about.recorder}'"
    found = store.search(wanted, experiment.experiment_id) if experiment is not None else []
    for late in found[:-1]:  # the server created this run after the request's timeout, and a retry created another
        if late.info.status == "RUNNING":
            store.client.set_terminated(late.info.run_id, "KILLED")
    return found[-1] if found else None


def can_go_on(store: Store, run_dir: RunDirectory, checkpoint: Checkpoint | None) -> bool:
    """Returns whether a training may continue the record of the run that began in a run directory.

    It may if it resumes from its checkpoint, or if the record has no epoch yet that a fresh start could contradict.
    """
    if checkpoint is not None:
        return True
    begun = begun_run(store, run_dir)
    return begun is not None and store.last_epoch(begun.info.run_id) == 0


def with_train_seconds(rows: Iterable[Mapping[str, float]], before: float = 0.0) -> list[dict[str, float]]:
    """Returns epochs with the seconds of training so far.

    Args:
        rows: metrics of epochs in order; of those without ``epoch_seconds``, as a search has, nothing changes.
        before: the seconds of earlier epochs.
    """
    timed = []
    for row in rows:
        before += row.get("epoch_seconds", 0.0)
        timed.append({**row, TRAIN_SECONDS: before} if "epoch_seconds" in row else dict(row))
    return timed


# The elapsed time comes from the monotonic clock, which is never set back: no epoch may seem to end before it began.
_BEGAN = time.time() - time.monotonic()


def now_ms() -> int:
    """Returns the current time in milliseconds since 1970."""
    return int(1000 * (_BEGAN + time.monotonic()))
