"""A sum as a person writes it -> its two numbers, or why it is none; and back again. Knows nothing of models."""

from __future__ import annotations

import re

_SUM = re.compile(r"\s*([0-9]+)\s*\+\s*([0-9]+)\s*")


def read_question(text: str, digits: int) -> tuple[int, int]:
    """The two addends of a sum: ``"535+61"`` and ``" 535 + 61"`` are 535 and 61, ``"007+5"`` is 7 and 5.

    Args:
        text: what was written.
        digits: how many the longer addend may have.

    Raises:
        ValueError: in one line, for what is no sum of two numbers, or has too many digits.
    """
    found = _SUM.fullmatch(text)
    if found is None:
        strange = sorted(set(text) - set("0123456789+ "))
        why = f"{strange[0]!r} is no character of a sum" if strange else "is no sum of two numbers"
        raise ValueError(f"question={text}: {why}; write it as 535+61")
    for number in found.groups():
        n = len(number.lstrip("0"))
        if n > digits:
            raise ValueError(f"question={text}: {number} has {n} digits, the sums of this task at most {digits}")
    return int(found[1]), int(found[2])


def as_people_write(question: str, reverse: bool) -> str:
    """A question of ``addition.write_question`` as people write it: ``"  543+21"``, reversed, is ``12+345``."""
    return (question[::-1] if reverse else question).strip()
