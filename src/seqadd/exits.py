"""How a command ends: with an exit code and, when something is wrong, one line; within five seconds of Ctrl-C."""

from __future__ import annotations

import atexit
import gc
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import NoReturn

from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from seqadd.config import ConfigError, in_a_short_line, without_passwords

# How people ask for tracebacks, everywhere in Hydra. Read at the start, because run.py sets it for Hydra's own part.
_TRACEBACKS = os.environ.get("HYDRA_FULL_ERROR") == "1"

#: How people and other programs ask this one to stop: Ctrl-C, ``kill``, a terminal that is closed.
SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))

# A program that was asked to stop ends by itself; where it cannot, for it computes or waits for a server, it is ended.
_SECONDS_TO_HEAR = 2.0
_SECONDS_FOR_LAST_WORDS = 0.5
_SECONDS_IN_ALL = 4.0


class Interrupted(BaseException):
    """Somebody asked this process to stop. Like KeyboardInterrupt no Exception, so nothing takes it for a failure."""

    def __init__(self, signal_number: int) -> None:
        super().__init__(f"stopped by {signal.Signals(signal_number).name}")
        self.exit_code = 128 + signal_number  # 130 for Ctrl-C, 143 for SIGTERM, as shells have it


class Pruned(Exception):
    """The search that a run is a trial of has given it up.

    Attributes:
        run_id: of its record.
        epoch: after which it ended.
    """

    def __init__(self, text: str, run_id: str, epoch: int) -> None:
        super().__init__(text)
        self.run_id = run_id
        self.epoch = epoch


class RecordWaits(RuntimeError):
    """The work is done, but the store could not be told all of it; the rest waits on disk for the next command."""


def _say(text: str) -> None:
    with suppress(OSError):  # nobody reads it
        print(text, file=sys.stderr, flush=True)


@contextmanager
def raising_on_signals(say: Callable[[str], None] | None = _say) -> Iterator[None]:
    """Inside the ``with`` the signals of ``SIGNALS`` raise Interrupted in the main thread; a second changes nothing.

    Where the main thread does not hear of it for two seconds, the process ends all the same, with the exit code that
    it would have had and after the ``last_words``.

    Args:
        say: is told why, if the process ends so.

    Raises:
        Interrupted: for a signal, also for one that had been blocked until now.
    """
    # nohup and the like have it ignored, and mean it.
    numbers = [n for n in SIGNALS if n is signal.SIGINT or signal.getsignal(n) is not signal.SIG_IGN]
    before = {number: signal.getsignal(number) for number in numbers}
    over = threading.Event()
    _heard.clear()
    _taken_over.clear()
    # Python's own handlers wait until the main thread comes out of TensorFlow, which can be minutes; this does not.
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    wakeup_before = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    threading.Thread(target=_end_in_time, args=(reader, over, say), name="seqadd exit", daemon=True).start()
    interrupted = False
    try:
        for number in numbers:
            signal.signal(number, _raise)
        if hasattr(signal, "pthread_sigmask"):
            signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        yield
    except Interrupted:
        interrupted = True
        raise
    finally:
        with _deciding:
            over.set()
        _leave_it_to_whoever_has_taken_over()
        signal.set_wakeup_fd(wakeup_before)
        os.close(writer)  # which ends the thread
        if not interrupted:  # otherwise a second signal, on the last few lines, still must change nothing
            for number, handler in before.items():
                signal.signal(number, handler)


def _raise(number: int, frame: FrameType | None) -> None:
    # What follows is the tidying up: a second Ctrl-C, or the SIGTERM of a sweep that stops, must not cut it short.
    # (Not SIG_IGN: of a signal that is on its way already, Python would print a traceback.)
    for each in SIGNALS:
        signal.signal(each, lambda number, frame: None)
    if _holding:
        _put_off.append(number)
    else:
        _hear(number)


# Not the signal mask of the main thread: other threads would take the signal, and Python call the handler all the same.
_holding: list[None] = []
_put_off: list[int] = []
_may_end = threading.Event()
_may_end.set()
# Whether the main thread has heard of it and is tidying up, or the last words are said outside that thread. Never both:
# what the one records of the run while the other ends the interpreter would be read and freed at once.
_heard, _taken_over = threading.Event(), threading.Event()
_deciding = threading.RLock()  # which of them; a signal may come while the main thread has it


def _hear(number: int) -> NoReturn:
    with _deciding:
        if not _taken_over.is_set():
            _heard.set()
    _leave_it_to_whoever_has_taken_over()
    raise Interrupted(number)


