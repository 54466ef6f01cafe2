"""The command that trains the runs that a table lacks."""

from __future__ import annotations

import itertools
import json
import shlex
from collections.abc import Sequence

from seqadd.comparison.curves import ConditionRuns, longest_runs
from seqadd.config.composition import Column, Selection
from seqadd.config.parts import code_words
from seqadd.errors import redact_credentials

# For each key its overrides: ``(("cell=lstm", "cell=gru"), ("seed=0",))``.
_Sweep = tuple[tuple[str, ...], ...]


def training_command(found: Sequence[ConditionRuns], selection: Selection, epochs: int) -> str | None:
    """Returns one command that trains all missing runs; None if none is missing.

    A column lacks each selected seed without a finished run of ``epochs``. If no seeds are selected, a column without
    such a run lacks its own seeds; without any run, the seeds of the other columns.

    Args:
        found: the recorded runs of each column.
        selection: the columns and seeds.
        epochs: the last row of the table.
    """
    longest = longest_runs(found, selection)
    missing: dict[int, tuple[int, ...]] = {}
    for index, of_column in enumerate(longest):
        if selection.seeds is not None:
            lacks = [seed for seed in selection.seeds if of_column.get(seed, 0) < epochs]
            if lacks:
                missing[index] = tuple(lacks)
        elif max(of_column.values(), default=0) < epochs:
            missing[index] = tuple(sorted(of_column) or sorted({seed for each in longest for seed in each}))
    if not missing:
        return None
    sweeps = _merged([_sweep(selection.columns[index], seeds) for index, seeds in missing.items()])
    whole = tuple(
        tuple(sorted(dict.fromkeys(itertools.chain(*each)), key=_seed_of)) for each in zip(*sweeps, strict=True)
    )
    # Jobs that are trained already are skipped, so one sweep may have them too.
    needless = _jobs([whole]) - _jobs(sweeps) - _trained(found, selection, epochs)
    if len(sweeps) > 1 and needless:
        shared = [each for each in whole if len(each) == 1]
        several = ",".join(_in_braces([each for each in sweep if each not in shared]) for sweep in sweeps)
        parts = [*map(_override, shared), f"hydra.sweeper.sweeps=[{several}]"]
    else:
        parts = [_override(each) for each in whole]
    return redact_credentials(f"python -m seqadd.run {shlex.join([*code_words(), '-m', *parts, f'epochs={epochs}'])}")


def _sweep(column: Column, seeds: Sequence[int]) -> _Sweep:
    return (
        *((override,) for override in column.overrides),
        *([tuple(f"seed={seed}" for seed in seeds)] if seeds else []),
    )


def _seed_of(override: str) -> int:
    """The seed, for sorting; other overrides keep their order."""
    key, _, value = override.partition("=")
    return int(value) if key == "seed" else 0


def _merged(sweeps: Sequence[_Sweep]) -> list[_Sweep]:
    """Merges sweeps that differ in one key only, the last keys first; the jobs stay the same."""
    merged = list(sweeps)
    for at in reversed(range(len(merged[0]))):
        values: dict[tuple[_Sweep, _Sweep], tuple[str, ...]] = {}
        for sweep in merged:
            others = (sweep[:at], sweep[at + 1 :])
            values[others] = values.get(others, ()) + sweep[at]
        merged = [(*before, each, *after) for (before, after), each in values.items()]
    return merged


def _jobs(sweeps: Sequence[_Sweep]) -> set[tuple[str, ...]]:
    return {job for sweep in sweeps for job in itertools.product(*sweep)}


def _trained(found: Sequence[ConditionRuns], selection: Selection, epochs: int) -> set[tuple[str, ...]]:
    """The jobs of which a run with exactly so many epochs is finished."""
    return {
        (*column.overrides, f"seed={int(run.params['seed'])}")
        for column, here in zip(selection.columns, found, strict=True)
        for run in here.runs.finished
        if int(run.params["epochs"]) == epochs
    }


def _override(each: Sequence[str]) -> str:
    """One override with several values: ``cell=lstm,gru``."""
    key = each[0].partition("=")[0]
    return f"{key}={','.join(override.partition('=')[2] for override in each)}"


def _in_braces(sweep: Sequence[Sequence[str]]) -> str:
    """One sweep in Hydra's grammar: ``{cell:"gru",seed:"1,2"}``."""
    pairs = (_override(each).split("=", 1) for each in sweep)
    return "{" + ",".join(f"{key}:{json.dumps(value, ensure_ascii=False)}" for key, value in pairs) + "}"
