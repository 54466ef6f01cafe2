"""Signals: a process that is asked to stop stops within five seconds, whatever it computes.

A process that is stopped while TensorFlow computes ends at once, and calls nothing of anybody else's on the way: no
library in a second thread, no exit handlers. What the store must still be told is written to disk, and a small process
that is started for it tells the store (``spawn_detached``).
"""

from __future__ import annotations

import gc
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import NoReturn

from seqadd.errors import Interrupted
from seqadd.system.streams import print_error

#: How people and other programs ask this one to stop: Ctrl-C, ``kill``, a terminal that is closed, ``ulimit -t``.
SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGXCPU") if hasattr(signal, name))

# A program that was asked to stop ends by itself; where it cannot, for it computes or waits for a server, it is ended.
_SECONDS_TO_HEAR = 2.0
_SECONDS_TO_TIDY_UP = 3.5  # from the signal
_SECONDS_FOR_CALLBACKS = 0.7
_SECONDS_TO_SAY_SO = 0.3


@contextmanager
def signals_as_exceptions(notify: Callable[[str], None] | None = print_error) -> Iterator[None]:
    """Inside the ``with`` the signals of ``SIGNALS`` raise Interrupted in the main thread; a second changes nothing.

    Where the main thread does not hear of it for two seconds, the process ends all the same, with the exit code that
    it would have had and after the ``on_forced_exit`` callbacks.

    Args:
        notify: is told why, if the process ends so.

    In another thread than the main one signals do what they do there, and nothing here.

    Raises:
        Interrupted: for a signal, also for one that had been blocked until now.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
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
    threading.Thread(target=_end_in_time, args=(reader, over, notify), name="seqadd exit", daemon=True).start()
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
# Whether the main thread has heard of it and is tidying up, or the process is being ended outside that thread.
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
def defer_signals(*, however_long: bool = False) -> Iterator[None]:
    """Puts Interrupted off until the end of the ``with``, for a few lines that must not be cut in two.

    Args:
        however_long: also from being ended, after two seconds, by ``signals_as_exceptions``.
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


_on_forced_exit: list[Callable[[], None]] = []


@contextmanager
def on_forced_exit(callback: Callable[[], None]) -> Iterator[None]:
    """Inside the ``with``, a process that has to be ended from outside its main thread does this before.

    Args:
        callback: is called in another thread, in which it may write to disk but call no library: the main thread
            computes. It is not waited for longer than 0.7 seconds.
    """
    _on_forced_exit.append(callback)
    try:
        yield
    finally:
        _on_forced_exit.remove(callback)


def _end_in_time(reader: int, over: threading.Event, notify: Callable[[str], None] | None) -> None:
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
        over.wait(began + _SECONDS_TO_TIDY_UP - time.monotonic())
        with _deciding:
            if over.is_set():
                os.close(reader)
                return
            _taken_over.set()
    try:
        gc.disable()  # TensorFlow's objects are not to be freed in this thread while another computes with them
        _try(_run_forced_exit_callbacks, _SECONDS_FOR_CALLBACKS)
        if notify is not None:
            _try(lambda: notify(f"seqadd: {Interrupted(number)}"), _SECONDS_TO_SAY_SO)
    finally:
        os._exit(128 + number)


def _run_forced_exit_callbacks() -> None:
    for words in list(_on_forced_exit):
        with suppress(Exception):  # the next may fare better
            words()


def _try(do: Callable[[], None], seconds: float) -> None:
    """Does it in a thread of its own, whatever comes of it, and waits for it no longer than so many seconds."""

    def without_errors() -> None:
        with suppress(Exception):  # there is nobody left to tell
            do()

    speaker = threading.Thread(target=without_errors, daemon=True)
    speaker.start()
    speaker.join(seconds)


def spawn_detached(module: str, variables: Mapping[str, str]) -> None:
    """Starts a process that outlives this one, and finds the end of its standard input when this one is gone.

    It is no member of this process' group and session, so what stops them does not stop it; it reads and writes nothing
    of this one's. ``posix_spawn`` runs nothing of any library in between.

    Args:
        module: has a function ``main``, which the process calls.
        variables: of its environment, beside those of this process; others of this user alone can read them.
    """
    here = str(Path(__file__).parents[2])  # the last place to look at, where it is found nowhere else
    # What a sweep has open for another process, as the pipe of multiprocessing's tracker, would keep that alive.
    close = "import os, sys; os.closerange(3, os.sysconf('SC_OPEN_MAX'))"
    program = f"{close}; sys.path.append(sys.argv[1]); from {module} import main; main()"
    reader, _kept_open = os.pipe()  # until this process ends, in whatever way
    os.posix_spawn(
        sys.executable,
        [sys.executable, "-c", program, here],
        {**os.environ, **variables},
        file_actions=[
            (os.POSIX_SPAWN_DUP2, reader, 0),
            (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0),
            (os.POSIX_SPAWN_OPEN, 2, os.devnull, os.O_WRONLY, 0),
        ],
        setsid=True,
        setsigmask=(),
        setsigdef=SIGNALS,
    )
    os.close(reader)
