"""Progress and remaining time of runs: bars in a terminal and in a notebook, plain lines elsewhere.

A run reports what it does and each epoch. A single run reports to its own ``Display``; a job of a sweep sends its
reports to the sweep, whose Display shows all jobs. ``cli.layout`` writes the bars.
"""

from __future__ import annotations

import textwrap
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from types import TracebackType

from rich.console import Console, ConsoleOptions, RenderResult
from rich.live import Live

from seqadd.cli import layout, notebook
from seqadd.cli.console import SafeConsole
from seqadd.cli.layout import Row, metric_text, metrics_text
from seqadd.errors import Interrupted, redact_credentials
from seqadd.system.signals import on_forced_exit


@dataclass(frozen=True)
class EpochDone:
    """The report that an epoch (from 1) is over; ``metrics`` as ``training.loop.train`` yields them."""

    epoch: int
    metrics: dict[str, float]


@dataclass(frozen=True)
class Message:
    """A line about a run."""

    text: str


@dataclass(frozen=True)
class Stage:
    """What a run does before its first epoch and after its last one; bars show it in place of metrics."""

    text: str


@dataclass(frozen=True)
class Pages:
    """Where MLflow shows a run that is recorded: lines for the end of the command."""

    lines: tuple[str, ...]


#: A report of a run.
Report = EpochDone | Message | Stage | Pages

#: A function that receives the reports of a run.
Notify = Callable[[Report], None]


def as_messages(notify: Notify) -> Callable[[str], None]:
    """Returns a function that sends a text as a Message."""
    return lambda text: notify(Message(text))


# How many plain lines a run prints: one for every twentieth of its epochs.
_LINES_PER_RUN = 20


@dataclass
class _Job:
    label: str
    epochs: int
    cost: float
    epoch: int = 0
    metrics: Mapping[str, float] = field(default_factory=dict)
    stage: str = ""
    is_running: bool = False
    seconds_per_epoch: float | None = None
    since: float = field(default_factory=time.monotonic)

    @property
    def left(self) -> float | None:
        """The seconds until the job's end; None before an epoch was timed, and outside the epochs."""
        return (
            None
            if self.seconds_per_epoch is None or self.stage
            else (self.epochs - self.epoch) * self.seconds_per_epoch
        )

    @property
    def progress(self) -> str:
        """``12/200``; as wide for each epoch."""
        return f"{self.epoch:>{len(str(self.epochs))}}/{self.epochs}"


