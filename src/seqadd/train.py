"""The main path: config -> store -> data -> lock -> start -> record -> model -> fit -> artifacts."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from seqadd.cli.progress import EpochDone, Notify, Pages, Stage, as_messages
from seqadd.config.messages import one_line
from seqadd.config.schema import Config
from seqadd.errors import CannotWrite, ConfigError, Interrupted, Pruned, TrainingDiverged
from seqadd.inspection.snapshots import Snapshots
from seqadd.search.trial import Trial, open_trial
from seqadd.system import numeric_flags, tensorflow_setup
from seqadd.system.files import atomic_write
from seqadd.system.signals import defer_signals
from seqadd.tracking import connection, delivery, lineage, recording, resume
from seqadd.tracking.artifacts import CHECKPOINT, WEIGHTS, run_name
from seqadd.tracking.pages import where_to_look
from seqadd.tracking.provenance import PARAMETERS
from seqadd.tracking.recording import RunRecorder
from seqadd.tracking.run_directory import CheckpointWriter, RunDirectory
from seqadd.tracking.store import PRUNED, Store
from seqadd.training import checkpoint, outcome
from seqadd.training.dataset import make_dataset
from seqadd.training.fingerprint import COMPUTES
from seqadd.training.session import ProgressReporter, TrainingSession


def train_run(config: Config, notify: Notify) -> str:
    """Trains one model, records it, and returns the ID of its run; a finished run is not trained again.

    Args:
        config: a checked configuration.
        notify: receives each epoch, and messages.

    Raises:
        ConfigError: when the store cannot be opened, or this process's settings would change a run's numbers.
        CannotWrite: when a checkpoint or an artifact cannot be written.
        DeliveryPending: when the run is trained, but not all updates could be delivered to the store.
        TrainingDiverged: when a loss is no longer finite.
        Pruned: when the run is a trial of a search and the search's pruner stops it.
        Interrupted: on Ctrl-C and SIGTERM.
    """
    message = as_messages(notify)
    check_process(config)
    notify(Stage("opening the store"))
    store = connection.connect(config.tracking, message)
    notify(Stage(f"drawing {config.noun}"))
    data = make_dataset(config)
    run_key = numeric_flags.key_with_flags(config.config_hash())
    with open_trial(config, store) as trial, store.run_directory(run_key).lock(message) as run_dir:
        delivery.deliver(store, run_dir)  # again, under the lock: a job of a sweep has reconciled nothing
        finished = resume.finished_before(store, config, data)
        if finished is not None:
            run_id = resume.reuse(store, finished, config, run_dir, trial, message)
            _report_pages(store, run_id, config, notify)
            return run_id
        start = resume.find_start(store, run_dir, config, data, message)
        with recording.record_training(store, run_dir, config, data, start, trial.tags, message) as recorder:
            trial.begin(recorder.run_id, trial.values(start.history))
            notify(Stage("importing TensorFlow"))
            session = TrainingSession(config, data, start)
            recorder.tag("gpu", session.gpus)
            if session.computes is not None:
                recorder.tag(COMPUTES, session.computes)
            snapshots, checkpoints = Snapshots(config, data, recorder), CheckpointWriter(run_dir)
            with honest_ending(session, recorder, run_dir, trial, notify):
                run_dir.save(session.take_checkpoint())
                session.fit([recorder, ProgressReporter(notify), snapshots, checkpoints, trial])
                notify(Stage("recording the results"))
                publish(session, recorder, message)
    _report_pages(store, recorder.run_id, config, notify)
    return recorder.run_id


def _report_pages(store: Store, run_id: str, config: Config, notify: Notify) -> None:
    """Reports where MLflow shows a run; for a job of a sweep, the sweep reports it."""
    if config.tracking.parent_run_id is None:
        notify(Pages(tuple(where_to_look(store, run_id))))


def check_process(config: Config) -> None:
    """Raises ConfigError if libraries, flags or threads of this process would change a run's numbers."""
    numeric_flags.check_libraries()
    if config.tracking.parent_run_id is None:  # the sweep has checked the flags for its jobs
        numeric_flags.check_flags()
    if "tensorflow" not in sys.modules:
        return
    try:
        tensorflow_setup.use_threads(config.threads)
    except RuntimeError as error:
        raise ConfigError(
            f"threads={config.threads}: TensorFlow already uses another number in this process; start the "
            "run in another process"
        ) from error


@contextmanager
def honest_ending(
    session: TrainingSession, recorder: RunRecorder, run_dir: RunDirectory, trial: Trial, notify: Notify
) -> Iterator[None]:
    """A context manager that adds to an early end what only this process knows; ``record`` sets the status.

    Diverged: the trial learns it. Pruned: the epoch. Interrupted: a checkpoint, and the epochs not recorded yet; the
    last one is reported, because the signal may have arrived at its end, before the listeners were called.
    """
    try:
        yield
    except TrainingDiverged:
        trial.diverged = True
        raise
    except Pruned as pruned:
        recorder.tag(PRUNED, str(pruned.epoch))
        raise
    except Interrupted:
        with suppress(CannotWrite):  # then the run resumes from the previous checkpoint
            run_dir.save(session.take_checkpoint())
        recorder.log_history(session.history[recorder.epochs :])
        for row in session.history[-1:]:
            notify(EpochDone(int(row["epoch"]), dict(row)))
        raise


@defer_signals()
def publish(session: TrainingSession, recorder: RunRecorder, notify: Callable[[str], None]) -> None:
    """Records the results of a finished run: digest, history, learning curve, weights, checkpoint, model.

    Says so if the training went wrong.

    Raises:
        CannotWrite: when an artifact cannot be written.
    """
    from seqadd.reporting import curves
    from seqadd.training import state

    for warning in outcome.warnings(session.config, session.data, session.history):
        notify(warning)
    recorder.tag("weights_sha256", state.weights_digest(session.model))
    recorder.tag(PARAMETERS, str(session.n_parameters))
    recorder.log_text(json.dumps(session.history, indent=1), "history.json")
    try:
        with atomic_write(recorder.artifact("learning_curve.png")) as path:
            curves.learning_curve(session.history, title=run_name(session.config)).savefig(path)
    except (RuntimeError, ValueError) as error:  # for example from a matplotlibrc that needs a missing program
        notify(f"cannot draw the learning curve: {one_line(error)}")
    with atomic_write(recorder.artifact(WEIGHTS)) as path:
        state.save_weights(session.model, path)
    checkpoint.save(recorder.artifact(CHECKPOINT), session.take_checkpoint())
    if session.config.part("cell") or session.config.part("architecture"):
        return  # a file of this model could be loaded only together with the part's code
    try:
        lineage.write_model(recorder.model_folder, session.model, session.data, recorder.run_id)
    except Exception as error:  # the run has all its results already: Keras cannot save the model, or the disk is full
        notify(f"the model is not recorded under MLflow's Models: {one_line(error)}")
