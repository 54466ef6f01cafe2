"""A run that keeps weights and pictures of itself while it trains."""

from pathlib import Path
from types import SimpleNamespace

import pytest
from conftest import SMALL, WITHOUT_XLA, client_of, make_config, quick_database
from PIL import Image

from seqadd import train
from seqadd.evaluation import run_selection
from seqadd.inspection import analysis, snapshots
from seqadd.system import tensorflow_setup
from seqadd.tracking import artifacts
from seqadd.training import dataset, state

tensorflow_setup.use_threads(1)  # as a run does, for other tests start runs in this process


def test_snapshots_are_taken_when_due_and_change_nothing(in_empty_folder):
    quick_database(in_empty_folder)
    client = client_of(in_empty_folder)
    runs = {
        name: client.get_run(
            train.train_run(make_config(*WITHOUT_XLA, *overrides, f"tracking.experiment={name}"), lambda told: None)
        )
        for name, overrides in {
            "looked": ["epochs=5", "inspect.every=2", "inspect.best=true", "inspect.question=5+7"],
            "plain": ["epochs=5"],
        }.items()
    }
    looked = runs["looked"].info.run_id
    for name in ("weights_sha256", "config_hash"):
        assert runs["looked"].data.tags[name] == runs["plain"].data.tags[name]

    kept = {file.path for file in client.list_artifacts(looked, artifacts.SNAPSHOTS)}
    of_best = run_selection.load_run(f"run={looked}", "epoch=best", "tracking.experiment=looked")
    measured = {point.step: point.value for point in client.get_metric_history(looked, "val_acc")}
    assert of_best.epoch == min(epoch for epoch in measured if measured[epoch] == max(measured.values()))
    due = {artifacts.snapshot_name(epoch, kind) for epoch in (0, 2, 4, 5) for kind in ("png", "weights.h5")}
    assert kept == due | {artifacts.snapshot_name(of_best.epoch, "weights.h5")}
    assert analysis.held_out(of_best).by_position["accuracy"].mean() == pytest.approx(max(measured.values()))
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
    assert make_config().config_hash() == make_config("inspect.every=10", "inspect.best=true").config_hash()
    assert make_config().config_hash() == make_config("inspect.question=5+7").config_hash()


@pytest.mark.parametrize(
    ("every", "begins_after", "kept"),
    [
        ("null", 0, [{1}, {2}, {2}, {2}, {5}, set()]),  # the last epoch's weights are the run's own
        ("2", 0, [{0, 1}, {0, 2}, {0, 2}, {0, 2, 4}, {0, 2, 4, 5}, {0, 2, 4, 6}]),
        ("null", 2, [{2}, {2}, {5}, set()]),
    ],
)
def test_the_best_epochs_weights_replace_those_of_the_best_before(every, begins_after, kept, tmp_path, monkeypatch):
    config = make_config(*SMALL, "epochs=6", "inspect.best=true", f"inspect.every={every}")
    rows = [{"epoch": n, "val_acc": value} for n, value in enumerate([0.1, 0.3, 0.2, 0.3, 0.5, 0.6], 1)]
    monkeypatch.setattr(state, "save_weights", lambda model, path: Path(path).write_text("weights"))
    taken = snapshots.Snapshots(config, dataset.make_dataset(config), SimpleNamespace(artifact=tmp_path.joinpath))
    monkeypatch.setattr(taken, "_take", taken._save_weights)
    (tmp_path / artifacts.SNAPSHOTS).mkdir()
    if begins_after:
        (tmp_path / artifacts.snapshot_name(2, "weights.h5")).touch()
    session = SimpleNamespace(config=config, model=None, history=rows[:begins_after])
    taken.on_begin(session)
    for row, there in zip(rows[begins_after:], kept, strict=True):
        taken.on_epoch(session, row)
        assert {artifacts.epoch_of_weights(f"snapshots/{path.name}") for path in tmp_path.glob("*/*")} == there
