"""Watches jobs of Slurm until all have ended, and prints their logs meanwhile."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from seqadd.cli.console import SafeConsole
from seqadd.launch.local import NOT_STARTED, JobFailed, JobSucceeded, failure_limit_reached

if TYPE_CHECKING:
    from submitit import Job

# How often Slurm is asked, and how long a job must be absent before it counts as ended: it may just have been requeued,
# and a shared folder may show a result some seconds late.
_SECONDS_BETWEEN_LOOKS = 3.0
_SECONDS_UNTIL_GONE = 20.0

# Slurm's reasons for a wait that ends by itself. Other reasons can block a job for ever, as PartitionTimeLimit does,
# which Slurm refuses at submission only if it is configured so.
_WILL_PASS = ("None", "Priority", "Resources", "BeginTime", "JobArrayTaskLimit")


def run_slurm(*command: str) -> subprocess.CompletedProcess[str]:
    """Runs one of Slurm's commands; a command that takes more than a minute counts as failed."""
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=60)
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(command, 1, "", f"{command[0]} does not respond")


def states_of(job_ids: set[str]) -> dict[str, str] | None:
    """The states of the jobs that have not ended: ``RUNNING``, ``PENDING Priority``...; None if squeue fails.

    squeue, which submitit does not use, also works where Slurm keeps no accounting.
    """
    arrays = ",".join(sorted({job_id.partition("_")[0] for job_id in job_ids}))
    done = run_slurm("squeue", "--noheader", "--array", f"--jobs={arrays}", "--format=%i %T %r")
    if done.returncode != 0:
        return {} if "Invalid job id" in done.stderr else None  # squeue's error for jobs that ended long ago
    found = (line.split(maxsplit=1) for line in done.stdout.splitlines())
    states = {job_id: state for job_id, state in found if job_id in job_ids}
    return {job_id: state if state.startswith("PENDING") else state.split()[0] for job_id, state in states.items()}


@dataclass
class _Watched:
    """A job, and the runs that it trains, by index into those of the sweep."""

    job: Job[Any]
    labels: dict[int, str]
    keys: dict[int, str]
    read: int = 0  # bytes of its log that were shown
    last_seen: float = field(default_factory=time.monotonic)
    state: str = "PENDING"
    cancelled: bool = False


def watch(
    jobs: Sequence[Job[Any]],
    labels: Sequence[str],
    keys: Sequence[str],
    console: SafeConsole,
    max_failures: int | None,
) -> list[JobSucceeded | JobFailed]:
    """Waits for the jobs of all runs, and prints their logs meanwhile."""
    waiting: dict[str, _Watched] = {}
    for index, job in enumerate(jobs):
        watched = waiting.setdefault(job.job_id, _Watched(job, {}, {}))
        watched.labels[index], watched.keys[index] = labels[index], keys[index]
    outcomes: dict[int, JobSucceeded | JobFailed] = {}
    while waiting:
        states = states_of(set(waiting))
        for job_id, each in list(waiting.items()):
            state = "" if states is None else states.get(job_id, "gone")
            _look(each, state, console)
            # Looks for a result only when it can exist, to spare a shared disk the lookups of a thousand jobs.
            found = None if state.startswith(("PENDING", "RUNNING")) else _outcomes(each)
            if found is None:
                continue
            del waiting[job_id]
            for index, outcome in found.items():
                outcomes[index] = outcome
                console.print(f"{labels[index]}  {outcome}  ({len(outcomes)} of {len(jobs)} jobs)", markup=False)
        if failure_limit_reached(outcomes.values(), max_failures):
            _cancel_those_that_wait(waiting)
        if waiting:
            time.sleep(_SECONDS_BETWEEN_LOOKS)
    return [outcomes[index] for index in range(len(jobs))]


def _cancel_those_that_wait(waiting: Mapping[str, _Watched]) -> None:
    """Cancels the jobs that Slurm has not begun yet; one that begins in this moment runs on."""
    pending = [job_id for job_id, each in waiting.items() if each.state.startswith("PENDING") and not each.cancelled]
    if pending and run_slurm("scancel", "--state=PENDING", *pending).returncode == 0:
        for job_id in pending:
            waiting[job_id].cancelled = True


def _look(watched: _Watched, state: str, console: SafeConsole) -> None:
    """Prints a job's news; ``state`` is empty if Slurm does not answer."""
    if state != "gone":
        watched.last_seen = time.monotonic()
    if state not in ("", "gone", watched.state):
        watched.state = state
        kind, _, why = state.partition(" ")
        if kind == "PENDING" and why not in _WILL_PASS:
            console.print(f"{', '.join(watched.labels.values())}  waiting in Slurm's queue: {why}", markup=False)
    if not state.startswith("PENDING"):
        for line in _new_lines(watched):
            console.print(line, markup=False)


def _outcomes(watched: _Watched) -> dict[int, JobSucceeded | JobFailed] | None:
    """How the runs of a job ended, by index; None while it has not ended."""
    job = watched.job
    without_result: JobFailed | None = None
    with suppress(OSError):  # makes NFS drop its cache of missing files, as submitit does
        job.paths.folder.chmod(job.paths.folder.stat().st_mode)
    if job.paths.result_pickle.exists():
        if job.exception() is None:
            found = job.result()
            if not isinstance(found, dict):  # of a job that an earlier version submitted, for one run
                return dict.fromkeys(watched.keys, found)
            lost = JobFailed(f"its job {job.job_id} has no result of it; the same command trains it")
            return {index: found.get(key, lost) for index, key in watched.keys.items()}
        without_result = JobFailed(f"could not be run; see its log {job.paths.stdout}")
    elif time.monotonic() - watched.last_seen > _SECONDS_UNTIL_GONE:
        never_begun = watched.cancelled and watched.state.startswith("PENDING")
        without_result = (
            NOT_STARTED
            if never_begun
            else JobFailed(
                f"Slurm ended job {job.job_id} too early (last state {watched.state}); see its log {job.paths.stdout}"
            )
        )
    return None if without_result is None else dict.fromkeys(watched.keys, without_result)


def _new_lines(watched: _Watched) -> list[str]:
    """The job's new log lines, without those of submitit."""
    try:
        with open(watched.job.paths.stdout, "rb") as log:
            log.seek(watched.read)
            new = log.read()
    except OSError:  # the job has not begun
        return []
    whole = new[: new.rfind(b"\n") + 1]
    watched.read += len(whole)
    lines = whole.decode(errors="replace").splitlines()
    return [line for line in lines if line.startswith(tuple(watched.labels.values()))]
