"""Helper processes that die, processes that must be ended, and limits of the system."""

from __future__ import annotations

import io
import os
import resource
import select
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import fork_server
import pytest
from conftest import (
    COMMAND,
    SMALL,
    WITHOUT_XLA,
    becomes_true,
    make_config,
    processes_of,
    quick_database,
    runs_of,
    wait_for_lines,
)

from seqadd import errors
from seqadd.config import validation
from seqadd.system import hardware
from seqadd.system.files import write_file
from seqadd.system.signals import spawn_detached
from seqadd.tracking import connection, recording

FAST = [*SMALL, "cell=simple_rnn"]

# ---- A process that computes is ended, and the store told by another one ----

#: An open record, in a main thread that does not hear of a signal, or does not come to its end afterwards.
COMPUTES = """
import sys, time
from seqadd.cli.entry import command
from seqadd.config.schema import Tracking
from seqadd.system.signals import defer_signals
from seqadd.tracking import connection
from seqadd.tracking import recording

def work():
    print("computes", flush=True)
    time.sleep(60)

store = connection.open_store(Tracking("sqlite:///mlflow.db", "seqadd", None, None, None, None))
run_dir = store.run_directory("one")
with command(), run_dir.lock(print), recording.record(store, run_dir, "one", params={}, tags={}, go_on=True) as run:
    run.log_epoch({"epoch": 1, "loss": 2.5})
    run.log_epoch({"epoch": 2, "loss": 1.5})  # of which the store is told a second later
    if "hears nothing" in sys.argv:
        with defer_signals():
            work()
    else:
        try:
            work()
        finally:
            work()
"""


def statuses(folder: Path) -> set[str]:
    return {run.info.status for run in runs_of(folder)}


def test_of_a_process_that_must_be_ended_another_one_tells_the_store(tmp_path):
    processes = {}
    for main_thread in ("hears nothing", "tidies up for too long"):
        folder = tmp_path / main_thread
        folder.mkdir()
        quick_database(folder)
        command = [sys.executable, "-c", COMPUTES, main_thread]
        processes[folder] = fork_server.start(command, cwd=folder, start_new_session=True)
    for process in processes.values():
        wait_for_lines(process, "computes")
    began = time.monotonic()
    for process in processes.values():
        os.killpg(process.pid, signal.SIGTERM)
    for process in processes.values():
        _, err = process.communicate(timeout=30)
        assert (process.returncode, err) == (143, "seqadd: stopped by SIGTERM\n")
    assert time.monotonic() - began < 5
    for folder in processes:
        # MLflow is imported for it, which takes a while on a busy machine.
        assert becomes_true(lambda folder=folder: statuses(folder) == {"KILLED"}, seconds=60)
        # The epoch that only the disk knew.
        assert becomes_true(lambda folder=folder: runs_of(folder)[0].data.metrics["loss"] == 1.5, seconds=60)


def test_who_tells_the_store_keeps_nothing_open_that_the_ended_process_had_open(tmp_path):
    """It would keep alive who reads the other end of a pipe, such as the tracker of a sweep's multiprocessing."""
    (tmp_path / "beside.py").write_text("import time\n\ndef main():\n    time.sleep(25)\n")
    reader, writer = os.pipe()
    os.set_inheritable(writer, True)
    spawn_detached("beside", {"PYTHONPATH": str(tmp_path)})
    os.close(writer)
    ended, _, _ = select.select([reader], [], [], 20)
    assert ended
    os.close(reader)


def test_who_tells_the_store_of_an_ended_process_leaves_a_run_alone_that_has_been_gone_on_with(
    in_empty_folder, monkeypatch
):
    from seqadd.config.schema import Tracking
    from seqadd.tracking import after_forced_exit, connection, recording, run_directory

    quick_database(in_empty_folder)
    store = connection.open_store(Tracking("sqlite:///mlflow.db", "seqadd", None, None, None, None))
    run_dir = store.run_directory("one")
    started: list[tuple[str, dict[str, str]]] = []
    monkeypatch.setattr(run_directory, "spawn_detached", lambda *asked: started.append(asked))
    run_dir._have_it_reconciled()
    ((module, variables),) = started
    assert module == after_forced_exit.__name__
    monkeypatch.setenv(*next(iter(variables.items())))
    monkeypatch.setattr(after_forced_exit, "_SECONDS_IN_ALL", 0)  # for this process goes on
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO()))  # as if that process were gone
    with run_dir.lock(print), recording.record(store, run_dir, "one", params={}, tags={}) as run:
        run.end_now()
        after_forced_exit.main()
        assert statuses(in_empty_folder) == {"RUNNING"}
    assert statuses(in_empty_folder) == {"FINISHED"}


