"""Databases that are another's, older, damaged or moved, folders with odd names, and who is told what about them."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import logging
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from conftest import make_config, quick_database
from mlflow import MlflowClient

from seqadd import errors, inspect, reproduce, run, table
from seqadd.config.schema import Tracking
from seqadd.errors import ConfigError, DeliveryPending, StoreNotFound
from seqadd.system import library_log
from seqadd.tracking import artifact_locations, connection, database, delivery, recording
from seqadd.tracking.connection import open_store
from seqadd.tracking.database import check_database, read_schema, sqlite_path, sqlite_uri
from seqadd.tracking.run_filter import RunFilter
from seqadd.tracking.store import Store

HERE = Tracking("sqlite:///mlflow.db", "seqadd", None, None)
BEFORE = "4465047574b1"  # the schema of MLflow 2.16


def state_of(folder: Path) -> dict[str, tuple[str, int, int]]:
    """Every file below a folder: what is in it, when it was written, and its inode."""
    return {
        str(path.relative_to(folder)): (
            hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "",
            path.lstat().st_mtime_ns,
            path.lstat().st_ino,
        )
        for path in sorted(folder.rglob("*"))
    }


def change(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        for statement in statements:
            connection.execute(statement)


def older(path: Path) -> None:
    """As MLflow 2.16 would have made it, as far as anybody can tell without looking at every column."""
    change(path, f"UPDATE alembic_version SET version_num = '{BEFORE}'", "DROP TABLE logged_models")


@contextlib.contextmanager
def open_run(store: Store, **settings: object) -> Iterator[recording.RunRecorder]:
    """A run of its own."""
    with (
        store.run_directory(uuid.uuid4().hex).lock(print) as run_dir,
        recording.record(store, run_dir, "name", **{"params": {}, "tags": {}, **settings}) as run,
    ):
        yield run


def finished_run(store: Store, **settings: object) -> str:
    with open_run(store, texts={"config.yaml": "a: 1"}, **settings) as record:
        record.log_epoch({"epoch": 1, "loss": 0.5})
        record.log_text("a note", "note.txt")
    return record.run_id


# ---- what can be known of a database beforehand


def link_to_nothing(path: Path) -> None:
    path.symlink_to("gone.db")


def half_a_header(path: Path) -> None:
    path.write_bytes(b"SQLite format")


def of_somebody_else(path: Path) -> None:
    change(path, "CREATE TABLE songs (title TEXT)", "CREATE TABLE runs (distance REAL)")


def newer(path: Path) -> None:
    quick_database(path.parent)
    change(path, "UPDATE alembic_version SET version_num = 'ffffffffffff'")


def old(path: Path) -> None:
    quick_database(path.parent)
    older(path)


def of_before_revisions(path: Path) -> None:
    quick_database(path.parent)
    change(path, "DROP TABLE alembic_version")


def a_table_short(path: Path) -> None:
    quick_database(path.parent)
    change(path, "DROP TABLE logged_models")


CANNOT_BE_OPENED = [
    (Path.mkdir, "is a folder, not a database"),
    (os.mkfifo, "is no file"),
    (link_to_nothing, "is a link to gone.db, where there is nothing"),
    (lambda path: path.write_text("no database " * 1000), "is no SQLite database"),
    (half_a_header, "is no SQLite database"),
    (lambda path: path.write_bytes(b"SQLite format 3\0" + bytes(100)), "cannot be read: "),
    (of_somebody_else, "is not MLflow's: it has the tables runs, songs; name another file"),
    (newer, "is of a newer MLflow: its schema is ffffffffffff, not that of MLflow "),
    (old, f"is of an older MLflow, which can no longer read it once it is migrated: its schema is {BEFORE}, not "),
    (of_before_revisions, "is of an older MLflow, which can no longer read it once it is migrated: its schema is none"),
    (a_table_short, "is damaged: it lacks MLflow's table logged_models"),
]


@pytest.mark.parametrize(("make", "said"), CANNOT_BE_OPENED)
@pytest.mark.parametrize("create", [True, False])
def test_a_database_that_is_no_store_of_ours_is_named_in_one_line_and_not_touched(make, said, create, in_empty_folder):
    make(in_empty_folder / "mlflow.db")
    before = state_of(in_empty_folder)
    with pytest.raises(ConfigError) as refused:
        open_store(HERE, create=create)
    assert said in str(refused.value)
    assert f"{in_empty_folder}/mlflow.db" in str(refused.value)
    assert "\n" not in str(refused.value)
    lock = {"mlflow.db.lock"} if make is a_table_short and create else set()  # for that MLflow must be asked
    assert {name: state for name, state in state_of(in_empty_folder).items() if name not in lock} == before


@pytest.mark.parametrize("command", ["run", "sweep", "search", "table", "inspect", "answer", "reproduce", "check"])
def test_no_command_asks_mlflow_about_a_database_that_it_cannot_use(command, call, in_empty_folder, monkeypatch):
    """To import it takes longer than the refusal may."""
    from seqadd import answer

    old(in_empty_folder / "mlflow.db")
    before = state_of(in_empty_folder)
    monkeypatch.setattr(connection, "open_store", lambda *_, **__: pytest.fail("was asked"))
    main, arguments = {
        "run": (run.main, ["cell=gru"]),
        "sweep": (run.main, ["-m", "seed=0,1"]),
        "search": (run.main, ["-m", "hydra/sweeper=optuna", "learning_rate=interval(0.001,0.01)"]),
        "table": (table.main, []),
        "inspect": (inspect.main, []),
        "answer": (answer.main, ["1+1"]),
        "reproduce": (reproduce.main, ["dense", "--dry-run"]),
        "check": (reproduce.main, ["dense", "--check"]),
    }[command]
    code, out, err = call(main, *arguments)
    assert (code, out) == (2, "")
    assert err.count("\n") == 1
    assert f"`mlflow db upgrade sqlite:///{in_empty_folder}/mlflow.db`" in err
    assert "tracking.migrate=true, which copies it first" in err
    assert state_of(in_empty_folder) == before


def test_a_reader_of_a_store_of_its_own_schema_makes_no_file(in_empty_folder):
    quick_database(in_empty_folder)
    finished_run(open_store(HERE))
    (in_empty_folder / "mlflow.db.lock").unlink()
    delivery.reconcile(open_store(HERE, create=False))
    assert sorted(path.name for path in in_empty_folder.iterdir()) == ["mlflow.db", "mlruns"]


def test_an_empty_file_is_a_store_that_nobody_has_made(in_empty_folder):
    (in_empty_folder / "mlflow.db").touch()
    with pytest.raises(StoreNotFound, match="no store here"):
        open_store(HERE, create=False)
    assert (in_empty_folder / "mlflow.db").read_bytes() == b""
    assert open_store(HERE).experiment_id == "1"


def test_the_schema_that_is_looked_for_is_that_of_the_installed_mlflow(in_empty_folder):
    from mlflow.store.db.utils import _get_latest_schema_revision

    assert database._migrations().heads == {_get_latest_schema_revision()}
    assert BEFORE in database._migrations().known
    quick_database(in_empty_folder)
    schema = read_schema(in_empty_folder / "mlflow.db")
    assert schema is not None
    assert schema.is_current
    assert not schema.is_older


def test_a_store_that_keeps_a_log_of_changes_is_looked_at_without_making_one(in_empty_folder):
    path = in_empty_folder / "mlflow.db"
    quick_database(in_empty_folder)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
    before = state_of(in_empty_folder)
    assert read_schema(path).is_current
    assert state_of(in_empty_folder) == before
    with closing(sqlite3.connect(path)) as connection:  # what stands in the log counts
        connection.execute(f"UPDATE alembic_version SET version_num = '{BEFORE}'")
        connection.commit()
        assert (in_empty_folder / "mlflow.db-wal").stat().st_size > 0
        assert read_schema(path).is_older


def test_a_store_whose_writer_was_killed_in_the_middle_is_looked_at_and_used(in_empty_folder):
    quick_database(in_empty_folder)
    killed = """
