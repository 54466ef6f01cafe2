"""Asking a store again: which errors may pass, how long to wait, what is said of them."""

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

# Seconds that a server may take to answer: many runs that begin or end at once can keep it busy for some. Fewer where
# it has not shown yet that it is there, and while a training waits.
_TIMEOUT, SECONDS_TO_ANSWER, _SECONDS_IN_A_HURRY = "MLFLOW_HTTP_REQUEST_TIMEOUT", "30", "8"
os.environ.setdefault(_TIMEOUT, SECONDS_TO_ANSWER)
MAX_SECONDS_BETWEEN_ATTEMPTS = 60.0
_SECONDS_TO_COME_BACK = 600.0  # for a store that a job of a sweep cannot begin without
# How often a store that does not answer at a run's beginning or end is asked again, and the seconds before each time.
SECONDS_BEFORE_ATTEMPTS = (2.0, 5.0)

#: What a store may raise that is not there, does not answer or has no room; another time it may do better.
STORE_ERRORS = (MlflowException, SQLAlchemyError, OSError)

# What a server answers that wants a password, or another one, and where this user may not do this.
_REFUSALS = ("UNAUTHENTICATED", "PERMISSION_DENIED")

_T = TypeVar("_T")


# What a folder of this machine answers, and will answer again.
_LOCAL_REFUSALS = (StoreMoved, PermissionError, FileNotFoundError, NotADirectoryError)


@contextmanager
def short_timeout() -> Iterator[None]:
    """Inside the ``with`` a server has fewer seconds for an answer, unless a person has chosen how many."""
    before = os.environ[_TIMEOUT]
    if before == SECONDS_TO_ANSWER:
        os.environ[_TIMEOUT] = _SECONDS_IN_A_HURRY
    try:
        yield
    finally:
        os.environ[_TIMEOUT] = before


def backoff() -> Iterator[float]:
    """Seconds to wait before each further attempt, for ten minutes."""
    began, pause = time.monotonic(), 1.0
    while time.monotonic() < began + _SECONDS_TO_COME_BACK:
        yield pause
        pause = min(2 * pause, MAX_SECONDS_BETWEEN_ATTEMPTS)


def retry(do: Callable[[], _T], pauses: Iterable[float], notify: Callable[[str], None] = lambda text: None) -> _T:
    """Does it again after each of these pauses while the store does not answer; what it refuses is not tried again."""
    said = False
    for pause in pauses:
        try:
            return do()
        except STORE_ERRORS as error:
            if is_refusal(error):
                raise
            if not said:
                said = True
                notify(with_log_path(f"waits for the store: {summarize_error(error)}"))
        time.sleep(pause)
    return do()


def is_refusal(error: Exception) -> bool:
    return isinstance(error, _LOCAL_REFUSALS) or getattr(error, "error_code", None) in _REFUSALS


def summarize_error(error: Exception) -> str:
    """What a store says is wrong; about servers it says a great deal, and little that helps."""
    said = one_line(error).partition("; [SQL: ")[0]
    code = getattr(error, "error_code", None)
    if code == "UNAUTHENTICATED":
        wrong = "refuses the password" if os.environ.get("MLFLOW_TRACKING_PASSWORD") else "wants a password"
        return f"the server {wrong}: set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"
    if code == "PERMISSION_DENIED":
        user = os.environ.get("MLFLOW_TRACKING_USERNAME", "this user")
        return f"the server does not let {user} do this: ask for the permission EDIT, or choose another experiment"
    if "too many 503 error responses" in said:  # and MLflow throws away which of these it is
        return "the server cannot use its database (503): that is gone, or full; the server's log says which"
    cause = re.search(r'Caused by \w+\("[^"]*?\): ([^"]*)"', said)  # at the end, after the address and all of the query
    return textwrap.shorten(cause[1] if cause else said, 200, placeholder=" ...")
