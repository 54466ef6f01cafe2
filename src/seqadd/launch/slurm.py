"""The jobs of a sweep on a Slurm cluster: one array, submitted through submitit and watched until all have ended.

From the moment that they are submitted the jobs are Slurm's: who watches may go, and the same command again watches
those that are still there and submits what is missing. Each job is a sweep of one, see ``local``, so that everything
that holds for a job on this machine holds for it: it checkpoints, skips what is finished, and goes on where it was when
Slurm has it requeued, at its time limit or after another job has taken its place.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import redirect_stderr, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock

from seqadd.cli.console import SafeConsole
from seqadd.config.messages import one_line
from seqadd.config.schema import Config
from seqadd.errors import ConfigError, Interrupted
from seqadd.launch.local import JobFailed, JobSucceeded, run_ids, run_jobs
from seqadd.launch.slurm_options import Request, only_these_options
from seqadd.system.files import write_file
from seqadd.system.signals import defer_signals, signals_as_exceptions

if TYPE_CHECKING:
    from submitit import Job

# At its time limit a job is requeued and goes on, so many times; this long before, it is told to.
_REQUEUES = 10
_SECONDS_TO_STOP = 60
# Slurm is asked this often. A job that it no longer has may have been requeued a moment ago, and a shared folder may
# show a result some seconds late.
_SECONDS_BETWEEN_LOOKS = 3.0
_SECONDS_UNTIL_GONE = 20.0
# A job that was told to end waits so long for Slurm to end it.
_SECONDS_TO_BE_KILLED = 3600.0

_SUBMITTED = "submitted.json"

# Why Slurm lets a job wait that will come to its turn. Other reasons can hold it for ever, as PartitionTimeLimit does,
# which Slurm refuses at once only where it is configured to.
_WILL_PASS = ("None", "Priority", "Resources", "BeginTime", "JobArrayTaskLimit")


def check(request: Request, configs: Sequence[Config]) -> None:
    """Asks Slurm whether it would take such jobs, but for those that it has already, and submits none.

    Raises:
        ConfigError: without Slurm's commands or submitit, and for what Slurm refuses: a partition that is not there, an
            account without permission, more memory, processors or time than there are.
    """
    try:
        import submitit  # noqa: F401
    except ImportError as error:
        raise ConfigError("hydra/launcher=slurm: submitit is not installed; pip install 'seqadd[slurm]'") from error
    for program in ("sbatch", "squeue", "srun"):
        if shutil.which(program) is None:
            raise ConfigError(
                f"hydra/launcher=slurm: there is no {program} on this machine; Slurm's are on the "
                "cluster's login node: run it there, or without hydra/launcher=slurm"
            )
    folder = Path(request.folder).absolute()
    missing = len(configs) - len(_still_there(folder, configs))
    options = [
        f"--{name}" if value is True else f"--{name}={value}" for name, value in request.sbatch_options(configs).items()
    ]
    options.append(f"--array=0-{max(1, min(missing, _longest_array())) - 1}")
    # Where nodes are being repaired this refuses what would only wait; those that wait can be watched all the same.
    with only_these_options(request.sbatch_options(configs)):
        asked = _slurm("sbatch", "--test-only", *options, "--wrap=true") if missing else None
    if asked is not None and asked.returncode != 0:
        raise ConfigError(
            f"hydra/launcher=slurm: Slurm refuses the jobs: {_said(asked)}; asked for {' '.join(options)}"
            + _partitions_there(request)
            + " (no job was submitted)"
        )
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)  # an address with a password in it may be in there
    except OSError as error:
        raise ConfigError(f"hydra.launcher.folder={request.folder}: cannot be made: {one_line(error)}") from error
    if not os.access(folder, os.W_OK):
        raise ConfigError(f"hydra.launcher.folder={request.folder}: cannot be written; name a folder of your own")


def _longest_array() -> int:
    """How many jobs Slurm takes as one array."""
    found = re.search(r"^MaxArraySize\s*=\s*(\d+)", _slurm("scontrol", "show", "config").stdout, re.MULTILINE)
    return int(found[1]) if found else 1001  # Slurm's default


def _partitions_there(request: Request) -> str:
    there = _slurm("sinfo", "--noheader", "--format=%R").stdout.split()
    if request.partition is None or request.partition in there:
        return ""
    return f"; partitions are {', '.join(there)}"


def _slurm(*command: str) -> subprocess.CompletedProcess[str]:
    """A command of Slurm's; one that does not answer within a minute has failed."""
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=60)
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(command, 1, "", f"{command[0]} does not answer")


def _said(done: subprocess.CompletedProcess[str]) -> str:
    """The last thing that it said, which is the one about the job."""
    every = [line.removeprefix(f"{done.args[0]}: ").strip() for line in done.stderr.splitlines()]
    lines = [line for line in every if line and not line.startswith('Try "')]  # to read its help
    return lines[-1] if lines else f"exit code {done.returncode}"


