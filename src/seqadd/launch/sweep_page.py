"""What MLflow's page of a sweep shows: a table of its jobs, the best and the mean of their results, their curves."""

from __future__ import annotations

import csv
import io
import math
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from seqadd.config.schema import Config, override_text
from seqadd.reporting import markup
from seqadd.system.files import atomic_write
from seqadd.training.metric_names import shown_first

if TYPE_CHECKING:
    from seqadd.tracking.recording import RunRecorder
    from seqadd.tracking.store import RunRecord, Store

_METRICS = ("val_acc", "val_exact_match", "acc", "loss", "val_loss")
_SUMMARIZED = ("val_acc", "val_exact_match")
_ROWS_IN_DESCRIPTION = 20  # MLflow limits a description's length
_CURVES = 200  # of more jobs no picture is drawn

FINISHED, SKIPPED, PRUNED, FAILED, STOPPED, UNKNOWN = "finished", "skipped", "pruned", "failed", "stopped", "no run"
ELSEWHERE = "recorded elsewhere"  # in another store or experiment than the sweep


@dataclass(frozen=True)
class JobRow:
    """A job in the table of its sweep.

    Attributes:
        label: its name.
        state: one of the states above; ``skipped`` if it was finished before the sweep.
        run_id: empty if it has no run.
        epoch: its last epoch.
        metrics: its last metrics.
        settings: the values of the keys that differ between the jobs.
    """

    label: str
    state: str
    run_id: str = ""
    epoch: str = ""
    metrics: Mapping[str, float] = field(default_factory=dict)
    settings: Mapping[str, str] = field(default_factory=dict)

    @property
    def counts(self) -> bool:
        """Whether its results are those of a whole training."""
        return self.state in (FINISHED, SKIPPED)


def show_sweep(
    store: Store,
    parent: RunRecorder,
    labels: Sequence[str],
    configs: Sequence[Config],
    skipped: Mapping[int, str],
    *,
    draws: bool,
) -> None:
    """Records the table, metrics, description and curves of a sweep in its parent run.

    Args:
        store: that of the parent run.
        parent: the parent run, open.
        labels: the name of each job.
        configs: the configuration of each job.
        skipped: the jobs that did not run, each with the id of its finished run, or another text.
        draws: whether there is time for the picture.

    Raises:
        STORE_ERRORS: when the store cannot be read.
        CannotWrite: when a file cannot be written.
    """
    rows = job_rows(labels, configs, skipped, store.runs_of_sweep(parent.run_id, sorted(skipped.values())))
    parent.log_text(to_csv(rows, _METRICS), "table.csv")
    parent.log_text(to_markdown(rows, _SUMMARIZED), "table.md")
    if summary := summarized(rows):
        parent.log_epoch({"epoch": float(sum(row.counts for row in rows)), **summary})
    if parent.description is not None:
        parent.description.how = f"{len(rows)} jobs: {state_counts(rows)}."
        parent.description.below = best_first(rows, _SUMMARIZED, store.experiment_id)
    with_curves = [row for row in rows if "val_acc" in row.metrics]
    if draws and 0 < len(with_curves) <= _CURVES:
        from seqadd.reporting.sweep_figure import sweep_curves

        metric = shown_first(configs) or "val_acc"
        histories = store.histories([(row.run_id, metric) for row in with_curves])
        values = [row.settings or {"cell": configs[0].model_name} for row in with_curves]
        labels = [row.label for row in with_curves]
        figure = sweep_curves(list(zip(labels, values, histories, strict=True)), metric)
        # A matplotlibrc may need a program that is missing.
        with suppress(RuntimeError, ValueError), atomic_write(parent.artifact("curves.png")) as path:
            figure.savefig(path, dpi=120)


