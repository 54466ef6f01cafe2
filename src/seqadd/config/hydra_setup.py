"""Sets up Hydra: registers schema and help, checks Hydra's own keys, and replaces three of its internals.

The replaced internals of Hydra 1.3, tested with 1.3.2 to 1.3.8, are its callbacks and its logging: both instantiate any
class that a configuration names, and a configuration may come from an untrusted source; and the function that sets the
values of overrides, which fails on keys of a part that is not chosen. Keys for Hydra that have no
effect, or name code, are refused in one line.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import hydra._internal.hydra as hydra_internal
import hydra.core.utils as hydra_utils
from hydra._internal.callbacks import Callbacks
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.types import Override
from hydra.core.plugins import Plugins
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from seqadd.config import part_schema
from seqadd.config.help_text import help_template
from seqadd.config.messages import no_such_key
from seqadd.config.parts import declared
from seqadd.config.schema import override_text
from seqadd.errors import ConfigError
from seqadd.system.files import resource_dir


def register_schema() -> None:
    """Registers with Hydra the schema that checks ``conf/config.yaml``."""
    part_schema.register_schema()
    register_help("")


def register_help(text: str | None = None) -> None:
    """Registers with Hydra the text of ``--help``; None for that of ``config.help_text``, which takes time to make."""
    template = help_template() if text is None else text
    node = {"app_name": "seqadd", "header": "", "footer": "", "template": template}
    ConfigStore.instance().store(group="hydra/help", name="seqadd", node=node)


# Hydra reads these groups and keys once for all jobs of a sweep.
_GROUPS_OF_A_SWEEP = ("launcher", "sweeper", "callbacks", "hydra_logging", "job_logging")
_KEYS_OF_A_SWEEP = (
    *_GROUPS_OF_A_SWEEP, "mode", "run", "sweep", "output_subdir", "job.chdir", "job.env_set", "verbose",
)  # fmt: skip
_FOLDERS = ("run.dir", "sweep.dir", "sweep.subdir", "output_subdir", "job.chdir")


def apply_values(config: DictConfig, overrides: list[Override]) -> None:
    """Sets the values of overrides in a composed configuration as Hydra does, which has no public function for it.

    Checked with Hydra 1.3.2 to 1.3.8.

    Raises:
        ConfigError: for a key of a part that is not chosen; OmegaConf would only say that its node is None.
    """
    for override in overrides:
        for part in declared().values():
            key = override.key_or_group
            if key.startswith(f"{part.name}.") and OmegaConf.select(config, part.name) is None:
                raise ConfigError(no_such_key(key))
    _APPLY_VALUES(overrides, config)


_APPLY_VALUES = ConfigLoaderImpl._apply_overrides_to_config


def check_hydra_keys(config: DictConfig) -> None:
    """Checks Hydra's own keys in the composed configuration of a run or a whole sweep.

    Raises:
        ConfigError: for keys that name code, set the environment, or would have no effect.
    """
    given = _hydra_keys_of(config)
    refuse_logging(config.hydra.job_logging)
    for key in ("callbacks", "job.env_set"):
        for name in OmegaConf.select(config.hydra, key) or {}:
            raise ConfigError(f"hydra.{key}.{name}: must not be set; a configuration must not run code")
    if config.hydra.verbose is not False:
        raise ConfigError(
            f"hydra.verbose={override_text(given['verbose'])}: has no effect; HYDRA_FULL_ERROR=1 shows tracebacks"
        )
    if config.hydra.mode is RunMode.RUN:
        for part in ("launcher", "sweeper"):
            for changed in _changed(config, part):
                raise ConfigError(f"{changed}: has no effect on a single run; add -m for a sweep")
        _refuse_folders(given, ("sweep.dir", "sweep.subdir"), "a single run, whose folder is hydra.run.dir")
    else:
        for part in ("launcher", "sweeper"):
            _check_plugin(config, part)


def refuse_logging(log_config: DictConfig | None) -> None:
    """Raises ConfigError for a configured log: a configuration could name any class as its handler."""
    if log_config is None or log_config.root is not None:
        raise ConfigError("hydra.job_logging, hydra.hydra_logging: must be none; a configuration must not name code")


def check_folders(config: DictConfig) -> None:
    """Raises ConfigError if a configuration sets Hydra's folders: the jobs of a sweep have no folders."""
    _refuse_folders(_hydra_keys_of(config), _FOLDERS, "jobs, whose results are in the store tracking.uri")


