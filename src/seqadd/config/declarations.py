"""Reads the parts that a file declares from its syntax tree, without running it.

What the decorators of ``seqadd`` are called in the file follows from its imports; their arguments, and the defaults of
keys, must be literals.
"""

from __future__ import annotations

import ast
import contextlib
import dataclasses
import inspect
import keyword
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from seqadd.config.part_sources import parse, read_sources, source_code
from seqadd.config.parts import Part, PartKey
from seqadd.errors import ConfigError
from seqadd.system import part_registry

_DECORATORS = {kind: inspect.signature(getattr(part_registry, kind)) for kind in part_registry.KINDS}
_TYPES: dict[str, Any] = {"int": int, "float": float, "bool": bool, "str": str}
_WRITTEN = "int, float, bool, str, Literal[...], each also with | None or in Annotated[..., seqadd.within(low, high)]"
#: The most characters of a task: with the blank, an alphabet has at most 64.
_MOST_CHARACTERS = 63


def read_parts(path: Path, *, built_in: bool = False) -> list[Part]:
    """Returns the parts that a file declares.

    Args:
        path: of the file.
        built_in: whether the file belongs to the package; then ``code`` is empty.

    Raises:
        ConfigError: for a file that is not there or is not Python, that declares nothing, or what cannot be declared.
    """
    path = path.resolve()
    sources = read_sources(path)
    tree = parse(path, sources[path.name])
    file = _File(path, tree, _Names(tree))
    found = []
    for node in ast.walk(tree):
        for kind, decorator in file.names.decorators(node):
            if node not in tree.body:
                raise file.error(node, f"@{kind}: must be at the top level of the file, not inside of something else")
            found.append(_Declaration(file, kind, node, decorator).part())
    if not found:
        file.names.check_decorators(file)
        raise ConfigError(
            f"{path}: declares nothing; write @seqadd.cell, @seqadd.architecture or @seqadd.task above what it declares"
        )
    code = "" if built_in else source_code(sources)
    return [dataclasses.replace(part, code=code) for part in sorted(found, key=lambda part: part.line)]


class _Names:
    """What the names of a file mean: ``seqadd`` itself, its decorators, and ``within``."""

    def __init__(self, tree: ast.Module) -> None:
        self._modules: set[str] = set()
        self._members: dict[str, str] = {}
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                self._modules |= {alias.asname or alias.name for alias in node.names if alias.name == "seqadd"}
            elif isinstance(node, ast.ImportFrom) and node.module == "seqadd":
                self._members |= {alias.asname or alias.name: alias.name for alias in node.names}

    def meaning(self, node: ast.expr) -> str | None:
        """The name in ``seqadd`` that an expression stands for."""
        if isinstance(node, ast.Name):
            return self._members.get(node.id)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in self._modules:
            return node.attr
        return None

    def check_decorators(self, file: _File) -> None:
        """Raises ConfigError for a decorator that ``seqadd`` does not have, as ``@seqadd.cel``."""
        for node in ast.walk(file.tree):
            for decorator in getattr(node, "decorator_list", ()):
                name = self.meaning(decorator.func if isinstance(decorator, ast.Call) else decorator)
                if name is not None and name not in _DECORATORS:
                    hint = "".join(f"; did you mean {near}?" for near in get_close_matches(name, _DECORATORS, 1))
                    raise file.error(decorator, f"@seqadd.{name}: no such decorator{hint}")

    def decorators(self, node: ast.AST) -> Iterator[tuple[str, ast.expr]]:
        """The decorators of a class or function that declare it as a part, each with its kind."""
        for decorator in getattr(node, "decorator_list", ()):
            kind = self.meaning(decorator.func if isinstance(decorator, ast.Call) else decorator)
            if kind in _DECORATORS:
                yield kind, decorator


@dataclass(frozen=True)
class _File:
    path: Path
    tree: ast.Module
    names: _Names

    def error(self, node: ast.AST, text: str, name: str = "") -> ConfigError:
        """The error about a node: file, line, part, what is wrong."""
        about = f"{name}: " if name else ""
        return ConfigError(f"{self.path.name}:{getattr(node, 'lineno', 1)}: {about}{text}")


