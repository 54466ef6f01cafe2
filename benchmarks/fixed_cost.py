"""Measures the time of a run beside training, part by part, from the start of the process to its end.

    python benchmarks/fixed_cost.py                          results in benchmarks/results
    python benchmarks/fixed_cost.py --quick                  does it run? one round; build/benchmarks

A run of two epochs with all defaults in its own process, once in a folder without a store and once in a folder with
one; median of several rounds. The first epoch's time minus the second's is compilation.

Not in this file: the training itself (``compare.py``).
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import bench

from seqadd.cli.entry import command

ROUNDS = 5
PACKAGES = ("seqadd", "tensorflow", "keras", "mlflow", "hydra-core", "numpy")


class Parts:
    """The seconds of the parts of a run: a mark ends a part, which gets all time since the last mark.

    Args:
        started: ``time.time()`` when the process was started.
    """

    def __init__(self, started: float) -> None:
        self.seconds: dict[str, float] = {}
        self._mark = started

    def over(self, part: str) -> None:
        now = time.time()
        self.seconds[part] = self.seconds.get(part, 0.0) + now - self._mark
        self._mark = now

    def mark_around(self, owner: Any, name: str, before: str, part: str) -> None:
        """Patches ``owner.name``: the time of a call counts as ``part``, and the time before it as ``before``."""
        function = getattr(owner, name)

        def marked(*arguments: Any, **settings: Any) -> Any:
            self.over(before)
            result = function(*arguments, **settings)
            self.over(part)
            return result

        setattr(owner, name, marked)


def timed_run(started: float) -> None:
    """Runs ``seqadd.run`` in this process and prints the seconds of its parts as JSON.

    Args:
        started: ``time.time()`` when the process was started.
    """
    from seqadd import run
    from seqadd.cli.progress import EpochDone

    parts = Parts(started)
    epochs: list[float] = []

    def report(message: Any) -> None:
        if isinstance(message, EpochDone):
            parts.over("recording the epochs")
            epochs.append(message.metrics["epoch_seconds"])

    def timed_alone(config: Any) -> str:
        parts.over("Python, Hydra, the configuration")
        from seqadd import train
        from seqadd.tracking import connection, resume

        parts.over("importing MLflow")
        parts.mark_around(connection, "open_store", "other", "opening the store")
        parts.mark_around(train, "make_dataset", "opening the store", "drawing and writing the sums")
        parts.mark_around(resume, "find_start", "looking for earlier runs", "looking for earlier runs")
        mark_the_import(parts)
        run_id = train.train_run(config, report)
        parts.over("artifacts, closing the record")
        return run_id

    run.run_alone = timed_alone
    run.main()
    _, second = epochs
    parts.seconds["compiling and tracing"] = parts.seconds["training"] - 2 * second
    parts.seconds["training"] = 2 * second
    print("PARTS " + json.dumps(parts.seconds))


def mark_the_import(parts: Parts) -> None:
    """Makes parts of the import of TensorFlow, and of the time between it and the training."""
    from seqadd.system import tensorflow_setup

    quiet_import = tensorflow_setup.quiet_import

    @contextmanager
    def marked() -> Iterator[None]:
        parts.over("beginning the run's record")
        with quiet_import():
            yield
        parts.over("importing TensorFlow, Keras, matplotlib")
        mark_the_training(parts)

    setattr(tensorflow_setup, "quiet_import", marked)  # noqa: B010


def mark_the_training(parts: Parts) -> None:
    """Makes parts of building the model, and of each epoch of the training."""
    from seqadd.models import architectures
    from seqadd.training import loop

    parts.mark_around(architectures, "build_model", "building the model", "building the model")
    train = loop.train

    def timed_train(*arguments: Any, **settings: Any) -> Any:
        parts.over("optimizer, first checkpoint")
        for epoch in train(*arguments, **settings):
            parts.over("training")
            yield epoch

    loop.train = timed_train


def measure(rounds: int, steps: bench.Steps) -> list[dict[str, Any]]:
    """Returns a row per part and store: seconds, median and range over the rounds."""
    measured: dict[tuple[str, str], list[float]] = {}
    for number in range(1, rounds + 1):
        with tempfile.TemporaryDirectory() as folder:
            for store, seed in ("new", 0), ("there", 1):
                steps.begin(f"round {number} of {rounds}, store {store}")
                program = [sys.executable, str(Path(__file__).resolve()), "--timed", str(time.time())]
                overrides = ["cell=lstm", "epochs=2", f"seed={seed}"]
                done = subprocess.run([*program, *overrides], cwd=folder, capture_output=True, text=True)
                if done.returncode != 0:
                    raise bench.WorkerFailed(f"exit code {done.returncode}: {done.stderr[-2000:]}")
                (line,) = [line for line in done.stdout.splitlines() if line.startswith("PARTS ")]
                for part, seconds in json.loads(line.removeprefix("PARTS ")).items():
                    measured.setdefault((store, part), []).append(seconds)
                steps.done(1)
    return [
        {"store": store, "part": part, **bench.spread(seconds, digits=3)} for (store, part), seconds in measured.items()
    ]


def report(header: list[str], rows: list[dict[str, Any]]) -> str:
    """Returns the results as Markdown."""
    seconds = {(row["store"], row["part"]): row["seconds_median"] for row in rows}
    parts = [row["part"] for row in rows if row["store"] == "new" and row["part"] != "training"]
    table = [[part, *(f"{seconds[store, part]:.2f}" for store in ("new", "there"))] for part in parts]
    sums = [sum(seconds[store, part] for part in parts) for store in ("new", "there")]
    table.append(["**all of it**", *(f"**{value:.2f}**" for value in sums)])
    lines = ["# What a run costs beside its training", "", *header, ""]
    lines += ["Seconds, median; without the end of the Python process (about 0.3 s).", ""]
    return "\n".join([*lines, *bench.markdown_table(["part", "new store", "store there"], table), ""])


def main() -> None:
    """Command line of ``python benchmarks/fixed_cost.py``."""
    parser = argparse.ArgumentParser(description="Seconds of a run that are not training, part by part.")
    parser.add_argument("--quick", action="store_true", help="one round, to see whether everything runs")
    bench.add_out(parser)
    chosen = parser.parse_args()
    out = bench.out_folder(chosen)
    rounds = 1 if chosen.quick else ROUNDS
    header = bench.header(PACKAGES)
    with bench.Steps(2 * rounds) as steps:
        rows = measure(rounds, steps)
    bench.write_csv(out / "fixed_cost.csv", rows)
    bench.replace(out / "fixed_cost.md", lambda path: path.write_text(report(header, rows)))
    print((out / "fixed_cost.md").read_text())


if __name__ == "__main__":
    if sys.argv[1:2] == ["--timed"]:
        started = float(sys.argv[2])
        sys.argv[1:3] = []
        timed_run(started)
    else:
        with command():
            main()
