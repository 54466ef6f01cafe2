"""Runs the jobs of a sweep, each in a fresh process; one job's failure does not affect the others.

The sweep watches each job's pipe, which ends with the job. It does not rely on exit codes: only the server process that
forks the jobs receives them, and it can be killed. Then the next job is forked from a new server process. The sweep
stops a job by a message: on Windows, a signal from another process ends a process at once.
"""

from __future__ import annotations

import _thread
import os
import signal
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import TYPE_CHECKING

from seqadd.cli.entry import end
from seqadd.cli.progress import Display, Report
from seqadd.config import cost
from seqadd.config.messages import one_line, short_line
from seqadd.config.schema import Config
from seqadd.config.validation import check_machine
from seqadd.errors import ConfigError, DeliveryPending, Interrupted, JobsFailed, Pruned
from seqadd.launch.own_parts import check_unless_checked
from seqadd.launch.processes import process_context, start_process
from seqadd.system.files import temporary_folder
from seqadd.system.hardware import memory, processors
from seqadd.system.library_log import capture_logs, with_log_path
from seqadd.system.signals import defer_signals, signals_as_exceptions, stop_this_process

if TYPE_CHECKING:
    from seqadd.launch.processes import Process

# How long jobs that were asked to stop may take to close their runs before they are killed. Usually they end earlier,
# and the sweep has the rest of five seconds.
_GRACE_SECONDS = 3.2

# A process whose pipe has ended ends in a moment. Its exit code is lost if the server process that forked it is gone.
_SECONDS_FOR_AN_EXIT_CODE = 5.0
_LOST_EXIT_CODE = 255  # multiprocessing's value for a lost exit code

# On Windows multiprocessing.connection.wait takes at most 63 handles, two for each job: its pipe and its process.
_MOST_ON_WINDOWS = 31

# The signal that ends a process at once: on Windows, SIGTERM does.
_KILL = getattr(signal, "SIGKILL", signal.SIGTERM)


@dataclass(frozen=True)
class JobSucceeded:
    """The last message of a job that succeeded; ``how`` says in words how it ended, if not after its last epoch."""

    run_id: str
    how: str = "finished"

    def __str__(self) -> str:
        return f"{self.how}, run {self.run_id}"


@dataclass(frozen=True)
class JobFailed:
    """The last message of a job that failed, in one line.

    Attributes:
        error: what failed.
        waits: whether only its delivery to the store is pending.
        started: whether it was started; not if too many others had failed.
    """

    error: str
    waits: bool = False
    started: bool = True

    def __str__(self) -> str:
        return self.error


@dataclass
class _Job:
    index: int
    label: str
    outcome: JobSucceeded | JobFailed | None = None


@dataclass
class _Running:
    job: _Job
    process: Process
    config: Config


def run_all(
    labels: Sequence[str],
    configs: Sequence[Config],
    at_once: int | None = None,
    ended: Callable[[int, JobSucceeded | JobFailed], None] = lambda index, outcome: None,
    max_failures: int | None = None,
) -> list[str]:
    """Runs all jobs, even if some fail, and returns the ids of their runs.

    Args:
        labels: the name of each job.
        configs: a checked configuration for each.
        at_once: how many jobs run at the same time; None for ``max_parallel_jobs``.
        ended: called with each job's index and outcome when it has ended.
        max_failures: after so many failed jobs no further one is started; None for no limit.

    Raises:
        JobsFailed: after the last job has ended, naming those that did not finish.
        DeliveryPending: if all finished, and updates of some are not delivered to the store yet.
        Interrupted: on Ctrl-C or SIGTERM, after all jobs were stopped.
    """
    return run_ids(labels, run_jobs(labels, configs, at_once, ended, max_failures))


def run_jobs(
    labels: Sequence[str],
    configs: Sequence[Config],
    at_once: int | None = None,
    ended: Callable[[int, JobSucceeded | JobFailed], None] = lambda index, outcome: None,
    max_failures: int | None = None,
) -> list[JobSucceeded | JobFailed]:
    """Like ``run_all``, but returns the outcome of each job instead of raising for failed ones."""
    if at_once is None:
        at_once = max_parallel_jobs(configs)
    costs = [cost.seconds_per_epoch(config) for config in configs]
    outcomes: dict[int, JobSucceeded | JobFailed] = {}

    def over(index: int, outcome: JobSucceeded | JobFailed) -> None:
        outcomes[index] = outcome
        ended(index, outcome)

    epochs, resumes = [config.epochs for config in configs], not any(config.force for config in configs)
    queue = (
        (index, config)
        for index, config in enumerate(configs)
        if not failure_limit_reached(outcomes.values(), max_failures)
    )
    with Display(list(labels), epochs, at_once, costs=costs, resumes=resumes) as display:
        run_queue(display, labels, queue, at_once, over)
    return [outcomes.get(index, NOT_STARTED) for index in range(len(labels))]


