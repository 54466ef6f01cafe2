"""Runs that tests open and close themselves, without a training."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from seqadd.config.schema import Tracking
from seqadd.tracking import recording
from seqadd.tracking.store import Store

#: The store in the working directory.
HERE = Tracking(uri="sqlite:///mlflow.db", experiment="seqadd", parent_run_id=None, unfinished=None)


@contextmanager
def open_run(
    store: Store, name: str = "name", *, key: str | None = None, **settings: Any
) -> Iterator[recording.RunRecorder]:
    """Opens a run of its own, or the one of ``key``; ``settings`` are arguments of ``recording.record``."""
    with (
        store.run_directory(key or uuid.uuid4().hex).lock(print) as run_dir,
        recording.record(store, run_dir, name, **{"params": {}, "tags": {}, **settings}) as run,
    ):
        yield run
