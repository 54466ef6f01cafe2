"""Addresses of MLflow's pages, for the last lines of a command."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from seqadd.errors import redact_credentials
from seqadd.tracking.database import sqlite_uri

if TYPE_CHECKING:
    from seqadd.tracking.store import Store

#: Without this parameter, MLflow opens its pages about language models, which have no list of runs.
TRAINING = "workflowType=machine_learning"

# `mlflow ui` without flags.
_LOCAL = "http://127.0.0.1:5000"


def where_to_look(store: Store, run_id: str, what: str = "run") -> list[str]:
    """Returns lines with the addresses of the list of runs and of one run's page.

    Args:
        store: the store of the run.
        run_id: its id.
        what: what it is: ``run``, ``sweep`` or ``search``.
    """
    base, how = _address(store)
    runs = f"{base}/#/experiments/{store.experiment_id}/runs"
    return [f"all runs{how}: {runs}?{TRAINING}", f"this {what}: {runs}/{run_id}?{TRAINING}"]


def _address(store: Store) -> tuple[str, str]:
    """Returns the address of the server that shows a store, and how to start it if it may not run yet."""
    address = urlsplit(store.uri)
    if address.scheme in ("http", "https"):
        return address._replace(netloc=address.netloc.rpartition("@")[2]).geturl().rstrip("/"), ""
    if store.database is None:
        return _LOCAL, f", after `mlflow ui --backend-store-uri {redact_credentials(store.uri)}` (port 5000)"
    if store.database == Path.cwd() / "mlflow.db":
        return _LOCAL, ", after `mlflow ui` in this folder (port 5000)"
    return _LOCAL, f", after `mlflow ui --backend-store-uri {shlex.quote(sqlite_uri(store.database))}` (port 5000)"
