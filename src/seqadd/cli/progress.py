"""Progress and remaining time of runs: bars in a terminal, plain lines elsewhere.

A run reports each epoch. A single run reports to its own ``Display``; a job of a sweep sends its reports to the sweep,
whose Display shows all jobs.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskID, TextColumn
from rich.table import Column
from rich.text import Text

from seqadd.cli.console import SafeConsole
from seqadd.errors import redact_credentials


@dataclass(frozen=True)
class EpochDone:
    """The report that an epoch (from 1) is over; ``metrics`` as ``training.loop.train`` yields them."""

    epoch: int
    metrics: dict[str, float]


@dataclass(frozen=True)
class Message:
    """A line about a run."""

    text: str


#: A function that receives the reports of a run.
Notify = Callable[[EpochDone | Message], None]


def as_messages(notify: Notify) -> Callable[[str], None]:
    """Returns a function that sends a text as a Message."""
    return lambda text: notify(Message(text))


_SHOWN = ("loss", "acc", "val_acc")
# How many plain lines a run prints: one for every twentieth of its epochs.
_LINES_PER_RUN = 20


@dataclass
class _Job:
    label: str
    epochs: int
    cost: float
    epoch: int = 0
    seconds_per_epoch: float | None = None
    bar: TaskID | None = None
    since: float = field(default_factory=time.monotonic)


class Display:
    """Shows the progress of jobs that run one after another or in parallel. Use as a context manager.

    Args:
        labels: the name of each job.
        epochs: how many epochs each job trains.
        at_once: how many jobs run at the same time.
        costs: relative cost of an epoch of each job; None if all are equal.
        console: the console to print to; None for standard output.
    """

    def __init__(
        self,
        labels: list[str],
        epochs: list[int],
        at_once: int = 1,
        console: Console | None = None,
        costs: list[float] | None = None,
    ) -> None:
        self.console = console or SafeConsole(highlight=False, soft_wrap=True)
        every = zip(labels, epochs, costs or [1.0] * len(labels), strict=True)
        self._jobs = [_Job(label, n, cost) for label, n, cost in every]
        self._ended = 0
        self._at_once = at_once
        self._width = max(len(label) for label in labels)
        self._bars = Progress(
            TextColumn("{task.description}", table_column=Column(overflow="ellipsis")),
            BarColumn(bar_width=24 if self.console.width >= 100 else 6),
            TextColumn("{task.fields[epochs]}"),
            TextColumn("{task.fields[metrics]}"),
            _TimeLeft(),
            console=self.console,
            transient=len(labels) > 1,
        )
        self._all = self._bars.add_task("sweep", visible=len(labels) > 1, epochs="", metrics="", left=None)

    def __enter__(self) -> Display:
        if self.console.is_terminal:
            self._bars.start()
        self._refresh_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self.console.is_terminal:
            self._bars.stop()

    def notify(self, line: str) -> None:
        """Prints a line, above the bars if there are any."""
        self.console.print(redact_credentials(line), markup=False)

    def start(self, index: int) -> None:
        """Called when job ``index`` begins."""
        job = self._jobs[index]
        job.since = time.monotonic()
        job.bar = self._bars.add_task(
            job.label.ljust(self._width), total=job.epochs, epochs="preparing", metrics="", left=None
        )

    def receive(self, index: int, message: EpochDone | Message) -> None:
        """Receives a report of job ``index``."""
        job = self._jobs[index]
        if isinstance(message, Message):
            self.notify(f"{job.label.ljust(self._width)}  {message.text}")
            return
        now = time.monotonic()
        latest = now - job.since
        first = job.epoch == 0  # this process' first epoch includes the compilation, so its time is not typical
        if first:
            pass
        elif job.seconds_per_epoch is None:
            job.seconds_per_epoch = latest
        else:
            job.seconds_per_epoch += 0.2 * (latest - job.seconds_per_epoch)
        job.since = now
        job.epoch = message.epoch
        metrics = "  ".join(f"{name} {message.metrics[name]:.4f}" for name in _SHOWN)
        epochs = f"{job.epoch:>{len(str(job.epochs))}}/{job.epochs}"
        if job.bar is not None:
            self._bars.update(job.bar, completed=job.epoch, epochs=epochs, metrics=metrics, left=_left_of(job))
        self._refresh_all()
        if not self.console.is_terminal and (first or self._is_due(job)):
            line = f"{job.label.ljust(self._width)}  epoch {epochs}  {metrics}  {_in_words(_left_of(job))}"
            if len(self._jobs) > 1 and self._left_of_all() is not None:
                line += f"  (sweep {_in_words(self._left_of_all())})"
            self.notify(line.rstrip())

    def end(self, index: int, outcome: str) -> None:
        """Called when job ``index`` has ended; in a sweep ``outcome`` replaces its bar."""
        job = self._jobs[index]
        self._ended += 1
        if len(self._jobs) > 1:
            if job.bar is not None:
                self._bars.update(job.bar, visible=False)
            self.notify(f"{job.label.ljust(self._width)}  {outcome}")
        job.epoch = job.epochs
        self._refresh_all()

    def _is_due(self, job: _Job) -> bool:
        step = max(1, job.epochs // _LINES_PER_RUN)
        return job.epoch % step == 0 or job.epoch == job.epochs

    def _refresh_all(self) -> None:
        self._bars.update(
            self._all,
            total=sum(job.cost * job.epochs for job in self._jobs),
            completed=sum(job.cost * job.epoch for job in self._jobs),
            epochs=f"{self._ended}/{len(self._jobs)} jobs",
            left=self._left_of_all(),
        )

    def _left_of_all(self) -> float | None:
        """The seconds until the last job ends; None before an epoch was timed."""
        timed = [job.seconds_per_epoch / job.cost for job in self._jobs if job.seconds_per_epoch is not None]
        if not timed:
            return None
        typical = sum(timed) / len(timed)
        lefts = [(job.epochs - job.epoch) * (job.seconds_per_epoch or typical * job.cost) for job in self._jobs]
        return max(sum(lefts) / min(self._at_once, len(lefts)), max(lefts))


def _left_of(job: _Job) -> float | None:
    return None if job.seconds_per_epoch is None else (job.epochs - job.epoch) * job.seconds_per_epoch


def _in_words(seconds: float | None) -> str:
    if seconds is None:
        return ""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02} left" if hours else f"{minutes}:{rest:02} left"


class _TimeLeft(ProgressColumn):
    """Shows this project's estimate of the remaining time; rich's own counts the preparation as training."""

    def render(self, task: Task) -> Text:
        return Text(_in_words(task.fields["left"]))
