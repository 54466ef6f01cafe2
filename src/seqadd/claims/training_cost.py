"""Estimates how long a claim's runs take to train."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from seqadd.claims import results, tables
from seqadd.claims.claim import Claim
from seqadd.config.cost import seconds_per_epoch
from seqadd.config.schema import Config
from seqadd.errors import ConfigError

if TYPE_CHECKING:
    from seqadd.tracking.store import Store

#: Seconds of a run beside its epochs: imports and compilation (benchmarks/fixed_cost.py).
_SECONDS_BESIDE = 10.0


@dataclass(frozen=True)
class Cost:
    """What training a claim's missing runs costs.

    Attributes:
        missing: how many runs are missing.
        seconds: about how many seconds of one processor they take.
        trained_for: of each missing run that an earlier claim trains, so that it costs nothing more, that claim's name.
    """

    missing: int
    seconds: float
    trained_for: Sequence[str]

    def __str__(self) -> str:
        """``5 missing, trained for cells above``, or ``5 missing, about 3 min of one processor``."""
        shared, cost = len(self.trained_for), f"about {tables.duration(self.seconds)} of one processor"
        owners = f"trained for {', '.join(dict.fromkeys(self.trained_for))} above"
        if not self.missing:
            return "0 missing"
        if shared == self.missing:
            return f"{self.missing} missing, {owners}"
        return f"{self.missing} missing, {f'{shared} of them {owners}, the others ' if shared else ''}{cost}"


def training_cost(
    claim: Claim, jobs: Sequence[Config], store: Store | None, trained: dict[str, tuple[int, str]]
) -> Cost:
    """Estimates what training some of a claim's runs costs, from earlier measurements if there are any.

    Args:
        claim: the claim of these runs.
        jobs: the runs.
        store: may have shorter runs that these extend; None if there is no store yet.
        trained: epochs that earlier claims will have trained, and the claim's name, by trajectory; this claim's are
            added.
    """
    known: dict[str, float] = {}
    with suppress(ConfigError):
        for label, of_label in results.read_runs(claim.folder).groupby("condition"):
            known[str(label)] = statistics.median(map(float, of_label["seconds_per_epoch"]))
    labels = {condition.config.condition_hash(): condition.label for condition in claim.conditions}
    needed, trained_for = 0.0, []
    for job in jobs:
        earlier, owner = trained.get(job.trajectory_hash(), (0, ""))
        if earlier >= job.epochs:
            trained_for += [owner] if owner != claim.name else []
            continue
        behind = [int(run.params["epochs"]) for run in (store.shorter_runs(job)[:1] if store else [])]
        trained[job.trajectory_hash()] = job.epochs, claim.name
        left = job.epochs - max(earlier, *behind, 0)
        needed += _SECONDS_BESIDE + left * known.get(labels[job.condition_hash()], seconds_per_epoch(job))
    return Cost(len(jobs), needed, trained_for)
