"""A search: a space of configurations, of which Optuna tries one after another, recorded under one parent run.

What the processes of its trials do is in ``trials``, how they are started in Hydra's plugin. A search that was stopped
in any way goes on where it was: its study is on disk, trials that were under way are gone on with, and each new trial
follows from the seed, its number and what came before, so that with one job at once a search is the same in one go or
in pieces.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import re
import shlex
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override, RangeSweep

from seqadd.cli.console import print_line
from seqadd.config.schema import GROUPS, Config, kind_of_key, known_keys, known_result_keys, override_text
from seqadd.database import check_database
from seqadd.errors import ConfigError, redact_credentials
from seqadd.sweeps import parent_run
from seqadd.system import numeric_flags
from seqadd.system.files import atomic_write
from seqadd.system.signals import defer_signals
from seqadd.table import METRICS, is_metric
from seqadd.trials import ERROR, FINAL, JOURNAL, MEDIAN, NONE, RUN_ID, fail, open_study, place_of

if TYPE_CHECKING:
    import optuna
    from optuna.distributions import BaseDistribution
    from optuna.trial import FrozenTrial

    from seqadd.tracking import RecordedRun, Store, TrackedRun

# So many corners of a space are checked; of one that has more, those that differ in one key from the first or the last.
_MOST_CORNERS = 128
# What a trial has in the study that is tried in place of a failed one: the other's number.
_AGAIN = "again"
_SEEDS = 5  # that the best trial is said to be trained with again


@dataclass(frozen=True)
class Settings:
    """How is searched.

    Attributes:
        trials: in all, those of an earlier time included.
        metric: after the last epoch; the greatest is sought, of losses and ``epoch_seconds`` the least.
        seed: of the sampler.
        pruner: ``median`` ends a trial whose best is worse than the median of the finished ones; ``none`` ends none.
        startup_trials: none is pruned before so many are finished.
        warmup_epochs: nor before so many epochs; None for a fifth of them.

    Raises:
        ConfigError: for a value out of its range.
    """

    trials: int
    metric: str
    seed: int
    pruner: str
    startup_trials: int
    warmup_epochs: int | None

    def __post_init__(self) -> None:
        for key, low in (("trials", 1), ("seed", 0), ("startup_trials", 1), ("warmup_epochs", 0)):
            value = getattr(self, key)
            if key == "warmup_epochs" and value is None:
                continue
            if isinstance(value, bool) or not isinstance(value, int) or value < low:
                raise ConfigError(f"hydra.sweeper.{key}={override_text(value)}: must be an integer of at least {low}")
        if not is_metric(str(self.metric)):
            raise ConfigError(
                f"hydra.sweeper.metric={self.metric}: must be one of {', '.join(METRICS)}, val_acc_position_N, "
                "val_exact_match_carries_N, val_exact_match_digits_N"
            )
        if self.pruner not in (MEDIAN, NONE):
            raise ConfigError(f"hydra.sweeper.pruner={self.pruner}: must be one of {MEDIAN}, {NONE}")

    @property
    def direction(self) -> Literal["maximize", "minimize"]:
        """What is done with the metric."""
        return "minimize" if "loss" in self.metric or self.metric == "epoch_seconds" else "maximize"

    def check(self, config: Config) -> None:
        """Raises ConfigError when runs of a configuration have no such metric, or are over before one is pruned."""
        position = re.fullmatch(r"val_acc_position_(\d+)", self.metric)
        missing = (
            (self.metric == "val_acc_teacher_forced" and not config.free_lengths, "architecture=encoder_decoder"),
            ("binary" in self.metric and config.loss != "binary", "loss=binary"),
            (position and not 1 <= int(position[1]) <= config.answer_length, f"positions 1 to {config.answer_length}"),
        )
        for lacks, who in missing:
            if lacks:
                raise ConfigError(f"hydra.sweeper.metric={self.metric}: not all of these runs have it, only {who}")
        if self.warmup_epochs is not None and self.warmup_epochs >= config.epochs and self.pruner != NONE:
            raise ConfigError(
                f"hydra.sweeper.warmup_epochs={self.warmup_epochs}: must be less than epochs={config.epochs}; for no "
                "pruning write hydra.sweeper.pruner=none"
            )

    def warmup(self, config: Config) -> int:
        """After how many epochs pruning begins."""
        return self.warmup_epochs if self.warmup_epochs is not None else max(1, config.epochs // 5)


@dataclass(frozen=True)
class Space:
    """What is searched.

    Attributes:
        fixed: overrides of every trial.
        keys: what each key may be.
        written: the same as the person wrote it.
    """

    fixed: list[str]
    keys: dict[str, BaseDistribution]
    written: dict[str, str]

    def overrides(self, values: Mapping[str, Any]) -> list[str]:
        """The overrides of a trial with these values."""
        return [*self.fixed, *self.own_overrides(values)]

    def own_overrides(self, values: Mapping[str, Any]) -> list[str]:
        """Those of them that not all trials have."""
        return [f"{key}={override_text(value)}" for key, value in self.in_order(values).items()]

    def in_order(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Values of a trial in the order in which the person named the keys; Optuna has one of its own."""
        return {key: values[key] for key in self.keys}

    def corners(self) -> list[list[str]]:
        """The overrides of configurations between which all others lie."""
        ends = {key: _ends(distribution) for key, distribution in self.keys.items()}
        if math.prod(map(len, ends.values())) <= _MOST_CORNERS:
            found = [dict(zip(ends, each, strict=True)) for each in itertools.product(*ends.values())]
        else:
            firsts = {key: values[0] for key, values in ends.items()}
            lasts = {key: values[-1] for key, values in ends.items()}
            found = [
                {**others, key: value} for others in (firsts, lasts) for key, values in ends.items() for value in values
            ]
        corners = [self.overrides(values) for values in found]
        return [corner for index, corner in enumerate(corners) if corner not in corners[:index]]


