"""PostgreSQL and an MLflow server with passwords for tests, started by ``scripts/services.py``."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import pytest
import sqlalchemy
from mlflow import MlflowClient

sys.path.insert(0, str(Path(__file__).parents[1] / "scripts"))
import services
import slurm

T = TypeVar("T")


def need(missing: Callable[[], str | None]) -> None:
    """Skips a test if this machine lacks its services; the reason names all missing ones, in one line."""
    if missing() is not None:
        pytest.skip("; ".join(lack for lack in (slurm.missing(), services.missing()) if lack is not None))


def or_fail(do: Callable[[], T]) -> T:
    """Returns the result of ``do``; fails the test with one line if an installed service does not start."""
    try:
        return do()
    except services.ServiceError as error:
        missing = str(error)
    pytest.fail(missing, pytrace=False)  # outside the except block, or pytest would also print the error, in many lines


class Postgres:
    """A PostgreSQL server that can be stopped, restarted on the same port, and queried."""

    def __init__(self, folder: Path) -> None:
        need(services.missing)
        self.folder = folder
        self.start()

    def start(self) -> None:
        self.uri = or_fail(lambda: services.start_postgres(self.folder))

    def stop(self) -> None:
        services.stop_postgres(self.folder)

    def alone(self, *statements: str) -> None:
        """Executes SQL as the owner of everything, while PostgreSQL is stopped."""
        services.postgres_alone(self.folder / "postgres", statements)

    def rows(self, query: str, **values: Any) -> list[tuple[Any, ...]]:
        """Returns the rows of a query."""
        engine = sqlalchemy.create_engine(self.uri, poolclass=sqlalchemy.NullPool)
        with engine.connect() as connection:
            found = connection.execute(sqlalchemy.text(query), values)
            rows = [tuple(row) for row in found] if found.returns_rows else []
            connection.commit()
        return rows


class Server:
    """An MLflow server on that database, with served artifacts and passwords."""

    def __init__(self, postgres: Postgres) -> None:
        self.postgres = postgres
        self.uri = or_fail(lambda: services.start_mlflow(postgres.folder, postgres.uri, auth=True, workers=1))
        self.client = MlflowClient(self.uri)
        self.admin = {
            "MLFLOW_TRACKING_USERNAME": "admin",
            "MLFLOW_TRACKING_PASSWORD": services.admin_password(postgres.folder),
        }

    def values_of(self, run_id: str) -> dict[str, list[tuple[int, float]]]:
        """Returns every recorded value of a run: metric -> (epoch, value), in the order of epochs."""
        found: dict[str, list[tuple[int, float]]] = {}
        query = "select key, step, value from metrics where run_uuid = :run order by key, step"
        for key, step, value in self.postgres.rows(query, run=run_id):
            found.setdefault(key, []).append((step, value))
        return found


@contextmanager
def services_folder() -> Iterator[Path]:
    """Yields a folder that PostgreSQL's user may traverse, unlike pytest's own; stops its services at the end."""
    folder = Path(tempfile.mkdtemp(prefix="seqadd-"))
    folder.chmod(0o711)
    try:
        yield folder
    finally:
        services.stop_mlflow(folder)
        services.stop_postgres(folder)
        shutil.rmtree(folder)
