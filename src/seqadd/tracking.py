"""The only room that knows MLflow: the store, a run's record from start to end, and finding runs again.

What the store is to be told lies on disk first (see ``unfinished``) and is told from there, so that neither a server
that is gone for a while nor a process that is killed loses any of it.

Signals are held during every call of MLflow's: one that were cut in two could leave the database locked.
"""

from __future__ import annotations

import copy
import dataclasses
import functools
import getpass
import glob
import hashlib
import json
import os
import platform
import re
import shutil
import sqlite3
import tempfile
import textwrap
import time
import traceback
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

import sqlalchemy
from filelock import FileLock
from mlflow import MlflowClient
from mlflow.entities import Dataset as MlflowDataset
from mlflow.entities import DatasetInput, Experiment, InputTag, Metric, Param, Run, RunTag, ViewType
from mlflow.entities import RunInfo as MlflowRunInfo
from mlflow.exceptions import MlflowException
from mlflow.store.artifact.artifact_repo import ArtifactRepository
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
from mlflow.store.db.db_types import DATABASE_ENGINES
from mlflow.utils.mlflow_tags import (
    MLFLOW_GIT_COMMIT,
    MLFLOW_PARENT_RUN_ID,
    MLFLOW_RUN_NAME,
    MLFLOW_SOURCE_NAME,
    MLFLOW_SOURCE_TYPE,
    MLFLOW_USER,
)
from sqlalchemy.exc import SQLAlchemyError

import seqadd
from seqadd import database, locations
from seqadd.addition import Dataset
from seqadd.checkpoints import Checkpoint
from seqadd.codes import code_digest, code_version
from seqadd.config.messages import one_line
from seqadd.config.schema import Config, Tracking, override_text
from seqadd.database import check_database, sqlite_path, sqlite_uri
from seqadd.errors import (
    CannotWrite,
    ConfigError,
    DeliveryPending,
    Interrupted,
    Pruned,
    StoreMoved,
    StoreNotFound,
    StoreUnavailable,
    redact_credentials,
)
from seqadd.only import EVERYBODY, Only
from seqadd.system import numeric_flags
from seqadd.system.files import atomic_write, write_file
from seqadd.system.hardware import instructions, processor_name, processors
from seqadd.system.library_log import with_log_path
from seqadd.system.signals import defer_signals, on_forced_exit
from seqadd.unfinished import RECORDER, About, Ending, Unfinished, all_of

# A research program reports to nobody; whoever wants MLflow's telemetry sets the variable to false.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
# Its bars over every download would cut into the progress.
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
# At a run's end it would print the server's address, with the password that may be in it.
os.environ["MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT"] = "true"
# It would ask a server that is gone for minutes, again and again, while nothing else happens. We ask again ourselves.
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")

# It would print what it logs, with its SQL; left alone it goes where ``logs`` sends it.
os.environ.setdefault("MLFLOW_CONFIGURE_LOGGING", "false")

# Seconds that a server may take to answer: many runs that begin or end at once can keep it busy for some. Fewer where
# it has not shown yet that it is there, and while a training waits.
_TIMEOUT, _SECONDS_TO_ANSWER, _SECONDS_IN_A_HURRY = "MLFLOW_HTTP_REQUEST_TIMEOUT", "30", "8"
os.environ.setdefault(_TIMEOUT, _SECONDS_TO_ANSWER)

_PAGE = 100  # runs, each with all that is known of it: a busy server must answer within the timeout above
_REQUESTS_AT_ONCE = 8  # to a server
_ROWS_LOOKED_AT = 400  # of a table of a database, to estimate how many there are of a kind; what SQLite recommends
_METRICS_PER_REQUEST = 1000  # as many as MLflow takes at once
_LONGEST_NAME, _LONGEST_PARAM, _LONGEST_TAG = 250, 6000, 8000  # characters that MLflow's tables have room for
_SECONDS_BETWEEN_REQUESTS = 1.0
_MOST_SECONDS_BETWEEN_ATTEMPTS = 60.0
_SECONDS_TO_COME_BACK = 600.0  # for a store that a job of a sweep cannot begin without
# How often a store that does not answer at a run's beginning or end is asked again, and the seconds before each time.
_SECONDS_BEFORE_ATTEMPTS = (2.0, 5.0)

#: What a store may raise that is not there, does not answer or has no room; another time it may do better.
STORE_ERRORS = (MlflowException, SQLAlchemyError, OSError)

#: The tag with the epoch after which a search gave a run up.
PRUNED = "pruned"
#: The tag with the flags that a run was made with; without it, it was made without any.
FLAGS = "flags"
#: The tag by which the record of a search is found again.
SEARCH = "search"

#: What helps where artifacts cannot go where a store remembers them.
RELOCATE = "tracking.relocate=true copies the database and records in it that they lie beside it now"

# What a server answers that wants a password, or another one, and where this user may not do this.
_REFUSALS = ("UNAUTHENTICATED", "PERMISSION_DENIED")

_T = TypeVar("_T")
_Item = TypeVar("_Item")
_Answer = TypeVar("_Answer")


# What a folder of this machine answers, and will answer again.
_REFUSALS_HERE = (StoreMoved, PermissionError, FileNotFoundError, NotADirectoryError)


