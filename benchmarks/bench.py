"""Shared parts of the benchmarks: worker processes on a number of processors, progress, machine and date of results.

A worker runs a generator function in its own process: it sends each yielded value here, and ``yield`` returns the next
question that it is asked. In between the process sleeps.
"""

from __future__ import annotations

import argparse
import csv
import math
import multiprocessing
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from importlib.metadata import version
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from seqadd.system.files import atomic_write

if TYPE_CHECKING:
    from matplotlib.axis import Axis

CLONE = Path(__file__).resolve().parents[1]
RESULTS = CLONE / "benchmarks" / "results"
QUICK_RESULTS = CLONE / "build" / "benchmarks"  # git ignores it

_CONTEXT = multiprocessing.get_context("spawn")
# Variables that numerical libraries read when they are loaded; TensorFlow, PyTorch and JAX are also set by their APIs.
_THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "TF_NUM_INTRAOP_THREADS",
    "TF_NUM_INTEROP_THREADS",
)
# No GPUs, even if the machine has one; no messages of TensorFlow.
_ENVIRONMENT = {"CUDA_VISIBLE_DEVICES": "", "JAX_PLATFORMS": "cpu", "TF_CPP_MIN_LOG_LEVEL": "3"}


class WorkerFailed(RuntimeError):
    """A worker raised an exception or died."""


class Worker:
    """A process that runs a generator function.

    Args:
        target: the generator function; importable, because the process is a new Python.
        arguments: its arguments.
        threads: number of processors of the process and of threads of its libraries; None for no limit.
        log: file for the process's stderr.
    """

    def __init__(
        self, target: Callable[..., Generator[Any, Any, None]], *arguments: Any, threads: int | None, log: Path
    ) -> None:
        self.started = time.perf_counter()
        self._log = log
        self._pipe, there = _CONTEXT.Pipe()
        self._process = _CONTEXT.Process(target=_work, args=(there, log, target, arguments), daemon=True)
        with _confined(threads):
            self._process.start()
        there.close()  # else the pipe would stay open when the process ends, and ``answer`` would block

    def answer(self) -> Any:
        """Waits for the next value that the generator yields.

        Raises:
            WorkerFailed: when the generator raised an exception or its process died.
        """
        try:
            answer = self._pipe.recv()
        except (EOFError, OSError):
            self._process.join()
            said = self._log.read_text(errors="replace").strip()[-2000:]
            raise WorkerFailed(f"a process ended with code {self._process.exitcode}: {said}") from None
        if isinstance(answer, _Failure):
            raise WorkerFailed(f"in a process of its own: {answer}")
        return answer

    def ask(self, question: Any) -> Any:
        """Sends ``question`` to the generator and returns the next value that it yields."""
        with suppress(OSError):  # the process has ended; ``answer`` raises its error
            self._pipe.send(question)
        return self.answer()

    def end(self) -> None:
        """Kills the process."""
        self._process.terminate()
        self._process.join()


class _Failure(str):
    """The traceback of an exception in a worker."""


def _work(pipe: Connection, log: Path, target: Callable[..., Generator[Any, Any, None]], arguments: Any) -> None:
    """The main function of a worker's process."""
    with log.open("w") as said:
        os.dup2(said.fileno(), 2)
    try:
        answers = target(*arguments)
        answer = next(answers)
        while True:
            pipe.send(answer)
            answer = answers.send(pipe.recv())
    except (StopIteration, EOFError, KeyboardInterrupt):
        pass
    except Exception:
        pipe.send(_Failure(traceback.format_exc()))


@contextmanager
def _confined(threads: int | None) -> Iterator[None]:
    """Limits the processors and thread variables of processes started inside the ``with``; None changes nothing."""
    environment = dict(os.environ)
    os.environ.update(_ENVIRONMENT)
    can_bind = hasattr(os, "sched_setaffinity")  # Linux
    allowed = os.sched_getaffinity(0) if can_bind else set()
    if threads is not None:
        os.environ.update(dict.fromkeys(_THREAD_VARIABLES, str(threads)))
        if can_bind:
            # The last processors, because on some machines the first one handles all interrupts.
            os.sched_setaffinity(0, sorted(allowed)[-threads:])
    try:
        yield
    finally:
        if can_bind:
            os.sched_setaffinity(0, allowed)
        os.environ.clear()
        os.environ.update(environment)


def peak_memory_mb() -> float:
    """Returns this process's peak memory so far, in MB (10^6 bytes)."""
    try:
        # Not ru_maxrss, which starts at the parent's value in a spawned process.
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024 / 1e6
    except OSError:
        pass
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


