"""A sweep: what is finished is skipped, the rest launched under one parent run. Trains nothing itself."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

from seqadd.cli.console import print_line
from seqadd.config.schema import Config
from seqadd.system import numeric_flags
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
) -> list[str | T]:
    """Records a sweep as a parent run, and has those jobs launched that are not finished.

    Args:
        name: of the parent run.
        key: what the sweep is: the same again goes on under the same parent run.
        params: of the parent run.
        labels: what each job is called.
        configs: a checked configuration for each job; where the first one is recorded, the sweep is.
        launch: is given the indexes of the jobs to run and the id of their parent run, and returns when all have
            ended, with something for each.
        finished: which jobs need not run, with the ids of the runs that make them so; None for those of which a run
            of the same configuration is finished.

    Returns:
        For each job what ``launch`` returned, or the id of the run that was finished already.

    Raises:
        ConfigError: when the store cannot be opened, or TensorFlow does not run with this environment's flags.
        Whatever ``launch`` raises; the parent run then has failed, or was killed.
    """
    for where in {(config.tracking.uri, config.tracking.experiment): config.tracking for config in configs}.values():
        check_database(where)
    with defer_signals():  # here, because MLflow takes seconds that a refused configuration must not cost
        from seqadd.tracking import connection, delivery

    store = connection.connect(configs[0].tracking, print_line)
    # The same sweep again goes on under the same parent run.
    run_dir = store.run_directory(
        numeric_flags.key_with_flags("sweep", key, *[config.config_hash() for config in configs])
    )
    with run_dir.lock(print_line):
        delivery.deliver(store, run_dir)
        there = finished_jobs(store, labels, configs) if finished is None else dict(finished)
        missing = [index for index in range(len(configs)) if index not in there]
        if not missing:
            print_line(f"all {len(configs)} jobs are finished already; force=true trains them again")
            if run_dir.about() is None:  # and so is the sweep, or it never was one
                return [there[index] for index in range(len(configs))]
        else:
            numeric_flags.check_flags()
        with parent_run(store, run_dir, name, params, go_on=not any(config.force for config in configs)) as parent:
            launched = launch(missing, parent.run_id) if missing else []
    results: dict[int, str | T] = {**there, **dict(zip(missing, launched, strict=True))}
    return [results[index] for index in range(len(configs))]


@contextmanager
def parent_run(
    store: Store,
    run_dir: RunDirectory,
    name: str,
    params: dict[str, object],
    tags: Mapping[str, str] | None = None,
    *,
    go_on: bool,
) -> Iterator[RunRecorder]:
    """The record of a sweep or a search, open while its jobs run; arguments and errors as of ``recording.record``."""
    from seqadd.tracking import delivery, provenance, recording

    said = {**provenance.code_tags(), **(tags or {})}
    with recording.record(store, run_dir, name, params=params, tags=said, go_on=go_on, notify=print_line) as parent:
        try:
            yield parent
        finally:
            delivery.reconcile(store)  # jobs that were killed could not close their records themselves


def finished_jobs(store: Store, labels: Sequence[str], configs: Sequence[Config]) -> dict[int, str]:
    """Which jobs need not run, with the ids of the runs that make them so; says which."""
    from seqadd.tracking.resume import already_finished
    from seqadd.training.dataset import data_digest

    found = {}
    for index, (name, config) in enumerate(zip(labels, configs, strict=True)):
        # Of a sweep over stores or experiments, jobs of another than the first find out themselves.
        if not config.force and config.tracking == configs[0].tracking:
            run = store.finished_run(config, functools.partial(data_digest, config))
            if run is not None:
                print_line(f"{name}  {already_finished(run, config)}")
                found[index] = run.run_id
    return found
