"""Sweeps on a real Slurm: one array, one parent run, and whatever happens to jobs, the weights of an undisturbed one.

The cluster is this machine, started by ``scripts/slurm.py``; jobs that take another's place, time limits and kills are
Slurm's own.
"""

from __future__ import annotations

import csv
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from conftest import CLONE, COMMAND, SMALL, client_of, runs_of, wait_for_lines
from own_parts import architecture
from shared_server import Postgres, Server, need, services_folder

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))
import slurm as cluster

pytestmark = pytest.mark.integration

# Of some 10 seconds: long enough to be met on the way.
EPOCHS = 3000
SWEEP = [*SMALL, "cell=simple_rnn", f"epochs={EPOCHS}"]
ON_SLURM = ["-m", "hydra/launcher=slurm"]
# What must be given for own parts.
RESOURCES = ["hydra.launcher.minutes=20", "hydra.launcher.memory_gb=2"]
EXAMPLES = CLONE / "examples"


@pytest.fixture(scope="module", autouse=True)
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    need(cluster.missing)
    folder = tmp_path_factory.mktemp("slurm")
    environment = cluster.start(folder)
    os.environ.update(environment)
    yield
    cluster.stop(folder)
    del os.environ["SLURM_CONF"]


def seqadd(folder: Path, *overrides: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *overrides], cwd=folder, env={**os.environ, **environment}, capture_output=True, text=True,
        timeout=300,
    )  # fmt: skip


def begin(folder: Path, *overrides: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*COMMAND, *overrides], cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def wait_until(happened: Callable[[], object], seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.2)


