"""Writes an inspection as figures (PNG and SVG), tables (CSV) and a self-contained page."""

from __future__ import annotations

import io
import re
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from seqadd.errors import redact_credentials
from seqadd.evaluation import error_analysis
from seqadd.evaluation.trained_run import TrainedRun
from seqadd.inspection import diagnostics
from seqadd.inspection.analysis import Changed, Comparison, HeldOut, Inspection, accuracies
from seqadd.inspection.panels import layer_heatmaps, question_heatmap, step_heatmaps, visible
from seqadd.inspection.report_folder import ReportFolder, folder_of
from seqadd.inspection.terminal import CHARACTERS_HEADER, character_rows, characters_table, trace_line
from seqadd.inspection.trace import Trace
from seqadd.reporting import figures, heatmaps, markup
from seqadd.reporting.heatmaps import Heatmap
from seqadd.tracking.provenance import origin

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from seqadd.evaluation.predict import Array

# The most columns of a grid on the page; of more epochs, so many evenly spaced ones are shown.
_COLUMNS = 5
_HARDEST = 20


def write_inspection(
    inspection: Inspection,
    path: Path,
    notify: Callable[[str], None] = lambda name: None,
    store: str = "",
    published: Path | None = None,
) -> list[str]:
    """Writes figures, tables and page of one run's inspection.

    Args:
        inspection: the data.
        path: a new folder; see ``publish``.
        notify: receives the name of each figure before it is drawn.
        store: the command line's words that name the store, such as ``tracking.uri=...``; the page repeats them.
        published: a folder with an earlier report; what it has of the same run and epoch is kept.

    Returns:
        The questions on the page, those of the earlier report last.
    """
    folder, run, found = ReportFolder(path, notify), inspection.run, inspection.held_out
    text = f"# {markup.sanitize(run.name)}: inspection\n\n{_about(run, found)}\n"
    text += _health(inspection)
    for traced, seen_in_training in zip(inspection.traces, inspection.seen_in_training, strict=True):
        section = _question(folder, traced, seen_in_training) + _changed(folder, traced, inspection.changed)
        text += folder.question(traced.question.text, [run], section)
    text += folder.earlier(published, [run])
    text += _answers(folder, run, found) + _units_off(folder, inspection)
    text += _weights(folder, inspection)
    text += _again([run], folder.questions, store)
    folder.page(text, f"{run.name}: inspection")
    return folder.questions


def _again(runs: Sequence[TrainedRun], questions: Sequence[str], store: str) -> str:
    """Returns the page's section with the command that makes the same page again."""
    ids = dict.fromkeys(markup.sanitize(run.run_id) for run in runs)
    epochs = "" if all(run.epoch == run.config.epochs for run in runs) else " epoch=" + _listed(runs)
    key = "model" if runs[0].bundled else "run"
    asked = shlex.quote("question=" + ",".join(map(_quoted, questions)))
    words = f"{key}={','.join(ids)}{epochs} {asked} {redact_credentials(store)}".rstrip()
    return f"\n## Again\n\n    python -m seqadd.inspect {words}\n"


def _quoted(question: str) -> str:
    """Returns a question as a word of the command line has it, in Hydra's grammar."""
    return question if re.fullmatch(r"[\w+*/:.%^-]+", question) else f'"{question}"'


def _listed(runs: Sequence[TrainedRun]) -> str:
    return ",".join(str(epoch) for epoch in dict.fromkeys(run.epoch for run in runs))


def _about(run: TrainedRun, found: HeldOut) -> str:
    reached = {name: curve[run.epoch] for name, curve in run.history.items() if run.epoch in curve}
    measured = "".join(f"{name} {value:.4f}, " for name, value in reached.items())
    tensorflow = markup.sanitize(run.tags.get("tensorflow", "unknown"))
    return (
        f"{'Model' if run.bundled else 'Run'} `{markup.sanitize(run.run_id)}`, after epoch {run.epoch} of "
        f"{run.config.epochs}, "
        f"commit {markup.sanitize(origin(run.tags))}, TensorFlow {tensorflow}. {measured}"
        f"{100 * found.exact_match:.1f} % of {len(found.sums)} held-out {run.config.noun} right.\n"
        + "".join(f"\nNote: {note}.\n" for note in run.notes)
    )


def _health(inspection: Inspection) -> str:
    if not inspection.warnings:
        return "No warnings.\n\n"
    return "Warnings:\n\n" + "".join(f"- {warning}\n" for warning in inspection.warnings) + "\n"


