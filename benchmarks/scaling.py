"""Measures how an epoch's time grows with the number of sums, digits and widths, and memory with epochs.

    python benchmarks/scaling.py                             results in benchmarks/results
    python benchmarks/scaling.py --quick                     does it run? small sizes, one epoch; build/benchmarks

An LSTM at one thread, 50,000 three-digit sums, 64/32 units, batches of 512 and all other defaults; along each curve one
of these changes. Every point has its own process and is the median of three epochs after the first, without
evaluation. The exponent of a curve is the slope of a straight line through its logarithms (least squares): 1 is
proportional.

One and two digits have only 55 and 5,050 distinct sums. The content of a sum does not change its time, so these sums
are repeated until there are as many rows as for other digits.

Memory is measured in a process that trains and evaluates 5,000 sums, one epoch after the other.

Not in this file: other libraries (``compare.py``), accuracy.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import statistics
import tempfile
import time
from collections.abc import Generator, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import bench
import numpy as np
import peers

from seqadd.cli.entry import command
from seqadd.data import addition, curriculum, drawing
from seqadd.data.addition import Addition
from seqadd.data.drawing import Dataset

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Rows = list[dict[str, Any]]

N_QUESTIONS, DIGITS = 50_000, 3
#: The quantity that changes along each curve, in words, and its values.
CURVES: dict[str, tuple[str, tuple[int, ...]]] = {
    "questions": ("three-digit sums", (5_000, 20_000, 50_000, 150_000, 500_000)),
    "digits": ("digits of an addend", (1, 2, 3, 4, 5, 6, 7, 8)),
    "units": ("units of encoder and of decoder", (32, 64, 128, 256, 512)),
}
MEMORY_AFTER = (2, 10, 50)
PACKAGES = ("seqadd", "tensorflow", "keras", "numpy")


def make_sums(n_questions: int, digits: int) -> Dataset:
    """Returns sums with the usual split; if there are too few distinct ones, the training sums are repeated."""
    data = drawing.make_dataset(
        Addition(digits),
        n_questions=min(n_questions, addition.count_pairs(digits)),
        held_out=0.1,
        reverse=True,
        rng=np.random.default_rng(0),
    )
    n_train = n_questions - drawing.held_out_count(n_questions, 0.1)
    rows = np.arange(n_train) % len(data.train_questions)
    return dataclasses.replace(
        data,
        train_questions=data.train_questions[rows],
        train_answers=data.train_answers[rows],
        train_digits=data.train_digits[rows],
    )


def timed_epochs(curve: str, value: int) -> Generator[float, Any, None]:
    """The generator of a process: yields the seconds of an epoch for every question; the first includes compilation."""
    config, model, data = _ready(curve, value)
    train_epoch = peers.seqadd_epoch_program(model, data, config)
    for epoch in itertools.count(1):
        rows = curriculum.epoch_order(config.seed, epoch, len(data.train_questions))
        start = time.perf_counter()
        float(train_epoch(rows, epoch)["loss"])
        yield time.perf_counter() - start


def memory_over_epochs(epochs: int) -> Generator[float, Any, None]:
    """The generator of a process: yields the peak memory so far, in MB, after every epoch with its evaluation."""
    from seqadd.training import loop

    config, model, data = _ready("questions", 5_000)
    config.epochs = epochs
    for _ in loop.train(model, loop.make_optimizer(model, config), data, config, []):
        yield bench.peak_memory_mb()


def _ready(curve: str, value: int) -> tuple[Any, Any, Dataset]:
    """Returns configuration, model and sums of a point, created in this process, at one thread."""
    from seqadd.config import composition
    from seqadd.models import architectures
    from seqadd.system import tensorflow_setup

    overrides = [f"encoder_units={value}", f"decoder_units={value}"] if curve == "units" else []
    config = composition.compose_selection(["cell=lstm", "threads=1", *overrides]).columns[0].config
    tensorflow_setup.use_threads(config.threads)
    digits = value if curve == "digits" else DIGITS
    data = make_sums(value if curve == "questions" else N_QUESTIONS, digits)
    lengths = data.train_questions.shape[1], data.train_answers.shape[1]
    return config, architectures.build_model(config, *lengths, len(data.alphabet)), data


def exponent(points: Iterable[tuple[float, float]]) -> tuple[float, float]:
    """Fits ``y = factor * x ** exponent`` by least squares of the logarithms; returns (exponent, factor)."""
    x, y = np.log(np.array(list(points))).T
    slope, intercept = np.polyfit(x, y, 1)
    return float(slope), float(np.exp(intercept))


def points_of(rows: Rows, curve: str) -> list[tuple[int, float]]:
    """Returns a curve's points: value and measured number (seconds; MB for memory)."""
    return [(row["value"], row["measured"]) for row in rows if row["curve"] == curve]


