"""What all figures have in common: colours and line styles, ticks, and the names of metrics in words."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import matplotlib
import numpy as np
from matplotlib.colors import to_hex

#: The colour of each cell in every figure, from the palette of Okabe and Ito, which colour-blind people can
#: distinguish. Nothing else has these colours.
CELLS = {"lstm": "#0072B2", "gru": "#D55E00", "simple_rnn": "#009E73", "dense": "#CC79A7"}
#: The colours of everything else, in the order of use.
HUES = ("#E69F00", "#332288", "#56B4E9", "#882255", "#999933", "#8B5A2B", "#B49FDC", "#777777")
#: Published numbers beside seeds; among curves they are hollow, with the colour of the curve that they belong to.
PUBLISHED = "#F0E442"
#: What needs no colour of its own, such as bars of a single kind.
NEUTRAL = "#5A6B7B"

_ARCHITECTURES = {
    "repeat_vector": HUES[0], "encoder_decoder": HUES[1], "attention": HUES[2], "readout": HUES[3],
    "repeat_vector_stacked": HUES[4], "pooled": HUES[5], "aligned": HUES[7],
}  # fmt: skip
_METRICS = {
    "acc": HUES[0], "loss": HUES[0], "val_acc": HUES[1], "val_loss": HUES[1], "val_exact_match": HUES[2],
    "val_acc_teacher_forced": HUES[0], "binary_accuracy": HUES[3], "val_binary_accuracy": HUES[4],
}  # fmt: skip
_FIXED = {"architecture": _ARCHITECTURES, "metric": _METRICS}
_ORDERED = 5  # so many numbers or more have the colours of a scale

LineStyle = str | tuple[int, tuple[int, ...]]
_STYLES: tuple[LineStyle, ...] = (
    "-", ":", "-.", (0, (1, 1, 3, 1, 1, 1)), (0, (1, 4)), (0, (6, 1, 1, 1)), (0, (8, 1, 2, 1, 2, 1)), (0, (2, 1)),
)  # fmt: skip
#: The part of a mean that has fewer seeds than the part before; nothing else is dashed.
FEWER_SEEDS: LineStyle = "--"

#: Limits of an axis for fractions; wider than 0..1, so that a line at 0 or 1 does not lie on the frame.
FRACTIONS = (-0.03, 1.03)


@dataclass(frozen=True)
class Look:
    """Colour and line style of a curve."""

    colour: str
    style: LineStyle = "-"


def looks(curves: Sequence[Mapping[str, str]]) -> list[Look]:
    """Returns the look of each curve of a figure.

    Args:
        curves: for each curve the values that distinguish it, by key; all have the same keys. With the key ``cell``,
            each cell has its colour, and the other values have line styles; without it, the values have other colours.
    """
    rest = [tuple((key, value) for key, value in curve.items() if key != "cell") for curve in curves]
    distinct = list(dict.fromkeys(rest))
    if curves and "cell" in curves[0]:
        return [
            Look(CELLS.get(curve["cell"], NEUTRAL), _STYLES[distinct.index(values) % len(_STYLES)])
            for curve, values in zip(curves, rest, strict=True)
        ]
    of = dict(zip(distinct, _looks_without_cell([dict(values) for values in distinct]), strict=True))
    return [of[values] for values in rest]


def _looks_without_cell(curves: Sequence[Mapping[str, str]]) -> list[Look]:
    """Returns a look for each of some different curves."""
    for key, colours in _FIXED.items():
        named = [curve.get(key, "") for curve in curves]
        found = [colours.get(name) or _numbered(name) for name in named]
        if len(set(named)) == len(curves) and len(set(found)) == len(curves) and all(found):
            return [Look(colour) for colour in found if colour]
    if len(curves) >= _ORDERED and all(len(curve) == 1 and _is_number(*curve.values()) for curve in curves):
        scale = matplotlib.colormaps["plasma"]
        return [Look(to_hex(scale(at))) for at in np.linspace(0, 0.9, len(curves))]
    n = len(HUES)
    return [Look(HUES[index % n], _STYLES[index // n % len(_STYLES)]) for index in range(len(curves))]


def _numbered(metric: str) -> str | None:
    """Returns the colour of a metric of a position, or of a number of a group; None for another one."""
    found = _NUMBERED.fullmatch(metric)
    return HUES[int(found["number"]) % len(HUES)] if found else None


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def widths(n: int) -> list[float]:
    """Returns line widths for curves that are drawn one above the other: those below are wider, so that they show."""
    return [max(1.8, 2.0 + 0.5 * min(n - 1, 3) - 0.5 * index) for index in range(n)]


def ticks(values: Collection[float], *, logarithmic: bool = False, most: int = 6) -> list[float]:
    """Returns at most ``most`` + 2 of the values: the first, the last, and those nearest to round numbers between.

    Example:
        >>> ticks(range(1, 201))
        [1, 50, 100, 150, 200]
        >>> ticks([64, 128, 256])
        [64, 128, 256]
    """
    known = sorted(set(values))
    if len(known) <= most:
        return known
    first, last = known[0], known[-1]
    if logarithmic:
        return list(dict.fromkeys(_nearest(known, at) for at in np.geomspace(first, last, most)))
    steps = [factor * 10.0**power for power in range(-9, 10) for factor in (1, 2, 5)]
    step = next(each for each in steps if (last - first) / each <= most - 1)
    multiples = np.arange(np.ceil(first / step), last / step) * step
    inner = [_nearest(known, at) for at in multiples if at - first > 0.5 * step and last - at > 0.5 * step]
    return list(dict.fromkeys([first, *inner, last]))


def _nearest(values: Sequence[float], at: float) -> float:
    return min(values, key=lambda value: abs(value - at))


_WORDS = {
    "acc": "training accuracy",
    "val_acc": "validation accuracy",
    "loss": "training loss",
    "val_loss": "validation loss",
    "val_exact_match": "validation exact match",
    "binary_accuracy": "training binary accuracy",
    "val_binary_accuracy": "validation binary accuracy",
    "val_acc_teacher_forced": "validation accuracy with teacher forcing",
    "epoch_seconds": "seconds per epoch",
}


# A metric of a position, or of the questions with a number of a group of the task, such as carries.
_NUMBERED = re.compile(r"(?P<metric>\w*val_acc(?=_position_)|\w*val_exact_match)_(?P<group>\w+)_(?P<number>\d+)")


def in_words(metric: str) -> str:
    """Returns a metric's name in words.

    Example:
        >>> in_words("val_acc"), in_words("val_acc_position_2")
        ('validation accuracy', 'validation accuracy, position 2')
        >>> in_words("val_exact_match_carries_1")
        'validation exact match, 1 carry'
        >>> in_words("val_exact_match_borrows_2")  # of a task of one's own
        'validation exact match, 2 borrows'
        >>> in_words("best_acc"), in_words("epochs_until_acc_0.99")
        ('best training accuracy', 'epochs until training accuracy is 0.99')
    """
    derived = re.fullmatch(r"(best|epochs_until)_(\w+?)(?:_(0?\.\d+))?", metric)
    if derived is not None and derived[2] in _WORDS:
        words = f"{derived[1].replace('_', ' ')} {_WORDS[derived[2]]}"
        return f"{words} is {derived[3]}" if derived[3] else words
    found = _NUMBERED.fullmatch(metric)
    if found is None:
        return _WORDS.get(metric, metric.replace("_", " "))
    of, group, n = in_words(found["metric"]), found["group"].replace("_", " "), found["number"]
    if group == "position":
        return f"{of}, position {n}"
    one = {"carries": "carry"}.get(group, group.removesuffix("s"))
    return f"{of}, {n} {one if n == '1' else group}"


def in_words_of_all(metrics: Sequence[str]) -> list[str]:
    """Returns the names of some metrics in words, without the words that all begin with.

    Example:
        >>> in_words_of_all(["val_acc_position_1", "val_acc_position_2"])
        ['position 1', 'position 2']
    """
    words = [in_words(metric) for metric in metrics]
    heads = {each.partition(", ")[0] for each in words}
    if len(words) > 1 and len(heads) == 1 and all(", " in each for each in words):
        return [each.partition(", ")[2] for each in words]
    return words
