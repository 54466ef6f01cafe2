"""Writes docs/messages.md: every text in the source that a person may read, a line each, to be read in one sitting.

A text is a string of at least two words. Left out are docstrings, what is compared or searched for, and expressions of
other languages (SQL, HTML, regular expressions). ``{name}`` is a value.
"""

from __future__ import annotations

import ast
import functools
import re
import sys
from collections.abc import Iterator
from pathlib import Path

SOURCE = Path(__file__).resolve().parents[1] / "src"
PAGE = SOURCE.parent / "docs" / "messages.md"
#: The most characters of a line, values not counted.
LONGEST = 200

_HEADER = """# Messages

<!-- Made by: python scripts/messages.py -->

Every text that seqadd may show, by module: errors, status lines, help, headings, captions. `{name}` is a value.
"""
# Functions whose arguments are searched for, and keyword arguments that are names.
_SEARCHES = {"startswith", "endswith", "partition", "rpartition", "split", "replace", "search", "match", "sub"}
_NAMES = {"loc", "prog", "format"}
_OTHER_LANGUAGE = re.compile(
    r"^\s*<|^(SELECT|UPDATE|PRAGMA|INSERT|ALTER|DELETE|ATTACH|CREATE|EXPLAIN) |^(tags|attributes|params)\."
    r"|\(\?|\\\w|^import |sys\.path|^function |^tensorflow\.|%\(\w+\)s|:\s*[^;{]+;$"
)


@functools.cache
def texts(path: Path) -> set[str]:
    """The lines of text in a module that a person may read."""
    lines = [line for text in _strings(ast.parse(path.read_text(encoding="utf-8"))) for line in text.split("\n")]
    plain = {" ".join(line.replace("`", "'").split()) for line in lines}
    return {line for line in plain if " " in line and len(re.findall(r"[^\W\d_]{2,}", line)) > 1}


def too_long(path: Path) -> list[str]:
    """The texts of a module that have too many characters beside their values."""
    return sorted(text for text in texts(path) if len(re.sub(r"\{[^}]*\}", "", text)) > LONGEST)


def modules() -> list[Path]:
    """All modules of the source."""
    return sorted(SOURCE.rglob("*.py"))


def page() -> str:
    """The whole page."""
    sections = [_HEADER]
    for path in modules():
        lines = sorted(texts(path), key=lambda text: (text.lower(), text))
        if lines:
            name = ".".join(path.relative_to(SOURCE).with_suffix("").parts)
            sections.append(f"## {name}\n\n" + "".join(f"- `{line}`\n" for line in lines))
    return "\n".join(sections)


def _strings(tree: ast.AST) -> Iterator[str]:
    """Yields the strings of a module that are shown: f-strings whole, with the strings of their expressions apart."""
    nodes = [tree]
    while nodes:
        node = nodes.pop()
        if not _is_shown(node):
            continue
        if isinstance(node, ast.JoinedStr) or (isinstance(node, ast.Constant) and isinstance(node.value, str)):
            text = _written(node)
            if not _OTHER_LANGUAGE.search(text):
                yield text
        children = ast.iter_child_nodes(node)
        is_whole = isinstance(node, ast.JoinedStr)
        nodes += [child for child in children if not (is_whole and isinstance(child, ast.Constant))]


def _is_shown(node: ast.AST) -> bool:
    if isinstance(node, ast.Expr):
        return not isinstance(node.value, ast.Constant)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        of = node.func.value
        return node.func.attr not in _SEARCHES and not (isinstance(of, ast.Name) and of.id == "re")
    if isinstance(node, ast.keyword):
        return node.arg not in _NAMES
    return not isinstance(node, ast.Compare)


def _written(node: ast.expr) -> str:
    """The text of a string, with a name for each of its values."""
    if isinstance(node, ast.JoinedStr):
        return "".join(map(_written, node.values))
    if isinstance(node, ast.Constant):
        return str(node.value)
    assert isinstance(node, ast.FormattedValue)
    return _written(node.value) if isinstance(node.value, ast.Constant) else f"{{{_name(node.value)}}}"


def _name(value: ast.expr) -> str:
    """A readable name for the value of an expression: its last identifier, or that of its first argument."""
    if isinstance(value, ast.Name | ast.Attribute):
        return (value.id if isinstance(value, ast.Name) else value.attr).strip("_")
    if isinstance(value, ast.Call):
        number = "number of " if isinstance(value.func, ast.Name) and value.func.id == "len" else ""
        known = value.args and not isinstance(value.args[0], ast.Constant)
        return number + _name(value.args[0] if known else value.func)
    inner = next((child for child in ast.iter_child_nodes(value) if isinstance(child, ast.expr)), None)
    return "value" if inner is None else _name(inner)


def main() -> int:
    PAGE.write_text(page(), encoding="utf-8", newline="\n")
    long = [text for path in modules() for text in too_long(path)]
    print("".join(f"longer than {LONGEST} characters: {text}\n" for text in long), end="")
    return 1 if long else 0


if __name__ == "__main__":
    sys.exit(main())
