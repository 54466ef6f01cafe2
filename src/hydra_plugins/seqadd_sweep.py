"""Hydra's side of a sweep: every job checked before the first begins, one parent run, a process for each job.

Hydra's own sweeper and launchers do not check values before they start, know no parent run, and run one job after
another or lose the whole sweep with one killed worker; so here are a sweeper and a launcher of ours, chosen in
``conf/config.yaml`` and replaceable there like any others. Hydra takes plugins from the package ``hydra_plugins`` only,
and loads them in every program that uses Hydra: hence nothing of seqadd is imported before it is used.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf, open_dict

if TYPE_CHECKING:
    from seqadd.config import Config
    from seqadd.tracking import Store


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


def finished_jobs(store: Store, names: Sequence[str], configs: Sequence[Config]) -> dict[int, str]:
    """Which jobs need not run, with the ids of the runs that make them so; says which."""
    from seqadd.run import already_finished, data_digest

    found = {}
    for index, (name, config) in enumerate(zip(names, configs, strict=True)):
        # Of a sweep over stores or experiments, jobs of another than the first find out themselves.
        if not config.force and config.tracking == configs[0].tracking:
            run = store.finished_run(config, functools.partial(data_digest, config))
            if run is not None:
                print_line(f"{name}  {already_finished(run)}")
                found[index] = run.run_id
    return found


def print_line(text: str) -> None:
    """Says something to the person at the terminal, if there still is one."""
    from seqadd.progress import PatientConsole

    PatientConsole(highlight=False, soft_wrap=True).print(text, markup=False)


class TrackedSweeper(BasicSweeper):
    """Hydra's basic sweeper, which checks every job before it starts one and records the sweep as a parent run."""

    def sweep(self, arguments: list[str]) -> Any:
        assert self.config is not None
        assert self.hydra_context is not None
        assert self.launcher is not None
        parser = OverridesParser.create(config_loader=self.hydra_context.config_loader)
        (jobs,) = self.split_arguments(parser.parse_overrides([*self._parse_config(), *arguments]), None)
        configs = [job_config(self.hydra_context, self.config, job) for job in jobs]

        if isinstance(self.launcher, ProcessLauncher):
            self.launcher.check(jobs, configs)

        from seqadd import tracking

        store = tracking.open_store(configs[0].tracking)
        store.settle()
        overrides = " ".join(each for each in arguments if not _is_private(each))
        # The same sweep again goes on under the same parent run.
        place = store.unfinished(" ".join(["sweep", overrides, *[config.config_hash() for config in configs]]))
        with place.claimed(print_line):
            store.tell(place)
            there = finished_jobs(store, labels(jobs, jobs), configs)
            missing = [job for index, job in enumerate(jobs) if index not in there]
            if not missing:
                print_line(f"all {len(jobs)} jobs are finished already; force=true trains them again")
                if place.about() is None:  # and so is the sweep, or it never was one
                    return [_job_return(job, there[index]) for index, job in enumerate(jobs)]
            commit, dirty = tracking.code_version()
            with store.record(
                place,
                f"sweep {overrides}".rstrip(),
                params={"overrides": overrides, "jobs": len(jobs)},
                tags={"git_commit": commit, "git_dirty": dirty},
                go_on=not any(config.force for config in configs),
                say=print_line,
            ) as parent:
                own = f"tracking.parent_run_id={parent.run_id}"
                try:
                    results = self.launcher.launch([[*job, own] for job in missing], 0) if missing else []
                finally:
                    store.settle()  # jobs that were killed could not close their records themselves
                for result in results:
                    _ = result.return_value  # raises what a job raised under another launcher
            return results


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
