"""Configurations, checkpoints, names and values from people who mean ill."""

from __future__ import annotations

import csv
import hashlib
import io
import os
import pickle
import shutil
import subprocess
import zipfile
from pathlib import Path

import keras
import numpy as np
import pytest
from conftest import COMMAND, WITHOUT_XLA, make_config, quick_database, runs_of

from seqadd import run
from seqadd import table as table_command
from seqadd.comparison import notes, table
from seqadd.comparison.curves import find_runs, learning_curves
from seqadd.config import composition
from seqadd.config.schema import Tracking
from seqadd.errors import CheckpointError, redact_credentials
from seqadd.tracking import artifacts, connection, delivery, recording
from seqadd.tracking.artifact_locations import folder_name
from seqadd.tracking.run_filter import RunFilter
from seqadd.training import checkpoint

FAST = [*WITHOUT_XLA, "epochs=1"]


class Payload:
    """What a pickle does when somebody loads it."""

    def __reduce__(self):
        return os.mkdir, ("it-has-run",)


@pytest.mark.parametrize(
    "override",
    [
        "+_target_=os.mkdir",
        "+task._target_=os.mkdir",
        "+cell._target_=os.mkdir",
        "+tracking._target_=os.mkdir",
        "+hydra.callbacks.one._target_=os.mkdir +hydra.callbacks.one.path=it-has-run",
        "hydra.launcher._target_=os.mkdir -m",
        "hydra.sweeper._target_=os.mkdir -m",
        "hydra/job_logging=default",
        "hydra/hydra_logging=default",
        "+hydra.job.env_set.PATH=it-has-run",
        "hydra/job_logging=default +hydra.job_logging.handlers.own.()=os.mkdir +hydra.job_logging.handlers.own.path=x",
    ],
)
def test_no_override_can_name_code(override, call, in_empty_folder):
    options = [each for each in override.split() if each.startswith("-")]
    code, _, err = call(run.main, *options, *FAST, *[each for each in override.split() if each not in options])
    assert code in (1, 2)
    assert err.count("\n") == 1
    assert list(in_empty_folder.iterdir()) == []


HANDLERS = "{version: 1, root: {handlers: [x]}, handlers: {x: {class: theirs.Handler}}}"


@pytest.mark.parametrize(
    ("node", "said"),
    [
        ("callbacks: {one: {_target_: os.mkdir, path: it-has-run}}", "hydra.callbacks.one: must not be set; a"),
        (f"job_logging: {HANDLERS}", "hydra.job_logging, hydra.hydra_logging: must be none"),
        (f"hydra_logging: {HANDLERS}", "hydra.job_logging, hydra.hydra_logging: must be none"),
        ("job: {env_set: {PATH: theirs}}", "hydra.job.env_set.PATH: must not be set; a configuration"),
    ],
)
@pytest.mark.parametrize("mode", [[], ["-m"]])
def test_no_file_of_a_stranger_can_name_code(node, said, mode, call, in_empty_folder, monkeypatch):
    folder = in_empty_folder / "theirs"
    (folder / "task").mkdir(parents=True)
    (folder / "task" / "theirs.yaml").write_text(f"# @package _global_\nhydra:\n  {node}\n")
    (folder / "theirs.py").write_text("import logging, os\nos.mkdir('it-has-run')\nHandler = logging.NullHandler\n")
    monkeypatch.syspath_prepend(str(folder))
    code, _, err = call(run.main, *mode, "--config-dir", str(folder), *FAST, "task=theirs")
    assert code == 2
    assert err.startswith(f"seqadd: {said}")
    assert err.count("\n") == 1
    assert [path.name for path in in_empty_folder.iterdir()] == ["theirs"]


def model_file_with_code(path: Path) -> None:
    """A Keras model that carries a Lambda layer, as ``model.save`` writes it."""
    model = keras.Sequential([keras.Input((1,)), keras.layers.Lambda(lambda x: x + 1)])
    model.save(path)


def archive(**entries: bytes) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as file:
        for name, entry in entries.items():
            file.writestr(name, entry)
    return content.getvalue()


def as_checkpoint(content: bytes) -> bytes:
    """With the right first lines: whoever means ill can compute a checksum too."""
    return b"seqadd checkpoint 1\n" + hashlib.sha256(content).hexdigest().encode() + b"\n" + content


def array_of_objects() -> bytes:
    content = io.BytesIO()
    np.savez(content, **{"model/0/kernel": np.array([Payload()], dtype=object)})
    return content.getvalue()