@dataclass(frozen=True)
class _Declaration:
    """One decorated class or function."""

    file: _File
    kind: str
    node: Any
    decorator: ast.expr

    def part(self) -> Part:
        settings = self._settings()
        name = settings.pop("name")
        self._check_name(name)
        keys = self._of_class(name) if self.kind != "architecture" else self._of_function(name, settings)
        return Part(self.kind, name, str(self.file.path), self.node.lineno, "", settings, tuple(keys))

    def _settings(self) -> dict[str, Any]:
        """The decorator's arguments by name, defaults included."""
        if not isinstance(self.decorator, ast.Call):
            raise self._error(f'@{self.kind}: needs a name; write @seqadd.{self.kind}("NAME")')
        literals = []
        for argument in (*self.decorator.args, *(each.value for each in self.decorator.keywords)):
            try:
                literals.append(ast.literal_eval(argument))
            except ValueError as error:
                text = ast.unparse(argument)
                raise self._error(f"@{self.kind}: {text}: must be a literal, because the file is not run") from error
        n = len(self.decorator.args)
        names = [str(each.arg) for each in self.decorator.keywords]
        try:
            bound = _DECORATORS[self.kind].bind(*literals[:n], **dict(zip(names, literals[n:], strict=True)))
        except TypeError as error:
            needs = ', characters="0123456789"' if self.kind == "task" else ""
            raise self._error(f'@{self.kind}: {error}; write @seqadd.{self.kind}("NAME"{needs})') from error
        bound.apply_defaults()
        settings = dict(bound.arguments)
        self._check_settings(settings)
        return settings

    def _check_settings(self, settings: dict[str, Any]) -> None:
        kinds: dict[str, tuple[type, ...]] = {"cell": (str, type(None)), "reads_answer": (bool,)}
        for name, value in settings.items():
            if not isinstance(value, kinds.get(name, (str,))):
                wanted = {"cell": "text or None", "reads_answer": "True or False"}.get(name, "text")
                raise self._error(f"@{self.kind}: {name}={value!r}: must be {wanted}")
        if self.kind == "task":
            self._check_characters(settings["characters"], f"task={settings['name']}")

    def _check_characters(self, characters: str, name: str) -> None:
        doubled = sorted({each for each in characters if characters.count(each) > 1})
        problem = None
        if not characters:
            problem = "is empty; name the characters of questions and answers"
        elif " " in characters:
            problem = "contains the blank, which the program adds; leave it out"
        elif doubled:
            problem = f"contains {doubled[0]!r} more than once; name each character once"
        elif len(characters) > _MOST_CHARACTERS:
            problem = f"has {len(characters)} characters; must be at most {_MOST_CHARACTERS}"
        elif not characters.isprintable():
            problem = "contains a character that cannot be printed; use printable ones"
        if problem:
            raise self._error(f"characters={characters!r}: {problem}", name)

    def _check_name(self, name: str) -> None:
        if name.lower() in _WORDS_OF_HYDRA or keyword.iskeyword(name):
            raise self._error(f"@{self.kind}: {name!r}: has a meaning in Hydra or Python; choose another name")
        if not (name.isidentifier() and name.isascii()) or name.startswith("_"):
            raise self._error(f"@{self.kind}: {name!r}: must consist of letters, digits and _, and begin with a letter")

    def _of_class(self, name: str) -> list[PartKey]:
        """The keys of a cell: parameters of its constructor; those of a task: its fields."""
        if not isinstance(self.node, ast.ClassDef):
            raise self._error("must be a class", f"{self.kind}={name}")
        if self.kind == "task":
            return [self._field(each) for each in self.node.body if self._is_field(each)]
        methods = [each for each in self.node.body if isinstance(each, ast.FunctionDef) and each.name == "__init__"]
        if not methods:
            return []
        arguments = methods[0].args
        era = "recurrent_activation"  # the program gives it to the cell
        given = [each.arg for each in (*arguments.posonlyargs, *arguments.args)][1:]
        given += [each.arg for each in arguments.kwonlyargs if each.arg == era]
        self._check_no_keys_before_the_star(arguments, [*given[:1], era], f"cell={name}")
        if not given and arguments.vararg is None:
            raise self._error("its constructor must have units as its first parameter", f"cell={name}")
        return [key for key in self._keyword_only(arguments) if key.name != era]

    def _of_function(self, name: str, settings: dict[str, Any]) -> list[PartKey]:
        """The keys of an architecture."""
        if not isinstance(self.node, ast.FunctionDef):
            raise self._error("must be a function", f"architecture={name}")
        arguments = self.node.args
        given = [each.arg for each in (*arguments.posonlyargs, *arguments.args)]
        wanted = ["question", "previous" if settings["reads_answer"] else "answer_length"]
        wanted += ["cell"] if settings["cell"] is not None else []
        self._check_no_keys_before_the_star(arguments, wanted, f"architecture={name}")
        least = len(given) - len(arguments.defaults)
        if least > len(wanted) or (len(given) < len(wanted) and arguments.vararg is None):
            why = f"cell={settings['cell']!r}, reads_answer={settings['reads_answer']}"
            other = "cell=None" if settings["cell"] is not None else 'cell="lstm"'
            raise self._error(
                f"has the parameters ({', '.join(given)}); with {why} it must have ({', '.join(wanted)}), its keys "
                f"after a *; or write @seqadd.architecture(..., {other})",
                f"architecture={name}",
            )
        swapped = {"previous", "answer_length"}.difference(wanted).intersection(given)
        if swapped:
            reads = settings["reads_answer"]
            raise self._error(
                f"has the parameter {swapped.pop()}, but reads_answer={reads}; it must have ({', '.join(wanted)})",
                f"architecture={name}",
            )
        return list(self._keyword_only(arguments))

    def _check_no_keys_before_the_star(self, arguments: ast.arguments, wanted: Sequence[str], name: str) -> None:
        """Raises ConfigError for a parameter with type and default that stands before the ``*``: it would be no key.

        Not for the ``wanted`` ones, which the program gives.
        """
        with_default = (
            [*arguments.posonlyargs, *arguments.args][-len(arguments.defaults) :] if arguments.defaults else []
        )
        for argument in with_default:
            if argument.annotation is not None and argument.arg not in wanted:
                text = f"{argument.arg}: {ast.unparse(argument.annotation)}"
                raise self.file.error(argument, f"{text}: is no key before the *; write (..., *, {text} = ...)", name)

    def _is_field(self, node: ast.stmt) -> bool:
        return isinstance(node, ast.AnnAssign) and "ClassVar" not in ast.unparse(node.annotation)

    def _field(self, node: Any) -> PartKey:
        return self._key(node, ast.unparse(node.target), node.annotation, node.value)

    def _keyword_only(self, arguments: ast.arguments) -> Iterator[PartKey]:
        for argument, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True):
            if argument.arg != "recurrent_activation":
                yield self._key(argument, argument.arg, argument.annotation, default)

    def _key(self, node: ast.AST, name: str, annotation: ast.expr | None, default: ast.expr | None) -> PartKey:
        """Reads one key: its type, its range or choices, and its default."""
        if not name.isidentifier() or name.startswith("_"):
            raise self.file.error(node, f"{name}: must be a name of letters, digits and _")
        if annotation is None:
            value = None if default is None else _literal(default)
            example = f"{type(value).__name__} = {value!r}" if type(value).__name__ in _TYPES else "float = 0.1"
            raise self.file.error(node, f"{name}: is a key, so it needs a type: {name}: {example}")
        if default is None:
            raise self.file.error(node, f"{name}: is a key, so it needs a default: {name}: float = 0.1")
        limits = _Limits()
        self._read_type(node, name, annotation, limits)
        try:
            value = ast.literal_eval(default)
        except ValueError as error:
            text = ast.unparse(default)
            raise self.file.error(node, f"{name}={text}: must be a literal, because the file is not run") from error
        if limits.kind == "float" and type(value) is int:
            value = float(value)
        key = PartKey(name, limits.written, value, limits.low, limits.high, limits.choices)
        problem = _problem_of_default(key, limits)
        if problem is not None:
            raise self.file.error(node, f"{name}={value!r}: {problem}")
        return key

    def _read_type(self, node: ast.AST, name: str, annotation: ast.expr, limits: _Limits) -> None:
        """Reads an annotation into ``limits``; raises ConfigError for other types than a key may have."""
        if isinstance(annotation, ast.Constant) and isinstance(annotation.value, str):
            with contextlib.suppress(SyntaxError):  # the text is no type, then
                annotation = ast.parse(annotation.value, mode="eval").body
        if isinstance(annotation, ast.Name) and annotation.id in _TYPES:
            limits.kind = annotation.id
        elif isinstance(annotation, ast.Subscript):
            self._read_subscript(node, name, annotation, limits)
        elif isinstance(annotation, ast.BinOp) and isinstance(annotation.op, ast.BitOr):
            self._read_union(node, name, [annotation.left, annotation.right], limits)
        else:
            raise self.file.error(node, f"{name}: {ast.unparse(annotation)}: no type of a key; write {_WRITTEN}")

    def _read_subscript(self, node: ast.AST, name: str, annotation: ast.Subscript, limits: _Limits) -> None:
        outer = ast.unparse(annotation.value).rpartition(".")[2]
        inner = annotation.slice.elts if isinstance(annotation.slice, ast.Tuple) else [annotation.slice]
        if outer == "Optional" and len(inner) == 1:
            limits.null = True
            self._read_type(node, name, inner[0], limits)
        elif outer == "Union":
            self._read_union(node, name, inner, limits)
        elif outer == "Literal" and all(isinstance(_literal(each), str) for each in inner):
            limits.kind, limits.choices = "str", tuple(str(_literal(each)) for each in inner)
        elif outer == "Annotated" and len(inner) > 1:
            self._read_type(node, name, inner[0], limits)
            for extra in inner[1:]:
                self._read_range(node, name, extra, limits)
        else:
            raise self.file.error(node, f"{name}: {ast.unparse(annotation)}: no type of a key; write {_WRITTEN}")

    def _read_union(self, node: ast.AST, name: str, members: Sequence[ast.expr], limits: _Limits) -> None:
        others = [each for each in members if not (isinstance(each, ast.Constant) and each.value is None)]
        if len(others) != 1 or len(members) != 2:
            written = " | ".join(map(ast.unparse, members))
            raise self.file.error(node, f"{name}: {written}: no type of a key; write {_WRITTEN}")
        limits.null = True
        self._read_type(node, name, others[0], limits)

    def _read_range(self, node: ast.AST, name: str, extra: ast.expr, limits: _Limits) -> None:
        ends = [_literal(each) for each in extra.args] if isinstance(extra, ast.Call) else []
        ends += [_literal(each.value) for each in extra.keywords] if isinstance(extra, ast.Call) else []
        of_seqadd = isinstance(extra, ast.Call) and self.file.names.meaning(extra.func) == "within"
        numbers = [each for each in ends if isinstance(each, (int, float)) and not isinstance(each, bool)]
        if not of_seqadd or len(numbers) != 2 or len(ends) != 2 or limits.kind not in ("int", "float"):
            raise self.file.error(
                node, f"{name}: {ast.unparse(extra)}: must be seqadd.within(LOW, HIGH), with numbers, for a number"
            )
        limits.low, limits.high = numbers
        if not limits.low <= limits.high:
            raise self.file.error(node, f"{name}: {ast.unparse(extra)}: the first number must not exceed the second")

    def _error(self, text: str, name: str = "") -> ConfigError:
        return self.file.error(self.node, text, name)


