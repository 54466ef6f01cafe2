"""Which cell a run has: one that the command line or a file chooses, else the architecture's own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from seqadd import ConfigError, load_config, run, table
from seqadd.config.composition import compose_selection
from seqadd.config.schema import Config
from seqadd.evaluation.run_selection import read_choice

PARTS = """
import seqadd

@seqadd.architecture("grus", cell="gru")
def grus(question, answer_length, cell):
    return question

@seqadd.architecture("without", cell=None)
def without(question, answer_length):
    return question
"""


@pytest.fixture
def composed(call: Callable, in_empty_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Callable:
    """Returns the configuration of a command whose file has these lines, or what the command prints to stderr."""
    (in_empty_folder / "parts.py").write_text(PARTS, encoding="utf-8")
    found: list[Config] = []
    monkeypatch.setattr(run, "run_alone", found.append)

    def compose(defaults: str, lines: str, *words: str) -> Config | str:
        text = f"defaults: [config, {defaults}_self_]\n{lines}\n"
        (in_empty_folder / "mine.yaml").write_text(text, encoding="utf-8")
        err = call(run.main, "--code", "parts.py", "--config-dir", ".", "--config-name", "mine", *words)[2]
        return err.removeprefix("seqadd: ").rstrip() or found.pop()

    return compose


@pytest.mark.parametrize(
    ("defaults", "lines", "cell"),
    [
        ("", "cell: lstm", "lstm"),  # the default of conf/config.yaml, which counts if a file says it
        ("override cell: lstm, ", "", "lstm"),
        ("", "cell: simple_rnn", "simple_rnn"),
        ("", "epochs: 3", "gru"),
    ],
)
def test_a_cell_that_a_file_chooses_counts(defaults: str, lines: str, cell: str, composed: Callable) -> None:
    assert composed(defaults, lines, "architecture=grus").cell == cell


def test_a_cell_of_a_file_is_refused_where_the_architecture_has_none(composed: Callable) -> None:
    refused = composed("", "cell: lstm", "architecture=without")
    assert refused == "cell=lstm: architecture=without has no cell; leave it out"
    assert composed("", "cell: null", "architecture=without").cell is None
    needs = "cell=null: architecture=repeat_vector needs a cell; must be one of dense, gru, lstm, simple_rnn, or left"
    assert composed("", "cell: null").startswith(needs)


NULL = {
    "cell=null": "cell=null: the default architecture needs a cell; must be one of dense, gru, lstm, simple_rnn, or",
    "cell=gru,null architecture=grus": "cell=null: architecture=grus needs a cell; must be one of dense, gru, lstm,",
    "cell=null architecture=without": "cell=null: architecture=without has no cell; leave cell out",
    "loss=null": "loss=null: must not be null; leave loss out for the default",
}


@pytest.mark.parametrize("words", NULL)
def test_null_is_refused_for_a_choice_in_one_line(words: str, own: Callable[[str], None], call: Callable) -> None:
    own(PARTS)
    for compose in (load_config, lambda *each: compose_selection(each), lambda *each: read_choice(each)):
        with pytest.raises(ConfigError) as refused:
            compose(*words.split())
        assert str(refused.value).startswith(NULL[words])
    (part,) = Path().glob("own_*.py")
    for main, options in ((run.main, ["-m"]), (table.main, [])):
        code, out, err = call(main, "--code", str(part), *options, *words.split())
        assert (code, out, err.count("\n")) == (2, "", 1)
        assert err.startswith(f"seqadd: {NULL[words]}")
