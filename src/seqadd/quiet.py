"""Keeps what TensorFlow says while it is imported off the terminal. Imports nothing of it itself."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def quiet_import_of_tensorflow() -> Iterator[None]:
    """Keeps what TensorFlow says of drivers and processors off the terminal; shown after all if the import fails."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with tempfile.TemporaryFile() as said:
        # Its first lines come before it reads that variable, and from C++, so the file descriptor itself is turned.
        stderr = os.dup(2)
        os.dup2(said.fileno(), 2)
        try:
            yield
        except Exception:
            said.seek(0)
            os.write(stderr, said.read())
            raise
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)
