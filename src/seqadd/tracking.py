"""The only room that knows MLflow: the store, a run's record from start to end, and finding runs again.

Signals are held during every call of MLflow's: one that were cut in two could leave the database locked.
"""

from __future__ import annotations

import functools
import json
import logging
import os
import platform
import subprocess
import tempfile
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock

# A research program reports to nobody; whoever wants MLflow's telemetry sets the variable to false.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
# Its bars over every download would cut into the progress.
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")

from mlflow import MlflowClient
from mlflow.entities import (
    Dataset as MlflowDataset,
)
from mlflow.entities import DatasetInput, InputTag, Metric, Param, Run, ViewType
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

from seqadd.addition import Dataset
from seqadd.config import Config, ConfigError, Tracking, as_text, in_one_line
from seqadd.exits import Interrupted, signals_held
from seqadd.machine import processor_name, processors

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# "Creating initial MLflow database tables..." says nothing to the person at the terminal.
for _chatty in ("mlflow.store.db.utils", "alembic"):
    logging.getLogger(_chatty).setLevel(logging.WARNING)

_SQLITE = "sqlite:///"
_PAGE = 1000
_METRICS_PER_REQUEST = 1000


class Store:
    """An MLflow store with the experiment that runs are recorded in.

    Attributes:
        client: MLflow's own client of the store.
        experiment_id: of the experiment named in the configuration.
    """

    def __init__(self, client: MlflowClient, experiment_id: str) -> None:
        self.client = client
        self.experiment_id = experiment_id

    @contextmanager
    def record(
        self, name: str, *, params: dict[str, Any], tags: dict[str, str], parent_run_id: str | None = None
    ) -> Iterator[TrackedRun]:
        """A run that is open inside the ``with`` and ends with a status that is true.

        FINISHED after the last line, FAILED (traceback as the artifact ``traceback.txt``) after an exception, KILLED
        after Ctrl-C or SIGTERM.
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
        status, traceback_text = "FAILED", None
        try:
            with signals_held():
                created = self.client.create_run(self.experiment_id, tags=all_tags, run_name=name)
                run = TrackedRun(self.client, created.info.run_id)
                self.client.log_batch(run.run_id, params=[Param(k, as_text(v)) for k, v in params.items()])
            yield run
            status = "FINISHED"
        except (Interrupted, KeyboardInterrupt):
            status = "KILLED"
            raise
        except BaseException:
            traceback_text = traceback.format_exc()
            raise
        finally:
            if run is not None:
                with signals_held():
                    self._close(run.run_id, status, traceback_text)

    def _close(self, run_id: str, status: str, traceback_text: str | None) -> None:
        """Ends a run and the jobs of a sweep that were killed before they could do it themselves."""
        self.client.set_terminated(run_id, status)
        for child in self._search(f"attributes.status = 'RUNNING' AND tags.`{MLFLOW_PARENT_RUN_ID}` = '{run_id}'"):
            self.client.set_terminated(child.info.run_id, "KILLED" if status == "KILLED" else "FAILED")
        if traceback_text is not None:
            # The status stands already; a full disk must not hide the error that is on its way.
            with suppress(MlflowException, SQLAlchemyError, OSError):
                self.client.log_text(run_id, traceback_text, "traceback.txt")

    def condition_runs(self, condition_hash: str) -> list[FinishedRun]:
        """The finished runs of one condition, oldest first."""
        return self._finished(f"tags.condition_hash = '{condition_hash}'")

    def shorter_runs(self, config: Config) -> list[FinishedRun]:
        """The finished runs that the configuration goes on from with more epochs; the longest first."""
        runs = self._finished(f"tags.trajectory_hash = '{config.trajectory_hash()}'")
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

    def _finished(self, wanted: str) -> list[FinishedRun]:
        found = self._search(f"attributes.status = 'FINISHED' AND {wanted}")
        return [FinishedRun(run.info.run_id, dict(run.data.params), dict(run.data.tags)) for run in found]

    @signals_held()
    def _search(self, wanted: str) -> list[Run]:
        """The runs of the experiment that a filter fits, oldest first."""
        runs: list[Run] = []
        token = None
        while True:
            page = self.client.search_runs(
                [self.experiment_id],
                filter_string=wanted,
                run_view_type=ViewType.ACTIVE_ONLY,
                max_results=_PAGE,
                order_by=["attributes.start_time ASC"],
                page_token=token,
            )
            runs.extend(page)
            token = page.token
            if not token:
                return runs

    @signals_held()
    def history(self, run_id: str, metric: str) -> dict[int, float]:
        """A metric's value after each epoch, epochs counted from 1, in their order."""
        values = self.client.get_metric_history(run_id, metric)
        return {point.step: point.value for point in sorted(values, key=lambda point: point.step)}


@dataclass(frozen=True)
class FinishedRun:
    """What the store says of a run that is over."""

    run_id: str
    params: dict[str, str]
    tags: dict[str, str]


