"""Draws curves over epochs, updates or the values of a key: thin lines are seeds, thick ones their mean."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from matplotlib import patheffects
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from seqadd.reporting import style
from seqadd.reporting.style import Look

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes

# In inches: the widest figure that a page shows in its full size, and the height of a plot.
_WIDTH, _HEIGHT = 9.0, 3.9
_LEGEND_ROW = 0.2  # inches, for each row after the third
_MARGIN = 0.02  # of the x axis on both sides, as a share of its length


@dataclass(frozen=True)
class Line:
    """A curve of several seeds, over the epochs or any other quantity.

    Attributes:
        label: name of the curve.
        look: its colour and line style.
        by_seed: x and y of each seed.
        markers: whether the mean is marked at each x.
    """

    label: str
    look: Look
    by_seed: Sequence[tuple[Sequence[float], Sequence[float]]]
    markers: bool = False


@dataclass(frozen=True)
class Panel:
    """One of several plots.

    Attributes:
        title: title of the plot.
        lines: the curves, from back to front.
        published: x and y of each published number, and the colour of the curve that it belongs to.
        ceilings: label and height of each horizontal line that marks an upper bound.
    """

    title: str
    lines: Sequence[Line]
    published: Sequence[tuple[float, float, str]] = ()
    ceilings: Sequence[tuple[str, float]] = ()


def learning_curve(history: Sequence[dict[str, float]], title: str) -> Figure:
    """``acc`` and ``val_acc`` (fractions of characters) over the epochs of one run.

    Args:
        history: one dict per epoch with ``epoch``, ``acc`` and ``val_acc``.
        title: name of the run.
    """
    metrics = ("acc", "val_acc")
    epochs = [row["epoch"] for row in history]
    lines = [
        Line(style.in_words(metric), look, [(epochs, [row[metric] for row in history])])
        for metric, look in zip(metrics, style.looks([{"metric": each} for each in metrics]), strict=True)
    ]
    return panels([Panel(title, lines)], "epoch", "accuracy")


def learning_curves(
    curves: pd.DataFrame, columns: Sequence[tuple[str, Mapping[str, str]]], summary: pd.DataFrame, metric: str
) -> Figure:
    """A metric over the epochs, a curve for each column of the table.

    Args:
        curves: as ``comparison.curves.learning_curves`` returns them.
        columns: name of each column, and the values that distinguish it, by key.
        summary: as ``comparison.table.summarize`` returns it, with the published numbers.
        metric: name of the metric.
    """
    lines: list[Line] = []
    published: list[tuple[float, float, str]] = []
    every = curves[curves["metric"] == metric].sort_values("epoch")
    known = summary[(summary["metric"] == metric) & summary["published"].notna()]
    looks = style.looks([values for _, values in columns])
    for index, ((label, _), look) in enumerate(zip(columns, looks, strict=True)):
        by_seed = [
            (of_seed["epoch"].tolist(), of_seed["value"].tolist())
            for _, of_seed in every[every["column"] == index].groupby("seed")
        ]
        if by_seed:
            lines.append(Line(label, look, by_seed))
        of_column = known.loc[known["column"] == index, ["epochs", "published"]]
        published += [(float(x), float(y), look.colour) for x, y in of_column.to_numpy()]
    words = style.in_words(metric)
    fraction = "loss" not in metric and "seconds" not in metric
    title = f"{words[0].upper()}{words[1:]} by epoch"
    return panels([Panel(title, lines, published)], "epoch", words, limits=style.FRACTIONS if fraction else None)


def panels(
    shown: Sequence[Panel],
    xlabel: str,
    ylabel: str,
    *,
    limits: tuple[float, float] | None = style.FRACTIONS,
    logarithmic: bool = False,
) -> Figure:
    """Plots with one y axis and one legend below them; diamonds are published numbers.

    Up to three plots stand in a row, more of them in rows of two.
    """
    columns = len(shown) if len(shown) < 4 else 2
    rows = -(-len(shown) // columns)
    width = _WIDTH if len(shown) > 1 else 8.0
    figure = Figure(figsize=(width, 0.8 + _HEIGHT * rows), layout="constrained")
    every = figure.subplots(rows, columns, sharey=True, squeeze=False)
    several = {len(line.by_seed) for panel in shown for line in panel.lines}
    n_seeds = several.pop() if len(several) == 1 else None
    for axes, panel in zip(every.flat, shown, strict=False):
        for line, linewidth in zip(panel.lines, style.widths(len(panel.lines)), strict=True):
            _draw_line(axes, line if n_seeds else _with_seeds(line), linewidth)
        _draw_published(axes, panel)
        axes.set_title(panel.title)
        _set_x_axis(axes, panel, logarithmic=logarithmic)
        axes.grid(alpha=0.3)
    for axes in every.flat[len(shown) :]:
        axes.set_axis_off()
    _draw_ceilings(list(every.flat), shown)
    for axes in every.flat[max(0, len(shown) - columns) : len(shown)]:
        axes.set_xlabel(xlabel)
    for axes in every[:, 0]:
        axes.set_ylabel(ylabel)
    if limits is not None:
        every[0, 0].set_ylim(*limits)
    _draw_legend(figure, list(every.flat), shown, n_seeds)
    return figure


def _with_seeds(line: Line) -> Line:
    n = len(line.by_seed)
    return replace(line, label=f"{line.label} ({n} seed{'s' * (n != 1)})")


def _draw_line(axes: Axes, line: Line, linewidth: float) -> None:
    """Draws the seeds of a line, if there are several, and their mean; where it has fewer seeds, dashed."""
    colour, linestyle = line.look.colour, line.look.style
    n = len(line.by_seed)
    for x, y in line.by_seed if n > 1 else []:
        axes.plot(
            x, y, color=colour, linestyle=linestyle, linewidth=0.6, alpha=0.5, zorder=2,
            marker="o" if line.markers else None, markersize=2,
        )  # fmt: skip
    x, mean, complete = mean_line(line.by_seed)
    marker = "o" if line.markers or len(x) == 1 else None
    drawn = {"color": colour, "linewidth": linewidth, "marker": marker, "markersize": 5, "zorder": 3}
    axes.plot(x, np.where(complete, mean, np.nan), linestyle=linestyle, label=line.label, **drawn)  # type: ignore[arg-type]
    if not complete.all():
        beside = ~complete | ~np.append(complete[1:], True) | ~np.append(True, complete[:-1])
        axes.plot(x, np.where(beside, mean, np.nan), linestyle=style.FEWER_SEEDS, **drawn)  # type: ignore[arg-type]


def mean_line(
    by_seed: Sequence[tuple[Sequence[float], Sequence[float]]],
) -> tuple[list[float], np.ndarray[tuple[int], np.dtype[np.float64]], np.ndarray[tuple[int], np.dtype[np.bool_]]]:
    """Returns each x, the mean over the seeds that have a value there, and whether all seeds have one."""
    values: dict[float, list[float]] = {}
    for x, y in by_seed:
        for at, value in zip(x, y, strict=True):
            values.setdefault(at, []).append(value)
    every = sorted(values)
    mean = np.array([sum(values[at]) / len(values[at]) for at in every])
    return every, mean, np.array([len(values[at]) == len(by_seed) for at in every], bool)


def _draw_published(axes: Axes, panel: Panel) -> None:
    """Draws published numbers, hollow, so that they hide no curve and no other one.

    One that belongs to several curves has a black edge.
    """
    edges: dict[tuple[float, float], set[str]] = {}
    for x, y, colour in panel.published:
        edges.setdefault((x, y), set()).add(colour)
    for (x, y), colours in edges.items():
        edge = colours.pop() if len(colours) == 1 else "black"
        _diamond(axes, [x], [y], edge)


def _diamond(axes: Axes, x: Sequence[float], y: Sequence[float], edge: str) -> Artist:
    """Draws hollow diamonds; a white rim separates their edges from the curves."""
    return axes.scatter(
        x, y, facecolor="none", edgecolor=edge, linewidth=1.6, marker="D", s=64, zorder=4, clip_on=False,
        path_effects=[patheffects.withStroke(linewidth=3.4, foreground="white")],
    )  # fmt: skip


def _draw_ceilings(every: Sequence[Axes], shown: Sequence[Panel]) -> None:
    """Draws the ceilings; each has a line style of its own in all panels."""
    labels = list(dict.fromkeys(ceiling for panel in shown for ceiling in panel.ceilings))
    styles = dict(zip(labels, itertools.cycle((":", "-.", (0, (1, 3)), (0, (3, 1, 1, 1, 1, 1)))), strict=False))
    for axes, panel in zip(every, shown, strict=False):
        for label, height in panel.ceilings:
            axes.axhline(
                height, color="black", linewidth=1.2, linestyle=styles[label, height], label=f"{label} {height:.4f}"
            )


def _set_x_axis(axes: Axes, panel: Panel, *, logarithmic: bool) -> None:
    """Begins and ends the x axis with the data; ticks are at values that occur."""
    every = {float(at) for line in panel.lines for x, _ in line.by_seed for at in x}
    every |= {x for x, _, _ in panel.published}
    if not every:
        return
    first, last = min(every), max(every)
    if logarithmic:
        axes.set_xscale("log", base=2)
        reach = (last / first) ** _MARGIN
        axes.set_xlim(first / reach, last * reach) if reach > 1 else None
    elif last > first:
        axes.set_xlim(first - _MARGIN * (last - first), last + _MARGIN * (last - first))
    axes.xaxis.set_major_locator(
        FixedLocator(style.ticks(every, logarithmic=logarithmic, most=8 if logarithmic else 6))
    )
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))


def _draw_legend(figure: Figure, every: Sequence[Axes], shown: Sequence[Panel], n_seeds: int | None) -> None:
    """Draws one legend below all plots, where it covers no data."""
    handles: dict[str, Artist] = {}
    for axes in every:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            handles.setdefault(label, handle)
    if any(panel.published for panel in shown):
        handles["published"] = _diamond(every[0], [], [], "black")
    incomplete = any(not mean_line(line.by_seed)[2].all() for panel in shown for line in panel.lines)
    if incomplete:
        (handles["mean of fewer seeds"],) = every[0].plot([], [], color="#777777", linestyle=style.FEWER_SEEDS)
    if not handles:
        return
    columns = max(1, min(len(handles), int(10.5 * figure.get_figwidth() / (6 + max(map(len, handles))))))
    rows = -(-len(handles) // columns)
    figure.set_figheight(figure.get_figheight() + _LEGEND_ROW * max(0, rows - 3))
    several = any(len(line.by_seed) > 1 for panel in shown for line in panel.lines)
    title = f"thick: mean of {n_seeds or 'the'} seeds; thin: each seed" if several else None
    figure.legend(
        list(handles.values()), list(handles), loc="outside lower center", ncols=columns, fontsize="small",
        title=title, title_fontsize="small",
    )  # fmt: skip
