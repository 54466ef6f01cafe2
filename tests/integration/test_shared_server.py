"""Tracking against a real MLflow server with PostgreSQL, served artifacts and passwords; what can go wrong with it."""

from __future__ import annotations

import csv
import itertools
import json
import os
import pwd
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from conftest import COMMAND, SMALL, wait_for_lines
from mlflow.exceptions import MlflowException
from mlflow.server import get_app_client
from shared_server import Postgres, Server, services, services_folder

from seqadd.config.schema import Tracking
from seqadd.errors import ConfigError
from seqadd.tracking import connection, recording
from seqadd.tracking.artifacts import PATCH
from seqadd.tracking.metric_sections import to_mlflow

pytestmark = pytest.mark.integration

FAST = [*SMALL, "cell=simple_rnn"]
ARTIFACTS = {"config.yaml", "end.checkpoint", "history.json", "learning_curve.png", "model.weights.h5"}
AWAY = "metrics are queued: the server's database is down or out of disk space (503); the server's log says which"


@pytest.fixture(scope="module")
def the_postgres() -> Iterator[Postgres]:
    with services_folder() as folder:
        yield Postgres(folder)


@pytest.fixture
def postgres(the_postgres: Postgres) -> Postgres:
    """One that runs, whatever the test before has done with it."""
    the_postgres.start()
    return the_postgres


@pytest.fixture(scope="module")
def the_server(the_postgres: Postgres) -> Server:
    return Server(the_postgres)


@pytest.fixture
def server(postgres: Postgres, the_server: Server, monkeypatch: pytest.MonkeyPatch) -> Server:
    """Its admin is who this process is, and the processes that it starts."""
    for name, value in the_server.admin.items():
        monkeypatch.setenv(name, value)
    return the_server


def run(folder: Path, *arguments: str, timeout: float | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*COMMAND, *arguments], cwd=folder, capture_output=True, text=True, timeout=timeout)


def start(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*COMMAND, *arguments], cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def assert_all_of_it_is_there(server: Server, run_id: str, epochs: int, tmp_path: Path) -> None:
    """Status, artifacts, and every value of the history that the run itself has written down, each once.

    ``train_seconds`` is the sum of the seconds so far, which the store alone has.
    """
    assert server.client.get_run(run_id).info.status == "FINISHED"
    assert {each.path for each in server.client.list_artifacts(run_id)} - {PATCH} == ARTIFACTS
    history = json.loads(Path(server.client.download_artifacts(run_id, "history.json", str(tmp_path))).read_text())
    assert [row["epoch"] for row in history] == list(range(1, epochs + 1))
    metrics = history[0].keys() - {"epoch"}
    assert {"loss", "acc", "val_acc", "val_exact_match", "epoch_seconds"} <= metrics
    in_the_database = server.values_of(run_id)
    steps, so_far = zip(*in_the_database.pop("timing/train_seconds"), strict=True)
    assert steps == tuple(range(1, epochs + 1))
    assert so_far == pytest.approx(tuple(itertools.accumulate(row["epoch_seconds"] for row in history)))
    assert in_the_database == {to_mlflow(name): [(row["epoch"], row[name]) for row in history] for name in metrics}


def test_a_run_is_recorded_with_every_value_and_its_artifacts_are_served(server, tmp_path):
    done = run(tmp_path, *FAST, "epochs=20", f"tracking.uri={server.uri}")
    assert (done.returncode, done.stderr) == (0, "")
    (run_id,) = re.findall("run ([0-9a-f]{32}), experiment seqadd", done.stdout)
    assert list(tmp_path.iterdir()) == []  # all of it is on the server
    assert_all_of_it_is_there(server, run_id, 20, tmp_path)
    assert server.client.get_run(run_id).info.artifact_uri.startswith("mlflow-artifacts:/")


