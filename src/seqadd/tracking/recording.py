"""Records a run from start to end: updates are written to disk first and delivered from there."""

from __future__ import annotations

import dataclasses
import functools
import shutil
import time
import traceback
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlflow.entities import Param, Run, RunTag
from mlflow.entities import RunInfo as MlflowRunInfo
from mlflow.utils.mlflow_tags import (
    MLFLOW_PARENT_RUN_ID,
    MLFLOW_SOURCE_NAME,
    MLFLOW_SOURCE_TYPE,
    MLFLOW_USER,
)

from seqadd.config.messages import one_line
from seqadd.config.schema import Config, override_text
from seqadd.data.drawing import Dataset
from seqadd.errors import CannotWrite, ConfigError, DeliveryPending, Pruned, redact_credentials
from seqadd.system.files import write_file
from seqadd.system.library_log import with_log_path
from seqadd.system.signals import defer_signals, interruption, on_forced_exit
from seqadd.tracking import description
from seqadd.tracking.artifacts import display_name
from seqadd.tracking.delivery import begun_run, deliver, now_ms, with_train_seconds
from seqadd.tracking.description import RUNNING, Description, how_it_ended, of_training, where_it_belongs
from seqadd.tracking.lineage import dataset_fields
from seqadd.tracking.metric_sections import TRAIN_SECONDS
from seqadd.tracking.provenance import command_line, first_artifacts, run_tags, user_name
from seqadd.tracking.retry import (
    MAX_SECONDS_BETWEEN_ATTEMPTS,
    SECONDS_BEFORE_ATTEMPTS,
    STORE_ERRORS,
    backoff,
    is_refusal,
    retry,
    short_timeout,
    summarize_error,
)
from seqadd.tracking.run_directory import RECORDER, PendingResult, RunDirectory, RunInfo
from seqadd.tracking.store import Store
from seqadd.training.checkpoint import Start
from seqadd.training.session import Listener, TrainingSession

if TYPE_CHECKING:
    from PIL.Image import Image

_LONGEST_NAME, _LONGEST_PARAM, _LONGEST_TAG = 250, 6000, 8000  # characters; the limits of MLflow's tables
_SECONDS_BETWEEN_REQUESTS = 1.0


@contextmanager
def record_training(
    store: Store,
    run_dir: RunDirectory,
    config: Config,
    data: Dataset,
    start: Start,
    trial_tags: Mapping[str, str],
    notify: Callable[[str], None],
) -> Iterator[RunRecorder]:
    """A context manager that records one training: parameters, tags, data set and earlier epochs; see ``record``."""
    digest = start.fingerprint["data"]
    with record(
        store,
        run_dir,
        display_name(config),
        params=params_of(config),
        tags={**run_tags(config), "data_digest": digest, **start.tags, **trial_tags},
        texts=first_artifacts(config),
        parent_run_id=config.tracking.parent_run_id,
        go_on=start.same_run,
        described=Description(of_training(config), where_it_belongs(config, store.experiment_id, command_line())),
        notify=notify,
    ) as recorder:
        recorder.log_dataset(config, data, digest)
        recorder.log_history(start.history)
        yield recorder


def params_of(config: Config) -> dict[str, Any]:
    """Returns the parameters of a run's record: the keys that its result depends on, but for those that are null."""
    return {key: value for key, value in config.result_keys().items() if value is not None}


