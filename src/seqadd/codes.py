"""The code that runs: its commit, the digest of what decides numbers, and which other code gives the same numbers.

The digest is taken of what computes, so that a comment, a docstring, another layout or another import from seqadd
leaves it as it is. ``scripts/same_numbers.py`` trains the code of another commit and the code that is here on one
machine, and where all numbers are equal it says so in ``same_numbers.csv``; runs of either code then count as runs of
the other.
"""

from __future__ import annotations

import ast
import csv
import functools
import hashlib
import os
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path

from seqadd.system.files import resource_dir

#: Columns of the file of equal codes: of each pair, how many conditions were compared, and on which machine.
COLUMNS = ("code", "same_as", "conditions", "machine")

#: These modules decide a run's numbers, together with its configuration. Another commit that leaves alone what they
#: compute changes nothing.
MODULES = (
    "addition",
    "alphabet",
    "attention",
    "curricula",
    "encoder_decoder",
    "layers",
    "metrics",
    "models",
    "readout",
    "training",
)


def what_computes(source: str) -> str:
    """What of a Python module computes, as text that is the same under Python 3.11, 3.12 and 3.13.

    The nodes of its syntax tree with their fields, without what is empty or differs from one Python to the next;
    without strings that nothing uses, such as docstrings, and without imports from seqadd under their own names. An
    import under another name counts: the name could mean something else tomorrow.

    Example:
        >>> what_computes("x = 1  # one") == what_computes('"What it is."\\nfrom seqadd import files\\nx = (1)')
        True
        >>> what_computes("x = 1") == what_computes("x = 1.0")
        False
    """

    def counts(node: ast.AST) -> bool:
        if isinstance(node, ast.Expr):
            return not (isinstance(node.value, ast.Constant) and isinstance(node.value.value, str))
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


def digest_of(sources: Iterable[str]) -> str:
    """16 hex digits that modules share which compute the same, in the same order."""
    return hashlib.sha256("\n".join(map(what_computes, sources)).encode()).hexdigest()[:16]


# As they are when this module is imported: a file that is edited later is not what runs.
_SOURCES = tuple(Path(__file__).with_name(f"{name}.py").read_text(encoding="utf-8") for name in MODULES)


@functools.cache
def code_digest() -> str:
    """The digest of the code that runs."""
    return digest_of(_SOURCES)


# What names another repository than the one around a folder, as a hook of git's does for the commands that it starts.
_OF_ANOTHER_REPOSITORY = {"GIT_DIR", "GIT_WORK_TREE", "GIT_COMMON_DIR", "GIT_INDEX_FILE"}


@functools.cache
def code_version() -> tuple[str, str]:
    """Commit of the code that runs, and whether it differs from it ("true", "false"); "unknown" outside a clone."""
    here = Path(__file__).resolve()
    clone = here.parents[2]
    environment = {name: value for name, value in os.environ.items() if name not in _OF_ANOTHER_REPOSITORY}

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(clone), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, env=environment)
        done.check_returncode()
        return done.stdout.strip()

    try:
        # An installed package may lie inside somebody else's repository, also just where a clone has it.
        top, commit = git("rev-parse", "--show-toplevel", "HEAD").splitlines()
        if Path(top).resolve() != clone:
            return "unknown", "unknown"
        git("ls-files", "--error-unmatch", f":/src/seqadd/{here.name}")
        # Results that are written while others are being trained do not make another code of it.
        changed = git("status", "--porcelain", "--", ":/src", ":/conf", ":/pyproject.toml")
        return commit, str(bool(changed)).lower()
    except (OSError, ValueError, subprocess.SubprocessError):
        return "unknown", "unknown"


def origin(tags: Mapping[str, str]) -> str:
    """Which code made a record, in words: its commit, or version and digest where none is known.

    Example:
        >>> origin({"git_commit": "4265967abcdef0123", "git_dirty": "true"})
        '4265967abcde with changes'
        >>> origin({"git_commit": "unknown", "seqadd": "0.1.0", "code": "0123456789abcdef"})
        'unknown (seqadd 0.1.0, code 0123456789abcdef)'
    """
    commit = tags.get("git_commit", "unknown")
    if commit != "unknown":
        return commit[:12] + (" with changes" if tags.get("git_dirty") == "true" else "")
    known = [f"{name} {tags[name]}" for name in ("seqadd", "code") if name in tags]
    return f"unknown ({', '.join(known)})" if known else "unknown"


def file() -> Path:
    """The file of equal codes."""
    return resource_dir("experiments") / "same_numbers.csv"


def same_numbers(code: str | None = None, path: Path | None = None) -> frozenset[str]:
    """All codes that give the same numbers as one of them, itself included.

    Args:
        code: None for the one that is here.
        path: of the file of equal codes.
    """
    try:
        with (path or file()).open(encoding="utf-8", newline="") as lines:
            pairs = [{line["code"], line["same_as"]} for line in csv.DictReader(lines)]
    except FileNotFoundError:
        pairs = []
    found = {code or code_digest()}
    while True:
        more = {other for pair in pairs if pair & found for other in pair} - found
        if not more:
            return frozenset(found)
        found |= more
