"""The sources of a part: its file, and the modules beside it that it imports. Each is read once, and never run here."""

from __future__ import annotations

import ast
import importlib.util
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from seqadd.errors import ConfigError
from seqadd.system.source_digest import digest_of


def read_sources(path: Path) -> dict[str, bytes]:
    """Returns the contents of a part's file and of the modules beside it that it imports, also indirectly.

    Args:
        path: of the file.

    Returns:
        The contents by the files' names, the part's own file first, the others in the order of their names.

    Raises:
        ConfigError: for a file that is not there, or is not Python, and for an import of a package beside it, or by the
            name of the package that the file belongs to: only modules beside it are copied with it.
    """
    path = path.resolve()
    found = {path.name: _read(path)}
    waiting = [path.name]
    while waiting:
        name = waiting.pop()
        for node, module in _imports(parse(path.parent / name, found[name])):
            if _is_of_a_package(path.parent, node, module):
                raise ConfigError(
                    f"{name}:{node.lineno}: imports {module or '.'} of a package; a part can import installed packages "
                    "and, by their own names, modules beside it"
                )
            beside = f"{module}.py"
            if module not in sys.stdlib_module_names and beside not in found and (path.parent / beside).is_file():
                found[beside] = _read(path.parent / beside)
                waiting.append(beside)
    return {path.name: found.pop(path.name), **dict(sorted(found.items()))}


def source_code(sources: Mapping[str, bytes]) -> str:
    """The digest of a part's sources, 16 hex digits; comments, docstrings and layout do not change it."""
    return digest_of(map(importlib.util.decode_source, sources.values()), of_package=False)


def parse(path: Path, content: bytes) -> ast.Module:
    """Returns the syntax tree of a Python file.

    Raises:
        ConfigError: for a file that is not Python.
    """
    try:
        return ast.parse(importlib.util.decode_source(content))
    except SyntaxError as error:
        raise ConfigError(f"{path.name}:{error.lineno or 1}: is not Python: {error.msg}") from error
    except ValueError as error:  # null bytes, or bytes that are not of the encoding
        raise ConfigError(f"{path}: is not Python: {error}") from error


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise ConfigError(f"{path}: there is no such file") from error
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error


def _imports(tree: ast.Module) -> Iterator[tuple[ast.Import | ast.ImportFrom, str]]:
    """The imports of a file, each with the first name of a module; empty for a relative import."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node, alias.name.partition(".")[0]) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node, "" if node.level else (node.module or "").partition(".")[0]


def _is_of_a_package(folder: Path, node: ast.Import | ast.ImportFrom, module: str) -> bool:
    """Whether an import needs a package beside the file, or the one that the file belongs to."""
    if isinstance(node, ast.ImportFrom) and node.level:
        return True
    own = module == folder.name and (folder / "__init__.py").is_file()
    return own or (folder / module / "__init__.py").is_file()
