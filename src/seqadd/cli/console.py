"""The terminal: lines above the progress bars."""

from __future__ import annotations

from rich.console import Console

from seqadd.system.streams import discard_stdout


class SafeConsole(Console):
    """rich's console, which lets the program go on when nobody reads what it prints any more."""

    def on_broken_pipe(self) -> None:
        self.quiet = True
        discard_stdout()


def print_line(text: str) -> None:
    """Says something to the person at the terminal, if there still is one."""
    SafeConsole(highlight=False, soft_wrap=True).print(text, markup=False)
