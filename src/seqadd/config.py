"""What a run may be: its keys with their types, ranges and meanings, and the refusal of everything else.

Defaults are not here but in ``conf/``. TensorFlow and MLflow are never imported here, so a wrong value is refused
in a second.
"""

from __future__ import annotations

import dataclasses
import difflib
import hashlib
import json
import re
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from hydra.core.config_store import ConfigStore
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf import MISSING, DictConfig, OmegaConf
from omegaconf.errors import ConfigKeyError, MissingMandatoryValue, OmegaConfBaseException, ValidationError

from seqadd import addition
from seqadd.machine import can_have_threads, limits, memory, processors
from seqadd.questions import read_question

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

# Keys that say where and how a run is computed or recorded, not what is computed.
_BOOKKEEPING = ("inspect", "tracking", "force")
# Keys that sweeps and searches set, not people.
_SET_BY_SWEEPS = ("tracking.parent_run_id", "tracking.search", "tracking.trial")
# Keys that make one run of a condition differ from the next: a table's rows and its seeds.
_WITHIN_CONDITION = ("seed", "epochs", "threads", "jit")

# Bytes that the libraries fill, and what a process needs beside what it fills where ulimit counts something else: the
# address space, in which libraries and stacks of threads are reserved, and what can be written to. And its threads,
# beside two for each processor. Measured on two processors, without and with XLA: 2.3 and 3.4 GB, 0.6 and 1.1 GB, 6 and
# 22 threads.
_LIBRARIES = 0.8e9
_LIMITED = {"-v": "address space", "-d": "memory to write to"}
_RESERVED = {False: {"-v": 1.6e9, "-d": 0.1e9}, True: {"-v": 2.6e9, "-d": 0.3e9}}
_THREADS = {False: 6, True: 20}


_MOST_CHARACTERS = 200
# What Keras and TensorFlow put around what is wrong in a model: colours, names of nodes, lines of files, arguments.
_AROUND_AN_ERROR = re.compile(
    r"\x1b\[[0-9;]*m|[\x00-\x08\x0e-\x1f\x7f]"
    r"| for '\{\{node [^}]*\}\} = [^']*'|\{\{(function_)?node [^}]*\}\}|\[\[[^]]*\]\]|\[Op:[^]]*\]( name:.*)?"
    r'|^in user code:|^ *File "[^"\n]*", line \d+, in .*\n( {8,}.*\n)?|^ *\w+Error: (?=Exception encountered)'
    r"|^Detected at node .*$|<stack_traces unavailable>"
    r"|\n *(Arguments received by|Stack trace for op definition|Original stack trace for)[\s\S]*",
    re.MULTILINE,
)


class ConfigError(ValueError):
    """A run that cannot be, told in one line: key, value, limit and, where there is one, the remedy."""