class Display:
    """Shows the progress of jobs that run one after another or in parallel. Use as a context manager.

    Args:
        labels: the name of each job.
        epochs: how many epochs each job trains.
        at_once: how many jobs run at the same time.
        costs: relative cost of an epoch of each job; None if all are equal.
        console: the console to print to; None for standard output, or the output of a notebook's cell.
        resumes: whether the same command resumes after Ctrl-C; the display then says so.
    """

    def __init__(
        self,
        labels: list[str],
        epochs: list[int],
        at_once: int = 1,
        console: Console | None = None,
        costs: list[float] | None = None,
        *,
        resumes: bool = True,
    ) -> None:
        self.console = console or SafeConsole(highlight=False, soft_wrap=True)
        self._cell = notebook.CellOutput() if console is None and notebook.in_notebook() else None
        every = zip(labels, epochs, costs or [1.0] * len(labels), strict=True)
        self._jobs = [_Job(label, n, cost) for label, n, cost in every]
        self._ended = 0
        self._at_once = at_once
        self._resumes = resumes
        self._width = max(len(label) for label in labels)
        self._stage = ""
        self._live = Live(self, console=self.console, refresh_per_second=5, transient=True)
        self._stack = ExitStack()

    def __enter__(self) -> Display:
        if self._cell is None and self.console.is_terminal:
            self._live.start(refresh=True)
        # rich is Python alone, so another thread may call it while TensorFlow computes.
        self._stack.enter_context(on_forced_exit(self._stopped))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stack.close()
        if kind is not None and issubclass(kind, Interrupted):
            self._stopped()
        else:
            self._remove_bars()

    @property
    def _has_bars(self) -> bool:
        return self._cell is not None or self.console.is_terminal

    def _remove_bars(self) -> None:
        """Removes the bars; of jobs that are not over their last state stays."""
        self._live.stop()  # does nothing where it was not started
        if self._cell is not None:
            self._cell.draw(None)
        if self._has_bars:
            for job in self._jobs:
                if job.is_running and job.epoch:
                    lines = [self._line(job, names) for names in (layout.METRICS, ("loss", "val_acc"), ("val_acc",))]
                    width = notebook.WIDTH if self._cell is not None else self.console.width
                    self.notify(next((line for line in lines if len(line) <= width), lines[-1]))

    def _stopped(self) -> None:
        """Says after a signal how far the jobs came, and that the same command resumes."""
        self._remove_bars()
        (job, *others), resumes = self._jobs, "; the same command resumes" if self._resumes else ""
        if others:
            self.notify(f"stopped after {self._ended} of {len(self._jobs)} jobs{resumes}")
        elif job.epoch:
            self.notify(f"stopped after epoch {job.epoch} of {job.epochs}{resumes}")
        else:
            self.notify(f"stopped before an epoch was over{resumes}")

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Draws the bars: a line for each running job, and in a sweep one for all."""
        jobs = f"{self._ended}/{len(self._jobs)}"
        width, epochs = options.max_width, max(len(jobs), *(len(job.progress) for job in self._jobs))
        labels = layout.short_labels([job.label for job in self._jobs], width, epochs)
        rows = [
            Row(label, job.epoch / job.epochs, job.progress, job.metrics, job.stage, _in_words(job.left))
            for label, job in zip(labels, self._jobs, strict=True)
            if job.is_running
        ]
        if len(self._jobs) > 1:
            all_epochs = sum(job.cost * job.epochs for job in self._jobs)
            share = sum(job.cost * job.epoch for job in self._jobs) / all_epochs
            rows.append(Row("sweep", share, jobs, text=self._stage or "jobs", left=_in_words(self._left_of_all())))
        columns = layout.choose_layout(width, [*labels, "sweep"] if len(labels) > 1 else labels, epochs)
        for row in rows:
            yield layout.line(row, columns, width, ascii_only=options.ascii_only)

    def notify(self, line: str) -> None:
        """Prints a line, above the bars if there are any; a terminal gets it broken between words."""
        line = redact_credentials(line)
        if self._cell is not None:
            self._cell.print(line)
            return
        if self.console.is_terminal and len(line) > self.console.width:
            line = textwrap.fill(
                line, self.console.width, subsequent_indent="    ", break_long_words=False, break_on_hyphens=False
            )
        self.console.print(line, markup=False)

    def prepare(self, stage: str) -> None:
        """Says in the bars what a sweep does before its first job begins."""
        self._stage = stage
        self._redraw()

    def start(self, index: int) -> None:
        """Called when job ``index`` begins."""
        job = self._jobs[index]
        job.since = time.monotonic()
        job.is_running, job.stage, self._stage = True, "starting", ""

    def receive(self, index: int, message: Report) -> None:
        """Receives a report of job ``index``; ``Pages`` are for the end of the command."""
        job = self._jobs[index]
        if isinstance(message, Message):
            self.notify(f"{job.label.ljust(self._width)}  {message.text}")
        elif isinstance(message, Stage):
            job.stage = message.text
        elif isinstance(message, EpochDone):
            self._receive_epoch(job, message)
        self._redraw()

    def _redraw(self) -> None:
        """Draws the bars of a notebook; those of a terminal draw themselves."""
        if self._cell is not None:
            self._cell.draw(self)

    def _receive_epoch(self, job: _Job, done: EpochDone) -> None:
        if done.epoch == job.epoch:  # a run that is stopped reports its last epoch once more
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
        job.since, job.epoch, job.metrics, job.stage = now, done.epoch, done.metrics, ""
        if not self._has_bars and (first or self._is_due(job)):
            line = f"{self._line(job)}  {_in_words(job.left)}"
            if len(self._jobs) > 1 and self._left_of_all() is not None:
                line += f"  (sweep {_in_words(self._left_of_all())})"
            self.notify(line.rstrip())

    def end(self, index: int, outcome: str) -> None:
        """Called when job ``index`` has ended; in a sweep ``outcome`` replaces its bar."""
        job = self._jobs[index]
        self._ended += 1
        if len(self._jobs) > 1:
            job.is_running = False
            if "val_acc" in job.metrics and outcome.startswith("finished, "):
                outcome = f"val_acc {metric_text(job.metrics['val_acc'])}  {outcome.removeprefix('finished, ')}"
            self.notify(f"{job.label.ljust(self._width)}  {outcome}")
            job.epoch = job.epochs

    def _line(self, job: _Job, names: Sequence[str] = layout.METRICS) -> str:
        return f"{job.label.ljust(self._width)}  epoch {job.progress}  {metrics_text(job.metrics, names)}"

    def _is_due(self, job: _Job) -> bool:
        step = max(1, job.epochs // _LINES_PER_RUN)
        return job.epoch % step == 0 or job.epoch == job.epochs

    def _left_of_all(self) -> float | None:
        """The seconds until the last job ends; None before an epoch was timed."""
        timed = [job.seconds_per_epoch / job.cost for job in self._jobs if job.seconds_per_epoch is not None]
        if not timed:
            return None
        typical = sum(timed) / len(timed)
        lefts = [(job.epochs - job.epoch) * (job.seconds_per_epoch or typical * job.cost) for job in self._jobs]
        return max(sum(lefts) / min(self._at_once, len(lefts)), max(lefts))


def _in_words(seconds: float | None) -> str:
    if seconds is None:
        return ""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02} left" if hours else f"{minutes}:{rest:02} left"
