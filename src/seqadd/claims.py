"""A claim's folder as data: what is run, and what is claimed of it. Trains nothing and asks no store.

A folder of ``experiments/`` holds, written by people: ``README.md``; ``sweep.yaml``, the runs, a configuration of
Hydra's; ``published.csv``, what is claimed of them, a statement a row; ``claim.yaml``, what its figures show. The rest
is written by ``seqadd.reproduce`` alone: ``runs.csv``, ``reproduced.csv``, ``ceilings.csv``, ``table.md``, the figures,
and in ``README.md`` what stands between two markers.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from omegaconf import OmegaConf, open_dict
from yaml import YAMLError

from seqadd import verdicts
from seqadd.config import Config, ConfigError, as_text, check, from_hydra, in_one_line, known_keys, packaged
from seqadd.sweeps import combinations

#: Columns of published.csv beside the keys of the configuration that a statement is about.
STATEMENT = ("epochs", "metric", "relation", "value", "than", "source")
#: In README.md, what stands between these two lines is written by the program.
BEGIN = "<!-- results: written by python -m seqadd.reproduce -->"
END = "<!-- end of results -->"


@dataclass(frozen=True)
class Condition:
    """Runs that differ in their seeds only.

    Attributes:
        label: the values that tell it from the claim's other conditions.
        jobs: a checked configuration for each seed.
    """

    label: str
    jobs: list[Config]

    @property
    def config(self) -> Config:
        """That of the first seed."""
        return self.jobs[0]


@dataclass(frozen=True)
class Statement:
    """One row of published.csv.

    Attributes:
        fields: as written.
        condition: which of the claim's conditions it is about.
        epochs: after how many it is measured.
        metric: of the run, or derived from one, see ``measure``.
        relation: what the metric is claimed to be to ``value`` or to ``than``; empty where nothing is claimed.
        value: a published number.
        than: another condition and its number of epochs.
    """

    fields: dict[str, str]
    condition: int
    epochs: int
    metric: str
    relation: str
    value: float | None
    than: tuple[int, int] | None


@dataclass(frozen=True)
class Claim:
    """What a folder of ``experiments/`` holds, checked.

    Attributes:
        name: of the folder.
        title: first heading of its README.
        fewest_seeds: with fewer no verdict is given.
        position: where it stands among the others.
        ours: whether it asks something that nobody claimed, so that its verdicts are not counted among the others.
        columns: the key whose values are the columns of the table of published numbers; None for a row each.
        figures: for each figure's file name what it shows.
        readers: what else a ceiling is computed for, see ``seqadd.ceilings``.
    """

    folder: Path
    title: str
    conditions: list[Condition]
    statements: list[Statement]
    fewest_seeds: int
    position: int
    ours: bool
    columns: str | None
    figures: dict[str, dict[str, Any]]
    readers: list[dict[str, Any]]

    @property
    def name(self) -> str:
        """What it is called on the command line."""
        return self.folder.name

    @property
    def jobs(self) -> list[Config]:
        """All runs, the seeds of a condition one after the other."""
        return [job for condition in self.conditions for job in condition.jobs]


def names(experiments: Path) -> list[str]:
    """The claims in a folder: its folders with a ``sweep.yaml``.

    Raises:
        ConfigError: when there are none.
    """
    found = sorted(path.parent.name for path in experiments.glob("*/sweep.yaml"))
    if not found:
        raise ConfigError(f"--experiments {experiments}: no folder in it has a sweep.yaml")
    return found


def read_all(experiments: Path, wanted: Sequence[str] = (), overrides: Sequence[str] = ()) -> list[Claim]:
    """The claims in a folder, in their order.

    Args:
        experiments: the folder.
        wanted: names of claims; none for all.
        overrides: for all of their runs.

    Raises:
        ConfigError: as ``read``.
    """
    every = [read(experiments / name, overrides) for name in names(experiments) if name in wanted or not wanted]
    return sorted(every, key=lambda claim: (claim.position, claim.name))


def read(folder: Path, overrides: Sequence[str] = ()) -> Claim:
    """Reads and checks a claim.

    Args:
        folder: of the claim.
        overrides: for all of its runs.

    Raises:
        ConfigError: for a file that is missing or wrong, naming it.
    """
    conditions = _conditions(folder, overrides)
    said = folder / "claim.yaml"
    try:
        settings: Any = OmegaConf.to_container(OmegaConf.load(said))
        readme = (folder / "README.md").read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError, YAMLError) as error:
        raise ConfigError(f"{folder}: cannot read this claim: {in_one_line(error)}") from error
    strange = settings.keys() - {"position", "ours", "fewest_seeds", "columns", "figures", "ceilings"}
    if strange:
        raise ConfigError(f"{said}: no setting is called {', '.join(sorted(strange))}")
    if not readme.startswith("# ") or BEGIN not in readme or END not in readme:
        raise ConfigError(f"{folder / 'README.md'}: must begin with a heading and have the lines {BEGIN} and {END}")
    return Claim(
        folder,
        readme.partition("\n")[0].removeprefix("# ").strip(),
        conditions,
        _statements(folder / "published.csv", conditions),
        settings.get("fewest_seeds", verdicts.FEWEST_SEEDS),
        settings.get("position", 1000),
        settings.get("ours", False),
        settings.get("columns"),
        settings.get("figures", {}),
        settings.get("ceilings", []),
    )


def _conditions(folder: Path, overrides: Sequence[str]) -> list[Condition]:
    """The runs of ``sweep.yaml``, composed by Hydra as ``python -m seqadd.run`` composes them."""
    path = folder / "sweep.yaml"
    search = f"hydra.searchpath=[file://{packaged('conf')}]"
    jobs: dict[str, list[Config]] = {}
    try:
        with initialize_config_dir(str(folder.absolute()), version_base="1.3"):
            sweeper = compose("sweep", [search, *overrides], return_hydra_config=True).hydra.sweeper
            loader = GlobalHydra.instance().config_loader()
            composed: dict[tuple[str, ...], Config] = {}
            for job in combinations(loader, sweeper.params or {}, sweeper.sweeps, overrides):
                seeds = [each for each in job if each.startswith("seed=")]
                without_seed = tuple(each for each in job if each not in seeds)
                if without_seed not in composed:  # composing takes longer than all the rest
                    cfg = compose("sweep", [search, *without_seed], return_hydra_config=True)
                    choices = cfg.hydra.runtime.choices
                    with open_dict(cfg):
                        del cfg["hydra"]
                    composed[without_seed] = from_hydra(cfg, choices)
                config = composed[without_seed]
                if seeds:
                    config = dataclasses.replace(config, seed=int(seeds[-1].partition("=")[2]))
                check(config)
                jobs.setdefault(config.condition_hash(), []).append(config)
    except (HydraException, OSError, ValueError) as error:
        raise ConfigError(f"{path}: {in_one_line(error)}") from error
    labels = labels_of([of_condition[0] for of_condition in jobs.values()])
    conditions = [Condition(label, list(each)) for label, each in zip(labels, jobs.values(), strict=True)]
    for condition in conditions:
        if len({job.seed for job in condition.jobs}) < len(condition.jobs):
            raise ConfigError(f"{path}: {condition.label}: has a seed twice, with different numbers of epochs")
    return conditions


def labels_of(configs: Sequence[Config]) -> list[str]:
    """What tells each of some conditions from the others: ``gru``; ``cell=gru batch_size=64`` where it takes more."""
    keys = [{key: as_text(value) for key, value in config.condition().items()} for config in configs]
    # Where the cell decides it (dense has no decoder), what follows from it need not be said.
    differing = [key for key in keys[0] if len({each[key] for each in keys}) > 1]
    if differing in ([], ["cell"]):
        return [each["cell"] for each in keys]
    return [" ".join(f"{key}={each[key]}" for key in differing) for each in keys]


def _statements(path: Path, conditions: Sequence[Condition]) -> list[Statement]:
    import pandas as pd

    try:
        rows = pd.read_csv(path, dtype=str, keep_default_na=False)
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: cannot read it: {in_one_line(error)}") from error
    missing = set(STATEMENT) - set(rows.columns)
    strange = set(rows.columns) - set(STATEMENT) - set(known_keys())
    if missing or strange:
        raise ConfigError(
            f"{path}: lacks the column {', '.join(sorted(missing))}"
            if missing
            else f"{path}: no key is called {', '.join(sorted(strange))}"
        )
    return [
        _statement({str(key): value for key, value in row.items()}, conditions, f"{path}: line {line}")
        for line, row in enumerate(rows.to_dict("records"), start=2)
    ]


def _statement(fields: dict[str, str], conditions: Sequence[Condition], where: str) -> Statement:
    keys = {key: value for key, value in fields.items() if key not in STATEMENT and value != ""}
    relation, value, than, metric = (fields[name] for name in ("relation", "value", "than", "metric"))
    if relation not in ("", *verdicts.RELATIONS):
        raise ConfigError(f"{where}: relation={relation}: must be empty or one of {', '.join(verdicts.RELATIONS)}")
    if value != "" and than != "":
        raise ConfigError(f"{where}: has both a value and a than; only one can be compared with")
    if value != "" and relation == "":
        raise ConfigError(f"{where}: value={value}: needs a relation")
    if relation != "" and value == "" and than == "":
        raise ConfigError(f"{where}: relation={relation}: needs a value or a than")
    if than != "" and relation == "equal":
        raise ConfigError(f"{where}: relation=equal: two conditions are above or below one another")
    try:
        epochs, number = int(fields["epochs"]), None if value == "" else float(value)
    except ValueError as error:
        raise ConfigError(f"{where}: {error}") from error
    condition = _find(conditions, keys, epochs, where)
    other = None
    if than != "":
        changed = dict(each.partition("=")[::2] for each in than.split())
        other_epochs = int(changed.pop("epochs", epochs))
        other = _find(conditions, keys | changed, other_epochs, where), other_epochs
    return Statement(fields, condition, epochs, metric, relation, number, other)


def _find(conditions: Sequence[Condition], keys: dict[str, str], epochs: int, where: str) -> int:
    """The one condition with these values."""
    found = [
        index
        for index, condition in enumerate(conditions)
        if all(as_text(condition.config.flat().get(key)) == value for key, value in keys.items())
    ]
    if len(found) != 1:
        named = " ".join(f"{key}={value}" for key, value in keys.items())
        raise ConfigError(f"{where}: {named}: {len(found)} conditions of sweep.yaml have these values, must be one")
    longest = conditions[found[0]].config.epochs
    if not 1 <= epochs <= longest:
        raise ConfigError(f"{where}: epochs={epochs}: must be in 1..{longest}, which is as long as its runs are")
    return found[0]
