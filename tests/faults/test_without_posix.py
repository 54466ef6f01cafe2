"""seqadd without what Windows lacks: runs, the table, sweeps and their jobs; see ``without_posix``."""

from __future__ import annotations

import os
import subprocess
import sys
from multiprocessing import Pipe
from multiprocessing.context import SpawnProcess
from pathlib import PureWindowsPath

import fork_server
import pytest
from conftest import COMMAND, WITHOUT_XLA, epochs_of, make_config, quick_database, runs_of
from without_posix import take_away

from seqadd.launch import local
from seqadd.tracking.artifact_locations import folder_name
from seqadd.tracking.database import sqlite_uri

RUN = [*WITHOUT_XLA, "epochs=4"]

#: Ctrl-C in the third epoch; Windows tells a process of it in a thread.
INTERRUPTED = """
import signal, sys, threading
from seqadd import run
from seqadd.cli.progress import Display

receive = Display.receive

def interrupt(display, index, report):
    receive(display, index, report)
    if getattr(report, "epoch", 0) == 3:
        thread = threading.Thread(target=signal.raise_signal, args=(signal.SIGINT,))
        thread.start()
        thread.join()

Display.receive = interrupt
run.program()
"""

#: Several commands, one after the other.
COMMANDS = """
import importlib, sys

for line in sys.argv[1:]:
    name, *sys.argv[1:] = line.split()
    importlib.import_module(f"seqadd.{name}").main()
"""


def test_an_interrupted_run_is_resumed_and_shown_in_a_table(tmp_path):
    done = fork_server.run([sys.executable, "-c", INTERRUPTED, *RUN], cwd=tmp_path, before=take_away)
    assert (done.returncode, done.stderr.splitlines()[0]) == (130, "seqadd: stopped by SIGINT")
    assert [each.info.status for each in runs_of(tmp_path)] == ["KILLED"]
    commands = [f"run {' '.join(RUN)}", f"table {' '.join(WITHOUT_XLA)} --epochs 4 --csv table.csv"]
    done = fork_server.run([sys.executable, "-c", COMMANDS, *commands], cwd=tmp_path, before=take_away)
    assert (done.returncode, done.stderr) == (0, "")
    (run,) = runs_of(tmp_path)
    assert run.info.status == "FINISHED"
    assert epochs_of(tmp_path, run.info.run_id) == [1, 2, 3, 4]
    assert f"{run.data.metrics['val_acc']:.4f}" in done.stdout
    assert b"\r" not in (tmp_path / "table.csv").read_bytes()
    assert not (tmp_path / "unfinished").exists()


#: A sweep of jobs that train nothing, and that a signal stops while the second one runs.
SWEEP = """
import sys, threading, time
from pathlib import Path
from without_posix import take_away

take_away()

from seqadd.cli.progress import Display, Message
from seqadd.errors import Interrupted
from seqadd.launch import local
from seqadd.launch.local import JobSucceeded
from seqadd.system.signals import signals_as_exceptions

def work(label, connection):
    try:
        with signals_as_exceptions(notify=None):
            threading.Thread(target=local._stop_with_the_sweep, args=(connection,), daemon=True).start()
            connection.send(Message(f"begins"))
            while label == "waits":
                time.sleep(0.05)
            connection.send(JobSucceeded("1"))
    except Interrupted as stopped:
        Path("closed").write_text(str(stopped))

def ended(index, outcome):
    print(f"job {index}: {outcome}")
    raise Interrupted(2)

def main():
    local._work = work
    labels = ["waits", "ends"]
    with Display(labels, [1, 1], 2) as display:
        try:
            local.run_queue(display, labels, enumerate(labels), 2, ended)
        except Interrupted as stopped:
            print(stopped)
"""


def test_the_jobs_of_a_sweep_are_spawned_and_close_their_runs_when_it_is_stopped(tmp_path):
    (tmp_path / "sweep.py").write_text(SWEEP)
    done = subprocess.run(
        [sys.executable, "-c", "import sweep; sweep.main()"],
        cwd=tmp_path, capture_output=True, text=True, timeout=300,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[0] == "2 jobs, 2 at once"
    assert "ends begins" in [" ".join(line.split()) for line in lines]
    assert "job 1: finished, run 1" in lines
    assert lines[-1] == "stopped by SIGINT"
    assert (tmp_path / "closed").read_text() == "stopped by SIGTERM"


def test_a_job_that_ended_before_it_took_its_end_of_the_pipe_has_ended():
    ended, _ = Pipe()

    class Ended(SpawnProcess):
        @property
        def sentinel(self) -> int:
            return ended.fileno()

    _.close()
    ours, theirs = Pipe()  # Windows keeps theirs open in the sweep
    running = {ours: local._Running(local._Job(0, "job"), Ended(), make_config())}
    theirs.send("its last message")
    assert list(local._next_messages(running, 5)) == [(ours, "its last message")]
    assert list(local._next_messages(running, 5)) == [(ours, None)]


def test_names_and_addresses_are_such_as_windows_reads():
    assert folder_name("NUL.txt").startswith("NUL.txt-")
    assert folder_name("nullable") == "nullable"
    assert sqlite_uri(PureWindowsPath("C:\\Anna Lee\\mlflow.db")) == "sqlite:///C:/Anna Lee/mlflow.db"


@pytest.mark.long
def test_a_sweep_of_two_jobs_in_fresh_processes_is_recorded_whole(tmp_path):
    """Everything is imported without what Windows lacks, in the sweep and in its jobs."""
    quick_database(tmp_path)
    (tmp_path / "sitecustomize.py").write_text("from without_posix import take_away\n\ntake_away()\n")
    done = subprocess.run(
        [*COMMAND, "-m", *RUN, "seed=0,1"],
        cwd=tmp_path, capture_output=True, text=True, timeout=600,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])},
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert sorted(each.info.status for each in runs_of(tmp_path)) == ["FINISHED"] * 3
    assert not (tmp_path / "unfinished").exists()