import os, signal, sqlite3
connection = sqlite3.connect("mlflow.db", isolation_level=None)
connection.executescript("PRAGMA cache_size = 1; BEGIN")
connection.executemany("INSERT INTO alembic_version VALUES (?)", [(f"{n:0>32}",) for n in range(2000)])
os.kill(os.getpid(), signal.SIGKILL)
"""
    subprocess.run([sys.executable, "-c", killed], cwd=in_empty_folder)
    assert (in_empty_folder / "mlflow.db-journal").stat().st_size > 0
    before = state_of(in_empty_folder)
    with contextlib.suppress(ConfigError):
        check_database(HERE, create=False)
    assert state_of(in_empty_folder) == before


def test_a_locked_database_is_waited_for_and_then_named(in_empty_folder, monkeypatch):
    quick_database(in_empty_folder)
    monkeypatch.setattr(database, "_SECONDS_FOR_A_LOCK", 0.1)
    with closing(sqlite3.connect("mlflow.db")) as connection:
        connection.execute("BEGIN EXCLUSIVE")
        with pytest.raises(errors.StoreUnavailable, match=r"mlflow\.db is locked by another process"):
            check_database(HERE)
    check_database(HERE)


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        ("sqlite:///", "must name a file, as in sqlite:///mlflow.db"),
        ("sqlite://", "must name a file"),
        ("sqlite:///:memory:", "must name a file"),
        ("sqlite://host/mlflow.db", "must name a file"),
        ("sqlite:///mlflow.db?timeout=9", "must be sqlite:///FILE, without settings; a ? in a name is written %3F"),
        ("sqlite:///notes.txt/mlflow.db", "there is no folder "),
        ("sqlite:///a%20b/mlflow.db", "/a b; in a URI, % is written %25"),
        (f"sqlite:///{'long' * 100}", " has 400 bytes, a database's may have 240"),
        ("sqlite:///%00", "must name a file"),
    ],
)
def test_a_uri_of_a_database_that_names_no_file_is_refused_in_one_line(uri, said, in_empty_folder):
    (in_empty_folder / "notes.txt").touch()
    (in_empty_folder / "a%20b").mkdir()
    with pytest.raises(ConfigError) as refused:
        check_database(Tracking(uri, "seqadd", None, None))
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that everybody can enter, as those of pytest are not."""
    with tempfile.TemporaryDirectory() as name:
        os.chmod(name, 0o755)
        yield Path(name)