def _key(
    meaning: str,
    *,
    low: float | None = None,
    high: float | None = None,
    open_ends: bool = False,
    choices: tuple[str, ...] | None = None,
) -> Any:
    """A key of the configuration that must be given in ``conf/``; its range includes its ends unless ``open_ends``."""
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
    """What a run keeps of itself while it trains, for ``python -m seqadd.inspect``."""

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
    """One run. The keys ``cell``, ``architecture``, ``loss``, ``era`` and ``task`` are also config groups."""

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
        """Digits that questions have room for."""
        return self.task.longest or self.task.digits

    @property
    def question_length(self) -> int:
        """Characters in a question, padding included."""
        return addition.question_length(self.longest)

    @property
    def answer_length(self) -> int:
        """Characters in an answer: the question's length when every input step has its output, else digits + 1."""
        if self.architecture == "aligned":
            return self.question_length
        return addition.answer_length(self.longest) + (1 if self.free_lengths else 0)

    @property
    def free_lengths(self) -> bool:
        """Whether an answer ends where the model says so, with a blank, and padding does not count."""
        return self.architecture in ("encoder_decoder", "attention")

    @property
    def n_held_out(self) -> int:
        """Sums kept for validation."""
        return addition.held_out_count(self.task.n_questions, self.task.held_out)

    def memory_needed(self) -> dict[str, float]:
        """Bytes that a run needs at least, each share under the key that it grows with most.

        Measured: 0.8 GB for the libraries; 330 bytes a question while they are drawn; four copies of the weights
        (gradient, Adam's two) and one in passing; of the activations of a training step, half to nine tenths are
        counted here, and of the evaluation's, which keeps those of one step only, as much.
        """
        gates = {"lstm": 4, "gru": 3}.get(self.cell, 1)
        characters = self.question_length
        decoder = self.decoder_units or 0
        recurrent = self.encoder_units if self.cell != "dense" else 0
        weights = self.encoder_units * (recurrent + 13) + decoder * (self.encoder_units + decoder + 1)
        activations = characters * self.encoder_units + self.answer_length * decoder
        return {
            "task.n_questions": 330.0 * self.task.n_questions,
            "encoder_units" if self.encoder_units >= decoder else "decoder_units": 4.0 * 5 * gates * weights,
            "batch_size": 4.0 * 1.5 * gates * activations * self.batch_size,
            "task.held_out": 4.0 * 1.5 * gates * max(self.encoder_units, decoder) * self.n_held_out,
            "the libraries": _LIBRARIES,
        }

    def seconds_per_epoch(self) -> float:
        """About how long an epoch takes on one processor of 2023, for what has to be said before one was timed.

        Measured: 40 billion multiplications a second, three times those of the forward pass, and what is beside the
        recurrent layers (benchmarks/results/architectures.csv).
        """
        gates = {"lstm": 4, "gru": 3}.get(self.cell, 1)
        recurrent = self.encoder_units if self.cell != "dense" else 0
        encoder = self.question_length * self.encoder_units * (recurrent + 13)
        decoder = (self.decoder_units or 0) * (
            self.encoder_units + self.answer_length * ((self.decoder_units or 0) + 1)
        )
        times = {"readout": 1.6, "attention": 2.3, "pooled": 2.4}.get(self.architecture, 1.0)
        return times * 3.0 * (self.task.n_questions - self.n_held_out) * gates * (encoder + decoder) / 4e10

    def flat(self) -> dict[str, Any]:
        """Every key with its value, nested keys joined by dots: ``{"cell": "lstm", "task.digits": 3, ...}``."""
        return dict(_flatten(dataclasses.asdict(self)))

    def result_keys(self) -> dict[str, Any]:
        """The keys that a run's result depends on."""
        return {k: v for k, v in self.flat().items() if k.partition(".")[0] not in _BOOKKEEPING}

    def nested_result_keys(self) -> dict[str, Any]:
        """The keys that a run's result depends on, nested as in ``conf/``."""
        return {k: v for k, v in dataclasses.asdict(self).items() if k not in _BOOKKEEPING}

    def condition(self) -> dict[str, Any]:
        """The keys that make it another experiment, not another repetition: all but seed, epochs, threads and jit."""
        return {k: v for k, v in self.result_keys().items() if k not in _WITHIN_CONDITION}

    def trajectory_hash(self) -> str:
        """16 hex digits that runs share of which the one with fewer epochs is the beginning of the other."""
        return _hash({k: v for k, v in self.result_keys().items() if k != "epochs"})

    def config_hash(self) -> str:
        """16 hex digits that equal configurations share."""
        return _hash(self.result_keys())

    def condition_hash(self) -> str:
        """16 hex digits that all repetitions of one condition share."""
        return _hash(self.condition())


def _flatten(tree: dict[str, Any], prefix: str = "") -> Any:
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from _flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def as_text(value: Any) -> str:
    """A value as it is written in an override, a parameter of a run and a CSV file: ``true``, ``null``, ``0.1``."""
    return json.dumps(value) if isinstance(value, bool) or value is None else str(value)


