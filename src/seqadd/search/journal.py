"""The study of a search in a file: Optuna's journal, repaired before each access."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from filelock import FileLock

if TYPE_CHECKING:
    import optuna

    from seqadd.tracking.run_directory import RunDirectory
    from seqadd.tracking.store import Store

#: The file of a study.
JOURNAL = "study.journal"
_STUDY = "search"

# User attributes of a trial in the study.
RUN_ID, ERROR, FINAL = "run_id", "error", "final"

MEDIAN, NONE = "median", "none"


def search_directory(store: Store, search: str) -> RunDirectory:
    """The folder of an unfinished search; it contains the journal."""
    return store.run_directory(f"search {search}")


def open_study(journal: Path, direction: Literal["maximize", "minimize"] | None = None) -> optuna.Study:
    """Opens the study in a journal.

    Args:
        journal: the file.
        direction: direction of a new study, which is created if there is none; None to open an existing study only.
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
    """The lock of a journal. When it is acquired, an incomplete last line is removed.

    A process that ran out of disk space, or was killed, leaves an incomplete line. Optuna would append to it, and could
    not read any later line.
    """

    def __init__(self, journal: Path) -> None:
        self._journal = journal
        # The system releases this lock when its process is killed; Optuna's own lock would stay for half a minute.
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
    """A running trial, as the object that ``study.ask`` returns for a new one."""
    import optuna

    return optuna.Trial(study, study.get_trials(deepcopy=False)[number]._trial_id)


def fail_trial(study: optuna.Study, number: int, error: str, *, final: bool) -> None:
    """Records in the study that a trial has failed; ``final`` if a retry would fail too."""
    from optuna.trial import TrialState

    trial = trial_in(study, number)
    trial.set_user_attr(ERROR, error)
    trial.set_user_attr(FINAL, final)
    study.tell(number, state=TrialState.FAIL)
