"""Hydra's side of a sweep: every job checked before the first begins, one parent run, a process for each job.

Hydra's own sweeper and launchers do not check values before they start, know no parent run, and run one job after
another or lose the whole sweep with one killed worker; so here are a sweeper and a launcher of ours, chosen in
``conf/config.yaml`` and replaceable there like any others. Hydra takes plugins from the package ``hydra_plugins`` only,
and loads them in every program that uses Hydra: hence nothing of seqadd is imported before it is used.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf, open_dict

if TYPE_CHECKING:
    from seqadd.config import Config


def job_config(hydra_context: HydraContext, config: DictConfig, overrides: Sequence[str]) -> Config:
    """The checked configuration of one job of a sweep.

    Raises:
        ConfigError: naming the job, when its configuration cannot be run.
    """
    from seqadd.config import ConfigError, from_hydra

    composed = hydra_context.config_loader.load_sweep_config(config, list(overrides))
    choices = composed.hydra.runtime.choices
    with open_dict(composed):
        del composed["hydra"]
    try:
        return from_hydra(composed, choices)
    except ConfigError as error:
        raise ConfigError(f"{error} (job {' '.join(overrides)}; no job was started)") from error


def labels(jobs: Sequence[Sequence[str]], among: Sequence[Sequence[str]]) -> list[str]:
    """What to call each job: those of its overrides that not all jobs of the sweep share; all where it is one job."""
    shared = set.intersection(*map(set, among)) if len(among) > 1 else set()
    return [
        " ".join(each for each in job if each not in shared and not _is_private(each)) or "defaults" for job in jobs
    ]


def _is_private(override: str) -> bool:
    """Whether it says where runs are recorded, which may hold a password."""
    return override.lstrip("+~").startswith("tracking")


class TrackedSweeper(BasicSweeper):
    """Hydra's basic sweeper, which checks every job before it starts one and records the sweep as a parent run.

    Args:
        max_batch_size: as Hydra's own; not used.
        params: values for keys, swept over: every combination is a job. What the command line says of a key counts.
        sweeps: several such, each with what differs from ``params``; the jobs are those of all of them.
    """

    def __init__(
        self,
        max_batch_size: int | None = None,
        params: dict[str, str] | None = None,
        sweeps: Sequence[dict[str, str]] | None = None,
    ) -> None:
        super().__init__(max_batch_size, params)
        self.sweeps = sweeps

    def sweep(self, arguments: list[str]) -> Any:
        assert self.config is not None
        assert self.hydra_context is not None
        launcher = self.launcher
        assert launcher is not None

        from seqadd.sweeps import combinations, run_sweep

        jobs = combinations(self.hydra_context.config_loader, self.params, self.sweeps, arguments)
        configs = [job_config(self.hydra_context, self.config, job) for job in jobs]
        if isinstance(launcher, CheckingLauncher):
            launcher.check(jobs, configs)

        def launch(missing: list[int], parent_run_id: str) -> list[JobReturn]:
            own = f"tracking.parent_run_id={parent_run_id}"
            results = list(launcher.launch([[*jobs[index], own] for index in missing], 0))
            for result in results:
                _ = result.return_value  # raises what a job raised under another launcher
            return results

        overrides = " ".join(each for each in arguments if not _is_private(each))
        results = run_sweep(
            f"sweep {overrides}".rstrip(),
            overrides,
            {"overrides": overrides, "jobs": len(jobs)},
            labels(jobs, jobs),
            configs,
            launch,
        )
        return [
            _job_return(job, result) if isinstance(result, str) else result
            for job, result in zip(jobs, results, strict=True)
        ]


class CheckingLauncher(Launcher):
    """A launcher that is told of the whole sweep before its first job, and can refuse it."""

    def __init__(self) -> None:
        self._sweep: Sequence[Sequence[str]] = []

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.hydra_context = hydra_context
        self.config = config

    def check(self, sweep: Sequence[Sequence[str]], configs: Sequence[Config]) -> None:
        """Is told of the whole sweep, of which some jobs may be finished when the others are launched.

        Raises:
            ConfigError: when they cannot be run.
        """
        self._sweep = sweep
        self.check_room(sweep, configs)

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Runs the jobs and returns when all have ended.

        Raises:
            JobsFailed: naming the jobs that did not finish.
            Interrupted: when somebody asked this process to stop.
        """
        # Composed again, because the sweeper has added the parent's id, and another sweeper may not have checked them.
        configs = [job_config(self.hydra_context, self.config, job) for job in job_overrides]
        run_ids = self.run_all(labels(job_overrides, self._sweep or job_overrides), configs)
        return [_job_return(job, run_id) for job, run_id in zip(job_overrides, run_ids, strict=True)]

    @abstractmethod
    def check_room(self, sweep: Sequence[Sequence[str]], configs: Sequence[Config]) -> None:
        """Raises ConfigError for jobs that there is no room for."""

    @abstractmethod
    def run_all(self, names: list[str], configs: list[Config]) -> list[str]:
        """The ids of the runs of all jobs, when they have ended; raises as ``launch``."""


