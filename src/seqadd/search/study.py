"""A search: Optuna tries configurations of a space one after another, recorded under one parent run.

``search.trial`` is the side of a trial's own process; ``launch.search`` and Hydra's plugin start the trials. A search
that was stopped in any way resumes: its study is on disk, running trials are continued, and each new trial is fixed by
the seed, its number and the earlier trials. With one job at a time an interrupted search therefore gives the same
trials as an uninterrupted one.
"""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from seqadd.config.schema import Config, override_text
from seqadd.search.journal import FINAL, fail_trial
from seqadd.search.space import SearchSettings, SearchSpace
from seqadd.system import numeric_flags
from seqadd.system.signals import defer_signals

if TYPE_CHECKING:
    import optuna
    from optuna.trial import FrozenTrial

# User attribute of a trial that retries a failed one: the number of the failed trial.
_AGAIN = "again"
SEEDS_OF_THE_BEST = 5  # the number of seeds in the suggested command that retrains the best trial


def identity(space: SearchSpace, configs: Sequence[Config], settings: SearchSettings) -> str:
    """16 hex digits that identify a search with its numeric flags; independent of the number of trials.

    Args:
        space: the search space.
        configs: configurations of its corners.
        settings: the settings of the search.
    """
    codes = sorted({config.part_code for config in configs if config.part_code is not None})
    parts = {
        "space": space.written,
        "corner": configs[0].config_hash(),
        **{key: value for key, value in vars(settings).items() if key != "trials"},
        **({"part_codes": codes} if codes else {}),
        **({"flags": numeric_flags.flags()} if numeric_flags.flags() else {}),
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class SuggestedTrial:
    """A trial to be trained: its number, its overrides, and its values in short form."""

    number: int
    overrides: list[str]
    description: str


class Search:
    """The study of a search: suggests the missing trials, and records failures that a trial's process did not record.

    Args:
        study: see ``journal.open_study``.
        space: the search space.
        settings: the settings of the search.
    """

    def __init__(self, study: optuna.Study, space: SearchSpace, settings: SearchSettings) -> None:
        self.study = study
        self.space = space.as_in(study)
        self.settings = settings

    @defer_signals()
    def begin(self, config: Config) -> None:
        """Prepares the study for a command that starts or continues it; no other process may use the study now.

        A trial that failed for a reason that may not recur (a full disk, a kill) is retried.
        """
        import optuna

        about = {
            "metric": self.settings.metric,
            "pruner": self.settings.pruner,
            "startup_trials": self.settings.startup_trials,
            "warmup_epochs": self.settings.warmup(config),
        }
        for name, value in about.items():
            if self.study.user_attrs.get(name) != value:
                self.study.set_user_attr(name, value)
        if self.study.metric_names is None:  # the label of Optuna's plots
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
                self.study.set_metric_names([self.settings.metric])
        for trial in self._in("RUNNING"):
            if trial.params.keys() != self.space.keys.keys():  # the command was killed while it asked for the trial
                self.study.tell(trial.number, state=optuna.trial.TrialState.FAIL)
        for trial in self.lost():
            self.study.enqueue_trial(trial.params, user_attrs={_AGAIN: trial.number})

    def missing(self) -> list[int]:
        """The numbers of the trials to train: running, waiting and new ones, in this order."""
        trials = self._in()
        begun = [trial.number for trial in self._in("RUNNING")]
        waiting = [trial.number for trial in self._in("WAITING")]
        counted = len(trials) - len([trial for trial in self._in("FAIL") if not trial.user_attrs.get(FINAL)])
        new = range(len(trials), len(trials) + max(0, self.settings.trials - counted))
        return [*begun, *waiting, *new]

    @defer_signals()
    def ask(self, number: int) -> SuggestedTrial:
        """Suggests the trial of a missing number; must be called in the order of ``missing``."""
        import numpy as np
        import optuna

        trials = self._in()
        if number < len(trials) and trials[number].state.name == "RUNNING":
            return self._suggested(number, trials[number].params)
        # A sampler with one fixed seed would draw the first trials again after every interruption.
        own = np.random.SeedSequence([self.settings.seed, number]).generate_state(1)[0]
        self.study.sampler = optuna.samplers.TPESampler(seed=int(own))
        trial = self.study.ask(self.space.keys)
        assert trial.number == number
        return self._suggested(number, trial.params)

    def _suggested(self, number: int, params: Mapping[str, Any]) -> SuggestedTrial:
        return SuggestedTrial(number, self.space.overrides(params), in_short(self.space.in_order(params)))

    @defer_signals()
    def ended(self, number: int, error: str, *, final: bool = False) -> None:
        """Called when a trial's process has ended: a trial without a recorded end is recorded as failed.

        Args:
            number: number of the trial.
            error: the reason.
            final: whether a retry would fail too.
        """
        if not self._in()[number].state.is_finished():
            fail_trial(self.study, number, error, final=final)

    def best(self) -> FrozenTrial | None:
        """The best of the finished trials; None if there is none."""
        return self.study.best_trial if self.finished() else None

    def progress(self) -> dict[str, float]:
        """The metrics of the parent run: the best value and the number of pruned trials, with trials as ``epoch``."""
        best = self.best()
        row = {"epoch": float(len(self.over())), "pruned_trials": float(len(self.pruned()))}
        return row if best is None or best.value is None else {**row, f"best_{self.settings.metric}": best.value}

    def finished(self) -> list[FrozenTrial]:
        """The trials that were trained to their last epoch."""
        return self._in("COMPLETE")

    def pruned(self) -> list[FrozenTrial]:
        """The trials that the pruner stopped."""
        return self._in("PRUNED")

    def diverged(self) -> list[FrozenTrial]:
        """The trials that failed and would fail on a retry too."""
        return [trial for trial in self._in("FAIL") if trial.user_attrs.get(FINAL)]

    def over(self) -> list[FrozenTrial]:
        """The trials that need no more work: finished, pruned and diverged, in their order."""
        return sorted([*self.finished(), *self.pruned(), *self.diverged()], key=lambda trial: trial.number)

    def lost(self) -> list[FrozenTrial]:
        """The failed trials that may succeed on a retry and were not retried yet; they do not count as trials."""
        again = {trial.user_attrs.get(_AGAIN) for trial in self._in()}
        return [t for t in self._in("FAIL") if not t.user_attrs.get(FINAL) and t.number not in again]

    def _in(self, *states: str) -> list[FrozenTrial]:
        """The trials in these states (Optuna's names), or all trials; in their order."""
        return [each for each in self.study.get_trials(deepcopy=False) if not states or each.state.name in states]


def in_short(values: Mapping[str, Any]) -> str:
    """Values in short form for printing: ``learning_rate=0.00316 batch_size=64``."""
    return " ".join(
        f"{key}={value:.3g}" if isinstance(value, float) else f"{key}={override_text(value)}"
        for key, value in values.items()
    )