@contextlib.contextmanager
def as_nobody() -> Iterator[None]:
    """Inside the ``with`` this process must ask for every file; root reads and writes all of them."""
    if os.geteuid() != 0:
        pytest.skip("only root can become nobody and root again")
    database._migrations()  # which nobody may not be allowed to read
    nobody = 65534
    os.setresgid(nobody, nobody, 0)
    os.setresuid(nobody, nobody, 0)
    try:
        yield
    finally:
        os.setresuid(0, 0, 0)
        os.setresgid(0, 0, 0)


@pytest.mark.parametrize(
    ("modes", "writer", "reader"),
    [
        ({"mlflow.db": 0o600}, "mlflow.db cannot be read: Permission denied", "cannot be read: Permission denied"),
        ({"mlflow.db": 0o644}, "mlflow.db cannot be written: .*mlflow.db may only be read", None),
        ({"mlflow.db": 0o666}, "mlflow.db cannot be written: .* may only be read", None),  # nor the folder
        ({"mlflow.db": 0o666, ".": 0o777}, None, None),
        ({"mlflow.db": 0o666, ".": 0o700}, "cannot be read: Permission denied", "cannot be read: Permission denied"),
        ({"mlflow.db": None}, "mlflow.db cannot be written: .* may only be read", "no store here"),
    ],
)
def test_what_this_user_may_not_do_with_a_database_is_known_beforehand(modes, writer, reader, open_folder):
    quick_database(open_folder)
    for name, mode in modes.items():
        if mode is None:
            (open_folder / name).unlink()
        else:
            (open_folder / name).chmod(mode)
    before = state_of(open_folder)
    for create, said in ((True, writer), (False, reader)):
        refused = pytest.raises(ConfigError, match=said) if said else contextlib.nullcontext()
        with as_nobody(), refused:
            check_database(Tracking(f"sqlite:///{open_folder}/mlflow.db", "seqadd", None, None), create=create)
    assert state_of(open_folder) == before


