"""A sweep: skips finished jobs and launches the rest under one parent run. Contains no training code."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, TypeVar

from seqadd.cli.console import print_line
from seqadd.config.schema import Config
from seqadd.errors import JobsFailed
from seqadd.launch import summary, sweep_page
from seqadd.launch.own_parts import data_digests
from seqadd.system import numeric_flags, status_line
from seqadd.system.signals import defer_signals
from seqadd.tracking.database import check_database

if TYPE_CHECKING:
    from seqadd.tracking.recording import RunRecorder
    from seqadd.tracking.run_directory import RunDirectory
    from seqadd.tracking.store import Store

T = TypeVar("T")


def run_sweep(
    name: str,
    key: str,
    params: dict[str, object],
    labels: Sequence[str],
    configs: Sequence[Config],
    launch: Callable[[list[int], str], list[T]],
    finished: Mapping[int, str] | None = None,
    overrides: Sequence[str] | None = None,
) -> list[str | T]:
    """Records a sweep as a parent run, and launches the jobs that are not finished.

    Args:
        name: name of the parent run.
        key: identifies the sweep: a repeated sweep with the same key and jobs continues the same parent run.
        params: parameters of the parent run.
        labels: the name of each job.
        configs: a checked configuration for each job; the sweep is recorded where the first one is.
        launch: called with the indexes of the jobs to run and the id of their parent run; returns when all have ended,
            with one result for each.
        finished: the jobs that need not run, each with a finished run's id or a note that is returned for it; None to
            look in the store for finished runs of the same configurations.
        overrides: the sweep as the user typed it; the accuracy of each job is then printed at the end.

    Returns:
        For each job the result of ``launch``, or the entry of ``finished``.

    Raises:
        ConfigError: if the store cannot be opened, or TensorFlow does not run with this environment's flags.
        Whatever ``launch`` raises; the parent run is then recorded as failed or killed.
    """
    for where in {(config.tracking.uri, config.tracking.experiment): config.tracking for config in configs}.values():
        check_database(where)
    status_line.show("importing MLflow")
    with defer_signals():  # imported only now: MLflow takes seconds, and a refused configuration must fail at once
        from seqadd.tracking import connection, delivery

    status_line.show("opening the store, looking for finished jobs")
    store = connection.connect(configs[0].tracking, print_line)
    # The same sweep, started again, continues the same parent run.
    run_dir = store.run_directory(
        numeric_flags.key_with_flags("sweep", key, *[config.config_hash() for config in configs])
    )
    with run_dir.lock(print_line):
        delivery.deliver(store, run_dir)
        there = finished_jobs(store, labels, configs) if finished is None else dict(finished)
        missing = [index for index in range(len(configs)) if index not in there]
        if not missing:
            print_line(f"all {len(configs)} jobs are finished already; force=true trains them again")
            if run_dir.about() is None:  # no parent run is open, so there is none to close
                _print_summary(store, labels, configs, there, None, overrides)
                return [there[index] for index in range(len(configs))]
        else:
            numeric_flags.check_flags()
        go_on = not any(config.force for config in configs)
        show = functools.partial(sweep_page.show_sweep, store, labels=labels, configs=configs, skipped=there)
        what = f"Sweep of {len(configs)} jobs."
        try:
            with parent_run(store, run_dir, name, params, go_on=go_on, what=what, show=show) as parent:
                launched = launch(missing, parent.run_id) if missing else []
        except JobsFailed:
            _print_summary(store, labels, configs, there, parent.run_id, overrides)
            raise
        _print_summary(store, labels, configs, there, parent.run_id, overrides)
    results: dict[int, str | T] = {**there, **dict(zip(missing, launched, strict=True))}
    return [results[index] for index in range(len(configs))]


def _print_summary(
    store: Store,
    labels: Sequence[str],
    configs: Sequence[Config],
    there: Mapping[int, str],
    parent_run_id: str | None,
    overrides: Sequence[str] | None,
) -> None:
    """Prints the accuracy of each job, unless the store does not respond."""
    from seqadd.tracking.retry import STORE_ERRORS, short_timeout

    if overrides is not None:
        with suppress(*STORE_ERRORS), short_timeout():
            runs = store.runs_of_sweep(parent_run_id, sorted(there.values()))
            rows = sweep_page.job_rows(labels, configs, there, runs)
            summary.print_sweep(rows, configs, parent_run_id, overrides)


@contextmanager
def parent_run(
    store: Store,
    run_dir: RunDirectory,
    name: str,
    params: dict[str, object],
    tags: Mapping[str, str] | None = None,
    *,
    go_on: bool,
    what: str,
    show: Callable[..., None] = lambda parent, draws: None,
) -> Iterator[RunRecorder]:
    """The parent run of a sweep or search, open while its jobs run; further arguments as of ``recording.record``.

    Args:
        what: the first line of its description.
        show: called at the end, also after an error, to record what its page shows; with the open parent run, and
            ``draws`` false if the sweep was told to stop. It may fail without harm.
    """
    from seqadd.tracking import delivery, provenance, recording
    from seqadd.tracking.description import Description
    from seqadd.tracking.pages import where_to_look

    all_tags = {**provenance.code_tags(), **(tags or {})}
    described = Description(what, f"Command: `{provenance.command_line()}`")
    with recording.record(
        store, run_dir, name, params=params, tags=all_tags, go_on=go_on, described=described, notify=print_line
    ) as parent:
        stopped = False
        try:
            yield parent
        except BaseException as error:
            stopped = not isinstance(error, Exception)
            raise
        finally:
            delivery.reconcile(store)  # jobs that were killed could not close their runs themselves
            _show(show, parent, draws=not stopped)
            for line in where_to_look(store, parent.run_id, "search" if name.startswith("search") else "sweep"):
                print_line(line)


@defer_signals()
def _show(show: Callable[..., None], parent: RunRecorder, *, draws: bool) -> None:
    """Records what a sweep's page shows; an error is reported, as it must not hide how the sweep ended."""
    from seqadd.tracking.retry import STORE_ERRORS, short_timeout, summarize_error

    try:
        with short_timeout():
            show(parent=parent, draws=draws)
    except STORE_ERRORS as error:
        print_line(f"the sweep's page in MLflow lacks its table: {summarize_error(error)}")


def finished_jobs(store: Store, labels: Sequence[str], configs: Sequence[Config]) -> dict[int, str]:
    """The jobs that have a finished run in the store, by index, with its id; prints a line for each."""
    from seqadd.tracking.resume import already_finished

    found = {}
    with data_digests() as digest:
        for index, (name, config) in enumerate(zip(labels, configs, strict=True)):
            # In a sweep over stores or experiments, a job whose store or experiment is not the first's checks for
            # itself.
            if not config.force and config.tracking == configs[0].tracking:
                run = store.finished_run(config, functools.partial(digest, config))
                if run is not None:
                    print_line(f"{name}  {already_finished(run, config)}")
                    found[index] = run.run_id
    return found
