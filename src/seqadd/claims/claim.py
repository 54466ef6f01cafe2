"""The parts of a claim: conditions, statements, settings of its figures."""

from __future__ import annotations

import dataclasses
import enum
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from seqadd.claims import verdicts
from seqadd.config.schema import Config, override_text

#: Columns of published.csv beside the keys of the configuration that a statement is about.
STATEMENT = ("epochs", "metric", "relation", "value", "than", "source")
#: A derived metric: the epochs until a run's metric reaches a limit.
UNTIL = re.compile(r"epochs_until_(\w+?)_(0?\.\d+)")
#: The lines of README.md between which the program writes the results.
BEGIN = "<!-- results: written by python -m seqadd.reproduce -->"
END = "<!-- end of results -->"


class Kind(enum.Enum):
    """Kinds of figures."""

    curves = 1
    against = 2
    intervals = 3


class Over(enum.Enum):
    """Units of a figure's x axis."""

    epochs = 1
    updates = 2


@dataclass
class FigureSettings:
    """The settings of a figure.

    Attributes:
        kind: ``curves`` of metrics over epochs or updates; a metric ``against`` a key's values; ``intervals`` with the
            published numbers in them.
        metrics: for the kind ``curves``.
        panels: a configuration key; each of its values gets a panel. None for a single panel.
        over: the unit of the x axis of ``curves``.
        logarithmic: whether the x axis is logarithmic.
        where: only conditions with these values of keys are shown; values are written as in overrides.
        limits: of the y axis; None for 0..1 if all metrics are shares, else for the range of the values.
        key, metric: for the kind ``against``.
        at: the times at which the metric is taken, ``epochs: N`` or ``updates: N``.
    """

    kind: Kind
    metrics: list[str] = dataclasses.field(default_factory=list)
    panels: str | None = None
    over: Over = Over.epochs
    logarithmic: bool = False
    where: dict[str, str] = dataclasses.field(default_factory=dict)
    limits: tuple[float, float] | None = None
    key: str | None = None
    metric: str | None = None
    at: list[dict[str, int]] = dataclasses.field(default_factory=list)

    def all_metrics(self) -> list[str]:
        """Returns every metric that the figure shows."""
        return [*self.metrics, *([self.metric] if self.metric else [])]


@dataclass
class CeilingSettings:
    """An additional ceiling to compute: the name of a visible context, and the overrides of a configuration."""

    reader: str
    overrides: list[str]


@dataclass
class ClaimSettings:
    """The settings in claim.yaml.

    Attributes:
        position: sorts the claims.
        ours: whether this project asks the question, not the article; then its verdicts do not count with the others.
        fewest_seeds: with fewer seeds every verdict is undecided.
        columns: the key whose values are the columns of the table of published numbers; None for a row each.
        figures: settings of each figure, by file name.
        ceilings: additional ceilings.
    """

    position: int = 1000
    ours: bool = False
    fewest_seeds: int = verdicts.FEWEST_SEEDS
    columns: str | None = None
    figures: dict[str, FigureSettings] = dataclasses.field(default_factory=dict)
    ceilings: list[CeilingSettings] = dataclasses.field(default_factory=list)


@dataclass(frozen=True)
class Condition:
    """Runs that differ only in their seeds.

    Attributes:
        label: the values that distinguish it from the claim's other conditions.
        jobs: a checked configuration for each seed.
    """

    label: str
    jobs: list[Config]

    @property
    def config(self) -> Config:
        """The configuration of the first seed."""
        return self.jobs[0]

    def value(self, key: str) -> str:
        """Returns the value of a configuration key, written as in an override."""
        return override_text(self.config.flat()[key])

    def has(self, values: Mapping[str, str]) -> bool:
        """Returns whether its configuration keys have these values, written as in overrides."""
        return all(self.value(key) == value for key, value in values.items())


@dataclass(frozen=True)
class Statement:
    """One row of published.csv.

    Attributes:
        fields: the row as written, by column.
        condition: the claim's condition (index) that it is about.
        epochs: the number of epochs after which the metric is measured.
        metric: of the run, or derived from one, see ``measure``.
        relation: the claimed relation of the metric to ``value`` or ``than``, as ``above``; empty if none is claimed.
        value: a published number.
        than: another condition (index) and its number of epochs.
    """

    fields: dict[str, str]
    condition: int
    epochs: int
    metric: str
    relation: str
    value: float | None
    than: tuple[int, int] | None


@dataclass(frozen=True)
class Claim:
    """The checked content of a folder of ``experiments/``.

    Attributes:
        folder: its path.
        title: first heading of its README.
        conditions: the runs.
        statements: the article's statements about the runs.
        settings: of tables and figures.
    """

    folder: Path
    title: str
    conditions: list[Condition]
    statements: list[Statement]
    settings: ClaimSettings

    @property
    def name(self) -> str:
        """Its name on the command line."""
        return self.folder.name

    @property
    def jobs(self) -> list[Config]:
        """The configurations of all runs, condition by condition."""
        return [job for condition in self.conditions for job in condition.jobs]


def base_metric(metric: str) -> str:
    """Returns the run's metric from which a statement's metric is derived."""
    until = UNTIL.fullmatch(metric)
    return until[1] if until else metric.removeprefix("best_")


def is_fraction(metric: str) -> bool:
    """Returns whether a metric's values are in 0..1."""
    return any(part in metric for part in ("acc", "exact_match")) and not UNTIL.fullmatch(metric)


def condition_labels(configs: Sequence[Config]) -> list[str]:
    """Returns a label that distinguishes each condition: ``gru``; ``cell=gru batch_size=64`` if it takes more keys."""
    return [label(values) for values in distinct_values(configs)]


def label(values: Mapping[str, str]) -> str:
    """Returns the label of a condition with these distinct values; the name of a cell or architecture needs no key."""
    if list(values) in (["cell"], ["architecture"]):
        return next(iter(values.values()))
    return " ".join(f"{key}={value}" for key, value in values.items())


def distinct_values(configs: Sequence[Config]) -> list[dict[str, str]]:
    """Returns for each condition the values that distinguish it, by key; the cell if there is only one condition."""
    keys = [{key: override_text(value) for key, value in config.condition().items()} for config in configs]
    # Keys that follow from others are left out: a dense cell, for example, has no decoder.
    differing = [key for key in keys[0] if len({each[key] for each in keys}) > 1]
    for key in [key for key in differing if "null" in {each[key] for each in keys}]:  # some conditions lack these keys
        others = [name for name in differing if name != key]
        if len({tuple(each[name] for name in others) for each in keys}) == len(keys):
            differing = others
    return [{key: each[key] for key in differing or ["cell"]} for each in keys]
