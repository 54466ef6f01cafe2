"""The entry point shared by all commands: exit codes, one line for each error, streams, signals, ``--version``."""

from __future__ import annotations

import argparse
import atexit
import os
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import NoReturn

from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

import seqadd
from seqadd.config.messages import short_line
from seqadd.errors import ConfigError, Interrupted, SeqaddError, redact_credentials
from seqadd.system import status_line
from seqadd.system.files import temporary_folder
from seqadd.system.library_log import capture_logs, log_file, with_log_path
from seqadd.system.signals import interruption, signals_as_exceptions
from seqadd.system.streams import discard_stdout, print_error, resilient_streams

# Hydra's switch for tracebacks. Read at import, because run.py sets it for Hydra's own error handling.
_TRACEBACKS = os.environ.get("HYDRA_FULL_ERROR") == "1"


@contextmanager
def command(*, prints: bool | Callable[[], bool] = False) -> Iterator[None]:
    """A context manager around a whole command.

    The exit code is 0, 1 (failed), 2 (refused), 3 (done, but not all updates are delivered to the store), or 128 plus
    the number of the signal that stopped the command: 130 for Ctrl-C, 143 for SIGTERM.

    Args:
        prints: whether the command's only result is its output, so that it fails if the output cannot be written; a
            function is called at the command's end.
    """
    try:
        with (
            capture_logs(),
            resilient_streams() as printed,
            _matplotlib_draws_files(),
            signals_as_exceptions(),
            temporary_folder(),
        ):
            try:
                _check_warning_options()
                yield
            except Exception as error:
                if interruption(error) is not None:
                    raise
                fail(error)
            except SystemExit as ended:
                if ended.code:
                    raise
            printed.flush()
            if printed.error is not None:
                print_error(f"seqadd: not all of it could be printed: {printed.error.strerror}")
                if prints() if callable(prints) else prints:
                    sys.exit(1)
            if log_file() is not None:
                print_error(with_log_path("seqadd: done, but libraries logged warnings"))
            status_line.clear()
    except Interrupted as stopped:
        print_error(f"seqadd: {stopped}")
        end(stopped.exit_code)


def as_program(main: Callable[[], None]) -> NoReturn:
    """Runs a command as the program of this process, and ends the process as soon as the command has ended.

    Exit handlers run. After them Python would spend up to three seconds on freeing TensorFlow's memory, which the
    system frees at once; a signal meanwhile would end a command whose work is done as if it had been killed.
    """
    code = None
    try:
        main()
    except SystemExit as ended:
        if not isinstance(ended.code, int | None):
            raise
        code = ended.code
    if "tensorflow" in sys.modules:
        atexit._run_exitfuncs()
    end(code or 0)


def add_version(parser: argparse.ArgumentParser, more: str = "") -> None:
    """Adds ``--version``, which every command has; ``more`` is appended to seqadd's version."""
    message = f"seqadd {seqadd.__version__}{more}"
    parser.add_argument("--version", action="version", version=message, help="print the version and exit")


def _check_warning_options() -> None:
    """Raises ConfigError if Python's options turn all warnings into errors: libraries do emit warnings."""
    for option in sys.warnoptions:
        if option.rstrip(":") == "error" or option.startswith("error::DeprecationWarning"):
            raise ConfigError(
                f"-W {option}, PYTHONWARNINGS: would end commands early, because libraries warn; leave it out"
            )


@contextmanager
def _matplotlib_draws_files() -> Iterator[None]:
    """Inside the ``with``, matplotlib, also in child processes, draws to files and needs no display.

    A notebook passes its own matplotlib backend in the environment to the commands that it starts, and that backend may
    not be installed for them.
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
    """Ends Python; if TensorFlow is imported, without exit handlers: its threads may still use what they free."""
    if "tensorflow" not in sys.modules:
        sys.exit(code)
    with suppress(OSError, ValueError):  # the stream is closed or broken
        sys.stdout.flush()
    os._exit(code)


def fail(error: Exception) -> NoReturn:
    """Ends the program with one line on stderr and the exit code that ``command`` documents."""
    if isinstance(error, BrokenPipeError):  # the reader of the output has closed the pipe, as head does
        discard_stdout()
        sys.exit(0)
    if _TRACEBACKS:
        print_error(redact_credentials("".join(traceback.format_exception(error)).rstrip()))
    message, code = short_line(error), 1
    if isinstance(error, SeqaddError):
        code = error.exit_code
    elif isinstance(error, (HydraException, OmegaConfBaseException)):
        code = ConfigError.exit_code
    else:
        message = f"{type(error).__name__}: {message}; HYDRA_FULL_ERROR=1 shows the traceback"
    print_error(f"seqadd: {with_log_path(message)}")
    sys.exit(code)
