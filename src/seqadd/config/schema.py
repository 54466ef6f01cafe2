"""The schema of a run's configuration: its keys with their types, ranges and meanings.

Defaults are in ``conf/``, not here. This module never imports TensorFlow or MLflow, so a wrong value is refused in a
second.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from omegaconf import MISSING

from seqadd.config.parts import Part, declared
from seqadd.data import addition, drawing
from seqadd.data.vocabulary import CHARACTERS

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

# The built-in choices of a kind of part.
BUILT_IN = {"cell": CELLS, "architecture": ARCHITECTURES}

# Keys about where and how a run is recorded, which do not affect its numbers.
_BOOKKEEPING = ("inspect", "tracking", "force")
# Keys that sweeps and searches set, not users.
SET_BY_SWEEPS = ("tracking.parent_run_id", "tracking.search", "tracking.trial", "tracking.label")
# Keys that follow from the chosen parts; what users set is ``task=NAME``.
SET_BY_PARTS = ("task.name", "part_code")
# Keys of a condition that decide nothing about the model or its data's sizes.
_NOT_OF_THE_MODEL = ("loss", "batch_size", "learning_rate", "reverse", "shuffle", "curriculum")
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
    """The sums to be learnt, or the questions of another task."""

    name: str | None = _key("task other than addition; set by task=NAME")
    digits: int | None = _key("most digits of an addend", low=1, high=9)
    n_questions: int = _key("distinct sums to draw", low=2)
    equal_lengths: bool | None = _key("both addends have the same number of digits; null: independent numbers")
    longest: int | None = _key(
        "digits that inputs are padded for, to test on longer sums than in training; null: task.digits", low=1, high=9
    )
    held_out: float = _key("share of the sums held out for validation", low=0, high=1, open_ends=True)


@dataclass
class Inspect:
    """The snapshots that a run saves while it trains, for ``python -m seqadd.inspect``."""

    every: int | None = _key("save weights and heatmaps every N epochs; null: never", low=1)
    best: bool = _key("save the weights of the epoch with the highest val_acc, for epoch=best")
    question: str | None = _key("sum in these heatmaps, for example 535+61; null: the first held-out sum")


@dataclass
class Tracking:
    """Where runs are recorded."""

    uri: str = _key("MLflow tracking URI")
    experiment: str = _key("MLflow experiment")
    parent_run_id: str | None = _key("run ID of the sweep that this run belongs to; set by sweeps")
    unfinished: str | None = _key(
        "folder of checkpoints and undelivered updates; null: unfinished, beside the database or here"
    )
    relocate: bool = _key("if the store was moved: back up its database, then record its artifacts' new location")
    migrate: bool = _key("if the store is of an older MLflow: back up its database, then migrate it to this MLflow")
    search: str | None = _key("search that this run's trial belongs to; set by searches")
    trial: int | None = _key("number of the trial; set by searches", low=0)
    label: str | None = _key("overrides that the run's name begins with; set by commands")


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

    cell: str | None = _key("kind of cell; null with an architecture that has none", choices=CELLS)
    architecture: str = _key("how the cells are connected", choices=ARCHITECTURES)
    encoder_units: int | None = _key("units of the encoder; with architecture=aligned, of the only layer", low=1)
    decoder_units: int | None = _key("units of the decoder; null with architecture=aligned", low=1)
    peek: bool | None = _key("whether each decoder step reads the encoder's output; architecture=encoder_decoder")
    score: str | None = _key("score function of the attention; architecture=attention", choices=SCORES)
    teacher_forcing: str | None = _key(
        "when training gives the decoder the right previous character; architecture=encoder_decoder or attention",
        choices=TEACHER_FORCING,
    )
    loss: str = _key("cross-entropy over characters", choices=LOSSES)
    era: str = _key("Keras version whose defaults the recurrent layers have", choices=ERAS)
    task: Task = dataclasses.field(default_factory=Task)
    epochs: int = _key("passes over the training set", low=1)
    batch_size: int = _key("sums per training step; at most the size of the training set", low=1)
    learning_rate: float = _key("step size of Adam", low=0, open_ends=True)
    reverse: bool = _key("whether the question's characters are reversed")
    reverse_answer: bool | None = _key("whether the answer's characters are reversed; null: they are not")
    shuffle: str = _key("whether the training set is shuffled in each epoch, or once", choices=SHUFFLES)
    curriculum: str | None = _key("which lengths of sums an epoch draws; null: every sum once", choices=CURRICULA)
    seed: int = _key("seed of the sums, the initial weights and the order of each epoch", low=0, high=2**32 - 1)
    threads: int = _key("processor threads per run", low=1)
    jit: bool = _key("whether epochs are compiled with XLA")
    inspect: Inspect = dataclasses.field(default_factory=Inspect)
    force: bool = _key("train a finished or interrupted run again from the first epoch")
    tracking: Tracking = dataclasses.field(default_factory=Tracking)
    part_code: str | None = _key("digest of the own parts' source; null for built-in parts; set by commands")
    #: The own parts that are chosen, by kind, with the values of their keys. No key: only commands set it.
    parts: dict[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def longest(self) -> int:
        """The number of digits that questions are padded for; addition only."""
        digits = self.task.longest or self.task.digits
        if digits is None:
            raise AttributeError(f"task={self.task.name} has no digits: the sizes of its texts are those of its data")
        return digits

    @property
    def question_length(self) -> int:
        """Characters in a question, padding included; addition only."""
        return addition.question_length(self.longest)

    @property
    def answer_length(self) -> int:
        """Characters in an answer, those of a question if ``aligned``; else digits + 1, + 2 if ``ends_with_eos``.

        Addition only, like ``question_length``.
        """
        if self.architecture == "aligned":
            return self.question_length
        return addition.answer_length(self.longest) + (1 if self.ends_with_eos else 0)

    @property
    def alphabet(self) -> str:
        """The characters of questions and answers in the order of their ids; the blank is the first."""
        task = self.part("task")
        return CHARACTERS if task is None else f" {task.settings['characters']}"

    @property
    def noun(self) -> str:
        """What people read for its questions."""
        return "sums" if self.task.name is None else "questions"

    @property
    def ends_with_eos(self) -> bool:
        """Whether the model ends its answer with a blank, so that the padding after it does not count."""
        own = self.part("architecture")
        if own is not None:
            return bool(own.settings["reads_answer"])
        return self.architecture in ("encoder_decoder", "attention")

    @property
    def model_name(self) -> str:
        """What tells models apart in short: the cell; the architecture if it has no cell."""
        return self.cell or self.architecture

    @property
    def n_held_out(self) -> int:
        """The number of sums kept for validation."""
        return drawing.held_out_count(self.task.n_questions, self.task.held_out)

    def part(self, kind: str) -> Part | None:
        """The own part that is chosen for ``cell``, ``architecture`` or ``task``; None for a built-in one."""
        return self.parts.get(kind)

    def flat(self) -> dict[str, Any]:
        """Every key with its value, nested keys joined by dots: ``{"cell": "lstm", "task.digits": 3, ...}``."""
        return dict(flatten(self._nested()))

    def _nested(self) -> dict[str, Any]:
        tree = {
            key.name: dataclasses.asdict(value) if isinstance(value, (Task, Inspect, Tracking)) else value
            for key in own_fields()
            for value in (getattr(self, key.name),)
        }
        return tree | {part.name: dict(part.values) for part in self.parts.values() if part.values}

    def result_keys(self) -> dict[str, Any]:
        """The keys that a run's result depends on."""
        return {k: v for k, v in self.flat().items() if k.partition(".")[0] not in _BOOKKEEPING}

    def nested_result_keys(self) -> dict[str, Any]:
        """The keys that a run's result depends on, nested as in ``conf/``."""
        return {k: v for k, v in self._nested().items() if k not in _BOOKKEEPING}

    def condition(self) -> dict[str, Any]:
        """The keys that define the condition: all result keys but seed, epochs, threads and jit."""
        return {k: v for k, v in self.result_keys().items() if k not in _WITHIN_CONDITION}

    def trajectory_hash(self) -> str:
        """16 hex digits, equal for configurations that differ in ``epochs`` only: the shorter run begins the longer."""
        return _hash({k: v for k, v in self.result_keys().items() if k != "epochs"})

    def config_hash(self) -> str:
        """16 hex digits, equal for configurations with equal result keys."""
        return _hash(self.result_keys())

    def model_hash(self) -> str:
        """16 hex digits, equal for configurations whose models are built alike, of data of the same size."""
        return _hash({k: v for k, v in self.condition().items() if k not in _NOT_OF_THE_MODEL})

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


