"""Checks the database file of a store before MLflow opens it, because opening creates and migrates tables.

Parses the URI of the file, tells whether MLflow made it and with which schema, copies it and, on request, migrates it.
Never imports MLflow, which takes seconds: a configuration error must be reported at once.
"""

from __future__ import annotations

import functools
import glob
import importlib.util
import os
import re
import shlex
import sqlite3
import stat
import subprocess
import sys
from contextlib import closing
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path, PurePath
from urllib.parse import unquote

from seqadd.config.schema import Tracking
from seqadd.errors import CannotWrite, ConfigError, StoreNotFound, StoreUnavailable, redact_credentials
from seqadd.system.files import atomic_write

_SCHEME = re.compile(r"sqlite(\+pysqlite)?:///?")
_HEADER = b"SQLite format 3\0"
_WRITE_AHEAD = 2  # the byte after the header and the page size, if the database uses a write-ahead log
_SECONDS_FOR_A_LOCK = 20  # MLflow's own timeout

# Tables that every MLflow since 1.0 has. The schema's revision implies the other tables.
_OF_MLFLOW = {"experiments", "runs", "metrics", "params", "tags"}
_MOST_NAMED = 4

# Bytes of a database's path and file name. SQLite opens no path over 512 bytes, and a file name has at most 255; the
# difference is room for what SQLite, the lock and an unfinished file append.
_LONGEST_PATH, _LONGEST_NAME = 480, 240


def sqlite_path(uri: str) -> Path | None:
    """Returns the absolute path of a SQLite URI's database file, as SQLAlchemy reads it; None for other URIs."""
    if not _SCHEME.match(uri):
        return None
    return Path(unquote(_SCHEME.sub("", uri, count=1).partition("?")[0])).absolute()


def sqlite_uri(path: PurePath) -> str:
    """Returns the URI that SQLAlchemy and MLflow both read as this path, whatever characters its folders have.

    Example:
        ``C:\\anna\\mlflow.db`` is ``sqlite:///C:/anna/mlflow.db``, ``/anna/%/mlflow.db`` is
        ``sqlite+pysqlite:////anna/%25/mlflow.db``.
    """
    path_text = path.as_posix()
    quoted = re.sub(r"[%?#\x00-\x1f\x7f]", lambda found: f"%{ord(found[0]):02X}", path_text)
    # For a plain sqlite:/// MLflow creates the parent folders, and would create them under their quoted names.
    return f"sqlite{'+pysqlite' if quoted != path_text else ''}:///{quoted}"


@dataclass(frozen=True)
class Schema:
    """The tables of a database, and the revision of MLflow's schema.

    Attributes:
        tables: their names.
        revisions: of MLflow's schema, as its migrations have recorded them; empty if none has run.
    """

    tables: frozenset[str]
    revisions: frozenset[str] = frozenset()

    @property
    def is_mlflows(self) -> bool:
        """Whether MLflow made it."""
        return self.tables >= _OF_MLFLOW

    @property
    def is_current(self) -> bool:
        """Whether its schema is the installed MLflow's."""
        return self.revisions == _migrations().heads

    @property
    def is_older(self) -> bool:
        """Whether the installed MLflow knows its schema and can migrate it to its own."""
        return not self.is_current and self.revisions <= _migrations().known

    def __str__(self) -> str:
        return ", ".join(sorted(self.revisions)) or "none"


@dataclass(frozen=True)
class _Migrations:
    known: frozenset[str]
    heads: frozenset[str]


@functools.cache
def _migrations() -> _Migrations:
    """Returns the schema revisions that the installed MLflow can migrate, read from its migration files as text.

    Alembic would import all these files, and with them MLflow and SQLAlchemy.
    """
    mlflow = importlib.util.find_spec("mlflow")
    assert mlflow is not None
    assert mlflow.submodule_search_locations is not None
    folder = Path(mlflow.submodule_search_locations[0]) / "store" / "db_migrations" / "versions"
    texts = [path.read_text(encoding="utf-8") for path in folder.glob("*.py")]
    known = {name for text in texts for name in re.findall(r'^revision = "(\w+)"', text, re.MULTILINE)}
    before = {name for text in texts for line in re.findall(r"^down_revision = (.*)", text, re.MULTILINE)
              for name in re.findall(r'"(\w+)"', line)}  # fmt: skip
    return _Migrations(frozenset(known), frozenset(known - before))