def _question(folder: ReportFolder, traced: Trace, seen_in_training: str) -> str:
    name = folder_of(traced.question.text)
    caption = trace_line(traced, seen_in_training)
    verdict = "right" if traced.right else "wrong"
    asked = markup.escape(traced.question.text)
    text = f"## {asked.replace('+', ' + ')}\n\n{markup.escape(caption).replace(verdict, f'**{verdict}**')}\n\n"
    rows = [[markup.escape(each) for each in row] for row in character_rows(traced)]
    lines = [[*row[:5], row[5] if row[1] == row[5] else f"**{row[5]}**", row[6]] for row in rows]
    text += markup.table(CHARACTERS_HEADER, lines)
    drawn = question_figures(traced, seen_in_training)
    text += "\n" + folder.picture(drawn.pop("layers"), f"{name}/layers", f"output of each layer for {asked}")
    for layer, steps in drawn.items():
        text += f"### {layer}, step by step\n\nComputed from the layer's weights, and checked against its output.\n\n"
        text += folder.picture(steps, f"{name}/{layer}", f"gates and states of {layer} at each step")
    folder.table(characters_table(traced), f"{name}/answer")
    return text


def question_figures(traced: Trace, seen_in_training: str) -> dict[str, Figure]:
    """Draws a question: ``layers``, the output of each layer, and by its name each recurrent layer, step by step."""
    panels = [question_heatmap(traced), *layer_heatmaps([traced])[0]]
    found = {"layers": heatmaps.sheet(panels, trace_line(traced, seen_in_training))}
    for layer in traced.gates:
        title = f"{traced.question.text}: {layer}, step by step"
        found[layer] = heatmaps.sheet(step_heatmaps(traced, layer), title)
    return found


def _changed(folder: ReportFolder, traced: Trace, changed: Changed) -> str:
    if traced.question.text not in changed.traces:
        return ""
    words, traces = zip(("unchanged", traced), *changed.traces[traced.question.text], strict=True)
    drawn, name = heatmaps.grid(layer_heatmaps(traces), words, traced.summary), folder_of(traced.question.text)
    return "### With changed states\n\n" + folder.picture(drawn, f"{name}/changed", "each layer with changed states")


def _units_off(folder: ReportFolder, inspection: Inspection) -> str:
    if not inspection.changed.without:
        return ""
    found, without = inspection.held_out, pd.DataFrame(inspection.changed.without)
    folder.table(without, "units")
    drawn = figures.units(without, found.exact_match, f"{inspection.run.name}: accuracy without each unit")
    return "### Each unit off\n\n" + folder.picture(drawn, "units", "accuracy without each unit")


def _answers(folder: ReportFolder, run: TrainedRun, found: HeldOut) -> str:
    text, noun = "## Errors\n\n", run.config.noun
    shown = figures.accuracies(
        found.by_position, found.by_group, f"{run.name}: held-out {noun}", reverse_answer=run.notation.reverse_answer
    )
    groups = "".join(f", and by number of {name}" for name in found.by_group)
    text += folder.picture(shown, "accuracies", f"accuracy by position in the answer{groups}")
    text += folder.picture(
        heatmaps.sheet([confusion_heatmap(found.confusion)], f"{run.name}: confused characters"),
        "confusion", "how often each character was predicted for another",
    )  # fmt: skip
    hardest = error_analysis.hardest(found.sums, _HARDEST)
    text += (
        f"### The hardest\n\nThe {len(hardest)} held-out {noun} whose right answers have the lowest probability.\n\n"
    )
    text += markup.table(
        ["question", "answer", "p", "predicted", "p", "", "least certain position", *found.by_group],
        [
            [*map(markup.escape, (row['question'], row['answer'])), _probability(row['p_answer']),
             markup.escape(row['guess']), _probability(row['p_guess']),
             "**right**" if row['right'] else "**wrong**", str(row['place']),
             *(str(row[name]) for name in found.by_group)]
            for row in hardest.to_dict("records")
        ],
    )  # fmt: skip
    text += f"\nAll held-out {noun} are in `predictions.csv`.\n\n"
    folder.table(found.sums, "predictions")
    folder.table(hardest, "hardest")
    folder.table(found.by_position, "by_place")
    for name, table in found.by_group.items():
        folder.table(table, f"by_{name}")
    folder.table(found.confusion, "confusion", index=True)
    return text


def _probability(p: float) -> str:
    return f"{p:.4f}" if p >= 0.0001 else "< 0.0001"


def confusion_heatmap(confusion: pd.DataFrame) -> Heatmap:
    """Returns a heatmap of confused characters; right guesses, nearly all of them, are left blank."""
    counts = confusion.to_numpy(float, copy=True)
    np.fill_diagonal(counts, np.nan)
    most = max(float(np.nanmax(counts, initial=0.0)), 1.0)
    return Heatmap(
        name="confusion",
        title="confused characters (grey: right)",
        values=counts,
        limits=(0.0, most),
        rows=visible("".join(confusion.index)),
        columns=visible("".join(confusion.index)),
        row_axis="right",
        column_axis="predicted",
        scale="characters",
        written=".0f",
    )


