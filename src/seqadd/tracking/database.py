"""The database file of a store, looked at before MLflow opens it: MLflow makes and migrates tables in what it opens.

Knows how the file is named in a URI, whose it is and of which schema; copies it and, where that is asked for, migrates
it. Never imports MLflow, which takes seconds that a refusal must not cost.
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
from pathlib import Path
from urllib.parse import unquote

from seqadd.config.schema import Tracking
from seqadd.errors import CannotWrite, ConfigError, StoreNotFound, StoreUnavailable, redact_credentials
from seqadd.system.files import atomic_write

_SCHEME = re.compile(r"sqlite(\+pysqlite)?:///?")
_HEADER = b"SQLite format 3\0"
_WRITE_AHEAD = 2  # the byte after the header and the page size, of a database that keeps its latest changes in a log
_SECONDS_FOR_A_LOCK = 20  # as MLflow waits

# Tables that every MLflow since 1.0 has. Of its other tables the schema's revision tells.
_OF_MLFLOW = {"experiments", "runs", "metrics", "params", "tags"}
_MOST_NAMED = 4

# Bytes of a database's path that leave room for what SQLite, the lock and an unfinished file add to it: SQLite opens no
# path of more than 512, and a name has 255 at most.
_LONGEST_PATH, _LONGEST_NAME = 480, 240


def sqlite_path(uri: str) -> Path | None:
    """The database file of a SQLite URI, absolute, as SQLAlchemy reads it; None for other URIs."""
    if not _SCHEME.match(uri):
        return None
    return Path(unquote(_SCHEME.sub("", uri, count=1).partition("?")[0])).absolute()


def sqlite_uri(path: Path) -> str:
    """The URI of a database file that SQLAlchemy and MLflow read as this path, whatever its folders are called."""
    quoted = re.sub(r"[%?#\x00-\x1f\x7f]", lambda found: f"%{ord(found[0]):02X}", str(path))
    # Of a plain sqlite:/// MLflow makes the parent folders, and takes the quoted name for that of the folder.
    return f"sqlite{'+pysqlite' if quoted != str(path) else ''}:///{quoted}"


@dataclass(frozen=True)
class Schema:
    """What is in a database.

    Attributes:
        tables: their names.
        revisions: of MLflow's schema, as its migrations have noted it; empty where none has.
    """

    tables: frozenset[str]
    revisions: frozenset[str] = frozenset()

    @property
    def is_mlflows(self) -> bool:
        """Whether MLflow made it."""
        return self.tables >= _OF_MLFLOW

    @property
    def is_current(self) -> bool:
        """Whether its schema is that of the MLflow that is installed."""
        return self.revisions == _migrations().heads

    @property
    def is_older(self) -> bool:
        """Whether the MLflow that is installed knows its schema, and how to migrate it to its own."""
        return not self.is_current and self.revisions <= _migrations().known

    def __str__(self) -> str:
        return ", ".join(sorted(self.revisions)) or "none"


@dataclass(frozen=True)
class _Migrations:
    known: frozenset[str]
    heads: frozenset[str]


@functools.cache
def _migrations() -> _Migrations:
    """The revisions of the schema that the installed MLflow can migrate, from the files that do it.

    Alembic would import all of them, and MLflow and SQLAlchemy with them.
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
    """What is in a database file, which stays as it is; None where there is no file, or nothing is in it.

    Raises:
        ConfigError: for what is no SQLite database, or cannot be read.
    """
    header = _read_header(path)
    if not header:
        return None
    if not header.startswith(_HEADER):
        raise ConfigError(f"{path} is no SQLite database")
    # Without a log that is to be read, SQLite would make one.
    as_it_is = header[-2] == _WRITE_AHEAD and not Path(f"{path}-wal").exists()
    try:
        return _read_schema(path, as_it_is=as_it_is)
    except sqlite3.Error as error:
        if error.sqlite_errorname.startswith(("SQLITE_READONLY", "SQLITE_CANTOPEN")):
            # The process that wrote it was killed, and the next to write has to undo what it had begun.
            return _read_schema(path, as_it_is=True)
        if error.sqlite_errorname.startswith("SQLITE_BUSY"):
            raise StoreUnavailable(
                f"{path} is locked by another process, for {_SECONDS_FOR_A_LOCK} seconds now"
            ) from error
        raise ConfigError(f"{path} cannot be read: {error}") from error


