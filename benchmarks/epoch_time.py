"""Seconds a training epoch takes: stock ``keras.Model.fit`` and ``seqadd.training``, in turn, on the same sums.

    python benchmarks/epoch_time.py            all cells, 5 epochs each after the first

Both train the article's model (64/32 units, batch 512) on 45,000 sums. ``fit`` gets all processors, Keras' own
layers with today's defaults, and arrays, as the Keras example does it; ours gets one thread and the gates of 2018.
Each runs in a process of its own; an epoch of one is followed by an epoch of the other, so that a machine that gets
slower does so for both.
"""

from __future__ import annotations

import multiprocessing
import os
import statistics
import time
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from seqadd.addition import Dataset

CELLS = ("lstm", "gru", "simple_rnn")
EPOCHS = 5


def stock_fit(cell: str, pipe: Connection) -> None:
    """Trains an epoch with ``fit`` whenever told to, and answers its seconds."""
    import keras

    from seqadd import alphabet

    data = _sums()
    layer = {"lstm": keras.layers.LSTM, "gru": keras.layers.GRU, "simple_rnn": keras.layers.SimpleRNN}[cell]
    model = keras.Sequential(
        [
            keras.Input((7, 12)),
            layer(64),
            keras.layers.RepeatVector(4),
            layer(32, return_sequences=True),
            keras.layers.Dense(12, activation="softmax"),
        ]
    )
    model.compile("adam", "categorical_crossentropy", metrics=["accuracy"])
    x, y = alphabet.one_hot(data.train_questions), alphabet.one_hot(data.train_answers)
    validation = alphabet.one_hot(data.val_questions), alphabet.one_hot(data.val_answers)
    while pipe.recv():
        start = time.perf_counter()
        model.fit(x, y, batch_size=512, epochs=1, validation_data=validation, verbose=0)
        pipe.send(time.perf_counter() - start)


def ours(cell: str, pipe: Connection) -> None:
    """The same with ``seqadd.training``, validation included in both."""
    from seqadd import models, table, training

    config = table.select([f"cell={cell}"]).columns[0].config
    training.use_threads(config.threads)
    epochs = training.train(models.build_model(config, 7, 4, 12), _sums(), config)
    while pipe.recv():
        start = time.perf_counter()
        next(epochs)
        pipe.send(time.perf_counter() - start)


def _sums() -> Dataset:
    import numpy as np

    from seqadd import addition

    return addition.make_dataset(
        digits=3, n_questions=50_000, held_out=0.1, reverse=True, answer_length=4, rng=np.random.default_rng(0)
    )


def main() -> None:
    """Prints the table."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    context = multiprocessing.get_context("spawn")
    print(f"{os.cpu_count()} processors; median (min..max) of {EPOCHS} epochs in turn, validation included\n")
    print("| cell | stock fit, all threads | seqadd, 1 thread | ratio | first epoch: fit | seqadd |")
    print("|---|---|---|---|---|---|")
    for cell in CELLS:
        pipes = []
        for contestant in (stock_fit, ours):
            here, there = context.Pipe()
            context.Process(target=contestant, args=(cell, there), daemon=True).start()
            pipes.append(here)
        seconds: list[list[float]] = [[], []]
        for _ in range(EPOCHS + 1):
            for pipe, measured in zip(pipes, seconds, strict=True):
                pipe.send(True)
                measured.append(pipe.recv())
        for pipe in pipes:
            pipe.send(False)
        fit, own = (measured[1:] for measured in seconds)
        ratio = statistics.median(b / a for a, b in zip(fit, own, strict=True))
        first = " | ".join(f"{measured[0]:.1f} s" for measured in seconds)
        print(f"| {cell} | {_spread(fit)} | {_spread(own)} | {ratio:.2f} | {first} |", flush=True)


def _spread(seconds: list[float]) -> str:
    return f"{statistics.median(seconds):.2f} s ({min(seconds):.2f}..{max(seconds):.2f})"


if __name__ == "__main__":
    main()
