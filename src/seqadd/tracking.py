"""The only room that knows MLflow: the store, a run's record from start to end, and finding runs again.

What the store is to be told lies on disk first (see ``unfinished``) and is told from there, so that neither a server
that is gone for a while nor a process that is killed loses any of it.

Signals are held during every call of MLflow's: one that were cut in two could leave the database locked.
"""

from __future__ import annotations

import copy
import functools
import hashlib
import json
import logging
import os
import platform
import re
import sqlite3
import subprocess
import tempfile
import textwrap
import time
import traceback
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

from filelock import FileLock

# A research program reports to nobody; whoever wants MLflow's telemetry sets the variable to false.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
# Its bars over every download would cut into the progress.
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
# At a run's end it would print the server's address, with the password that may be in it.
os.environ["MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT"] = "true"
# It would ask a server that is gone for minutes, again and again, while nothing else happens. We ask again ourselves.
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")

from mlflow import MlflowClient
from mlflow.entities import (
    Dataset as MlflowDataset,
)
from mlflow.entities import DatasetInput, InputTag, Metric, Param, Run, RunInfo, RunTag, ViewType
from mlflow.exceptions import MlflowException
from mlflow.utils.mlflow_tags import (
    MLFLOW_GIT_COMMIT,
    MLFLOW_PARENT_RUN_ID,
    MLFLOW_RUN_NAME,
    MLFLOW_SOURCE_NAME,
    MLFLOW_SOURCE_TYPE,
    MLFLOW_USER,
)
from sqlalchemy.exc import SQLAlchemyError

from seqadd import arithmetic
from seqadd.addition import Dataset
from seqadd.checkpoints import Checkpoint
from seqadd.codes import code_digest
from seqadd.config import Config, ConfigError, Tracking, as_text, in_one_line, without_passwords
from seqadd.exits import Interrupted, Pruned, RecordWaits, last_words, signals_held
from seqadd.files import CannotWrite, replacing, write_whole
from seqadd.machine import instructions, processor_name, processors
from seqadd.only import EVERYBODY, Only
from seqadd.unfinished import About, Ending, Unfinished, all_of

# "Creating initial MLflow database tables..." says nothing to the person at the terminal.
for _chatty in ("mlflow.store.db.utils", "alembic"):
    logging.getLogger(_chatty).setLevel(logging.WARNING)

# Seconds that a server may take to answer: many runs that begin or end at once can keep it busy for some. Fewer where
# it has not shown yet that it is there, and while a training waits.
_TIMEOUT, _SECONDS_TO_ANSWER, _SECONDS_IN_A_HURRY = "MLFLOW_HTTP_REQUEST_TIMEOUT", "30", "8"
os.environ.setdefault(_TIMEOUT, _SECONDS_TO_ANSWER)

_SQLITE = "sqlite:///"
_PAGE = 100  # runs, each with all that is known of it: a busy server must answer within the timeout above
_REQUESTS_AT_ONCE = 8  # to a server
_ROWS_LOOKED_AT = 400  # of a table of a database, to estimate how many there are of a kind; what SQLite recommends
_METRICS_PER_REQUEST = 1000  # as many as MLflow takes at once
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

# The tag by which a record is found again by whoever was about to make it.
_RECORDER = "recorder"

# What a server answers that wants a password, or another one, and where this user may not do this.
_REFUSALS = ("UNAUTHENTICATED", "PERMISSION_DENIED")

_T = TypeVar("_T")
_U = TypeVar("_U")


