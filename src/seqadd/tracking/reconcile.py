"""Tells a store what became of a run whose process had to be ended: started by that process, beside it.

A process that computes can only write down how its run ended, see ``exits``; this one, which computes nothing, waits
until it is gone and does what the next command would do. It takes the run's lock first, so a command that has gone on
with the run already is not disturbed.
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

# A store that does not answer until then hears of it by the next command.
_SECONDS_IN_ALL = 120
# The system closes the files of a process one after another: its lock may be free a moment after its pipe has ended.
_SECONDS_UNTIL_THE_LOCK_IS_FREE = 0.5


def main() -> None:
    """What ``signals.spawn_detached`` has a process do."""
    signal.alarm(_SECONDS_IN_ALL)  # which ends it
    asked = json.loads(os.environ[RECONCILE_VARIABLE])
    sys.stdin.buffer.read()  # until that process is gone
    run = Path(asked["run"])
    if asked["database"] is not None:
        with suppress(sqlite3.Error):  # then MLflow may do better
            _set_status(Path(asked["database"]), RunDirectory(run.parent, run.name))

    from seqadd.tracking import delivery
    from seqadd.tracking.connection import open_store

    delivery.reconcile(open_store(Tracking(**asked["tracking"])))


def _set_status(database: Path, run_dir: RunDirectory) -> None:
    """Sets the status of a run that is over without MLflow, whose import takes 15 seconds on a busy machine."""
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
