"""The cell of a composed configuration: the one that is chosen, or an own architecture's own."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any, cast

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.conf import HydraConf
from hydra.core.default_element import GroupDefault
from hydra.core.global_hydra import GlobalHydra
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from seqadd.config.parts import declared
from seqadd.config.words import null_choice
from seqadd.errors import ConfigError
from seqadd.system.files import resource_dir


def chosen_cell(cfg: DictConfig, of_hydra: DictConfig | HydraConf) -> str | None:
    """The cell that is chosen; the architecture's own if neither the command line nor a file has chosen one.

    Hydra composes the cell after the architecture, so an architecture cannot choose it in a file.

    Args:
        cfg: the configuration as Hydra composes it, without the node ``hydra``.
        of_hydra: the node ``hydra``.

    Raises:
        ConfigError: for a cell where the architecture has none, and for none where it has one.
    """
    cell: str | None = cfg.cell  # null only in a file
    own = declared().get(("architecture", cfg.architecture))
    if own is not None and not _is_chosen(cell, of_hydra):
        return cast(str | None, own.settings["cell"])
    if own is not None and own.settings["cell"] is None:
        if cell is None:
            return None
        raise ConfigError(f"cell={cell}: architecture={own.name} has no cell; leave it out")
    if cell is None:
        raise ConfigError(null_choice("cell", cfg.architecture))
    return cell


def _is_chosen(cell: str | None, of_hydra: DictConfig | HydraConf) -> bool:
    choices: Mapping[str, Any] = of_hydra.runtime.choices
    if not choices["cell"] == cell == _default_cell():
        return True
    typed = any(override.lstrip("+").partition("=")[0] == "cell" for override in of_hydra.overrides.task)
    return typed or _a_file_chooses(of_hydra)


@functools.cache
def _default_cell() -> str:
    """The cell that ``conf/config.yaml`` chooses."""
    config: Any = OmegaConf.load(resource_dir("conf") / "config.yaml")
    return next(str(each["cell"]) for each in config.defaults if isinstance(each, DictConfig) and "cell" in each)


def _a_file_chooses(of_hydra: DictConfig | HydraConf) -> bool:
    """Whether a file that is not the project's chooses the cell, which may be the default one."""
    ours = f"file://{resource_dir('conf')}"
    sources = (f"{source.schema}://{source.path}" for source in of_hydra.runtime.config_sources)
    if all(source == ours or not source.startswith("file:") for source in sources):
        return False  # as nearly always; the files below take as long as a composition
    loader = GlobalHydra.instance().config_loader()
    assert isinstance(loader, ConfigLoaderImpl)
    name, typed = of_hydra.job.config_name, [*of_hydra.overrides.hydra, *of_hydra.overrides.task]
    _, files = loader._parse_overrides_and_create_caching_repo(name, typed)
    for entry in loader.compute_defaults_list(name, typed, RunMode.RUN).defaults:
        file = files.load_config(entry.config_path) if entry.config_path is not None else None
        if file is None or file.path == ours or not file.path.startswith("file:"):
            continue
        groups = {each.group for each in file.defaults_list or () if isinstance(each, GroupDefault)}
        if not {"cell", "/cell"}.isdisjoint(groups) or (not entry.package and "cell" in file.config):
            return True
    return False
