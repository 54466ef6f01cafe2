"""What the store says of runs, whatever becomes of them, and however many begin at once."""

import os
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import fork_server
import pytest
from conftest import make_config, quick_database
from mlflow import MlflowClient
from mlflow.entities import Param
from mlflow.exceptions import MlflowException
from open_runs import HERE, open_run

import seqadd
from seqadd.config.schema import Tracking
from seqadd.errors import ConfigError, DeliveryPending, Interrupted
from seqadd.system.signals import SIGNALS, signals_as_exceptions
from seqadd.tracking import connection, delivery, provenance, recording
from seqadd.tracking import store as store_module
from seqadd.tracking.run_directory import RunInfo
from seqadd.tracking.run_filter import RunFilter
from seqadd.tracking.store import Store
from seqadd.training.checkpoint import Checkpoint
from seqadd.training.fingerprint import code_digest


@pytest.fixture
def store(in_empty_folder: Path) -> Store:
    quick_database(in_empty_folder)
    return connection.open_store(HERE)


def status_of(store: Store, run_id: str) -> str:
    return str(store.client.get_run(run_id).info.status)


def artifacts_of(store: Store, run_id: str) -> list[str]:
    return [artifact.path for artifact in store.client.list_artifacts(run_id)]


def test_a_run_that_ends_is_finished(store):
    with open_run(store, params={"cell": "lstm", "reverse": True}, tags={"era": "keras2"}) as run:
        assert status_of(store, run.run_id) == "RUNNING"
        run.log_epoch({"epoch": 1, "loss": 2.0, "acc": 0.25, "val_acc": 0.5})
        run.log_epoch({"epoch": 2, "loss": 1.0, "acc": 0.75, "val_acc": 1.0})
    recorded = store.client.get_run(run.run_id)
    assert recorded.info.status == "FINISHED"
    assert recorded.data.params == {"cell": "lstm", "reverse": "true"}
    assert recorded.data.tags["era"] == "keras2"
    assert store.history(run.run_id, "val_acc") == {1: 0.5, 2: 1.0}


def test_a_run_that_raises_is_failed_and_keeps_the_traceback(store, tmp_path):
    with pytest.raises(ZeroDivisionError), open_run(store) as run:
        1 / 0  # noqa: B018
    assert status_of(store, run.run_id) == "FAILED"
    text = Path(store.client.download_artifacts(run.run_id, "traceback.txt", str(tmp_path))).read_text()
    assert "ZeroDivisionError: division by zero" in text


@pytest.mark.parametrize("interruption", [Interrupted(15), KeyboardInterrupt()])
def test_a_run_that_is_interrupted_is_killed(store, interruption):
    with pytest.raises(type(interruption)), open_run(store) as run:
        raise interruption
    assert status_of(store, run.run_id) == "KILLED"
    assert artifacts_of(store, run.run_id) == []


def test_a_child_names_its_parent(store):
    with (
        open_run(store) as parent,
        open_run(store, parent_run_id=parent.run_id) as child,
    ):
        pass
    assert store.client.get_run(child.run_id).data.tags["mlflow.parentRunId"] == parent.run_id


def test_only_finished_runs_of_the_condition_are_found(store):
    wanted, other = make_config("cell=gru"), make_config("cell=gru", "encoder_units=65")
    tags = {"condition_hash": wanted.condition_hash()}
    with open_run(store, params=wanted.result_keys(), tags=tags) as run:
        pass
    with open_run(store, tags={"condition_hash": other.condition_hash()}):
        pass
    with pytest.raises(ZeroDivisionError), open_run(store, tags=tags):
        1 / 0  # noqa: B018
    assert [found.run_id for found in store.condition_runs(wanted.condition_hash())] == [run.run_id]


NAMES = [
    "anna", "Anna", "O'Neill", 'the "best"', "a' OR tags.x = 'b", "x%", "x_", "x\\y", "a -- b", "a; b", "a AND b",
    "ünï", " spaced ", "''", "`", "(", "%s", ":p", "?",
]  # fmt: skip


