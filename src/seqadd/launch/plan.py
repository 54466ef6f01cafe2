"""What a command would train: ``--dry-run`` prints it, starts nothing and records nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from seqadd.claims.tables import duration
from seqadd.cli.console import print_line
from seqadd.config import cost
from seqadd.config.schema import Config
from seqadd.errors import StoreNotFound
from seqadd.launch.own_parts import data_digests
from seqadd.system import numeric_flags, status_line
from seqadd.tracking.database import check_database

if TYPE_CHECKING:
    from seqadd.tracking.store import Store

OPTION = "--dry-run"
_NOTHING = f"nothing was started or recorded; without {OPTION} the command trains"

_requested = False


def take_option(arguments: Sequence[str]) -> list[str]:
    """Returns a command's arguments without the option, and remembers whether it was there; Hydra does not know it."""
    global _requested
    _requested = OPTION in arguments
    return [each for each in arguments if each != OPTION]


def is_requested() -> bool:
    """Whether this command only prints what it would do."""
    return _requested


class _State(NamedTuple):
    """What a run that was asked for would do: ``how`` in words, and how many epochs it would train."""

    how: str
    epochs: int


def print_plan(
    labels: Sequence[str], configs: Sequence[Config], capacity: Callable[[Sequence[Config]], tuple[int, str]]
) -> None:
    """Prints a line for each run, and what all of them cost together.

    Args:
        labels: the name of each run.
        configs: the configuration of each.
        capacity: returns, for the unfinished runs, how many are trained at the same time, and on what, in words.

    Raises:
        ConfigError: if the store cannot be read.
    """
    with data_digests() as digest:  # an own task's file runs in a process of its own
        state = _states(digest)
        states = [state(config) for config in configs]
    seconds = [each.epochs * cost.seconds_per_epoch(config) for each, config in zip(states, configs, strict=True)]
    width = max(map(len, labels))
    status_line.clear()
    for label, each, needed in zip(labels, states, seconds, strict=True):
        about = f", about {duration(needed)}" if each.epochs else ""
        print_line(f"{label:<{width}}  {each.how}{about}")
    missing = [config for config, each in zip(configs, states, strict=True) if each.epochs]
    if missing:
        at_once, where = capacity(missing)
        all_together = max(sum(seconds) / at_once, max(seconds))
        memory = max(sum(cost.memory_needed(config).values()) for config in missing) / 1e9
        runs = f"{len(missing)} of {len(configs)} runs" if len(configs) > 1 else "one run"
        print_line(f"{runs} to train: about {duration(all_together)} {where}, {memory:.1f} GB of memory for each")
    print_line(_NOTHING)


def print_plan_of_search(keys: Iterable[str], trials: int, corners: Sequence[Config]) -> None:
    """Prints how many trials a search may have, and what the most expensive corner of its space costs."""
    most = max(config.epochs * cost.seconds_per_epoch(config) for config in corners)
    memory = max(sum(cost.memory_needed(config).values()) for config in corners) / 1e9
    status_line.clear()
    print_line(
        f"up to {trials} trials over {', '.join(keys)}: each at most about {duration(most)} and {memory:.1f} GB; "
        "which ones, Optuna chooses from the results of those before"
    )
    print_line(_NOTHING)


def _states(digest: Callable[[Config], str]) -> Callable[[Config], _State]:
    """Returns a function that looks up what there is of a configuration."""
    stores: dict[tuple[str, str], Store | None] = {}

    def state(config: Config) -> _State:
        where = config.tracking
        if (where.uri, where.experiment) not in stores:
            stores[where.uri, where.experiment] = _store_that_is_there(config)
        store = stores[where.uri, where.experiment]
        return _State("new", config.epochs) if store is None or config.force else _state(store, config, digest)

    return state


def _store_that_is_there(config: Config) -> Store | None:
    try:
        check_database(config.tracking, create=False)
        status_line.show("importing MLflow, opening the store")
        from seqadd.tracking import connection  # here, because MLflow takes seconds

        return connection.open_store(config.tracking, create=False)
    except StoreNotFound:
        return None


def _state(store: Store, config: Config, digest: Callable[[Config], str]) -> _State:
    finished = store.finished_run(config, lambda: digest(config))
    if finished is not None:
        return _State(f"finished: run {finished.run_id}", 0)
    own = store.run_directory(numeric_flags.key_with_flags(config.config_hash())).epochs_of_checkpoint()
    shorter = store.shorter_runs(config)
    epochs = int(shorter[0].params["epochs"]) if shorter else 0
    if own > 0 and own >= epochs:
        return _State(f"resumes after epoch {own} of {config.epochs}", config.epochs - own)
    if epochs:
        how = f"continues run {shorter[0].run_id} of {epochs} epochs"
        return _State(how, config.epochs - epochs)
    return _State("new", config.epochs)