def weights_table(weights: Mapping[str, Array]) -> pd.DataFrame:
    """Returns a row for each array: ``name``, ``shape``, ``values``, ``mean``, ``std``, ``least``, ``greatest``."""
    return pd.DataFrame(
        [
            {
                "name": name,
                "shape": " x ".join(map(str, values.shape)),
                "values": values.size,
                "mean": float(values.mean()),
                "std": float(values.std()),
                "least": float(values.min()),
                "greatest": float(values.max()),
            }
            for name, values in weights.items()
        ]
    )


def weights_text(weights: Mapping[str, Array]) -> str:
    """Formats every array as the article prints it: name, shape, all values, without scientific notation."""
    with np.printoptions(formatter={"float_kind": "{: .4f}".format}, linewidth=110, threshold=sys.maxsize):
        return "\n".join(f"{name} {values.shape}\n{values}\n" for name, values in weights.items())


def _weights(folder: ReportFolder, inspection: Inspection) -> str:
    table = weights_table(inspection.weights)
    folder.table(table, "weights")
    (folder.path / "weights.txt").write_text(weights_text(inspection.weights), encoding="utf-8", newline="\n")
    text = "## Weights\n\n" + markup.table(
        ["array", "shape", "mean", "std", "least", "greatest"],
        [
            [row["name"], row["shape"], *(f"{row[key]:.4f}" for key in ("mean", "std", "least", "greatest"))]
            for row in table.to_dict("records")
        ],
    )
    text += "\nAll values are in `weights.txt`, in the article's format.\n\n"
    drawn = figures.histograms(inspection.weights, f"{inspection.run.name}: weights")
    text += folder.picture(drawn, "weights", "histogram of each array of weights")
    if inspection.saturation.empty:
        return text
    summary = diagnostics.summary(inspection.saturation)
    folder.table(inspection.saturation, "saturation")
    text += (
        "## Saturation\n\nThe share of saturated values, over all steps of the held-out "
        f"{inspection.run.config.noun}. A gate saturates below "
        "0.1 and above 0.9, a state or candidate below -0.9 and above 0.9.\n\n"
        "A *stuck* unit is saturated at one limit in more than 99 % of steps. A *constant* unit varies by less than "
        "0.01.\n\n"
    )
    text += markup.table(
        ["layer", "part", "units", "at the lower limit", "at the upper limit", "stuck", "constant"],
        [
            [row["layer"], row["part"], str(row["units"]), f"{row['low']:.3f}", f"{row['high']:.3f}",
             str(row["stuck"]), str(row["still"])]
            for row in summary.to_dict("records")
        ],
    )  # fmt: skip
    shown = figures.saturation(inspection.saturation, f"{inspection.run.name}: one mark per unit")
    return text + "\n" + folder.picture(shown, "saturation", "share of saturated values of each unit")


def write_comparison(
    comparison: Comparison,
    path: Path,
    notify: Callable[[str], None] = lambda name: None,
    store: str = "",
    published: Path | None = None,
) -> list[str]:
    """Writes figures, tables and page of a comparison; epochs of one run become an animation too.

    Args and result: as ``write_inspection``.
    """
    folder = ReportFolder(path, notify)
    noun = "sums" if all(run.config.noun == "sums" for run in comparison.runs) else "questions"
    text = f"# {markup.sanitize(_title(comparison))}\n\n"
    text += markup.table(
        ["", "run", f"held-out {noun} right"],
        [[label, f"{markup.sanitize(run.name)}, `{markup.sanitize(run.run_id)}`", f"{100 * found.exact_match:.1f} %"]
         for label, run, found in zip(comparison.labels, comparison.runs, comparison.held_out, strict=True)],
    )  # fmt: skip
    for label, run in zip(comparison.labels, comparison.runs, strict=True):
        text += "".join(f"\nNote on {label}: {note}.\n" for note in run.notes)
    for each in comparison.traces:
        text += folder.question(each[0].question.text, comparison.runs, _side_by_side(folder, comparison, each))
    text += folder.earlier(published, comparison.runs)
    text += "\n## Errors\n\n"
    names = dict.fromkeys(name for found in comparison.held_out for name in found.by_group)
    groups = "".join(f" by number of {name}," for name in names) + " and" * bool(names)
    text += f"Shares of right characters by position in the answer; of right {noun}{groups} overall.\n\n"
    header, lines = accuracies(comparison.labels, comparison.held_out)
    text += markup.table(header, lines) + "\n## Saturation\n\n"
    folder.table(pd.DataFrame(lines, columns=["of", *header[1:]]), "accuracies")
    text += f"The share of saturated values, and the number of stuck units, over the held-out {noun}.\n\n"
    text += _saturations(folder, comparison)
    for label, warnings in zip(comparison.labels, comparison.warnings, strict=True):
        text += "".join(f"\n- {label}: {warning}" for warning in warnings)
    text += "\n" + _again(comparison.runs, folder.questions, store)
    folder.page(text, _title(comparison))
    return folder.questions


