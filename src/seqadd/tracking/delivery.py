"""Delivers to the store what lies on disk: at a run's end, or when its process is gone."""

from __future__ import annotations

import time
from contextlib import suppress

from mlflow.entities import Run, RunTag
from mlflow.utils.mlflow_tags import MLFLOW_RUN_NAME

from seqadd.system.signals import defer_signals
from seqadd.tracking.retry import STORE_ERRORS
from seqadd.tracking.run_directory import RECORDER, PendingResult, RunDirectory, RunInfo, run_directories
from seqadd.tracking.store import PRUNED, RunRecord, Store
from seqadd.training.checkpoint import Checkpoint


def reconcile(store: Store) -> None:
    """Tells the store what it does not know of runs whose processes are gone, killed ones included.

    Does what can be done now: what has to wait goes on waiting.
    """
    for run_dir in run_directories(store.run_directories):
        with suppress(*STORE_ERRORS), run_dir.try_lock() as free:
            if free:
                deliver(store, run_dir)


@defer_signals()
def deliver(store: Store, run_dir: RunDirectory) -> None:
    """Tells the store what waits in a run directory that this process has locked.

    A run without an ending has lost its process: it is KILLED, with the epochs of its last checkpoint.
    """
    about = run_dir.about()
    if about is None:
        run_dir.discard()
        return
    if about.store != store.name:
        return
    ending = run_dir.ending()
    run = begun_run(store, run_dir)
    if run is None:  # never begun, or deleted by somebody; a checkpoint is still good
        run_dir.mark_delivered()
        if not run_dir.has_checkpoint():
            run_dir.discard()
        return
    if ending is None:
        if run.info.status != "RUNNING":
            return
        ending = _ending_of_lost_process(run_dir)
    run_id, end_time = run.info.run_id, max(ending.end_time, run.info.start_time)
    if ending.status == "FINISHED":
        _deliver_content(store, run_id, run_dir, ending)  # before the status: a finished run promises to have it
        store.client.set_terminated(run_id, ending.status, end_time)
        run_dir.discard()
        return
    store.client.set_terminated(run_id, ending.status, end_time)  # before what may not have room
    _deliver_content(store, run_id, run_dir, ending)
    if PRUNED in ending.tags:  # nobody goes on with it
        run_dir.discard()
    else:
        run_dir.mark_delivered()


def _ending_of_lost_process(run_dir: RunDirectory) -> PendingResult:
    """Ends a run whose process is gone, as KILLED, with the epochs of its last checkpoint."""
    checkpoint = run_dir.latest_checkpoint(None, lambda text: None)
    ending = PendingResult("KILLED", now_ms(), checkpoint.history if checkpoint is not None else [])
    run_dir.end(ending)
    return ending


def _deliver_content(store: Store, run_id: str, run_dir: RunDirectory, ending: PendingResult) -> None:
    """Tells the store all but a run's status: the epochs that it does not have, data set, artifacts and tags."""
    known = store.last_epoch(run_id)
    times = ending.times or [ending.end_time] * len(ending.history)
    rows = zip(ending.history, times, strict=True)
    store.log_epochs(run_id, [(row, time_ms) for row, time_ms in rows if row["epoch"] > known])
    if ending.dataset:
        store.log_dataset(run_id, ending.dataset)
    if run_dir.artifacts.is_dir():
        store.log_folder(run_id, run_dir.artifacts)
    if ending.tags:
        store.client.log_batch(run_id, tags=[RunTag(name, value) for name, value in ending.tags.items()])


def reopen(store: Store, run_dir: RunDirectory, run: RunRecord) -> None:
    """Has a run directory continue a run that is over, as if it had been begun there."""
    about = RunInfo(store.name, store.experiment, run.tags[MLFLOW_RUN_NAME], run.tags[RECORDER])
    run_dir.begin(about, keep_checkpoints=True)


def begun_run(store: Store, run_dir: RunDirectory) -> Run | None:
    """The run that was begun in a run_dir, as the store has it; None if it was not, or was deleted."""
    about = run_dir.about()
    if about is None:
        return None
    # Of whatever experiment: who comes next to this store need not have the same one in mind.
    experiment = store.client.get_experiment_by_name(about.experiment)
    wanted = f"tags.{RECORDER} = '{about.recorder}'"
    found = store.search(wanted, experiment.experiment_id) if experiment is not None else []
    for late in found[:-1]:  # the server has made it when nobody waited for it any more, and another was made
        if late.info.status == "RUNNING":
            store.client.set_terminated(late.info.run_id, "KILLED")
    return found[-1] if found else None


def can_go_on(store: Store, run_dir: RunDirectory, checkpoint: Checkpoint | None) -> bool:
    """Whether the run that was begun in a run directory goes on as the same run.

    That is so when it goes on from its checkpoint, or has no epoch yet that another beginning could contradict.
    """
    if checkpoint is not None:
        return True
    begun = begun_run(store, run_dir)
    return begun is not None and store.last_epoch(begun.info.run_id) == 0


# Time since the program began comes from a clock that nobody sets: no epoch may seem to end before it began.
_BEGAN = time.time() - time.monotonic()


def now_ms() -> int:
    """Milliseconds since 1970."""
    return int(1000 * (_BEGAN + time.monotonic()))