@contextmanager
def record(
    store: Store,
    run_dir: RunDirectory,
    name: str,
    *,
    params: dict[str, Any],
    tags: dict[str, str],
    texts: Mapping[str, str | bytes] | None = None,
    parent_run_id: str | None = None,
    go_on: bool = False,
    described: Description | None = None,
    notify: Callable[[str], None] = lambda text: None,
) -> Iterator[RunRecorder]:
    """A context manager that keeps a run open inside the ``with`` and ends it with the correct status.

    FINISHED after the last line, FAILED (traceback as the artifact ``traceback.txt``) after an exception, KILLED
    after Ctrl-C or SIGTERM and when a pruner stops the run's trial. While the store does not respond, updates are
    queued.

    Args:
        run_dir: locked by this process; holds the updates that are not delivered yet.
        name: the run's display name; a run that goes on keeps the name that it has.
        params: its parameters.
        tags: its tags.
        texts: artifacts that are sent before the training, so that a store that takes none is noticed before hours are
            spent.
        parent_run_id: the parent run of its sweep.
        go_on: whether to reopen the run that began in ``run_dir``, if the store still has it.
        described: its description, which gets a line about its end.
        notify: receives a message when the store stops responding, and when it responds again.

    Raises:
        ConfigError: when the store refuses to begin a run; a job of a sweep retries for ten minutes first.
        DeliveryPending: when the code inside the ``with`` succeeded, but not all updates could be delivered.
    """
    name = _shorten(name, _LONGEST_NAME)
    all_tags = {
        MLFLOW_USER: user_name(),
        MLFLOW_SOURCE_NAME: command_line(),
        MLFLOW_SOURCE_TYPE: "LOCAL",
        **tags,
        **(described.tags() if described is not None else {}),
    }
    if parent_run_id is not None:
        all_tags[MLFLOW_PARENT_RUN_ID] = parent_run_id
    all_tags = {key: _shorten(value, _LONGEST_TAG) for key, value in all_tags.items()}
    recorder: RunRecorder | None = None
    try:
        with defer_signals():
            pauses = backoff() if parent_run_id is not None else SECONDS_BEFORE_ATTEMPTS
            try:
                begun = retry(functools.partial(begun_run, store, run_dir), pauses, notify) if go_on else None
                if begun is None:
                    about = RunInfo(store.name, store.experiment, name, recorder=uuid.uuid4().hex)
                    run_dir.begin(about, keep_checkpoints=go_on)
                    all_tags[RECORDER] = about.recorder
                    begun = retry(functools.partial(_create, store, run_dir, name, all_tags), pauses, notify)
                recorder = RunRecorder(store, begun.info, run_dir, notify, described)
                all_tags = description.keep_edited(all_tags, begun.data.tags)
                retry(functools.partial(_describe, store, recorder.run_id, params, all_tags), pauses, notify)
            except STORE_ERRORS as error:
                raise ConfigError(f"{store.description}: cannot begin a run: {summarize_error(error)}") from error
            if texts:
                _log_first_artifacts(store, recorder.run_id, run_dir, texts, pauses, notify)
        with on_forced_exit(recorder.end_now):
            yield recorder
        with defer_signals():
            recorder.end("FINISHED")
    except DeliveryPending:  # this run is a sweep's parent: all its jobs are trained, some not yet delivered
        if recorder is not None:
            with defer_signals(), suppress(*STORE_ERRORS):
                recorder.end("FINISHED")
                deliver(store, run_dir)
        raise
    except BaseException as error:
        if recorder is not None:
            killed = isinstance(error, (KeyboardInterrupt, Pruned)) or interruption(error) is not None
            with defer_signals(), suppress(*STORE_ERRORS):  # an error of the store must not hide this one
                explained = killed or isinstance(error, ConfigError)  # no traceback needed: its message says it all
                why = one_line(error) if isinstance(error, Exception) else str(error) or "Ctrl-C"
                text = None if explained else traceback.format_exc()
                recorder.end("KILLED" if killed else "FAILED", text, why)
                deliver(store, run_dir)
        raise
    try:
        retry(functools.partial(deliver, store, run_dir), SECONDS_BEFORE_ATTEMPTS)
    except STORE_ERRORS as error:
        raise DeliveryPending(
            f"run {recorder.run_id} is trained, but not all of it reached the store: {summarize_error(error)}; "
            f"the rest is in {run_dir.path}, and the next command delivers it"
        ) from error


def _create(store: Store, run_dir: RunDirectory, name: str, tags: Mapping[str, str]) -> Run:
    """Creates the record of the run that begins in ``run_dir``; safe to retry.

    A server may have created it in an earlier attempt, and responded after the timeout.
    """
    return begun_run(store, run_dir) or store.client.create_run(
        store.experiment_id, start_time=now_ms(), tags=dict(tags), run_name=name
    )