def test_mlflows_own_variables_say_where_a_sweep_is_recorded_and_its_table_is_read(server, tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.uri)
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "by variables")
    done = run(tmp_path, "-m", *FAST, "epochs=2", "seed=0,1")
    assert (done.returncode, done.stderr) == (0, "")
    experiment = server.client.get_experiment_by_name("by variables")
    runs = server.client.search_runs([experiment.experiment_id])
    (parent,) = (each for each in runs if "mlflow.parentRunId" not in each.data.tags)
    children = [each for each in runs if each is not parent]
    assert {each.data.tags["mlflow.parentRunId"] for each in children} == {parent.info.run_id}
    assert sorted(each.data.params["seed"] for each in children) == ["0", "1"]
    assert [each.info.status for each in runs] == ["FINISHED"] * 3

    table = [sys.executable, "-m", "seqadd.table", *FAST, "--epochs", "2", "--metrics", "val_acc", "--csv", "table.csv"]
    subprocess.run(table, cwd=tmp_path, check=True, capture_output=True)
    with (tmp_path / "table.csv").open() as file:
        (row,) = csv.DictReader(file)
    assert row["seeds"] == "2"
    in_the_database = [dict(server.values_of(each.info.run_id)["val_acc"])[2] for each in children]
    assert float(row["mean"]) == pytest.approx(sum(in_the_database) / 2)


@pytest.mark.parametrize(
    ("password", "said"), [("not-the-password", "refuses the password"), (None, "wants a password")]
)
def test_a_refused_password_is_one_line_in_seconds_before_any_work(password, said, server, tmp_path, monkeypatch):
    if password is None:
        monkeypatch.delenv("MLFLOW_TRACKING_PASSWORD")
    else:
        monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", password)
    for sweep in ([], ["-m", "seed=0,1"]):
        began = time.monotonic()
        done = run(tmp_path, *sweep, *FAST, f"tracking.uri={server.uri}")
        assert time.monotonic() - began < 60  # MLflow alone asks for many minutes
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr == (
            f"seqadd: tracking.uri={server.uri}: cannot open the store: the server {said}: "
            "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD\n"
        )
    assert list(tmp_path.iterdir()) == []


def test_a_server_that_runs_is_not_taken_for_another_that_is_asked_for(server):
    folder, uri = server.postgres.folder, server.postgres.uri
    assert services.start_mlflow(folder, uri, auth=True) == server.uri
    for asked in ({"auth": False}, {"auth": True, "port": 1}):
        with pytest.raises(services.ServiceError, match=r"a server runs in .* with --auth on port \d+, or"):
            services.start_mlflow(folder, uri, **asked)


def test_who_may_only_read_an_experiment_is_told_so_before_a_run_begins(server, tmp_path, monkeypatch):
    where = Tracking(server.uri, "of the admin", None, str(tmp_path / "unfinished"))
    experiment = connection.open_store(where).experiment_id
    users = get_app_client("basic-auth", server.uri)
    users.create_user("ann", "a-password-of-ann")

    def record() -> None:
        store = connection.open_store(where)
        with (
            store.run_directory("one").lock(print) as run_dir,
            recording.record(store, run_dir, "of ann", params={}, tags={}) as run,
        ):
            run.log_epoch({"epoch": 1, "loss": 0.5})

    with monkeypatch.context() as as_ann:
        as_ann.setenv("MLFLOW_TRACKING_USERNAME", "ann")
        as_ann.setenv("MLFLOW_TRACKING_PASSWORD", "a-password-of-ann")
        refused = "cannot begin a run: the server does not let ann do this: ask for the permission EDIT"
        with pytest.raises(ConfigError, match=refused):
            record()
    users.grant_user_permission("ann", "experiment", experiment, "EDIT")
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "ann")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "a-password-of-ann")
    record()
    (run,) = server.client.search_runs([experiment])
    assert run.info.status == "FINISHED"


