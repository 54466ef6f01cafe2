"""Loads tracked runs: their models with final weights, and their data sets. Trains nothing.

The command line's words choose the runs: ``run=latest``, ``run=ID``, or the overrides of the run, such as
``cell=lstm seed=0``; several values give several runs. ``epoch=10,50`` asks for weights from the middle of training; a
run keeps some of these if ``inspect.every`` is set (see ``inspection.snapshots``). ``model=lstm`` chooses a model that
comes with the package (see ``bundled``).
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from seqadd.config.composition import compose_selection
from seqadd.config.messages import no_such_key
from seqadd.config.parts import code_words
from seqadd.config.schema import (
    GROUPS,
    Config,
    Tracking,
    known_keys,
)
from seqadd.config.validation import check_limits
from seqadd.config.words import check_words, read_word, with_integers
from seqadd.data.drawing import Dataset
from seqadd.errors import ConfigError, RunNotFound
from seqadd.evaluation import bundled
from seqadd.evaluation.recorded_config import config_of, is_edited
from seqadd.evaluation.recorded_weights import BEST, edited_model_of, epochs_of, model_of, weights_of
from seqadd.evaluation.trained_run import HISTORY, TrainedRun
from seqadd.system import numeric_flags
from seqadd.tracking.database import check_database
from seqadd.tracking.run_filter import ALL_RUNS, RunFilter
from seqadd.training.dataset import make_dataset

if TYPE_CHECKING:
    from seqadd.tracking.store import RunRecord, Store

_ALL = "all"
#: The keys that choose runs, beside those of a configuration.
_KEYS = ("run", "model", "epoch", "epochs")


@dataclass(frozen=True)
class Choice:
    """The runs that the words of a command line choose.

    Attributes:
        runs: ids, or ``latest``; empty if runs are chosen otherwise.
        overrides: of a configuration; a sweep over values chooses several runs.
        epochs: the numbers of epochs of runs chosen by their configuration; empty for the longest run.
        at: the epochs whose weights are loaded, 0 for before the first; empty for the last epoch, None for all epochs
            with kept weights; ``best`` for the one with the highest ``val_acc``.
        models: names of models that come with the package; then nothing else is chosen but epochs.
    """

    runs: tuple[str, ...]
    overrides: tuple[str, ...]
    epochs: tuple[int, ...]
    at: tuple[int | str, ...] | None
    models: tuple[str, ...] = ()


def read_choice(words: Sequence[str], others: Sequence[str] = ()) -> Choice:
    """Parses the words ``KEY=VALUE[,VALUE]`` that choose runs; without words, the latest run.

    Args:
        words: the words.
        others: further keys that the command reads itself; the message for a misspelt key may name them.

    Raises:
        ConfigError: for words that are not of this form, or that contradict each other.
    """
    runs: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    epochs: tuple[int, ...] = ()
    at: tuple[int | str, ...] | None = ()
    overrides = []
    check_words(words, _KEYS)
    for word in with_integers(words):
        key, _, value = word.partition("=")
        if not value.strip(", "):
            raise ConfigError(f"{word}: must be KEY=VALUE, for example run=latest")
        if key not in _KEYS:  # the configuration's own parser reads it
            _check_key(key, others)
            overrides.append(word)
            continue
        _, values = read_word(word)
        if key == "run":
            runs = tuple(values)
        elif key == "model":
            models = tuple(values)
        elif key == "epoch":
            at = None if values == [_ALL] else _epochs(values)
        else:
            epochs = _numbers(key, values, least=1)
    if models:
        bundled.check_alone(models, [word for word in words if word.partition("=")[0] not in ("model", "epoch")])
        return Choice((), (), (), at, models)
    ours = [word for word in overrides if not word.startswith("tracking.")]
    if runs and (ours or epochs):
        raise ConfigError(
            f"run={','.join(runs)} {(ours or ['epochs=' + ','.join(map(str, epochs))])[0]}: choose runs by "
            "run=ID or by their configuration, not by both"
        )
    if not (runs or ours or epochs):
        runs = ("latest",)
    return Choice(runs, tuple(overrides), epochs, at)


def _check_key(key: str, others: Sequence[str]) -> None:
    """Raises ConfigError for an unknown key; the configuration's own parser does not know the keys that choose runs."""
    if key.isidentifier() and key not in {*known_keys(), *GROUPS}:
        raise ConfigError(no_such_key(key, [*_KEYS, *others]))


