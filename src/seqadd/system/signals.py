"""Signal handling: a process that is asked to stop stops within five seconds, whatever it computes.

A process that is stopped while TensorFlow computes exits without calling any library from a second thread, and without
exit handlers. Updates that are not yet delivered to the store are written to disk, and a small detached process
delivers them (``spawn_detached``).
"""

from __future__ import annotations

import _thread
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

from seqadd.errors import Interrupted, SeqaddError, Stopped
from seqadd.system.streams import print_error

#: The signals that ask a process to stop: Ctrl-C, ``kill``, a terminal that is closed, ``ulimit -t``. SIGBREAK is that
#: of Windows for Ctrl-Break and for a terminal that is closed.
SIGNALS = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGXCPU", "SIGBREAK") if hasattr(signal, name)
)

# After a signal the main thread should stop by itself. If it cannot, because it computes or waits for a server, the
# watchdog thread ends the process.
_SECONDS_TO_HEAR = 2.0
_SECONDS_TO_TIDY_UP = 3.5  # counted from the signal
_SECONDS_FOR_CALLBACKS = 0.7
_SECONDS_TO_SAY_SO = 0.3


@contextmanager
def signals_as_exceptions(notify: Callable[[str], None] | None = print_error) -> Iterator[None]:
    """Inside the ``with`` the signals of ``SIGNALS`` raise Interrupted in the main thread; a second one is ignored.

    If the main thread does not handle the signal within two seconds, a watchdog thread runs the ``on_forced_exit``
    callbacks and ends the process, with the same exit code.

    Args:
        notify: receives the reason if the watchdog ends the process.

    Has no effect in a thread other than the main one.

    Raises:
        Interrupted: on a signal, also on one that was blocked until now.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    # nohup and similar programs ignore a signal on purpose, so it stays ignored.
    numbers = [n for n in SIGNALS if n is signal.SIGINT or signal.getsignal(n) is not signal.SIG_IGN]
    before = {number: signal.getsignal(number) for number in numbers}
    over = threading.Event()
    _heard.clear()
    _raised.clear()
    _taken_over.clear()
    # Python calls signal handlers only when the main thread has returned from TensorFlow, which can take minutes; the
    # wakeup file descriptor is written at once.
    reader, writer = os.pipe()
    if hasattr(os, "set_blocking"):  # missing in Python 3.11 on Windows, where it is not needed
        os.set_blocking(writer, False)
    wakeup_before = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    # Not threading.Thread, which would wait for ever for a thread that finds no memory to begin.
    _thread.start_new_thread(_end_in_time, (reader, over, notify))
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
    except Exception as error:
        stopped = interruption(error)
        if stopped is None:
            raise
        interrupted = True
        raise stopped from error
    finally:
        with _deciding:
            over.set()
        _leave_it_to_whoever_has_taken_over()
        signal.set_wakeup_fd(wakeup_before)
        os.close(writer)  # ends the watchdog thread
        if not interrupted:  # after Interrupted, a second signal during these last lines must still be ignored
            for number, handler in before.items():
                signal.signal(number, handler)


@contextmanager
def interrupt_as_exception() -> Iterator[None]:
    """Inside the ``with``, Ctrl-C raises Interrupted, which ``defer_signals`` defers; nothing ends the process.

    For callers that go on afterwards: a notebook, a script. Has no effect in a thread other than the main one, inside
    ``signals_as_exceptions``, and where Ctrl-C does not raise an exception.

    Raises:
        Stopped: on Ctrl-C, after what was inside the ``with`` has tidied up.
    """
    main = threading.current_thread() is threading.main_thread()
    if not main or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return
    before = {number: signal.getsignal(number) for number in SIGNALS}
    _raised.clear()
    try:
        signal.signal(signal.SIGINT, _raise)
        yield
    except BaseException as error:
        stopped = interruption(error)
        if stopped is None:
            raise
        raise Stopped(str(stopped)) from None
    finally:
        _raised.clear()
        for number, handler in before.items():
            signal.signal(number, handler)


def _raise(number: int, frame: FrameType | None) -> None:
    # Cleanup follows: a second Ctrl-C, or the SIGTERM of a sweep that stops, must not cut it short.
    # (Not SIG_IGN: for a signal that is already pending, Python would print a traceback.)
    for each in SIGNALS:
        signal.signal(each, lambda number, frame: None)
    if _holding:
        _put_off.append(number)
    else:
        _hear(number)


# Signals are deferred here rather than by the main thread's signal mask: another thread would take a masked signal, and
# Python would still call the handler.
_holding: list[None] = []
_put_off: list[int] = []
_may_end = threading.Event()
_may_end.set()
# _heard: the main thread handles the signal and cleans up. _taken_over: the watchdog thread ends the process.
_heard, _taken_over = threading.Event(), threading.Event()
_raised: list[Interrupted] = []
_deciding = threading.RLock()  # guards both; reentrant, because a signal may arrive while the main thread holds it


def _hear(number: int) -> NoReturn:
    with _deciding:
        if not _taken_over.is_set():
            _heard.set()
    _leave_it_to_whoever_has_taken_over()
    _raised.append(Interrupted(number))
    raise _raised[-1]


def interruption(error: BaseException) -> Interrupted | None:
    """Returns the Interrupted that ``error`` is or comes from, or None.

    C++ code of a library can swallow an exception that a signal raises inside it, and raise another error later.
    """
    if isinstance(error, Interrupted):
        return error
    return _raised[-1] if _raised and not isinstance(error, (SeqaddError, OSError)) else None


def _leave_it_to_whoever_has_taken_over() -> None:
    while _taken_over.is_set():  # the watchdog is about to end the process
        time.sleep(0.05)


@contextmanager
def defer_signals(*, however_long: bool = False) -> Iterator[None]:
    """Defers Interrupted until the end of the ``with``, for a few lines that must run as a whole.

    Args:
        however_long: whether the watchdog of ``signals_as_exceptions`` waits for the end of the ``with`` too.
    """
    if threading.current_thread() is not threading.main_thread():  # signals never interrupt other threads
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
    """Inside the ``with``, ``callback`` is called before the watchdog ends the process.

    Args:
        callback: runs in another thread while the main thread computes, so it may write to disk but must not call a
            library. All callbacks together have 0.7 seconds.
    """
    _on_forced_exit.append(callback)
    try:
        yield
    finally:
        _on_forced_exit.remove(callback)


def _end_in_time(reader: int, over: threading.Event, notify: Callable[[str], None] | None) -> None:
    """The watchdog thread: after a signal it ends the process if the main thread does not do so in time."""
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
        gc.disable()  # this thread must not free TensorFlow's objects while another thread computes with them
        _try(_run_forced_exit_callbacks, _SECONDS_FOR_CALLBACKS)
        if notify is not None:
            _try(lambda: notify(f"seqadd: {Interrupted(number)}"), _SECONDS_TO_SAY_SO)
    finally:
        os._exit(128 + number)


def _run_forced_exit_callbacks() -> None:
    for callback in reversed(_on_forced_exit):  # the innermost first: what is recorded comes before what is shown
        with suppress(Exception):  # the other callbacks still run
            callback()


def _try(do: Callable[[], None], seconds: float) -> None:
    """Calls ``do`` in a new thread, ignores its errors, and waits for at most ``seconds``."""

    def without_errors() -> None:
        with suppress(Exception):  # no code is left that could report it
            do()

    speaker = threading.Thread(target=without_errors, daemon=True)
    speaker.start()
    speaker.join(seconds)


def stop_this_process() -> None:
    """Sends this process SIGTERM; any thread may call this."""
    if hasattr(signal, "pthread_kill"):
        os.kill(os.getpid(), signal.SIGTERM)  # also interrupts a system call of the main thread
    else:
        signal.raise_signal(signal.SIGTERM)  # on Windows, os.kill ends a process without calling its handlers


def spawn_detached(module: str, variables: Mapping[str, str]) -> None:
    """Starts a process that outlives this one; its standard input reaches end of file when this process ends.

    The new process has its own session and process group, so a signal to this process' group does not reach it. It
    shares no standard stream with this process. ``posix_spawn`` runs no library code in between. Windows has none, and
    this does nothing there.

    Args:
        module: a module with a function ``main``, which the process calls.
        variables: environment variables added to those of this process; only processes of this user can read them.
    """
    if not hasattr(os, "posix_spawn"):
        return
    here = str(Path(__file__).parents[2])  # appended to sys.path, in case seqadd is not installed
    # Inherited file descriptors, such as the pipe of multiprocessing's tracker, would keep another process alive.
    close = "import os, sys; os.closerange(3, os.sysconf('SC_OPEN_MAX'))"
    program = f"{close}; sys.path.append(sys.argv[1]); from {module} import main; main()"
    reader, _kept_open = os.pipe()  # the write end stays open until this process ends, however it ends
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
