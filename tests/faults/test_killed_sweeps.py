"""Sweeps and jobs that are killed, and what the same command does afterwards."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import time
from pathlib import Path

import pytest
from conftest import (
    COMMAND,
    SMALL,
    group_is_alive,
    output_of,
    processes_of,
    runs_of,
    start,
    wait_for_lines,
)

FAST = [*SMALL, "cell=simple_rnn"]


@pytest.mark.long
def test_a_killed_job_stops_nobody_else_and_the_same_command_does_only_that_job(tmp_path):
    sweep = ["-m", *FAST, "epochs=2000", "seed=0,1"]
    process = start(tmp_path, *sweep, "hydra.launcher.jobs=2")
    wait_for_lines(process, "epoch ", n=4)
    jobs = processes_of(process.pid)["jobs"]
    assert len(jobs) == 2
    os.kill(jobs[0], signal.SIGKILL)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 1
    assert "1 of 2 jobs failed: seed=" in err
    assert "its process was killed by SIGKILL" in err
    statuses = sorted(each.info.status for each in runs_of(tmp_path))
    assert statuses == ["FAILED", "FINISHED", "KILLED"]  # the sweep, the other job, this one
    again = output_of(tmp_path, *sweep, "hydra.launcher.jobs=2")
    assert again.count("finished already: run ") == 1
    assert "1 job, 1 at once" in again
    runs = runs_of(tmp_path)
    assert [each.info.status for each in runs] == ["FINISHED"] * 3  # the same three, one of them the sweep
    (parent,) = [each for each in runs if "jobs" in each.data.params]
    assert {each.data.tags.get("mlflow.parentRunId") for each in runs if each is not parent} == {parent.info.run_id}


@pytest.mark.long
def test_the_jobs_of_a_killed_sweep_stop_and_nothing_stays_running(tmp_path):
    process = start(tmp_path, "-m", *FAST, "epochs=1000000", "seed=0,1", "hydra.launcher.jobs=2")
    wait_for_lines(process, "epoch ", n=2)
    os.kill(process.pid, signal.SIGKILL)  # the sweep alone
    began = time.monotonic()
    while group_is_alive(process.pid):
        assert time.monotonic() < began + 10
        time.sleep(0.1)
        process.poll()
    # The jobs have closed their records; of the sweep nobody was left.
    assert sorted(each.info.status for each in runs_of(tmp_path)) == ["KILLED", "KILLED", "RUNNING"]
    subprocess.run([COMMAND[0], "-m", "seqadd.table"], cwd=tmp_path, check=True, capture_output=True)
    assert [each.info.status for each in runs_of(tmp_path)] == ["KILLED"] * 3


@pytest.mark.long
def test_a_sweep_that_was_killed_after_its_last_job_is_finished_by_the_same_command(tmp_path):
    sweep = ["-m", *FAST, "epochs=1", "seed=0,1"]
    program = """
import os, signal, sys
from seqadd import run
from seqadd.launch import local
whole = local.run_all
def run_all(*arguments):
    whole(*arguments)
    os.kill(os.getpid(), signal.SIGKILL)
local.run_all = run_all
run.main()
"""
    done = subprocess.run([COMMAND[0], "-c", program, *sweep], cwd=tmp_path, capture_output=True)
    assert done.returncode == -signal.SIGKILL
    assert sorted(each.info.status for each in runs_of(tmp_path)) == ["FINISHED", "FINISHED", "RUNNING"]
    assert "all 2 jobs are finished already" in output_of(tmp_path, *sweep)
    assert [each.info.status for each in runs_of(tmp_path)] == ["FINISHED"] * 3
    assert not (tmp_path / "unfinished").exists()


@pytest.mark.long
def test_a_job_that_gets_no_more_memory_stops_nobody_else(tmp_path):
    sweep = ["-m", *FAST, "epochs=500", "seed=0,1", "hydra.launcher.jobs=2"]
    process = start(tmp_path, *sweep)
    while len(jobs := processes_of(process.pid)["jobs"]) < 2:
        assert process.poll() is None
        time.sleep(0.05)
    has = int(Path(f"/proc/{jobs[0]}/statm").read_text().split()[0]) * resource.getpagesize()
    resource.prlimit(jobs[0], resource.RLIMIT_AS, (has, has))
    _, err = process.communicate(timeout=120)
    assert process.returncode == 1
    assert "1 of 2 jobs failed: seed=" in err
    assert sorted(each.info.status for each in runs_of(tmp_path))[-1] != "RUNNING"
    assert [each.info.status for each in runs_of(tmp_path)].count("FINISHED") == 1
    again = output_of(tmp_path, *sweep)
    assert "1 job, 1 at once" in again
    jobs_of_both = [each for each in runs_of(tmp_path) if "cell" in each.data.params]
    assert [each.info.status for each in jobs_of_both].count("FINISHED") == 2
