"""Retries requests to a store: which errors may be temporary, how long to wait, how errors are summarized."""

from __future__ import annotations

import os
import re
import textwrap
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from mlflow.exceptions import MlflowException
from sqlalchemy.exc import SQLAlchemyError

from seqadd.config.messages import one_line
from seqadd.errors import StoreMoved
from seqadd.system.library_log import with_log_path

# Timeout of a request, in seconds: a server can be busy when many runs begin or end at once. It is shorter when a
# store is opened, because the server may be down, and while a training waits.
_TIMEOUT, SECONDS_TO_ANSWER, _SECONDS_IN_A_HURRY = "MLFLOW_HTTP_REQUEST_TIMEOUT", "30", "8"
os.environ.setdefault(_TIMEOUT, SECONDS_TO_ANSWER)
MAX_SECONDS_BETWEEN_ATTEMPTS = 60.0
_SECONDS_TO_COME_BACK = 600.0  # how long a job of a sweep retries before it gives up
# The retries at a run's beginning and end: one per number, and the seconds before each.
SECONDS_BEFORE_ATTEMPTS = (2.0, 5.0)

#: Errors of a store that is down, does not respond or has no room; a retry may succeed.
STORE_ERRORS = (MlflowException, SQLAlchemyError, OSError)

# A server's error codes for a missing or wrong password, and for a missing permission.
_REFUSALS = ("UNAUTHENTICATED", "PERMISSION_DENIED")

_T = TypeVar("_T")


# Errors of a local folder that a retry does not change.
_LOCAL_REFUSALS = (StoreMoved, PermissionError, FileNotFoundError, NotADirectoryError)


@contextmanager
def short_timeout() -> Iterator[None]:
    """Shortens the timeout of requests inside the ``with``, unless the user has set MLflow's timeout variable."""
    before = os.environ.get(_TIMEOUT, SECONDS_TO_ANSWER)  # a fork of this process may have another environment
    if before == SECONDS_TO_ANSWER:
        os.environ[_TIMEOUT] = _SECONDS_IN_A_HURRY
    try:
        yield
    finally:
        os.environ[_TIMEOUT] = before


def backoff() -> Iterator[float]:
    """Yields the seconds to wait before each further attempt, for ten minutes."""
    began, pause = time.monotonic(), 1.0
    while time.monotonic() < began + _SECONDS_TO_COME_BACK:
        yield pause
        pause = min(2 * pause, MAX_SECONDS_BETWEEN_ATTEMPTS)


def retry(do: Callable[[], _T], pauses: Iterable[float], notify: Callable[[str], None] = lambda text: None) -> _T:
    """Calls ``do``, and again after each pause while it raises a store's error; a refusal is raised at once."""
    notified = False
    for pause in pauses:
        try:
            return do()
        except STORE_ERRORS as error:
            if is_refusal(error):
                raise
            if not notified:
                notified = True
                notify(with_log_path(f"waiting for the store: {summarize_error(error)}"))
        time.sleep(pause)
    return do()


def is_refusal(error: Exception) -> bool:
    return isinstance(error, _LOCAL_REFUSALS) or getattr(error, "error_code", None) in _REFUSALS


def summarize_error(error: Exception) -> str:
    """Returns the cause of a store's error in one line of at most 200 characters; errors of servers are very long."""
    message = one_line(error).partition("; [SQL: ")[0]
    code = getattr(error, "error_code", None)
    if code == "UNAUTHENTICATED":
        wrong = "refuses the password" if os.environ.get("MLFLOW_TRACKING_PASSWORD") else "wants a password"
        return f"the server {wrong}: set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"
    if code == "PERMISSION_DENIED":
        user = os.environ.get("MLFLOW_TRACKING_USERNAME", "this user")
        return f"the server does not let {user} do this: ask for the permission EDIT, or choose another experiment"
    if "too many 503 error responses" in message:  # MLflow discards the server's reason
        return "the server's database is down or out of disk space (503); the server's log says which"
    cause = re.search(r'Caused by \w+\("[^"]*?\): ([^"]*)"', message)  # it comes last, after the address and the query
    return textwrap.shorten(cause[1] if cause else message, 200, placeholder=" ...")