class Store:
    """An MLflow store with the experiment that runs are recorded in.

    Attributes:
        client: MLflow's own client of the store.
        experiment_id: of the experiment named in the configuration.
        only: which runs are found by their configuration or as the newest; see ``narrowed``.
    """

    only = EVERYBODY

    def __init__(self, client: MlflowClient, experiment: Experiment, tracking: Tracking) -> None:
        self.client = client
        self.experiment_id = str(experiment.experiment_id)
        self.experiment = tracking.experiment
        self.description = f"tracking.uri={redact_credentials(tracking.uri)}"
        self._database = path = sqlite_path(tracking.uri)
        self._found_by = {"tracking": dataclasses.asdict(tracking), "database": None if path is None else str(path)}
        self.name = str(path) if path is not None else redact_credentials(tracking.uri)
        if tracking.unfinished is not None:
            self.run_directories = Path(tracking.unfinished).absolute()
        elif path is not None:
            self.run_directories = path.parent / "unfinished"
            self.name = path.name  # a database that is moved together with its folder is still the same
        else:
            self.run_directories = Path.cwd() / "unfinished"

    def run_directory(self, key: str) -> Unfinished:
        """Where a run keeps what it needs while it is not finished; the same key is the same run."""
        named = f"{self.name} {self.experiment} {key}"
        return Unfinished(self.run_directories, hashlib.sha256(named.encode()).hexdigest()[:16], self._found_by)

    def log_epochs(self, run_id: str, rows: list[tuple[dict[str, float], int]]) -> None:
        """Records epochs, each with the time when it was over, in their order and none by half."""
        request: list[Metric] = []
        for row, time_ms in rows:
            of_epoch = [
                Metric(name, value, time_ms, int(row["epoch"])) for name, value in row.items() if name != "epoch"
            ]
            if len(request) + len(of_epoch) > _METRICS_PER_REQUEST:
                self.client.log_batch(run_id, metrics=request)
                request = []
            request += of_epoch
        if request:
            self.client.log_batch(run_id, metrics=request)

    def log_dataset(self, run_id: str, dataset: dict[str, str]) -> None:
        """Records a data set, fields of MLflow's, as an input of a run."""
        tag = InputTag("mlflow.data.context", "training and validation")
        self.client.log_inputs(run_id, [DatasetInput(MlflowDataset(**dataset), [tag])])

    def last_epoch(self, run_id: str) -> int:
        """The last epoch that the store has of a run; 0 for none."""
        return max((point.step for point in self.client.get_metric_history(run_id, "loss")), default=0)

    def finished_run(self, config: Config, data_digest: Callable[[], str]) -> RecordedRun | None:
        """The newest finished run of this configuration and these sums, with the flags of this process, or None.

        Args:
            config: of the run.
            data_digest: gives the digest of its sums; not called where no run has the configuration.
        """
        found = _made_here(self._tagged("config_hash", config.config_hash(), _FINISHED))
        return next((run for run in reversed(found) if run.tags.get("data_digest") == data_digest()), None)

    def narrowed(self, only: Only) -> Store:
        """The same store, of which only these runs are found by their configuration or as the newest."""
        store = copy.copy(self)
        store.only = only
        return store

    def of_condition(self, condition_hash: str) -> Recorded:
        """All that is recorded of one condition, whatever became of it."""
        found = self._tagged("condition_hash", condition_hash)
        strange = [run for run in found if run.status == "FINISHED" and not run.is_whole]
        finished = [run for run in found if run.status == "FINISHED" and run.is_whole]
        asked_for = FLAGS in dict(self.only.tags)
        return Recorded(
            [run for run in finished if asked_for or not run.flags],
            [run for run in found if run.status != "FINISHED"],
            strange,
            [run for run in finished if run.flags and not asked_for],
        )

    def condition_runs(self, condition_hash: str) -> list[RecordedRun]:
        """The finished runs of one condition that count, oldest first; see ``Recorded``."""
        return self.of_condition(condition_hash).finished

    def made_with_flags(self) -> list[RecordedRun]:
        """The finished runs of all conditions that ``Recorded`` says are made with flags, oldest first."""
        if FLAGS in dict(self.only.tags):
            return []
        wanted = " AND ".join([_FINISHED, f"tags.{FLAGS} != ''", *_filters(self.only)])
        return [_recorded(run) for run in self.search(wanted)]

    def finished_search(self, search: str) -> RecordedRun | None:
        """The newest record of a search that is finished, or None."""
        found = self._tagged(SEARCH, search, _FINISHED)
        return found[-1] if found else None

    @defer_signals()
    def run(self, run_id: str) -> RecordedRun | None:
        """The run of this id, of whatever experiment; None if the store has none, or it was deleted."""
        try:
            run = self.client.get_run(run_id)
        except MlflowException as error:
            if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
                return None
            raise
        return _recorded(run) if run.info.lifecycle_stage == "active" else None

    def newest_run(self) -> RecordedRun | None:
        """The finished run of a model that was begun last, or None."""
        wanted = " AND ".join([_FINISHED, "tags.config_hash != ''", *_filters(self.only)])
        found = self.search(wanted, newest=True)
        return _recorded(found[0]) if found else None

    def same_training(self, trajectory_hash: str) -> list[RecordedRun]:
        """The finished runs of which the one with fewer epochs is the beginning of the other, oldest first."""
        found = self._tagged("trajectory_hash", trajectory_hash, _FINISHED)
        return [run for run in found if run.is_whole]

    def shorter_runs(self, config: Config) -> list[RecordedRun]:
        """The finished runs that the configuration goes on from with more epochs, here; the longest first."""
        runs = _made_here(self.same_training(config.trajectory_hash()))
        shorter = [run for run in runs if int(run.params["epochs"]) < config.epochs]
        return sorted(shorter, key=lambda run: int(run.params["epochs"]), reverse=True)

    @contextmanager
    def artifact_of(self, run_id: str, name: str) -> Iterator[Path]:
        """A copy of a run's artifact, there inside the ``with``.

        Raises:
            FileNotFoundError: when the run has none of the name, or the store does not give it.
        """
        with tempfile.TemporaryDirectory() as folder:
            try:
                with defer_signals():
                    moved = self._moved_artifacts(run_id)
                    if moved is None:
                        path = Path(self.client.download_artifacts(run_id, name, folder))
                    else:
                        path = Path(moved.download_artifacts(name, folder))  # type: ignore[no-untyped-call]
            except (MlflowException, OSError) as error:
                raise FileNotFoundError(f"the store does not give {name}: {one_line(error)}") from error
            yield path

    @defer_signals()
    def artifacts(self, run_id: str, folder: str) -> list[str]:
        """The paths of the artifacts in a run's folder, in order; none where there is no such folder."""
        moved = self._moved_artifacts(run_id)
        found = self.client.list_artifacts(run_id, folder) if moved is None else moved.list_artifacts(folder)
        return sorted(each.path for each in found if not each.is_dir)

    @defer_signals()
    def log_folder(self, run_id: str, folder: Path, name: str | None = None) -> None:
        """Records a folder with all that is in it as the artifact ``name`` of a run, or as all of its artifacts.

        Raises:
            StoreMoved: when it would go where the store was before.
            STORE_ERRORS: when the store does not take it.
        """
        if self._database is not None:
            uri = self.client.get_run(run_id).info.artifact_uri
            if locations.is_moved(self._database, uri.removesuffix(f"/{run_id}/artifacts")):
                raise StoreMoved(f"the store was moved, and remembers them at {uri}; python -m seqadd.run {RELOCATE}")
        self.client.log_artifacts(run_id, str(folder), name)

    def _moved_artifacts(self, run_id: str) -> ArtifactRepository | None:
        """The artifacts of a run that lie beside the store, which remembers them where it was before it was moved."""
        if self._database is None:
            return None
        folder = locations.moved_artifacts(self._database, run_id, self.client.get_run(run_id).info.artifact_uri)
        return get_artifact_repository(folder.as_uri()) if folder is not None else None

    def _tagged(self, key: str, value: str, *others: str) -> list[RecordedRun]:
        """The runs with a tag that ``narrowed`` has left and other filters fit, oldest first."""
        wanted = " AND ".join([*others, f"tags.{key} = {_quoted(value)}", *_filters(self.only)])
        return [_recorded(run) for run in self.search(wanted)]

    @defer_signals()
    def search(self, wanted: str, experiment_id: str | None = None, *, newest: bool = False) -> list[Run]:
        """The runs of the experiment, or of another, that a filter fits, oldest first; or the newest of them alone."""
        runs: list[Run] = []
        token = None
        while True:
            page = self.client.search_runs(
                [experiment_id or self.experiment_id],
                filter_string=wanted,
                run_view_type=ViewType.ACTIVE_ONLY,
                max_results=1 if newest else _PAGE,
                order_by=[f"attributes.start_time {'DESC' if newest else 'ASC'}"],
                page_token=token,
            )
            runs.extend(page)
            token = page.token
            if newest or not token:
                return runs

    @defer_signals()
    def history(self, run_id: str, metric: str) -> dict[int, float]:
        """A metric's value after each epoch, epochs counted from 1, in their order."""
        values = self.client.get_metric_history(run_id, metric)
        return {point.step: point.value for point in sorted(values, key=lambda point: point.step)}

    def histories(self, wanted: Sequence[tuple[str, str]]) -> list[dict[int, float]]:
        """As ``history``, for many runs and metrics: ``[(run_id, metric), ...]``."""
        return self.each(lambda one: self.history(*one), wanted)

    @defer_signals()
    def each(self, ask: Callable[[_Item], _Answer], things: Iterable[_Item]) -> list[_Answer]:
        """What ``ask`` says to each of many things; asks a server several at once, for most of the time is the way."""
        if self._database is not None:
            return list(map(ask, things))
        with ThreadPoolExecutor(_REQUESTS_AT_ONCE) as threads:
            return list(threads.map(ask, things))


