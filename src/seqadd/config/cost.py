"""What a run costs, computed from its configuration: memory and time."""

from __future__ import annotations

from seqadd.config.schema import Config

# Bytes that the libraries fill, and what a process needs beside what it fills where ulimit counts something else: the
# address space, in which libraries and stacks of threads are reserved, and what can be written to. And its threads,
# beside two for each processor. Measured on two processors, without and with XLA: 2.3 and 3.4 GB, 0.6 and 1.1 GB, 6 and
# 22 threads.
LIBRARIES = 0.8e9


def memory_needed(config: Config) -> dict[str, float]:
    """Bytes that a run needs at least, each share under the key that it grows with most.

    Measured: 0.8 GB for the libraries; 330 bytes a question while they are drawn; four copies of the weights
    (gradient, Adam's two) and one in passing; of the activations of a training step, half to nine tenths are
    counted here, and of the evaluation's, which keeps those of one step only, as much.
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
    """About how long an epoch takes on one processor of 2023, for what has to be said before one was timed.

    Measured: 40 billion multiplications a second, three times those of the forward pass, and what is beside the
    recurrent layers (benchmarks/results/architectures.csv).
    """
    gates = {"lstm": 4, "gru": 3}.get(config.cell, 1)
    recurrent = config.encoder_units if config.cell != "dense" else 0
    encoder = config.question_length * config.encoder_units * (recurrent + 13)
    decoder = (config.decoder_units or 0) * (
        config.encoder_units + config.answer_length * ((config.decoder_units or 0) + 1)
    )
    times = {"readout": 1.6, "attention": 2.3, "pooled": 2.4}.get(config.architecture, 1.0)
    return times * 3.0 * (config.task.n_questions - config.n_held_out) * gates * (encoder + decoder) / 4e10
