"""Draws arrays as matplotlib Figures. Computes no results and saves no files."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullFormatter, ScalarFormatter

if TYPE_CHECKING:
    import numpy.typing as npt
    import pandas as pd
    from matplotlib.axes import Axes

# The palette of Okabe and Ito, which colour-blind people can distinguish.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")

#: Limits of an axis for fractions; wider than 0..1, so that a line at 0 or 1 does not lie on the frame.
FRACTIONS = (-0.02, 1.02)


def learning_curve(history: Sequence[dict[str, float]], title: str) -> Figure:
    """``acc`` and ``val_acc`` (fractions of characters) over the epochs of one run.

    Args:
        history: one dict per epoch with ``epoch``, ``acc`` and ``val_acc``.
        title: name of the run.
    """
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.add_subplot()
    epochs = [row["epoch"] for row in history]
    marker = "o" if len(history) == 1 else None
    for metric, colour in zip(("acc", "val_acc"), COLOURS, strict=False):
        axes.plot(epochs, [row[metric] for row in history], label=metric, color=colour, marker=marker, linewidth=1.5)
    axes.set(xlabel="epoch", ylabel="characters right", ylim=(0, 1.02), title=title)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(alpha=0.3)
    axes.legend(loc="best")
    return figure


def learning_curves(curves: pd.DataFrame, labels: Sequence[str], summary: pd.DataFrame, metric: str) -> Figure:
    """A metric over the epochs, in one colour per column of the table: thin lines are seeds, thick ones their mean.

    Args:
        curves: as ``comparison.curves.learning_curves`` returns them.
        labels: names of the columns.
        summary: as ``comparison.table.summarize`` returns it; its published numbers are drawn as diamonds.
        metric: name of the metric.
    """
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.add_subplot()
    for index, label in enumerate(labels):
        colour = COLOURS[index % len(COLOURS)]
        of_column = curves[(curves["column"] == index) & (curves["metric"] == metric)].sort_values("epoch")
        by_seed = [of_seed for _, of_seed in of_column.groupby("seed")]
        for of_seed in by_seed if len(by_seed) > 1 else []:
            axes.plot(of_seed["epoch"], of_seed["value"], color=colour, linewidth=0.6, alpha=0.5)
        n = len(by_seed)
        at_epoch = of_column.groupby("epoch")["value"]
        mean = at_epoch.mean()[at_epoch.count() == n]  # without epochs that some seeds lack: the mean would jump there
        if len(mean):
            axes.plot(mean.index, mean, color=colour, linewidth=2, label=f"{label} ({n} seed{'s' * (n > 1)})")
        known = summary[(summary["column"] == index) & (summary["metric"] == metric) & summary["published"].notna()]
        axes.scatter(known["epochs"], known["published"], color=colour, marker="D", edgecolor="black", zorder=3)
    if summary["published"].notna().any():
        axes.scatter([], [], color="white", marker="D", edgecolor="black", label="published")
    axes.set(xlabel="epoch", ylabel=metric, title=f"{metric} over epochs")
    if "loss" not in metric and "seconds" not in metric:
        axes.set_ylim(0, 1.02)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(alpha=0.3)
    if axes.get_legend_handles_labels()[1]:
        axes.legend(loc="best")
    return figure


@dataclass(frozen=True)
class Line:
    """A curve of several seeds, over the epochs or any other quantity.

    Attributes:
        label: name of the curve.
        colour: index into ``COLOURS``; higher indexes repeat the colours with dashed lines.
        by_seed: x and y of each seed.
        markers: whether the mean is marked at each x.
    """

    label: str
    colour: int
    by_seed: list[tuple[Sequence[float], Sequence[float]]]
    markers: bool = False


@dataclass(frozen=True)
class Panel:
    """One of several plots side by side.

    Attributes:
        title: title of the plot.
        lines: the curves, from back to front.
        published: x, y and colour of each published number.
        ceilings: label and height of each horizontal line that marks an upper bound.
    """

    title: str
    lines: list[Line]
    published: list[tuple[float, float, int]]
    ceilings: list[tuple[str, float]]


def panels(
    shown: Sequence[Panel],
    xlabel: str,
    ylabel: str,
    *,
    limits: tuple[float, float] | None = FRACTIONS,
    logarithmic: bool = False,
) -> Figure:
    """Panels side by side, with one y axis: thin lines are seeds, thick ones their mean, diamonds published numbers.

    Panels with the same lines share one legend.
    """
    figure = Figure(figsize=(max(8.0, 4.2 * len(shown)), 4.5), layout="constrained")
    every = figure.subplots(1, len(shown), sharey=True, squeeze=False)[0]
    for axes, panel in zip(every, shown, strict=True):
        for line in panel.lines:
            _draw_line(axes, line)
        _draw_references(axes, panel)
        axes.set(xlabel=xlabel, title=panel.title)
        if logarithmic:
            axes.set_xscale("log", base=2)
            axes.xaxis.set_major_formatter(ScalarFormatter())
        axes.grid(alpha=0.3)
    _draw_legends(figure, every)
    every[0].set_ylabel(ylabel)
    if limits is not None:
        every[0].set_ylim(*limits)
    return figure


def _draw_line(axes: Axes, line: Line) -> None:
    """Draws the seeds of a line, if there are several, and their mean."""
    again, index = divmod(line.colour, len(COLOURS))
    colour, style = COLOURS[index], ("-", "--", ":")[again % 3]
    marker = "o" if line.markers else None
    n = len(line.by_seed)
    for x, y in line.by_seed if n > 1 else []:
        axes.plot(x, y, color=colour, linestyle=style, linewidth=0.6, alpha=0.5, marker=marker, markersize=2)
    x, mean = _mean_line(line.by_seed)
    label = f"{line.label} ({n} seed{'s' * (n > 1)})"
    axes.plot(x, mean, color=colour, linestyle=style, linewidth=2, label=label, marker=marker, markersize=5)


def _draw_references(axes: Axes, panel: Panel) -> None:
    """Draws the published numbers and ceilings of a panel."""
    for x, y, colour_index in panel.published:
        colour = COLOURS[colour_index % len(COLOURS)]
        axes.scatter([x], [y], color=colour, marker="D", edgecolor="black", zorder=3)
    if panel.published:
        axes.scatter([], [], color="white", marker="D", edgecolor="black", label="published")
    for (label, height), style in zip(panel.ceilings, itertools.cycle(("--", ":", "-."))):
        axes.axhline(height, color="black", linewidth=1.2, linestyle=style, label=f"{label} {height:.4f}")


def _draw_legends(figure: Figure, every: Sequence[Axes]) -> None:
    """Draws one legend if all panels have the same lines, else one for each."""
    legends = [axes.get_legend_handles_labels() for axes in every]
    if len(every) > 1 and all(labels == legends[0][1] for _, labels in legends):
        figure.legend(*legends[0], loc="outside lower center", ncols=4, fontsize="small")
    else:
        for axes in every:
            axes.legend(loc="best", fontsize="small")


def _mean_line(by_seed: Sequence[tuple[Sequence[float], Sequence[float]]]) -> tuple[list[float], list[float]]:
    """The mean over the seeds at each x for which all seeds have a value."""
    values: dict[float, list[float]] = {}
    for x, y in by_seed:
        for at, value in zip(x, y, strict=True):
            values.setdefault(at, []).append(value)
    shared = sorted(at for at, each in values.items() if len(each) == len(by_seed))
    return shared, [sum(values[at]) / len(values[at]) for at in shared]


@dataclass(frozen=True)
class Row:
    """A published number and the runs that it is compared with.

    Attributes:
        label: name of the measurement.
        values: value of each seed.
        low, high: the interval that contains another run in 95 of 100 cases.
        published: the published number.
        verdict: the verdict in words, as in ``claims.verdicts``.
    """

    label: str
    values: Sequence[float]
    low: float
    high: float
    published: float
    verdict: str


#: Colour and marker of each verdict; colour-blind people can distinguish both.
VERDICTS = {"reproduced": ("#009E73", "D"), "not reproduced": ("#D55E00", "X"), "undecided": ("#999999", "s")}


def intervals(rows: Sequence[Row], xlabel: str) -> Figure:
    """One row per published number: dots are seeds, the bar is the 95 % interval of a run, the marker the number."""
    figure = Figure(figsize=(8, 1.2 + 0.3 * len(rows)), layout="constrained")
    axes = figure.add_subplot()
    for height, row in enumerate(reversed(rows)):
        colour, marker = VERDICTS[row.verdict]
        axes.plot([row.low, row.high], [height, height], color="#bbbbbb", linewidth=7, solid_capstyle="butt", zorder=1)
        axes.scatter(row.values, [height] * len(row.values), color="black", s=8, alpha=0.6, zorder=2)
        axes.scatter([row.published], [height], color=colour, marker=marker, edgecolor="black", s=55, zorder=3)
    for verdict, (colour, marker) in VERDICTS.items():
        axes.scatter([], [], color=colour, marker=marker, edgecolor="black", label=f"published, {verdict}")
    axes.scatter([], [], color="black", s=8, label="a seed")
    axes.plot([], [], color="#bbbbbb", linewidth=7, label="95 % of runs")
    axes.set_yticks(range(len(rows)), [row.label for row in reversed(rows)])
    axes.set(xlabel=xlabel, ylim=(-0.7, len(rows) - 0.3))
    axes.grid(alpha=0.3, axis="x")
    figure.legend(loc="outside lower center", ncols=3, fontsize="small")
    return figure


def histograms(arrays: Mapping[str, npt.NDArray[np.floating[Any]]], title: str) -> Figure:
    """A histogram of each array's values, one panel each; counts on a logarithmic scale, so that tails are visible."""
    columns = 3
    rows = -(-len(arrays) // columns)
    figure = Figure(figsize=(9, 0.5 + 2.1 * rows), layout="constrained")
    figure.suptitle(title)
    every = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes, (name, values) in zip(every, arrays.items(), strict=False):
        axes.hist(values[np.isfinite(values)], bins=40, color=COLOURS[0], log=True)
        axes.axvline(0.0, color="black", linewidth=0.6)
        axes.yaxis.set_minor_formatter(NullFormatter())
        axes.set_title(f"{name}, {' x '.join(map(str, values.shape))}", fontsize="small")
        axes.tick_params(labelsize="x-small")
    for axes in every[: len(arrays)][-columns:]:
        axes.set_xlabel("value", fontsize="small")
    for axes in every[::columns]:
        axes.set_ylabel("weights", fontsize="small")
    for axes in every[len(arrays) :]:
        axes.set_axis_off()
    return figure


@dataclass(frozen=True)
class Tried:
    """A trial of a search.

    Attributes:
        number: number of the trial, from 0.
        value: value of the objective; for a pruned trial its last value.
        pruned: whether the pruner stopped the trial.
        params: values of the searched keys.
    """

    number: int
    value: float
    pruned: bool
    params: Mapping[str, float | str]


def search(trials: Sequence[Tried], ylabel: str, title: str, *, least: bool, logarithmic: Sequence[str]) -> Figure:
    """The value of each trial in order, with the best so far; below it the values over each searched key.

    Args:
        trials: at least one trial, in order.
        ylabel: name of the objective.
        title: title of the figure.
        least: whether the least value is the best; otherwise the greatest.
        logarithmic: the keys that have a logarithmic scale.
    """
    keys = list(trials[0].params)
    columns = min(4, len(keys))
    rows = -(-len(keys) // columns)
    figure = Figure(figsize=(max(7.0, 3.0 * columns), 3.2 + 2.6 * rows), layout="constrained")
    figure.suptitle(title)
    grid = figure.add_gridspec(1 + rows, columns, height_ratios=[1.3] + [1.0] * rows)
    history = figure.add_subplot(grid[0, :])
    whole = [each for each in trials if not each.pruned]
    pruned = [each for each in trials if each.pruned]

    def dots(axes: Axes, x_of: Callable[[Tried], float]) -> None:
        axes.scatter([x_of(t) for t in pruned], [t.value for t in pruned], color="#999999", marker="x", s=22,
                     label=f"pruned ({len(pruned)}), where it ended")  # fmt: skip
        axes.scatter([x_of(t) for t in whole], [t.value for t in whole], color=COLOURS[0], s=22,
                     label=f"finished ({len(whole)})")  # fmt: skip
        axes.grid(alpha=0.3)

    dots(history, lambda trial: trial.number)
    if whole:
        best = (np.minimum if least else np.maximum).accumulate([each.value for each in whole])
        numbers = [each.number for each in whole]
        history.step(
            [*numbers, trials[-1].number], [*best, best[-1]], where="post", color=COLOURS[1], label="best so far"
        )
    history.set(xlabel="trial", ylabel=ylabel)
    history.xaxis.set_major_locator(MaxNLocator(integer=True))
    history.legend(loc="best", fontsize="small")
    for index, key in enumerate(keys):
        axes = figure.add_subplot(grid[1 + index // columns, index % columns], sharey=history)
        choices = _in_order([each.params[key] for each in trials])
        if choices:
            dots(axes, lambda trial, key=key, choices=choices: choices.index(str(trial.params[key])))  # type: ignore[misc]
            axes.set_xticks(range(len(choices)), choices)
            axes.set_xlim(-0.5, len(choices) - 0.5)
        else:
            dots(axes, lambda trial, key=key: float(trial.params[key]))  # type: ignore[misc]
            if all(isinstance(each.params[key], int) for each in trials):
                axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        if key in logarithmic:
            axes.set_xscale("log")
        axes.set_xlabel(key)
        if index % columns == 0:
            axes.set_ylabel(ylabel)
        else:
            axes.tick_params(labelleft=False)
    return figure


def _in_order(values: Sequence[float | str]) -> list[str]:
    """The distinct texts in order, by size if all of them are numbers; empty if the values are not texts."""
    texts = {value for value in values if isinstance(value, str)}
    try:
        return sorted(texts, key=float)
    except ValueError:
        return sorted(texts)


_MARKERS = ("o", "s", "^", "D", "v", "P")


def saturation(table: pd.DataFrame, title: str) -> Figure:
    """A scatter plot of how often each unit of each gate and state is near its lower and its upper limit.

    A unit in the upper left or lower right corner is always at the same limit, a unit in the lower left corner never.

    Args:
        table: as ``saturation.saturation`` returns it.
        title: title of the figure.
    """
    layers = list(dict.fromkeys(table["layer"]))
    figure = Figure(figsize=(max(5.0, 4.5 * len(layers)), 4.8), layout="constrained")
    figure.suptitle(title)
    for axes, layer in zip(figure.subplots(1, len(layers), squeeze=False)[0], layers, strict=True):
        axes.plot([0, 1], [1, 0], color="#bbbbbb", linewidth=1)
        for index, (part, units) in enumerate(table[table["layer"] == layer].groupby("part", sort=False)):
            axes.scatter(
                units["high"], units["low"], s=16, alpha=0.7, label=part,
                color=COLOURS[index % len(COLOURS)], marker=_MARKERS[index % len(_MARKERS)],
            )  # fmt: skip
        axes.set(
            xlabel="share of values near the upper limit",
            ylabel="share of values near the lower limit",
            title=layer,
            xlim=(-0.03, 1.03),
            ylim=(-0.03, 1.03),
        )
        axes.grid(alpha=0.3)
        axes.legend(loc="upper right", fontsize="x-small")
    return figure


def accuracies(by_position: pd.DataFrame, by_carries: pd.DataFrame, title: str) -> Figure:
    """The accuracy at each position of the answer, and by the number of carries.

    Args:
        by_position: as ``error_analysis.by_position`` returns it.
        by_carries: as ``error_analysis.by_carries`` returns it.
        title: title of the figure.
    """
    figure = Figure(figsize=(8, 3.6), layout="constrained")
    figure.suptitle(title)
    left, right = figure.subplots(1, 2, sharey=True)
    for axes, table, key, value, ylabel in (
        (left, by_position, "place", "accuracy", "share of characters right"),
        (right, by_carries, "carries", "exact_match", "share of sums right"),
    ):
        bars = axes.bar([str(each) for each in table[key]], table[value], color=COLOURS[0])
        axes.bar_label(bars, [f"{each:.3f}" for each in table[value]], fontsize="small")
        axes.set(xlabel=key, ylabel=ylabel, ylim=(0, 1.1))
        axes.grid(alpha=0.3, axis="y")
    left.set_xlabel("place in the answer")
    counted = [f"{row['carries']}\n{row['sums']} sums" for row in by_carries.to_dict("records")]
    right.set_xticks(range(len(counted)), counted, fontsize="x-small")
    return figure
