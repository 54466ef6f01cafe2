"""Loads own parts: runs a part's file, once in each process, and returns the class or function that it registers.

Only processes that train or look inside call this. It imports no Keras itself.
"""

from __future__ import annotations

import functools
import importlib.util
import re
import sys
import traceback
from pathlib import Path
from typing import Any

from seqadd.config.declarations import source_code
from seqadd.config.messages import one_line
from seqadd.config.parts import Part
from seqadd.errors import ConfigError
from seqadd.system.part_registry import REGISTERED

_MOST_CHARACTERS = 200


def load_part(part: Part) -> Any:
    """Returns the class or function that a part's file registers.

    Raises:
        ConfigError: in one line that names file and line, if the file cannot be run.
    """
    if not part.built_in and source_code(Path(part.path)) != part.code:
        raise ConfigError(f"{part.where}: {part.path} has changed since the run was started; start it again")
    found = _run(part.path).get((part.kind, part.name))
    if found is None:
        raise ConfigError(f"{part.where}: the file registers no such part when it runs")
    return found


def error_in(part: Part, error: Exception) -> ConfigError:
    """Returns the error of a part's code in one line: ``mgu.py:25: cell=mgu: NameError: name 'x' is not defined``."""
    text = re.sub(r"Exception encountered when calling \S+[.:;]+ ", "", one_line(error))
    return ConfigError(f"{part.where}: {type(error).__name__}: {text[:_MOST_CHARACTERS]}")


@functools.cache
def _run(path: str) -> dict[tuple[str, str], Any]:
    """Runs a file once, as a module, and returns what it registers; it can import the modules beside it."""
    name = f"seqadd_part_{Path(path).stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    folder = str(Path(path).parent)
    sys.path.insert(0, folder)
    REGISTERED.clear()  # another file may have registered parts of the same names
    try:
        spec.loader.exec_module(module)
        return dict(REGISTERED)
    except Exception as error:
        line = next((at.lineno for at in reversed(traceback.extract_tb(error.__traceback__)) if at.filename == path), 1)
        raise ConfigError(
            f"{Path(path).name}:{line}: {type(error).__name__}: {one_line(error)[:_MOST_CHARACTERS]}"
        ) from error
    finally:
        sys.path.remove(folder)
