"""Own parts: cells, architectures and tasks that a user's files declare.

The declarations are read from the files' syntax trees. Nothing is imported, so ``--help``, a refusal, a table or a
login node need no Keras.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any


@dataclass(frozen=True)
class PartKey:
    """A key of a part: ``leak: Annotated[float, within(0, 1)] = 0.1``.

    Attributes:
        name: without the part's name.
        kind: its type: ``int``, ``float``, ``bool`` or ``str``; ``int | None`` if null is allowed.
        default: its default value.
        low, high: its range, ends included; None for no limit.
        choices: its values, if they are listed.
    """

    name: str
    kind: str
    default: Any
    low: float | None = None
    high: float | None = None
    choices: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Measured:
    """The size of a model with own parts, as its check counted it; ``config.cost`` estimates memory and time from it.

    Attributes:
        parameters: trainable weights.
        activations: numbers that the forward pass computes for one question.
        largest: the most of them that one operation computes.
        multiplications: of the forward pass for one question.
    """

    parameters: int
    activations: int
    largest: int
    multiplications: float


@dataclass(frozen=True)
class Part:
    """An own part, as its file declares it.

    Attributes:
        kind: ``cell``, ``architecture`` or ``task``.
        name: the value of the key ``cell``, ``architecture`` or ``task.name`` that chooses it.
        path: absolute path of its file; of a file's copy in the jobs of a sweep.
        line: of the decorated class or function in the file, from 1.
        code: digest of its source and of the modules beside it that it imports, 16 hex digits; empty for a part of the
            package.
        settings: the decorator's settings: ``cell`` and ``reads_answer``, or ``characters`` and ``curve``.
        keys: its keys.
        values: the values of its keys in a configuration, by their names without the part's; empty in a declaration.
        measured: what its check measured; None before.
    """

    kind: str
    name: str
    path: str
    line: int
    code: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    keys: tuple[PartKey, ...] = ()
    values: Mapping[str, Any] = field(default_factory=dict)
    measured: Measured | None = None

    @property
    def where(self) -> str:
        """The beginning of a message about it: ``mgu.py:25: cell=mgu``."""
        return f"{self.path.rpartition('/')[2]}:{self.line}: {self.choice}"

    @property
    def choice(self) -> str:
        """The override that chooses it: ``cell=mgu``."""
        return f"{self.kind}={self.name}"

    @property
    def key_names(self) -> list[str]:
        """The names of its keys without its own."""
        return [key.name for key in self.keys]

    @property
    def built_in(self) -> bool:
        """Whether it belongs to the package, which declares it like an own part."""
        return not self.code


_DECLARED: dict[tuple[str, str], Part] = {}
_MEASURED: dict[str, Measured] = {}


def declared() -> Mapping[tuple[str, str], Part]:
    """The parts that this process knows, by kind and name: those of the package, and of the files that a user names."""
    return MappingProxyType(_DECLARED)


def set_declared(parts: Iterable[Part]) -> None:
    """Replaces the parts that this process knows; ``config.part_schema.declare`` checks them and tells Hydra."""
    _DECLARED.clear()
    _DECLARED.update({(part.kind, part.name): part for part in parts})


_CODE_WORDS: list[str] = []


def code_words() -> list[str]:
    """The words by which another command names the same files: ``["--code", "mgu.py"]``."""
    return list(_CODE_WORDS)


def set_code_words(files: Iterable[str]) -> None:
    """Sets the files of ``code_words``, as they were typed."""
    _CODE_WORDS[:] = [word for file in files for word in ("--code", file)]


def remember_prepared(model_hash: str, parts: Iterable[Part]) -> None:
    """Remembers the parts of a configuration that were copied, and checked or not, for those composed later.

    Args:
        model_hash: of the configuration.
        parts: with the paths of the copies, and what the check of this model measured.
    """
    for part in parts:
        declaration = _DECLARED[part.kind, part.name]
        _DECLARED[part.kind, part.name] = replace(declaration, path=part.path)
        if part.measured is not None:
            _MEASURED[model_hash] = part.measured


def measured(model_hash: str) -> Measured | None:
    """What the check of a model measured in this process; None before."""
    return _MEASURED.get(model_hash)
