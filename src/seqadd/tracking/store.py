"""Reads an MLflow store: runs, their metrics and artifacts."""

from __future__ import annotations

import copy
import dataclasses
import hashlib
import os
import re
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from mlflow import MlflowClient
from mlflow.entities import Dataset as MlflowDataset
from mlflow.entities import DatasetInput, Experiment, InputTag, Metric, Run, ViewType
from mlflow.exceptions import MlflowException
from mlflow.store.artifact.artifact_repo import ArtifactRepository
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID, MLFLOW_USER

from seqadd.config.messages import one_line
from seqadd.config.schema import Config, Tracking
from seqadd.errors import StoreMoved, redact_credentials
from seqadd.system import numeric_flags
from seqadd.system.signals import defer_signals
from seqadd.tracking import artifact_locations
from seqadd.tracking.artifact_locations import RELOCATE
from seqadd.tracking.database import sqlite_path
from seqadd.tracking.metric_sections import TRAIN_SECONDS, from_mlflow, to_mlflow
from seqadd.tracking.part_copies import unfinished_folder
from seqadd.tracking.provenance import FLAGS
from seqadd.tracking.run_directory import RunDirectory
from seqadd.tracking.run_filter import ALL_RUNS, RunFilter

# This program sends no telemetry; a user who wants MLflow's sets the variable to false.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
# MLflow's bars for downloads would break the progress display.
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
# At a run's end MLflow would print the server's address, which may hold a password.
os.environ["MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT"] = "true"
# MLflow would block for minutes while it retries a server that is down. ``tracking.retry`` retries instead.
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
# MLflow would print its log with SQL; unconfigured, it goes to the file of ``system.library_log``.
os.environ.setdefault("MLFLOW_CONFIGURE_LOGGING", "false")

_PAGE = 100  # runs with all their data per request: a busy server must respond within the timeout of ``retry``
_REQUESTS_AT_ONCE = 8  # to a server
_METRICS_PER_REQUEST = 1000  # MLflow's limit

#: The tag with the epoch after which the pruner stopped a run.
PRUNED = "pruned"
#: The tag that tells whether a trial is the best one of its search.
BEST_OF_SEARCH = "best_of_search"
#: The tag that identifies the record of a search.
SEARCH = "search"
_Item = TypeVar("_Item")
_Answer = TypeVar("_Answer")