def test_a_database_that_goes_away_and_comes_back_gets_every_value_once(server, postgres, tmp_path):
    process = start(tmp_path, *FAST, "epochs=1500", "seed=1", f"tracking.uri={server.uri}")
    wait_for_lines(process, "epoch ", n=2)
    postgres.stop()
    wait_for_lines(process, AWAY)
    wait_for_lines(process, "epoch ")
    postgres.start()
    out, err = process.communicate(timeout=120)
    assert (process.returncode, err) == (0, "")
    (run_id,) = re.findall("run ([0-9a-f]{32}), experiment seqadd", out)
    assert_all_of_it_is_there(server, run_id, 1500, tmp_path)
    assert not (tmp_path / "unfinished").exists()


def test_a_database_that_does_not_come_back_is_told_by_the_next_command(server, postgres, tmp_path):
    process = start(tmp_path, *FAST, "epochs=600", "seed=2", f"tracking.uri={server.uri}")
    wait_for_lines(process, "epoch ", n=2)
    postgres.stop()
    _, err = process.communicate(timeout=120)
    assert process.returncode == 3
    assert err.count("\n") == 1
    (run_id,) = re.findall("seqadd: run ([0-9a-f]{32}) is trained, but not all of it reached the store: ", err)
    assert f"the rest is in {tmp_path}/unfinished/" in err

    refused = run(tmp_path, *FAST, f"tracking.uri={server.uri}")  # while it is away
    assert refused.returncode == 2
    assert refused.stderr == (
        f"seqadd: tracking.uri={server.uri}: cannot open the store: the server's database is down or out of disk space "
        "(503); the server's log says which\n"
    )
    postgres.start()
    assert server.client.get_run(run_id).info.status == "RUNNING"
    done = run(tmp_path, *FAST, "epochs=600", "seed=2", f"tracking.uri={server.uri}")
    assert f"finished already: run {run_id}" in done.stdout
    assert_all_of_it_is_there(server, run_id, 600, tmp_path)
    assert not (tmp_path / "unfinished").exists()


@pytest.fixture(scope="module")
def room(the_postgres: Postgres) -> Iterator[Callable[[bool], None]]:
    """Takes the room on the database's disk away, and gives it back.

    Where this process may mount one, the database is moved to a disk in memory that is made as small as what is on it;
    elsewhere PostgreSQL is made to answer as if it were.
    """
    disk = the_postgres.folder / "disk"
    disk.mkdir()
    user = pwd.getpwnam(services.postgres_user() or pwd.getpwuid(os.getuid()).pw_name)
    mounted = ["-t", "tmpfs", "-o", f"size=100m,mode=700,uid={user.pw_uid},gid={user.pw_gid}", "seqadd", str(disk)]
    if subprocess.run(["mount", *mounted], capture_output=True).returncode == 0:
        the_postgres.stop()
        the_postgres.alone(f"CREATE TABLESPACE small LOCATION '{disk}'", "ALTER DATABASE mlflow SET TABLESPACE small")
        the_postgres.start()

        def change(there: bool) -> None:
            size = 100 * 2**20 if there else shutil.disk_usage(disk).used + 2**16
            subprocess.run(["mount", "-o", f"remount,size={size}", str(disk)], check=True)

        yield change
        the_postgres.stop()
        subprocess.run(["umount", str(disk)], check=True)
    else:
        the_postgres.rows(
            "CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE disk_full; END $$"
        )

        def change(there: bool) -> None:
            for table in ("metrics", "tags"):
                the_postgres.rows(
                    f"DROP TRIGGER full_disk ON {table}" if there else
                    f"CREATE TRIGGER full_disk BEFORE INSERT ON {table} EXECUTE FUNCTION full_disk()"
                )  # fmt: skip

        yield change


def fill(server: Server) -> None:
    """Makes runs until there is no room for one: in the pages that there are is some for a few more."""
    failures = 0
    while failures < 5:
        try:
            server.client.create_run("0")
        except MlflowException:
            failures += 1


