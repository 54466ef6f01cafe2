"""The line that says what a command does before its first output."""

import io
import os
import sys

import pytest

from seqadd.system import status_line
from seqadd.system.streams import ResilientStream


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True

    def fileno(self) -> int:
        return 0


@pytest.fixture
def terminal(monkeypatch):
    screen = Terminal()
    monkeypatch.setattr(sys, "__stdout__", screen)
    monkeypatch.setattr(sys, "__stderr__", screen)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(os, "get_terminal_size", lambda number: os.terminal_size((20, 30)))
    return screen


def test_the_line_is_as_wide_as_the_terminal_and_any_output_replaces_it(terminal):
    status_line.show("importing TensorFlow and MLflow")
    assert terminal.getvalue() == "\r\x1b[2Kimporting TensorFlo"
    stream = ResilientStream(terminal)
    stream.write("seqadd: ")
    stream.write("no\n")
    assert terminal.getvalue().endswith("TensorFlo\r\x1b[2Kseqadd: no\n")


def test_a_pipe_gets_no_line(terminal, monkeypatch):
    monkeypatch.setattr(sys, "__stderr__", io.StringIO())
    status_line.show("importing TensorFlow")
    status_line.clear()
    assert terminal.getvalue() == ""


def test_a_terminal_of_windows_that_would_show_the_escape_sequences_gets_no_line(terminal, monkeypatch):
    with monkeypatch.context() as on_windows:
        on_windows.setattr(os, "name", "nt")
        on_windows.delenv("WT_SESSION", raising=False)
        status_line.show("importing")
        assert terminal.getvalue() == ""
        on_windows.setenv("WT_SESSION", "1")  # Windows Terminal
        status_line.show("importing")
    assert terminal.getvalue().endswith("importing")
    status_line.clear()


@pytest.mark.parametrize(
    ("program", "module", "is_one"),
    [
        ("/src/seqadd/run.py", "__main__", True),
        ("/bin/seqadd-run", "seqadd.run", True),
        ("/bin/seqadd-table", "seqadd.run", False),
        ("notebook.py", "seqadd.run", False),
    ],
)
def test_only_a_command_shows_it(program, module, is_one, monkeypatch):
    monkeypatch.setattr(sys, "argv", [program])
    assert status_line.is_command(module) is is_one
