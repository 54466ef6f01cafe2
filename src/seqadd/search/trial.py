"""A trial of a search, in the process that trains it: reports each epoch to the study, and raises Pruned.

The study of a search is a journal, a file that every process of the search appends to and reads (Optuna's
``JournalStorage``). It is in the folder of the unfinished search, so any machine that sees that folder can train a
trial. Only processes of a search import Optuna. ``search.study`` decides what is tried.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from seqadd.config.messages import short_line
from seqadd.config.schema import Config
from seqadd.errors import ConfigError, DeliveryPending, Pruned
from seqadd.search.journal import JOURNAL, MEDIAN, NONE, RUN_ID, fail_trial, open_study, search_directory, trial_in
from seqadd.system.signals import defer_signals
from seqadd.training.session import Listener, TrainingSession

if TYPE_CHECKING:
    import optuna

    from seqadd.tracking.store import Store

#: The tag of a run with the number of its trial.
TRIAL = "trial"


@contextmanager
def open_trial(config: Config, store: Store) -> Iterator[Trial]:
    """A context manager that gives a run's trial, and records its end in the study; without a trial it does nothing.

    If the run is interrupted or killed, its trial stays in the state running, so that it can be continued.

    Raises:
        ConfigError: if there is no such search.
    """
    trial = Trial()
    if config.tracking.search is not None and config.tracking.trial is not None:
        journal = search_directory(store, config.tracking.search).path / JOURNAL
        if not journal.exists():
            raise ConfigError(
                f"tracking.search={config.tracking.search}: no unfinished search has this id; leave it out"
            )
        with defer_signals():
            trial = Trial(open_study(journal), config.tracking.trial, config.epochs)
    try:
        yield trial
    except Pruned:
        trial.tell("PRUNED")
        raise
    except DeliveryPending:  # the training itself is complete
        trial.tell("COMPLETE")
        raise
    except Exception as error:
        trial.tell("FAIL", short_line(error))
        raise
    else:
        trial.tell("COMPLETE")


class Trial(Listener):
    """Reports a trial's epochs to the study, and asks the study whether to prune the trial.

    Args:
        study: the study of the trial; None for a run that is not a trial, which reports nothing.
        number: number of the trial in the study, from 0.
        epochs: number of epochs of the run.

    Attributes:
        tags: tags for the run.
        metric: the metric that the study compares.
        diverged: whether a retry would fail too; the caller sets it.
    """

    def __init__(self, study: optuna.Study | None = None, number: int = 0, epochs: int = 0) -> None:
        self.tags: dict[str, str] = {}
        self.metric = ""
        self.diverged = False
        self._study = study
        self._number = number
        self._epochs = epochs
        self._run_id = ""
        if study is not None:
            import optuna

            self.tags = {TRIAL: str(number)}
            self.metric = str(study.user_attrs["metric"])
            startup, warmup = study.user_attrs["startup_trials"], study.user_attrs["warmup_epochs"]
            study.pruner = {
                MEDIAN: optuna.pruners.MedianPruner(n_startup_trials=startup, n_warmup_steps=warmup),
                NONE: optuna.pruners.NopPruner(),
            }[study.user_attrs["pruner"]]
            self._trial = trial_in(study, number)

    @defer_signals()
    def begin(self, run_id: str, values: Mapping[int, float]) -> None:
        """Reports the trial's run, and the metric after each epoch that was trained earlier."""
        self._run_id = run_id
        if self._is_over():
            return
        self._trial.set_user_attr(RUN_ID, run_id)
        known = self._frozen().intermediate_values
        for epoch, value in values.items():
            if epoch not in known:  # a resumed trial has reported its earlier epochs already
                self._trial.report(value, epoch)

    def values(self, history: Sequence[Mapping[str, float]]) -> dict[int, float]:
        """The metric after each epoch of a history."""
        return {} if self._study is None else {int(row["epoch"]): self._value(row) for row in history}

    @defer_signals()
    def on_epoch(self, session: TrainingSession, row: Mapping[str, float]) -> None:
        """Reports an epoch to the study.

        Raises:
            Pruned: if the study's pruner stops the trial.
            ConfigError: if the run has no such metric.
        """
        if self._is_over():
            return
        epoch = int(row["epoch"])
        if epoch not in self._frozen().intermediate_values:
            self._trial.report(self._value(row), epoch)
        if epoch < self._epochs and self._trial.should_prune():
            raise Pruned(f"pruned after epoch {epoch}: {self._beside_the_others(epoch)}", self._run_id, epoch)

    @defer_signals()
    def tell(self, state: str, error: str | None = None) -> None:
        """Records in the study how the trial ended: ``COMPLETE``, ``PRUNED`` or ``FAIL``."""
        if self._study is None or self._is_over():
            return
        from optuna.trial import TrialState

        value = self._frozen().intermediate_values.get(self._epochs)
        if state == "COMPLETE" and (value is None or not math.isfinite(value)):
            state, error = "FAIL", f"run {self._run_id} has {self.metric} {value} after epoch {self._epochs}"
        if error is not None:
            fail_trial(self._study, self._number, error, final=self.diverged)
        else:
            self._study.tell(self._number, value if state == "COMPLETE" else None, TrialState[state])

    def _frozen(self) -> optuna.trial.FrozenTrial:
        assert self._study is not None
        return self._study.get_trials(deepcopy=False)[self._number]

    def _is_over(self) -> bool:
        """Whether nothing is left to report: there is no study, or an earlier process recorded the trial's end."""
        return self._study is None or self._frozen().state.is_finished()

    def _value(self, row: Mapping[str, float]) -> float:
        if self.metric not in row:
            there = ", ".join(name for name in row if name != "epoch")
            raise ConfigError(f"hydra.sweeper.metric={self.metric}: this run lacks it; its metrics are {there}")
        return row[self.metric]

    def _beside_the_others(self, epoch: int) -> str:
        """The median pruner's reason: the trial's best value is worse than the median of the finished trials."""
        from optuna.trial import TrialState

        assert self._study is not None
        best = max if self._study.direction.name == "MAXIMIZE" else min
        finished = self._study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        others = [each.intermediate_values[epoch] for each in finished if epoch in each.intermediate_values]
        own = best(self._frozen().intermediate_values.values())
        median = f"{statistics.median(others):.4f}, the median of the finished trials"
        return f"best {self.metric} {own:.4f} is worse than {median}"
