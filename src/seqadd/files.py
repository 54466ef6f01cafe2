"""Files that are there whole or not at all, whatever happens while they are written."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

# Bytes of a file's name that are kept while it is written.
_LONGEST_END = 200


class CannotWrite(OSError):
    """A file that cannot be written, told in one line that names it; what was there before is as it was."""


@contextmanager
def replacing(path: Path, *, keep: Path | None = None) -> Iterator[Path]:
    """A path to write to, beside ``path``; when the ``with`` ends well, what is there takes its place.

    Args:
        path: where the file shall be. Whoever reads it meets the old one or the new one, never a part of one.
        keep: where the old one goes, if it shall be kept.

    Raises:
        CannotWrite: naming ``path``; then what was there before is as it was.
    """
    # Two may write at the same time; and what is written may depend on how the name ends. A name has 255 bytes at most.
    end = os.fsencode(path.name)[-_LONGEST_END:].decode(errors="ignore")
    unfinished = path.with_name(f"unfinished.{secrets.token_hex(4)}.{end}")
    try:
        yield unfinished
        _flush(unfinished)
        if keep is not None and path.exists():
            os.replace(path, keep)
        os.replace(unfinished, path)
        _flush(path.parent)
    except OSError as error:
        raise CannotWrite(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        with suppress(OSError):
            unfinished.unlink(missing_ok=True)


def write_whole(path: Path, content: str | bytes) -> None:
    """Writes a file that is there whole or not at all.

    Raises:
        CannotWrite: naming ``path``; then what was there before is as it was.
    """
    with replacing(path) as unfinished:
        unfinished.write_bytes(content.encode() if isinstance(content, str) else content)


def _flush(path: Path) -> None:
    """To the disk itself: a machine that loses its power must not find the name of a file without its content."""
    file = os.open(path, os.O_RDONLY)
    try:
        os.fsync(file)
    finally:
        os.close(file)