# ---- A sweep whose helpers are killed ----

#: A sweep of jobs that train nothing: each does what its label says. After "|" a second sweep of the same process
#: begins, when all jobs before it have ended.
SWEEP = """
import os, signal, sys, threading, time
from contextlib import suppress
from multiprocessing import forkserver, resource_tracker
from seqadd.cli.entry import command
from seqadd.cli.progress import Display
from seqadd.cli.progress import Message
from seqadd.errors import Interrupted
from seqadd.launch import local, processes
from seqadd.launch.local import JobSucceeded
from seqadd.system.signals import signals_as_exceptions

def kill(pid):
    os.kill(pid, signal.SIGKILL)

def work(label, connection):
    try:
        with signals_as_exceptions(notify=None):
            threading.Thread(target=local._stop_with_the_sweep, args=(connection,), daemon=True).start()
            if label == "is killed":
                kill(os.getpid())
            if label == "ends with 7":
                os._exit(7)
            if label == "closes its pipe":
                connection.close()
                kill(os.getpid())
            if label == "says half a word":
                os.write(connection.fileno(), b"ab")
                kill(os.getpid())
            if label in ("kills the fork server", "dies with the fork server"):
                parent = os.getppid()
                if "forkserver" in open(f"/proc/{parent}/cmdline").read():  # if the job before has not killed it yet
                    kill(parent)
            if label == "dies with the fork server":
                kill(os.getpid())
            if label.startswith("sleeps"):
                connection.send(Message(f"process={os.getpid()}"))
                time.sleep(60)
            with suppress(OSError):  # the server died while it forked this one, and the sweep has started another
                connection.send(JobSucceeded("1"))
    except Interrupted as stopped:
        sys.exit(stopped.exit_code)

def main():
    processes._PRELOADED = [sys.argv[1]]
    local._work, local._reconcile = work, lambda config: None
    with command():
        for labels in " ; ".join(sys.argv[2:]).split(" ; | ; "):
            sweep(labels.split(" ; "))

def sweep(labels):
    outcomes = {}

    def queue():
        for index, label in enumerate(labels):
            if "new server" in label:
                kill(forkserver._forkserver._forkserver_pid)
            if "new tracker" in label:
                kill(resource_tracker._resource_tracker._pid)
            yield index, label

    with Display(labels, [1] * len(labels), 2) as display:
        local.run_queue(display, labels, queue(), 2, outcomes.__setitem__)
    for index, outcome in sorted(outcomes.items()):
        print(f"outcome {labels[index]}: {outcome}")
"""


WITHOUT_A_WORD = "disappeared together with the process that forked it"


def start_sweep(
    folder: Path, *labels: str, preloaded: str = "seqadd.launch.local", **variables: str
) -> subprocess.Popen[str]:
    (folder / "sweep.py").write_text(SWEEP)
    return subprocess.Popen(
        [sys.executable, "-c", "import sweep; sweep.main()", preloaded, *labels],
        cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, **variables},
    )  # fmt: skip


def folder_of_a_long_name(folder: Path) -> Path:
    """For temporary files, longer than the address of a socket may be."""
    temporary = folder / ("as_batch_systems_make_them_" * 4)
    temporary.mkdir()
    return temporary


def test_jobs_start_where_the_temporary_folder_has_a_long_name_and_leave_nothing_there(tmp_path):
    temporary = folder_of_a_long_name(tmp_path)
    out, err = start_sweep(tmp_path, "one", "two", TMPDIR=str(temporary)).communicate(timeout=300)
    assert err == ""
    assert out.splitlines()[-2:] == ["outcome one: finished, run 1", "outcome two: finished, run 1"]
    assert list(temporary.iterdir()) == []


