"""Draws a claim's figures: selects lines by the settings in ``claim.yaml``, for ``seqadd.reporting``."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from seqadd.claims.claim import (
    Claim,
    Condition,
    FigureSettings,
    Kind,
    Over,
    base_metric,
    distinct_values,
    is_fraction,
    label,
)
from seqadd.claims.results import written_values
from seqadd.config.schema import Config
from seqadd.reporting import figures, style
from seqadd.reporting.curves import Line, Panel
from seqadd.reporting.curves import panels as draw_panels

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
    """Draws metrics over epochs or updates: a panel for each value of a key, a curve for each condition and metric."""
    metrics = settings.metrics
    shown = [index for index, condition in enumerate(claim.conditions) if condition.has(settings.where)]
    panel_of = {index: claim.conditions[index].value(settings.panels) if settings.panels else "" for index in shown}
    values = _values_within_panels(claim, panel_of)
    described = {
        (index, metric): values[index]
        | ({"metric": metric} if len(metrics) > 1 else {})
        | ({"cell": claim.conditions[index].config.model_name} if len(metrics) == 1 and not values[index] else {})
        for index in shown
        for metric in metrics
    }
    looks = dict(zip(described, style.looks(list(described.values())), strict=True))
    words = dict(zip(metrics, style.in_words_of_all(metrics), strict=True))
    panels = []
    for value in dict.fromkeys(panel_of.values()):
        lines: list[Line] = []
        published: list[tuple[float, float, str]] = []
        highest: dict[str, float] = {}
        for index in (each for each in shown if panel_of[each] == value):
            for metric in metrics:
                by_seed = _by_seed(claim.conditions[index], index, metric, settings.over, curves)
                if not any(y for _, y in by_seed):  # for example binary_accuracy with the categorical loss
                    continue
                look = looks[index, metric]
                parts = [label(values[index]), words[metric] if len(metrics) > 1 else ""]
                lines.append(Line(", ".join(filter(None, parts)) or words[metric], look, by_seed))
                published += [(*at, look.colour) for at in _published(claim, index, metric, settings.over)]
            highest |= _highest(claim.conditions[index], ceilings)
        title = f"{settings.panels}={value}" if settings.panels and settings.panels != "cell" else value
        panels.append(Panel(title, lines, published, list(highest.items())))
    fractions = all(is_fraction(metric) for metric in metrics)
    return draw_panels(
        panels,
        xlabel="updates" if settings.over is Over.updates else "epoch",
        ylabel=_words_of_axis(metrics),
        limits=settings.limits or (style.FRACTIONS if fractions else None),
        logarithmic=settings.logarithmic,
    )


def _values_within_panels(claim: Claim, panel_of: Mapping[int, str]) -> dict[int, dict[str, str]]:
    """Returns for each condition the values that distinguish it in its panel; all have the same keys."""
    every = dict(zip(panel_of, distinct_values([claim.conditions[index].config for index in panel_of]), strict=True))
    keys = list(next(iter(every.values())))
    within = [
        key
        for key in keys
        if any(
            len({every[index][key] for index in panel_of if panel_of[index] == panel}) > 1
            for panel in panel_of.values()
        )
    ]
    return {index: {key: values[key] for key in within} for index, values in every.items()}


def _by_seed(
    condition: Condition, index: int, metric: str, over: Over, curves: Curves
) -> list[tuple[Sequence[float], Sequence[float]]]:
    """Returns x and y of each seed of a condition."""
    each: list[tuple[Sequence[float], Sequence[float]]] = []
    for job in condition.jobs:
        curve = curves.get((index, job.seed, metric), {})
        each.append(([_x(job, epoch, over) for epoch in curve], list(curve.values())))
    return each


def _published(claim: Claim, index: int, metric: str, over: Over) -> list[tuple[float, float]]:
    """Returns x and y of the published values of a condition's metric."""
    return [
        (_x(claim.conditions[index].config, statement.epochs, over), statement.value)
        for statement in claim.statements
        if statement.condition == index
        and base_metric(statement.metric) == metric
        and statement.value is not None
        and statement.relation == "equal"
    ]


def _highest(condition: Condition, ceilings: pd.DataFrame) -> dict[str, float]:
    """Returns the ceilings of a condition, by their labels."""
    of_distribution = ceilings[(ceilings["condition"] == condition.label) & (ceilings["over"] == "law")]
    return {
        f"ceiling, {reader.replace('_', ' ')}": float(height)
        for reader, height in of_distribution[["reader", "ceiling"]].to_numpy()
    }


def _words_of_axis(metrics: Sequence[str]) -> str:
    """Returns the label of an axis of some metrics: what they have in common."""
    heads = {style.in_words(metric).partition(", ")[0] for metric in metrics}
    if len(heads) == 1:
        return heads.pop()
    return "accuracy" if all("acc" in metric for metric in metrics) else "value"


def _against(
    claim: Claim, settings: FigureSettings, curves: Curves, rows: pd.DataFrame, ceilings: pd.DataFrame
) -> Figure:
    """Draws a metric against a key's value: a line for each ``epochs: N`` or ``updates: N`` in ``at``."""
    key, metric = settings.key, settings.metric
    assert key is not None
    assert metric is not None
    lines = []
    looks = style.looks([{"at": str(moment)} for moment in settings.at])
    for look, moment in zip(looks, settings.at, strict=True):
        ((kind, number),) = moment.items()
        by_seed: dict[int, tuple[list[float], list[float]]] = {}
        for index, condition in enumerate(claim.conditions):
            for job in condition.jobs:
                epoch = number if kind == "epochs" else round(number / updates(job, 1))
                value = curves.get((index, job.seed, metric), {}).get(epoch)
                if value is not None:
                    xs, ys = by_seed.setdefault(job.seed, ([], []))
                    xs.append(float(condition.value(key)))
                    ys.append(value)
        ordered = [tuple(zip(*sorted(zip(xs, ys, strict=True)), strict=True)) for xs, ys in by_seed.values()]
        about = "about " if kind == "updates" else ""
        lines.append(Line(f"after {about}{number:,} {kind}", look, ordered, markers=True))  # type: ignore[arg-type]
    limits = style.FRACTIONS if is_fraction(metric) else None
    return draw_panels(
        [Panel("", lines)], key.replace("_", " "), style.in_words(metric), limits=limits, logarithmic=True
    )


def _intervals(
    claim: Claim, settings: FigureSettings, curves: Curves, rows: pd.DataFrame, ceilings: pd.DataFrame
) -> Figure:
    """Draws each published number beside the runs' values, a row each."""
    shown = [
        (statement, row)
        for statement, row in zip(claim.statements, rows.to_dict("records"), strict=True)
        if statement.value is not None and row["low"] and row["high"]
    ]
    lines = [
        figures.Row(
            f"{claim.conditions[statement.condition].label}, {statement.epochs} epochs, "
            f"{style.in_words(statement.metric)}",
            list(written_values(row["values"]).values()),
            float(row["low"]),
            float(row["high"]),
            float(row["value"]),
            row["verdict"],
        )
        for statement, row in shown
    ]
    metrics = {base_metric(statement.metric) for statement, _ in shown}
    of_characters = metrics <= {"acc", "val_acc"}
    return figures.intervals(lines, "share of characters right" if of_characters else _words_of_axis(sorted(metrics)))


KINDS: dict[Kind, Callable[..., Figure]] = {
    Kind.curves: _curves,
    Kind.against: _against,
    Kind.intervals: _intervals,
}


def _x(config: Config, epochs: int, over: Over) -> float:
    return updates(config, epochs) if over is Over.updates else epochs
