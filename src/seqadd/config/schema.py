"""The schema of a run's configuration: its keys with their types, ranges and meanings.

Defaults are in ``conf/``, not here. This module never imports TensorFlow or MLflow, so a wrong value is refused in a
second.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from typing import Any

from omegaconf import MISSING

from seqadd.data import addition

CELLS = ("lstm", "gru", "simple_rnn", "dense")
ARCHITECTURES = (
    "repeat_vector", "aligned", "encoder_decoder", "attention", "repeat_vector_stacked", "readout", "pooled",
)  # fmt: skip
LOSSES = ("categorical", "binary")
ERAS = ("keras2", "keras3")
SHUFFLES = ("each_epoch", "once")
TEACHER_FORCING = ("always", "scheduled", "never")
SCORES = ("additive", "dot")
CURRICULA = ("none", "naive", "mixed", "combined")

GROUPS = ("cell", "architecture", "loss", "era", "task")

# Keys about where and how a run is recorded, which do not affect its numbers.
_BOOKKEEPING = ("inspect", "tracking", "force")
# Keys that sweeps and searches set, not users.
SET_BY_SWEEPS = ("tracking.parent_run_id", "tracking.search", "tracking.trial")
# Keys that may differ between runs of one condition: a table's rows and its seeds.
_WITHIN_CONDITION = ("seed", "epochs", "threads", "jit")


def _key(
    meaning: str,
    *,
    low: float | None = None,
    high: float | None = None,
    open_ends: bool = False,
    choices: tuple[str, ...] | None = None,
) -> Any:
    """A configuration key whose default must be in ``conf/``; its range includes its ends unless ``open_ends``."""
    return dataclasses.field(
        default=MISSING,
        metadata={"meaning": meaning, "low": low, "high": high, "open_ends": open_ends, "choices": choices},
    )


@dataclass
class Task:
    """The sums to be learnt."""

    digits: int = _key("digits of the longer addends", low=1, high=9)
    n_questions: int = _key("distinct sums to draw", low=2)
    equal_lengths: bool | None = _key("both addends have as many digits; null: each has its own number of them")
    longest: int | None = _key(
        "digits that there is room for, to be tested with longer sums than are learnt; null: task.digits", low=1, high=9
    )
    held_out: float = _key("share of the sums kept for validation", low=0, high=1, open_ends=True)


@dataclass
class Inspect:
    """The snapshots that a run saves while it trains, for ``python -m seqadd.inspect``."""

    every: int | None = _key("keep weights and heatmaps every so many epochs; null: of none", low=1)
    question: str | None = _key("sum that the heatmaps are of, as 535+61; null: the first one held out")


@dataclass
class Tracking:
    """Where runs are recorded."""

    uri: str = _key("MLflow tracking URI")
    experiment: str = _key("MLflow experiment")
    parent_run_id: str | None = _key("run id of the sweep that this run belongs to; set by sweeps")
    unfinished: str | None = _key(
        "folder for checkpoints and what a server was not told yet; null: unfinished, beside the database or here"
    )
    relocate: bool = _key(
        "where the store was moved, copy its database and record in it that its artifacts lie beside it now"
    )
    migrate: bool = _key("where the store is of an older MLflow, copy its database and migrate it to this one's schema")
    search: str | None = _key("search that this run is a trial of; set by searches")
    trial: int | None = _key("number of the trial; set by searches", low=0)


@dataclass
class Config:
    """One run. The keys ``cell``, ``architecture``, ``loss``, ``era`` and ``task`` are also config groups.

    ``load_config`` makes it; docs/configuration.md has meaning, range and default of each key.

    Example:
        >>> from seqadd import load_config
        >>> short, long = load_config("epochs=10"), load_config("epochs=200")
        >>> short.config_hash() == long.config_hash(), short.condition_hash() == long.condition_hash()
        (False, True)
    """

    cell: str = _key("recurrent cell", choices=CELLS)
    architecture: str = _key("how cells are wired", choices=ARCHITECTURES)
    encoder_units: int = _key("width of the encoder; of the only layer when architecture=aligned", low=1)
    decoder_units: int | None = _key("width of the decoder; null when architecture=aligned", low=1)
    peek: bool | None = _key("the decoder reads the encoder's last output at every step; architecture=encoder_decoder")
    score: str | None = _key("how attention compares; architecture=attention", choices=SCORES)
    teacher_forcing: str | None = _key(
        "when a decoder that reads characters is given the right ones in training; null for others",
        choices=TEACHER_FORCING,
    )
    loss: str = _key("cross-entropy over characters", choices=LOSSES)
    era: str = _key("whose defaults the recurrent layers follow", choices=ERAS)
    task: Task = dataclasses.field(default_factory=Task)
    epochs: int = _key("passes over the training set", low=1)
    batch_size: int = _key("sums in a training step; at most the training set", low=1)
    learning_rate: float = _key("step size of Adam", low=0, open_ends=True)
    reverse: bool = _key("write the questions back to front")
    shuffle: str = _key("when the training set is shuffled: for every epoch anew, or once for all", choices=SHUFFLES)
    curriculum: str | None = _key(
        "which lengths an epoch takes its sums from; null: all of them once", choices=CURRICULA
    )
    seed: int = _key("decides the sums, the first weights and the order of every epoch", low=0, high=2**32 - 1)
    threads: int = _key("processor threads of a run", low=1)
    jit: bool = _key("compile an epoch with XLA")
    inspect: Inspect = dataclasses.field(default_factory=Inspect)
    force: bool = _key("train again from the first epoch what is finished or interrupted")
    tracking: Tracking = dataclasses.field(default_factory=Tracking)

    @property
    def longest(self) -> int:
        """The number of digits that questions are padded for."""
        return self.task.longest or self.task.digits

    @property
    def question_length(self) -> int:
        """Characters in a question, padding included."""
        return addition.question_length(self.longest)

    @property
    def answer_length(self) -> int:
        """Characters in an answer, those of a question if ``aligned``; else digits + 1, + 2 if ``ends_with_eos``."""
        if self.architecture == "aligned":
            return self.question_length
        return addition.answer_length(self.longest) + (1 if self.ends_with_eos else 0)

    @property
    def ends_with_eos(self) -> bool:
        """Whether the model ends its answer with a blank, so that the padding after it does not count."""
        return self.architecture in ("encoder_decoder", "attention")

    @property
    def n_held_out(self) -> int:
        """The number of sums kept for validation."""
        return addition.held_out_count(self.task.n_questions, self.task.held_out)

    def flat(self) -> dict[str, Any]:
        """Every key with its value, nested keys joined by dots: ``{"cell": "lstm", "task.digits": 3, ...}``."""
        return dict(flatten(dataclasses.asdict(self)))

    def result_keys(self) -> dict[str, Any]:
        """The keys that a run's result depends on."""
        return {k: v for k, v in self.flat().items() if k.partition(".")[0] not in _BOOKKEEPING}

    def nested_result_keys(self) -> dict[str, Any]:
        """The keys that a run's result depends on, nested as in ``conf/``."""
        return {k: v for k, v in dataclasses.asdict(self).items() if k not in _BOOKKEEPING}

    def condition(self) -> dict[str, Any]:
        """The keys that define the condition: all result keys but seed, epochs, threads and jit."""
        return {k: v for k, v in self.result_keys().items() if k not in _WITHIN_CONDITION}

    def trajectory_hash(self) -> str:
        """16 hex digits, equal for configurations that differ in ``epochs`` only: the shorter run begins the longer."""
        return _hash({k: v for k, v in self.result_keys().items() if k != "epochs"})

    def config_hash(self) -> str:
        """16 hex digits, equal for configurations with equal result keys."""
        return _hash(self.result_keys())

    def condition_hash(self) -> str:
        """16 hex digits, equal for all repetitions of one condition."""
        return _hash(self.condition())


