"""Runs a search: asks Optuna for trials, launches them and records the results."""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from seqadd.cli.console import print_line
from seqadd.config.parts import code_words
from seqadd.config.schema import Config
from seqadd.errors import JobsFailed, redact_credentials
from seqadd.launch.sweep import parent_run
from seqadd.launch.sweep_page import FAILED, FINISHED, PRUNED, JobRow, best_first, state_counts, to_csv, to_markdown
from seqadd.search.journal import ERROR, JOURNAL, RUN_ID, open_study, search_directory
from seqadd.search.space import SearchSettings, SearchSpace
from seqadd.search.study import SEEDS_OF_THE_BEST, Search, identity, in_short
from seqadd.system import numeric_flags, status_line
from seqadd.system.files import atomic_write
from seqadd.system.signals import defer_signals
from seqadd.tracking.database import check_database

if TYPE_CHECKING:
    from seqadd.tracking.recording import RunRecorder
    from seqadd.tracking.store import RunRecord, Store


def run_search(
    overrides: str,
    space: SearchSpace,
    settings: SearchSettings,
    configs: Sequence[Config],
    launch: Callable[[Search, list[int], list[str], Callable[..., None]], None],
) -> str:
    """Records a search as a parent run, launches the missing trials, and prints the result.

    Args:
        overrides: the search as the user typed it; part of the parent run's name.
        space: the search space.
        settings: the settings of the search.
        configs: checked configurations of its corners; the search is recorded where the first one is.
        launch: called with the search, the numbers of the trials to train, in this order, the overrides that assign
            them to this search, and a function to call when a trial has ended (with its number, and the error if it
            failed); must return when all have ended.

    Returns:
        The id of the best trial's run.

    Raises:
        ConfigError: if the store cannot be opened, or TensorFlow does not run with this environment's flags.
        JobsFailed: if trials failed that may succeed on a retry, or none has finished.
        Whatever ``launch`` raises; the parent run is then recorded as failed or killed.
    """
    check_database(configs[0].tracking)
    status_line.show("importing MLflow")
    with defer_signals():  # imported only now: MLflow takes seconds, and a refused configuration must fail at once
        from seqadd.tracking import connection, delivery
        from seqadd.tracking.artifacts import abbreviate
        from seqadd.tracking.store import SEARCH

    store = connection.connect(configs[0].tracking, print_line)
    name = identity(space, configs, settings)
    run_dir = search_directory(store, name)
    go_on = not any(config.force for config in configs)
    with run_dir.lock(print_line):
        delivery.deliver(store, run_dir)
        earlier = store.finished_search(name) if go_on and run_dir.about() is None else None
        if earlier is not None and _fetch_journal(store, earlier, run_dir.path / JOURNAL):
            search = Search(open_study(run_dir.path / JOURNAL), space, settings)
            if not search.missing():
                print_line(f"finished already: search {earlier.run_id}; force=true searches again")
                run_id = _report(search)
                run_dir.discard()
                return run_id
            delivery.reopen(store, run_dir, earlier)
        numeric_flags.check_flags()
        params = _params(space, settings, configs[0])
        # Tags, not parameters, because they can differ when the same search is continued.
        tags = {SEARCH: name, "overrides": overrides, "trials": str(settings.trials)}
        searched_first = sorted(overrides.split(), key=lambda override: override.partition("=")[0] not in space.keys)
        what = (
            f"Search over {', '.join(space.keys)} by Optuna's TPE: {settings.direction}s {settings.metric}, "
            f"{settings.trials} trials, pruner {settings.pruner}."
        )
        title = f"search {abbreviate(searched_first)}"
        with parent_run(store, run_dir, title, params, tags, go_on=go_on, what=what) as parent:
            before = store.run(parent.run_id)
            search = Search(open_study(run_dir.path / JOURNAL, settings.direction), space, settings)
            search.begin(configs[0])
            numbers = search.missing()
            begun = len(search.over())
            if begun:
                print_line(f"resuming the search after {begun} of {settings.trials} trials")

            last = [begun]

            def ended(number: int, error: str = "its process was killed", *, final: bool = False) -> None:
                search.ended(number, error, final=final)
                if len(search.over()) > last[-1]:
                    last.append(len(search.over()))
                    parent.log_epoch(search.progress())

            own = [f"tracking.parent_run_id={parent.run_id}", f"tracking.search='{name}'"]  # unquoted, 1e5 is a number
            launch(search, numbers, own, ended)
            _record(search, parent, run_dir.path / JOURNAL)
            _describe(search, parent, store.experiment_id, before)
            return _report(search)


def _params(space: SearchSpace, settings: SearchSettings, config: Config) -> dict[str, object]:
    """The parameters of the parent run: the search space, and the settings for trials of this configuration."""
    return {
        **{f"space.{key}": written for key, written in space.written.items()},
        "sampler": "Optuna's TPE",
        "direction": settings.direction,
        "sampler_seed": settings.seed,
        "metric": settings.metric,
        "pruner": settings.pruner,
        "startup_trials": settings.startup_trials,
        "warmup_epochs": settings.warmup(config),
    }


def _fetch_journal(store: Store, run: RunRecord, journal: Path) -> bool:
    """Copies the journal of a finished search from the store; False if the store does not have it."""
    try:
        with store.artifact_of(run.run_id, JOURNAL) as path:
            journal.parent.mkdir(exist_ok=True)
            with atomic_write(journal) as copy:
                shutil.copyfile(path, copy)
    except FileNotFoundError as error:
        print_line(f"cannot resume search {run.run_id}: {error}")
        return False
    return True