def test_a_filter_finds_the_value_that_was_asked_for_and_no_other(store):
    recorded = {}
    for name in NAMES:
        with open_run(
            store, params={"seed": 0, "epochs": 1}, tags={"condition_hash": "ab", "mlflow.user": name}
        ) as run:
            recorded[name] = run.run_id
    for name in NAMES:
        for run_filter in (
            RunFilter(user=name),
            RunFilter(tags=(("mlflow.user", name),)),
            RunFilter(user=name, tags=(("mlflow.user", name),)),
        ):
            assert [run.run_id for run in store.filtered(run_filter).condition_runs("ab")] == [recorded[name]], name
    assert len(store.condition_runs("ab")) == len(NAMES)
    for value in ("both ' and \"", "at the end \\"):
        with pytest.raises(ValueError, match="cannot be part of a filter"):
            store.filtered(RunFilter(user=value)).condition_runs("ab")


def test_runs_that_fill_many_pages_are_found_once_each_in_their_order(store, monkeypatch):
    experiment = store.experiment_id
    params = [Param("seed", "0"), Param("epochs", "1")]
    made = []
    for n in range(23):  # some begin in the same millisecond
        run = store.client.create_run(experiment, start_time=1000 + n // 4, tags={"condition_hash": "ab"})
        store.client.log_batch(run.info.run_id, params=params)
        store.client.set_terminated(run.info.run_id)
        made.append((run.info.start_time, run.info.run_id))
    for page in (1, 5, 22, 23, 24):
        monkeypatch.setattr(store_module, "_PAGE", page)
        found = [run.run_id for run in store.condition_runs("ab")]
        assert sorted(found) == sorted(run_id for _, run_id in made)
        began = {run_id: start for start, run_id in made}
        assert [began[run_id] for run_id in found] == sorted(began.values())


def test_the_newest_run_is_that_of_whom_it_is_asked_for(store):
    ids = {}
    for user in ("anna", "ben"):
        with open_run(store, tags={"config_hash": "ab", "mlflow.user": user}) as run:
            ids[user] = run.run_id
    assert store.newest_run().run_id == ids["ben"]
    assert store.filtered(RunFilter(user="anna")).newest_run().run_id == ids["anna"]
    assert store.filtered(RunFilter(user="carl")).newest_run() is None


def test_a_large_database_is_searched_by_its_index_of_runs(store, in_empty_folder):
    """Without statistics SQLite looks through the metrics of all runs for those of one."""
    of_mlflow = "SELECT * FROM metrics WHERE run_uuid = 'a' AND key = 'acc' ORDER BY timestamp, step, value"

    def plan() -> str:
        with closing(sqlite3.connect(in_empty_folder / "mlflow.db")) as database:
            return str(database.execute(f"EXPLAIN QUERY PLAN {of_mlflow}").fetchall())

    for _ in range(20):
        with open_run(store) as run:
            run.log_history([{"epoch": epoch, "loss": 0.5, "acc": 0.5} for epoch in range(1, 51)])
    assert "index_metrics_run_uuid" not in plan()
    again = connection.open_store(HERE, create=False)
    assert "index_metrics_run_uuid_key_step (run_uuid=? AND key=?)" in plan()
    assert len(again.history(run.run_id, "acc")) == 50


def test_a_failed_run_is_failed_even_where_its_traceback_cannot_be_kept(store, in_empty_folder):
    with pytest.raises(ZeroDivisionError), open_run(store) as run:  # noqa: PT012
        (in_empty_folder / "mlruns").write_text("in the way of all artifacts")
        1 / 0  # noqa: B018
    assert status_of(store, run.run_id) == "FAILED"


def test_a_signal_while_a_record_is_closed_waits_until_it_is(store, monkeypatch):
    end = store.client.set_terminated

    def interrupted_end(*arguments):
        os.kill(os.getpid(), signal.SIGTERM)
        end(*arguments)

    monkeypatch.setattr(store.client, "set_terminated", interrupted_end)
    before = {number: signal.getsignal(number) for number in SIGNALS}
    try:
        with pytest.raises(Interrupted), signals_as_exceptions(), open_run(store) as run:
            pass
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    assert status_of(store, run.run_id) == "FINISHED"


def test_artifacts_lie_beside_the_database_wherever_the_program_runs(tmp_path, monkeypatch):
    (tmp_path / "results").mkdir()
    quick_database(tmp_path / "results")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    store = connection.open_store(Tracking(f"sqlite:///{tmp_path}/results/mlflow.db", "seqadd", None, None))
    with open_run(store) as run:
        run.log_text("some text", "note.txt")
    assert [path.read_text() for path in (tmp_path / "results").rglob("note.txt")] == ["some text"]
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_a_reader_makes_no_store(in_empty_folder):
    with pytest.raises(ConfigError, match="no store here"):
        connection.open_store(HERE, create=False)
    assert list(in_empty_folder.iterdir()) == []


def test_a_reader_makes_no_experiment(store):
    with pytest.raises(ConfigError, match=r"tracking\.experiment=typo: no such experiment in this store"):
        connection.open_store(Tracking(HERE.uri, "typo", None, None), create=False)
    assert {experiment.name for experiment in store.client.search_experiments()} == {"Default", "seqadd"}


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        ("sqlite:///no/such/folder/mlflow.db", "there is no folder .*/no/such/folder"),
        ("sqlite:///notes.txt", ".*notes.txt is no SQLite database"),
        # Nobody listens there: an answer in seconds, not minutes.
        ("http://127.0.0.1:9", "cannot open the store: Failed to establish a new connection: .*Connection refused$"),
        ("nonsense://x", "cannot open the store: "),
    ],
)
def test_a_store_that_cannot_be_opened_is_named_in_one_line(uri, said, in_empty_folder):
    (in_empty_folder / "notes.txt").write_text("no database " * 1000)
    with pytest.raises(ConfigError, match=f"tracking.uri={uri}: {said}") as refused:
        connection.open_store(Tracking(uri, "seqadd", None, None))
    assert "\n" not in str(refused.value)
    assert not (in_empty_folder / "no").exists()


