"""Estimates how long a claim's runs take to train."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from seqadd.claims import results
from seqadd.claims.claim import Claim
from seqadd.config.cost import seconds_per_epoch
from seqadd.config.schema import Config
from seqadd.errors import ConfigError

if TYPE_CHECKING:
    from seqadd.tracking.store import Store

#: Seconds of a run beside its epochs: imports and compilation (benchmarks/fixed_cost.py).
_SECONDS_BESIDE = 10.0


def seconds_needed(claim: Claim, jobs: Sequence[Config], store: Store | None, trained: dict[str, int]) -> float:
    """Estimates the seconds of one processor for some of a claim's runs, from earlier measurements if there are any.

    Args:
        claim: the claim of these runs.
        jobs: the runs.
        store: may have shorter runs that these extend; None if there is no store yet.
        trained: epochs that earlier claims will have trained, by trajectory; this claim's epochs are added.
    """
    known: dict[str, float] = {}
    with suppress(ConfigError):
        for label, of_label in results.read_runs(claim.folder).groupby("condition"):
            known[str(label)] = statistics.median(map(float, of_label["seconds_per_epoch"]))
    labels = {condition.config.condition_hash(): condition.label for condition in claim.conditions}
    needed = 0.0
    for job in jobs:
        behind = [int(run.params["epochs"]) for run in (store.shorter_runs(job)[:1] if store else [])]
        left = job.epochs - max(trained.get(job.trajectory_hash(), 0), *behind, 0)
        if left > 0:
            trained[job.trajectory_hash()] = job.epochs
            needed += _SECONDS_BESIDE + left * known.get(labels[job.condition_hash()], seconds_per_epoch(job))
    return needed
