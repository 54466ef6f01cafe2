"""What MLflow's own functions read of a run's data set and model."""

import errno
import json
import zipfile

import keras
import mlflow
import numpy as np
import pytest
from conftest import SMALL, make_config, quick_database, runs_of
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import ENDPOINT_NOT_FOUND, PERMISSION_DENIED
from open_runs import HERE, open_run
from trained_runs import model_of

from seqadd import train
from seqadd.errors import DeliveryPending
from seqadd.tracking import connection, lineage
from seqadd.training import dataset, state

ROW = {"epoch": 1, "loss": 2.0, "acc": 0.25, "val_loss": 1.5, "val_acc": 0.5, "val_exact_match": 0.125}
ATTENTION = ["cell=gru", "architecture=attention", "decoder_units=6"]


@pytest.fixture
def store(in_empty_folder):
    quick_database(in_empty_folder)
    return connection.open_store(HERE)


@pytest.fixture(scope="module")
def models():
    return {"lstm": model_of(*SMALL, "cell=lstm"), "attention": model_of(*SMALL, *ATTENTION)}


DATA = {
    kind: dataset.make_dataset(make_config(*SMALL, *words)) for kind, words in (("lstm", []), ("attention", ATTENTION))
}


def record(store, model, data=DATA["lstm"], name="trial 3 lr=0.004, lstm seed 0", ends=None):
    with open_run(store, name, params={"cell": "lstm"}) as run:
        run.log_dataset(make_config(*SMALL), data, "ab")
        run.log_history([ROW])
        lineage.write_model(run.model_folder, model, data, run.run_id)
        if ends is not None:
            raise ends
    return run.run_id


def logged(store):
    return list(store.client.search_logged_models([store.experiment_id]))


def test_the_data_sets_source_and_schema_are_read_by_mlflow(store, models):
    record(store, models["lstm"])
    (run,) = runs_of(store.database.parent)
    (used,) = run.inputs.dataset_inputs
    tags = mlflow.data.get_source(used).to_dict()["tags"]
    assert tags["mlflow.source.name"] == "seqadd.training.dataset.make_dataset"
    assert (tags["task.digits"], tags["task.n_questions"], tags["seed"]) == ("1", "55", "0")
    columns = mlflow.types.Schema.from_json(json.dumps(json.loads(used.dataset.schema)["mlflow_colspec"]))
    assert [(column.name, str(column.type)) for column in columns] == [
        ("question", "DataType.string"), ("answer", "DataType.string")
    ]  # fmt: skip
    assert json.loads(used.dataset.profile) == {"train": 44, "val": 11}


@pytest.mark.parametrize("kind", ["lstm", "attention"])
def test_a_registered_model_is_loaded_with_its_weights_and_answers_its_example(kind, models, store, monkeypatch):
    uri = f"sqlite:///{store.database}"
    monkeypatch.setattr(mlflow.tracking._tracking_service.utils, "_tracking_uri", uri)
    run_id = record(store, models[kind], DATA[kind])
    (found,) = logged(store)
    assert (found.name, found.source_run_id, str(found.status)) == ("trial 3 lr=0_004, lstm seed 0", run_id, "READY")
    assert {metric.key: (metric.value, metric.dataset_digest) for metric in found.metrics} == {
        name: (value, "ab") for name, value in ROW.items() if name != "epoch"
    }
    assert found.params == {"cell": "lstm"}
    assert {"mlflow.user", "mlflow.source.name", "mlflow.note.content"} <= set(found.tags)
    (used,) = store.client.get_run(run_id).outputs.model_outputs
    assert (used.model_id, used.step) == (found.model_id, 1)
    assert store.history(run_id, "val_acc") == {1: 0.5}
    store.client.create_registered_model("adder")
    store.client.create_model_version("adder", f"models:/{found.model_id}", model_id=found.model_id)
    loaded = mlflow.keras.load_model("models:/adder/1")
    assert state.weights_digest(loaded) == state.weights_digest(models[kind])
    described = mlflow.models.Model.load(f"models:/{found.model_id}")
    example = described.load_input_example()
    assert [list(spec.shape) for spec in described.signature.inputs] == [
        [-1, *each.shape[1:]] for each in loaded.inputs
    ]
    given = [example["question"], example["previous"]] if kind == "attention" else example
    np.testing.assert_allclose(np.asarray(loaded(given)), np.asarray(models[kind](given)), rtol=1e-5)


def test_its_files_are_texts_and_one_archive_without_code(models, tmp_path):
    lineage.write_model(tmp_path, models["lstm"], DATA["lstm"], "ab")
    assert sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()) == [
        "MLmodel", "data/model.keras", "input_example.json", "requirements.txt", "serving_input_example.json",
    ]  # fmt: skip
    with zipfile.ZipFile(tmp_path / "data" / "model.keras") as archive:
        assert sorted(archive.namelist()) == ["config.json", "metadata.json", "model.weights.h5"]


def test_a_model_that_could_be_saved_only_with_code_is_not_written(tmp_path):
    question = keras.Input((3, 12), name="question")
    model = keras.Model(question, keras.layers.Lambda(lambda x: 2 * x)(question))
    with pytest.raises(ValueError, match="a function without a name, which Keras could save only as code"):
        lineage.write_model(tmp_path, model, DATA["lstm"], "ab")
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == []


def test_a_model_that_did_not_reach_the_store_is_delivered_once_by_the_next_command(store, models, monkeypatch):
    def refuse(*arguments):
        raise MlflowException("no answer")

    monkeypatch.setattr("seqadd.tracking.recording.SECONDS_BEFORE_ATTEMPTS", (0.0,))
    with monkeypatch.context() as down:
        down.setattr(store.client, "finalize_logged_model", refuse)
        with pytest.raises(DeliveryPending):
            record(store, models["lstm"])
    assert [str(model.status) for model in logged(store)] == ["PENDING"]
    connection.connect(HERE)
    (found,) = logged(store)
    (run,) = runs_of(store.database.parent)
    assert (str(found.status), run.info.status) == ("READY", "FINISHED")
    assert [used.model_id for used in run.outputs.model_outputs] == [found.model_id]
    assert not (store.database.parent / "unfinished").exists()


@pytest.mark.parametrize("code", [ENDPOINT_NOT_FOUND, PERMISSION_DENIED])
def test_a_server_that_knows_or_allows_no_models_gets_the_run_without_one(code, store, models, monkeypatch):
    def unknown(*arguments, **settings):
        raise MlflowException("no such endpoint", code)

    monkeypatch.setattr(store.client, "search_logged_models", unknown)
    run_id = record(store, models["lstm"])
    assert store.run(run_id).status == "FINISHED"


def test_a_run_whose_model_cannot_be_written_finishes_without_it(store, monkeypatch):
    def full(*arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(lineage, "write_model", full)
    said = []
    config = make_config(*SMALL, "cell=dense", "decoder_units=null", "epochs=1", "jit=false")
    run_id = train.train_run(config, said.append)
    assert store.run(run_id).status == "FINISHED"
    assert any(
        "the model is not recorded under MLflow's Models: [Errno 28] No space left" in str(each) for each in said
    )


def test_a_run_that_did_not_finish_has_no_model(store, models):
    with pytest.raises(KeyboardInterrupt):
        record(store, models["lstm"], ends=KeyboardInterrupt())
    assert logged(store) == []
    assert list((store.database.parent / "unfinished").glob("*/model")) == []