def _epochs(values: Sequence[str]) -> tuple[int | str, ...]:
    numbers = _numbers("epoch", [value for value in values if value != BEST], least=0)
    return tuple(dict.fromkeys([*numbers, *[BEST] * (BEST in values)]))


def _numbers(key: str, values: Sequence[str], least: int) -> tuple[int, ...]:
    if not all(re.fullmatch(r"[0-9]+", value) and int(value) >= least for value in values):
        more = f", or {_ALL} or {BEST}" if key == "epoch" else ""
        raise ConfigError(f"{key}={','.join(values)}: must be integers of at least {least}{more}")
    return tuple(int(value) for value in values)


def load_run(
    *choice: str, run_filter: RunFilter = ALL_RUNS, notify: Callable[[str], None] = warnings.warn
) -> TrainedRun:
    """Loads a finished run: its model with the weights, its data set, its history. Trains nothing.

    Args:
        choice: words ``KEY=VALUE`` that choose one run: ``run=latest`` (the default), ``run=ID``, its configuration,
            ``cell=lstm seed=0``, or ``model=lstm``, a model that comes with the package. ``epoch=50`` takes the weights
            after that epoch, if the run keeps them. ``tracking.uri=...`` names another store than that of the current
            folder.
        run_filter: which runs count in a shared store: ``RunFilter(user="anna")``.
        notify: receives a line for each reason why the weights may give other numbers here than in training.

    Raises:
        ConfigError: for invalid words, several runs, a missing store, or libraries and flags of this process that would
            change a run's numbers.
        RunNotFound: for a run that does not exist, is not finished, or has no weights that fit its configuration.

    Example:
        >>> run = load_run("run=latest")
        >>> questions = run.write(["535+61"])
        >>> questions.shape  # of three-digit sums
        (1, 7)
        >>> sorted(run.history["val_acc"]) == list(range(1, run.epoch + 1))
        True
    """
    found = load_runs(choice, run_filter, notify)
    if len(found) > 1:
        raise ConfigError(f"{' '.join(choice)}: matches {len(found)} runs; must be one")
    return found[0]


def load_runs(
    words: Sequence[str], run_filter: RunFilter = ALL_RUNS, notify: Callable[[str], None] = warnings.warn
) -> list[TrainedRun]:
    """Loads all runs that the words choose, in their order, each once for every chosen epoch.

    Args:
        words: see ``read_choice``.
        run_filter: which runs count.
        notify: receives each run's ``notes``.

    Raises:
        ConfigError: for invalid words, a missing store, or libraries and flags of this process that would change
            a run's numbers.
        RunNotFound: for a run that does not exist, is not finished, or has no weights that fit its configuration.
    """
    choice = read_choice(words)
    loaded = load_from(open_store_of(choice, run_filter), choice)
    for line in dict.fromkeys(f"{run.origin}: {note}" for run in loaded for note in run.notes):
        notify(line)
    return loaded


def open_store_of(choice: Choice, run_filter: RunFilter = ALL_RUNS) -> Store | None:
    """Opens the store that a choice names, or the default store, with a filter for its runs; None if it needs none.

    Raises:
        ConfigError: when there is no such store, or the choice has both a filter and a run's ID or a model's name.
    """
    if choice.models:
        if run_filter:
            bundled.check_alone(choice.models, [run_filter.as_options()])
        return None
    named = [run for run in choice.runs if run != "latest"]
    if named and run_filter:
        raise ConfigError(f"run={named[0]} {run_filter.as_options()}: a run ID needs no filter; leave it out")
    tracking_words = [word for word in choice.overrides if word.startswith("tracking.")]
    chosen = compose_selection(tracking_words if choice.runs else choice.overrides)
    where = _one_tracking([column.config.tracking for column in chosen.columns])
    check_database(where, create=False)
    from seqadd.tracking import connection

    return connection.connect(where, create=False, run_filter=run_filter)


def _one_tracking(each: list[Tracking]) -> Tracking:
    for other in each[1:]:
        if other != each[0]:
            raise ConfigError(f"tracking.uri={each[0].uri},{other.uri}: must be one store")
    return each[0]


