"""Trains the missing runs of a claim, as a sweep."""

from __future__ import annotations

import dataclasses
import functools
from contextlib import suppress
from typing import TYPE_CHECKING

from seqadd.claims.measurements import Collection, runs_in
from seqadd.cli.console import print_line
from seqadd.errors import CannotWrite
from seqadd.launch.local import JobFailed, JobSucceeded, run_all
from seqadd.launch.own_parts import data_digests, prepare
from seqadd.launch.sweep import run_sweep

if TYPE_CHECKING:
    from seqadd.tracking.store import Store


def train_claim(store: Store, runs: Collection, at_once: int | None) -> None:
    """Trains the missing runs of a claim, as a sweep under one parent run; retrains those that other code trained.

    Args:
        store: the store that records the runs.
        runs: the runs of the claim; saved after each run.
        at_once: how many run at the same time; None for as many as processors and memory allow.

    Raises:
        JobsFailed: if some did not finish.
        DeliveryPending: if updates are not delivered to the store yet.
    """
    from seqadd.tracking import retry  # imported only now: MLflow takes seconds, and a refusal must come at once

    claim = runs.claim
    where = [(index, job) for index, condition in enumerate(claim.conditions) for job in condition.jobs]
    configs = [job for _, job in where]
    names = [
        f"{claim.conditions[index].label} seed={job.seed}" if len(claim.conditions) > 1 else f"seed={job.seed}"
        for index, job in where
    ]
    there = runs_in(claim, runs.rows)
    finished = {n: "in its curves" for n, (index, job) in enumerate(where) if (index, job.seed) in there}
    missing_ones = [n for n in range(len(configs)) if n not in finished]
    for n, config in zip(missing_ones, prepare([configs[n] for n in missing_ones], print_line), strict=True):
        configs[n] = config

    def ended(_: int, outcome: JobSucceeded | JobFailed) -> None:
        if isinstance(outcome, JobSucceeded):
            # Runs that cannot be saved now are collected again when all have ended.
            with suppress(*retry.STORE_ERRORS, CannotWrite):
                runs.collect()

    def launch(missing: list[int], parent_run_id: str) -> list[str]:
        chosen = []
        with data_digests() as digest:
            for n in missing:
                tracking = dataclasses.replace(configs[n].tracking, parent_run_id=parent_run_id, label=names[n])
                by_other_code = store.finished_run(configs[n], functools.partial(digest, configs[n])) is not None
                chosen.append(dataclasses.replace(configs[n], tracking=tracking, force=by_other_code))
        return run_all([names[n] for n in missing], chosen, at_once, ended)

    run_sweep(f"claim {claim.name}", claim.name, {"claim": claim.name, "jobs": len(configs)}, names, configs, launch,
              finished)  # fmt: skip