class Store:
    """An MLflow store with the experiment that runs are recorded in.

    Attributes:
        client: MLflow's own client of the store.
        experiment_id: of the experiment named in the configuration.
        uri: as the configuration has it; may hold a password.
        database: the file of a SQLite database; None for a server.
        run_filter: limits the runs that searches by configuration and ``newest_run`` find; see ``filtered``.
    """

    run_filter = ALL_RUNS

    def __init__(self, client: MlflowClient, experiment: Experiment, tracking: Tracking) -> None:
        self.client = client
        self.experiment_id = str(experiment.experiment_id)
        self.experiment = tracking.experiment
        self.description = f"tracking.uri={redact_credentials(tracking.uri)}"
        self.uri = tracking.uri
        self.database = path = sqlite_path(tracking.uri)
        self._found_by = {"tracking": dataclasses.asdict(tracking), "database": None if path is None else str(path)}
        self.name = str(path) if path is not None else redact_credentials(tracking.uri)
        self.run_directories = unfinished_folder(tracking)
        if path is not None and tracking.unfinished is None:
            self.name = path.name  # without the folder, so that moving the folder does not change the name

    def run_directory(self, key: str) -> RunDirectory:
        """Returns the directory of an unfinished run; the same key names the same run."""
        named = f"{self.name} {self.experiment} {key}"
        return RunDirectory(self.run_directories, hashlib.sha256(named.encode()).hexdigest()[:16], self._found_by)

    def log_epochs(self, run_id: str, rows: list[tuple[dict[str, float], int]]) -> None:
        """Records epochs in order, each with the time when it ended; all metrics of an epoch go in one request."""
        request: list[Metric] = []
        for row, time_ms in rows:
            of_epoch = [
                Metric(to_mlflow(name), value, time_ms, int(row["epoch"]))
                for name, value in row.items()
                if name != "epoch"
            ]
            if len(request) + len(of_epoch) > _METRICS_PER_REQUEST:
                self.client.log_batch(run_id, metrics=request)
                request = []
            request += of_epoch
        if request:
            self.client.log_batch(run_id, metrics=request)

    def log_dataset(self, run_id: str, dataset: dict[str, str]) -> None:
        """Records a data set, given as MLflow's fields, as an input of a run."""
        tag = InputTag("mlflow.data.context", "training and validation")
        self.client.log_inputs(run_id, [DatasetInput(MlflowDataset(**dataset), [tag])])

    def last_epoch(self, run_id: str) -> int:
        """Returns the last recorded epoch of a run; 0 if there is none."""
        return max((point.step for point in self.client.get_metric_history(run_id, "loss")), default=0)

    def finished_run(self, config: Config, data_digest: Callable[[], str]) -> RunRecord | None:
        """Returns the newest finished run of a configuration and its sums, with the flags of this process, or None.

        Args:
            config: of the run.
            data_digest: returns the digest of its sums; only called if a run has the configuration.
        """
        found = _made_here(self._tagged("config_hash", config.config_hash(), _FINISHED))
        return next((run for run in reversed(found) if run.tags.get("data_digest") == data_digest()), None)

    def filtered(self, run_filter: RunFilter) -> Store:
        """Returns the same store with a filter for searches by configuration and for ``newest_run``."""
        store = copy.copy(self)
        store.run_filter = run_filter
        return store

    def of_condition(self, condition_hash: str) -> RunsByStatus:
        """Returns all recorded runs of one condition, by status."""
        found = self._tagged("condition_hash", condition_hash)
        strange = [run for run in found if run.status == "FINISHED" and not run.is_whole]
        finished = [run for run in found if run.status == "FINISHED" and run.is_whole]
        asked_for = FLAGS in dict(self.run_filter.tags)
        return RunsByStatus(
            [run for run in finished if asked_for or not run.flags],
            [run for run in found if run.status != "FINISHED"],
            strange,
            [run for run in finished if run.flags and not asked_for],
        )

    def condition_runs(self, condition_hash: str) -> list[RunRecord]:
        """Returns the finished runs of one condition that count, oldest first; see ``RunsByStatus``."""
        return self.of_condition(condition_hash).finished

    def made_with_flags(self) -> list[RunRecord]:
        """Returns the finished runs of all conditions that do not count because of their flags, oldest first."""
        if FLAGS in dict(self.run_filter.tags):
            return []
        wanted = " AND ".join([_FINISHED, f"tags.{FLAGS} != ''", *_filters(self.run_filter)])
        return [_run_record(run) for run in self.search(wanted)]

    def training_runs(self, params: Mapping[str, str] | None = None) -> list[ListedRun]:
        """Returns all training runs with these parameters that match ``run_filter``, oldest first."""
        equal = [f"params.`{key}` = {_quoted(value)}" for key, value in (params or {}).items()]
        wanted = " AND ".join(["tags.condition_hash != ''", *equal, *_filters(self.run_filter)])
        return [_listed_run(run) for run in self.search(wanted)]

    def finished_search(self, search: str) -> RunRecord | None:
        """Returns the newest finished record of a search, or None."""
        found = self._tagged(SEARCH, search, _FINISHED)
        return found[-1] if found else None

    def runs_of_sweep(self, parent_run_id: str | None, others: Sequence[str] = ()) -> list[RunRecord]:
        """Returns the runs of a sweep's jobs, oldest first, after other runs of the experiment, given by their ids."""
        ids = [_quoted(run_id) for run_id in others if re.fullmatch("[0-9a-f]{32}", run_id)]
        pages = [ids[first : first + _PAGE] for first in range(0, len(ids), _PAGE)]
        wanted = [f"attributes.run_id IN ({', '.join(page)})" for page in pages]
        wanted += [f"tags.`{MLFLOW_PARENT_RUN_ID}` = {_quoted(parent_run_id)}"] if parent_run_id else []
        return [_run_record(run) for each in wanted for run in self.search(each)]

    @defer_signals()
    def run(self, run_id: str) -> RunRecord | None:
        """Returns the run with this ID, from any experiment; None if the store has no such run, or it was deleted."""
        try:
            run = self.client.get_run(run_id)
        except MlflowException as error:
            if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
                return None
            raise
        return _run_record(run) if run.info.lifecycle_stage == "active" else None

    def newest_run(self) -> RunRecord | None:
        """Returns the finished training run that began last, or None."""
        wanted = " AND ".join([_FINISHED, "tags.config_hash != ''", *_filters(self.run_filter)])
        found = self.search(wanted, newest=True)
        return _run_record(found[0]) if found else None

    def same_training(self, trajectory_hash: str) -> list[RunRecord]:
        """Returns the finished runs of one trajectory, which differ only in their number of epochs, oldest first."""
        found = self._tagged("trajectory_hash", trajectory_hash, _FINISHED)
        return [run for run in found if run.is_whole]

    def shorter_runs(self, config: Config) -> list[RunRecord]:
        """Returns the finished runs that a configuration can extend with this process's flags, longest first."""
        runs = _made_here(self.same_training(config.trajectory_hash()))
        shorter = [run for run in runs if int(run.params["epochs"]) < config.epochs]
        return sorted(shorter, key=lambda run: int(run.params["epochs"]), reverse=True)

    @contextmanager
    def artifact_of(self, run_id: str, name: str) -> Iterator[Path]:
        """A context manager that yields a copy of a run's artifact, which exists inside the ``with``.

        Raises:
            FileNotFoundError: when the run has no such artifact, or it cannot be downloaded.
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
        """Returns the sorted paths of the artifacts in a folder of a run; empty if there is no such folder."""
        moved = self._moved_artifacts(run_id)
        found = self.client.list_artifacts(run_id, folder) if moved is None else moved.list_artifacts(folder)
        return sorted(each.path for each in found if not each.is_dir)

    @defer_signals()
    def log_folder(self, run_id: str, folder: Path, name: str | None = None) -> None:
        """Uploads a folder's content to the artifact folder ``name`` of a run, or to the root of its artifacts.

        Raises:
            StoreMoved: when the artifacts would be written to the store's former folder.
            STORE_ERRORS: when the store does not accept them.
        """
        if self.database is not None:
            uri = self.client.get_run(run_id).info.artifact_uri
            if artifact_locations.is_moved(self.database, uri.removesuffix(f"/{run_id}/artifacts")):
                raise StoreMoved(f"the store was moved, and records them at {uri}; python -m seqadd.run {RELOCATE}")
        self.client.log_artifacts(run_id, str(folder), name)

    def _moved_artifacts(self, run_id: str) -> ArtifactRepository | None:
        """Returns the artifacts of a run that were moved along with the store; None if MLflow's path is still right."""
        if self.database is None:
            return None
        folder = artifact_locations.moved_artifacts(
            self.database, run_id, self.client.get_run(run_id).info.artifact_uri
        )
        return get_artifact_repository(folder.as_uri()) if folder is not None else None

    def _tagged(self, key: str, value: str, *others: str) -> list[RunRecord]:
        """Returns the runs that have a tag and match ``run_filter`` and further conditions, oldest first."""
        wanted = " AND ".join([*others, f"tags.{key} = {_quoted(value)}", *_filters(self.run_filter)])
        return [_run_record(run) for run in self.search(wanted)]

    @defer_signals()
    def search(self, wanted: str, experiment_id: str | None = None, *, newest: bool = False) -> list[Run]:
        """Returns the runs of this or another experiment that match a filter, oldest first; or only the newest."""
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
        """Returns a metric's value after each epoch, in order; epochs count from 1."""
        values = list(self.client.get_metric_history(run_id, to_mlflow(metric)))
        if to_mlflow(metric) != metric and not any(point.step == 1 for point in values):
            values += self.client.get_metric_history(run_id, metric)  # the name that an earlier version wrote
        return {point.step: point.value for point in sorted(values, key=lambda point: point.step)}

    def histories(self, wanted: Sequence[tuple[str, str]]) -> list[dict[int, float]]:
        """Returns ``history`` for many runs and metrics: ``[(run_id, metric), ...]``."""
        return self.each(lambda one: self.history(*one), wanted)

    @defer_signals()
    def each(self, ask: Callable[[_Item], _Answer], things: Iterable[_Item]) -> list[_Answer]:
        """Calls ``ask`` for each of many things; in parallel for a server, where network latency dominates."""
        if self.database is not None:
            return list(map(ask, things))
        with ThreadPoolExecutor(_REQUESTS_AT_ONCE) as threads:
            return list(threads.map(ask, things))


