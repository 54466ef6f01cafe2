"""Folders without room or leave to write, odd locales, pipes, clocks and homes."""

from __future__ import annotations

import ctypes
import functools
import os
import resource
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import fork_server
import pytest
from conftest import COMMAND, WITHOUT_XLA, runs_of

from seqadd.config.schema import Tracking
from seqadd.tracking import connection

FAST = WITHOUT_XLA
TABLE = [sys.executable, "-m", "seqadd.table"]


def command(folder: Path, *arguments: str, before: Callable[[], object] | None = None):
    return fork_server.run(arguments, cwd=folder, before=before)


def files_of_at_most(n_bytes: int) -> Callable[[], object]:
    """As on a disk that is full: no file can grow beyond this."""
    return functools.partial(resource.setrlimit, resource.RLIMIT_FSIZE, (n_bytes, n_bytes))


def as_one_who_must_ask() -> None:
    """Takes from a process of root's the right to write wherever it likes, and from its programs; nothing else."""
    if os.geteuid() == 0:
        drop_from_what_may_be_had, write_anywhere = 24, 1
        libc = ctypes.CDLL(None)
        failed = libc.prctl(drop_from_what_may_be_had, write_anywhere, 0, 0, 0)
        version_3_of_this_process = (ctypes.c_uint32 * 2)(0x20080522, 0)
        sets = (ctypes.c_uint32 * 6)()  # effective, permitted, inheritable; then the same of the upper 32
        failed |= libc.capget(version_3_of_this_process, sets)
        for index in range(3):
            sets[index] &= ~(1 << write_anywhere)
        failed |= libc.capset(version_3_of_this_process, sets)
        if failed:
            os._exit(77)


@pytest.fixture(scope="module")
def a_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("store")
    done = command(folder, *COMMAND, *FAST, "epochs=2")
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture
def folder_with_a_run(a_run: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(a_run, tmp_path / "Ergebnisse für später"))


# A store takes a megabyte, a checkpoint of this model 20 kB.
@pytest.mark.parametrize("n_bytes", [300_000, pytest.param(12_000, marks=pytest.mark.long)])
def test_a_store_for_which_there_is_no_room_is_named_and_made_when_there_is(n_bytes, tmp_path):
    done = command(tmp_path, *COMMAND, *FAST, "epochs=1", before=files_of_at_most(n_bytes))
    assert done.returncode == 2
    assert "mlflow.db" in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "mlflow.db").exists()  # not by half
    connection.open_store(Tracking(f"sqlite:///{tmp_path}/mlflow.db", "seqadd", None, None))
    assert runs_of(tmp_path) == []


def test_a_checkpoint_for_which_there_is_no_room_ends_the_run_and_is_named(folder_with_a_run):
    tmp_path = folder_with_a_run
    big = ["encoder_units=600", "epochs=1", "seed=1"]  # 370,000 weights, three times over
    done = command(tmp_path, *COMMAND, *FAST, *big, before=files_of_at_most(4_000_000))
    assert done.returncode == 1
    assert done.stderr.startswith("seqadd: cannot write ")
    assert "/checkpoint: File too large" in done.stderr
    assert done.stderr.count("\n") == 1
    assert sorted(each.info.status for each in runs_of(tmp_path)) == ["FAILED", "FINISHED"]
    assert command(tmp_path, *COMMAND, *FAST, *big).returncode == 0


@pytest.mark.long
def test_a_table_for_which_there_is_no_room_is_named_and_the_one_before_stays(folder_with_a_run):
    for option, name in (("--csv", "table.csv"), ("--markdown", "table.md"), ("--figure", "curves.png")):
        path = folder_with_a_run / name
        path.write_text("what was there before")
        done = command(folder_with_a_run, *TABLE, option, name, before=files_of_at_most(100))
        assert (done.returncode, done.stderr) == (1, f"seqadd: cannot write {name}: File too large\n")
        assert path.read_text() == "what was there before"
    assert not list(folder_with_a_run.glob("unfinished*"))


