"""Starts processes that have TensorFlow and MLflow imported beforehand, where the system can.

They are forked from a process that has imported both, or they are fresh ones that import them by themselves. The
process that they are forked from can be killed as any other; then the next one is forked from a new one.
"""

from __future__ import annotations

import functools
import multiprocessing
import os
import select
import signal
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from multiprocessing import forkserver, resource_tracker, util
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext, ForkServerProcess, SpawnContext, SpawnProcess
from types import ModuleType
from typing import Any

from seqadd.config.messages import one_line
from seqadd.errors import JobsFailed
from seqadd.system.signals import SIGNALS

# The process that jobs are forked from may be killed while it forks one; then another forks it. A process that is being
# killed may take a moment to be gone.
_ATTEMPTS = 2
_SECONDS_BETWEEN_ATTEMPTS = 1.0

# What is imported in the process that jobs are forked from.
_PRELOADED = ["seqadd.launch.preload"]

# What numpy, pyarrow and MLflow must be told, or they start threads as soon as they are imported.
_NO_THREADS = {
    "OPENBLAS_NUM_THREADS": "1",
    "JE_ARROW_MALLOC_CONF": "background_thread:false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
}

# An address of a socket has 107 bytes; multiprocessing puts so many of them behind the temporary folder.
_LONGEST_FOLDER = 107 - len("/pymp-12345678/listener-12345678")

#: How processes are started.
Context = ForkServerContext | SpawnContext

#: A process that was started.
Process = ForkServerProcess | SpawnProcess


def process_context(notify: Callable[[str], None]) -> Context:
    """Fresh processes, with TensorFlow and MLflow imported beforehand where the system can.

    Importing both takes longer than ten epochs. They are imported in a process that computes nothing and opens no
    store, because what TensorFlow and MLflow start then does not survive a fork; the jobs are forked from it. It has
    one thread: a lock that another one held, and the memory that it was changing, would be held and half changed in
    every job for good.

    Args:
        notify: is told when jobs cannot be forked.

    Raises:
        JobsFailed: when there is no such process.
    """
    spawn = multiprocessing.get_context("spawn")
    if sys.platform != "linux":  # elsewhere even the libraries' import does not survive a fork
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
    notify(f"the process that jobs are forked from has {n_threads} threads, so each job imports TensorFlow by itself")
    return spawn


def start_process(
    context: Context, work: Callable[..., None], arguments: tuple[Any, ...], name: str
) -> tuple[Process, Connection]:
    """A process that does some work, and the pipe through which its messages come.

    Where jobs are forked, that needs two helpers of multiprocessing's: if one of them was killed, a new one is started.

    Args:
        context: says how.
        work: is given these arguments, and the other end of the pipe.
        arguments: to be pickled.
        name: of the process.

    Raises:
        OSError: when it cannot be started.
    """
    _choose_folder_of_sockets()
    for attempt in range(_ATTEMPTS):
        time.sleep(_SECONDS_BETWEEN_ATTEMPTS if attempt else 0)
        ours, theirs = context.Pipe(duplex=False)
        process = context.Process(target=work, args=(*arguments, theirs), name=name)
        try:
            # Python warns of helpers that were killed.
            with warnings.catch_warnings(action="ignore"), _environment(_NO_THREADS):
                resource_tracker.ensure_running()  # which unblocks signals, so it comes first
                with _signals_blocked():  # in what is started; a job unblocks them
                    if isinstance(context, ForkServerContext):
                        forkserver.ensure_running()
                    else:
                        _begin(process)
                if isinstance(context, ForkServerContext):
                    _begin(process)  # when all is imported; until then a signal can be heard here
            return process, ours
        except (EOFError, ConnectionError):
            ours.close()
        finally:
            theirs.close()  # so that the end of the process is the end of the pipe
    raise OSError(
        f"the process that imports TensorFlow for all jobs was killed, {_ATTEMPTS} times; is there memory enough?"
    )


def is_over(connection: Connection, timeout: float | None) -> bool:
    """Whether the process at the other end of a pipe is over, or is within so many seconds; None for however long."""
    if not hasattr(select, "poll"):
        return False
    waiting = select.poll()
    waiting.register(connection, 0)  # only for the other end being closed, of which poll always tells
    return bool(waiting.poll(None if timeout is None else 1000 * timeout))


def _count_threads_of_parent(connection: Connection) -> None:
    connection.send(len(os.listdir(f"/proc/{os.getppid()}/task")))


def _begin(process: Process) -> None:
    """Starts a process without what multiprocessing does first: to run the main module of this one in it again.

    A job needs nothing of it, and where it is a script without ``if __name__ == "__main__"`` it would begin this sweep.
    """
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        process.start()
    finally:
        sys.modules["__main__"] = main


@contextmanager
def _signals_blocked() -> Iterator[None]:
    """Processes that are started inside do not see SIGINT and SIGTERM; here they come at the end of the ``with``.

    Nor SIGUSR2, by which Slurm says that a time limit is near, and on some clusters to all of a job's processes.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, (*SIGNALS, signal.SIGUSR2))
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    """Inside the ``with`` these variables are set."""
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
    """Has multiprocessing put its socket into the temporary folder, however long the name of that is.

    Batch systems make such folders, of a hundred characters and more.
    """
    before = tempfile.tempdir
    tempfile.tempdir = None  # the command's own is gone at its end, and these processes may serve another command
    try:
        tempfile.tempdir = tempfile.gettempdir()
        if sys.platform == "linux" and len(os.fsencode(tempfile.tempdir)) > _LONGEST_FOLDER:
            tempfile.tempdir = f"/proc/self/fd/{os.open(tempfile.tempdir, os.O_PATH | os.O_DIRECTORY)}"
        util.get_temp_dir()  # which it remembers
    finally:
        tempfile.tempdir = before
