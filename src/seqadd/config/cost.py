"""Estimates a run's cost from its configuration: memory and time."""

from __future__ import annotations

from seqadd.config.schema import Config

# Bytes of memory that the libraries fill; measured.
LIBRARIES = 0.8e9


def memory_needed(config: Config) -> dict[str, float]:
    """The least memory that a run needs, in bytes; each part is listed under the key that affects it most.

    Measured: 0.8 GB for the libraries; 330 bytes per question while the sums are drawn; four copies of the weights
    (weights, gradient, Adam's two) and one temporary copy. Of the activations of a training step, half to nine tenths
    are counted here; likewise for the evaluation, which keeps the activations of one step only.
    """
    gates = {"lstm": 4, "gru": 3}.get(config.cell, 1)
    characters = config.question_length
    decoder = config.decoder_units or 0
    recurrent = config.encoder_units if config.cell != "dense" else 0
    weights = config.encoder_units * (recurrent + 13) + decoder * (config.encoder_units + decoder + 1)
    activations = characters * config.encoder_units + config.answer_length * decoder
    return {
        "task.n_questions": 330.0 * config.task.n_questions,
        "encoder_units" if config.encoder_units >= decoder else "decoder_units": 4.0 * 5 * gates * weights,
        "batch_size": 4.0 * 1.5 * gates * activations * config.batch_size,
        "task.held_out": 4.0 * 1.5 * gates * max(config.encoder_units, decoder) * config.n_held_out,
        "the libraries": LIBRARIES,
    }


def seconds_per_epoch(config: Config) -> float:
    """A rough estimate of an epoch's time on one processor of 2023, for use before an epoch was timed.

    Measured: 40 billion multiplications a second; a training step has three times the multiplications of the forward
    pass; a factor for the work outside of the recurrent layers (benchmarks/results/architectures.csv).
    """
    gates = {"lstm": 4, "gru": 3}.get(config.cell, 1)
    recurrent = config.encoder_units if config.cell != "dense" else 0
    encoder = config.question_length * config.encoder_units * (recurrent + 13)
    decoder = (config.decoder_units or 0) * (
        config.encoder_units + config.answer_length * ((config.decoder_units or 0) + 1)
    )
    times = {"readout": 1.6, "attention": 2.3, "pooled": 2.4}.get(config.architecture, 1.0)
    return times * 3.0 * (config.task.n_questions - config.n_held_out) * gates * (encoder + decoder) / 4e10