def test_a_store_is_read_beside_the_lock_of_somebody_else(open_folder):
    quick_database(open_folder)
    where = Tracking(f"sqlite:///{open_folder}/mlflow.db", "seqadd", None, None)
    run_id = finished_run(open_store(where))
    (open_folder / "mlflow.db.lock").chmod(0o600)
    with as_nobody():
        assert open_store(where, create=False).history(run_id, "loss") == {1: 0.5}


# ---- migrating


def make_store_of(revision: str, path: Path) -> None:
    """A store with a run, as the MLflow that had this schema has made it."""
    import sqlalchemy
    from alembic import command
    from mlflow.store.db.utils import _get_alembic_config
    from mlflow.store.tracking.dbmodels.initial_models import Base

    engine = sqlalchemy.create_engine(sqlite_uri(path), poolclass=sqlalchemy.NullPool)
    with engine.begin() as connection:
        Base.metadata.create_all(connection)
        config = _get_alembic_config("")
        config.attributes["connection"] = connection
        command.upgrade(config, revision)
    folder, run_id = f"{path.parent}/mlruns/1", "a" * 32
    change(
        path,
        "INSERT INTO experiments (experiment_id, name, lifecycle_stage, artifact_location) "
        f"VALUES (0, 'Default', 'active', '{path.parent}/mlruns/0'), (1, 'seqadd', 'active', '{folder}')",
        "INSERT INTO runs (run_uuid, name, user_id, status, lifecycle_stage, experiment_id, artifact_uri, start_time) "
        f"VALUES ('{run_id}', 'an old run', 'anna', 'FINISHED', 'active', 1, '{folder}/{run_id}/artifacts', 1)",
        "INSERT INTO metrics (key, value, timestamp, run_uuid, step, is_nan) "
        f"VALUES ('loss', 0.5, 1, '{run_id}', 1, 0)",
    )


def test_migrating_copies_the_database_and_leaves_what_was_recorded(in_empty_folder):
    path, said = in_empty_folder / "mlflow.db", []
    make_store_of(BEFORE, path)
    path.chmod(0o640)
    assert read_schema(path).is_older
    migrating = dataclasses.replace(HERE, migrate=True)
    store = open_store(migrating, notify=said.append)
    copy = in_empty_folder / "mlflow.db.before-migrate"
    assert [line.endswith(f"copy of the old database: {copy}") for line in said] == [True]
    assert (read_schema(copy).revisions, read_schema(path).is_current) == ({BEFORE}, True)
    assert path.stat().st_mode & 0o777 == 0o640
    assert store.history("a" * 32, "loss") == {1: 0.5}
    finished_run(open_store(migrating, notify=said.append))  # there is nothing left to do
    assert len(said) == 1
    assert sorted(each.name for each in in_empty_folder.iterdir()) == [
        "mlflow.db", "mlflow.db.before-migrate", "mlflow.db.lock", "mlruns",
    ]  # fmt: skip


def test_a_database_that_mlflow_cannot_migrate_stays_as_it_was(in_empty_folder):
    path = in_empty_folder / "mlflow.db"
    old(path)  # whose tables are not those that its revision promises
    before = state_of(in_empty_folder)
    with pytest.raises(ConfigError, match=r"MLflow cannot migrate .*mlflow\.db, which is unchanged: ") as refused:
        open_store(dataclasses.replace(HERE, migrate=True))
    assert "\n" not in str(refused.value)
    (in_empty_folder / "mlflow.db.lock").unlink()
    assert state_of(in_empty_folder) == before


