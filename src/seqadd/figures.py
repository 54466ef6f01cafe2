"""Arrays -> matplotlib Figures; decides nothing, saves nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

if TYPE_CHECKING:
    import pandas as pd

# Okabe and Ito's colours, told apart by people who are colour-blind.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")


def learning_curve(history: Sequence[dict[str, float]], title: str) -> Figure:
    """``acc`` and ``val_acc`` (fractions of characters) over the epochs of one run.

    Args:
        history: one dict an epoch with ``epoch``, ``acc`` and ``val_acc``.
        title: what the run is called.
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
    """A metric over the epochs, a colour for each column of the table: thin lines seeds, the thick one their mean.

    Args:
        curves: as ``table.learning_curves`` returns them.
        labels: what the columns are called.
        summary: as ``table.summarize`` returns it; its published numbers are drawn as diamonds.
        metric: which metric.
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
        mean = at_epoch.mean()[at_epoch.count() == n]  # where some seeds have ended, a mean of the others would jump
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