def _read_header(path: Path) -> bytes:
    """The first bytes of a database file; empty where there is no file, or nothing is in it."""
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
    """Looks whether a store can be opened, and changes nothing. Of a server it knows only when it is asked.

    Args:
        tracking: names the store.
        create: whether it is to be written, or made if it is not there; a reader does neither.

    Raises:
        NothingThere: when there is no store and ``create`` is false.
        ConfigError: when it cannot be opened.
    """
    said = f"tracking.uri={redact_credentials(tracking.uri)}"
    path = sqlite_path(tracking.uri)
    # Compared with True, because a key that was not given is a word.
    for key, asked in (("relocate", tracking.relocate is True), ("migrate", tracking.migrate is True)):
        if asked and path is None:
            raise ConfigError(f"tracking.{key}=true: is for a store in a SQLite file; {said} is another")
        if asked and not create:
            raise ConfigError(f"tracking.{key}=true: this command only reads a store; python -m seqadd.run does it")
    if path is None:
        return
    if "?" in tracking.uri:
        raise ConfigError(f"{said}: must be sqlite:///FILE, without settings; a ? in a name is written %3F")
    name = unquote(_SCHEME.sub("", tracking.uri, count=1))
    if name in ("", ":memory:") or "\0" in name or ":///" not in tracking.uri:
        raise ConfigError(f"{said}: must name a file, as in sqlite:///mlflow.db")
    try:
        str(path).encode()
        _check_file(path, tracking, create=create)
    except UnicodeEncodeError:
        raise ConfigError(f"{said}: a store cannot lie where a folder's name is not UTF-8: {str(path)!r}") from None
    except StoreNotFound:
        raise
    except ConfigError as error:
        raise type(error)(f"{said}: {error}") from error


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
        raise StoreNotFound(f"tracking.uri={tracking.uri}: no store here; python -m seqadd.run makes one")
    if schema is not None:
        check_schema(str(path), sqlite_uri(path), schema, create=create, migrate=tracking.migrate is True)
    # SQLite keeps what it needs to undo a change beside the file.
    for each in (path, path.parent) if create else ():
        if each.exists() and not os.access(each, os.W_OK):
            raise ConfigError(f"{path} cannot be written: {each} may only be read")


def check_schema(name: str, uri: str, schema: Schema, *, create: bool, migrate: bool) -> None:
    """Looks whether the installed MLflow can use a database without changing its tables.

    Args:
        name: of the database.
        uri: of the database, as it is written on a command line.
        schema: what is in it.
        create: whether it is to be written.
        migrate: whether a writer may migrate it.

    Raises:
        ConfigError: when it is not MLflow's, or another MLflow's.
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
    """Copies a database, whole, to a name of its own: ``mlflow.db.before-migrate``; returns where.

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
    """By SQLite itself, which takes what waits in a log too and writes a target in one transaction."""
    try:
        with (
            closing(sqlite3.connect(source, timeout=_SECONDS_FOR_A_LOCK)) as from_,
            closing(sqlite3.connect(target)) as to,
        ):
            from_.backup(to)
    except sqlite3.Error as error:
        raise OSError(str(error)) from error


def migrate(path: Path) -> Path:
    """Migrates a database of an older MLflow to the schema of the installed one; returns where its copy lies.

    A copy is migrated, and takes the place of what was there in one transaction: killed in the middle, it is as before.

    Raises:
        ConfigError: when MLflow cannot.
        CannotWrite: when there is no room.
    """
    copy = copy_beside(path, "migrate")
    unfinished = path.with_name(f"unfinished.migrated.{path.name}")
    try:
        unfinished.unlink(missing_ok=True)  # of a process that was killed
        _copy(copy, unfinished)
        upgrade = [sys.executable, "-m", "mlflow", "db", "upgrade", sqlite_uri(unfinished)]
        done = subprocess.run(upgrade, capture_output=True, text=True)
        if done.returncode != 0:
            said = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
            copy.unlink()
            raise ConfigError(f"tracking.migrate=true: MLflow cannot migrate {path}, which is as it was: {said}")
        _copy(unfinished, path)
    except OSError as error:
        raise CannotWrite(f"cannot write {path}, which is as it was: {error}") from error
    finally:
        for leftover in path.parent.glob(f"{glob.escape(unfinished.name)}*"):
            leftover.unlink()
    return copy