def _hash(keys: dict[str, Any]) -> str:
    # Without what is null: a key that only some future architecture has must not make other runs of all there are.
    keys = {key: value for key, value in keys.items() if value is not None}
    return hashlib.sha256(json.dumps(keys, sort_keys=True).encode()).hexdigest()[:16]


def _described_keys(schema: type = Config, prefix: str = "") -> Any:
    """Every key with its dataclass field, nested keys joined by dots."""
    nested = {"Task": Task, "Inspect": Inspect, "Tracking": Tracking}
    for key in dataclasses.fields(schema):
        if key.type in nested:
            yield from _described_keys(nested[key.type], f"{prefix}{key.name}.")
        else:
            yield f"{prefix}{key.name}", key


def known_keys() -> list[str]:
    """The names of all keys, nested ones joined by dots."""
    return [name for name, _ in _described_keys()]


def known_result_keys() -> list[str]:
    """The names of the keys that a run's result depends on, which are its parameters in the store."""
    return [name for name in known_keys() if name.partition(".")[0] not in _BOOKKEEPING]


def kind_of_key(name: str) -> str:
    """``int``, ``float``, ``bool`` or ``str``: what the values of a known key are, if not null."""
    return next(str(field.type).partition(" ")[0] for known, field in _described_keys() if known == name)


def from_hydra(cfg: DictConfig, choices: Mapping[str, Any]) -> Config:
    """The typed, checked configuration of one run.

    Args:
        cfg: as Hydra composes it, without its own node.
        choices: which file each config group was composed from, as in ``hydra.runtime.choices``.

    Raises:
        ConfigError: for a value out of its range, or keys that do not go together.
    """
    for group in GROUPS:
        if not isinstance(choices.get(group), str):  # Hydra would merge the files of a list, the last one winning
            raise ConfigError(f"{group}: must be one choice, not several; sweep over them with -m {group}=A,B")
    known = known_keys()
    try:
        # Hydra's "+key=value" adds keys that no schema has; to_object would take them over in silence.
        tree: Any = OmegaConf.to_container(cfg, throw_on_missing=True)
        for name, _ in _flatten(tree):
            if name not in known:
                raise ConfigError(_no_such_key(name))
        config = OmegaConf.to_object(cfg)
    except OmegaConfBaseException as error:
        raise ConfigError(in_one_line(error)) from error
    assert isinstance(config, Config)
    check(config)
    return config


def check(config: Config) -> None:
    """Raises ConfigError, in one line, for a configuration that cannot be run."""
    values = config.flat()
    for key, field in _described_keys():
        _check_range(key, values[key], field)

    if config.cell == "dense" and config.architecture != "aligned":
        raise ConfigError(
            f"cell=dense architecture={config.architecture}: a dense cell has no memory to carry the question to the "
            "answer; use architecture=aligned, or a recurrent cell"
        )
    if config.architecture == "aligned" and config.decoder_units is not None:
        raise ConfigError(f"decoder_units={config.decoder_units}: architecture=aligned has no decoder; leave it null")
    if config.architecture != "aligned" and config.decoder_units is None:
        raise ConfigError(f"decoder_units=null: architecture={config.architecture} needs a decoder of at least 1 unit")

    least, most = (float(limit) for limit in (np.finfo(np.float32).tiny, np.finfo(np.float32).max))
    if not least <= config.learning_rate <= most:
        raise ConfigError(
            f"learning_rate={config.learning_rate}: must be in {least:.2g}..{most:.2g}; as a float32, as the "
            "weights are, it would be 0 or infinite"
        )
    _check_decoder(config)
    if config.free_lengths and config.decoder_units != config.encoder_units:
        raise ConfigError(
            f"decoder_units={config.decoder_units}: architecture={config.architecture} hands the encoder's states to "
            f"its decoder, which must be as wide; set it to encoder_units={config.encoder_units}"
        )

    task = config.task
    if task.n_questions > addition.count_pairs(task.digits):
        raise ConfigError(addition.too_many_questions(task.n_questions, task.digits))
    if task.longest is not None and task.longest <= task.digits:
        raise ConfigError(f"task.longest={task.longest}: must be more than task.digits={task.digits}, or null")
    if task.equal_lengths is False:  # which would be another configuration of the same run
        raise ConfigError("task.equal_lengths=false: must be true, or null")
    if config.curriculum is not None and config.shuffle == "once":
        raise ConfigError(
            f"shuffle=once: curriculum={config.curriculum} draws the sums of each epoch anew; leave shuffle out"
        )
    if config.curriculum is not None and task.digits == 1:
        raise ConfigError(
            f"curriculum={config.curriculum}: sums of task.digits=1 have one length; take task.digits of at least 2"
        )
    n_train = task.n_questions - config.n_held_out
    if config.n_held_out < 1 or n_train < 1:
        raise ConfigError(
            f"task.held_out={task.held_out}: leaves {n_train} sums to train on and {config.n_held_out} to validate "
            f"with, of task.n_questions={task.n_questions}; both must be at least 1"
        )
    if config.batch_size > n_train:
        raise ConfigError(f"batch_size={config.batch_size}: must be at most {n_train}, the size of the training set")
    if config.inspect.every is not None and config.inspect.every > config.epochs:
        raise ConfigError(
            f"inspect.every={config.inspect.every}: must be at most {config.epochs}, the epochs there are"
        )
    if config.inspect.question is not None:
        try:
            read_question(config.inspect.question, config.longest)
        except ValueError as error:
            raise ConfigError(f"inspect.{error}") from error


