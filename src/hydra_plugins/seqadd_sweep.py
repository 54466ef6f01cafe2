"""Hydra plugins for sweeps: all jobs are checked before the first one starts; each has its own process.

Hydra's own sweeper and launchers check no values before they start jobs, know no parent run, and run one job after
another or lose the whole sweep if one worker is killed. ``conf/config.yaml`` selects these plugins instead; they can be
replaced there like any others. Hydra takes plugins from the package ``hydra_plugins`` only, and loads them in every
program that uses Hydra, so this module imports seqadd only inside functions.
"""

from __future__ import annotations

import multiprocessing
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from hydra_plugins._seqadd_jobs import (
    check_batch_size,
    check_no_run_twice,
    check_program,
    compose_job,
    compose_jobs,
    is_private,
    label_override,
    labels,
    swept_first,
)

if TYPE_CHECKING:
    from seqadd.config.schema import Config


class TrackedSweeper(BasicSweeper):
    """Hydra's basic sweeper, extended: checks all jobs before it starts the first, and records a parent run.

    Args:
        max_batch_size: as in Hydra: the number of jobs given to the launcher together; None for all jobs.
        params: values for keys, to sweep over: every combination is a job. The command line takes precedence.
        sweeps: several sweeps, each with its differences from ``params``; the jobs of all of them are run.
        together: keys whose values belong together: the first of one with the first of the others.
        skip_invalid: whether combinations that do not go together are left out, with a line each; else the first one
            is an error.
    """

    def __init__(
        self,
        max_batch_size: int | None = None,
        params: dict[str, str] | None = None,
        sweeps: Sequence[dict[str, str]] | None = None,
        together: Sequence[str] | None = None,
        skip_invalid: bool = False,
    ) -> None:
        super().__init__(max_batch_size, params)
        self.sweeps = sweeps
        self.together = together or ()
        self.skip_invalid = skip_invalid

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """See Hydra's ``Sweeper.setup``.

        Raises:
            CompactHydraException: in a program other than seqadd.
            ConfigError: for a batch size below 1.
        """
        check_program(config, self)
        check_batch_size(self.max_batch_size)
        super().setup(hydra_context=hydra_context, task_function=task_function, config=config)

    def sweep(self, arguments: list[str]) -> list[list[JobReturn]]:
        """Runs all jobs that are not finished; returns the results of all jobs, in batches of ``max_batch_size``.

        Raises:
            ConfigError: for a job that cannot be run, before any job starts.
            JobsFailed, DeliveryPending: as ``launch.local.run_all``, after all jobs have ended.
        """
        assert self.config is not None
        assert self.hydra_context is not None
        launcher = self.launcher
        assert launcher is not None

        from seqadd.config.composition import combinations
        from seqadd.errors import DeliveryPending, JobsFailed
        from seqadd.launch import plan
        from seqadd.launch.sweep import run_sweep
        from seqadd.tracking.artifacts import abbreviate

        loader = self.hydra_context.config_loader
        each = combinations(loader, self.params, self.sweeps, arguments, self.together)
        jobs = compose_jobs(self.hydra_context, self.config, each, skip_invalid=self.skip_invalid)
        check_no_run_twice(jobs)
        overrides, configs = [job.overrides for job in jobs], [job.config for job in jobs]
        names = labels(overrides, overrides)
        if plan.is_requested():
            capacity = (
                launcher.capacity
                if isinstance(launcher, PreflightLauncher)
                else lambda configs: (1, "one after another")
            )
            plan.print_plan(names, configs, capacity)
            return []
        if isinstance(launcher, PreflightLauncher):
            launcher.check(overrides, configs)

        def launch(missing: list[int], parent_run_id: str) -> list[JobReturn]:
            parent = f"tracking.parent_run_id={parent_run_id}"
            results: list[JobReturn] = []
            failed: list[JobsFailed | DeliveryPending] = []
            for batch in self._batches(missing):
                try:
                    returned = launcher.launch(
                        [[*overrides[index], parent, label_override(names[index])] for index in batch], batch[0]
                    )
                except (JobsFailed, DeliveryPending) as error:  # the jobs of the other batches still run
                    failed.append(error)
                    continue
                for result in returned:
                    _ = result.return_value  # raises what a job raised under another launcher
                results += returned
            if failed:
                worst = next((error for error in failed if isinstance(error, JobsFailed)), failed[0])
                raise worst if len(failed) == 1 else type(worst)("; ".join(map(str, failed)))
            return results

        public = [each for each in arguments if not is_private(each)]
        typed = " ".join(public)
        swept = {each.partition("=")[0] for name in names for each in name.split()}
        results = run_sweep(
            f"sweep {abbreviate(swept_first(arguments, swept))}".rstrip(),
            typed,
            {"overrides": typed, "jobs": len(jobs)},
            names,
            configs,
            launch,
            overrides=public,
        )
        returns = [
            jobs[index].returned(index, result) if isinstance(result, str) else result
            for index, result in enumerate(results)
        ]
        return [[returns[index] for index in batch] for batch in self._batches(range(len(jobs)))]

    def _batches(self, indexes: Sequence[int]) -> Iterator[Sequence[int]]:
        size = self.max_batch_size or len(indexes)
        return (indexes[first : first + size] for first in range(0, len(indexes), size))