def own_fields() -> list[dataclasses.Field[Any]]:
    """The fields of ``Config`` that are keys."""
    return [each for each in dataclasses.fields(Config) if each.name != "parts"]


def described_keys(parts: Iterable[Part] | None = None) -> Iterator[tuple[str, dataclasses.Field[Any]]]:
    """Every key with its dataclass field, nested keys joined by dots.

    Args:
        parts: whose names are choices, and whose keys are described; by default all parts that are declared.
    """
    nested = {"Task": Task, "Inspect": Inspect, "Tracking": Tracking}
    parts = list(declared().values() if parts is None else parts)
    for key in own_fields():
        if key.type in nested:
            yield from ((f"{key.name}.{each.name}", each) for each in dataclasses.fields(nested[str(key.type)]))
        else:
            yield key.name, _with_choices(key, [part.name for part in parts if part.kind == key.name])
    for part in parts:
        yield from part_fields(part)


def _with_choices(key: dataclasses.Field[Any], more: list[str]) -> dataclasses.Field[Any]:
    if not more:
        return key
    return _field(key.name, str(key.type), _key(**{**key.metadata, "choices": (*key.metadata["choices"], *more)}))


def _field(name: str, type_: str, key: Any) -> dataclasses.Field[Any]:
    key.name, key.type = name, type_
    return key  # type: ignore[no-any-return]


def part_fields(part: Part) -> Iterator[tuple[str, dataclasses.Field[Any]]]:
    """The keys of a part as those of ``Config`` are described: ``mgu.leak`` with its type, range and meaning."""
    for key in part.keys:
        described = _key(f"a key of {part.choice}", low=key.low, high=key.high, choices=key.choices)
        yield f"{part.name}.{key.name}", _field(key.name, key.kind, described)


def known_keys() -> list[str]:
    """The names of all keys, nested ones joined by dots."""
    return [name for name, _ in described_keys()]


def known_result_keys() -> list[str]:
    """The names of the keys that a run's result depends on; the store records them as parameters."""
    return [name for name in known_keys() if name.partition(".")[0] not in _BOOKKEEPING]


def kind_of_key(name: str) -> str:
    """The type of a known key's values, if not null: ``int``, ``float``, ``bool`` or ``str``."""
    return next(str(field.type).partition(" ")[0] for known, field in described_keys() if known == name)
