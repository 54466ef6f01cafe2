"""A run that keeps weights and pictures of itself while it trains."""

import pytest
from conftest import WITHOUT_XLA, client_of, make_config, quick_database
from PIL import Image

from seqadd import train
from seqadd.evaluation import run_selection
from seqadd.inspection import analysis
from seqadd.system import tensorflow_setup
from seqadd.tracking import artifacts

tensorflow_setup.use_threads(1)  # as a run does, for other tests start runs in this process


def test_snapshots_are_taken_when_due_and_change_nothing(in_empty_folder):
    quick_database(in_empty_folder)
    client = client_of(in_empty_folder)
    runs = {
        name: client.get_run(
            train.train_run(make_config(*WITHOUT_XLA, *overrides, f"tracking.experiment={name}"), lambda told: None)
        )
        for name, overrides in {
            "looked": ["epochs=5", "inspect.every=2", "inspect.question=5+7"],
            "plain": ["epochs=5"],
        }.items()
    }
    looked = runs["looked"].info.run_id
    for name in ("weights_sha256", "config_hash"):
        assert runs["looked"].data.tags[name] == runs["plain"].data.tags[name]

    kept = [file.path for file in client.list_artifacts(looked, artifacts.SNAPSHOTS)]
    assert sorted(kept) == [
        artifacts.snapshot_name(epoch, kind) for epoch in (0, 2, 4, 5) for kind in ("png", "weights.h5")
    ]
    # What MLflow's page shows with a slider over the steps.
    images = [file.path for file in client.list_artifacts(looked, "images") if file.path.endswith(".png")]
    assert sorted(path.split("+step+")[1].split("+")[0] for path in images) == ["0", "2", "4", "5"]
    with Image.open(client.download_artifacts(looked, min(images))) as card:
        assert card.size == (600, 600)
    with Image.open(client.download_artifacts(looked, artifacts.snapshot_name(2, "png"))) as picture:
        assert min(picture.size) > 300

    # The weights of an epoch give what was measured at its end.
    of_epoch = run_selection.load_run(f"run={looked}", "epoch=4", "tracking.experiment=looked")
    assert analysis.held_out(of_epoch).exact_match == of_epoch.history["val_exact_match"][4]
    assert analysis.held_out(of_epoch).by_position["accuracy"].mean() == pytest.approx(of_epoch.history["val_acc"][4])


def test_an_epochs_weights_are_known_by_their_name():
    assert artifacts.epoch_of_weights(artifacts.snapshot_name(10, "weights.h5")) == 10
    assert artifacts.epoch_of_weights(artifacts.snapshot_name(10, "png")) is None
    assert artifacts.epoch_of_weights("model.weights.h5") is None


def test_what_is_looked_at_is_no_part_of_what_is_run():
    assert make_config().config_hash() == make_config("inspect.every=10", "inspect.question=5+7").config_hash()
