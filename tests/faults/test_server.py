"""A tracking server that is not there, goes away, comes back, does not answer; and its password."""

from __future__ import annotations

import os
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import COMMAND, SMALL, start, wait_for_lines
from mlflow import MlflowClient

from seqadd.tracking.artifacts import PATCH

FAST = [*SMALL, "cell=simple_rnn"]
PASSWORD = "pa55w0rd-of-ann"


class Server:
    """An MLflow server on loopback, as the README starts it, with its own folder and always the same port."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.uri = f"http://ann:{PASSWORD}@127.0.0.1:{self.port}"

    def up(self) -> None:
        command = ["server", "--backend-store-uri", "sqlite:///server.db", "--artifacts-destination", "artifacts"]
        with open(self.folder / "log.txt", "a") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "mlflow", *command, "--port", str(self.port), "--workers", "1"],
                cwd=self.folder, env={**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
                stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        deadline = time.monotonic() + 60
        while True:
            with socket.socket() as attempt:
                if attempt.connect_ex(("127.0.0.1", self.port)) == 0:
                    break
            assert time.monotonic() < deadline, (self.folder / "log.txt").read_text()
            time.sleep(0.1)
        MlflowClient(self.uri).search_experiments()

    def down(self) -> None:
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()

    def signal(self, number: signal.Signals) -> None:
        os.killpg(self.process.pid, number)

    def runs(self) -> dict[str, tuple[str, list[int]]]:
        """Status and the epochs of every run, in the order in which the server got them."""
        with sqlite3.connect(self.folder / "server.db") as database:
            runs = database.execute("select run_uuid, status from runs").fetchall()
            wanted = "select step from metrics where key = 'val_acc' and run_uuid = ? order by rowid"
            return {run: (status, [step for (step,) in database.execute(wanted, [run])]) for run, status in runs}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("server") / "here")
    server.up()
    yield server
    server.down()


@pytest.fixture
def running_server(server: Server) -> Server:
    if server.process.poll() is not None:
        server.up()
    return server


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*COMMAND, *arguments], cwd=folder, capture_output=True, text=True)


@pytest.mark.long
def test_a_server_that_is_not_there_is_named_within_ten_seconds_before_any_work(tmp_path):
    with socket.socket() as silent:  # takes connections and never answers
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        for uri in (f"http://127.0.0.1:{silent.getsockname()[1]}", "http://127.0.0.1:9"):
            for sweep in ([], ["-m", "seed=0,1"]):
                began = time.monotonic()
                done = run(tmp_path, *sweep, *FAST, f"tracking.uri={uri}")
                assert time.monotonic() - began < 10 + 3  # and what Python takes to start
                assert done.returncode == 2
                assert done.stdout == ""
                assert done.stderr.startswith(f"seqadd: tracking.uri={uri}: cannot open the store: ")
                assert done.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.long
def test_a_server_that_goes_away_and_comes_back_gets_every_epoch_once_and_in_order(running_server, tmp_path):
    process = start(tmp_path, *FAST, "epochs=5000", f"tracking.uri={running_server.uri}")
    wait_for_lines(process, "epoch ", n=2)
    running_server.down()
    wait_for_lines(process, "the store does not respond; training continues, metrics are queued: ")
    wait_for_lines(process, "epoch ")
    running_server.up()
    out, err = process.communicate(timeout=120)
    assert (process.returncode, err) == (0, "")
    (run_id,) = re.findall("run ([0-9a-f]{32}), experiment", out)
    assert running_server.runs()[run_id] == ("FINISHED", list(range(1, 5001)))
    assert not (tmp_path / "unfinished").exists()


@pytest.mark.long
@pytest.mark.parametrize("how", ["gone", "silent"])
def test_a_server_that_never_comes_back_is_told_by_the_next_command(how, running_server, tmp_path):
    seed = {"gone": 1, "silent": 2}[how]
    process = start(tmp_path, *FAST, "epochs=2000", f"seed={seed}", f"tracking.uri={running_server.uri}")
    wait_for_lines(process, "epoch ", n=2)
    before = set(running_server.runs())
    running_server.down() if how == "gone" else running_server.signal(signal.SIGSTOP)
    _, err = process.communicate(timeout=300)  # three attempts of up to 30 seconds at the end
    assert process.returncode == 3
    (run_id,) = re.findall("seqadd: run ([0-9a-f]{32}) is trained, but not all of it reached the store", err)
    assert run_id in before
    assert err.count("\n") == 1
    assert f"the rest is in {tmp_path}/unfinished/" in err
    running_server.up() if how == "gone" else running_server.signal(signal.SIGCONT)
    assert running_server.runs()[run_id][0] == "RUNNING"

    subprocess.run(
        [sys.executable, "-m", "seqadd.table", "cell=gru", f"tracking.uri={running_server.uri}"],
        cwd=tmp_path, check=True, capture_output=True,
    )  # fmt: skip
    assert running_server.runs()[run_id] == ("FINISHED", list(range(1, 2001)))
    artifacts = {each.path for each in MlflowClient(running_server.uri).list_artifacts(run_id)} - {PATCH}
    assert artifacts == {
        "config.yaml",
        "end.checkpoint",
        "history.json",
        "learning_curve.png",
        "model.weights.h5",
    }
    assert not (tmp_path / "unfinished").exists()


@pytest.mark.long
def test_a_sweep_whose_server_goes_away_trains_all_its_jobs_and_the_next_command_tells(running_server, tmp_path):
    sweep = ["-m", *FAST, "epochs=2500", "seed=3,4", f"tracking.uri={running_server.uri}"]
    process = start(tmp_path, *sweep)
    wait_for_lines(process, "epoch ", n=3)
    running_server.down()
    _, err = process.communicate(timeout=180)
    assert process.returncode == 3, err
    assert err.startswith("seqadd: 2 of 2 jobs are not delivered to the store: ")
    running_server.up()
    before = running_server.runs()
    done = run(tmp_path, *sweep)
    assert done.returncode == 0, done.stderr
    assert "all 2 jobs are finished already" in done.stdout
    after = running_server.runs()
    assert after.keys() == before.keys()
    assert [status for status, _ in after.values()].count("RUNNING") == 0


@pytest.mark.long
def test_a_password_in_the_address_is_in_nothing_that_is_written_or_printed(running_server, tmp_path):
    uri = f"tracking.uri={running_server.uri}"
    python = sys.executable
    commands = [
        [*COMMAND, *FAST, "epochs=2", "seed=5", uri],
        [*COMMAND, "-m", *FAST, "epochs=2", "seed=6", "learning_rate=0.001,1e38", uri],  # half of it fails
        [*COMMAND, *FAST, "epochs=2", "seed=5", f"{uri}x"],  # no such address
        [*COMMAND, *FAST, "epochs=2", "seed=5", f"{uri},"],  # cannot be read
        [*COMMAND, "--cfg", "job", *FAST, uri],
        [*COMMAND, "--info", "config", *FAST, uri],
        [*COMMAND, "--no-such-option", *FAST, uri],
        [python, "-m", "seqadd.table", "--markdown", "table.md", "--csv", "table.csv", uri],
        [python, "-m", "seqadd.table", "cell=lstm,gru", f"{uri}x"],
    ]
    codes = []
    for command in commands:
        environment = {**os.environ, "HYDRA_FULL_ERROR": "1"}
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert PASSWORD not in done.stdout + done.stderr, command
        codes.append(done.returncode)
    assert codes == [0, 1, 2, 2, 0, 0, 2, 0, 2]

    process = start(tmp_path, *FAST, "epochs=1000", "seed=8", uri)
    wait_for_lines(process, "epoch ", n=2)
    running_server.down()
    out, err = process.communicate(timeout=120)  # with a folder of what waits
    assert process.returncode == 3
    assert PASSWORD not in out + err
    written = [path for folder in (tmp_path, running_server.folder) for path in folder.rglob("*") if path.is_file()]
    assert len(written) > 20
    assert [path for path in written if PASSWORD.encode() in path.read_bytes()] == []


@pytest.mark.long
def test_the_ui_as_the_readme_starts_it_listens_on_loopback_only(tmp_path):
    """No flags but the port, for another program may have the usual one."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen(
        [sys.executable, "-m", "mlflow", "ui", "--port", str(port)],
        cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    try:
        deadline = time.monotonic() + 60
        while not (addresses := listening_on(port)):
            assert time.monotonic() < deadline
            time.sleep(0.1)
        assert addresses == {"127.0.0.1"}
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def listening_on(port: int) -> set[str]:
    """The addresses of this machine on which somebody listens at a port."""
    found = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        if not Path(table).exists():
            if table.endswith("tcp"):
                pytest.skip("this system does not tell who listens")
            continue
        for line in Path(table).read_text().splitlines()[1:]:
            address, state = line.split()[1], line.split()[3]
            host, _, in_hex = address.partition(":")
            if state == "0A" and int(in_hex, 16) == port:
                found.add(socket.inet_ntoa(bytes.fromhex(host)[::-1]) if len(host) == 8 else host)
    return found
