"""Reads and checks a claim's folder: its runs, and the statements about them. Trains nothing and opens no store.

People write four files in a folder of ``experiments/``: ``README.md``; ``sweep.yaml``, the runs, a Hydra configuration;
``published.csv``, the statements about them, one per row; ``claim.yaml``, the settings of its figures. Only
``seqadd.reproduce`` writes the rest: ``curves.csv.gz``, ``runs.csv``, ``reproduced.csv``, ``ceilings.csv``,
``table.md``, the figures, and the part of ``README.md`` between two markers.
"""

from __future__ import annotations

import dataclasses
import json
import math
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException, MissingConfigException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from seqadd.claims import verdicts
from seqadd.claims.ceilings import MOST_DIGITS, READERS, visible_context
from seqadd.claims.claim import (
    BEGIN,
    END,
    STATEMENT,
    Claim,
    ClaimSettings,
    Condition,
    FigureSettings,
    Kind,
    Statement,
    base_metric,
    condition_labels,
    is_fraction,
)
from seqadd.config.composition import Composer, combinations
from seqadd.config.messages import no_such_key, one_line
from seqadd.config.schema import Config, known_keys, override_text
from seqadd.config.validation import validate
from seqadd.errors import ConfigError, PartNotDeclared
from seqadd.system.files import resource_dir
from seqadd.system.part_registry import KINDS
from seqadd.training.metric_names import is_metric, lacks_group

# The settings that a figure of each kind must have.
_NEEDED = {Kind.curves: ("metrics",), Kind.against: ("key", "metric", "at"), Kind.intervals: ()}


def names(experiments: Path) -> list[str]:
    """Returns the names of the claims in a folder: its folders with a ``sweep.yaml``.

    Raises:
        ConfigError: when there are none.
    """
    found = sorted(path.parent.name for path in experiments.glob("*/sweep.yaml"))
    if not found:
        raise ConfigError(f"--experiments {experiments}: no folder in it has a file sweep.yaml")
    return found


def read_all(
    experiments: Path,
    wanted: Sequence[str] = (),
    overrides: Sequence[str] = (),
    notify: Callable[[str], None] | None = None,
) -> list[Claim]:
    """Returns the claims in a folder, in the order of their ``position``.

    Args:
        experiments: the folder.
        wanted: names of claims; empty for all.
        overrides: for all of their runs.
        notify: receives a line for each claim with own parts that are not declared, which is left out. It is refused if
            it is named in ``wanted``, if no other is left, or without this function.

    Raises:
        ConfigError: as ``read``.
    """
    every, left_out = [], []
    for name in [name for name in names(experiments) if name in wanted or not wanted]:
        try:
            every.append(read(experiments / name, overrides))
        except PartNotDeclared as error:
            if wanted or notify is None:
                raise
            left_out.append(error)
    if left_out and not every:
        raise left_out[0]
    for refused in left_out:
        assert notify is not None
        notify(f"left out: {refused}")
    return sorted(every, key=lambda claim: (claim.settings.position, claim.name))


def read(folder: Path, overrides: Sequence[str] = ()) -> Claim:
    """Reads and checks a claim.

    Args:
        folder: of the claim.
        overrides: for all of its runs.

    Raises:
        ConfigError: for a file that is missing or wrong; names the file.
    """
    conditions = _conditions(folder, overrides)
    settings = _settings(folder / "claim.yaml")
    try:
        readme = (folder / "README.md").read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{folder / 'README.md'}: cannot read it: {one_line(error)}") from error
    marked = readme.count(BEGIN) == readme.count(END) == 1 and readme.index(BEGIN) < readme.index(END)
    if not readme.startswith("# ") or not marked:
        raise ConfigError(f"{folder / 'README.md'}: must begin with a heading, and have {BEGIN} and {END} once each")
    for condition in conditions:
        _check_ceiling(condition.config, folder / "sweep.yaml")
    for name, shown in settings.figures.items():
        for metric in shown.all_metrics():
            if _is_of_no_task(metric, conditions):
                raise ConfigError(f"{folder / 'claim.yaml'}: {name}: {metric}: no such metric")
        if not any(each.has(shown.where) for each in conditions):
            chosen = " ".join(f"{key}={value}" for key, value in shown.where.items())
            raise ConfigError(f"{folder / 'claim.yaml'}: {name}: where: no condition of sweep.yaml has {chosen}")
    return Claim(
        folder,
        readme.partition("\n")[0].removeprefix("# ").strip(),
        conditions,
        _statements(folder / "published.csv", conditions),
        settings,
    )


