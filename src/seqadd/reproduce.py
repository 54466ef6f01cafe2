"""Brings the claims of the article up to date: trains missing runs, rewrites results, prints verdicts.

    python -m seqadd.reproduce
    python -m seqadd.reproduce cells dense --dry-run
    python -m seqadd.reproduce --check

A claim is a folder of ``experiments/``; see ``claims.loading``.
"""

from __future__ import annotations

from seqadd.system import status_line

if status_line.is_command(__name__):
    status_line.show("reading the claims")  # before the other imports, which take a second

import argparse
import dataclasses
import os
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

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
from seqadd.claims.training_cost import Cost, training_cost
from seqadd.cli.code_option import add_code_option, take_code
from seqadd.cli.console import print_line
from seqadd.cli.entry import add_version, as_program, command
from seqadd.config.schema import Config, Tracking, known_keys
from seqadd.config.validation import check_machine
from seqadd.errors import CannotWrite, ConfigError, JobsFailed, NotReproduced, StoreNotFound
from seqadd.launch.claim import train_claim
from seqadd.launch.local import max_parallel_jobs
from seqadd.system import numeric_flags
from seqadd.system.files import resource_dir
from seqadd.tracking.database import check_database
from seqadd.tracking.run_filter import RunFilter, add_filter_options, run_filter_from