#: The outcome of a job that was not started, because too many others had failed.
NOT_STARTED = JobFailed("not started", started=False)


def failure_limit_reached(outcomes: Iterable[JobSucceeded | JobFailed], max_failures: int | None) -> bool:
    """Whether so many jobs have failed that no more are to be started; a pending delivery is no failure."""
    failed = [each for each in outcomes if isinstance(each, JobFailed) and each.started and not each.waits]
    return max_failures is not None and len(failed) >= max_failures


def run_queue(
    display: Display,
    labels: Sequence[str],
    queue: Iterator[tuple[int, Config]],
    at_once: int,
    ended: Callable[[int, JobSucceeded | JobFailed], None],
) -> None:
    """Runs all jobs of a queue, and takes each one only when fewer than ``at_once`` are running.

    Args:
        display: shows the jobs.
        labels: the name of each job.
        queue: yields a job's index into ``labels`` and its checked configuration.
        at_once: how many jobs run at the same time.
        ended: called with a job's index and outcome, before the next job is taken.

    Raises:
        JobsFailed: if no process can be started.
        Interrupted: on Ctrl-C or SIGTERM, after all jobs were stopped.
        Whatever ``queue`` and ``ended`` raise, also after all jobs were stopped.
    """
    running: dict[Connection, _Running] = {}

    def over(job: _Job, outcome: JobSucceeded | JobFailed) -> None:
        ended(job.index, outcome)
        display.end(job.index, str(outcome))

    count = f"{len(labels)} job{'s' * (len(labels) != 1)}"
    display.notify(f"{count}, {min(at_once, len(labels))} at once")
    display.prepare("importing TensorFlow")
    context = process_context(display.notify)
    try:
        more = True
        while more or running:
            while more and len(running) < at_once:
                index, config = next(queue, (None, None))
                if index is None or config is None:
                    more = False
                    break
                job = _Job(index, labels[index])
                display.start(index)
                try:
                    with defer_signals():  # a signal here would leave an orphan: a started job that is not in running
                        process, messages = start_process(context, _work, (config,), f"seqadd {job.label}")
                        running[messages] = _Running(job, process, config)
                except (OSError, EOFError) as error:
                    over(job, JobFailed(f"its process could not be started: {one_line(error)}"))
            for connection, message in _next_messages(running) if running else ():
                job = running[connection].job
                if message is None:
                    over(job, _conclude(running.pop(connection)))
                elif isinstance(message, JobSucceeded | JobFailed):
                    job.outcome = message
                else:
                    display.receive(job.index, message)
    except BaseException:  # whatever it is: without this process the jobs would be orphans
        _stop(running)
        raise


def run_ids(labels: Sequence[str], outcomes: Sequence[JobSucceeded | JobFailed]) -> list[str]:
    """The ids of the runs of jobs that all finished.

    Raises:
        JobsFailed: naming the jobs that did not finish.
        DeliveryPending: if all finished, and updates of some are not delivered to the store yet.
    """
    failed = {label: outcome for label, outcome in zip(labels, outcomes, strict=True) if isinstance(outcome, JobFailed)}
    if failed:
        started = {label: outcome for label, outcome in failed.items() if outcome.started}
        message = "; ".join(f"{label}: {outcome.error}" for label, outcome in started.items())
        if all(outcome.waits for outcome in failed.values()):
            raise DeliveryPending(f"{len(failed)} of {len(outcomes)} jobs are not delivered to the store: {message}")
        message = f"{len(started)} of {len(outcomes)} jobs failed: {message}" if started else ""
        if left := [label for label in failed if label not in started]:
            message += f"{'; ' if started else ''}not started, because max_failures was reached: {', '.join(left)}"
        raise JobsFailed(message, failed=len([each for each in started.values() if not each.waits]))
    return [outcome.run_id for outcome in outcomes if isinstance(outcome, JobSucceeded)]


def max_parallel_jobs(configs: Sequence[Config]) -> int:
    """The number of jobs that the machine has processors and memory for, and the system allows; at least one."""
    at_once = processors() // max(config.threads for config in configs)
    there = memory()
    if there is not None:
        at_once = min(at_once, int(there / max(sum(cost.memory_needed(config).values()) for config in configs)))
    if sys.platform == "win32":
        at_once = min(at_once, _MOST_ON_WINDOWS)
    return max(1, at_once)


