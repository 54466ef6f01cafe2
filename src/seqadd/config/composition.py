"""Overrides -> checked configurations, as ``python -m seqadd.run`` composes them."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hydra import compose, initialize_config_dir
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.config_loader import ConfigLoader
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from seqadd.config.hydra_setup import register_schema
from seqadd.config.messages import no_such_key, one_line
from seqadd.config.schema import GROUPS, Config, flatten, known_keys, override_text
from seqadd.config.validation import validate
from seqadd.errors import ConfigError
from seqadd.system.files import resource_dir

# Hydra finds the schema by its name in whatever it composes.
register_schema()


def from_hydra(cfg: DictConfig, choices: Mapping[str, Any]) -> Config:
    """The typed, checked configuration of one run.

    Args:
        cfg: as Hydra composes it, without its own node.
        choices: which file each config group was composed from, as in ``hydra.runtime.choices``.

    Raises:
        ConfigError: for a value out of its range, or keys that do not go together.
    """
    for group in GROUPS:
        if not isinstance(choices.get(group), str):  # Hydra would merge the files of a list, the last one winning
            raise ConfigError(f"{group}: must be one choice, not several; sweep over them with -m {group}=A,B")
    known = known_keys()
    try:
        # Hydra's "+key=value" adds keys that no schema has; to_object would take them over in silence.
        tree: Any = OmegaConf.to_container(cfg, throw_on_missing=True)
        for name, _ in flatten(tree):
            if name not in known:
                raise ConfigError(no_such_key(name))
        config = OmegaConf.to_object(cfg)
    except OmegaConfBaseException as error:
        raise ConfigError(one_line(error)) from error
    assert isinstance(config, Config)
    validate(config)
    return config


@dataclass(frozen=True)
class Column:
    """One condition: what it is called in the table, the overrides that choose it, and its configuration."""

    label: str
    overrides: tuple[str, ...]
    config: Config


@dataclass(frozen=True)
class Selection:
    """What the table shows: a column for each condition, and the seeds wanted, None for all there are."""

    columns: list[Column]
    seeds: tuple[int, ...] | None


def compose_selection(overrides: Sequence[str]) -> Selection:
    """The columns that the overrides of a sweep stand for.

    Args:
        overrides: as for ``python -m seqadd.run -m``; values swept over give one column each. ``seed`` picks the
            seeds that are averaged over.

    Raises:
        ConfigError: for a condition that cannot be run, or ``epochs``, which are the rows.
    """
    seeds: tuple[int, ...] | None = None
    choices: list[list[tuple[str, str, bool]]] = []
    columns = []
    composer = Composer()
    with initialize_config_dir(str(resource_dir("conf")), version_base="1.3"):
        parser = OverridesParser.create(config_loader=GlobalHydra.instance().config_loader())
        for override in parser.parse_overrides(list(overrides)):
            key, values = override.get_key_element(), _values(override)
            if key == "epochs":
                raise ConfigError(f"epochs={','.join(values)}: epochs are the table's rows; choose them with --epochs")
            if key == "seed":
                if not all(value.isdecimal() for value in values):
                    raise ConfigError(f"seed={','.join(values)}: must be integers of at least 0")
                seeds = tuple(int(value) for value in values)
            else:
                choices.append([(key, value, len(values) > 1) for value in values])
        for combination in itertools.product(*choices):
            own = [f"{key}={value}" for key, value, _ in combination]
            config = composer.compose(own)
            written = {key: override_text(value) for key, value in config.flat().items()}
            swept = {key: written.get(key, value) for key, value, is_swept in combination if is_swept}
            if len(swept) > 1:
                label = " ".join(f"{key}={value}" for key, value in swept.items())
            else:
                label = next(iter(swept.values()), config.cell)
            columns.append(Column(label, tuple(own), config))
    return Selection(columns, seeds)


def compose_config(overrides: list[str]) -> Config:
    """The checked configuration that these overrides give; inside ``hydra.initialize_config_dir``."""
    return Composer().compose(overrides)


class Composer:
    """Composes many configurations of one file; inside ``hydra.initialize_config_dir``.

    Hydra takes a tenth of a second to find and merge the files. So it does that once for each choice of them, and
    overrides that set values alone are set in a copy, by the function that Hydra itself sets them by.

    Args:
        name: of the file, without ``.yaml``.
        always: overrides of every configuration.
    """

    def __init__(self, name: str = "config", always: Sequence[str] = ()) -> None:
        self._name = name
        self._always = list(always)
        self._composed: dict[tuple[str, ...], tuple[DictConfig, DictConfig]] = {}

    def compose(self, overrides: Sequence[str]) -> Config:
        """The checked configuration that these overrides give; raises what Hydra raises, and as ``from_hydra``."""
        loader = GlobalHydra.instance().config_loader()
        of_values = set(known_keys()).difference(GROUPS)
        values = [
            override
            for override in OverridesParser.create(config_loader=loader).parse_overrides([*self._always, *overrides])
            if override.key_or_group in of_values and not override.is_sweep_override()  # which Hydra refuses
        ]
        lines = {override.input_line for override in values}
        files = tuple(each for each in (*self._always, *overrides) if each not in lines)
        composed, of_hydra = self._composition(files)
        cfg = copy.deepcopy(composed)
        ConfigLoaderImpl._apply_overrides_to_config(values, cfg)
        return from_hydra(cfg, of_hydra.runtime.choices)

    def hydra_settings(self, overrides: Sequence[str] = ()) -> DictConfig:
        """The node ``hydra`` of the file, which says what a sweep's jobs are; raises what Hydra raises."""
        return self._composition((*self._always, *overrides))[1]

    def _composition(self, files: tuple[str, ...]) -> tuple[DictConfig, DictConfig]:
        """The configuration without its node ``hydra``, and that node."""
        if files not in self._composed:
            cfg = compose(self._name, list(files), return_hydra_config=True)
            of_hydra = cfg.hydra
            with open_dict(cfg):
                del cfg["hydra"]
            self._composed[files] = cfg, of_hydra
        return self._composed[files]


def _values(override: Override) -> list[str]:
    if override.is_sweep_override():
        return [str(value) for value in override.sweep_string_iterator()]
    return [str(override.get_value_element_as_str())]


def combinations(
    loader: ConfigLoader, params: Mapping[str, str], sweeps: Sequence[Mapping[str, str]] | None, others: Sequence[str]
) -> list[list[str]]:
    """The overrides of each job of a sweep, no job twice.

    Args:
        loader: Hydra's, which knows what is a config group.
        params: values for keys, written as on the command line: every combination is a job.
        sweeps: several such, each with what differs from ``params``; the jobs are those of all of them.
        others: overrides that count more than both.
    """
    parser = OverridesParser.create(config_loader=loader)
    jobs: list[list[str]] = []
    for own in sweeps or [{}]:
        written = [f"{key}={value}" for each in (params, own) for key, value in each.items()]
        # Of a key that is named more than once the last counts.
        (product,) = BasicSweeper.split_arguments(parser.parse_overrides([*written, *others]), None)
        jobs += [list(job) for job in product if list(job) not in jobs]
    return jobs