def slurm_says(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def log_of(folder: Path, job: str) -> str:
    path = folder / "slurm" / f"{job}_0_log.out"
    return path.read_text() if path.exists() else ""


def first_array(folder: Path) -> str:
    """The number of the one array that was submitted from a folder."""
    wait_until(lambda: list(folder.glob("slurm/*_submission.sh")))
    (script,) = folder.glob("slurm/*_submission.sh")
    return script.name.partition("_")[0]


def is_training(folder: Path, job: str, epoch: int = 150) -> bool:
    """Whether a job has come so far, and not to its end."""
    reached = [int(found) for found in re.findall(r"epoch +(\d+)/", log_of(folder, job))]
    return bool(reached) and epoch <= reached[-1] < EPOCHS


def kill_and_requeue(job: str) -> None:
    slurm_says("scancel", "--signal=KILL", job)
    wait_until(lambda: "RUNNING" not in slurm_says("squeue", "--noheader", f"--jobs={job}", "--format=%T"))
    slurm_says("scontrol", "requeue", job)


def weights(folder: Path) -> dict[str, str]:
    """Of each finished run: seed and checksum."""
    finished = [run for run in runs_of(folder) if run.info.status == "FINISHED" and "weights_sha256" in run.data.tags]
    return {run.data.params["seed"]: run.data.tags["weights_sha256"] for run in finished}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The weights of three seeds, trained here without Slurm."""
    folder = tmp_path_factory.mktemp("here")
    done = seqadd(folder, "-m", *SWEEP, "seed=range(3)")
    assert done.returncode == 0, done.stderr
    return weights(folder)


def test_whatever_happens_to_its_jobs_a_sweep_ends_in_the_weights_of_one_that_ran_through(
    tmp_path: Path, undisturbed: dict[str, str]
) -> None:
    sweep = begin(tmp_path, *ON_SLURM, *SWEEP, "seed=range(3)")
    array = first_array(tmp_path)
    killed, told, displaced = (f"{array}_{index}" for index in (0, 1, 2))

    def tell_of_the_time_limit() -> None:
        slurm_says("scancel", "--signal=USR2", told)  # as Slurm does before it

    def displace() -> None:
        slurm_says("srun", "--partition=urgent", f"--ntasks={os.cpu_count()}", "--mem=100M", "true")

    to_come = {killed: lambda: kill_and_requeue(killed), told: tell_of_the_time_limit, displaced: displace}

    def disturb() -> bool:
        for job in [job for job in to_come if is_training(tmp_path, job)]:
            to_come.pop(job)()
        return not to_come

    wait_until(disturb)

    said, _ = sweep.communicate(timeout=240)
    assert sweep.returncode == 0, said
    assert weights(tmp_path) == undisturbed
    for job in (killed, told, displaced):
        assert log_of(tmp_path, job).count("Starting with JobEnvironment") >= 2, log_of(tmp_path, job)
        assert re.search(r"resuming after epoch [1-9]", log_of(tmp_path, job))

    parent, children = of_a_sweep(tmp_path)
    assert parent.info.status == "FINISHED"
    assert [run.info.status for run in children] == 3 * ["FINISHED"]
    for run in children:
        seed = run.data.params["seed"]
        assert run.data.tags["slurm_job"] == f"{array}_{seed}"
        assert f"seed={seed}" in Path(run.data.tags["slurm_log"]).read_text()
        history = client_of(tmp_path).get_metric_history(run.info.run_id, "loss")
        assert [point.step for point in history] == list(range(1, EPOCHS + 1))  # each epoch once

    submitted = set(tmp_path.glob("slurm/*"))
    again = seqadd(tmp_path, *ON_SLURM, *SWEEP, "seed=range(3)")
    assert again.returncode == 0, again.stderr
    assert "all 3 jobs are finished already" in again.stdout
    assert set(tmp_path.glob("slurm/*")) == submitted


def of_a_sweep(folder: Path):
    runs = runs_of(folder)
    (parent,) = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
    children = [run for run in runs if run is not parent]
    assert {run.data.tags["mlflow.parentRunId"] for run in children} == {parent.info.run_id}
    return parent, sorted(children, key=lambda run: run.data.params["seed"])


def test_the_articles_sweep_on_slurm_is_recorded_by_a_server_with_postgresql_and_its_table_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with services_folder() as folder:
        server = Server(Postgres(folder))
        for name, value in {**server.admin, "MLFLOW_TRACKING_URI": server.uri}.items():
            monkeypatch.setenv(name, value)  # which Slurm hands on to the jobs
        done = seqadd(tmp_path, *ON_SLURM, *SMALL, "epochs=200", "cell=lstm,gru,simple_rnn")
        assert done.returncode == 0, done.stdout + done.stderr
        assert sorted(path.name for path in tmp_path.iterdir()) == ["slurm"]  # the rest is on the server

        experiment = server.client.get_experiment_by_name("seqadd")
        runs = server.client.search_runs([experiment.experiment_id])
        (parent,) = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
        assert {run.info.status for run in runs} == {"FINISHED"}
        children = {run.data.params["cell"]: run for run in runs if run is not parent}
        assert {run.data.tags["mlflow.parentRunId"] for run in children.values()} == {parent.info.run_id}
        for run in children.values():
            steps = [step for step, _ in server.values_of(run.info.run_id)["val_acc"]]
            assert steps == list(range(1, 201))

        table = [sys.executable, "-m", "seqadd.table", *SMALL, "cell=lstm,gru,simple_rnn", "--epochs=200",
                 "--csv=t.csv"]  # fmt: skip
        subprocess.run([*table, "--metrics=val_acc"], cwd=tmp_path, check=True, capture_output=True)
        with (tmp_path / "t.csv").open() as file:
            measured = {row["cell"]: float(row["mean"]) for row in csv.DictReader(file)}
        assert measured == pytest.approx({cell: run.data.metrics["val_acc"] for cell, run in children.items()})


def test_who_watches_may_go_and_the_same_command_watches_on(tmp_path: Path, undisturbed: dict[str, str]) -> None:
    first = begin(tmp_path, *ON_SLURM, *SWEEP, "seed=range(2)")
    array = first_array(tmp_path)
    wait_until(lambda: is_training(tmp_path, f"{array}_0"))
    first.send_signal(signal.SIGTERM)
    said, _ = first.communicate(timeout=60)
    assert first.returncode == 128 + signal.SIGTERM
    assert f"The jobs continue, but are no longer watched: {array}_0 to {array}_1" in said

    again = seqadd(tmp_path, *ON_SLURM, *SWEEP, "seed=range(2)")
    assert again.returncode == 0, again.stdout + again.stderr
    assert f"in Slurm already: {array}_" in again.stdout
    assert first_array(tmp_path) == array  # no other was submitted
    assert weights(tmp_path) == {seed: undisturbed[seed] for seed in "01"}
    parent, children = of_a_sweep(tmp_path)
    assert {run.info.status for run in (parent, *children)} == {"FINISHED"}


def test_more_jobs_than_an_array_may_have_are_two_arrays_and_another_experiments_are_not_taken_for_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Which would count for more than what is submitted, but for its options on a command line.
    for name, value in {"PARTITION": "urgent", "TIMELIMIT": "7", "NO_REQUEUE": "1", "MEM_PER_CPU": "3G"}.items():
        monkeypatch.setenv(f"SBATCH_{name}", value)
    sweep = [*ON_SLURM, *SWEEP, "seed=range(22)", "hydra.launcher.partition=main", "hydra.launcher.minutes=9",
             "+hydra.launcher.options.hold=true"]  # fmt: skip
    assert re.search(r"MaxArraySize\s*= 20\n", slurm_says("scontrol", "show", "config"))

    def waiting() -> list[str]:
        return slurm_says("squeue", "--noheader", "--array", "--format=%F %T %r %P %l %m").splitlines()

    def leave(watcher: subprocess.Popen[str]) -> str:
        watcher.send_signal(signal.SIGTERM)
        said, _ = watcher.communicate(timeout=60)
        return said

    try:
        first = begin(tmp_path, *sweep)
        wait_until(lambda: len(waiting()) == 22)
        arrays = [line.split()[0] for line in waiting()]
        assert sorted(map(arrays.count, set(arrays))) == [2, 20]
        assert {line.partition(" ")[2] for line in waiting()} == {"PENDING JobHeldUser main 9:00 2G"}
        assert "Requeue=1" in slurm_says("scontrol", "show", "job", arrays[0])
        assert "20 jobs submitted to Slurm" in leave(first)

        other = begin(tmp_path, *sweep, "tracking.experiment=other")
        wait_until(lambda: len(waiting()) == 44)
        assert "with Slurm already" not in leave(other)

        again = begin(tmp_path, *sweep)
        wait_for_lines(again, "22 of 22 jobs are in Slurm already")
        wait_for_lines(again, "seed=21  waiting in Slurm's queue: JobHeldUser")
        leave(again)
        assert len(waiting()) == 44
    finally:
        slurm_says("scancel", "--name=seqadd")


def test_a_job_that_is_cancelled_is_named_and_the_same_command_runs_it_alone(
    tmp_path: Path, undisturbed: dict[str, str]
) -> None:
    sweep = begin(tmp_path, *ON_SLURM, *SWEEP, "seed=range(2)")
    array = first_array(tmp_path)
    wait_until(lambda: is_training(tmp_path, f"{array}_1"))
    slurm_says("scancel", f"{array}_1")
    said, _ = sweep.communicate(timeout=120)
    assert sweep.returncode == 1
    assert f"1 of 2 jobs failed: seed=1: Slurm ended job {array}_1 too early" in said
    assert set(weights(tmp_path)) == {"0"}

    again = seqadd(tmp_path, *ON_SLURM, *SWEEP, "seed=range(2)")
    assert again.returncode == 0, again.stdout + again.stderr
    assert "seed=0  finished already" in again.stdout
    assert re.search(r"seed=1 +resuming after epoch [1-9]", again.stdout)
    assert weights(tmp_path) == {seed: undisturbed[seed] for seed in "01"}


def test_one_job_trains_several_runs_and_goes_on_with_those_that_are_left(
    tmp_path: Path, undisturbed: dict[str, str]
) -> None:
    together = ["hydra.launcher.runs_per_job=2", "hydra.launcher.setup=['export SAID=so']", "hydra.launcher.jobs=1"]
    sweep = begin(tmp_path, *ON_SLURM, *SWEEP, "seed=range(3)", *together)
    array = first_array(tmp_path)
    wait_until(lambda: is_training(tmp_path, f"{array}_0"))
    slurm_says("scancel", "--signal=USR2", f"{array}_0")  # as Slurm does before the time limit
    said, _ = sweep.communicate(timeout=240)
    assert sweep.returncode == 0, said
    assert re.search(rf"2 jobs submitted to Slurm: {array}_0 to {array}_1, each with 2 runs, \d+ min and \d+ GB", said)
    assert weights(tmp_path) == undisturbed
    assert len(re.findall(r"resuming after epoch [1-9]", log_of(tmp_path, f"{array}_0"))) == 2
    _, children = of_a_sweep(tmp_path)
    assert [run.data.tags["slurm_job"] for run in children] == [f"{array}_0", f"{array}_0", f"{array}_1"]
    (script,) = tmp_path.glob("slurm/*_submission.sh")
    assert "export SAID=so" in script.read_text()
    assert "#SBATCH --cpus-per-task=2" in script.read_text()


def test_after_max_failures_the_jobs_that_wait_are_not_started(tmp_path: Path) -> None:
    few = ["hydra.launcher.jobs=1", "hydra.launcher.max_failures=1"]
    done = seqadd(tmp_path, *ON_SLURM, *SMALL, "jit=false", "learning_rate=1e38", "seed=range(5)", *few)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    # Slurm begins the next job before the first one's failure is seen.
    assert re.match(r"seqadd: [123] of 5 jobs failed: seed=0: TrainingDiverged: ", line)
    assert re.search(r"; not started, because max_failures was reached: (seed=[23], )*seed=4$", line)
    assert slurm_says("squeue", "--noheader") == ""


def test_a_search_has_each_batch_of_its_trials_run_as_an_array(tmp_path: Path) -> None:
    search = [*ON_SLURM, "hydra/sweeper=optuna", "hydra.sweeper.trials=4", "hydra.sweeper.max_batch_size=2",
              "hydra.sweeper.startup_trials=2", *SMALL, "cell=simple_rnn", "epochs=40",
              "learning_rate=tag(log,interval(0.0001,0.1))"]  # fmt: skip
    done = seqadd(tmp_path, *search)
    assert done.returncode == 0, done.stdout + done.stderr
    arrays = sorted((path.name.partition("_")[0] for path in tmp_path.glob("slurm/*_submission.sh")), key=int)
    assert len(arrays) == 2

    parent, _ = of_a_sweep(tmp_path)
    trials = {run.data.tags["trial"]: run for run in runs_of(tmp_path) if "trial" in run.data.tags}
    assert {trial: run.data.tags["slurm_job"] for trial, run in trials.items()} == {
        "0": f"{arrays[0]}_0", "1": f"{arrays[0]}_1", "2": f"{arrays[1]}_0", "3": f"{arrays[1]}_1"
    }  # fmt: skip
    assert [trials[number].info.status for number in "01"] == ["FINISHED", "FINISHED"]  # the first two are not pruned
    assert all(run.info.status == "FINISHED" or "pruned" in run.data.tags for run in trials.values())
    finished = [run.data.metrics["val_acc"] for run in trials.values() if run.info.status == "FINISHED"]
    assert parent.data.metrics["search/best_val_acc"] == max(finished)
    assert parent.info.status == "FINISHED"

    again = seqadd(tmp_path, *search)  # which has nothing left to try
    assert again.returncode == 0, again.stderr
    assert len(list(tmp_path.glob("slurm/*_submission.sh"))) == 2


def test_a_requeued_job_goes_on_with_its_part_as_it_was_when_the_sweep_began(tmp_path: Path) -> None:
    sweep = ["--code", "mgu.py", "-m", *SMALL, "jit=false", "cell=mgu", f"epochs={EPOCHS}", "seed=range(2)"]
    here, there = tmp_path / "here", tmp_path / "there"
    for folder in (here, there):
        folder.mkdir()
        shutil.copy(EXAMPLES / "mgu.py", folder)
    done = seqadd(here, *sweep)
    assert done.returncode == 0, done.stderr

    on_slurm = begin(there, *sweep, "hydra/launcher=slurm", *RESOURCES)
    array = first_array(there)
    killed = f"{array}_0"
    # Both have a checkpoint that is not their first, which has no epoch.
    wait_until(lambda: len([*there.glob("unfinished/*/checkpoint.before")]) == 2 and is_training(there, killed))
    text = (there / "mgu.py").read_text()
    edited = text.replace("(1 - forget) * state", "forget * state")
    assert edited != text
    (there / "mgu.py").write_text(edited)
    kill_and_requeue(killed)
    said, _ = on_slurm.communicate(timeout=240)
    assert on_slurm.returncode == 0, said
    assert re.search(r"resuming after epoch [1-9]", log_of(there, killed))
    assert weights(there) == weights(here)
    (copy,) = there.glob("unfinished/parts/*/mgu.py")
    assert copy.read_text() == text


def test_a_job_checks_its_parts_before_it_trains(tmp_path: Path) -> None:
    """On the login node nobody does."""
    (tmp_path / "faulty.py").write_text(architecture("return question"))
    codes = [f"--code={EXAMPLES / 'transformer.py'}", f"--code={EXAMPLES / 'subtraction.py'}", "--code=faulty.py"]
    small = ["task.n_questions=60", "batch_size=20", "jit=false", "epochs=3"]
    done = seqadd(tmp_path, *codes, *ON_SLURM, *RESOURCES, *small, "architecture=transformer,mine", "task=subtraction")
    assert done.returncode == 1
    said = "1 of 2 jobs failed: architecture=mine: ConfigError: faulty.py:7: architecture=mine: returns"
    assert said in done.stderr
    parent, (trained,) = of_a_sweep(tmp_path)
    assert (parent.info.status, trained.info.status) == ("FAILED", "FINISHED")
    assert (trained.data.params["architecture"], trained.data.params["task.name"]) == ("transformer", "subtraction")
    assert any(name.startswith("borrows/val_exact_match_") for name in trained.data.metrics)  # as MLflow has it


@pytest.mark.parametrize(("given", "missing"), [([], "minutes"), (RESOURCES[:1], "memory_gb")])
def test_own_parts_need_resources_because_the_login_node_does_not_build_them(
    tmp_path: Path, given: list[str], missing: str
) -> None:
    refused = seqadd(tmp_path, f"--code={EXAMPLES / 'mgu.py'}", *ON_SLURM, *given, "cell=mgu", "seed=range(2)")
    assert refused.returncode == 2
    assert refused.stderr.startswith(
        f"seqadd: hydra.launcher.{missing}=null: must be given for own parts, which are not"
    )
    assert refused.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
    assert slurm_says("squeue", "--noheader") == ""


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["hydra.launcher.partition=nowhere"], "Invalid partition name specified"),
        (["hydra.launcher.partition=nowhere"], "partitions are main, urgent"),
        (["hydra.launcher.memory_gb=900"], "Requested node configuration is not available"),
        (["hydra.launcher.partition=urgent", "hydra.launcher.minutes=600"], "time limit"),
        (["+hydra.launcher.options.bogus=1"], "unrecognized option '--bogus=1'"),
        (["+hydra.launcher.options.time=5"], "hydra.launcher.options.time: use hydra.launcher.minutes"),
        (["+hydra.launcher.options.signal=B:10"], "hydra.launcher.options.signal: the launcher sets it"),
        (["hydra.launcher.setup=['if true']"], "hydra.launcher.setup: bash cannot read it: "),
        (["hydra.launcher.minutes=0"], "hydra.launcher.minutes=0: must be at least 1, or null"),
        (["hydra.launcher.folder=/proc/nowhere"], "hydra.launcher.folder=/proc/nowhere: cannot create it"),
    ],
)
def test_what_slurm_refuses_is_one_line_and_nothing_is_submitted(
    tmp_path: Path, overrides: list[str], said: str
) -> None:
    refused = seqadd(tmp_path, *ON_SLURM, *SWEEP, "seed=range(2)", *overrides)
    assert refused.returncode == 2
    assert said in refused.stderr
    assert len(refused.stderr.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []
    assert slurm_says("squeue", "--noheader") == ""