@pytest.mark.parametrize("key", ["migrate", "relocate"])
def test_a_reader_and_a_server_refuse_what_only_a_writer_of_a_file_can_do(key, in_empty_folder):
    old(in_empty_folder / "mlflow.db")
    before = state_of(in_empty_folder)
    asked = dataclasses.replace(HERE, **{key: True})
    with pytest.raises(
        ConfigError, match=f"tracking.{key}=true: this command only reads a store; python -m seqadd.run"
    ):
        open_store(asked, create=False)
    with pytest.raises(ConfigError, match=f"tracking.{key}=true: is for a store in a SQLite file"):
        check_database(dataclasses.replace(asked, uri="http://127.0.0.1:9"))
    assert state_of(in_empty_folder) == before


def test_relocating_and_migrating_make_no_other_run_of_it():
    plain, other = make_config(), make_config("tracking.relocate=true", "tracking.migrate=true")
    for digest in ("config_hash", "condition_hash", "trajectory_hash"):
        assert getattr(plain, digest)() == getattr(other, digest)()
    assert (plain.tracking.relocate, plain.tracking.migrate) == (False, False)


# ---- folders that mean something in a URI

ODD = [
    "my%20run", "a?b", "a#b", "a%3Fb", "100%", "a&b=c", "a;b", "it's", 'say "hi"', ":b", "a:b", "a@b", "back\\slash",
    " ", "über später", "덧셈", "a\nb", "a+b", "$HOME", "{a}", "[a-c]*", "~", "file:", "sqlite:",
]  # fmt: skip


@pytest.mark.parametrize("names", [ODD[n : n + 4] for n in range(0, len(ODD), 4)], ids=str)
def test_a_store_lies_in_the_folder_that_it_is_made_in_whatever_that_is_called(names, in_empty_folder, monkeypatch):
    """Four odd folders, one in the other."""
    folder = in_empty_folder.joinpath(*names)
    folder.mkdir(parents=True)
    monkeypatch.chdir(folder)
    if names[0] != ODD[0]:  # of the others a copy, for to make its tables takes MLflow seconds
        quick_database(folder)
    run_id = finished_run(open_store(HERE))
    for name, outside in zip(names, [in_empty_folder, *reversed(folder.parents[:3])], strict=True):
        assert [path.name for path in outside.iterdir()] == [name]
    assert sorted(path.name for path in folder.iterdir()) == ["mlflow.db", "mlflow.db.lock", "mlruns"]
    assert [path.name for path in (folder / "mlruns").iterdir()] == ["seqadd"]
    for where in (HERE, Tracking(sqlite_uri(folder / "mlflow.db"), "seqadd", None, None)):
        store = open_store(where, create=False)
        with store.artifact_of(run_id, "note.txt") as path:
            assert path.read_text() == "a note"
        assert store.history(run_id, "loss") == {1: 0.5}
    client = MlflowClient(sqlite_uri(folder / "mlflow.db"))  # as MLflow's own page reads it
    assert client.search_experiments()[0].name == "seqadd"


@pytest.mark.parametrize("name", ODD)
def test_the_uri_of_a_database_and_its_path_are_one_to_sqlalchemy_too(name):
    import sqlalchemy

    path = Path("/somewhere") / name / "mlflow.db"
    assert sqlite_path(sqlite_uri(path)) == path
    assert sqlalchemy.make_url(sqlite_uri(path)).database == str(path)
    assert sqlite_path("http://host/mlflow.db") is None


def test_a_folder_whose_name_is_no_text_is_refused_in_one_line(in_empty_folder, monkeypatch):
    folder = in_empty_folder / os.fsdecode(b"\xff")
    folder.mkdir()
    monkeypatch.chdir(folder)
    with pytest.raises(ConfigError, match="a store cannot lie where a folder's name is not UTF-8"):
        check_database(HERE)
    assert list(folder.iterdir()) == []


