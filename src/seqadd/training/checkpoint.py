"""Checkpoints: weights, optimizer, history and fingerprint of a training in one file. It contains no code to run.

``load`` refuses a foreign checkpoint, one whose fingerprint differs from that of the training that asks for it.

A file consists of a line that names the format, a line with the checksum of the rest, and a numpy archive.
"""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from seqadd.config.messages import one_line
from seqadd.errors import CheckpointError
from seqadd.system.files import atomic_write
from seqadd.training.fingerprint import COMPUTES, NOTHING, equivalent_codes

_FORMAT = b"seqadd checkpoint 1\n"
_ABOUT = "about.json"  # the archive's entry beside the arrays


@dataclass(frozen=True)
class Checkpoint:
    """The state of a training at the end of an epoch.

    Attributes:
        fingerprint: all that the training's numbers depend on, see ``fingerprint_of``.
        history: the metrics of every epoch so far, each with its ``epoch``, from 1.
        arrays: weights and optimizer as ``training.state.state`` gives them.
    """

    fingerprint: dict[str, str]
    history: list[dict[str, float]]
    arrays: dict[str, npt.NDArray[np.generic]]


@dataclass(frozen=True)
class Start:
    """Where a training begins: at the first epoch, or after the last epoch of an earlier training.

    Attributes:
        fingerprint: fingerprint of the training, see ``fingerprint.fingerprint_of``.
        checkpoint: the checkpoint to resume from; None to begin at the first epoch.
        same_run: whether the earlier training's run is continued; otherwise a new run begins.
        tags: tags that the run records about its start.
    """

    fingerprint: dict[str, str]
    checkpoint: Checkpoint | None = None
    same_run: bool = False
    tags: dict[str, str] = field(default_factory=dict)

    @property
    def history(self) -> list[dict[str, float]]:
        """The metrics of the epochs that the checkpoint contains; empty without one."""
        return self.checkpoint.history if self.checkpoint is not None else []


def save(path: Path, checkpoint: Checkpoint, *, keep: Path | None = None) -> None:
    """Writes a checkpoint atomically.

    Args:
        path: its file.
        checkpoint: the checkpoint to write.
        keep: where an existing checkpoint is moved; None to overwrite it.

    Raises:
        CannotWrite: naming ``path``; an existing checkpoint is then unchanged.
    """
    about = {"fingerprint": checkpoint.fingerprint, "history": checkpoint.history}
    archive = io.BytesIO()
    arrays = {_ABOUT: np.frombuffer(json.dumps(about).encode(), np.uint8), **checkpoint.arrays}
    np.savez(archive, **arrays)  # type: ignore[arg-type]
    content = archive.getvalue()
    with atomic_write(path, keep=keep) as unfinished:
        unfinished.write_bytes(_FORMAT + hashlib.sha256(content).hexdigest().encode() + b"\n" + content)


def load(path: Path, expected: Mapping[str, str] | None) -> Checkpoint:
    """Reads a checkpoint.

    Args:
        path: its file.
        expected: fingerprint that the checkpoint must have; None for any. Code that was shown to give the same numbers
            counts as the same code.

    Raises:
        CheckpointError: if the file cannot be read, is damaged, or belongs to another training.
    """
    try:
        written = path.read_bytes()
    except OSError as error:
        raise CheckpointError(f"its checkpoint cannot be read: {error}") from error
    if not written.startswith(_FORMAT):
        raise CheckpointError("its checkpoint has another format")
    checksum, _, content = written[len(_FORMAT) :].partition(b"\n")
    if hashlib.sha256(content).hexdigest().encode() != checksum:
        raise CheckpointError("its checkpoint is damaged: the checksum does not match")
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as archive:
            arrays = {name: np.asarray(archive[name]) for name in archive.files}  # numpy gives other entries as bytes
        about = json.loads(arrays.pop(_ABOUT).tobytes())
        found = Checkpoint(dict(about["fingerprint"]), about["history"], arrays)
    except (ValueError, KeyError, TypeError, EOFError, OSError, zipfile.BadZipFile) as error:
        raise CheckpointError(f"its checkpoint has unexpected content: {one_line(error)}") from error
    if expected is not None:
        _check_fingerprint(found.fingerprint, expected)
    return found


def _check_fingerprint(found: Mapping[str, str], expected: Mapping[str, str]) -> None:
    """Raises CheckpointError if the fingerprints differ; a key that one of them lacks has its default value."""
    for key in {**expected, **found}:
        if key == "instructions" and not (key in found and key in expected):
            continue  # earlier checkpoints do not contain them
        if key == COMPUTES and key not in expected:
            continue  # with the same source it need not be known
        theirs, ours = found.get(key, NOTHING), expected.get(key, NOTHING)
        if theirs != ours and not (key == "code" and theirs in equivalent_codes(ours)):
            raise CheckpointError(f"its {key} is {theirs}, this run's is {ours}")
