"""The jobs of a sweep on a Slurm cluster: one array, submitted through submitit and watched until all have ended.

After submission Slurm owns the jobs: the watching command may end, and the same command, started again, watches the
jobs that Slurm still has and submits the missing ones. Each job is a sweep of one run or a few, see ``local``, and so
behaves as a job on this machine does: it writes checkpoints, skips finished runs, and resumes when Slurm has requeued
it, at its time limit or after preemption.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import redirect_stderr, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock

from seqadd.cli.console import SafeConsole
from seqadd.config.messages import one_line
from seqadd.config.schema import Config
from seqadd.errors import ConfigError, Interrupted
from seqadd.launch.local import NOT_STARTED, JobFailed, JobSucceeded, run_ids, run_jobs
from seqadd.launch.processes import environment
from seqadd.launch.slurm_options import Request, only_these_options
from seqadd.launch.slurm_watch import run_slurm, states_of, watch
from seqadd.system.files import write_file
from seqadd.system.signals import defer_signals, signals_as_exceptions

if TYPE_CHECKING:
    from submitit import Job

# How often a job is requeued at its time limit, and how long before the limit Slurm signals it.
_REQUEUES = 10
_SECONDS_TO_STOP = 60
# How long a job that received a signal to stop waits for Slurm to end it.
_SECONDS_TO_BE_KILLED = 3600.0

_SUBMITTED = "submitted.json"


def check(request: Request, configs: Sequence[Config]) -> None:
    """Asks Slurm whether it would accept the jobs that it does not have yet; submits none.

    Raises:
        ConfigError: without Slurm's commands or submitit, and for jobs that Slurm refuses: an unknown partition, an
            account without permission, more memory, processors or time than available.
    """
    try:
        import submitit  # noqa: F401
    except ImportError as error:
        raise ConfigError("hydra/launcher=slurm: submitit is not installed; pip install 'seqadd[slurm]'") from error
    for program in ("sbatch", "squeue", "srun"):
        if shutil.which(program) is None:
            raise ConfigError(
                f"hydra/launcher=slurm: {program} not found; run this on the cluster's login "
                "node, or without hydra/launcher=slurm"
            )
    read = subprocess.run(["bash", "-n"], input="\n".join(request.setup), capture_output=True, text=True)
    if read.returncode != 0:
        raise ConfigError(
            f"hydra.launcher.setup: bash cannot read it: {' '.join(read.stderr.split())} (no job was submitted)"
        )
    folder = Path(request.folder).absolute()
    missing = math.ceil((len(configs) - len(_still_there(folder, configs))) / (request.runs_per_job or 1))
    options = [
        f"--{name}" if value is True else f"--{name}={value}" for name, value in request.sbatch_options(configs).items()
    ]
    options.append(f"--array=0-{max(1, min(missing, _longest_array())) - 1}")
    # While nodes are down this refuses jobs that sbatch would queue; jobs that are already queued can be watched still.
    with only_these_options(request.sbatch_options(configs)):
        done = run_slurm("sbatch", "--test-only", *options, "--wrap=true") if missing else None
    if done is not None and done.returncode != 0:
        raise ConfigError(
            f"hydra/launcher=slurm: Slurm refused the jobs: {_last_error(done)}; options were {' '.join(options)}"
            + _partitions_there(request)
            + " (no job was submitted)"
        )
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)  # its files may contain an address with a password
    except OSError as error:
        raise ConfigError(f"hydra.launcher.folder={request.folder}: cannot create it: {one_line(error)}") from error
    if not os.access(folder, os.W_OK):
        raise ConfigError(f"hydra.launcher.folder={request.folder}: no permission to write in it; name another folder")


def _longest_array() -> int:
    """The largest number of jobs that Slurm accepts in one array."""
    found = re.search(r"^MaxArraySize\s*=\s*(\d+)", run_slurm("scontrol", "show", "config").stdout, re.MULTILINE)
    return int(found[1]) if found else 1001  # Slurm's default


def _partitions_there(request: Request) -> str:
    there = run_slurm("sinfo", "--noheader", "--format=%R").stdout.split()
    if request.partition is None or request.partition in there:
        return ""
    return f"; partitions are {', '.join(there)}"


def _last_error(done: subprocess.CompletedProcess[str]) -> str:
    """The last line that the command wrote to stderr, which is the one about the job."""
    every = [line.removeprefix(f"{done.args[0]}: ").strip() for line in done.stderr.splitlines()]
    lines = [line for line in every if line and not line.startswith('Try "')]  # the hint to read the command's help
    return lines[-1] if lines else f"exit code {done.returncode}"


class _Work:
    """The work of a job on its node: trains some configurations, each in a separate process."""

    def __call__(self, labels: Sequence[str], configs: Sequence[Config]) -> dict[str, JobSucceeded | JobFailed]:
        """Returns how each run ended, by its ``_key``."""
        try:
            with signals_as_exceptions():
                outcomes = run_jobs(labels, configs, at_once=1 if len(configs) == 1 else None)
            return dict(zip(map(_key, configs), outcomes, strict=True))
        except Interrupted as stopped:  # the job has no result: Slurm may have requeued it
            # Slurm does not requeue a job that ends by itself during the grace time of a preemption.
            print(f"{labels[0]}  stopping: Slurm has not ended the job yet", flush=True)
            time.sleep(_SECONDS_TO_BE_KILLED)
            sys.exit(stopped.exit_code)

    def checkpoint(self, labels: Sequence[str], configs: Sequence[Config]) -> Any:
        """Called by submitit before the time limit; returns the job to requeue, which resumes from its checkpoints."""
        import submitit

        return submitit.helpers.DelayedSubmission(self, labels, configs)


def run_all(
    labels: Sequence[str], configs: Sequence[Config], request: Request, max_failures: int | None = None
) -> list[str]:
    """Runs all jobs, even if some fail, and returns the ids of their runs.

    Args:
        labels: the name of each job.
        configs: a checked configuration for each.
        request: the resources that each job requests.
        max_failures: after so many failed jobs those that wait are cancelled; None for no limit.

    Raises:
        ConfigError: if Slurm does not accept the jobs.
        JobsFailed: after the last job has ended, naming those that did not finish.
        DeliveryPending: if all finished, and updates of some are not delivered to the store yet.
        Interrupted: on Ctrl-C or SIGTERM; the jobs continue.
    """
    if max_failures == 0:
        return run_ids(labels, [NOT_STARTED] * len(labels))
    console = SafeConsole(highlight=False, soft_wrap=True)
    folder = Path(request.folder).absolute()
    there = _still_there(folder, configs)
    missing = [index for index in range(len(configs)) if index not in there]
    if there:
        console.print(f"{len(there)} of {len(configs)} jobs are in Slurm already: {_ids(there.values())}", markup=False)
    if missing:
        most = _longest_array() * (request.runs_per_job or 1)
        for some in _chunks(missing, most):
            # A submitted job whose id is not saved would be submitted again by the next command.
            with defer_signals(however_long=True):
                together = _chunks(some, request.runs_per_job or 1)
                new = _submit(folder, labels, configs, together, request)
                there |= {index: job for indexes, job in zip(together, new, strict=True) for index in indexes}
                _write_down(folder, {_key(configs[index]): there[index].job_id for index in some})
            console.print(
                f"{len(new)} jobs submitted to Slurm: {_ids(new)}, each with {_job_resources(request, configs)}; "
                f"logs in {request.folder}",
                markup=False,
            )
    try:
        jobs = [there[index] for index in range(len(configs))]
        outcomes = watch(jobs, labels, [_key(config) for config in configs], console, max_failures)
    except Interrupted:
        console.print(
            f"The jobs continue, but are no longer watched: {_ids(there.values())}. The same command watches them; "
            f"scancel {' '.join(sorted({job.job_id.partition('_')[0] for job in there.values()}))} ends them.",
            markup=False,
        )
        raise
    return run_ids(labels, outcomes)


def _chunks(indexes: Sequence[int], size: int) -> list[Sequence[int]]:
    return [indexes[first : first + size] for first in range(0, len(indexes), size)]


def _job_resources(request: Request, configs: Sequence[Config]) -> str:
    """What each job is given: ``2 runs, 15 min and 2 GB``."""
    runs = f"{request.runs_per_job} runs, " if request.runs_per_job else ""
    return f"{runs}{request.minutes_for(configs)} min and {request.memory_for(configs):g} GB"


def _submit(
    folder: Path, labels: Sequence[str], configs: Sequence[Config], together: Sequence[Sequence[int]], request: Request
) -> list[Job[Any]]:
    """Submits a job for each group of runs that one job trains."""
    import submitit

    from seqadd.tracking.provenance import COMMAND_LINE, command_line

    python = None if request.python is None else shlex.quote(request.python)
    executor = submitit.SlurmExecutor(folder=folder, max_num_timeout=_REQUEUES, python=python)
    wanted = request.sbatch_options(configs)
    executor.update_parameters(
        job_name="seqadd",
        time=request.minutes_for(configs),  # submitit needs it too
        stderr_to_stdout=True,
        signal_delay_s=_SECONDS_TO_STOP,
        setup=list(request.setup),
        array_parallelism=request.jobs or len(together),
        additional_parameters=wanted,
    )
    try:
        with (
            only_these_options(wanted),
            environment({COMMAND_LINE: command_line()}),  # which Slurm gives the jobs, for their records
            redirect_stderr(io.StringIO()),
        ):  # submitit repeats sbatch's output on stderr
            of_jobs = [([labels[n] for n in some], [configs[n] for n in some]) for some in together]
            return list(executor.map_array(_Work(), *map(list, zip(*of_jobs, strict=True))))
    except (subprocess.CalledProcessError, submitit.core.utils.FailedJobError) as error:
        raise ConfigError(f"hydra/launcher=slurm: sbatch failed: {one_line(error)}") from error


def _still_there(folder: Path, configs: Sequence[Config]) -> dict[int, Job[Any]]:
    """The jobs that were submitted before and are still waiting or running, by index; all, if Slurm does not answer."""
    import submitit

    found: dict[int, Job[Any]] = {}
    submitted = _written_down(folder)
    present = {index: submitted[_key(config)] for index, config in enumerate(configs) if _key(config) in submitted}
    states = states_of(set(present.values())) if present else {}
    for index, job_id in present.items():
        if states is None or job_id in states:
            found[index] = submitit.SlurmJob(folder, job_id)
    return found


def _key(config: Config) -> str:
    """Returns the key that identifies a job: its configuration, and the store that records it.

    The parent run is left out, because the same command begins another one when it watches the jobs again.
    """
    tracking = config.tracking
    parts = [config.config_hash(), config.force, tracking.uri, tracking.experiment, tracking.search, tracking.trial]
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
    """The first and the last job id: ``17_0 to 17_11``."""
    every = [job.job_id for job in of_jobs]
    return every[0] if len(every) == 1 else f"{every[0]} to {every[-1]}"