def _describe(store: Store, run_id: str, params: dict[str, Any], tags: dict[str, str]) -> None:
    """Sets RUNNING, as a resumed run had ended; records parameters and tags, in case its first process did not."""
    store.client.update_run(run_id, status="RUNNING")
    store.client.log_batch(
        run_id,
        params=[Param(name, _shorten(override_text(value), _LONGEST_PARAM)) for name, value in params.items()],
        tags=[RunTag(name, value) for name, value in tags.items()],
    )


def _log_first_artifacts(
    store: Store,
    run_id: str,
    run_dir: RunDirectory,
    texts: Mapping[str, str | bytes],
    pauses: Iterable[float],
    notify: Callable[[str], None],
) -> None:
    """Records the first artifacts of a run.

    Raises:
        ConfigError: when they cannot be recorded; none of them stays queued.
    """
    for name, text in texts.items():
        write_file(run_dir.artifact(name), text)
    try:
        retry(functools.partial(store.log_folder, run_id, run_dir.artifacts), pauses, notify)
    except STORE_ERRORS as error:
        shutil.rmtree(run_dir.artifacts)
        raise ConfigError(
            f"{store.description}: does not accept artifacts of run {run_id}: {summarize_error(error)}"
        ) from error


class RunRecorder(Listener):
    """Records a run that is in progress; as a listener of a training it records each epoch."""

    def __init__(
        self,
        store: Store,
        info: MlflowRunInfo,
        run_dir: RunDirectory,
        notify: Callable[[str], None],
        described: Description | None = None,
    ) -> None:
        self.run_id = str(info.run_id)
        self.description = described
        self._store = store
        self._run_dir = run_dir
        self._notify = notify
        self._history: list[dict[str, float]] = []
        self._times: list[int] = []
        self._dataset: dict[str, str] = {}
        self._tags: dict[str, str] = {}
        self._best: dict[str, tuple[int, str]] = {}
        self._waiting: list[tuple[dict[str, float], int]] = []
        self._last_delivered: int | None = None  # the last epoch that the store has; None if it must be queried
        self._next_request = 0.0
        self._pause = 0.0  # seconds before the next attempt; above 0 while the store does not respond

    @property
    def epochs(self) -> int:
        """How many epochs were logged so far."""
        return len(self._history)

    def log_history(self, history: list[dict[str, float]]) -> None:
        """Records the metrics of many epochs, each with its ``epoch``, from 1."""
        now = now_ms()
        history = with_train_seconds(history, self._history[-1].get(TRAIN_SECONDS, 0.0) if self._history else 0.0)
        self._history += history
        self._times += [now] * len(history)
        self._waiting += [(row, now) for row in history]
        self._deliver_waiting_epochs()

    def log_epoch(self, row: dict[str, float]) -> None:
        """Records the metrics of an epoch, with its ``epoch``, from 1; delivered within a second or two."""
        self.log_history([row])

    def on_epoch(self, session: TrainingSession, row: Mapping[str, float]) -> None:
        self.log_epoch(dict(row))

    def on_jit_failed(self, session: TrainingSession, message: str) -> None:
        self.tag("jit", "failed")

    @defer_signals()
    def _deliver_waiting_epochs(self) -> None:
        """Sends the waiting epochs, once a second at most; after an error it waits longer each time."""
        if time.monotonic() < self._next_request:
            return
        try:
            with short_timeout():
                if self._last_delivered is None:
                    self._last_delivered = self._store.last_epoch(self.run_id)
                self._store.log_epochs(
                    self.run_id, [each for each in self._waiting if each[0]["epoch"] > self._last_delivered]
                )
        except STORE_ERRORS as error:
            self._last_delivered = None  # the store may have received them despite the error
            if not self._pause:
                how = "refuses requests" if is_refusal(error) else "does not respond"
                self._notify(
                    with_log_path(f"the store {how}; training continues, metrics are queued: {summarize_error(error)}")
                )
            self._pause = min(max(1.0, 2 * self._pause), MAX_SECONDS_BETWEEN_ATTEMPTS)
            self._next_request = time.monotonic() + self._pause
            return
        if self._pause:
            self._notify(f"the store responds again; {len(self._waiting)} epochs delivered")
        self._last_delivered = (
            max(self._last_delivered, int(self._waiting[-1][0]["epoch"])) if self._waiting else self._last_delivered
        )
        self._waiting.clear()
        self._pause = 0.0
        self._next_request = time.monotonic() + _SECONDS_BETWEEN_REQUESTS

    def tag(self, name: str, value: str) -> None:
        """Sets a tag, which is delivered at the run's end."""
        self._tags[name] = value

    def mark_best(self, run_id: str, line: str, *, is_best: bool = True) -> None:
        """Marks a run as the best trial of this search, or no longer so; delivered at the search's end.

        Args:
            run_id: of the trial.
            line: replaces the line of its description that names the search.
            is_best: whether it is the best one.
        """
        self._best[run_id] = int(is_best), line

    @defer_signals()
    def log_dataset(self, config: Config, data: Dataset, digest: str) -> None:
        """Records the data set as an input of the run; at the run's end if the store does not respond now."""
        self._dataset = dataset_fields(config, data, digest)
        with suppress(*STORE_ERRORS):
            self._store.log_dataset(self.run_id, self._dataset)

    def artifact(self, name: str) -> Path:
        """Returns the path to write the artifact ``name`` to; it is delivered at the run's end."""
        return self._run_dir.artifact(name)

    @property
    def model_folder(self) -> Path:
        """The folder to write the run's model to; MLflow shows it under "Models" when the run has finished."""
        return self._run_dir.model

    @defer_signals()
    def show_image(self, image: Image, name: str, epoch: int) -> None:
        """Shows a picture on MLflow's page now, as a step of the images ``name``; skipped while the store is down."""
        if self._pause:
            return
        with suppress(*STORE_ERRORS):
            self._store.client.log_image(self.run_id, image, key=name, step=epoch, timestamp=now_ms())

    def log_text(self, text: str, name: str) -> None:
        """Writes a text as the artifact ``name``, which is delivered at the run's end.

        Raises:
            CannotWrite: when it cannot be written to disk.
        """
        write_file(self._run_dir.artifact(name), text)

    def end(self, status: str, traceback_text: str | None = None, why: str = "") -> None:
        """Writes the run's ending to disk. From now on any process can deliver it.

        Args:
            status: FINISHED, FAILED or KILLED.
            traceback_text: kept as an artifact.
            why: the reason of an early end, for the description.

        Raises:
            CannotWrite: when it cannot be written; the run is then set to FAILED, or KILLED, in the store directly.
        """
        try:
            if traceback_text is not None:
                self.log_text(redact_credentials(traceback_text), "traceback.txt")
            self._run_dir.end(self._ending(status, why))
        except CannotWrite:
            with suppress(*STORE_ERRORS):
                self._store.client.set_terminated(self.run_id, "KILLED" if status == "KILLED" else "FAILED", now_ms())
            raise

    def end_now(self) -> None:
        """Writes a KILLED ending at a forced exit; to disk only, because the main thread is still computing."""
        self._run_dir.end(self._ending("KILLED", "forced to exit"))

    def _ending(self, status: str, why: str) -> PendingResult:
        n = min(len(self._history), len(self._times))  # another thread may call this while an epoch is being logged
        history, tags = self._history[:n], dict(self._tags)
        if self.description is not None:
            how = self.description.how
            if how == RUNNING:
                how = how_it_ended(status, history[-1] if history else {}, redact_credentials(why))
            tags |= dataclasses.replace(self.description, how=how).tags()
        return PendingResult(status, now_ms(), history, self._times[:n], tags, self._dataset, self._best)


def _shorten(text: str, n: int) -> str:
    """Shortens a text to at most ``n`` characters: names and parameters of sweeps can be long."""
    return text if len(text) <= n else f"{text[: n - 4]} ..."
