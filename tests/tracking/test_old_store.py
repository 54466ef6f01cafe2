"""What an old commit has left is read, resumed and continued: see ``make_old_store``."""

import dataclasses
import json
import tarfile
from pathlib import Path

import pytest
from conftest import client_of, epochs_of, make_config, output_of, runs_of
from tracking.make_old_store import RUN

from seqadd.tracking import connection
from seqadd.training import checkpoint
from seqadd.training.dataset import make_dataset
from seqadd.training.fingerprint import fingerprint_of

ARCHIVE = Path(__file__).with_name("old_store.tar.gz")


def adapt(path: Path, *overrides: str) -> bool:
    """Makes an old checkpoint one of this machine and these versions; returns whether it was so."""
    config = make_config(*RUN, *overrides)
    found, ours = checkpoint.load(path, None), fingerprint_of(config, make_dataset(config).digest())
    adapted = {key: found.fingerprint[key] if key in ("code", "data", "trajectory_hash") else ours[key] for key in ours}
    checkpoint.save(path, dataclasses.replace(found, fingerprint=adapted))
    return all(found.fingerprint.get(key, ours[key]) == ours[key] for key in ours if key != "code")


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """The folder of the store, the digests of its weights, and whether bits can be compared here."""
    folder = tmp_path_factory.mktemp("old") / "moved"
    with tarfile.open(ARCHIVE) as archive:
        archive.extraction_filter = getattr(tarfile, "data_filter", None)  # Python has it since 3.11.4
        archive.extractall(folder)
    (own,) = (folder / "unfinished").glob("*/checkpoint")
    (end,) = folder.glob("mlruns/seqadd/*/artifacts/end.checkpoint")
    same = [adapt(own, "epochs=5", "seed=1"), adapt(end, "epochs=2")]
    (own.parent / "checkpoint.before").unlink()
    return folder, json.loads((folder / "digests.json").read_text()), all(same)


def test_a_killed_run_is_resumed_under_its_own_record(store):
    folder, digests, bits = store
    (killed,) = [run for run in runs_of(folder) if run.data.params["seed"] == "1"]
    said = output_of(folder, *RUN, "epochs=5", "seed=1", "tracking.relocate=true", "tracking.migrate=true")
    assert "after epoch 3" in said
    run = client_of(folder).get_run(killed.info.run_id)
    assert (run.info.status, epochs_of(folder, run.info.run_id)) == ("FINISHED", [1, 2, 3, 4, 5])
    assert not bits or run.data.tags["weights_sha256"] == digests["killed"]
    assert run.info.run_name == killed.info.run_name
    # Its first epochs are recorded under the old names of metrics, the others under the names of today.
    assert {"val_acc_position_1", "position/val_acc_1"} <= set(run.data.metrics)
    store = connection.open_store(make_config(f"tracking.uri=sqlite:///{folder}/mlflow.db").tracking)
    for metric in ("val_acc", "val_acc_position_1", "epoch_seconds"):
        assert list(store.history(run.info.run_id, metric)) == [1, 2, 3, 4, 5]


def test_a_finished_run_is_found_and_continued(store):
    folder, digests, bits = store
    (finished,) = [run for run in runs_of(folder) if run.data.params["epochs"] == "2"]
    assert finished.data.tags["weights_sha256"] == digests["finished"]
    moved = "tracking.relocate=true"
    assert f"finished already: run {finished.info.run_id}; " in output_of(folder, *RUN, "epochs=2", moved)
    assert f"the end of run {finished.info.run_id} of 2 epochs" in output_of(folder, *RUN, "epochs=3", moved)
    (run,) = [run for run in runs_of(folder) if run.data.params["epochs"] == "3"]
    assert (run.info.status, epochs_of(folder, run.info.run_id)) == ("FINISHED", [1, 2, 3])
    assert not bits or run.data.tags["weights_sha256"] == digests["longer"]
