"""Says why two runs have other numbers: ``python -m seqadd diff A B``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from seqadd.cli.code_option import add_code_option, take_code
from seqadd.cli.entry import add_version, command


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Parses the command line of ``python -m seqadd diff``."""
    parser = argparse.ArgumentParser(
        prog="python -m seqadd diff",
        description="Says why two runs have other numbers: keys, code, versions, machine, data.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("words", nargs="*", metavar="ID | KEY=VALUE", help="two runs")
    add_code_option(parser)
    add_version(parser)
    return parser.parse_intermixed_args(arguments)


def main() -> None:
    """Command line of ``python -m seqadd diff``."""
    with command(prints=True):
        parse_arguments(take_code(sys.argv[1:]))
