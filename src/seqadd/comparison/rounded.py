"""Finds the runs of a rounded number: ``learning_rate=0.0181`` for a search's 0.018123456."""

from __future__ import annotations

import copy
import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal, DecimalException
from typing import TYPE_CHECKING

from seqadd.comparison.curves import ConditionRuns
from seqadd.config.composition import Column, Selection
from seqadd.config.schema import Config, kind_of_key, known_result_keys, override_text
from seqadd.errors import ConfigError

if TYPE_CHECKING:
    from seqadd.tracking.store import ListedRun, Store


def find_rounded(
    found: Sequence[ConditionRuns], selection: Selection
) -> tuple[list[ConditionRuns], Selection, list[str]]:
    """Looks for runs whose numbers round to those of the overrides, for each column without a finished run.

    Returns:
        ``found`` and ``selection`` with the numbers that the runs have, and a note on each such number.

    Raises:
        ConfigError: when several numbers round to one of an override; names them.
    """
    columns, runs, notes = list(selection.columns), list(found), []
    listed = functools.cache(_similar_runs)  # columns that differ in numbers alone have the same similar runs
    floats = [key for key in known_result_keys() if kind_of_key(key) == "float"]
    for index, (column, here) in enumerate(zip(selection.columns, found, strict=True)):
        written = dict(override.partition("=")[::2] for override in column.overrides)
        typed = {key: written[key] for key in floats if key in written}
        if here.runs.finished or not typed:
            continue
        candidates = [
            each
            for each in _candidates(here.store, column.config, typed, listed)
            if here.store.of_condition(_with(column, each).config.condition_hash()).finished
        ]
        if len(candidates) > 1:
            raise ConfigError(_ambiguous(typed, candidates))
        if candidates:
            columns[index] = _with(column, candidates[0])
            runs[index] = ConditionRuns(here.store, here.store.of_condition(columns[index].config.condition_hash()))
            notes += [
                f"{key}={typed[key]}: no run has this value; shown is {value}, which rounds to it"
                for key, value in candidates[0].items()
                if value != typed[key]
            ]
    return runs, Selection(columns, selection.seeds), list(dict.fromkeys(notes))


def rounds_to(number: str, rounded: str) -> bool:
    """Whether a number, rounded to as many decimals as ``rounded`` has, equals it; False for other texts.

    Example:
        >>> rounds_to("0.018123", "0.0181"), rounds_to("0.01816", "0.0181"), rounds_to("lstm", "0.0181")
        (True, False, False)
    """
    try:
        return Decimal(number).quantize(Decimal(rounded)) == Decimal(rounded)
    except DecimalException:
        return False


def _similar_runs(store: Store, cell: str, architecture: str, batch_size: str) -> list[ListedRun]:
    return store.training_runs({"cell": cell, "architecture": architecture, "batch_size": batch_size})


def _candidates(
    store: Store, config: Config, typed: Mapping[str, str], listed: Callable[..., list[ListedRun]]
) -> list[dict[str, str]]:
    """The recorded numbers of finished runs that differ from a condition only by what rounding removes, in order."""
    condition = {key: override_text(value) for key, value in config.condition().items()}
    found: dict[tuple[str, ...], None] = {}
    for run in listed(store, condition["cell"], condition["architecture"], condition["batch_size"]):
        params = run.record.params
        if run.record.status == "FINISHED" and all(
            rounds_to(params.get(key, ""), typed[key]) if key in typed else params.get(key, "null") == text
            for key, text in condition.items()
        ):
            found[tuple(params[key] for key in typed)] = None
    return [dict(zip(typed, values, strict=True)) for values in sorted(found)]


def _with(column: Column, values: Mapping[str, str]) -> Column:
    """A column with other numbers."""
    config = copy.deepcopy(column.config)
    for key, value in values.items():
        *path, name = key.split(".")
        setattr(functools.reduce(getattr, path, config), name, float(value))
    keys = [override.partition("=")[0] for override in column.overrides]
    own = [f"{key}={values[key]}" if key in values else old for key, old in zip(keys, column.overrides, strict=True)]
    return dataclasses.replace(column, config=config, overrides=tuple(own))


def _ambiguous(typed: Mapping[str, str], candidates: Sequence[Mapping[str, str]]) -> str:
    wanted = " ".join(f"{key}={text}" for key, text in typed.items())
    named = "; ".join(" ".join(f"{key}={text}" for key, text in each.items()) for each in candidates)
    return f"{wanted}: no run has this value, and {len(candidates)} round to it; write one of {named}"
