"""What MLflow's pages show: names that tell runs apart, descriptions, sections of metrics, a sweep's table."""

from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import open_runs
import pytest
from conftest import make_config, quick_database
from mlflow.entities import Metric
from open_runs import HERE

from seqadd.config.schema import override_text
from seqadd.errors import Interrupted, Pruned, TrainingDiverged
from seqadd.evaluation import recorded_config
from seqadd.launch import sweep_page
from seqadd.launch.sweep import parent_run
from seqadd.tracking import connection, delivery, description, pages, provenance, recording
from seqadd.tracking.artifacts import abbreviate, display_name
from seqadd.tracking.description import Description
from seqadd.tracking.metric_sections import from_mlflow, to_mlflow
from seqadd.tracking.store import RunRecord, Store
from seqadd.training.checkpoint import Checkpoint

NOTE = "mlflow.note.content"


@pytest.fixture
def store(in_empty_folder: Path) -> Store:
    quick_database(in_empty_folder)
    return connection.open_store(HERE)


def open_run(store: Store, name: str = "name", **settings: Any) -> AbstractContextManager[recording.RunRecorder]:
    """Opens a run with a description."""
    described = Description("An lstm.", "Command: `train`")
    return open_runs.open_run(store, name, **{"described": described, **settings})


def note_of(store: Store, run_id: str) -> list[str]:
    return store.client.get_run(run_id).data.tags[NOTE].split("\n\n")


def config_called(label: str, *overrides: str):
    config = make_config(*overrides)
    config.tracking.label = label
    return config


def test_a_name_begins_with_what_the_run_varies_and_says_nothing_twice():
    names = {
        "learning_rate=0.001 cell=gru": "lr=0.001 gru, seed 0, repeat_vector, 200 epochs",
        "trial 3 learning_rate=0.00412387219 encoder_units=96": "trial 3 lr=0.004124 units=96, gru seed 0, "
        "repeat_vector, 200 epochs",
        "cell=gru seed=0": "gru seed 0, repeat_vector, 200 epochs",
        "task=five_digits task.n_questions=900 batch_size=64": "five_digits questions=900 batch=64, gru seed 0, "
        "repeat_vector, 200 epochs",
        "force=true jit=false tracking.uri=http://a:b@c": "gru seed 0, repeat_vector, 200 epochs",
        "": "gru seed 0, repeat_vector, 200 epochs",
    }
    assert {label: display_name(config_called(label, "cell=gru", "epochs=200")) for label in names} == names


def test_parameters_without_those_that_do_not_apply_give_the_same_configuration():
    for overrides in (["architecture=aligned"], ["architecture=attention"], ["task=five_digits", "curriculum=mixed"]):
        config = make_config(*overrides)
        params = {key: override_text(value) for key, value in recording.params_of(config).items()}
        assert "null" not in params.values()
        found = recorded_config.config_of(RunRecord("ab", "FINISHED", params, {}))
        assert found.config_hash() == config.config_hash()


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (None, "Finished after epoch 1: `val_acc` 0.2500, `loss` 2.0000."),
        (TrainingDiverged("loss is nan"), "Failed after epoch 1: `loss is nan`."),
        (Interrupted(2), "Stopped after epoch 1: `stopped by SIGINT`. The same command resumes it."),
        (Pruned("pruned after epoch 1: val_acc 0.1", "ab", 1), "Pruned after epoch 1: val_acc 0.1. The search's pruner "
         "stopped it; that is no failure."),
    ],
)  # fmt: skip
def test_a_description_has_three_lines_what_it_is_how_it_ended_and_why_and_where_it_belongs(store, error, said):
    try:
        with open_run(store) as run:
            assert note_of(store, run.run_id) == ["An lstm.", "Running.", "Command: `train`"]
            run.log_epoch({"epoch": 1, "loss": 2.0, "val_acc": 0.25})
            if error is not None:
                raise error
    except (TrainingDiverged, Interrupted, Pruned):
        pass
    assert note_of(store, run.run_id) == ["An lstm.", said, "Command: `train`"]


