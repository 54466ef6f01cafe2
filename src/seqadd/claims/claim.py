"""What a claim is: conditions, statements, settings of its figures."""

from __future__ import annotations

import dataclasses
import enum
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from seqadd.claims import verdicts
from seqadd.config.schema import Config, override_text

#: Columns of published.csv beside the keys of the configuration that a statement is about.
STATEMENT = ("epochs", "metric", "relation", "value", "than", "source")
#: Metrics of statements that are derived from one of the run.
UNTIL = re.compile(r"epochs_until_(\w+?)_(0?\.\d+)")
#: In README.md, what stands between these two lines is written by the program.
BEGIN = "<!-- results: written by python -m seqadd.reproduce -->"
END = "<!-- end of results -->"


class Kind(enum.Enum):
    """Kinds of figures."""

    curves = 1
    against = 2
    intervals = 3


class Over(enum.Enum):
    """What curves are drawn over."""

    epochs = 1
    updates = 2


@dataclass
class FigureSettings:
    """What a figure shows.

    Attributes:
        kind: ``curves`` of metrics over epochs or updates; a metric ``against`` a key's values; ``intervals`` with the
            published numbers in them.
        metrics: of curves.
        panels: the key of whose values each has a panel of its own; None for one panel.
        over: what curves are drawn over.
        logarithmic: whether that axis is.
        where: values of keys, as written in overrides, that the conditions shown have.
        limits: of the other axis; None for all of 0..1, or all there is.
        key, metric: of ``against``.
        at: the moments at which the metric is taken, ``epochs: N`` or ``updates: N``.
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
        """Every metric that it shows."""
        return [*self.metrics, *([self.metric] if self.metric else [])]


@dataclass
class CeilingSettings:
    """A ceiling to compute beside those of the claim's own models: what is seen, of what configuration."""

    reader: str
    overrides: list[str]


@dataclass
class ClaimSettings:
    """What claim.yaml can say.

    Attributes:
        position: where the claim stands among the others.
        ours: whether it asks something that nobody claimed, so that its verdicts are not counted among the others.
        fewest_seeds: with fewer no verdict is given.
        columns: the key whose values are the columns of the table of published numbers; None for a row each.
        figures: what each shows, by file name.
        ceilings: further ones.
    """

    position: int = 1000
    ours: bool = False
    fewest_seeds: int = verdicts.FEWEST_SEEDS
    columns: str | None = None
    figures: dict[str, FigureSettings] = dataclasses.field(default_factory=dict)
    ceilings: list[CeilingSettings] = dataclasses.field(default_factory=list)


@dataclass(frozen=True)
class Condition:
    """Runs that differ in their seeds only.

    Attributes:
        label: the values that tell it from the claim's other conditions.
        jobs: a checked configuration for each seed.
    """

    label: str
    jobs: list[Config]

    @property
    def config(self) -> Config:
        """That of the first seed."""
        return self.jobs[0]


@dataclass(frozen=True)
class Statement:
    """One row of published.csv.

    Attributes:
        fields: as written.
        condition: which of the claim's conditions it is about.
        epochs: after how many it is measured.
        metric: of the run, or derived from one, see ``measure``.
        relation: what the metric is claimed to be to ``value`` or to ``than``; empty where nothing is claimed.
        value: a published number.
        than: another condition and its number of epochs.
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
    """What a folder of ``experiments/`` holds, checked.

    Attributes:
        folder: where it lies.
        title: first heading of its README.
        conditions: what is run.
        statements: what is said of it.
        settings: how it is shown.
    """

    folder: Path
    title: str
    conditions: list[Condition]
    statements: list[Statement]
    settings: ClaimSettings

    @property
    def name(self) -> str:
        """What it is called on the command line."""
        return self.folder.name

    @property
    def jobs(self) -> list[Config]:
        """All runs, the seeds of a condition one after the other."""
        return [job for condition in self.conditions for job in condition.jobs]


def base_metric(metric: str) -> str:
    """The metric of the run that a metric of a statement is measured by."""
    until = UNTIL.fullmatch(metric)
    return until[1] if until else metric.removeprefix("best_")


def is_fraction(metric: str) -> bool:
    """Whether a metric's values are in 0..1."""
    return any(part in metric for part in ("acc", "exact_match")) and not UNTIL.fullmatch(metric)


def condition_labels(configs: Sequence[Config]) -> list[str]:
    """What tells each of some conditions from the others: ``gru``; ``cell=gru batch_size=64`` where it takes more."""
    keys = [{key: override_text(value) for key, value in config.condition().items()} for config in configs]
    # Where the cell decides it (dense has no decoder), what follows from it need not be said.
    differing = [key for key in keys[0] if len({each[key] for each in keys}) > 1]
    for key in [key for key in differing if "null" in {each[key] for each in keys}]:  # what some have not follows
        others = [name for name in differing if name != key]
        if len({tuple(each[name] for name in others) for each in keys}) == len(keys):
            differing = others
    if differing in ([], ["cell"]):
        return [each["cell"] for each in keys]
    if differing == ["architecture"]:
        return [each["architecture"] for each in keys]
    return [" ".join(f"{key}={each[key]}" for key in differing) for each in keys]