def _ends(distribution: BaseDistribution) -> list[Any]:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if isinstance(distribution, CategoricalDistribution):
        return list(distribution.choices)
    assert isinstance(distribution, (FloatDistribution, IntDistribution))
    return [distribution.low] if distribution.single() else [distribution.low, distribution.high]


def read_space(loader: ConfigLoader, params: Mapping[str, str], arguments: Sequence[str]) -> Space:
    """The space that overrides describe, in Hydra's grammar.

    ``choice(a,b)`` and ``a,b`` are one of these; ``range(a,b,c)`` is a, a+c, ... below b; ``interval(a,b)`` is any
    number in between, with the tag ``log`` evenly by its logarithm, with the tag ``int`` any integer.

    Args:
        loader: Hydra's, which knows what is a config group.
        params: values for keys, written as on the command line.
        arguments: overrides that count more.

    Raises:
        ConfigError: for what is no space of runs.
    """
    parser = OverridesParser.create(config_loader=loader)
    written = [f"{key}={value}" for key, value in params.items()]
    # Of a key that is named more than once the last counts.
    named = {each.get_key_element(): each for each in parser.parse_overrides([*written, *arguments])}
    fixed = [
        str(each.input_line) if each.is_delete() else f"{key}={each.get_value_element_as_str()}"
        for key, each in named.items()
        if not each.is_sweep_override()
    ]
    searched = {key: each for key, each in named.items() if each.is_sweep_override()}
    if not searched:
        raise ConfigError(
            "hydra/sweeper=optuna: no key to search over; give one several values, as in "
            "'learning_rate=tag(log,interval(0.0001,0.01))'"
        )
    for key, override in searched.items():
        _check_key(key, override)
    keys = {key: _distribution(key, override) for key, override in searched.items()}
    return Space(fixed, keys, {key: each.get_value_string() for key, each in searched.items()})


def _check_key(key: str, override: Override) -> None:
    said = f"{key}={override.get_value_string()}"
    if key == "epochs":
        raise ConfigError(f"{said}: all trials of a search are trained as long; give epochs one value")
    if key not in GROUPS and key not in known_result_keys():
        known = key in known_keys()
        raise ConfigError(f"{said}: " + ("decides no result; give it one value" if known else "no such key"))
    value = override.value()
    kind = kind_of_key(key) if key in known_keys() and key not in GROUPS else "str"
    if isinstance(value, (IntervalSweep, RangeSweep)) and kind not in ("int", "float"):
        raise ConfigError(f"{said}: {key} is no number; write choice(...)")
    tags = sorted(getattr(value, "tags", ()))
    if not isinstance(value, IntervalSweep):
        if tags:
            raise ConfigError(f"{said}: tags are for intervals; leave {', '.join(tags)} out")
    elif not {"log", "int"}.issuperset(tags):
        raise ConfigError(f"{said}: an interval can have the tags log and int, no others")
    elif kind == "int" and "int" not in tags:
        integers = f"tag({','.join(['int', *tags])},interval({value.start:g},{value.end:g}))"
        raise ConfigError(f"{said}: {key} is an integer; write {integers} or range(...)")


