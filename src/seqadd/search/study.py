"""A search: a space of configurations, of which Optuna tries one after another, recorded under one parent run.

What the processes of its trials do is in ``trials``, how they are started in Hydra's plugin. A search that was stopped
in any way goes on where it was: its study is on disk, trials that were under way are gone on with, and each new trial
follows from the seed, its number and what came before, so that with one job at once a search is the same in one go or
in pieces.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from seqadd.config.schema import Config
from seqadd.search.journal import FINAL, fail_trial
from seqadd.search.space import SearchSettings, SearchSpace
from seqadd.system import numeric_flags
from seqadd.system.signals import defer_signals

if TYPE_CHECKING:
    import optuna
    from optuna.trial import FrozenTrial

# What a trial has in the study that is tried in place of a failed one: the other's number.
_AGAIN = "again"
SEEDS_OF_THE_BEST = 5  # that the best trial is said to be trained with again


def identity(space: SearchSpace, config: Config, settings: SearchSettings) -> str:
    """16 hex digits that are the same for the same search with the same flags, whatever number of trials is asked for.

    Args:
        space: what is searched.
        config: of one of its corners.
        settings: how.
    """
    parts = {
        "space": space.written,
        "corner": config.config_hash(),
        **{key: value for key, value in vars(settings).items() if key != "trials"},
        **({"flags": numeric_flags.flags()} if numeric_flags.flags() else {}),
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class SuggestedTrial:
    """A trial to be trained: its number, its overrides, and what is special about them in a few words."""

    number: int
    overrides: list[str]
    said: str


class Search:
    """The study of a search: gives the trials that are missing, and is told of those that cannot tell themselves.

    Args:
        study: see ``journal.open_study``.
        space: what is searched.
        settings: how.
    """

    def __init__(self, study: optuna.Study, space: SearchSpace, settings: SearchSettings) -> None:
        self.study = study
        self.space = space
        self.settings = settings

    @defer_signals()
    def begin(self, config: Config) -> None:
        """Prepares the study for a command that goes on with it; nobody else may be at it.

        A trial that failed for a reason that may have gone (no room on a disk, a kill) is tried once more.
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
        for trial in self._in("RUNNING"):
            if trial.params.keys() != self.space.keys.keys():  # killed while it was asked for
                self.study.tell(trial.number, state=optuna.trial.TrialState.FAIL)
        for trial in self.lost():
            self.study.enqueue_trial(trial.params, user_attrs={_AGAIN: trial.number})

    def missing(self) -> list[int]:
        """The numbers of the trials that are to be trained: under way, waiting, and new ones, in this order."""
        trials = self._in()
        begun = [trial.number for trial in self._in("RUNNING")]
        waiting = [trial.number for trial in self._in("WAITING")]
        counted = len(trials) - len([trial for trial in self._in("FAIL") if not trial.user_attrs.get(FINAL)])
        new = range(len(trials), len(trials) + max(0, self.settings.trials - counted))
        return [*begun, *waiting, *new]

    @defer_signals()
    def ask(self, number: int) -> SuggestedTrial:
        """The trial of a number that is missing; in the order of ``missing``."""
        import numpy as np
        import optuna

        trials = self._in()
        if number < len(trials) and trials[number].state.name == "RUNNING":
            return self._asked(number, trials[number].params)
        # A sampler that went on from its seed would draw the first trials again after every interruption.
        own = np.random.SeedSequence([self.settings.seed, number]).generate_state(1)[0]
        self.study.sampler = optuna.samplers.TPESampler(seed=int(own))
        trial = self.study.ask(self.space.keys)
        assert trial.number == number
        return self._asked(number, trial.params)

    def _asked(self, number: int, params: Mapping[str, Any]) -> SuggestedTrial:
        return SuggestedTrial(number, self.space.overrides(params), in_short(self.space.in_order(params)))

    @defer_signals()
    def ended(self, number: int, error: str, *, final: bool = False) -> None:
        """A trial's process is over. Where it could not tell the study, it has failed.

        Args:
            number: of the trial.
            error: why.
            final: whether it would fail again.
        """
        if not self._in()[number].state.is_finished():
            fail_trial(self.study, number, error, final=final)

    def best(self) -> FrozenTrial | None:
        """The best of the finished trials; None where there is none."""
        return self.study.best_trial if self.finished() else None

    def progress(self) -> dict[str, float]:
        """What the search's own record is told: the best so far, how many were pruned, after so many trials."""
        best = self.best()
        row = {"epoch": float(len(self.over())), "pruned_trials": float(len(self.pruned()))}
        return row if best is None or best.value is None else {**row, f"best_{self.settings.metric}": best.value}

    def finished(self) -> list[FrozenTrial]:
        """Those trained to their last epoch."""
        return self._in("COMPLETE")

    def pruned(self) -> list[FrozenTrial]:
        """Those that were given up."""
        return self._in("PRUNED")

    def diverged(self) -> list[FrozenTrial]:
        """Those that failed and would fail again."""
        return [trial for trial in self._in("FAIL") if trial.user_attrs.get(FINAL)]

    def over(self) -> list[FrozenTrial]:
        """Those of which nothing is left to be done, however they ended, in their order."""
        return sorted([*self.finished(), *self.pruned(), *self.diverged()], key=lambda trial: trial.number)

    def lost(self) -> list[FrozenTrial]:
        """Those that failed, may not do so again, and were not tried again yet; they do not count."""
        again = {trial.user_attrs.get(_AGAIN) for trial in self._in()}
        return [t for t in self._in("FAIL") if not t.user_attrs.get(FINAL) and t.number not in again]

    def _in(self, *states: str) -> list[FrozenTrial]:
        """The trials in these states, as Optuna calls them, or all; in their order."""
        return [each for each in self.study.get_trials(deepcopy=False) if not states or each.state.name in states]


def in_short(values: Mapping[str, Any]) -> str:
    """Values as a person reads them: ``learning_rate=0.00316 batch_size=64``."""
    return " ".join(
        f"{key}={value:.3g}" if isinstance(value, float) else f"{key}={value}" for key, value in values.items()
    )