def _check_decoder(config: Config) -> None:
    """Raises ConfigError for a decoder that this architecture has not."""
    wanted = {
        "peek": config.architecture == "encoder_decoder",
        "score": config.architecture == "attention",
        "teacher_forcing": config.free_lengths,
    }
    for key, has in wanted.items():
        value = getattr(config, key)
        if has and value is None:
            raise ConfigError(f"{key}=null: architecture={config.architecture} needs it; leave {key} out")
        if not has and value is not None:
            raise ConfigError(
                f"{key}={as_text(value)}: architecture={config.architecture} has no use for it; leave it null"
            )


def check_machine(config: Config) -> None:
    """Raises ConfigError, in one line, for a configuration that cannot be run on this machine."""
    needed, there = config.memory_needed(), memory()
    if there is not None and sum(needed.values()) > there:
        key = max(config.flat().keys() & needed.keys(), key=lambda key: needed[key])
        raise ConfigError(
            f"{key}={config.flat()[key]}: this run needs at least {_gigabytes(sum(needed.values()))} of memory, this "
            f"machine has {_gigabytes(there)}; lower {key}"
        )
    if config.threads > processors():
        raise ConfigError(f"threads={config.threads}: must be at most {processors()}, the processors it may use here")
    check_limits(sum(needed.values()), jit=config.jit)


def check_limits(n_bytes: float = _LIBRARIES, *, jit: bool = False) -> None:
    """Raises ConfigError where ``ulimit`` leaves a process too little to compute; inside TensorFlow it would crash.

    Args:
        n_bytes: that it fills; by default with libraries alone.
        jit: whether it compiles with XLA.
    """
    for option, there in limits().items():
        needed = n_bytes + _RESERVED[jit][option]
        if needed > there:
            enough_without = jit and n_bytes + _RESERVED[False][option] <= there
            raise ConfigError(
                f"ulimit {option} {there // 1024}: a process may have {_gigabytes(there)} of {_LIMITED[option]}, and "
                f"this one needs {_gigabytes(needed)}; raise the limit{', or say jit=false' * enough_without}"
            )
    n_threads = _THREADS[jit] + 2 * processors()
    if not can_have_threads(n_threads):
        raise ConfigError(
            f"this process cannot start the {n_threads} threads that TensorFlow needs; raise ulimit -u, or pids.max of "
            "its control group"
        )


