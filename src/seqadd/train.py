"""The main path: config -> data -> model -> fit -> tracked run."""

from __future__ import annotations

import json
import sys
from contextlib import suppress

from omegaconf import OmegaConf

from seqadd.cli.progress import EpochDone, Note, Report
from seqadd.config.messages import one_line
from seqadd.config.schema import Config
from seqadd.data import vocabulary
from seqadd.errors import CannotWrite, ConfigError, Interrupted, Pruned, TrainingDiverged
from seqadd.search.trial import trial_of
from seqadd.system import numeric_flags
from seqadd.system.files import atomic_write
from seqadd.system.signals import defer_signals
from seqadd.system.tensorflow_setup import quiet_import
from seqadd.tracking import connection, delivery, provenance, recording
from seqadd.tracking.artifacts import CHECKPOINT, run_name
from seqadd.tracking.resume import already_finished, find_start
from seqadd.tracking.store import PRUNED
from seqadd.training.checkpoint import Checkpoint, save
from seqadd.training.dataset import make_dataset
from seqadd.training.fingerprint import fingerprint_of


def train_run(config: Config, report: Report) -> str:
    """Trains one model, records it, and returns the id of its run; what is finished is not trained again.

    Args:
        config: a checked configuration.
        report: is told after every epoch.

    Raises:
        ConfigError: when the store cannot be opened, or this process computes otherwise than runs do.
        CannotWrite: when a checkpoint or an artifact cannot be written.
        RecordWaits: when the store could not be told all of it.
        TrainingDiverged: when a loss is no longer finite.
        Pruned: when the search that it is a trial of gives it up.
        Interrupted: on Ctrl-C and SIGTERM.
    """

    def say(text: str) -> None:
        report(Note(text))

    numeric_flags.check_libraries()
    if "tensorflow" in sys.modules:  # of whoever calls this, or of an earlier run in the same process
        check_threads(config)
    if config.tracking.parent_run_id is None:
        store = connection.open_store(config.tracking, say=say)
        delivery.reconcile(store)
    else:  # the sweep has opened it and done that
        store = connection.open_store_with_retry(config.tracking, say)
    data = make_dataset(config)
    digest = data.digest()
    with (
        trial_of(config, store) as trial,
        store.run_directory(numeric_flags.key_with_flags(config.config_hash())).claimed(say) as place,
    ):
        delivery.deliver(store, place)  # what a process that was killed could not
        if not config.force:
            finished = store.finished_run(config, data.digest)
            if finished is not None:
                place.discard()
                say(already_finished(finished, config))
                trial.begin(finished.run_id, store.history(finished.run_id, trial.metric) if trial.metric else {})
                return finished.run_id
        if config.tracking.parent_run_id is None:  # the sweep has tried them
            numeric_flags.check_flags()
        fingerprint = fingerprint_of(config, digest)
        start = find_start(store, place, config, fingerprint, say)
        with recording.record(
            store,
            place,
            run_name(config),
            params=config.result_keys(),
            tags={**provenance.run_tags(config), "data_digest": digest, **start.tags, **trial.tags},
            texts={"config.yaml": OmegaConf.to_yaml(OmegaConf.create(config.nested_result_keys()))},
            parent_run_id=config.tracking.parent_run_id,
            go_on=start.same_run,
            say=say,
        ) as record:
            record.log_dataset(config, data, digest)
            record.log_history(start.history)
            trial.begin(record.run_id, trial.values(start.history))
            with defer_signals():
                with quiet_import():
                    from seqadd.inspection import snapshots
                    from seqadd.models import architectures
                    from seqadd.reporting import figures
                    from seqadd.system import tensorflow_setup
                    from seqadd.training import loop, state

                tensorflow_setup.use_threads(config.threads)
                record.tag("gpu", tensorflow_setup.use_gpus())
                model = architectures.build_model(
                    config,
                    question_length=data.train_questions.shape[1],
                    answer_length=data.train_answers.shape[1],
                    n_characters=len(vocabulary.CHARACTERS),
                )
                optimizer = loop.make_optimizer(model, config)
                history = start.history
                if start.checkpoint is not None:
                    state.restore(model, optimizer, start.checkpoint.arrays)

            @defer_signals()
            def checkpoint() -> Checkpoint:
                return Checkpoint(fingerprint, history, state.state(model, optimizer))

            def warn(text: str) -> None:
                record.tag("jit", "failed")
                say(text)

            take_snapshot = snapshots.taker(config, data, model, record)
            place.save(checkpoint())
            take_snapshot(len(history))
            try:
                for row in loop.train(model, optimizer, data, config, history, warn=warn):
                    record.log_epoch(row)
                    report(EpochDone(int(row["epoch"]), row))
                    take_snapshot(int(row["epoch"]))
                    if place.checkpoint_is_due():
                        place.save(checkpoint())
                    trial.report(row)
                with defer_signals():
                    record.tag("weights_sha256", state.weights_digest(model))
                    record.log_text(json.dumps(history, indent=1), "history.json")
                    try:
                        with atomic_write(place.artifact("learning_curve.png")) as path:
                            figures.learning_curve(history, title=run_name(config)).savefig(path)
                    except (RuntimeError, ValueError) as error:  # as somebody's matplotlibrc can have it
                        say(f"no learning curve: {one_line(error)}")
                    with atomic_write(place.artifact("model.weights.h5")) as path:
                        state.save_weights(model, path)
                    save(place.artifact(CHECKPOINT), checkpoint())
            except TrainingDiverged:
                trial.diverged = True
                raise
            except Pruned as pruned:
                record.tag(PRUNED, str(pruned.epoch))
                raise
            except Interrupted:
                with suppress(CannotWrite):  # then the earlier one will do
                    place.save(checkpoint())
                record.log_history(history[record.epochs :])
                raise
    return record.run_id


def check_threads(config: Config) -> None:
    """Raises ConfigError where TensorFlow has computed in this process already, with another number of threads."""
    with quiet_import():
        from seqadd.system import tensorflow_setup
    try:
        tensorflow_setup.use_threads(config.threads)
    except RuntimeError as error:
        raise ConfigError(
            f"threads={config.threads}: TensorFlow has computed with others in this process already, and keeps to "
            "them; begin another process for it"
        ) from error