def _work(config: Config, connection: Connection) -> None:
    """The main function of a job's process."""
    with capture_logs():
        try:
            with signals_as_exceptions(notify=None), temporary_folder():  # the sweep reports the signal
                # Not threading.Thread, which would wait for ever for a thread that finds no memory to begin.
                _thread.start_new_thread(_stop_with_the_sweep, (connection,))
                from seqadd.train import train_run

                def report(message: Report | JobSucceeded) -> None:
                    with suppress(OSError):  # the sweep is gone, and this process is about to be stopped
                        connection.send(message)

                check_machine(config)  # on a cluster the job's machine is not the sweep's
                check_unless_checked(config)
                try:
                    report(JobSucceeded(train_run(config, report)))
                except Pruned as pruned:
                    report(JobSucceeded(pruned.run_id, str(pruned)))
        except Interrupted as stopped:
            end(stopped.exit_code)
        except Exception as error:
            with suppress(OSError):
                name = "" if isinstance(error, DeliveryPending) else f"{type(error).__name__}: "
                message = with_log_path(name + short_line(error))
                connection.send(JobFailed(message, waits=isinstance(error, DeliveryPending)))
            sys.exit(1)


def _stop_with_the_sweep(connection: Connection) -> None:
    """Stops this process when the sweep sends a message, or has ended; a sweep can be killed at any time."""
    with suppress(EOFError, OSError):
        connection.recv()
    stop_this_process()


def _next_messages(
    running: Mapping[Connection, _Running], timeout: float | None = None
) -> Iterator[tuple[Connection, Report | JobSucceeded | JobFailed | None]]:
    """Waits for messages of jobs, and yields each with its pipe; None for a job that has ended."""
    # On Windows the pipe of a job that ended before it took its end of the pipe stays open. A forked process' sentinel
    # is not watched: it also ends with the process that forked it.
    ends = {
        connection: each.process.sentinel
        for connection, each in running.items()
        if isinstance(each.process, SpawnProcess)
    }
    ready = wait([*running, *ends.values()], timeout)
    for connection in [each for each in running if each in ready or ends.get(each) in ready]:
        message = None
        with suppress(EOFError, OSError):  # OSError if the job was killed in the middle of a message
            if connection.poll():
                message = connection.recv()
        yield connection, message


def _conclude(running: _Running) -> JobSucceeded | JobFailed:
    """The outcome of a job whose pipe has ended."""
    running.process.join(_SECONDS_FOR_AN_EXIT_CODE)
    job = running.job
    if job.outcome is None:
        code = running.process.exitcode
        if code is None or code == _LOST_EXIT_CODE:
            how = "disappeared together with the process that forked it"
        elif code < 0:
            how = f"was killed by {signal.Signals(-code).name}"
        else:
            how = f"ended with exit code {code}"
        job.outcome = JobFailed(f"its process {how}")
        _reconcile(running.config)
    return job.outcome


def _reconcile(config: Config) -> None:
    """Reconciles the store after a job was killed; now, because the other jobs may take hours."""
    from seqadd.tracking import delivery, retry
    from seqadd.tracking.connection import open_store

    with suppress(ConfigError, *retry.STORE_ERRORS):  # the end of the sweep tries again
        delivery.reconcile(open_store(config.tracking))


def _stop(running: Mapping[Connection, _Running]) -> None:
    """Stops jobs: sends each a message, so that it closes its run, and kills it if that takes too long."""
    left = dict(running)
    for connection in left:
        with suppress(OSError):  # it has ended
            connection.send(None)
    deadline = time.monotonic() + _GRACE_SECONDS
    while left and time.monotonic() < deadline:
        _wait_for_ends(left, deadline - time.monotonic())
    _wait_for_ends(left, 0)  # a process that has ended must not be killed: its number may be another's by now
    for each in left.values():
        # Not through multiprocessing, which takes a job for dead when the server process that forked it is dead.
        if each.process.pid is not None:
            with suppress(OSError):
                os.kill(each.process.pid, _KILL)
    while left:
        _wait_for_ends(left)


def _wait_for_ends(left: dict[Connection, _Running], timeout: float | None = None) -> None:
    """Waits for the next messages of jobs and discards them; removes the jobs that have ended."""
    for connection, message in _next_messages(left, timeout):
        if message is None:
            del left[connection]