def report(header: list[str], rows: Rows) -> str:
    """Returns the results as Markdown: the exponents, then every point."""
    fits = []
    for curve, (what, _) in CURVES.items():
        points = points_of(rows, curve)
        last = f"{exponent(points[-2:])[0]:.2f}"
        fits.append([what, f"{points[0][0]:,} to {points[-1][0]:,}", f"{exponent(points)[0]:.2f}", last])
    memory = points_of(rows, "memory")
    lines = ["# How an epoch's time grows", "", *header, ""]
    lines += ["Seconds grow as a power of what changes; 1 is proportional.", ""]
    lines += bench.markdown_table(["what changes", "from, to", "exponent", "of the last two points"], fits)
    lines += ["", f"Memory after {memory[0][0]} epochs: {memory[0][1]:.0f} MB; "]
    lines[-1] += f"after {memory[-1][0]}: {memory[-1][1]:.0f} MB."
    lines += ["", "## Every point", ""]
    table = [
        [row["curve"], f"{row['value']:,}", f"{row['measured']:.0f} MB" if row["curve"] == "memory" else _spread(row)]
        for row in rows
    ]
    lines += bench.markdown_table(["curve", "value", "seconds of an epoch, median (min..max), or memory"], table)
    return "\n".join([*lines, ""])


def _spread(row: dict[str, Any]) -> str:
    return f"{row['measured']:.3f} ({row['min']:.3f}..{row['max']:.3f})"


def figure(rows: Rows, machine: str) -> Figure:
    """Draws three panels of seconds with their fits, both axes logarithmic, and one of memory over epochs."""
    from matplotlib.figure import Figure

    from seqadd.reporting.style import HUES

    picture = Figure(figsize=(9, 6.4), layout="constrained")
    panels = picture.subplots(2, 2).flat
    for axes, (curve, (what, _)), colour in zip(panels, CURVES.items(), HUES, strict=False):
        of_curve = [row for row in rows if row["curve"] == curve]
        points = points_of(rows, curve)
        values, seconds = zip(*points, strict=True)
        below = [row["measured"] - row["min"] for row in of_curve]
        above = [row["max"] - row["measured"] for row in of_curve]
        axes.errorbar(values, seconds, yerr=[below, above], fmt="o", color=colour, capsize=3, label="measured")
        _draw_fit(axes, points, "--", "fit")
        if curve == "units":  # at small widths, overhead exceeds arithmetic
            _draw_fit(axes, points[-2:], ":", "last two")
        axes.set(xscale="log", yscale="log", xlabel=what, ylabel="seconds of an epoch")
        axes.set_xticks(values, [f"{value:,}" for value in values])
        axes.xaxis.minorticks_off()
        bench.written_out(axes.yaxis)
        axes.grid(alpha=0.3)
    axes = picture.axes[-1]
    epochs, megabytes = zip(*points_of(rows, "memory"), strict=True)
    axes.plot(epochs, megabytes, marker="o", color=HUES[3], label="peak so far")
    axes.set(
        xlabel="epochs trained (5,000 sums)", ylabel="memory of the process in MB", ylim=(0, max(megabytes) * 1.25)
    )
    axes.grid(alpha=0.3)
    for axes in picture.axes:
        axes.legend(loc="best", frameon=False)
    picture.supxlabel(machine, fontsize=7, color="0.4")
    return picture


