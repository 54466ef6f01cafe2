"""Processes that are killed, and what the same command does afterwards."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
from conftest import (
    COMMAND,
    SMALL,
    WITHOUT_XLA,
    client_of,
    epochs_of,
    output_of,
    runs_of,
    start,
    wait_for_lines,
)

FAST = [*SMALL, "cell=simple_rnn"]


def killed_at_its_second_checkpoint(process: subprocess.Popen[str], folder: Path) -> None:
    wait_for_lines(process, "epoch ")
    while not list((folder / "unfinished").rglob("checkpoint.before")):
        assert process.poll() is None
        time.sleep(0.1)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


@pytest.mark.long
def test_a_killed_run_is_closed_by_the_next_command_and_goes_on_as_if_nothing_had_happened(tmp_path):
    process = start(tmp_path, *FAST, "epochs=6000")
    killed_at_its_second_checkpoint(process, tmp_path)
    (killed,) = runs_of(tmp_path)
    assert killed.info.status == "RUNNING"  # nobody was left to say otherwise

    subprocess.run([COMMAND[0], "-m", "seqadd.table"], cwd=tmp_path, check=True, capture_output=True)
    assert [each.info.status for each in runs_of(tmp_path)] == ["KILLED"]
    before = epochs_of(tmp_path, killed.info.run_id)

    out = output_of(tmp_path, *FAST, "epochs=6000")
    first = int(out.partition("resuming after epoch ")[2].partition(",")[0])
    assert 0 < first <= len(before) < 6000  # 1 where the machine takes seconds to compile
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
    output_of(tmp_path, *WITHOUT_XLA, "epochs=2", "seed=0")
    wider = output_of(tmp_path, "-m", *WITHOUT_XLA, "epochs=2", "seed=0,1")
    assert "seed=0  finished already: run " in wider
    assert "1 job, 1 at once" in wider
    assert "\nseed=1  epoch 2/2" in wider
    ids = {each.info.run_id for each in runs_of(tmp_path)}
    sweep = output_of(tmp_path, "-m", *WITHOUT_XLA, "epochs=2", "seed=0,1")
    assert sweep.count("finished already: run ") == 2
    assert "all 2 jobs are finished already; force=true trains them again" in sweep
    single = output_of(tmp_path, *WITHOUT_XLA, "epochs=2", "seed=1")
    assert "finished already: run " in single
    assert {each.info.run_id for each in runs_of(tmp_path)} == ids


@pytest.mark.long
def test_two_processes_that_want_the_same_run_train_it_once(tmp_path):
    output_of(tmp_path, *FAST, "epochs=1", "seed=9")  # so that both start in a moment
    processes = [start(tmp_path, *FAST, "epochs=3000") for _ in range(2)]
    outputs = [process.communicate(timeout=120) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], outputs
    trained, waited = sorted((out for out, _ in outputs), key=lambda out: "finished already" in out)
    assert "epoch 3000/3000" in trained
    assert "waiting: another process is training this run" in waited
    assert "epoch " not in waited
    assert len([each for each in runs_of(tmp_path) if each.data.params["seed"] == "0"]) == 1


@pytest.mark.long
def test_with_force_an_interrupted_run_begins_again_under_a_new_record(tmp_path):
    process = start(tmp_path, *FAST, "epochs=2000")
    wait_for_lines(process, "epoch ", n=3)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    out = output_of(tmp_path, *FAST, "epochs=2000", "force=true")
    assert "resuming" not in out
    assert "epoch    1/2000" in out
    assert sorted(each.info.status for each in runs_of(tmp_path)) == ["FINISHED", "KILLED"]


@pytest.mark.long
def test_with_force_a_job_that_slurm_has_requeued_goes_on_with_itself_and_with_nothing_else(tmp_path, monkeypatch):
    output_of(tmp_path, *FAST, "epochs=6000")
    process = start(tmp_path, *FAST, "epochs=6000", "force=true")
    killed_at_its_second_checkpoint(process, tmp_path)
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    assert "resuming after epoch " in output_of(tmp_path, *FAST, "epochs=6000", "force=true")
    first, again = runs_of(tmp_path)
    assert [first.info.status, again.info.status] == ["FINISHED", "FINISHED"]
    assert first.data.tags["weights_sha256"] == again.data.tags["weights_sha256"]


@pytest.mark.long
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
    assert out.count("is not used: its checkpoint is damaged: the checksum does not match") == len(torn)
    assert "epoch    1/2000" in out
    for each in runs_of(tmp_path):
        known = epochs_of(tmp_path, each.info.run_id)
        assert known == list(range(1, len(known) + 1))
    assert {each.info.status for each in runs_of(tmp_path)} >= {"FINISHED"}