def _leave_it_to_whoever_has_taken_over() -> None:
    while _taken_over.is_set():  # and so the process is about to end
        time.sleep(0.05)


@contextmanager
def signals_held(*, however_long: bool = False) -> Iterator[None]:
    """Puts Interrupted off until the end of the ``with``, for a few lines that must not be cut in two.

    Args:
        however_long: also from being ended, after two seconds, by ``raising_on_signals``.
    """
    if threading.current_thread() is not threading.main_thread():  # where signals never interrupt
        yield
        return
    _holding.append(None)
    if however_long:
        _may_end.clear()
    try:
        yield
    finally:
        _may_end.set()
        _holding.pop()
        if _put_off and not _holding:
            _hear(_put_off.pop())


_last_words: list[Callable[[], None]] = []


@contextmanager
def last_words(say: Callable[[], None]) -> Iterator[None]:
    """Inside the ``with``, a process that has to be ended from outside its main thread does this before.

    Args:
        say: is called in another thread, and not waited for longer than half a second.
    """
    _last_words.append(say)
    try:
        yield
    finally:
        _last_words.remove(say)


def _end_in_time(reader: int, over: threading.Event, say: Callable[[str], None] | None) -> None:
    """The life of the thread that ends the process where the main thread does not, in time after a signal."""
    number = 0
    while number not in SIGNALS:
        byte = os.read(reader, 1)
        if not byte:
            os.close(reader)
            return
        number = byte[0]
    _may_end.wait()
    began = time.monotonic()
    while not (over.is_set() or _heard.is_set()) and time.monotonic() < began + _SECONDS_TO_HEAR:
        time.sleep(0.05)
    with _deciding:
        tidying_up = _heard.is_set() or over.is_set()
        if not tidying_up:
            _taken_over.set()
    if tidying_up:
        over.wait(began + _SECONDS_IN_ALL - _SECONDS_FOR_LAST_WORDS - time.monotonic())
        with _deciding:
            if over.is_set():
                os.close(reader)
                return
            _taken_over.set()
    try:
        gc.disable()  # TensorFlow's objects are not to be freed in this thread while another computes with them
        for words in [] if tidying_up else reversed(_last_words):  # the latest record first
            _try(words)
        if say is not None:
            _try(lambda: say(f"seqadd: {Interrupted(number)}"))
    finally:
        os._exit(128 + number)


def _try(do: Callable[[], None]) -> None:
    """Does it in a thread of its own, whatever comes of it, and waits for it no longer than half a second."""

    def without_errors() -> None:
        with suppress(Exception):  # there is nobody left to tell
            do()

    speaker = threading.Thread(target=without_errors, daemon=True)
    speaker.start()
    speaker.join(_SECONDS_FOR_LAST_WORDS)


@contextmanager
def command() -> Iterator[None]:
    """Around the whole of a command.

    Its exit code is 0, 1 (failed), 2 (refused), 3 (done, but the store does not know all of it yet), or 128 and the
    number of the signal that stopped it: 130 for Ctrl-C, 143 for SIGTERM.
    """
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # a terminal that knows no umlauts gets question marks
    try:
        with raising_on_signals():
            try:
                yield
                sys.stdout.flush()
            except Exception as error:
                fail(error)
    except Interrupted as stopped:
        _say(f"seqadd: {stopped}")
        _end(stopped.exit_code)


def _end(code: int) -> NoReturn:
    """Ends Python after what waits for its end, but does not have TensorFlow taken apart, which takes a second."""
    if "tensorflow" not in sys.modules:
        sys.exit(code)
    atexit._run_exitfuncs()
    with suppress(OSError, ValueError):  # nobody reads it
        sys.stdout.flush()
    os._exit(code)


def fail(error: Exception) -> NoReturn:
    """Ends the program with one line on standard error and the exit code of ``command``."""
    if isinstance(error, BrokenPipeError):  # whoever read the output has enough of it, as head has
        stop_printing()
        sys.exit(0)
    if _TRACEBACKS:
        _say(without_passwords("".join(traceback.format_exception(error)).rstrip()))
    refused = isinstance(error, (ConfigError, HydraException, OmegaConfBaseException))
    ours = type(error).__module__.startswith("seqadd.")  # these say all there is to say
    said = in_a_short_line(error)
    if not (refused or ours):
        said = f"{type(error).__name__}: {said}; HYDRA_FULL_ERROR=1 shows the traceback"
    _say(f"seqadd: {said}")
    sys.exit(2 if refused else 3 if isinstance(error, RecordWaits) else 1)


def stop_printing() -> None:
    """What goes to standard output from now on goes nowhere."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)
