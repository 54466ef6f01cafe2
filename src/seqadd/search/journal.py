"""The study of a search as a file: Optuna's journal, repaired before each line."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from filelock import FileLock

if TYPE_CHECKING:
    import optuna

    from seqadd.tracking.run_directory import RunDirectory
    from seqadd.tracking.store import Store

#: The file that a study is kept in.
JOURNAL = "study.journal"
_STUDY = "search"

# What a trial has in the study beside its parameters and values.
RUN_ID, ERROR, FINAL = "run_id", "error", "final"

MEDIAN, NONE = "median", "none"


def search_directory(store: Store, search: str) -> RunDirectory:
    """Where a search keeps what it needs while it is not finished, its journal among it."""
    return store.run_directory(f"search {search}")


def open_study(journal: Path, direction: Literal["maximize", "minimize"] | None = None) -> optuna.Study:
    """The study in a journal.

    Args:
        journal: the file.
        direction: to make a study where there is none.
    """
    import optuna
    from optuna.storages.journal import JournalFileBackend

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    backend = JournalFileBackend(str(journal), lock_obj=_RepairingLock(journal))  # type: ignore[arg-type]
    storage = optuna.storages.JournalStorage(backend)
    if direction is None:
        return optuna.load_study(study_name=_STUDY, storage=storage)
    return optuna.create_study(study_name=_STUDY, storage=storage, direction=direction, load_if_exists=True)


class _RepairingLock:
    """The lock of a journal, whose holder finds nothing in it but whole lines.

    A process that had no room to end its line, or was killed in it, leaves a part of one; Optuna would write on behind
    it, and read nothing that comes after.
    """

    def __init__(self, journal: Path) -> None:
        self._journal = journal
        # One that the system takes back when its process is killed; Optuna's own would stay for half a minute.
        self._lock = FileLock(f"{journal}.lock")

    def acquire(self) -> bool:
        self._lock.acquire()
        with open(self._journal, "rb+") as file:
            size = file.seek(0, os.SEEK_END)
            if size > 0:
                file.seek(size - 1)
                if file.read(1) != b"\n":
                    file.seek(0)
                    file.truncate(file.read().rfind(b"\n") + 1)
        return True

    def release(self) -> None:
        self._lock.release()


def trial_in(study: optuna.Study, number: int) -> optuna.Trial:
    """A trial that is under way, as Optuna hands it out to who asks for a new one."""
    import optuna

    return optuna.Trial(study, study.get_trials(deepcopy=False)[number]._trial_id)


def fail_trial(study: optuna.Study, number: int, error: str, *, final: bool) -> None:
    """Tells the study that a trial has failed; ``final`` if it would fail again."""
    from optuna.trial import TrialState

    trial = trial_in(study, number)
    trial.set_user_attr(ERROR, error)
    trial.set_user_attr(FINAL, final)
    study.tell(number, state=TrialState.FAIL)
