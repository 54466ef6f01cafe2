"""Runs of the same configuration whose own parts had another source: they count only if they computed the same."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib.metadata import version
from typing import TYPE_CHECKING

from seqadd.config.schema import Config, override_text
from seqadd.errors import CheckpointError
from seqadd.reporting.markup import sanitize
from seqadd.system import numeric_flags
from seqadd.tracking.artifacts import CHECKPOINT
from seqadd.training.checkpoint import Checkpoint, Start, load
from seqadd.training.fingerprint import COMPUTES
from seqadd.training.session import build_first_model, what_computes

if TYPE_CHECKING:
    from seqadd.data.drawing import Dataset
    from seqadd.tracking.store import RunRecord, Store

#: What the digests of runs can be compared under: another version traces another graph.
_COMPARED_UNDER = ("tensorflow", "keras")
_ELSE = "it computes something else now"


def own_file(run_id: str) -> str:
    """How to get the file of a run's own part."""
    return f"the run's own file: mlflow artifacts download -r {run_id} -a parts"


def own_parts(config: Config) -> str:
    """The beginning of a message about the own parts of a configuration."""
    return ", ".join(part.where for part in config.parts.values() if not part.built_in)


def not_comparable(run: RunRecord) -> str | None:
    """Why what a run computed cannot be compared here; None if it can."""
    for package in _COMPARED_UNDER:
        there, here = run.tags.get(package, "unknown"), version(package)
        if there != here:
            return f"it was trained with {package} {sanitize(there)}, here is {here}"
    return None


def find_start(
    store: Store, config: Config, data: Dataset, fingerprint: Mapping[str, str], notify: Callable[[str], None]
) -> Start | None:
    """Finds the run of another source that computed the same for the most epochs; None if there is none.

    A finished run with all epochs is such a start too: nothing is left to train, and the new source has its run.

    Args:
        store: that may have such runs.
        config: of the run that starts.
        data: its questions.
        fingerprint: its fingerprint.
        notify: receives a line about the run that is continued, or why the newest one is not.
    """
    runs = _of_other_source(store, config) if config.part_code is not None else []
    if not runs:
        return None
    computes = what_computes(build_first_model(config, data)[0], config, data)
    best: tuple[RunRecord, Checkpoint] | None = None
    refused: list[str] = []
    for run in runs:
        try:
            found = _checkpoint_of(store, run, fingerprint, computes)
        except (CheckpointError, FileNotFoundError) as error:
            refused.append(
                f"run {run.run_id} is not continued: {own_parts(config)} was edited: {error}; {own_file(run.run_id)}"
            )
            continue
        if found is not None and len(found.history) > (0 if best is None else len(best[1].history)):
            best = run, found
        if best is not None and len(best[1].history) == config.epochs:
            break
    if best is None:
        for line in refused[:1]:
            notify(line)
        return None
    run, checkpoint = best
    notify(
        f"continuing run {run.run_id} after epoch {len(checkpoint.history)}: {own_parts(config)} was edited, and "
        "computes the same"
    )
    return Start({**fingerprint, COMPUTES: str(computes)}, checkpoint, tags={"continued_from": run.run_id})


def _of_other_source(store: Store, config: Config) -> list[RunRecord]:
    """The runs that a configuration may continue and that differ from it in the source alone, newest first."""
    wanted = {key: override_text(value) for key, value in config.result_keys().items() if value is not None}
    keys = {"cell": "cell", "architecture": "architecture", "task": "task.name"}
    named = {keys[kind]: wanted[keys[kind]] for kind, part in config.parts.items() if not part.built_in}
    found = []
    for listed in store.training_runs({"seed": wanted["seed"], **named}):
        run = listed.record
        differing = {key for key in {**wanted, **run.params} if run.params.get(key) != wanted.get(key)}
        if not run.is_whole or "part_code" not in differing or differing - {"part_code", "epochs"}:
            continue
        epochs = int(run.params["epochs"])
        if epochs <= config.epochs if run.status == "FINISHED" else epochs == config.epochs:
            found.append(run)
    return found[::-1]


def _checkpoint_of(
    store: Store, run: RunRecord, fingerprint: Mapping[str, str], computes: str | None
) -> Checkpoint | None:
    """The last checkpoint of a run that computed the same; None if it has none, or another process trains it.

    Raises:
        CheckpointError: when nothing shows that it computed the same.
        FileNotFoundError: when the store does not give it.
    """
    # The configurations were compared key by key; the digest is compared only where all else is equal.
    expected = {**fingerprint, "configuration": run.tags.get("trajectory_hash", "")}
    run_dir = store.run_directory(numeric_flags.key_with_flags(run.tags.get("config_hash", "")))
    if run.status != "FINISHED" and not run_dir.has_checkpoint():
        return None
    if (reason := not_comparable(run)) is not None:
        raise CheckpointError(reason)
    if run.tags.get(COMPUTES, computes) != computes:
        raise CheckpointError(_ELSE)
    if run.status == "FINISHED":
        with store.artifact_of(run.run_id, CHECKPOINT) as path:
            return _equal(load(path, expected), computes)
    reasons: list[str] = []
    with run_dir.try_lock() as free:
        found = run_dir.latest_checkpoint(expected, reasons.append) if free else None
    if found is None and reasons:
        raise CheckpointError(reasons[0].partition("is not used: ")[2])
    return None if found is None or not found.history else _equal(found, computes)


def _equal(found: Checkpoint, computes: str | None) -> Checkpoint:
    if computes is None or found.fingerprint.get(COMPUTES) != computes:
        raise CheckpointError(_ELSE)
    return found
