"""A trial of a search, as the process that trains it sees it: says where it is, and hears whether to give up.

The study of a search is a journal, a file that every process of the search appends to and reads (Optuna's
``JournalStorage``). It lies with what the search keeps while it is not finished, so a trial can be trained wherever
that folder is seen. Optuna is imported in processes of a search alone. What is tried is decided in ``searches``.
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

#: The tag of a run's record with the number of the trial that it is.
TRIAL = "trial"


@contextmanager
def open_trial(config: Config, store: Store) -> Iterator[Trial]:
    """The trial that a run is, whose end the study is told of; for a run that is none, one that does nothing.

    A run that is interrupted or killed leaves its trial under way, so that it can be gone on with.

    Raises:
        ConfigError: when there is no such search.
    """
    trial = Trial()
    if config.tracking.search is not None and config.tracking.trial is not None:
        journal = search_directory(store, config.tracking.search).path / JOURNAL
        if not journal.exists():
            raise ConfigError(f"tracking.search={config.tracking.search}: no such search is under way; leave it out")
        with defer_signals():
            trial = Trial(open_study(journal), config.tracking.trial, config.epochs)
    try:
        yield trial
    except Pruned:
        trial.tell("PRUNED")
        raise
    except DeliveryPending:  # it is trained all the same
        trial.tell("COMPLETE")
        raise
    except Exception as error:
        trial.tell("FAIL", short_line(error))
        raise
    else:
        trial.tell("COMPLETE")


class Trial(Listener):
    """Tells the study of a trial, and asks it whether the trial is hopeless.

    Args:
        study: that it belongs to; None for a run that is no trial, of which nobody is told.
        number: of the trial in the study, from 0.
        epochs: after which it is over.

    Attributes:
        tags: for the run's record.
        metric: that the study compares.
        diverged: whether it would fail again; set by who finds that out.
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
        """Says which record is the trial's, and its metric after each epoch that is behind it."""
        self._run_id = run_id
        if self._is_over():
            return
        self._trial.set_user_attr(RUN_ID, run_id)
        known = self._frozen().intermediate_values
        for epoch, value in values.items():
            if epoch not in known:  # as for one that goes on
                self._trial.report(value, epoch)

    def values(self, history: Sequence[Mapping[str, float]]) -> dict[int, float]:
        """The metric after each epoch of a history."""
        return {} if self._study is None else {int(row["epoch"]): self._value(row) for row in history}

    @defer_signals()
    def on_epoch(self, session: TrainingSession, row: Mapping[str, float]) -> None:
        """Tells the study of an epoch.

        Raises:
            Pruned: when the study finds that the trial is hopeless beside the others.
            ConfigError: when the run has no such metric.
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
        """Tells the study how the trial ended: ``COMPLETE``, ``PRUNED`` or ``FAIL``."""
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
        """Whether there is nobody to tell: no study, or one that knows the end from an earlier process."""
        return self._study is None or self._frozen().state.is_finished()

    def _value(self, row: Mapping[str, float]) -> float:
        if self.metric not in row:
            there = ", ".join(name for name in row if name != "epoch")
            raise ConfigError(f"hydra.sweeper.metric={self.metric}: this run has none; it has {there}")
        return row[self.metric]

    def _beside_the_others(self, epoch: int) -> str:
        """Why it is hopeless, as the median pruner sees it: its best is worse than the median of the finished ones."""
        from optuna.trial import TrialState

        assert self._study is not None
        best = max if self._study.direction.name == "MAXIMIZE" else min
        finished = self._study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        others = [each.intermediate_values[epoch] for each in finished if epoch in each.intermediate_values]
        own = best(self._frozen().intermediate_values.values())
        return f"{self.metric} {own:.4f} at best, beside {statistics.median(others):.4f}, the median of the others"
