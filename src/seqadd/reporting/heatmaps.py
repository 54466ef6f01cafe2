"""Draws two-dimensional arrays with named axes as matplotlib heatmaps. Computes no results and saves no files.

There are two colour scales, which colour-blind people can distinguish: signed values go from blue over white to red,
unsigned values from white to blue. Panels that are compared share one scale.
"""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.image import AxesImage

_SIGNED, _UNSIGNED = "RdBu_r", "Blues"
# In inches: the page's width, a cell's height, and the height of a panel's title and axes.
_WIDTH, _CELL, _AROUND = 10.0, 0.27, 0.85
# A panel with at most this many columns shares its line with another panel.
_NARROW = 16
# Of a notebook's pictures, which have no other size.
_DPI = 80
# So many letters of a heading fit above a panel.
_LETTERS = 40


@dataclass(frozen=True)
class Heatmap:
    """The contents of one panel.

    Attributes:
        name: name of the quantity; panels with the same name are compared.
        title: title of the panel.
        values: shape ``(rows, columns)``; NaN is left blank.
        limits: values at the two ends of the colour scale; the lower one is below zero for signed values. Values
            beyond a limit have the colour of the limit, and the scale ends in a point there.
        rows: a label for each row; an empty string for no label.
        columns: likewise for columns.
        row_axis: label of the row axis.
        column_axis: label of the column axis.
        scale: label of the colour scale.
        boxed: row and column of each cell that gets a box.
        written: format of the numbers in the cells, as ``.2f``; empty for no numbers.
    """

    name: str
    title: str
    values: npt.NDArray[np.floating[Any]]
    limits: tuple[float, float]
    rows: Sequence[str]
    columns: Sequence[str]
    row_axis: str
    column_axis: str
    scale: str
    boxed: Sequence[tuple[int, int]] = ()
    written: str = ""


class Picture(Figure):
    """A figure that a notebook shows, also before pyplot is imported."""

    def _repr_png_(self) -> bytes:
        drawn = io.BytesIO()
        self.savefig(drawn, format="png", dpi=_DPI)
        return drawn.getvalue()


def sheet(panels: Sequence[Heatmap], title: str) -> Figure:
    """Panels one below the other, narrow ones two per line; each with its own colour scale."""
    lines: list[list[Heatmap]] = []
    for panel in panels:
        narrow = panel.values.shape[1] <= _NARROW
        if narrow and lines and len(lines[-1]) == 1 and lines[-1][0].values.shape[1] <= _NARROW:
            lines[-1].append(panel)
        else:
            lines.append([panel])
    heights = [max(panel.values.shape[0] for panel in line) * _CELL + _AROUND for line in lines]
    figure = Picture(figsize=(_WIDTH, sum(heights) + 0.4), layout="constrained")
    figure.suptitle(title)
    for line, below in zip(lines, figure.subfigures(len(lines), 1, height_ratios=heights, squeeze=False), strict=True):
        paired = len(line) == 1 and line[0].values.shape[1] <= _NARROW and len(panels) > 1
        every = below[0].subplots(1, 2 if paired else len(line), squeeze=False)[0]
        for axes, panel in zip(every, line, strict=False):
            image = _draw(axes, panel)
            axes.set_title(panel.title, fontsize="medium", loc="left")
            _bar(below[0], image, panel, [axes])
        if paired:
            every[1].set_axis_off()
    return figure


def grid(columns: Sequence[Sequence[Heatmap]], headings: Sequence[str], title: str) -> Figure:
    """Panels with the same name side by side, with one colour scale for all of them.

    Args:
        columns: the panels of each compared model, in order; panels with the same name must have the same limits.
        headings: name of each column.
        title: title of the figure.
    """
    names = list(dict.fromkeys(panel.name for column in columns for panel in column))
    found = [{panel.name: panel for panel in column} for column in columns]
    each = [[of.get(name) for of in found] for name in names]
    heights = [max(panel.values.shape[0] for panel in line if panel is not None) * _CELL + _AROUND for line in each]
    width = max(_WIDTH, 0.8 + 3.4 * len(columns))
    figure = Figure(figsize=(width, sum(heights) + 0.7), layout="constrained")
    figure.suptitle(title)
    lines = figure.subfigures(len(names), 1, height_ratios=heights, squeeze=False)
    for index, (line, below) in enumerate(zip(each, lines, strict=True)):
        every = below[0].subplots(1, len(columns), squeeze=False)[0]
        drawn: list[tuple[Axes, AxesImage, Heatmap]] = []
        for axes, panel, heading in zip(every, line, headings, strict=True):
            if panel is None:
                axes.set_axis_off()
                continue
            drawn.append((axes, _draw(axes, panel, small=True), panel))
            above = _in_lines(heading) + "\n" if index == 0 else ""
            axes.set_title(above + panel.title, fontsize="small", loc="left")
        _bar(below[0], drawn[0][1], drawn[0][2], list(every))
    return figure


