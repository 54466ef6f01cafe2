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


def raise_on_signals() -> None:
    """From now on SIGINT and SIGTERM raise Interrupted in the main thread; a second one changes nothing."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _raise)


def _raise(number: int, frame: FrameType | None) -> NoReturn:
    # What follows is the tidying up: a second Ctrl-C, or the SIGTERM of a sweep that stops, must not cut it short.
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, signal.SIG_IGN)
    raise Interrupted(number)


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
    print(f"seqadd: {in_one_line(error)}", file=sys.stderr)
    sys.exit(2 if isinstance(error, (ConfigError, HydraException, OmegaConfBaseException)) else 1)