def read_schema(path: Path) -> Schema | None:
    """Reads the schema of a database file without changing it; None if the file does not exist or is empty.

    Raises:
        ConfigError: when the file is no SQLite database, or cannot be read.
    """
    header = _read_header(path)
    if not header:
        return None
    if not header.startswith(_HEADER):
        raise ConfigError(f"{path} is no SQLite database")
    # If there is no log to read, SQLite would create one.
    as_it_is = header[-2] == _WRITE_AHEAD and not Path(f"{path}-wal").exists()
    try:
        return _read_schema(path, as_it_is=as_it_is)
    except sqlite3.Error as error:
        if error.sqlite_errorname.startswith(("SQLITE_READONLY", "SQLITE_CANTOPEN")):
            # A process was killed while it wrote; the next writer has to roll its transaction back.
            return _read_schema(path, as_it_is=True)
        if error.sqlite_errorname.startswith("SQLITE_BUSY"):
            raise StoreUnavailable(
                f"{path} is locked by another process, for {_SECONDS_FOR_A_LOCK} seconds now"
            ) from error
        raise ConfigError(f"{path} cannot be read: {error}") from error


def _read_header(path: Path) -> bytes:
    """Returns the first bytes of a database file; empty if the file does not exist or is empty."""
    try:
        found = path.stat()
        if stat.S_ISDIR(found.st_mode):
            raise ConfigError(f"{path} is a folder, not a database")
        if not stat.S_ISREG(found.st_mode):
            raise ConfigError(f"{path} is no file")
        with path.open("rb") as file:
            return file.read(len(_HEADER) + 4)
    except FileNotFoundError:
        if path.is_symlink():
            raise ConfigError(f"{path} is a link to {os.readlink(path)}, where there is nothing") from None
        return b""
    except OSError as error:
        raise StoreUnavailable(f"{path} cannot be read: {error.strerror}") from error


