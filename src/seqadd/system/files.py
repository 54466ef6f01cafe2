"""Files that are there whole or not at all, whatever happens while they are written."""

from __future__ import annotations

import os
import secrets
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from seqadd.errors import CannotWrite
from seqadd.system.signals import on_forced_exit


def resource_dir(name: str) -> Path:
    """The folder ``conf`` or ``experiments``: of the clone where this is one, else of the installed package."""
    package = Path(__file__).resolve().parents[1]
    inside = package / name
    return inside if inside.is_dir() else package.parents[1] / name


# Bytes of a file's name that are kept while it is written.
_LONGEST_END = 200


@contextmanager
def atomic_write(path: Path, *, keep: Path | None = None) -> Iterator[Path]:
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


def write_file(path: Path, content: str | bytes) -> None:
    """Writes a file that is there whole or not at all.

    Raises:
        CannotWrite: naming ``path``; then what was there before is as it was.
    """
    with atomic_write(path) as unfinished:
        unfinished.write_bytes(content.encode() if isinstance(content, str) else content)


def _flush(path: Path) -> None:
    """To the disk itself: a machine that loses its power must not find the name of a file without its content."""
    file = os.open(path, os.O_RDONLY)
    try:
        os.fsync(file)
    finally:
        os.close(file)


@contextmanager
def temporary_folder() -> Iterator[None]:
    """Removes what libraries leave in temporary folders for exit handlers to remove, as TensorFlow does six files.

    Processes that are stopped, and jobs of a sweep, run no such handlers.
    """
    before = tempfile.tempdir
    try:
        folder = tempfile.TemporaryDirectory(prefix="seqadd-", ignore_cleanup_errors=True)
    except OSError:  # there is no room for one, which matters only to who needs it
        yield
        return
    with folder as tempfile.tempdir, on_forced_exit(folder.cleanup), _matplotlib_can_write(Path(folder.name)):
        try:
            yield
        finally:
            tempfile.tempdir = before


@contextmanager
def _matplotlib_can_write(folder: Path) -> Iterator[None]:
    """Inside the ``with``, matplotlib keeps its list of fonts in ``folder`` where it can write to no home.

    It would log a warning, and make a folder of its own for an exit handler to remove.
    """
    places = (("XDG_CONFIG_HOME", "~/.config"), ("XDG_CACHE_HOME", "~/.cache"))
    asked_for = [Path(os.environ.get(name) or os.path.expanduser(default)) for name, default in places]
    if "MPLCONFIGDIR" in os.environ or all(_can_be_made(place / "matplotlib") for place in asked_for):
        yield
        return
    os.environ["MPLCONFIGDIR"] = str(folder)
    try:
        yield
    finally:
        del os.environ["MPLCONFIGDIR"]


def _can_be_made(folder: Path) -> bool:
    """Whether a folder is there and can be written to, or can be made."""
    there = next((each for each in (folder, *folder.parents) if each.exists()), Path())
    return there.is_dir() and os.access(there, os.W_OK)
