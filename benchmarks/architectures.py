"""What an epoch of each architecture costs beside one of repeat_vector's, and how long 5,000 answers take.

    python benchmarks/architectures.py

The article's 50,000 sums, batches of 512, LSTM, one thread; all in one process, in turn, so that what else the
machine does falls on all of them; processor time. Results go to ``benchmarks/results/architectures.csv``.
"""

from __future__ import annotations

import argparse
import statistics
import time
from typing import Any

import bench
import pandas as pd

from seqadd.cli.entry import command
from seqadd.config import composition
from seqadd.data import curriculum
from seqadd.models import architectures
from seqadd.system import tensorflow_setup
from seqadd.system.files import write_file
from seqadd.training import dataset, loop

CONDITIONS = [
    ["architecture=repeat_vector"],
    ["architecture=repeat_vector", "decoder_units=64"],
    ["architecture=repeat_vector_stacked"],
    ["architecture=readout"],
    ["architecture=pooled"],
    ["architecture=encoder_decoder"],
    ["architecture=encoder_decoder", "peek=true"],
    ["architecture=encoder_decoder", "teacher_forcing=never"],
    ["architecture=attention", "score=dot"],
    ["architecture=attention"],
    # experiments/architectures: the encoder-decoder's 40,000 parameters in each
    ["architecture=repeat_vector", "decoder_units=44"],
    ["architecture=readout", "encoder_units=56"],
    ["architecture=attention", "encoder_units=49"],
]


class Contestant:
    """A model that is ready to train and to predict answers."""

    def __init__(self, overrides: list[str]) -> None:
        self.name = " ".join(overrides).replace("architecture=", "")
        self.config = composition.compose_selection(overrides).columns[0].config
        self._data = dataset.make_dataset(self.config)
        model = architectures.build_model(self.config, self.config.question_length, self.config.answer_length, 12)
        self.parameters = model.count_params()
        optimizer = loop.make_optimizer(model, self.config)
        self._train = loop.epoch_program(model, optimizer, self._data, self.config)
        self._evaluate = loop.evaluation_program(model, self.config)
        start = time.process_time()
        self.turn(1)
        self.first = time.process_time() - start
        self.epochs: list[float] = []
        self.answers: list[float] = []

    def turn(self, epoch: int) -> tuple[float, float]:
        """Trains an epoch and answers the held-out sums; returns the processor seconds of both."""
        rows = curriculum.epoch_order(0, epoch, len(self._data.train_questions))
        times = [time.process_time()]
        self._train(rows, epoch)
        times.append(time.process_time())
        self._evaluate(self._data)
        times.append(time.process_time())
        return times[1] - times[0], times[2] - times[1]


def measure(rounds: int) -> pd.DataFrame:
    """Returns a row for each condition: median processor seconds over the rounds."""
    tensorflow_setup.use_threads(1)
    with bench.Steps(len(CONDITIONS) * (rounds + 5)) as steps:
        contestants = []
        for overrides in CONDITIONS:
            steps.begin(f"compiles {' '.join(overrides)}")
            contestants.append(Contestant(overrides))
            steps.done(5)
        for epoch in range(2, rounds + 2):
            steps.begin(f"round {epoch - 1} of {rounds}")
            for each in contestants:
                trained, answered = each.turn(epoch)
                each.epochs.append(trained)
                each.answers.append(answered)
                steps.done(1)
    rows: list[dict[str, Any]] = [
        {
            "architecture": each.name,
            "parameters": each.parameters,
            "epoch_seconds": statistics.median(each.epochs),
            "of_repeat_vector": statistics.median(
                mine / theirs for mine, theirs in zip(each.epochs, contestants[0].epochs, strict=True)
            ),
            "answers_seconds": statistics.median(each.answers),
            "first_seconds": each.first,
        }
        for each in contestants
    ]
    return pd.DataFrame(rows)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9, metavar="N", help="epochs of each, in turn (default: 9)")
    rounds = parser.parse_args().rounds
    with command():
        found = measure(rounds)
        print(found.to_string(index=False, float_format=lambda value: f"{value:.3f}"))
        write_file(bench.RESULTS / "architectures.csv", found.to_csv(index=False, float_format="%.4f"))


if __name__ == "__main__":
    main()