def test_a_sweep_outlives_whichever_process_of_its_own_is_killed(tmp_path):
    processes_killed = {
        "is fine": "finished, run 1",
        "is killed": "its process was killed by SIGKILL",
        "ends with 7": "its process ended with exit code 7",
        "closes its pipe": "its process was killed by SIGKILL",
        "says half a word": "its process was killed by SIGKILL",
    }
    helpers_killed = {
        "needs a new tracker": "finished, run 1",
        "needs a new server": "finished, run 1",
        "kills the fork server": "finished, run 1",
        "needs a new server and a new tracker": "finished, run 1",
        "dies with the fork server": f"its process {WITHOUT_A_WORD}",
        "comes last": "finished, run 1",
    }
    # One after the other, because only the server that forked a process knows by which signal it was killed.
    out, err = start_sweep(tmp_path, *processes_killed, "|", *helpers_killed).communicate(timeout=300)
    assert err == ""
    lines = [line.removeprefix("outcome ") for line in out.splitlines() if line.startswith("outcome ")]
    assert dict(line.split(": ", 1) for line in lines) == processes_killed | helpers_killed


def test_a_process_that_is_killed_whenever_it_imports_libraries_is_named_in_one_line(tmp_path):
    (tmp_path / "killed.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGKILL)\n")
    out, err = start_sweep(tmp_path, "one", "two", preloaded="killed").communicate(timeout=60)
    assert "outcome" not in out
    assert err == (
        "seqadd: no job could be started: the process that imports TensorFlow for all jobs was killed 2 times; "
        "make sure that memory suffices\n"
    )


def test_where_an_import_starts_a_thread_jobs_are_not_forked(tmp_path):
    program = "import threading, time\nthreading.Thread(target=time.sleep, args=(600,), daemon=True).start()\n"
    (tmp_path / "thread.py").write_text(program)
    out, err = start_sweep(tmp_path, "one", "two", preloaded="thread").communicate(timeout=60)
    assert "the process that forks jobs has 2 threads, so each job imports TensorFlow itself" in out
    assert out.count("outcome") == out.count(": finished, run 1") == 2
    assert err == ""


def test_jobs_that_have_lost_their_fork_server_are_stopped_with_their_sweep(tmp_path):
    process = start_sweep(tmp_path, "sleeps", "sleeps with a new server")
    assert process.stdout is not None
    jobs: list[int] = []
    while len(jobs) < 2:
        line = process.stdout.readline()
        assert line, process.communicate()[1]
        jobs += [int(word.removeprefix("process=")) for word in line.split() if word.startswith("process=")]
    process.terminate()
    _, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (143, "seqadd: stopped by SIGTERM\n")
    assert not any(is_running(job) for job in jobs)


def is_running(process: int) -> bool:
    """Whether it computes; one whose end nobody has asked for yet is still listed, as a zombie."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What is seen of a sweep of two jobs, one after the other, of which the helpers are killed during the first."""
    folder = tmp_path_factory.mktemp("sweep")
    temporary = folder_of_a_long_name(folder)
    quick_database(folder)
    process = subprocess.Popen(
        [*COMMAND, "-m", *WITHOUT_XLA, "epochs=60", "seed=0,1", "hydra.launcher.jobs=1"],
        cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        env={**os.environ, "TMPDIR": str(temporary), **THREADS_WANTED},
    )  # fmt: skip
    wait_for_lines(process, "epoch ")
    servers = processes_of(process.pid)["servers"]
    n_threads = [len(os.listdir(f"/proc/{server}/task")) for server in servers]
    for helper in helpers_of(process.pid):
        os.kill(helper, signal.SIGKILL)
    out, err = process.communicate(timeout=300)
    return {
        "code": process.returncode,
        "out": out,
        "err": err,
        "threads": n_threads,
        "runs": runs_of(folder),
        "left": list(temporary.iterdir()),
    }


#: Libraries that start threads when they are imported, asked to.
THREADS_WANTED = {
    "OPENBLAS_NUM_THREADS": "4",
    "OMP_NUM_THREADS": "4",
    "JE_ARROW_MALLOC_CONF": "background_thread:true",
    "MLFLOW_DISABLE_TELEMETRY": "false",
}


def helpers_of(sweep: int) -> list[int]:
    """The processes that multiprocessing has started for a sweep."""
    return [int(child) for child in Path(f"/proc/{sweep}/task/{sweep}/children").read_text().split()]


def test_what_jobs_import_starts_no_thread(tmp_path):
    """The fork server of the tests imports the same, and more, with what the process has that jobs are forked from."""
    program = """
import os
beside_the_server = open(f"/proc/{os.getppid()}/stat").read().rpartition(")")[2].split()
print(len(os.listdir(f"/proc/{beside_the_server[1]}/task")))
"""
    if not fork_server.is_started():
        pytest.skip("every command is a new Python")
    assert fork_server.run([sys.executable, "-c", program], cwd=tmp_path).stdout == "1\n"


