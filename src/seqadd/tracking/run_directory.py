"""The state that unfinished runs keep on disk: a folder for each run, and a lock that tells whether it is alive.

A process that works on a run holds its lock; the system releases the lock when the process ends, even by a kill. So if
the lock is free, no process owns the run, whatever status the store has. Does not import MLflow.

In the folder of a run:

- ``about.json``: names the store and the record that it belongs to.
- ``checkpoint`` and the previous one, ``checkpoint.before``.
- ``ending.json``, ``artifacts`` and ``model``: the updates for the run's end, until they are delivered.

Beside these folders, ``parts`` has copies of the files of own parts, see ``part_copies``.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from filelock import FileLock, Timeout

from seqadd.errors import CheckpointError
from seqadd.system.files import write_file
from seqadd.system.signals import defer_signals, on_forced_exit, spawn_detached
from seqadd.training.checkpoint import Checkpoint, load, save
from seqadd.training.session import Listener, TrainingSession

#: The tag that identifies a record, so that a retried request finds the record that an earlier one created.
RECORDER = "recorder"

#: The variable that names run and store to ``reconcile``, as JSON; not an argument, as a URI may hold a password.
RECONCILE_VARIABLE = "SEQADD_RECONCILED"

# Checkpoints are at least this far apart, and further if writing one would take more than 1 % of the time between them.
_SECONDS_BETWEEN_CHECKPOINTS = 5.0
_COST = 0.01
# A process that waits for a lock tries it this often, and reports the wait after this many seconds.
_LOOKS_EVERY = 0.2
_SAYS_AFTER = 1.0

#: The folder, beside the run directories, of the copies of own parts' files.
PARTS = "parts"

_CHECKPOINTS = ("checkpoint", "checkpoint.before")

_T = TypeVar("_T")


@dataclass(frozen=True)
class RunInfo:
    """Identifies the record that a folder belongs to.

    Attributes:
        store: the name of the store, without a password.
        experiment: the name of the MLflow experiment.
        name: the run's display name.
        recorder: a unique ID that the record has as a tag; chosen before the store creates the record.
    """

    store: str
    experiment: str
    name: str
    recorder: str


@dataclass(frozen=True)
class PendingResult:
    """The updates that the store gets when a run has ended.

    Attributes:
        status: FINISHED, FAILED or KILLED.
        end_time: milliseconds since 1970.
        history: the metrics of every epoch, each with its ``epoch``, from 1.
        times: when each epoch ended, milliseconds since 1970; empty if unknown.
        tags: tags set during the run.
        dataset: MLflow's fields that describe the data set.
        best: the trials of a search, by run id: whether it is the best one, as 1 or 0, and a line for its description.
    """

    status: str
    end_time: int
    history: list[dict[str, float]] = field(default_factory=list)
    times: list[int] = field(default_factory=list)
    tags: dict[str, str] = field(default_factory=dict)
    dataset: dict[str, str] = field(default_factory=dict)
    best: dict[str, tuple[int, str]] = field(default_factory=dict)


class RunDirectory:
    """The folder of an unfinished run, and its lock.

    Args:
        within: the folder of all run directories, created when needed.
        key: identifies the run: all processes that want the same run use the same key.
        store: tells ``reconcile`` how to open the store, after a forced exit of the process that holds the lock; None
            if no store needs updates.
    """

    def __init__(self, within: Path, key: str, store: Mapping[str, Any] | None = None) -> None:
        self.path = within / key
        self._reconciled = json.dumps({**store, "run": str(self.path)}) if store is not None else None
        # No fallback to a soft lock, which is a plain file: a killed process would leave it locked.
        self._lock = FileLock(within / f"{key}.lock", fallback_to_soft=False)
        self._checkpointed_at = 0.0
        self._pause = 0.0

    @contextmanager
    def lock(self, notify: Callable[[str], None]) -> Iterator[RunDirectory]:
        """Locks the run inside the ``with``; waits while another process holds the lock.

        After a forced exit (see ``system.signals``), a small process reconciles the run with the store.

        Args:
            notify: receives one message if it has to wait.
        """
        began = time.monotonic()
        notified = False
        while not self._acquire():
            if not notified and time.monotonic() > began + _SAYS_AFTER:
                notified = True
                notify("waiting: another process is training this run")
            time.sleep(_LOOKS_EVERY)
        try:
            with on_forced_exit(self._have_it_reconciled):
                yield self
        finally:
            self._release()

    @contextmanager
    def try_lock(self) -> Iterator[bool]:
        """Locks the run inside the ``with`` if the lock is free; yields whether it was."""
        free = self._acquire()
        try:
            yield free
        finally:
            if free:
                self._release()

    def _have_it_reconciled(self) -> None:
        if self._reconciled is not None:
            spawn_detached("seqadd.tracking.after_forced_exit", {RECONCILE_VARIABLE: self._reconciled})

    def _acquire(self) -> bool:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._lock.acquire(timeout=0)
        except Timeout:
            return False
        except FileNotFoundError:  # another process has just removed the empty parent folder
            return False
        for torn in self.path.rglob("unfinished.*"):  # left by a process that was killed while it wrote
            torn.unlink()
        return True

    def _release(self) -> None:
        with defer_signals():
            with suppress(OSError):
                self.path.rmdir()  # succeeds only if it is empty
            with suppress(OSError):
                if not self.path.exists():
                    Path(self._lock.lock_file).unlink()
            self._lock.release()
            with suppress(OSError):
                self.path.parent.rmdir()

    def begin(self, about: RunInfo, *, keep_checkpoints: bool = False) -> None:
        """Starts over with a new record; removes all files of an earlier one, except its checkpoints on request."""
        if keep_checkpoints:
            self.mark_delivered()
        else:
            self.discard()
        self.path.mkdir(exist_ok=True)
        write_file(self.path / "about.json", json.dumps(asdict(about), indent=1))

    def about(self) -> RunInfo | None:
        """Returns which record this folder belongs to; None if it belongs to none."""
        return self._read("about.json", lambda content: RunInfo(**content))

    def save(self, checkpoint: Checkpoint) -> None:
        """Saves a checkpoint; the previous one is kept.

        Raises:
            CannotWrite: names the file; the earlier checkpoints are unchanged.
        """
        began = time.monotonic()
        latest, before = (self.path / name for name in _CHECKPOINTS)
        with defer_signals():
            save(latest, checkpoint, keep=before)
        self._checkpointed_at = time.monotonic()
        self._pause = max(_SECONDS_BETWEEN_CHECKPOINTS, (self._checkpointed_at - began) / _COST)

    def checkpoint_is_due(self) -> bool:
        """Returns whether the latest checkpoint is so old that the cost of writing the next one is negligible."""
        return time.monotonic() > self._checkpointed_at + self._pause

    def latest_checkpoint(self, fingerprint: dict[str, str] | None, notify: Callable[[str], None]) -> Checkpoint | None:
        """Returns the latest checkpoint that can be used, or None.

        Args:
            fingerprint: of the training that resumes, see ``fingerprint.fingerprint_of``; None accepts any.
            notify: receives a message for each checkpoint that cannot be used, with the reason.
        """
        for name in _CHECKPOINTS:
            if (self.path / name).exists():
                try:
                    found = load(self.path / name, fingerprint)
                    # Else the next save would keep the damaged one as the previous checkpoint.
                    os.replace(self.path / name, self.path / _CHECKPOINTS[0])
                    return found
                except CheckpointError as error:
                    notify(f"{self.path / name} is not used: {error}")
        return None

    def epochs_of_checkpoint(self) -> int:
        """Returns the epochs of the latest checkpoint that can be read, 0 without one; changes nothing."""
        for name in _CHECKPOINTS:
            with suppress(CheckpointError, FileNotFoundError):
                return len(load(self.path / name, None).history)
        return 0

    def has_checkpoint(self) -> bool:
        """Returns whether there is a checkpoint, usable or not."""
        return any((self.path / name).exists() for name in _CHECKPOINTS)

    def artifact(self, name: str) -> Path:
        """Returns the path to write an artifact to that is delivered at the run's end."""
        path = self.artifacts / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    @property
    def artifacts(self) -> Path:
        """The folder of the artifacts that are delivered at the run's end."""
        return self.path / "artifacts"

    @property
    def model(self) -> Path:
        """The folder of the model that is delivered when the run has finished."""
        return self.path / "model"

    def end(self, ending: PendingResult) -> None:
        """Writes the run's ending to disk: from now on the run is over, and any process can deliver it."""
        write_file(self.path / "ending.json", json.dumps(asdict(ending)))

    def ending(self) -> PendingResult | None:
        """Returns the updates for the store; None while the run is not over."""
        return self._read("ending.json", lambda content: PendingResult(**content))

    def _read(self, name: str, made: Callable[[Any], _T]) -> _T | None:
        # Files are written atomically; a file that cannot be read was edited by hand and is ignored.
        with suppress(FileNotFoundError, NotADirectoryError, ValueError, TypeError):
            return made(json.loads((self.path / name).read_text(encoding="utf-8")))
        return None

    def mark_delivered(self) -> None:
        """Marks the ending as delivered: removes ending, artifacts and model, keeps what a resumed run needs."""
        (self.path / "ending.json").unlink(missing_ok=True)
        shutil.rmtree(self.artifacts, ignore_errors=True)
        shutil.rmtree(self.model, ignore_errors=True)

    def discard(self) -> None:
        """Removes the folder with all its content."""
        # First, because this process can be killed halfway: a folder without about.json belongs to no record.
        (self.path / "about.json").unlink(missing_ok=True)
        if self.path.exists():
            shutil.rmtree(self.path)


class CheckpointWriter(Listener):
    """Saves a checkpoint after an epoch, if the latest is old enough."""

    def __init__(self, run_dir: RunDirectory) -> None:
        self._run_dir = run_dir

    def on_epoch(self, session: TrainingSession, row: Mapping[str, float]) -> None:
        if self._run_dir.checkpoint_is_due():
            self._run_dir.save(session.take_checkpoint())


def run_directories(within: Path) -> list[RunDirectory]:
    """Returns the run directory of every run that has left files in a folder of unfinished runs."""
    keys: set[str] = set()
    with suppress(OSError):  # the folder does not exist, or cannot be read
        # A killed process can leave only the lock, or only the folder.
        keys = {each.name.removesuffix(".lock") for each in within.iterdir()}
    return [RunDirectory(within, key) for key in sorted(keys - {PARTS})]
