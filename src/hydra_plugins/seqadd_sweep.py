"""Hydra's side of a sweep: every job checked before the first begins, one parent run, a process for each job.

Hydra's own sweeper and launchers do not check values before they start, know no parent run, and run one job after
another or lose the whole sweep with one killed worker; so here are a sweeper and a launcher of ours, chosen in
``conf/config.yaml`` and replaceable there like any others. Hydra takes plugins from the package ``hydra_plugins`` only,
and loads them in every program that uses Hydra: hence nothing of seqadd is imported before it is used.
"""

from __future__ import annotations

from collections.abc import Sequence
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
    from seqadd.config import ConfigError, check_machine, from_hydra

    composed = hydra_context.config_loader.load_sweep_config(config, list(overrides))
    choices = composed.hydra.runtime.choices
    with open_dict(composed):
        del composed["hydra"]
    try:
        checked = from_hydra(composed, choices)
        check_machine(checked)
    except ConfigError as error:
        raise ConfigError(f"{error} (job {' '.join(overrides)}; no job was started)") from error
    return checked


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
        if isinstance(launcher, ProcessLauncher):
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


class ProcessLauncher(Launcher):
    """Runs each job in a fresh process, ``jobs`` of them at once.

    Args:
        jobs: how many at once; None for as many as the machine has processors and memory for.

    Raises:
        ConfigError: for fewer than one job at once.
    """

    def __init__(self, jobs: int | None = None) -> None:
        from seqadd.config import ConfigError

        if jobs is not None and not (isinstance(jobs, int) and jobs >= 1):
            raise ConfigError(f"hydra.launcher.jobs={jobs}: must be an integer of at least 1, or null for one a core")
        self.at_once = jobs
        self.sweep: Sequence[Sequence[str]] = []

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.hydra_context = hydra_context
        self.config = config

    def check(self, sweep: Sequence[Sequence[str]], configs: Sequence[Config]) -> None:
        """Is told of the whole sweep, of which some jobs may be finished when the others are launched.

        Raises:
            ConfigError: for more jobs at once than the machine has processors or memory for.
        """
        from seqadd import jobs
        from seqadd.config import ConfigError

        self.sweep = sweep
        most = jobs.jobs_at_once(configs)
        if self.at_once is not None and self.at_once > most:
            raise ConfigError(
                f"hydra.launcher.jobs={self.at_once}: must be at most {most}, for which this machine has the "
                "processors and the memory (no job was started)"
            )

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Runs the jobs and returns when all have ended.

        Raises:
            JobsFailed: naming the jobs that did not finish.
            Interrupted: after all jobs were stopped.
        """
        from seqadd import jobs

        # Composed again, because the sweeper has added the parent's id, and another sweeper may not have checked them.
        configs = [job_config(self.hydra_context, self.config, job) for job in job_overrides]
        run_ids = jobs.run_all(labels(job_overrides, self.sweep or job_overrides), configs, self.at_once)
        return [_job_return(job, run_id) for job, run_id in zip(job_overrides, run_ids, strict=True)]


def _job_return(overrides: Sequence[str], run_id: str) -> JobReturn:
    result = JobReturn(overrides=list(overrides), cfg=OmegaConf.create(), status=JobStatus.COMPLETED)
    result.return_value = run_id
    return result