@dataclass(frozen=True)
class RunRecord:
    """A run as the store has recorded it."""

    run_id: str
    status: str
    params: dict[str, str]
    tags: dict[str, str]
    values: Mapping[str, float] = field(default_factory=dict)  # the last value of each metric

    @property
    def metrics(self) -> frozenset[str]:
        """The names of its metrics; without the training time, which follows from another metric."""
        return frozenset(self.values) - {TRAIN_SECONDS}

    @property
    def is_whole(self) -> bool:
        """Whether it has a seed and a number of epochs; other programs may write to a shared store without them."""
        return all(re.fullmatch("[0-9]{1,10}", self.params.get(key, "")) for key in ("seed", "epochs"))

    @property
    def flags(self) -> str:
        """The flags that it was made with, see ``numeric_flags.flags``."""
        return self.tags.get(FLAGS, "")

    @property
    def user(self) -> str:
        """The user who recorded it."""
        return self.tags.get(MLFLOW_USER, "unknown")


@dataclass(frozen=True)
class ListedRun:
    """A run with its display name, its last epoch (0 before the first) and ``val_acc`` after it."""

    record: RunRecord
    name: str
    last_epoch: int
    val_acc: float | None


@dataclass(frozen=True)
class RunsByStatus:
    """All runs of a condition, each list oldest first.

    Attributes:
        finished: the runs that count.
        unfinished: running, failed or killed.
        strange: finished, but without a seed or a number of epochs, as if another program had written them.
        with_flags: finished, but made with flags that can alter numbers; they count only if the filter has this tag.
    """

    finished: list[RunRecord]
    unfinished: list[RunRecord]
    strange: list[RunRecord]
    with_flags: list[RunRecord]


