"""Composes checked configurations from overrides, as ``python -m seqadd.run`` does."""

from __future__ import annotations

import copy
import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hydra import compose, initialize_config_dir
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.conf import HydraConf
from hydra.core.config_loader import ConfigLoader
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import MISSING, DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from seqadd.config import hydra_setup, part_schema
from seqadd.config.chosen_cell import chosen_cell
from seqadd.config.messages import no_such_key, not_chosen, one_line
from seqadd.config.parts import Part, declared, measured
from seqadd.config.schema import GROUPS, Config, flatten, known_keys, override_text, own_fields, part_fields
from seqadd.config.validation import validate
from seqadd.config.words import check_words, null_choice, with_integers
from seqadd.errors import ConfigError
from seqadd.system.files import resource_dir

# Every composition needs the schema, which Hydra finds by its name.
hydra_setup.register_schema()


def from_hydra(cfg: DictConfig, of_hydra: DictConfig | HydraConf) -> Config:
    """Converts a composed configuration to the typed, checked Config of one run.

    Args:
        cfg: the configuration as Hydra composes it, without the node ``hydra``.
        of_hydra: the node ``hydra``, which holds the choices for the config groups, and the overrides.

    Raises:
        ConfigError: for an unknown key, a value out of its range, or keys that exclude each other.
    """
    choices: Mapping[str, Any] = of_hydra.runtime.choices
    for group in GROUPS:
        if choices.get(group, "") is None:  # in a file; on a command line check_words has refused it
            raise ConfigError(null_choice(group, str(choices.get("architecture"))))
        if not isinstance(choices.get(group), str):  # Hydra would merge the files of a list; the last file would win
            raise ConfigError(f"{group}: must be one choice, not several; sweep over them with -m {group}=A,B")
    known = {*known_keys(), *(part.name for part in declared().values())} - {"part_code"}
    try:
        # Hydra's "+key=value" adds keys that are not in the schema; to_object would accept them silently.
        tree: Any = OmegaConf.to_container(cfg)
        for name, _ in flatten(tree):
            if name not in known:
                raise ConfigError(no_such_key(name))
        cell = chosen_cell(cfg, of_hydra)
        _check_task_name(cfg.task.name, choices)
        parts = part_schema.chosen_parts(cell, cfg.architecture, cfg.task.name)
        _check_keys_of_parts(tree, parts)
        made: Any = OmegaConf.to_object(cfg)
    except OmegaConfBaseException as error:
        raise ConfigError(one_line(error)) from error
    parts = [part_schema.with_values(part, getattr(made, part.name, None)) for part in parts]
    keys = {field.name: getattr(made, field.name) for field in own_fields() if field.name != "part_code"}
    config = Config(**{**keys, "cell": cell}, part_code=part_schema.part_code(parts))
    config.parts.update({part.kind: part for part in parts})
    size = measured(config.model_hash())
    config.parts.update({kind: dataclasses.replace(part, measured=size) for kind, part in config.parts.items()})
    validate(config)
    return config


def _check_task_name(name: str | None, choices: Mapping[str, Any]) -> None:
    own = choices["task"] if ("task", choices["task"]) in declared() else None
    if name != own:
        raise ConfigError(f"task.name={override_text(name)}: is set by task={name or own}; write that instead")


def _check_keys_of_parts(tree: Mapping[str, Any], chosen: Sequence[Part]) -> None:
    """Raises ConfigError for a key of a part that is not chosen."""
    names = {part.name for part in chosen}
    for part in declared().values():
        values = tree.get(part.name)
        if part.name not in names and values is not None:
            set_there = [key for key, value in values.items() if value != MISSING]
            raise ConfigError(not_chosen(part, (set_there or [part.keys[0].name])[0]))


@dataclass(frozen=True)
class Column:
    """One condition of a table.

    Attributes:
        overrides: its overrides, without seed.
        config: its configuration.
        swept: the keys that differ between the columns, with the values of this column as the user wrote them.
    """

    overrides: tuple[str, ...]
    config: Config
    swept: Mapping[str, str]

    @property
    def distinct_values(self) -> dict[str, str]:
        """The value of each swept key; the cell if no key is swept."""
        written = {key: override_text(value) for key, value in self.config.flat().items()}
        return {key: written.get(key, value) for key, value in self.swept.items()} or self._model()

    def _model(self) -> dict[str, str]:
        key = "architecture" if self.config.cell is None else "cell"
        return {key: self.config.model_name}

    @property
    def heading(self) -> list[str]:
        """A line for each swept key: ``["gru", "batch_size 64"]``; the name of a cell needs no key."""
        return [value if key == "cell" else f"{key} {value}" for key, value in self.distinct_values.items()]

    @property
    def label(self) -> str:
        """Its name in one line."""
        return ", ".join(self.heading)


