"""Checks whether a configuration can be run, and whether this machine can run it; refuses others in one line."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np

from seqadd.config import cost
from seqadd.config.cost import LIBRARIES
from seqadd.config.schema import Config, described_keys, override_text
from seqadd.data import addition
from seqadd.data.addition import read_question
from seqadd.errors import ConfigError
from seqadd.system.hardware import can_have_threads, limits, memory, processors

# What a process needs, without and with XLA, in addition to the memory that it fills and to two threads per processor.
# ulimit -v counts the address space, in which libraries and thread stacks are reserved; -d counts the writable part.
# Totals measured on two processors, without and with XLA: 2.8 and 3.4 GB, 0.7 and 1.1 GB, 6 and 22 threads.
_LIMITED = {"-v": "address space", "-d": "writable memory"}
_RESERVED = {False: {"-v": 2.2e9, "-d": 0.1e9}, True: {"-v": 2.6e9, "-d": 0.3e9}}
_THREADS = {False: 6, True: 20}


def validate(config: Config) -> None:
    """Raises ConfigError, in one line, for a configuration that cannot be run."""
    for check in _CHECKS:
        check(config)


def _check_ranges(config: Config) -> None:
    values = config.flat()
    for key, field in described_keys(config.parts.values()):
        _check_range(key, values[key], field)


def _check_architecture(config: Config) -> None:
    """Raises ConfigError for a cell, or a number of units, that the architecture does not support."""
    if config.part("architecture") is not None:
        _check_own_architecture(config)
        return
    if config.cell == "dense" and config.architecture != "aligned":
        raise ConfigError(
            f"cell=dense architecture={config.architecture}: a dense cell has no memory; use "
            "architecture=aligned, or a recurrent cell"
        )
    if config.encoder_units is None:
        raise ConfigError(f"encoder_units=null: architecture={config.architecture} needs at least 1 unit")
    if config.architecture == "aligned" and config.decoder_units is not None:
        raise ConfigError(f"decoder_units={config.decoder_units}: architecture=aligned has no decoder; leave it null")
    if config.architecture != "aligned" and config.decoder_units is None:
        raise ConfigError(f"decoder_units=null: architecture={config.architecture} needs a decoder of at least 1 unit")


def _check_own_architecture(config: Config) -> None:
    if config.cell == "dense":
        raise ConfigError(f"cell=dense architecture={config.architecture}: a dense cell has no memory; use another one")
    for key in ("encoder_units", "decoder_units"):
        if getattr(config, key) is not None:
            raise ConfigError(
                f"{key}={getattr(config, key)}: architecture={config.architecture} does not use it; leave it out"
            )


def _check_learning_rate(config: Config) -> None:
    least, most = (float(limit) for limit in (np.finfo(np.float32).tiny, np.finfo(np.float32).max))
    if not least <= config.learning_rate <= most:
        raise ConfigError(
            f"learning_rate={config.learning_rate}: must be in {least:.2g}..{most:.2g}, the range of float32"
        )


def _check_decoder(config: Config) -> None:
    """Raises ConfigError for settings of a decoder that the architecture lacks or does not support."""
    wanted = {
        "peek": config.architecture == "encoder_decoder",
        "score": config.architecture == "attention",
        "teacher_forcing": config.ends_with_eos,
    }
    for key, has in wanted.items():
        value = getattr(config, key)
        if has and value is None:
            raise ConfigError(f"{key}=null: architecture={config.architecture} needs a value; leave {key} out")
        if not has and value is not None:
            raise ConfigError(
                f"{key}={override_text(value)}: architecture={config.architecture} does not use it; leave it null"
            )
    own = config.part("architecture") is not None
    if config.ends_with_eos and not own and config.decoder_units != config.encoder_units:
        raise ConfigError(
            f"decoder_units={config.decoder_units}: must equal encoder_units={config.encoder_units}, because "
            f"architecture={config.architecture} copies the encoder's states to the decoder"
        )


def _check_keys_of_addition(config: Config) -> None:
    """Raises ConfigError for keys of addition with another task."""
    for key in ("task.digits", "task.equal_lengths", "task.longest", "curriculum"):
        value = config.flat()[key]
        if config.task.name is not None and value is not None:
            raise ConfigError(f"{key}={override_text(value)}: task={config.task.name} has no such key; leave it null")
        if key == "task.digits" and config.task.name is None and value is None:
            raise ConfigError("task.digits=null: sums need a number of digits; leave task.digits out")


def _check_task(config: Config) -> None:
    task = config.task
    if config.reverse_answer is False:  # it means the same as null, but would give another config_hash
        raise ConfigError("reverse_answer=false: must be true, or null, the default")
    if task.digits is None:
        return
    if task.n_questions > addition.count_pairs(task.digits):
        raise ConfigError(addition.too_many_questions(task.n_questions, task.digits))
    if task.longest is not None and task.longest <= task.digits:
        raise ConfigError(f"task.longest={task.longest}: must be more than task.digits={task.digits}, or null")
    if task.equal_lengths is False:  # as above
        raise ConfigError("task.equal_lengths=false: must be true, or null")


def _check_curriculum(config: Config) -> None:
    if config.curriculum is not None and config.shuffle == "once":
        raise ConfigError(
            f"shuffle=once: curriculum={config.curriculum} draws new sums for each epoch; leave shuffle out"
        )
    if config.curriculum is not None and config.task.digits == 1:
        raise ConfigError(
            f"curriculum={config.curriculum}: sums of task.digits=1 have one length; task.digits must be at least 2"
        )


def _check_split(config: Config) -> None:
    """Raises ConfigError for too few sums to train on or to validate with, and for too large a batch."""
    task, noun = config.task, config.noun
    n_train = task.n_questions - config.n_held_out
    if config.n_held_out < 1 or n_train < 1:
        raise ConfigError(
            f"task.held_out={task.held_out}: leaves {n_train} {noun} for training and {config.n_held_out} for "
            f"validation, of task.n_questions={task.n_questions}; both must be at least 1"
        )
    if config.batch_size > n_train:
        raise ConfigError(f"batch_size={config.batch_size}: must be at most {n_train}, the size of the training set")


def _check_inspection(config: Config) -> None:
    if config.inspect.every is not None and config.inspect.every > config.epochs:
        raise ConfigError(f"inspect.every={config.inspect.every}: must be at most epochs={config.epochs}")
    if config.inspect.question is not None and config.task.name is None:  # see make_dataset for another task
        try:
            read_question(config.inspect.question, config.longest)
        except ValueError as error:
            raise ConfigError(f"inspect.{error}") from error


# The order matters: later checks compute with values that earlier checks have accepted.
_CHECKS = (
    _check_ranges,
    _check_architecture,
    _check_learning_rate,
    _check_decoder,
    _check_keys_of_addition,
    _check_task,
    _check_curriculum,
    _check_split,
    _check_inspection,
)


def check_machine(config: Config) -> None:
    """Raises ConfigError, in one line, for a configuration that this machine cannot run."""
    needed, there = cost.memory_needed(config), memory()
    if there is not None and sum(needed.values()) > there:
        key = max(config.flat().keys() & needed.keys(), key=lambda key: needed[key])
        raise ConfigError(
            f"{key}={config.flat()[key]}: this run needs at least {_gigabytes(sum(needed.values()))} of memory, this "
            f"machine has {_gigabytes(there)}; lower {key}"
        )
    if config.threads > processors():
        raise ConfigError(f"threads={config.threads}: must be at most {processors()}, the available processors")
    check_limits(sum(needed.values()), jit=config.jit)


def check_limits(n_bytes: float = LIBRARIES, *, jit: bool = False) -> None:
    """Raises ConfigError if ``ulimit`` leaves a process too little memory or threads; TensorFlow would crash.

    Args:
        n_bytes: memory that the process fills; by default that of the libraries.
        jit: whether the process compiles with XLA.
    """
    for option, there in limits().items():
        needed = n_bytes + _RESERVED[jit][option]
        if needed > there:
            enough_without = jit and n_bytes + _RESERVED[False][option] <= there
            raise ConfigError(
                f"ulimit {option} {there // 1024}: allows {_gigabytes(there)} of {_LIMITED[option]}, this process "
                f"needs {_gigabytes(needed)}; raise the limit{', or set jit=false' * enough_without}"
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
        return  # the schema has checked already that null is allowed
    if choices is not None and value not in choices:
        raise ConfigError(f"{key}={value}: must be one of {', '.join(choices)}")
    if value == "":
        raise ConfigError(f"{key}=: must not be empty ({field.metadata['meaning']})")
    if isinstance(value, (str, bool)):
        return
    if low is None and high is None and not math.isfinite(value):
        raise ConfigError(f"{key}={value}: must be finite ({field.metadata['meaning']})")
    # Written so that NaN is refused: every comparison with NaN is false.
    if field.metadata["open_ends"]:
        inside = (low is None or value > low) and value < (float("inf") if high is None else high)
    else:
        inside = (low is None or value >= low) and (high is None or value <= high)
    if not inside:
        raise ConfigError(f"{key}={value}: must be {range_in_words(field)} ({field.metadata['meaning']})")


def range_in_words(field: dataclasses.Field[Any]) -> str:
    low, high = field.metadata["low"], field.metadata["high"]
    if field.metadata["open_ends"]:
        return f"finite and above {low}" if high is None else f"above {low} and below {high}"
    return f"at least {low}" if high is None else f"in {low}..{high}"
