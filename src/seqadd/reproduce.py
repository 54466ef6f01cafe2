"""Every claim of the article, brought up to date: runs what is missing, rewrites its results, gives its verdict.

    python -m seqadd.reproduce
    python -m seqadd.reproduce cells dense --dry-run
    python -m seqadd.reproduce --check

A claim is a folder of ``experiments/``; see ``claims.loading``.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import shlex
import statistics
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from seqadd.claims import committed_curves, loading, report, results, tables
from seqadd.claims.checks import check_folder, check_store, uncommitted
from seqadd.claims.claim import Claim
from seqadd.claims.measurements import (
    Collection,
    committed,
    counting,
    found_runs,
    measured,
    missing_jobs,
    runs_in,
    values_of,
)
from seqadd.claims.outputs import ceilings_of, read_ceilings, write
from seqadd.cli.console import print_line
from seqadd.cli.entry import add_version, command
from seqadd.config.cost import seconds_per_epoch
from seqadd.config.schema import Config, Tracking, known_keys
from seqadd.config.validation import check_machine
from seqadd.errors import CannotWrite, ConfigError, NotReproduced, StoreNotFound
from seqadd.launch.sweep import run_sweep
from seqadd.system import numeric_flags
from seqadd.system.files import resource_dir
from seqadd.tracking.database import check_database
from seqadd.tracking.run_filter import add_filter_options, run_filter_from
from seqadd.training.dataset import data_digest

if TYPE_CHECKING:
    from seqadd.tracking.store import Store

#: What a run takes beside its epochs: imports and compilation (benchmarks/fixed_cost.py).
_SECONDS_BESIDE = 10.0


def seconds_needed(claim: Claim, jobs: Sequence[Config], store: Store | None, trained: dict[str, int]) -> float:
    """About how many seconds of one processor some of a claim's runs take: as measured last time, else estimated.

    Args:
        claim: that they belong to.
        jobs: the runs.
        store: may have shorter runs that they go on from; None where there is none yet.
        trained: epochs that claims before this one will have trained, by trajectory; this one's are added.
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