def _record(search: Search, parent: RunRecorder, journal: Path) -> None:
    """Records the result of the search, its figure, and its journal, from which it can be continued."""
    from seqadd.reporting import figures, style

    with atomic_write(parent.artifact(JOURNAL)) as copy:
        shutil.copyfile(journal, copy)
    for state, trials in (
        ("finished", search.finished()), ("pruned", search.pruned()), ("diverged", search.diverged()),
        ("failed", search.lost()),
    ):  # fmt: skip
        parent.tag(f"trials_{state}", str(len(trials)))
    best = search.best()
    if best is None:
        return
    parent.tag("best_trial", str(best.number))
    parent.tag("best_run_id", str(best.user_attrs.get(RUN_ID)))
    parent.tag("best_overrides", " ".join(search.space.own_overrides(best.params)))
    tried = [
        figures.Tried(trial.number, trial.value, trial in search.pruned(), search.space.plotted(trial.params))
        for trial in search.over()
        if trial.value is not None
    ]
    settings = search.settings
    figure = figures.search(
        tried,
        settings.metric,
        f"{len(search.over())} trials, best {style.in_words(settings.metric)} {best.value:.4f} in trial {best.number}",
        least=settings.direction == "minimize",
        logarithmic=[key for key, each in search.space.keys.items() if getattr(each, "log", False)],
    )
    with atomic_write(parent.artifact("search.png")) as path:
        figure.savefig(path, dpi=120)


def _describe(search: Search, parent: RunRecorder, experiment_id: str, before: RunRecord | None) -> None:
    """Records what MLflow's page of the search shows: a table of the trials, and the best one, which it marks.

    Args:
        search: the search, after its last trial.
        parent: its record.
        experiment_id: MLflow's experiment of both.
        before: the record as an earlier command of the same search left it.
    """
    from seqadd.tracking.description import link

    rows = trial_rows(search)
    best, metric = search.best(), search.settings.metric
    parent.log_text(to_csv(rows, [metric]), "table.csv")
    parent.log_text(to_markdown(rows, [metric]), "table.md")
    assert parent.description is not None
    parent.description.how = f"{len(rows)} trials: {state_counts(rows)}."
    if best is None:
        return
    to_search, run_id = link("this search", experiment_id, parent.run_id), str(best.user_attrs[RUN_ID])
    to_best = link(f"trial {best.number}", experiment_id, run_id)
    values = " ".join(search.space.own_overrides(best.params))
    parent.description.how += f" Best: {to_best}, `{metric}` {best.value:.4f}, with `{values}`."
    least = search.settings.direction == "minimize"
    parent.description.below = best_first(rows, [metric], experiment_id, least=least)
    parent.mark_best(run_id, f"Trial {best.number} of {to_search}, the best of {len(rows)}.")
    if before is not None and before.tags.get("best_run_id", run_id) != run_id:
        parent.mark_best(
            before.tags["best_run_id"], f"Trial {before.tags['best_trial']} of {to_search}.", is_best=False
        )


def trial_rows(search: Search) -> list[JobRow]:
    """Returns a row for each trial of a search, in their order; with the search's metric alone."""
    states = {
        FINISHED: search.finished(), PRUNED: search.pruned(), FAILED: [*search.diverged(), *search.lost()]
    }  # fmt: skip
    rows = [
        JobRow(
            f"trial {trial.number} {in_short(search.space.in_order(trial.params))}",
            state,
            str(trial.user_attrs.get(RUN_ID, "")),
            str(max(trial.intermediate_values, default="")),
            {} if trial.value is None else {search.settings.metric: trial.value},
            {"trial": str(trial.number), **{k: str(v) for k, v in search.space.in_order(trial.params).items()}},
        )
        for state, trials in states.items()
        for trial in trials
    ]
    return sorted(rows, key=lambda row: int(row.settings["trial"]))


def _report(search: Search) -> str:
    """Prints the result; returns the id of the best trial's run.

    Raises:
        JobsFailed: if trials failed that may succeed on a retry, or none has finished.
    """
    best, lost = search.best(), search.lost()
    counted = {"finished": search.finished(), "pruned": search.pruned(), "diverged": search.diverged(), "failed": lost}
    summary = ", ".join(f"{len(trials)} {state}" for state, trials in counted.items() if trials)
    print_line(f"{sum(map(len, counted.values()))} trials: {summary}")
    again = "; repeat the command to try again"
    why = "; ".join(
        f"trial {trial.number}: {trial.user_attrs.get(ERROR, 'killed')}" for trial in lost or search.diverged()
    )
    if best is None:
        raise JobsFailed(f"no trial has finished: {why}{again if lost else ''}")
    run_id = str(best.user_attrs[RUN_ID])
    value = f"{search.settings.metric} {best.value:.4f} after {max(best.intermediate_values)} epochs"
    print_line(f"best: trial {best.number}, {value}, run {run_id}")
    print_line(f"      {' '.join(search.space.own_overrides(best.params))}")
    kept = [each for each in search.space.overrides(best.params) if each.partition("=")[0] != "seed"]
    command = shlex.join([*code_words(), "-m", *kept, f"seed={','.join(map(str, range(SEEDS_OF_THE_BEST)))}"])
    print_line(redact_credentials(f"with more seeds: python -m seqadd.run {command}"))
    if lost:
        raise JobsFailed(f"{len(lost)} of {search.settings.trials} trials failed: {why}{again}")
    return run_id
