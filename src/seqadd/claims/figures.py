"""Draws a claim's figures: selects lines by the settings in ``claim.yaml``, for ``seqadd.reporting.figures``."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from seqadd.claims.claim import Claim, Condition, FigureSettings, Kind, Over, base_metric, condition_labels, is_fraction
from seqadd.claims.results import written_values
from seqadd.config.schema import Config, override_text
from seqadd.reporting import figures

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

#: Values by epoch, from 1, for each condition (index), seed and metric.
Curves = Mapping[tuple[int, int, str], Mapping[int, float]]


def updates(config: Config, epochs: int) -> int:
    """Returns the number of optimizer steps in some epochs."""
    return epochs * math.ceil((config.task.n_questions - config.n_held_out) / config.batch_size)


def metrics_of(claim: Claim) -> set[str]:
    """Returns the runs' metrics that a claim's statements and figures need."""
    named = {base_metric(statement.metric) for statement in claim.statements}
    for shown in claim.settings.figures.values():
        named |= set(shown.all_metrics())
    return named


def draw(claim: Claim, name: str, curves: Curves, rows: pd.DataFrame, ceilings: pd.DataFrame) -> Figure:
    """Draws one of the claim's figures.

    Args:
        claim: whose settings describe the figure.
        name: of the figure.
        curves: of the metrics in ``metrics_of(claim)``.
        rows: as ``results.results`` returns them.
        ceilings: the rows of ceilings.csv.
    """
    shown = claim.settings.figures[name]
    return KINDS[shown.kind](claim, shown, curves, rows, ceilings)


def _curves(
    claim: Claim, settings: FigureSettings, curves: Curves, rows: pd.DataFrame, ceilings: pd.DataFrame
) -> Figure:
    """Draws metrics over epochs or updates: a panel for each value of a key, a colour for each condition and metric."""
    metrics, panels, over = settings.metrics, settings.panels, settings.over
    of_panel: dict[str, list[int]] = {}
    for index, condition in enumerate(claim.conditions):
        if any(_value(condition, key) != value for key, value in settings.where.items()):
            continue
        of_panel.setdefault(_value(condition, panels) if panels else "", []).append(index)
    shown = []
    for value, indexes in of_panel.items():
        named = _labels([claim.conditions[index] for index in indexes])
        lines, published = [], []
        highest: dict[str, float] = {}
        for position, index in enumerate(indexes):
            condition = claim.conditions[index]
            for number, metric in enumerate(metrics):
                colour = position * len(metrics) + number
                by_seed: list[tuple[Sequence[float], Sequence[float]]] = []
                for job in condition.jobs:
                    curve = curves.get((index, job.seed, metric), {})
                    x = [updates(job, epoch) if over is Over.updates else epoch for epoch in curve]
                    by_seed.append((x, list(curve.values())))
                if not any(y for _, y in by_seed):  # for example binary_accuracy with the categorical loss
                    continue
                parts = [each for each in (named[position], metric if len(metrics) > 1 else "") if each]
                lines.append(figures.Line(" ".join(parts) or metric, colour, by_seed))
                published += [
                    (_x(condition.config, statement.epochs, over), statement.value, colour)
                    for statement in claim.statements
                    if statement.condition == index
                    and base_metric(statement.metric) == metric
                    and statement.value is not None
                    and statement.relation == "equal"
                ]
            of_distribution = ceilings[(ceilings["condition"] == condition.label) & (ceilings["over"] == "law")]
            for reader, height in of_distribution[["reader", "ceiling"]].to_numpy():
                highest[f"ceiling, {reader.replace('_', ' ')}"] = float(height)
        title = f"{panels}={value}" if panels and panels != "cell" else value
        shown.append(figures.Panel(title, lines, published, list(highest.items())))
    fractions = all(is_fraction(metric) for metric in metrics)
    return figures.panels(
        shown,
        xlabel="updates" if over is Over.updates else "epoch",
        ylabel=metrics[0] if len(metrics) == 1 else ("share right" if fractions else "value"),
        limits=settings.limits or (figures.FRACTIONS if fractions else None),
        logarithmic=settings.logarithmic,
    )


def _against(
    claim: Claim, settings: FigureSettings, curves: Curves, rows: pd.DataFrame, ceilings: pd.DataFrame
) -> Figure:
    """Draws a metric against a key's value: a line for each ``epochs: N`` or ``updates: N`` in ``at``."""
    key, metric = settings.key, settings.metric
    assert key is not None
    assert metric is not None
    lines = []
    for colour, moment in enumerate(settings.at):
        ((kind, number),) = moment.items()
        by_seed: dict[int, tuple[list[float], list[float]]] = {}
        for index, condition in enumerate(claim.conditions):
            for job in condition.jobs:
                epoch = number if kind == "epochs" else round(number / updates(job, 1))
                value = curves.get((index, job.seed, metric), {}).get(epoch)
                if value is not None:
                    xs, ys = by_seed.setdefault(job.seed, ([], []))
                    xs.append(float(_value(condition, key)))
                    ys.append(value)
        ordered = [tuple(zip(*sorted(zip(xs, ys, strict=True)), strict=True)) for xs, ys in by_seed.values()]
        about = "about " if kind == "updates" else ""
        lines.append(figures.Line(f"after {about}{number:,} {kind}", colour, ordered, markers=True))  # type: ignore[arg-type]
    limits = figures.FRACTIONS if is_fraction(metric) else None
    return figures.panels([figures.Panel("", lines, [], [])], key, metric, limits=limits, logarithmic=True)


def _intervals(
    claim: Claim, settings: FigureSettings, curves: Curves, rows: pd.DataFrame, ceilings: pd.DataFrame
) -> Figure:
    """Draws each published number beside the runs' values, a row each."""
    shown = [
        figures.Row(
            f"{claim.conditions[statement.condition].label}, {statement.metric}, {statement.epochs} epochs",
            list(written_values(row["values"]).values()),
            float(row["low"]),
            float(row["high"]),
            statement.value,
            row["verdict"],
        )
        for statement, row in zip(claim.statements, rows.to_dict("records"), strict=True)
        if statement.value is not None and row["low"] and row["high"]
    ]
    return figures.intervals(shown, "share right")


KINDS: dict[Kind, Callable[..., Figure]] = {
    Kind.curves: _curves,
    Kind.against: _against,
    Kind.intervals: _intervals,
}


def _value(condition: Condition, key: str) -> str:
    return override_text(condition.config.flat()[key])


def _labels(conditions: Sequence[Condition]) -> list[str]:
    """Returns labels that distinguish the conditions of a panel; an empty label if there is only one."""
    if len(conditions) == 1:
        return [""]
    return condition_labels([condition.config for condition in conditions])


def _x(config: Config, epochs: int, over: Over) -> float:
    return updates(config, epochs) if over is Over.updates else epochs
