"""Processes that are killed, and what the same command does afterwards."""

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
    client_of,
    epochs_of,
    group_is_alive,
    output_of,
    processes_of,
    runs_of,
    start,
    wait_for_lines,
)

FAST = [*SMALL, "cell=simple_rnn"]


def test_a_killed_run_is_closed_by_the_next_command_and_goes_on_as_if_nothing_had_happened(tmp_path):
    process = start(tmp_path, *FAST, "epochs=6000")
    wait_for_lines(process, "epoch ")
    while not list((tmp_path / "unfinished").rglob("checkpoint.before")):  # until there is a second checkpoint
        assert process.poll() is None
        time.sleep(0.1)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    (killed,) = runs_of(tmp_path)
    assert killed.info.status == "RUNNING"  # nobody was left to say otherwise

    subprocess.run([COMMAND[0], "-m", "seqadd.table"], cwd=tmp_path, check=True, capture_output=True)
    assert [each.info.status for each in runs_of(tmp_path)] == ["KILLED"]
    before = epochs_of(tmp_path, killed.info.run_id)

    out = output_of(tmp_path, *FAST, "epochs=6000")
    first = int(out.partition("goes on after epoch ")[2].partition(",")[0])
    assert 1 < first <= len(before) < 6000
    (resumed,) = runs_of(tmp_path)
    assert resumed.info.run_id == killed.info.run_id
    assert resumed.info.status == "FINISHED"
    assert epochs_of(tmp_path, resumed.info.run_id) == list(range(1, 6001))
    assert not (tmp_path / "unfinished").exists()

    output_of(tmp_path, *FAST, "epochs=6000", "force=true")
    (again,) = [each for each in runs_of(tmp_path) if each.info.run_id != killed.info.run_id]
    assert again.data.tags["weights_sha256"] == resumed.data.tags["weights_sha256"]
    client = client_of(tmp_path)
    for metric in ("loss", "acc", "val_loss", "val_acc"):
        histories = [
            [(point.step, point.value) for point in client.get_metric_history(each.info.run_id, metric)]
            for each in (resumed, again)
        ]
        assert histories[0] == histories[1]


def test_the_same_command_again_names_what_is_finished_and_trains_nothing(tmp_path):
    output_of(tmp_path, "-m", *FAST, "epochs=2", "seed=0,1")
    ids = {each.info.run_id for each in runs_of(tmp_path)}
    sweep = output_of(tmp_path, "-m", *FAST, "epochs=2", "seed=0,1")
    assert "seed=0  finished already: run " in sweep
    assert "all 2 jobs are finished already; force=true trains them again" in sweep
    single = output_of(tmp_path, *FAST, "epochs=2", "seed=1")
    assert "finished already: run " in single
    assert {each.info.run_id for each in runs_of(tmp_path)} == ids
    wider = output_of(tmp_path, "-m", *FAST, "epochs=2", "seed=0,1,2")
    assert wider.count("finished already") == 2
    assert "1 jobs, 1 at once" in wider
    assert "\nseed=2  epoch 2/2" in wider


def test_two_processes_that_want_the_same_run_train_it_once(tmp_path):
    output_of(tmp_path, *FAST, "epochs=1", "seed=9")  # so that both start in a moment
    processes = [start(tmp_path, *FAST, "epochs=3000") for _ in range(2)]
    outputs = [process.communicate(timeout=120) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], outputs
    trained, waited = sorted((out for out, _ in outputs), key=lambda out: "finished already" in out)
    assert "epoch 3000/3000" in trained
    assert "waits: another process is at it" in waited
    assert "epoch " not in waited
    assert len([each for each in runs_of(tmp_path) if each.data.params["seed"] == "0"]) == 1


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
    assert "1 jobs, 1 at once" in again
    runs = runs_of(tmp_path)
    assert [each.info.status for each in runs] == ["FINISHED"] * 3  # the same three, one of them the sweep
    (parent,) = [each for each in runs if "jobs" in each.data.params]
    assert {each.data.tags.get("mlflow.parentRunId") for each in runs if each is not parent} == {parent.info.run_id}


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
def test_with_force_an_interrupted_run_begins_again_under_a_new_record(tmp_path):
    process = start(tmp_path, *FAST, "epochs=2000")
    wait_for_lines(process, "epoch ", n=3)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    out = output_of(tmp_path, *FAST, "epochs=2000", "force=true")
    assert "goes on" not in out
    assert "epoch    1/2000" in out
    assert sorted(each.info.status for each in runs_of(tmp_path)) == ["FINISHED", "KILLED"]


def test_a_run_whose_checkpoints_are_all_torn_starts_afresh_says_so_and_leaves_no_double_epochs(tmp_path):
    process = start(tmp_path, *FAST, "epochs=2000")
    wait_for_lines(process, "epoch ", n=3)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    torn = list((tmp_path / "unfinished").rglob("checkpoint*"))
    assert torn
    for path in torn:
        path.write_bytes(path.read_bytes()[:-1])
    out = output_of(tmp_path, *FAST, "epochs=2000")
    assert out.count("is not used: its checkpoint is damaged: the checksum does not fit") == len(torn)
    assert "epoch    1/2000" in out
    for each in runs_of(tmp_path):
        known = epochs_of(tmp_path, each.info.run_id)
        assert known == list(range(1, len(known) + 1))
    assert {each.info.status for each in runs_of(tmp_path)} >= {"FINISHED"}


def test_a_sweep_that_was_killed_after_its_last_job_is_finished_by_the_same_command(tmp_path):
    sweep = ["-m", *FAST, "epochs=1", "seed=0,1"]
    program = """
import os, signal, sys
from seqadd import jobs, run
whole = jobs.run_all
def run_all(*arguments):
    whole(*arguments)
    os.kill(os.getpid(), signal.SIGKILL)
jobs.run_all = run_all
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
    assert "1 jobs, 1 at once" in again
    assert [each.info.status for each in runs_of(tmp_path) if each.data.metrics].count("FINISHED") == 2
