"""Runs seqadd's commands in processes forked from one that has imported everything, with an API like ``subprocess``.

A new Python takes ten processor seconds to import TensorFlow and MLflow; a forked one takes none. If no server was
started (``pytest --new-processes``), each command is a new Python. Tests of a new Python itself (its imports, variables
that it reads before its first line, signals while it starts) need ``subprocess``.
"""

from __future__ import annotations

import atexit
import fcntl
import gc
import json
import os
import pickle
import runpy
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import util
from pathlib import Path
from typing import Any, NoReturn

#: The variable with the path of the server's socket.
_VARIABLE = "SEQADD_TESTS_FORK_SERVER"
_MAX_REQUEST = 1 << 20  # bytes


def start_server(folder: Path) -> subprocess.Popen[bytes]:
    """Starts the server for this process and its children; it imports modules at the first request.

    It ends with this process, even if this process is killed.

    Args:
        folder: for its socket.
    """
    path = folder / "fork_server"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen(64)
        os.environ[_VARIABLE] = str(path)
        return subprocess.Popen(
            [sys.executable, __file__, str(listener.fileno())],
            pass_fds=[listener.fileno()], stdin=subprocess.PIPE, start_new_session=True,
        )  # fmt: skip


def is_started() -> bool:
    """Whether commands are forked, or each is a new Python."""
    return _VARIABLE in os.environ


def stop_server(server: subprocess.Popen[bytes]) -> None:
    """Ends the server; running commands continue."""
    del os.environ[_VARIABLE]
    assert server.stdin is not None
    server.stdin.close()
    server.wait()


def run(
    arguments: Sequence[str],
    *,
    cwd: Path,
    env: Mapping[str, str] | None = None,
    before: Callable[[], object] | None = None,
    timeout: float | None = None,
) -> subprocess.CompletedProcess[str]:
    """Runs a command to its end; arguments and result are like those of ``subprocess.run``.

    Args:
        arguments: ``[sys.executable, "-m", MODULE, ...]`` or ``[sys.executable, "-c", PROGRAM, ...]``.
        cwd: its working directory.
        env: its environment; None for this process's environment.
        before: a picklable function, called in the new process before anything else.
        timeout: seconds after which the command is killed and TimeoutExpired raised.
    """
    process = start(arguments, cwd=cwd, env=env, before=before)
    try:
        out, err = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        process.kill()
        raise
    return subprocess.CompletedProcess(list(arguments), process.returncode, out, err)


