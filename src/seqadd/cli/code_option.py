"""The option ``--code FILE`` of all commands: it names files with parts of the user's own.

Only who types a command names code: the option, the environment variable ``SEQADD_CODE`` and installed packages do, a
configuration, a store or a claim does not. The files are read, not run.
"""

from __future__ import annotations

import argparse
import importlib.machinery
import io
import os
import re
import sys
from collections.abc import Sequence
from contextlib import redirect_stderr, suppress
from importlib.metadata import entry_points
from pathlib import Path

from seqadd.config.declarations import read_parts
from seqadd.config.part_schema import declare
from seqadd.errors import ConfigError
from seqadd.system.streams import print_error

OPTION = "--code"
#: The environment variable with files or modules, separated as in PATH.
VARIABLE = "SEQADD_CODE"
#: The entry points of installed packages: ``cell.mgu = "package.module"``.
ENTRY_POINTS = "seqadd.parts"
#: The environment variable in which a shell hands over the line that it completes.
_LINE = "COMP_LINE"
_IN_LINE = re.compile(rf"\s{OPTION}(?:=|\s+)('[^']*'|\"[^\"]*\"|\S+)(?=\s)")


def take_code(arguments: Sequence[str]) -> list[str]:
    """Declares the parts that a command line names, and returns its other arguments.

    Args:
        arguments: of the command, without the program's name.

    Raises:
        ConfigError: for a file or module that is not there, or that declares no parts.
    """
    typed: list[str] = []
    others: list[str] = []
    waiting = iter(arguments)
    for word in waiting:
        option, equals, value = word.partition("=")
        if option != OPTION:
            others.append(word)
            continue
        value = value if equals else next(waiting, "")
        if not value:
            raise ConfigError(f"{OPTION}: needs a file or a module's name, for example {OPTION} mgu.py")
        typed.append(value)
    always = [each for each in os.environ.get(VARIABLE, "").split(os.pathsep) if each]
    files = [file_of(each) for each in typed] + [file_of(each, f"{VARIABLE}=") for each in always]
    names = {part.name for file in files for part in read_parts(file)}
    declare([*files, *_installed_files(names)], typed)
    return others


def completes(arguments: Sequence[str]) -> bool:
    """Whether a command line is a shell's question for completions: ``-sc query=bash``."""
    return not {"-sc", "--shell-completion"}.isdisjoint(arguments) and bool(os.environ.get(_LINE))


def take_code_of_line() -> bool:
    """Declares the parts that the line names that a shell completes, and takes them from it: Hydra does not know them.

    A file that declares nothing is left out without a message, which would stand in the middle of that line.

    Returns:
        Whether Hydra can complete the rest: not an option, nor a file, which the shell completes itself.
    """
    line = os.environ[_LINE]
    typed = [os.path.expanduser(name.strip("'\"")) for name in _IN_LINE.findall(line)]
    os.environ[_LINE] = line = _IN_LINE.sub("", line)
    with redirect_stderr(io.StringIO()), suppress(ConfigError):
        take_code([f"{OPTION}={name}" for name in typed])
    *before, last = [*line.split(), *([""] if line[-1:].isspace() else [])]
    return not last.startswith("-") and before[-1:] != [OPTION]


def add_code_option(parser: argparse.ArgumentParser) -> None:
    """Adds ``--code`` to the help of a command; ``take_code`` has taken it from the arguments before."""
    parser.add_argument(
        OPTION,
        action="append",
        metavar="FILE",
        help="a Python file, or a module's name, with cells, architectures or tasks of your own; may be repeated "
        f"(default: ${VARIABLE})",
    )


def file_of(name: str, option: str = OPTION) -> Path:
    """The file that a path or a module's name stands for; no module is imported."""
    if name.endswith(".py") or any(each and each in name for each in (os.sep, os.altsep)):
        return Path(name)
    found = _module_file(name)
    if found is None:
        separator = "" if option.endswith("=") else " "
        raise ConfigError(f"{option}{separator}{name}: no such module; a file's name ends in .py")
    return found


def _module_file(name: str) -> Path | None:
    """The source of a module, by the finders that an import asks; ``importlib.util.find_spec`` imports its parents."""
    path: Sequence[str] | None = None
    spec: importlib.machinery.ModuleSpec | None = None
    parts = name.split(".")
    for n in range(1, len(parts) + 1):
        found = (finder.find_spec(".".join(parts[:n]), path) for finder in sys.meta_path)
        spec = next((each for each in found if each is not None), None)
        if spec is None or (n < len(parts) and spec.submodule_search_locations is None):
            return None
        path = spec.submodule_search_locations
    origin = spec.origin if spec is not None and spec.has_location else None
    return Path(origin) if origin is not None and origin.endswith(".py") else None


def _installed_files(taken: set[str]) -> list[Path]:
    """The files of installed parts. One that cannot be used is named and left out: it is not the command's fault.

    Args:
        taken: names that parts of the command line have.
    """
    found: list[Path] = []
    for point in entry_points(group=ENTRY_POINTS):
        file = _module_file(point.module)
        try:
            names = [f"{part.kind}.{part.name}" for part in read_parts(file)] if file is not None else []
            if point.name not in names:
                raise ConfigError(f"module {point.module} declares no {point.name}")
            if file not in found and (doubled := taken & {name.partition(".")[2] for name in names}):
                raise ConfigError(f"another part is called {min(doubled)} too")
        except ConfigError as error:
            print_error(f"seqadd: installed part {point.name}: not available: {error}")
        else:
            assert file is not None
            found.append(file)
            taken |= {name.partition(".")[2] for name in names}
    return found