@pytest.mark.long
def test_jobs_are_forked_from_a_process_of_one_thread(sweep):
    assert sweep["threads"] == [1]


@pytest.mark.long
def test_a_sweep_whose_helpers_are_killed_goes_on_with_new_ones(sweep):
    assert (sweep["code"], sweep["err"]) == (0, "")
    assert sorted(run.info.status for run in sweep["runs"]) == ["FINISHED"] * 3


@pytest.mark.long
def test_jobs_start_where_the_temporary_folder_has_a_long_name(sweep):
    assert sweep["code"] == 0
    assert sweep["left"] == []


@pytest.mark.parametrize("name", ["x" * 251 + ".csv", "더하기" * 27 + ".csv", "x" * 255])
def test_a_file_is_written_under_the_longest_name_that_it_can_have(name, tmp_path):
    write_file(tmp_path / name, "whole")
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize(
    ("database", "said"),
    [
        ("m" * 241, "the name of .* has 241 bytes, a database's may have 240"),
        ("d/" * 240 + "m", "the path of .* bytes"),
    ],
)
def test_a_database_whose_name_sqlite_cannot_open_is_refused_in_one_line(database, said, in_empty_folder):
    Path(database).parent.mkdir(parents=True, exist_ok=True)
    with pytest.raises(errors.ConfigError, match=said) as refused:
        connection.open_store(make_config(f"tracking.uri='sqlite:///{database}'").tracking)
    assert "\n" not in str(refused.value)
    assert not list(in_empty_folder.glob("m*"))


@pytest.mark.parametrize("database", ["m" * 240, "d" * 200 + "/" + "d" * 100 + "/m"])
def test_a_database_of_the_longest_name_works(database, in_empty_folder):
    Path(database).parent.mkdir(parents=True, exist_ok=True)
    quick_database(in_empty_folder)
    (in_empty_folder / "mlflow.db").rename(database)
    store = connection.open_store(make_config(f"tracking.uri='sqlite:///{database}'").tracking)
    run_dir = store.run_directory("one")
    long = "sweep " + "x" * 10_000  # is cut where MLflow has no room for it
    with (
        run_dir.lock(print),
        recording.record(store, run_dir, long, params={"overrides": long}, tags={"overrides": long}) as run,
    ):
        pass
    recorded = store.client.get_run(run.run_id)
    assert (recorded.info.status, len(recorded.info.run_name)) == ("FINISHED", 250)
    assert (len(recorded.data.params["overrides"]), len(recorded.data.tags["overrides"])) == (6000, 8000)


# ---- Limits of the system ----


@pytest.mark.parametrize(
    ("limit", "n_bytes", "said"),
    [
        (resource.RLIMIT_AS, 3_000_000 * 1024, "ulimit -v 3000000: allows 3.1 GB of address space, "),
        (
            resource.RLIMIT_DATA,
            500_000 * 1024,
            "ulimit -d 500000: allows 0.5 GB of writable memory, ",
        ),
    ],
)
@pytest.mark.parametrize("arguments", [[], ["-m", "seed=0,1"]], ids=["run", "sweep"])
def test_a_limit_that_tensorflow_would_crash_at_is_named_before_anything_is_recorded(
    arguments, limit, n_bytes, said, tmp_path
):
    done = subprocess.run(
        [*COMMAND, *arguments, "cell=lstm"],
        cwd=tmp_path, capture_output=True, text=True,
        preexec_fn=lambda: resource.setrlimit(limit, (n_bytes, n_bytes)),
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr.startswith(f"seqadd: {said}")
    assert done.stderr.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_threads_that_cannot_be_started_are_named(monkeypatch):
    monkeypatch.setattr(validation, "can_have_threads", lambda n: n < 6)
    with pytest.raises(errors.ConfigError, match=r"cannot start the \d+ threads .* raise ulimit -u"):
        validation.check_limits()


def test_threads_are_counted_by_starting_them(monkeypatch):
    assert hardware.can_have_threads(10)
    start = hardware.threading.Thread.start

    def start_five(thread):
        if threading.active_count() > before + 5:
            raise RuntimeError("can't start new thread")
        start(thread)

    before = threading.active_count()
    monkeypatch.setattr(hardware.threading.Thread, "start", start_five)
    assert hardware.can_have_threads(5)
    assert not hardware.can_have_threads(10)
    assert threading.active_count() == before
