"""The list of recorded runs: name, what differs from the defaults, last epoch, val_acc and status."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser

from seqadd.comparison.curves import open_stores
from seqadd.comparison.rounded import rounds_to
from seqadd.config.composition import compose_selection, override_values
from seqadd.config.differences import differences, task_choices
from seqadd.config.schema import known_result_keys
from seqadd.errors import ConfigError
from seqadd.system.files import resource_dir
from seqadd.tracking.run_filter import RunFilter

if TYPE_CHECKING:
    import pandas as pd

    from seqadd.tracking.store import ListedRun

_COLUMNS = ["name", "differs", "last_epoch", "val_acc", "status", "run_id"]
_LONGEST = 200  # characters of a name or a value


def list_runs(overrides: Sequence[str], run_filter: RunFilter) -> pd.DataFrame:
    """Returns the recorded training runs, best ``val_acc`` first; runs without ``val_acc`` are last.

    Args:
        overrides: ``tracking.uri`` and ``tracking.experiment`` name stores; of other keys, the values that runs have.
        run_filter: which runs count.

    Returns:
        ``name``, ``differs`` (the keys that differ from the defaults), ``last_epoch`` (``200``, ``57 of 200``),
        ``val_acc`` (a fraction of characters after the last epoch; NaN without one), ``status`` and ``run_id``.

    Raises:
        ConfigError: for overrides that cannot be run, and when a store or an experiment does not exist.
    """
    import pandas as pd

    selection = compose_selection([override for override in overrides if not override.startswith("epochs=")])
    wanted = _wanted([override for override in overrides if not override.startswith("tracking.")])
    stores = open_stores(selection, run_filter).values()
    runs = [run for store in stores for run in store.training_runs() if _matches(run.record.params, wanted)]
    of_runs = differences([run.record.params for run in runs])
    rows = [_row(run, own) for run, own in zip(runs, of_runs, strict=True)]
    return pd.DataFrame(rows, columns=_COLUMNS).sort_values(
        "val_acc", ascending=False, na_position="last", kind="stable", ignore_index=True
    )


def lay_out_runs(runs: pd.DataFrame) -> list[list[str]]:
    """Lays out the list for readers: a header, then a row for each run."""
    header = ["name", "differs from the defaults", "last epoch", "val_acc", "status"]
    return [
        header,
        *(
            [run["name"], run["differs"], run["last_epoch"], _fraction(run["val_acc"]), run["status"]]
            for run in runs.to_dict("records")
        ),
    ]


def printable(text: str) -> str:
    """Returns a text of the store, which is untrusted, as one short line."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)[:_LONGEST]


def _fraction(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.4f}"


def _row(run: ListedRun, own: Mapping[str, str]) -> dict[str, object]:
    asked = run.record.params.get("epochs", "")
    return {
        "name": printable(run.name),
        "differs": " ".join(f"{key}={printable(text)}" for key, text in own.items() if key != "epochs"),
        "last_epoch": str(run.last_epoch)
        + (f" of {printable(asked)}" if asked not in ("", str(run.last_epoch)) else ""),
        "val_acc": float("nan") if run.val_acc is None else run.val_acc,
        "status": "pruned" if "pruned" in run.record.tags else run.record.status.lower(),
        "run_id": run.record.run_id,
    }


def _wanted(overrides: Sequence[str]) -> list[list[dict[str, str]]]:
    """For each override the parameters that a run may have: a dictionary for each of its values."""
    wanted = []
    with initialize_config_dir(str(resource_dir("conf")), version_base="1.3"):
        parser = OverridesParser.create(config_loader=GlobalHydra.instance().config_loader())
        for override in parser.parse_overrides(list(overrides)):
            key, values = override.get_key_element(), override_values(override)
            if key != "task" and key not in known_result_keys():
                raise ConfigError(f"{key}={','.join(values)}: runs do not record {key}; leave it out")
            wanted.append([task_choices()[value] if key == "task" else {key: value} for value in values])
    return wanted


def _matches(params: Mapping[str, str], wanted: Sequence[Sequence[Mapping[str, str]]]) -> bool:
    def has(values: Mapping[str, str]) -> bool:
        return all(
            params.get(key, "null") == text or rounds_to(params.get(key, ""), text) for key, text in values.items()
        )

    return all(any(map(has, alternatives)) for alternatives in wanted)