def test_a_folder_that_cannot_be_written_is_named_and_can_still_be_read(folder_with_a_run):
    folder = folder_with_a_run
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    for path in [folder, *folder.rglob("*")]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    try:
        done = command(folder, *COMMAND, *FAST, "epochs=3", before=as_one_who_must_ask)
        if done.returncode == 77:
            pytest.skip("this process cannot give up the right to write everywhere")
        assert done.returncode == 2
        assert f"{folder}/mlflow.db" in done.stderr
        assert done.stderr.count("\n") == 1
        done = command(folder, *TABLE, "cell=simple_rnn", "--csv", "table.csv", before=as_one_who_must_ask)
        assert done.returncode == 1
        assert done.stderr == "seqadd: cannot write table.csv: Permission denied\n"
        done = command(folder, *TABLE, "cell=simple_rnn", before=as_one_who_must_ask)
        assert (done.returncode, done.stderr) == (0, "")
        assert "simple_rnn" in done.stdout
    finally:
        for path in [folder, *folder.rglob("*")]:
            path.chmod(0o755 if path.is_dir() else 0o644)
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def test_a_process_killed_while_it_makes_the_store_leaves_none_by_half(tmp_path):
    program = """
import os, signal, sys
from seqadd.config.schema import Tracking
from seqadd.system import files
from seqadd.tracking import connection
files.os.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
connection.open_store(Tracking("sqlite:///mlflow.db", "seqadd", None, None))
"""
    assert command(tmp_path, sys.executable, "-c", program).returncode == -9
    assert not (tmp_path / "mlflow.db").exists()
    assert list(tmp_path.glob("unfinished.*.mlflow.db"))
    connection.open_store(Tracking(f"sqlite:///{tmp_path}/mlflow.db", "seqadd", None, None))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mlflow.db", "mlflow.db.lock"]


