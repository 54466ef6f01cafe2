"""The learning curves of a sweep's jobs in one picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator

from seqadd.reporting import style

_NAMED = 12  # how many curves have a colour and a name: all, or those that end best


def sweep_curves(
    curves: Sequence[tuple[str, Mapping[str, str], Mapping[int, float]]], metric: str = "val_acc"
) -> Figure:
    """A metric of each job over the epochs; of more than twelve jobs, all but the best twelve are grey.

    Lines get thinner from the best to the worst, so that equal ones can be seen under each other.

    Args:
        curves: for each job its name, the values that distinguish it, by key, and its value after each epoch.
        metric: its name.
    """
    figure = Figure(figsize=(9, 4.5), layout="constrained")
    axes = figure.add_subplot()
    is_better_high = "loss" not in metric and "seconds" not in metric
    best_first = sorted(
        (each for each in curves if each[2]), key=lambda each: each[2][max(each[2])], reverse=is_better_high
    )
    for _, _, history in best_first[_NAMED:]:
        axes.plot(list(history), list(history.values()), color="#cccccc", linewidth=0.8, zorder=1)
    named = best_first[:_NAMED]
    looks = style.looks([values for _, values, _ in named])
    for index, ((label, _, history), look) in enumerate(zip(named, looks, strict=True)):
        axes.plot(
            list(history), list(history.values()), label=label, color=look.colour, linestyle=look.style,
            marker="o" if len(history) == 1 else None, linewidth=3.5 - 0.2 * index, zorder=2,
        )  # fmt: skip
    others = len(best_first) - _NAMED
    if others > 0:
        axes.plot([], [], color="#cccccc", label=f"{others} others")
    words = style.in_words(metric)
    axes.set(
        xlabel="epoch",
        ylabel=words,
        title=f"{words[0].upper()}{words[1:]} by epoch, {len(best_first)} jobs, best first",
    )
    epochs = {epoch for _, _, history in best_first for epoch in history}
    axes.xaxis.set_major_locator(FixedLocator(style.ticks(epochs)))
    axes.margins(x=0.02)
    axes.grid(alpha=0.3)
    if best_first:
        figure.legend(loc="outside right upper", fontsize="small")
    return figure