class Store:
    """An MLflow store with the experiment that runs are recorded in.

    Attributes:
        client: MLflow's own client of the store.
        experiment_id: of the experiment named in the configuration.
        only: which runs are found by their configuration or as the newest; see ``narrowed``.
    """

    only = EVERYBODY

    def __init__(self, client: MlflowClient, experiment_id: str, tracking: Tracking) -> None:
        self.client = client
        self.experiment_id = experiment_id
        self._experiment = tracking.experiment
        self._said = f"tracking.uri={without_passwords(tracking.uri)}"
        path = sqlite_path(tracking.uri)
        self._name = str(path) if path is not None else without_passwords(tracking.uri)
        if tracking.unfinished is not None:
            self._unfinished = Path(tracking.unfinished).absolute()
        elif path is not None:
            self._unfinished = path.parent / "unfinished"
            self._name = path.name  # a database that is moved together with its folder is still the same
        else:
            self._unfinished = Path.cwd() / "unfinished"

    def unfinished(self, key: str) -> Unfinished:
        """Where a run keeps what it needs while it is not finished; the same key is the same run."""
        named = f"{self._name} {self._experiment} {key}"
        return Unfinished(self._unfinished, hashlib.sha256(named.encode()).hexdigest()[:16])

    @contextmanager
    def record(
        self,
        place: Unfinished,
        name: str,
        *,
        params: dict[str, Any],
        tags: dict[str, str],
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
            parent_run_id: the sweep that it belongs to.
            go_on: whether the run that ``place`` has begun is opened again, if the store still has it.
            say: is told when the store does not answer, and when it does again.

        Raises:
            ConfigError: when the store does not let a run begin; a job of a sweep waits ten minutes for it before.
            RecordWaits: when all inside the ``with`` went well, and the store cannot be told so.
        """
        all_tags = {
            MLFLOW_RUN_NAME: name,
            MLFLOW_USER: _user(),
            MLFLOW_SOURCE_NAME: "seqadd",
            MLFLOW_SOURCE_TYPE: "LOCAL",
            **tags,
        }
        if parent_run_id is not None:
            all_tags[MLFLOW_PARENT_RUN_ID] = parent_run_id
        run: TrackedRun | None = None
        try:
            with signals_held():
                pauses = _pauses() if parent_run_id is not None else _SECONDS_BEFORE_ATTEMPTS
                try:
                    info = _patiently(self._beginning(place, name, all_tags, go_on=go_on), pauses, say)
                    run = TrackedRun(self, info, place, say)
                    _patiently(functools.partial(self._describe, run.run_id, params, all_tags), pauses, say)
                except STORE_ERRORS as error:
                    raise ConfigError(f"{self._said}: cannot begin a run: {_briefly(error)}") from error
            with last_words(run.end_now):
                yield run
            with signals_held():
                run.end("FINISHED")
        except RecordWaits:  # the jobs of a sweep are trained, all of them
            if run is not None:
                with signals_held(), suppress(*STORE_ERRORS):
                    run.end("FINISHED")
                    self.tell(place)
            raise
        except BaseException as error:
            if run is not None:
                killed = isinstance(error, (Interrupted, KeyboardInterrupt, Pruned))
                with signals_held(), suppress(*STORE_ERRORS):  # nothing may hide the error that is on its way
                    run.end("KILLED" if killed else "FAILED", None if killed else traceback.format_exc())
                    self.tell(place)
            raise
        try:
            _patiently(functools.partial(self.tell, place), _SECONDS_BEFORE_ATTEMPTS)
        except STORE_ERRORS as error:
            raise RecordWaits(
                f"run {run.run_id} is trained, but the store could not be told all of it: {_briefly(error)}; it "
                f"waits in {place.path}, the next command tells it"
            ) from error

    def _beginning(self, place: Unfinished, name: str, tags: dict[str, str], *, go_on: bool) -> Callable[[], RunInfo]:
        """A function that makes a run's record, or finds the one that ``place`` has begun; may be called again."""
        may_be_there = go_on

        def begin() -> RunInfo:
            nonlocal may_be_there
            begun = self._begun_in(place) if may_be_there else None
            if begun is None:
                if _RECORDER not in tags:
                    about = About(self._name, self._experiment, name, recorder=uuid.uuid4().hex)
                    place.begin(about, keep_checkpoints=go_on)
                    tags[_RECORDER] = about.recorder
                may_be_there = True  # where the server makes it, and its answer comes too late
                begun = self.client.create_run(self.experiment_id, start_time=_now(), tags=tags, run_name=name)
            return begun.info

        return begin

    def _describe(self, run_id: str, params: dict[str, Any], tags: dict[str, str]) -> None:
        """Says what a run is: all of it again for one that goes on, whose process may not have come to this."""
        self.client.update_run(run_id, status="RUNNING")
        self.client.log_batch(
            run_id,
            params=[Param(name, as_text(value)) for name, value in params.items()],
            tags=[RunTag(name, value) for name, value in tags.items()],
        )

    def settle(self) -> None:
        """Tells the store what it does not know of runs whose processes are gone, killed ones included.

        Does what can be done now: what has to wait goes on waiting.
        """
        for place in all_of(self._unfinished):
            with suppress(*STORE_ERRORS), place.claimed_if_free() as free:
                if free:
                    self.tell(place)

    @signals_held()
    def tell(self, place: Unfinished) -> None:
        """Tells the store what waits in a place that this process has claimed.

        A run without an ending has lost its process: it is KILLED, with the epochs of its last checkpoint.
        """
        about = place.about()
        if about is None:
            place.discard()
            return
        if about.store != self._name:
            return
        ending = place.ending()
        run = self._begun_in(place)
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
            self.client.set_terminated(run_id, ending.status, end_time)
        known = self.last_epoch(run_id)
        times = ending.times or [ending.end_time] * len(ending.history)
        rows = zip(ending.history, times, strict=True)
        self.log_epochs(run_id, [(row, time_ms) for row, time_ms in rows if row["epoch"] > known])
        if ending.dataset:
            self.log_dataset(run_id, ending.dataset)
        if place.artifacts.is_dir():
            self.client.log_artifacts(run_id, str(place.artifacts))
        if ending.tags:
            self.client.log_batch(run_id, tags=[RunTag(name, value) for name, value in ending.tags.items()])
        if ending.status == "FINISHED":  # after what a finished run promises to have
            self.client.set_terminated(run_id, ending.status, end_time)
            place.discard()
        elif PRUNED in ending.tags:  # nobody goes on with it
            place.discard()
        else:
            place.told()

    def reopen(self, place: Unfinished, run: RecordedRun) -> None:
        """Has a place go on with a run that is over, as if it had been begun there."""
        about = About(self._name, self._experiment, run.tags[MLFLOW_RUN_NAME], run.tags[_RECORDER])
        place.begin(about, keep_checkpoints=True)

    def _begun_in(self, place: Unfinished) -> Run | None:
        """The run that was begun in a place, as the store has it; None if it was not, or was deleted."""
        about = place.about()
        if about is None:
            return None
        # Of whatever experiment: who comes next to this store need not have the same one in mind.
        experiment = self.client.get_experiment_by_name(about.experiment)
        wanted = f"tags.{_RECORDER} = '{about.recorder}'"
        found = self._search(wanted, experiment.experiment_id) if experiment is not None else []
        for late in found[:-1]:  # the server has made it when nobody waited for it any more, and another was made
            if late.info.status == "RUNNING":
                self.client.set_terminated(late.info.run_id, "KILLED")
        return found[-1] if found else None

    def can_go_on(self, place: Unfinished, checkpoint: Checkpoint | None) -> bool:
        """Whether the run that was begun in a place goes on as the same run.

        That is so when it goes on from its checkpoint, or has no epoch yet that another beginning could contradict.
        """
        if checkpoint is not None:
            return True
        begun = self._begun_in(place)
        return begun is not None and self.last_epoch(begun.info.run_id) == 0

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
        return [_recorded(run) for run in self._search(wanted)]

    def finished_search(self, search: str) -> RecordedRun | None:
        """The newest record of a search that is finished, or None."""
        found = self._tagged(SEARCH, search, _FINISHED)
        return found[-1] if found else None

    @signals_held()
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
        found = self._search(wanted, newest=True)
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
                with signals_held():
                    path = Path(self.client.download_artifacts(run_id, name, folder))
            except (MlflowException, OSError) as error:
                raise FileNotFoundError(f"the store does not give {name}: {in_one_line(error)}") from error
            yield path

    @signals_held()
    def artifacts(self, run_id: str, folder: str) -> list[str]:
        """The paths of the artifacts in a run's folder, in order; none where there is no such folder."""
        return sorted(found.path for found in self.client.list_artifacts(run_id, folder) if not found.is_dir)

    @signals_held()
    def log_folder(self, run_id: str, folder: Path, name: str) -> None:
        """Records a folder with all that is in it as the artifact ``name`` of a run.

        Raises:
            STORE_ERRORS: when the store does not take it.
        """
        self.client.log_artifacts(run_id, str(folder), name)

    def _tagged(self, key: str, value: str, *others: str) -> list[RecordedRun]:
        """The runs with a tag that ``narrowed`` has left and other filters fit, oldest first."""
        wanted = " AND ".join([*others, f"tags.{key} = {_quoted(value)}", *_filters(self.only)])
        return [_recorded(run) for run in self._search(wanted)]

    @signals_held()
    def _search(self, wanted: str, experiment_id: str | None = None, *, newest: bool = False) -> list[Run]:
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

    @signals_held()
    def history(self, run_id: str, metric: str) -> dict[int, float]:
        """A metric's value after each epoch, epochs counted from 1, in their order."""
        values = self.client.get_metric_history(run_id, metric)
        return {point.step: point.value for point in sorted(values, key=lambda point: point.step)}

    def histories(self, wanted: Sequence[tuple[str, str]]) -> list[dict[int, float]]:
        """As ``history``, for many runs and metrics: ``[(run_id, metric), ...]``."""
        return self.each(lambda one: self.history(*one), wanted)

    @signals_held()
    def each(self, ask: Callable[[_T], _U], things: Iterable[_T]) -> list[_U]:
        """What ``ask`` says to each of many things; asks a server several at once, for most of the time is the way."""
        if sqlite_path(self.client.tracking_uri) is not None:
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
    flags = arithmetic.flags()
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


class TrackedRun:
    """The record of a run that is under way."""

    def __init__(self, store: Store, info: RunInfo, place: Unfinished, say: Callable[[str], None]) -> None:
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

    @signals_held()
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
                self._say(f"the store {how}, goes on without it: {_briefly(error)}")
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

    @signals_held()
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

    @signals_held()
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
        write_whole(self._place.artifact(name), text)

    def end(self, status: str, traceback_text: str | None = None) -> None:
        """Writes down how the run ended. From now on whoever comes next can tell the store.

        Raises:
            CannotWrite: when it cannot be written down; the store is told that the run failed, or was killed.
        """
        try:
            if traceback_text is not None:
                self.log_text(without_passwords(traceback_text), "traceback.txt")
            self._place.end(self._ending(status))
        except CannotWrite:
            with suppress(*STORE_ERRORS):
                self._store.client.set_terminated(self.run_id, "KILLED" if status == "KILLED" else "FAILED", _now())
            raise

    def end_now(self) -> None:
        """The last words of a process that is ended from outside."""
        self._place.end(self._ending("KILLED"))
        self._store.client.set_terminated(self.run_id, "KILLED", _now())

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
                say(f"waits for the store: {_briefly(error)}")
        time.sleep(pause)
    return do()


def _refuses(error: Exception) -> bool:
    return getattr(error, "error_code", None) in _REFUSALS


def _briefly(error: Exception) -> str:
    """What a store says is wrong; about servers it says a great deal, and little that helps."""
    said = in_one_line(error)
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


@signals_held()
def open_store(tracking: Tracking, *, create: bool = True) -> Store:
    """Opens the store and its experiment; the first of many processes makes them, the others wait for it.

    Args:
        tracking: names the store and the experiment.
        create: whether to make what is not there; a reader does not.

    Raises:
        ConfigError: when the store cannot be opened, or is not there and ``create`` is false.
    """
    path = sqlite_path(tracking.uri)
    said = f"tracking.uri={without_passwords(tracking.uri)}"
    if path is not None and not path.parent.is_dir():
        raise ConfigError(f"{said}: there is no folder {path.parent}")
    if not create and path is not None and not path.exists():
        raise ConfigError(f"{said}: no store here; python -m seqadd.run makes one")
    try:
        if path is None:
            client = MlflowClient(tracking.uri)
            with _in_a_hurry():
                return Store(client, _experiment_id(client, tracking.experiment, None, create), tracking)
        # MLflow makes a database's tables at first use, and two processes that do so at once break it for good.
        # A reader of somebody else's folder cannot lock, and needs not.
        with FileLock(f"{path}.lock") if create or os.access(path.parent, os.W_OK) else nullcontext():
            if not path.exists():
                _make_database(path)
            _learn_sizes(path)
            client = MlflowClient(f"{_SQLITE}{path}")  # absolute, because MLflow keeps one store a URI in a process
            # Beside the database, wherever the program runs.
            artifacts = str(path.parent / "mlruns" / tracking.experiment)
            return Store(client, _experiment_id(client, tracking.experiment, artifacts, create), tracking)
    except STORE_ERRORS as error:
        raise ConfigError(f"{said}: cannot open the store: {_briefly(error)}") from error


def open_store_patiently(tracking: Tracking, say: Callable[[str], None]) -> Store:
    """Opens a store that the sweep has opened, and waits up to ten minutes for it if it does not answer.

    Raises:
        ConfigError: when it does not come back.
    """
    for pause in _pauses():
        try:
            return open_store(tracking)
        except ConfigError as error:
            if pause == 1.0:
                say(f"waits for the store: {error}")
        time.sleep(pause)
    return open_store(tracking)


def _learn_sizes(path: Path) -> None:
    """Has SQLite note how large the store's tables are, as it advises every program to do now and then.

    Without that it takes the wrong index, and looks through the metrics of all runs to find those of one. It costs
    milliseconds, and nothing while little has changed; where it may not write, it stays slow.
    """
    with suppress(sqlite3.Error), closing(sqlite3.connect(path, timeout=0.1)) as database:
        database.execute(f"PRAGMA analysis_limit = {_ROWS_LOOKED_AT}")
        # It looks at the tables only that were asked for something.
        database.execute("EXPLAIN SELECT 1 FROM metrics WHERE key = '' AND run_uuid = '' ORDER BY timestamp")
        database.execute("PRAGMA optimize")


def _make_database(path: Path) -> None:
    """Makes an empty store, whole or not at all: MLflow never mends one that a killed process has left half made."""
    for killed in path.parent.glob(f"unfinished.*.{path.name}*"):  # while it made one; nobody else does, under the lock
        killed.unlink()
    with replacing(path) as unfinished:
        try:
            MlflowClient(f"{_SQLITE}{unfinished}").search_experiments(max_results=1)
        finally:
            for leftover in unfinished.parent.glob(f"{unfinished.name}-*"):  # SQLite's journal
                leftover.unlink()


def sqlite_path(uri: str) -> Path | None:
    """The database file of a SQLite URI, absolute; None for other URIs."""
    return Path(uri.removeprefix(_SQLITE)).absolute() if uri.startswith(_SQLITE) else None


def _experiment_id(client: MlflowClient, name: str, artifact_location: str | None, create: bool) -> str:
    found = client.get_experiment_by_name(name)
    if found is None and not create:
        raise ConfigError(f"tracking.experiment={name}: no such experiment in this store")
    if found is None:
        try:
            # The UI would otherwise open it as an experiment with language models.
            kind = {"mlflow.experimentKind": "custom_model_development"}
            return client.create_experiment(name, artifact_location=artifact_location, tags=kind)
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
    return str(found.experiment_id)


def run_tags(config: Config) -> dict[str, str]:
    """What a run's record says beside its parameters: identity, code, versions, machine."""
    commit, dirty = code_version()
    return {
        "config_hash": config.config_hash(),
        "condition_hash": config.condition_hash(),
        "trajectory_hash": config.trajectory_hash(),
        "code": code_digest(),
        "era": config.era,
        "threads": str(config.threads),
        "jit": str(config.jit).lower(),
        "git_commit": commit,
        "git_dirty": dirty,
        MLFLOW_GIT_COMMIT: commit,
        "python": platform.python_version(),
        **{package: version(package) for package in ("seqadd", "tensorflow", "keras", "numpy", "mlflow")},
        "machine": f"{platform.system()} {platform.machine()}, {processor_name()}, {processors()} processors",
        **{name: value for name, value in (("instructions", instructions()), (FLAGS, arithmetic.flags())) if value},
        **_slurm_tags(),
    }


def _slurm_tags() -> dict[str, str]:
    """Which job of Slurm's this process belongs to, and where its log is; empty for none."""
    if "SUBMITIT_FOLDER" not in os.environ:  # which submitit sets in the jobs that it has submitted
        return {}
    import submitit

    job = submitit.JobEnvironment()
    return {"slurm_job": job.job_id, "slurm_log": str(job.paths.stdout), "slurm_node": job.hostname}


@functools.cache
def code_version() -> tuple[str, str]:
    """Commit of the code that runs, and whether it differs from it ("true", "false"); "unknown" outside a clone."""
    here = Path(__file__).resolve().parent

    def git(*arguments: str) -> str:
        done = subprocess.run(["git", "-C", str(here), *arguments], capture_output=True, text=True, timeout=10)
        done.check_returncode()
        return done.stdout.strip()

    try:
        # An installed package may lie inside somebody else's repository.
        if Path(git("rev-parse", "--show-toplevel")).resolve() != here.parents[1]:
            return "unknown", "unknown"
        # Results that are written while others are being trained do not make another code of it.
        return git("rev-parse", "HEAD"), str(
            bool(git("status", "--porcelain", "--", ":/src", ":/conf", ":/pyproject.toml"))
        ).lower()
    except (OSError, subprocess.SubprocessError):
        return "unknown", "unknown"


def _user() -> str:
    return os.environ.get("USER") or os.environ.get("USERNAME") or "unknown"