# What Hydra reads as a value in ``cell=NAME``, not as a text.
_WORDS_OF_HYDRA = ("true", "false", "null", "inf", "nan", "none")


@dataclass
class _Limits:
    """The type of a key while it is read."""

    kind: str = "str"
    null: bool = False
    low: float | None = None
    high: float | None = None
    choices: tuple[str, ...] | None = None

    @property
    def written(self) -> str:
        return f"{self.kind} | None" if self.null else self.kind


def _literal(node: ast.expr) -> Any:
    try:
        return ast.literal_eval(node)
    except ValueError:
        return None


def _problem_of_default(key: PartKey, limits: _Limits) -> str | None:
    """Says what is wrong with a default: its type, its range, or that it is none of the choices."""
    value: Any = key.default
    if value is None:
        return None if limits.null else f"is not of the type {key.kind}; write {key.kind} | None"
    if type(value) is not _TYPES[limits.kind]:
        return f"is not of the type {key.kind}"
    if isinstance(value, float) and not math.isfinite(value):
        return "must be finite"
    if key.choices is not None and value not in key.choices:
        return f"must be one of {', '.join(key.choices)}"
    if limits.low is not None and limits.high is not None and not limits.low <= value <= limits.high:
        return f"must be in {key.low}..{key.high}"
    return None