def test_a_deleted_experiment_is_named_with_the_way_back(store):
    store.client.delete_experiment(store.experiment_id)
    with pytest.raises(ConfigError, match="was deleted in this store; restore it with `mlflow experiments restore -x"):
        connection.open_store(HERE)


FIRST_OF_MANY = """
import sys
import seqadd
from seqadd.config.schema import Tracking
from seqadd.tracking import connection
from seqadd.tracking import recording
store = connection.open_store(Tracking("sqlite:///mlflow.db", "seqadd", None, None))
with store.run_directory(sys.argv[1]).lock(print) as run_dir:
    with recording.record(store, run_dir, "one of eight", params={"a": 1}, tags={}) as run:
        run.log_epoch({"epoch": 1, "loss": 0.5})
"""


def test_four_processes_at_once_on_a_folder_without_a_store_all_record_their_run(tmp_path):
    processes = [fork_server.start([sys.executable, "-c", FIRST_OF_MANY, str(i)], cwd=tmp_path) for i in range(4)]
    assert [process.wait() for process in processes] == [0] * 4
    client = MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
    runs = {
        experiment.name: [run.info.status for run in client.search_runs([experiment.experiment_id])]
        for experiment in client.search_experiments()
    }
    assert runs == {"seqadd": ["FINISHED"] * 4, "Default": []}


def test_a_run_says_which_code_and_machine_made_it():
    tags = provenance.run_tags(make_config("era=keras3"))
    assert tags["era"] == "keras3"
    assert tags["jit"] == "true"
    assert tags["threads"] == "1"
    assert tags["config_hash"] == make_config("era=keras3").config_hash()
    commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=Path(__file__).parent, capture_output=True, text=True)
    assert tags["git_commit"] == (commit.stdout.strip() or "unknown")
    assert (tags["seqadd"], tags["code"]) == (seqadd.__version__, code_digest())


def test_a_run_is_the_one_wanted_only_if_its_sums_are_too(store):
    config = make_config("cell=gru")
    tags = {"config_hash": config.config_hash(), "data_digest": "ab"}
    with open_run(store, tags=tags) as run:
        pass
    found = store.finished_run(config, lambda: "ab")
    assert found is not None
    assert found.run_id == run.run_id
    assert store.finished_run(config, lambda: "cd") is None  # another version drew other sums
    assert store.finished_run(make_config("cell=lstm"), lambda: "ab") is None