# ---- where artifacts go

EXPERIMENTS = [
    "/proc/Users/x", "../../evil", "..", ".", ".hidden", "a/b", "/", "//server/share", "trailing. ", "a\\b",
    "a:b?c#d%20e", "ü" * 200, "x" * 300, "덧셈 실험", "tab\there", "CON", "file:///tmp/x", "s3://bucket/x",
    "<b>=1+1", "-rf",
]  # fmt: skip


def test_the_artifacts_of_every_experiment_lie_in_a_folder_of_its_own_below_the_store(in_empty_folder):
    quick_database(in_empty_folder)
    before = state_of(in_empty_folder.parent)
    for name in EXPERIMENTS:
        where = dataclasses.replace(HERE, experiment=name)
        run_id = finished_run(open_store(where))
        assert [path.read_text() for path in (in_empty_folder / "mlruns").glob(f"*/{run_id}/artifacts/note.txt")] == [
            "a note"
        ], name
        with open_store(where, create=False).artifact_of(run_id, "note.txt") as path:
            assert path.read_text() == "a note"
    assert len(list((in_empty_folder / "mlruns").iterdir())) == len(EXPERIMENTS)
    assert {path for path in state_of(in_empty_folder.parent) if not path.startswith(in_empty_folder.name)} == {
        path for path in before if not path.startswith(in_empty_folder.name)
    }


def test_plain_names_of_experiments_are_those_of_their_folders():
    for name in ("seqadd", "GRU 500", "batch-size_2", "über", "v1.2"):
        assert artifact_locations.folder_name(name) == name
    assert artifact_locations.folder_name("/Users/anna/adding") == "_Users_anna_adding-3c0b3f11"
    assert artifact_locations.folder_name("a/b") != artifact_locations.folder_name("a:b")


@pytest.mark.parametrize("location", ["/proc/Users/x", "/dev/null/x", "mlruns/a file"])
def test_a_run_whose_artifacts_can_go_nowhere_is_refused_before_it_is_trained(location, call, in_empty_folder):
    quick_database(in_empty_folder)
    (in_empty_folder / "mlruns").mkdir()
    (in_empty_folder / "mlruns" / "a file").write_text("in the way")
    location = str(in_empty_folder / location)
    MlflowClient(sqlite_uri(in_empty_folder / "mlflow.db")).create_experiment("seqadd", location)
    code, out, err = call(run.main, "cell=gru")
    assert (code, out) == (2, "")
    assert err.startswith("seqadd: tracking.experiment=seqadd: its artifacts are recorded at ")
    assert "where nothing can be written (" in err
    assert "tracking.relocate=true copies the database and records in it that they lie beside it now" in err
    assert err.count("\n") == 1
    assert not (in_empty_folder / "unfinished").exists()
    store = open_store(dataclasses.replace(HERE, relocate=True))
    assert store.client.search_runs([store.experiment_id]) == []
    finished_run(store)


def test_a_store_that_takes_no_artifacts_ends_a_run_before_anything_waits_for_it(in_empty_folder, monkeypatch):
    """As a server does that lets runs be recorded, and cannot write artifacts."""
    quick_database(in_empty_folder)
    store = open_store(HERE)

    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(recording, "SECONDS_BEFORE_ATTEMPTS", (0.0,))
    monkeypatch.setattr(store.client, "log_artifacts", full)
    said = r"does not accept artifacts of run \w{32}: \[Errno 28\] No space left on device"
    with pytest.raises(ConfigError, match=said), open_run(store, texts={"config.yaml": "a: 1"}):
        pytest.fail("has begun")
    (refused,) = store.client.search_runs([store.experiment_id])
    assert refused.info.status == "FAILED"
    assert not list(in_empty_folder.glob("unfinished/*/ending.json"))
    assert not list(in_empty_folder.glob("unfinished/*/artifacts"))