def load_from(store: Store | None, choice: Choice) -> list[TrainedRun]:
    """Like ``load_runs``, from an open store; the caller reports the runs' ``notes``."""
    numeric_flags.check_libraries()
    if store is None:
        numeric_flags.check_flags()
        check_limits()
        return bundled.load_bundled(choice.models, choice.at)
    found: list[tuple[RunRecord, Config, int, str, str]] = []
    for run in recorded_runs(store, choice):
        config = config_of(run)
        for epoch in epochs_of(store, run, config, choice.at):
            found.append((run, config, epoch, *weights_of(store, run, config, epoch)))
    numeric_flags.check_flags()
    data: dict[str, Dataset] = {}
    loaded = []
    for run, config, epoch, weights_run, name in found:
        if run.run_id not in data:
            data[run.run_id] = make_dataset(config)
            if run.tags.get("data_digest", data[run.run_id].digest()) != data[run.run_id].digest():
                raise RunNotFound(
                    f"run={run.run_id}: was trained on other {config.noun}: its data_digest is "
                    f"{run.tags['data_digest']}, here {data[run.run_id].digest()}"
                )
        edited = is_edited(run, config)
        model = (
            edited_model_of(store, run, config, data[run.run_id])
            if edited
            else model_of(store, run, config, epoch, weights_run, name)
        )
        history = {
            metric: {at: value for at, value in store.history(run.run_id, metric).items() if at <= epoch}
            for metric in HISTORY
        }
        loaded.append(TrainedRun(run.run_id, config, run.tags, epoch, model, data[run.run_id], history, edited=edited))
    return loaded


def recorded_runs(store: Store, choice: Choice) -> list[RunRecord]:
    """Returns the records of the runs that a choice names, in its order.

    Raises:
        RunNotFound: for a run that does not exist, or is not finished.
    """
    if choice.runs:
        return [_by_id(store, run_id) for run_id in choice.runs]
    selection = compose_selection(choice.overrides)
    found = []
    for column in selection.columns:
        recorded = store.of_condition(column.config.condition_hash())
        for seed in selection.seeds or (None,):
            for epochs in choice.epochs or (None,):
                # Runs made with flags count only if there are no others.
                fitting = _fitting(recorded.finished, seed, epochs) or _fitting(recorded.with_flags, seed, epochs)
                if not fitting:
                    runs = recorded.finished + recorded.with_flags
                    raise RunNotFound(_none_of_them([*column.overrides, *_words(store)], seed, epochs, runs))
                # The longest run; the newest if there are several.
                found.append(max(reversed(fitting), key=lambda run: int(run.params["epochs"])))
    return found


def _fitting(runs: Sequence[RunRecord], seed: int | None, epochs: int | None) -> list[RunRecord]:
    return [
        run for run in runs if seed in (None, int(run.params["seed"])) and epochs in (None, int(run.params["epochs"]))
    ]


def _words(store: Store) -> list[str]:
    """Returns the store's filter as command line options, for messages."""
    return [store.run_filter.as_options()] if store.run_filter else []


def _none_of_them(overrides: Sequence[str], seed: int | None, epochs: int | None, runs: list[RunRecord]) -> str:
    wanted = [*overrides]
    wanted += [f"seed={seed}"] * (seed is not None) + [f"epochs={epochs}"] * (epochs is not None)
    message = f"{' '.join(wanted)}: no finished run in this store"
    there = sorted({(int(run.params["seed"]), int(run.params["epochs"])) for run in runs})
    if there:
        listed = ", ".join(f"seed={a} epochs={b}" for a, b in there[:5])
        return f"{message}; finished are {listed}" + (f" and {len(there) - 5} more" if len(there) > 5 else "")
    words = [word for word in wanted if not word.startswith(("tracking.", "--"))]
    return f"{message}; python -m seqadd.run {' '.join([*code_words(), *words])} trains one"


def find_run(store: Store, run_id: str) -> RunRecord:
    """Returns the record of a training, whatever its status; ``latest`` is the newest that is finished.

    Raises:
        RunNotFound: when the store has no such run, or it is none of a training.
    """
    if run_id == "latest":
        newest = store.newest_run()
        if newest is None:
            wanted = " ".join([f"run={run_id}", *_words(store)])
            raise RunNotFound(f"{wanted}: no finished run in this experiment; python -m seqadd.run trains one")
        return newest
    run = store.run(run_id)
    if run is None:
        raise RunNotFound(f"run={run_id}: no such run in this store; python -m seqadd.run prints the ID of its run")
    if "config_hash" not in run.tags:
        raise RunNotFound(f"run={run_id}: has no model: it is a sweep, or another program's; name a single run")
    return run


def _by_id(store: Store, run_id: str) -> RunRecord:
    run = find_run(store, run_id)
    if run.status != "FINISHED":
        raise RunNotFound(f"run={run_id}: is {run.status}, not FINISHED; repeat its command to finish it")
    return run