def _distribution(key: str, override: Override) -> BaseDistribution:
    """What Optuna calls the values that an override gives a key."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    value = override.value()
    try:
        if isinstance(value, IntervalSweep):
            log = "log" in value.tags
            if value.start is None or value.end is None or value.start >= value.end:
                raise ValueError("its first number must be less than its second")
            if log and value.start <= 0:
                raise ValueError("its logarithm needs a first number above 0")
            if "int" in value.tags:
                return IntDistribution(math.ceil(value.start), math.floor(value.end), log=log)
            return FloatDistribution(float(value.start), float(value.end), log=log)
        if isinstance(value, RangeSweep):
            numbers = sorted(value.range())
            if not numbers:
                raise ValueError("there is no number in it")
            if all(isinstance(number, int) for number in numbers):
                return IntDistribution(numbers[0], numbers[-1], step=abs(int(value.step)))
            low, step = Decimal(str(numbers[0])), abs(Decimal(str(value.step)))  # in which 0.1 + 2 x 0.1 is 0.3
            return FloatDistribution(float(low), float(low + (len(numbers) - 1) * step), step=float(step))
        texts = list(dict.fromkeys(override.sweep_string_iterator()))
        if not texts:
            raise ValueError("there is no choice in it")
        return CategoricalDistribution(texts)
    except ValueError as error:
        raise ConfigError(f"{key}={override.get_value_string()}: {error}") from error


def identity(space: Space, config: Config, settings: Settings) -> str:
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
class Asked:
    """A trial to be trained: its number, its overrides, and what is special about them in a few words."""

    number: int
    overrides: list[str]
    said: str


class Search:
    """The study of a search: gives the trials that are missing, and is told of those that cannot tell themselves.

    Args:
        study: see ``trials.open_study``.
        space: what is searched.
        settings: how.
    """

    def __init__(self, study: optuna.Study, space: Space, settings: Settings) -> None:
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
    def ask(self, number: int) -> Asked:
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

    def _asked(self, number: int, params: Mapping[str, Any]) -> Asked:
        return Asked(number, self.space.overrides(params), in_short(self.space.in_order(params)))

    @defer_signals()
    def ended(self, number: int, error: str, *, final: bool = False) -> None:
        """A trial's process is over. Where it could not tell the study, it has failed.

        Args:
            number: of the trial.
            error: why.
            final: whether it would fail again.
        """
        if not self._in()[number].state.is_finished():
            fail(self.study, number, error, final=final)

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


def run_search(
    said: str,
    space: Space,
    settings: Settings,
    configs: Sequence[Config],
    launch: Callable[[Search, list[int], list[str], Callable[..., None]], None],
) -> str:
    """Records a search as a parent run, has those trials launched that are missing, and says what was found.

    Args:
        said: the search in a person's words, which name the parent run.
        space: what is searched.
        settings: how.
        configs: checked configurations of its corners; where the first one is recorded, the search is.
        launch: is given the search, the numbers of the trials to train in this order, the overrides that say whose
            trials they are, and what to call when one has ended (its number, and the error if it failed); it returns
            when all have ended.

    Returns:
        The id of the best trial's run.

    Raises:
        ConfigError: when the store cannot be opened, or TensorFlow does not run with this environment's flags.
        JobsFailed: when trials failed that may not do so again, or none has finished.
        Whatever ``launch`` raises; the parent run then has failed, or was killed.
    """
    check_database(configs[0].tracking)
    with defer_signals():  # here, because MLflow takes seconds that a refused configuration must not cost
        from seqadd import tracking

    store = tracking.open_store(configs[0].tracking, say=print_line)
    tracking.reconcile(store)
    name = identity(space, configs[0], settings)
    place = place_of(store, name)
    go_on = not any(config.force for config in configs)
    with place.claimed(print_line):
        tracking.deliver(store, place)
        earlier = store.finished_search(name) if go_on and place.about() is None else None
        if earlier is not None and _fetch_journal(store, earlier, place.path / JOURNAL):
            search = Search(open_study(place.path / JOURNAL), space, settings)
            if not search.missing():
                print_line(f"finished already: search {earlier.run_id}; force=true searches again")
                run_id = _report(search)
                place.discard()
                return run_id
            tracking.reopen(store, place, earlier)
        numeric_flags.check_flags()
        params = {
            **{f"space.{key}": written for key, written in space.written.items()},
            "sampler": "Optuna's TPE",
            "direction": settings.direction,
            "sampler_seed": settings.seed,
            "metric": settings.metric,
            "pruner": settings.pruner,
            "startup_trials": settings.startup_trials,
            "warmup_epochs": settings.warmup(configs[0]),
        }
        # Tags, because they can be others when the same search goes on.
        tags = {tracking.SEARCH: name, "overrides": said, "trials": str(settings.trials)}
        with parent_run(store, place, f"search {said}", params, tags, go_on=go_on) as parent:
            search = Search(open_study(place.path / JOURNAL, settings.direction), space, settings)
            search.begin(configs[0])
            numbers = search.missing()
            begun = len(search.over())
            if begun:
                print_line(f"goes on with {begun} of {settings.trials} trials behind it")

            last = [begun]

            def ended(number: int, error: str = "its process was ended", *, final: bool = False) -> None:
                search.ended(number, error, final=final)
                if len(search.over()) > last[-1]:
                    last.append(len(search.over()))
                    parent.log_epoch(search.progress())

            own = [f"tracking.parent_run_id={parent.run_id}", f"tracking.search='{name}'"]  # which could be read as 1e5
            launch(search, numbers, own, ended)
            _record(search, parent, place.path / JOURNAL)
            return _report(search)


def _fetch_journal(store: Store, run: RecordedRun, journal: Path) -> bool:
    """Brings the journal of a finished search back to where it was; False where the store does not have it."""
    try:
        with store.artifact_of(run.run_id, JOURNAL) as path:
            journal.parent.mkdir(exist_ok=True)
            with atomic_write(journal) as copy:
                shutil.copyfile(path, copy)
    except FileNotFoundError as error:
        print_line(f"search {run.run_id} is not continued: {error}")
        return False
    return True


def _record(search: Search, parent: TrackedRun, journal: Path) -> None:
    """Gives the search's record what was found, a picture of it, and the study, which more trials go on from."""
    from seqadd.reporting import figures

    with atomic_write(parent.artifact(JOURNAL)) as copy:
        shutil.copyfile(journal, copy)
    for state, trials in (
        ("finished", search.finished()), ("pruned", search.pruned()), ("diverged", search.diverged()),
        ("failed", search.lost()),
    ):  # fmt: skip
        parent.tag(f"trials_{state}", str(len(trials)))
    best = search.best()
    if best is None:
        return
    parent.tag("best_trial", str(best.number))
    parent.tag("best_run_id", str(best.user_attrs.get(RUN_ID)))
    parent.tag("best_overrides", " ".join(search.space.own_overrides(best.params)))
    tried = [
        figures.Tried(trial.number, trial.value, trial in search.pruned(), search.space.in_order(trial.params))
        for trial in search.over()
        if trial.value is not None
    ]
    settings = search.settings
    figure = figures.search(
        tried,
        settings.metric,
        f"{len(search.over())} trials, best {settings.metric} {best.value:.4f} in trial {best.number}",
        least=settings.direction == "minimize",
        logarithmic=[key for key, each in search.space.keys.items() if getattr(each, "log", False)],
    )
    with atomic_write(parent.artifact("search.png")) as path:
        figure.savefig(path, dpi=120)