def test_a_database_that_is_full_loses_nothing_and_refuses_what_comes_next_in_one_line(server, room, tmp_path):
    process = start(tmp_path, *FAST, "epochs=1500", "seed=3", f"tracking.uri={server.uri}")
    wait_for_lines(process, "epoch ", n=2)
    room(False)
    wait_for_lines(process, AWAY)
    refused = None
    for attempt in range(4):
        fill(server)
        (folder := tmp_path / f"sweep_{attempt}").mkdir()
        with suppress(subprocess.TimeoutExpired):  # the sweep's own run found room in a page that PostgreSQL tidied up
            refused = run(folder, "-m", *FAST, "seed=4,5", f"tracking.uri={server.uri}", timeout=120)
            break
    assert re.search("DiskFull", (server.postgres.folder / "mlflow.log").read_text())
    assert refused is not None
    assert refused.returncode == 2
    assert "epoch" not in refused.stdout  # nothing is trained
    assert refused.stderr == (
        f"seqadd: tracking.uri={server.uri}: cannot begin a run: the server's database is down or out of disk space "
        "(503); the server's log says which\n"
    )
    room(True)
    process.communicate(timeout=120)
    assert process.returncode in (0, 3)  # 3 if it was over before there was room again
    again = run(tmp_path, *FAST, "epochs=1500", "seed=3", f"tracking.uri={server.uri}")
    (run_id,) = re.findall("finished already: run ([0-9a-f]{32})", again.stdout)
    assert_all_of_it_is_there(server, run_id, 1500, tmp_path)
    assert not (tmp_path / "unfinished").exists()


WRITERS, EPOCHS = 32, 50
METRICS = ["loss", "acc", "epoch_seconds", "val_loss", "val_acc", "val_exact_match",
           *(f"val_acc_position_{n}" for n in range(1, 5)), *(f"val_exact_match_carries_{n}" for n in range(4)),
           *(f"val_exact_match_digits_{n}" for n in range(1, 4))]  # fmt: skip
WRITE = f"""
import multiprocessing, sys, time
from seqadd.tracking import connection, recording
from seqadd.config.schema import Tracking

def write(number):
    begin.wait()
    store = connection.open_store_with_retry(Tracking(sys.argv[1], "writers", None, "unfinished"), print)
    with store.run_directory(str(number)).lock(print) as run_dir:
        # As a job of a sweep, which waits for a store that is busy.
        params = {{"writer": number}}
        with recording.record(store, run_dir, "writer", params=params, tags={{}}, parent_run_id=32 * "0") as run:
            for epoch in range(1, {EPOCHS} + 1):
                run.log_epoch({{"epoch": epoch, **{{name: number + epoch / 100 + n / 10000
                                                   for n, name in enumerate({METRICS})}}}})
                time.sleep(0.1)

fork = multiprocessing.get_context("fork")  # MLflow is imported once
begin = fork.Barrier({WRITERS})
processes = [fork.Process(target=write, args=(number,)) for number in range({WRITERS})]
for process in processes:
    process.start()
for process in processes:
    process.join()
assert "tensorflow" not in sys.modules
sys.exit(sum(process.exitcode != 0 for process in processes))
"""


def test_32_writers_at_once_of_50_epochs_each_have_all_their_values_there(server, tmp_path):
    began = time.monotonic()
    done = subprocess.run([sys.executable, "-c", WRITE, server.uri], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    print(f"{WRITERS} writers, {EPOCHS} epochs of {len(METRICS)} metrics each: {time.monotonic() - began:.1f} s")
    experiment = server.client.get_experiment_by_name("writers")
    runs = server.client.search_runs([experiment.experiment_id])
    assert sorted(int(each.data.params["writer"]) for each in runs) == list(range(WRITERS))
    for each in runs:
        assert each.info.status == "FINISHED"
        number = int(each.data.params["writer"])
        values = server.values_of(each.info.run_id)
        assert [step for step, _ in values.pop("timing/train_seconds")] == list(range(1, EPOCHS + 1))
        assert values == {
            to_mlflow(name): [(epoch, number + epoch / 100 + n / 10000) for epoch in range(1, EPOCHS + 1)]
            for n, name in enumerate(METRICS)
        }