@dataclass(frozen=True)
class RecordedRun:
    """What the store says of a run."""

    run_id: str
    status: str
    params: dict[str, str]
    tags: dict[str, str]
    metrics: frozenset[str] = frozenset()  # of which it has values

    @property
    def is_whole(self) -> bool:
        """Whether it says its seed and epochs; others write to a shared store what they like."""
        return all(re.fullmatch("[0-9]{1,10}", self.params.get(key, "")) for key in ("seed", "epochs"))

    @property
    def flags(self) -> str:
        """What it was made with, see ``arithmetic.flags``."""
        return self.tags.get(FLAGS, "")

    @property
    def user(self) -> str:
        """Who recorded it."""
        return self.tags.get(MLFLOW_USER, "unknown")


@dataclass(frozen=True)
class Recorded:
    """All runs of a condition, each list oldest first.

    Attributes:
        finished: those that count.
        unfinished: under way, failed or killed.
        strange: finished, but they do not say which seed and how many epochs, as if another program had written them.
        with_flags: finished, but made with flags that can alter numbers; they count where this tag is asked for.
    """

    finished: list[RecordedRun]
    unfinished: list[RecordedRun]
    strange: list[RecordedRun]
    with_flags: list[RecordedRun]


def _recorded(run: Run) -> RecordedRun:
    data = run.data
    return RecordedRun(
        run.info.run_id, str(run.info.status), dict(data.params), dict(data.tags), frozenset(data.metrics)
    )


