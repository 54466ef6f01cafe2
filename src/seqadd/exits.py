"""How a command ends: with an exit code and, when something is wrong, one line; Ctrl-C and SIGTERM as exceptions."""

from __future__ import annotations

import os
import signal
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from seqadd.config import ConfigError, in_one_line

# How people ask for tracebacks, everywhere in Hydra. Read at the start, because run.py sets it for Hydra's own part.
_TRACEBACKS = os.environ.get("HYDRA_FULL_ERROR") == "1"


class Interrupted(BaseException):
    """Somebody asked this process to stop. Like KeyboardInterrupt no Exception, so nothing takes it for a failure."""

    def __init__(self, signal_number: int) -> None:
        super().__init__(f"stopped by {signal.Signals(signal_number).name}")
        self.exit_code = 128 + signal_number  # 130 for Ctrl-C, 143 for SIGTERM, as shells have it


#: How people and other programs ask this one to stop.
SIGNALS = (signal.SIGINT, signal.SIGTERM)


def raise_on_signals() -> None:
    """From now on SIGINT and SIGTERM raise Interrupted in the main thread; a second one changes nothing.

    Raises:
        Interrupted: for a signal that had been blocked until now.
    """
    for number in SIGNALS:
        signal.signal(number, _raise)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)


def _raise(number: int, frame: FrameType | None) -> None:
    # What follows is the tidying up: a second Ctrl-C, or the SIGTERM of a sweep that stops, must not cut it short.
    # (Not SIG_IGN: of a signal that is on its way already, Python would print a traceback.)
    for each in SIGNALS:
        signal.signal(each, lambda number, frame: None)
    if _holding:
        _put_off.append(number)
    else:
        raise Interrupted(number)


# Not the signal mask of the main thread: other threads would take the signal, and Python call the handler all the same.
_holding: list[None] = []
_put_off: list[int] = []


@contextmanager
def signals_held() -> Iterator[None]:
    """Puts Interrupted off until the end of the ``with``, for a few lines that must not be cut in two."""
    _holding.append(None)
    try:
        yield
    finally:
        _holding.pop()
        if _put_off and not _holding:
            raise Interrupted(_put_off.pop())


@contextmanager
def command() -> Iterator[None]:
    """Around the whole of a command: its exit code is 0, 1 (failed), 2 (refused), 130 (Ctrl-C) or 143 (SIGTERM)."""
    raise_on_signals()
    try:
        yield
    except Interrupted as stopped:
        print(f"seqadd: {stopped}", file=sys.stderr)
        sys.exit(stopped.exit_code)
    except Exception as error:
        fail(error)


def fail(error: Exception) -> NoReturn:
    """Ends the program with one line on standard error; exit code 2 for what was refused, 1 for what failed."""
    if _TRACEBACKS:
        traceback.print_exception(error)
    refused = isinstance(error, (ConfigError, HydraException, OmegaConfBaseException))
    ours = type(error).__module__.startswith("seqadd.")  # these say all there is to say
    said = in_one_line(error)
    if not (refused or ours):
        said = f"{type(error).__name__}: {said}; HYDRA_FULL_ERROR=1 shows the traceback"
    print(f"seqadd: {said}", file=sys.stderr)
    sys.exit(2 if refused else 1)
