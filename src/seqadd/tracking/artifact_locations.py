"""Locates the artifacts of a store in a SQLite file: in folders beside the file, even after the file was moved.

MLflow records artifacts by their full path. This module knows how MLflow writes that path, and never imports MLflow.
"""

from __future__ import annotations

import hashlib
import os
import re
import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

from seqadd.errors import ConfigError
from seqadd.tracking.database import copy_beside

#: The remedy in errors, when artifacts cannot be written to the folder that the store has recorded.
RELOCATE = "tracking.relocate=true copies the database and records in it that they lie beside it now"

_FOLDER = "mlruns"
_MOST_BYTES = 100  # of a folder's name; file systems allow 255
# Names that Windows keeps for devices, with any ending.
_OF_WINDOWS = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)

# Every table and column of MLflow's schema that may hold the path of an artifact, or of a folder of artifacts.
_PLACES = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
    ("trace_tags", "value"),
)


def folder_name(experiment: str) -> str:
    """Returns the folder name for an experiment's artifacts: its own name, or a similar one if that is not a safe name.

    >>> folder_name("seqadd")
    'seqadd'
    >>> folder_name("/Users/anna/adding")
    '_Users_anna_adding-3c0b3f11'
    >>> folder_name("aux")  # Windows keeps this name for a device
    'aux-321f6814'
    """
    safe = re.sub(r"[^\w. -]", "_", experiment).encode()[:_MOST_BYTES].decode(errors="ignore").strip(". ")
    if safe == experiment and not _OF_WINDOWS.fullmatch(safe):
        return safe
    # Without the digest, two experiments with similar names could share a folder.
    digest = hashlib.sha256(experiment.encode(errors="surrogatepass")).hexdigest()[:8]
    return f"{safe or 'experiment'}-{digest}"


def artifact_location(database: Path, experiment: str) -> str:
    """Returns the URI of the folder for a new experiment's artifacts, as MLflow expects it."""
    return (database.parent / _FOLDER / folder_name(experiment)).as_uri()


def local_path(location: str) -> Path | None:
    """Returns the folder that MLflow reads from a location; None if it is not on a disk of this machine."""
    split = urlsplit(location)
    if split.scheme not in ("", "file"):
        return None
    return Path(url2pathname(split.path if split.scheme else location))


def check_writable(location: str) -> None:
    """Checks that artifacts can be written to a location; leaves no file, and skips locations not on a local disk.

    Raises:
        OSError: when they cannot.
    """
    folder = local_path(location)
    if folder is not None:
        there = next(each for each in (folder, *folder.parents) if each.exists())
        with tempfile.TemporaryFile(dir=there):
            pass


def make_folder(location: str) -> None:
    """Creates the folder for artifacts, if its location is on a disk of this machine.

    Raises:
        OSError: when it cannot be created.
    """
    folder = local_path(location)
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)


def moved_artifacts(database: Path, run_id: str, uri: str) -> Path | None:
    """Finds the artifacts of a run after the store was moved, if they are no longer where MLflow has recorded them.

    Args:
        database: the current path of the store.
        run_id: ID of the run, which is a part of the path.
        uri: location of the run's artifacts, as MLflow has recorded it.

    Returns:
        A folder below the database's folder; None if the artifacts are where MLflow expects them, or do not exist.
    """
    folder = local_path(uri)
    if folder is None or folder.is_dir():
        return None
    return _beside(database, run_id, folder)


def _beside(database: Path, run_id: str, folder: Path) -> Path | None:
    """Finds a folder below the database's folder whose path ends as ``folder`` does; the run's ID makes it unique."""
    parts = folder.parts
    for begin in range(1, len(parts)):
        candidate = database.parent.joinpath(*parts[begin:])
        if run_id in parts[begin:] and candidate.is_dir():
            return candidate
    return None


def is_moved(database: Path, location: str) -> bool:
    """Returns whether an experiment's artifact folder is missing, and would not be created beside the store.

    If the experiment has runs, the folder existed once: so the store was moved, or the folder's disk is gone.
    """
    folder = local_path(location)
    if folder is None or folder.is_dir():
        return False
    return database.parent not in Path(os.path.normpath(folder)).parents


def relocate(database: Path) -> Path | None:
    """Records in a moved or copied store that its artifacts now lie beside it; in one transaction.

    Locations on a server stay as they are. So do writable folders on disk of which there is no copy beside the store.

    Returns:
        The path of the database's backup copy; None if there was nothing to do.

    Raises:
        ConfigError: when the database cannot be written.
        CannotWrite: when there is no room for the copy.
    """
    try:
        with closing(sqlite3.connect(database)) as connection:
            moves = _moves(database, connection)
            if not moves:
                return None
            copy = copy_beside(database, "relocate")
            with connection:  # one transaction
                for old, new in moves:
                    for table, column in _PLACES:
                        connection.execute(
                            f"UPDATE {table} SET {column} = ? || substr({column}, ?) "
                            f"WHERE {column} = ? OR substr({column}, 1, ?) = ?",
                            (new, len(old) + 1, old, len(old) + 1, f"{old}/"),
                        )
    except sqlite3.Error as error:
        raise ConfigError(f"tracking.relocate=true: {database} is unchanged: {error}") from error
    return copy


def _moves(database: Path, connection: sqlite3.Connection) -> list[tuple[str, str]]:
    """Returns (old, new) pairs of locations: experiments first, then runs whose folder is not below an experiment's."""
    moves: list[tuple[str, str]] = []
    own: list[tuple[str, str]] = []
    experiments = "SELECT experiment_id, name, artifact_location FROM experiments WHERE artifact_location IS NOT NULL"
    for experiment_id, name, location in connection.execute(experiments).fetchall():
        runs = connection.execute("SELECT run_uuid, artifact_uri FROM runs WHERE experiment_id = ?", (experiment_id,))
        found: dict[Path, None] = {}
        for run_id, uri in runs:
            folder = local_path(uri or "s3:")
            candidate = _beside(database, run_id, folder) if folder is not None else None
            if folder is None or candidate is None or (folder.is_dir() and folder.samefile(candidate)):
                continue
            if uri == f"{location}/{run_id}/artifacts":
                found[candidate.parents[1]] = None
            else:
                own.append((uri, candidate.as_uri()))
        folder = local_path(location)
        if found:
            moves.append((location, next(iter(found)).as_uri()))
        elif folder is not None and (is_moved(database, location) or not _can_be_written(folder)):
            in_its_place = folder.parent.name == _FOLDER and database.parent not in folder.parents
            new = database.parent / _FOLDER / (folder.name if in_its_place else folder_name(name))
            if new != folder:
                moves.append((location, new.as_uri()))
    return moves + own


def _can_be_written(folder: Path) -> bool:
    return not folder.exists() or (folder.is_dir() and os.access(folder, os.W_OK))