def _made_here(runs: Iterable[RecordedRun]) -> list[RecordedRun]:
    """Those with the flags of this process."""
    flags = numeric_flags.flags()
    return [run for run in runs if run.flags == flags]


_FINISHED = "attributes.status = 'FINISHED'"


def _filters(only: Only) -> list[str]:
    """What MLflow is to look for; put together with AND."""
    found = [f"tags.`{key}` = {_quoted(value)}" for key, value in only.tags]
    if only.user is not None:
        found.append(f"tags.`{MLFLOW_USER}` = {_quoted(only.user)}")
    if only.commit is not None:
        found.append(f"tags.git_commit LIKE {_quoted(only.commit + '%')}")
    return found


def _quoted(value: str) -> str:
    """A value inside a filter; MLflow takes what is between two quotes as it is, and knows no escape (see ``only``)."""
    quote = '"' if "'" in value else "'"
    if quote in value or value.endswith("\\"):
        raise ValueError(f"{value!r} cannot be asked for")
    return f"{quote}{value}{quote}"


@contextmanager
def record(
    store: Store,
    place: Unfinished,
    name: str,
    *,
    params: dict[str, Any],
    tags: dict[str, str],
    texts: Mapping[str, str] | None = None,
    parent_run_id: str | None = None,
    go_on: bool = False,
    say: Callable[[str], None] = lambda text: None,
) -> Iterator[TrackedRun]:
    """A run that is open inside the ``with`` and ends with a status that is true.

    FINISHED after the last line, FAILED (traceback as the artifact ``traceback.txt``) after an exception, KILLED
    after Ctrl-C or SIGTERM and where a search gives it up. While the store does not answer, what it should be told
    waits.

    Args:
        place: claimed by this process; keeps what the store is not told yet.
        name: what a person calls the run.
        params: its parameters.
        tags: its tags.
        texts: artifacts that are known already. The store gets them now, so that a run whose artifacts can go
            nowhere is refused, and not found out when it is trained.
        parent_run_id: the sweep that it belongs to.
        go_on: whether the run that ``place`` has begun is opened again, if the store still has it.
        say: is told when the store does not answer, and when it does again.

    Raises:
        ConfigError: when the store does not let a run begin; a job of a sweep waits ten minutes for it before.
        RecordWaits: when all inside the ``with`` went well, and the store cannot be told so.
    """
    name = _shortened(name, _LONGEST_NAME)
    all_tags = {
        MLFLOW_RUN_NAME: name,
        MLFLOW_USER: user_name(),
        MLFLOW_SOURCE_NAME: "seqadd",
        MLFLOW_SOURCE_TYPE: "LOCAL",
        **tags,
    }
    if parent_run_id is not None:
        all_tags[MLFLOW_PARENT_RUN_ID] = parent_run_id
    run: TrackedRun | None = None
    try:
        with defer_signals():
            pauses = _pauses() if parent_run_id is not None else _SECONDS_BEFORE_ATTEMPTS
            try:
                info = _patiently(_begin(store, place, name, all_tags, go_on=go_on), pauses, say)
                run = TrackedRun(store, info, place, say)
                _patiently(functools.partial(_describe, store, run.run_id, params, all_tags), pauses, say)
            except STORE_ERRORS as error:
                raise ConfigError(f"{store.description}: cannot begin a run: {_briefly(error)}") from error
            if texts:
                _log_first_artifacts(store, run.run_id, place, texts, pauses, say)
        with on_forced_exit(run.end_now):
            yield run
        with defer_signals():
            run.end("FINISHED")
    except DeliveryPending:  # the jobs of a sweep are trained, all of them
        if run is not None:
            with defer_signals(), suppress(*STORE_ERRORS):
                run.end("FINISHED")
                deliver(store, place)
        raise
    except BaseException as error:
        if run is not None:
            killed = isinstance(error, (Interrupted, KeyboardInterrupt, Pruned))
            with defer_signals(), suppress(*STORE_ERRORS):  # nothing may hide the error that is on its way
                explained = killed or isinstance(error, ConfigError)  # which says all there is to say
                run.end("KILLED" if killed else "FAILED", None if explained else traceback.format_exc())
                deliver(store, place)
        raise
    try:
        _patiently(functools.partial(deliver, store, place), _SECONDS_BEFORE_ATTEMPTS)
    except STORE_ERRORS as error:
        raise DeliveryPending(
            f"run {run.run_id} is trained, but the store could not be told all of it: {_briefly(error)}; it "
            f"waits in {place.path}, the next command tells it"
        ) from error


def _begin(
    store: Store, place: Unfinished, name: str, tags: dict[str, str], *, go_on: bool
) -> Callable[[], MlflowRunInfo]:
    """A function that makes a run's record, or finds the one that ``place`` has begun; may be called again."""
    may_be_there = go_on

    def begin() -> MlflowRunInfo:
        nonlocal may_be_there
        begun = begun_run(store, place) if may_be_there else None
        if begun is None:
            if RECORDER not in tags:
                about = About(store.name, store.experiment, name, recorder=uuid.uuid4().hex)
                place.begin(about, keep_checkpoints=go_on)
                tags[RECORDER] = about.recorder
            may_be_there = True  # where the server makes it, and its answer comes too late
            begun = store.client.create_run(store.experiment_id, start_time=_now(), tags=tags, run_name=name)
        return begun.info

    return begin


