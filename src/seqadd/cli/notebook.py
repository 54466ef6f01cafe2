"""The output of a notebook's cell: lines, and below them bars that are drawn again in place."""

from __future__ import annotations

import sys
import time
from typing import Any, cast

from rich.console import Console, RenderableType

#: Characters in a line.
WIDTH = 100
# Bars are drawn again at most so often: each time the browser gets all of the text.
_SECONDS = 0.3


def in_notebook() -> bool:
    """Whether this process is a notebook's kernel."""
    ipython: Any = sys.modules.get("IPython")
    return ipython is not None and hasattr(ipython.get_ipython(), "kernel")


class CellOutput:
    """One output of the cell that is running, which needs no widgets: text that later text replaces.

    rich's own bars need ipywidgets in a notebook, and plain lines would fill it.
    """

    def __init__(self) -> None:
        from IPython.display import display

        self._lines: list[str] = []
        self._bars = ""
        self._drawn = 0.0
        self._handle = cast(Any, display)(self._bundle(), raw=True, display_id=True)

    def print(self, line: str) -> None:
        """Appends a line."""
        self._lines.append(line)
        self._show()

    def draw(self, bars: RenderableType | None) -> None:
        """Replaces the bars below the lines; None removes them."""
        now = time.monotonic()
        if bars is not None and now - self._drawn < _SECONDS:
            return
        self._drawn, self._bars = now, ""
        if bars is not None:
            console = Console(width=WIDTH, color_system=None, force_terminal=False, force_jupyter=False)
            with console.capture() as drawn:
                console.print(bars)
            self._bars = drawn.get()
        self._show()

    def _bundle(self) -> dict[str, str]:
        return {"text/plain": "\n".join([*self._lines, *self._bars.splitlines()])}

    def _show(self) -> None:
        self._handle.update(self._bundle(), raw=True)
