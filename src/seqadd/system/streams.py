"""Standard streams that survive: closed ones, broken pipes, full disks."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, TextIO


def print_error(text: str) -> None:
    """Prints a line on standard error, if it can be printed."""
    with suppress(OSError):  # nobody reads it
        print(text, file=sys.stderr, flush=True)


class ResilientStream:
    """A stream to which a program can go on writing when nothing comes of it any more: nobody reads, or a disk is full.

    Attributes:
        error: why not, but for a reader who has had enough, as ``head`` has.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.error: OSError | None = None

    def write(self, text: str) -> int:
        self._try(lambda: self._stream.write(text))
        return len(text)

    def flush(self) -> None:
        self._try(self._stream.flush)

    def _try(self, do: Callable[[], object]) -> None:
        try:
            do()
        except OSError as error:
            if not isinstance(error, BrokenPipeError):
                self.error = error
            _redirect_to_null(self._stream.fileno())  # where what waits in its buffer goes too

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextmanager
def resilient_streams() -> Iterator[ResilientStream]:
    """Inside the ``with``, to read and to print does not fail where a stream is closed or broken; gives the output.

    A file or a database that is opened where a stream was closed would get its number, and so what libraries print.
    """
    for number in range(3):  # in this order, for each takes the lowest that is free
        try:
            os.fstat(number)
        except OSError:
            _redirect_to_null(number)
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        stream = getattr(sys, name)
        if stream is None or getattr(stream, "closed", False):
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115  # until Python ends
    before = sys.stdout, sys.stderr
    for stream in before:
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # a terminal that knows no umlauts gets question marks
    sys.stdout, sys.stderr = printed, _ = ResilientStream(before[0]), ResilientStream(before[1])  # type: ignore[assignment]
    try:
        yield printed
    finally:
        printed.flush()
        sys.stdout, sys.stderr = before


def discard_stdout() -> None:
    """What goes to standard output from now on goes nowhere."""
    _redirect_to_null(sys.stdout.fileno())


def _redirect_to_null(number: int) -> None:
    """Has a file descriptor read nothing, and write to nowhere; processes that are started from here inherit it."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    if nowhere == number:
        os.set_inheritable(number, True)
    else:
        os.dup2(nowhere, number)
        os.close(nowhere)
