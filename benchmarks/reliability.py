"""Measures the cost of checkpoints, and how far the same run drifts apart when it is computed in other ways.

    python benchmarks/reliability.py                         results in benchmarks/results
    python benchmarks/reliability.py --quick                 does it run? a few epochs; build/benchmarks

Checkpoints: trains in the same loop as ``seqadd.run``, and times ``RunDirectory.save``. Drift: repeats a training in
another process, with more threads and without XLA; measures the largest difference of a weight and the difference of
``val_acc``, after some epochs.
"""

from __future__ import annotations

import argparse
import hashlib
import tempfile
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any

import bench
import numpy as np

from seqadd.cli.entry import command

PACKAGES = ("seqadd", "tensorflow", "keras", "numpy")
#: The trained models, and how many seconds of each are timed.
CHECKPOINTED = {
    "simple_rnn 64/32": ["cell=simple_rnn"],
    "lstm 64/32": ["cell=lstm"],
    "lstm 256/256": ["cell=lstm", "encoder_units=256", "decoder_units=256"],
}
SECONDS = 30.0
#: The ways to compute a training; the others are compared with the first.
WAYS = {
    "threads=1 jit=true": ["threads=1"],
    "the same in another process": ["threads=1"],
    "threads=2": ["threads=2"],
    "jit=false": ["threads=1", "jit=false"],
}
CELLS = ("lstm", "simple_rnn")
EPOCHS = (1, 10, 20)


def _prepared(overrides: list[str]) -> tuple[Any, Any, Any, Any]:
    """Returns configuration, sums, model and optimizer, created in this process."""
    from seqadd.config import composition
    from seqadd.models import architectures
    from seqadd.system import tensorflow_setup
    from seqadd.training import dataset, loop

    config = composition.compose_selection(overrides).columns[0].config
    tensorflow_setup.use_threads(config.threads)
    data = dataset.make_dataset(config)
    lengths = data.train_questions.shape[1], data.train_answers.shape[1]
    model = architectures.build_model(config, *lengths, len(data.alphabet))
    return config, data, model, loop.make_optimizer(model, config)


def checkpointed(overrides: list[str], seconds: float) -> Generator[dict[str, float], Any, None]:
    """The generator of a process: trains for some seconds, with checkpoints, and yields their cost."""
    from seqadd.tracking.run_directory import RunDirectory, RunInfo
    from seqadd.training import loop, state
    from seqadd.training.checkpoint import Checkpoint

    config, data, model, optimizer = _prepared(overrides)
    config.epochs = 1_000_000
    history: list[dict[str, float]] = []
    with tempfile.TemporaryDirectory() as folder:
        run_dir = RunDirectory(Path(folder) / "unfinished", "one")
        with run_dir.lock(print):
            run_dir.begin(RunInfo("none", "none", "one", "one"))
            began, saving, saves = 0.0, 0.0, 0
            for row in loop.train(model, optimizer, data, config, history):
                if row["epoch"] == 1:  # includes the compilation
                    run_dir.save(Checkpoint({}, history, state.state(model, optimizer)))
                    began = time.perf_counter()
                elif run_dir.checkpoint_is_due():
                    start = time.perf_counter()
                    run_dir.save(Checkpoint({}, history, state.state(model, optimizer)))
                    saving += time.perf_counter() - start
                    saves += 1
                passed = time.perf_counter() - began
                if began and passed > seconds:
                    size = (run_dir.path / "checkpoint").stat().st_size
                    yield {"saves": saves, "saving": saving, "seconds": passed, "bytes": size}


def drifting(overrides: list[str], epochs: tuple[int, ...]) -> Generator[tuple[float, list[Any]], Any, None]:
    """The generator of a process: yields ``val_acc`` and the weights after each of these epochs."""
    from seqadd.training import loop

    config, data, model, optimizer = _prepared(overrides)
    config.epochs = max(epochs)
    for row in loop.train(model, optimizer, data, config, []):
        if row["epoch"] in epochs:
            yield row["val_acc"], model.get_weights()


