"""The digest of Python source that computes: comments, docstrings, layout and imports from seqadd do not change it."""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterable


def what_computes(source: str, *, of_package: bool = True) -> str:
    """The code of a Python module that computes, as text that is the same under Python 3.11, 3.12 and 3.13.

    The text lists the nodes of the syntax tree with their fields. It omits empty fields, fields that differ between
    Python versions, unused strings such as docstrings, and imports from seqadd under their own names. An import under
    another name is kept, because a later commit could bind that name to something else.

    Args:
        source: the text of the module.
        of_package: whether the module is seqadd's own; else its imports from seqadd are kept too.

    Example:
        >>> what_computes("x = 1  # one") == what_computes('"What it is."\\nfrom seqadd import files\\nx = (1)')
        True
        >>> what_computes("x = 1") == what_computes("x = 1.0")
        False
    """

    def counts(node: ast.AST) -> bool:
        if isinstance(node, ast.Expr):
            return not (isinstance(node.value, ast.Constant) and isinstance(node.value.value, str))
        if not of_package:
            return True
        if isinstance(node, ast.ImportFrom):
            ours = node.level > 0 or (node.module or "").partition(".")[0] == "seqadd"
            return not ours or any(name.asname for name in node.names)
        if isinstance(node, ast.Import):
            return any(name.asname or name.name.partition(".")[0] != "seqadd" for name in node.names)
        return True

    def text(value: object) -> str:
        if isinstance(value, ast.AST):
            fields = [(name, each) for name, each in ast.iter_fields(value) if name not in ("kind", "type_comment")]
            written = [f"{name}={text(each)}" for name, each in fields if each not in (None, [])]
            return f"{type(value).__name__}({' '.join(written)})"
        if isinstance(value, list):
            return f"[{' '.join(text(each) for each in value if not isinstance(each, ast.AST) or counts(each))}]"
        return repr(value)

    return text(ast.parse(source))


def digest_of(sources: Iterable[str], *, of_package: bool = True) -> str:
    """16 hex digits, equal for sequences of modules that compute the same; ``of_package`` as for ``what_computes``."""
    texts = (what_computes(source, of_package=of_package) for source in sources)
    return hashlib.sha256("\n".join(texts).encode()).hexdigest()[:16]