class _Work:
    """What a job does on its node: trains one configuration, in a process of its own."""

    def __call__(self, label: str, config: Config) -> JobSucceeded | JobFailed:
        try:
            with signals_as_exceptions():
                (outcome,) = run_jobs([label], [config], at_once=1)
            return outcome
        except Interrupted as stopped:  # which is no result: Slurm may have requeued the job
            # A job that ends by itself in the time that a preempted one is given is not requeued.
            print(f"{label}  told to stop, waits for Slurm to end it", flush=True)
            time.sleep(_SECONDS_TO_BE_KILLED)
            sys.exit(stopped.exit_code)

    def checkpoint(self, label: str, config: Config) -> Any:
        """What submitit has requeued in place of a job that is told of its time limit; it goes on by itself."""
        import submitit

        return submitit.helpers.DelayedSubmission(self, label, config)


def run_all(labels: Sequence[str], configs: Sequence[Config], request: Request) -> list[str]:
    """Runs all jobs to their end, whatever becomes of the others, and returns the ids of their runs.

    Args:
        labels: what each job is called.
        configs: a checked configuration for each.
        request: what is asked for each job.

    Raises:
        ConfigError: when Slurm does not take the jobs.
        JobsFailed: after the last has ended, naming those that did not finish.
        DeliveryPending: when all finished, and the store could not be told of some.
        Interrupted: on Ctrl-C or SIGTERM; the jobs go on.
    """
    console = SafeConsole(highlight=False, soft_wrap=True)
    folder = Path(request.folder).absolute()
    there = _still_there(folder, configs)
    missing = [index for index in range(len(configs)) if index not in there]
    if there:
        console.print(
            f"{len(there)} of {len(configs)} jobs are with Slurm already: {_ids(there.values())}", markup=False
        )
    if missing:
        at_once = _longest_array()
        for some in (missing[first : first + at_once] for first in range(0, len(missing), at_once)):
            # A job that is submitted and not written down would be submitted again.
            with defer_signals(however_long=True):
                new = _submit(folder, [labels[n] for n in some], [configs[n] for n in some], request)
                there |= dict(zip(some, new, strict=True))
                _write_down(folder, {_key(configs[index]): there[index].job_id for index in some})
            console.print(
                f"{len(some)} jobs submitted to Slurm: {_ids(new)}, of each {request.minutes_for(configs)} min and "
                f"{request.memory_for(configs):g} GB; logs in {request.folder}",
                markup=False,
            )
    try:
        outcomes = _watch({index: there[index] for index in range(len(configs))}, labels, console)
    except Interrupted:
        console.print(
            f"The jobs go on without being watched: {_ids(there.values())}. The same command watches them again; "
            f"scancel {' '.join(sorted({job.job_id.partition('_')[0] for job in there.values()}))} ends them.",
            markup=False,
        )
        raise
    return run_ids(labels, outcomes)


def _submit(folder: Path, labels: Sequence[str], configs: Sequence[Config], request: Request) -> list[Job[Any]]:
    import submitit

    executor = submitit.SlurmExecutor(folder=folder, max_num_timeout=_REQUEUES)
    wanted = request.sbatch_options(configs)
    executor.update_parameters(
        job_name="seqadd",
        time=request.minutes_for(configs),  # submitit must know it too
        stderr_to_stdout=True,
        signal_delay_s=_SECONDS_TO_STOP,
        array_parallelism=request.jobs or len(configs),
        additional_parameters=wanted,
    )
    try:
        with only_these_options(wanted), redirect_stderr(io.StringIO()):  # on which submitit repeats what sbatch says
            return list(executor.map_array(_Work(), labels, configs))
    except (subprocess.CalledProcessError, submitit.core.utils.FailedJobError) as error:
        raise ConfigError(f"hydra/launcher=slurm: sbatch failed: {one_line(error)}") from error


def _still_there(folder: Path, configs: Sequence[Config]) -> dict[int, Job[Any]]:
    """Which of the jobs were submitted before and are still waiting or running."""
    import submitit

    found: dict[int, Job[Any]] = {}
    submitted = _written_down(folder)
    asked = {index: submitted[_key(config)] for index, config in enumerate(configs) if _key(config) in submitted}
    states = _states(set(asked.values())) if asked else {}
    for index, job_id in asked.items():
        if states is None or job_id in states:
            found[index] = submitit.SlurmJob(folder, job_id)
    return found


def _key(config: Config) -> str:
    """What a job is found again by: what it trains and who is told of it; not its parent, which watchers renew."""
    told = config.tracking
    parts = [config.config_hash(), config.force, told.uri, told.experiment, told.search, told.trial]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


