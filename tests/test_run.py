"""One run as a user starts it, Ctrl-C included, and its record in the store."""

import json
import os
import signal
from pathlib import Path
from subprocess import CompletedProcess
from types import SimpleNamespace
from unittest.mock import Mock

import fork_server
import h5py
import keras
import numpy as np
import pytest
import tensorflow as tf
import yaml
from conftest import COMMAND, LONG, SMALL, WITHOUT_XLA, client_of, make_config, runs_of, start, wait_for_lines

from seqadd import run, train
from seqadd.cli.progress import EpochDone
from seqadd.errors import Interrupted
from seqadd.models import architectures
from seqadd.reporting import curves
from seqadd.system import numeric_flags, tensorflow_setup
from seqadd.tracking import artifacts
from seqadd.tracking.artifacts import PATCH
from seqadd.training.checkpoint import load


@pytest.fixture
def eager(monkeypatch):
    """TensorFlow computes step by step, which runs refuse, for to trace a program takes most of a short run's time.

    For tests that say nothing of numbers.
    """
    monkeypatch.setattr(numeric_flags, "check_libraries", lambda: None)
    tensorflow_setup.use_threads(1)  # as a run does, before TensorFlow starts
    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


@pytest.fixture(scope="module")
def single_run(tmp_path_factory: pytest.TempPathFactory) -> tuple[CompletedProcess[str], Path]:
    folder = tmp_path_factory.mktemp("a folder with spaces and umlauts äöü")
    overrides = [*SMALL, "cell=gru", "loss=binary", "epochs=3", "seed=4", "jit=false"]
    return fork_server.run([*COMMAND, *overrides], cwd=folder), folder


def test_a_run_shows_every_epoch_and_its_id(single_run):
    done, folder = single_run
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    *epochs, reached, recorded_as, all_runs, own_page, look, ask = done.stdout.splitlines()
    assert [line.split("epoch ")[1].split()[0] for line in epochs] == ["1/3", "2/3", "3/3"]
    assert "loss " in epochs[0]
    assert "val_acc " in epochs[0]
    assert epochs[-1].endswith("0:00 left")
    (recorded,) = runs_of(folder)
    metrics, run_id = recorded.data.metrics, recorded.info.run_id
    shown = [float(part.split()[-1]) for part in reached.removeprefix("held-out sums: ").split(", ")]
    assert shown == pytest.approx([metrics["val_acc"], metrics["val_exact_match"]], abs=1e-4)
    assert recorded_as == f"run {run_id}, experiment seqadd"
    assert look == f"look inside: python -m seqadd.inspect run={run_id}"
    assert ask == f"ask it:      python -m seqadd.answer run={run_id} 12+7"
    page = f"http://127.0.0.1:5000/#/experiments/1/runs/{run_id}?workflowType=machine_learning"
    assert (page in own_page, "`mlflow ui` in this folder" in all_runs) == (True, True)


def test_a_run_leaves_the_store_and_nothing_else(single_run):
    _, folder = single_run
    assert sorted(path.name for path in folder.iterdir()) == ["mlflow.db", "mlflow.db.lock", "mlruns"]


def test_a_runs_record_is_whole(single_run):
    _, folder = single_run
    (recorded,) = runs_of(folder)
    config = make_config(*SMALL, "cell=gru", "loss=binary", "epochs=3", "seed=4", "jit=false")
    assert recorded.info.status == "FINISHED"
    assert recorded.data.params["cell"] == "gru"
    assert recorded.data.params["reverse"] == "true"
    assert recorded.data.params["task.held_out"] == "0.2"
    assert set(recorded.data.params) == {key for key, value in config.result_keys().items() if value is not None}
    tags = recorded.data.tags
    assert tags["config_hash"] == config.config_hash()
    assert tags["condition_hash"] == config.condition_hash()
    assert len(tags["git_commit"]) == 40 or tags["git_commit"] == "unknown"
    assert {"git_dirty", "tensorflow", "keras", "mlflow", "threads", "jit", "era", "machine"} <= set(tags)
    (dataset,) = recorded.inputs.dataset_inputs
    assert dataset.dataset.digest == tags["data_digest"]
    assert json.loads(dataset.dataset.profile) == {"train": 44, "val": 11}
    (model,) = client_of(folder).search_logged_models([recorded.info.experiment_id])
    assert (str(model.status), model.source_run_id) == ("READY", recorded.info.run_id)
    assert model.tags["weights_sha256"] == tags["weights_sha256"]
    assert {metric.key: metric.value for metric in model.metrics}["val_acc"] == recorded.data.metrics["val_acc"]


