"""Opens an MLflow store: checks it, creates it if allowed, and finds or creates the experiment."""

from __future__ import annotations

import glob
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing, nullcontext, suppress
from importlib.metadata import version
from pathlib import Path

import sqlalchemy
import sqlalchemy.orm
from filelock import FileLock
from mlflow import MlflowClient
from mlflow.entities import Experiment, ViewType
from mlflow.exceptions import MlflowException
from mlflow.store.db.db_types import DATABASE_ENGINES

from seqadd.config.schema import Tracking
from seqadd.errors import ConfigError, StoreNotFound, StoreUnavailable, redact_credentials
from seqadd.system.files import atomic_write
from seqadd.system.library_log import with_log_path
from seqadd.system.signals import defer_signals
from seqadd.tracking import artifact_locations, database
from seqadd.tracking.artifact_locations import RELOCATE
from seqadd.tracking.database import check_database, sqlite_path, sqlite_uri
from seqadd.tracking.delivery import reconcile
from seqadd.tracking.retry import STORE_ERRORS, backoff, short_timeout, summarize_error
from seqadd.tracking.run_filter import ALL_RUNS, RunFilter
from seqadd.tracking.store import Store

_ROWS_LOOKED_AT = 400  # rows per index that SQLite samples for its statistics; the number SQLite recommends


def connect(
    tracking: Tracking,
    notify: Callable[[str], None] = lambda text: None,
    *,
    create: bool = True,
    run_filter: RunFilter = ALL_RUNS,
) -> Store:
    """Opens the store of a run, of a sweep or of a reader, and reconciles runs whose processes are gone.

    In a job of a sweep it only opens the store, with retries: the sweep has opened and reconciled it already.

    Raises:
        StoreNotFound, StoreUnavailable, ConfigError: as ``open_store``.
    """
    if tracking.parent_run_id is not None:
        return open_store_with_retry(tracking, notify)
    store = open_store(tracking, create=create, notify=notify)
    reconcile(store)
    return store.filtered(run_filter)


@defer_signals()
def open_store(tracking: Tracking, *, create: bool = True, notify: Callable[[str], None] = lambda text: None) -> Store:
    """Opens the store and its experiment; the first of several processes creates them, the others wait for it.

    Args:
        tracking: names the store and the experiment.
        create: whether the caller writes, so that a missing store is created; a reader creates and migrates nothing.
        notify: receives the path of the backup copy, when the database was migrated or relocated.

    Raises:
        StoreNotFound: when there is no such store or experiment and ``create`` is false.
        StoreUnavailable: when the store does not respond.
        ConfigError: when the store cannot be used.
    """
    check_database(tracking, create=create)
    path = sqlite_path(tracking.uri)
    subject = f"tracking.uri={redact_credentials(tracking.uri)}"
    try:
        if path is None:
            if tracking.uri.partition(":")[0].partition("+")[0] in DATABASE_ENGINES:
                _check_server_database(tracking.uri, create)
            client = MlflowClient(tracking.uri)
            with short_timeout():
                return Store(client, _experiment(client, tracking.experiment, None, create), tracking)
        # MLflow creates the tables at first use; two processes that do so at once corrupt the database for good.
        with FileLock(f"{path}.lock") if create else nullcontext():
            if create:
                _prepare_database(path, tracking, notify)
            _check_tables(path)
            _update_statistics(path)
            client = MlflowClient(sqlite_uri(path))  # absolute, because MLflow caches one store per URI in a process
            # Beside the database, whatever the working directory is.
            artifacts = artifact_locations.artifact_location(path, tracking.experiment)
            experiment = _experiment(client, tracking.experiment, artifacts, create)
            if create:
                _check_location(client, path, experiment)
            return Store(client, experiment, tracking)
    except STORE_ERRORS as error:
        raise StoreUnavailable(f"{subject}: cannot open the store: {summarize_error(error)}") from error


def _prepare_database(path: Path, tracking: Tracking, notify: Callable[[str], None]) -> None:
    """Creates the database of a store for a writer, or migrates and relocates it if the configuration asks for that."""
    schema = database.read_schema(path)
    if schema is None:
        make_database(path)
    elif not schema.is_current and tracking.migrate is True:
        copy = database.migrate(path)
        notify(f"migrated the store to the schema of MLflow {version('mlflow')}; copy of the old database: {copy}")
    if tracking.relocate is True:
        unchanged = artifact_locations.relocate(path)
        if unchanged is not None:
            notify(f"the store now records that its artifacts are beside it; copy of the old database: {unchanged}")


def _check_tables(path: Path) -> None:
    """Raises ConfigError for a database that lacks some of MLflow's tables; MLflow would silently create them."""
    import mlflow.store.db.utils  # noqa: F401 - registers all tables; here, as its half second is useless for servers
    from mlflow.store.db.base_sql_model import Base

    schema = database.read_schema(path)
    lacking = sorted(set(Base.metadata.tables) - schema.tables) if schema is not None else []
    if lacking:
        raise ConfigError(f"{path} is damaged: it lacks MLflow's table {lacking[0]}; restore a backup")