def flatten(tree: dict[str, Any], prefix: str = "") -> Any:
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def override_text(value: Any) -> str:
    """Formats a value for overrides, parameters of a run and CSV files: ``true``, ``null``, ``0.1``."""
    return json.dumps(value) if isinstance(value, bool) or value is None else str(value)


def _hash(keys: dict[str, Any]) -> str:
    # Null keys are left out: a key that is added for a future architecture must not change the hash of existing runs.
    keys = {key: value for key, value in keys.items() if value is not None}
    return hashlib.sha256(json.dumps(keys, sort_keys=True).encode()).hexdigest()[:16]


def described_keys(schema: type = Config, prefix: str = "") -> Any:
    """Every key with its dataclass field, nested keys joined by dots."""
    nested = {"Task": Task, "Inspect": Inspect, "Tracking": Tracking}
    for key in dataclasses.fields(schema):
        if key.type in nested:
            yield from described_keys(nested[key.type], f"{prefix}{key.name}.")
        else:
            yield f"{prefix}{key.name}", key


def known_keys() -> list[str]:
    """The names of all keys, nested ones joined by dots."""
    return [name for name, _ in described_keys()]


def known_result_keys() -> list[str]:
    """The names of the keys that a run's result depends on; the store records them as parameters."""
    return [name for name in known_keys() if name.partition(".")[0] not in _BOOKKEEPING]


def kind_of_key(name: str) -> str:
    """The type of a known key's values, if not null: ``int``, ``float``, ``bool`` or ``str``."""
    return next(str(field.type).partition(" ")[0] for known, field in described_keys() if known == name)
