"""Says what files declare as own parts, checks it, counts parameters, and times an epoch beside the built-in ones.

python -m seqadd.parts mgu.py
"""

from __future__ import annotations

from seqadd.system import status_line

if status_line.is_command(__name__):
    status_line.show("reading the files")  # before the other imports, which take a second

import argparse
from collections.abc import Sequence
from typing import NoReturn

from seqadd.cli.code_option import file_of
from seqadd.cli.console import SafeConsole
from seqadd.cli.entry import add_version, as_program, command
from seqadd.config.composition import load_config
from seqadd.config.part_schema import declare
from seqadd.config.parts import Part
from seqadd.config.schema import override_text, part_fields
from seqadd.config.validation import range_in_words
from seqadd.launch.own_parts import check_in_a_process, time_epoch

#: What a part of each kind is compared with.
_BESIDE = {"cell": ["cell=gru"], "architecture": ["architecture=encoder_decoder"], "task": []}


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Parses the command line of ``python -m seqadd.parts``."""
    parser = argparse.ArgumentParser(
        prog="python -m seqadd.parts",
        description="Says what files declare as own parts: cells, architectures, tasks. Builds each model, holds it\n"
        "against a few random questions, counts its parameters, and times an epoch beside a built-in model.\n"
        "docs/extend.md says how to write one.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
        epilog="examples:\n  python -m seqadd.parts mgu.py\n  python -m seqadd.parts --no-time mgu.py subtraction.py",
    )
    parser.add_argument("files", nargs="+", metavar="FILE", help="a Python file, or the name of a module")
    parser.add_argument("--no-time", action="store_true", help="do not train an epoch, which takes half a minute")
    add_version(parser)
    return parser.parse_args(arguments)


def describe(part: Part) -> list[str]:
    """Returns what a part declares, a line for its choice and one for each key: ``mgu.leak  0.1  a number in 0..1``."""
    lines = [f"{part.choice}  ({part.path.rpartition('/')[2]}, line {part.line})"]
    for name, field in part_fields(part):
        limits = " | ".join(field.metadata["choices"] or ())
        if field.metadata["low"] is not None:
            limits = range_in_words(field)
        default = next(override_text(key.default) for key in part.keys if f"{part.name}.{key.name}" == name)
        lines.append(f"  {name}={default}  {field.type!s}{', ' + limits if limits else ''}")
    return lines


def main() -> None:
    """Command line of ``python -m seqadd.parts``."""
    with command(prints=True):
        options = parse_arguments()
        parts = [part for part in declare([file_of(each) for each in options.files]) if not part.built_in]
        console = SafeConsole(highlight=False, soft_wrap=True)
        status_line.clear()
        for part in parts:
            for line in describe(part):
                console.print(line, markup=False)
            config = load_config(part.choice)
            size = check_in_a_process(config, status_line.show)
            status_line.clear()
            console.print(f"  checked: {size.parameters:,} parameters", markup=False)
            if options.no_time:
                continue
            compared = [config, *([load_config(*_BESIDE[part.kind])] if _BESIDE[part.kind] else [])]
            for each, words in zip(compared, [[part.choice], _BESIDE[part.kind]], strict=False):
                seconds = time_epoch(each, status_line.show)
                status_line.clear()
                console.print(f"  an epoch of {' '.join(words)}: {seconds:.2f} s", markup=False)


def program() -> NoReturn:
    """The program of a process; ``main`` is for callers that go on afterwards."""
    as_program(main)


if __name__ == "__main__":
    program()
