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
from seqadd.config.schema import GROUPS, known_result_keys, override_text
from seqadd.errors import ConfigError
from seqadd.system.files import resource_dir

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
    """Returns the values of each task file: ``{"two_digits": {"task.digits": "2", ...}, ...}``."""
    found = {}
    for path in sorted((resource_dir("conf") / "task").glob("*.yaml")):
        values: Any = OmegaConf.to_container(OmegaConf.load(path))
        found[path.stem] = {f"{_TASK}{key}": override_text(value) for key, value in values.items()}
    return found


class _Defaults:
    """The default values of choices of files; each choice is composed once."""

    def __init__(self) -> None:
        self._composer = Composer()
        self._known: dict[tuple[str, ...], dict[str, str]] = {}
        self._tasks = task_choices()

    def differences(self, values: Mapping[str, str]) -> dict[str, str]:
        usual = self._of()
        chosen = {key: values[key] for key in GROUPS if key in usual and values.get(key, usual[key]) != usual[key]}
        # cell=dense chooses an architecture.
        if "cell" in chosen and chosen.get("architecture") == self._of(f"cell={chosen['cell']}")["architecture"]:
            del chosen["architecture"]
        usual = self._of(*(f"{group}={value}" for group, value in chosen.items()))
        own = {key: values[key] for key in usual if key in values and key not in chosen and values[key] != usual[key]}
        if usual["decoder_units"] == usual["encoder_units"] and own.get("decoder_units") == own.get("encoder_units"):
            own.pop("decoder_units", None)  # of these architectures the decoder is as wide as the encoder by default
        return {**chosen, **self._with_task(own, values)}

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
            self._known[choices] = {key: override_text(flat[key]) for key in known_result_keys()}
        return self._known[choices]