def job_rows(
    labels: Sequence[str], configs: Sequence[Config], skipped: Mapping[int, str], runs: Sequence[RunRecord]
) -> list[JobRow]:
    """Returns a row for each job, in their order; ``runs`` are the jobs' runs in the store, oldest first."""
    flat = [{key: override_text(value) for key, value in config.result_keys().items()} for config in configs]
    keys = dict.fromkeys(key for each in flat for key in each)  # keys of own parts are there only where they are chosen
    varied = [key for key in keys if len({each.get(key) for each in flat}) > 1]
    by_hash = {run.tags.get("config_hash"): run for run in runs}
    by_id = {run.run_id: run for run in runs}
    first = configs[0].tracking
    rows = []
    for index, (label, config) in enumerate(zip(labels, configs, strict=True)):
        settings = {key: flat[index].get(key, override_text(None)) for key in varied}
        if (config.tracking.uri, config.tracking.experiment) != (first.uri, first.experiment):
            rows.append(JobRow(label, ELSEWHERE, settings=settings))
            continue
        run = by_id.get(skipped[index]) if index in skipped else by_hash.get(config.config_hash())
        state = SKIPPED if index in skipped else UNKNOWN if run is None else _state(run)
        if run is None:
            rows.append(JobRow(label, state, settings=settings))
        else:
            values = {name: run.values[name] for name in _METRICS if name in run.values}
            epoch = str(config.epochs) if run.status == "FINISHED" else run.tags.get("pruned", "")
            rows.append(JobRow(label, state, run.run_id, epoch, values, settings))
    return rows


def _state(run: RunRecord) -> str:
    if "pruned" in run.tags:
        return PRUNED
    return {"FINISHED": FINISHED, "FAILED": FAILED}.get(run.status, STOPPED)


def state_counts(rows: Sequence[JobRow]) -> str:
    """Returns how many jobs are in each state: ``3 finished, 1 failed``."""
    n = Counter(row.state for row in rows)
    words = {SKIPPED: "skipped, as they were finished before"}
    states = (FINISHED, SKIPPED, PRUNED, FAILED, STOPPED, UNKNOWN, ELSEWHERE)
    return ", ".join(f"{n[state]} {words.get(state, state)}" for state in states if n[state])


def summarized(rows: Sequence[JobRow]) -> dict[str, float]:
    """Returns the metrics of a sweep: the best and the mean over its finished jobs, under names of their own."""
    found: dict[str, float] = {}
    for name in _SUMMARIZED:
        values = [row.metrics[name] for row in rows if row.counts and name in row.metrics]
        if values:
            found |= {f"sweep_best_{name}": max(values), f"sweep_mean_{name}": statistics.fmean(values)}
    return found


def to_csv(rows: Sequence[JobRow], metrics: Sequence[str]) -> str:
    """Returns the table as CSV: the keys that differ between jobs, then state, epoch, metrics and run id."""
    text = io.StringIO()
    keys = list(dict.fromkeys(key for row in rows for key in row.settings))
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*keys, "state", "epoch", *metrics, "run_id"])
    for row in rows:
        settings = [row.settings.get(key, "") for key in keys]
        values = [repr(row.metrics[name]) if name in row.metrics else "" for name in metrics]
        writer.writerow([*settings, row.state, row.epoch, *values, row.run_id])
    return text.getvalue()


def best_first(rows: Sequence[JobRow], metrics: Sequence[str], experiment_id: str, *, least: bool = False) -> str:
    """Returns the table for a description, with links: the best rows by the first metric, and how many are left out."""
    worst = math.inf if least else -math.inf
    ordered = sorted(rows, key=lambda row: row.metrics.get(metrics[0], worst), reverse=not least)
    left_out = len(ordered) - _ROWS_IN_DESCRIPTION
    more = f"\n{left_out} more are in the artifact table.md.\n" if left_out > 0 else ""
    return to_markdown(ordered[:_ROWS_IN_DESCRIPTION], metrics, experiment_id) + more


def to_markdown(rows: Sequence[JobRow], metrics: Sequence[str], experiment_id: str | None = None) -> str:
    """Returns the table in Markdown; with an experiment's id each job is a link to its run on MLflow's page."""
    lines = []
    for row in rows:
        values = [f"{row.metrics[name]:.4f}" if name in row.metrics else "" for name in metrics]
        run = row.run_id
        if run and experiment_id is not None:
            from seqadd.tracking.description import link

            run = link(run[:8], experiment_id, run)
        lines.append([row.label.replace("|", "\\|"), row.state, row.epoch, *values, run])
    return markup.table(["job", "state", "epoch", *metrics, "run"], lines)
