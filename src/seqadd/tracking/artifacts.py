"""Names of runs and of their artifacts."""

from __future__ import annotations

import re
from collections.abc import Iterable

from seqadd.config.schema import GROUPS, Config, known_result_keys

#: The artifact from which a longer run continues.
CHECKPOINT = "end.checkpoint"

#: The artifact with a run's final weights.
WEIGHTS = "model.weights.h5"

#: The artifact with what was changed in the code since its commit.
PATCH = "uncommitted.patch"

#: The artifact folder of a run's snapshots.
SNAPSHOTS = "snapshots"
#: The name of the images on MLflow's page.
IMAGES = "layers"


def snapshot_name(epoch: int, kind: str) -> str:
    """Returns the artifact path of an epoch's snapshot: ``snapshots/epoch_00010.png``."""
    return f"{SNAPSHOTS}/epoch_{epoch:05d}.{kind}"


def epoch_of_weights(path: str) -> int | None:
    """Returns the epoch of an artifact with weights; None for any other artifact."""
    found = re.fullmatch(rf"{SNAPSHOTS}/epoch_([0-9]+)\.weights\.h5", path)
    return int(found[1]) if found else None


def run_name(config: Config) -> str:
    """Returns a run's title: ``lstm seed 0, repeat_vector, 200 epochs``."""
    return ", ".join(_parts(config, set()))


def display_name(config: Config) -> str:
    """Returns a run's name in MLflow: what the run varies, then its title without what was named already.

    MLflow's list shows some 20 characters of a name.

    Example:
        ``tracking.label`` is ``learning_rate=0.004 encoder_units=96``: the name is ``lr=0.004 units=96, lstm seed 0,
        repeat_vector, 200 epochs``.
    """
    overrides = (config.tracking.label or "").split()
    named = {override.partition("=")[0] for override in overrides}
    return ", ".join(filter(None, [abbreviate(overrides), *_parts(config, named)]))


def _parts(config: Config, named: set[str]) -> list[str]:
    """Returns the parts of a run's title, without the keys that were named already."""
    cell = [text for key, text in (("cell", config.cell), ("seed", f"seed {config.seed}"))
            if key not in named and text is not None]  # fmt: skip
    others = (("architecture", config.architecture), ("epochs", f"{config.epochs} epochs"))
    return [*([" ".join(cell)] if cell else []), *(text for key, text in others if key not in named)]


# Keys that names of runs abbreviate; of other keys they have the last part.
_SHORT_KEYS = {
    "learning_rate": "lr", "encoder_units": "units", "decoder_units": "decoder", "batch_size": "batch",
    "task.n_questions": "questions", "teacher_forcing": "forcing",
}  # fmt: skip


def abbreviate(overrides: Iterable[str]) -> str:
    """Returns overrides in short form for names, without those that do not tell runs apart.

    Args:
        overrides: ``KEY=VALUE``, a value may list several; a text without ``=`` is kept as it is.

    Example:
        >>> abbreviate(["trial", "3", "learning_rate=0.00412387219", "cell=gru", "seed=1", "epochs=9", "force=true"])
        'trial 3 lr=0.004124 gru seed 1 9 epochs'
    """
    return " ".join(filter(None, map(_abbreviate, overrides)))


def _abbreviate(override: str) -> str:
    key, equals, value = override.lstrip("+").partition("=")
    if not equals:
        return override
    if key in GROUPS:
        return value
    if key not in known_result_keys() or key in ("threads", "jit"):
        return ""
    if re.fullmatch(r"(?=.{7,})[0-9]*\.[0-9]+(e[+-]?[0-9]+)?", value):
        value = f"{float(value):.4g}"
    words = {"seed": f"seed {value}", "epochs": f"{value} epochs"}
    return words.get(key, f"{_SHORT_KEYS.get(key, key.rpartition('.')[2])}={value}")