def test_a_killed_run_says_so_after_which_epoch(store):
    tags = {"recorder": "r", **Description("An lstm.", "Command: `train`").tags()}
    with store.run_directory("dead").lock(print) as run_dir:
        run_dir.begin(delivery.RunInfo("mlflow.db", "seqadd", "dead", "r"))
        dead = store.client.create_run(store.experiment_id, tags=tags).info.run_id
        run_dir.save(Checkpoint({}, [{"epoch": 1, "loss": 2.0}], {}))
    delivery.reconcile(store)
    _, ended, where = note_of(store, dead)
    assert ended == "Stopped after epoch 1: `its process was killed`. The same command resumes it."
    assert where == "Command: `train`"


def test_what_a_person_has_changed_stays_when_the_run_goes_on_and_what_none_has_changed_is_brought_up_to_date(store):
    ids = []
    for key in ("edited", "untouched"):
        with pytest.raises(Interrupted), open_run(store, key=key) as run:
            raise Interrupted(15)
        ids.append(run.run_id)
    edited, untouched = ids
    store.client.set_tag(edited, NOTE, "my words")
    store.client.update_run(edited, name="my name")
    for key in ("edited", "untouched"):
        with open_run(store, "name of a later version", key=key, go_on=True):
            pass
    assert note_of(store, edited) == ["my words"]
    assert store.client.get_run(edited).info.run_name == "my name"
    assert note_of(store, untouched)[1] == "Finished."
    assert store.client.get_run(untouched).info.run_name == "name"


def test_the_best_trial_is_marked_and_one_that_is_so_no_longer_is_not(store):
    trials = []
    for n in range(3):
        with open_run(store, described=Description(f"Trial {n}", "Trial of the search.")) as trial:
            pass
        trials.append(trial.run_id)
    store.client.set_tag(trials[2], NOTE, "my words")
    deleted = store.client.create_run(store.experiment_id).info.run_id
    store.client.delete_run(deleted)
    with open_run(store) as search:
        search.mark_best(trials[0], "Trial of the search, the best.")
        search.mark_best(trials[1], "Trial of the search.", is_best=False)
        search.mark_best(trials[2], "Trial of the search, the best.")
        search.mark_best(deleted, "")  # must not keep the search from being delivered
    tags = [store.client.get_run(run_id).data.tags for run_id in trials]
    assert [each["best_of_search"] for each in tags] == ["true", "false", "true"]
    assert [each[NOTE].split("\n\n")[-1] for each in tags] == [
        "Trial of the search, the best.", "Trial of the search.", "my words"
    ]  # fmt: skip


def test_a_long_description_is_cut_to_what_mlflow_takes():
    text = Description("A sweep.", below="| row | of a table |\n" * 900).tags()[NOTE]
    assert len(text) <= 5000
    assert text.endswith("|\n...")


SECTIONS = {
    "acc": "acc", "val_acc": "val_acc", "loss": "loss", "val_loss": "val_loss", "val_exact_match": "val_exact_match",
    "val_acc_position_12": "position/val_acc_12", "val_exact_match_carries_0": "carries/val_exact_match_0",
    "val_exact_match_digits_3": "digits/val_exact_match_3", "epoch_seconds": "timing/epoch_seconds",
    "train_seconds": "timing/train_seconds", "binary_accuracy": "binary/accuracy",
    "val_binary_accuracy": "binary/val_accuracy", "val_acc_teacher_forced": "teacher_forced/val_acc",
    "best_val_acc": "search/best_val_acc", "best_val_acc_position_1": "search/best_val_acc_position_1",
    "sweep_best_val_acc": "sweep/best_val_acc", "pruned_trials": "search/pruned_trials",
}  # fmt: skip


