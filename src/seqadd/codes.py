"""Which code gives the same numbers as the code that is here, though its text is another. Trains nothing.

A change to a module that decides numbers makes other code of it (``checkpoints.CODE``), also one that changes none of
them: a cell more, a better name. ``scripts/same_numbers.py`` holds such code against the results that are there, and
writes what came out into ``same_numbers.csv``; runs of either code then count as runs of the other.
"""

from __future__ import annotations

import csv
from pathlib import Path

from seqadd.checkpoints import CODE
from seqadd.config import packaged

#: Of the file, which has a line for each pair of codes, and how many conditions were compared.
COLUMNS = ("code", "same_as", "conditions")


def file() -> Path:
    """The file of all pairs."""
    return packaged("experiments") / "same_numbers.csv"


def same_numbers(code: str = CODE, path: Path | None = None) -> frozenset[str]:
    """All codes that give the same numbers as one of them, itself included.

    Args:
        code: by default the one that is here.
        path: of the file of all pairs.
    """
    try:
        with (path or file()).open(encoding="utf-8", newline="") as lines:
            pairs = [{line["code"], line["same_as"]} for line in csv.DictReader(lines)]
    except FileNotFoundError:
        pairs = []
    found = {code}
    while True:
        more = {other for pair in pairs if pair & found for other in pair} - found
        if not more:
            return frozenset(found)
        found |= more