def _draw_fit(axes: Axes, points: list[tuple[int, float]], style: str, what: str) -> None:
    power, factor = exponent(points)
    values = [value for value, _ in points]
    fitted = [factor * value**power for value in values]
    axes.plot(values, fitted, color="0.4", linewidth=1.2, linestyle=style, label=f"{what}: exponent {power:.2f}")


def main() -> None:
    """Command line of ``python benchmarks/scaling.py``."""
    parser = argparse.ArgumentParser(description="How the time of seqadd's training epoch grows.")
    parser.add_argument("--quick", action="store_true", help="small sizes and one epoch each, to see whether it runs")
    bench.add_out(parser)
    chosen = parser.parse_args()
    out = bench.out_folder(chosen)
    n_points, epochs, memory_after = (2, 1, (2, 4)) if chosen.quick else (None, 3, MEMORY_AFTER)
    points = [(curve, value) for curve, (_, values) in CURVES.items() for value in values[:n_points]]

    header = bench.header(PACKAGES)
    header.append(f"- LSTM, one thread, batches of 512, median of {epochs} after the first")
    rows: Rows = []
    total = sum(_cost(*point, epochs) for point in points) + _MEMORY_COST
    with bench.Steps(total) as steps, tempfile.TemporaryDirectory() as logs:
        log = Path(logs) / "worker.log"
        for curve, value in points:
            steps.begin(f"{value:,} {CURVES[curve][0]}")
            worker = bench.Worker(timed_epochs, curve, value, threads=1, log=log)
            worker.answer()  # the first epoch, which includes the compilation
            seconds = [worker.ask("next") for _ in range(epochs)]
            worker.end()
            median = statistics.median(seconds)
            rows.append(_row(curve, value, median, min(seconds), max(seconds), len(seconds)))
            steps.done(_cost(curve, value, epochs))
        steps.begin("memory over epochs")
        worker = bench.Worker(memory_over_epochs, memory_after[-1], threads=1, log=log)
        megabytes = [worker.answer(), *(worker.ask("next") for _ in range(memory_after[-1] - 1))]
        worker.end()
        rows += [_row("memory", epoch, megabytes[epoch - 1], None, None, 1) for epoch in memory_after]
        steps.done(_MEMORY_COST)

    bench.write_csv(out / "scaling.csv", rows)
    text = report(header, rows)
    bench.replace(out / "scaling.md", lambda path: path.write_text(text))
    picture = figure(rows, bench.date_and_machine(header))
    bench.replace(out / "scaling.png", lambda path: picture.savefig(path, dpi=200))
    print(text)


def _row(curve: str, value: int, measured: float, low: float | None, high: float | None, n: int) -> dict[str, Any]:
    """Returns a row of ``scaling.csv``: seconds; for the curve of memory MB, where the value is an epoch."""
    unit = "MB" if curve == "memory" else "s"
    return {"curve": curve, "value": value, "measured": measured, "unit": unit, "min": low, "max": high, "n": n}


# Rough seconds, only for the display of the remaining time.
_MEMORY_COST = 20.0


def _cost(curve: str, value: int, epochs: int) -> float:
    of_an_epoch = 0.6
    if curve == "questions":
        of_an_epoch *= value / N_QUESTIONS
    elif curve == "digits":
        of_an_epoch *= value / DIGITS
    else:
        of_an_epoch *= (value / 64) ** 2
    return 12.0 + (1 + epochs) * of_an_epoch


if __name__ == "__main__":
    with command():
        main()
