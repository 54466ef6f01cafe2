"""The lines of the progress display: which columns fit into a terminal, and how they are written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from rich.text import Text

#: The metrics of a line of text; a narrow terminal shows the last ones.
METRICS = ("loss", "acc", "val_acc")
# What a line shows, from the widest to the narrowest: its metrics, the least width of its bar, whether the time left.
_CHOICES = ((METRICS, 6, True), (("loss", "val_acc"), 6, True), (("val_acc",), 6, True), (("val_acc",), 0, True),
            (("val_acc",), 0, False))  # fmt: skip
_WIDEST_BAR = 24
_LEFT = len("10:00:00 left")
_VALUE = len("0.1234")
_GAP = "  "
# A terminal writes ^C behind a full line; if it wrapped, the line would be drawn once more below.
_SPARE = 4


@dataclass(frozen=True)
class Row:
    """What a line of the display says.

    Attributes:
        label: the job.
        share: of its epochs, from 0 to 1.
        epochs: ``12/200``, or nothing.
        metrics: the values to show.
        text: replaces the metrics if it is not empty.
        left: the time left, or nothing.
    """

    label: str
    share: float = 0.0
    epochs: str = ""
    metrics: Mapping[str, float] = field(default_factory=dict)
    text: str = ""
    left: str = ""


@dataclass(frozen=True)
class Layout:
    """The widths of a line's columns, and its metrics; equal for all jobs, so that lines do not jump."""

    label: int
    bar: int
    epochs: int
    metrics: tuple[str, ...]
    left: int


def metric_text(value: float) -> str:
    """Formats a metric in at most six characters: ``0.1234``, ``12.346``, ``9e+31``.

    Example:
        >>> [metric_text(value) for value in (0.12345, 12.3456, 123.456, 9.1e31, float("nan"))]
        ['0.1234', '12.346', '123.46', '9e+31', 'nan']
    """
    if not abs(value) < 999.995:
        return f"{value:.0e}"
    whole = min(3, len(str(int(float(f"{abs(value):.5g}")))))  # 9.99996 is written as 10.000
    return f"{value:.{5 - whole}f}"


def metrics_text(metrics: Mapping[str, float], names: Sequence[str] = METRICS) -> str:
    """Formats metrics: ``loss 1.2500  acc 0.5000``; leaves out those that are not there."""
    return _GAP.join(f"{name} {metric_text(metrics[name]):<{_VALUE}}" for name in names if name in metrics).rstrip()


def _metrics_width(names: Sequence[str]) -> int:
    return sum(len(name) + 1 + _VALUE for name in names) + len(_GAP) * (len(names) - 1)


def choose_layout(width: int, labels: Sequence[str], epochs: int) -> Layout:
    """Chooses the columns for a terminal's width.

    Args:
        width: of the terminal, in characters.
        labels: the jobs' labels as they are shown, see ``short_labels``.
        epochs: width of the longest ``12/200``.
    """
    room, label = width - _SPARE, max(map(len, labels))
    for metrics, bar, with_left in _CHOICES:
        wide = _metrics_width(metrics)
        columns = [label, epochs, wide, *([bar] if bar else []), *([_LEFT] if with_left else [])]
        needed = sum(columns) + len(_GAP) * (len(columns) - 1)
        if needed <= room:
            break
    return Layout(label, bar and min(_WIDEST_BAR, bar + room - needed), epochs, metrics, _LEFT if with_left else 0)


def short_labels(labels: Sequence[str], width: int, epochs: int) -> list[str]:
    """Returns labels that fit into a terminal's width and differ from each other.

    They are the labels; else only the values in them, as all jobs have the same keys: ``0.01 96`` for
    ``learning_rate=0.01 encoder_units=96``; else ``job 1``, ``job 2``.
    """
    metrics, _, _ = _CHOICES[-1]
    others = [epochs, len(metrics[0]) + 1 + _VALUE, _LEFT]
    room = width - _SPARE - sum(others) - len(_GAP) * len(others)
    values = [" ".join(word.partition("=")[2] or word for word in label.split()) for label in labels]
    for shown in (list(labels), values):
        if max(map(len, shown)) <= room and len(set(shown)) == len(set(labels)):
            return shown
    return [f"job {number}" for number in range(1, len(labels) + 1)]


def line(row: Row, layout: Layout, width: int, *, ascii_only: bool = False) -> Text:
    """Writes a row as a line that is narrower than ``width``."""
    done, rest = ("#", "-") if ascii_only else ("━", "─")
    parts = [(row.label.ljust(layout.label), "")]
    if layout.bar:
        n = min(layout.bar, int(layout.bar * row.share))
        parts += [(_GAP, ""), (done * n, "green"), (rest * (layout.bar - n), "dim")]
    parts.append((f"{_GAP}{row.epochs:>{layout.epochs}}{_GAP}", ""))
    wide = _metrics_width(layout.metrics)
    if row.text:
        parts.append((row.text.ljust(wide), "italic"))
    else:
        parts.append((metrics_text(row.metrics, layout.metrics).ljust(wide), ""))
    if layout.left and row.left:
        parts.append((f"{_GAP}{row.left}", "cyan"))
    text = Text.assemble(*parts, no_wrap=True, overflow="ellipsis")
    text.truncate(width - _SPARE + 1, overflow="ellipsis")
    return text