def check_job(sweep: DictConfig, job: DictConfig) -> None:
    """Checks Hydra's own keys in the configuration of a single job of a sweep.

    Args:
        sweep: the composed configuration of the whole sweep.
        job: the composed configuration of the job.

    Raises:
        ConfigError: for a value that differs from the sweep's, because Hydra would ignore it.
    """
    of_sweep, of_job = _hydra_keys_of(sweep), _hydra_keys_of(job)
    groups = [f"runtime.choices.hydra/{group}" for group in _GROUPS_OF_A_SWEEP]
    keys = [k for k in sorted({*of_sweep, *of_job}) if any(f"{k}.".startswith(f"{key}.") for key in _KEYS_OF_A_SWEEP)]
    for key in [*groups, *keys]:
        mine, all_have = of_job.get(key), of_sweep.get(key)
        if mine != all_have:
            name = f"hydra.{key}".removeprefix("hydra.runtime.choices.")
            raise ConfigError(
                f"{name}={override_text(mine)}: differs from the sweep's {override_text(all_have)}; all jobs need the "
                "same value: set it on the command line"
            )


def check_hidden_files(folder: Path) -> None:
    """Raises ConfigError for a file below ``--config-dir`` that a file of seqadd with the same name would hide."""
    ours = resource_dir("conf")
    for path in sorted(folder.rglob("*.yaml")) if folder.is_dir() else []:
        name = path.relative_to(folder)
        if (ours / name).is_file() and path.read_bytes() != (ours / name).read_bytes():
            raise ConfigError(f"{path}: is not read, because seqadd has its own {name}; rename the file")


def _hydra_keys_of(config: DictConfig) -> dict[str, Any]:
    """All of Hydra's keys with their values, not interpolated; nested keys joined by dots."""
    return dict(_flat(OmegaConf.to_container(config.hydra, resolve=False, enum_to_str=True)))


def _flat(node: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(node, dict) and node:
        for key, value in node.items():
            yield from _flat(value, f"{prefix}.{key}" if prefix else str(key))
    else:
        yield prefix, node


def _settings() -> DictConfig:
    """The project's default settings of Hydra."""
    settings = OmegaConf.load(resource_dir("conf") / "hydra" / "settings.yaml")
    assert isinstance(settings, DictConfig)
    return settings


def _refuse_folders(given: dict[str, Any], keys: tuple[str, ...], of_whom: str) -> None:
    defaults = dict(_flat(OmegaConf.to_container(_settings().hydra)))
    for key in keys:
        if given.get(key) not in (defaults.get(key), False):
            raise ConfigError(f"hydra.{key}={override_text(given[key])}: has no effect on {of_whom}; leave it out")


def _changed(config: DictConfig, part: str) -> Iterator[str]:
    """The non-default settings of launcher or sweeper, as overrides."""
    (default,) = (value for each in _settings().defaults for key, value in each.items() if key.endswith(f"/{part}"))
    choice = config.hydra.runtime.choices.get(f"hydra/{part}")
    if choice != default:
        yield f"hydra/{part}={choice}"
        return
    before = dict(
        _flat(OmegaConf.to_container(OmegaConf.load(resource_dir("conf") / "hydra" / part / f"{default}.yaml")))
    )
    node = OmegaConf.to_container(config.hydra[part], resolve=False) if config.hydra[part] is not None else None
    for key, value in _flat(node):
        if key not in before or value != before[key]:
            yield f"hydra.{part}.{key}={override_text(value)}" if key else f"hydra.{part}={override_text(value)}"


def _check_plugin(config: DictConfig, part: str) -> None:
    """Raises ConfigError if the launcher or sweeper is not an installed plugin."""
    node = config.hydra[part]
    target = node.get("_target_") if isinstance(node, DictConfig) else None
    kind = Launcher if part == "launcher" else Sweeper
    if target not in {f"{each.__module__}.{each.__name__}" for each in Plugins.instance().discover(kind)}:
        installed = ", ".join(path.stem for path in sorted((resource_dir("conf") / "hydra" / part).glob("*.yaml")))
        choice = f"hydra.{part}={override_text(node)}" if target is None else f"hydra.{part}._target_={target}"
        raise ConfigError(f"{choice}: no such {part} is installed; hydra/{part} must be one of {installed}")


def replace_internals(*, hydra_help: bool = False) -> None:
    """Replaces the internals of Hydra that would run code that a configuration names, and the one that sets values.

    Args:
        hydra_help: whether Hydra prints its own help, which is composed without this project's files and sets up a log.
    """
    ConfigLoaderImpl._apply_overrides_to_config = staticmethod(  # type: ignore[method-assign, assignment]
        lambda overrides, config: apply_values(config, overrides)
    )
    hydra_internal.Callbacks = NoCallbacks  # type: ignore[attr-defined]
    no_log = (lambda *_: None) if hydra_help else configure_no_log
    hydra_internal.configure_log = no_log  # type: ignore[attr-defined]
    hydra_utils.configure_log = no_log


class NoCallbacks(Callbacks):
    """Replaces Hydra's callbacks, which would run any code that an untrusted configuration names."""

    def __init__(self, config: DictConfig | None = None) -> None:
        super().__init__()
        if config is not None:
            check_hydra_keys(config)


def configure_no_log(log_config: DictConfig, verbose_config: bool | str | Sequence[str] = False) -> None:
    """Replaces Hydra's function, which would instantiate any class that a configuration names as a log's handler."""
    refuse_logging(log_config)