def _describe(store: Store, run_id: str, params: dict[str, Any], tags: dict[str, str]) -> None:
    """Says what a run is: all of it again for one that goes on, whose process may not have come to this."""
    store.client.update_run(run_id, status="RUNNING")
    store.client.log_batch(
        run_id,
        params=[Param(name, _shortened(override_text(value), _LONGEST_PARAM)) for name, value in params.items()],
        tags=[RunTag(name, _shortened(value, _LONGEST_TAG)) for name, value in tags.items()],
    )


def _log_first_artifacts(
    store: Store,
    run_id: str,
    place: Unfinished,
    texts: Mapping[str, str],
    pauses: Iterable[float],
    say: Callable[[str], None],
) -> None:
    """Records the first artifacts of a run.

    Raises:
        ConfigError: when they cannot be recorded; then nothing waits to be recorded later.
    """
    for name, text in texts.items():
        write_file(place.artifact(name), text)
    try:
        _patiently(functools.partial(store.log_folder, run_id, place.artifacts), pauses, say)
    except STORE_ERRORS as error:
        shutil.rmtree(place.artifacts)
        raise ConfigError(f"{store.description}: takes no artifacts of run {run_id}: {_briefly(error)}") from error


def reconcile(store: Store) -> None:
    """Tells the store what it does not know of runs whose processes are gone, killed ones included.

    Does what can be done now: what has to wait goes on waiting.
    """
    for place in all_of(store.run_directories):
        with suppress(*STORE_ERRORS), place.claimed_if_free() as free:
            if free:
                deliver(store, place)


@defer_signals()
def deliver(store: Store, place: Unfinished) -> None:
    """Tells the store what waits in a place that this process has claimed.

    A run without an ending has lost its process: it is KILLED, with the epochs of its last checkpoint.
    """
    about = place.about()
    if about is None:
        place.discard()
        return
    if about.store != store.name:
        return
    ending = place.ending()
    run = begun_run(store, place)
    if run is None:  # never begun, or deleted by somebody; a checkpoint is still good
        place.told()
        if not place.has_checkpoint():
            place.discard()
        return
    if ending is None:
        if run.info.status != "RUNNING":
            return
        checkpoint = place.latest_checkpoint(None, lambda text: None)
        ending = Ending("KILLED", _now(), checkpoint.history if checkpoint is not None else [])
        place.end(ending)
    run_id, end_time = run.info.run_id, max(ending.end_time, run.info.start_time)
    if ending.status != "FINISHED":  # before what may not have room
        store.client.set_terminated(run_id, ending.status, end_time)
    known = store.last_epoch(run_id)
    times = ending.times or [ending.end_time] * len(ending.history)
    rows = zip(ending.history, times, strict=True)
    store.log_epochs(run_id, [(row, time_ms) for row, time_ms in rows if row["epoch"] > known])
    if ending.dataset:
        store.log_dataset(run_id, ending.dataset)
    if place.artifacts.is_dir():
        store.log_folder(run_id, place.artifacts)
    if ending.tags:
        store.client.log_batch(run_id, tags=[RunTag(name, value) for name, value in ending.tags.items()])
    if ending.status == "FINISHED":  # after what a finished run promises to have
        store.client.set_terminated(run_id, ending.status, end_time)
        place.discard()
    elif PRUNED in ending.tags:  # nobody goes on with it
        place.discard()
    else:
        place.told()


def reopen(store: Store, place: Unfinished, run: RecordedRun) -> None:
    """Has a place go on with a run that is over, as if it had been begun there."""
    about = About(store.name, store.experiment, run.tags[MLFLOW_RUN_NAME], run.tags[RECORDER])
    place.begin(about, keep_checkpoints=True)


def begun_run(store: Store, place: Unfinished) -> Run | None:
    """The run that was begun in a place, as the store has it; None if it was not, or was deleted."""
    about = place.about()
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


def can_go_on(store: Store, place: Unfinished, checkpoint: Checkpoint | None) -> bool:
    """Whether the run that was begun in a place goes on as the same run.

    That is so when it goes on from its checkpoint, or has no epoch yet that another beginning could contradict.
    """
    if checkpoint is not None:
        return True
    begun = begun_run(store, place)
    return begun is not None and store.last_epoch(begun.info.run_id) == 0