class PreflightLauncher(Launcher):
    """A launcher that checks the whole sweep before its first job, and can refuse it."""

    def __init__(self, max_failures: int | None = None) -> None:
        self._sweep: Sequence[Sequence[str]] = []
        self.max_failures = max_failures
        self._failures = 0

    @property
    def failures_left(self) -> int | None:
        """How many more jobs may fail before no further one is started; None for no limit."""
        return None if self.max_failures is None else max(0, self.max_failures - self._failures)

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """See Hydra's ``Launcher.setup``.

        Raises:
            CompactHydraException: in a program other than seqadd.
            ConfigError: for settings that the launcher does not support.
        """
        from seqadd.config.hydra_setup import check_folders

        check_program(config, self)
        check_folders(config)
        self.hydra_context = hydra_context
        self.config = config

    def check(self, sweep: Sequence[Sequence[str]], configs: Sequence[Config]) -> None:
        """Checks the whole sweep before the first launch; some of its jobs may be finished and never launched.

        Raises:
            ConfigError: if the jobs cannot be run.
        """
        self._sweep = sweep
        self.check_room(sweep, configs)

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Runs the jobs and returns when all have ended.

        Raises:
            JobsFailed: naming the jobs that did not finish.
            Interrupted: if a signal asked this process to stop.
        """
        # Composed again, because the sweeper has added the parent's id, and another sweeper may not have checked them.
        jobs = [compose_job(self.hydra_context, self.config, job) for job in job_overrides]
        from seqadd.errors import JobsFailed

        try:
            run_ids = self.run_all(labels(job_overrides, self._sweep or job_overrides), [job.config for job in jobs])
        except JobsFailed as error:
            self._failures += error.failed  # of all batches
            raise
        return [
            job.returned(number, run_id)
            for number, (job, run_id) in enumerate(zip(jobs, run_ids, strict=True), start=initial_job_idx)
        ]

    @abstractmethod
    def capacity(self, configs: Sequence[Config]) -> tuple[int, str]:
        """How many of these jobs run at the same time, and what they run on, in words."""

    @abstractmethod
    def check_room(self, sweep: Sequence[Sequence[str]], configs: Sequence[Config]) -> None:
        """Raises ConfigError if the machine or cluster cannot run the jobs."""

    @abstractmethod
    def run_all(self, names: list[str], configs: list[Config]) -> list[str]:
        """Runs all jobs and returns the ids of their runs; raises as ``launch``."""


class ProcessLauncher(PreflightLauncher):
    """Runs each job in a fresh process on this machine, at most ``jobs`` at the same time.

    Args:
        jobs: how many jobs run at the same time, at least one; None for as many as processors and memory allow.
        max_failures: after so many failed jobs no further one is started; None for no limit.
    """

    def __init__(self, jobs: int | None = None, max_failures: int | None = None) -> None:
        super().__init__(max_failures)
        self.at_once = jobs

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        from seqadd.errors import ConfigError

        super().setup(hydra_context=hydra_context, task_function=task_function, config=config)
        for key, value, none in (
            ("jobs", self.at_once, "one per core"),
            ("max_failures", self.max_failures, "no limit"),
        ):
            if value is not None and not (type(value) is int and value >= 1):
                raise ConfigError(f"hydra.launcher.{key}={value}: must be an integer of at least 1, or null for {none}")

    def capacity(self, configs: Sequence[Config]) -> tuple[int, str]:
        from seqadd.launch.local import max_parallel_jobs

        at_once = min(len(configs), self.at_once or max_parallel_jobs(configs))
        return at_once, f"with {at_once} at once" if at_once > 1 else "one after another"

    def check_room(self, sweep: Sequence[Sequence[str]], configs: Sequence[Config]) -> None:
        from seqadd.cli.console import print_line
        from seqadd.config.validation import check_machine
        from seqadd.errors import ConfigError
        from seqadd.launch.local import max_parallel_jobs
        from seqadd.launch.own_parts import prepare

        if multiprocessing.current_process().daemon:
            raise ConfigError(
                "a worker of multiprocessing.Pool cannot start processes; start the sweep from a worker of "
                "concurrent.futures.ProcessPoolExecutor (no job was started)"
            )
        configs = prepare(configs, print_line)
        for job, config in zip(sweep, configs, strict=True):
            try:
                check_machine(config)
            except ConfigError as error:
                raise ConfigError(f"{error} (job {' '.join(job)}; no job was started)") from error
        most = max_parallel_jobs(configs)
        if self.at_once is not None and self.at_once > most:
            raise ConfigError(
                f"hydra.launcher.jobs={self.at_once}: must be at most {most}, the limit of this machine's "
                "processors, memory and operating system (no job was started)"
            )

    def run_all(self, names: list[str], configs: list[Config]) -> list[str]:
        from seqadd.launch.local import run_all

        return run_all(names, configs, self.at_once, max_failures=self.failures_left)


class SlurmLauncher(PreflightLauncher):
    """Runs the jobs on a Slurm cluster, as one array; see ``launch.slurm``.

    Args:
        request: the resources that each job requests, see ``launch.slurm_options.Request``.
    """

    def __init__(self, **request: Any) -> None:
        super().__init__()
        self._given = request

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        from seqadd.errors import ConfigError
        from seqadd.launch.slurm_options import Request

        super().setup(hydra_context=hydra_context, task_function=task_function, config=config)
        options = self._given.get("options") or {}
        if not isinstance(options, Mapping):
            raise ConfigError(f"hydra.launcher.options={options}: must be options of sbatch, for example {{nice: 100}}")
        try:
            self.request = Request(**{**self._given, "options": dict(options)})
        except TypeError as error:
            raise ConfigError(f"hydra.launcher: {error}") from error
        self.max_failures = self.request.max_failures

    def capacity(self, configs: Sequence[Config]) -> tuple[int, str]:
        asked = [f"--{k}" if v is True else f"--{k}={v}" for k, v in self.request.sbatch_options(configs).items()]
        n_jobs = -(-len(configs) // (self.request.runs_per_job or 1))
        at_once = min(self.request.jobs or n_jobs, n_jobs)
        where = f"in {n_jobs} jobs of Slurm, if {at_once} run at once, each with {' '.join(asked)}"
        return at_once * self.request.at_once(configs), where

    def check_room(self, sweep: Sequence[Sequence[str]], configs: Sequence[Config]) -> None:
        from seqadd.cli.console import print_line
        from seqadd.errors import ConfigError
        from seqadd.launch import slurm
        from seqadd.launch.own_parts import has_own_parts, prepare

        for key in ("minutes", "memory_gb"):
            if getattr(self.request, key) is None and any(map(has_own_parts, configs)):
                raise ConfigError(
                    f"hydra.launcher.{key}=null: must be given for own parts, which are not built on the login node "
                    "(no job was submitted)"
                )
        prepare(configs, print_line, check=False)
        slurm.check(self.request, configs)

    def run_all(self, names: list[str], configs: list[Config]) -> list[str]:
        from seqadd.launch import slurm

        return slurm.run_all(names, configs, self.request, self.failures_left)
