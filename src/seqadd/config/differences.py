"""What a configuration sets: the keys whose values differ from the defaults.

The defaults of a key are those of the chosen files: with ``architecture=attention``, the value ``score=additive`` is a
default. A task is named if its file has all of the values.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from hydra import initialize_config_dir
from hydra.errors import HydraException
from omegaconf import OmegaConf

from seqadd.config.composition import Composer
from seqadd.config.parts import declared
from seqadd.config.schema import BUILT_IN, GROUPS, SET_BY_PARTS, known_result_keys, override_text
from seqadd.errors import ConfigError
from seqadd.system.files import resource_dir
from seqadd.system.part_registry import KINDS

_TASK = "task."
_NULL = override_text(None)


def differences(each: Sequence[Mapping[str, str]]) -> list[dict[str, str]]:
    """Returns the keys of each configuration that differ from the defaults, with their values, as overrides have them.

    Args:
        each: result keys with their values as texts, as a run's parameters; a key that is missing is not compared.

    Example:
        >>> differences([{"cell": "gru", "batch_size": "512", "task.digits": "3", "seed": "1"}])
        [{'cell': 'gru', 'seed': '1'}]
    """
    with initialize_config_dir(str(resource_dir("conf")), version_base="1.3"):
        defaults = _Defaults()
        return [defaults.differences(values) for values in each]


def task_choices() -> dict[str, dict[str, str]]:
    """Returns what tells each task: ``{"two_digits": {"task.digits": "2", ...}, "echo": {"task.name": "echo"}}``."""
    found = {}
    for path in sorted((resource_dir("conf") / "task").glob("*.yaml")):
        values: Any = OmegaConf.to_container(OmegaConf.load(path))
        found[path.stem] = {f"{_TASK}{key}": override_text(value) for key, value in values.items()}
    return found | {name: {f"{_TASK}name": name} for kind, name in declared() if kind == "task"}


class _Defaults:
    """The default values of choices of files; each choice is composed once."""

    def __init__(self) -> None:
        self._composer = Composer()
        self._known: dict[tuple[str, ...], dict[str, str]] = {}
        self._tasks = task_choices()

    def differences(self, values: Mapping[str, str]) -> dict[str, str]:
        usual = self._of()
        chosen = self._chosen(values, usual)
        unknown = [(group, name) for group, name in chosen.items() if not self._exists(group, name)]
        usual = self._of(*(f"{group}={name}" for group, name in chosen.items() if (group, name) not in unknown))
        own = {key: values[key] for key in usual if key in values and key not in chosen and values[key] != usual[key]}
        if usual["decoder_units"] == usual["encoder_units"] and own.get("decoder_units") == own.get("encoder_units"):
            own.pop("decoder_units", None)  # of these architectures the decoder is as wide as the encoder by default
        for key in SET_BY_PARTS:  # they follow from what is chosen
            own.pop(key, None)
        for _, name in unknown:  # what is the default of its keys is not known here
            own = {key: text for key, text in own.items() if text not in (_NULL, "always")}
            own |= {key: text for key, text in values.items() if key.startswith(f"{name}.")}
        return {**chosen, **(own if "task" in chosen else self._with_task(own, values))}

    def _chosen(self, values: Mapping[str, str], usual: Mapping[str, str]) -> dict[str, str]:
        """The choices for the config groups that differ from the defaults."""
        named = {key: values.get(key, usual[key]) for key in GROUPS if key in usual}
        chosen = {key: name for key, name in named.items() if name not in (usual[key], _NULL)}
        task = values.get("task.name", _NULL)
        if task != _NULL:
            chosen["task"] = task
        # cell=dense chooses an architecture, and an own architecture a cell.
        if "cell" in chosen and chosen.get("architecture") == self._of(f"cell={chosen['cell']}")["architecture"]:
            del chosen["architecture"]
        elif ("architecture", chosen.get("architecture")) in declared():
            of_architecture = self._of(f"architecture={chosen['architecture']}")
            chosen = {key: text for key, text in chosen.items() if key != "cell" or text != of_architecture["cell"]}
        return chosen

    def _exists(self, group: str, name: str) -> bool:
        """Whether a choice is one of this process: it may also be an own part of another command, or any text."""
        return group not in KINDS or (group, name) in declared() or name in BUILT_IN.get(group, ())

    def _with_task(self, own: dict[str, str], values: Mapping[str, str]) -> dict[str, str]:
        """Replaces the keys of a task by the task's name, if a file has all of their values."""
        if not any(key.startswith(_TASK) for key in own):
            return own
        others = {key: text for key, text in own.items() if not key.startswith(_TASK)}
        keys = [key for key in known_result_keys() if key.startswith(_TASK)]
        for name, task in self._tasks.items():
            if all(values.get(key, _NULL) == task.get(key, _NULL) for key in keys):
                return {"task": name, **others}
        return own

    def _of(self, *choices: str) -> dict[str, str]:
        """The values with these choices; the defaults for choices that do not exist, as other programs may record."""
        if choices not in self._known:
            try:
                flat = self._composer.compose(choices).flat()
            except (ConfigError, HydraException):
                flat = self._composer.compose([]).flat()
            self._known[choices] = {key: override_text(flat[key]) for key in known_result_keys() if key in flat}
        return self._known[choices]