def _read_schema(path: Path, *, as_it_is: bool) -> Schema | None:
    uri = f"{path.as_uri()}?mode=ro{'&immutable=1' * as_it_is}"
    with closing(sqlite3.connect(uri, uri=True, timeout=_SECONDS_FOR_A_LOCK)) as database:
        names = frozenset(name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'"))
        if "alembic_version" not in names:
            return Schema(names) if names else None
        return Schema(names, frozenset(name for (name,) in database.execute("SELECT version_num FROM alembic_version")))


def check_database(tracking: Tracking, *, create: bool = True) -> None:
    """Checks that a store in a SQLite file can be opened, and changes nothing; a server's URI is not contacted.

    Args:
        tracking: names the store.
        create: whether the caller writes to the store, or creates it if it is missing; a reader does neither.

    Raises:
        StoreNotFound: when there is no store and ``create`` is false.
        ConfigError: when it cannot be opened.
    """
    subject = f"tracking.uri={redact_credentials(tracking.uri)}"
    path = sqlite_path(tracking.uri)
    # Compared with True, because a missing key is a string (``MISSING``), which would count as true.
    for key, wanted in (("relocate", tracking.relocate is True), ("migrate", tracking.migrate is True)):
        if wanted and path is None:
            raise ConfigError(f"tracking.{key}=true: is for a store in a SQLite file; {subject} is another")
        if wanted and not create:
            raise ConfigError(f"tracking.{key}=true: this command only reads a store; python -m seqadd.run does it")
    if path is None:
        return
    if "?" in tracking.uri:
        raise ConfigError(f"{subject}: must be sqlite:///FILE, without settings; a ? in a name is written %3F")
    name = unquote(_SCHEME.sub("", tracking.uri, count=1))
    if name in ("", ":memory:") or "\0" in name or ":///" not in tracking.uri:
        raise ConfigError(f"{subject}: must name a file, as in sqlite:///mlflow.db")
    try:
        str(path).encode()
        _check_file(path, tracking, create=create)
    except UnicodeEncodeError:
        raise ConfigError(f"{subject}: a store cannot lie where a folder's name is not UTF-8: {str(path)!r}") from None
    except StoreNotFound:
        raise
    except ConfigError as error:
        raise type(error)(f"{subject}: {error}") from error


def _check_file(path: Path, tracking: Tracking, *, create: bool) -> None:
    for what, length, most in (
        ("path", len(os.fsencode(path)), _LONGEST_PATH),
        ("name", len(os.fsencode(path.name)), _LONGEST_NAME),
    ):
        if length > most:
            raise ConfigError(f"the {what} of {path} has {length} bytes, a database's may have {most}")
    try:
        there = stat.S_ISDIR(path.parent.stat().st_mode)
    except OSError as error:
        if not isinstance(error, (FileNotFoundError, NotADirectoryError)):
            raise StoreUnavailable(f"{path.parent} cannot be read: {error.strerror}") from error
        there = False
    if not there:
        as_written = Path(_SCHEME.sub("", tracking.uri, count=1)).absolute().parent
        hint = "; in a URI, % is written %25" if as_written != path.parent and as_written.is_dir() else ""
        raise StoreUnavailable(f"there is no folder {path.parent}{hint}")
    schema = read_schema(path)
    if schema is None and not create:
        raise StoreNotFound(f"tracking.uri={tracking.uri}: no store here; python -m seqadd.run creates one")
    if schema is not None:
        check_schema(str(path), sqlite_uri(path), schema, create=create, migrate=tracking.migrate is True)
    # SQLite writes its rollback journal beside the file, so the folder must be writable too.
    for each in (path, path.parent) if create else ():
        if each.exists() and not os.access(each, os.W_OK):
            raise ConfigError(f"{path} cannot be written: {each} may only be read")


def check_schema(name: str, uri: str, schema: Schema, *, create: bool, migrate: bool) -> None:
    """Checks that the installed MLflow can use a database without changing its tables.

    Args:
        name: of the database.
        uri: of the database, as it is written on a command line.
        schema: of the database.
        create: whether the caller writes.
        migrate: whether a writer may migrate it.

    Raises:
        ConfigError: when MLflow did not make it, or its schema is another MLflow version's.
    """
    if not schema.is_mlflows:
        names = sorted(schema.tables)
        tables = ", ".join(names[:_MOST_NAMED]) + (", ..." if len(names) > _MOST_NAMED else "")
        raise ConfigError(f"{name} is not MLflow's: it has the tables {tables}; name another file")
    if schema.is_current or (schema.is_older and create and migrate):
        return
    ours = f"that of MLflow {version('mlflow')}, {', '.join(_migrations().heads)}"
    if not schema.is_older:
        raise ConfigError(f"{name} is of a newer MLflow: its schema is {schema}, not {ours}; install that MLflow")
    key = "tracking.migrate=true" if create else "python -m seqadd.run tracking.migrate=true"
    raise ConfigError(
        f"{name} is of an older MLflow, which can no longer read it once it is migrated: its schema is {schema}, not "
        f"{ours}; migrate it with `mlflow db upgrade {shlex.quote(uri)}`"
        + (f", or with {key}, which copies it first" if uri.startswith("sqlite") else "")
    )


def copy_beside(path: Path, why: str) -> Path:
    """Copies a database atomically to an unused name such as ``mlflow.db.before-migrate``; returns the copy's path.

    Raises:
        CannotWrite: when there is no room for it.
    """
    copy = path.with_name(f"{path.name}.before-{why}")
    number = 2
    while copy.exists():
        copy = path.with_name(f"{path.name}.before-{why}-{number}")
        number += 1
    with atomic_write(copy) as unfinished:
        _copy(path, unfinished)
    return copy


def _copy(source: Path, target: Path) -> None:
    """Copies by SQLite's backup, which includes a write-ahead log and writes the target in one transaction."""
    try:
        with (
            closing(sqlite3.connect(source, timeout=_SECONDS_FOR_A_LOCK)) as from_,
            closing(sqlite3.connect(target)) as to,
        ):
            from_.backup(to)
    except sqlite3.Error as error:
        raise OSError(str(error)) from error


def migrate(path: Path) -> Path:
    """Migrates a database of an older MLflow to the installed MLflow's schema; returns the path of the backup copy.

    It migrates a copy, and writes the copy over the database in one transaction: a kill in between changes nothing.

    Raises:
        ConfigError: when MLflow cannot migrate it.
        CannotWrite: when there is no room.
    """
    copy = copy_beside(path, "migrate")
    unfinished = path.with_name(f"unfinished.migrated.{path.name}")
    try:
        unfinished.unlink(missing_ok=True)  # left by a killed process
        _copy(copy, unfinished)
        upgrade = [sys.executable, "-m", "mlflow", "db", "upgrade", sqlite_uri(unfinished)]
        done = subprocess.run(upgrade, capture_output=True, text=True)
        if done.returncode != 0:
            error = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
            copy.unlink()
            raise ConfigError(f"tracking.migrate=true: MLflow cannot migrate {path}, which is unchanged: {error}")
        _copy(unfinished, path)
    except OSError as error:
        raise CannotWrite(f"cannot write {path}, which is unchanged: {error}") from error
    finally:
        for leftover in path.parent.glob(f"{glob.escape(unfinished.name)}*"):
            leftover.unlink()
    return copy