class TrackedRun:
    """The record of a run that is under way."""

    def __init__(self, store: Store, info: MlflowRunInfo, place: Unfinished, say: Callable[[str], None]) -> None:
        self.run_id = str(info.run_id)
        self._store = store
        self._place = place
        self._say = say
        self._history: list[dict[str, float]] = []
        self._times: list[int] = []
        self._dataset: dict[str, str] = {}
        self._tags: dict[str, str] = {}
        self._waiting: list[tuple[dict[str, float], int]] = []
        self._known: int | None = None  # the last epoch that the store has; None where it must be asked
        self._next_request = 0.0
        self._pause = 0.0  # before the next attempt; above 0 while the store does not answer

    @property
    def epochs(self) -> int:
        """How many it has been given."""
        return len(self._history)

    def log_history(self, history: list[dict[str, float]]) -> None:
        """Records the metrics of many epochs, each with its ``epoch``, from 1."""
        now = _now()
        self._history += history
        self._times += [now] * len(history)
        self._waiting += [(row, now) for row in history]
        self._tell_epochs()

    def log_epoch(self, row: dict[str, float]) -> None:
        """Records the metrics of an epoch, with its ``epoch``, from 1; the store gets them within a second or two."""
        self.log_history([row])

    @defer_signals()
    def _tell_epochs(self) -> None:
        if time.monotonic() < self._next_request:
            return
        try:
            with _in_a_hurry():
                if self._known is None:
                    self._known = self._store.last_epoch(self.run_id)
                self._store.log_epochs(self.run_id, [each for each in self._waiting if each[0]["epoch"] > self._known])
        except STORE_ERRORS as error:
            self._known = None  # it may have got them all the same
            if not self._pause:
                how = "takes nothing" if _refuses(error) else "does not answer"
                self._say(with_log_path(f"the store {how}, goes on without it: {_briefly(error)}"))
            self._pause = min(max(1.0, 2 * self._pause), _MOST_SECONDS_BETWEEN_ATTEMPTS)
            self._next_request = time.monotonic() + self._pause
            return
        if self._pause:
            self._say(f"the store answers again, {len(self._waiting)} epochs delivered")
        self._known = max(self._known, int(self._waiting[-1][0]["epoch"])) if self._waiting else self._known
        self._waiting.clear()
        self._pause = 0.0
        self._next_request = time.monotonic() + _SECONDS_BETWEEN_REQUESTS

    def tag(self, name: str, value: str) -> None:
        """Records a tag, at the run's end."""
        self._tags[name] = value

    @defer_signals()
    def log_dataset(self, config: Config, data: Dataset, digest: str) -> None:
        """Records the data set as an input of the run; at its end if the store does not answer now."""
        self._dataset = {
            "name": f"{config.task.digits}-digit sums",
            "digest": digest,
            "source_type": "code",
            "source": json.dumps({"function": "seqadd.addition.make_dataset", "seed": config.seed}),
            "profile": json.dumps({"train": len(data.train_questions), "val": len(data.val_questions)}),
        }
        with suppress(*STORE_ERRORS):
            self._store.log_dataset(self.run_id, self._dataset)

    def artifact(self, name: str) -> Path:
        """Where to write the artifact ``name``, which the store gets at the run's end."""
        return self._place.artifact(name)

    @defer_signals()
    def show_image(self, path: Path, name: str, epoch: int) -> None:
        """Shows a picture on MLflow's page now, as a step of the images ``name``; not while the store is away."""
        from PIL import Image

        if self._pause:
            return
        with suppress(*STORE_ERRORS), Image.open(path) as image:
            self._store.client.log_image(self.run_id, image, key=name, step=epoch, timestamp=_now())

    def log_text(self, text: str, name: str) -> None:
        """Records a text as the artifact ``name``, at the run's end.

        Raises:
            CannotWrite: when it cannot be kept until then.
        """
        write_file(self._place.artifact(name), text)

    def end(self, status: str, traceback_text: str | None = None) -> None:
        """Writes down how the run ended. From now on whoever comes next can tell the store.

        Raises:
            CannotWrite: when it cannot be written down; the store is told that the run failed, or was killed.
        """
        try:
            if traceback_text is not None:
                self.log_text(redact_credentials(traceback_text), "traceback.txt")
            self._place.end(self._ending(status))
        except CannotWrite:
            with suppress(*STORE_ERRORS):
                self._store.client.set_terminated(self.run_id, "KILLED" if status == "KILLED" else "FAILED", _now())
            raise

    def end_now(self) -> None:
        """The last words of a process that is ended from outside: to the disk alone, for its main thread computes."""
        self._place.end(self._ending("KILLED"))

    def _ending(self, status: str) -> Ending:
        n = min(len(self._history), len(self._times))  # another thread may ask in the middle of an epoch's record
        return Ending(status, _now(), self._history[:n], self._times[:n], dict(self._tags), self._dataset)


@contextmanager
def _in_a_hurry() -> Iterator[None]:
    """Inside the ``with`` a server has fewer seconds for an answer, unless a person has chosen how many."""
    before = os.environ[_TIMEOUT]
    if before == _SECONDS_TO_ANSWER:
        os.environ[_TIMEOUT] = _SECONDS_IN_A_HURRY
    try:
        yield
    finally:
        os.environ[_TIMEOUT] = before


def _pauses() -> Iterator[float]:
    """Seconds to wait before each further attempt, for ten minutes."""
    began, pause = time.monotonic(), 1.0
    while time.monotonic() < began + _SECONDS_TO_COME_BACK:
        yield pause
        pause = min(2 * pause, _MOST_SECONDS_BETWEEN_ATTEMPTS)


def _patiently(do: Callable[[], _T], pauses: Iterable[float], say: Callable[[str], None] = lambda text: None) -> _T:
    """Does it again after each of these pauses while the store does not answer; what it refuses is not tried again."""
    said = False
    for pause in pauses:
        try:
            return do()
        except STORE_ERRORS as error:
            if _refuses(error):
                raise
            if not said:
                said = True
                say(with_log_path(f"waits for the store: {_briefly(error)}"))
        time.sleep(pause)
    return do()


def _shortened(text: str, n: int) -> str:
    """A text of at most so many characters: a sweep can have a long one."""
    return text if len(text) <= n else f"{text[: n - 4]} ..."


def _refuses(error: Exception) -> bool:
    return isinstance(error, _REFUSALS_HERE) or getattr(error, "error_code", None) in _REFUSALS