def _check_server_database(uri: str, create: bool) -> None:
    """Like ``check_database``, for a database on a server; if the server is down, MLflow would retry for minutes.

    Raises:
        StoreNotFound: when the database holds no store and ``create`` is false.
        ConfigError: when another MLflow made its schema, or its driver is not installed.
        STORE_ERRORS: when it does not respond.
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
        raise StoreNotFound(f"tracking.uri={redact_credentials(uri)}: no store here; python -m seqadd.run creates one")


def _check_location(client: MlflowClient, path: Path, experiment: Experiment) -> None:
    """Raises ConfigError if an experiment's artifacts cannot be written to the location that the store has recorded."""
    location = experiment.artifact_location
    subject = f"tracking.experiment={experiment.name}: its artifacts are recorded at {location}"
    elsewhere = artifact_locations.is_moved(path, location)
    if elsewhere and client.search_runs([experiment.experiment_id], run_view_type=ViewType.ALL, max_results=1):
        raise ConfigError(f"{subject}, which does not exist; was the store moved? {RELOCATE}")
    try:
        artifact_locations.check_writable(location)
        if elsewhere:  # before the first run: after it, a missing folder would mean that the store was moved
            artifact_locations.make_folder(location)
    except OSError as error:
        in_its_place = artifact_locations.local_path(location) == artifact_locations.local_path(
            artifact_locations.artifact_location(path, experiment.name)
        )
        remedy = "make room for them" if in_its_place else RELOCATE
        raise ConfigError(f"{subject}, where nothing can be written ({error.strerror}); {remedy}") from error


def open_store_with_retry(tracking: Tracking, notify: Callable[[str], None]) -> Store:
    """Opens a store that the sweep has opened before, and retries for ten minutes if it does not respond.

    Raises:
        ConfigError: when the store still does not respond then, or can no longer be used.
    """
    for attempt, pause in enumerate(backoff()):
        try:
            return open_store(tracking)
        except StoreUnavailable as error:
            if attempt == 0:
                notify(with_log_path(f"waiting for the store: {error}"))
        time.sleep(pause)
    return open_store(tracking)


def _update_statistics(path: Path) -> None:
    """Has SQLite update its statistics of the store's tables, as SQLite advises every program to do regularly.

    Without them SQLite chooses the wrong index, and scans the metrics of all runs to find one run's. The update takes
    milliseconds, and no time while little has changed; if the database is read-only, queries stay slow.
    """
    with suppress(sqlite3.Error), closing(sqlite3.connect(path, timeout=0.1)) as connection:
        connection.execute(f"PRAGMA analysis_limit = {_ROWS_LOOKED_AT}")
        # PRAGMA optimize considers only tables that this connection has queried.
        connection.execute("EXPLAIN SELECT 1 FROM metrics WHERE key = '' AND run_uuid = '' ORDER BY timestamp")
        connection.execute("PRAGMA optimize")


def import_database_store() -> None:
    """Imports what opening a database as a store imports, for a process that forks others, which then need not do it.

    The imports and SQLAlchemy's mappers take each process as long as ten short epochs.
    """
    import mlflow.store.db.utils
    import mlflow.store.tracking.sqlalchemy_store  # noqa: F401

    sqlalchemy.orm.configure_mappers()


def make_database(path: Path) -> None:
    """Creates an empty store atomically: MLflow never repairs a database that a killed process left incomplete."""
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    ours = f"{glob.escape(path.name)}*"
    for killed in path.parent.glob(f"unfinished.*.{ours}"):  # by killed processes: this one holds the lock
        killed.unlink()
    with atomic_write(path) as unfinished:
        try:
            store = SqlAlchemyStore(sqlite_uri(unfinished), (path.parent / "mlruns").as_uri())  # type: ignore[no-untyped-call]
            store.engine.dispose()  # Windows renames no file that is open
        finally:
            for leftover in unfinished.parent.glob(f"{glob.escape(unfinished.name)}-*"):  # SQLite's journal
                leftover.unlink()


def _experiment(client: MlflowClient, name: str, artifact_location: str | None, create: bool) -> Experiment:
    found = client.get_experiment_by_name(name)
    if found is None and not create:
        raise StoreNotFound(f"tracking.experiment={name}: no such experiment in this store")
    if found is None:
        try:
            # Without this tag, MLflow's page would show it as an experiment with language models.
            kind = {"mlflow.experimentKind": "custom_model_development"}
            return client.get_experiment(client.create_experiment(name, artifact_location, tags=kind))
        except MlflowException:
            # On a server, another process can have created it in the meantime; if not, the error stands.
            found = client.get_experiment_by_name(name)
            if found is None:
                raise
    if found.lifecycle_stage != "active":
        raise ConfigError(
            f"tracking.experiment={name}: was deleted in this store; restore it with "
            f"`mlflow experiments restore -x {found.experiment_id}` or choose another name"
        )
    return found
