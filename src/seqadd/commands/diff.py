"""Says why two runs have other numbers: ``python -m seqadd diff ID ID``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from seqadd.cli.code_option import add_code_option, take_code
from seqadd.cli.console import print_line
from seqadd.cli.entry import add_version, command
from seqadd.errors import ConfigError
from seqadd.system import status_line
from seqadd.tracking.run_filter import add_filter_options, run_filter_from


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Parses the command line of ``python -m seqadd diff``."""
    parser = argparse.ArgumentParser(
        prog="python -m seqadd diff",
        description="Says why two finished runs have other numbers: the keys, data, code, versions and machine that\n"
        "differ, and the first epoch at which their losses part.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
        epilog="examples:\n"
        "  python -m seqadd diff 02853e5ec48e4ce294cd781587fa378c 4de8b65533c94f0e9ba7dca5bbcb1a4f\n"
        "  python -m seqadd diff cell=lstm seed=0,1",
    )
    parser.add_argument(
        "words", nargs="+", metavar="ID | KEY=VALUE", help="two IDs, or the runs as for python -m seqadd.inspect"
    )
    add_code_option(parser)
    add_filter_options(parser)
    add_version(parser)
    return parser.parse_intermixed_args(arguments)


def main() -> None:
    """Command line of ``python -m seqadd diff``."""
    with command(prints=True):
        options = parse_arguments(take_code(sys.argv[1:]))
        status_line.show("importing MLflow")
        from seqadd.comparison.run_differences import differences, explanation
        from seqadd.comparison.runs import printable
        from seqadd.evaluation.run_selection import open_store_of, read_choice, recorded_runs

        ids = [word for word in options.words if "=" not in word]
        words = [f"run={','.join(ids)}"] * bool(ids) + [word for word in options.words if "=" in word]
        choice = read_choice(words)
        if choice.at != ():
            raise ConfigError("epoch: two runs are compared after every epoch; leave it out")
        store = open_store_of(choice, run_filter_from(options))
        runs = recorded_runs(store, choice) if store is not None else []
        if store is None or len(runs) != 2:
            raise ConfigError(f"{' '.join(options.words)}: {len(runs)} recorded runs; must be two, as in diff ID ID")
        found = differences(*runs)
        status_line.clear()
        for name, run in zip("AB", runs, strict=True):
            title = run.tags.get("mlflow.runName", "without a name")
            print_line(f"{name}: run {run.run_id}, {printable(title)}, recorded by {printable(run.user)}")
        for each in found:
            print_line(f"{each.name}: {' | '.join(each.values)}")
        one, other = (store.history(run.run_id, "loss") for run in runs)
        for line in explanation(one, other, found):
            print_line(line)
