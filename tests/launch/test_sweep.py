"""Sweeps as a person starts them: parent and children, jobs that fail, are killed or interrupted."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time

import fork_server
import pytest
from conftest import (
    CLONE,
    COMMAND,
    LONG,
    SMALL,
    client_of,
    group_is_alive,
    make_config,
    output_of,
    quick_database,
    runs_of,
    start,
    wait_for_lines,
)

from seqadd import run
from seqadd.config.part_schema import declare
from seqadd.launch import local


@pytest.fixture(scope="module")
def sweep_with_a_failure(tmp_path_factory: pytest.TempPathFactory):
    folder = tmp_path_factory.mktemp("sweep")
    overrides = [
        *SMALL,
        "jit=false",
        "cell=simple_rnn,dense",
        "learning_rate=0.001,1e38",
        "architecture=aligned",
        "tracking.experiment=seqadd",
    ]
    overrides = [each for each in overrides if not each.startswith("decoder_units")] + ["epochs=4"]
    (folder / "temporary").mkdir()
    environment = {**os.environ, "TMPDIR": str(folder / "temporary")}
    done = fork_server.run([*COMMAND, "-m", *overrides], cwd=folder, env=environment)
    return done, folder


def test_a_failed_job_leaves_the_others_running_and_is_named_at_the_end(sweep_with_a_failure):
    done, _ = sweep_with_a_failure
    assert done.returncode == 1
    assert done.stdout.startswith("4 jobs, ")
    assert "\ncell=dense learning_rate=0.001  " in done.stdout  # called by what tells it from the other jobs
    (line,) = done.stderr.splitlines()
    assert line.startswith("seqadd: 2 of 4 jobs failed: ")
    assert "cell=simple_rnn learning_rate=1e+38" in line.replace("1e38", "1e+38")
    assert "TrainingDiverged: loss is nan after epoch 1; lower learning_rate=1e+38" in line


def test_at_its_end_a_sweep_shows_the_accuracy_of_each_job_and_the_commands_that_show_more(sweep_with_a_failure):
    done, folder = sweep_with_a_failure
    lines = done.stdout.splitlines()
    table = lines[next(n for n, line in enumerate(lines) if line.startswith("job ")) :]
    assert table[0].split() == ["job", "loss", "acc", "val_acc", "exact", "match"]
    rows = {line[:36].strip(): line[36:].split() for line in table[1:5]}
    (dense,) = [each for each in runs_of(folder) if each.data.params.get("learning_rate") == "0.001"
                and each.data.params["cell"] == "dense"]  # fmt: skip
    assert rows["cell=dense learning_rate=0.001"][2] == f"{dense.data.metrics['val_acc']:.4f}"
    assert rows["cell=dense learning_rate=1e+38"] == ["failed"]
    (parent,) = [each for each in runs_of(folder) if "mlflow.parentRunId" not in each.data.tags]
    assert table[5] == f"sweep {parent.info.run_id}, experiment seqadd"
    assert table[6].startswith("as a table: python -m seqadd.table task.digits=1 ")
    assert table[6].endswith(" --epochs 4")
    assert re.fullmatch("the best:   python -m seqadd.inspect run=[0-9a-f]{32}", table[7])


def test_a_sweep_is_one_parent_with_its_jobs_as_children(sweep_with_a_failure):
    _, folder = sweep_with_a_failure
    runs = runs_of(folder)
    (parent,) = [each for each in runs if "mlflow.parentRunId" not in each.data.tags]
    children = [each for each in runs if each is not parent]
    assert {child.data.tags["mlflow.parentRunId"] for child in children} == {parent.info.run_id}
    assert parent.info.status == "FAILED"
    assert parent.data.params["jobs"] == "4"
    assert "tracking" not in parent.data.params["overrides"] + parent.info.run_name  # an address may hold a password
    outcomes = {(each.data.params["cell"], each.data.params["learning_rate"]): each.info.status for each in children}
    assert outcomes == {
        ("simple_rnn", "0.001"): "FINISHED",
        ("dense", "0.001"): "FINISHED",
        ("simple_rnn", "1e+38"): "FAILED",
        ("dense", "1e+38"): "FAILED",
    }


def test_jobs_leave_no_temporary_files(sweep_with_a_failure):
    _, folder = sweep_with_a_failure
    assert list((folder / "temporary").iterdir()) == []


def test_a_failed_run_keeps_its_traceback(sweep_with_a_failure):
    _, folder = sweep_with_a_failure
    failed = [each for each in runs_of(folder) if each.data.params.get("learning_rate") == "1e+38"]
    artifacts = {artifact.path for each in failed for artifact in client_of(folder).list_artifacts(each.info.run_id)}
    assert "traceback.txt" in artifacts


def test_a_sweep_gives_what_its_jobs_give_alone(sweep_with_a_failure, tmp_path):
    _, folder = sweep_with_a_failure
    (in_sweep,) = [
        each
        for each in runs_of(folder)
        if (each.data.params.get("cell"), each.data.params.get("learning_rate")) == ("dense", "0.001")
    ]
    overrides = [*(each for each in SMALL if not each.startswith("decoder_units")), "jit=false", "cell=dense"]
    output_of(tmp_path, *overrides, "epochs=4")
    (alone,) = runs_of(tmp_path)
    for metric in ("loss", "val_loss", "acc", "val_acc"):
        assert alone.data.metrics[metric] == in_sweep.data.metrics[metric]


def test_ctrl_c_ends_a_sweep_with_all_its_jobs(tmp_path):
    process = start(tmp_path, "-m", *LONG, "seed=0,1,2", "hydra.launcher.jobs=2")
    wait_for_lines(process, "epoch ", n=2)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: the jobs get it too, and then the sweep's SIGTERM
    _, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert err == "seqadd: stopped by SIGINT\n"
    assert {each.info.status for each in runs_of(tmp_path)} == {"KILLED"}
    deadline = time.monotonic() + 5  # multiprocessing's own helper ends a moment after its parent
    while group_is_alive(process.pid) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not group_is_alive(process.pid)


def test_ctrl_c_while_libraries_are_imported_ends_a_sweep_in_one_line_too(tmp_path):
    quick_database(tmp_path)
    process = subprocess.Popen(
        [*COMMAND, "-m", *LONG, "seed=0,1"],
        cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    wait_for_lines(process, "2 jobs")
    time.sleep(1)
    os.killpg(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (130, "seqadd: stopped by SIGINT\n")
    assert [each.info.status for each in runs_of(tmp_path)] == ["KILLED"]  # the sweep; no job has begun
    deadline = time.monotonic() + 8  # what has begun to import TensorFlow ends when it has
    while group_is_alive(process.pid) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not group_is_alive(process.pid)


@pytest.mark.parametrize(("system", "most"), [("win32", 31), ("linux", 96), ("darwin", 96)])
def test_on_windows_no_more_jobs_run_at_once_than_a_process_can_wait_for(system, most, monkeypatch):
    monkeypatch.setattr(local, "processors", lambda: 96)
    monkeypatch.setattr(local, "memory", lambda: None)
    monkeypatch.setattr(sys, "platform", system)
    assert local.max_parallel_jobs([make_config()]) == most


def test_without_slurms_commands_one_line_says_where_they_are(call, in_empty_folder, monkeypatch):
    (in_empty_folder / "git").symlink_to(shutil.which("git") or "git")
    monkeypatch.setenv("PATH", str(in_empty_folder))
    code, _, err = call(run.main, "-m", "hydra/launcher=slurm", *LONG, "seed=0,1")
    assert code == 2
    assert err == (
        "seqadd: hydra/launcher=slurm: sbatch not found; run this on the cluster's login node, "
        "or without hydra/launcher=slurm\n"
    )


@pytest.mark.parametrize(("given", "missing"), [([], "minutes"), (["hydra.launcher.minutes=9"], "memory_gb")])
def test_own_parts_on_slurm_need_time_and_memory_as_nothing_is_built_on_the_login_node(
    call, in_empty_folder, given, missing
):
    code = f"--code={CLONE / 'examples' / 'mgu.py'}"
    ended, out, err = call(run.main, code, "-m", "hydra/launcher=slurm", *given, "cell=mgu,gru")
    declare([])
    assert (ended, out) == (2, "")
    assert err == (
        f"seqadd: hydra.launcher.{missing}=null: must be given for own parts, which are not built on the login node "
        "(no job was submitted)\n"
    )
    assert not any(in_empty_folder.iterdir())
