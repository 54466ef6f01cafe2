"""Whole commands on stores that were moved, are another MLflow's or somebody else's, in odd folders, on full disks."""

from __future__ import annotations

import hashlib
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from conftest import COMMAND, SMALL, quick_database, runs_of

pytestmark = pytest.mark.long

FAST = [*SMALL, "cell=simple_rnn"]
TABLE = [sys.executable, "-m", "seqadd.table"]
INSPECT = [sys.executable, "-m", "seqadd.inspect"]
ANSWER = [sys.executable, "-m", "seqadd.answer"]
OLD = "4465047574b1"  # the schema of MLflow 2.16


def command(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        arguments,
        cwd=folder,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
    )


def contents(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


def one_line(done: subprocess.CompletedProcess[str], code: int = 2) -> str:
    assert done.returncode == code, done.stderr
    assert done.stderr.count("\n") == 1, done.stderr
    assert done.stdout == ""
    return done.stderr


@pytest.mark.parametrize(("name", "neighbour"), [("my%20run", "my run"), ("a?b", "a")])
def test_every_command_keeps_to_the_folder_that_it_runs_in(name, neighbour, tmp_path):
    (tmp_path / neighbour).mkdir()
    quick_database(tmp_path / neighbour)
    before = contents(tmp_path / neighbour)
    folder = tmp_path / name
    folder.mkdir()
    for arguments in (
        [*COMMAND, *FAST, "epochs=2"],
        [*COMMAND, *FAST, "epochs=3"],  # goes on from the artifact of the first
        [*TABLE, *FAST, "--epochs", "3"],
        [*INSPECT, "run=latest"],
        [*ANSWER, "run=latest", "1+2"],
    ):
        done = command(folder, *arguments)
        assert (done.returncode, done.stderr) == (0, "")
        if "epochs=3" in arguments:
            assert "continuing from the end of run" in done.stdout
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([name, neighbour])
    assert contents(tmp_path / neighbour) == before


def test_a_store_that_was_moved_is_read_and_goes_on_when_it_is_relocated(tmp_path):
    made = tmp_path / "made"
    made.mkdir()
    assert command(made, *COMMAND, *FAST, "epochs=2").returncode == 0
    folder = tmp_path / "moved here"
    shutil.move(made, folder)
    done = command(folder, *TABLE, *FAST, "--epochs", "2")
    assert (done.returncode, done.stderr) == (0, "")
    assert "simple_rnn 0" in done.stdout
    done = command(folder, *ANSWER, "run=latest", "1+2")
    assert (done.returncode, done.stderr) == (0, "")
    done = command(folder, *INSPECT, "run=latest")
    assert (done.returncode, done.stderr) == (0, "")
    assert "cannot add the files to the run's artifacts: the store was moved" in done.stdout
    assert "tracking.relocate=true" in one_line(command(folder, *COMMAND, *FAST, "epochs=3"))
    assert "tracking.relocate=true" in one_line(command(folder, *COMMAND, "-m", *FAST, "epochs=3", "seed=0,1"))
    assert not made.exists()
    done = command(folder, *COMMAND, *FAST, "epochs=3", "tracking.relocate=true")
    assert (done.returncode, done.stderr) == (0, "")
    assert f"copy of the old database: {folder}/mlflow.db.before-relocate" in done.stdout
    assert "continuing from the end of run" in done.stdout
    for arguments in ([*COMMAND, *FAST, "epochs=4"], [*INSPECT, "run=latest"]):
        done = command(folder, *arguments)
        assert (done.returncode, done.stderr) == (0, "")
        assert "not put" not in done.stdout
    assert not made.exists()
    assert {each.info.status for each in runs_of(folder)} == {"FINISHED"}


@pytest.mark.parametrize("arguments", [["cell=gru"], ["-m", "seed=0,1"]])
def test_a_store_of_an_older_mlflow_is_migrated_where_that_is_asked_for_and_then_used(arguments, tmp_path):
    from test_store_faults import make_store_of

    make_store_of(OLD, tmp_path / "mlflow.db")
    before = contents(tmp_path)
    small = [each for each in FAST if not each.startswith("cell=")] if "cell=gru" in arguments else FAST
    said = one_line(command(tmp_path, *COMMAND, *arguments, *small, "epochs=1"))
    assert f"`mlflow db upgrade sqlite:///{tmp_path}/mlflow.db`" in said
    one_line(command(tmp_path, *TABLE))
    assert contents(tmp_path) == before
    done = command(tmp_path, *COMMAND, *arguments, *small, "epochs=1", "tracking.migrate=true")
    assert (done.returncode, done.stderr) == (0, "")
    assert f"copy of the old database: {tmp_path}/mlflow.db.before-migrate" in done.stdout
    assert {each.info.status for each in runs_of(tmp_path)} == {"FINISHED"}


def test_what_cannot_be_opened_is_named_without_mlflow(tmp_path):
    """Its import alone takes longer than the two seconds in which a command says so."""
    for make in (lambda path: path.mkdir(), lambda path: path.write_text("notes")):
        make(tmp_path / "mlflow.db")
        for arguments in (
            ["seqadd.run"],
            ["seqadd.run", "-m", "seed=0,1"],
            ["seqadd.run", "-m", "hydra/sweeper=optuna", "learning_rate=interval(0.001,0.01)"],
            ["seqadd.table"],
            ["seqadd.inspect"],
            ["seqadd.answer", "1+1"],
            ["seqadd.reproduce", "dense"],
        ):
            done = command(tmp_path, sys.executable, "-X", "importtime", "-m", *arguments)
            imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if "|" in line}
            assert done.returncode == 2
            assert not imported & {"mlflow", "tensorflow", "keras"}, arguments
            (said,) = [line for line in done.stderr.splitlines() if line.startswith("seqadd: ")]
            assert f"{tmp_path}/mlflow.db is " in said
        shutil.rmtree(tmp_path / "mlflow.db", ignore_errors=True)
    assert [path.name for path in tmp_path.iterdir()] == ["mlflow.db"]