@dataclass(frozen=True)
class Selection:
    """The contents of the table: a column for each condition, and the seeds; None for all seeds."""

    columns: list[Column]
    seeds: tuple[int, ...] | None


def compose_selection(overrides: Sequence[str]) -> Selection:
    """Composes the columns of a table from the overrides of a sweep.

    Args:
        overrides: as for ``python -m seqadd.run -m``; each value of a sweep gives a column. ``seed`` selects the seeds
            that are averaged.

    Raises:
        ConfigError: for a condition that cannot be run, and for ``epochs``, which are the rows of the table.
    """
    seeds: tuple[int, ...] | None = None
    choices: list[list[tuple[str, str, bool]]] = []
    columns = []
    composer = Composer()
    check_words(overrides)
    with initialize_config_dir(str(resource_dir("conf")), version_base="1.3"):
        parser = OverridesParser.create(config_loader=GlobalHydra.instance().config_loader())
        for override in parser.parse_overrides(with_integers(overrides)):
            key, values = override.get_key_element(), override_values(override)
            if key == "epochs":
                numbers = ",".join(values)
                raise ConfigError(f"epochs={numbers}: epochs are the rows of the table; write --epochs {numbers}")
            if key == "seed":
                if not all(value.isdecimal() for value in values):
                    raise ConfigError(f"seed={','.join(values)}: must be integers of at least 0")
                seeds = tuple(int(value) for value in values)
            else:
                choices.append([(key, value, len(values) > 1) for value in values])
        for combination in itertools.product(*choices):
            own = [f"{key}={value}" for key, value, _ in combination]
            config = composer.compose(own)
            swept = {key: value for key, value, is_swept in combination if is_swept}
            columns.append(Column(tuple(own), config, swept))
    return Selection(columns, seeds)


def load_config(*overrides: str) -> Config:
    """Composes the checked configuration of one run, as ``python -m seqadd.run`` does; trains nothing.

    Args:
        overrides: ``KEY=VALUE`` as on the command line; without any, the defaults in ``conf/``. docs/configuration.md
            lists the keys with their ranges.

    Returns:
        The configuration. Its ``question_length`` and ``answer_length`` are in characters.

    Raises:
        ConfigError: for an unknown key, a value out of its range, keys that exclude each other, or several values; the
            message gives the key, the value, the limit and the remedy.

    Example:
        >>> config = load_config("cell=gru", "epochs=200")
        >>> config.cell, config.epochs, config.batch_size
        ('gru', 200, 512)
        >>> config.question_length, config.answer_length  # "535+61 " and "596 "
        (7, 4)
        >>> load_config("epochs=0")
        Traceback (most recent call last):
        seqadd.errors.ConfigError: epochs=0: must be at least 1 (passes over the training set)
    """
    check_words(overrides)
    try:
        with initialize_config_dir(str(resource_dir("conf")), version_base="1.3"):
            return compose_config(list(overrides))
    except (HydraException, OmegaConfBaseException) as error:
        raise ConfigError(one_line(error)) from error


def compose_config(overrides: list[str]) -> Config:
    """Composes the checked configuration of these overrides; call it inside ``hydra.initialize_config_dir``."""
    return Composer().compose(overrides)


def recorded_overrides(params: Mapping[str, str]) -> list[str]:
    """The overrides that compose a recorded run's configuration again, from its parameters."""
    texts = dict(field for part in declared().values() for field in part_fields(part))
    follow = {"part_code"} | {key for key in ("cell", "task.name") if params.get(key) == override_text(None)}
    overrides = []
    for key, value in params.items():
        kind = str(texts[key].type) if key in texts else ""
        if kind.startswith("str") and not (kind.endswith("None") and value == override_text(None)):
            value = '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
        if key not in follow:
            overrides.append(f"task={value}" if key == "task.name" else f"{key}={value}")
    return overrides


