"""The function ``show``, by which own parts let ``inspect`` see values inside them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Shown:
    """A value that ``show`` was called with.

    Attributes:
        name: as the part names it.
        value: a tensor, or a symbol while an architecture is built.
    """

    name: str
    value: Any


_collected: list[Shown] | None = None


def show(name: str, value: T) -> T:
    """Returns ``value``, and lets ``inspect`` show it.

    Args:
        name: of the value; names that end in ``_gate`` have the limits 0 and 1. A cell's values are shown by step.
        value: a tensor whose first axis is the batch. Of an architecture, shape ``(batch, heads, to, from)`` is shown
            as attention, head by head.

    Example:
        >>> show("forget_gate", 0.5)
        0.5
    """
    if _collected is not None:
        _collected.append(Shown(name, value))
    return value


@contextmanager
def collect() -> Iterator[list[Shown]]:
    """A context manager that returns the list of all values shown inside the ``with``."""
    global _collected
    before, _collected = _collected, []
    try:
        yield _collected
    finally:
        _collected = before
