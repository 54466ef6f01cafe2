"""The list of commands."""

import importlib

from seqadd import __main__


def test_each_command_is_listed_in_a_line_and_exists(call):
    code, out, err = call(__main__.main)
    assert (code, err) == (0, "")
    for name in ("run", "table", "inspect", "answer", "reproduce"):
        (line,) = [line for line in out.splitlines() if line.startswith(f"  python -m seqadd.{name} ")]
        assert len(line.split()) > 5
        assert callable(importlib.import_module(f"seqadd.{name}").main)
    assert max(map(len, out.splitlines())) <= 80


def test_a_command_after_a_blank_is_refused_with_the_right_form(call):
    code, out, err = call(__main__.main, "run", "cell=gru")
    assert (code, out) == (2, "")
    assert err == "seqadd: run: write python -m seqadd.run; python -m seqadd lists all\n"