def _gigabytes(n_bytes: float) -> str:
    return f"{n_bytes / 1e9:,.1f} GB"


def _check_range(key: str, value: Any, field: dataclasses.Field[Any]) -> None:
    low, high, choices = field.metadata["low"], field.metadata["high"], field.metadata["choices"]
    if value is None:
        return  # where the schema allows it
    if choices is not None and value not in choices:
        raise ConfigError(f"{key}={value}: must be one of {', '.join(choices)}")
    if value == "":
        raise ConfigError(f"{key}=: must not be empty ({field.metadata['meaning']})")
    if isinstance(value, (str, bool)):
        return
    # Written so that NaN, which compares false with everything, is refused.
    if field.metadata["open_ends"]:
        inside = (low is None or value > low) and value < (float("inf") if high is None else high)
    else:
        inside = (low is None or value >= low) and (high is None or value <= high)
    if not inside:
        raise ConfigError(f"{key}={value}: must be {_range_in_words(field)} ({field.metadata['meaning']})")


def _range_in_words(field: dataclasses.Field[Any]) -> str:
    low, high = field.metadata["low"], field.metadata["high"]
    if field.metadata["open_ends"]:
        return f"finite and above {low}" if high is None else f"above {low} and below {high}"
    return f"at least {low}" if high is None else f"in {low}..{high}"


def without_passwords(text: str) -> str:
    """A text in which addresses have no user and password left: ``http://ann:secret@host`` is ``http://***@host``."""
    # Up to the last @ before a blank: a password may itself hold a slash or an @.
    return re.sub(r"(\w\\?://)[^\s]*@", r"\1***@", text)


def in_one_line(error: Exception) -> str:
    """What an error says, in one line; what Hydra and OmegaConf say, in our words: key, value and remedy."""
    return without_passwords(_in_one_line(error))


def in_a_short_line(error: Exception) -> str:
    """As ``in_one_line``; of what a library says in the middle of its work the first 200 characters."""
    said = in_one_line(error)
    foreign = not isinstance(error, (HydraException, OmegaConfBaseException))
    if foreign and not type(error).__module__.startswith("seqadd.") and len(said) > _MOST_CHARACTERS:
        return f"{said[: _MOST_CHARACTERS - 3]}..."
    return said


def _in_one_line(error: Exception) -> str:
    cause = error
    while cause.__cause__ is not None and isinstance(cause.__cause__, (HydraException, OmegaConfBaseException)):
        cause = cause.__cause__  # type: ignore[assignment]
    if isinstance(cause, HydraException) and isinstance(cause.__cause__, ConfigError):
        return str(cause.__cause__)  # ours, wrapped by Hydra when it makes a plugin
    first_line = str(error).strip().partition("\n")[0]

    if isinstance(error, MissingConfigException) and error.options and error.missing_cfg_file:
        group, _, name = error.missing_cfg_file.rpartition("/")
        return f"{group}={name}: must be one of {', '.join(error.options)}"
    if first_line.startswith("Ambiguous value for argument"):
        override = first_line.split("'", 1)[1].rstrip("'")
        return f"{override}: several values; sweep over them with -m {override}"
    in_a_file = re.match(r"In '([^']+)': Could not override '([^']+)'", first_line)
    if in_a_file and in_a_file[2] in GROUPS:
        return (
            f"{in_a_file[1]}.yaml: cannot choose {in_a_file[2]}, which is composed later; choose it on the command "
            "line, or in a file of a group of your own, +experiment=NAME"
        )
    if isinstance(error, OverrideParseException):
        return f"cannot read the override {error.override!r}, write KEY=VALUE: {first_line}"
    if isinstance(cause, ConfigKeyError) or first_line.startswith(("Could not override", "Could not find")):
        # The quoted key is the only place where Hydra says what was asked for.
        key = first_line.split("'")[1].split("@")[0] if "'" in first_line else str(getattr(cause, "full_key", ""))
        return _no_such_key(key)
    strange = re.search(r"Key '([^']+)' (is )?not in", str(error))  # in a file; Hydra says the same in many lines
    if strange:
        return _no_such_key(strange[1])
    if isinstance(cause, MissingMandatoryValue):
        return f"{cause.full_key}: must be given"
    if isinstance(cause, ValidationError) and getattr(cause, "full_key", None):
        said = str(getattr(cause, "msg", cause)).partition("\n")[0]
        if said.endswith("is not Optional"):
            return f"{cause.full_key}: must not be null"
        return f"{cause.full_key}: {said[0].lower()}{said[1:]}"
    said = _AROUND_AN_ERROR.sub("", str(error))
    return "; ".join(line for line in (" ".join(line.split()) for line in said.splitlines()) if line)


