"""The sbatch options that request resources for each job of a sweep: time limit, memory, processors."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from seqadd.config import cost
from seqadd.config.schema import Config
from seqadd.errors import ConfigError

# The time limit is this multiple of the expected time, because a processor may be slow, plus minutes for the start.
_TIMES_AS_LONG = 3
_MINUTES_TO_BEGIN = 10
# The measured memory of a run, as a multiple of cost.memory_needed, which gives the minimum.
_TIMES_AS_MUCH = 2.0

# Options of sbatch that a key of the launcher sets, and options that the launcher uses itself.
_ASKED_BY_KEY = {"partition": "partition", "account": "account", "qos": "qos", "time": "minutes", "mem": "memory_gb",
                 "gpus-per-node": "gpus", "array": "jobs"}  # fmt: skip
_ITS_OWN = ("job-name", "output", "error", "open-mode", "signal", "wrap", "test-only", "parsable", "wait")
# sbatch's environment variables, which take precedence over #SBATCH lines, if they are not named after the option.
_VARIABLES = {
    "time": ("SBATCH_TIMELIMIT",),
    "mem": ("SBATCH_MEM_PER_NODE", "SBATCH_MEM_PER_CPU", "SBATCH_MEM_PER_GPU"),
    "requeue": ("SBATCH_REQUEUE", "SBATCH_NO_REQUEUE"),
    "array": ("SBATCH_ARRAY_INX",),
}


@dataclass(frozen=True)
class Request:
    """The resources that each job requests of Slurm; None for Slurm's default, or for a computed value.

    Attributes:
        jobs: how many jobs of the array run at once.
        max_failures: after so many failed jobs the waiting ones are cancelled.
        runs_per_job: how many runs one job of the array trains, as many at once as it has processors; None for one.
        partition, account, qos: as in sbatch.
        minutes: time limit of a job, after which it is requeued and resumes.
        memory_gb: memory of a job.
        gpus: number of GPUs of a job.
        setup: lines of bash before the job begins, for example ``module load python``.
        python: the program of the jobs, looked for after ``setup``; None for the one that submits them.
        folder: folder of the jobs and their logs; on a disk that login node and compute nodes share.
        options: further options of sbatch, without their dashes; true for an option that takes no value.

    Raises:
        ConfigError: for a value out of its range, and for an option that the launcher sets itself.
    """

    jobs: int | None = None
    max_failures: int | None = None
    runs_per_job: int | None = None
    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    minutes: int | None = None
    memory_gb: float | None = None
    gpus: int | None = None
    setup: Sequence[str] = ()
    python: str | None = None
    folder: str = "slurm"
    options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        lows = {"jobs": 1, "max_failures": 1, "runs_per_job": 1, "minutes": 1, "memory_gb": 0.5, "gpus": 1}
        for key, low in lows.items():
            value = getattr(self, key)
            number = isinstance(value, (int, float) if key == "memory_gb" else int) and not isinstance(value, bool)
            if value is not None and not (number and value >= low):
                raise ConfigError(f"hydra.launcher.{key}={value}: must be at least {low}, or null")
        asked = self.options.get("cpus-per-task")
        if asked is not None and not (str(asked).isdigit() and int(asked) >= 1):
            raise ConfigError(f"hydra.launcher.options.cpus-per-task={asked}: must be an integer of at least 1")
        if (self.runs_per_job or 1) > 1 and self.gpus is not None:
            raise ConfigError(f"hydra.launcher.runs_per_job={self.runs_per_job}: runs do not share a GPU; leave it out")
        if self.python is not None and not isinstance(self.python, str):
            raise ConfigError(f"hydra.launcher.python={self.python}: must be the name of a program, or null")
        lines = () if self.setup is None or isinstance(self.setup, str) else self.setup
        if self.setup is None or isinstance(self.setup, str) or not all(isinstance(line, str) for line in lines):
            raise ConfigError(f"hydra.launcher.setup={self.setup}: must be a list of lines: ['module load python']")
        for name in self.options:
            if name in _ASKED_BY_KEY and self.options[name] is not None:
                raise ConfigError(f"hydra.launcher.options.{name}: use hydra.launcher.{_ASKED_BY_KEY[name]}")
            if name in _ITS_OWN:
                raise ConfigError(f"hydra.launcher.options.{name}: the launcher sets it; leave it out")

    def processors_for(self, configs: Sequence[Config]) -> int:
        """The processors of each job that trains ``runs_per_job`` of these runs."""
        asked = self.options.get("cpus-per-task")
        return int(asked) if asked else max(config.threads for config in configs) * self._runs_of_a_job(configs)

    def _runs_of_a_job(self, configs: Sequence[Config]) -> int:
        return min(self.runs_per_job or 1, len(configs))

    def at_once(self, configs: Sequence[Config]) -> int:
        """How many runs of a job have a processor at the same time."""
        threads = max(config.threads for config in configs)
        return max(1, min(self._runs_of_a_job(configs), self.processors_for(configs) // threads))

    def minutes_for(self, configs: Sequence[Config]) -> int:
        """The time limit of each job that trains ``runs_per_job`` of these runs."""
        longest = max(config.epochs * cost.seconds_per_epoch(config) for config in configs)
        in_turn = math.ceil(self._runs_of_a_job(configs) / self.at_once(configs))
        return self.minutes or _MINUTES_TO_BEGIN + math.ceil(_TIMES_AS_LONG * longest * in_turn / 60)

    def memory_for(self, configs: Sequence[Config]) -> float:
        """The memory of each job in gigabytes."""
        of_a_run = max(sum(cost.memory_needed(config).values()) for config in configs)
        return self.memory_gb or math.ceil(_TIMES_AS_MUCH * of_a_run * self.at_once(configs) / 1e9)

    def sbatch_options(self, configs: Sequence[Config]) -> dict[str, str | bool]:
        """The options of sbatch for these jobs; True for an option that takes no value."""
        wanted = {
            "requeue": True,  # the cluster's default may be not to requeue
            "partition": self.partition,
            "account": self.account,
            "qos": self.qos,
            "time": self.minutes_for(configs),
            "mem": f"{round(1024 * self.memory_for(configs))}M",
            "cpus-per-task": self.processors_for(configs),
            "gpus-per-node": self.gpus,
            **self.options,
        }
        return {
            name: value if value is True else str(value)
            for name, value in wanted.items()
            if value is not None and value is not False
        }


@contextmanager
def only_these_options(options: Mapping[str, Any]) -> Iterator[None]:
    """Inside the ``with``, sbatch's variables of these options are unset; they would override the script's options."""
    names = {
        variable
        for name in (*options, "array", *_ITS_OWN)
        for variable in _VARIABLES.get(name, (f"SBATCH_{name.upper().replace('-', '_')}",))
    }
    before = {name: os.environ.pop(name) for name in names if name in os.environ}
    try:
        yield
    finally:
        os.environ.update(before)