class Steps:
    """Shows a benchmark's progress and remaining time on stderr. Use as a context manager.

    Args:
        total: the expected cost of all steps, in any unit.
    """

    def __init__(self, total: float) -> None:
        self._total, self._done, self._start = total, 0.0, time.monotonic()
        self._console = Console(stderr=True, highlight=False, soft_wrap=True)
        columns = TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[left]}")
        self._bar = Progress(*columns, console=self._console, transient=True)
        self._task = self._bar.add_task("starting", total=total, left="")

    def __enter__(self) -> Steps:
        if self._console.is_terminal:
            self._bar.start()
        return self

    def __exit__(self, *exception: object) -> None:
        if self._console.is_terminal:
            self._bar.stop()

    def begin(self, what: str) -> None:
        """Begins a step; prints a line if stderr is no terminal."""
        self._bar.update(self._task, description=what)
        if not self._console.is_terminal:
            self.notify(f"{what}  {self._left()}".rstrip())

    def done(self, share: float) -> None:
        """Ends a step with an expected cost of ``share``, in the unit of the total."""
        self._done += share
        self._bar.update(self._task, completed=self._done, left=self._left())

    def notify(self, line: str) -> None:
        """Prints a line."""
        self._console.print(line, markup=False)

    def _left(self) -> str:
        if not self._done:
            return ""
        minutes = (time.monotonic() - self._start) * (self._total / self._done - 1) / 60
        return f"about {math.ceil(minutes)} min left"


def add_out(parser: argparse.ArgumentParser) -> None:
    """Adds ``--out``."""
    said = f"folder for the results (made); default {in_clone(RESULTS)}, with --quick {in_clone(QUICK_RESULTS)}"
    parser.add_argument("--out", type=Path, help=said)


def out_folder(chosen: argparse.Namespace) -> Path:
    """Returns the folder for results; ``--quick`` has its own default, so that it replaces no real results."""
    return chosen.out or (QUICK_RESULTS if chosen.quick else RESULTS)


def in_clone(path: Path) -> str:
    return path.relative_to(CLONE).as_posix()


def header(packages: tuple[str, ...]) -> list[str]:
    """Returns date, machine, commit and versions as lines of Markdown. Call it before results are written.

    Args:
        packages: the packages whose versions are listed.
    """
    from seqadd.system import hardware
    from seqadd.tracking import provenance

    commit, dirty = provenance.code_version()
    if dirty == "true":
        dirty = str(_changed_beside_results()).lower()
    versions = ", ".join(f"{package} {version(package)}" for package in packages)
    return [
        f"- date: {datetime.now().astimezone().isoformat(timespec='minutes')}",
        f"- machine: {platform.system()} {platform.machine()}, {hardware.processor_name()}, "
        f"{hardware.processors()} processors",
        f"- versions: Python {platform.python_version()}, {versions}",
        f"- commit: {commit}" + (", with changes that are not committed" if dirty == "true" else ""),
    ]


def date_and_machine(header: list[str]) -> str:
    """Joins the first lines of ``header`` to one line, for a picture's caption."""
    return ", ".join(line.partition(": ")[2] for line in header[:2])


def written_out(axis: Axis) -> None:
    """Sets ticks of a logarithmic axis at 1, 2, 5, 10, 20 and so on, as plain numbers."""
    from matplotlib.ticker import LogLocator, NullLocator

    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter("{x:g}")


def _changed_beside_results() -> bool:
    """Returns whether the clone has changes other than results of an earlier benchmark."""
    command = ["git", "-C", str(CLONE), "status", "--porcelain", "--", ":/", f":(top,exclude){in_clone(RESULTS)}"]
    return bool(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def replace(path: Path, write: Callable[[Path], object]) -> None:
    """Replaces a file atomically: ``write`` writes to a temporary name beside it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as unfinished:
        write(unfinished)


def spread(seconds: list[float], digits: int) -> dict[str, float | int]:
    """Returns the columns that summarize repeated measurements."""
    return {
        "seconds_median": round(statistics.median(seconds), digits),
        "seconds_min": round(min(seconds), digits),
        "seconds_max": round(max(seconds), digits),
        "n": len(seconds),
    }


def write_csv(path: Path, rows: list[dict[str, Any]]) -> None:
    """Writes rows with the same keys as CSV; None becomes an empty field."""

    def write(unfinished: Path) -> None:
        with unfinished.open("w", newline="") as file:
            table = csv.DictWriter(file, rows[0], lineterminator="\n")
            table.writeheader()
            table.writerows(rows)

    replace(path, write)


def markdown_table(columns: list[str], rows: list[list[str]]) -> list[str]:
    """Returns the lines of a Markdown table."""
    return [f"| {' | '.join(cells)} |" for cells in (columns, ["---"] * len(columns), *rows)]