def test_a_run_has_its_configuration_in_the_store_while_it_trains(in_empty_folder):
    quick_database(in_empty_folder)
    store = open_store(HERE)
    with open_run(store, texts={"config.yaml": "a: 1"}) as record:
        assert store.artifacts(record.run_id, "") == ["config.yaml"]


# ---- a store that was moved


@pytest.fixture
def moved(in_empty_folder: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, str]:
    """A store with a run, in another folder than it was made in; and the run's id."""
    before = in_empty_folder / "before"
    before.mkdir()
    quick_database(before)
    run_id = finished_run(open_store(Tracking(f"sqlite:///{before}/mlflow.db", "seqadd", None, None)))
    shutil.move(before, in_empty_folder / "af%20ter")
    monkeypatch.chdir(in_empty_folder / "af%20ter")
    return Path.cwd(), run_id


def note_of(store: Store, run_id: str) -> str:
    assert store.artifacts(run_id, "") == ["config.yaml", "note.txt"]
    with store.artifact_of(run_id, "note.txt") as path:
        return path.read_text()


def test_a_store_that_was_moved_is_read_and_nothing_is_written_where_it_was(moved):
    folder, run_id = moved
    store = open_store(HERE, create=False)
    delivery.reconcile(store)
    assert note_of(store, run_id) == "a note"
    with pytest.raises(errors.StoreMoved, match=r"tracking\.relocate=true"):
        store.log_folder(run_id, folder / "mlruns", "more")
    with pytest.raises(ConfigError) as refused:
        open_store(HERE)
    assert "which does not exist; was the store moved? tracking.relocate=true copies" in str(refused.value)
    assert "\n" not in str(refused.value)
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]


def test_a_relocated_store_is_written_and_mlflow_finds_what_was_there(moved, tmp_path):
    folder, run_id = moved
    said: list[str] = []
    relocating = dataclasses.replace(HERE, relocate=True)
    store = open_store(relocating, notify=said.append)
    copy = folder / "mlflow.db.before-relocate"
    assert said == [f"the store now records that its artifacts are beside it; copy of the old database: {copy}"]
    another = finished_run(store)
    client = MlflowClient(sqlite_uri(folder / "mlflow.db"))
    for each in (run_id, another):
        assert note_of(store, each) == "a note"
        assert {found.path for found in client.list_artifacts(each)} == {"config.yaml", "note.txt"}
        assert client.get_run(each).info.artifact_uri == (folder / f"mlruns/seqadd/{each}/artifacts").as_uri()
    with closing(sqlite3.connect(copy)) as connection:
        ((uri,),) = connection.execute("SELECT artifact_uri FROM runs").fetchall()
    assert uri == (folder.parent / f"before/mlruns/seqadd/{run_id}/artifacts").as_uri()
    open_store(relocating, notify=said.append)
    assert len(said) == 1
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]


def test_every_place_in_which_mlflow_remembers_a_folder_is_relocated(moved):
    folder, _ = moved
    before = (folder.parent / "before/mlruns/seqadd").as_uri()
    path = folder / "mlflow.db"
    with closing(sqlite3.connect(path)) as connection:
        for name, column in artifact_locations._PLACES:
            columns = [row[1] for row in connection.execute(f"PRAGMA table_info({name})")]
            assert column in columns, name
    change(
        path,
        "INSERT INTO registered_models (name, workspace) VALUES ('m', 'default')",
        "INSERT INTO model_versions (name, version, workspace, source, storage_location) "
        f"VALUES ('m', 1, 'default', '{before}/models/x/artifacts', '{before}x/elsewhere')",
    )
    open_store(dataclasses.replace(HERE, relocate=True))
    with closing(sqlite3.connect(path)) as connection:
        source, storage = connection.execute("SELECT source, storage_location FROM model_versions").fetchone()
    assert source == (folder / "mlruns/seqadd/models/x/artifacts").as_uri()
    assert storage == f"{before}x/elsewhere"


