"""The list of commands."""

import pkgutil

import pytest

from seqadd import __main__, commands


def test_each_command_is_listed_in_a_line_and_exists(call):
    code, out, err = call(__main__.main)
    assert (code, err) == (0, "")
    there = {f".{name}" for name in ("run", "table", "inspect", "answer", "reproduce", "parts")}
    there |= {f" {module.name}" for module in pkgutil.iter_modules(commands.__path__)}
    for name in there:
        (line,) = [line for line in out.splitlines() if line.startswith(f"  python -m seqadd{name} ")]
        assert len(line.split()) > 5
    assert len([line for line in out.splitlines() if line.startswith("  python -m seqadd")]) == len(there)
    assert max(map(len, out.splitlines())) <= 80


def test_a_command_after_a_blank_is_refused_with_the_right_form(call):
    code, out, err = call(__main__.main, "run", "cell=gru")
    assert (code, out) == (2, "")
    assert err == "seqadd: run: write python -m seqadd.run; python -m seqadd lists all\n"


@pytest.mark.parametrize("name", __main__.SUBCOMMANDS)
def test_each_subcommand_has_help_under_its_own_name(call, name):
    code, out, err = call(__main__.main, name, "--help")
    assert (code, err) == (0, "")
    assert out.startswith(f"usage: python -m seqadd {name} ")