def _settings(path: Path) -> ClaimSettings:
    """Reads and checks claim.yaml, so that no run is trained for a figure that cannot be drawn."""
    try:
        settings: Any = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(ClaimSettings), OmegaConf.load(path)))
    except (AttributeError, OmegaConfBaseException, OSError, ValueError, YAMLError) as error:
        raise ConfigError(f"{path}: {one_line(error)}") from error
    if settings.fewest_seeds < 2:
        raise ConfigError(f"{path}: fewest_seeds={settings.fewest_seeds}: must be at least 2")
    for key in (settings.columns, *(key for shown in settings.figures.values() for key in _keys_of(shown))):
        if key not in (None, *known_keys()):
            raise ConfigError(f"{path}: {no_such_key(key)}")
    for name, shown in settings.figures.items():
        _check_figure(name, shown, f"{path}: {name}")
    for each in settings.ceilings:
        if each.reader not in READERS:
            raise ConfigError(f"{path}: reader={each.reader}: must be one of {', '.join(READERS)}")
    return settings


def _check_ceiling(config: Config, path: Path) -> None:
    """Raises ConfigError, beginning with the file, if a condition has a ceiling that cannot be computed."""
    if visible_context(config) is None:
        return
    task, why = config.task, "to compute the ceiling of an aligned model"
    if task.digits is None:
        raise ConfigError(f"{path}: task={task.name}: must be addition, {why}")
    if task.digits > MOST_DIGITS:
        raise ConfigError(f"{path}: task.digits={task.digits}: must be at most {MOST_DIGITS}, {why}")
    if task.equal_lengths:
        raise ConfigError(f"{path}: task.equal_lengths=true: must be null, {why}")


def _keys_of(shown: FigureSettings) -> tuple[str | None, ...]:
    """Returns the configuration keys that a figure's settings name."""
    return shown.panels, shown.key, *shown.where


def _check_figure(name: str, shown: FigureSettings, where: str) -> None:
    """Raises ConfigError, beginning with ``where``, for a figure that cannot be drawn."""
    if not re.fullmatch(r"[\w-]+\.png", name):
        raise ConfigError(f"{where}: a figure's name must be letters, digits, - and _, and end in .png")
    missing = [key for key in _NEEDED[shown.kind] if not getattr(shown, key)]
    if missing:
        raise ConfigError(f"{where}: a figure of kind {shown.kind.name} needs {', '.join(missing)}")
    for metric in shown.all_metrics():
        if not is_metric(metric):
            raise ConfigError(f"{where}: {metric}: no such metric")
    for moment in shown.at:
        if len(moment) != 1 or not moment.keys() <= {"epochs", "updates"}:
            raise ConfigError(f"{where}: at: {moment}: must be 'epochs: N' or 'updates: N'")


def _conditions(folder: Path, overrides: Sequence[str]) -> list[Condition]:
    """Composes the runs of ``sweep.yaml`` with Hydra, as ``python -m seqadd.run`` does."""
    path = folder / "sweep.yaml"
    conf = json.dumps(f"file://{resource_dir('conf')}", ensure_ascii=False)  # quoted: a path may have any character
    search = f"hydra.searchpath=[{conf}]"
    jobs: dict[str, list[Config]] = {}
    try:
        with initialize_config_dir(str(folder.absolute()), version_base="1.3"):
            composer = Composer("sweep", [search])
            sweeper = composer.hydra_settings(overrides).sweeper
            loader = GlobalHydra.instance().config_loader()
            composed: dict[tuple[str, ...], Config] = {}
            for job in combinations(
                loader, sweeper.params or {}, sweeper.sweeps, overrides, sweeper.get("together") or ()
            ):
                seeds = [each for each in job if each.startswith("seed=")]
                without_seed = tuple(each for each in job if each not in seeds)
                if without_seed not in composed:  # composing is the slowest step, and a seed changes nothing else
                    composed[without_seed] = composer.compose(without_seed)
                config = composed[without_seed]
                if seeds:
                    config = dataclasses.replace(config, seed=int(seeds[-1].partition("=")[2]))
                validate(config)
                jobs.setdefault(config.condition_hash(), []).append(config)
    except MissingConfigException as error:
        group = (error.missing_cfg_file or "").partition("/")[0]
        kind, more = (PartNotDeclared, ", or a part of --code FILE") if group in KINDS else (ConfigError, "")
        raise kind(f"{path}: {one_line(error)}{more}") from error
    except (AttributeError, HydraException, OSError, TypeError, ValueError, YAMLError) as error:
        raise ConfigError(f"{path}: {one_line(error)}") from error
    if not jobs:
        raise ConfigError(f"{path}: hydra.sweeper names no job")
    labels = condition_labels([of_condition[0] for of_condition in jobs.values()])
    conditions = [Condition(label, list(each)) for label, each in zip(labels, jobs.values(), strict=True)]
    for condition in conditions:
        if len({job.seed for job in condition.jobs}) < len(condition.jobs):
            raise ConfigError(f"{path}: {condition.label}: a seed occurs twice, with different epochs; name it once")
    return conditions


