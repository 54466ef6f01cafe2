"""Lists the commands: ``python -m seqadd``, or ``seqadd``."""

from __future__ import annotations

import sys

from seqadd import __version__
from seqadd.cli.entry import command
from seqadd.errors import ConfigError

#: The commands, each with what it does.
COMMANDS = {
    "run": "trains a run, or with -m a sweep or a search",
    "table": "compares runs with the published numbers",
    "inspect": "shows layers, gates and errors of a trained model",
    "answer": "asks a trained model to add",
    "reproduce": "trains and judges the claims of the article",
    "parts": "checks own cells, architectures and tasks",
}


def main() -> None:
    """Command line of ``python -m seqadd``; any argument is refused, because each command is a module of its own."""
    words = sys.argv[1:]
    with command(prints=True):
        if words == ["--version"]:
            print(f"seqadd {__version__}")
        elif words in ([], ["-h"], ["--help"]):
            print("\n".join(_lines()))
        else:
            right = f"write python -m seqadd.{words[0]}" if words[0] in COMMANDS else "no such command"
            raise ConfigError(f"{words[0]}: {right}; python -m seqadd lists all")


def _lines() -> list[str]:
    width = max(map(len, COMMANDS))
    return [
        "Trains models that add numbers written as characters, and looks into them.",
        "",
        *(f"  python -m seqadd.{name:<{width}}  {text}" for name, text in COMMANDS.items()),
        f"  {'mlflow ui':<{width + len('python -m seqadd.')}}  shows all runs in a browser",
        "",
        "Each has --help. Begin with: python -m seqadd.run cell=gru epochs=10",
    ]


if __name__ == "__main__":
    main()