def train(store: Store, runs: Collection, at_once: int | None) -> None:
    """Trains what is missing of a claim, as a sweep under one parent run; again, what other code has trained.

    Args:
        store: that records the runs.
        runs: of the claim; is kept after each that has ended.
        at_once: how many run at the same time; None for as many as there is room for.

    Raises:
        JobsFailed: when some did not finish.
        RecordWaits: when the store could not be told.
    """
    from seqadd.launch.local import JobFailed, JobSucceeded, run_all
    from seqadd.tracking import retry

    claim = runs.claim
    where = [(index, job) for index, condition in enumerate(claim.conditions) for job in condition.jobs]
    configs = [job for _, job in where]
    names = [
        f"{claim.conditions[index].label} seed={job.seed}" if len(claim.conditions) > 1 else f"seed={job.seed}"
        for index, job in where
    ]
    there = runs_in(claim, runs.rows)
    finished = {n: "in its curves" for n, (index, job) in enumerate(where) if (index, job.seed) in there}

    def ended(_: int, outcome: JobSucceeded | JobFailed) -> None:
        if isinstance(outcome, JobSucceeded):
            # What cannot be kept now is asked for again when all have ended.
            with suppress(*retry.STORE_ERRORS, CannotWrite):
                runs.collect()

    def launch(missing: list[int], parent_run_id: str) -> list[str]:
        chosen = []
        for n in missing:
            place = dataclasses.replace(configs[n].tracking, parent_run_id=parent_run_id)
            by_other_code = store.finished_run(configs[n], lambda n=n: data_digest(configs[n])) is not None  # type: ignore[misc]
            chosen.append(dataclasses.replace(configs[n], tracking=place, force=by_other_code))
        return run_all([names[n] for n in missing], chosen, at_once, ended)

    run_sweep(f"claim {claim.name}", claim.name, {"claim": claim.name, "jobs": len(configs)}, names, configs, launch,
              finished)  # fmt: skip


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line of ``python -m seqadd.reproduce``."""
    parser = argparse.ArgumentParser(
        prog="python -m seqadd.reproduce",
        allow_abbrev=False,  # --seed is --seeds to argparse, and hours of training
        description="Brings the claims of the article up to date: trains what is missing, writes results and report.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="examples:\n  python -m seqadd.reproduce\n  python -m seqadd.reproduce cells dense --dry-run\n"
        "  python -m seqadd.reproduce era --seeds 2\n  python -m seqadd.reproduce --check",
    )
    parser.add_argument(
        "claims",
        nargs="*",
        metavar="CLAIM",
        help="folders of experiments/ (default: all); tracking.KEY=VALUE says where runs are recorded",
    )
    parser.add_argument(
        "--seeds",
        type=int,
        metavar="N",
        help="seeds 0 to N-1 of each condition instead of the claim's own, for a first impression: the table is "
        "printed and nothing written",
    )
    parser.add_argument("--jobs", type=int, metavar="N", help="runs at once (default: one a core)")
    parser.add_argument(
        "--check",
        action="store_true",
        help="train and write nothing; say what of the results does not follow from the code, the store or each other, "
        "and exit 1 if anything",
    )
    parser.add_argument(
        "--redraw",
        action="store_true",
        help="train nothing; write pictures, tables and report again from the files of curves that are there",
    )
    parser.add_argument("--dry-run", action="store_true", help="say what would be trained and what it would cost")
    parser.add_argument(
        "--experiments",
        type=Path,
        default=resource_dir("experiments"),
        metavar="FOLDER",
        help="where the claims are (default: those of the article)",
    )
    add_filter_options(parser)
    add_version(parser)
    options = parser.parse_intermixed_args(arguments)
    options.overrides = [each for each in options.claims if "=" in each]
    options.claims = [each for each in options.claims if "=" not in each]
    return options


def check_arguments(options: argparse.Namespace) -> None:
    """Checks what was asked for.

    Raises:
        ConfigError: for what cannot be, in one line.
    """
    known = loading.names(options.experiments)
    for name in options.claims:
        if name not in known:
            raise ConfigError(f"{name}: no such claim; there are {', '.join(known)}")
    for override in options.overrides:
        key = override.partition("=")[0]
        if not key.startswith("tracking.") or key not in known_keys():
            raise ConfigError(f"{override}: a claim says itself what is run; only tracking.KEY=VALUE can be given")
    if options.check and (options.seeds is not None or options.dry_run):
        raise ConfigError("--check: trains nothing and looks at all seeds; leave --seeds and --dry-run out")
    if options.redraw and (
        options.check or options.dry_run or run_filter_from(options) or options.seeds or options.jobs
    ):
        raise ConfigError("--redraw: takes what the files say and trains nothing; leave all other options out")
    for name in ("seeds", "jobs"):
        if getattr(options, name) is not None and getattr(options, name) < 1:
            raise ConfigError(f"--{name} {getattr(options, name)}: must be at least 1")


def with_seeds(claim: Claim, n: int) -> Claim:
    """The claim with seeds 0 to n - 1 for each condition."""
    conditions = [
        dataclasses.replace(each, jobs=[dataclasses.replace(each.config, seed=seed) for seed in range(n)])
        for each in claim.conditions
    ]
    return dataclasses.replace(claim, conditions=conditions)


def main() -> None:
    """Command line of ``python -m seqadd.reproduce``."""
    with command():
        options = parse_arguments()
        check_arguments(options)
        chosen = loading.read_all(options.experiments, options.claims, options.overrides)
        if options.check:
            _check(options, chosen)
        elif options.redraw:
            _redraw(options, chosen)
        else:
            _bring_up_to_date(options, chosen)


def _check(options: argparse.Namespace, chosen: Sequence[Claim]) -> None:
    store = _store_that_is_there(chosen[0].jobs[0].tracking, named=bool(options.overrides))
    if store is not None:
        store = store.narrowed(run_filter_from(options))
    wrong = without_commit = 0
    for claim in chosen:
        said = check_folder(claim)
        held = "no store here"
        if store is not None:
            of_store, n = check_store(store, claim)
            said, held = said + of_store, f"{n} of its {len(claim.jobs)} runs held against the store"
        wrong += len(said)
        changed = uncommitted(claim)
        without_commit += len(changed)
        said += changed
        print_line(f"{claim.name:<20} {f'ok ({held})' if not said else '; '.join(said)}")
    if not options.claims and not _is_packed(options.experiments):
        said = report.check(options.experiments, chosen)
        wrong += len(said)
        print_line(f"{'report':<20} {'ok' if not said else '; '.join(said)}")
    if wrong:
        raise NotReproduced(f"what is said above does not follow; {_remedy(options)}")
    if without_commit:  # which to reproduce them again would not change
        raise NotReproduced("what is said above is by code that is not committed; commit it and check again")


def _remedy(options: argparse.Namespace) -> str:
    """What brings results up to date that a check has found wrong."""
    if _is_packed(options.experiments):
        return (
            f"what an installed package holds stays as it is: copy {options.experiments}, and python -m "
            "seqadd.reproduce --experiments COPY brings the copy up to date"
        )
    own = options.experiments.resolve() != resource_dir("experiments")
    where = f" --experiments {shlex.quote(str(options.experiments))}" if own else ""
    return f"python -m seqadd.reproduce{where} brings it up to date"


def _store_that_is_there(where: Tracking, *, named: bool = False) -> Store | None:
    """The store to look at; None if nobody has made it yet, unless it was ``named``."""
    try:
        check_database(where, create=False)
        from seqadd.tracking import connection

        return connection.open_store(where, create=False)
    except StoreNotFound:
        if named:
            raise
        return None


def _is_packed(experiments: Path) -> bool:
    """Whether the claims are those of an installed package, in which nothing is to be written."""
    return experiments.resolve().is_relative_to(Path(__file__).resolve().parent)


def _redraw(options: argparse.Namespace, chosen: Sequence[Claim]) -> None:
    """Writes pictures, tables and report from the files that are there; trains nothing and asks no store."""
    _check_writable(options, chosen)
    for claim in chosen:
        epochs = counting(claim, committed_curves.read(claim.folder / committed_curves.NAME), by_any_code=True)
        n = len(runs_in(claim, epochs))
        if n < len(claim.jobs):
            print_line(f"{claim.name:<20} left as it is: {committed_curves.NAME} has {n} of its {len(claim.jobs)} runs")
            continue
        print_line(f"{claim.name:<20} {tables.in_words(write(claim, epochs, read_ceilings(claim)))}")
    for path in report.write(options.experiments):
        print_line(f"report: {path}")


def _check_writable(options: argparse.Namespace, chosen: Sequence[Claim]) -> None:
    """Raises CannotWrite for a folder that results cannot be written to."""
    for claim in chosen:
        packed = _is_packed(options.experiments)
        if packed or not os.access(claim.folder, os.W_OK):
            why = "belongs to the installed package" if packed else "cannot be written"
            raise CannotWrite(f"{claim.folder}: {why}; copy {claim.folder.parent} and name the copy with --experiments")


def _bring_up_to_date(options: argparse.Namespace, chosen: Sequence[Claim]) -> None:
    from seqadd import errors
    from seqadd.launch.local import max_parallel_jobs

    only, writes = run_filter_from(options), not options.dry_run and options.seeds is None
    if options.seeds is not None:
        chosen = [with_seeds(claim, options.seeds) for claim in chosen]
    for claim in chosen:
        for condition in claim.conditions:
            check_machine(condition.config)
    if writes:
        _check_writable(options, chosen)
    most = max_parallel_jobs([condition.config for claim in chosen for condition in claim.conditions])
    if options.jobs is not None and options.jobs > most:
        raise ConfigError(f"--jobs {options.jobs}: must be at most {most}, for which there are processors and memory")
    at_once = options.jobs or most
    # What is committed counts, but where it is asked whose runs count: that no file says.
    rows = {claim.name: committed_curves.empty() for claim in chosen} if only else committed(chosen)
    where = chosen[0].jobs[0].tracking
    nothing_to_train = all(len(runs_in(claim, rows[claim.name])) == len(claim.jobs) for claim in chosen)
    if options.dry_run or nothing_to_train:
        store = _store_that_is_there(where)
    else:
        check_database(where)
        from seqadd.tracking import connection, delivery

        store = connection.open_store(where, say=print_line)
    if store is not None:
        delivery.reconcile(store)
        store = store.narrowed(only)
    # Claims share runs: what an earlier one trains costs a later one nothing.
    trained: dict[str, int] = {}
    costs = {}
    for claim in chosen:
        there = runs_in(claim, rows[claim.name]) | (found_runs(store, claim).keys() if store else set())
        lacking = missing_jobs(claim, there)
        costs[claim.name] = seconds_needed(claim, lacking, store, trained)
        cost = f", about {tables.duration(costs[claim.name])} of one processor" if lacking and not only else ""
        print_line(f"{claim.name:<20} {len(claim.jobs)} runs, {len(lacking)} missing{cost}")
    if only:
        print_line(f"{'in all':<20} nothing is trained: only runs of {only}")
    else:
        whole = tables.duration(sum(costs.values()))
        print_line(f"{'in all':<20} about {whole} of one processor, {at_once} run{'s' * (at_once > 1)} at once")
    conditions = {condition.config.condition_hash() for claim in chosen for condition in claim.conditions}
    n = sum(run.tags.get("condition_hash") in conditions for run in (store.made_with_flags() if store else []))
    if n:
        print_line(f"{'left out':<20} {n} run{'s' * (n > 1)} made with flags that can alter numbers (tag flags)")
    if options.dry_run:
        return
    if sum(costs.values()) and not only and numeric_flags.flags():
        raise ConfigError(f"{numeric_flags.flags()}: a claim's runs are made without flags that can alter numbers")
    failed = []
    for position, claim in enumerate(chosen, start=1):
        epochs = Collection(claim, rows[claim.name], store, keeps=writes and not only)
        epochs.collect()
        if epochs.missing and not only:  # whoever trained them now would not be whose runs count
            assert store is not None
            left = tables.duration(sum(costs[each.name] for each in chosen[position - 1 :]) / at_once)
            print_line(f"[{position}/{len(chosen)}] {claim.title} (all claims: about {left} left)")
            try:
                train(store, epochs, options.jobs)
            except errors.JobsFailed as error:
                failed.append(f"{claim.name}: {error}")
            epochs.collect()
        if writes and not epochs.missing:
            verdicts, kept = write(claim, epochs.rows, ceilings_of(claim)), ""
        else:
            read = measured(claim, epochs.rows)
            verdicts = results.results(claim, values_of(claim, read.curves), read.runs)
            kept = f" ({len(read.runs)} runs; what {claim.folder.name} holds was left as it is)"
            print_line(tables.table(claim, verdicts))
        print_line(f"[{position}/{len(chosen)}] {claim.name}: {tables.in_words(verdicts)}{kept}")
    if options.seeds is None:
        for path in report.write(options.experiments):
            print_line(f"report: {path}")
    if failed:
        raise NotReproduced("; ".join(failed))


if __name__ == "__main__":
    main()
