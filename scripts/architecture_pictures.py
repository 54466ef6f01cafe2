"""Draws the architectures of docs/architectures.md, unrolled over the characters of 12+345 (read back to front) = 357.

python scripts/architecture_pictures.py
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

FOLDER = Path(__file__).parents[1] / "docs" / "architectures"
QUESTION, ANSWER = "·543+21", "357·"
_ENCODER, _DECODER, _OTHER = "#cfe3f5", "#f7d9c4", "#e3e3e3"
_WIDTH, _HEIGHT = 0.62, 0.42
_TOP = 2.1  # height of the answer's characters

Point = tuple[float, float]


def box(axes: Axes, at: Point, text: str, colour: str, width: float = _WIDTH) -> None:
    """Draws a box around a point."""
    corner = (at[0] - width / 2, at[1] - _HEIGHT / 2)
    axes.add_patch(
        FancyBboxPatch(corner, width, _HEIGHT, boxstyle="round,pad=0.03", facecolor=colour, edgecolor="#555")
    )
    axes.text(*at, text, ha="center", va="center", fontsize=8)


def arrow(
    axes: Axes, start: Point, end: Point, *, colour: str = "#333", bend: float = 0.0, dashed: bool = False
) -> None:
    """Draws an arrow from one point to another."""
    axes.add_patch(
        FancyArrowPatch(
            start, end, arrowstyle="-|>", mutation_scale=8, color=colour, linewidth=0.9, shrinkA=0, shrinkB=1,
            connectionstyle=f"arc3,rad={bend}", linestyle="--" if dashed else "-",
        )
    )  # fmt: skip


def character(axes: Axes, at: Point, text: str, *, bold: bool = False) -> None:
    """Draws a character of question or answer."""
    axes.text(*at, text, ha="center", va="center", fontsize=12, family="monospace", weight="bold" if bold else "normal")


def chain(axes: Axes, places: list[Point], text: str, colour: str, *, backward: bool = False) -> None:
    """Draws the boxes of a recurrent layer; each passes its state to the next."""
    for place in places:
        box(axes, place, text, colour)
    for one, other in itertools.pairwise(places):
        left, right = (one[0] + _WIDTH / 2 + 0.04, one[1]), (other[0] - _WIDTH / 2 - 0.04, other[1])
        arrow(axes, right if backward else left, left if backward else right)


def up(axes: Axes, x: float, low: float, high: float, *, colour: str = "#333") -> None:
    """Draws an arrow from the top of one row to the bottom of the next."""
    arrow(axes, (x, low + _HEIGHT / 2 + 0.04), (x, high - _HEIGHT / 2 - 0.04), colour=colour)


def question(axes: Axes, row: float = 0.9) -> list[Point]:
    """Draws the question's characters below an encoder; returns the points of the encoder's boxes."""
    places = [(float(x), row) for x in range(len(QUESTION))]
    for place, text in zip(places, QUESTION, strict=True):
        character(axes, (place[0], 0.0), text)
        up(axes, place[0], -0.05, row)
    return places


def answer(axes: Axes, places: list[Point], text: str = ANSWER) -> None:
    """Draws the answer's characters above a decoder."""
    for place, said in zip(places, text, strict=True):
        up(axes, place[0], place[1], _TOP + 0.05)
        character(axes, (place[0], _TOP), said, bold=True)


# Points of the boxes of a decoder to the right of an encoder.
_ROW = 0.9
_AFTER = [(8.4 + x, _ROW) for x in range(len(ANSWER))]


def draw(name: str) -> Figure:
    """Draws the picture of an architecture."""
    figure = Figure(figsize=(9, 2.6), layout="constrained")
    axes = figure.subplots()
    axes.set_axis_off()
    axes.set_aspect("equal")
    axes.set_xlim(-0.6, 12.6)
    axes.set_ylim(-0.8, 2.45)
    encoder = question(axes)
    chain(axes, encoder, "cell", _ENCODER)
    ARCHITECTURES[name](axes, encoder)
    return figure


def draw_aligned(axes: Axes, encoder: list[Point]) -> None:
    """Draws an output character at each character of the question."""
    answer(axes, encoder, "357····")


def draw_repeat_vector(axes: Axes, encoder: list[Point]) -> None:
    """Draws a decoder whose input at each step is the encoder's last output."""
    chain(axes, _AFTER, "cell", _DECODER)
    answer(axes, _AFTER)
    copies(axes, end_of(encoder), _AFTER, "the last output, at every step")


def draw_repeat_vector_stacked(axes: Axes, encoder: list[Point]) -> None:
    """Draws ``repeat_vector`` with a second decoder layer."""
    lower, upper = ([(x, row) for x, _ in _AFTER] for row in (0.55, 1.35))
    chain(axes, lower, "cell", _DECODER)
    chain(axes, upper, "cell", _DECODER)
    for x, _ in _AFTER:
        up(axes, x, 0.55, 1.35)
    answer(axes, upper)
    copies(axes, end_of(encoder), lower, "the last output, at every step")