def _run_record(run: Run) -> RunRecord:
    data = run.data
    values = {from_mlflow(name): value for name, value in sorted(data.metrics.items(), key=lambda each: "/" in each[0])}
    return RunRecord(run.info.run_id, str(run.info.status), dict(data.params), dict(data.tags), values)


def _listed_run(run: Run) -> ListedRun:
    last = {metric.key: metric for metric in run.data.to_proto().metrics}  # with the epoch, unlike ``data.metrics``
    val_acc = last["val_acc"].value if "val_acc" in last else None
    epoch = max((int(last[name].step) for name in ("loss", "val_acc") if name in last), default=0)
    return ListedRun(_run_record(run), str(run.info.run_name), epoch, val_acc)


def _made_here(runs: Iterable[RunRecord]) -> list[RunRecord]:
    """Returns the runs that were made with the flags of this process."""
    flags = numeric_flags.flags()
    return [run for run in runs if run.flags == flags]


_FINISHED = "attributes.status = 'FINISHED'"


def _filters(run_filter: RunFilter) -> list[str]:
    """Returns a filter as conditions in MLflow's syntax, to be joined with AND."""
    found = [f"tags.`{key}` = {_quoted(value)}" for key, value in run_filter.tags]
    if run_filter.user is not None:
        found.append(f"tags.`{MLFLOW_USER}` = {_quoted(run_filter.user)}")
    if run_filter.commit is not None:
        found.append(f"tags.git_commit LIKE {_quoted(run_filter.commit + '%')}")
    return found


def _quoted(value: str) -> str:
    """Quotes a value for a filter; MLflow has no escape, so the value may not contain the quote around it."""
    quote = '"' if "'" in value else "'"
    if quote in value or value.endswith("\\"):
        raise ValueError(f"{value!r} cannot be part of a filter")
    return f"{quote}{value}{quote}"
