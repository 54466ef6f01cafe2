"""``from=RUN_ID`` among the overrides of a command: a recorded configuration as the base of another run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from seqadd.config.composition import load_config, recorded_overrides
from seqadd.config.differences import differences
from seqadd.config.messages import one_line
from seqadd.config.schema import GROUPS, flatten, override_text
from seqadd.errors import ConfigError
from seqadd.evaluation.recorded_config import config_from, remedy_of
from seqadd.evaluation.run_selection import find_run, open_store_of, read_choice

#: The word on the command line.
WORD = "from="
# The words that name the store, which is that of the new run too.
_STORE = ("tracking.uri=", "tracking.experiment=")


def with_base(words: Sequence[str]) -> list[str]:
    """Replaces ``from=RUN_ID``, or ``from=FILE`` with a run's ``config.yaml``, by the overrides of that configuration.

    They are those that differ from the defaults, without the keys that other words set, so that a command line is
    recorded that needs neither run nor file.

    Raises:
        ConfigError: for several such words, for a file that is no configuration, and when there is no store.
        RunNotFound: for a run that the store does not have, or whose configuration or own parts are not valid here.
    """
    bases = [index for index, word in enumerate(words) if word.startswith(WORD)]
    if not bases:
        return list(words)
    name = words[bases[0]].removeprefix(WORD)
    if len(bases) > 1 or not name or "," in name:
        raise ConfigError(f"{' '.join(words[index] for index in bases)}: must be one run, or one file, for example "
                          f"{WORD}latest")  # fmt: skip
    before, after = words[: bases[0]], words[bases[0] + 1 :]
    return [*before, *_overrides(name, [*before, *after]), *after]


def _overrides(name: str, others: Sequence[str]) -> list[str]:
    if name.endswith((".yaml", ".yml")):
        params = _params_of_file(name)
        config = config_from(params, f"{WORD}{name}", "write --code FILE")
    else:
        choice = read_choice([f"run={name}", *(word for word in others if word.startswith(_STORE))])
        store = open_store_of(choice)
        assert store is not None  # only models that come with the package need none
        run = find_run(store, choice.runs[0])
        params, config = run.params, config_from(run.params, f"run={run.run_id}", remedy_of(run))
    own = differences([params])[0]
    if load_config(*recorded_overrides(own)).config_hash() != config.config_hash():
        own = dict(params)  # today's defaults are others, of keys that do not tell
    typed = {word.lstrip("+~").partition("=")[0] for word in others}
    # What belongs to a choice goes with it: the keys of a task, and those of an own part.
    gone = tuple(f"{each}." for group in typed.intersection(GROUPS) for each in (group, own.get(group, group)))
    return recorded_overrides({key: text for key, text in own.items() if key not in typed and not key.startswith(gone)})


def _params_of_file(name: str) -> Mapping[str, str]:
    try:
        tree: Any = yaml.safe_load(Path(name).read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise ConfigError(f"{WORD}{name}: cannot read it: {one_line(error)}") from error
    if not isinstance(tree, dict):
        raise ConfigError(f"{WORD}{name}: has no keys; must be the config.yaml of a run")
    return {key: override_text(value) for key, value in flatten(tree) if value is not None}
