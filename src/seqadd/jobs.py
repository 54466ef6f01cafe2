"""The jobs of a sweep, a fresh process for each: started, watched, and told apart when one of them fails.

What becomes of their records is ``tracking``'s affair.
"""

from __future__ import annotations

import multiprocessing
import os
import select
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import forkserver, resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkServerContext, ForkServerProcess, SpawnContext, SpawnProcess

from seqadd.config import Config, in_a_short_line, in_one_line
from seqadd.exits import SIGNALS, Interrupted, Pruned, RecordWaits, raising_on_signals, signals_held
from seqadd.machine import memory, processors
from seqadd.progress import Display, EpochDone, Note

# How long jobs that were asked to stop may take to close their runs before they are killed. They end by themselves
# before that, and the sweep has the rest of five seconds.
_GRACE_SECONDS = 3.2


class JobsFailed(RuntimeError):
    """Some jobs of a sweep did not finish; the others did."""


@dataclass(frozen=True)
class Finished:
    """The last message of a job that went well; ``how`` it ended, in words, if not after its last epoch."""

    run_id: str
    how: str = "finished"

    def __str__(self) -> str:
        return f"{self.how}, run {self.run_id}"


@dataclass(frozen=True)
class Failed:
    """The last message of a job that went wrong, in one line; ``waits`` if only the store does not know of it yet."""

    error: str
    waits: bool = False

    def __str__(self) -> str:
        return self.error


@dataclass
class _Job:
    index: int
    label: str
    outcome: Finished | Failed | None = None


@dataclass
class _Running:
    job: _Job
    process: ForkServerProcess | SpawnProcess


def run_all(
    labels: Sequence[str],
    configs: Sequence[Config],
    at_once: int | None = None,
    ended: Callable[[int, Finished | Failed], None] = lambda index, outcome: None,
) -> list[str]:
    """Runs all jobs to their end, whatever becomes of the others, and returns the ids of their runs.

    Args:
        labels: what each job is called.
        configs: a checked configuration for each.
        at_once: how many jobs run at the same time; None for as many as ``jobs_at_once`` finds room for.
        ended: is told how each job ended, when it has.

    Raises:
        JobsFailed: after the last has ended, naming those that did not finish.
        RecordWaits: when all finished, and the store could not be told of some.
        Interrupted: on Ctrl-C or SIGTERM, after all jobs were stopped.
    """
    return run_ids(labels, run_each(labels, configs, at_once, ended))


def run_each(
    labels: Sequence[str],
    configs: Sequence[Config],
    at_once: int | None = None,
    ended: Callable[[int, Finished | Failed], None] = lambda index, outcome: None,
) -> list[Finished | Failed]:
    """As ``run_all``, but returns how each job ended, and raises for none of them."""
    if at_once is None:
        at_once = jobs_at_once(configs)
    costs = [config.seconds_per_epoch() for config in configs]
    outcomes: dict[int, Finished | Failed] = {}

    def over(index: int, outcome: Finished | Failed) -> None:
        outcomes[index] = outcome
        ended(index, outcome)

    with Display(list(labels), [config.epochs for config in configs], at_once, costs=costs) as display:
        run_queue(display, labels, enumerate(configs), at_once, over)
    return [outcomes[index] for index in range(len(labels))]


def run_queue(
    display: Display,
    labels: Sequence[str],
    queue: Iterator[tuple[int, Config]],
    at_once: int,
    ended: Callable[[int, Finished | Failed], None],
) -> None:
    """Runs jobs to their end, each of which is asked for when there is room for it and not before.

    Args:
        display: shows them.
        labels: what each job is called.
        queue: gives a job's index into ``labels`` and its checked configuration.
        at_once: how many jobs run at the same time.
        ended: is told how each job ended, before the next is asked for.

    Raises:
        Interrupted: on Ctrl-C or SIGTERM, after all jobs were stopped.
        Whatever ``queue`` and ``ended`` raise, likewise.
    """
    running: dict[Connection, _Running] = {}
    context = _context()

    def over(job: _Job, outcome: Finished | Failed) -> None:
        ended(job.index, outcome)
        display.end(job.index, str(outcome))

    count = f"{len(labels)} job{'s' * (len(labels) != 1)}"
    display.say(f"{count}, {min(at_once, len(labels))} at once")
    _import_libraries(context)
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
                    with signals_held():  # a job that is started and not watched would be nobody's
                        process, messages = _start(context, job.label, config)
                        running[messages] = _Running(job, process)
                except (OSError, EOFError) as error:
                    over(job, Failed(f"its process could not be started: {in_one_line(error)}"))
            for connection in wait(list(running)) if running else []:
                assert isinstance(connection, Connection)
                job = running[connection].job
                if _receive(job, connection, display):
                    continue
                over(job, _conclude(job, running.pop(connection).process))
    except BaseException:  # whatever it is: without us nobody watches them
        _stop([each.process for each in running.values()])
        raise