def test_a_checkpoint_that_carries_code_is_refused_and_the_code_does_not_run(in_empty_folder):
    model_file_with_code(in_empty_folder / "model.keras")
    carriers = [
        pickle.dumps(Payload()),
        (in_empty_folder / "model.keras").read_bytes(),
        as_checkpoint(pickle.dumps(Payload())),
        as_checkpoint((in_empty_folder / "model.keras").read_bytes()),
        as_checkpoint(array_of_objects()),
        as_checkpoint(archive(**{"about.json.npy": pickle.dumps(Payload())})),
    ]
    for content in carriers:
        (in_empty_folder / "checkpoint").write_bytes(content)
        with pytest.raises(CheckpointError):
            checkpoint.load(in_empty_folder / "checkpoint", None)
    assert not (in_empty_folder / "it-has-run").exists()


def test_a_finished_runs_end_that_was_exchanged_for_code_is_named_and_training_starts_afresh(call, in_empty_folder):
    quick_database(in_empty_folder)
    assert call(run.main, *FAST)[0] == 0
    (end,) = in_empty_folder.rglob(artifacts.CHECKPOINT)
    end.write_bytes(as_checkpoint(array_of_objects()))
    code, out, _ = call(run.main, *FAST[:-1], "epochs=2")
    assert code == 0
    assert "is not continued: its checkpoint has unexpected content: " in out
    assert "epoch 1/2" in out
    assert not (in_empty_folder / "it-has-run").exists()


EVIL = ["<script>alert(1)</script>", "=1+1", "@SUM(1)", "+1", "-1", "<img src=x onerror=alert(1)>"]


@pytest.mark.parametrize("name", EVIL)
def test_what_others_have_written_to_the_store_cannot_act_in_a_table(name, in_empty_folder):
    config = make_config("cell=lstm", f"tracking.experiment='{name}'")
    quick_database(Path.cwd())
    store = connection.open_store(config.tracking)
    tags = {"condition_hash": config.condition_hash(), "git_commit": name, "machine": name, "tensorflow": name}
    with (
        store.run_directory("one").lock(print) as run_dir,
        recording.record(store, run_dir, name, params=config.result_keys(), tags=tags) as record,
    ):
        record.log_epoch({"epoch": 10, "loss": 1.0, "acc": 0.1, "val_acc": 0.2})
    selection = composition.compose_selection(["cell=lstm", f"tracking.experiment='{name}'"])
    curves = learning_curves(find_runs(selection, RunFilter()), selection, ["acc"])
    summary = table.summarize(
        curves, selection, table.read_published(table_command.parse_arguments([]).published), [10], ["acc"]
    )
    summary["label"] = name
    markdown = table.to_markdown(table.lay_out(summary, selection), [name, *notes.notes(curves, selection, ["acc"])])
    assert "<" not in markdown
    (row,) = csv.DictReader(io.StringIO(table.to_csv(summary)))
    assert row["label"][0] not in "=+-@"
    assert row["label"].removeprefix("'") == name


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("http://ann:secret@host:5000/x", "http://***@host:5000/x"),
        ("postgresql+psycopg2://ann:se/cr@et@host/db and more", "postgresql+psycopg2://***@host/db and more"),
        ("tracking.uri=http\\://ann\\:secret@host", "tracking.uri=http\\://***@host"),
        ("twice http://a:secret@h, http://b:secret@i", "twice http://***@h, http://***@i"),
        ("sqlite:///mlflow.db and ann@host", "sqlite:///mlflow.db and ann@host"),
    ],
)
def test_a_text_without_passwords(text, shown):
    assert redact_credentials(text) == shown


def test_metrics_of_a_run_cannot_be_written_under_the_name_of_another_stores_run(in_empty_folder):
    """A folder of what waits belongs to one store, and is told to no other."""
    quick_database(Path.cwd())
    shutil.copy("mlflow.db", "other.db")
    here = connection.open_store(Tracking("sqlite:///mlflow.db", "seqadd", None, None))
    with (
        pytest.raises(ZeroDivisionError),
        here.run_directory("one").lock(print) as run_dir,
        recording.record(here, run_dir, "one", params={}, tags={}),
    ):
        1 / 0  # noqa: B018
    there = connection.open_store(Tracking("sqlite:///other.db", "seqadd", None, None))
    delivery.reconcile(there)
    assert there.client.search_runs([there.experiment_id]) == []
    assert (in_empty_folder / "unfinished").exists()


@pytest.mark.long
def test_a_sweep_of_an_evil_name_is_recorded_as_text(tmp_path):
    name = "<b>=1+1"
    done = subprocess.run(
        [*COMMAND, "-m", *FAST, "tracking.experiment=" + f"'{name}'"],
        cwd=tmp_path, capture_output=True, text=True,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert runs_of(tmp_path) == []
    assert [path.name for path in (tmp_path / "mlruns").iterdir()] == [folder_name(name)]