def start(
    arguments: Sequence[str],
    *,
    cwd: Path,
    env: Mapping[str, str] | None = None,
    before: Callable[[], object] | None = None,
    start_new_session: bool = False,
) -> Process | subprocess.Popen[str]:
    """Starts a command; takes the arguments of ``run``."""
    if not is_started():
        return subprocess.Popen(
            arguments, cwd=cwd, env=env, preexec_fn=before, start_new_session=start_new_session,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
    _, flag, program, *rest = arguments
    return Process(_Command(flag, program, rest, str(cwd), dict(env or os.environ), start_new_session, before))


class Process:
    """A started command, with the members of ``subprocess.Popen`` that tests need."""

    def __init__(self, command: _Command) -> None:
        (self.stdout, out), (self.stderr, err) = _pipe(), _pipe()
        self.args = [sys.executable, command.flag, command.program, *command.arguments]
        self.returncode: int | None = None
        self._connection = socket.socket(socket.AF_UNIX)
        self._connection.connect(os.environ[_VARIABLE])
        # The import path comes first, because unpickling the command imports modules.
        request = pickle.dumps((sys.path, pickle.dumps(command)))
        socket.send_fds(self._connection, [request], [out, err])
        os.close(out)
        os.close(err)
        self._said = self._connection.makefile("r")
        self.pid = int(self._said.readline())

    def poll(self) -> int | None:
        """Returns the exit code as ``subprocess`` does, or None while the process runs."""
        if self.returncode is None and select.select([self._connection], [], [], 0)[0]:
            self.returncode = int(self._said.readline())
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Waits for the end; returns the exit code.

        Raises:
            subprocess.TimeoutExpired: when the process still runs after ``timeout`` seconds.
        """
        if self.returncode is None and not select.select([self._connection], [], [], timeout)[0]:
            raise subprocess.TimeoutExpired(self.args, timeout or 0)
        code = self.poll()
        assert code is not None
        return code

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        """Reads both outputs to their ends and waits for the process to end; raises as ``wait``."""
        deadline = None if timeout is None else time.monotonic() + timeout
        texts = ["", ""]

        def read(index: int, stream: Any) -> None:
            texts[index] = stream.read()

        readers = [
            threading.Thread(target=read, args=each, daemon=True) for each in enumerate((self.stdout, self.stderr))
        ]
        for reader in readers:
            reader.start()
        for reader in readers:
            reader.join(None if deadline is None else max(0.0, deadline - time.monotonic()))
            if reader.is_alive():
                raise subprocess.TimeoutExpired(self.args, timeout or 0)
        self.wait(None if deadline is None else max(1.0, deadline - time.monotonic()))
        return texts[0], texts[1]

    def kill(self) -> None:
        """Kills the process."""
        if self.poll() is None:
            os.kill(self.pid, signal.SIGKILL)


def _pipe() -> tuple[Any, int]:
    reader, writer = os.pipe()
    return open(reader, encoding="utf-8"), writer


@dataclass(frozen=True)
class _Command:
    """A request to the server: the command that a forked process runs; sent pickled."""

    flag: str
    program: str
    arguments: list[str]
    folder: str
    environment: dict[str, str]
    new_session: bool
    before: Callable[[], object] | None

    def run(self, out: int, err: int) -> NoReturn:
        """Runs the command in this newly forked process, and ends the process as Python would."""
        if self.new_session:
            os.setsid()
        for descriptor, number in ((os.open(os.devnull, os.O_RDONLY), 0), (out, 1), (err, 2)):
            os.dup2(descriptor, number)
            os.close(descriptor)
        sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115
        sys.stderr = open(2, "w", buffering=1, errors="backslashreplace", closefd=False)  # noqa: SIM115
        os.chdir(self.folder)
        os.environ.clear()
        os.environ.update(self.environment)
        tempfile.tempdir = None  # so that it is read from the new environment
        sys.path.insert(0, self.folder)
        _lend_to_multiprocessing()
        code: Any = None
        try:
            if self.before is not None:
                self.before()
            if self.flag == "-m":
                sys.argv[:] = [self.program, *self.arguments]
                runpy.run_module(self.program, run_name="__main__", alter_sys=True)
            else:
                sys.argv[:] = [self.flag, *self.arguments]
                exec(compile(self.program, "<string>", "exec"), {"__name__": "__main__"})
        except SystemExit as ended:
            code = ended.code
            if not isinstance(code, int | None):
                print(code, file=sys.stderr)
        except BaseException:
            traceback.print_exc()
            code = 1
        threading._shutdown()
        atexit._run_exitfuncs()
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        os._exit(code if isinstance(code, int) else code is not None)


def _lend_to_multiprocessing() -> None:
    """Forks a fork server for multiprocessing now, so that it need not start a new Python that imports everything.

    A sweep forks its jobs from such a server. Like multiprocessing's own, this one is a child of the command.
    """
    ours, theirs = socket.socketpair()
    signals = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR2}  # blocked by launch.processes, too
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    pid = os.fork()
    if pid == 0:
        ours.close()
        message, descriptors, _, _ = socket.recv_fds(theirs, _MAX_REQUEST, 8)
        if message:  # empty if the command has ended without a fork server
            numbers, program = json.loads(message)
            out_of_the_way = [fcntl.fcntl(descriptor, fcntl.F_DUPFD, 1 + max(numbers)) for descriptor in descriptors]
            for descriptor, number in zip(out_of_the_way, numbers, strict=True):
                os.dup2(descriptor, number)
            with suppress(SystemExit):
                exec(program, {"__name__": "__main__"})
        os._exit(0)
    theirs.close()
    signal.pthread_sigmask(signal.SIG_SETMASK, before)
    spawn = util.spawnv_passfds

    def lend(path: bytes, arguments: Sequence[str], descriptors: Sequence[int]) -> int:
        if "multiprocessing.forkserver" not in arguments[-1]:
            return spawn(path, arguments, descriptors)
        socket.send_fds(ours, [json.dumps([descriptors, arguments[-1]]).encode()], descriptors)
        return pid

    util.spawnv_passfds = lend


def _serve(listener: socket.socket) -> None:
    """Forks two processes for each request: one runs the command, the other waits for its end and reports it."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the system reaps the waiting processes
    imported = False
    while sys.stdin not in select.select([listener, sys.stdin], [], [])[0]:
        connection, _ = listener.accept()
        request, descriptors, _, _ = socket.recv_fds(connection, _MAX_REQUEST, 2)
        if not imported:
            _import_everything()
            imported = True
        if os.fork() == 0:
            listener.close()
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            pid = os.fork()
            if pid == 0:
                connection.close()
                sys.path[:], command = pickle.loads(request)
                pickle.loads(command).run(*descriptors)
            for descriptor in descriptors:
                os.close(descriptor)
            connection.sendall(f"{pid}\n".encode())
            connection.sendall(f"{os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])}\n".encode())
            os._exit(0)
        for descriptor in descriptors:
            os.close(descriptor)
        connection.close()


def _import_everything() -> None:
    """Imports all commands' modules; computes nothing and opens no store, because threads do not survive a fork."""
    import warnings

    from seqadd.launch import processes
    from seqadd.system.tensorflow_setup import quiet_import

    os.environ.update(processes._VARIABLES)  # of this process alone: a command has the variables that come with it

    with quiet_import():
        from seqadd import answer, inspect, reproduce, run, table, train  # noqa: F401
        from seqadd.launch import local, search  # noqa: F401
        from seqadd.models import architectures  # noqa: F401
        from seqadd.tracking import connection
        from seqadd.training import loop  # noqa: F401

        connection.import_database_store()
    # Commands also run as programs, and Python warns about modules that are imported already.
    warnings.filterwarnings("ignore", "'seqadd.* found in sys.modules", RuntimeWarning)
    gc.freeze()  # else garbage collection in each process would touch, and so copy, all this memory


if __name__ == "__main__":
    sys.modules["fork_server"] = sys.modules["__main__"]  # commands are pickled under this module name
    _serve(socket.socket(fileno=int(sys.argv[1])))