def test_a_run_without_a_process_is_killed_and_a_live_one_is_left_alone(store):
    with store.run_directory("dead").lock(print) as run_dir:
        run_dir.begin(RunInfo("mlflow.db", "seqadd", "dead", "recorder of the dead"))
        dead = store.client.create_run(store.experiment_id, tags={"recorder": "recorder of the dead"})
    with open_run(store, key="live") as live:
        delivery.reconcile(store)
        assert status_of(store, live.run_id) == "RUNNING"
    assert status_of(store, dead.info.run_id) == "KILLED"
    assert status_of(store, live.run_id) == "FINISHED"


def test_a_killed_run_is_given_the_epochs_of_its_checkpoint(store):
    history = [{"epoch": epoch, "loss": 1 / epoch} for epoch in (1, 2, 3)]
    with store.run_directory("dead").lock(print) as run_dir:
        run_dir.begin(RunInfo("mlflow.db", "seqadd", "dead", "r"))
        dead = store.client.create_run(store.experiment_id, tags={"recorder": "r"}).info.run_id
        store.log_epochs(dead, [(history[0], 1)])
        run_dir.save(Checkpoint({}, history, {}))
    connection.connect(HERE, create=False)  # as every command does, readers too
    assert status_of(store, dead) == "KILLED"
    assert store.history(dead, "loss") == {1: 1.0, 2: 1 / 2, 3: 1 / 3}
    assert len(store.client.get_metric_history(dead, "loss")) == 3


def test_what_a_process_left_that_was_killed_before_it_had_a_record_is_removed(store, in_empty_folder):
    """Killed when it had only the lock, only the folder, only the name of a record to come."""
    folder = in_empty_folder / "unfinished"
    (folder / "only a folder").mkdir(parents=True)
    (folder / "only a lock.lock").touch()
    with store.run_directory("no record").lock(print) as run_dir:
        run_dir.begin(RunInfo("mlflow.db", "seqadd", "name", "nobody"))
    delivery.reconcile(store)
    assert not folder.exists()


def test_a_run_that_is_killed_between_two_words_to_the_store_is_told_again_and_nothing_twice(store, monkeypatch):
    class Killed(BaseException):
        pass

    def die(*arguments, **settings):
        raise Killed

    client = store.client
    for step in ("log_batch", "log_artifacts", "set_terminated"):
        with monkeypatch.context() as patched, pytest.raises(Killed), open_run(store, key=step) as run:  # noqa: PT012
            run.log_history([{"epoch": 1, "loss": 0.5}])
            run.log_history([{"epoch": 2, "loss": 0.25}])
            run.tag("weights_sha256", "ab")
            store.run_directory(step).artifact("note.txt").write_text("a note")
            patched.setattr(client, step, die)  # the process gets no further than this
        assert status_of(store, run.run_id) == "RUNNING"
        delivery.reconcile(store)
        assert status_of(store, run.run_id) == "FINISHED"
        assert [point.step for point in client.get_metric_history(run.run_id, "loss")] == [1, 2]
        assert artifacts_of(store, run.run_id) == ["note.txt"]
        assert client.get_run(run.run_id).data.tags["weights_sha256"] == "ab"
        delivery.reconcile(store)  # and once more
        assert [point.step for point in client.get_metric_history(run.run_id, "loss")] == [1, 2]


def test_a_sweep_whose_jobs_wait_for_the_store_is_finished_all_the_same(store):
    with pytest.raises(DeliveryPending), open_run(store) as sweep:
        raise DeliveryPending("two jobs wait")
    assert status_of(store, sweep.run_id) == "FINISHED"


def test_a_run_that_somebody_deletes_in_the_ui_leaves_nothing_behind(store, in_empty_folder):
    with open_run(store) as run:
        store.client.delete_run(run.run_id)
    assert not (in_empty_folder / "unfinished").exists()