@pytest.mark.long
def test_a_store_being_made_is_whole_whenever_its_maker_is_killed(tmp_path):
    program = """
from seqadd.config.schema import Tracking
from seqadd.tracking import connection
print("begins", flush=True)
connection.open_store(Tracking("sqlite:///mlflow.db", "seqadd", None, None))
print("is there", flush=True)
"""
    for tenths in range(1, 12, 2):
        process = subprocess.Popen([sys.executable, "-c", program], cwd=tmp_path, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        assert process.stdout.readline() == "begins\n"
        time.sleep(tenths / 10)
        process.kill()
        process.wait()
    assert command(tmp_path, sys.executable, "-c", program).stdout == "begins\nis there\n"
    with sqlite3.connect(tmp_path / "mlflow.db") as database:
        assert database.execute("pragma integrity_check").fetchall() == [("ok",)]


def test_odd_surroundings_change_nothing(folder_with_a_run):
    """A terminal that knows no umlauts, and no home, in a new Python, which reads this when it starts."""
    no_home = dict.fromkeys(("HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME"), "/dev/null/nowhere")
    environment = {**os.environ, "LC_ALL": "C", "PYTHONIOENCODING": "ascii", **no_home}
    program = f"""
import sys
from seqadd import run, table
for sys.argv, command in (["run", *{FAST}, "epochs=3"], run), (["table"], table):
    command.main()
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=folder_with_a_run, env=environment, capture_output=True, text=True,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert "epoch 3/3" in done.stdout
    assert "missing" in done.stdout
    assert {each.info.status for each in runs_of(folder_with_a_run)} == {"FINISHED"}


@pytest.mark.parametrize("sweep", [[], pytest.param(["-m", "seed=1,2"], marks=pytest.mark.long)])
def test_a_run_goes_on_when_nobody_reads_what_it_prints(sweep, folder_with_a_run):
    process = fork_server.start([*COMMAND, *sweep, *FAST, "epochs=400"], cwd=folder_with_a_run)
    assert process.stdout.readline()
    process.stdout.close()  # as head -n 1 does
    assert (process.wait(), process.stderr.read()) == (0, "")
    runs = runs_of(folder_with_a_run)
    assert len([each for each in runs if each.data.params.get("epochs") == "400"]) == (2 if sweep else 1)
    assert {each.info.status for each in runs} == {"FINISHED"}


@pytest.mark.parametrize("arguments", ["seqadd", "seqadd.table", "seqadd.run --cfg job", "seqadd.run --help"])
def test_what_is_only_printed_ends_quietly_when_nobody_reads_it(arguments, folder_with_a_run):
    process = fork_server.start([sys.executable, "-m", *arguments.split()], cwd=folder_with_a_run)
    process.stdout.close()
    assert (process.wait(), process.stderr.read()) == (0, "")


@pytest.mark.long
def test_a_clock_that_is_set_back_makes_no_epoch_end_before_it_began(tmp_path):
    program = """
import sys, time
from seqadd import run
from seqadd.system.tensorflow_setup import quiet_import
with quiet_import():
    from seqadd.training import loop
true_time, plain_train = time.time, loop.train
def train(*arguments, **settings):
    for row in plain_train(*arguments, **settings):
        if row["epoch"] == 2:
            time.time = lambda: true_time() - 86_400  # a day, in the middle of the run
        yield row
loop.train = train
sys.argv[1:] = sys.argv[2:]
run.main()
"""
    done = command(tmp_path, sys.executable, "-c", program, "-", *FAST, "epochs=4")
    assert (done.returncode, done.stderr) == (0, "")
    (recorded,) = runs_of(tmp_path)
    assert recorded.info.status == "FINISHED"
    with sqlite3.connect(tmp_path / "mlflow.db") as database:
        times = database.execute("select step, timestamp from metrics where key = 'loss' order by step").fetchall()
    assert [step for step, _ in times] == [1, 2, 3, 4]
    stamps = [recorded.info.start_time, *[stamp for _, stamp in times], recorded.info.end_time]
    assert stamps == sorted(stamps)
    assert abs(stamps[-1] / 1000 - time.time()) < 60


@pytest.mark.long
def test_a_file_that_somebody_else_is_reading_is_whole_at_every_moment(folder_with_a_run):
    """Two commands write the same table again and again while a third keeps reading it; runs come in meanwhile."""
    path = folder_with_a_run / "table.csv"
    arguments = ["cell=simple_rnn", *FAST[:-1], "--epochs", "1", "--csv", "table.csv"]
    loop = "import sys; from seqadd import table\nfor _ in range(8):\n    table.main()"
    writers = [
        subprocess.Popen([sys.executable, "-c", loop, *arguments], cwd=folder_with_a_run, stdout=subprocess.DEVNULL)
        for _ in range(2)
    ]
    runner = subprocess.Popen(
        [*COMMAND, "-m", *FAST, "epochs=1", "seed=1,2,3"], cwd=folder_with_a_run, stdout=subprocess.DEVNULL
    )
    seen = set()
    while any(process.poll() is None for process in [*writers, runner]):
        if path.exists():
            text = path.read_text()
            header, *rows = text.splitlines()
            assert text.endswith("\n")
            assert {row.count(",") for row in rows} == {header.count(",")}
            assert len(rows) == 2
            seen.add(text)
        time.sleep(0.01)
    assert [process.wait() for process in [*writers, runner]] == [0, 0, 0]
    assert seen
    assert command(folder_with_a_run, *TABLE, *arguments).returncode == 0
    with sqlite3.connect(folder_with_a_run / "mlflow.db") as database:
        wanted = "select avg(value), count(value) from metrics where key = 'val_acc' and step = 1"
        mean, n = database.execute(wanted).fetchone()
    header, *rows = [line.split(",") for line in path.read_text().splitlines()]
    row = dict(zip(header, rows[1], strict=True))
    assert row["metric"] == "val_acc"
    assert int(row["seeds"]) == n == 4
    assert float(row["mean"]) == pytest.approx(mean)