def test_metrics_have_sections_in_mlflow_and_their_own_names_everywhere_else(store):
    assert {name: to_mlflow(name) for name in SECTIONS} == SECTIONS
    assert [from_mlflow(theirs) for theirs in SECTIONS.values()] == list(SECTIONS)
    assert [from_mlflow(name) for name in SECTIONS] == list(SECTIONS)  # as an earlier version wrote them
    with open_run(store) as run:
        run.log_epoch({"epoch": 1, "loss": 2.0, "val_acc_position_1": 0.5})
    assert set(store.client.get_run(run.run_id).data.metrics) == {"loss", "position/val_acc_1"}
    assert store.history(run.run_id, "val_acc_position_1") == {1: 0.5}
    assert store.run(run.run_id).metrics == {"loss", "val_acc_position_1"}


def test_a_run_that_an_earlier_version_began_is_read_under_both_names(store):
    with open_run(store) as run:
        old = [Metric("loss", 1.0, 5, 1), Metric("val_acc_position_1", 0.1, 5, 1), Metric("val_acc_digits", 7.0, 5, 1)]
        store.client.log_batch(run.run_id, metrics=old)
        run.log_epoch({"epoch": 2, "loss": 0.5, "val_acc_position_1": 0.2})
    assert store.history(run.run_id, "val_acc_position_1") == {1: 0.1, 2: 0.2}
    assert store.run(run.run_id).values == {"loss": 0.5, "val_acc_position_1": 0.2, "val_acc_digits": 7.0}


def test_the_training_time_is_that_of_the_epochs_whenever_they_were(store):
    with open_run(store) as run:
        run.log_history(
            [{"epoch": 1, "loss": 1.0, "epoch_seconds": 20.0}, {"epoch": 2, "loss": 1.0, "epoch_seconds": 1.5}]
        )
        run.log_epoch({"epoch": 3, "loss": 1.0, "epoch_seconds": 2.0})
    assert store.history(run.run_id, "train_seconds") == {1: 20.0, 2: 21.5, 3: 23.5}
    assert "train_seconds" not in store.run(run.run_id).metrics  # files with all metrics of a run have no such column


def test_a_sweep_shows_a_table_its_best_and_mean_results_and_its_curves(store, in_empty_folder):
    labels = [f"learning_rate={rate}" for rate in ("0.001", "0.01", "0.1", "1")]
    configs = [make_config(label, "epochs=1") for label in labels]
    results = {"0.001": 0.5, "0.01": 0.75, "0.1": 0.0}

    def train(rate: str, **settings: Any) -> str:
        config = configs[list(results).index(rate)]
        with open_run(store, tags={"config_hash": config.config_hash()}, **settings) as job:
            job.log_epoch({"epoch": 1, "loss": 1.0, "val_acc": results[rate], "val_exact_match": 0.25})
            if rate == "0.1":
                raise TrainingDiverged("loss is nan")
        return job.run_id

    there = {0: train("0.001")}
    with store.run_directory("sweep").lock(print) as run_dir, parent_run(
        store, run_dir, "sweep", {}, go_on=True, what="Sweep of 4 jobs.",
        show=lambda parent, draws: sweep_page.show_sweep(store, parent, labels, configs, there, draws=draws),
    ) as parent:  # fmt: skip
        best = train("0.01", parent_run_id=parent.run_id)
        with pytest.raises(TrainingDiverged):
            train("0.1", parent_run_id=parent.run_id)
    recorded = store.run(parent.run_id)
    assert recorded.values == {
        "sweep_best_val_acc": 0.75, "sweep_mean_val_acc": 0.625, "sweep_best_val_exact_match": 0.25,
        "sweep_mean_val_exact_match": 0.25,
    }  # fmt: skip
    what, counts, command, table = note_of(store, parent.run_id)
    assert (what, command) == ("Sweep of 4 jobs.", f"Command: `{provenance.command_line()}`")
    assert counts == "4 jobs: 1 finished, 1 skipped, as they were finished before, 1 failed, 1 no run."
    first = f"| learning_rate=0.01 | finished | 1 | 0.7500 | 0.2500 | [{best[:8]}](#/experiments/1/runs/{best}?"
    assert table.splitlines()[2].startswith(first)
    (artifacts,) = in_empty_folder.glob(f"mlruns/*/{parent.run_id}/artifacts")
    assert sorted(path.name for path in artifacts.iterdir()) == ["curves.png", "table.csv", "table.md"]
    header, *rows = (artifacts / "table.csv").read_text().splitlines()
    assert header == "learning_rate,state,epoch,val_acc,val_exact_match,acc,loss,val_loss,run_id"
    assert rows[0] == f"0.001,skipped,1,0.5,0.25,,1.0,,{there[0]}"
    assert rows[3] == "1.0,no run,,,,,,,"


