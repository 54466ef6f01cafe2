"""What a search tries: keys, their distributions, and its settings."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Literal

from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override, RangeSweep

from seqadd.config.schema import GROUPS, Config, kind_of_key, known_keys, known_result_keys, override_text
from seqadd.errors import ConfigError
from seqadd.search.journal import MEDIAN, NONE
from seqadd.training.metric_names import METRICS, is_metric

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

# So many corners of a space are checked; of one that has more, those that differ in one key from the first or the last.
_MOST_CORNERS = 128


@dataclass(frozen=True)
class SearchSettings:
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
            (self.metric == "val_acc_teacher_forced" and not config.ends_with_eos, "architecture=encoder_decoder"),
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
class SearchSpace:
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


def read_space(loader: ConfigLoader, params: Mapping[str, str], arguments: Sequence[str]) -> SearchSpace:
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
    return SearchSpace(fixed, keys, {key: each.get_value_string() for key, each in searched.items()})


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
