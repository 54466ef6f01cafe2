"""What runs keep on disk while they are not finished: a folder for each, and a lock that tells whether it is alive.

A process that works on a run holds its lock; the system gives it back when the process ends, in whatever way. So a run
whose lock can be had is nobody's, whatever the store says of it. Knows nothing of MLflow.

In the folder of a run:

- ``about.json``: which record in which store it belongs to.
- ``checkpoint`` and the one before, ``checkpoint.before``.
- ``ending.json`` and ``artifacts``: what the store is to be told at its end, until it has been told.
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

#: The tag by which a record is found again by whoever was about to make it.
RECORDER = "recorder"

#: The variable in which ``reconcile`` is told of what, as JSON; no argument, for an address may hold a password.
RECONCILE_VARIABLE = "SEQADD_RECONCILED"

# A checkpoint is written this often, and more seldom where writing one takes more than a hundredth of that.
_SECONDS_BETWEEN_CHECKPOINTS = 5.0
_COST = 0.01
# Who waits for another process looks this often, and says so when it takes longer than a moment.
_LOOKS_EVERY = 0.2
_SAYS_AFTER = 1.0

_CHECKPOINTS = ("checkpoint", "checkpoint.before")

_T = TypeVar("_T")


@dataclass(frozen=True)
class RunInfo:
    """Which record a folder belongs to.

    Attributes:
        store: which store, without a password.
        experiment: the name of the MLflow experiment.
        name: what a person calls the run.
        recorder: a name of its own that the record carries as a tag, known before the store is asked to make it.
    """

    store: str
    experiment: str
    name: str
    recorder: str


@dataclass(frozen=True)
class PendingResult:
    """What the store is to be told when a run is over.

    Attributes:
        status: FINISHED, FAILED or KILLED.
        end_time: milliseconds since 1970.
        history: the metrics of every epoch, each with its ``epoch``, from 1.
        times: when each was over, milliseconds since 1970; empty if nobody knows any more.
        tags: what became known on the way.
        dataset: fields of MLflow's that describe the data set.
    """

    status: str
    end_time: int
    history: list[dict[str, float]] = field(default_factory=list)
    times: list[int] = field(default_factory=list)
    tags: dict[str, str] = field(default_factory=dict)
    dataset: dict[str, str] = field(default_factory=dict)


class RunDirectory:
    """The folder of a run that is not finished, and its lock.

    Args:
        within: the folder of all of them, made when it is needed.
        key: a name that says which run it is: all processes that want the same run give the same.
        store: by which ``reconcile`` finds the store, where a process that claims this has to be ended; None where
            no store is told.
    """

    def __init__(self, within: Path, key: str, store: Mapping[str, Any] | None = None) -> None:
        self.path = within / key
        self._reconciled = json.dumps({**store, "run": str(self.path)}) if store is not None else None
        # Another kind of lock, that a killed process would leave behind, is worse than none.
        self._lock = FileLock(within / f"{key}.lock", fallback_to_soft=False)
        self._checkpointed_at = 0.0
        self._pause = 0.0

    @contextmanager
    def lock(self, notify: Callable[[str], None]) -> Iterator[RunDirectory]:
        """Inside the ``with`` no other process works on this run; waits until the one that does is over.

        Where this process has to be ended (see ``exits``), a small one tells the store what it leaves here.

        Args:
            say: is told, once, that it has to wait.
        """
        began = time.monotonic()
        said = False
        while not self._acquire():
            if not said and time.monotonic() > began + _SAYS_AFTER:
                said = True
                notify("waits: another process is at it")
            time.sleep(_LOOKS_EVERY)
        try:
            with on_forced_exit(self._have_it_reconciled):
                yield self
        finally:
            self._release()

    @contextmanager
    def try_lock(self) -> Iterator[bool]:
        """Inside the ``with`` no other process works on this run if it gives true."""
        free = self._acquire()
        try:
            yield free
        finally:
            if free:
                self._release()

    def _have_it_reconciled(self) -> None:
        if self._reconciled is not None:
            spawn_detached("seqadd.tracking.reconcile", {RECONCILE_VARIABLE: self._reconciled})

    def _acquire(self) -> bool:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._lock.acquire(timeout=0)
        except Timeout:
            return False
        except FileNotFoundError:  # another process has just removed the folder, which was empty
            return False
        for torn in self.path.rglob("unfinished.*"):  # a process was killed while it wrote it
            torn.unlink()
        return True

    def _release(self) -> None:
        with defer_signals():
            with suppress(OSError):
                self.path.rmdir()  # if nothing is left in it
            with suppress(OSError):
                if not self.path.exists():
                    Path(self._lock.lock_file).unlink()
            self._lock.release()
            with suppress(OSError):
                self.path.parent.rmdir()

    def begin(self, about: RunInfo, *, keep_checkpoints: bool = False) -> None:
        """Starts over with a record of its own; nothing of an earlier one is left, but its checkpoints if wanted."""
        if keep_checkpoints:
            self.mark_delivered()
        else:
            self.discard()
        self.path.mkdir(exist_ok=True)
        write_file(self.path / "about.json", json.dumps(asdict(about), indent=1))

    def about(self) -> RunInfo | None:
        """Which record this folder belongs to; None where there is none."""
        return self._read("about.json", lambda content: RunInfo(**content))

    def save(self, checkpoint: Checkpoint) -> None:
        """Publishes a checkpoint; the one before it is kept.

        Raises:
            CannotWrite: naming the file; then the earlier ones are as they were.
        """
        began = time.monotonic()
        latest, before = (self.path / name for name in _CHECKPOINTS)
        with defer_signals():
            save(latest, checkpoint, keep=before)
        self._checkpointed_at = time.monotonic()
        self._pause = max(_SECONDS_BETWEEN_CHECKPOINTS, (self._checkpointed_at - began) / _COST)

    def checkpoint_is_due(self) -> bool:
        """Whether the latest checkpoint is so old that writing the next one costs nothing to speak of."""
        return time.monotonic() > self._checkpointed_at + self._pause

    def latest_checkpoint(self, fingerprint: dict[str, str] | None, notify: Callable[[str], None]) -> Checkpoint | None:
        """The latest checkpoint that can be used, or None.

        Args:
            fingerprint: of the training that wants it, see ``fingerprint.fingerprint_of``; None for any.
            say: is told of each that cannot be used, and why.
        """
        for name in _CHECKPOINTS:
            if (self.path / name).exists():
                try:
                    found = load(self.path / name, fingerprint)
                    os.replace(self.path / name, self.path / _CHECKPOINTS[0])  # or the next would put a torn one here
                    return found
                except CheckpointError as error:
                    notify(f"{self.path / name} is not used: {error}")
        return None

    def has_checkpoint(self) -> bool:
        """Whether there is one, of whatever kind."""
        return any((self.path / name).exists() for name in _CHECKPOINTS)

    def artifact(self, name: str) -> Path:
        """Where to write an artifact that the store is to get at the run's end."""
        path = self.artifacts / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    @property
    def artifacts(self) -> Path:
        """The folder of what the store is to get at the run's end."""
        return self.path / "artifacts"

    def end(self, ending: PendingResult) -> None:
        """From now on the run is over, and whoever comes next can tell the store so."""
        write_file(self.path / "ending.json", json.dumps(asdict(ending)))

    def ending(self) -> PendingResult | None:
        """What the store is to be told; None while the run is not over."""
        return self._read("ending.json", lambda content: PendingResult(**content))

    def _read(self, name: str, made: Callable[[Any], _T]) -> _T | None:
        # A file that is there is whole; one that somebody has changed by hand is as good as none.
        with suppress(FileNotFoundError, NotADirectoryError, ValueError, TypeError):
            return made(json.loads((self.path / name).read_text(encoding="utf-8")))
        return None

    def mark_delivered(self) -> None:
        """The store knows the ending: only what is needed to go on is kept."""
        (self.path / "ending.json").unlink(missing_ok=True)
        shutil.rmtree(self.artifacts, ignore_errors=True)

    def discard(self) -> None:
        """Removes the folder with all that is in it."""
        # Without about.json it is nobody's; so first, for a process can be killed in the middle of this.
        (self.path / "about.json").unlink(missing_ok=True)
        if self.path.exists():
            shutil.rmtree(self.path)


class CheckpointWriter(Listener):
    """Saves a checkpoint after an epoch, where the latest is so old that the cost is small."""

    def __init__(self, run_dir: RunDirectory) -> None:
        self._run_dir = run_dir

    def on_epoch(self, session: TrainingSession, row: Mapping[str, float]) -> None:
        if self._run_dir.checkpoint_is_due():
            self._run_dir.save(session.checkpoint())


def run_directories(within: Path) -> list[RunDirectory]:
    """Every run that has left something in a folder of unfinished runs."""
    keys: set[str] = set()
    with suppress(OSError):  # there is none, or it is nobody's to read
        # A process can be killed when it has only the lock, or only the folder.
        keys = {each.name.removesuffix(".lock") for each in within.iterdir()}
    return [RunDirectory(within, key) for key in sorted(keys)]
