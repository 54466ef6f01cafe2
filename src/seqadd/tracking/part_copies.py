"""Copies of own parts' files, from which jobs load them: a file that is edited later changes nothing that runs."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from seqadd.config.messages import one_line
from seqadd.config.part_sources import read_sources, source_code
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
    sources = read_sources(Path(part.path))
    if source_code(sources) != part.code:
        raise ConfigError(f"{part.where}: {part.path} was edited while the command started; start it again")
    folder = within / part.code
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in sources.items():
            if not (folder / name).is_file() or (folder / name).read_bytes() != content:
                write_file(folder / name, content)
    except OSError as error:
        raise ConfigError(f"{part.where}: its copy {folder} cannot be written: {one_line(error)}") from error
    return dataclasses.replace(part, path=str(folder / Path(part.path).name))


def sources(config: Config) -> dict[str, bytes]:
    """Returns the contents of own parts' files as artifacts of a run, by name: ``parts/CODE/mgu.py``."""
    own = [part for part in config.parts.values() if not part.built_in]
    return {
        f"{PARTS}/{part.code}/{name}": content
        for part in own
        for name, content in read_sources(Path(part.path)).items()
    }