if TYPE_CHECKING:
    import pandas as pd

    from seqadd.tracking.store import Store


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Parses the command line of ``python -m seqadd.reproduce``."""
    parser = argparse.ArgumentParser(
        prog="python -m seqadd.reproduce",
        allow_abbrev=False,  # else argparse reads --seed as --seeds, which starts hours of training
        description="Reproduces the article's claims: trains missing runs, then writes results and report.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="examples:\n  python -m seqadd.reproduce\n  python -m seqadd.reproduce cells dense --dry-run\n"
        "  python -m seqadd.reproduce era --seeds 2\n  python -m seqadd.reproduce --check",
    )
    parser.add_argument(
        "claims",
        nargs="*",
        metavar="CLAIM",
        help="folders of experiments/ (default: all); tracking.KEY=VALUE sets where runs are recorded",
    )
    parser.add_argument(
        "--seeds",
        type=int,
        metavar="N",
        help="train seeds 0 to N-1 of each condition instead of the claim's own, for a first look: prints the table, "
        "writes no results",
    )
    parser.add_argument("--jobs", type=int, metavar="N", help="parallel runs (default: one per core)")
    parser.add_argument(
        "--check",
        action="store_true",
        help="train and write nothing; list results that do not follow from the code, the store or each other; exit "
        "code 1 if there are any",
    )
    parser.add_argument(
        "--redraw",
        action="store_true",
        help="train nothing; write figures, tables and report again from the committed curves",
    )
    parser.add_argument("--dry-run", action="store_true", help="train nothing; list the missing runs and their cost")
    parser.add_argument(
        "--experiments",
        type=Path,
        default=resource_dir("experiments"),
        metavar="FOLDER",
        help="folder of the claims (default: the article's)",
    )
    add_code_option(parser)
    add_filter_options(parser)
    add_version(parser)
    options = parser.parse_intermixed_args(arguments)
    options.overrides = [each for each in options.claims if "=" in each]
    options.claims = [each for each in options.claims if "=" not in each]
    return options


def check_arguments(options: argparse.Namespace) -> None:
    """Checks the options.

    Raises:
        ConfigError: for unknown claims, invalid values and options that contradict each other.
    """
    known = loading.names(options.experiments)
    for name in options.claims:
        if name not in known:
            raise ConfigError(f"{name}: no such claim; must be one of {', '.join(known)}")
    for override in options.overrides:
        key = override.partition("=")[0]
        if not key.startswith("tracking.") or key not in known_keys():
            raise ConfigError(f"{override}: the claim decides all other keys; only tracking.KEY=VALUE is allowed")
    if options.check and (options.seeds is not None or options.dry_run):
        raise ConfigError("--check: trains nothing and checks all seeds; leave --seeds and --dry-run out")
    if options.redraw and (
        options.check or options.dry_run or run_filter_from(options) or options.seeds or options.jobs
    ):
        raise ConfigError("--redraw: trains nothing and reads committed files only; leave all other options out")
    for name in ("seeds", "jobs"):
        if getattr(options, name) is not None and getattr(options, name) < 1:
            raise ConfigError(f"--{name} {getattr(options, name)}: must be at least 1")


def with_seeds(claim: Claim, n: int) -> Claim:
    """Returns the claim with seeds 0 to n - 1 for each condition."""
    conditions = [
        dataclasses.replace(each, jobs=[dataclasses.replace(each.config, seed=seed) for seed in range(n)])
        for each in claim.conditions
    ]
    return dataclasses.replace(claim, conditions=conditions)


def main() -> None:
    """Command line of ``python -m seqadd.reproduce``."""
    with command():
        options = parse_arguments(take_code(sys.argv[1:]))
        check_arguments(options)
        notify = None if options.check else print_line  # a check that leaves a claim out would prove nothing of it
        chosen = loading.read_all(options.experiments, options.claims, options.overrides, notify)
        if options.check:
            _check(options, chosen)
        elif options.redraw:
            _redraw(options, chosen)
        else:
            _bring_up_to_date(options, chosen)


def _check(options: argparse.Namespace, chosen: Sequence[Claim]) -> None:
    store = _store_that_is_there(chosen[0].jobs[0].tracking, named=bool(options.overrides))
    if store is not None:
        store = store.filtered(run_filter_from(options))
    wrong = without_commit = 0
    for claim in chosen:
        problems = check_folder(claim)
        held = "no store here"
        if store is not None:
            of_store, n = check_store(store, claim)
            problems, held = problems + of_store, f"{n} of {len(claim.jobs)} runs compared with the store"
        wrong += len(problems)
        changed = uncommitted(claim)
        without_commit += len(changed)
        problems += changed
        print_line(f"{claim.name:<20} {f'ok ({held})' if not problems else '; '.join(problems)}")
    if not options.claims and not _is_packed(options.experiments):
        problems = report.check(options.experiments, chosen)
        wrong += len(problems)
        print_line(f"{'report':<20} {'ok' if not problems else '; '.join(problems)}")
    if wrong:
        raise NotReproduced(f"the results listed above are wrong; {_remedy(options)}")
    if without_commit:  # an error of its own, because its remedy is a commit, not another run of reproduce
        raise NotReproduced("results above were made by uncommitted code; commit it and check again")


def _remedy(options: argparse.Namespace) -> str:
    """Returns the remedy for results that a check has found wrong."""
    if _is_packed(options.experiments):
        return (
            f"copy {options.experiments}, because the installed package is not changed; then python -m "
            "seqadd.reproduce --experiments COPY updates the copy"
        )
    own = options.experiments.resolve() != resource_dir("experiments")
    where = f" --experiments {shlex.quote(str(options.experiments))}" if own else ""
    return f"python -m seqadd.reproduce{where} updates them"


def _store_that_is_there(where: Tracking, *, named: bool = False) -> Store | None:
    """Opens a store for reading; returns None if there is none, or raises StoreNotFound if the user ``named`` it."""
    try:
        check_database(where, create=False)
        status_line.show("importing MLflow, opening the store")
        from seqadd.tracking import connection

        return connection.open_store(where, create=False)
    except StoreNotFound:
        if named:
            raise
        return None


def _is_packed(experiments: Path) -> bool:
    """Returns whether the claims are those of an installed package, which stays unchanged."""
    return experiments.resolve().is_relative_to(Path(__file__).resolve().parent)


def _redraw(options: argparse.Namespace, chosen: Sequence[Claim]) -> None:
    """Rewrites pictures, tables and report from the committed files; trains nothing and opens no store."""
    _check_writable(options, chosen)
    for claim in chosen:
        epochs = counting(claim, committed_curves.read(claim.folder / committed_curves.NAME), by_any_code=True)
        n = len(runs_in(claim, epochs))
        if n < len(claim.jobs):
            print_line(f"{claim.name:<20} unchanged: {committed_curves.NAME} has {n} of {len(claim.jobs)} runs")
            continue
        print_line(f"{claim.name:<20} {tables.in_words(write(claim, epochs, read_ceilings(claim)))}")
    for path in report.write(options.experiments):
        print_line(f"report: {path}")


def _check_writable(options: argparse.Namespace, chosen: Sequence[Claim]) -> None:
    """Raises CannotWrite for a folder that results cannot be written to."""
    for claim in chosen:
        packed = _is_packed(options.experiments)
        if packed or not os.access(claim.folder, os.W_OK):
            why = "belongs to the installed package" if packed else "no permission to write"
            raise CannotWrite(f"{claim.folder}: {why}; copy {claim.folder.parent}, and add --experiments COPY")


@dataclasses.dataclass(frozen=True)
class _Plan:
    """The runs that some claims lack, and what training them costs.

    Attributes:
        claims: with the seeds of ``--seeds``, if given.
        rows: the committed runs of each claim, by its name.
        store: holds the other runs that count; None if there is none and nothing is trained.
        run_filter: which runs count; with a filter, nothing is trained.
        costs: of each claim's runs that are neither committed nor in the store.
        at_once: how many runs are trained at the same time.
        writes: whether a claim's results are written to its folder.
    """

    claims: Sequence[Claim]
    rows: Mapping[str, pd.DataFrame]
    store: Store | None
    run_filter: RunFilter
    costs: Mapping[str, Cost]
    at_once: int
    writes: bool


def _bring_up_to_date(options: argparse.Namespace, chosen: Sequence[Claim]) -> None:
    """Trains the missing runs of claims, and writes the results that follow from all runs."""
    plan = _plan(options, chosen)
    _print_plan(plan)
    if options.dry_run:
        return
    _check_flags(plan)
    failed = []
    for position, claim in enumerate(plan.claims, start=1):
        runs = Collection(claim, plan.rows[claim.name], plan.store, keeps=plan.writes and not plan.run_filter)
        runs.collect()
        if runs.missing and not plan.run_filter:  # a run trained now need not match the filter
            assert plan.store is not None
            left = tables.duration(_seconds_left(plan, position))
            print_line(f"[{position}/{len(plan.claims)}] {claim.title} (all claims: about {left} left)")
            try:
                train_claim(plan.store, runs, options.jobs)
            except JobsFailed as error:
                failed.append(f"{claim.name}: {error}")
            runs.collect()
        verdicts, kept = _write_results(plan, runs)
        print_line(f"[{position}/{len(plan.claims)}] {claim.name}: {tables.in_words(verdicts)}{kept}")
    if options.seeds is None:
        for path in report.write(options.experiments):
            print_line(f"report: {path}")
    if failed:
        raise NotReproduced("; ".join(failed))


def _plan(options: argparse.Namespace, chosen: Sequence[Claim]) -> _Plan:
    """Finds the missing runs of some claims and estimates their cost.

    Raises:
        ConfigError: when this machine cannot train a configuration, or the store cannot be opened.
        CannotWrite: for a folder that results cannot be written to.
    """
    run_filter, writes = run_filter_from(options), not options.dry_run and options.seeds is None
    if options.seeds is not None:
        chosen = [with_seeds(claim, options.seeds) for claim in chosen]
    configs = [condition.config for claim in chosen for condition in claim.conditions]
    for config in configs:
        check_machine(config)
    if writes:
        _check_writable(options, chosen)
    at_once = _runs_at_once(options.jobs, configs)
    # Committed runs count only without a filter: their files do not say which user and tags they have.
    rows = {claim.name: committed_curves.empty() for claim in chosen} if run_filter else committed(chosen)
    nothing_to_train = all(len(runs_in(claim, rows[claim.name])) == len(claim.jobs) for claim in chosen)
    store = _open_store(chosen[0].jobs[0].tracking, reads_only=options.dry_run or nothing_to_train)
    if store is not None:
        store = store.filtered(run_filter)
    # Claims share runs: a run that an earlier claim trains costs a later claim nothing.
    trained: dict[str, tuple[int, str]] = {}
    costs = {}
    for claim in chosen:
        there = runs_in(claim, rows[claim.name]) | (found_runs(store, claim).keys() if store else set())
        costs[claim.name] = training_cost(claim, missing_jobs(claim, there), store, trained)
    return _Plan(chosen, rows, store, run_filter, costs, at_once, writes)


def _runs_at_once(jobs: int | None, configs: Sequence[Config]) -> int:
    """Returns how many runs are trained at once; raises ConfigError for more than processors and memory allow."""
    most = max_parallel_jobs(configs)
    if jobs is not None and jobs > most:
        raise ConfigError(
            f"--jobs {jobs}: must be at most {most}, the limit of processors, memory and operating system"
        )
    return jobs or most


def _open_store(where: Tracking, *, reads_only: bool) -> Store | None:
    """Opens the store and reconciles orphaned runs; returns None if the caller only reads and there is no store."""
    if reads_only:
        store = _store_that_is_there(where)
    else:
        check_database(where)
        from seqadd.tracking import connection  # here, because MLflow takes seconds and a refusal must be fast

        store = connection.open_store(where, notify=print_line)
    if store is not None:
        from seqadd.tracking import delivery

        delivery.reconcile(store)
    return store


def _print_plan(plan: _Plan) -> None:
    for claim in plan.claims:
        cost = plan.costs[claim.name]
        lacking = f"{cost.missing} missing" if plan.run_filter else str(cost)
        print_line(f"{claim.name:<20} {len(claim.jobs)} runs, {lacking}")
    if plan.run_filter:
        print_line(f"{'in all':<20} training nothing: showing only runs of {plan.run_filter}")
    else:
        whole, at_once = tables.duration(sum(cost.seconds for cost in plan.costs.values())), plan.at_once
        print_line(f"{'in all':<20} about {whole} of one processor, {at_once} parallel run{'s' * (at_once > 1)}")
    n = _runs_left_out(plan)
    if n:
        print_line(f"{'left out':<20} {n} run{'s' * (n > 1)} made with flags that can alter numbers (tag flags)")


def _runs_left_out(plan: _Plan) -> int:
    """Returns how many runs of the claims' conditions do not count because of their flags."""
    conditions = {condition.config.condition_hash() for claim in plan.claims for condition in claim.conditions}
    with_flags = plan.store.made_with_flags() if plan.store else []
    return sum(run.tags.get("condition_hash") in conditions for run in with_flags)


