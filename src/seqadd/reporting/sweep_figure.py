"""The learning curves of a sweep's jobs in one picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from seqadd.reporting.figures import COLOURS

_NAMED = 12  # how many curves have a colour and a name: all, or those that end best
_STYLES = ("-", "--")


def sweep_curves(curves: Sequence[tuple[str, Mapping[int, float]]]) -> Figure:
    """``val_acc`` of each job over the epochs; of more than twelve jobs, all but the best twelve are grey.

    Lines get thinner from the best to the worst, so that equal ones can be seen under each other.

    Args:
        curves: the name of each job, and its value after each epoch.
    """
    figure = Figure(figsize=(9, 4.5), layout="constrained")
    axes = figure.add_subplot()
    best_first = sorted((each for each in curves if each[1]), key=lambda each: each[1][max(each[1])], reverse=True)
    for _, history in best_first[_NAMED:]:
        axes.plot(list(history), list(history.values()), color="#cccccc", linewidth=0.8, zorder=1)
    for index, (label, history) in enumerate(best_first[:_NAMED]):
        axes.plot(
            list(history), list(history.values()), label=label, color=COLOURS[index % len(COLOURS)],
            linestyle=_STYLES[index // len(COLOURS)], marker="o" if len(history) == 1 else None,
            linewidth=3.5 - 0.2 * index, zorder=2,
        )  # fmt: skip
    others = len(best_first) - _NAMED
    if others > 0:
        axes.plot([], [], color="#cccccc", label=f"{others} others")
    axes.set(xlabel="epoch", ylabel="val_acc", title=f"Held-out characters right, {len(best_first)} jobs, best first")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(alpha=0.3)
    if best_first:
        figure.legend(loc="outside right upper", fontsize="small")
    return figure
