"""Draws the architectures of docs/architectures.md, unrolled over the characters of 12+345 (read back to front) = 357.

python scripts/architecture_pictures.py
"""

from __future__ import annotations

import itertools
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

FOLDER = Path(__file__).parents[1] / "docs" / "architectures"
QUESTION, ANSWER = "·543+21", "357·"
_ENCODER, _DECODER, _OTHER = "#cfe3f5", "#f7d9c4", "#e3e3e3"
_WIDTH, _HEIGHT = 0.62, 0.42
_TOP = 2.1  # of the answer's characters

Point = tuple[float, float]


def box(axes: Axes, at: Point, text: str, colour: str, width: float = _WIDTH) -> None:
    """A box around a point."""
    corner = (at[0] - width / 2, at[1] - _HEIGHT / 2)
    axes.add_patch(
        FancyBboxPatch(corner, width, _HEIGHT, boxstyle="round,pad=0.03", facecolor=colour, edgecolor="#555")
    )
    axes.text(*at, text, ha="center", va="center", fontsize=8)


def arrow(
    axes: Axes, start: Point, end: Point, *, colour: str = "#333", bend: float = 0.0, dashed: bool = False
) -> None:
    """From one point to another."""
    axes.add_patch(
        FancyArrowPatch(
            start, end, arrowstyle="-|>", mutation_scale=8, color=colour, linewidth=0.9, shrinkA=0, shrinkB=1,
            connectionstyle=f"arc3,rad={bend}", linestyle="--" if dashed else "-",
        )
    )  # fmt: skip


def character(axes: Axes, at: Point, text: str, *, bold: bool = False) -> None:
    """A character of question or answer."""
    axes.text(*at, text, ha="center", va="center", fontsize=12, family="monospace", weight="bold" if bold else "normal")


def chain(axes: Axes, places: list[Point], text: str, colour: str, *, backward: bool = False) -> None:
    """Boxes of a recurrent layer, each handing its state to the next."""
    for place in places:
        box(axes, place, text, colour)
    for one, other in itertools.pairwise(places):
        left, right = (one[0] + _WIDTH / 2 + 0.04, one[1]), (other[0] - _WIDTH / 2 - 0.04, other[1])
        arrow(axes, right if backward else left, left if backward else right)


def up(axes: Axes, x: float, low: float, high: float, *, colour: str = "#333") -> None:
    """An arrow from the top of one row to the bottom of the next."""
    arrow(axes, (x, low + _HEIGHT / 2 + 0.04), (x, high - _HEIGHT / 2 - 0.04), colour=colour)


def question(axes: Axes, row: float = 0.9) -> list[Point]:
    """The question's characters below an encoder; the places of its boxes."""
    places = [(float(x), row) for x in range(len(QUESTION))]
    for place, text in zip(places, QUESTION, strict=True):
        character(axes, (place[0], 0.0), text)
        up(axes, place[0], -0.05, row)
    return places


def answer(axes: Axes, places: list[Point], text: str = ANSWER) -> None:
    """The answer's characters above a decoder."""
    for place, said in zip(places, text, strict=True):
        up(axes, place[0], place[1], _TOP + 0.05)
        character(axes, (place[0], _TOP), said, bold=True)


def draw(name: str) -> Figure:
    """The picture of an architecture."""
    figure = Figure(figsize=(9, 2.6), layout="constrained")
    axes = figure.subplots()
    axes.set_axis_off()
    axes.set_aspect("equal")
    axes.set_xlim(-0.6, 12.6)
    axes.set_ylim(-0.8, 2.45)
    row = 0.9
    after = [(8.4 + x, row) for x in range(len(ANSWER))]
    if name == "aligned":
        places = question(axes)
        chain(axes, places, "cell", _ENCODER)
        answer(axes, places, "357····")
        return figure
    encoder = question(axes)
    chain(axes, encoder, "cell", _ENCODER)
    last = (encoder[-1][0] + _WIDTH / 2 + 0.04, row)
    if name in ("repeat_vector", "repeat_vector_stacked"):
        stacked = name == "repeat_vector_stacked"
        lower = [(x, 0.55) for x, _ in after] if stacked else after
        chain(axes, lower, "cell", _DECODER)
        if stacked:
            upper = [(x, 1.35) for x, _ in after]
            chain(axes, upper, "cell", _DECODER)
            for x, _ in after:
                up(axes, x, 0.55, 1.35)
        answer(axes, upper if stacked else lower)
        copies(axes, last, [(x, lower[0][1]) for x, _ in after], "the last output, every time")
    elif name == "pooled":
        backward = [(x, 1.5) for x, _ in encoder]
        chain(axes, backward, "cell", _ENCODER, backward=True)
        box(axes, (7.25, 1.2), "Σ", _OTHER, 0.4)
        for x, _ in encoder:
            arrow(axes, (x + 0.33, 1.2), (7.02, 1.2), colour="#bbb")
        chain(axes, after, "cell", _DECODER)
        answer(axes, after)
        copies(axes, (7.25, 1.2 - _HEIGHT / 2 - 0.04), after, "one sum, every time")
    else:
        arrow(axes, last, (after[0][0] - _WIDTH / 2 - 0.04, row), colour="#b5482a")
        axes.text((last[0] + after[0][0]) / 2 - 0.1, row + 0.14, "states", ha="center", fontsize=8, color="#b5482a")
        chain(axes, after, "cell", _DECODER)
        answer(axes, after)
        readout = name == "readout"
        for index, (x, _) in enumerate(after):
            up(axes, x, -0.05, row)
            said = "·" if index == 0 else ANSWER[index - 1]
            character(axes, (x, 0.0), "y" if readout else said)
            if index and readout:
                axes.text(x + 0.1, -0.12, str(index - 1), fontsize=7)
            if index:
                arrow(axes, (x - 1 + 0.12, _TOP - 0.12), (x - 0.12, 0.12), colour="#2a6bb5", bend=-0.0, dashed=True)
        axes.text(10, -0.6, "its last output, a vector" if readout else "the character before", ha="center", fontsize=8,
                  color="#2a6bb5")  # fmt: skip
        if name == "attention":
            for index, target in enumerate(after[:2]):
                for x, _ in encoder[1:]:
                    arrow(
                        axes, (x, row + _HEIGHT / 2 + 0.05), (target[0] - 0.2, target[1] + _HEIGHT / 2 + 0.03),
                        colour="#3a8f4d" if index else "#9ccfa7", bend=-0.2,
                    )  # fmt: skip
            axes.text(5.2, _TOP + 0.22, "all outputs, weighed anew each time", ha="center", fontsize=8, color="#3a8f4d")
    return figure


def copies(axes: Axes, start: Point, targets: list[Point], text: str) -> None:
    """One vector into every box, from below."""
    below = -0.35
    end = max(x for x, _ in targets)
    axes.plot([start[0], start[0] + 0.3, start[0] + 0.3, end], [start[1], start[1], below, below], color="#333", lw=0.9)
    for x, y in targets:
        arrow(axes, (x, below), (x, y - _HEIGHT / 2 - 0.04))
    axes.text((targets[0][0] + end) / 2, below - 0.28, text, ha="center", fontsize=8)


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    for name in (
        "repeat_vector", "aligned", "encoder_decoder", "attention", "repeat_vector_stacked", "readout", "pooled",
    ):  # fmt: skip
        draw(name).savefig(FOLDER / f"{name}.png", dpi=110)


if __name__ == "__main__":
    main()
