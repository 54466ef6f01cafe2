"""The trained models that come with the package: the article's three cells, after 10, 50, 100 and 200 epochs.

They are chosen by ``model=lstm`` and, for an earlier epoch, ``epoch=50``; no store is needed. The folder ``trained``
has their weights, their histories, and ``index.json``: the configuration of the run that each model is from, tags of
the run's record, and the digest of each file's weights. ``scripts/bundle_models.py`` writes it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra import initialize_config_dir

from seqadd.config.composition import compose_config
from seqadd.config.schema import Config
from seqadd.errors import ConfigError, RunNotFound
from seqadd.evaluation.trained_run import TrainedRun, load_model
from seqadd.system.files import resource_dir
from seqadd.training.dataset import make_dataset

#: The file that describes the models.
INDEX = "index.json"


def folder() -> Path:
    """The folder of the models: inside the installed package, else at the top of the clone."""
    return resource_dir("trained")


def weights_file(name: str, epoch: int) -> str:
    """Returns the path of a model's weights in the folder: ``lstm/epoch_00050.weights.h5``."""
    return f"{name}/epoch_{epoch:05d}.weights.h5"


def history_file(name: str) -> str:
    """Returns the path of a model's history in the folder: for each metric its values after epochs 1, 2, ..."""
    return f"{name}/history.json"


def check_alone(names: Sequence[str], others: Sequence[str]) -> None:
    """Raises ConfigError if a model that comes with the package is chosen together with anything but an epoch."""
    if others:
        raise ConfigError(
            f"model={','.join(names)} {others[0]}: a model that comes with the package needs nothing but epoch=N; "
            "leave the other out"
        )


def config_of(about: Mapping[str, Any]) -> Config:
    """Returns the configuration of the run that a model is from, given its entry of the index."""
    with initialize_config_dir(str(resource_dir("conf")), version_base="1.3"):
        return compose_config([f"{key}={value}" for key, value in about["config"].items()])


def load_bundled(names: Sequence[str], at: Sequence[int | str] | None) -> list[TrainedRun]:
    """Loads models that come with the package, each once for every chosen epoch.

    Args:
        names: of the models.
        at: the epochs whose weights are loaded; empty for the last, None for all.

    Raises:
        ConfigError: for a name that no model has.
        RunNotFound: for an epoch without weights, and for weights or sums with another digest than the run had.
    """
    index = json.loads((folder() / INDEX).read_text(encoding="utf-8"))
    chosen = {name: _epochs_of(index, name, at) for name in names}  # all checked before the first is loaded
    return [run for name, epochs in chosen.items() for run in _load(name, index[name], epochs)]


def _epochs_of(index: Mapping[str, Any], name: str, at: Sequence[int | str] | None) -> list[int]:
    if name not in index:
        raise ConfigError(f"model={name}: must be one of {', '.join(index)}")
    there = [int(epoch) for epoch in index[name]["weights_sha256"]]
    for epoch in at or ():
        if epoch not in there:
            raise RunNotFound(f"epoch={epoch}: model={name} has weights of epochs {', '.join(map(str, there))} only")
    return there if at is None else list(dict.fromkeys(map(int, at))) or there[-1:]


def _load(name: str, about: Mapping[str, Any], epochs: Sequence[int]) -> Iterator[TrainedRun]:
    config, tags = config_of(about), about["tags"]
    data = make_dataset(config)
    if data.digest() != tags["data_digest"]:
        raise RunNotFound(
            f"model={name}: was trained on other sums: its data_digest is {tags['data_digest']}, here {data.digest()}"
        )
    curves = json.loads((folder() / history_file(name)).read_text(encoding="utf-8"))
    for epoch in epochs:
        digest = about["weights_sha256"][str(epoch)]
        model = load_model(config, folder() / weights_file(name, epoch), f"model={name}", digest)
        history = {metric: dict(enumerate(values[:epoch], 1)) for metric, values in curves.items()}
        yield TrainedRun(name, config, tags, epoch, model, data, history, bundled=True)