def _in_lines(heading: str) -> str:
    """Breaks a heading after commas only, so that a key and its value stay in one line.

    Example:
        >>> _in_lines("learning_rate 0.004181725342, encoder_units 96, seed 3")
        'learning_rate 0.004181725342,\\nencoder_units 96, seed 3'
    """
    lines = [""]
    for part in heading.split(", "):
        if lines[-1] and len(lines[-1]) + len(part) > _LETTERS:
            lines.append("")
        lines[-1] += f"{part}, "
    return "\n".join(line.rstrip() for line in lines).rstrip(",")


def card(panel: Heatmap, headings: Sequence[str]) -> Figure:
    """One panel as a square picture that can be read at a width of 180 pixels: large letters, no numbers, no scale.

    Args:
        panel: the panel; its row labels are shortened to their last characters.
        headings: lines above it, the first one bold.
    """
    figure = Figure(figsize=(6, 6), layout="constrained")
    top, below = figure.subfigures(2, 1, height_ratios=(0.26 * len(headings), 1.4), squeeze=False).flat
    size = min(30.0, 650 / max(map(len, headings)))  # the longest line fits
    for line, text in enumerate(headings):
        height = 1 - (line + 0.5) / len(headings)
        top.text(0.5, height, text, ha="center", va="center", fontsize=size, weight="bold" if line == 0 else "normal")
    axes = below.subplots()
    _draw(axes, dataclasses.replace(panel, rows=[label[-1:] for label in panel.rows], written="", boxed=()))
    for row, column in panel.boxed:
        axes.add_patch(Rectangle((column - 0.5, row - 0.5), 1, 1, fill=False, edgecolor="black", linewidth=3.5))
    axes.tick_params(labelsize=24, length=0)
    axes.set(xlabel="", ylabel="")
    return figure


def _bar(figure: Any, image: AxesImage, panel: Heatmap, axes: list[Axes]) -> None:
    low, high = panel.limits
    values = panel.values[np.isfinite(panel.values)]
    ends = (bool((values < low).any()), bool((values > high).any()))
    extend = {(False, False): "neither", (True, False): "min", (False, True): "max", (True, True): "both"}[ends]
    bar = figure.colorbar(image, ax=axes, fraction=0.03, pad=0.01, aspect=12, extend=extend)
    bar.set_label(panel.scale, fontsize="x-small")
    bar.ax.tick_params(labelsize="x-small")


def _draw(axes: Axes, panel: Heatmap, *, small: bool = False) -> AxesImage:
    low, high = panel.limits
    colours = _SIGNED if low < 0 else _UNSIGNED
    values = np.ma.masked_invalid(panel.values)
    axes.set_facecolor("#dddddd")  # for cells without a value
    image = axes.imshow(values, cmap=colours, vmin=low, vmax=high, aspect="auto", interpolation="nearest")
    for axis, labels in ((axes.yaxis, panel.rows), (axes.xaxis, panel.columns)):
        shown = [(at, label) for at, label in enumerate(labels) if label]
        axis.set_ticks([at for at, _ in shown], [label for _, label in shown], fontsize="x-small")
    axes.set_ylabel(panel.row_axis, fontsize="x-small")
    axes.set_xlabel(panel.column_axis, fontsize="x-small", labelpad=1)
    axes.tick_params(length=2)
    for row, column in panel.boxed:
        axes.add_patch(Rectangle((column - 0.5, row - 0.5), 1, 1, fill=False, edgecolor="black", linewidth=1.6))
    if panel.written:
        for (row, column), value in np.ndenumerate(panel.values):
            text = format(value, panel.written).replace("-0.0", "0.0")
            if np.isnan(value) or (low >= 0 and float(text) == 0):
                continue  # on an unsigned scale 0 means nothing, so its cell stays empty; a signed scale prints 0
            dark = (value - low) / (high - low) > 0.6 if low >= 0 else abs(value) > 0.6 * high
            colour = "white" if dark else "black"
            # ".98", without the redundant zero before the point
            text = text.replace("0.", ".", 1) if text.startswith(("0.", "-0.")) and float(text) else text
            axes.text(column, row, text, ha="center", va="center", fontsize=5 if small else 7, color=colour)
    return image
