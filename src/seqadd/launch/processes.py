"""Starts processes that have TensorFlow and MLflow already imported, if the system supports it.

Such a process is forked from a server process (multiprocessing's fork server) that has imported both; otherwise a fresh
process imports them itself. If the server process is killed, the next job is forked from a new one.
"""

from __future__ import annotations

import functools
import multiprocessing
import os
import signal
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from multiprocessing import util
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnContext, SpawnProcess
from types import ModuleType
from typing import TYPE_CHECKING, Any

from seqadd.config.messages import one_line
from seqadd.errors import JobsFailed
from seqadd.system.signals import SIGNALS

if TYPE_CHECKING:  # Windows has neither
    from multiprocessing.context import ForkServerContext, ForkServerProcess

    #: The start method of processes.
    Context = ForkServerContext | SpawnContext

    #: A started process.
    Process = ForkServerProcess | SpawnProcess

# The server process may be killed while it forks a job; then a new server process forks it. A process that is being
# killed may take a moment to end.
_ATTEMPTS = 2
_SECONDS_BETWEEN_ATTEMPTS = 1.0

# The modules that the server process imports.
_PRELOADED = ["seqadd.launch.preload"]

_VARIABLES = {
    # Without these, numpy, pyarrow and MLflow start threads as soon as they are imported.
    "OPENBLAS_NUM_THREADS": "1",
    "JE_ARROW_MALLOC_CONF": "background_thread:false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    # A notebook's kernel passes on a backend of its own, with which a process cannot import matplotlib if it does not
    # find that backend.
    "MPLBACKEND": "agg",
}

# A socket's address has at most 107 bytes; multiprocessing appends the subtracted ones to the temporary folder's path.
_LONGEST_FOLDER = 107 - len("/pymp-12345678/listener-12345678")


def process_context(notify: Callable[[str], None]) -> Context:
    """The start method for jobs: a fork server with TensorFlow and MLflow already imported, or fresh processes.

    Importing both takes longer than ten epochs. The server process computes nothing and opens no store, because the
    threads that TensorFlow and MLflow then start do not survive a fork. It must have one thread only: a lock that
    another thread held at the fork would stay locked in every job, and the data that it was changing would stay half
    changed.

    Args:
        notify: receives a message if jobs cannot be forked.

    Raises:
        JobsFailed: if no process can be started.
    """
    spawn = multiprocessing.get_context("spawn")
    # On other systems even the imported libraries do not survive a fork.
    if sys.platform != "linux" or "forkserver" not in multiprocessing.get_all_start_methods():
        return spawn
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_PRELOADED)
    try:
        process, answer = start_process(context, _count_threads_of_parent, (), "seqadd threads")
        with answer:
            n_threads = int(answer.recv())
        process.join()
    except (OSError, EOFError) as error:
        raise JobsFailed(f"no job could be started: {one_line(error)}") from error
    if n_threads == 1:
        return context
    notify(f"the process that forks jobs has {n_threads} threads, so each job imports TensorFlow itself")
    return spawn


def start_process(
    context: Context, work: Callable[..., None], arguments: tuple[Any, ...], name: str
) -> tuple[Process, Connection]:
    """Starts a process, and returns it with this end of the pipe between it and this process.

    A fork needs two helper processes of multiprocessing; a helper that was killed is started again.

    Args:
        context: the start method, see ``process_context``.
        work: function that the process calls with ``arguments`` and the other end of the pipe.
        arguments: arguments of ``work``; they are pickled.
        name: name of the process.

    Raises:
        OSError: if it cannot be started.
    """
    forks = context.get_start_method() == "forkserver"
    if forks:
        _choose_folder_of_sockets()
    for attempt in range(_ATTEMPTS):
        time.sleep(_SECONDS_BETWEEN_ATTEMPTS if attempt else 0)
        ours, theirs = context.Pipe()
        process = context.Process(target=work, args=(*arguments, theirs), name=name)
        try:
            # Python warns about helpers that were killed.
            with warnings.catch_warnings(action="ignore"), environment(_VARIABLES):
                with _signals_blocked():  # the started processes inherit the mask; a job unblocks the signals itself
                    if forks:
                        from multiprocessing import forkserver

                        forkserver.ensure_running()
                    else:
                        _begin(process)
                if forks:
                    _begin(process)  # waits for the server's imports; a signal can interrupt this process meanwhile
            return process, ours
        except (EOFError, ConnectionError):
            ours.close()
        finally:
            theirs.close()  # so that the pipe ends when the process ends
    raise OSError(
        f"the process that imports TensorFlow for all jobs was killed {_ATTEMPTS} times; make sure that memory suffices"
    )


def _count_threads_of_parent(connection: Connection) -> None:
    connection.send(len(os.listdir(f"/proc/{os.getppid()}/task")))


def _begin(process: Process) -> None:
    """Starts a process without multiprocessing's first step, which runs this process' main module in it again.

    A job needs nothing of that module. A script without ``if __name__ == "__main__"`` would start the sweep once more.
    """
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        process.start()
    finally:
        sys.modules["__main__"] = main


@contextmanager
def _signals_blocked() -> Iterator[None]:
    """Blocks ``SIGNALS`` in processes that are started inside the ``with``; in this process it defers them to its end.

    Also SIGUSR2, with which Slurm announces a time limit; on some clusters it goes to all processes of a job. Windows
    cannot block signals.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    from multiprocessing import resource_tracker

    resource_tracker.ensure_running()  # it unblocks signals, so it comes first
    before = signal.pthread_sigmask(signal.SIG_BLOCK, (*SIGNALS, signal.SIGUSR2))
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def environment(variables: Mapping[str, str]) -> Iterator[None]:
    """Sets environment variables inside the ``with``."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@functools.cache
def _choose_folder_of_sockets() -> None:
    """Makes multiprocessing put its socket into the temporary folder, however long the path of that folder is.

    Batch systems create temporary folders with paths of a hundred characters and more.
    """
    before = tempfile.tempdir
    tempfile.tempdir = None  # this command's folder is removed at its end, and the processes may serve another command
    try:
        tempfile.tempdir = tempfile.gettempdir()
        if sys.platform == "linux" and len(os.fsencode(tempfile.tempdir)) > _LONGEST_FOLDER:
            tempfile.tempdir = f"/proc/self/fd/{os.open(tempfile.tempdir, os.O_PATH | os.O_DIRECTORY)}"
        util.get_temp_dir()  # multiprocessing caches it
    finally:
        tempfile.tempdir = before
