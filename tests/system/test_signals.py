"""Errors that surface after a signal, and the end of a process that does not hear one."""

import os
import signal
import sys

import fork_server
import pytest
from conftest import wait_for_lines

from seqadd.errors import ConfigError, Interrupted
from seqadd.system.signals import interruption, signals_as_exceptions


def test_after_a_signal_an_error_of_a_library_is_an_interruption_and_one_of_ours_is_itself():
    with signals_as_exceptions(notify=None):
        assert interruption(AttributeError()) is None
        with pytest.raises(Interrupted) as stopped:
            signal.raise_signal(signal.SIGTERM)
        assert interruption(stopped.value) is interruption(AttributeError()) is stopped.value
        assert interruption(ConfigError("no")) is interruption(OSError()) is None
    with signals_as_exceptions(notify=None):  # the next command begins without the signal of the one before
        assert interruption(AttributeError()) is None


#: A process that hears no signal, and whose outer callback, which shows something, never returns.
DEAF = """
import time
from seqadd.system.signals import defer_signals, on_forced_exit, signals_as_exceptions

with signals_as_exceptions(notify=None), on_forced_exit(lambda: time.sleep(60)):
    with on_forced_exit(lambda: print("written", flush=True)), defer_signals():
        print("computes", flush=True)
        time.sleep(60)
"""


def test_what_is_shown_at_a_forced_exit_cannot_keep_what_is_written_from_being_written(tmp_path):
    process = fork_server.start([sys.executable, "-c", DEAF], cwd=tmp_path, start_new_session=True)
    wait_for_lines(process, "computes")
    os.killpg(process.pid, signal.SIGTERM)
    assert process.communicate(timeout=30) == ("written\n", "")
    assert process.returncode == 143