def test_a_runs_metrics_are_one_value_an_epoch_from_one(single_run):
    _, folder = single_run
    (recorded,) = runs_of(folder)
    client = client_of(folder)
    assert set(recorded.data.metrics) == {
        "loss",
        "acc",
        "val_loss",
        "val_acc",
        "val_exact_match",
        "carries/val_exact_match_0",
        "carries/val_exact_match_1",
        "digits/val_exact_match_1",
        "position/val_acc_1",
        "position/val_acc_2",
        "binary/accuracy",
        "binary/val_accuracy",
        "timing/epoch_seconds",
        "timing/train_seconds",
    }
    for metric in recorded.data.metrics:
        assert [point.step for point in client.get_metric_history(recorded.info.run_id, metric)] == [1, 2, 3]


def test_a_runs_artifacts(single_run, tmp_path):
    _, folder = single_run
    (recorded,) = runs_of(folder)
    client = client_of(folder)
    run_id = recorded.info.run_id
    # There is a patch where the clone that is tested has changes.
    assert sorted({artifact.path for artifact in client.list_artifacts(run_id)} - {PATCH}) == [
        "config.yaml",
        "end.checkpoint",
        "history.json",
        "learning_curve.png",
        "model.weights.h5",
    ]
    composed = yaml.safe_load(Path(client.download_artifacts(run_id, "config.yaml", str(tmp_path))).read_text())
    assert composed["cell"] == "gru"
    assert composed["task"] == {
        "name": None, "digits": 1, "n_questions": 55, "held_out": 0.2, "equal_lengths": None, "longest": None
    }  # fmt: skip
    assert "tracking" not in composed  # a URI may hold a password
    history = json.loads(Path(client.download_artifacts(run_id, "history.json", str(tmp_path))).read_text())
    assert [row["epoch"] for row in history] == [1, 2, 3]
    assert history[-1]["val_acc"] == recorded.data.metrics["val_acc"]
    with h5py.File(client.download_artifacts(run_id, "model.weights.h5", str(tmp_path))) as weights:
        assert "layers" in weights


def test_more_epochs_continue_the_finished_run_and_give_what_one_run_gives(call, in_empty_folder, tmp_path):
    call(run.main, *WITHOUT_XLA, "epochs=2")
    call(run.main, *WITHOUT_XLA, "epochs=2", "seed=1")  # another seed, so it must not be extended
    (first,) = [each for each in runs_of(in_empty_folder) if each.data.params["seed"] == "0"]
    code, out, err = call(run.main, *WITHOUT_XLA, "epochs=4")
    assert (code, err) == (0, "")
    said, *epochs = (line for line in out.splitlines() if line.startswith("simple_rnn seed 0"))
    assert said == f"simple_rnn seed 0  continuing from the end of run {first.info.run_id} of 2 epochs"
    assert [line.split("epoch ")[1].split()[0] for line in epochs] == ["3/4", "4/4"]
    call(run.main, *WITHOUT_XLA, "epochs=4", "tracking.experiment=uninterrupted")

    client = client_of(in_empty_folder)
    ids = [client.get_experiment_by_name(name).experiment_id for name in ("seqadd", "uninterrupted")]
    continued, whole = (client.search_runs([i], "params.epochs = '4'")[0] for i in ids)
    assert continued.data.tags["continued_from"] == first.info.run_id
    for metric in set(whole.data.metrics) - {"timing/epoch_seconds", "timing/train_seconds"}:
        histories = [client.get_metric_history(each.info.run_id, metric) for each in (continued, whole)]
        assert len(histories[1]) == 4
        assert [(p.step, p.value) for p in histories[0]] == [(p.step, p.value) for p in histories[1]]
    ends = []
    for name, each in {"continued": continued, "whole": whole}.items():
        (tmp_path / name).mkdir()
        path = Path(client.download_artifacts(each.info.run_id, artifacts.CHECKPOINT, str(tmp_path / name)))
        ends.append(load(path, None).arrays)
    assert ends[0].keys() == ends[1].keys()
    assert all(np.array_equal(ends[0][name], ends[1][name]) for name in ends[0])


