"""The terminal: prints lines, and tolerates a closed pipe."""

from __future__ import annotations

from typing import Any

from rich.console import Console

from seqadd.system.streams import discard_stdout


class SafeConsole(Console):
    """rich's console, but the program continues when the reader of its output has closed the pipe.

    In a notebook it prints text: rich's own way there makes every line an output of its own, in HTML.
    """

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings, force_jupyter=False)

    def on_broken_pipe(self) -> None:
        self.quiet = True
        discard_stdout()


def print_line(text: str) -> None:
    """Prints a line; output to a closed pipe is discarded."""
    SafeConsole(highlight=False, soft_wrap=True).print(text, markup=False)