def _briefly(error: Exception) -> str:
    """What a store says is wrong; about servers it says a great deal, and little that helps."""
    said = one_line(error).partition("; [SQL: ")[0]
    code = getattr(error, "error_code", None)
    if code == "UNAUTHENTICATED":
        wrong = "refuses the password" if os.environ.get("MLFLOW_TRACKING_PASSWORD") else "wants a password"
        return f"the server {wrong}: set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"
    if code == "PERMISSION_DENIED":
        user = os.environ.get("MLFLOW_TRACKING_USERNAME", "this user")
        return f"the server does not let {user} do this: ask for the permission EDIT, or choose another experiment"
    if "too many 503 error responses" in said:  # and MLflow throws away which of these it is
        return "the server cannot use its database (503): that is gone, or full; the server's log says which"
    cause = re.search(r'Caused by \w+\("[^"]*?\): ([^"]*)"', said)  # at the end, after the address and all of the query
    return textwrap.shorten(cause[1] if cause else said, 200, placeholder=" ...")


# Time since the program began comes from a clock that nobody sets: no epoch may seem to end before it began.
_BEGAN = time.time() - time.monotonic()


def _now() -> int:
    """Milliseconds since 1970."""
    return int(1000 * (_BEGAN + time.monotonic()))


@defer_signals()
def open_store(tracking: Tracking, *, create: bool = True, say: Callable[[str], None] = lambda text: None) -> Store:
    """Opens the store and its experiment; the first of many processes makes them, the others wait for it.

    Args:
        tracking: names the store and the experiment.
        create: whether it is to be written, and made if it is not there; a reader makes and migrates nothing.
        say: is told where a copy of the database lies, when it had to be changed.

    Raises:
        NothingThere: when there is no such store or experiment and ``create`` is false.
        Unavailable: when it does not answer.
        ConfigError: when it cannot be used.
    """
    check_database(tracking, create=create)
    path = sqlite_path(tracking.uri)
    said = f"tracking.uri={redact_credentials(tracking.uri)}"
    try:
        if path is None:
            if tracking.uri.partition(":")[0].partition("+")[0] in DATABASE_ENGINES:
                _check_server_database(tracking.uri, create)
            client = MlflowClient(tracking.uri)
            with _in_a_hurry():
                return Store(client, _experiment(client, tracking.experiment, None, create), tracking)
        # MLflow makes a database's tables at first use, and two processes that do so at once break it for good.
        with FileLock(f"{path}.lock") if create else nullcontext():
            if create:
                _prepare_database(path, tracking, say)
            _check_tables(path)
            _learn_sizes(path)
            client = MlflowClient(sqlite_uri(path))  # absolute, because MLflow keeps one store a URI in a process
            # Beside the database, wherever the program runs.
            artifacts = locations.artifact_location(path, tracking.experiment)
            experiment = _experiment(client, tracking.experiment, artifacts, create)
            if create:
                _check_location(client, path, experiment)
            return Store(client, experiment, tracking)
    except STORE_ERRORS as error:
        raise StoreUnavailable(f"{said}: cannot open the store: {_briefly(error)}") from error


def _prepare_database(path: Path, tracking: Tracking, say: Callable[[str], None]) -> None:
    """Makes the database of a store that is to be written, or changes it as a person has asked."""
    schema = database.read_schema(path)
    if schema is None:
        _make_database(path)
    elif not schema.is_current and tracking.migrate is True:
        say(f"the store is migrated to the schema of MLflow {version('mlflow')}; as it was: {database.migrate(path)}")
    if tracking.relocate is True:
        copy = locations.relocate(path)
        if copy is not None:
            say(f"the store knows now that its artifacts lie beside it; as it was: {copy}")


def _check_tables(path: Path) -> None:
    """Raises ConfigError for a database that lacks tables, which MLflow would make."""
    import mlflow.store.db.utils  # noqa: F401 - it knows all tables; takes half a second, which a server needs not
    from mlflow.store.db.base_sql_model import Base

    schema = database.read_schema(path)
    lacking = sorted(set(Base.metadata.tables) - schema.tables) if schema is not None else []
    if lacking:
        raise ConfigError(f"{path} is damaged: it lacks MLflow's table {lacking[0]}; take a copy of before")


def _check_server_database(uri: str, create: bool) -> None:
    """As ``check_database``, of a database on a server, which MLflow would ask for minutes where it is not there.

    Raises:
        NothingThere: when nobody has made a store in it, and ``create`` is false.
        ConfigError: when it is of another MLflow, or there is no driver for it.
        STORE_ERRORS: when it does not answer.
    """
    try:
        engine = sqlalchemy.create_engine(uri, poolclass=sqlalchemy.NullPool)
    except ImportError as error:
        raise ConfigError(f"tracking.uri={redact_credentials(uri)}: {error}; install it") from error
    with engine.connect() as connection:
        tables = frozenset(sqlalchemy.inspect(connection).get_table_names())
        revisions = (
            connection.scalars(sqlalchemy.text("SELECT version_num FROM alembic_version")).all()
            if "alembic_version" in tables
            else ()
        )
    schema = database.Schema(tables, frozenset(revisions))
    if schema.is_mlflows:
        database.check_schema("the database", redact_credentials(uri), schema, create=create, migrate=False)
    elif not create:
        raise StoreNotFound(f"tracking.uri={redact_credentials(uri)}: no store here; python -m seqadd.run makes one")


