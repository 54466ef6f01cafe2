"""Filters the runs of a shared store by user, commit and tags; reads the filter from the command line."""

from __future__ import annotations

import argparse
import re
from dataclasses import dataclass

# The characters that MLflow allows in the name of a tag.
_KEY = re.compile(r"[\w./: -]+")
_COMMIT = re.compile(r"[0-9a-f]{4,40}|unknown")


@dataclass(frozen=True)
class RunFilter:
    """Selects the runs that match all of its conditions; without conditions, all runs.

    Attributes:
        user: the user who recorded the run.
        commit: the first 4 to 40 hex digits of the commit of the run's code; ``unknown`` for code outside a clone.
        tags: keys and values that the run has.

    Example:
        >>> str(RunFilter(user="anna", tags=(("era", "keras3"),)))
        'user: anna; tag: era=keras3'
    """

    user: str | None = None
    commit: str | None = None
    tags: tuple[tuple[str, str], ...] = ()

    def __bool__(self) -> bool:
        return self != RunFilter()

    def __str__(self) -> str:
        """The text for the notes under a table: ``user: anna; commit: 4265967``."""
        options = [("user", self.user), ("commit", self.commit), *(("tag", f"{k}={v}") for k, v in self.tags)]
        return "; ".join(f"{what}: {value}" for what, value in options if value is not None)

    def as_options(self) -> str:
        """Returns the filter as command line options: ``--user anna --commit 4265967``."""
        options = [("--user", self.user), ("--commit", self.commit), *(("--tag", f"{k}={v}") for k, v in self.tags)]
        return " ".join(f"{option} {value}" for option, value in options if value is not None)


#: The filter that every run matches.
ALL_RUNS = RunFilter()


def add_filter_options(parser: argparse.ArgumentParser) -> None:
    """Adds ``--user``, ``--commit`` and ``--tag``, which ``run_filter_from`` reads."""
    group = parser.add_argument_group("filters for a store that many people share (default: all runs)")
    group.add_argument("--user", type=_user, metavar="NAME", help="runs that NAME recorded")
    group.add_argument("--commit", type=_commit, metavar="HASH", help="runs of the commit that begins with HASH")
    group.add_argument(
        "--tag",
        type=_tag,
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="runs with this tag; may be repeated",
    )


def run_filter_from(options: argparse.Namespace) -> RunFilter:
    """Returns the filter that the options of ``add_filter_options`` specify."""
    return RunFilter(options.user, options.commit, tuple(options.tag))


def _user(text: str) -> str:
    return _checked(text, text)


def _commit(text: str) -> str:
    if not _COMMIT.fullmatch(text.lower()):
        raise argparse.ArgumentTypeError(f"{text!r}: must be 4 to 40 hex digits, as in 4265967, or unknown")
    return text.lower()


def _tag(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals or not _KEY.fullmatch(key):
        raise argparse.ArgumentTypeError(
            f"{text!r}: must be KEY=VALUE, as in era=keras3; KEY of letters, digits, ./:_-"
        )
    return key, _checked(value, text)


def _checked(value: str, text: str) -> str:
    """Checks that a filter can contain a value: MLflow cannot escape both kinds of quotes, or a final backslash."""
    if not value:
        raise argparse.ArgumentTypeError(f"{text!r}: must not be empty")
    if ("'" in value and '"' in value) or value.endswith("\\") or not value.isprintable():
        raise argparse.ArgumentTypeError(
            f"{text!r}: a filter cannot contain both kinds of quotes, a backslash at the end, or characters that "
            "cannot be printed"
        )
    return value