class ProcessLauncher(CheckingLauncher):
    """Runs each job in a fresh process on this machine, ``jobs`` of them at once.

    Args:
        jobs: how many at once; None for as many as the machine has processors and memory for.

    Raises:
        ConfigError: for fewer than one job at once.
    """

    def __init__(self, jobs: int | None = None) -> None:
        from seqadd.config import ConfigError

        super().__init__()
        if jobs is not None and not (isinstance(jobs, int) and jobs >= 1):
            raise ConfigError(f"hydra.launcher.jobs={jobs}: must be an integer of at least 1, or null for one a core")
        self.at_once = jobs

    def check_room(self, sweep: Sequence[Sequence[str]], configs: Sequence[Config]) -> None:
        from seqadd import jobs
        from seqadd.config import ConfigError, check_machine

        for job, config in zip(sweep, configs, strict=True):
            try:
                check_machine(config)
            except ConfigError as error:
                raise ConfigError(f"{error} (job {' '.join(job)}; no job was started)") from error
        most = jobs.jobs_at_once(configs)
        if self.at_once is not None and self.at_once > most:
            raise ConfigError(
                f"hydra.launcher.jobs={self.at_once}: must be at most {most}, for which this machine has the "
                "processors and the memory (no job was started)"
            )

    def run_all(self, names: list[str], configs: list[Config]) -> list[str]:
        from seqadd import jobs

        return jobs.run_all(names, configs, self.at_once)


class SlurmLauncher(CheckingLauncher):
    """Has Slurm run the jobs, as one array; see ``seqadd.slurm``.

    Args:
        request: what is asked for each job, see ``seqadd.slurm.Request``.

    Raises:
        ConfigError: for what is no such request.
    """

    def __init__(self, **request: Any) -> None:
        from seqadd.config import ConfigError
        from seqadd.slurm import Request

        super().__init__()
        options = request.pop("options", None) or {}
        if not isinstance(options, Mapping):
            raise ConfigError(f"hydra.launcher.options={options}: must be options of sbatch, as {{nice: 100}}")
        self.request = Request(**request, options=dict(options))

    def check_room(self, sweep: Sequence[Sequence[str]], configs: Sequence[Config]) -> None:
        from seqadd import slurm

        slurm.check(self.request, configs)

    def run_all(self, names: list[str], configs: list[Config]) -> list[str]:
        from seqadd import slurm

        return slurm.run_all(names, configs, self.request)


def _job_return(overrides: Sequence[str], run_id: str) -> JobReturn:
    result = JobReturn(overrides=list(overrides), cfg=OmegaConf.create(), status=JobStatus.COMPLETED)
    result.return_value = run_id
    return result
