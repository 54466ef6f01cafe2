"""The fingerprint of a training: all that its numbers depend on, the digest of the code included.

The digest covers only code that computes: comments, docstrings, layout and imports from seqadd do not change it.
``scripts/same_numbers.py`` trains this code and the code of another commit on one machine. If all numbers are equal, it
records the pair in ``same_numbers.csv``, and runs of either code count as runs of the other.
"""

from __future__ import annotations

import csv
import functools
from importlib.metadata import version
from pathlib import Path

from seqadd.config.schema import Config
from seqadd.system import numeric_flags
from seqadd.system.files import resource_dir
from seqadd.system.hardware import gpu_names, instructions, processor_name
from seqadd.system.source_digest import digest_of

#: Columns of the file of equal codes: the pair, how many conditions were compared, and on which machine.
COLUMNS = ("code", "same_as", "conditions", "machine")

#: The folder of this package.
PACKAGE = Path(__file__).resolve().parents[1]

#: The modules that decide a run's numbers, together with its configuration. A commit that does not change what they
#: compute does not change a run's numbers.
MODULES = (
    "data/addition",
    "data/curriculum",
    "data/drawing",
    "data/multiplication",
    "data/notation",
    "data/text_task",
    "data/vocabulary",
    "models/architectures",
    "models/cells",
    "models/decoders",
    "models/encoder_decoder",
    "models/own_architecture",
    "models/own_cell",
    "models/recurrent",
    "models/self_reading",
    "training/dataset",
    "training/loop",
    "training/metrics",
    "training/schedule",
    "training/state",
)


# Read when this module is imported: a file that is edited later is not the code that runs.
_SOURCES = tuple((PACKAGE / f"{name}.py").read_text(encoding="utf-8") for name in MODULES)


@functools.cache
def code_digest() -> str:
    """The digest of the code that runs."""
    return digest_of(_SOURCES)


def file() -> Path:
    """The file of equal codes."""
    return resource_dir("experiments") / "same_numbers.csv"


def equivalent_codes(code: str | None = None, path: Path | None = None) -> frozenset[str]:
    """The digests of all codes that give the same numbers as ``code``, itself included.

    Args:
        code: digest of a code; None for the code that runs.
        path: the file of equal codes; None for the project's own.
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


#: The key of a fingerprint, and a run's tag, for what a model with own parts computes; see ``training.computes``.
COMPUTES = "computes"

#: The value of a key that a fingerprint leaves out.
NOTHING = "none"


def fingerprint_of(config: Config, data_digest: str) -> dict[str, str]:
    """All that a training's numbers depend on. Of two trainings with equal fingerprints the shorter is, to the bit, the
    beginning of the longer.

    Keys that were added later are left out when they are empty, so that earlier checkpoints stay valid.
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
