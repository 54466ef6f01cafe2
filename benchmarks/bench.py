"""What ``compare.py`` and ``scaling.py`` share: workers on so many processors, progress, what was measured where.

A worker is a generator function in a process of its own: what it yields is sent here, and what it is asked comes back
from the ``yield``. Between the two the process sleeps.
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
# What numerical libraries read when they are loaded; TensorFlow, PyTorch and JAX are told by their own means as well.
_THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "TF_NUM_INTRAOP_THREADS",
    "TF_NUM_INTEROP_THREADS",
)
# Processors only, whatever the machine has; TensorFlow is quiet.
_ENVIRONMENT = {"CUDA_VISIBLE_DEVICES": "", "JAX_PLATFORMS": "cpu", "TF_CPP_MIN_LOG_LEVEL": "3"}


class WorkerFailed(RuntimeError):
    """A worker raised an exception or died."""


class Worker:
    """A process that runs a generator function.

    Args:
        target: the generator function; importable, because the process is a new Python.
        arguments: its arguments.
        threads: confines the process to so many processors and its libraries to so many threads; None for all.
        log: file for what the process writes to standard error.
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
        there.close()  # or the end of the process would go unnoticed

    def answer(self) -> Any:
        """Waits for the next thing that the generator yields.

        Raises:
            WorkerFailed: when there is no such thing.
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
        """Sends ``question`` to the generator and waits for what it yields next."""
        with suppress(OSError):  # it has ended; what it said of that is told by answer
            self._pipe.send(question)
        return self.answer()

    def end(self) -> None:
        """Ends the process, whatever it does."""
        self._process.terminate()
        self._process.join()


class _Failure(str):
    """The traceback of an exception in a worker."""


def _work(pipe: Connection, log: Path, target: Callable[..., Generator[Any, Any, None]], arguments: Any) -> None:
    """The whole life of a worker."""
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
    """Processes started inside have so many processors and thread variables that say so; None changes neither."""
    environment = dict(os.environ)
    os.environ.update(_ENVIRONMENT)
    can_bind = hasattr(os, "sched_setaffinity")  # Linux
    allowed = os.sched_getaffinity(0) if can_bind else set()
    if threads is not None:
        os.environ.update(dict.fromkeys(_THREAD_VARIABLES, str(threads)))
        if can_bind:
            # The last ones: where interrupts are not spread, the first processor serves them.
            os.sched_setaffinity(0, sorted(allowed)[-threads:])
    try:
        yield
    finally:
        if can_bind:
            os.sched_setaffinity(0, allowed)
        os.environ.clear()
        os.environ.update(environment)


def peak_memory_mb() -> float:
    """The most memory that this process has held so far, in MB (10^6 bytes)."""
    try:
        # ru_maxrss of a spawned process starts at its parent's.
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024 / 1e6
    except OSError:
        pass
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


class Steps:
    """Shows on standard error how far a benchmark is and how long it still takes. Use as a context manager.

    Args:
        total: how long all steps are expected to take, in any unit.
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
        """A step begins; where there is no terminal, this prints a line."""
        self._bar.update(self._task, description=what)
        if not self._console.is_terminal:
            self.notify(f"{what}  {self._left()}".rstrip())

    def done(self, share: float) -> None:
        """A step that was expected to take ``share`` of the total is over."""
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
    """Where results go; those of ``--quick`` mean little, and never replace others unless told to."""
    return chosen.out or (QUICK_RESULTS if chosen.quick else RESULTS)


def in_clone(path: Path) -> str:
    return path.relative_to(CLONE).as_posix()


def header(packages: tuple[str, ...]) -> list[str]:
    """When, where and by what was measured, as lines of Markdown. To be called before results are written.

    Args:
        packages: whose versions to name.
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
    """The first lines of ``header`` as one, for below a picture."""
    return ", ".join(line.partition(": ")[2] for line in header[:2])


def written_out(axis: Axis) -> None:
    """Ticks of a logarithmic axis at 1, 2, 5, 10, 20 and so on, as plain numbers."""
    from matplotlib.ticker import LogLocator, NullLocator

    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter("{x:g}")


def _changed_beside_results() -> bool:
    """Whether the clone differs from its commit in more than the results of an earlier benchmark."""
    command = ["git", "-C", str(CLONE), "status", "--porcelain", "--", ":/", f":(top,exclude){in_clone(RESULTS)}"]
    return bool(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def replace(path: Path, write: Callable[[Path], object]) -> None:
    """Puts a file in place in one go: ``write`` makes it under another name beside it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as unfinished:
        write(unfinished)


def spread(seconds: list[float], digits: int) -> dict[str, float | int]:
    """The columns that tell of one thing measured several times."""
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
    """The lines of a table."""
    return [f"| {' | '.join(cells)} |" for cells in (columns, ["---"] * len(columns), *rows)]
