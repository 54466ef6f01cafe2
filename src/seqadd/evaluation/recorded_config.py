"""The configuration of a recorded run, composed from its parameters."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING

from hydra import initialize_config_dir

from seqadd.config.composition import compose_config, recorded_overrides
from seqadd.config.messages import one_line
from seqadd.config.parts import declared
from seqadd.config.schema import BUILT_IN, Config, known_result_keys, override_text
from seqadd.errors import RunNotFound
from seqadd.system.files import resource_dir
from seqadd.tracking.other_source import not_comparable, own_file, own_parts
from seqadd.training.fingerprint import COMPUTES

if TYPE_CHECKING:
    from seqadd.tracking.store import RunRecord


def config_of(run: RunRecord) -> Config:
    """Returns the configuration of a run, composed from its parameters; raises RunNotFound as ``config_from``.

    Own parts may have been edited since, if what they compute can be compared; see ``is_edited``.
    """
    return config_from(run.params, f"run={run.run_id}", remedy_of(run), run)


def remedy_of(run: RunRecord) -> str:
    """What to do where the own parts of a run are missing, or others."""
    return f"write --code FILE; {own_file(run.run_id)}"


def config_from(params: Mapping[str, str], origin: str, remedy: str, run: RunRecord | None = None) -> Config:
    """Returns the configuration of a run's parameters.

    Args:
        params: result keys with their values as texts.
        origin: the word that chooses them, for messages.
        remedy: what to do where own parts are missing, or others than the run's.
        run: whose own parts may have been edited; None if they must be those of this command.

    Raises:
        RunNotFound: when the parameters are no valid configuration, or of own parts that are not declared, or have
            been edited since.
    """
    _check_declared(params, origin, remedy)
    strange = sorted(set(params) - set(known_result_keys()))
    if strange:
        raise RunNotFound(f"{origin}: has the parameter {strange[0]}, unknown to this version of seqadd")
    overrides = recorded_overrides(params)
    try:
        with initialize_config_dir(str(resource_dir("conf")), version_base="1.3"):
            config = compose_config(overrides)
    except Exception as error:  # Hydra's, OmegaConf's or ours: other programs may write any parameters to the store
        raise RunNotFound(f"{origin}: its parameters are not valid: {one_line(error)}") from error
    code = params.get("part_code", override_text(None))
    if code != override_text(config.part_code):
        own = own_parts(config)
        if run is None or COMPUTES not in run.tags or config.part_code is None:
            raise RunNotFound(f"{origin}: was trained with part_code={code}, {own} is now {config.part_code}; {remedy}")
        if (reason := not_comparable(run)) is not None:
            raise RunNotFound(f"{origin}: {own} was edited: {reason}; {remedy}")
    # A missing parameter is a key that did not exist yet: today's default is what the run did.
    written = {key: override_text(value) for key, value in config.result_keys().items()}
    wrong = sorted(key for key, text in params.items() if text != written[key] and key != "part_code")
    if wrong:
        raise RunNotFound(f"{origin}: {wrong[0]}={params[wrong[0]]} is not a valid value")
    return dataclasses.replace(config, force=False)


def is_edited(run: RunRecord, config: Config) -> bool:
    """Whether own parts were edited since a run, so that its weights count only if they compute the same now."""
    return run.params.get("part_code", override_text(None)) != override_text(config.part_code)


def _check_declared(params: Mapping[str, str], origin: str, remedy: str) -> None:
    """Raises RunNotFound for a run with a part that no file of this command declares."""
    chosen = {"cell": "cell", "architecture": "architecture", "task": "task.name"}
    names = {kind: params.get(key, override_text(None)) for kind, key in chosen.items()}
    missing = [
        f"{kind}={name}"
        for kind, name in names.items()
        if name not in (override_text(None), *BUILT_IN.get(kind, ())) and (kind, name) not in declared()
    ]
    if missing and params.get("part_code", override_text(None)) != override_text(None):
        raise RunNotFound(f"{origin}: was trained with own parts, and {missing[0]} is not declared; {remedy}")
