"""The trained models that come with the package: they answer without a store, and are what their index says."""

import csv
import json
import shutil

import pytest
from trained_runs import model_of

from seqadd import answer
from seqadd.config.messages import one_line
from seqadd.errors import ConfigError, RunNotFound
from seqadd.evaluation import bundled, run_selection, trained_run
from seqadd.system.files import resource_dir
from seqadd.tracking.run_filter import RunFilter
from seqadd.training import state
from seqadd.training.fingerprint import equivalent_codes

EPOCHS = (10, 50, 100, 200)


@pytest.fixture(scope="module")
def index():
    return json.loads((bundled.folder() / bundled.INDEX).read_text())


def test_it_answers_in_an_empty_folder_and_leaves_nothing_there(call, in_empty_folder):
    code, out, err = call(answer.main, "model=lstm", "535+61")
    assert (code, err) == (0, "")
    assert out.startswith("535+61 = 596  right  p=")
    assert list(in_empty_folder.iterdir()) == []


def test_of_an_earlier_epoch_it_has_that_ones_weights_and_history(index, in_empty_folder):
    run = run_selection.load_run("model=simple_rnn", "epoch=50")
    assert state.weights_digest(run.model) == index["simple_rnn"]["weights_sha256"]["50"]
    assert run.name == "simple_rnn seed 0, repeat_vector, 200 epochs, after epoch 50"
    assert (run.origin, run.short_id, run.notes) == ("model=simple_rnn", "simple_rnn", [])
    assert trained_run.labels([run]) == ["model=simple_rnn"]
    assert list(run.history["val_acc"]) == list(range(1, 51))
    assert 0.65 < run.history["val_acc"][50] < 0.8


@pytest.mark.parametrize("cell", ["lstm", "gru", "simple_rnn"])
def test_each_file_has_the_digest_that_the_index_names(cell, index):
    about = index[cell]
    assert tuple(map(int, about["weights_sha256"])) == EPOCHS
    model = model_of(f"cell={cell}")
    for epoch, digest in about["weights_sha256"].items():
        model.load_weights(bundled.folder() / bundled.weights_file(cell, int(epoch)))
        assert state.weights_digest(model) == digest


@pytest.mark.parametrize("cell", ["lstm", "gru", "simple_rnn"])
def test_it_is_the_articles_model_trained_by_this_code(cell, index):
    about, config = index[cell], bundled.config_of(index[cell])
    assert (config.cell, config.seed, config.epochs, config.architecture, config.era) == (
        cell, 0, 200, "repeat_vector", "keras2"
    )  # fmt: skip
    tags = about["tags"]
    assert config.config_hash() == tags["config_hash"]
    assert tags["code"] in equivalent_codes()
    assert (tags["git_dirty"], len(tags["git_commit"])) == ("false", 40)
    assert tags["weights_sha256"] == about["weights_sha256"]["200"]
    with (resource_dir("experiments") / "cells" / "runs.csv").open() as lines:
        (ours,) = [line for line in csv.DictReader(lines) if (line["condition"], line["seed"]) == (cell, "0")]
    assert (tags["weights_sha256"], tags["data_digest"]) == (ours["weights_sha256"], ours["data_digest"])


def test_damaged_weights_and_other_sums_are_refused(index, in_empty_folder, monkeypatch):
    shutil.copytree(bundled.folder(), in_empty_folder / "trained")
    monkeypatch.setattr(bundled, "folder", lambda: in_empty_folder / "trained")
    names = [bundled.weights_file("gru", epoch) for epoch in (10, 50)]
    shutil.copy(*[in_empty_folder / "trained" / name for name in names])
    with pytest.raises(RunNotFound, match=r"model=gru: epoch_00050.weights.h5 is damaged: its checksum differs"):
        run_selection.load_run("model=gru", "epoch=50")
    index = {"gru": {**index["gru"], "tags": {**index["gru"]["tags"], "data_digest": "ab"}}}
    (in_empty_folder / "trained" / bundled.INDEX).write_text(json.dumps(index))
    with pytest.raises(RunNotFound, match="model=gru: was trained on other sums: its data_digest is ab, here "):
        run_selection.load_run("model=gru")


ALONE = "a model that comes with the package needs nothing but epoch=N; leave the other out"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["model=foo"], "model=foo: must be one of lstm, gru, simple_rnn"),
        (["model=lstm", "epoch=70"], "epoch=70: model=lstm has weights of epochs 10, 50, 100, 200 only"),
        (["model=lstm", "run=latest"], f"model=lstm run=latest: {ALONE}"),
        (["cell=gru", "model=lstm"], f"model=lstm cell=gru: {ALONE}"),
        (["model=lstm", "epochs=50"], f"model=lstm epochs=50: {ALONE}"),
        (["model=gru,lstm", "tracking.experiment=a"], f"model=gru,lstm tracking.experiment=a: {ALONE}"),
        (["model="], "model=: must be KEY=VALUE, for example run=latest"),
    ],
)
def test_words_that_choose_no_model(words, said, in_empty_folder):
    with pytest.raises((ConfigError, RunNotFound)) as refused:
        run_selection.load_run(*words)
    assert one_line(refused.value) == said


def test_a_filter_is_refused(in_empty_folder):
    with pytest.raises(ConfigError) as refused:
        run_selection.load_run("model=lstm", run_filter=RunFilter(user="anna"))
    assert str(refused.value) == f"model=lstm --user anna: {ALONE}"