def _check_flags(plan: _Plan) -> None:
    """Raises ConfigError if runs must be trained and this environment has flags that can alter their numbers."""
    if any(cost.seconds for cost in plan.costs.values()) and not plan.run_filter and numeric_flags.flags():
        raise ConfigError(f"{numeric_flags.flags()}: these flags can alter numbers; unset them to train a claim's runs")


def _seconds_left(plan: _Plan, position: int) -> float:
    """Estimates the seconds to train the claims from a position on; positions count from 1."""
    return sum(plan.costs[claim.name].seconds for claim in plan.claims[position - 1 :]) / plan.at_once


def _write_results(plan: _Plan, runs: Collection) -> tuple[pd.DataFrame, str]:
    """Writes a claim's results if no run is missing, else prints its table; returns the verdicts and a remark."""
    claim = runs.claim
    if plan.writes and not runs.missing:
        return write(claim, runs.rows, ceilings_of(claim)), ""
    read = measured(claim, runs.rows)
    verdicts = results.results(claim, values_of(claim, read.curves), read.runs)
    print_line(tables.table(claim, verdicts))
    return verdicts, f" ({len(read.runs)} runs; {claim.folder.name} is unchanged)"


def program() -> NoReturn:
    """The program of a process; ``main`` is for callers that go on afterwards."""
    as_program(main)


if __name__ == "__main__":
    program()
