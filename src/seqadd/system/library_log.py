"""Sends the log of libraries to a file instead of the terminal; the line that reports an error names the file."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TextIO

from seqadd.errors import redact_credentials


class _Keeper(logging.Handler):
    """Writes warnings and errors to a file, created with the first one; drops them if it cannot write.

    Attributes:
        path: path of the file; None while nothing was written.
        is_named: whether a printed line has named the file.
    """

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
        self.path: Path | None = None
        self.is_named = False
        self._file: TextIO | None = None
        self._made: Path | None = None
        self._folder: str | None = None
        with suppress(OSError):
            # Read now: inside ``temporary_folder`` it would be a folder that is removed when the job ends.
            self._folder = tempfile.gettempdir()

    def emit(self, record: logging.LogRecord) -> None:
        with suppress(OSError):
            if self._file is None and self._folder is not None:
                file, name = tempfile.mkstemp(prefix="seqadd-", suffix=".log", dir=self._folder)
                self._file = open(file, "w", encoding="utf-8", errors="replace")  # noqa: SIM115 - until it is closed
                self._made = Path(name)
            if self._file is not None:
                self._file.write(f"{redact_credentials(self.format(record))}\n")
                self._file.flush()
                self.path = self._made

    def close(self) -> None:
        with suppress(OSError):
            if self._file is not None:
                self._file.close()
        with suppress(OSError):
            if self._made is not None and not self.is_named:
                self._made.unlink()
        super().close()


_keepers: list[_Keeper] = []


@contextmanager
def capture_logs() -> Iterator[None]:
    """Inside the ``with``, the log of libraries goes to a file, which is removed unless a printed line named it."""
    keeper = _Keeper()
    _keepers.append(keeper)
    every = [each for each in logging.root.manager.loggerDict.values() if isinstance(each, logging.Logger)]
    # Libraries that were imported earlier may have handlers of their own that print.
    printing = [(each, each.handlers, each.propagate) for each in every if each.handlers]
    for logger, _, _ in printing:
        logger.handlers, logger.propagate = [], True
    logging.root.addHandler(keeper)
    try:
        yield
    finally:
        logging.root.removeHandler(keeper)
        for logger, handlers, propagates in printing:
            logger.handlers, logger.propagate = handlers, propagates
        _keepers.remove(keeper)
        keeper.close()


def log_file() -> Path | None:
    """The log file of libraries, for a line that names it; None if they have logged nothing."""
    if not _keepers or _keepers[-1].path is None:
        return None
    _keepers[-1].is_named = True
    return _keepers[-1].path


def with_log_path(message: str) -> str:
    """An error message, followed by the path of the log file if libraries have logged anything."""
    path = log_file()
    return message if path is None else f"{message}; more in {path}"
