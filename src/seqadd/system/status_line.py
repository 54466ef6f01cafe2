"""A line on the terminal that says what a command is doing before its first output, and vanishes with it.

Imports nothing that takes time, because commands show the line before they import Hydra, TensorFlow and MLflow.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress

_shown = False


def is_command(module: str) -> bool:
    """Returns whether the module of this ``__name__`` is started as a command: ``python -m``, or ``seqadd-NAME``."""
    return module in ("__main__", os.path.basename(sys.argv[0]).removesuffix(".exe").replace("-", "."))


def show(text: str) -> None:
    """Shows a text in place of the line's last one; does nothing unless both output streams are terminals."""
    global _shown
    if not _is_terminal():
        return
    with suppress(OSError, ValueError):
        width = os.get_terminal_size(sys.__stdout__.fileno()).columns  # type: ignore[union-attr]
        _write(f"\r\x1b[2K{text[: width - 1]}")
        _shown = True


def clear() -> None:
    """Removes the line, if there is one."""
    global _shown
    if _shown:
        _shown = False
        with suppress(OSError, ValueError):
            _write("\r\x1b[2K")


def _is_terminal() -> bool:
    streams = (sys.__stdout__, sys.__stderr__)
    if os.name == "nt" and "WT_SESSION" not in os.environ:  # an older terminal of Windows shows the escape sequences
        return False
    with suppress(OSError, ValueError):  # a stream is closed
        return os.environ.get("TERM") != "dumb" and all(each is not None and each.isatty() for each in streams)
    return False


def _write(text: str) -> None:
    assert sys.__stdout__ is not None
    sys.__stdout__.write(text)
    sys.__stdout__.flush()
