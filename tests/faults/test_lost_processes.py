"""Helper processes of a sweep that are lost while it trains, and sweeps that are stopped on a busy machine."""

from __future__ import annotations

import os
import re
import resource
import signal
import subprocess
import sys

import pytest
from conftest import (
    COMMAND,
    SMALL,
    becomes_true,
    output_of,
    processes_of,
    runs_of,
    start,
    wait_for_lines,
)

pytestmark = pytest.mark.long

SWEEP = ["-m", *SMALL, "cell=simple_rnn", "hydra.launcher.jobs=2"]


def statuses(folder):
    return {each.info.status for each in runs_of(folder)}


def test_a_sweep_whose_fork_server_is_killed_again_and_again_finishes_all_jobs(tmp_path):
    process = start(tmp_path, *SWEEP, "epochs=300", "seed=0,1,2,3")
    killed = set()
    for _ in range(2):
        wait_for_lines(process, "epoch ", n=4)
        for server in processes_of(process.pid)["servers"]:
            killed.add(server)
            os.kill(server, signal.SIGKILL)
    _, err = process.communicate(timeout=600)
    assert (process.returncode, err) == (0, "")
    assert killed
    assert [each.info.status for each in runs_of(tmp_path)] == ["FINISHED"] * 5


def test_a_job_that_is_lost_with_its_fork_server_is_killed_in_the_store_and_done_by_the_same_command(tmp_path):
    process = start(tmp_path, *SWEEP, "epochs=20000", "seed=0,1")
    wait_for_lines(process, "epoch ", n=6)
    processes = processes_of(process.pid)
    for lost in [*processes["servers"], processes["jobs"][0]]:
        os.kill(lost, signal.SIGKILL)
    # The store hears of the lost job while the other one, and the sweep, are still RUNNING.
    assert becomes_true(
        lambda: sorted(each.info.status for each in runs_of(tmp_path)) == ["KILLED", "RUNNING", "RUNNING"], 15
    )
    assert process.poll() is None
    process.terminate()
    process.communicate(timeout=30)
    assert becomes_true(lambda: statuses(tmp_path) == {"KILLED"}, seconds=15)
    output_of(tmp_path, *SWEEP, "epochs=20000", "seed=0,1")
    assert [each.info.status for each in runs_of(tmp_path)] == ["FINISHED"] * 3


@pytest.mark.parametrize("group", [False, True], ids=["the sweep alone", "all processes"])
def test_a_sweep_that_is_stopped_on_a_busy_machine_leaves_nothing_running(group, tmp_path):
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(4 * (os.cpu_count() or 1))]
    try:
        process = start(tmp_path, *SWEEP, "epochs=1000000", "seed=0,1")
        wait_for_lines(process, "epoch ", n=2)  # the first of each job; the next ones come after 50,000 epochs
        (os.killpg if group else os.kill)(process.pid, signal.SIGTERM)
        _, err = process.communicate(timeout=30)
        assert (process.returncode, err) == (143, "seqadd: stopped by SIGTERM\n")
        assert becomes_true(lambda: statuses(tmp_path) == {"KILLED"}, seconds=15)
    finally:
        for each in busy:
            each.kill()
            each.wait()


@pytest.mark.parametrize("arguments", [["cell=lstm"], ["cell=gru", "jit=false"], ["-m", "seed=0,1"]])
@pytest.mark.parametrize("limit", [resource.RLIMIT_AS, resource.RLIMIT_DATA], ids=["address space", "data"])
def test_as_much_as_a_refusal_asks_for_is_enough(limit, arguments, tmp_path):
    def run_within(n_bytes: int):
        return subprocess.run(
            [*COMMAND, *arguments, *SMALL, "epochs=2"],
            cwd=tmp_path, capture_output=True, text=True,
            preexec_fn=lambda: resource.setrlimit(limit, (n_bytes, n_bytes)),
        )  # fmt: skip

    refused = run_within(700_000_000)
    asked = re.search(r"this process needs ([0-9.]+) GB", refused.stderr)
    assert (refused.returncode, list(tmp_path.iterdir())) == (2, [])
    assert asked, refused.stderr
    done = run_within(int(1e9 * (float(asked[1]) + 0.05)))  # it was rounded
    assert (done.returncode, done.stderr) == (0, "")
    assert statuses(tmp_path) == {"FINISHED"}
