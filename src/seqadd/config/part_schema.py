"""Declares parts to this process and to Hydra: choices of the config groups, with keys of their own.

The schema that checks ``conf/config.yaml`` gets a node for each part that has keys, which is null unless the part is
chosen: ``mgu.leak`` exists where ``cell=mgu``.
"""

from __future__ import annotations

import dataclasses
import hashlib
import typing
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING

from seqadd.config.declarations import read_parts
from seqadd.config.parts import Part, declared, set_code_words, set_declared
from seqadd.config.schema import BUILT_IN, Config, own_fields
from seqadd.errors import ConfigError
from seqadd.system.files import resource_dir
from seqadd.system.part_registry import KINDS

_PACKAGE = Path(__file__).resolve().parents[1]
#: The parts of the package that come in through the same door as own parts.
_BUILT_IN_FILES = ("data/multiplication.py",)
#: Values of the keys of a task that have no other default.
_N_QUESTIONS, _HELD_OUT = 50_000, 0.1
_TYPES = {"int": int, "float": float, "bool": bool, "str": str}


def declare(files: Iterable[str | Path], typed: Iterable[str] = ()) -> list[Part]:
    """Makes the parts of these files, and no others, available beside those of the package.

    Args:
        files: paths of Python files.
        typed: the files as a command line names them, for the commands that a message suggests.

    Returns:
        The parts of the files.

    Raises:
        ConfigError: for a file that declares no parts, and for a part whose name is taken; nothing is changed then.
    """
    paths = list(dict.fromkeys(Path(file).resolve() for file in files))
    parts = [part for path in paths for part in read_parts(path)]
    ours = _parts_of_the_package()
    taken = _taken_names() | {part.name: "a built-in part" for part in ours}
    for part in parts:
        if part.name in taken:
            raise ConfigError(f"{part.where}: {part.name} is {taken[part.name]} already; choose another name")
        taken[part.name] = f"declared in {part.path.rpartition('/')[2]}:{part.line}"
    set_code_words(typed)
    if [*declared().values()] != [*ours, *parts]:
        _register(ours + parts)
    return parts


def register_schema() -> None:
    """Registers with Hydra the schema that checks ``conf/config.yaml``, and the parts that are declared."""
    _register(list(declared().values()) or _parts_of_the_package())


def _parts_of_the_package() -> list[Part]:
    paths = [_PACKAGE / name for name in _BUILT_IN_FILES]
    return [part for path in paths if path.is_file() for part in read_parts(path, built_in=True)]


def _taken_names() -> dict[str, str]:
    """The names that no part may have, each with what it names: keys, groups and their choices."""
    groups = {path.stem: "a built-in choice" for kind in KINDS for path in (resource_dir("conf") / kind).glob("*.yaml")}
    names = {name: "a built-in choice" for names in BUILT_IN.values() for name in names}
    keys = {field.name: "a key of the configuration" for field in own_fields()}
    return {**groups, **names, **keys, "addition": "the built-in task", "hydra": "Hydra", "schema": "the schema"}


def _register(parts: list[Part]) -> None:
    store = ConfigStore.instance()
    for part in declared().values():
        store.repo.get(part.kind, {}).pop(f"{part.name}.yaml", None)
    set_declared(parts)
    store.store(name="schema", node=_schema(parts))
    for part in parts:
        store.store(group=part.kind, name=part.name, node=_choice(part), package="_global_")


def _schema(parts: list[Part]) -> type:
    """The keys of ``Config`` and of the parts as a dataclass, which Hydra's plugins know by the name of ``Config``."""
    types = typing.get_type_hints(Config)
    keys: list[Any] = [
        (field.name, types[field.name], _default(field)) for field in own_fields() if field.name != "part_code"
    ]
    keys += [(part.name, _node(part) | None, None) for part in parts if part.keys]
    made = dataclasses.make_dataclass("Config", keys)
    made.__module__, made.__qualname__ = Config.__module__, Config.__qualname__
    return made


def _default(field: dataclasses.Field[Any]) -> Any:
    if field.default_factory is not dataclasses.MISSING:
        return dataclasses.field(default_factory=field.default_factory)
    return MISSING


def _node(part: Part) -> type:
    keys: list[Any] = []
    for key in part.keys:
        plain = _TYPES[key.kind.partition(" ")[0]]
        keys.append((key.name, plain | None if " " in key.kind else plain, MISSING))
    return dataclasses.make_dataclass(part.name, keys)


def _choice(part: Part) -> dict[str, Any]:
    """The file that Hydra reads for a choice, as those in ``conf/``."""
    own = {part.name: default_values(part)} if part.keys else {}
    if part.kind == "task":
        addition_only = dict.fromkeys(("digits", "equal_lengths", "longest"))
        task = {"name": part.name, **addition_only, "n_questions": _N_QUESTIONS, "held_out": _HELD_OUT}
        return {"task": task, **own}
    if part.kind == "architecture":
        forcing = "always" if part.settings["reads_answer"] else None
        unused = dict.fromkeys(("encoder_units", "decoder_units", "peek", "score"))
        return {"architecture": part.name, **unused, "teacher_forcing": forcing, **own}
    return {"cell": part.name, **own}


def default_values(part: Part) -> dict[str, Any]:
    """The defaults of a part's keys, by their names."""
    return {key.name: key.default for key in part.keys}


def chosen_parts(cell: str | None, architecture: str, task: str | None) -> list[Part]:
    """The parts among these choices that are declared; the others are built in."""
    found = (declared().get(choice) for choice in zip(KINDS, (cell or "", architecture, task or ""), strict=True))
    return [part for part in found if part is not None]


def with_values(part: Part, node: Any) -> Part:
    """The part with the values of its keys, from the node of a composed configuration; the defaults if it is null."""
    return dataclasses.replace(part, values=default_values(part) if node is None else dataclasses.asdict(node))


def part_code(parts: Iterable[Part]) -> str | None:
    """The value of the key ``part_code``: 16 hex digits for the source of own parts; None without any."""
    codes = sorted(f"{part.choice} {part.code}" for part in parts if not part.built_in)
    return hashlib.sha256("\n".join(codes).encode()).hexdigest()[:16] if codes else None
