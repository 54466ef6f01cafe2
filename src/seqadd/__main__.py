"""Lists the commands: ``python -m seqadd``, or ``seqadd``."""

from __future__ import annotations

import sys

from seqadd import __version__

#: The commands, each with what it does.
COMMANDS = {
    "run": "trains a run, or with -m a sweep or a search",
    "table": "compares runs with the published numbers",
    "inspect": "shows layers, gates and errors of a trained model",
    "answer": "asks a trained model to add",
    "reproduce": "trains and judges the claims of the article",
}


def main() -> None:
    """Command line of ``python -m seqadd``; any argument is refused, because each command is a module of its own."""
    words = sys.argv[1:]
    if words == ["--version"]:
        print(f"seqadd {__version__}")
    elif words in ([], ["-h"], ["--help"]):
        print("\n".join(_lines()))
    else:
        command = words[0] if words[0] in COMMANDS else "COMMAND"
        print(f"seqadd: {words[0]}: write python -m seqadd.{command}; python -m seqadd lists them", file=sys.stderr)
        sys.exit(2)


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
