"""Checks that committed results follow from curves, values, runs, code and store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from seqadd.claims import committed_curves, results
from seqadd.claims.claim import Claim
from seqadd.claims.measurements import collected, counting, found_runs, measured, runs_in, values_of
from seqadd.claims.outputs import OF_THE_NUMBERS, OF_THE_PLACE, OF_THE_SUMS, ceilings_of, shown_by, texts, what_is_shown
from seqadd.errors import ConfigError
from seqadd.system.files import resource_dir
from seqadd.tracking.provenance import code_version
from seqadd.training.fingerprint import equivalent_codes

if TYPE_CHECKING:
    import pandas as pd

    from seqadd.tracking.store import Store


def check_folder(claim: Claim) -> list[str]:
    """Returns the inconsistencies between the files of a claim's folder and the code, a line each; opens no store.

    If curves.csv.gz has all runs, every file must follow from it; if not, from values and runs.
    """
    try:
        rows, runs = results.read_rows(claim.folder), results.read_runs(claim.folder)
        every = committed_curves.read(claim.folder / committed_curves.NAME)
        epochs = counting(claim, every, by_any_code=True)
    except ConfigError as error:
        return [str(error)]
    problems = _check_runs(claim, runs)
    others = len(every.drop_duplicates(["condition", "seed"])) - len(runs_in(claim, epochs))
    if others:
        problems.append(f"{committed_curves.NAME}: {others} runs differ from sweep.yaml and the defaults")
    if len(rows) != len(claim.statements):
        return [*problems, f"reproduced.csv has {len(rows)} statements, published.csv {len(claim.statements)}"]
    values = [results.written_values(text) for text in rows["values"]]
    problems += _check_seeds(claim, values)
    whole = len(runs_in(claim, epochs)) == len(claim.jobs)
    if whole:
        read = measured(claim, epochs)
        values, runs = values_of(claim, read.curves), read.runs
    again = texts(claim, results.results(claim, values, runs), runs, ceilings_of(claim), whole=whole)
    return [*problems, *_check_outputs(claim, again, epochs if whole else None)]


def _check_runs(claim: Claim, runs: pd.DataFrame) -> list[str]:
    """Returns what is wrong with the rows of runs.csv, a line each."""
    problems = []
    wanted = {
        (condition.label, str(job.seed)): str(job.epochs) for condition in claim.conditions for job in condition.jobs
    }
    there = {(label, seed): epochs for label, seed, epochs in runs[["condition", "seed", "epochs"]].to_numpy()}
    if wanted != there:
        absent, surplus = len(wanted.items() - there.items()), len(there.items() - wanted.items())
        problems.append(f"runs.csv lacks {absent} runs of sweep.yaml and has {surplus} that are not in it")
    codes = sorted(set(runs["code"]) - equivalent_codes())
    if codes:
        others = len(runs[runs["code"].isin(codes)])
        problems.append(f"runs.csv: {others} runs were made by other code than this ({', '.join(codes)})")
    return problems


def _check_seeds(claim: Claim, values: Sequence[Mapping[int, float]]) -> list[str]:
    """Returns the rows of reproduced.csv with values for other seeds than the claim's, a line each."""
    problems = []
    for line, (statement, by_seed) in enumerate(zip(claim.statements, values, strict=True), start=2):
        seeds = {job.seed for job in claim.conditions[statement.condition].jobs}
        if not by_seed.keys() <= seeds or (statement.relation != "" and by_seed.keys() != seeds):
            problems.append(f"reproduced.csv: line {line}: has values for other seeds than sweep.yaml")
    return problems


def _check_outputs(claim: Claim, again: dict[str, str], epochs: pd.DataFrame | None) -> list[str]:
    """Returns the files of a claim that differ from the recomputed ones, a line each.

    Args:
        claim: whose folder is checked.
        again: the recomputed texts, by file name.
        epochs: the curves, if they have all runs; None if pictures must follow from the texts alone.
    """
    problems = []
    for name, text in again.items():
        path = claim.folder / name
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            problems.append(f"{name} does not follow from {'values and runs' if epochs is None else 'the curves'}")
    for name in claim.settings.figures:
        if shown_by(claim.folder / name) != what_is_shown(claim, name, again, epochs):
            problems.append(f"{name} is missing, or shows other values")
    return problems


def uncommitted(claim: Claim) -> list[str]:
    """Returns a line if runs of a claim of this project's clone were made by uncommitted code; else an empty list.

    Outside a clone, and for a user's own claims, the digest of the code identifies it: see ``check_folder``.
    """
    if claim.folder.resolve().parent != resource_dir("experiments") or code_version()[1] != "true":
        return []
    try:
        changed = results.read_runs(claim.folder)["commit"].str.endswith("with changes").sum()
    except ConfigError:
        return []  # check_folder reports it
    problems = f"runs.csv: {changed} runs were made by uncommitted code; commit src, conf and pyproject.toml"
    return [problems] if changed else []


def check_store(store: Store, claim: Claim) -> tuple[list[str], int]:
    """Compares a claim's folder with the store; returns the differences, a line each, and the number of runs compared.

    Another machine or other versions round differently; for runs trained there only epochs and data set are compared.
    """
    found = found_runs(store, claim)
    read = measured(claim, collected(store, claim, found, committed_curves.empty()))
    try:
        rows, runs = results.read_rows(claim.folder), results.read_runs(claim.folder)
    except ConfigError:
        return [], len(found)  # check_folder reports it
    problems = []
    then = {(row["condition"], row["seed"]): row for row in runs.to_dict("records")}
    same: set[tuple[str, str]] = set()
    for now in read.runs.to_dict("records"):
        where = now["condition"], now["seed"]
        row = then.get(where, now)
        if all(row[name] == now[name] for name in OF_THE_PLACE):
            same.add(where)
        other = [name for name in (OF_THE_NUMBERS if where in same else OF_THE_SUMS) if row[name] != now[name]]
        if other:
            problems.append(f"runs.csv: {where[0]} seed {where[1]}: differs from the store in {', '.join(other)}")
    for line, (statement, values, text) in enumerate(
        zip(claim.statements, values_of(claim, read.curves), rows["values"], strict=False), start=2
    ):
        written = results.written_values(text)
        of = {statement.condition, *([statement.than[0]] if statement.than else [])}
        seeds = [
            str(seed)
            for seed, value in values.items()
            if all((claim.conditions[index].label, str(seed)) in same for index in of)
            and written.get(seed) != round(value, 6)
        ]
        if seeds:
            problems.append(
                f"reproduced.csv: line {line}: {statement.metric}: differs from the store for seed {', '.join(seeds)}"
            )
    return problems, len(same)