def test_a_store_that_cannot_be_read_does_not_stop_a_sweep(store, capfd):
    def fail(parent, draws):
        raise ConnectionError("no answer")

    with (
        store.run_directory("sweep").lock(print) as run_dir,
        parent_run(store, run_dir, "sweep", {}, go_on=True, what="A sweep.", show=fail) as parent,
    ):
        pass
    assert store.run(parent.run_id).status == "FINISHED"
    assert "the sweep's page in MLflow lacks its table: no answer" in capfd.readouterr().out


def test_the_address_is_that_of_a_server_or_of_mlflow_ui_which_it_says(store, tmp_path, monkeypatch):
    runs, one = pages.where_to_look(store, "ab")
    here = "http://127.0.0.1:5000/#/experiments/1/runs"
    assert runs == f"all runs, after `mlflow ui` in this folder (port 5000): {here}?workflowType=machine_learning"
    assert one == f"this run: {here}/ab?workflowType=machine_learning"
    monkeypatch.chdir(tmp_path.parent)
    assert f"`mlflow ui --backend-store-uri sqlite:///{tmp_path}/mlflow.db`" in pages.where_to_look(store, "ab")[0]
    store.uri, store.database = "https://anna:secret@mlflow.example.org/team/", None
    runs, one = pages.where_to_look(store, "ab", "sweep")
    assert runs == "all runs: https://mlflow.example.org/team/#/experiments/1/runs?workflowType=machine_learning"
    assert one.startswith("this sweep: https://mlflow.example.org/team/#/experiments/1/runs/ab?")


def test_the_source_of_a_run_is_its_command_without_the_stores_address(monkeypatch):
    monkeypatch.setattr("sys.argv", ["/a/seqadd/run.py", "cell=gru", "tracking.uri=http://a:b@c", "x=tag(log,1)"])
    assert provenance.command_line() == "python -m seqadd.run cell=gru tracking.uri=... 'x=tag(log,1)'"
    monkeypatch.setenv(provenance.COMMAND_LINE, "python -m seqadd.run -m seed=0,1")
    assert provenance.command_line() == "python -m seqadd.run -m seed=0,1"


def test_a_run_says_of_which_sweep_search_or_command_it_is():
    said = {
        (): "Command: `train`",
        (
            "tracking.parent_run_id=cd",
            "tracking.label='seed=1'",
        ): "Job `seed=1` of [this sweep](#/experiments/1/runs/cd?",
        ("tracking.parent_run_id=cd", "tracking.trial=3"): "Trial 3 of [this search](#/experiments/1/runs/cd?",
    }
    for overrides, line in said.items():
        assert description.where_it_belongs(make_config(*overrides), "1", "train").startswith(line)


def test_a_search_that_is_stopped_counts_its_trials_not_as_epochs():
    assert description.how_it_ended("KILLED", {"epoch": 5.0, "sweep_best_val_acc": 0.5}) == (
        "Stopped. The same command resumes it."
    )


def test_a_job_in_another_experiment_shows_no_run_of_this_one(store):
    here, there = make_config("seed=1"), make_config("seed=1", "tracking.experiment=other")
    run = RunRecord("12ab", "FINISHED", {}, {"config_hash": here.config_hash()}, values={"val_acc": 0.5})
    rows = sweep_page.job_rows(["here", "there"], [here, there], {}, [run])
    assert [(row.state, row.run_id) for row in rows] == [("finished", "12ab"), ("recorded elsewhere", "")]
    assert sweep_page.state_counts(rows) == "1 finished, 1 recorded elsewhere"


def test_whole_numbers_of_a_name_are_not_shortened():
    assert abbreviate(["seed=1234567", "learning_rate=0.00412387219"]) == "seed 1234567 lr=0.004124"
