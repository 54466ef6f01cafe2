"""A Hydra plugin for searches: a sweeper whose jobs are trials that Optuna chooses.

Hydra loads plugins in every program that uses it, so this module imports seqadd only inside functions.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from hydra_plugins._seqadd_jobs import check_batch_size, check_program, compose_job, is_private, of_trial

if TYPE_CHECKING:
    from hydra_plugins.seqadd_sweep import ProcessLauncher
    from seqadd.config.schema import Config
    from seqadd.search.study import Search

# The number of trials in a batch, for launchers that cannot take trials one by one.
_TRIALS_AT_ONCE = 8


class SearchSweeper(BasicSweeper):
    """A sweeper whose jobs are trials of a search, chosen by Optuna; see ``search.study``.

    Hydra's own plugin for Optuna requires Optuna below 3.

    Args:
        max_batch_size: number of trials that are chosen and launched together. None: ``ProcessLauncher`` has each trial
            chosen when a process is free; other launchers get batches of eight.
        params: values for keys, written as on the command line, which takes precedence.
        settings: see ``search.space.SearchSettings``.
    """

    def __init__(
        self, max_batch_size: int | None = None, params: dict[str, str] | None = None, **settings: Any
    ) -> None:
        super().__init__(max_batch_size, params)
        self._given = settings

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """See Hydra's ``Sweeper.setup``.

        Raises:
            CompactHydraException: in a program other than seqadd.
            ConfigError: without Optuna, and for invalid settings.
        """
        from seqadd.errors import ConfigError

        check_program(config, self)
        if importlib.util.find_spec("optuna") is None:
            raise ConfigError("hydra/sweeper=optuna: needs Optuna; pip install 'seqadd[search]'")
        check_batch_size(self.max_batch_size)

        from seqadd.search.space import SearchSettings

        try:
            self.settings = SearchSettings(**self._given)
        except TypeError as error:
            raise ConfigError(f"hydra.sweeper: {error}") from error
        super().setup(hydra_context=hydra_context, task_function=task_function, config=config)

    def sweep(self, arguments: list[str]) -> Any:
        assert self.config is not None
        assert self.hydra_context is not None
        launcher = self.launcher
        assert launcher is not None

        # Imported at the module's top these would be other classes: Hydra executes seqadd_sweep after this module,
        # also when it is imported already.
        from hydra_plugins.seqadd_sweep import PreflightLauncher, ProcessLauncher
        from seqadd.launch import plan
        from seqadd.launch.search import run_search
        from seqadd.search.space import read_space

        space = read_space(self.hydra_context.config_loader, self.params, arguments)
        corners = space.corners()
        configs = [self._config(corner) for corner in corners]
        for config in configs:
            self.settings.check(config)
        if plan.is_requested():
            plan.print_plan_of_search(space.keys, self.settings.trials, configs)
            return ""
        if isinstance(launcher, PreflightLauncher):
            launcher.check(corners, configs)

        def launch(search: Search, numbers: list[int], own: list[str], ended: Callable[..., None]) -> None:
            if isinstance(launcher, ProcessLauncher) and self.max_batch_size is None:
                self._one_by_one(search, numbers, own, ended, launcher, configs)
            else:
                self._in_batches(search, numbers, own, ended)

        typed = " ".join(each for each in arguments if not is_private(each))
        return run_search(typed, space, self.settings, configs, launch)

    def _config(self, overrides: Sequence[str]) -> Config:
        assert self.config is not None
        assert self.hydra_context is not None
        return compose_job(self.hydra_context, self.config, overrides).config

    def _one_by_one(
        self,
        search: Search,
        numbers: list[int],
        own: list[str],
        ended: Callable[..., None],
        launcher: ProcessLauncher,
        corners: Sequence[Config],
    ) -> None:
        """Chooses each trial when a job can start, so that the choice uses all results up to then."""
        from seqadd.cli.progress import Display
        from seqadd.errors import ConfigError
        from seqadd.launch.local import JobFailed, JobSucceeded, failure_limit_reached, max_parallel_jobs, run_queue

        names = [f"trial {number}" for number in numbers]
        at_once = launcher.at_once or max_parallel_jobs(corners)
        outcomes: list[JobSucceeded | JobFailed] = []
        with Display(names, [corners[0].epochs] * len(names), at_once, resumes=not corners[0].force) as display:

            def queue() -> Iterator[tuple[int, Config]]:
                for index, number in enumerate(numbers):
                    if failure_limit_reached(outcomes, launcher.max_failures):
                        display.notify(f"{len(numbers) - index} trials not started, because max_failures was reached")
                        return
                    suggested = search.ask(number)
                    display.notify(f"{names[index]}  {suggested.description}")
                    try:
                        yield index, self._config(of_trial(suggested, own))
                    except ConfigError as error:  # only the corners of the space were checked before
                        ended(number, str(error), final=True)
                        display.end(index, str(error))

            def over(index: int, outcome: JobSucceeded | JobFailed) -> None:
                outcomes.append(outcome)
                ended(numbers[index], str(outcome))
                if len(names) == 1:  # the display shows no end for a single job
                    display.notify(f"{names[0]}  {outcome}")

            if numbers:
                run_queue(display, names, queue(), at_once, over)

    def _in_batches(self, search: Search, numbers: list[int], own: list[str], ended: Callable[..., None]) -> None:
        """Chooses trials in batches, launches each batch, and waits until all its trials have ended."""
        from seqadd.cli.console import print_line
        from seqadd.errors import ConfigError, DeliveryPending, JobsFailed

        assert self.launcher is not None
        remaining = iter(numbers)
        while batch := list(islice(remaining, self.max_batch_size or _TRIALS_AT_ONCE)):
            chosen: list[list[str]] = []
            for number in batch:
                suggested = search.ask(number)
                print_line(f"trial {number}  {suggested.description}")
                try:
                    self._config(of_trial(suggested, own))
                except ConfigError as error:
                    ended(number, str(error), final=True)
                    print_line(f"trial {number}  {error}")
                else:
                    chosen.append(of_trial(suggested, own))
            try:
                if chosen:
                    self.launcher.launch(chosen, batch[0])
            except (JobsFailed, DeliveryPending) as error:  # each trial's process has recorded its end in the study
                print_line(str(error))
            for number in batch:
                ended(number)
            if getattr(self.launcher, "failures_left", None) == 0:
                left = len(list(remaining))
                print_line(f"{left} trials not started, because max_failures was reached")
                return
