"""How a command ends: with an exit code and, when something is wrong, one line; within five seconds of Ctrl-C.

A process that is stopped while TensorFlow computes ends at once, and calls nothing of anybody else's on the way: no
library in a second thread, no exit handlers. What the store must still be told is written to disk, and a small process
that is started for it tells the store (``start_beside``).
"""

from __future__ import annotations

import argparse
import gc
import os
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn, TextIO

from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

import seqadd
from seqadd.config import ConfigError, in_a_short_line, without_passwords
from seqadd.logs import kept, log_file, naming_the_log

# How people ask for tracebacks, everywhere in Hydra. Read at the start, because run.py sets it for Hydra's own part.
_TRACEBACKS = os.environ.get("HYDRA_FULL_ERROR") == "1"

#: How people and other programs ask this one to stop: Ctrl-C, ``kill``, a terminal that is closed, ``ulimit -t``.
SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGXCPU") if hasattr(signal, name))

# A program that was asked to stop ends by itself; where it cannot, for it computes or waits for a server, it is ended.
_SECONDS_TO_HEAR = 2.0
_SECONDS_TO_TIDY_UP = 3.5  # from the signal
_SECONDS_FOR_LAST_WORDS = 0.7
_SECONDS_TO_SAY_SO = 0.3


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
        say: is called in another thread, in which it may write to disk but call no library: the main thread computes.
            It is not waited for longer than 0.7 seconds.
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
        over.wait(began + _SECONDS_TO_TIDY_UP - time.monotonic())
        with _deciding:
            if over.is_set():
                os.close(reader)
                return
            _taken_over.set()
    try:
        gc.disable()  # TensorFlow's objects are not to be freed in this thread while another computes with them
        _try(_say_last_words, _SECONDS_FOR_LAST_WORDS)
        if say is not None:
            _try(lambda: say(f"seqadd: {Interrupted(number)}"), _SECONDS_TO_SAY_SO)
    finally:
        os._exit(128 + number)


def _say_last_words() -> None:
    for words in list(_last_words):
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


def start_beside(module: str, variables: Mapping[str, str]) -> None:
    """Starts a process that outlives this one, and finds the end of its standard input when this one is gone.

    It is no member of this process' group and session, so what stops them does not stop it; it reads and writes nothing
    of this one's. ``posix_spawn`` runs nothing of any library in between.

    Args:
        module: has a function ``main``, which the process calls.
        variables: of its environment, beside those of this process; others of this user alone can read them.
    """
    here = str(Path(__file__).parents[1])  # the last place to look at, where it is found nowhere else
    program = f"import sys; sys.path.append(sys.argv[1]); from {module} import main; main()"
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


@contextmanager
def command(*, prints: bool = False) -> Iterator[None]:
    """Around the whole of a command.

    Its exit code is 0, 1 (failed), 2 (refused), 3 (done, but the store does not know all of it yet), or 128 and the
    number of the signal that stopped it: 130 for Ctrl-C, 143 for SIGTERM.

    Args:
        prints: whether to print is all that it does, so that it has failed where that cannot be done.
    """
    try:
        with kept(), _patient_streams() as printed, _files_are_drawn(), raising_on_signals(), temporary_files_removed():
            try:
                _refuse_warnings_as_errors()
                yield
            except Exception as error:
                fail(error)
            except SystemExit as ended:
                if ended.code:
                    raise
            printed.flush()
            if printed.error is not None:
                _say(f"seqadd: not all of it could be printed: {printed.error.strerror}")
                if prints:
                    sys.exit(1)
            if log_file() is not None:
                _say(naming_the_log("seqadd: done, but libraries logged warnings"))
    except Interrupted as stopped:
        _say(f"seqadd: {stopped}")
        end(stopped.exit_code)


def add_version(parser: argparse.ArgumentParser, more: str = "") -> None:
    """Adds ``--version``, which every command has; ``more`` is what it says behind seqadd's own."""
    said = f"seqadd {seqadd.__version__}{more}"
    parser.add_argument("--version", action="version", version=said, help="say the version and end")


