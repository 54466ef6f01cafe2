"""Lists the commands, and runs those of ``seqadd.commands``: ``python -m seqadd``, or ``seqadd``."""

from __future__ import annotations

import importlib
import sys
from typing import NoReturn

from seqadd import __version__
from seqadd.cli.entry import as_program, command
from seqadd.errors import ConfigError

#: The commands that are modules of their own, each with what it does: ``python -m seqadd.run``.
COMMANDS = {
    "run": "trains a run, or with -m a sweep or a search",
    "table": "compares runs with the published numbers",
    "inspect": "shows layers, gates and errors of a trained model",
    "answer": "asks a trained model to add",
    "reproduce": "trains and judges the claims of the article",
    "parts": "checks own cells, architectures and tasks",
}
#: The modules of ``seqadd.commands``, each with what it does: ``python -m seqadd diff``.
SUBCOMMANDS = {
    "diff": "says why two runs have other numbers",
}


def main() -> None:
    """Command line of ``python -m seqadd``: runs a command of ``seqadd.commands``, or lists all commands."""
    words = sys.argv[1:]
    if words and words[0] in SUBCOMMANDS:
        sys.argv[1:] = words[1:]
        # Imported here, because a list of commands needs none of them.
        importlib.import_module(f"seqadd.commands.{words[0]}").main()
        return
    with command(prints=True):
        if words == ["--version"]:
            print(f"seqadd {__version__}")
        elif words in ([], ["-h"], ["--help"]):
            print("\n".join(_lines()))
        else:
            right = f"write python -m seqadd.{words[0]}" if words[0] in COMMANDS else "no such command"
            raise ConfigError(f"{words[0]}: {right}; python -m seqadd lists all")


def _lines() -> list[str]:
    commands = {f"python -m seqadd.{name}": text for name, text in COMMANDS.items()}
    commands |= {f"python -m seqadd {name}": text for name, text in SUBCOMMANDS.items()}
    commands["mlflow ui"] = "shows all runs in a browser"
    width = max(map(len, commands))
    return [
        "Trains models that add numbers written as characters, and looks into them.",
        "",
        *(f"  {name:<{width}}  {text}" for name, text in commands.items()),
        "",
        "Each has --help. Begin with: python -m seqadd.run cell=gru epochs=10",
    ]


def program() -> NoReturn:
    """The program of a process; ``main`` is for callers that go on afterwards."""
    as_program(main)


if __name__ == "__main__":
    program()
