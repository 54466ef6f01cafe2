"""The text of ``python -m seqadd.run --help``: the keys in groups, each with its default, the rare ones last."""

from __future__ import annotations

import shutil
import string
import textwrap
from typing import Any

from omegaconf import DictConfig, OmegaConf

from seqadd.config.parts import Part, declared
from seqadd.config.schema import (
    GROUPS,
    SET_BY_PARTS,
    SET_BY_SWEEPS,
    described_keys,
    flatten,
    override_text,
    part_fields,
)
from seqadd.config.validation import range_in_words
from seqadd.errors import redact_credentials
from seqadd.system.files import resource_dir

_WIDTH, _NARROW = 110, 90
# The keys that most runs set; all others are rare.
_GROUPS_OF_KEYS = {
    "The model": ("cell", "architecture", "encoder_units", "decoder_units", "era"),
    "The sums": ("task.digits", "task.n_questions", "task.held_out", "reverse"),
    "The training": ("loss", "epochs", "batch_size", "learning_rate", "seed", "force"),
    "What is recorded, and where": ("tracking.uri", "tracking.experiment", "inspect.every", "inspect.best",
                                    "inspect.question"),
}  # fmt: skip

_BEFORE = """\
Train a model that adds numbers written as characters, as one tracked run or a sweep of them.

Usage: python -m seqadd.run [KEY=VALUE ...]        one run
       python -m seqadd.run -m [KEY=A,B,C ...]     a sweep: every combination, in parallel

Examples:
  python -m seqadd.run cell=gru epochs=200
  python -m seqadd.run -m cell=lstm,gru,simple_rnn seed=0,1,2
  python -m seqadd.run cell=dense epochs=60 task.n_questions=20000

Choices, each with its own defaults (conf/GROUP/CHOICE.yaml):
$APP_CONFIG_GROUPS
Keys, each with its default:
"""
_AFTER = """
Search: python -m seqadd.run -m hydra/sweeper=optuna hydra.sweeper.trials=40 \\
          'learning_rate=tag(log,interval(0.0001,0.01))' 'encoder_units=range(16,129,16)' epochs=50
A recorded run, a little different: python -m seqadd.run from=RUN_ID epochs=500 (or from=config.yaml).
Defaults: python -m seqadd.run --cfg job. Results: python -m seqadd.table, mlflow ui.
Cells, architectures and tasks of your own: python -m seqadd.run --code FILE ... (docs/extend.md).
Parallel jobs of a sweep: hydra.launcher.jobs=N (default: one per core). Hydra's options: --hydra-help.
What would it do? --dry-run lists the runs, their state and their cost, and trains nothing.
"""


def help_text() -> str:
    """Returns the text for a command line without any other option: as Hydra would make it, in half the time."""
    groups = (folder for folder in sorted(resource_dir("conf").iterdir()) if folder.name in GROUPS)
    choices = {folder.name: [path.stem for path in folder.glob("*.yaml")] for folder in groups}
    for part in declared().values():
        choices[part.kind].append(part.name)
    listed = "".join(f"{group}: {', '.join(sorted(names))}\n" for group, names in choices.items())
    return string.Template(help_template()).substitute(APP_CONFIG_GROUPS=listed)


def help_template() -> str:
    """Returns the text as Hydra's template: ``$APP_CONFIG_GROUPS`` stands for the list of config groups."""
    hidden = (*SET_BY_SWEEPS, *SET_BY_PARTS)
    of_parts = {name for part in declared().values() for name, _ in part_fields(part)}
    keys = {name: field for name, field in described_keys() if name not in {*hidden, *of_parts}}
    defaults = _defaults()
    usual = {name for names in _GROUPS_OF_KEYS.values() for name in names}
    groups = {**_GROUPS_OF_KEYS, "Rarely set": tuple(name for name in keys if name not in usual)}
    parts = []
    for title, names in groups.items():
        parts.append(f"\n{title}\n" + "".join(_key_line(name, keys[name], defaults[name]) for name in names))
    parts += [_part_lines(part) for part in declared().values() if part.keys]
    return _BEFORE + "".join(parts).replace("$", "$$") + _AFTER


def _part_lines(part: Part) -> str:
    """Returns the keys of a part under a title that names its file."""
    default = {f"{part.name}.{key.name}": override_text(key.default) for key in part.keys}
    lines = [_key_line(name, field, default[name]) for name, field in part_fields(part)]
    where = "" if part.built_in else f", a part of {part.path.rpartition('/')[2]}"
    return f"\nWith {part.choice}{where}\n" + "".join(lines)


def _defaults() -> dict[str, str]:
    """Returns the value of each key in a run without overrides: of ``config.yaml`` and the files that it chooses."""
    folder = resource_dir("conf")
    config = OmegaConf.load(folder / "config.yaml")
    assert isinstance(config, DictConfig)
    chosen: dict[Any, Any] = {}
    for each in config.pop("defaults"):  # texts such as _self_, and choices such as {cell: lstm}
        chosen |= dict(each) if isinstance(each, DictConfig) else {}
    files = {group: OmegaConf.load(folder / group / f"{chosen[group]}.yaml") for group in GROUPS}
    files["task"] = OmegaConf.create({"task": files["task"]})  # the other files are of the package _global_
    tree: Any = OmegaConf.to_container(OmegaConf.merge(config, *files.values()), resolve=True)
    return {key: redact_credentials(override_text(value)) for key, value in flatten(tree)}


def _key_line(name: str, field: Any, default: str) -> str:
    """Returns a key's line: its name, default, meaning and range; continued below if it is long."""
    choices = field.metadata["choices"]
    limits = " | ".join(choices) if choices else ""
    if not choices and field.metadata["low"] is not None:
        limits = range_in_words(field)
    text = field.metadata["meaning"] + (f"  [{limits}]" if limits else "")
    first, width = f"  {name:<19} {default:<19} ", min(_WIDTH, shutil.get_terminal_size((_WIDTH, 0)).columns)
    indent = " " * len(first)
    if width < _NARROW:  # the meaning stands below
        first, indent = f"{first.rstrip()}\n      ", " " * 6
    text = textwrap.fill(text, width - len(indent), break_on_hyphens=False).replace("\n", f"\n{indent}")
    return f"{first}{text}\n"
