"""Shell completion knows own parts, and runs none of their files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from seqadd import run
from seqadd.config.part_schema import declare

MGU = """
import seqadd

raise SystemExit("this file must not be run")

@seqadd.cell("mgu")
class MGU:
    def __init__(self, units, *, leak: float = 0.1):
        pass
"""
CELLS = "cell=dense cell=gru cell=lstm cell=mgu cell=simple_rnn\n"
OFFERED = {
    "seqadd-run --code mgu.py cell=": CELLS,
    "seqadd-run --code='mgu.py' -m cell=mgu mgu.": "mgu.leak=\n",
    "seqadd-run --code gone.py cell=m": "\n",
    "seqadd-run --code mg": "",  # the shell completes names of files
    "seqadd-run --code ": "",
}


@pytest.fixture
def completed(call: Callable, in_empty_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], str]:
    """Returns what is offered for a line."""
    (in_empty_folder / "mgu.py").write_text(MGU, encoding="utf-8")

    def complete(line: str) -> str:
        monkeypatch.setenv("COMP_LINE", line)
        code, out, err = call(run.main, "-sc", "query=bash")
        declare([])
        assert (code, err) == (0, "")
        return str(out)

    return complete


@pytest.mark.parametrize("line", OFFERED)
def test_keys_and_values_of_a_part_that_the_line_names_are_offered(line: str, completed: Callable[[str], str]) -> None:
    assert completed(line) == OFFERED[line]


def test_parts_of_the_environment_are_offered(completed: Callable[[str], str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEQADD_CODE", "mgu.py")
    assert completed("seqadd-run cell=") == CELLS