def _no_such_key(key: str) -> str:
    part = re.match(r"hydra\.(launcher|sweeper)\.", key)  # of which this project has its own
    before, known = (part[0], _plugin_keys(part[1])) if part else ("", known_keys())
    near = difflib.get_close_matches(key.removeprefix(before), known, n=1)
    return f"{key}: no such key; " + (f"did you mean {before}{near[0]}?" if near else f"keys are {', '.join(known)}")


def _plugin_keys(part: str) -> list[str]:
    files = [OmegaConf.load(path) for path in sorted((packaged("conf") / "hydra" / part).glob("*.yaml"))]
    return sorted({str(key) for file in files for key in file} - {"_target_"})


def packaged(name: str) -> Path:
    """The folder ``conf`` or ``experiments``: of the clone where this is one, else of the installed package."""
    package = Path(__file__).resolve().parent
    inside = package / name
    return inside if inside.is_dir() else package.parents[1] / name


def _help_template() -> str:
    keys = list(_described_keys())
    width = max(len(name) for name, _ in keys)
    lines = []
    for name, field in keys:
        if name in _SET_BY_SWEEPS:
            continue
        choices = field.metadata["choices"]
        limits = " | ".join(choices) if choices else ""
        if not choices and field.metadata["low"] is not None:
            limits = _range_in_words(field)
        text = field.metadata["meaning"] + (f"  [{limits}]" if limits else "")
        wrapped = textwrap.wrap(text, 110 - width, break_on_hyphens=False)
        lines.append(f"  {name:<{width}}  " + f"\n{'':{width + 4}}".join(wrapped))
    return "\n".join(
        [
            "Train a model that adds numbers written as characters, as one tracked run or a sweep of them.",
            "",
            "Usage: python -m seqadd.run [KEY=VALUE ...]        one run",
            "       python -m seqadd.run -m [KEY=A,B,C ...]     a sweep: every combination, in parallel",
            "",
            "Examples:",
            "  python -m seqadd.run cell=gru epochs=200",
            "  python -m seqadd.run -m cell=lstm,gru,simple_rnn seed=0,1,2",
            "  python -m seqadd.run cell=dense epochs=60 task.n_questions=20000",
            "",
            "Groups (conf/GROUP/CHOICE.yaml):",
            "$APP_CONFIG_GROUPS",
            "Keys:",
            *lines,
            "",
            "Search: python -m seqadd.run -m hydra/sweeper=optuna hydra.sweeper.trials=40 \\",
            "          'learning_rate=tag(log,interval(0.0001,0.01))' 'encoder_units=range(16,129,16)' epochs=50",
            "Defaults: python -m seqadd.run --cfg job. Results: python -m seqadd.table, mlflow ui.",
            "Jobs of a sweep at once: hydra.launcher.jobs=N (one a core if not set). More of Hydra: --hydra-help.",
        ]
    )


def register_with_hydra() -> None:
    """Tells Hydra the schema that ``conf/config.yaml`` is held to, and the text of ``--help``."""
    store = ConfigStore.instance()
    store.store(name="schema", node=Config)
    store.store(
        group="hydra/help",
        name="seqadd",
        node={"app_name": "seqadd", "header": "", "footer": "", "template": _help_template()},
    )


register_with_hydra()
