"""The terminal: prints lines, and tolerates a closed pipe."""

from __future__ import annotations

from rich.console import Console

from seqadd.system.streams import discard_stdout


class SafeConsole(Console):
    """rich's console, but the program continues when the reader of its output has closed the pipe."""

    def on_broken_pipe(self) -> None:
        self.quiet = True
        discard_stdout()


def print_line(text: str) -> None:
    """Prints a line; output to a closed pipe is discarded."""
    SafeConsole(highlight=False, soft_wrap=True).print(text, markup=False)
