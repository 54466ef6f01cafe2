"""Hydra's side of sweeps and searches: all checked before the first job begins, one parent run, a process for each job.

Hydra's own sweeper and launchers do not check values before they start, know no parent run, and run one job after
another or lose the whole sweep with one killed worker; so here are a sweeper and a launcher of ours, chosen in
``conf/config.yaml`` and replaceable there like any others. Hydra takes plugins from the package ``hydra_plugins`` only,
and loads them in every program that uses Hydra: hence nothing of seqadd is imported before it is used.
"""

from __future__ import annotations

import importlib.util
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf, open_dict

if TYPE_CHECKING:
    from seqadd.config import Config
    from seqadd.searches import Asked, Search


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


class SearchSweeper(BasicSweeper):
    """A sweeper whose jobs are trials of a search, chosen by Optuna; see ``seqadd.searches``.

    Hydra's own plugin for Optuna pins it below 3.

    Args:
        max_batch_size: trials chosen together, where the launcher is none that asks for one when there is room.
        params: values for keys, written as on the command line, which counts more.
        settings: see ``seqadd.searches.Settings``.

    Raises:
        ConfigError: without Optuna, and for settings that cannot be.
    """

    def __init__(self, max_batch_size: int, params: dict[str, str] | None = None, **settings: Any) -> None:
        from seqadd.config import ConfigError

        super().__init__(max_batch_size, params)
        if importlib.util.find_spec("optuna") is None:
            raise ConfigError("hydra/sweeper=optuna: needs Optuna; pip install 'seqadd[search]'")
        if isinstance(max_batch_size, bool) or not isinstance(max_batch_size, int) or max_batch_size < 1:
            raise ConfigError(f"hydra.sweeper.max_batch_size={max_batch_size}: must be an integer of at least 1")

        from seqadd.searches import Settings

        self.settings = Settings(**settings)

    def sweep(self, arguments: list[str]) -> Any:
        assert self.config is not None
        assert self.hydra_context is not None
        launcher = self.launcher
        assert launcher is not None

        from seqadd.searches import read_space, run_search

        space = read_space(self.hydra_context.config_loader, self.params, arguments)
        corners = space.corners()
        configs = [self._config(corner) for corner in corners]
        for config in configs:
            self.settings.check(config)
        if isinstance(launcher, CheckingLauncher):
            launcher.check(corners, configs)

        def launch(search: Search, numbers: list[int], own: list[str], ended: Callable[..., None]) -> None:
            if isinstance(launcher, ProcessLauncher):
                self._one_by_one(search, numbers, own, ended, launcher.at_once, configs)
            else:
                self._in_batches(search, numbers, own, ended)

        said = " ".join(each for each in arguments if not _is_private(each))
        return run_search(said, space, self.settings, configs, launch)

    def _config(self, overrides: Sequence[str]) -> Config:
        assert self.config is not None
        assert self.hydra_context is not None
        return job_config(self.hydra_context, self.config, overrides)

    def _one_by_one(
        self,
        search: Search,
        numbers: list[int],
        own: list[str],
        ended: Callable[..., None],
        at_once: int | None,
        corners: Sequence[Config],
    ) -> None:
        """Has each trial chosen when there is a core for it, knowing all that the others have brought until then."""
        from seqadd import jobs
        from seqadd.config import ConfigError
        from seqadd.progress import Display

        names = [f"trial {number}" for number in numbers]
        at_once = at_once or jobs.jobs_at_once(corners)
        with Display(names, [corners[0].epochs] * len(names), at_once) as display:

            def queue() -> Iterator[tuple[int, Config]]:
                for index, number in enumerate(numbers):
                    asked = search.ask(number)
                    display.say(f"{names[index]}  {asked.said}")
                    try:
                        yield index, self._config(_of_trial(asked, own))
                    except ConfigError as error:  # between the corners, which were checked
                        ended(number, str(error), final=True)
                        display.end(index, str(error))

            def over(index: int, outcome: jobs.Finished | jobs.Failed) -> None:
                ended(numbers[index], str(outcome))
                if len(names) == 1:  # of which the display shows no end
                    display.say(f"{names[0]}  {outcome}")

            if numbers:
                jobs.run_queue(display, names, queue(), at_once, over)

    def _in_batches(self, search: Search, numbers: list[int], own: list[str], ended: Callable[..., None]) -> None:
        """Has as many trials chosen together as the launcher is given at once, and waits for the last of them."""
        from seqadd.config import ConfigError
        from seqadd.exits import RecordWaits
        from seqadd.jobs import JobsFailed
        from seqadd.sweeps import print_line

        assert self.launcher is not None
        remaining = iter(numbers)
        while batch := list(islice(remaining, self.max_batch_size)):
            chosen: list[list[str]] = []
            for number in batch:
                asked = search.ask(number)
                print_line(f"trial {number}  {asked.said}")
                try:
                    self._config(_of_trial(asked, own))
                except ConfigError as error:
                    ended(number, str(error), final=True)
                    print_line(f"trial {number}  {error}")
                else:
                    chosen.append(_of_trial(asked, own))
            try:
                if chosen:
                    self.launcher.launch(chosen, batch[0])
            except (JobsFailed, RecordWaits) as error:  # what became of each trial its process has told the study
                print_line(str(error))
            for number in batch:
                ended(number)


def _of_trial(asked: Asked, own: Sequence[str]) -> list[str]:
    return [*asked.overrides, *own, f"tracking.trial={asked.number}"]
