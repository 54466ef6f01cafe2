"""What is said where a store fails, and who is said to have recorded in it."""

from __future__ import annotations

import contextlib
import logging
import os
import sqlite3
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from conftest import quick_database

from seqadd import logs, run, tracking
from seqadd.config import ConfigError, Tracking
from seqadd.only import Only

HERE = Tracking("sqlite:///mlflow.db", "seqadd", None, None)


def change(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        for statement in statements:
            connection.execute(statement)


@contextlib.contextmanager
def recording(store: tracking.Store, **settings: object) -> Iterator[tracking.TrackedRun]:
    """A run of its own."""
    with (
        store.unfinished(uuid.uuid4().hex).claimed(print) as place,
        store.record(place, "name", **{"params": {}, "tags": {}, **settings}) as record,
    ):
        yield record


def finished_run(store: tracking.Store, **settings: object) -> str:
    with recording(store, **settings) as record:
        record.log_epoch({"epoch": 1, "loss": 0.5})
        record.log_text("a note", "note.txt")
    return record.run_id


# ---- what libraries log


def test_what_libraries_log_of_an_error_is_in_the_file_that_the_line_names(call, monkeypatch):
    def fail() -> None:
        logging.getLogger("mlflow.store.db.utils").error("SQL\n" * 300 + "http://ann:secret@host")
        raise OSError("database or disk is full")

    monkeypatch.setattr(run, "check_command_line", fail)
    code, out, err = call(run.main)
    assert (code, out, err.count("\n")) == (1, "", 1)
    said, _, name = err.strip().rpartition("; more in ")
    assert said.startswith("seqadd: OSError: database or disk is full")
    text = Path(name).read_text()
    assert text.count("SQL\n") == 300
    assert "secret" not in text
    Path(name).unlink()


def test_where_no_log_can_be_written_the_line_names_none(call, monkeypatch):
    def fail() -> None:
        logging.getLogger("mlflow").error("SQL")
        raise OSError("database or disk is full")

    monkeypatch.setattr(run, "check_command_line", fail)
    with monkeypatch.context() as patched:
        patched.setattr(tempfile, "gettempdir", lambda: "/proc")
        code, _, err = call(run.main)
    assert (code, err.count("\n")) == (1, 1)
    assert "more in" not in err


def test_a_log_that_no_line_names_is_removed(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "gettempdir", lambda: str(tmp_path))
    with logs.kept():
        logging.getLogger("alembic").warning("something")
        assert len(list(tmp_path.iterdir())) == 1
    assert list(tmp_path.iterdir()) == []
    with logs.kept():
        logging.getLogger("mlflow").info("something")
        assert logs.log_file() is None


def test_mlflow_prints_nothing_of_a_database_that_fails_under_it(in_empty_folder, capfd):
    quick_database(in_empty_folder)
    store = tracking.open_store(HERE)
    with logs.kept(), closing(sqlite3.connect("mlflow.db")) as connection:
        connection.execute("DROP TABLE params")
        with pytest.raises(ConfigError, match="cannot begin a run: "), recording(store, params={"a": 1}):
            pytest.fail("has begun")
        assert "no such table: params" in logs.log_file().read_text()
        logs.log_file().unlink()
    assert capfd.readouterr() == ("", "")


# ---- who recorded a run


@pytest.mark.parametrize(
    ("environment", "known", "expected"),
    [
        ({"USER": "anna", "LOGNAME": "ben"}, "carl", "anna"),
        ({"USER": "", "LOGNAME": "ben"}, "carl", "ben"),
        ({}, "carl", "carl"),
        ({"USERNAME": "dora"}, "carl", "dora"),
        ({}, None, str(os.getuid())),
    ],
)
def test_a_run_names_who_recorded_it_and_is_found_by_that(environment, known, expected, in_empty_folder, monkeypatch):
    import pwd

    def getpwuid(uid: int) -> tuple[str]:
        if known is None:
            raise KeyError(uid)
        return (known,)

    for variable in ("USER", "LOGNAME", "LNAME", "USERNAME"):
        monkeypatch.delenv(variable, raising=False)
    for variable, value in environment.items():
        monkeypatch.setenv(variable, value)
    monkeypatch.setattr(pwd, "getpwuid", getpwuid)
    quick_database(in_empty_folder)
    store = tracking.open_store(HERE)
    run_id = finished_run(store, tags={"config_hash": "ab"})
    assert store.client.get_run(run_id).data.tags["mlflow.user"] == expected
    assert store.narrowed(Only(user=expected)).newest_run().user == expected
    assert store.narrowed(Only(user="unknown")).newest_run() is None
