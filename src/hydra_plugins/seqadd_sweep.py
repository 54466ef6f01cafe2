"""Hydra's side of a sweep: every job checked before the first begins, one parent run, a process for each job.

Hydra's own sweeper and launchers do not check values before they start, know no parent run, and run one job after
another or lose the whole sweep with one killed worker; so here are a sweeper and a launcher of ours, chosen in
``conf/config.yaml`` and replaceable there like any others. Hydra takes plugins from the package ``hydra_plugins`` only.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf, open_dict

from seqadd import jobs
from seqadd.config import Config, ConfigError, from_hydra


def job_config(hydra_context: HydraContext, config: DictConfig, overrides: Sequence[str]) -> Config:
    """The checked configuration of one job of a sweep.

    Raises:
        ConfigError: naming the job, when its configuration cannot be run.
    """
    composed = hydra_context.config_loader.load_sweep_config(config, list(overrides))
    with open_dict(composed):
        del composed["hydra"]
    try:
        return from_hydra(composed)
    except ConfigError as error:
        raise ConfigError(f"{error} (job {label(overrides)}; no job was started)") from error


def label(overrides: Sequence[str]) -> str:
    """What a job is called: the overrides that make it this job."""
    own = [each for each in overrides if not each.startswith(("tracking.", "hydra."))]
    return " ".join(own) or "defaults"


class TrackedSweeper(BasicSweeper):
    """Hydra's basic sweeper, which checks every job before it starts one and records the sweep as a parent run."""

    def sweep(self, arguments: list[str]) -> Any:
        assert self.config is not None
        assert self.hydra_context is not None
        assert self.launcher is not None
        parser = OverridesParser.create(config_loader=self.hydra_context.config_loader)
        (jobs,) = self.split_arguments(parser.parse_overrides([*self._parse_config(), *arguments]), None)
        configs = [job_config(self.hydra_context, self.config, job) for job in jobs]

        from seqadd import tracking

        store = tracking.open_store(configs[0].tracking)
        commit, dirty = tracking.code_version()
        with store.record(
            f"sweep {label(arguments)}",
            params={"overrides": " ".join(arguments), "jobs": len(jobs)},
            tags={"git_commit": commit, "git_dirty": dirty},
        ) as parent:
            own = f"tracking.parent_run_id={parent.run_id}"
            results = self.launcher.launch([[*job, own] for job in jobs], initial_job_idx=0)
            for result in results:
                _ = result.return_value  # raises what a job raised under another launcher
        return results


class ProcessLauncher(Launcher):
    """Runs each job in a fresh process, ``jobs`` of them at once.

    Args:
        jobs: how many at once; None for the processors of this machine divided by the threads of a job.

    Raises:
        ConfigError: for fewer than one job at once.
    """

    def __init__(self, jobs: int | None = None) -> None:
        if jobs is not None and jobs < 1:
            raise ConfigError(f"hydra.launcher.jobs={jobs}: must be at least 1, or null for one a core")
        self.at_once = jobs

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.hydra_context = hydra_context
        self.config = config

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Runs the jobs and returns when all have ended.

        Raises:
            JobsFailed: naming the jobs that did not finish.
            Interrupted: after all jobs were stopped.
        """
        configs = [job_config(self.hydra_context, self.config, job) for job in job_overrides]
        run_ids = jobs.run_all([label(job) for job in job_overrides], configs, self.at_once)
        return [_job_return(job, run_id) for job, run_id in zip(job_overrides, run_ids, strict=True)]


def _job_return(overrides: Sequence[str], run_id: str) -> JobReturn:
    result = JobReturn(overrides=list(overrides), cfg=OmegaConf.create(), status=JobStatus.COMPLETED)
    result.return_value = run_id
    return result
