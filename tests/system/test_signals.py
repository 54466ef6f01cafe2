"""Errors that surface after a signal."""

import signal

import pytest

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
