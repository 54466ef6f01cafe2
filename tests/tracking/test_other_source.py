"""Runs of an edited part: they go on with what the earlier source has trained only if both compute the same."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import client_of, quick_database, runs_of
from mlflow.entities import Run
from own_parts import cell

from seqadd import RunNotFound, load_config, train
from seqadd.cli.progress import EpochDone, Message
from seqadd.config.schema import Config
from seqadd.errors import Interrupted
from seqadd.evaluation.run_selection import load_run
from seqadd.tracking import other_source
from seqadd.training.session import TrainingSession

RENAMED = (
    cell().replace("self.U", "self.W2").replace("self.W ", "self.A ").replace("self.W +", "self.A +")
    .replace('"kernel"', '"a"').replace('name="recurrent_kernel"', 'name="kernel"')
    .replace("h = ops.tanh", "# renamed\n        y = ops.tanh").replace("return h, [h]", "return y, [y]")
)  # fmt: skip
HALF = cell("h = h * 0.5; return h, [h]")
WORDS = [
    "cell=mine", "architecture=aligned", "encoder_units=3", "decoder_units=null", "jit=false", "task.digits=1",
    "task.n_questions=55", "batch_size=20",
]  # fmt: skip


def configured(epochs: int) -> Config:
    return load_config(*WORDS, f"epochs={epochs}")


@pytest.fixture
def trained(in_empty_folder: Path, own: Callable[[str], None]) -> Callable[..., tuple[Run, list[str]]]:
    """Trains a part for some epochs, or goes on; returns the recorded run, and what was said."""
    quick_database(in_empty_folder)

    def train_part(text: str, epochs: int, *, force: bool = False, stop: int = 0) -> tuple[Run, list[str]]:
        own(text)
        said: list[str] = []

        def notify(report: object) -> None:
            if isinstance(report, Message):
                said.append(report.text)
            if isinstance(report, EpochDone) and report.epoch == stop:
                raise Interrupted(2)

        try:
            run_id = train.train_run(dataclasses.replace(configured(epochs), force=force), notify)
        except Interrupted:
            run_id = runs_of(in_empty_folder)[0].info.run_id
        return client_of(in_empty_folder).get_run(run_id), said

    return train_part


def weights(run: Run) -> str:
    return str(run.data.tags["weights_sha256"])


def test_a_renamed_part_goes_on_to_the_bit_and_another_one_begins_anew(trained, own, monkeypatch):
    first, said = trained(cell(), 1)
    assert said == []
    longer, said = trained(RENAMED, 2)
    (line,) = said
    assert line.startswith(f"continuing run {first.info.run_id} after epoch 1: own_")
    assert line.endswith(": cell=mine was edited, and computes the same")
    assert longer.data.tags["continued_from"] == first.info.run_id
    assert longer.data.params["part_code"] != first.data.params["part_code"]
    whole, said = trained(RENAMED, 2, force=True)
    assert said == []
    assert weights(longer) == weights(whole) != weights(first)
    assert longer.data.metrics["val_loss"] == whole.data.metrics["val_loss"]

    # A run that is finished is taken without another epoch, and is a run of the new source from then on.
    with monkeypatch.context() as patched:
        patched.setattr("seqadd.training.loop.epoch_program", lambda *of: lambda *rows: pytest.fail("it trained"))
        same, (line,) = trained(RENAMED, 1)
    assert line.startswith(f"continuing run {first.info.run_id} after epoch 1: ")
    assert same.info.run_id != first.info.run_id
    assert weights(same) == weights(first)

    # The weights of the first source answer, though each has the name that another had; not those of its snapshots.
    loaded = load_run(f"run={first.info.run_id}", notify=said.append)
    assert said[-1].endswith("cell=mine was edited since, and computes the same")
    assert loaded.model.get_weights()[0].shape == (12, 3)
    with pytest.raises(RunNotFound, match=r"epoch=0: .* was edited since run .* only its last weights can be used"):
        load_run(f"run={first.info.run_id}", "epoch=0")

    half, (line,) = trained(HALF, 1)
    assert line.startswith(f"run {same.info.run_id} is not continued: own_")
    assert ": cell=mine was edited: it computes something else now; the run's own file: mlflow artifacts down" in line
    assert weights(half) != weights(first)
    assert "continued_from" not in half.data.tags
    with pytest.raises(RunNotFound, match="was edited, and computes something else here; the run's own file: mlflow"):
        load_run(f"run={first.info.run_id}")

    own(RENAMED)
    monkeypatch.setattr(other_source, "version", lambda package: "0.1")
    with pytest.raises(
        RunNotFound, match=f"was edited: it was trained with tensorflow {first.data.tags['tensorflow']}"
    ):
        load_run(f"run={first.info.run_id}")


@pytest.mark.long
def test_an_interrupted_run_of_a_renamed_part_goes_on_from_its_checkpoint(trained, monkeypatch):
    first, _ = trained(cell(), 2, stop=1)
    assert first.info.status == "KILLED"
    with monkeypatch.context() as patched:
        patched.setattr(other_source, "version", lambda package: "0.1")
        stopped, (line,) = trained(RENAMED, 2, stop=1)
    assert f"run {first.info.run_id} is not continued: " in line
    assert f"was edited: it was trained with tensorflow {first.data.tags['tensorflow']}, here is 0.1; the" in line
    longer, said = trained(f"{RENAMED}\nunused = 1\n", 2)
    assert said[0].startswith(f"continuing run {stopped.info.run_id} after epoch 1: ")
    assert longer.info.status == "FINISHED"
    assert longer.data.metrics["loss"] < stopped.data.metrics["loss"] == first.data.metrics["loss"]


def test_a_session_keeps_what_it_computes_in_its_checkpoints(own):
    from seqadd.training.checkpoint import Start
    from seqadd.training.dataset import make_dataset

    own(cell())
    config = configured(1)
    session = TrainingSession(config, make_dataset(config), Start({}))
    assert session.computes is not None
    assert session.take_checkpoint().fingerprint == {"computes": session.computes}
