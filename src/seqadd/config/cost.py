"""Estimates a run's cost from its configuration: memory and time."""

from __future__ import annotations

from seqadd.config.parts import Measured
from seqadd.config.schema import Config

# Bytes of memory that the libraries fill; measured.
LIBRARIES = 0.8e9


# What is assumed of an own part that was not measured.
_UNKNOWN_MEMORY, _UNKNOWN_SECONDS = 1e9, 60.0
# The same of the texts of a task whose sizes only its data have.
_UNKNOWN_LENGTH = 20


def memory_needed(config: Config) -> dict[str, float]:
    """The least memory that a run needs, in bytes; each part is listed under the key that affects it most.

    Measured: 0.8 GB for the libraries; 330 bytes per question while the sums are drawn; four copies of the weights
    (weights, gradient, Adam's two) and one temporary copy. Of the activations of a training step, half to nine tenths
    are counted here; likewise for the evaluation, which keeps the activations of one step only.

    For an own part, what its check measured; for an architecture that was not measured, a cautious constant.
    """
    data = {"task.n_questions": 330.0 * config.task.n_questions}
    measured = _measured(config)
    if measured is not None:
        activations = measured.activations * config.batch_size + measured.largest * config.n_held_out
        return {**data, "batch_size": 4.0 * (5 * measured.parameters + activations), "the libraries": LIBRARIES}
    if config.encoder_units is None:
        return {**data, "batch_size": _UNKNOWN_MEMORY, "the libraries": LIBRARIES}
    gates = _gates(config)
    question_length, answer_length = _lengths(config)
    encoder, decoder = config.encoder_units, config.decoder_units or 0
    recurrent = encoder if config.cell != "dense" else 0
    weights = encoder * (recurrent + len(config.alphabet) + 1) + decoder * (encoder + decoder + 1)
    activations = question_length * encoder + answer_length * decoder
    return {
        **data,
        "encoder_units" if encoder >= decoder else "decoder_units": 4.0 * 5 * gates * weights,
        "batch_size": 4.0 * 1.5 * gates * activations * config.batch_size,
        "task.held_out": 4.0 * 1.5 * gates * max(encoder, decoder) * config.n_held_out,
        "the libraries": LIBRARIES,
    }


def seconds_per_epoch(config: Config) -> float:
    """A rough estimate of an epoch's time on one processor of 2023, for use before an epoch was timed.

    Measured: 40 billion multiplications a second; a training step has three times the multiplications of the forward
    pass; a factor for the work outside of the recurrent layers (benchmarks/results/architectures.csv).

    For an own part, from what its check counted; for an architecture that was not checked, a constant.
    """
    measured = _measured(config)
    if measured is not None:
        return 3.0 * (config.task.n_questions - config.n_held_out) * measured.multiplications / 4e10
    if config.encoder_units is None:
        return _UNKNOWN_SECONDS * config.task.n_questions / 50_000
    units, decoder_units = config.encoder_units, config.decoder_units or 0
    question_length, answer_length = _lengths(config)
    recurrent = units if config.cell != "dense" else 0
    encoder = question_length * units * (recurrent + len(config.alphabet) + 1)
    decoder = decoder_units * (units + answer_length * (decoder_units + 1))
    times = {"readout": 1.6, "attention": 2.3, "pooled": 2.4}.get(config.architecture, 1.0)
    return times * 3.0 * (config.task.n_questions - config.n_held_out) * _gates(config) * (encoder + decoder) / 4e10


def _measured(config: Config) -> Measured | None:
    """What the check of the configuration's own parts measured; None before it."""
    return next((part.measured for part in config.parts.values() if part.measured is not None), None)


def _gates(config: Config) -> int:
    """Matrices of a step of the cell; an own cell may have as many as an LSTM."""
    return 4 if config.part("cell") is not None else {"lstm": 4, "gru": 3}.get(config.cell or "", 1)


def _lengths(config: Config) -> tuple[int, int]:
    """Characters in a question and in an answer."""
    if config.part("task") is not None:
        return _UNKNOWN_LENGTH, _UNKNOWN_LENGTH
    return config.question_length, config.answer_length
