"""A program that reconciles a store after a run's forced exit; the run's process starts it just before it ends.

While TensorFlow computes, the run's process can only write its run's ending to disk, see ``system.signals``. This
program waits until that process is gone, then reconciles the store as the next command would. It takes the run's lock
first, so it does not disturb a command that has already resumed the run. A run whose process was killed outright
(kill -9) is ended by the next command, see ``delivery.reconcile``.
"""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import sys
import time
from contextlib import closing, suppress
from pathlib import Path
from urllib.parse import quote

from seqadd.config.schema import Tracking
from seqadd.tracking.run_directory import RECONCILE_VARIABLE, RECORDER, RunDirectory

# If the store does not respond within this time, the next command delivers the updates.
_SECONDS_IN_ALL = 120
# The system closes a process's files one after another: its lock may become free a moment after its pipe has closed.
_SECONDS_UNTIL_THE_LOCK_IS_FREE = 0.5


def main() -> None:
    """Reconciles the store named in the environment; ``signals.spawn_detached`` calls this in a new process."""
    signal.alarm(_SECONDS_IN_ALL)  # ends this process
    given = json.loads(os.environ[RECONCILE_VARIABLE])
    sys.stdin.buffer.read()  # blocks until the run's process is gone
    run = Path(given["run"])
    if given["database"] is not None:
        with suppress(sqlite3.Error):  # reconcile below tries again, through MLflow
            _set_status(Path(given["database"]), RunDirectory(run.parent, run.name))

    from seqadd.tracking import delivery
    from seqadd.tracking.connection import open_store

    delivery.reconcile(open_store(Tracking(**given["tracking"])))


def _set_status(database: Path, run_dir: RunDirectory) -> None:
    """Sets the status of an ended run by SQL, because importing MLflow takes 15 seconds on a busy machine."""
    for pause in (0.0, _SECONDS_UNTIL_THE_LOCK_IS_FREE):
        time.sleep(pause)
        with run_dir.try_lock() as free:
            about, ending = run_dir.about(), run_dir.ending()
            if free and about is not None and ending is not None and ending.status != "FINISHED":
                with (
                    closing(sqlite3.connect(f"file:{quote(str(database))}?mode=rw", uri=True)) as connection,
                    connection,
                ):
                    connection.execute(
                        "UPDATE runs SET status = ?, end_time = max(start_time, ?) WHERE status = 'RUNNING' AND"
                        " run_uuid IN (SELECT run_uuid FROM tags WHERE key = ? AND value = ?)",
                        (ending.status, ending.end_time, RECORDER, about.recorder),
                    )
            if free:
                return