def test_a_run_that_xla_cannot_compile_goes_on_without_it_says_so_and_is_tagged(call, in_empty_folder, monkeypatch):
    def build_model(config, **lengths):
        # By way of a Python function, which XLA cannot compile.
        _, *layers = architectures.ARCHITECTURES["aligned"](config, *lengths.values()).layers
        in_python = keras.layers.Lambda(
            lambda x: tf.ensure_shape(tf.numpy_function(lambda array: array, [x], tf.float32), x.shape)
        )
        return architectures._chain((3, 12), [in_python, *layers], "in_python")

    monkeypatch.setattr(architectures, "build_model", build_model)
    small = [each for each in SMALL if not each.startswith("decoder_units")]
    code, out, err = call(run.main, *small, "cell=dense", "epochs=2")
    assert (code, err) == (0, "")
    assert out.count("XLA cannot compile this model; the run goes on without XLA: ") == 1
    assert "epoch 2/2" in out
    (recorded,) = runs_of(in_empty_folder)
    assert recorded.info.status == "FINISHED"
    assert recorded.data.tags["jit"] == "failed"


@pytest.mark.usefixtures("eager")
def test_a_run_whose_checkpoint_cannot_be_used_is_named_and_another_starts_afresh(call, in_empty_folder):
    call(run.main, *WITHOUT_XLA, "epochs=1")
    (checkpoint,) = in_empty_folder.rglob(artifacts.CHECKPOINT)
    checkpoint.write_bytes(checkpoint.read_bytes()[:-1])
    code, out, _ = call(run.main, *WITHOUT_XLA, "epochs=2")
    assert code == 0
    assert "of 1 epochs is not continued: its checkpoint is damaged: the checksum does not match\n" in out
    assert "epoch 1/2" in out


def test_other_threads_than_tensorflow_computes_with_already_are_refused_before_anything_is_recorded(
    call, in_empty_folder
):
    tensorflow_setup.use_threads(1)
    tf.constant(1.0) + 1.0
    code, out, err = call(run.main, *SMALL, "threads=2")
    assert (code, out) == (2, "")
    assert err == (
        "seqadd: threads=2: TensorFlow already uses another number in this process; start the run in another process\n"
    )
    assert list(in_empty_folder.iterdir()) == []


@pytest.mark.usefixtures("eager")
def test_a_learning_curve_that_cannot_be_drawn_fails_no_run(call, in_empty_folder, monkeypatch):
    def without_latex(*arguments: object, **settings: object) -> None:
        raise RuntimeError("Failed to process string with tex because latex could not be found")

    monkeypatch.setattr(curves, "learning_curve", without_latex)
    code, out, err = call(run.main, *SMALL, "cell=simple_rnn", "epochs=1", "jit=false")
    assert (code, err) == (0, "")
    assert "cannot draw the learning curve: Failed to process string with tex because latex could not be found\n" in out
    (recorded,) = runs_of(in_empty_folder)
    assert recorded.info.status == "FINISHED"


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), pytest.param(signal.SIGTERM, 143, marks=pytest.mark.long)]
)
def test_a_run_that_is_told_to_stop_is_killed_in_the_store_too(number, code, tmp_path):
    process = start(tmp_path, *LONG)
    wait_for_lines(process, "epoch ")
    os.killpg(process.pid, number)
    out, err = process.communicate(timeout=30)
    assert process.returncode == code
    (kept,) = tmp_path.glob("unfinished/*/checkpoint")
    assert f"stopped after epoch {len(load(kept, None).history)} of " in out  # from there the same command resumes
    assert err == f"seqadd: stopped by {number.name}\n"
    assert [each.info.status for each in runs_of(tmp_path)] == ["KILLED"]


def test_the_epoch_that_ends_as_a_signal_arrives_is_in_the_checkpoint_the_record_and_the_last_line():
    history = [{"epoch": 1.0}, {"epoch": 2.0}]
    session = SimpleNamespace(history=history, take_checkpoint=lambda: list(history))
    recorder, run_dir = Mock(epochs=1), Mock()
    reports = []
    with pytest.raises(Interrupted), train.honest_ending(session, recorder, run_dir, Mock(), reports.append):
        raise Interrupted(signal.SIGINT)
    run_dir.save.assert_called_once_with(history)
    recorder.log_history.assert_called_once_with(history[1:])
    assert reports == [EpochDone(2, {"epoch": 2.0})]
