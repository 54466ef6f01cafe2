"""Takes away from seqadd what Windows lacks, so that tests on Linux can try seqadd as it runs there.

Only seqadd's own modules lose it: the libraries have their own code for Windows, which cannot be tried here.
"""

from __future__ import annotations

import builtins
import errno
import fcntl
import importlib
import multiprocessing.context
import os
import signal
import stat
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from types import ModuleType
from typing import Any

import filelock

_OURS = ("seqadd", "hydra_plugins")

#: The modules that Windows lacks.
MODULES = {"fcntl", "grp", "posix", "pty", "pwd", "readline", "resource", "syslog", "termios", "tty"}

#: What Windows lacks of modules that it has.
NAMES = {
    "os": """fork forkpty register_at_fork posix_spawn posix_spawnp POSIX_SPAWN_DUP2 POSIX_SPAWN_OPEN getuid geteuid
        getgid getegid getgroups getpgid getpgrp setpgid getsid setsid killpg nice getpriority uname wait wait3 wait4
        WNOHANG sched_getaffinity sched_setaffinity sysconf sysconf_names statvfs fstatvfs chown fchown fchmod lchown
        mkfifo mknod openpty getloadavg sync fdatasync fchdir pread pwrite set_blocking get_blocking O_DIRECTORY
        O_NOFOLLOW O_PATH O_NONBLOCK O_CLOEXEC O_SYNC O_TMPFILE""",
    "signal": """SIGKILL SIGHUP SIGXCPU SIGUSR1 SIGUSR2 SIGQUIT SIGCHLD SIGALRM SIGPIPE SIGSTOP SIGCONT SIGTSTP SIGWINCH
        alarm pause setitimer getitimer pthread_sigmask pthread_kill sigwait sigwaitinfo sigtimedwait sigpending
        siginterrupt SIG_BLOCK SIG_UNBLOCK SIG_SETMASK""",
    "select": "poll epoll kqueue",
    "socket": "AF_UNIX send_fds recv_fds",
    "multiprocessing": "",
    "multiprocessing.context": "ForkContext ForkProcess ForkServerContext ForkServerProcess",
    "sys": "",
}


class _Without:
    """A module, as it is on Windows."""

    def __init__(self, module: ModuleType, lacking: str, changed: Mapping[str, Any]) -> None:
        self.__dict__.update(_module=module, _lacking=set(lacking.split()), _changed=changed)

    def __getattr__(self, name: str) -> Any:
        if name in self._lacking:
            raise AttributeError(f"on Windows, module {self._module.__name__!r} has no attribute {name!r}")
        return self._changed[name] if name in self._changed else getattr(self._module, name)

    def __setattr__(self, name: str, value: object) -> None:
        setattr(self._module, name, value)


def take_away() -> None:
    """Takes it away in this process, from modules that are imported already and from those that are not."""
    changed: dict[str, dict[str, Any]] = {
        "os": {"open": _open, "fsync": _fsync, "kill": _kill},
        "signal": {"set_wakeup_fd": _set_wakeup_fd},
        "sys": {"platform": "win32"},
        "multiprocessing": {"get_context": _get_context, "get_all_start_methods": lambda: ["spawn"]},
    }
    there = {
        name: _Without(importlib.import_module(name), lacking, changed.get(name, {})) for name, lacking in NAMES.items()
    }
    for module in list(sys.modules.values()):
        if getattr(module, "__name__", "").partition(".")[0] in _OURS:
            for name in there.keys() & vars(module).keys():
                if isinstance(getattr(module, name), ModuleType):
                    setattr(module, name, there[name])
            for name in MODULES & vars(module).keys():
                delattr(module, name)
    _import = builtins.__import__

    def imports(name: str, globals: Any = None, locals: Any = None, fromlist: Any = (), level: int = 0) -> Any:
        ours = (globals or {}).get("__name__", "").partition(".")[0] in _OURS
        if ours and level == 0 and name in MODULES:
            raise ModuleNotFoundError(f"on Windows, there is no module {name!r}", name=name)
        found = _import(name, globals, locals, fromlist, level)
        return there.get(found.__name__, found) if ours else found

    builtins.__import__ = imports
    for name in ("replace", "rename", "unlink", "remove"):
        setattr(os, name, _refusing_open_files(getattr(os, name)))
    filelock.UnixFileLock._release = _removing_the_file(filelock.UnixFileLock._release)


def _open(path: Any, flags: int, *arguments: Any, **named: Any) -> int:
    if os.path.isdir(path):
        raise PermissionError(errno.EACCES, "Permission denied", str(path))
    return os.open(path, flags, *arguments, **named)


def _fsync(file: int) -> None:
    if fcntl.fcntl(file, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY:
        raise OSError(errno.EBADF, "Bad file descriptor")
    os.fsync(file)


def _kill(pid: int, number: int) -> None:
    os.kill(pid, signal.SIGKILL)  # no handler of the process is called, whatever the signal is


def _set_wakeup_fd(file: int, **named: bool) -> int:
    if file >= 0:
        os.set_blocking(file, False)  # which Windows does not ask for
    return signal.set_wakeup_fd(file, **named)


def _get_context(method: str | None = None) -> multiprocessing.context.BaseContext:
    if method not in (None, "spawn"):
        raise ValueError(f"cannot find context for {method!r}")
    return multiprocessing.get_context("spawn")


def _refusing_open_files(do: Callable[..., None]) -> Callable[..., None]:
    """Makes a function of ``os`` refuse files that this process has open, as Windows does."""

    def careful(path: Any, *arguments: Any, **named: Any) -> None:
        for each in (path, *arguments):
            if "dir_fd" not in named and _is_open(each):
                raise PermissionError(errno.EACCES, "The process cannot access the file", os.fspath(each))
        do(path, *arguments, **named)

    return careful


def _is_open(path: Any) -> bool:
    try:
        wanted = os.stat(path, follow_symlinks=False)
    except OSError:
        return False
    for number in os.listdir("/proc/self/fd"):
        with suppress(OSError):
            found = os.fstat(int(number))
            if stat.S_ISREG(found.st_mode) and os.path.samestat(found, wanted):
                return True
    return False


def _removing_the_file(release: Callable[[Any], None]) -> Callable[[Any], None]:
    """The lock of filelock for Windows removes its file when it is released."""

    def releasing(lock: Any) -> None:
        release(lock)
        with suppress(OSError):
            os.unlink(lock.lock_file)

    return releasing