def test_a_record_of_which_the_store_loses_the_answer_is_found_again_and_not_made_twice(store, monkeypatch):
    make = store.client.create_run

    def make_and_lose_the_answer(*arguments, **settings):
        monkeypatch.setattr(store.client, "create_run", make)
        make(*arguments, **settings)
        raise MlflowException("Read timed out")

    monkeypatch.setattr(recording, "SECONDS_BEFORE_ATTEMPTS", (0.0,))
    monkeypatch.setattr(store.client, "create_run", make_and_lose_the_answer)
    said: list[str] = []
    with open_run(store, notify=said.append) as run:
        run.log_epoch({"epoch": 1, "loss": 0.5})
    (run_filter,) = store.client.search_runs([store.experiment_id])
    assert (run_filter.info.run_id, run_filter.info.status) == (run.run_id, "FINISHED")
    assert said == ["waiting for the store: Read timed out"]


def test_a_record_that_the_store_makes_too_late_is_not_left_running(store, monkeypatch):
    make, late = store.client.create_run, []

    def forget(*arguments, **settings):  # until another has been made
        monkeypatch.setattr(store.client, "create_run", make)
        late.append((arguments, settings))
        raise MlflowException("Read timed out")

    monkeypatch.setattr(recording, "SECONDS_BEFORE_ATTEMPTS", (0.0,))
    monkeypatch.setattr(store.client, "create_run", forget)
    with open_run(store) as run:
        ((arguments, settings),) = late
        zombie = make(*arguments, **settings).info.run_id
    assert status_of(store, run.run_id) == "FINISHED"
    assert status_of(store, zombie) == "KILLED"


def test_a_store_that_lets_no_run_begin_is_named_in_one_line(store, monkeypatch):
    def full(*arguments, **settings):
        raise MlflowException("database or disk is full")

    monkeypatch.setattr(recording, "SECONDS_BEFORE_ATTEMPTS", (0.0,))
    monkeypatch.setattr(store.client, "create_run", full)
    said = r"tracking\.uri=sqlite:///mlflow\.db: cannot begin a run: database or disk is full"
    with pytest.raises(ConfigError, match=said), open_run(store):
        pytest.fail("has begun")


def test_what_waits_can_lie_in_a_folder_of_ones_choice(in_empty_folder):
    quick_database(in_empty_folder)
    store = connection.open_store(Tracking("sqlite:///mlflow.db", "seqadd", None, "else/where"))
    with open_run(store):
        assert list((in_empty_folder / "else" / "where").iterdir())
    assert not (in_empty_folder / "else" / "where").exists()


def test_a_run_goes_on_as_the_same_only_if_nothing_that_is_known_of_it_can_be_contradicted(store):
    with store.run_directory("one").lock(print) as run_dir:
        assert not delivery.can_go_on(store, run_dir, None)  # there is none
        run_dir.begin(RunInfo("mlflow.db", "seqadd", "one", "r"))
        run_id = store.client.create_run(store.experiment_id, tags={"recorder": "r"}).info.run_id
        assert delivery.can_go_on(store, run_dir, None)
        store.log_epochs(run_id, [({"epoch": 1, "loss": 0.5}, 1)])
        assert not delivery.can_go_on(store, run_dir, None)
        assert delivery.can_go_on(store, run_dir, Checkpoint({}, [{"epoch": 1, "loss": 0.5}], {}))


def test_many_epochs_of_many_metrics_are_recorded_though_a_store_takes_a_thousand_at_once(store):
    names = [f"metric_{n}" for n in range(19)]
    with open_run(store) as run:
        run.log_history([{"epoch": epoch, **dict.fromkeys(names, epoch / 10)} for epoch in range(1, 61)])
    assert store.history(run.run_id, "metric_18") == {epoch: epoch / 10 for epoch in range(1, 61)}


def test_a_run_that_failed_or_is_under_way_does_not_count_though_it_says_its_seed_and_epochs(store):
    whole = {"params": {"seed": 0, "epochs": 1}, "tags": {"condition_hash": "ab"}}
    with open_run(store, **whole) as finished:
        pass
    with pytest.raises(ZeroDivisionError), open_run(store, **whole) as failed:
        1 / 0  # noqa: B018
    with open_run(store, **whole) as under_way:
        found = store.of_condition("ab")
    assert [run.run_id for run in found.finished] == [finished.run_id]
    assert [run.run_id for run in found.unfinished] == [failed.run_id, under_way.run_id]
