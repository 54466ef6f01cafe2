"""Draws arrays as matplotlib Figures, all but curves. Computes no results and saves no files."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullFormatter, NullLocator

from seqadd.reporting import style

if TYPE_CHECKING:
    import numpy.typing as npt
    import pandas as pd
    from matplotlib.axes import Axes


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


#: The marker of a published number with each verdict; its colour is that of published numbers in all figures.
VERDICTS = {"reproduced": "D", "not reproduced": "X", "undecided": "s"}


def intervals(rows: Sequence[Row], xlabel: str) -> Figure:
    """One row per published number: dots are seeds, the bar is the 95 % interval of a run, the marker the number."""
    figure = Figure(figsize=(8, 1.2 + 0.3 * len(rows)), layout="constrained")
    axes = figure.add_subplot()
    for height, row in enumerate(reversed(rows)):
        axes.plot([row.low, row.high], [height, height], color="#bbbbbb", linewidth=7, solid_capstyle="butt", zorder=1)
        axes.scatter(
            [row.published], [height], color=style.PUBLISHED, marker=VERDICTS[row.verdict], edgecolor="black", s=75,
            zorder=2,
        )  # fmt: skip
        axes.scatter(row.values, [height] * len(row.values), color="black", s=8, alpha=0.6, linewidth=0, zorder=3)
    for verdict, marker in VERDICTS.items():
        axes.scatter([], [], color=style.PUBLISHED, marker=marker, edgecolor="black", label=f"published, {verdict}")
    axes.scatter([], [], color="black", s=8, label="one seed")
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
        axes.hist(values[np.isfinite(values)], bins=40, color=style.NEUTRAL, log=True)
        axes.axvline(0.0, color="black", linewidth=0.6)
        axes.yaxis.set_minor_formatter(NullFormatter())
        axes.set_title(f"{name}, {' x '.join(map(str, values.shape))}", fontsize="small")
        axes.tick_params(labelsize="x-small")
    for axes in every[: len(arrays)][-columns:]:
        axes.set_xlabel("value", fontsize="small")
    for axes in every[::columns]:
        axes.set_ylabel("number of weights", fontsize="small")
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


# So many letters of ticks fit below a plot of a searched key.
_LETTERS = 24


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
                     label=f"pruned ({len(pruned)}), last value")  # fmt: skip
        axes.scatter([x_of(t) for t in whole], [t.value for t in whole], color=style.HUES[1], s=22,
                     label=f"finished ({len(whole)})")  # fmt: skip
        axes.grid(alpha=0.3)

    dots(history, lambda trial: trial.number)
    if whole:
        best = (np.minimum if least else np.maximum).accumulate([each.value for each in whole])
        numbers = [each.number for each in whole]
        history.step(
            [*numbers, trials[-1].number], [*best, best[-1]], where="post", color=style.HUES[0], label="best so far"
        )
    words = style.in_words(ylabel)
    history.set(xlabel="trial", ylabel=words)
    history.xaxis.set_major_locator(FixedLocator(style.ticks([each.number for each in trials], most=10)))
    figure.legend(*history.get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize="small")
    for index, key in enumerate(keys):
        axes = figure.add_subplot(grid[1 + index // columns, index % columns], sharey=history)
        choices = _in_order([each.params[key] for each in trials])
        if choices:
            dots(axes, lambda trial, key=key, choices=choices: choices.index(str(trial.params[key])))  # type: ignore[misc]
            crowded = sum(map(len, choices)) > _LETTERS
            axes.set_xticks(range(len(choices)), [each.replace("_", "_\n") if crowded else each for each in choices])
            axes.set_xlim(-0.5, len(choices) - 0.5)
        else:
            dots(axes, lambda trial, key=key: float(trial.params[key]))  # type: ignore[misc]
            if key in logarithmic:
                axes.set_xscale("log")
            if all(isinstance(each.params[key], int) for each in trials):
                _tick_tried(axes, [float(each.params[key]) for each in trials], logarithmic=key in logarithmic)
        axes.set_xlabel(key)
        if index % columns == 0:
            axes.set_ylabel(words)
        else:
            axes.tick_params(labelleft=False)
    return figure


def _tick_tried(axes: Axes, values: Sequence[float], *, logarithmic: bool) -> None:
    """Puts the ticks at whole numbers that were tried."""
    axes.xaxis.set_major_locator(FixedLocator(style.ticks(values, logarithmic=logarithmic, most=4)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


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
                color=style.HUES[index % len(style.HUES)], marker=_MARKERS[index % len(_MARKERS)],
            )  # fmt: skip
        axes.set(
            xlabel="share of values near the upper limit",
            ylabel="share of values near the lower limit",
            title=layer,
            xlim=(-0.03, 1.03),
            ylim=(-0.03, 1.03),
        )
        axes.grid(alpha=0.3)
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.13), ncols=3, fontsize="x-small")
    return figure


def accuracies(
    by_position: pd.DataFrame, by_group: Mapping[str, pd.DataFrame], title: str, *, reverse_answer: bool = False
) -> Figure:
    """The accuracy at each position of the answer, and by the number of carries, or by other groups.

    Args:
        by_position: as ``error_analysis.by_position`` returns it.
        by_group: for each group, as ``error_analysis.by_group`` returns it.
        title: title of the figure.
        reverse_answer: whether the model writes answers from right to left.
    """
    figure = Figure(figsize=(8, 3.6), layout="constrained")
    figure.suptitle(title)
    left, *others = np.ravel(figure.subplots(1, 1 + len(by_group), sharey=True, squeeze=False))
    for axes, table, key, value, ylabel in (
        (left, by_position, "place", "accuracy", "accuracy"),
        *(
            (axes, by_group[name], name, "exact_match", "exact match")
            for axes, name in zip(others, by_group, strict=True)
        ),
    ):
        bars = axes.bar([str(each) for each in table[key]], table[value], color=style.NEUTRAL)
        axes.bar_label(bars, [f"{each:.3f}" for each in table[value]], fontsize="small")
        axes.set(xlabel=key, ylabel=ylabel, ylim=(0, 1.1))
        axes.grid(alpha=0.3, axis="y")
    left.set_xlabel(f"position in the {'reversed ' * reverse_answer}answer")
    for axes, (name, table) in zip(others, by_group.items(), strict=True):
        noun = table.columns[-1]
        counted = [f"{row[name]}\n{row[noun]} {noun}" for row in table.to_dict("records")]
        axes.set_xticks(range(len(counted)), counted, fontsize="x-small")
    return figure


# So many bars fit in a line, those of the units that matter most.
_BARS = 64


def units(table: pd.DataFrame, unchanged: float, title: str) -> Figure:
    """The share of right answers without each unit, the unit that matters most first; a line where no unit is off.

    Args:
        table: a row for each unit: ``layer``, ``unit``, ``exact_match``.
        unchanged: the share of right answers with all units.
        title: title of the figure.
    """
    layers = list(dict.fromkeys(table["layer"]))
    figure = Figure(figsize=(10, 0.4 + 2.4 * len(layers)), layout="constrained")
    figure.suptitle(title)
    for axes, layer in zip(figure.subplots(len(layers), 1, squeeze=False)[:, 0], layers, strict=True):
        shown = table[table["layer"] == layer].sort_values("exact_match", kind="stable").head(_BARS)
        axes.bar(range(len(shown)), shown["exact_match"], color=style.NEUTRAL)
        axes.axhline(unchanged, color="black", linewidth=0.8)
        axes.set_xticks(range(len(shown)), [str(unit) for unit in shown["unit"]], fontsize="x-small")
        axes.set(title=f"{layer} (line: all units)", xlabel="unit that is off", ylabel="exact match", ylim=(0, 1.03))
        axes.margins(x=0.01)
        axes.grid(alpha=0.3, axis="y")
    return figure
