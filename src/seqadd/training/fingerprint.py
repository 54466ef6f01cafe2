"""What the numbers of a training follow from: its fingerprint, and the digest of the code that decides numbers.

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
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path

from seqadd.config.schema import Config
from seqadd.system import numeric_flags
from seqadd.system.files import resource_dir
from seqadd.system.hardware import gpu_names, instructions, processor_name

#: Columns of the file of equal codes: of each pair, how many conditions were compared, and on which machine.
COLUMNS = ("code", "same_as", "conditions", "machine")

#: The folder of this package.
PACKAGE = Path(__file__).resolve().parents[1]

#: These modules decide a run's numbers, together with its configuration. Another commit that leaves alone what they
#: compute changes nothing.
MODULES = (
    "data/addition",
    "data/curriculum",
    "data/vocabulary",
    "models/architectures",
    "models/decoders",
    "models/encoder_decoder",
    "models/recurrent",
    "training/dataset",
    "training/loop",
    "training/metrics",
    "training/schedule",
    "training/state",
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
_SOURCES = tuple((PACKAGE / f"{name}.py").read_text(encoding="utf-8") for name in MODULES)


@functools.cache
def code_digest() -> str:
    """The digest of the code that runs."""
    return digest_of(_SOURCES)


def file() -> Path:
    """The file of equal codes."""
    return resource_dir("experiments") / "same_numbers.csv"


def equivalent_codes(code: str | None = None, path: Path | None = None) -> frozenset[str]:
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


#: What a key of a fingerprint is where it is left out.
NOTHING = "none"


def fingerprint_of(config: Config, data_digest: str) -> dict[str, str]:
    """What the numbers of a training follow from, to the bit: of two with the same, the shorter begins the longer.

    What is as it always was before there was a key for it is left out, so that earlier checkpoints stay good.
    """
    where_there_are = {
        "instructions": instructions(),
        "gpu": ", ".join(gpu_names()),
        "flags": numeric_flags.flags(),
    }
    return {
        "configuration": config.trajectory_hash(),
        "data": data_digest,
        "code": code_digest(),
        **{package: version(package) for package in ("tensorflow", "keras", "numpy")},
        "processor": processor_name(),
        "compiler": "XLA" if config.jit else "none",
        **{key: value for key, value in where_there_are.items() if value},
    }