def _report(search: Search) -> str:
    """Says what was found; returns the id of the best trial's run.

    Raises:
        JobsFailed: when trials failed that may not do so again, or none has finished.
    """
    from seqadd.errors import JobsFailed

    best, lost = search.best(), search.lost()
    counted = {"finished": search.finished(), "pruned": search.pruned(), "diverged": search.diverged(), "failed": lost}
    said = ", ".join(f"{len(trials)} {state}" for state, trials in counted.items() if trials)
    print_line(f"{sum(map(len, counted.values()))} trials: {said}")
    again = "; the same command tries them again"
    why = "; ".join(
        f"trial {trial.number}: {trial.user_attrs.get(ERROR, 'killed')}" for trial in lost or search.diverged()
    )
    if best is None:
        raise JobsFailed(f"no trial has finished: {why}{again if lost else ''}")
    run_id = str(best.user_attrs[RUN_ID])
    value = f"{search.settings.metric} {best.value:.4f} after {max(best.intermediate_values)} epochs"
    print_line(f"best: trial {best.number}, {value}, run {run_id}")
    print_line(f"      {' '.join(search.space.own_overrides(best.params))}")
    kept = [each for each in search.space.overrides(best.params) if each.partition("=")[0] != "seed"]
    command = shlex.join([*kept, f"seed={','.join(map(str, range(_SEEDS)))}"])
    print_line(redact_credentials(f"with more seeds: python -m seqadd.run -m {command}"))
    if lost:
        raise JobsFailed(f"{len(lost)} of {search.settings.trials} trials failed: {why}{again}")
    return run_id