class _Patient:
    """A stream to which a program can go on writing when nothing comes of it any more: nobody reads, or a disk is full.

    Attributes:
        error: why not, but for a reader who has had enough, as ``head`` has.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.error: OSError | None = None

    def write(self, text: str) -> int:
        self._try(lambda: self._stream.write(text))
        return len(text)

    def flush(self) -> None:
        self._try(self._stream.flush)

    def _try(self, do: Callable[[], object]) -> None:
        try:
            do()
        except OSError as error:
            if not isinstance(error, BrokenPipeError):
                self.error = error
            _to_nowhere(self._stream.fileno())  # where what waits in its buffer goes too

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextmanager
def _patient_streams() -> Iterator[_Patient]:
    """Inside the ``with``, to read and to print does not fail where a stream is closed or broken; gives the output.

    A file or a database that is opened where a stream was closed would get its number, and so what libraries print.
    """
    for number in range(3):  # in this order, for each takes the lowest that is free
        try:
            os.fstat(number)
        except OSError:
            _to_nowhere(number)
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        stream = getattr(sys, name)
        if stream is None or getattr(stream, "closed", False):
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115  # until Python ends
    before = sys.stdout, sys.stderr
    for stream in before:
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # a terminal that knows no umlauts gets question marks
    sys.stdout, sys.stderr = printed, _ = _Patient(before[0]), _Patient(before[1])  # type: ignore[assignment]
    try:
        yield printed
    finally:
        printed.flush()
        sys.stdout, sys.stderr = before


def _refuse_warnings_as_errors() -> None:
    """Raises ConfigError where Python was told to make an error of every warning, of which libraries have some."""
    for option in sys.warnoptions:
        if option.rstrip(":") == "error" or option.startswith("error::DeprecationWarning"):
            raise ConfigError(
                f"-W {option}, PYTHONWARNINGS: would end commands in the middle, as libraries do warn; leave it out"
            )


@contextmanager
def _files_are_drawn() -> Iterator[None]:
    """Inside the ``with``, matplotlib and that of other processes needs nothing to show a figure in.

    A notebook hands down to the commands that it starts what it draws with itself, which they may not have.
    """
    before = os.environ.get("MPLBACKEND")
    if before is None or "matplotlib" in sys.modules or "IPython" in sys.modules:
        yield
        return
    os.environ["MPLBACKEND"] = "agg"
    try:
        yield
    finally:
        os.environ["MPLBACKEND"] = before


def end(code: int) -> NoReturn:
    """Ends Python; where TensorFlow is, at once: its threads may still compute with what exit handlers take apart."""
    if "tensorflow" not in sys.modules:
        sys.exit(code)
    with suppress(OSError, ValueError):  # nobody reads it
        sys.stdout.flush()
    os._exit(code)


@contextmanager
def temporary_files_removed() -> Iterator[None]:
    """Removes what libraries leave in temporary folders for exit handlers to remove, as TensorFlow does six files.

    Processes that are stopped, and jobs of a sweep, run no such handlers.
    """
    before = tempfile.tempdir
    try:
        folder = tempfile.TemporaryDirectory(prefix="seqadd-", ignore_cleanup_errors=True)
    except OSError:  # there is no room for one, which matters only to who needs it
        yield
        return
    with folder as tempfile.tempdir, last_words(folder.cleanup), _matplotlib_can_write(Path(folder.name)):
        try:
            yield
        finally:
            tempfile.tempdir = before


@contextmanager
def _matplotlib_can_write(folder: Path) -> Iterator[None]:
    """Inside the ``with``, matplotlib keeps its list of fonts in ``folder`` where it can write to no home.

    It would log a warning, and make a folder of its own for an exit handler to remove.
    """
    places = (("XDG_CONFIG_HOME", "~/.config"), ("XDG_CACHE_HOME", "~/.cache"))
    asked_for = [Path(os.environ.get(name) or os.path.expanduser(default)) for name, default in places]
    if "MPLCONFIGDIR" in os.environ or all(_can_be_made(place / "matplotlib") for place in asked_for):
        yield
        return
    os.environ["MPLCONFIGDIR"] = str(folder)
    try:
        yield
    finally:
        del os.environ["MPLCONFIGDIR"]


def _can_be_made(folder: Path) -> bool:
    """Whether a folder is there and can be written to, or can be made."""
    there = next((each for each in (folder, *folder.parents) if each.exists()), Path())
    return there.is_dir() and os.access(there, os.W_OK)


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
    _say(f"seqadd: {naming_the_log(said)}")
    sys.exit(2 if refused else 3 if isinstance(error, RecordWaits) else 1)


def stop_printing() -> None:
    """What goes to standard output from now on goes nowhere."""
    _to_nowhere(sys.stdout.fileno())


def _to_nowhere(number: int) -> None:
    """Has a file descriptor read nothing, and write to nowhere; processes that are started from here inherit it."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    if nowhere == number:
        os.set_inheritable(number, True)
    else:
        os.dup2(nowhere, number)
        os.close(nowhere)
