"""What the store holds of a claim: which of its runs are there, their curves, and what its statements come to."""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING

from seqadd import claim_figures, claims, results
from seqadd.claims import Claim
from seqadd.codes import same_numbers
from seqadd.config import Config
from seqadd.pages import plain

if TYPE_CHECKING:
    import pandas as pd

    from seqadd.tracking import RecordedRun, Store

Found = dict[tuple[int, int], "RecordedRun"]


@dataclass(frozen=True)
class Measured:
    """What the store holds of a claim: a run for each condition (index) and seed, and its curves."""

    runs: pd.DataFrame
    curves: dict[tuple[int, int, str], dict[int, float]]


def found_runs(store: Store, claim: Claim) -> Found:
    """A finished run for each condition and seed that is as long as the claim needs it, by the code that is here now.

    Or by code that gives the same numbers. Of several the shortest, so that another claim's longer runs change nothing,
    and of these the newest.
    """
    found: Found = {}
    good = same_numbers()
    for index, condition in enumerate(claim.conditions):
        wanted = {job.seed: job.epochs for job in condition.jobs}
        for run in store.condition_runs(condition.config.condition_hash()):  # oldest first
            seed, epochs = int(run.params["seed"]), int(run.params["epochs"])
            if run.tags.get("code") not in good or epochs < wanted.get(seed, math.inf):
                continue
            before = found.get((index, seed))
            if before is None or epochs <= int(before.params["epochs"]):
                found[index, seed] = run
    return found


def missing_jobs(claim: Claim, found: Found) -> list[Config]:
    """The runs of a claim that have yet to be trained."""
    return [
        job
        for index, condition in enumerate(claim.conditions)
        for job in condition.jobs
        if (index, job.seed) not in found
    ]


def measured(store: Store, claim: Claim, found: Found) -> Measured:
    """Reads the runs of a claim from the store."""
    import pandas as pd

    metrics = sorted(claim_figures.metrics_of(claim))
    needed = list(dict.fromkeys([*metrics, "epoch_seconds", "loss"]))
    asked = [(run.run_id, metric) for run in found.values() for metric in needed]
    histories = dict(zip(asked, store.histories(asked), strict=True))
    rows, curves = [], {}
    for (index, seed), run in sorted(found.items()):
        condition = claim.conditions[index]
        (epochs,) = (job.epochs for job in condition.jobs if job.seed == seed)
        for metric in metrics:
            curve = histories[run.run_id, metric]
            curves[index, seed, metric] = {epoch: value for epoch, value in curve.items() if epoch <= epochs}
        took = [value for epoch, value in histories[run.run_id, "epoch_seconds"].items() if epoch <= epochs]
        losses = histories[run.run_id, "loss"]
        changed = " with changes" if run.tags.get("git_dirty") == "true" else ""
        rows.append(
            {
                "condition": condition.label,
                "seed": str(seed),
                "epochs": str(epochs),
                "seconds_per_epoch": f"{statistics.median(took):.4f}",
                # So that other code can be held against a run without training it to its end.
                "first_losses": " ".join(f"{losses[epoch]:.9g}" for epoch in (1, 2) if epoch in losses),
                # Of a longer run: those at its end.
                "weights_sha256": plain(run.tags.get("weights_sha256", "unknown")),
                "data_digest": plain(run.tags.get("data_digest", "unknown")),
                "code": plain(run.tags.get("code", "unknown")),
                "commit": plain(run.tags.get("git_commit", "unknown"))[:12] + changed,
                "versions": plain(f"TensorFlow {run.tags.get('tensorflow')}, Keras {run.tags.get('keras')}"),
                "machine": plain(run.tags.get("machine", "unknown machine")),
            }
        )
    return Measured(pd.DataFrame(rows, columns=list(results.RUN)), curves)


def values_of(claim: Claim, curves: claim_figures.Curves) -> list[dict[int, float]]:
    """For each statement by seed: what its metric came to, or the difference between its two conditions."""
    values = []
    for statement in claim.statements:
        metric = claims.base_metric(statement.metric)

        def value(condition: int, seed: int, epochs: int, statement: claims.Statement = statement,
                  metric: str = metric) -> float:  # fmt: skip
            return results.measure(statement.metric, dict(curves.get((condition, seed, metric), {})), epochs)

        by_seed = {
            job.seed: value(statement.condition, job.seed, statement.epochs)
            for job in claim.conditions[statement.condition].jobs
        }
        if statement.than is not None:
            other, epochs = statement.than
            by_seed = {seed: this - value(other, seed, epochs) for seed, this in by_seed.items()}
        values.append({seed: each for seed, each in by_seed.items() if not math.isnan(each)})
    return values
