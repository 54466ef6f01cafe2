"""Collects a claim's runs from the store and from its file of curves, and measures its statements."""

from __future__ import annotations

import math
from collections.abc import Container, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from seqadd.claims import figures, results
from seqadd.claims.claim import Claim, Statement, base_metric
from seqadd.claims.committed_curves import NAME, of_run, read, read_all, write
from seqadd.config.schema import Config
from seqadd.reporting.markup import sanitize
from seqadd.tracking.provenance import origin
from seqadd.training.fingerprint import equivalent_codes

if TYPE_CHECKING:
    import pandas as pd

    from seqadd.tracking.store import RunRecord, Store

#: A run by condition (index) and seed.
Found = dict[tuple[int, int], "RunRecord"]


@dataclass(frozen=True)
class Measured:
    """The results of a claim's runs.

    Attributes:
        runs: the rows of runs.csv.
        curves: values by epoch for each condition (index), seed and metric.
    """

    runs: pd.DataFrame
    curves: dict[tuple[int, int, str], dict[int, float]]


def found_runs(store: Store, claim: Claim) -> Found:
    """Finds a finished run for each condition and seed, with at least as many epochs as the claim needs.

    The run's code is the current code or gives the same numbers. Of several runs the shortest counts, so that another
    claim's longer runs change nothing; of these the newest.
    """
    found: Found = {}
    good = equivalent_codes()
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


def counting(claim: Claim, rows: pd.DataFrame, *, by_any_code: bool = False) -> pd.DataFrame:
    """Returns the rows that count for a claim, in its order and with its labels, cut to its epochs.

    A run counts if it has at least as many epochs as the claim needs, and its code is the current code or gives the
    same numbers.

    Args:
        claim: defines conditions, seeds and epochs.
        rows: as ``committed_curves.read`` returns them; if a run occurs more than once, its last rows count.
        by_any_code: whether runs by other code count too.
    """
    import pandas as pd

    good = rows if by_any_code else rows[rows["code"].isin(equivalent_codes())]
    good = good.drop_duplicates(["condition_hash", "seed", "epoch"], keep="last").sort_values("epoch", kind="stable")
    of_runs = dict(iter(good.groupby(["condition_hash", "seed"])))
    parts = []
    for condition in claim.conditions:
        for job in condition.jobs:
            of_run = of_runs.get((condition.config.condition_hash(), job.seed), good.iloc[:0])
            if len(of_run) >= job.epochs:
                parts.append(of_run[of_run["epoch"] <= job.epochs].assign(condition=condition.label))
    return pd.concat(parts, ignore_index=True).dropna(axis="columns", how="all") if parts else rows.iloc[:0]


def committed(chosen: Sequence[Claim]) -> dict[str, pd.DataFrame]:
    """Returns the committed rows of each claim by its name, from its own file and those of claims that share its runs.

    Raises:
        ConfigError: when a file is damaged.
    """
    import pandas as pd

    files = {folder: read_all(folder) for folder in {claim.folder.parent for claim in chosen}}
    found = {}
    for claim in chosen:
        wanted = {condition.config.condition_hash() for condition in claim.conditions}
        every = [files[claim.folder.parent], read(claim.folder / NAME)]
        # Of all claims' rows, which are hundreds of thousands, only those of its conditions are copied and sorted.
        own = pd.concat([rows[rows["condition_hash"].isin(wanted)] for rows in every], ignore_index=True)
        found[claim.name] = counting(claim, own)
    return found


def runs_in(claim: Claim, rows: pd.DataFrame) -> set[tuple[int, int]]:
    """Returns the conditions (index) and seeds that have rows."""
    index = {condition.label: n for n, condition in enumerate(claim.conditions)}
    return {(index[label], int(seed)) for label, seed in rows[["condition", "seed"]].drop_duplicates().to_numpy()}


def missing_jobs(claim: Claim, there: Container[tuple[int, int]]) -> list[Config]:
    """Returns the runs of a claim that have yet to be trained."""
    return [
        job
        for index, condition in enumerate(claim.conditions)
        for job in condition.jobs
        if (index, job.seed) not in there
    ]