def draw_pooled(axes: Axes, encoder: list[Point]) -> None:
    """Draws a bidirectional encoder whose summed outputs are the decoder's input."""
    backward = [(x, 1.5) for x, _ in encoder]
    chain(axes, backward, "cell", _ENCODER, backward=True)
    box(axes, (7.25, 1.2), "Σ", _OTHER, 0.4)
    for x, _ in encoder:
        arrow(axes, (x + 0.33, 1.2), (7.02, 1.2), colour="#bbb")
    chain(axes, _AFTER, "cell", _DECODER)
    answer(axes, _AFTER)
    copies(axes, (7.25, 1.2 - _HEIGHT / 2 - 0.04), _AFTER, "one weighted sum, at every step")


def draw_encoder_decoder(axes: Axes, encoder: list[Point]) -> None:
    """Draws a decoder that starts with the encoder's states and reads the previous character."""
    hand_states(axes, encoder)
    feed_back(axes, ["·", *ANSWER[:-1]], "the previous character")


def draw_readout(axes: Axes, encoder: list[Point]) -> None:
    """Draws ``encoder_decoder`` with a decoder that reads its own last output."""
    hand_states(axes, encoder)
    feed_back(axes, ["y"] * len(ANSWER), "its previous output, a vector")
    for index, (x, _) in enumerate(_AFTER[1:]):
        axes.text(x + 0.1, -0.12, str(index), fontsize=7)


def draw_attention(axes: Axes, encoder: list[Point]) -> None:
    """Draws ``encoder_decoder`` with attention to all outputs of the encoder, for the first two characters."""
    draw_encoder_decoder(axes, encoder)
    for target, colour in zip(_AFTER, ("#9ccfa7", "#3a8f4d"), strict=False):
        for x, _ in encoder[1:]:
            arrow(
                axes, (x, _ROW + _HEIGHT / 2 + 0.05), (target[0] - 0.2, target[1] + _HEIGHT / 2 + 0.03),
                colour=colour, bend=-0.2,
            )  # fmt: skip
    axes.text(5.2, _TOP + 0.22, "all outputs, with new weights at each step", ha="center", fontsize=8, color="#3a8f4d")


ARCHITECTURES: dict[str, Callable[[Axes, list[Point]], None]] = {
    "repeat_vector": draw_repeat_vector,
    "aligned": draw_aligned,
    "encoder_decoder": draw_encoder_decoder,
    "attention": draw_attention,
    "repeat_vector_stacked": draw_repeat_vector_stacked,
    "readout": draw_readout,
    "pooled": draw_pooled,
}


def end_of(encoder: list[Point]) -> Point:
    """Returns the point where the last output of an encoder leaves it."""
    return encoder[-1][0] + _WIDTH / 2 + 0.04, _ROW


def hand_states(axes: Axes, encoder: list[Point]) -> None:
    """Draws the encoder's states as the decoder's initial states."""
    last = end_of(encoder)
    arrow(axes, last, (_AFTER[0][0] - _WIDTH / 2 - 0.04, _ROW), colour="#b5482a")
    axes.text((last[0] + _AFTER[0][0]) / 2 - 0.1, _ROW + 0.14, "states", ha="center", fontsize=8, color="#b5482a")
    chain(axes, _AFTER, "cell", _DECODER)
    answer(axes, _AFTER)


def feed_back(axes: Axes, inputs: Sequence[str], text: str) -> None:
    """Draws the decoder's input at each step, from the second step on an earlier output, and a label for it."""
    for index, ((x, _), said) in enumerate(zip(_AFTER, inputs, strict=True)):
        up(axes, x, -0.05, _ROW)
        character(axes, (x, 0.0), said)
        if index:
            arrow(axes, (x - 1 + 0.12, _TOP - 0.12), (x - 0.12, 0.12), colour="#2a6bb5", bend=-0.0, dashed=True)
    axes.text(10, -0.6, text, ha="center", fontsize=8, color="#2a6bb5")


def copies(axes: Axes, start: Point, targets: list[Point], text: str) -> None:
    """Draws one vector as the input of every box, from below."""
    below = -0.35
    end = max(x for x, _ in targets)
    axes.plot([start[0], start[0] + 0.3, start[0] + 0.3, end], [start[1], start[1], below, below], color="#333", lw=0.9)
    for x, y in targets:
        arrow(axes, (x, below), (x, y - _HEIGHT / 2 - 0.04))
    axes.text((targets[0][0] + end) / 2, below - 0.28, text, ha="center", fontsize=8)


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    for name in ARCHITECTURES:
        draw(name).savefig(FOLDER / f"{name}.png", dpi=110)


if __name__ == "__main__":
    main()
