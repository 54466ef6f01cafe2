"""Finding a run again, with the weights that it ended with; and what is said where that cannot be."""

import shutil

import numpy as np
import pytest
from conftest import make_config
from hydra.errors import HydraException
from trained_runs import model_of, record_run

from seqadd.config.messages import one_line
from seqadd.config.schema import override_text
from seqadd.errors import ConfigError, RunNotFound
from seqadd.evaluation import recorded_config, run_selection, trained_run
from seqadd.inspection import activations
from seqadd.tracking.artifacts import WEIGHTS
from seqadd.tracking.run_filter import RunFilter

MISSING = "0" * 32


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A folder with a store, and the ids of the runs in it."""
    folder = tmp_path_factory.mktemp("store")
    return folder, {
        "lstm": record_run(folder, "cell=lstm", "epochs=3", keeps=(1, 2)),
        "short": record_run(folder, "cell=gru", "epochs=2"),
        "long": record_run(folder, "cell=gru", "epochs=4"),
        "other seed": record_run(folder, "cell=gru", "epochs=4", "seed=5"),
        "two digits": record_run(
            folder,
            "cell=dense",
            "epochs=1",
            "task.digits=2",
            "task.n_questions=100",
            "reverse=false",
            "decoder_units=null",
        ),
    }


@pytest.fixture
def store(runs, monkeypatch):
    monkeypatch.chdir(runs[0])
    return runs[1]


SMALL_GRU = ["cell=gru", "task.digits=1", "task.n_questions=55", "task.held_out=0.2", "batch_size=20",
             "encoder_units=6", "decoder_units=5"]  # fmt: skip


def test_a_run_comes_back_with_its_weights_and_its_sums(store):
    run = run_selection.load_run(f"run={store['lstm']}")
    expected = model_of(
        *[f"{key}={override_text(value)}" for key, value in run.config.result_keys().items() if value is not None]
    )
    for weights, other in zip(run.model.get_weights(), expected.get_weights(), strict=True):
        np.testing.assert_array_equal(weights, other)
    assert run.config.cell == "lstm"
    assert run.config.task.n_questions == 55
    assert run.epoch == 3
    assert run.name == "lstm seed 0, repeat_vector, 3 epochs"
    assert run.history["val_acc"] == {1: 0.1, 2: 0.1, 3: 0.1}
    assert len(run.data.val_questions) == 11


def test_in_a_notebook_three_lines_show_every_layer(store):
    run = run_selection.load_run("run=latest")
    layers = activations.activations(run.model, run.write(["5+61"]))
    assert {name: values.shape for name, values in layers.items()} == {
        "dense_1": (1, 5, 6), "time_distributed_1": (1, 5, 12), "activation_1": (1, 5, 12)
    }  # fmt: skip


def test_in_a_store_that_many_share_the_newest_run_is_that_of_whom_it_is_asked_for(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    ids = {user: record_run(tmp_path, "cell=gru", "epochs=2", **{"mlflow.user": user}) for user in ("anna", "ben")}
    anna, carl = RunFilter(user="anna"), RunFilter(user="carl")
    assert run_selection.load_run("run=latest").run_id == ids["ben"]
    assert run_selection.load_run("run=latest", run_filter=anna).run_id == ids["anna"]
    assert run_selection.load_run(*SMALL_GRU, "seed=0", run_filter=anna).run_id == ids["anna"]
    with pytest.raises(RunNotFound, match="run=latest --user carl: no finished run in this experiment"):
        run_selection.load_run("run=latest", run_filter=carl)
    with pytest.raises(RunNotFound, match="seed=0: no finished run in this store") as refused:
        run_selection.load_run(*SMALL_GRU, "seed=0", run_filter=carl)
    assert "--user carl" in str(refused.value)
    with pytest.raises(ConfigError, match=f"run={ids['ben']} --user anna: a run ID needs no filter; leave it out"):
        run_selection.load_run(f"run={ids['ben']}", run_filter=anna)


def test_the_best_epoch_is_the_first_with_the_highest_val_acc(store):
    assert run_selection.load_run(f"run={store['lstm']}", "epoch=best").epoch == 1
    assert [run.epoch for run in run_selection.load_runs([f"run={store['lstm']}", "epoch=2,best"])] == [2, 1]


def test_by_its_configuration_the_longest_run_is_found(store):
    assert run_selection.load_run(*SMALL_GRU, "seed=0").run_id == store["long"]
    assert run_selection.load_run(*SMALL_GRU, "seed=0", "epochs=2").run_id == store["short"]
    found = run_selection.load_runs([*SMALL_GRU, "seed=0,5", "epochs=4"])
    assert [run.run_id for run in found] == [store["long"], store["other seed"]]
    assert trained_run.labels(found) == ["seed 0", "seed 5"]


def test_epochs_whose_weights_were_kept(store):
    found = run_selection.load_runs([f"run={store['lstm']}", "epoch=all"])
    assert [run.epoch for run in found] == [1, 2, 3]
    assert trained_run.labels(found) == ["epoch 1", "epoch 2", "epoch 3"]
    assert found[0].history["val_acc"] == {1: 0.1}
    assert found[0].name == "lstm seed 0, repeat_vector, 3 epochs, after epoch 1"


def test_a_shorter_run_of_the_same_training_has_the_weights_of_its_end(store):
    found = run_selection.load_runs([f"run={store['long']}", "epoch=2,4"])
    assert [(run.run_id, run.epoch) for run in found] == [(store["long"], 2), (store["long"], 4)]


def test_weights_by_other_code_or_of_other_sums_are_not_those_of_the_same_training(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    record_run(tmp_path, "cell=gru", "epochs=2", code="another")
    longer = record_run(tmp_path, "cell=gru", "epochs=4")
    with pytest.raises(RunNotFound, match=f"epoch=2: run {longer} has weights of epochs 4 only; "):
        run_selection.load_run(f"run={longer}", "epoch=2")


def test_runs_that_differ_in_several_ways_are_told_apart(store):
    found = run_selection.load_runs([f"run={store['lstm']},{store['other seed']},{store['short']}"])
    assert trained_run.labels(found) == ["lstm, epochs 3, seed 0", "gru, epochs 4, seed 5", "gru, epochs 2, seed 0"]
    twice = run_selection.load_runs([f"run={store['short']},{store['short']}"])
    assert trained_run.labels(twice) == [f"run {store['short'][:8]}"] * 2


def test_one_text_is_one_question_and_none_is_refused(store):
    run = run_selection.load_run(f"run={store['lstm']}")
    np.testing.assert_array_equal(run.write("5+7"), run.write(["5+7"]))
    with pytest.raises(ValueError, match="questions: must be at least one"):
        run.write([])


def test_whether_a_sum_was_trained_on(store):
    run = run_selection.load_run(f"run={store['lstm']}")
    (learnt,) = run.read(run.data.train_questions[:1])
    (held_out,) = run.read(run.data.val_questions[:1])
    assert run.seen_in_training(learnt) == "trained on"
    assert run.seen_in_training(held_out) == "held out"
    asymmetric = next(q for q in run.read(run.data.train_questions) if q[0] != q[2])
    assert run.seen_in_training(asymmetric[::-1]) == "trained on the other way round"
    all_sums = run_selection.load_run(f"run={store['two digits']}")
    drawn = set(all_sums.read(all_sums.data.train_questions)) | set(all_sums.read(all_sums.data.val_questions))
    never = next(f"{a}+{a}" for a in range(100) if f"{a}+{a}" not in drawn)
    assert all_sums.seen_in_training(never) == "not among its 100 sums"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["run="], "run=: must be KEY=VALUE, for example run=latest"),
        (["lstm"], "lstm: must be KEY=VALUE, for example cell=lstm"),
        (["epoch=-1"], "epoch=-1: must be integers of at least 0, or all"),
        (["epochs=all"], "epochs=all: must be integers of at least 1"),
        (["run=latest", "cell=gru"], "run=latest cell=gru: choose runs by run=ID or by their"),
        (["cell=tree"], "cell=tree: must be one of dense, gru, lstm, simple_rnn"),
        ([*SMALL_GRU, "seed=0,5"], "matches 2 runs; must be one"),
    ],
)
def test_words_that_choose_nothing(words, said, store):
    with pytest.raises((ConfigError, HydraException)) as refused:
        run_selection.load_run(*words)
    assert said in one_line(refused.value)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([f"run={MISSING}"], f"run={MISSING}: no such run in this store; "),
        (["cell=gru"], "cell=gru: no finished run in this store; python -m seqadd.run cell=gru trains one"),
        ([*SMALL_GRU, "seed=7"], "seed=7: no finished run in this store; finished are seed=0 epochs=2, "),
        (["run={lstm}", "epoch=4"], "epoch=4: run {lstm} has only 3 epochs"),
        (["run={short}", "epoch=1"], "epoch=1: run {short} has weights of epochs 2 only; to save more"),
        (["run={short}", "epoch=best"], "epoch=1: run {short} has weights of epochs 2 only; to save more"),
        (["model=lstm", "epoch=best"], "epoch=best: model=lstm has weights of epochs 10, 50, 100, 200 only"),
    ],
)
def test_a_run_that_is_not_there(words, said, store):
    names = {key.replace(" ", "_"): value for key, value in store.items()}
    with pytest.raises(RunNotFound) as refused:
        run_selection.load_runs([word.format(**names) for word in words])
    assert said.format(**names) in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_store_that_is_not_there(in_empty_folder):
    with pytest.raises(ConfigError, match=r"no store here; python -m seqadd.run creates one"):
        run_selection.load_run("run=latest")
    assert list(in_empty_folder.iterdir()) == []


def broken(folder, **about) -> str:
    """The id of a run with something wrong."""
    return record_run(folder, "cell=simple_rnn", "epochs=1", **about)


def test_weights_that_cannot_be_used_are_told_apart(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    of_other_widths = model_of("cell=simple_rnn", "task.digits=1", "task.n_questions=55", "batch_size=20")
    others = {
        "does not fit": broken(tmp_path, model=of_other_widths),
        "checksum": broken(tmp_path, weights_sha256="0" * 64),
        "was trained on other sums": broken(tmp_path, data_digest="0123456789abcdef"),
        "damaged": broken(tmp_path),
        "has no weights": broken(tmp_path),
    }
    artifacts = tmp_path / "mlruns" / "seqadd"
    (artifacts / others["damaged"] / "artifacts" / WEIGHTS).write_bytes(b"no such file")
    shutil.rmtree(artifacts / others["has no weights"] / "artifacts")
    for said, run_id in others.items():
        with pytest.raises(RunNotFound, match=said) as refused:
            run_selection.load_run(f"run={run_id}")
        assert str(refused.value).startswith(f"run={run_id}: ")
        assert "\n" not in str(refused.value)


def test_a_run_that_is_not_finished_or_no_model(tmp_path, monkeypatch):
    from seqadd.tracking import connection

    monkeypatch.chdir(tmp_path)
    run_id = broken(tmp_path)
    store = connection.open_store(make_config().tracking)
    store.client.set_terminated(run_id, "KILLED")
    with pytest.raises(RunNotFound, match=f"run={run_id}: is KILLED, not FINISHED; repeat its command"):
        run_selection.load_run(f"run={run_id}")
    with pytest.raises(RunNotFound, match="run=latest: no finished run in this experiment"):
        run_selection.load_run("run=latest")
    sweep = store.client.create_run(store.experiment_id).info.run_id
    store.client.set_terminated(sweep, "FINISHED")
    with pytest.raises(RunNotFound, match=f"run={sweep}: has no model: it is a sweep"):
        run_selection.load_run(f"run={sweep}")


@pytest.mark.parametrize(
    ("params", "said"),
    [
        ({"colour": "red"}, "has the parameter colour, unknown to this version of seqadd"),
        (
            {"cell": "lstm", "encoder_units": "-3"},
            "its parameters are not valid: encoder_units=-3: ",
        ),
        ({"cell": "lstm", "epochs": "1 seed=3"}, "its parameters are not valid"),
        ({"cell": "lstm", "tracking.uri": "x"}, "has the parameter tracking.uri, unknown to this version of seqadd"),
    ],
)
def test_parameters_that_somebody_else_wrote(params, said):
    from seqadd.tracking.store import RunRecord

    with pytest.raises(RunNotFound) as refused:
        recorded_config.config_of(RunRecord("ab", "FINISHED", params, {}))
    assert said in str(refused.value)
