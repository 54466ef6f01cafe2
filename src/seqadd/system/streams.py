"""Standard streams that tolerate closed streams, broken pipes and full disks."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, TextIO

from seqadd.system import status_line


def print_error(text: str) -> None:
    """Prints a line to stderr; a stream that cannot be written is ignored."""
    with suppress(OSError):  # stderr is closed, or its reader is gone
        status_line.clear()
        print(text, file=sys.stderr, flush=True)


class ResilientStream:
    """A stream that discards further output when the reader has closed the pipe or the disk is full.

    Output replaces the status line.

    Attributes:
        error: the reason for discarding; None for a closed pipe, as with ``head``.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.error: OSError | None = None

    def write(self, text: str) -> int:
        status_line.clear()
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
            _redirect_to_null(self._stream.fileno())  # the rest of the buffer goes there too

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextmanager
def resilient_streams() -> Iterator[ResilientStream]:
    """Inside the ``with``, reading and printing do not fail on a closed or broken stream; gives the standard output.

    Otherwise a file or database could get the file descriptor of a closed stream, and with it what libraries print.
    """
    for number in range(3):  # in this order, because each open takes the lowest free number
        try:
            os.fstat(number)
        except OSError:
            _redirect_to_null(number)
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        stream = getattr(sys, name)
        if stream is None or getattr(stream, "closed", False):
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115  # stays open until Python ends
    before = sys.stdout, sys.stderr
    for stream in before:
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # a character that the terminal cannot encode is printed as "?"
    sys.stdout, sys.stderr = printed, _ = ResilientStream(before[0]), ResilientStream(before[1])  # type: ignore[assignment]
    try:
        yield printed
    finally:
        printed.flush()
        sys.stdout, sys.stderr = before


def discard_stdout() -> None:
    """Discards everything that is written to standard output from now on."""
    _redirect_to_null(sys.stdout.fileno())


def _redirect_to_null(number: int) -> None:
    """Redirects a file descriptor to /dev/null; child processes inherit it."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    if nowhere == number:
        os.set_inheritable(number, True)
    else:
        os.dup2(nowhere, number)
        os.close(nowhere)