def run_ids(labels: Sequence[str], outcomes: Sequence[Finished | Failed]) -> list[str]:
    """The ids of the runs of jobs that all finished.

    Raises:
        JobsFailed: naming the jobs that did not finish.
        RecordWaits: when all finished, and the store could not be told of some.
    """
    failed = {label: outcome for label, outcome in zip(labels, outcomes, strict=True) if isinstance(outcome, Failed)}
    if failed:
        said = "; ".join(f"{label}: {outcome.error}" for label, outcome in failed.items())
        if all(outcome.waits for outcome in failed.values()):
            raise RecordWaits(f"{len(failed)} of {len(outcomes)} jobs wait for the store: {said}")
        raise JobsFailed(f"{len(failed)} of {len(outcomes)} jobs failed: {said}")
    return [outcome.run_id for outcome in outcomes if isinstance(outcome, Finished)]


def jobs_at_once(configs: Sequence[Config]) -> int:
    """As many as the machine has processors and memory for; at least one."""
    at_once = processors() // max(config.threads for config in configs)
    there = memory()
    if there is not None:
        at_once = min(at_once, int(there / max(sum(config.memory_needed().values()) for config in configs)))
    return max(1, at_once)


_Context = ForkServerContext | SpawnContext


def _context() -> _Context:
    """Fresh processes, with TensorFlow and MLflow imported beforehand where the system can.

    Importing both takes longer than ten epochs. They are imported in a process that computes nothing and opens no
    store, because what TensorFlow and MLflow start then does not survive a fork; the jobs are forked from it.
    """
    if sys.platform != "linux":  # elsewhere even the libraries' import does not survive one
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["seqadd.preloaded"])
    return context


def _import_libraries(context: _Context) -> None:
    """Waits until the process is there from which jobs are forked, so that starting one takes no time afterwards.

    A signal that comes meanwhile leaves nothing behind but a process that is about to end.
    """
    if isinstance(context, ForkServerContext):
        resource_tracker.ensure_running()  # a helper of the other; where it is started, it unblocks signals
        with _signals_blocked():  # in that process; a job unblocks them
            forkserver.ensure_running()
        first = context.Process(target=_nothing)
        first.start()
        first.join()


def _nothing() -> None:
    pass


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


def _start(context: _Context, label: str, config: Config) -> tuple[ForkServerProcess | SpawnProcess, Connection]:
    """The process of a job, and where its messages come from."""
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_work, args=(config, theirs), name=f"seqadd {label}")
    process.start()
    theirs.close()  # so that the end of the process is the end of the pipe
    return process, ours


def _work(config: Config, connection: Connection) -> None:
    """The life of a job's process."""
    try:
        with raising_on_signals(say=None), _temporary_files_removed():  # the sweep says it
            threading.Thread(target=_stop_with_the_sweep, args=(connection,), daemon=True).start()
            from seqadd.run import run

            def report(message: EpochDone | Note | Finished) -> None:
                with suppress(OSError):  # the sweep is gone, and this process is about to be told
                    connection.send(message)

            try:
                report(Finished(run(config, report)))
            except Pruned as pruned:
                report(Finished(pruned.run_id, str(pruned)))
    except Interrupted as stopped:
        sys.exit(stopped.exit_code)
    except Exception as error:
        with suppress(OSError):
            name = "" if isinstance(error, RecordWaits) else f"{type(error).__name__}: "
            connection.send(Failed(name + in_a_short_line(error), waits=isinstance(error, RecordWaits)))
        sys.exit(1)


@contextmanager
def _temporary_files_removed() -> Iterator[None]:
    """What libraries leave for the end of Python, as TensorFlow does six files, a job would leave for good."""
    before = tempfile.tempdir
    with tempfile.TemporaryDirectory(prefix="seqadd-", ignore_cleanup_errors=True) as tempfile.tempdir:
        try:
            yield
        finally:
            tempfile.tempdir = before


def _stop_with_the_sweep(connection: Connection) -> None:
    """Asks this process to stop when nobody is left to hear its messages, for a sweep can be killed in any way."""
    if hasattr(select, "poll"):
        waiting = select.poll()
        waiting.register(connection, 0)  # only for the other end being closed, of which poll always tells
        waiting.poll()
        os.kill(os.getpid(), signal.SIGTERM)


def _receive(job: _Job, connection: Connection, display: Display) -> bool:
    """Takes one message of a job; False when there will be no more."""
    try:
        message: EpochDone | Note | Finished | Failed = connection.recv()
    except (EOFError, OSError):  # OSError when it was killed in the middle of a message
        return False
    if isinstance(message, (EpochDone, Note)):
        display.receive(job.index, message)
    else:
        job.outcome = message
    return True


def _conclude(job: _Job, process: ForkServerProcess | SpawnProcess) -> Finished | Failed:
    """How a job ended that will say no more."""
    process.join()
    if job.outcome is None:
        code = process.exitcode or 0
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
        job.outcome = Failed(f"its process {how}")
    return job.outcome


def _stop(processes: Sequence[ForkServerProcess | SpawnProcess]) -> None:
    """Stops jobs: they may close their runs, and are killed if that takes too long."""
    for process in processes:
        process.terminate()
    deadline = time.monotonic() + _GRACE_SECONDS
    for process in processes:
        process.join(max(0.0, deadline - time.monotonic()))
        if process.is_alive():
            process.kill()
            process.join()
