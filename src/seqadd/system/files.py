"""Atomic file writes, temporary folders, and the folders of the package's resources."""

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
    """The folder ``conf``, ``experiments`` or ``trained``: in the installed package, else at the top of the clone."""
    package = Path(__file__).resolve().parents[1]
    inside = package / name
    return inside if inside.is_dir() else package.parents[1] / name


# Length in bytes of the part of a file's name that its temporary name keeps.
_LONGEST_END = 200


@contextmanager
def atomic_write(path: Path, *, keep: Path | None = None) -> Iterator[Path]:
    """A context manager that gives a temporary path beside ``path``, and renames it to ``path`` on success.

    Args:
        path: the file to write. A reader sees the old file or the new file, never a part of one.
        keep: where the old file is moved; None to overwrite it.

    Raises:
        CannotWrite: naming ``path``; an existing file is then unchanged.
    """
    # The random part separates concurrent writers; the end is kept because a library may choose the format by the
    # file's extension. A name has at most 255 bytes.
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
    """Writes a file atomically.

    Raises:
        CannotWrite: naming ``path``; an existing file is then unchanged.
    """
    with atomic_write(path) as unfinished:
        unfinished.write_bytes(content.encode() if isinstance(content, str) else content)


def _flush(path: Path) -> None:
    """Flushes a file or folder to disk, so that a power failure cannot leave a file's name without its content."""
    is_folder = path.is_dir()
    try:
        file = os.open(path, os.O_RDONLY if is_folder else os.O_RDWR)  # Windows flushes only what may be written
    except PermissionError:
        if is_folder:  # Windows opens no folder, and no system one that this user may not list
            return
        raise
    try:
        os.fsync(file)
    finally:
        os.close(file)


@contextmanager
def temporary_folder() -> Iterator[None]:
    """A context manager that gives libraries a temporary folder of this process, and removes it at the end.

    Libraries leave files for their exit handlers to remove; TensorFlow leaves six. Processes that are stopped, and jobs
    of a sweep, run no exit handlers.
    """
    before = tempfile.tempdir
    try:
        folder = tempfile.TemporaryDirectory(prefix="seqadd-", ignore_cleanup_errors=True)
    except OSError:  # no temporary folder can be made: code that needs one fails by itself
        yield
        return
    with folder as tempfile.tempdir, on_forced_exit(folder.cleanup), _matplotlib_can_write(Path(folder.name)):
        try:
            yield
        finally:
            tempfile.tempdir = before


@contextmanager
def _matplotlib_can_write(folder: Path) -> Iterator[None]:
    """Inside the ``with``, matplotlib keeps its font cache in ``folder`` if it cannot write to its default folders.

    Otherwise matplotlib would log a warning, and make a folder of its own for an exit handler to remove.
    """
    folders = (("XDG_CONFIG_HOME", "~/.config"), ("XDG_CACHE_HOME", "~/.cache"))
    asked_for = [Path(os.environ.get(name) or os.path.expanduser(default)) for name, default in folders]
    if "MPLCONFIGDIR" in os.environ or all(_can_be_made(folder / "matplotlib") for folder in asked_for):
        yield
        return
    os.environ["MPLCONFIGDIR"] = str(folder)
    try:
        yield
    finally:
        del os.environ["MPLCONFIGDIR"]


def _can_be_made(folder: Path) -> bool:
    """Whether a folder exists and is writable, or can be created."""
    there = next((each for each in (folder, *folder.parents) if each.exists()), Path())
    return there.is_dir() and os.access(there, os.W_OK)