def collected(store: Store, claim: Claim, found: Found, rows: pd.DataFrame) -> pd.DataFrame:
    """Returns a claim's rows together with the rows of further runs in the store, in the claim's order.

    Args:
        store: holds the runs ``found``.
        claim: the claim of the runs.
        found: the runs of the store, see ``found_runs``.
        rows: the rows so far, see ``counting``.
    """
    import pandas as pd

    missing = {where: run for where, run in found.items() if where not in runs_in(claim, rows)}
    wanted = [(run.run_id, metric) for run in missing.values() for metric in sorted(run.metrics)]
    histories = dict(zip(wanted, store.histories(wanted), strict=True))
    parts = [rows]
    for (index, seed), run in missing.items():
        condition = claim.conditions[index]
        (epochs,) = (job.epochs for job in condition.jobs if job.seed == seed)
        about: dict[str, str | int] = {
            "condition": condition.label,
            "condition_hash": condition.config.condition_hash(),
            "seed": seed,
            # For a longer run: the digest of its final weights, not of those after ``epochs``.
            "weights_sha256": sanitize(run.tags.get("weights_sha256", "unknown")),
            "data_digest": sanitize(run.tags.get("data_digest", "unknown")),
            "code": sanitize(run.tags.get("code", "unknown")),
            "commit": sanitize(origin(run.tags)),
            "versions": sanitize(f"TensorFlow {run.tags.get('tensorflow')}, Keras {run.tags.get('keras')}"),
            "machine": sanitize(run.tags.get("machine", "unknown machine")),
        }
        parts.append(of_run({name: histories[run.run_id, name] for name in run.metrics}, epochs, about))
    return counting(claim, pd.concat(parts, ignore_index=True)) if missing else rows


class Collection:
    """The rows of a claim's runs; ``collect`` adds the rows of newly finished runs.

    Attributes:
        claim: the claim of the runs.
        rows: the rows so far, see ``counting``.

    Args:
        claim: the claim of the runs.
        rows: the initial rows.
        store: may have more runs; None if there is no store.
        keeps: whether ``collect`` also writes the claim's file of curves.
    """

    def __init__(self, claim: Claim, rows: pd.DataFrame, store: Store | None, *, keeps: bool) -> None:
        self.claim = claim
        self.rows = rows
        self._store = store
        self._keeps = keeps

    @property
    def missing(self) -> list[Config]:
        """The runs that have yet to be trained."""
        return missing_jobs(self.claim, runs_in(self.claim, self.rows))

    def collect(self) -> None:
        """Adds the rows of runs that only the store has.

        Raises:
            CannotWrite: names the file of curves.
        """
        if self._store is not None and self.missing:
            self.rows = collected(self._store, self.claim, found_runs(self._store, self.claim), self.rows)
        if self._keeps and len(self.rows):
            write(self.claim.folder / NAME, self.rows)


def measured(claim: Claim, rows: pd.DataFrame) -> Measured:
    """Converts the rows of a claim's runs to the rows of runs.csv and to curves."""
    import pandas as pd

    metrics = [metric for metric in figures.metrics_of(claim) if metric in rows]
    where = [(index, job) for index, condition in enumerate(claim.conditions) for job in condition.jobs]
    runs: list[dict[str, str]] = []
    of_runs: dict[tuple[int, int, str], dict[int, float]] = {}
    for index, job in where:
        label = claim.conditions[index].label
        of_run = rows[(rows["condition"] == label) & (rows["seed"] == job.seed)].set_index("epoch")
        if of_run.empty:
            continue
        for metric in metrics:
            of_runs[index, job.seed, metric] = of_run[metric].dropna().to_dict()  # type: ignore[assignment]
        about = {name: str(value) for name, value in of_run.iloc[0].items() if name in results.RUN}
        about |= {
            "seed": str(job.seed),
            "epochs": str(job.epochs),
            "seconds_per_epoch": f"{of_run['seconds_per_epoch'].iloc[0]:.4f}",
            # So that other code can be compared with a run after two epochs, without training it to its end.
            "first_losses": " ".join(f"{loss:.9g}" for loss in of_run["loss"].iloc[:2]),
        }
        runs.append(about)
    return Measured(pd.DataFrame(runs, columns=list(results.RUN)), of_runs)


def values_of(claim: Claim, curves: figures.Curves) -> list[dict[int, float]]:
    """Returns for each statement, by seed, the value of its metric or the difference between its two conditions."""
    values = []
    for statement in claim.statements:
        metric = base_metric(statement.metric)

        def value(condition: int, seed: int, epochs: int, statement: Statement = statement,
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
