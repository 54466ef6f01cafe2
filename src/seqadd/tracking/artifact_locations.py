"""Where the artifacts of a store in a SQLite file lie: in folders beside it, also after it was moved.

MLflow remembers them by their full path. This module knows how it writes that path, and never imports it.
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

#: What helps where artifacts cannot go where a store remembers them.
RELOCATE = "tracking.relocate=true copies the database and records in it that they lie beside it now"

_FOLDER = "mlruns"
_MOST_BYTES = 100  # of a folder's name; a file system may take 255

# Every place in MLflow's schema that may hold the path of an artifact, or of a folder of them.
_PLACES = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
    ("trace_tags", "value"),
)


def folder_name(experiment: str) -> str:
    """The folder of an experiment's artifacts: its name, or, of one that is no name for a folder, something like it.

    >>> folder_name("seqadd")
    'seqadd'
    >>> folder_name("/Users/anna/adding")
    '_Users_anna_adding-3c0b3f11'
    """
    safe = re.sub(r"[^\w. -]", "_", experiment).encode()[:_MOST_BYTES].decode(errors="ignore").strip(". ")
    if safe == experiment:
        return safe
    # Two experiments must not share a folder because they are called alike.
    digest = hashlib.sha256(experiment.encode(errors="surrogatepass")).hexdigest()[:8]
    return f"{safe or 'experiment'}-{digest}"


def artifact_location(database: Path, experiment: str) -> str:
    """Where the artifacts of a new experiment go, as MLflow takes it."""
    return (database.parent / _FOLDER / folder_name(experiment)).as_uri()


def local_path(location: str) -> Path | None:
    """The folder that MLflow takes a location for; None where it is on no disk of this machine."""
    split = urlsplit(location)
    if split.scheme not in ("", "file"):
        return None
    return Path(url2pathname(split.path if split.scheme else location))


def check_writable(location: str) -> None:
    """Looks whether artifacts can be written there, and leaves nothing; what lies on no disk here is not looked at.

    Raises:
        OSError: when they cannot.
    """
    folder = local_path(location)
    if folder is not None:
        there = next(each for each in (folder, *folder.parents) if each.exists())
        with tempfile.TemporaryFile(dir=there):
            pass


def make_folder(location: str) -> None:
    """Makes the folder for artifacts, if it is to be on a disk of this machine.

    Raises:
        OSError: when it cannot be made.
    """
    folder = local_path(location)
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)


def moved_artifacts(database: Path, run_id: str, uri: str) -> Path | None:
    """Where the artifacts of a run lie after the store was moved, if they are no longer where MLflow remembers them.

    Args:
        database: the store as it lies now.
        run_id: of the run, which is a part of the path.
        uri: where its artifacts are, as MLflow has it.

    Returns:
        A folder below that of the database; None where they are where they should be, or nowhere.
    """
    folder = local_path(uri)
    if folder is None or folder.is_dir():
        return None
    return _beside(database, run_id, folder)


def _beside(database: Path, run_id: str, folder: Path) -> Path | None:
    """The folder below that of the database whose path ends as this one; with the run's id, no other can be meant."""
    parts = folder.parts
    for begin in range(1, len(parts)):
        candidate = database.parent.joinpath(*parts[begin:])
        if run_id in parts[begin:] and candidate.is_dir():
            return candidate
    return None


def is_moved(database: Path, location: str) -> bool:
    """Whether the folder of an experiment's artifacts is not there, and would be made elsewhere than beside the store.

    With runs in the experiment it was there once: so the store was moved, or what it lay on is gone.
    """
    folder = local_path(location)
    if folder is None or folder.is_dir():
        return False
    return database.parent not in Path(os.path.normpath(folder)).parents


def relocate(database: Path) -> Path | None:
    """Records in a store that was moved, or copied, that its artifacts lie beside it now; in one transaction.

    What lies on a server, or on a disk of which there is no copy here and which can be written, stays where it is.

    Returns:
        Where the database was copied to before; None if there was nothing to do.

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
            with connection:  # all of it, or nothing
                for old, new in moves:
                    for table, column in _PLACES:
                        connection.execute(
                            f"UPDATE {table} SET {column} = ? || substr({column}, ?) "
                            f"WHERE {column} = ? OR substr({column}, 1, ?) = ?",
                            (new, len(old) + 1, old, len(old) + 1, f"{old}/"),
                        )
    except sqlite3.Error as error:
        raise ConfigError(f"tracking.relocate=true: {database} is as it was: {error}") from error
    return copy


def _moves(database: Path, connection: sqlite3.Connection) -> list[tuple[str, str]]:
    """Which locations become which, the folders of experiments before those of runs that have their own."""
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
