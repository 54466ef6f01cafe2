"""The jobs of a sweep, a fresh process for each: started, watched, and told apart when one of them fails.

What becomes of their records is ``tracking``'s affair.
"""

from __future__ import annotations

import multiprocessing
import signal
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkServerContext, ForkServerProcess, SpawnContext, SpawnProcess

from seqadd.config import Config, in_one_line
from seqadd.exits import Interrupted, raise_on_signals
from seqadd.machine import processors
from seqadd.progress import Display, EpochDone, Note

# How long jobs that were asked to stop may take to close their runs before they are killed.
_GRACE_SECONDS = 4.0


class JobsFailed(RuntimeError):
    """Some jobs of a sweep did not finish; the others did."""


@dataclass(frozen=True)
class Finished:
    """The last message of a job that went well."""

    run_id: str

    def __str__(self) -> str:
        return f"finished, run {self.run_id}"


@dataclass(frozen=True)
class Failed:
    """The last message of a job that went wrong, in one line."""

    error: str

    def __str__(self) -> str:
        return self.error


@dataclass
class _Job:
    index: int
    label: str
    process: ForkServerProcess | SpawnProcess
    connection: Connection
    outcome: Finished | Failed | None = None


def run_all(labels: Sequence[str], configs: Sequence[Config], at_once: int | None = None) -> list[str]:
    """Runs all jobs to their end, whatever becomes of the others, and returns the ids of their runs.

    Args:
        labels: what each job is called.
        configs: a checked configuration for each.
        at_once: how many jobs run at the same time; None for the processors of this machine over the threads of a job.

    Raises:
        JobsFailed: after the last has ended, naming those that did not finish.
        Interrupted: on Ctrl-C or SIGTERM, after all jobs were stopped.
    """
    if at_once is None:
        at_once = max(1, processors() // max(config.threads for config in configs))
    waiting = list(enumerate(zip(labels, configs, strict=True)))
    running: dict[Connection, _Job] = {}
    ended: list[_Job] = []
    with Display(list(labels), [config.epochs for config in configs], at_once) as display:
        display.say(f"{len(configs)} jobs, {min(at_once, len(configs))} at once")
        try:
            while waiting or running:
                while waiting and len(running) < at_once:
                    index, (label, config) = waiting.pop(0)
                    display.start(index)
                    job = _start(index, label, config)
                    running[job.connection] = job
                for connection in wait(list(running)):
                    assert isinstance(connection, Connection)
                    job = running[connection]
                    if _receive(job, display):
                        continue
                    del running[connection]
                    _conclude(job)
                    ended.append(job)
                    display.end(job.index, str(job.outcome))
        except BaseException:  # whatever it is: without us nobody watches them
            _stop(list(running.values()))
            raise
    ended.sort(key=lambda job: job.index)
    failed = [f"{job.label}: {job.outcome.error}" for job in ended if isinstance(job.outcome, Failed)]
    if failed:
        raise JobsFailed(f"{len(failed)} of {len(ended)} jobs failed: {'; '.join(failed)}")
    return [job.outcome.run_id for job in ended if isinstance(job.outcome, Finished)]


def _start(index: int, label: str, config: Config) -> _Job:
    context = _context()
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_work, args=(config, theirs), name=f"seqadd {label}")
    process.start()
    theirs.close()  # so that the end of the process is the end of the pipe
    return _Job(index, label, process, ours)


def _context() -> ForkServerContext | SpawnContext:
    """Fresh processes, with TensorFlow and MLflow imported beforehand where the system can.

    Importing both takes longer than ten epochs. They are imported in a process that computes nothing and opens no
    store, because what TensorFlow and MLflow start then does not survive a fork; the jobs are forked from it.
    """
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["seqadd.preloaded"])
    return context


def _work(config: Config, connection: Connection) -> None:
    """The life of a job's process."""
    raise_on_signals()
    from seqadd.run import run

    try:
        connection.send(Finished(run(config, connection.send)))
    except Interrupted as stopped:
        sys.exit(stopped.exit_code)
    except Exception as error:
        with suppress(OSError):  # the sweep itself is gone
            connection.send(Failed(f"{type(error).__name__}: {in_one_line(error)}"))
        sys.exit(1)


def _receive(job: _Job, display: Display) -> bool:
    """Takes one message of a job; False when there will be no more."""
    try:
        message: EpochDone | Note | Finished | Failed = job.connection.recv()
    except (EOFError, OSError):  # OSError when it was killed in the middle of a message
        return False
    if isinstance(message, (EpochDone, Note)):
        display.receive(job.index, message)
    else:
        job.outcome = message
    return True


def _conclude(job: _Job) -> None:
    """Settles how a job ended that will say no more."""
    job.process.join()
    if job.outcome is None:
        code = job.process.exitcode or 0
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
        job.outcome = Failed(f"its process {how}")


def _stop(jobs: Sequence[_Job]) -> None:
    """Stops jobs: they may close their runs, and are killed if that takes too long."""
    for job in jobs:
        job.process.terminate()
    deadline = time.monotonic() + _GRACE_SECONDS
    for job in jobs:
        job.process.join(max(0.0, deadline - time.monotonic()))
        if job.process.is_alive():
            job.process.kill()
            job.process.join()