def _check_location(client: MlflowClient, path: Path, experiment: Experiment) -> None:
    """Raises ConfigError where the artifacts of an experiment cannot go where its store remembers to put them."""
    location = experiment.artifact_location
    said = f"tracking.experiment={experiment.name}: its artifacts are remembered at {location}"
    elsewhere = locations.is_moved(path, location)
    if elsewhere and client.search_runs([experiment.experiment_id], run_view_type=ViewType.ALL, max_results=1):
        raise ConfigError(f"{said}, which is not there, as if the store was moved; {RELOCATE}")
    try:
        locations.check_writable(location)
        if elsewhere:  # with its first run: from then on it would look as if the store was moved
            locations.make_folder(location)
    except OSError as error:
        in_its_place = locations.local_path(location) == locations.local_path(
            locations.artifact_location(path, experiment.name)
        )
        remedy = "make room for them" if in_its_place else RELOCATE
        raise ConfigError(f"{said}, where nothing can be written ({error.strerror}); {remedy}") from error


def open_store_patiently(tracking: Tracking, say: Callable[[str], None]) -> Store:
    """Opens a store that the sweep has opened, and waits up to ten minutes for it if it does not answer.

    Raises:
        ConfigError: when it does not come back, or cannot be used any more.
    """
    for pause in _pauses():
        try:
            return open_store(tracking)
        except StoreUnavailable as error:
            if pause == 1.0:
                say(with_log_path(f"waits for the store: {error}"))
        time.sleep(pause)
    return open_store(tracking)


def _learn_sizes(path: Path) -> None:
    """Has SQLite note how large the store's tables are, as it advises every program to do now and then.

    Without that it takes the wrong index, and looks through the metrics of all runs to find those of one. It costs
    milliseconds, and nothing while little has changed; where it may not write, it stays slow.
    """
    with suppress(sqlite3.Error), closing(sqlite3.connect(path, timeout=0.1)) as connection:
        connection.execute(f"PRAGMA analysis_limit = {_ROWS_LOOKED_AT}")
        # It looks at the tables only that were asked for something.
        connection.execute("EXPLAIN SELECT 1 FROM metrics WHERE key = '' AND run_uuid = '' ORDER BY timestamp")
        connection.execute("PRAGMA optimize")


def _make_database(path: Path) -> None:
    """Makes an empty store, whole or not at all: MLflow never mends one that a killed process has left half made."""
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    ours = f"{glob.escape(path.name)}*"
    for killed in path.parent.glob(f"unfinished.*.{ours}"):  # while it made one; nobody else does, under the lock
        killed.unlink()
    with atomic_write(path) as unfinished:
        try:
            SqlAlchemyStore(sqlite_uri(unfinished), (path.parent / "mlruns").as_uri())  # type: ignore[no-untyped-call]
        finally:
            for leftover in unfinished.parent.glob(f"{glob.escape(unfinished.name)}-*"):  # SQLite's journal
                leftover.unlink()


def _experiment(client: MlflowClient, name: str, artifact_location: str | None, create: bool) -> Experiment:
    found = client.get_experiment_by_name(name)
    if found is None and not create:
        raise StoreNotFound(f"tracking.experiment={name}: no such experiment in this store")
    if found is None:
        try:
            # The UI would otherwise open it as an experiment with language models.
            kind = {"mlflow.experimentKind": "custom_model_development"}
            return client.get_experiment(client.create_experiment(name, artifact_location, tags=kind))
        except MlflowException:
            # On a server another process can have made it since; if not, the error stands.
            found = client.get_experiment_by_name(name)
            if found is None:
                raise
    if found.lifecycle_stage != "active":
        raise ConfigError(
            f"tracking.experiment={name}: was deleted in this store; restore it with "
            f"`mlflow experiments restore -x {found.experiment_id}` or choose another name"
        )
    return found


def run_tags(config: Config) -> dict[str, str]:
    """What a run's record says beside its parameters: identity, code, versions, machine."""
    return {
        "config_hash": config.config_hash(),
        "condition_hash": config.condition_hash(),
        "trajectory_hash": config.trajectory_hash(),
        "era": config.era,
        "threads": str(config.threads),
        "jit": str(config.jit).lower(),
        **code_tags(),
        "python": platform.python_version(),
        **{package: version(package) for package in ("tensorflow", "keras", "numpy", "mlflow")},
        "machine": f"{platform.system()} {platform.machine()}, {processor_name()}, {processors()} processors",
        **{name: value for name, value in (("instructions", instructions()), (FLAGS, numeric_flags.flags())) if value},
        **_slurm_tags(),
    }


def _slurm_tags() -> dict[str, str]:
    """Which job of Slurm's this process belongs to, and where its log is; empty for none."""
    if "SUBMITIT_FOLDER" not in os.environ:  # which submitit sets in the jobs that it has submitted
        return {}
    import submitit

    job = submitit.JobEnvironment()
    return {"slurm_job": job.job_id, "slurm_log": str(job.paths.stdout), "slurm_node": job.hostname}


def code_tags() -> dict[str, str]:
    """What any record says of the code that made it, MLflow's own tag included."""
    commit, dirty = code_version()
    return {
        "git_commit": commit,
        "git_dirty": dirty,
        MLFLOW_GIT_COMMIT: commit,
        # Outside a clone these two stand in for the commit.
        "seqadd": seqadd.__version__,
        "code": code_digest(),
    }


def user_name() -> str:
    """Who records runs here: $USER, else the name that the system knows, else the number that it has for whom."""
    try:
        return os.environ.get("USER") or getpass.getuser()
    except (KeyError, OSError, ImportError):  # as in containers whose user has no name
        return str(os.getuid()) if hasattr(os, "getuid") else "unknown"
