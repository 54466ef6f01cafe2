"""Errors that surface after a signal, and the end of a process that does not hear one."""

import os
import signal
import sys

import fork_server
import pytest
from conftest import wait_for_lines

from seqadd.errors import ConfigError, Interrupted, Stopped
from seqadd.system.signals import defer_signals, interrupt_as_exception, interruption, signals_as_exceptions


def test_after_a_signal_an_error_of_a_library_is_an_interruption_and_one_of_ours_is_itself():
    with signals_as_exceptions(notify=None):
        assert interruption(AttributeError()) is None
        with pytest.raises(Interrupted) as stopped:
            signal.raise_signal(signal.SIGTERM)
        assert interruption(stopped.value) is interruption(AttributeError()) is stopped.value
        assert interruption(ConfigError("no")) is interruption(OSError()) is None
    with signals_as_exceptions(notify=None):  # the next command begins without the signal of the one before
        assert interruption(AttributeError()) is None


@pytest.fixture
def interrupts():
    """Ctrl-C raises KeyboardInterrupt, as in a person's Python; commands of other tests may have changed that."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_a_caller_that_goes_on_is_interrupted_after_what_must_run_as_a_whole_and_as_often_as_it_likes(interrupts):
    done: list[str] = []

    def work() -> None:
        with interrupt_as_exception():
            try:
                with defer_signals():
                    signal.raise_signal(signal.SIGINT)
                    done.append("whole")
                done.append("never")
            finally:
                signal.raise_signal(signal.SIGINT)  # a second one does not cut the tidying up short
                done.append("tidied up")

    before = [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)]
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt, match="stopped by SIGINT"):
            work()
        assert [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)] == before
        assert interruption(AttributeError()) is None
    assert done == ["whole", "tidied up"] * 2


@pytest.mark.parametrize("error", [ConfigError("epochs=0: must be at least 1"), Stopped("stopped by SIGINT")])
def test_a_notebook_prints_one_line(error):
    """IPython calls this method instead of printing a traceback."""
    (line,) = error._render_traceback_()
    assert line.endswith(str(error))


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
