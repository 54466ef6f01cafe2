"""Loads own parts: runs a part's file, once in each process, and returns the class or function that it registers.

Only processes that train or look inside call this. It imports no Keras itself. What runs is the very text whose digest
was compared: not a compiled file beside it, nor a module of the same name elsewhere.
"""

from __future__ import annotations

import importlib
import re
import sys
import traceback
from collections.abc import Mapping
from dataclasses import replace
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

from seqadd.config.messages import one_line
from seqadd.config.part_sources import read_sources, source_code
from seqadd.config.parts import Part
from seqadd.errors import ConfigError
from seqadd.system.part_registry import REGISTERED

_MOST_CHARACTERS = 200

#: What the files that ran in this process have registered, by path and digest of the source.
_loaded: dict[tuple[str, str], dict[tuple[str, str], Any]] = {}


def load_part(part: Part) -> Any:
    """Returns the class or function that a part's file registers.

    Raises:
        ConfigError: in one line that names file and line, if the file cannot be run, or is not the one that was
            declared.
    """
    if (part.path, part.code) not in _loaded:
        sources = read_sources(Path(part.path))
        if not part.built_in and source_code(sources) != part.code:
            raise ConfigError(f"{part.where}: {part.path} has changed since the run was started; start it again")
        _loaded[part.path, part.code] = _run(Path(part.path), sources)
    found = _loaded[part.path, part.code].get((part.kind, part.name))
    if found is None:
        raise ConfigError(f"{part.where}: the file registers no such part when it runs")
    return found


def error_in(part: Part, error: Exception) -> ConfigError:
    """Returns the error of a part's code in one line: ``mgu.py:31: cell=mgu: NameError: name 'x' is not defined``.

    It names the last line of the part's file that ran.
    """
    text = re.sub(r"Exception encountered when calling \S+[.:;]+ ", "", one_line(error))
    lines = [at.lineno for at in traceback.extract_tb(error.__traceback__) if at.filename == part.path]
    where = replace(part, line=lines[-1] or part.line).where if lines else part.where
    return ConfigError(f"{where}: {type(error).__name__}: {text[:_MOST_CHARACTERS]}")


class _Sources(MetaPathFinder, Loader):
    """Imports modules from texts that were read before."""

    def __init__(self, folder: Path, sources: Mapping[str, bytes]) -> None:
        main, *others = sources
        # The part's own file may have the name of a library: it gets one that no import has.
        files = {f"seqadd_part_{Path(main).stem}": main, **{Path(name).stem: name for name in others}}
        self.texts = {name: (str(folder / file), sources[file]) for name, file in files.items()}

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        return ModuleSpec(fullname, self) if fullname in self.texts else None

    def exec_module(self, module: ModuleType) -> None:
        module.__file__, content = self.texts[module.__name__]
        exec(compile(content, module.__file__, "exec"), module.__dict__)


def _run(path: Path, sources: Mapping[str, bytes]) -> dict[tuple[str, str], Any]:
    """Runs a file and the modules beside it, as modules; returns what they register."""
    finder = _Sources(path.parent, sources)
    for name in finder.texts:
        there = sys.modules.pop(name, None)
        # A module of another part, or of this one before it was edited, is replaced; a library is not.
        if there is not None and not isinstance(getattr(there.__spec__, "loader", None), _Sources):
            sys.modules[name] = there
            raise ConfigError(f"{path.name}:1: imports {name}.py, but a library is called {name} too; rename the file")
    REGISTERED.clear()
    sys.meta_path.insert(0, finder)
    try:
        for name in finder.texts:  # also those that functions import later, when the finder is gone
            importlib.import_module(name)
        return dict(REGISTERED)
    except Exception as error:
        lines = [at for at in traceback.extract_tb(error.__traceback__) if Path(at.filename).parent == path.parent]
        where = f"{Path(lines[-1].filename).name}:{lines[-1].lineno}" if lines else f"{path.name}:1"
        raise ConfigError(f"{where}: {type(error).__name__}: {one_line(error)[:_MOST_CHARACTERS]}") from error
    finally:
        sys.meta_path.remove(finder)