def _statements(path: Path, conditions: Sequence[Condition]) -> list[Statement]:
    import pandas as pd

    try:
        rows = pd.read_csv(path, dtype=str, keep_default_na=False)
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: cannot read it: {one_line(error)}") from error
    missing = set(STATEMENT) - set(rows.columns)
    strange = set(rows.columns) - set(STATEMENT) - set(known_keys())
    if missing or strange:
        raise ConfigError(
            f"{path}: lacks the column {', '.join(sorted(missing))}"
            if missing
            else f"{path}: no such key: {', '.join(sorted(strange))}"
        )
    if rows.empty:
        raise ConfigError(f"{path}: must have at least one statement")
    return [
        _statement({str(key): value for key, value in row.items()}, conditions, f"{path}: line {line}")
        for line, row in enumerate(rows.to_dict("records"), start=2)
    ]


def _is_of_no_task(metric: str, conditions: Sequence[Condition]) -> bool:
    return all(lacks_group(metric, condition.config) for condition in conditions)


def _statement(fields: dict[str, str], conditions: Sequence[Condition], where: str) -> Statement:
    keys = {key: value for key, value in fields.items() if key not in STATEMENT and value != ""}
    _check_comparison(fields["relation"], fields["value"], fields["than"], where)
    metric = fields["metric"]
    if not is_metric(base_metric(metric)) or _is_of_no_task(base_metric(metric), conditions):
        raise ConfigError(f"{where}: metric={metric}: no such metric")
    try:
        epochs, number = int(fields["epochs"]), _number(fields["value"], metric)
    except ValueError as error:
        raise ConfigError(f"{where}: {error}") from error
    condition = _find(conditions, keys, epochs, where)
    other = _find_other(fields["than"], conditions, keys, epochs, where)
    return Statement(fields, condition, epochs, metric, fields["relation"], number, other)


def _check_comparison(relation: str, value: str, than: str, where: str) -> None:
    """Raises ConfigError, beginning with ``where``, if these fields do not define one comparison."""
    if relation not in ("", *verdicts.RELATIONS):
        raise ConfigError(f"{where}: relation={relation}: must be empty or one of {', '.join(verdicts.RELATIONS)}")
    if value != "" and than != "":
        raise ConfigError(f"{where}: has both value and than; leave one of them empty")
    if value != "" and relation == "":
        raise ConfigError(f"{where}: value={value}: needs a relation")
    if relation != "" and value == "" and than == "":
        raise ConfigError(f"{where}: relation={relation}: needs a value or a than")
    if than != "" and relation == "equal":
        raise ConfigError(f"{where}: relation=equal: must be above or below, to compare two conditions")


def _number(value: str, metric: str) -> float | None:
    """Parses a published value of a metric; None for an empty field. Raises ValueError for an impossible value."""
    if value == "":
        return None
    number = float(value)
    if not (math.isfinite(number) and (number <= 1 or not is_fraction(metric))):
        raise ValueError(f"value={value}: must be a number, and at most 1 for {metric}")
    return number


def _find_other(
    than: str, conditions: Sequence[Condition], keys: dict[str, str], epochs: int, where: str
) -> tuple[int, int] | None:
    """Returns the condition (index) and epochs that a statement compares with; None if it names no other."""
    if than == "":
        return None
    changed = dict(each.partition("=")[::2] for each in than.split())
    written = changed.pop("epochs", str(epochs))
    if not written.isdecimal():
        raise ConfigError(f"{where}: than={than}: its epochs must be an integer")
    other_epochs = int(written)
    return _find(conditions, keys | changed, other_epochs, where), other_epochs


def _find(conditions: Sequence[Condition], keys: dict[str, str], epochs: int, where: str) -> int:
    """Returns the index of the one condition with these values."""
    found = [
        index
        for index, condition in enumerate(conditions)
        if all(override_text(condition.config.flat().get(key)) == value for key, value in keys.items())
    ]
    if len(found) != 1:
        named = " ".join(f"{key}={value}" for key, value in keys.items())
        raise ConfigError(f"{where}: {named}: {len(found)} conditions of sweep.yaml match; must be one")
    longest = conditions[found[0]].config.epochs
    if not 1 <= epochs <= longest:
        raise ConfigError(f"{where}: epochs={epochs}: must be in 1..{longest}, the epochs of its runs")
    return found[0]