def _title(comparison: Comparison) -> str:
    if comparison.of_one_run:
        return f"{comparison.runs[-1].name}: {len(comparison.runs)} epochs side by side"
    return f"{len(comparison.runs)} runs side by side: {'; '.join(comparison.labels)}"


def _grids(comparison: Comparison) -> list[list[int]]:
    """Returns the runs (index) in each grid: all runs in several grids, or evenly spaced epochs of one run in one."""
    n = len(comparison.runs)
    if comparison.of_one_run and n > _COLUMNS:
        return [sorted({round(at * (n - 1) / (_COLUMNS - 1)) for at in range(_COLUMNS)})]
    return [list(range(first, min(first + _COLUMNS, n))) for first in range(0, n, _COLUMNS)]


def _side_by_side(folder: ReportFolder, comparison: Comparison, each: Sequence[Trace]) -> str:
    question = each[0].question.text
    name = folder_of(question)
    lines, answers = [], []
    for run, traced, label in zip(comparison.runs, each, comparison.labels, strict=True):
        characters = characters_table(traced)
        answers.append(characters.assign(of=label))
        p_answer = _probability(float(characters["p_answer"].to_numpy(float).prod()))
        verdict = "**right**" if traced.right else "**wrong**"
        seen = run.seen_in_training(question)
        lines.append([label, markup.escape(traced.readable_guess), verdict, p_answer, markup.escape(seen)])
    answer = each[0].question.right_answer
    asked = markup.escape(question)
    text = f"\n## {asked.replace('+', ' + ')}\n\nThe right answer is {markup.escape(answer)}.\n\n"
    text += markup.table(["", "predicted", "", "p of the right answer", "in training"], lines) + "\n"

    # Layers of the same name are compared; the cell's name in a layer's name is replaced by "cell" for that.
    names = [
        {layer: layer.replace(run.config.model_name, "cell") for layer in traced.outputs}
        for run, traced in zip(comparison.runs, each, strict=True)
    ]
    panels = layer_heatmaps(each, names)
    grids = _grids(comparison)
    for number, shown in enumerate(grids, start=1):
        columns = [[question_heatmap(each[at]), *panels[at]] for at in shown]
        grid = heatmaps.grid(columns, [comparison.labels[at] for at in shown], f"{question} = {answer}")
        file = f"{name}/side_by_side" + (f"_{number}" if number > 1 else "")
        text += folder.picture(grid, file, f"output of each layer for {asked}, side by side")
    if sum(map(len, grids)) < len(each):
        text += f"{sum(map(len, grids))} of the {len(each)} epochs are shown; the animation shows all:\n\n"
    folder.table(pd.concat(answers), f"{name}/answer")
    if comparison.of_one_run:
        text += _animation(folder, comparison, each, panels, f"{name}/learning.gif")
    return text


def _animation(
    folder: ReportFolder, comparison: Comparison, each: Sequence[Trace], panels: Sequence[Sequence[Heatmap]], name: str
) -> str:
    """Writes an animation of all epochs, on the same scales; returns the Markdown that shows it."""
    from PIL import Image

    frames = []
    for traced, of_view, label in zip(each, panels, comparison.labels, strict=True):
        drawn = io.BytesIO()
        title = f"{label}: {traced.summary}"
        heatmaps.sheet([question_heatmap(traced), *of_view], title).savefig(drawn, format="png", dpi=80)
        frames.append(Image.open(drawn).convert("RGB"))
    pause = 700  # milliseconds
    frames[0].save(
        folder.path / name, format="gif", save_all=True, append_images=frames[1:], loop=0,
        duration=[pause] * (len(frames) - 1) + [4 * pause],
    )  # fmt: skip
    folder.pictures.append(name)
    return f"![output of each layer, epoch by epoch]({name})\n"


def _saturations(folder: ReportFolder, comparison: Comparison) -> str:
    each = [summary.assign(of=label) for summary, label in zip(comparison.saturation, comparison.labels, strict=True)]
    every = pd.concat(each)[["of", "layer", "part", "units", "low", "high", "stuck", "still"]]
    folder.table(every, "saturation")
    return markup.table(
        ["", "layer", "part", "saturated", "stuck", "constant"],
        [
            [row["of"], row["layer"], row["part"], f"{row['low'] + row['high']:.3f}",
             f"{row['stuck']} of {row['units']}", str(row["still"])]
            for row in every.to_dict("records")
        ],
    )  # fmt: skip
