"""Arrays -> matplotlib Figures; decides nothing, saves nothing."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.figure import Figure

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
    axes.set(xlabel="epoch", ylabel="characters right", ylim=(0, 1), title=title)
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right")
    return figure