class Composer:
    """Composes many configurations from one file; use it inside ``hydra.initialize_config_dir``.

    Hydra takes a tenth of a second to find and merge the files. This class has it do so once for each choice of files;
    overrides that only set values are applied to a copy of the result, by Hydra's own function.

    Args:
        name: the file's name, without ``.yaml``.
        always: overrides of every configuration.
    """

    def __init__(self, name: str = "config", always: Sequence[str] = ()) -> None:
        self._name = name
        self._always = list(always)
        self._composed: dict[tuple[str, ...], tuple[DictConfig, DictConfig]] = {}

    def compose(self, overrides: Sequence[str]) -> Config:
        """Composes a checked configuration; raises Hydra's errors, and those of ``from_hydra``."""
        loader = GlobalHydra.instance().config_loader()
        overrides = with_integers(overrides)
        of_values = set(known_keys()).difference(GROUPS)
        values = [
            override
            for override in OverridesParser.create(config_loader=loader).parse_overrides([*self._always, *overrides])
            if override.key_or_group in of_values and not override.is_sweep_override()  # Hydra refuses those
        ]
        lines = {override.input_line for override in values}
        files = tuple(each for each in (*self._always, *overrides) if each not in lines)
        composed, of_hydra = self._composition(files)
        cfg = copy.deepcopy(composed)
        hydra_setup.apply_values(cfg, values)
        return from_hydra(cfg, of_hydra)

    def hydra_settings(self, overrides: Sequence[str] = ()) -> DictConfig:
        """Returns the node ``hydra``, which holds a sweep's parameters; raises Hydra's errors."""
        return self._composition((*self._always, *overrides))[1]

    def _composition(self, files: tuple[str, ...]) -> tuple[DictConfig, DictConfig]:
        """Returns the configuration without its node ``hydra``, and that node."""
        if files not in self._composed:
            cfg = compose(self._name, list(files), return_hydra_config=True)
            of_hydra = cfg.hydra
            with open_dict(cfg):
                del cfg["hydra"]
            self._composed[files] = cfg, of_hydra
        return self._composed[files]


def override_values(override: Override) -> list[str]:
    if override.is_sweep_override():
        texts = [str(value) for value in override.sweep_string_iterator()]
    else:
        texts = [str(override.get_value_element_as_str())]
    return [text.lower() if text in ("True", "False") else text for text in texts]  # Hydra writes Python's booleans


def combinations(
    loader: ConfigLoader,
    params: Mapping[str, str],
    sweeps: Sequence[Mapping[str, str]] | None,
    others: Sequence[str],
    together: Sequence[str] = (),
) -> list[list[str]]:
    """The overrides of each job of a sweep, without duplicates.

    Args:
        loader: Hydra's config loader, which knows the config groups.
        params: values for keys, written as on the command line: every combination is a job.
        sweeps: several sweeps, each with its differences from ``params``; the jobs of all of them are run.
        others: overrides that take precedence over both.
        together: keys whose values belong together: the first of one with the first of the others.

    Raises:
        ConfigError: if keys of ``together`` have no values, or not as many as each other.
    """
    parser = OverridesParser.create(config_loader=loader)
    jobs: list[list[str]] = []
    for own in sweeps or [{}]:
        written = [f"{key}={value}" for each in (params, own) for key, value in each.items()]
        parsed = parser.parse_overrides([*written, *others])
        for values in _together(parsed, together):
            rest = [each for each in parsed if each.key_or_group not in together]
            # If a key is named more than once, the last value counts.
            (product,) = BasicSweeper.split_arguments([*parser.parse_overrides(values), *rest], None)
            jobs += [list(job) for job in product if list(job) not in jobs]
    return jobs


def _together(overrides: Sequence[Override], keys: Sequence[str]) -> list[list[str]]:
    """The overrides of keys whose values belong together, a list for each row of values; one empty list for no keys."""
    if isinstance(keys, str) or len(keys) == 1 or len(set(keys)) < len(keys):
        raise ConfigError(f"hydra.sweeper.together={keys}: must be a list of two keys or more: [encoder_units,seed]")
    last = {each.key_or_group: each for each in overrides}
    for key in keys:
        if key not in last:
            raise ConfigError(f"hydra.sweeper.together: {key} has no values here; write {key}=VALUE,VALUE")
    values = {key: override_values(last[key]) for key in keys}
    if len({len(each) for each in values.values()}) > 1:
        counts = ", ".join(f"{key} has {len(each)}" for key, each in values.items())
        raise ConfigError(f"hydra.sweeper.together: {counts} values; each must have as many")
    rows = zip(*values.values(), strict=True) if keys else [()]
    return [[f"{last[key].get_key_element()}={value}" for key, value in zip(keys, row, strict=True)] for row in rows]
