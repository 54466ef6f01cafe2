"""The search space: keys and their distributions; and the settings of a search."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Literal

from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override, RangeSweep, Transformer

from seqadd.config.schema import GROUPS, Config, kind_of_key, known_keys, known_result_keys, override_text
from seqadd.errors import ConfigError
from seqadd.search.journal import MEDIAN, NONE
from seqadd.training.metric_names import METRICS, is_metric, lacks_group

if TYPE_CHECKING:
    import optuna
    from optuna.distributions import BaseDistribution

# The most corners of a space that are all checked; of a larger space only corners that differ in one key from the first
# or the last.
_MOST_CORNERS = 128


@dataclass(frozen=True)
class SearchSettings:
    """The settings of a search.

    Attributes:
        trials: total number of trials, earlier ones of a continued search included.
        metric: the objective, after the last epoch; maximized, but losses and ``epoch_seconds`` are minimized.
        seed: seed of the sampler.
        pruner: ``median`` ends a trial whose best is worse than the median of the finished ones; ``none`` ends none.
        startup_trials: number of finished trials before the first trial is pruned.
        warmup_epochs: number of epochs before a trial is pruned; None for a fifth of its epochs.

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
                "val_exact_match_GROUP_N"
            )
        if self.pruner not in (MEDIAN, NONE):
            raise ConfigError(f"hydra.sweeper.pruner={self.pruner}: must be one of {MEDIAN}, {NONE}")

    @property
    def direction(self) -> Literal["maximize", "minimize"]:
        """Whether the metric is maximized or minimized."""
        return "minimize" if "loss" in self.metric or self.metric == "epoch_seconds" else "maximize"

    def check(self, config: Config) -> None:
        """Raises ConfigError if runs of a configuration lack the metric, or end before pruning could begin."""
        position = re.fullmatch(r"val_acc_position_(\d+)", self.metric)
        last = config.answer_length if config.task.name is None else math.inf  # else only the data has the length
        missing = (
            (self.metric == "val_acc_teacher_forced" and not config.ends_with_eos, "architecture=encoder_decoder"),
            ("binary" in self.metric and config.loss != "binary", "loss=binary"),
            (lacks_group(self.metric, config), "another task"),
            (position and not 1 <= int(position[1]) <= last, f"position 1 to {last}"),
        )
        for lacks, only in missing:
            if lacks:
                raise ConfigError(
                    f"hydra.sweeper.metric={self.metric}: some runs of this search lack it; {only} has it"
                )
        if self.warmup_epochs is not None and self.warmup_epochs >= config.epochs and self.pruner != NONE:
            raise ConfigError(
                f"hydra.sweeper.warmup_epochs={self.warmup_epochs}: must be less than epochs={config.epochs}; "
                "hydra.sweeper.pruner=none turns pruning off"
            )

    def warmup(self, config: Config) -> int:
        """The number of epochs before pruning begins."""
        return self.warmup_epochs if self.warmup_epochs is not None else max(1, config.epochs // 5)


@dataclass(frozen=True)
class SearchSpace:
    """The search space.

    Attributes:
        fixed: overrides of every trial.
        keys: the distribution of each key.
        written: the distribution of each key as the user wrote it.
    """

    fixed: list[str]
    keys: dict[str, BaseDistribution]
    written: dict[str, str]

    def overrides(self, values: Mapping[str, Any]) -> list[str]:
        """The overrides of a trial with these values."""
        return [*self.fixed, *self.own_overrides(values)]

    def own_overrides(self, values: Mapping[str, Any]) -> list[str]:
        """The overrides of a trial with these values, without the fixed ones."""
        return [f"{key}={override_text(value)}" for key, value in self.in_order(values).items()]

    def in_order(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """A trial's values in the order in which the user named the keys; Optuna uses another order."""
        return {key: values[key] for key in self.keys}

    def plotted(self, values: Mapping[str, Any]) -> dict[str, float | str]:
        """A trial's values for a figure: numbers of ranges and intervals, and texts of choices, which have no scale."""
        return {
            key: override_text(value) if hasattr(self.keys[key], "choices") else value
            for key, value in self.in_order(values).items()
        }

    def as_in(self, study: optuna.Study) -> SearchSpace:
        """The same space with the choices of an existing study: all may be texts, and Optuna refuses changed ones."""
        from optuna.distributions import CategoricalDistribution

        known = {
            key: distribution
            for trial in study.get_trials(deepcopy=False)
            for key, distribution in trial.distributions.items()
            if isinstance(distribution, CategoricalDistribution)
        }
        return replace(self, keys={key: known.get(key, distribution) for key, distribution in self.keys.items()})

    def corners(self) -> list[list[str]]:
        """The overrides of the corners: each key at its lowest or highest value, or at one of its choices."""
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


def read_space(loader: ConfigLoader, params: Mapping[str, str], arguments: Sequence[str]) -> SearchSpace:
    """Reads a search space from overrides in Hydra's grammar.

    ``choice(a,b)`` and ``a,b`` are one of the values; ``range(a,b,c)`` is a, a+c, ... below b; ``interval(a,b)`` is any
    number in between, with the tag ``log`` on a logarithmic scale; ``int(interval(a,b))`` and ``interval`` with the tag
    ``int`` are any integer.

    Args:
        loader: Hydra's config loader, which knows the config groups.
        params: values for keys, written as on the command line.
        arguments: overrides that take precedence over ``params``.

    Raises:
        ConfigError: for overrides that are not a valid search space.
    """
    parser = OverridesParser.create(config_loader=loader)
    written = [f"{key}={value}" for key, value in params.items()]
    # If a key is named more than once, the last value counts.
    named = {each.get_key_element(): each for each in parser.parse_overrides([*written, *arguments])}
    fixed = [
        str(each.input_line) if each.is_delete() else f"{key}={each.get_value_element_as_str()}"
        for key, each in named.items()
        if not each.is_sweep_override()
    ]
    searched = {key: each for key, each in named.items() if each.is_sweep_override()}
    if not searched:
        raise ConfigError(
            "hydra/sweeper=optuna: no key has several values; give one a range, as in "
            "'learning_rate=tag(log,interval(0.0001,0.01))'"
        )
    for key, override in searched.items():
        _check_key(key, override)
    keys = {key: _distribution(key, override) for key, override in searched.items()}
    return SearchSpace(fixed, keys, {key: each.get_value_string() for key, each in searched.items()})


def _check_key(key: str, override: Override) -> None:
    given = f"{key}={override.get_value_string()}"
    if key == "epochs":
        raise ConfigError(f"{given}: all trials of a search have the same number of epochs; give one value")
    if key not in GROUPS and key not in known_result_keys():
        known = key in known_keys()
        raise ConfigError(f"{given}: " + ("does not affect a result; give it one value" if known else "no such key"))
    value = override.value()
    kind = kind_of_key(key) if key in known_keys() and key not in GROUPS else "str"
    if isinstance(value, (IntervalSweep, RangeSweep)) and kind not in ("int", "float"):
        raise ConfigError(f"{given}: {key} is not a number; write choice(...)")
    tags = sorted(getattr(value, "tags", ()))
    if not isinstance(value, IntervalSweep):
        if tags:
            raise ConfigError(f"{given}: only intervals have tags; remove {', '.join(tags)}")
    elif not {"log", "int"}.issuperset(tags):
        raise ConfigError(f"{given}: the tags of an interval are log and int")
    elif kind == "int" and not _of_integers(value):
        integers = f"int(interval({value.start:g},{value.end:g}))"
        integers = f"tag(log,{integers})" if "log" in tags else integers
        raise ConfigError(f"{given}: {key} is an integer; write {integers} or range(...)")


def _of_integers(interval: IntervalSweep) -> bool:
    """Whether an interval has integers only; Hydra's cast ``int(...)`` shows only in the type of its limits."""
    return "int" in interval.tags or isinstance(interval.start, int)


def _distribution(key: str, override: Override) -> BaseDistribution:
    """The Optuna distribution of the values that an override gives a key."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    value = override.value()
    try:
        if isinstance(value, IntervalSweep):
            log = "log" in value.tags
            if value.start is None or value.end is None or value.start >= value.end:
                raise ValueError("the first number must be less than the second")
            if log and value.start <= 0:
                raise ValueError("a logarithmic scale begins above 0")
            if _of_integers(value):
                return IntDistribution(math.ceil(value.start), math.floor(value.end), log=log)
            return FloatDistribution(float(value.start), float(value.end), log=log)
        if isinstance(value, RangeSweep):
            numbers = sorted(value.range())
            if not numbers:
                raise ValueError("contains no number")
            if all(isinstance(number, int) for number in numbers):
                return IntDistribution(numbers[0], numbers[-1], step=abs(int(value.step)))
            low, step = Decimal(str(numbers[0])), abs(Decimal(str(value.step)))  # as decimals 0.1 + 2 x 0.1 is 0.3
            return FloatDistribution(float(low), float(low + (len(numbers) - 1) * step), step=float(step))
        choices = list(dict.fromkeys(map(_choice, override.sweep_iterator())))
        if not choices:
            raise ValueError("contains no choice")
        return CategoricalDistribution(choices)
    except ValueError as error:
        raise ConfigError(f"{key}={override.get_value_string()}: {error}") from error


def _choice(element: Any) -> float | bool | str | None:
    """One choice for Optuna: a number, a boolean or null; or the text of anything else, as overrides have it."""
    if element is None or isinstance(element, (bool, int, float)):
        return element
    return str(Transformer.encode(element))