def test_what_this_user_may_not_open_is_named_in_one_line():
    if os.geteuid() != 0 or shutil.which("setpriv") is None:
        pytest.skip("only root can run a command as nobody")
    nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o777)
        quick_database(folder)
        for mode in (0o600, 0o200, 0o000):
            (folder / "mlflow.db").chmod(mode)
            for arguments in ([*COMMAND, *FAST, "epochs=1"], TABLE, [*COMMAND, "-m", "seed=0,1"]):
                done = command(folder, *nobody, *arguments, HOME="/nowhere")
                assert "mlflow.db cannot be read: Permission denied" in one_line(done)
        (folder / "mlflow.db").chmod(0o444)
        said = one_line(command(folder, *nobody, *COMMAND, *FAST, "epochs=1", HOME="/nowhere"))
        assert "mlflow.db cannot be written: " in said
        assert sorted(path.name for path in folder.iterdir()) == ["mlflow.db"]


@pytest.fixture
def small_disk() -> Iterator[Path]:
    """A disk of four megabytes: a store takes one, a run of a small model half a one."""
    with tempfile.TemporaryDirectory() as name:
        if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "seqadd", name], capture_output=True).returncode:
            pytest.skip("this process may not mount a disk")
        try:
            yield Path(name)
        finally:
            subprocess.run(["umount", "--lazy", name], check=True)


def fill(disk: Path, but: int = 0) -> None:
    """Leaves so many bytes free."""
    free = os.statvfs(disk)
    with (disk / "filler").open("wb") as file:
        file.write(bytes(max(0, free.f_bavail * free.f_frsize - but)))


def test_a_full_disk_is_named_in_one_line_and_when_there_is_room_again_the_same_command_goes_on(small_disk):
    run = [*COMMAND, *FAST, "epochs=2"]
    assert command(small_disk, *run).returncode == 0
    fill(small_disk)
    for arguments in (
        [*COMMAND, *FAST, "epochs=3"],
        [*COMMAND, *FAST, "epochs=3", "seed=1"],
        [*COMMAND, "-m", *FAST, "epochs=3", "seed=1,2"],
        [*COMMAND, *FAST, "epochs=3", "tracking.experiment=other"],
        [*COMMAND, *FAST, "epochs=3", "tracking.uri=sqlite:///new.db"],
    ):
        for environment in ({}, {"TMPDIR": str(small_disk)}):
            done = command(small_disk, *arguments, **environment)
            assert done.returncode in (1, 2, 3)
            assert done.stderr.count("\n") == 1, done.stderr
            assert done.stderr.startswith("seqadd: ")
            if "; more in " in done.stderr:
                log = Path(done.stderr.strip().rpartition("; more in ")[2])
                assert log.stat().st_size > 0
                log.unlink()
    done = command(small_disk, *TABLE, *FAST, "--epochs", "2")  # is read all the same
    assert (done.returncode, done.stderr) == (0, "")
    (small_disk / "filler").unlink()
    with closing(sqlite3.connect(small_disk / "mlflow.db")) as database:
        assert database.execute("pragma integrity_check").fetchall() == [("ok",)]
    done = command(small_disk, *COMMAND, *FAST, "epochs=3")
    assert (done.returncode, done.stderr) == (0, "")
    assert "RUNNING" not in {each.info.status for each in runs_of(small_disk)}


@pytest.mark.parametrize("n_bytes", [20_000, 60_000, 250_000])
def test_a_disk_that_fills_while_a_run_trains_is_named_in_one_line(n_bytes, small_disk):
    assert command(small_disk, *COMMAND, *FAST, "epochs=2").returncode == 0
    fill(small_disk, but=n_bytes)
    done = command(small_disk, *COMMAND, *FAST, "epochs=2000", "inspect.every=20")
    assert done.returncode in (1, 2, 3)
    assert done.stderr.count("\n") == 1, done.stderr
    (small_disk / "filler").unlink()
    assert command(small_disk, *TABLE, *FAST, "--epochs", "2").returncode == 0
    assert "RUNNING" not in {each.info.status for each in runs_of(small_disk)}
