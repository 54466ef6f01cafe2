"""Copies of own parts' files, from which jobs load them: a file that is edited later changes nothing that runs."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from seqadd.config.declarations import part_files, source_of
from seqadd.config.messages import one_line
from seqadd.config.parts import Part
from seqadd.config.schema import Config, Tracking
from seqadd.errors import ConfigError
from seqadd.system.files import write_file
from seqadd.tracking.database import sqlite_path
from seqadd.tracking.run_directory import PARTS


def unfinished_folder(tracking: Tracking) -> Path:
    """Returns the folder of the run directories: ``unfinished`` beside the database, or here, if it is not set."""
    if tracking.unfinished is not None:
        return Path(tracking.unfinished).absolute()
    database = sqlite_path(tracking.uri)
    return (Path.cwd() if database is None else database.parent) / "unfinished"


def copy_parts(config: Config) -> Config:
    """Copies the files of own parts to ``unfinished/parts/CODE``, and returns the configuration that names the copies.

    Raises:
        ConfigError: when the copies cannot be written.
    """
    within = unfinished_folder(config.tracking) / PARTS
    return dataclasses.replace(config, parts={kind: _copied(part, within) for kind, part in config.parts.items()})


def _copied(part: Part, within: Path) -> Part:
    if part.built_in:
        return part
    folder = within / part.code
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for path in part_files(Path(part.path)):
            if not (folder / path.name).exists():
                write_file(folder / path.name, source_of(path))
    except OSError as error:
        raise ConfigError(f"{part.where}: its copy {folder} cannot be written: {one_line(error)}") from error
    return dataclasses.replace(part, path=str(folder / Path(part.path).name))


def sources(config: Config) -> dict[str, str]:
    """Returns the texts of own parts' files as artifacts of a run, by name: ``parts/mgu.py``."""
    own = [part for part in config.parts.values() if not part.built_in]
    return {f"{PARTS}/{path.name}": source_of(path) for part in own for path in part_files(Path(part.path))}