class TrackedRun:
    """The record of a run that is under way."""

    def __init__(self, client: MlflowClient, run_id: str) -> None:
        self._client = client
        self.run_id = run_id

    def log_epoch(self, epoch: int, metrics: dict[str, float]) -> None:
        """Records the metrics of an epoch (from 1) in one request."""
        self.log_history([{"epoch": epoch, **metrics}])

    @signals_held()
    def log_history(self, history: list[dict[str, float]]) -> None:
        """Records the metrics of many epochs, each with its ``epoch``, in as few requests as MLflow takes."""
        now = int(time.time() * 1000)
        metrics = [
            Metric(name, value, now, int(row["epoch"]))
            for row in history
            for name, value in row.items()
            if name != "epoch"
        ]
        for start in range(0, len(metrics), _METRICS_PER_REQUEST):
            self._client.log_batch(self.run_id, metrics=metrics[start : start + _METRICS_PER_REQUEST])

    @signals_held()
    def tag(self, name: str, value: str) -> None:
        """Records a tag."""
        self._client.set_tag(self.run_id, name, value)

    @signals_held()
    def log_dataset(self, config: Config, data: Dataset, digest: str) -> None:
        """Records the data set as an input of the run, and its digest as a tag."""
        described = MlflowDataset(
            name=f"{config.task.digits}-digit sums",
            digest=digest,
            source_type="code",
            source=json.dumps({"function": "seqadd.addition.make_dataset", "seed": config.seed}),
            profile=json.dumps({"train": len(data.train_questions), "val": len(data.val_questions)}),
        )
        self._client.log_inputs(
            self.run_id, [DatasetInput(described, [InputTag("mlflow.data.context", "training and validation")])]
        )
        self.tag("data_digest", digest)

    @signals_held()
    def log_text(self, text: str, name: str) -> None:
        """Records a text as the artifact ``name``."""
        self._client.log_text(self.run_id, text, name)

    @signals_held()
    def log_figure(self, figure: Figure, name: str) -> None:
        """Records a matplotlib figure as the artifact ``name``."""
        self._client.log_figure(self.run_id, figure, name)

    @contextmanager
    def artifact_file(self, name: str) -> Iterator[Path]:
        """A temporary path to write the artifact ``name`` to; recorded when the ``with`` ends."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / name
            yield path
            with signals_held():
                self._client.log_artifact(self.run_id, str(path))


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
    if path is not None and not path.parent.is_dir():
        raise ConfigError(f"tracking.uri={tracking.uri}: there is no folder {path.parent}")
    if not create and path is not None and not path.exists():
        raise ConfigError(f"tracking.uri={tracking.uri}: no store here; python -m seqadd.run makes one")
    try:
        if path is None:
            client = MlflowClient(tracking.uri)
            with _short_patience():
                return Store(client, _experiment_id(client, tracking.experiment, None, create))
        # MLflow makes a database's tables at first use, and two processes that do so at once break it for good.
        # A reader of somebody else's folder cannot lock, and needs not.
        with FileLock(f"{path}.lock") if create or os.access(path.parent, os.W_OK) else nullcontext():
            client = MlflowClient(f"{_SQLITE}{path}")  # absolute, because MLflow keeps one store a URI in a process
            # Beside the database, wherever the program runs.
            artifacts = str(path.parent / "mlruns" / tracking.experiment)
            return Store(client, _experiment_id(client, tracking.experiment, artifacts, create))
    except (MlflowException, SQLAlchemyError, OSError) as error:
        said = str(error).strip().partition("\n")[0]
        raise ConfigError(f"tracking.uri={tracking.uri}: cannot open the store: {said}") from error


@contextmanager
def _short_patience() -> Iterator[None]:
    """Asks a server once and for seconds, where MLflow would ask for minutes; what the person has set stands."""
    ours = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0", "MLFLOW_HTTP_REQUEST_TIMEOUT": "8"}
    ours = {name: value for name, value in ours.items() if name not in os.environ}
    os.environ.update(ours)
    try:
        yield
    finally:
        for name in ours:
            del os.environ[name]


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
        "era": config.era,
        "threads": str(config.threads),
        "jit": str(config.jit).lower(),
        "git_commit": commit,
        "git_dirty": dirty,
        MLFLOW_GIT_COMMIT: commit,
        "python": platform.python_version(),
        **{package: version(package) for package in ("seqadd", "tensorflow", "keras", "numpy", "mlflow")},
        "machine": f"{platform.system()} {platform.machine()}, {processor_name()}, {processors()} processors",
    }


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
        return git("rev-parse", "HEAD"), str(bool(git("status", "--porcelain"))).lower()
    except (OSError, subprocess.SubprocessError):
        return "unknown", "unknown"


def _user() -> str:
    return os.environ.get("USER") or os.environ.get("USERNAME") or "unknown"
