"""What a configuration may say to Hydra itself: what has no effect, and what names code, is refused in one line.

Reads what Hydra has composed; what is computed, the keys of a run, is ``config``'s affair.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hydra.core.plugins import Plugins
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from seqadd.config import ConfigError, as_text, packaged

# These are read once for all jobs of a sweep, groups of files and single keys.
_GROUPS_OF_A_SWEEP = ("launcher", "sweeper", "callbacks", "hydra_logging", "job_logging")
_KEYS_OF_A_SWEEP = (
    *_GROUPS_OF_A_SWEEP, "mode", "run", "sweep", "output_subdir", "job.chdir", "job.env_set", "verbose",
)  # fmt: skip
_FOLDERS = ("run.dir", "sweep.dir", "sweep.subdir", "output_subdir", "job.chdir")


def check(config: DictConfig) -> None:
    """Checks what Hydra composed for a run or a whole sweep.

    Raises:
        ConfigError: for what names code, sets the environment, or would be taken and ignored.
    """
    said = _said_to_hydra(config)
    refuse_logging(config.hydra.job_logging)
    for key in ("callbacks", "job.env_set"):
        for name in OmegaConf.select(config.hydra, key) or {}:
            raise ConfigError(f"hydra.{key}.{name}: a configuration can name no code and set no environment")
    if config.hydra.verbose is not False:
        raise ConfigError(
            f"hydra.verbose={as_text(said['verbose'])}: has no effect; HYDRA_FULL_ERROR=1 shows a traceback"
        )
    if config.hydra.mode is RunMode.RUN:
        for part in ("launcher", "sweeper"):
            for changed in _changed(config, part):
                raise ConfigError(f"{changed}: has no effect on one run; add -m for a sweep")
        _refuse_folders(said, ("sweep.dir", "sweep.subdir"), "one run: hydra.run.dir is its folder")
    else:
        for part in ("launcher", "sweeper"):
            _check_plugin(config, part)


def refuse_logging(log_config: DictConfig | None) -> None:
    """Raises ConfigError for a log: a configuration can name any class as its handler."""
    if log_config is None or log_config.root is not None:
        raise ConfigError("hydra.job_logging, hydra.hydra_logging: must be none; a configuration can name no code")


def check_folders(config: DictConfig) -> None:
    """Raises ConfigError where a sweep whose jobs have no folders of their own is to put something into such."""
    _refuse_folders(
        _said_to_hydra(config), _FOLDERS, "these jobs: their results are in the store, where tracking.uri says"
    )


def check_job(sweep: DictConfig, job: DictConfig) -> None:
    """Checks what a single job of a sweep says to Hydra.

    Args:
        sweep: what Hydra composed for the whole sweep.
        job: the same for the job.

    Raises:
        ConfigError: for a choice that its sweep does not have, and so would be ignored.
    """
    of_sweep, of_job = _said_to_hydra(sweep), _said_to_hydra(job)
    groups = [f"runtime.choices.hydra/{group}" for group in _GROUPS_OF_A_SWEEP]
    keys = [k for k in sorted({*of_sweep, *of_job}) if any(f"{k}.".startswith(f"{key}.") for key in _KEYS_OF_A_SWEEP)]
    for key in [*groups, *keys]:
        mine, all_have = of_job.get(key), of_sweep.get(key)
        if mine != all_have:
            said = f"hydra.{key}".removeprefix("hydra.runtime.choices.")
            raise ConfigError(
                f"{said}={as_text(mine)}: is one for the whole sweep, {as_text(all_have)}; say it on the command line, "
                "or in a file that is not swept over"
            )


def check_hidden_files(folder: Path) -> None:
    """Raises ConfigError for a file below ``--config-dir`` that Hydra would not read, for one of ours has its name."""
    ours = packaged("conf")
    for path in sorted(folder.rglob("*.yaml")) if folder.is_dir() else []:
        name = path.relative_to(folder)
        if (ours / name).is_file() and path.read_bytes() != (ours / name).read_bytes():
            raise ConfigError(f"{path}: is not read, for seqadd has a file {name} of its own; give it another name")


def _said_to_hydra(config: DictConfig) -> dict[str, Any]:
    """All of Hydra's keys with their values as they are written, nested ones joined by dots."""
    return dict(_flat(OmegaConf.to_container(config.hydra, resolve=False, enum_to_str=True)))


def _flat(node: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(node, dict) and node:
        for key, value in node.items():
            yield from _flat(value, f"{prefix}.{key}" if prefix else str(key))
    else:
        yield prefix, node


def _settings() -> DictConfig:
    """What Hydra is set to where nobody says anything else."""
    settings = OmegaConf.load(packaged("conf") / "hydra" / "settings.yaml")
    assert isinstance(settings, DictConfig)
    return settings


def _refuse_folders(said: dict[str, Any], keys: tuple[str, ...], of_whom: str) -> None:
    defaults = dict(_flat(OmegaConf.to_container(_settings().hydra)))
    for key in keys:
        if said.get(key) not in (defaults.get(key), False):
            raise ConfigError(f"hydra.{key}={as_text(said[key])}: has no effect on {of_whom}; leave it out")


def _changed(config: DictConfig, part: str) -> Iterator[str]:
    """What a configuration says of launcher or sweeper, as it is written on the command line."""
    (default,) = (value for each in _settings().defaults for key, value in each.items() if key.endswith(f"/{part}"))
    choice = config.hydra.runtime.choices.get(f"hydra/{part}")
    if choice != default:
        yield f"hydra/{part}={choice}"
        return
    before = dict(_flat(OmegaConf.to_container(OmegaConf.load(packaged("conf") / "hydra" / part / f"{default}.yaml"))))
    said = OmegaConf.to_container(config.hydra[part], resolve=False) if config.hydra[part] is not None else None
    for key, value in _flat(said):
        if key not in before or value != before[key]:
            yield f"hydra.{part}.{key}={as_text(value)}" if key else f"hydra.{part}={as_text(value)}"


def _check_plugin(config: DictConfig, part: str) -> None:
    """Raises ConfigError where the launcher or sweeper is none that is installed."""
    node = config.hydra[part]
    target = node.get("_target_") if isinstance(node, DictConfig) else None
    kind = Launcher if part == "launcher" else Sweeper
    if target not in {f"{each.__module__}.{each.__name__}" for each in Plugins.instance().discover(kind)}:
        installed = ", ".join(path.stem for path in sorted((packaged("conf") / "hydra" / part).glob("*.yaml")))
        said = f"hydra.{part}={as_text(node)}" if target is None else f"hydra.{part}._target_={target}"
        raise ConfigError(f"{said}: no such {part} of Hydra is installed; choose hydra/{part}, one of {installed}")
