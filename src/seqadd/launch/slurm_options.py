"""What is asked of Slurm for each job of a sweep, as options of sbatch."""

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

# A job may take so many times as long as is expected of it, and some minutes to begin: another processor can be slow.
_TIMES_AS_LONG = 3
_MINUTES_TO_BEGIN = 10
# What a run was measured to take beside what config.memory_needed counts, which is the least that it can do with.
_TIMES_AS_MUCH = 2.0

# Options of sbatch that are asked for by a key of the launcher, and those that it needs for itself.
_ASKED_BY_KEY = {"partition": "partition", "account": "account", "qos": "qos", "time": "minutes", "mem": "memory_gb",
                 "gpus-per-node": "gpus", "array": "jobs"}  # fmt: skip
_ITS_OWN = ("job-name", "output", "error", "open-mode", "signal", "wrap", "test-only", "parsable", "wait")
# What sbatch reads from its environment instead of #SBATCH lines, where that is not called as the option is.
_VARIABLES = {
    "time": ("SBATCH_TIMELIMIT",),
    "mem": ("SBATCH_MEM_PER_NODE", "SBATCH_MEM_PER_CPU", "SBATCH_MEM_PER_GPU"),
    "requeue": ("SBATCH_REQUEUE", "SBATCH_NO_REQUEUE"),
    "array": ("SBATCH_ARRAY_INX",),
}


@dataclass(frozen=True)
class Request:
    """What is asked of Slurm for each job; None for Slurm's default, or for what is worked out.

    Attributes:
        jobs: of the array, at once.
        partition, account, qos: as in sbatch.
        minutes: its time limit, after which it is requeued and goes on.
        memory_gb: its memory.
        gpus: its GPUs.
        folder: where jobs and their logs are kept; on a disk that login node and nodes share.
        options: further ones of sbatch, without their dashes; true for one that takes no value.

    Raises:
        ConfigError: for a value out of its range, and for an option that the launcher sets itself.
    """

    jobs: int | None = None
    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    minutes: int | None = None
    memory_gb: float | None = None
    gpus: int | None = None
    folder: str = "slurm"
    options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for key, low in (("jobs", 1), ("minutes", 1), ("memory_gb", 0.5), ("gpus", 1)):
            value = getattr(self, key)
            number = isinstance(value, (int, float) if key == "memory_gb" else int) and not isinstance(value, bool)
            if value is not None and not (number and value >= low):
                raise ConfigError(f"hydra.launcher.{key}={value}: must be at least {low}, or null")
        for name in self.options:
            if name in _ASKED_BY_KEY and self.options[name] is not None:
                raise ConfigError(f"hydra.launcher.options.{name}: write hydra.launcher.{_ASKED_BY_KEY[name]}")
            if name in _ITS_OWN:
                raise ConfigError(f"hydra.launcher.options.{name}: is set by the launcher; leave it out")

    def minutes_for(self, configs: Sequence[Config]) -> int:
        """The time limit of each of these jobs."""
        longest = max(config.epochs * cost.seconds_per_epoch(config) for config in configs)
        return self.minutes or _MINUTES_TO_BEGIN + math.ceil(_TIMES_AS_LONG * longest / 60)

    def memory_for(self, configs: Sequence[Config]) -> float:
        """The memory of each of these jobs in gigabytes."""
        return self.memory_gb or math.ceil(
            _TIMES_AS_MUCH * max(sum(cost.memory_needed(c).values()) for c in configs) / 1e9
        )

    def sbatch_options(self, configs: Sequence[Config]) -> dict[str, str | bool]:
        """Options of sbatch that say what these jobs need; True for one that takes no value."""
        wanted = {
            "requeue": True,  # also where it is not what the cluster does by itself
            "partition": self.partition,
            "account": self.account,
            "qos": self.qos,
            "time": self.minutes_for(configs),
            "mem": f"{round(1024 * self.memory_for(configs))}M",
            "cpus-per-task": max(config.threads for config in configs),
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
    """Inside the ``with``, sbatch's variables do not count for options that are set; over a script's they would."""
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