def test_a_copy_is_relocated_though_what_it_was_copied_from_is_still_there(in_empty_folder, monkeypatch):
    one, other = in_empty_folder / "one", in_empty_folder / "other"
    one.mkdir()
    quick_database(one)
    run_id = finished_run(open_store(Tracking(f"sqlite:///{one}/mlflow.db", "seqadd", None, None)))
    shutil.copytree(one, other)
    monkeypatch.chdir(other)
    store = open_store(dataclasses.replace(HERE, relocate=True))
    shutil.rmtree(one)
    assert note_of(store, run_id) == "a note"
    finished_run(store)
    assert not one.exists()


def test_artifacts_that_somebody_has_put_elsewhere_stay_there(in_empty_folder):
    quick_database(in_empty_folder)
    elsewhere = in_empty_folder.parent / f"{in_empty_folder.name} elsewhere"
    MlflowClient(sqlite_uri(in_empty_folder / "mlflow.db")).create_experiment("seqadd", str(elsewhere))
    run_id = finished_run(open_store(HERE))
    assert note_of(open_store(dataclasses.replace(HERE, relocate=True)), run_id) == "a note"
    assert (elsewhere / run_id / "artifacts" / "note.txt").exists()
    assert not (in_empty_folder / "mlruns").exists()


def test_what_waits_for_a_store_that_was_moved_is_delivered_when_it_is_relocated(moved, monkeypatch):
    folder, _ = moved
    path = folder / "mlflow.db"
    location = (folder.parent / "before/mlruns/seqadd").as_uri()
    open_store(dataclasses.replace(HERE, relocate=True))
    store = open_store(HERE)
    with monkeypatch.context() as patched, pytest.raises(DeliveryPending):  # noqa: PT012
        patched.setattr(recording, "SECONDS_BEFORE_ATTEMPTS", ())
        with open_run(store, texts={"config.yaml": "a: 1"}) as record:
            record.log_text("a note", "note.txt")
            patched.setattr(store.client, "log_artifacts", lambda *_: (_ for _ in ()).throw(OSError("full")))
    new = (folder / "mlruns/seqadd").as_uri()
    for name, column in (("experiments", "artifact_location"), ("runs", "artifact_uri")):
        change(path, f"UPDATE {name} SET {column} = replace({column}, '{new}', '{location}')")
    delivery.reconcile(open_store(HERE, create=False))  # a reader, before it is relocated
    assert store.client.get_run(record.run_id).info.status == "RUNNING"
    assert not (folder.parent / "before").exists()
    relocated = open_store(dataclasses.replace(HERE, relocate=True))
    delivery.reconcile(relocated)
    assert relocated.client.get_run(record.run_id).info.status == "FINISHED"
    assert note_of(relocated, record.run_id) == "a note"


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
    with library_log.capture_logs():
        logging.getLogger("alembic").warning("something")
        assert len(list(tmp_path.iterdir())) == 1
    assert list(tmp_path.iterdir()) == []
    with library_log.capture_logs():
        logging.getLogger("mlflow").info("something")
        assert library_log.log_file() is None


def test_mlflow_prints_nothing_of_a_database_that_fails_under_it(in_empty_folder, capfd, monkeypatch):
    quick_database(in_empty_folder)
    monkeypatch.setattr(recording, "SECONDS_BEFORE_ATTEMPTS", (0.0,))
    store = open_store(HERE)
    with library_log.capture_logs(), closing(sqlite3.connect("mlflow.db")) as connection:
        connection.execute("DROP TABLE params")
        with pytest.raises(ConfigError, match="cannot begin a run: "), open_run(store, params={"a": 1}):
            pytest.fail("has begun")
        assert "no such table: params" in library_log.log_file().read_text()
        library_log.log_file().unlink()
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
    store = open_store(HERE)
    run_id = finished_run(store, tags={"config_hash": "ab"})
    assert store.client.get_run(run_id).data.tags["mlflow.user"] == expected
    assert store.filtered(RunFilter(user=expected)).newest_run().user == expected
    assert store.filtered(RunFilter(user="unknown")).newest_run() is None