def _written_down(folder: Path) -> dict[str, str]:
    with suppress(OSError, ValueError):
        found = json.loads((folder / _SUBMITTED).read_text(encoding="utf-8"))
        return {str(key): str(value) for key, value in found.items()}
    return {}


def _write_down(folder: Path, submitted: dict[str, str]) -> None:
    with FileLock(folder / f"{_SUBMITTED}.lock"):
        write_file(folder / _SUBMITTED, json.dumps({**_written_down(folder), **submitted}, indent=1))


def _ids(of_jobs: Any) -> str:
    """The jobs of each array together: ``17_0 to 17_11``."""
    every = [job.job_id for job in of_jobs]
    return every[0] if len(every) == 1 else f"{every[0]} to {every[-1]}"


def _states(job_ids: set[str]) -> dict[str, str] | None:
    """What Slurm says of jobs that it has not ended: ``RUNNING``, ``PENDING Priority``...; None without an answer.

    squeue, which submitit does not ask, knows of them also where Slurm keeps no accounts.
    """
    arrays = ",".join(sorted({job_id.partition("_")[0] for job_id in job_ids}))
    asked = _slurm("squeue", "--noheader", "--array", f"--jobs={arrays}", "--format=%i %T %r")
    if asked.returncode != 0:
        return {} if "Invalid job id" in asked.stderr else None  # which it says of jobs that have long ended
    found = (line.split(maxsplit=1) for line in asked.stdout.splitlines())
    states = {job_id: said for job_id, said in found if job_id in job_ids}
    return {job_id: said if said.startswith("PENDING") else said.split()[0] for job_id, said in states.items()}


@dataclass
class _Watched:
    job: Job[Any]
    label: str
    read: int = 0  # bytes of its log
    last_seen: float = field(default_factory=time.monotonic)
    state: str = "PENDING"


def _watch(
    by_index: Mapping[int, Job[Any]], labels: Sequence[str], console: SafeConsole
) -> list[JobSucceeded | JobFailed]:
    """Waits for all jobs, and shows what their logs say meanwhile."""
    waiting = {index: _Watched(job, labels[index]) for index, job in by_index.items()}
    outcomes: dict[int, JobSucceeded | JobFailed] = {}
    while waiting:
        states = _states({each.job.job_id for each in waiting.values()})
        for index, each in list(waiting.items()):
            state = "" if states is None else states.get(each.job.job_id, "gone")
            _look(each, state, console)
            # On a disk that many share, files of a thousand jobs are not looked for without need.
            outcome = None if state.startswith(("PENDING", "RUNNING")) else _outcome(each)
            if outcome is not None:
                del waiting[index]
                outcomes[index] = outcome
                console.print(f"{each.label}  {outcome}  ({len(outcomes)} of {len(by_index)} jobs)", markup=False)
        if waiting:
            time.sleep(_SECONDS_BETWEEN_LOOKS)
    return [outcomes[index] for index in by_index]


def _look(watched: _Watched, state: str, console: SafeConsole) -> None:
    """Shows what is new of a job; its state is empty where Slurm does not answer."""
    if state != "gone":
        watched.last_seen = time.monotonic()
    if state not in ("", "gone", watched.state):
        watched.state = state
        kind, _, why = state.partition(" ")
        if kind == "PENDING" and why not in _WILL_PASS:
            console.print(f"{watched.label}  waits in Slurm's queue: {why}", markup=False)
    if not state.startswith("PENDING"):
        for line in _new_lines(watched):
            console.print(line, markup=False)


def _outcome(watched: _Watched) -> JobSucceeded | JobFailed | None:
    """How a job ended; None while it has not."""
    job = watched.job
    with suppress(OSError):  # so that NFS looks again for what it remembers not to be there, as submitit does
        job.paths.folder.chmod(job.paths.folder.stat().st_mode)
    if job.paths.result_pickle.exists():
        if job.exception() is not None:
            return JobFailed(f"could not be run; its log, {job.paths.stdout}, says why")
        result: JobSucceeded | JobFailed = job.result()
        return result
    if time.monotonic() - watched.last_seen > _SECONDS_UNTIL_GONE:
        return JobFailed(f"Slurm ended job {job.job_id} before it was done (last seen {watched.state}); its log is "
                      f"{job.paths.stdout}")  # fmt: skip
    return None


def _new_lines(watched: _Watched) -> list[str]:
    """What a job has written since, but for what submitit writes."""
    try:
        with open(watched.job.paths.stdout, "rb") as log:
            log.seek(watched.read)
            new = log.read()
    except OSError:  # it has not begun
        return []
    whole = new[: new.rfind(b"\n") + 1]
    watched.read += len(whole)
    lines = whole.decode(errors="replace").splitlines()
    return [line for line in lines if line.startswith(watched.label)]
