"""The weights that a recorded run keeps: its last ones, and those of epochs in the middle of its training."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from seqadd.config.schema import Config
from seqadd.config.validation import check_limits
from seqadd.data.drawing import Dataset
from seqadd.errors import RunNotFound
from seqadd.evaluation.recorded_config import is_edited
from seqadd.evaluation.trained_run import load_edited_model, load_model
from seqadd.tracking import artifacts
from seqadd.tracking.artifacts import CHECKPOINT, WEIGHTS
from seqadd.tracking.other_source import own_file, own_parts
from seqadd.training.fingerprint import equivalent_codes

if TYPE_CHECKING:
    import keras

    from seqadd.tracking.store import RunRecord, Store

#: The word for the epoch with the highest ``val_acc``.
BEST = "best"


def epochs_of(store: Store, run: RunRecord, config: Config, wanted: tuple[int | str, ...] | None) -> list[int]:
    """Returns the epochs whose weights are asked for: numbers and ``best``; None for all that a run keeps."""
    if wanted is None:
        return sorted({*_kept_by(store, run), config.epochs})
    epochs = [_best_epoch(store, run) if epoch == BEST else int(epoch) for epoch in wanted]
    for epoch in epochs:
        if epoch > config.epochs:
            raise RunNotFound(f"epoch={epoch}: run {run.run_id} has only {config.epochs} epochs")
    return list(dict.fromkeys(epochs)) or [config.epochs]


def _best_epoch(store: Store, run: RunRecord) -> int:
    """Returns the first epoch with the highest ``val_acc``, whether or not its weights are kept."""
    history = store.history(run.run_id, "val_acc")
    if not history:
        raise RunNotFound(f"run={run.run_id} epoch={BEST}: the run has no val_acc; name an epoch by its number")
    return max(history, key=lambda epoch: (history[epoch], -epoch))


def _kept_by(store: Store, run: RunRecord) -> dict[int, tuple[str, str]]:
    """Returns run ID and artifact of each epoch's kept weights, in the run or in others of the same trajectory."""
    found: dict[int, tuple[str, str]] = {}
    same = [other for other in store.same_training(run.tags.get("trajectory_hash", "")) if as_trained(other, run)]
    for each in [*same, run]:  # the run itself last, so that its own weights replace others of the same epoch
        for path in store.artifacts(each.run_id, artifacts.SNAPSHOTS):
            epoch = artifacts.epoch_of_weights(path)
            if epoch is not None:
                found[epoch] = (each.run_id, path)
        if each.params.get("epochs", "").isdecimal():
            found[int(each.params["epochs"])] = (each.run_id, WEIGHTS)
    epochs = int(run.params["epochs"])
    return {epoch: where for epoch, where in sorted(found.items()) if epoch < epochs}


def as_trained(one: RunRecord, other: RunRecord) -> bool:
    """Whether two runs were trained by equal code, on equal data and machines, so that they share their epochs."""
    same_code = one.tags.get("code") in equivalent_codes(other.tags.get("code", "unknown"))
    keys = ("data_digest", "machine", "tensorflow", "flags")
    return same_code and all(one.tags.get(key) == other.tags.get(key) for key in keys)


def weights_of(store: Store, run: RunRecord, config: Config, epoch: int) -> tuple[str, str]:
    """Returns the ID of the run and the path of the artifact with the weights after an epoch."""
    if epoch == config.epochs:
        return run.run_id, WEIGHTS
    if is_edited(run, config):
        raise RunNotFound(
            f"epoch={epoch}: {own_parts(config)} was edited since run {run.run_id}, so that only its last weights can "
            f"be used; {own_file(run.run_id)}"
        )
    kept = _kept_by(store, run)
    if epoch not in kept:
        there = ", ".join(map(str, [*kept, config.epochs]))
        raise RunNotFound(
            f"epoch={epoch}: run {run.run_id} has weights of epochs {there} only; to save more, train it again with "
            "inspect.every=N or inspect.best=true, and force=true"
        )
    return kept[epoch]


def model_of(store: Store, run: RunRecord, config: Config, epoch: int, from_run: str, name: str) -> keras.Model:
    """Loads a run's model with the weights after an epoch, which ``weights_of`` found."""
    check_limits()
    with _artifact(store, from_run, name) as path:
        expected = run.tags.get("weights_sha256") if epoch == config.epochs else None
        return load_model(config, path, f"run={run.run_id}", expected)


def edited_model_of(store: Store, run: RunRecord, config: Config, data: Dataset) -> keras.Model:
    """Loads the model of a run whose own parts were edited since, if it computes the same."""
    check_limits()
    with _artifact(store, run.run_id, CHECKPOINT) as path:
        return load_edited_model(config, data, path, run.run_id, run.tags)


@contextlib.contextmanager
def _artifact(store: Store, run_id: str, name: str) -> Iterator[Path]:
    try:
        with store.artifact_of(run_id, name) as path:
            yield path
    except FileNotFoundError as error:
        raise RunNotFound(f"run={run_id}: has no weights: {error}") from error
