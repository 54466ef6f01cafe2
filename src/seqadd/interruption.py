"""Ctrl-C and SIGTERM as exceptions, raised once, so that what is under way is closed properly before the end."""

from __future__ import annotations

import signal
from types import FrameType
from typing import NoReturn


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