def measure_checkpoints(seconds: float, log: Path, steps: bench.Steps) -> list[dict[str, Any]]:
    """Returns a row per model."""
    rows = []
    for name, overrides in CHECKPOINTED.items():
        steps.begin(f"checkpoints of {name}")
        worker = bench.Worker(checkpointed, overrides, seconds, threads=None, log=log)
        measured = worker.answer()
        worker.end()
        rows.append({"model": name, **measured})
        steps.done(seconds)
    return rows


def measure_drift(epochs: tuple[int, ...], log: Path, steps: bench.Steps) -> list[dict[str, Any]]:
    """Returns a row per cell, way and number of epochs."""
    rows = []
    for cell in CELLS:
        reference: dict[int, tuple[float, list[Any]]] = {}
        for way, overrides in WAYS.items():
            steps.begin(f"{cell}, {way}")
            worker = bench.Worker(drifting, [f"cell={cell}", *overrides], epochs, threads=None, log=log)
            for epoch in epochs:
                val_acc, weights = worker.answer() if epoch == epochs[0] else worker.ask(None)
                expected_acc, expected = reference.setdefault(epoch, (val_acc, weights))
                digest = hashlib.sha256(b"".join(each.tobytes() for each in weights)).hexdigest()
                largest = max(float(np.abs(a - b).max()) for a, b in zip(weights, expected, strict=True))
                rows.append(
                    {
                        "cell": cell,
                        "way": way,
                        "epochs": epoch,
                        "largest_weight_difference": largest,
                        "val_acc": val_acc,
                        "val_acc_difference": val_acc - expected_acc,
                        "weights_sha256": digest,
                    }
                )
            worker.end()
            steps.done(max(epochs))
    return rows


def report(header: list[str], checkpoints: list[dict[str, Any]], drift: list[dict[str, Any]]) -> str:
    """Returns the results as Markdown."""
    costs = [
        [
            row["model"],
            f"{row['bytes'] / 1e6:.2f}",
            str(row["saves"]),
            f"{1000 * row['saving'] / max(1, row['saves']):.0f}",
            f"{100 * row['saving'] / row['seconds']:.2f} %",
        ]
        for row in checkpoints
    ]
    drifts = [
        [
            row["cell"],
            row["way"],
            str(row["epochs"]),
            "0" if row["largest_weight_difference"] == 0 else f"{row['largest_weight_difference']:.1e}",
            f"{row['val_acc_difference']:+.4f}",
        ]
        for row in drift
        if row["way"] != next(iter(WAYS))
    ]
    cost_columns = ["model", "MB", "checkpoints", "ms each", "share of the time"]
    drift_columns = ["cell", "computed with", "epochs", "largest difference of a weight", "of val_acc"]
    return "\n".join(
        [
            "# Checkpoints and drift",
            "",
            *header,
            "",
            f"What checkpoints take of {checkpoints[0]['seconds']:.0f} seconds of training:",
            "",
            *bench.markdown_table(cost_columns, costs),
            "",
            f"How far trainings drift from that with {next(iter(WAYS))} (seed 0, batch 512):",
            "",
            *bench.markdown_table(drift_columns, drifts),
            "",
        ]
    )


def main() -> None:
    """Command line of ``python benchmarks/reliability.py``."""
    parser = argparse.ArgumentParser(description="What checkpoints cost; how far runs drift apart.")
    parser.add_argument("--quick", action="store_true", help="a few epochs, to see whether everything runs")
    bench.add_out(parser)
    chosen = parser.parse_args()
    out = bench.out_folder(chosen)
    out.mkdir(parents=True, exist_ok=True)
    seconds, epochs = (6.0, (1, 2)) if chosen.quick else (SECONDS, EPOCHS)
    header = bench.header(PACKAGES)
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log.txt"
        with bench.Steps(len(CHECKPOINTED) * seconds + len(CELLS) * len(WAYS) * max(epochs)) as steps:
            checkpoints = measure_checkpoints(seconds, log, steps)
            drift = measure_drift(epochs, log, steps)
    bench.write_csv(out / "checkpoints.csv", checkpoints)
    bench.write_csv(out / "drift.csv", drift)
    bench.replace(out / "reliability.md", lambda path: path.write_text(report(header, checkpoints, drift)))
    print((out / "reliability.md").read_text())


if __name__ == "__main__":
    with command():
        main()
